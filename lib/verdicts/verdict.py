"""From an interval and a frozen threshold to a verdict.

One rule for every claim: it *holds* if the whole 95% interval lies beyond the threshold, it *fails*
if the whole interval lies on the other side and the positive control passed (the undefended effect
was there, so its absence means something), and it is *inconclusive* otherwise, with the number of
attack instances that would decide. "Fails" is only said after Holm's correction within a paper;
"holds" is not corrected.

A two-sided statistic has no wrong side: it is *more* if the whole interval lies above the
threshold, *less* if it lies below, and *inconclusive* otherwise. Both signs are findings: both need
the positive control, and both are only said after Holm's correction. Over several parts the sign
*depends* on the part where some are more and some are less.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.metrics import Interval

Bounds = tuple[float, float, float]  # mean, low, high
FINDINGS = ("more", "less", "depends")  # of two-sided statistics
OUTCOMES = ("holds", "fails", *FINDINGS, "inconclusive", "not measured", "not testable here")
LEVEL = 0.05  # of Holm's correction; the intervals are two-sided at 95%
TRIALS = 1000  # test images behind a share: the continuity of the logit scale
MOST = 1 << 40  # more instances than this decide nothing in practice


@dataclass(frozen=True)
class Verdict:
    """An outcome with what it rests on.

    `measured`, `low`, `high`: the statistic and its 95% interval, in the statistic's unit. `n`:
    attack instances behind it; `n_needed`: instances that would decide an inconclusive one (None:
    unknown, or no number would). `unit`: "%" where it is shown times 100. `p`: one-sided, small
    where the data speak against the claim; `p_holm`: after Holm.
    `beyond` "either": `p` is two-sided, small where the statistic is not at the threshold.
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
    scale: str = "identity"
    unit: str = ""
    p: float = math.nan
    p_holm: float = math.nan
    reason: str = ""
    essential: bool = False

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome {self.outcome!r}: expected one of {', '.join(OUTCOMES)}")


NOT_MEASURED = Verdict("not measured")


def not_testable(reason: str, *, essential: bool = False) -> Verdict:
    """A part of a claim that this set-up cannot speak to (an absolute accuracy under a substitute).

    `essential`: nothing else of the claim stands for the part: the rest alone cannot make it hold.
    """
    return Verdict("not testable here", reason=reason, essential=essential)


def verdict(
    interval: "Interval | Bounds",
    threshold: float,
    *,
    beyond: str,
    control_passed: bool | None,
    n: int | None = None,
    scale: str = "identity",
    unit: str = "",
) -> Verdict:
    """Judge a statistic by its 95% t interval.

    `interval`: anything with `mean`, `low`, `high`, `n`, or a tuple (mean, low, high) and `n`
    beside it.
    `beyond`: the side of `threshold` the claim is on, "above" or "below", or "either" (two-sided:
    "more", "less"; both need the control). `control_passed`: None where the control was not
    measured; only a passed control lets a claim fail. `scale`: "logit" where the interval was made
    on that scale (proportions near 0 and 1); the spread is then read on it.
    """
    if beyond not in ("above", "below", "either"):
        raise ValueError(f"beyond {beyond!r}: expected 'above', 'below' or 'either'")
    mean, low, high, n = _read(interval, n)
    base = {
        "measured": mean,
        "low": low,
        "high": high,
        "n": n,
        "threshold": threshold,
        "beyond": beyond,
        "control_passed": control_passed,
        "scale": scale,
        "unit": unit,
    }
    if n == 0 or math.isnan(mean):
        return Verdict("not measured", **base)
    if math.isnan(low) or math.isnan(high):
        return Verdict("inconclusive", reason="one instance has no spread: two at least", **base)
    base["p"] = _p_against((mean, low, high), n, threshold, beyond=beyond, scale=scale)
    said = _said(low, high, threshold, beyond=beyond)
    if said == "inconclusive":
        return Verdict(
            "inconclusive",
            reason="the interval holds the threshold",
            n_needed=n_to_decide((mean, low, high), n, threshold, scale=scale),
            **base,
        )
    if said == "holds" or control_passed:
        return Verdict(said, **base)
    why = (
        "the positive control was not measured"
        if control_passed is None
        else "the positive control failed"
    )
    return Verdict("inconclusive", reason=why, **base)


def _said(low: float, high: float, threshold: float, *, beyond: str) -> str:
    """The outcome of an interval alone: before the positive control and Holm's correction."""
    if low <= threshold <= high:
        return "inconclusive"
    if beyond == "either":
        return "more" if low > threshold else "less"
    return "holds" if (low > threshold) == (beyond == "above") else "fails"


def _read(interval: "Interval | Bounds", n: int | None) -> tuple[float, float, float, int]:
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


