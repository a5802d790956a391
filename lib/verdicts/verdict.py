"""From an interval and a frozen threshold to a verdict.

One rule for every claim: it *holds* if the whole 95% interval lies beyond the threshold, it *fails*
if the whole interval lies on the other side and the positive control passed (the undefended effect
was there, so its absence means something), and it is *inconclusive* otherwise, with the reason.
Either word is only said after Holm's correction within a paper (`family`) and on as many attack
instances as were stated beforehand (`evaluation`).

A two-sided statistic has no wrong side: it is *more* if the whole interval lies above the
threshold, *less* if it lies below. Both are findings, and both need the positive control. Over
several parts the sign *depends* on the part where some are more and some are less.

A claim that follows from formulas and settings, or that checks a theorem, could not come out
otherwise: it is *arithmetic*, and *fails* where the numbers contradict it. It has no p-value and is
in no family.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lib.verdicts import numerals
from lib.verdicts.inference import Limits, n_to_decide, p_values

if TYPE_CHECKING:
    from lib.metrics import Bounds, Interval

FINDINGS = ("more", "less", "depends")  # of two-sided statistics
DECIDED = ("holds", "fails", *FINDINGS)
OUTCOMES = (*DECIDED, "inconclusive", "arithmetic", "not measured", "not testable here")
SAME = 1e-9  # between values that differ by rounding alone
LEVEL = 0.05  # of Holm's correction; the intervals are two-sided at 95%


@dataclass(frozen=True)
class Verdict:
    """An outcome with what it rests on.

    `measured`, `low`, `high`: the statistic and its 95% interval, in the statistic's unit; nan
    limits: no interval. `n`: attack instances behind it; `fewest`: of any part it rests on.
    `n_needed`: instances that would decide an inconclusive one (None: unknown, or no number would).
    `unit`: see `numerals`; `bounds`: the range of the statistic, None without one.
    `p_for`, `p_against`: of the claim being met and of its contrary ("either": of more and of
    less), each twice a one-sided p; `p_holm`: the smaller after Holm. NaN: no test.
    `part`: the claim's part that decides; `path`: what of it does, outermost first.
    `essential`: a part that is not testable here, without which the claim cannot hold.
    """

    outcome: str
    measured: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    n_needed: int | None = None
    threshold: float = math.nan
    beyond: str = "above"
    control_passed: bool | None = None
    bounds: "Bounds | None" = None
    unit: str = ""
    p_for: float = math.nan
    p_against: float = math.nan
    p_holm: float = math.nan
    reason: str = ""
    essential: bool = False
    fewest: int = 0
    part: str = ""
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome {self.outcome!r}: expected one of {', '.join(OUTCOMES)}")

    @property
    def p(self) -> float:
        """Two-sided p: that of the word that could be said."""
        known = [p for p in (self.p_for, self.p_against) if not math.isnan(p)]
        return min(known, default=math.nan)

    @property
    def decided_by(self) -> str:
        """The part that decides, and what of it does, in words."""
        return ", ".join(dict.fromkeys(name for name in (self.part, *self.path) if name))

    @property
    def limits(self) -> Limits:
        return self.measured, self.low, self.high


NOT_MEASURED = Verdict("not measured")


def not_testable(reason: str, *, essential: bool = False) -> Verdict:
    """A part of a claim that this set-up cannot speak to (an absolute accuracy under a substitute).

    `essential`: nothing else of the claim stands for the part: the rest alone cannot make it hold.
    """
    return Verdict("not testable here", reason=reason, essential=essential)


def verdict(
    interval: "Interval | Limits",
    threshold: float,
    *,
    beyond: str,
    control_passed: bool | None,
    n: int | None = None,
    bounds: "Bounds | None" = None,
    unit: str = "",
) -> Verdict:
    """Judge a statistic by its 95% t interval.

    `interval`: anything with `mean`, `low`, `high`, `n`, or a tuple (mean, low, high) and `n`
    beside it.
    `beyond`: the side of `threshold` the claim is on, "above" or "below", or "either" (two-sided:
    "more", "less"; both need the control). `control_passed`: None where the control was not
    measured; only a passed control lets a claim fail. `bounds`: those the interval was made with.
    Equal values have no spread, and so no interval.
    """
    if beyond not in ("above", "below", "either"):
        raise ValueError(f"beyond {beyond!r}: expected 'above', 'below' or 'either'")
    mean, low, high, n = _read(interval, n)
    if high - low <= SAME:
        low = high = math.nan
    found = Verdict("not measured", mean, low, high, n, None, threshold, beyond, control_passed,
                    bounds, unit, fewest=n)
    if n == 0 or math.isnan(mean):
        return found
    if math.isnan(low) or math.isnan(high):
        why = "one instance has no spread: two at least" if n == 1 else NO_SPREAD
        return replace(found, outcome="inconclusive", reason=why)
    above, below = p_values(found.limits, n, threshold, bounds=bounds)
    found = replace(found, p_for=below if beyond == "below" else above,
                    p_against=above if beyond == "below" else below)
    return _judged(found, _said(low, high, threshold, beyond=beyond))


NO_SPREAD = "all instances are equal: no spread, so no interval"


def _judged(found: Verdict, said: str) -> Verdict:
    """The word that an interval says, where the control allows it; else why not."""
    if said == "inconclusive" and found.control_passed is False:
        wide = numerals.width(found.low, found.high, found.unit)
        return replace(found, outcome=said, reason=(
            f"too wide: {wide} at n {found.n}, and the positive control failed"))
    if said == "inconclusive":
        needed = n_to_decide(found.limits, found.n, found.threshold, bounds=found.bounds)
        return too_wide(replace(found, n_needed=needed))
    return replace(found, outcome=said) if said == "holds" or found.control_passed else (
        without_control(replace(found, outcome=said)))


def too_wide(found: Verdict) -> Verdict:
    """An interval that holds the threshold, with its width and the n that would decide."""
    many = "no number" if found.n_needed is None else f"about {found.n_needed:,}"
    return replace(found, outcome="inconclusive", reason=(
        f"too wide: {numerals.width(found.low, found.high, found.unit)} at n {found.n}; "
        f"{many} would decide"))


def without_control(found: Verdict) -> Verdict:
    """A word that needs the positive control, and does not have it."""
    control = "was not measured" if found.control_passed is None else "failed"
    side = {"holds": "beyond the threshold", "fails": "on the wrong side of the threshold",
            "more": "above the threshold", "less": "below the threshold"}[found.outcome]
    return replace(found, outcome="inconclusive",
                   reason=f"{side}, but the positive control {control}")


def proportion(
    hits: int, n: int, threshold: float, *, beyond: str, control_passed: bool | None,
    unit: str = "",
) -> Verdict:
    """Judge a share of yes-or-no instances by its 95% Clopper-Pearson interval.

    For shares at 0 or 1 too, where a t interval has no width. p is that of the binomial test.
    """
    from scipy.stats import binomtest

    from lib import metrics

    if not n:
        return NOT_MEASURED
    low, high = metrics.clopper_pearson(hits, n)
    above, below = (min(1.0, 2 * float(binomtest(hits, n, threshold, alternative=side).pvalue))
                    for side in ("greater", "less"))
    found = Verdict("not measured", hits / n, low, high, n, None, threshold, beyond, control_passed,
                    (0.0, 1.0), unit, fewest=n, p_for=below if beyond == "below" else above,
                    p_against=above if beyond == "below" else below)
    said = _said(low, high, threshold, beyond=beyond)
    if said == "inconclusive" and control_passed is not False:
        return too_wide(replace(found, n_needed=_n_of_share(hits / n, n, threshold)))
    return _judged(found, said)


def _n_of_share(share: float, n: int, threshold: float) -> int | None:
    """Fewest instances with this share whose Clopper-Pearson interval leaves the threshold out."""
    from lib import metrics

    for many in range(n + 1, 100 * n):
        low, high = metrics.clopper_pearson(round(share * many), many)
        if not low <= threshold <= high:
            return many
    return None


def exact(
    value: float, threshold: float, *, beyond: str, n: int, control_passed: bool = True,
    unit: str = "",
) -> Verdict:
    """Nothing is estimated: a count or a formula, without interval and p-value.

    n: attack instances behind it. Without the positive control it shows nothing.
    """
    if math.isnan(value):
        return NOT_MEASURED
    met = value > threshold if beyond == "above" else value < threshold
    found = Verdict("holds" if met else "fails", value, n=n, threshold=threshold, beyond=beyond,
                    control_passed=control_passed, unit=unit, fewest=n)
    return found if control_passed else without_control(found)


def arithmetic(found: Verdict, why: str) -> Verdict:
    """A verdict on what could not come out otherwise, and `why`; where it did, it fails."""
    words = {"holds": ("arithmetic", why), "fails": ("fails", f"contradicts arithmetic: {why}")}
    if found.outcome not in words:
        return found
    outcome, reason = words[found.outcome]
    return replace(found, outcome=outcome, reason=reason, p_for=math.nan, p_against=math.nan)


def _said(low: float, high: float, threshold: float, *, beyond: str) -> str:
    """The outcome of an interval alone: before the positive control and Holm's correction."""
    if low <= threshold <= high:
        return "inconclusive"
    if beyond == "either":
        return "more" if low > threshold else "less"
    return "holds" if (low > threshold) == (beyond == "above") else "fails"


def _read(interval: "Interval | Limits", n: int | None) -> tuple[float, float, float, int]:
    if not isinstance(interval, tuple):
        return (
            float(interval.mean),
            float(interval.low),
            float(interval.high),
            int(interval.n if n is None else n),
        )
    if n is None:
        raise ValueError(
            "a bare (mean, low, high) has no n: pass n=, the number of attack instances"
        )
    return *interval, int(n)
