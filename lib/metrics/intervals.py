"""Intervals for a share in one run, and for means across attack instances.

The unit of replication is the attack instance (class pair, trigger draw, poisoned rows); test
images of one model do not replicate a training.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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


def mean_interval(values: "ArrayLike", *, confidence: float = 0.95, scale: str = "identity",
                  trials: float = 1000) -> Interval:
    """Return the t interval of a mean over attack instances.

    values: one number per instance (average the seeds of an instance first); nan means not
    measured and is left out, and n counts the rest. scale "logit" is for shares near 0 or 1:
    values p of `trials` images each become log odds of (p trials + 1/2) / (trials + 1), which
    keeps 0 and 1 finite; mean and limits are converted back into shares.
    """
    return _t_interval(_scaled(values, scale, trials), confidence, 0.0, _back(scale, trials))


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