def _on(scale: str, value: float) -> float:
    """`value` on the scale on which the interval is symmetric."""
    if scale == "identity":
        return value
    if scale != "logit":
        raise ValueError(f"scale {scale!r}: expected 'identity' or 'logit'")
    if not 0 <= value <= 1:
        raise ValueError(f"{value!r} on the logit scale: expected a proportion in [0, 1]")
    hits = value * TRIALS + 0.5  # as in `metrics.mean_interval`: keeps 0 and 1 finite
    return math.log(hits / (TRIALS + 1 - hits))


def _spread(interval: Bounds, n: int, threshold: float, *, scale: str) -> tuple[float, float]:
    """(signed distance of the mean from the threshold, standard deviation of one instance), on
    `scale`.
    """
    from scipy.stats import t

    mean, low, high = (_on(scale, value) for value in interval)
    half = max(high - mean, mean - low)  # a limit that was cut at 0 or 1 is the nearer one
    return mean - _on(scale, threshold), half * math.sqrt(n) / t.ppf(
        0.975, n - 1
    ) if n > 1 else math.nan


def _p_against(interval: Bounds, n: int, threshold: float, *, beyond: str, scale: str) -> float:
    """One-sided p-value of the claim's threshold being met; two-sided for "either"."""
    from scipy.stats import t

    distance, spread = _spread(interval, n, threshold, scale=scale)
    if beyond == "either":
        if spread == 0:
            return float(distance == 0)
        return float(2 * t.sf(abs(distance) * math.sqrt(n) / spread, n - 1))
    signed = distance if beyond == "above" else -distance
    if spread == 0:
        return 0.5 if signed == 0 else float(signed > 0)
    return float(t.cdf(signed * math.sqrt(n) / spread, n - 1))


def n_to_decide(
    interval: Bounds,
    n: int,
    threshold: float,
    *,
    scale: str = "identity",
    one_sided: float = 0.025,
) -> int | None:
    """Fewest instances whose t interval, with the spread seen here, would leave the threshold out.

    interval: (mean, low, high). The smallest m with t(1 - one_sided, m - 1) s / sqrt(m) < |mean -
    threshold|; None where the mean is on the threshold or the spread is not known.
    """
    from scipy.stats import t

    distance, spread = _spread(interval, n, threshold, scale=scale)
    if distance == 0 or math.isnan(distance) or math.isnan(spread):
        return None

    def decides(m: int) -> bool:
        return t.ppf(1 - one_sided, m - 1) * spread / math.sqrt(m) < abs(distance)

    top = 2
    while not decides(top):
        top *= 2
        if top > MOST:
            return None
    bottom = top // 2  # the half-width falls with m, so bisection finds the first m
    while top - bottom > 1:
        middle = (top + bottom) // 2
        bottom, top = (bottom, middle) if middle >= 2 and decides(middle) else (middle, top)
    return top


