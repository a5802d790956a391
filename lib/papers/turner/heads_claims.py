"""Measuring T15 and T16: DP-SGD on frozen features against a mislabelled backdoor, deer as target.

An instance is a draw of the poisoned images with a training seed of its own. Each arm is judged at
the learning rate that was best for accuracy on held-out images, before any attack. The thesis's own
defence, clipped micro-batches, decides; per-sample clipping stands beside it. Attack success is
counted as in its chapter 5, of the images that are not classified deer without the trigger
(`turned`); of those not labelled deer, and lift, stand beside.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lib.papers.turner import heads
from lib.papers.turner.heads import CORNERS, CROSS, MICRO, PLAIN, SAMPLES, SHOWN
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame, Series

TURNED, BESIDE = "turned", ("success", "lift")
ARM, KIND, NOISE, TRIGGER, SHARE, UNIT = "arm", "kind", "noise", "trigger", "poisoned", "instance"
PER_SAMPLE = "per-sample clipping"
LEAST_CROSS = 0.15  # plain SGD's success with the cross, below which no drop of T15 is possible

# The values of a part's statistic, one an instance, by name where a part speaks of several.
# From the rows, the part, the metric and the kind of clipping.
Statistic = Callable[["DataFrame", Part, str, str], "Mapping[str, ArrayLike]"]


# ---------------------------------------------------------------- rows

def named(frame: "DataFrame") -> "DataFrame":
    """The rows of the arms, with arm, kind, noise, trigger, poisoned share and instance."""
    if frame.empty:
        return frame.assign(**dict.fromkeys((ARM, KIND, NOISE, TRIGGER, SHARE, UNIT), ""))
    lines = [line for _, line in frame.iterrows()]
    others = (heads.CLASSES - 1) / heads.CLASSES
    found = frame.assign(**{
        KIND: [heads.kind(line) for line in lines], ARM: [heads.name_of(line) for line in lines],
        NOISE: frame["defence.noise_multiplier"].astype(float),
        TRIGGER: [trigger_of(line) for line in lines],
        SHARE: (frame["attack.fraction"].astype(float) * others).round(6), UNIT: rows.unit(frame)})
    return found[found[KIND].ne("") & found[TRIGGER].ne("")]


def trigger_of(line: "Series") -> str:
    """The name of a row's trigger; "" for one that this chapter does not have."""
    return next((name for name in heads.TRIGGERS if all(
        line.get(f"attack.{field}") == value for field, value in heads.trigger(name).items())), "")


def prepared(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of the arms on the test set, all to one, with the columns of `named`."""
    badnets = frame[frame["attack.name"].eq("badnets") & frame["attack.base"].isna()]
    return named(rows.prepared(badnets))


def tuned(frame: "DataFrame", grids: heads.Rates) -> "DataFrame":
    """Of `prepared` rows those at the rates that were chosen, see `heads.chosen`."""
    import pandas as pd

    keep = [line["training.lr"] in grids.get(line[ARM], ()) for _, line in frame.iterrows()]
    return frame[pd.Series(keep, index=frame.index, dtype=bool)]


def at(found: "DataFrame", kind: str, noise: float, *, trigger: str = CORNERS, share: float = SHOWN
       ) -> "DataFrame":
    """The rows of one arm. found: of `prepared`."""
    return found[found[KIND].eq(kind) & (found[NOISE] - noise).abs().lt(1e-9)
                 & found[TRIGGER].eq(trigger) & (found[SHARE] - share).abs().lt(1e-6)]


def values(found: "DataFrame", column: str) -> "Series":
    """Mean of a column per instance."""
    return found[column].astype(float).groupby(found[UNIT]).mean()


def minus(own: "DataFrame", other: "DataFrame", column: str) -> "Series":
    """The one arm's value minus the other's, in the same instance."""
    return (values(own, column) - values(other, column)).dropna()


# ---------------------------------------------------------------- claims

def noise_takes_most(frames: Frames, claim: Claim) -> Measurement:
    """T15: noise 1 against plain SGD, with both triggers."""
    def statistic(found: "DataFrame", part: Part, column: str, kind: str
                  ) -> "Mapping[str, ArrayLike]":
        triggers = {"corners": (CORNERS,), "accuracy": (CORNERS, CROSS), "cross": (CROSS,)}
        return {name: minus(at(found, kind, 1.0, trigger=name), at(found, PLAIN, 0.0, trigger=name),
                            column) for name in triggers.get(part.name, (CORNERS, CROSS))}
    return _measure(frames, claim, statistic)


def both_fall(frames: Frames, claim: Claim) -> Measurement:
    """T16: each step of noise, and plain SGD against clipping alone; four corners."""
    def statistic(found: "DataFrame", part: Part, column: str, kind: str
                  ) -> "Mapping[str, ArrayLike]":
        if part.name != "sgd":
            own = found[found[KIND].eq(kind) & found[TRIGGER].eq(CORNERS)
                        & (found[SHARE] - SHOWN).abs().lt(1e-6)]
            return contrasts.steps(_by_noise(own, column))
        both = at(found, PLAIN, 0.0), at(found, kind, 0.0)
        return {"success": minus(*both, column), "accuracy": minus(*both, "accuracy")}
    return _measure(frames, claim, statistic)


def _by_noise(own: "DataFrame", column: str) -> "DataFrame":
    """One line an instance that has every noise level, one column a level, ascending."""
    means = own[column].astype(float).groupby([own[UNIT], own[NOISE]]).mean()
    return means.dropna().unstack().dropna()


# ---------------------------------------------------------------- machinery

def _measure(frames: Frames, claim: Claim, statistic: Statistic) -> Measurement:
    """On the rows at the tuned rates, in the set-up nearest to the published one."""
    whole = frames[claim.notebook]
    found = rows.nearest(tuned(prepared(whole), heads.chosen(whole)), claim.setup)
    if found.empty or found[TURNED].isna().all():
        return judgement.unmeasured(claim)

    def judge(part: Part, column: str, kind: str = MICRO) -> Verdict:
        metric = "accuracy" if part.name == "accuracy" else column
        return worst({name: judgement.guarded(part, own, passed=shown(name, column), column=metric)
                      for name, own in (statistic(found, part, metric, kind) or {"": []}).items()})

    def shown(name: str, column: str) -> bool | None:
        """Whether plain training is attacked: with the cross, if the value is about it."""
        trigger, least = (CROSS, LEAST_CROSS) if name == CROSS else (CORNERS, claim.control)
        return judgement.shows(at(found, PLAIN, 0.0, trigger=trigger), least, column=column)
    measured = judgement.assemble(claim, judge, found, metric=TURNED, beside=BESIDE)
    beside = judgement.line_beside(claim, lambda part, column: judge(part, column, SAMPLES),
                                   PER_SAMPLE, metric=TURNED)
    return Measurement(measured.direction, measured.size, measured.beside + beside, measured.setup,
                       measured.rows)
