"""Numbers as a table prints them: two or three significant digits, the interval to the same place.

A unit is "%" (a share), "points" (a difference of shares, times 100) or "" (anything else).
"""

import math

MINUS = "\N{MINUS SIGN}"
UNITS = ("%", "points", "")


def decimals(*values: float) -> int:
    """Places after the point that give the largest of these three digits, below 10 two."""
    biggest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if biggest == 0:
        return 0
    place = math.floor(math.log10(float(f"{biggest:.3g}")))  # 0.9999 is 1.0
    return max(0, (2 if place >= 1 else 1) - place)


def number(value: float, unit: str, *beside: float) -> str:
    """ "−24.3 points", "72.5%", "3.4"; "" of NaN.

    `beside`: what is printed to the same place.
    """
    if math.isnan(value):
        return ""
    text = _plain(value, unit, decimals(*(_scaled(one, unit) for one in (value, *beside))))
    return f"{text} points" if unit == "points" else f"{text}{unit}"


def interval(low: float, high: float, unit: str, *beside: float) -> str:
    """ "[−26.6, −21.9]", times 100 where the unit says so; "" where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    places = decimals(*(_scaled(one, unit) for one in (low, high, *beside)))
    return f"[{_plain(low, unit, places)}, {_plain(high, unit, places)}]"


def width(low: float, high: float, unit: str) -> str:
    """Half of an interval: "±8.8 points"."""
    return f"±{number((high - low) / 2, unit)}"


def _scaled(value: float, unit: str) -> float:
    return 100 * value if unit in ("%", "points") else value


def _plain(value: float, unit: str, places: int) -> str:
    text = f"{_scaled(value, unit):.{places}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)
