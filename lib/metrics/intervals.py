"""Intervals for a share in one run, and for means across attack instances.

The unit of replication is the attack instance (class pair, trigger draw, poisoned rows); test
images of one model do not replicate a training.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


Bounds = tuple[float, float]  # the least and the largest that a value can be
ROUNDING = 1e-9  # how far past its bounds a mean of shares may lie


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over n instances with its interval; low and high are nan for n < 2."""

    mean: float
    low: float
    high: float
    n: int


def wilson(hits: float, trials: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval for a proportion in one run (not across runs)."""
    return _binomial_interval(hits, trials, confidence, "wilson")


def clopper_pearson(hits: float, trials: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact (conservative) interval for a proportion in one run."""
    return _binomial_interval(hits, trials, confidence, "exact")


def _binomial_interval(hits, trials, confidence, method):
    from scipy.stats import binomtest

    _check_confidence(confidence)
    if trials != int(trials) or trials < 1 or hits != int(hits) or not 0 <= hits <= trials:
        raise ValueError(f"hits is {hits!r} of {trials!r} trials: expected 0 <= hits <= trials")
    found = binomtest(int(hits), int(trials)).proportion_ci(confidence, method)
    return float(found.low), float(found.high)


def mean_interval(values: "ArrayLike", *, confidence: float = 0.95,
                  bounds: Bounds | None = None) -> Interval:
    """Return the t interval of a mean over attack instances.

    values: one number an instance (average the seeds of an instance first); nan means not
    measured and is left out, n says how many were left. bounds: the range of one value, (0, 1)
    for a share, (-1, 1) for a difference of shares or a correlation; the interval then stays
    inside: the mean and its standard error are carried to the angle arcsin(sqrt(x)), x the mean's
    place in the range, the t interval is made there, and its limits are carried back. The mean
    stays the plain mean. Why so (shares from beta distributions, three to ten instances; a test
    repeats it): cutting the plain interval at the range leaves its coverage as it is, 85 to 88%
    for shares around 0.95; here it is 89 to 91%, and elsewhere as good or better. The logit
    covers 93%, but its test cannot tell three shares of 0.99 from one half (p 0.01, Hauck and
    Donner's effect). Logits of the single values would cover a typical instance, and of ten
    instances their mean in 74%.
    """
    found = _t_interval(_scaled(values, "identity", 1), confidence, 0.0, float)
    return found if bounds is None else _within(found, bounds, values)


def on_scale(value: float, bounds: Bounds | None) -> float:
    """The value where intervals are made: its angle in the bounds, from 0 to pi/2."""
    if bounds is None:
        return value
    low, high = bounds
    if not low <= value <= high:
        raise ValueError(f"{value!r}: expected a number from {low:g} to {high:g}")
    return math.asin(math.sqrt((value - low) / (high - low)))


def _within(found, bounds, values):
    """The interval on the scale of the bounds, by the delta method; see `mean_interval`."""
    import numpy

    low, high = bounds
    beyond = [float(value) for value in numpy.asarray(values, dtype=float).ravel()
              if value < low - ROUNDING or value > high + ROUNDING]
    if beyond:
        raise ValueError(f"values hold {beyond[0]!r}: expected numbers from {low:g} to {high:g}")
    if found.n == 0:
        return found
    mean = min(high, max(low, found.mean))
    half = (found.high - found.low) / 2
    if math.isnan(half) or half == 0 or mean in bounds:
        return dataclasses.replace(found, mean=mean, low=mean + 0 * half, high=mean + 0 * half)
    reach = half / (2 * math.sqrt((mean - low) * (high - mean)))
    ends = (on_scale(mean, bounds) + side * reach for side in (-1, 1))
    back = [low + (high - low) * math.sin(min(math.pi / 2, max(0.0, end)))**2 for end in ends]
    return dataclasses.replace(found, mean=mean, low=min(mean, back[0]), high=max(mean, back[1]))


def paired_interval(a: "ArrayLike", b: "ArrayLike", *, confidence: float = 0.95,
                    scale: str = "identity", trials: float = 1000) -> Interval:
    """Return the t interval of the mean difference a - b over instances, pair by pair.

    A pair with a nan is left out. scale "logit": differences of log odds as in
    `mean_interval`; mean and limits stay log odds ratios, because 0 means no difference while a
    difference of shares depends on its starting point.
    """
    a, b = _scaled(a, scale, trials), _scaled(b, scale, trials)
    if a.shape != b.shape:
        raise ValueError(f"a has {len(a)} values and b {len(b)}: expected pairs")
    return _t_interval(a - b, confidence, 0.0, float)


def prediction_interval(values: "ArrayLike", *, confidence: float = 0.95, scale: str = "identity",
                        trials: float = 1000, count: int = 1) -> Interval:
    """Return the t interval in which the mean of `count` further instances falls.

    Compare a single published number (count=1) with it. Arguments as for `mean_interval`.
    """
    if count != int(count) or count < 1:
        raise ValueError(f"count is {count!r}: expected a whole number, at least 1")
    values = _scaled(values, scale, trials)
    return _t_interval(values, confidence, 1 / count, _back(scale, trials))


def _t_interval(values, confidence, further, back):
    import numpy
    from scipy.stats import t

    _check_confidence(confidence)
    values = values[~numpy.isnan(values)]
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    if n == 1:
        return Interval(back(mean), math.nan, math.nan, 1)
    half = t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) * math.sqrt(1 / n + further)
    return Interval(back(mean), back(mean - half), back(mean + half), n)


def _scaled(values, scale, trials):
    import numpy
    from scipy.special import logit

    values = numpy.asarray(values, dtype=numpy.float64).ravel()
    if numpy.isinf(values).any():
        raise ValueError("values contain an infinity: expected finite numbers or nan")
    if scale == "identity":
        return values
    if scale != "logit":
        raise ValueError(f"scale is {scale!r}: expected 'identity' or 'logit'")
    if not trials > 0:
        raise ValueError(f"trials is {trials!r}: expected the number of images behind a share")
    if ((values < 0) | (values > 1)).any():
        raise ValueError("values outside [0, 1]: expected shares for scale 'logit'")
    return logit((values * trials + 0.5) / (trials + 1))


def _back(scale, trials):
    """A function from the scale back to shares, which restores 0 and 1 exactly."""
    from scipy.special import expit

    if scale == "identity":
        return float
    return lambda x: float(min(1.0, max(0.0, (expit(x) * (trials + 1) - 0.5) / trials)))


def _check_confidence(confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}: expected a number in (0, 1)")
