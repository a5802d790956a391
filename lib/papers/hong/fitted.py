"""Measuring G16 and drawing figure 11: which records a model fits along its training, poison or
clean."""

from typing import TYPE_CHECKING

from lib.papers.hong import rad, shaping
from lib.papers.hong.indiscriminate import FLIPS, SLAB, VANILLA
from lib.verdicts import judgement
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

FITTED = "share classified as labelled"
MEAN, LAST = "mean over epochs", "last epoch"
ATTACK = {"slab": SLAB, "flipped": FLIPS}  # of the parts of G16
SAMPLES = {"accuracy_poison": "poison", "accuracy_clean": "clean training records",
           "accuracy": "test images"}


def before_clean(frames: Frames, claim: Claim) -> Measurement:
    """G16: training accuracy on poison minus that on clean records, vanilla models at 40%: the mean
    over the epochs, and the last epoch beside it."""
    found = shaping.compared(frames, claim)
    plain = found[found[rad.ARM].eq(VANILLA)]
    curves = frames.get(f"{claim.notebook}/curves")
    points = paths(plain, curves)
    passed = shaping.slab_hurts(found)

    def judge(part: Part, column: str) -> Verdict:
        values = gaps(points[points[rad.KIND].eq(ATTACK[part.name])], column)
        if values.empty:
            return NOT_MEASURED
        return judgement.guarded(part, values.to_numpy(), passed=passed, column="accuracy")
    return judgement.assemble(claim, judge, plain, metric=MEAN, beside=(LAST,))


def paths(attacked: "DataFrame", curves: "DataFrame | None" = None) -> "DataFrame":
    """The points of the paths of these rows at whole epochs, at the largest share.

    attacked: of `rad.compared`. curves: recorded paths, if they are known already.
    """
    from lib import study

    attacked = attacked[attacked[rad.SHARE].eq(attacked[rad.SHARE].max())]
    found = study.curves(attacked) if curves is None else curves[
        curves["key"].isin(attacked["key"])].merge(
            attacked[["key", rad.KIND, rad.ARM, rad.DRAW]], on="key")
    return found[rad.whole(found)].assign(epoch=lambda points: points["epoch"].round())


def gaps(points: "DataFrame", reading: str) -> "Series":
    """Training accuracy on poison minus that on clean records, one value a draw."""
    gap = (points["accuracy_poison"] - points["accuracy_clean"]).astype(float)
    kept = points.assign(gap=gap).dropna(subset="gap").sort_values("epoch")
    grouped = kept.groupby(rad.DRAW)["gap"]
    return grouped.mean() if reading == MEAN else grouped.last()


def lines(points: "DataFrame") -> "DataFrame":
    """For figure 11: a line a draw, epoch, attack and kind of records; column `right`."""
    kept = points[[rad.KIND, rad.DRAW, "epoch", *SAMPLES]]
    found = kept.melt([rad.KIND, rad.DRAW, "epoch"], var_name="records", value_name="right")
    return found.assign(records=found["records"].map(SAMPLES),
                        right=found["right"].astype(float)).dropna(subset="right")


def means(points: "DataFrame") -> "DataFrame":
    """The means over draws of `lines`."""
    return lines(points).groupby([rad.KIND, "records", "epoch"], sort=False)["right"].mean(
        ).reset_index()


def panels(points: "DataFrame") -> list[dict]:
    """Figure 11: a panel an attack, for `figures.panels`."""
    found = lines(points).rename(columns={"right": FITTED})
    return [{"frame": found[found[rad.KIND].eq(kind)], "x": "epoch", "y": FITTED,
             "series": "records", "instance": rad.DRAW, "title": f"40% {kind}"}
            for kind in (FLIPS, SLAB)]


def finding(points: "DataFrame") -> str:
    """In words: what the vanilla model fits at the end of its training, under each attack."""
    said = []
    for kind in (FLIPS, SLAB):
        own = points[points[rad.KIND].eq(kind)]
        last = own[own["epoch"].eq(own["epoch"].max())]
        if last["accuracy_poison"].notna().any():
            poison, clean = (100 * last[name].astype(float).mean()
                             for name in ("accuracy_poison", "accuracy_clean"))
            said.append(f"Under {kind}, the last epoch fits {poison:.0f}% of the poison and"
                        f" {clean:.0f}% of the clean training records.")
    return " ".join(said)


