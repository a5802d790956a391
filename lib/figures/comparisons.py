"""A few paired comparisons as a forest: the project's clearest figure."""

import math
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from lib.figures.means import interval, require
from lib.figures.measures import limits
from lib.figures.sides import check_better, draw_sides, name_sides
from lib.figures.style import BETTER, FAINT, INK, styled

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from lib.metrics import Interval

WIDTH = 7.0  # inches: 672 pixels, so that README shows it unscaled
ROW = 0.58  # inches a row: two lines of a label, or a mean over its interval
TOP, BOTTOM, MARGIN = 0.5, 0.72, 0.08  # inches above and below the rows, and at the sides
TEXT = 10.5  # points; a phone shows about 80% of it
LETTER = 6.3 / 72  # inches, of the mean letter at that size
LINE = 27  # letters of a label's line, unless two of them cannot hold it
SIDE = 0.1  # of the axis, at least, on either side of zero


class Comparison(NamedTuple):
    """A row: its label, the difference of each pair, their mean and interval, how to write them."""

    label: str
    values: list[float]
    found: "Interval"
    write: "Callable[[float], str]"


def contrasts(frame: "DataFrame", *, by: str, value: str = "difference", better: str = "lower",
              xlabel: str = "difference", unit: str = "points",
              sides: tuple[str, str] | None = None, at: float = 0.0, dots: str = "pairs"
              ) -> "Figure":
    """A forest of comparisons: for each the pairs, their mean, its 95% t interval, in numbers too.

    frame: a row a pair and comparison. by: the column of the comparisons; its texts stand at the
    left, in the order of the table. value: the difference, a share if `unit` is "points" (drawn
    times 100), else in `unit` as it is; "%" is for a share that is no difference, and has no sign;
    "times" is for the log10 of a ratio, written as the ratio.
    better: "lower" or "higher", the side of zero that is better; the other side is shaded. sides:
    what the left and the right of zero mean, in words, as ("less of the backdoor is left", "more
    is left"); arrows are added. at: where the thick line stands in place of zero, as drawn. dots:
    what a dot is, in small print. A comparison without a value reads "not measured". Raises
    ValueError for another `better`.
    """
    from matplotlib.figure import Figure

    check_better(better)
    require(frame, [by, value])
    rows = _comparisons(frame, by, value, unit)
    with styled():
        figure = Figure(figsize=(WIDTH, TOP + BOTTOM + ROW * max(len(rows), 1)))
        axes = figure.add_axes(_frame(figure, rows))
        axes.set_xlim(*_limits(rows, at))
        axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        for place, row in enumerate(rows):
            _draw(axes, row, place)
        _name_rows(axes, rows)
        _name_axis(axes, xlabel if unit in ("", "times") else f"{xlabel} [{unit}]", unit)
        draw_sides(axes, better, at=at)
        name_sides(axes, sides, better, size=TEXT, at=at,
                   room=WIDTH * (1 - axes.get_position().x0) - MARGIN)
        _head(axes, dots)
    return figure


def _comparisons(frame, by, value, unit):
    import pandas as pd

    points = unit in ("points", "%")
    values = (100 if points else 1) * pd.to_numeric(frame[value])
    within = limits(value) if points else (-math.inf, math.inf)
    rows = []
    for label in dict.fromkeys(frame[by].dropna()):
        pairs = values[frame[by].eq(label)].dropna().tolist()
        rows.append(Comparison(str(label), pairs, interval(pairs, within=within), _writer(unit)))
    return rows


def _writer(unit):
    """How a mean and its limits are written."""
    if unit == "times":
        return times
    decimals, sign = 1 if unit in ("points", "%") else 2, _sign(unit)
    return lambda value: signed(value, decimals, sign)


def _frame(figure, rows):
    """The place of the axes in the figure: what labels and numbers leave."""
    longest = max((len(line) for row in rows for line in _wrapped(row.label)), default=0)
    left = longest * LETTER + 2 * MARGIN
    right = max(len(_bounds(row)) for row in rows) * LETTER + 3 * MARGIN if rows else 1.0
    height = figure.get_figheight()
    return (left / WIDTH, BOTTOM / height, (WIDTH - left - right) / WIDTH,
            (height - TOP - BOTTOM) / height)


