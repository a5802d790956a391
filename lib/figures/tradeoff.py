"""Clean accuracy against attack success: a point a setting, and those that no other one beats."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.figures.axes import (
    label_points,
    legend_below,
    note_collapsed,
    say_absent,
    say_not_measured,
)
from lib.figures.levels import level_text, levels, methods
from lib.figures.means import filled, instance_means, interval, require
from lib.figures.measures import factor, limits, measure_label
from lib.figures.style import BETTER, INK, SMALL, WIDTH, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

LABELLED = 14  # settings; of more than that only the front is labelled


def tradeoff(frame: "DataFrame", *, x: str = "accuracy", y: str | Sequence[str] = "success",
             series: str = "series", by: str = "epsilon", corner: tuple[float, float] | None = None,
             missing: float | None = None, instance: str | Sequence[str] | None = None,
             intervals: bool = False) -> "Figure":
    """A Figure of clean accuracy against attack success (or lift), as Razmi et al.'s figure 3c.

    frame: a row a run. A marker is the mean over instances of one setting: a value of `by` within
    a value of `series`; those of a series are joined in the order of `by`. intervals: with 95% t
    intervals both ways where there are several instances: between them, so not for comparing
    settings of the same instances. y: a measure of which less is better, or several, a
    panel each. corner: (least x, greatest y) as shares, the shaded corner that a defence should
    reach. missing: what an empty `by` stands for, as math.inf for "no guarantee". The front holds
    the settings that no other one beats in both means; dominated ones are faint. The front is a
    statement about means: whether one setting beats another is for their paired differences. Where
    instances share training seeds the interval of the accuracy is too narrow.
    """
    from matplotlib.figure import Figure

    measures = [y] if isinstance(y, str) else list(y)
    frame = filled(frame, by, missing)
    require(frame, [x, series, by, *measures])
    names = [name for name, _ in methods(frame, series)]
    looks = series_styles(names)
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6 * len(measures) + 0.5), layout="constrained")
        notes = []
        for index, measure in enumerate(measures):
            axes = figure.add_subplot(len(measures), 1, index + 1)
            found = pareto(frame, x=x, y=measure, series=series, by=by, instance=instance)
            _draw(axes, found if intervals else _without(found, x, measure), looks, x=x, y=measure,
                  series=series, corner=corner)
            say_absent(
                axes,
                [name for name in names if len(found) and name not in set(found[series].map(str))],
                height=0.95)
            notes.append(_notes(found if intervals else _without(found, x, measure), x=x,
                                y=measure, by=by))
            axes.set_title(textwrap.fill(front_text(found, series=series, by=by), 104),
                           fontsize=SMALL)
        legend_below(figure, order=names)
        for axes, (texts, lines) in zip(figure.axes, notes, strict=True):
            label_points(axes, texts, avoid=lines)
        figure.set_layout_engine("none")  # the labels were placed for this layout
    return figure


def pareto(frame: "DataFrame", *, x: str = "accuracy", y: str = "success", series: str = "series",
           by: str = "epsilon", instance: str | Sequence[str] | None = None) -> "DataFrame":
    """A line a setting: series, level, means of x and y with intervals, n, share collapsed, front.

    Columns: `series`, `by`, x, x_low, x_high, y, y_low, y_high (in the units of the frame; named
    after the measures), n, collapsed, front (no other setting has a higher or equal x and a lower
    or equal y, one of them strictly). Settings that were not measured are left out.
    """
    import pandas as pd

    require(frame, [series, by, x, y])
    means = instance_means(frame, by=[series, by], values=[x, y], instance=instance)
    lines = []
    for name in dict.fromkeys(frame[series].dropna()):
        rows = means[means[series] == name]
        for level in levels(rows[by]):
            lines.append({series: name, by: level, **_means(rows[rows[by] == level], x, y)})
    table = pd.DataFrame(lines, columns=[series, by, *_columns(x), *_columns(y), "n", "collapsed"])
    front = [_undominated(table, line, x, y) for line in table.itertuples()]
    return table.assign(front=pd.Series(front, index=table.index, dtype=bool))


def _columns(measure):
    return [measure, f"{measure}_low", f"{measure}_high"]


def _without(found, *measures):
    """The settings without their intervals."""
    return found.assign(**{f"{measure}_{end}": math.nan for measure in measures
                           for end in ("low", "high")})


def _means(rows, *measures):
    line = {"n": len(rows), "collapsed": rows["collapsed"].mean()}
    for measure in measures:
        found = interval(rows[measure], within=[end / factor(measure) for end in limits(measure)])
        line |= dict(zip(_columns(measure), (found.mean, found.low, found.high), strict=True))
    return line


def _undominated(table, line, x, y):
    here = table.loc[line.Index]
    as_good = (table[x] >= here[x]) & (table[y] <= here[y])
    return not (as_good & ((table[x] > here[x]) | (table[y] < here[y]))).any()


def front_text(found: "DataFrame", *, series: str = "series", by: str = "epsilon") -> str:
    """The front of `pareto`'s table in words, as "PATE ε 1, 4; ALIBI no guarantee"."""
    parts = []
    for name, rows in found[found["front"]].groupby(series, sort=False):
        first, *rest = (level_text(by, level) for level in rows[by])
        parts.append(
            f"{name} {', '.join([first, *(text.removeprefix('ε ') for text in rest)])}".strip())
    return f"Pareto front (means): {'; '.join(parts) or 'not measured'}".replace(
        "ε ", "ε\N{NO-BREAK SPACE}")


