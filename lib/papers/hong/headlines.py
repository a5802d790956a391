"""The headline figures of the gradient-shaping notebooks, from published rows."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.hong import boundaries

if TYPE_CHECKING:
    from pandas import DataFrame


def decision_boundaries(published: "DataFrame") -> Headline:
    """Notebook 54: what DP does to a boundary on two moons, draw by draw, in the paper's terms."""
    moons = published[published["dataset"].eq("moons")]
    apart = boundaries.differences(boundaries.ends(boundaries.points(moons)))
    asked = {name: f"{name}\n({said})" for name, said in boundaries.READINGS.items()}
    shown = apart[apart["measure"].isin(asked)]  # in the order of the readings
    shown = shown.assign(measure=shown["measure"].map(asked))
    figure = figures.contrasts(
        shown, by="measure", better="lower", dots="draws", unit="points",
        xlabel="DP minus vanilla, same draw", sides=("less with DP", "more with DP"))
    draws = shown["draw"].nunique()
    return Headline(
        "boundaries-headline", figure, shown,
        f"What DP changes on two moons, {draws} draws of initial weights, batches and noise (dots),"
        " mean and 95% t interval; in brackets what the paper reads from one map. Shaded:"
        " more with DP. The length is in per cent of the vanilla boundary's.",
        "Forest plot: DP minus vanilla for the length of the boundary, for training minus test"
        " accuracy, and for the uncertain share of the plane, each with its interval, beside zero.",
        boundaries.readings(apart))


HEADLINES = {"54_boundaries": decision_boundaries}
