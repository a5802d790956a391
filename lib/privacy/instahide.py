"""The epsilon that DP-InstaHide claims: k-way mixing and Laplace noise (Borgnia et al., theorem 2).

Each of `draws` releases is the mean of `width` records, drawn without replacement from n, plus
Laplace noise on every coordinate, for records in an l1 ball of *diameter* 1. With r = width / n and
x = 1 / (width scale), a release costs max(A, B), A = ln(1 - r + r e^x), B = -ln(1 - r + r e^-x).

- B never decides: e^(A - B) = 1 + 2 r (1 - r) (cosh x - 1) >= 1.
- A >= r x = 1 / (n scale), because the logarithm is concave. So for draws = n the guarantee is
  never better than 1 / scale, that of releasing every record once with the same noise and no mixing
  at all (parallel composition over records).
- Images in [0, 1] have an l1 diameter of their number of pixels, not 1, and labels are mixed
  without noise: as printed, this is no guarantee of a training.
"""

import math

from . import checks


def instahide_epsilon(n: int, draws: int, width: int, scale: float) -> float:
    """The pure epsilon of theorem 2, as printed, for `draws` independent releases; may be inf.

    n: records. width: records in a mix, at most n. scale: of the Laplace noise, for records of unit
    l1 diameter. Raises ValueError for numbers out of range.
    """
    n, draws = checks.count("n", n, low=1), checks.count("draws", draws)
    width = checks.count("width", width, low=1)
    if width > n:
        raise ValueError(f"width is {width}: expected at most n, {n} records")
    scale = checks.number("scale", scale, low=0.0, open_low=True)
    share, gain = width / n, 1 / (width * scale)
    return draws * log_mean(share, gain)


def log_mean(share: float, gain: float) -> float:
    """ln(1 - share + share e^gain), without e^gain where it would overflow or round away."""
    if share == 1:
        return gain
    if gain < 1:
        return math.log1p(share * math.expm1(gain))
    high, low = sorted((math.log1p(-share), math.log(share) + gain), reverse=True)
    return high + math.log1p(math.exp(low - high))
