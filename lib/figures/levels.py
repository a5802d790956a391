"""The levels of a method, as epsilons: their order and their text."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lib.figures.axes import number

if TYPE_CHECKING:
    from pandas import DataFrame

NO_GUARANTEE = "no guarantee"


def levels(values: Iterable[Any]) -> list:
    """The different levels: numbers upwards (∞ last), texts in the order of the table."""
    found = [value for value in dict.fromkeys(values) if value == value and value is not None]
    return found if any(isinstance(value, str) for value in found) else sorted(found)


def level_text(column: str, value: float | str) -> str:
    """A level beside its point: "ε 1", "no guarantee" (ε ∞), "z 2", "teachers 50"; texts stay."""
    if isinstance(value, str):
        return value
    last = str(column).rsplit(".", 1)[-1]
    if last == "epsilon":
        return NO_GUARANTEE if math.isinf(value) else f"ε {_two_digits(float(value))}"
    return f"{'z' if last == 'noise_multiplier' else last.replace('_', ' ')} {number(value)}"


def _two_digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def methods(frame: "DataFrame", series: str) -> "list[tuple[str, DataFrame]]":
    """(name, rows) of each method, in the order of the table."""
    kept = frame.dropna(subset=[series])
    return [(str(name), rows) for name, rows in kept.groupby(series, sort=False)]
