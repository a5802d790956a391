"""Box plots over the base models of an ensemble, with the ensemble's own value beside each box."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.figures.axes import (
    data_limits,
    legend_below,
    note_collapsed,
    number,
    say_absent,
    say_not_measured,
)
from lib.figures.levels import levels
from lib.figures.means import filled, instance_columns, instance_means, interval, require
from lib.figures.measures import axis_label, measure, measure_label
from lib.figures.style import FAINT, PANEL, SMALL, WIDTH, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SHARES = ("fraction", "share")  # last names of settings whose ticks are in per cent
GROUP = 0.84  # of the step between two settings: the boxes of one
_MARKS = ("x", "+", "1", "2")  # thin ones: no series has them


def boxes(specs: Iterable[Mapping[str, Any]], *, columns: int = 3) -> "Figure":
    """A Figure with a panel a spec: boxes over the base models of ensembles, and what the ensembles
    do.

    A spec holds: frame, a row a run. x: column of the setting, in equal steps; a share reads in per
    cent, texts stay. low, middle, high: columns with the first quartile, median and third quartile
    over the models of a run. ensemble: column of the ensemble's own value. All of them are shares
    in [0, 1], drawn in per cent. Optional: series (column), xlabel, ylabel, title, chance (a share,
    dashed), mark (column of a further value of the ensemble) with mark_label, missing (what an
    empty x stands for), instance (columns that tell attack instances apart; default: pair, attack
    seed and data set). A box is the mean of the quartiles over instances, the ensemble's marker
    has its 95% t interval. Collapsed models are hollow; a run without values reads "not measured".
    """
    marks = list(dict.fromkeys(_mark_text(spec) for spec in specs if spec.get("mark")))
    if len(marks) > len(_MARKS):
        raise ValueError(
            f"{len(marks)} kinds of marks in one figure, at most {len(_MARKS)} can be told apart:"
            f" {marks}"
        )

    def draw(axes, frame, **spec):
        text = _mark_text(spec) if spec.get("mark") else None
        spec["mark_label"] = text
        return _draw(axes, frame, cross=_MARKS[marks.index(text)] if text else None, **spec)

    return draw_panels(specs, draw, columns=columns,
                       needed=("frame", "x", "low", "middle", "high", "ensemble"))


def draw_panels(specs: Iterable[Mapping[str, Any]], draw: Callable[..., list[float]], *,
                columns: int, needed: Sequence[str]) -> "Figure":
    """A Figure with a panel a spec, by draw(axes, frame, looks=, **spec), lettered, and one legend.

    draw returns the values from which the vertical limits follow, of all panels that share a label;
    none where it sets them itself. Panels of a row with the same vertical axis name it once.
    ValueError: no spec, or one that lacks what is `needed`.
    """
    from matplotlib.figure import Figure

    specs = [dict(spec) for spec in specs]
    if not specs:
        raise ValueError(f"no panel to draw: give at least one dict with {', '.join(needed)}")
    for index, spec in enumerate(specs):
        if lacking := [key for key in needed if spec.get(key) is None]:
            raise ValueError(f"panel {index + 1} lacks {lacking}; it has {list(spec)}")
    columns = min(columns, len(specs))
    rows = -(-len(specs) // columns)
    names = [name for spec in specs for name in series_names(spec["frame"], spec.get("series"))]
    looks = series_styles(names)
    width = min(WIDTH, PANEL[0] * columns) if columns > 1 else 6.2
    with styled():
        figure = Figure(figsize=(width, PANEL[1] * rows + 0.8), layout="constrained")
        seen = {}
        for index, spec in enumerate(specs):
            axes = figure.add_subplot(rows, columns, index + 1)
            title = f"({chr(97 + index)}) " * (len(specs) > 1) + (spec.pop("title", None) or "")
            axes.set_title(_wrapped(title, width / columns - 0.4, letter=5.9))
            values = draw(axes, spec.pop("frame"), looks=looks, **spec)
            if values:
                seen.setdefault(axes.get_ylabel(), []).append((axes, values))
            axes.set_xlabel(_wrapped(axes.get_xlabel(), width / columns - 0.55, letter=5.3))
        for drawn in seen.values():
            data_limits([axes for axes, _ in drawn], [v for _, values in drawn for v in values])
        for index in reversed(range(len(specs))):
            if index % columns and figure.axes[index].get_ylabel() == figure.axes[index -
                                                                                  1].get_ylabel():
                figure.axes[index].set_ylabel("")
        legend_below(figure, order=names)
        entries = sum(len(legend.get_texts()) for legend in figure.legends)
        # in two columns or more
        figure.set_size_inches(width, PANEL[1] * rows + 0.3 + 0.2 * -(-entries // 2))
    return figure


def _wrapped(text, inches, *, letter):
    """The text in lines that fit into a width; letter: the mean width of one in points."""
    return "\n".join(textwrap.fill(line, int(72 * inches / letter)) for line in text.split("\n"))


def series_names(frame: "DataFrame", series: str | None) -> list[str]:
    """The names of the series in the order of the table.

    One without a name where there is no column.
    """
    if series is None:
        return [""]
    require(frame, [series])
    return [str(name) for name in dict.fromkeys(frame[series].dropna())]


def instances(frame: "DataFrame", instance: str | Sequence[str] | None) -> str | Sequence[str]:
    """The columns that tell attack instances apart: a binary task is a data set of its own."""
    if instance is not None:
        return instance
    return [*instance_columns(frame, None), *(["dataset"] if "dataset" in frame.columns else [])]


def _mark_text(spec):
    return spec.get("mark_label") or measure(spec["mark"]).name


def _draw(axes, frame, *, looks, x, low, middle, high, ensemble, series=None, xlabel=None,
          ylabel=None, chance=None, mark=None, mark_label=None, cross=None, missing=None,
          instance=None):
    """Draw the boxes of one spec into axes."""
    frame = filled(frame, x, missing)
    columns = {"box": [low, middle, high], "ensemble": [ensemble], "mark": [mark] if mark else []}
    frame = _numbers(frame, x, [name for some in columns.values() for name in some])
    found, names = levels(frame[x]), series_names(frame, series)
    room = GROUP / max(len(names), 1)
    seen, absent = [], []
    for index, name in enumerate(names):
        rows = frame if series is None else frame[frame[series].astype(str) == name]
        # Without a line: boxes are too narrow for a dashed edge, the marker beside them says whose
        # they are.
        axes.plot([], [], color=looks[name].color, marker=looks[name].marker, linestyle="none",
                  label=name or None)
        slots = [(place - GROUP / 2 + index * room, rows[rows[x] == level])
                 for place, level in enumerate(found)]
        drawn = [
            _slot(axes, some, looks[name], left, room, columns, x=x, cross=cross, instance=instance)
            for left, some in slots
        ]
        seen += [value for values in drawn for value in values]
        if any(drawn):
            _say_empty(axes, [
                left + room / 2
                for (left, some), values in zip(slots, drawn, strict=True)
                if len(some) and not values
            ])
        else:
            absent.append(name)
    _draw_settings(axes, x, found, xlabel)
    label = ylabel or measure_label(ensemble)
    axes.set_ylabel(label if "[" in label else f"{label}\n[%]")
    axes.grid(False, axis="x")
    if not seen:
        say_not_measured(axes)
        return []
    say_absent(axes, absent)
    if chance is not None:
        axes.axhline(100 * chance, color=FAINT, linewidth=1.6, linestyle=(0, (4, 3)), zorder=2.2,
                     label="chance")
    _explain(axes, looks[names[0]] if series is None else None, cross, mark_label)
    return [*seen, *([100 * chance] if chance is not None else [])]


def _numbers(frame, x, columns):
    """The table with numbers where they are needed; a column that was never measured holds None."""
    import pandas as pd

    require(frame, [x, *columns])
    return frame.assign(**{column: pd.to_numeric(frame[column]) for column in columns})


def _slot(axes, rows, look, left, room, columns, *, x, cross, instance):
    """Draw box, ensemble and mark of one series and setting side by side.

    Returns the values, none if not measured.
    """
    means = {part: instance_means(rows, by=[x], values=names, instance=instances(rows, instance))
             for part, names in columns.items() if names}
    values, at = [], ((0.02, 0.42), 0.63, 0.87) if cross else ((0.05, 0.55), 0.77, None)
    if len(means["box"]):
        values += _box(axes, means["box"], columns["box"], look,
                       *(left + share * room for share in at[0]))
    if len(means["ensemble"]):
        value, = columns["ensemble"]
        values += _ensemble(axes, means["ensemble"], value, look, left + at[1] * room)
    if cross and len(means["mark"]):
        value = 100 * means["mark"][columns["mark"][0]].mean()
        axes.plot(left + at[2] * room, value, linestyle="none", marker=cross, color=look.color,
                  markersize=5, markeredgewidth=1.5)
        values.append(value)
    return values


def _box(axes, means, names, look, left, right):
    """A box from the first to the third quartile, with the median."""
    from matplotlib.patches import Rectangle

    low, middle, high = (100 * means[name].mean() for name in names)
    hollow = means["collapsed"].mean() >= 0.5
    axes.add_patch(
        Rectangle((left, low), right - left, high - low, edgecolor=look.color, linewidth=1.1,
                  facecolor="white" if hollow else (look.color, 0.22), zorder=2))
    axes.plot([left, right], [middle, middle], color=look.color, linewidth=2.2,
              solid_capstyle="butt", zorder=2.5)
    return [low, middle, high]


def _ensemble(axes, means, name, look, place):
    """The ensemble's mean over instances with its interval."""
    found = interval(100 * means[name], within=(0, 100))
    hollow = means["collapsed"].mean() >= 0.5
    if found.n > 1:
        axes.errorbar(place, found.mean, yerr=[[found.mean - found.low], [found.high - found.mean]],
                      color=look.color, elinewidth=1.2, capsize=2, label="_interval")
    axes.plot(place, found.mean, linestyle="none", marker=look.marker, color=look.color,
              markersize=5, markerfacecolor="white" if hollow else look.color, zorder=4)
    if means["collapsed"].gt(0).any():
        note_collapsed(axes)
    return [found.mean] if found.n < 2 else [found.mean, found.low, found.high]


