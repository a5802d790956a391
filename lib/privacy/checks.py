"""Range checks for privacy parameters: every error names the value and what was expected."""

import math
import numbers
from collections.abc import Sequence

ADJACENCIES = ("add-remove", "replace-one")
ACCOUNTANTS = ("pld", "rdp", "prv")


def number(name: str, value: float, *, low: float = -math.inf, high: float = math.inf,
           open_low: bool = False, open_high: bool = False) -> float:
    """`value` as a float in the range; ValueError for nan and anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} is {value!r}: expected a number")
    value = float(value)
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        span = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{name} is {value!r}: expected a number in {span}")
    return value


def count(name: str, value: float, *, low: int = 0) -> int:
    """`value` as an int, at least `low`; 3.0 passes, 3.5 and True do not."""
    whole = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not whole or not math.isfinite(value) or value != int(value) or value < low:
        raise ValueError(f"{name} is {value!r}: expected a whole number, at least {low}")
    return int(value)


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """`value`, if it is one of the allowed names."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(map(repr, allowed))}")
    return value


def noise_multiplier(value: float) -> float:
    """A noise multiplier: 0 (no noise) to inf."""
    return number("noise_multiplier", value, low=0.0)


def sample_rate(value: float) -> float:
    """A Poisson sampling probability in (0, 1].

    Refuses 0, although it would cost nothing: it is nearly always a mistaken integer
    division, and would be reported as perfect privacy.
    """
    return number("sample_rate", value, low=0.0, high=1.0, open_low=True)


def delta(value: float) -> float:
    """A delta strictly between 0 and 1: Gaussian noise has no finite epsilon at delta 0."""
    return number("delta", value, low=0.0, high=1.0, open_low=True, open_high=True)
