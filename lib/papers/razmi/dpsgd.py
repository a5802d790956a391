"""Measuring R2 to R5: DP-SGD against the backdoor (Razmi et al., figure 1; rows of `11_dpsgd`).

Each statistic is computed per attack instance, and the interval is over instances. Every claim is
judged on attack success, as published, and beside it on lift: half of the base class is relabelled,
so a learner that sees no trigger at all may call the whole class target, and attack success alone
cannot tell.
"""

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import best, worst
from lib.verdicts.judgement import Judge
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from numpy import ndarray
    from numpy.typing import ArrayLike
    from pandas import DataFrame

T = TypeVar("T")

NOISE, CLIP = "defence.noise_multiplier", "defence.max_grad_norm"
FEWEST = 3  # points of a curve
TOLERANCE = 0.02  # of matched accuracy
RMSPROP, FAST, SLOW = "RMSProp", "SGD, large rate", "SGD, small rate"
RATES = {FAST: 0.1, SLOW: 0.01}  # as published; only used to name a single rate


def series(frame: "DataFrame", axis: str) -> dict:
    """The three optimizers' sweeps over `axis` by role: RMSProp, SGD with the larger and the
    smaller rate.
    """
    if axis == CLIP:
        frame = frame[frame[NOISE] > 0]
    found = {RMSPROP: rows.sweep(frame[frame["training.optimizer"] == "rmsprop"], axis)}
    sgd = frame[frame["training.optimizer"] == "sgd"]
    by_rate = {rate: rows.sweep(group, axis) for rate, group in sgd.groupby("training.lr")}
    by_rate = {rate: group for rate, group in by_rate.items() if group[axis].nunique() >= FEWEST}
    if len(by_rate) == 1:
        rate = next(iter(by_rate))
        found[min(RATES, key=lambda name: abs(math.log(rate / RATES[name])))] = by_rate[rate]
    elif by_rate:
        found |= {FAST: by_rate[max(by_rate)], SLOW: by_rate[min(by_rate)]}
    return {
        name: group
        for name, group in found.items()
        if len(group) and group[axis].nunique() >= FEWEST
    }


def _study(frames: Frames, claim: Claim, axis: str):
    """(rows of figure 1 in the set-up nearest to the published one, the sweeps over `axis`)."""
    attacked = rows.measured(frames[claim.notebook], fraction=rows.FIGURE_FRACTION)
    attacked = rows.nearest(attacked, claim.setup)
    return attacked, series(rows.clipped(attacked), axis) if len(attacked) else {}


def _used(frame: "DataFrame", found: dict) -> "DataFrame":
    """The rows of `frame` that the sweeps use."""
    keys = {key for group in found.values() for key in group.index}
    return frame[frame.index.isin(keys)]


def noise_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 1a and b."""
    attacked = rows.measured(frame, fraction=rows.FIGURE_FRACTION)
    return _used(attacked, series(rows.clipped(attacked), NOISE)) if len(attacked) else attacked


def clip_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 1c and d."""
    attacked = rows.measured(frame, fraction=rows.FIGURE_FRACTION)
    return _used(attacked, series(rows.clipped(attacked), CLIP)) if len(attacked) else attacked


# ---------------------------------------------------------------- R2


def falls_with_noise(frames: Frames, claim: Claim) -> Measurement:
    """R2: how accuracy and attack success change with noise, per level and at each step.

    The worst optimizer decides.
    """
    frame, found = _study(frames, claim, NOISE)
    passed = judgement.control(frame, claim.control) if len(frame) else None

    def judge(part: Part, column: str) -> Verdict:
        verdicts = {
            f"{metric}, {name}": _falls(part, rows.curve(group, NOISE, metric), metric, passed)
            for name, group in found.items()
            for metric in (column, "accuracy")
        }
        return worst(
            verdicts
            | {name: NOT_MEASURED for name in (RMSPROP, FAST, SLOW) if name not in found and found}
        )

    return assemble_or_none(claim, judge, frame, found)


def _falls(part: Part, table: "DataFrame", column: str, passed: bool | None) -> Verdict:
    """The change per level of noise ("trend"), or the step that falls least ("step")."""
    if part.name == "trend":
        return judgement.decide(part, contrasts.slope(table), passed=passed, column=column)
    steps = contrasts.steps(table)
    return worst({
        name: judgement.decide(part, values, passed=passed, column=column)
        for name, values in steps.items()
    })


def rank_correlations(frames: Frames, claim: Claim) -> Measurement:
    """R2 as first frozen: rank correlations with noise, which few levels leave without a spread."""
    frame, found = _study(frames, claim, NOISE)
    passed = judgement.control(frame, claim.control) if len(frame) else None

    def judge(part: Part, column: str) -> Verdict:
        return worst({
            f"{metric}, {name}": judgement.decide(
                part, contrasts.trend(rows.curve(group, NOISE, metric)), passed=passed
            )
            for name, group in found.items()
            for metric in (column, "accuracy")
        })

    return assemble_or_none(claim, judge, frame, found, beside=())


# ---------------------------------------------------------------- R3


def optimizers_at_equal_accuracy(frames: Frames, claim: Claim) -> Measurement:
    """R3: attack success of SGD minus that of RMSProp at matched accuracy, per instance.

    Both SGD series must show it.
    """
    frame, found = _study(frames, claim, NOISE)
    passed = judgement.control(frame, claim.control) if len(frame) else None

    def judge(part: Part, column: str) -> Verdict:
        if RMSPROP not in found:
            return NOT_MEASURED
        return worst(
            {
                f"{name} against RMSProp": judgement.decide(
                    part, _gaps(found[name], found[RMSPROP], column), passed=passed, column=column
                )
                for name in (FAST, SLOW)
                if name in found
            }
        )

    return assemble_or_none(claim, judge, frame, found)