def _say_empty(axes, places):
    """Say where a series that is measured elsewhere has no value."""
    for place in places:
        axes.text(place, 0.5, "not measured", rotation=90, transform=axes.get_xaxis_transform(),
                  ha="center", va="center", fontsize=SMALL, style="italic", color=FAINT)


def _draw_settings(axes, x, found, xlabel):
    """Ticks at equal steps; shares in per cent."""
    shares = str(x).rsplit(".", 1)[-1] in SHARES
    texts = [
        level if isinstance(level, str) else f"{number(100 * level)}%" if shares else number(level)
        for level in found
    ]
    columns = axes.get_gridspec().ncols
    letters = int((axes.figure.get_figwidth() / columns - 0.6) * 72 / 5.2 / max(len(texts), 1))
    axes.set_xticks(range(len(texts)), [textwrap.fill(text, max(letters, 4)) for text in texts])
    axes.set_xlim(-0.5, max(len(texts), 1) - 0.5)
    axes.set_xlabel(xlabel or axis_label(x))


def _explain(axes, look, cross, mark_label):
    """Entries of the legend for what is drawn; look: that of the only series, if it has no name."""
    from matplotlib.patches import Rectangle

    color, marker = (look.color, look.marker) if look else (FAINT, "o")
    several = any(container.get_label() == "_interval" for container in axes.containers)
    axes.add_patch(
        Rectangle((0, 0), 0, 0, edgecolor=color, facecolor=(color, 0.22),
                  label="box: quartiles of models"))
    axes.plot([], [], linestyle="none", marker=marker, color=color,
              label="ensemble, 95% interval" if several else "ensemble")
    if cross:
        axes.plot([], [], linestyle="none", marker=cross, color=color, markeredgewidth=1.5,
                  label=mark_label)