def _wrapped(label):
    """The label in lines of even length: two, or three where it is very long."""
    if "\n" in label:
        return label.split("\n")
    count = 1 if len(label) <= LINE - 5 else 2 if len(label) <= 2 * LINE else 3
    width = next(width for width in range(len(label) // count, len(label) + 1)
                 if width > 0 and len(textwrap.wrap(label, width, break_long_words=False)) <= count)
    return textwrap.wrap(label, width, break_long_words=False)


def _limits(rows, at):
    """From the least to the greatest of pairs and intervals, with the thick line inside of them."""
    ends = [at, *(end for row in rows for end in (*row.values, row.found.low, row.found.high)
                   if end == end)]
    low, high = min(ends), max(ends)
    span = high - low or 1.0
    return min(low - 0.04 * span, at - SIDE * span), max(high + 0.04 * span, at + SIDE * span)


def _draw(axes, row, place):
    """The interval with its mean, the pairs below it, the numbers at the right."""
    at, found = 1 + 2 * MARGIN / _inches(axes), row.found
    write = {"transform": axes.get_yaxis_transform(), "fontsize": TEXT, "ha": "left"}
    if not row.values:
        axes.text(at, place, "not measured", va="center", color=FAINT, style="italic", **write)
        return
    axes.plot(row.values, [place + 0.24] * len(row.values), linestyle="none", marker="o",
              markersize=4.5, color=BETTER, alpha=0.35, markeredgewidth=0)
    if found.n > 1:
        axes.plot([found.low, found.high], [place - 0.06] * 2, color=BETTER, linewidth=2.6,
                  solid_capstyle="butt", zorder=4)
    axes.plot(found.mean, place - 0.06, marker="o", markersize=9, color=BETTER,
              markeredgecolor="white", markeredgewidth=1.2, zorder=5)
    axes.text(at, place - 0.04, row.write(found.mean), va="bottom", fontweight="bold", color=INK,
              **write | {"fontsize": TEXT + 1})
    axes.text(at, place + 0.01, _bounds(row), va="top", color=FAINT, **write)


def _bounds(row):
    if row.found.n < 2:
        return "n = 1" if row.values else "not measured"
    return f"[{row.write(row.found.low)}, {row.write(row.found.high)}]"


def signed(value: float, decimals: int, sign: str = "+") -> str:
    """A difference as text, with its sign; a difference that rounds to zero has none.

    sign: "" for a level, which has one only if it is negative.
    """
    text = f"{value:{sign}.{decimals}f}"
    return (text if float(text) else text.lstrip("+-")).replace("-", "−")


def times(value: float) -> str:
    """The ratio whose log10 is `value`, as text with two digits at least."""
    ratio = 10.0**value
    return f"×{ratio:.2g}" if ratio < 99.5 else f"×{ratio:.0f}"


def _sign(unit):
    return "" if unit == "%" else "+"


def _inches(axes):
    return axes.get_position().width * WIDTH


def _name_rows(axes, rows):
    axes.set_yticks(range(len(rows)), ["\n".join(_wrapped(row.label)) for row in rows],
                    fontsize=TEXT, ha="left", linespacing=1.15)
    axes.tick_params(axis="y", length=0, pad=72 * (axes.get_position().x0 * WIDTH - MARGIN))
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    if not rows:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center",
                  color=FAINT, fontsize=TEXT, style="italic")


def _name_axis(axes, label, unit):
    """Ticks, and the label from the axis's left end on, below the numbers too."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    sign = _sign(unit)
    locator = MaxNLocator(6, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_locator(
        FixedLocator(_ratios(*axes.get_xlim())) if unit == "times" else locator)
    axes.xaxis.set_major_formatter(FuncFormatter(
        lambda value, _: times(value) if unit == "times" else
        f"{value:{sign}.4g}".replace("-", "−") if value else "0"))
    axes.tick_params(axis="x", labelsize=TEXT - 0.5)
    room = int((WIDTH - MARGIN) * (1 - axes.get_position().x0) / LETTER)
    axes.set_xlabel(textwrap.fill(label, room), fontsize=TEXT, loc="left", labelpad=5)


def _ratios(low, high):
    """Places of ticks on an axis of log10: powers of ten, with factors between them if few."""
    span = high - low
    factors = (1,) if span > 2.2 else (1, 2, 5) if span > 0.5 else (1, 1.2, 1.5, 2, 3, 5, 7)
    places = [power + math.log10(factor)
              for power in range(math.floor(low), math.ceil(high) + 1) for factor in factors]
    return [place for place in places if low <= place <= high]


def _head(axes: "Axes", dots: str) -> None:
    """What the numbers and the faint dots are, where both are small print."""
    at = 1 + 2 * MARGIN / _inches(axes)
    axes.annotate(f"dots: {dots}", (at, 0), (0, -5), xycoords=axes.transAxes, ha="left", va="top",
                  textcoords="offset points", fontsize=TEXT - 1, color=FAINT)
