"""The headline figures of the notebooks on gradient shaping, from published rows."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.hong import damage, rad, stopped
from lib.papers.hong.indiscriminate import FLIPS, SLAB

if TYPE_CHECKING:
    from pandas import DataFrame

CLIP, PRIVATE = "C 4", "epsilon 3"


def indiscriminate(published: "DataFrame") -> Headline:
    """Notebook 51: clipping and a proper epsilon, against the vanilla model at its end, and stopped
    as accurate."""
    found = rad.usual(rad.compared(published))
    found = found[found["dataset"].eq(found["dataset"].mode().iloc[0])] if len(found) else found
    ends = damage.differences(found, [CLIP, PRIVATE], reading=rad.OWN)
    twins = stopped.differences(published, [CLIP, PRIVATE])
    data = _rows({"to the end": ends, "stopped as accurate": twins})
    draws = data["draw"].nunique()
    figure = figures.contrasts(
        data, by="than", better="lower", dots="draws", sides=("the defence helps", "it harms"),
        xlabel="relative accuracy drop, minus that of the vanilla model")
    return Headline(
        "indiscriminate-headline", figure, data,
        "Relative accuracy drop (last epoch, against the same defence on clean data) of clipping"
        " at norm 4 and of DP-SGD at epsilon 3, minus that of the vanilla model trained to the end,"
        " or stopped when it was as accurate on clean data: 40% poisons,"
        f" {draws} draws (dots), mean and 95% t interval; delta 1e-5, add-remove, Poisson batches,"
        " PLD.",
        "Forest plot: for each attack and defence, the difference in relative accuracy drop to the"
        " vanilla model, trained to the end and stopped early, beside a line at zero.",
        stopped.finding(twins))


def _rows(parts: "dict[str, DataFrame]") -> "DataFrame":
    """A line an attack, arm, reference and draw, in the order of the figure."""
    import pandas as pd

    names = {CLIP: "clipping at 4", PRIVATE: "DP at ε 3"}
    lines = [(f"{kind}: {names[arm]} minus\nvanilla {name}", row[rad.DRAW], row["difference"])
             for kind in (FLIPS, SLAB) for arm in names for name, part in parts.items()
             for _, row in part[part[rad.KIND].eq(kind) & part[rad.ARM].eq(arm)].iterrows()]
    return pd.DataFrame(lines, columns=["than", "draw", "difference"])


HEADLINES = {"51_indiscriminate": indiscriminate}
