"""From values to verdicts: one value an attack instance, a threshold, the positive control."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lib.verdicts import numerals, rows
from lib.verdicts.claim import Beside, Claim, Frames, Measurement, Part, Verdicts
from lib.verdicts.combining import signs, worst
from lib.verdicts.verdict import (
    NOT_MEASURED,
    SAME,
    Verdict,
    arithmetic,
    verdict,
    without_control,
)
from lib.verdicts.verdict import exact as exact_verdict
from lib.verdicts.verdict import proportion as share_verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame

    from lib.metrics import Bounds, Interval

Judge = Callable[[Part, str], Verdict]  # of a part, on lift or another metric


@dataclass(frozen=True)
class Found:
    """What a claim's own module makes of the rows at one poisoned share: the judge of a part, and
    the rows used.

    `judge(part, column) -> Verdict` on lift or another metric; `beside`: further verdicts, `note`:
    in words.
    """

    judge: Judge
    frame: "DataFrame"
    beside: tuple[Beside, ...] = ()
    note: str = ""


Build = Callable[["DataFrame", Claim], Found | None]  # from the poisoned rows of one set-up


def control(frame: "DataFrame", least: float, *, column: str = "lift") -> bool | None:
    """Whether the undefended effect was there: its interval lies above `least`.

    None where it was not measured.

    Undefended rows, else clipping alone; rows of any optimizer in this set-up.
    """
    plain = rows.undefended(frame)
    if plain.empty:
        plain = rows.clipped(frame)
        plain = plain[rows.optional(plain, "defence.noise_multiplier") == 0]
    return shows(plain, least, column=column)


def shows(frame: "DataFrame", least: float, *, column: str = "lift") -> bool | None:
    """Whether the interval of `column` over instances lies above `least`; None without rows.

    Without an interval (one instance, or all equal) the value counts.
    """
    if frame.empty:
        return None
    values = rows.per_unit(frame, column).to_numpy()
    result = estimate(values, bounds=rows.bounds(column))
    return bool((result.mean if math.isnan(result.low) else result.low) > least)


def every(*passed: bool | None) -> bool | None:
    """Several controls as one: failed if one failed, else None if one was not measured."""
    return False if False in passed else None if None in passed else True


def estimate(values: "ArrayLike", *, bounds: "Bounds | None" = None) -> "Interval":
    """The 95% t interval over attack instances, inside of `bounds`; NaN values are left out.

    Equal values have no spread: no interval.
    """
    from lib import metrics

    found = metrics.mean_interval(values, bounds=bounds)
    if found.high - found.low > SAME:
        return found
    return replace(found, low=math.nan, high=math.nan)


def points(
    values: "ArrayLike", *, sign: str = "+", bounds: "Bounds" = rows.DIFFERENCE
) -> str:
    """Mean of shares and its 95% t interval, in percentage points, as text; "–" without a value.

    `bounds`: the range of a value, (0, 1) for a share; else that of a difference of two lifts.
    """
    return in_points(estimate(values, bounds=bounds), sign=sign)


def level(frame: "DataFrame", column: str) -> str:
    """`points` of a share or a lift in one arm, over its instances, within the column's range."""
    from lib.study import columns

    values = rows.per_unit(frame, column).to_numpy()
    return points(values, sign="", bounds=columns.bounds(column) or rows.DIFFERENCE)


def in_points(found: "Interval", *, sign: str = "+") -> str:
    """The same of an interval that is known."""
    if found.n == 0:
        return "–"
    text = f"{100 * found.mean:{sign}.1f}"
    if not math.isnan(found.low):
        text += f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return text.replace("-", numerals.MINUS)


def bounds(part: Part, column: str = "") -> "Bounds | None":
    """The range of a part's statistic, judged on `column` (unknown: a share)."""
    if part.kind in ("ratio", "ratio difference", "number"):
        return None
    if part.kind == "correlation":
        return -1.0, 1.0
    low, high = rows.bounds(column) or (0.0, 1.0)
    return (low - high, high - low) if part.kind == "difference" else (low, high)


def decide(
    part: Part, values: "ArrayLike", *, passed: bool | None, column: str = ""
) -> Verdict:
    """The verdict on one part of a claim, from one value an instance.

    `column`: the metric that the statistic is of, which says how large it can be. Not measured
    without a value.
    """
    import numpy as np

    if not np.isfinite(np.asarray(values, dtype=float)).any():
        return NOT_MEASURED
    within = bounds(part, column)
    return verdict(
        estimate(values, bounds=within),
        part.threshold,
        beyond=part.beyond,
        control_passed=passed,
        bounds=within,
        unit=part.unit,
    )


def guarded(
    part: Part, values: "ArrayLike", *, passed: bool | None, column: str = ""
) -> Verdict:
    """`decide`, where "holds" needs the positive control as well: nothing defends against an attack
    that was not there.
    """
    found = decide(part, values, passed=passed, column=column)
    return found if found.outcome != "holds" or passed else without_control(found)


