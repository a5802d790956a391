"""Measuring R1: the attack without a defence (rows of `10_setup`)."""

from typing import TYPE_CHECKING

from lib.papers import razmi
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import NOT_MEASURED, Verdict, not_testable

if TYPE_CHECKING:
    from pandas import DataFrame, Series

PUBLISHED = {"accuracy-cifar": razmi.HEAD, "accuracy-mnist": razmi.END_TO_END}


def undefended(frames: Frames, claim: Claim) -> Measurement:
    """R1 on every set-up of the frame: each must meet it.

    An absolute accuracy counts under the published set-up only; elsewhere the accuracy is compared
    with that of the set-up's own clean twin (world C).
    """
    frame = frames[claim.notebook]
    plain = rows.undefended(rows.measured(frame, fraction=rows.FIGURE_FRACTION))
    found = rows.places(plain)
    if not found:
        return judgement.unmeasured(claim)
    clean = rows.undefended(rows.measured(frame, world="C"))

    def judge(part: Part, _: str) -> Verdict:
        return worst({_name(place): _judge(part, place, clean, claim) for place in found})

    direction, size = judgement.verdicts(claim, judge, "success")
    return Measurement(
        direction,
        size,
        (("lift", direction, None),),
        "; ".join(_setup(place) for place in found),
        len(plain),
    )


def _name(place: "DataFrame") -> str:
    return "/".join(str(place[column].iloc[0]) for column in ("dataset", "features", "model"))


def _setup(place: "DataFrame") -> str:
    """The label against the nearer of the two published set-ups."""
    line = place.iloc[0]
    published = min(PUBLISHED.values(), key=lambda one: len(rows.differences(line, one)))
    return rows.setup_label(line, published)


def _judge(part: Part, place: "DataFrame", clean: "DataFrame", claim: Claim) -> Verdict:
    passed = judgement.control(place, claim.control, column="accuracy")
    if part.name in PUBLISHED:
        if rows.differences(place.iloc[0], PUBLISHED[part.name]):
            return not_testable(f"{part.statistic}: another set-up")
        return judgement.decide(
            part, rows.per_unit(place, "accuracy"), passed=passed, column="accuracy"
        )
    if part.name == "accuracy-distance":
        change = accuracy_change(place, clean)
        return (
            judgement.decide(part, change, passed=passed, column="accuracy")
            if len(change)
            else NOT_MEASURED
        )
    values = rows.per_unit(place, part.name)
    return judgement.decide(part, values, passed=passed, column=part.name)


def accuracy_change(attacked: "DataFrame", clean: "DataFrame") -> "Series":
    """Accuracy minus that of the clean twin (same settings and seeds), a mean for each attack
    instance.
    """
    on = (
        [name for name in rows.settings(attacked) if name != "attack.fraction"]
        + rows.PAIR
        + rows.SEEDS
    )
    both = attacked.merge(
        clean[[*on, "accuracy"]].drop_duplicates(on), on=on, suffixes=("", " of twin")
    )
    both["change"] = both["accuracy"].astype(float) - both["accuracy of twin"].astype(float)
    return rows.per_unit(both, "change") if len(both) else both["change"]
