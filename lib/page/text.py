"""How times, values and anchors are written on the page."""

import math
import re
from typing import Any


def duration(seconds: float) -> str:
    """A time in words: 48 s, 7 min 30 s, 2 h 05 min."""
    seconds = round(float(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_value(value: Any) -> str:
    """Text for a cell: three significant digits, an en dash for nothing, ∞ for infinity."""
    import pandas as pd

    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_value(item) for item in value) + "]"
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        whole = value == round(value) and abs(value) < 1e15
        return typeset(f"{value:.0f}" if whole else f"{value:.3g}")
    return str(value)


def typeset(text: str) -> str:
    """The text with minus signs before its negative numbers; ranges and names as they are."""
    return _NEGATIVE.sub("−", text)


def rounded(text: str) -> str:
    """The text, typeset, with no more than three digits in numbers that have a point."""
    return typeset(_FRACTION.sub(lambda match: _three_digits(match[0]), text))


_NEGATIVE = re.compile(r"(?<![\w.,-])-(?=\.?\d)")
_FRACTION = re.compile(r"(?<![\w.,:])\d+\.\d+(?![\w.])")


def _three_digits(number: str) -> str:
    """12.345 as 12.3, 1234.5 as 1234; shorter numbers as they are."""
    digits = len(number.replace(".", "").lstrip("0"))
    if digits <= 3:
        return number
    whole = len(number.partition(".")[0].lstrip("0"))
    after = max(3 - whole, 0) if whole else len(number.partition(".")[2]) - (digits - 3)
    return f"{float(number):.{after}f}"


def section_anchor(name: str) -> str:
    """The id of a notebook's section."""
    return f"nb-{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}"


def unique(anchor: str, taken: set[str]) -> str:
    """The anchor, with a number behind it if the page has it already; enters it in `taken`."""
    candidate, count = anchor, 2
    while candidate in taken:
        candidate, count = f"{anchor}-{count}", count + 1
    taken.add(candidate)
    return candidate
