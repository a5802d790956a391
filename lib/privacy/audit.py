"""What an attack that was carried out says about epsilon: a bound from below.

A membership test is run in two worlds that are `k` adjacent steps apart. If it says "in" with
probability p1 in one and p0 in the other, then p1 <= e^(k eps) p0 + delta_k, and the same for
"out", whatever the test. Exact binomial limits on p1 and p0 turn counts into a bound.

The test, its threshold included, must be fixed before the trials that are counted here: the best
threshold on the same scores gives no valid bound.
"""

import math

from . import checks
from .bounds import group_privacy

_MOST = 1e3  # an epsilon that no number of trials can show


def audit_lower_bound(hits_in: int, trials_in: int, hits_out: int, trials_out: int, *,
                      confidence: float, delta: float = 0.0, k: int = 1) -> float:
    """Return an epsilon that the mechanism exceeds, with this confidence; 0 if none is shown.

    hits: how often the test said "in", of so many independent trials in either world.
    Clopper-Pearson limits on both rates, each wrong with at most half of 1 - confidence; "out" is
    read from the same two limits. Of n of n hits against 0 of n the bound is about ln(n / 5) at 95%
    and so grows with the trials alone. Source: Jagielski et al. 2020, section 3; 500 of 500
    against 0 of 500 at 99% give 4.5419.
    """
    confidence = checks.number(
        "confidence", confidence, low=0.0, high=1.0, open_low=True, open_high=True)
    delta = checks.number("delta", delta, low=0.0, high=1.0, open_high=True)
    k = checks.count("k", k, low=1)
    least, _ = _limits("in", hits_in, trials_in, confidence)
    _, most = _limits("out", hits_out, trials_out, confidence)
    return max(_least_epsilon(least, most, delta, k), _least_epsilon(1 - most, 1 - least, delta, k))


def _limits(world: str, hits: int, trials: int, confidence: float) -> tuple[float, float]:
    from lib.metrics import clopper_pearson

    trials = checks.count(f"trials_{world}", trials, low=1)
    hits = checks.count(f"hits_{world}", hits)
    if hits > trials:
        raise ValueError(f"hits_{world} is {hits}: expected at most trials_{world}, {trials}")
    return clopper_pearson(hits, trials, confidence=confidence)


def _least_epsilon(high: float, low: float, delta: float, k: int) -> float:
    """The epsilon at which `high` is just allowed: high = e^(k eps) low + delta_k(eps), from below.
    """
    def allowed(epsilon):
        of_group, delta_of_group = group_privacy(epsilon, delta, k)
        return math.exp(min(of_group, 700.0)) * low + delta_of_group >= high

    if allowed(0.0):
        return 0.0
    if not delta:
        return min(_MOST, math.log(high / low) / k) if low else _MOST
    under, over = 0.0, _MOST
    for _ in range(60):
        middle = (under + over) / 2
        under, over = (under, middle) if allowed(middle) else (middle, over)
    return under
