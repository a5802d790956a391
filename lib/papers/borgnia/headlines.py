"""The headline figures of the DP-InstaHide notebooks."""

from lib import figures
from lib.papers import Headline
from lib.papers.borgnia import guarantees

NOISE = 16  # over 255: with it the paper stops its adaptive attack (figure 5)
DELTA, BATCH = 1e-5, 128


def instahide_theory() -> Headline:
    """Notebook 22: the printed epsilon against that of a release without mixing."""
    found = guarantees.figure_4a([NOISE])
    run = guarantees.accounts([NOISE], (1, 2, 4, 8), n=guarantees.RECORDS, batch_size=BATCH,
                              delta=DELTA, anew=False)
    data = guarantees.lines(found, as_run=run)
    figure = figures.log_lines(
        [{"frame": data}], x="k", y="epsilon", series="series", reference=guarantees.PLAIN,
        markers=[guarantees.AS_RUN], xlabel="images in a mix, k",
        ylabel="epsilon of one pass (lower is better)", beyond="weaker than not mixing at all")
    return Headline(
        "instahide-theory-headline", figure, data,
        "Epsilon of one pass over 50,000 images of unit l1 diameter, images alone, Laplace noise"
        f" of {NOISE}/255. Theorem 2 prints T = n draws (pure); 1/(kσ) is what the text claims;"
        f" mixup as run: batches of {BATCH}, replace-one, δ = 1e-5.",
        "Lines over the number of images in a mix: the printed epsilon falls from 256,000 to 51 and"
        " stays above the level line of the release without mixing at 15.9, on which mixup as run"
        " lies; the claimed line falls below it.",
        guarantees.finding(guarantees.figure_4a()))


COMPUTED = {"22_instahide_theory": instahide_theory}
