"""p-values and sample sizes of an interval, read on the scale on which it was made.

The interval of a bounded statistic is a t interval on a scale of its range (see
`metrics.mean_interval`), that of any other one on its own scale.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.metrics import Bounds

Limits = tuple[float, float, float]  # mean, low, high
MOST = 1 << 40  # more instances than this decide nothing in practice


def p_values(
    limits: Limits, n: int, threshold: float, *, bounds: "Bounds | None" = None
) -> tuple[float, float]:
    """p of being above the threshold, and p of being below it.

    Each is twice the one-sided p of the t test, at most 1, so that the smaller of the two is the
    p of the two-sided test.
    """
    from scipy.stats import t

    distance, spread = _spread(limits, n, threshold, bounds)
    at = distance * math.sqrt(n) / spread
    return min(1.0, float(2 * t.sf(at, n - 1))), min(1.0, float(2 * t.cdf(at, n - 1)))


def n_to_decide(
    limits: Limits,
    n: int,
    threshold: float,
    *,
    bounds: "Bounds | None" = None,
    one_sided: float = 0.025,
) -> int | None:
    """Fewest instances whose t interval, with the spread seen here, would leave the threshold out.

    limits: (mean, low, high). The smallest m with t(1 - one_sided, m - 1) s / sqrt(m) < |mean -
    threshold|; None where the mean is on the threshold or the spread is not known.
    """
    from scipy.stats import t

    distance, spread = _spread(limits, n, threshold, bounds)
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


def _spread(
    limits: Limits, n: int, threshold: float, bounds: "Bounds | None"
) -> tuple[float, float]:
    """(signed distance of the mean from the threshold, standard deviation of one instance), on
    the interval's scale.
    """
    from scipy.stats import t

    from lib.metrics import on_scale

    mean, low, high = (on_scale(value, bounds) for value in limits)
    half = max(high - mean, mean - low)  # a limit that stops at the range is the nearer one
    spread = half * math.sqrt(n) / t.ppf(0.975, n - 1) if n > 1 else math.nan
    return mean - on_scale(threshold, bounds), spread
