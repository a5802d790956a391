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
        return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.3g}"
    return str(value)


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
