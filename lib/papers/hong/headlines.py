"""The headline figures of Hong et al.'s notebooks, from published rows."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.hong import anatomy, anatomy_figures
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame


def gradient_anatomy(published: "DataFrame") -> Headline:
    """Notebook 50: the ratio of gradient norms of harmless copies and of blends."""
    named = anatomy.named(rows.undefended(rows.measured(published)))
    found = anatomy_figures.orders(anatomy.epochs(named))
    data = anatomy_figures.chosen(found, (0.0, 0.4, 1.0))
    counts = " and ".join(f"{group['draw'].nunique()} draws ({name})"
                          for name, group in data.groupby("scenario", sort=False))
    return Headline(
        "anatomy-headline",
        figures.contrasts(data, by="probe", value=anatomy_figures.ORDERS, better="lower",
                          unit="powers of 10", xlabel="mean gradient, appended over clean",
                          sides=("shorter", "longer than the clean mean"), dots="draws"),
        data[["probe", "draw", anatomy_figures.ORDERS]],
        "Norm of the mean gradient of the appended images over that of the clean records, last"
        " layer, mean over the epochs (2 means a hundred times): harmless copies, and blends with"
        f" another class that keep their label. {counts}, mean and 95% t interval.",
        "Forest plot: the ratio of gradient norms for harmless copies and for two strengths of"
        " blends, from scratch and while re-training, beside a line at equal norms.",
        anatomy_figures.finding(found))


HEADLINES = {"50_gradient_anatomy": gradient_anatomy}