def _draw(axes, found, looks, *, x, y, series, corner):
    """Draw the settings, the front, the corner and the ideal point; units as on the axes."""
    units = {x: factor(x), y: factor(y)}
    scaled = found.assign(**{column: units[measure] * found[column]
                             for measure in (x, y) for column in _columns(measure)})
    axes.set_xlabel(measure_label(x, lines=1))
    axes.set_ylabel(measure_label(y))
    if not len(found):
        say_not_measured(axes)
        axes.set_xticks([])
        return
    if corner is not None:
        _shade(axes, units[x] * corner[0], units[y] * corner[1], units[x])
    for name, rows in scaled.groupby(series, sort=False):
        _series(axes, rows, looks[str(name)], label=str(name), x=x, y=y)
    front = scaled[scaled["front"]].sort_values(x)
    axes.plot(front[x], front[y], drawstyle="steps-pre", color=INK, linewidth=1, zorder=2,
              label="Pareto front")
    if corner is None:
        axes.annotate("better ↘", (0.985, 0.02), xycoords="axes fraction", ha="right", va="bottom",
                      fontsize=11, fontweight="bold", color=BETTER)
    else:
        axes.plot(units[x], 0, linestyle="none", marker="+", markersize=11, markeredgewidth=2,
                  color=INK, clip_on=False, label="ideal")
    if (scaled["collapsed"] >= 0.5).any():
        note_collapsed(axes)


def _shade(axes, least, most, best):
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((least, 0), best - least, most, facecolor="#f1f3f5", hatch="///",
                             edgecolor="#b9c0c8", linewidth=0.8, zorder=0.5,
                             label=f"corner: x ≥ {least:.3g}, y ≤ {most:.3g}"))


def _series(axes, rows, look, *, label, x, y):
    """One series: a thin line along its levels, error bars, markers; dominated ones faint."""
    axes.plot(rows[x], rows[y], color=look.color, linestyle=look.line, linewidth=0.9, alpha=0.45)
    for front, some in rows.groupby("front"):
        alpha = 1 if front else 0.5
        several = some[some[f"{y}_low"].notna()]
        if len(several):
            axes.errorbar(several[x], several[y], linestyle="none", color=look.color, alpha=alpha,
                          elinewidth=1, capsize=0, **_errors(several, x, y))
        for hollow, points in some.groupby(some["collapsed"] >= 0.5):
            axes.plot(points[x], points[y], linestyle="none", marker=look.marker, color=look.color,
                      markerfacecolor="white" if hollow else look.color, alpha=alpha,
                      zorder=3 + front, markersize=8 if front else 6)
    axes.plot([], [], color=look.color, linestyle=look.line, marker=look.marker, label=label)


def _errors(rows, x, y):
    return {f"{axis}err": [rows[m] - rows[f"{m}_low"], rows[f"{m}_high"] - rows[m]]
            for axis, m in (("x", x), ("y", y))}


def _notes(found, *, x, y, by):
    """((x, y, text) of the settings that are labelled, places that the labels leave free)."""
    kept = found if len(found) <= LABELLED else found[found["front"]]
    texts = [(factor(x) * row[x], factor(y) * row[y], level_text(by, row[by]))
             for _, row in kept.iterrows()]
    lines = [(factor(x) * row[x], factor(y) * (row[y] + share * (row[end] - row[y])))
             for _, row in found.iterrows()
             for end in _columns(y)[1:]
             for share in (0, 0.5, 1)
             if row[end] == row[end]]
    return texts, lines