def holm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Holm's step-down correction over one family (the verdicts of one paper), in the order given.

    Every verdict with a p-value counts in the family. A "fails", or a two-sided finding, whose
    corrected p is not below 0.05 becomes "inconclusive", with the n at which it would stand.
    """
    known = sorted((v.p, i) for i, v in enumerate(verdicts) if not math.isnan(v.p))
    out, running = list(verdicts), 0.0
    for rank, (p, i) in enumerate(known):
        running = max(running, min(1.0, p * (len(known) - rank)))
        out[i] = _corrected(verdicts[i], running, factor=len(known) - rank)
    return out


def _corrected(one: Verdict, p_holm: float, *, factor: int) -> Verdict:
    if one.outcome not in ("fails", *FINDINGS) or p_holm < LEVEL:
        return replace(one, p_holm=p_holm)
    tail = LEVEL / factor / (2 if one.beyond == "either" else 1)
    needed = n_to_decide(
        (one.measured, one.low, one.high), one.n, one.threshold, scale=one.scale, one_sided=tail
    )
    return replace(
        one,
        outcome="inconclusive",
        p_holm=p_holm,
        n_needed=needed,
        reason=f"{one.outcome} alone (p {one.p:.2g}), not after Holm's correction (p {p_holm:.2g})",
    )


def worst(verdicts: Mapping[str, Verdict]) -> Verdict:
    """A claim that every part must meet: the part that decides, named in `reason`.

    No correction is needed to hold (all do). To fail, one part must stand Holm's correction over
    the parts. A part that is not testable here is left out unless there is no other; one not
    measured, or not testable and essential, blocks "holds".
    """
    parts = {name: v for name, v in verdicts.items() if v.outcome != "not testable here"}
    if not parts:
        return next(iter(verdicts.values()), NOT_MEASURED)
    untestable = {name: v for name, v in verdicts.items() if v.essential and name not in parts}
    parts = dict(zip(parts, holm(list(parts.values()))))
    smallest = min((v.p_holm for v in parts.values() if not math.isnan(v.p_holm)), default=math.nan)
    measured = {k: v for k, v in parts.items() if v.outcome != "not measured"}
    name = min(measured or parts, key=lambda k: _decides_first(parts[k]))
    chosen, missing = parts[name], sorted(set(parts) - set(measured))
    if chosen.outcome == "holds" and missing:
        chosen = replace(
            chosen, outcome="inconclusive", reason=f"not measured: {', '.join(missing)}"
        )
    if untestable:
        chosen = _without(chosen, name, untestable)
    return _named(replace(chosen, p=smallest, p_holm=math.nan), name, of=len(parts))


def _without(chosen: Verdict, name: str, untestable: Mapping[str, Verdict]) -> Verdict:
    """A claim with essential parts that cannot be tested: it can fail by the others, not hold."""
    if chosen.outcome == "not testable here" or chosen.outcome == "not measured":
        return chosen
    why = "; ".join(dict.fromkeys(v.reason for v in untestable.values()))
    if chosen.outcome == "holds":
        return replace(chosen, outcome="not testable here", reason=f"{name} alone holds; {why}")
    return replace(chosen, reason="; ".join(part for part in (chosen.reason, why) if part))


def signs(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Two-sided parts as one verdict: one sign if all show it, "depends" if two show opposite ones.

    Holm's correction over the parts decides which show a sign. The numbers are those of the part
    with the largest p, which shows the least.
    """
    parts = dict(zip(verdicts, holm(list(verdicts.values()))))
    measured = {name: v for name, v in parts.items() if not math.isnan(v.p)}
    if not measured:
        return next(iter(parts.values()), NOT_MEASURED)
    name = max(measured, key=lambda key: measured[key].p)
    outcome = _joint_sign({v.outcome for v in parts.values()})
    chosen = replace(
        measured[name], outcome=outcome, p=_joint_p(measured, outcome), p_holm=math.nan
    )
    if len(parts) == 1:
        return chosen
    listed = ", ".join(f"{part}: {v.outcome}" for part, v in parts.items())
    return replace(chosen, reason=f"{name} shown; {listed}")


def _joint_sign(outcomes: set[str]) -> str:
    if {"more", "less"} <= outcomes:
        return "depends"
    return next(iter(outcomes)) if len(outcomes) == 1 else "inconclusive"


def _joint_p(measured: Mapping[str, Verdict], outcome: str) -> float:
    """p of what is said: of the least certain part; of opposite signs, of the less certain."""
    if outcome != "depends":
        return max(v.p_holm for v in measured.values())
    return max(
        min(v.p_holm for v in measured.values() if v.outcome == sign) for sign in ("more", "less")
    )


def best(verdicts: Mapping[str, Verdict]) -> Verdict:
    """A claim that one part at least must meet.

    It holds if one part holds with its error rate divided by the number of parts; it fails if every
    part fails (no correction needed: all must).
    """
    measured = {k: v for k, v in verdicts.items() if not math.isnan(v.p)}
    if not measured:
        return next(iter(verdicts.values()), NOT_MEASURED)
    name = max(measured, key=lambda k: measured[k].p)  # the part nearest to the claim
    chosen = measured[name]
    if chosen.outcome == "holds" and (1 - chosen.p) * len(measured) > LEVEL / 2:
        needed = n_to_decide(
            (chosen.measured, chosen.low, chosen.high),
            chosen.n,
            chosen.threshold,
            scale=chosen.scale,
            one_sided=LEVEL / 2 / len(measured),
        )
        chosen = replace(
            chosen,
            outcome="inconclusive",
            n_needed=needed,
            reason="holds alone, not as the best of several",
        )
    short = len(measured) < len(verdicts)
    if chosen.outcome == "fails" and (
        short or any(v.outcome != "fails" for v in measured.values())
    ):
        chosen = replace(
            chosen,
            outcome="inconclusive",
            reason="not every part fails, or not every part was measured",
        )
    return _named(chosen, name, of=len(measured))


def _named(one: Verdict, name: str, *, of: int) -> Verdict:
    return (
        one
        if of == 1
        else replace(one, reason="; ".join(part for part in (name, one.reason) if part))
    )


def _decides_first(one: Verdict) -> tuple[int, float]:
    """Sort key: the clearest failure, else what needs the most instances, else the narrowest
    success.
    """
    if one.outcome == "fails":
        return 0, one.p
    if one.outcome == "inconclusive":
        return 1, -math.inf if one.n_needed is None else -one.n_needed
    return (2, -one.p) if one.outcome == "holds" else (3, 0.0)
