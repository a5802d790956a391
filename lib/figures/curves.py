"""Lines over a setting: means over instances, intervals, single instances, a second axis."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.figures.axes import (
    data_limits,
    draw_scale,
    draw_second_axis,
    label_ends,
    legend_below,
    make_scale,
    note_collapsed,
    number,
    say_absent,
    say_not_measured,
)
from lib.figures.means import filled, instance_columns, instance_means, interval, require
from lib.figures.measures import axis_label, factor, limits, measure_label
from lib.figures.style import (
    INK,
    PANEL,
    REFERENCES,
    THICK,
    THIN,
    WIDTH,
    Series,
    series_styles,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SPREADS = ("pairs", "range", "interval", "none")
FEW_SERIES, FEW_INSTANCES = 3, 5  # of which single instances are drawn

def sweep(frame: "DataFrame", *, x: str, y: str, series: str | None = None, xscale: str = "linear",
          xlabel: str | None = None, ylabel: str | None = None, second_axis: str | None = None,
          missing: float | None = None, instance: str | Sequence[str] | None = None,
          title: str | None = None, spread: str | None = None) -> "Figure":
    """A Figure of one measure over one setting.

    frame: a row a run. x, y: columns; y is shown in per cent if it is a share of images.
    series: column that tells the lines apart. xscale: "linear", "log" (0 stands apart, behind a
    cut) or "category" (equal steps); ∞ stands one step behind the rest. second_axis: column whose
    value at each x stands on top, as epsilon over the noise multiplier. missing: what an empty x
    stands for, as math.inf for "no noise"; None leaves such rows out. instance: columns that tell
    attack instances apart (default: attack.base, attack.target, attack_seed). Hollow points are
    collapsed models. spread: what stands beside the means: "pairs", a faint line for each instance,
    "range", from the least to the greatest of them, "interval", the 95% t interval between them, or
    "none". By default the single instances where there are at most five (their range for more than
    three series), for settings are compared pair by pair, else the interval.
    """
    return panels([{
        "frame": frame, "x": x, "y": y, "series": series, "xscale": xscale, "xlabel": xlabel,
        "ylabel": ylabel, "second_axis": second_axis, "missing": missing, "instance": instance,
        "title": title, "spread": spread
    }], columns=1, letters=False)


def panels(specs: Iterable[Mapping[str, Any]], *, columns: int = 2, letters: bool = True
          ) -> "Figure":
    """A Figure of several sweeps with one legend; each spec holds the arguments of `sweep`."""
    from matplotlib.figure import Figure

    specs = [dict(spec) for spec in specs]
    if not specs:
        raise ValueError("panels got no specification: give at least one dict with frame, x, y")
    columns = min(columns, len(specs))
    rows = -(-len(specs) // columns)
    names = [name for spec in specs for name in _names(spec["frame"], spec.get("series"))]
    looks = series_styles(names)
    width = WIDTH if columns > 1 else 5.6
    with styled():
        figure = Figure(figsize=(width, PANEL[1] * rows + 0.5), layout="constrained")
        seen = {}  # the values of each measure: its panels share their limits
        for index, spec in enumerate(specs):
            axes = figure.add_subplot(rows, columns, index + 1)
            title = spec.pop("title", None)
            values = draw_sweep(axes, spec.pop("frame"), looks=looks, **spec)
            if values:
                seen.setdefault((spec["y"], axes.get_ylabel()), []).append((axes, values))
            letter = f"({chr(97 + index)}) " if letters else ""
            if letter or title:
                axes.set_title(letter + (title or ""))
        for (y, _), drawn in seen.items():
            data_limits([axes for axes, _ in drawn], [v for _, values in drawn for v in values],
                        least=5.0 if factor(y) == 100 else 0.0)
        _label_once(figure, columns)
        if len(specs) > 1 or not label_ends(figure.axes[0], _ends(figure.axes[0], looks)):
            legend_below(figure, order=names)
    return figure


def _label_once(figure, columns):
    """Leave out a vertical label that the panel at the left has too."""
    for index in reversed(range(len(figure.axes))):
        left = figure.axes[index - 1]
        if index % columns and figure.axes[index].get_ylabel() == left.get_ylabel():
            figure.axes[index].set_ylabel("")


def _ends(axes, looks):
    """The last point of each named line: (x, y, name, colour)."""
    lines = [line for line in axes.get_lines()
             if line.get_label() in looks and len(line.get_xdata()) > 1]
    points = [(line, line.get_xydata()[-1]) for line in lines]
    return [(float(x), float(y), str(line.get_label()), str(line.get_color()))
            for line, (x, y) in points]


def singular_point(frame: "DataFrame", *, x: str = "attack.fraction", y: str = "floor",
                   series: str | None = None, instance: str | Sequence[str] | None = None
                  ) -> "Figure":
    """Share of the base class called target over the poisoned fraction r, without a trigger.

    A learner that is blind to the trigger says "target" where eta_target > (1 - 2r) eta_base: at
    r = 1/2, the vertical line, that is the whole base class. frame as in `sweep`.
    """
    figure = sweep(frame, x=x, y=y, series=series, xscale="category", instance=instance,
                   xlabel="relabelled share r of the base class (measured values, equal steps)",
                   ylabel="called target [% of base-class test images]")
    scale = make_scale(frame[x].dropna(), "category")
    if 0.5 in scale.places:
        axes = figure.axes[0]
        axes.axvline(scale(0.5), color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate("r = ½", (scale(0.5), 1), (0, 2), xycoords=axes.get_xaxis_transform(),
                      textcoords="offset points", ha="center", va="bottom")
    return figure


def _names(frame, series):
    return [""] if series is None else [str(name) for name in dict.fromkeys(frame[series].dropna())]


def draw_sweep(axes: "Axes", frame: "DataFrame", *, looks: Mapping[str, Series], x: str, y: str,
               series: str | None = None, xscale: str = "linear", xlabel: str | None = None,
               ylabel: str | None = None, second_axis: str | None = None,
               missing: float | None = None, instance: str | Sequence[str] | None = None,
               spread: str | None = None) -> list[float]:
    """Draw a sweep into axes; `looks` are the styles of `series_styles`. Returns what it drew."""
    if spread not in (None, *SPREADS):
        raise ValueError(f"spread {spread!r}: expected one of {SPREADS}, or None for what fits")
    frame = filled(frame, x, missing)
    require(frame, [column for column in (x, y, series, second_axis) if column is not None])
    scale = make_scale(frame[x].dropna(), xscale)
    names = _names(frame, series)
    seen, absent = [], []
    for name in sorted(names, key=REFERENCES.__contains__):  # references last, on top
        rows = frame if series is None else frame[frame[series].astype(str) == name]
        shift = (names.index(name) - (len(names) - 1) / 2) * 0.008 * scale.span
        drawn = _line(axes, rows, scale, looks[name], name=name, x=x, y=y, shift=shift,
                      instance=instance, spread=spread, few=len(names) <= FEW_SERIES)
        seen += drawn
        absent += [] if drawn else [name]
    draw_scale(axes, scale, xlabel or axis_label(x) + _no_guarantee(x, scale.places))
    axes.set_ylabel(ylabel or measure_label(y))
    if not seen:
        say_not_measured(axes)
    else:
        say_absent(axes, absent)
    if second_axis is not None:
        draw_second_axis(axes, scale, _texts(frame, x, second_axis),
                         _second_title(frame, second_axis))
    return seen


def _line(axes, rows, scale, look, *, name, x, y, shift, instance, spread, few):
    """Draw one series, with what stands beside its means; returns all values drawn."""
    means = instance_means(rows, by=[x], values=[y], instance=instance)
    label = name or None
    if means.empty:
        axes.plot([], [], color=look.color, marker=look.marker, linestyle=look.line, label=label)
        return []
    means = means.assign(place=means[x].map(scale) + shift, value=factor(y) * means[y],
                         hollow=means["collapsed"] >= 0.5)
    centres = _centres(means, within=limits(y))
    drawn = _spread(axes, means, centres, look, instance=instance, spread=spread, few=few)
    thick = name in REFERENCES
    axes.plot(centres["place"], centres["mean"], color=look.color, linestyle=look.line,
              marker=look.marker, label=label, linewidth=THICK if thick else THIN,
              zorder=3 if thick else 2.5)
    hollow = centres[centres["hollow"] >= 0.5]
    if len(hollow):
        axes.plot(hollow["place"], hollow["mean"], linestyle="none", marker=look.marker,
                  color=look.color, markerfacecolor="white", zorder=4)
    if means["hollow"].any():
        note_collapsed(axes)
    return [*centres["mean"], *drawn]


def _spread(axes, means, centres, look, *, instance, spread, few):
    """Draw the single instances or their interval; returns the values drawn."""
    several = centres[centres["n"] > 1]
    if spread is None:
        singles = "pairs" if few else "range"
        spread = singles if centres["n"].max() <= FEW_INSTANCES else "interval"
    if several.empty or spread == "none":
        return []
    if spread == "pairs":
        if len(centres) > 1:
            instance_lines(axes, means, look=look, instance=instance)
        else:
            single_points(axes, means, look=look)
        return list(means["value"])
    ends = ("least", "most") if spread == "range" else ("low", "high")
    low, high = (several[end] for end in ends)
    axes.errorbar(several["place"], several["mean"], color=look.color, linestyle="none",
                  yerr=[several["mean"] - low, high - several["mean"]],
                  elinewidth=1.2, capsize=0, alpha=0.45, zorder=1.8)
    return [*low, *high]


def _centres(means, *, within):
    """Mean, interval, range, n and the share of collapsed models at each place."""
    import pandas as pd

    rows = []
    for place, group in means.groupby("place"):
        found = interval(group["value"], within=within)
        rows.append({"place": place, "mean": found.mean, "low": found.low, "high": found.high,
                     "least": group["value"].min(), "most": group["value"].max(),
                     "n": found.n, "hollow": group["hollow"].mean()})
    return pd.DataFrame(rows)


def instance_lines(axes: "Axes", means: "DataFrame", *, look: Series,
                   instance: str | Sequence[str] | None) -> None:
    """A faint line through the places of each instance; means: columns place and value."""
    groups = means.sort_values("place").groupby(instance_columns(means, instance) or ["instance"])
    # One line with gaps takes fewer bytes than a line each.
    places, values = ([value for _, group in groups for value in (*group[name], math.nan)]
                      for name in ("place", "value"))
    axes.plot(places, values, color=look.color, linewidth=1, alpha=0.4, zorder=1.8)


def single_points(axes: "Axes", points: "DataFrame", *, look: Series) -> None:
    """The single instances, faint; points: columns place, value, hollow."""
    import numpy as np

    solid, hollow = points[~points["hollow"]], points[points["hollow"]]
    if len(solid):
        # Dots as one line of zero-length strokes: a third of the bytes of as many markers.
        places, values = (np.repeat(solid[name].to_numpy(float), 3) for name in ("place", "value"))
        values[2::3] = np.nan
        dots, = axes.plot(places, values, color=look.color, alpha=0.4, linewidth=3.2,
                          solid_capstyle="round")
        dots.get_path().should_simplify = False  # it would drop strokes without a length
    if len(hollow):
        axes.plot(hollow["place"], hollow["value"], linestyle="none", marker="o", markersize=3.5,
                  alpha=0.6, color=look.color, markeredgewidth=0.7, markerfacecolor="white")


def _texts(frame, x, column):
    """For each x the value of the column as text; a range where runs differ."""
    texts = {}
    for value, group in frame.dropna(subset=[x, column]).groupby(x):
        low, high = float(group[column].min()), float(group[column].max())
        ends = list(dict.fromkeys([_short(low), _short(high)]))
        texts[float(value)] = "–".join(ends)
    return texts


def _short(value):
    return number(value) if math.isinf(value) or value >= 100 else f"{value:.2g}"


def _second_title(frame, column):
    last = column.rsplit(".", 1)[-1]
    if last != "epsilon":
        return axis_label(column)
    deltas = sorted(set(frame["delta"].dropna())) if "delta" in frame.columns else []
    delta = f"{deltas[0]:.0e}".replace("e-0", "e-") if len(deltas) == 1 and deltas[0] else "0"
    at = f" at δ = {delta}" if len(deltas) == 1 else ""
    return f"ε{at}" + _no_guarantee(column, set(frame[column]))


def _no_guarantee(column, values):
    return " (∞: no guarantee)" if column.rsplit(".",
                                                 1)[-1] == "epsilon" and math.inf in values else ""
