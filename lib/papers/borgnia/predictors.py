"""What could predict the success of an adaptive attack over noise and width: the printed epsilon of
theorem 2, or the scale of the noise alone (I12).

Both order the settings of figure 4b much alike, so a rank correlation of the one says little
without the other's. They differ in pairs of settings whose printed epsilons are equal and whose
noise is not. Rates of settings need all trials at once, so intervals come from leaving out one
trial at a time (the jackknife).
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.papers.borgnia import practice
from lib.papers.borgnia.practice import EPSILON, SCALE, WIDTH

if TYPE_CHECKING:
    from numpy import ndarray
    from numpy.typing import ArrayLike
    from pandas import DataFrame

ALIKE = 2.0  # the largest ratio of two epsilons that count as equal
OWN, RIVAL, AHEAD = "printed epsilon", "noise scale alone", "epsilon minus noise scale"

Limits = tuple[float, float, float, int]  # estimate, low, high, trials


def correlations(found: "DataFrame", column: str) -> "dict[str, Limits]":
    """Spearman's correlation over settings (k, scale) of the mean of `column` with the printed
    epsilon (OWN) and with less noise (RIVAL), and their difference (AHEAD), with the 95% jackknife
    interval over trials, cut at the range.

    found: rows of `practice.mixups`. Trials that lack a setting are left out.
    """
    table = practice.by_trial(found, column, by=[WIDTH, SCALE])
    epsilons = found.groupby([WIDTH, SCALE])[EPSILON].first()

    def statistics(part: "DataFrame") -> "ndarray":
        import numpy as np

        means = part.mean()
        own = _spearman(epsilons.reindex(means.index), means)
        plain = _spearman([-scale for _, scale in means.index], means)
        return np.array([own, plain, own - plain])
    limits = _jackknife(table, statistics)
    return {name: (_cut(line[0], most), _cut(line[1], most), _cut(line[2], most), len(table))
            for name, most, line in zip((OWN, RIVAL, AHEAD), (1, 1, 2), limits, strict=True)}


def _cut(value: float, most: float) -> float:
    """Within the range of a correlation, or of a difference of two; NaN stays."""
    return value if math.isnan(value) else max(-most, min(most, value))


def _spearman(predictor: "ArrayLike", values: "ArrayLike") -> float:
    """The rank correlation; 0 where one of the two is constant."""
    import numpy as np
    from scipy.stats import rankdata

    ranks = [rankdata(np.round(np.asarray(one, float), 9)) for one in (predictor, values)]
    if any(np.ptp(one) == 0 for one in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def _jackknife(table: "DataFrame", statistics: "Callable[[DataFrame], ndarray]"
               ) -> list[tuple[float, float, float]]:
    """(estimate, low, high) of each statistic of a table of trials, 95%, by leaving out trials.

    No interval for fewer than three trials; no estimate without any.
    """
    import numpy as np
    from scipy.stats import t

    n = len(table)
    if not n or table.shape[1] < 2:
        return [(math.nan, math.nan, math.nan)] * 3
    whole = statistics(table)
    if n < 3:
        return [(float(one), math.nan, math.nan) for one in whole]
    left = np.array([statistics(table.drop(index=one)) for one in table.index])
    error = np.sqrt((n - 1) / n * ((left - left.mean(0)) ** 2).sum(0))
    half = t.ppf(0.975, n - 1) * error
    return [(float(one), float(one - h), float(one + h)) for one, h in zip(whole, half)]


def pairs(found: "DataFrame") -> "list[tuple[tuple, tuple, float]]":
    """Settings (k, scale) with noise whose printed epsilons are equal within a factor of `ALIKE`
    and whose noise is not, the quieter one first, and the larger epsilon."""
    settings = found[found[SCALE].gt(0)].groupby([SCALE, WIDTH])[EPSILON].first()
    lines = [((k, scale), value) for (scale, k), value in settings.items()]
    return [(one, other, max(own, value))
            for place, (one, own) in enumerate(lines) for other, value in lines[place + 1:]
            if one[1] < other[1] and max(own, value) <= ALIKE * min(own, value)]


def apart(found: "DataFrame", column: str = "success") -> "DataFrame":
    """For `figures.contrasts`: at equal printed epsilon, the quieter setting minus the noisier one,
    a line a trial. Were epsilon what counts, the differences would lie around 0."""
    import pandas as pd

    table, lines = practice.by_trial(found, column, by=[WIDTH, SCALE]), []
    for one, other, epsilon in pairs(found):
        if one in table and other in table:
            name = (f"ε about {epsilon:.1e}: k {one[0]:g}, {one[1]:g}/255 minus k {other[0]:g},"
                    f" {other[1]:g}/255")
            lines += [(name, trial, value)
                      for trial, value in (table[one] - table[other]).items()]
    return pd.DataFrame(lines, columns=["than", practice.TRIAL, "difference"])
