"""Defences at equal clean accuracy."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.figures.axes import (
    label_points,
    legend_below,
    note_collapsed,
    number,
    say_absent,
    say_not_measured,
)
from lib.figures.curves import FEW_INSTANCES, single_points
from lib.figures.levels import level_text, levels, methods
from lib.figures.means import filled, instance_columns, instance_means, interval, require
from lib.figures.measures import factor, limits, measure_label
from lib.figures.style import REFERENCES, THICK, THIN, WIDTH, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from lib.metrics import Interval


def matched(points: "DataFrame", paths: "DataFrame", *,
            measures: Sequence[str] = ("lift", "trigger_auc"), x: str = "accuracy",
            by: str | None = None, series: str = "series", order: str = "step",
            instance: str | Sequence[str] | None = None, name: str = "DP-SGD",
            missing: float | None = None, intervals: bool = False) -> "Figure":
    """Defences beside what is trained to the same clean accuracy: a panel for each measure.

    points: a row a run, drawn as the mean over instances for each value of `by`; collapsed ones
    hollow. intervals: with the 95% t interval of the measure between instances, and a band around
    each path; for what is argued pair by pair `paired_differences` has the interval. Without a
    column `series` all are one method, `name`, with its noise multiplier and its epsilon beside
    each point, and single runs faint. With it each method has a colour and marker of its own, its
    levels are those of `by` (default: epsilon, ∞ reads "no guarantee"; a column of texts stands as
    it is), the panels stand one above the other, start a little below the least accurate point, and
    single runs and paths, which would hide each other, are left out. missing: what an empty `by`
    stands for, as math.inf for "no guarantee".
    paths: a row a checkpoint or setting; `series` names the path (plain SGD, clip only, label
    noise). Each instance's path is read where it first reaches an accuracy (in the order of the
    column `order`, if there); the line is the mean over instances on a grid of accuracies that all
    of them reach; a few single paths are faint. Plain SGD is drawn last and thickest.
    """
    several = series in points.columns
    by = by or ("epsilon" if several else "defence.noise_multiplier")
    points = filled(points, by, missing)
    require(points, [x, by, *measures])
    require(paths, [x, series, *measures])
    groups = methods(points, series) if several else [(name, points)]
    names = [method for method, _ in groups]
    looks = series_styles([*names, *paths[series].dropna().astype(str)])
    lines = sorted(paths.groupby(paths[series].astype(str), sort=False),
                   key=lambda item: item[0] in REFERENCES)  # references last, on top
    with styled():
        figure, grid = _panels(len(measures), stacked=several)
        notes = []
        for index, y in enumerate(measures):
            notes.append(_panel(figure.add_subplot(*grid, index + 1), groups, lines, looks, by=by,
                                order=order, several=several, intervals=intervals, x=x, y=y,
                                instance=instance))
        legend_below(figure, order=[*names, *looks])
        for axes, (found, drawn) in zip(figure.axes, notes, strict=True):
            label_points(axes, found, avoid=drawn)
        figure.set_layout_engine("none")  # the labels were placed for this layout
    return figure


def _panels(count, *, stacked):
    """A figure for one method, panels side by side, or for several: many labels need the width."""
    from matplotlib.figure import Figure

    size = (WIDTH, 3.9 * count + 0.4) if stacked else (WIDTH, 4.1)
    return Figure(figsize=size, layout="constrained"), (count, 1) if stacked else (1, count)


def _panel(axes, groups, paths, looks, *, by, order, several, intervals, **what):
    """Draw one measure; returns the labels of its points and the points of its lines."""
    lines, found, absent = [], [], []
    for path, rows in paths:
        lines += _path(axes, rows, looks[path], label=path, order=order, single=not several,
                       intervals=intervals, **what)
    for method, rows in groups:
        drawn = _points(axes, rows, looks[method], label=method, by=by, several=several,
                        intervals=intervals, **what)
        found += [note[:3] for note in drawn]
        lines += [place for note in drawn for place in note[3] if several]
        absent += [] if drawn else [method]
    axes.set_xlabel(measure_label(what["x"], lines=1))
    axes.set_ylabel(measure_label(what["y"]))
    if not lines and not found:
        say_not_measured(axes)
    elif several:
        say_absent(axes, absent, height=0.95)
        _look_closer(axes, found)
    return found, lines


def _look_closer(axes, points):
    """Start the axis a little below the least accurate point: paths start at chance."""
    if points:
        least, right = min(point[0] for point in points), axes.get_xlim()[1]
        axes.set_xlim(max(axes.get_xlim()[0], least - 0.15 * (right - least)), right)


def _path(axes, rows, look, *, label, x, y, order, instance, single, intervals):
    """Draw one path; returns points of its line, which the labels leave free."""
    import numpy as np

    columns = instance_columns(rows, instance)
    rows = rows.dropna(subset=[x, y])
    groups = [group for _, group in rows.groupby(columns)] if columns else [rows]
    steps = [_first_passage(group, x, y, order) for group in groups if len(group)]
    steps = [(factor(x) * a, factor(y) * b) for a, b in steps]
    low, high = max((a[0] for a, _ in steps), default=1), min((a[-1] for a, _ in steps), default=0)
    if len(steps) > 1 and ((single and len(steps) <= FEW_INSTANCES) or low > high):
        for a, b in steps:
            axes.plot(a, b, color=look.color, linewidth=0.6, alpha=0.25)
    if low > high:  # no accuracy that all instances reach: the single paths stand alone
        axes.plot([], [], color=look.color, linestyle=look.line, label=label)
        return [point for a, b in steps for point in zip(a, b, strict=True)]
    grid = np.linspace(low, high, 40 if high > low else 1)
    curves = np.stack([np.interp(grid, a, b) for a, b in steps])  # [instances, grid]
    bands = [interval(column, within=limits(y)) for column in curves.T]
    if len(steps) > 1 and intervals:
        axes.fill_between(grid, [b.low for b in bands], [b.high for b in bands], color=look.color,
                          alpha=0.15, linewidth=0)
    reference = label in REFERENCES
    axes.plot(grid, [b.mean for b in bands], color=look.color, linestyle=look.line, label=label,
              marker="" if reference else look.marker, markevery=8, markersize=4.5,
              linewidth=THICK if reference else THIN, zorder=3 if reference else 2.5)
    return [(a, b.mean) for a, b in zip(grid, bands, strict=True)]


def _first_passage(group, x, y, order):
    """Accuracies and measures at the checkpoints that beat all earlier ones: a function of
    accuracy.
    """
    by = [order, x] if order in group.columns else [x]
    group = group.sort_values(by)
    ahead = group[x] > group[x].cummax().shift(fill_value=-math.inf)
    return group.loc[ahead, x].to_numpy(float), group.loc[ahead, y].to_numpy(float)


def _points(axes, points, look, *, label, x, y, by, instance, several, intervals):
    """Draw the means with their error bars.

    Returns (x, y, text, places of the bar) for the labels.
    """
    means = instance_means(points, by=[by], values=[x, y], instance=instance)
    notes = []
    for value in levels(means[by]):
        group = means[means[by] == value]
        across, up = (interval(factor(c) * group[c], within=limits(c)) for c in (x, y))
        share = group["collapsed"].mean()
        if len(group) > 1:
            # the dots of several methods, or of many instances, would hide each other
            if not several and len(group) <= FEW_INSTANCES:
                single_points(axes, look=look, points=group.assign(
                    place=factor(x) * group[x], value=factor(y) * group[y],
                    hollow=group["collapsed"] >= 0.5))
            if intervals:
                axes.errorbar(across.mean, up.mean, color=look.color, linewidth=1.1, zorder=3,
                              yerr=[[up.mean - up.low], [up.high - up.mean]])
        axes.plot(across.mean, up.mean, linestyle="none", marker=look.marker, markersize=7,
                  color=look.color, markerfacecolor="white" if share >= 0.5 else look.color,
                  markeredgewidth=1.4, zorder=4, label=None if notes or several else label)
        notes.append((across.mean, up.mean, _note(by, value, group, several),
                      along_bar(across, up) if intervals else []))
    if several and notes:  # in the legend filled, also where the first level collapsed
        axes.plot([], [], linestyle="none", marker=look.marker, markersize=7, color=look.color,
                  label=label)
    if (means["collapsed"] >= 0.5).any():
        note_collapsed(axes)
    return notes


def along_bar(across: "Interval", up: "Interval") -> list[tuple[float, float]]:
    """Places along a vertical error bar, which labels leave free."""
    ends = [up.low, (up.low + up.mean) / 2, (up.mean + up.high) / 2, up.high]
    return [(across.mean, end) for end in ends if end == end]


def _note(by, value, group, several):
    """The level, and how many of its instances collapsed."""
    text = level_text(by, value) if several else setting_text(value, group)
    collapsed = int((group["collapsed"] >= 0.5).sum())
    return text + (f"\n{collapsed}/{len(group)} collapsed" if collapsed else "")


def setting_text(value: float, rows: "DataFrame") -> str:
    """The noise multiplier and, where it is known, its epsilon."""
    text = f"z {number(value)}"
    epsilon = rows["epsilon"].dropna() if "epsilon" in rows.columns else ()
    if len(epsilon) == 0:
        return text
    mean = float(epsilon.mean())
    return text + (", ε ∞" if math.isinf(mean) else f", ε {mean:.2g}")