def _gaps(one, other: "DataFrame", column: str) -> list[float]:
    """The matched difference for each instance that both sweeps have."""
    first, second = (
        {
            name: (accuracy.loc[name].to_numpy(), values.loc[name].to_numpy())
            for name in accuracy.index
        }
        for accuracy, values in (
            (rows.curve(group, NOISE, "accuracy"), rows.curve(group, NOISE, column))
            for group in (one, other)
        )
    )
    return [at_equal_accuracy(*first[name], *second[name]) for name in first if name in second]


def at_equal_accuracy(
    accuracy: "ArrayLike",
    values: "ArrayLike",
    other_accuracy: "ArrayLike",
    other_values: "ArrayLike",
) -> float:
    """Mean difference of two curves, each a metric against accuracy, at the accuracies that both
    reach.

    Both curves are read at every accuracy measured on either, by linear interpolation; beyond the
    end of a curve its last point stands in for 2 points of accuracy, no further. NaN where they do
    not meet.
    """
    import numpy as np

    (x, y), (u, v) = (
        _by_accuracy(a, m) for a, m in ((accuracy, values), (other_accuracy, other_values))
    )
    knots = np.unique(np.concatenate([x, u]))
    low, high = max(x[0], u[0]) - TOLERANCE, min(x[-1], u[-1]) + TOLERANCE
    knots = knots[(knots >= low) & (knots <= high)]
    return (
        float(np.mean(np.interp(knots, x, y) - np.interp(knots, u, v))) if len(knots) else math.nan
    )


def _by_accuracy(accuracy: "ArrayLike", values: "ArrayLike"):
    import numpy as np

    order = np.argsort(accuracy, kind="stable")
    return np.asarray(accuracy, dtype=float)[order], np.asarray(values, dtype=float)[order]


# ---------------------------------------------------------------- R4


def clipping_is_not_monotone(frames: Frames, claim: Claim) -> Measurement:
    """R4: how far accuracy turns back along C, and its range; one optimizer must show it.

    Where the curve turns, and its best and worst C, are chosen on the other instances and judged on
    this
    one: the largest of several noisy numbers is not evidence of a difference.
    """
    frame, found = _study(frames, claim, CLIP)
    passed = judgement.control(frame, claim.control, column="accuracy") if len(frame) else None

    def judge(part: Part, column: str) -> Verdict:
        statistic = {"turn": turn, "range": spread}[part.name]
        return best(
            {
                name: judgement.decide(
                    part,
                    left_out(rows.curve(group, CLIP, column).to_numpy(), statistic),
                    passed=passed,
                    column=column,
                )
                for name, group in found.items()
            }
        )

    return assemble_or_none(
        claim, judge, frame, found, metric="accuracy", beside=("success", "lift")
    )


def left_out(curves: "ndarray", statistic: Callable[["ndarray", "ndarray"], T]) -> list[T]:
    """`statistic(choose_on, judge_on)` for each line of `curves` [instances, points]: choose on the
    mean of the others.
    """
    import numpy as np

    if len(curves) < 2:
        return []
    return [
        statistic(np.delete(curves, i, axis=0).mean(axis=0), curves[i]) for i in range(len(curves))
    ]


def turn(chosen: "ndarray", judged: "ndarray") -> float:
    """Depth of the clearest turn (up then down, or down then up): the smaller of its two sides."""

    def depth(curve, sign, i, j, k):
        return min(sign * (curve[j] - curve[i]), sign * (curve[j] - curve[k]))

    places = [
        (sign, *three)
        for sign in (1, -1)
        for three in itertools.combinations(range(len(chosen)), 3)
    ]
    return float(depth(judged, *max(places, key=lambda place: depth(chosen, *place))))


def spread(chosen: "ndarray", judged: "ndarray") -> float:
    """Judged value at the best point minus that at the worst."""
    return float(judged[chosen.argmax()] - judged[chosen.argmin()])


# ---------------------------------------------------------------- R5


def slow_sgd_at_small_clipping(frames: Frames, claim: Claim) -> Measurement:
    """R5: attack success at the smallest C minus that at C 2 (the nearest within a factor of two),
    paired.
    """
    frame, found = _study(frames, claim, CLIP)
    passed = judgement.control(frame, claim.control) if len(frame) else None

    def judge(part: Part, column: str) -> Verdict:
        if SLOW not in found:
            return NOT_MEASURED
        table = rows.curve(found[SLOW], CLIP, column)
        two = min(table.columns, key=lambda norm: abs(math.log(norm / 2)), default=math.nan)
        if not 1 <= two <= 4 or two == table.columns[0]:
            return NOT_MEASURED
        values = table[table.columns[0]] - table[two]
        return judgement.decide(part, values, passed=passed, column=column)

    return assemble_or_none(claim, judge, frame, found)


def assemble_or_none(
    claim: Claim, judge: Judge, frame: "DataFrame", found: dict, **more: Any
) -> Measurement:
    """The claim's measurement over the rows its sweeps use; not measured without sweeps."""
    return (
        judgement.assemble(claim, judge, _used(frame, found), **more)
        if found
        else judgement.unmeasured(claim)
    )