def proportion(part: Part, values: "ArrayLike", *, passed: bool | None) -> Verdict:
    """The verdict on a share of yes-or-no instances; "holds" needs the positive control as well."""
    import numpy as np

    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    found = share_verdict(int(known.sum()), len(known), part.threshold, beyond=part.beyond,
                          control_passed=passed, unit=part.unit)
    return found if found.outcome != "holds" or passed else without_control(found)


def by_design(part: Part, found: Verdict) -> Verdict:
    """A verdict on a share that so few instances could not show to hold, however they came out:
    says how many could. found: of `proportion`."""
    least = fewest_trials(part.threshold, beyond=part.beyond)
    if found.outcome != "inconclusive" or not 0 < found.n < least:
        return found
    best = f"{found.n if part.beyond == 'above' else 0} of {found.n}"
    return replace(found, n_needed=max(least, found.n_needed or 0), reason=(
        f"inconclusive by design: {best} could not show it, {least} instances at least"))


def fewest_trials(threshold: float, *, beyond: str) -> int:
    """The fewest yes-or-no instances that can put a share beyond a threshold: all on its side.

    All n on one side have a 95% Clopper-Pearson interval that ends at 0.025^(1/n) from the other.
    """
    other = threshold if beyond == "above" else 1 - threshold
    return math.floor(math.log(0.025) / math.log(other)) + 1


def exact(part: Part, value: float, *, n: int, passed: bool = True) -> Verdict:
    """A count or a formula, which nothing is estimated of. n: attack instances behind it."""
    return exact_verdict(
        value, part.threshold, beyond=part.beyond, n=n, control_passed=passed, unit=part.unit
    )


def measure(
    frames: Frames,
    claim: Claim,
    build: Build,
    *,
    fraction: float,
    also: float | None = None,
    metric: str = "lift",
    beside: tuple[str, ...] = rows.BESIDE,
) -> Measurement:
    """Measure a claim on the rows with `fraction` of the base class poisoned, and beside it on
    those with `also`.

    `build(attacked, claim) -> Found | None` gets the poisoned rows of the set-up nearest to the
    published one.
    """
    frame = rows.prepared(frames[claim.notebook])
    found = _at(frame, claim, build, fraction)
    if found is None:
        return unmeasured(claim)
    known = tuple(
        name for name in beside if name in found.frame and found.frame[name].notna().any()
    )
    result = assemble(claim, found.judge, found.frame, metric=metric, beside=known)
    other = None if also is None else _at(frame, claim, build, also)
    more = (
        ()
        if other is None
        else line_beside(
            claim, other.judge, f"{metric}, {also:.0%} of the base class", metric=metric
        )
    )
    return replace(result, beside=result.beside + found.beside + more, note=found.note)


def _at(frame: "DataFrame", claim: Claim, build: Build, fraction: float) -> Found | None:
    attacked = rows.attacked(frame, claim, fraction)
    return build(attacked, claim) if len(attacked) else None


def line_beside(
    claim: Claim, judge: Judge, name: str, *, metric: str = "lift"
) -> tuple[Beside, ...]:
    """One line for `Measurement.beside`, by another judge of the same parts.

    None where nothing was measured.
    """
    both = verdicts(claim, judge, metric)
    return ((name, *both),) if any(one is not None and one.n for one in both) else ()


def verdicts(claim: Claim, judge: Judge, column: str) -> Verdicts:
    """The verdicts on direction and size (None: none is claimed): every part must meet its own."""
    direction, size = (
        combined(parts, judge, column) if parts else None for parts in (claim.direction, claim.size)
    )
    return direction, size


def combined(parts: tuple[Part, ...], judge: Judge, column: str) -> Verdict:
    """Parts as one verdict: the worst of one-sided ones, the signs of two-sided ones.

    The verdict names the part that decides.
    """
    join = signs if parts[0].beyond == "either" else worst
    return join({part.name: _of_part(part, judge(part, column)) for part in parts})


def _of_part(part: Part, found: Verdict) -> Verdict:
    return replace(arithmetic(found, part.arithmetic) if part.arithmetic else found, part=part.name)


def assemble(
    claim: Claim,
    judge: Judge,
    frame: "DataFrame",
    *,
    metric: str = "success",
    beside: tuple[str, ...] = ("lift",),
) -> Measurement:
    """Put a claim's parts together.

    `judge(part, column) -> Verdict` on attack success or on another metric.
    """
    if frame.empty:
        return unmeasured(claim)
    return Measurement(
        *verdicts(claim, judge, metric),
        tuple((name, *verdicts(claim, judge, name)) for name in beside),
        rows.setup_label(frame.iloc[0], claim.setup),
        len(frame),
    )


def unmeasured(claim: Claim) -> Measurement:
    return Measurement(
        NOT_MEASURED if claim.direction else None, NOT_MEASURED if claim.size else None
    )
