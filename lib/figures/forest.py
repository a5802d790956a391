"""Paired differences as a forest plot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lib.figures.axes import say_not_measured, whole
from lib.figures.headline import setting_text
from lib.figures.levels import level_text, levels, methods
from lib.figures.means import filled, instance_columns, instance_means, interval, require
from lib.figures.sides import draw_sides, name_sides
from lib.figures.style import FAINT, INK, SERIES, SMALL, WIDTH, Series, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class _Row(NamedTuple):
    """A row of the figure; without `values` it is the heading of a method."""

    text: str
    look: Series
    values: object = None
    rows: object = None


def paired_differences(frame: "DataFrame", *, value: str = "difference", by: str | None = None,
                       series: str | None = None, instance: str | Sequence[str] | None = None,
                       percent: bool = True, xlabel: str | None = None,
                       missing: float | None = None, better: str = "lower",
                       sides: tuple[str, str] | None = None) -> "Figure":
    """A forest plot: for each setting the mean paired difference, its t interval, single pairs.

    frame: a row a pair (an attack instance) and setting; `value`: the difference, a share if
    `percent`. The line at zero is "no difference"; the numbers stand beside each row. better: the
    better side of zero, "lower" or "higher"; the other one is shaded. sides: what the left and the
    right mean, in words (default: "better" and "worse"). by: the
    column of the settings, numbers or texts (default: the noise multiplier, with its epsilon).
    series: column of the method; its levels (default: epsilon, with the column adjacency where the
    frame has it, as "ε 1 (label)") stand under its name. Where no pair has a difference the most
    frequent text of the column `missing` says why, else "not measured". missing: what an empty
    `by` stands for, as math.inf for "no guarantee".
    """
    from matplotlib.figure import Figure

    by = by or ("defence.noise_multiplier" if series is None else "epsilon")
    frame = filled(frame, by, missing)
    require(frame, [value, by] if series is None else [value, by, series])
    rows = _rows(frame, value=value, by=by, series=series, instance=instance)
    size = (WIDTH * 0.86, 1.2 + 0.46 * len(rows)) if series is None else (WIDTH,
                                                                          1.1 + 0.31 * len(rows))
    with styled():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            if row.values is not None:
                _draw(axes, row, place, percent=percent, instance=instance)
        axes.set_yticks(range(len(rows)), [row.text for row in rows])
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            if row.values is None:
                label.set(fontweight="bold", color=row.look.color)
                axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel(xlabel or ("difference [points]" if percent else "difference"))
        axes.annotate("mean [95% interval]", (1.02, 0), (0, -5), xycoords="axes fraction", va="top",
                      textcoords="offset points", fontsize=SMALL, color=FAINT)
        if not rows:
            say_not_measured(axes)
        _draw_zero(axes, sides, better)
    return figure


def _draw_zero(axes, sides, better):
    """Zero inside of the axis, and the sides above it, where its place in the figure is known."""
    low, high = axes.get_xlim()
    span = high - low
    axes.set_xlim(min(low, -0.06 * span), max(high, 0.06 * span))
    draw_sides(axes, better)
    axes.set_title(" ")  # room for the names of the sides
    figure = whole(axes)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    axes.set_title("")
    place = axes.get_position()
    name_sides(axes, sides, better, size=9, room=(0.99 - place.x0) * figure.get_figwidth())


def _rows(frame, *, value, by, series, instance):
    """The rows from top to bottom; headings only where a method has more than one level."""
    means = instance_means(frame, by=[by] if series is None else [series, by], values=[value],
                           instance=instance)
    if series is None:
        look = SERIES["DP-SGD"]._replace(marker="D")
        return [_Row(_plain_text(by, level, frame[frame[by] == level]), look,
                     means.loc[means[by] == level, value], frame[frame[by] == level])
                for level in levels(frame[by])]
    groups = methods(frame, series)
    looks = series_styles([name for name, _ in groups])
    headings = any(len(levels(group[by])) > 1 for _, group in groups)
    rows = []
    for name, group in groups:
        found = means[means[series].astype(str) == name]
        rows += [_Row(name, looks[name])] if headings else []
        for level in levels(group[by]):
            some = group[group[by] == level]
            text = _with_adjacency(level_text(by, level), some)
            rows.append(_Row(text if headings else f"{name}, {text}", looks[name],
                             found.loc[found[by] == level, value], some))
    return rows


def _plain_text(by, level, rows):
    noise = str(by).rsplit(".", 1)[-1] == "noise_multiplier"
    return setting_text(level, rows) if noise else _with_adjacency(level_text(by, level), rows)


def _with_adjacency(text, rows):
    known = [name for name in rows.get("adjacency", ()) if name and name == name and name != "none"]
    return f"{text} ({known[0]})" if len(set(known)) == 1 else text


def _draw(axes, row, place, *, percent, instance):
    """Draw a row and write its numbers, or why there are none, beside it."""
    text, there = _absent(row.rows), len(row.values) > 0
    if there:
        text = _numbers(axes, (100 if percent else 1) * row.values, row.look, place,
                        decimals=1 if percent else 3)
        pairs = len(row.rows[instance_columns(row.rows, instance)].drop_duplicates())
        text += f" of {pairs}" if pairs > len(row.values) else ""
    axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL,
              color=INK if there else FAINT)


def _absent(rows):
    reasons = [text for text in rows.get("missing", ()) if isinstance(text, str) and text]
    return max(reasons, key=reasons.count) if reasons else "not measured"


def _numbers(axes, values, look, place, *, decimals):
    found = interval(values)
    axes.plot(values, [place + 0.2] * len(values), linestyle="none", marker="o", markersize=3.5,
              color=look.color, alpha=0.45)
    if found.n > 1:
        axes.plot([found.low, found.high], [place, place], color=look.color, linewidth=2,
                  marker="|", markersize=8)
    axes.plot(found.mean, place, marker=look.marker, markersize=6, color=look.color)
    middle, low, high = (f"{value:+.{decimals}f}".replace("-", "−")
                         for value in (found.mean, found.low, found.high))
    return f"{middle} [{low}, {high}], n = {found.n}" if found.n > 1 else f"{middle}, n = 1"
