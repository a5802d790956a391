"""Shares of yes and no with exact intervals, a row a setting, several kinds side by side."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lib.figures.axes import legend_below, say_not_measured
from lib.figures.means import require
from lib.figures.style import FAINT, INK, SMALL, WIDTH, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

ROW, EDGES = 0.3, 0.75  # inches of a row, and above and below a panel
SPREAD = 0.5  # of a row, over which its kinds lie
CAP = "upper bound"


def proportions(specs: Iterable[Mapping[str, Any]], *, by: str, series: str = "rule",
                better: str = "lower", xlabel: str = "share of targets") -> "Figure":
    """A Figure with a panel a spec, one above the other: shares as points with intervals.

    A spec holds `frame`, and `title`. frame: a line a row (`by`, in the order of the table) and
    kind (`series`), with share, low and high, in [0, 1]; optional: cap, a bound drawn as a thick
    tick, and note, a text at the right of the row. better: the better end, named at the axis.
    """
    from matplotlib.figure import Figure

    specs = list(specs)
    names = list(dict.fromkeys(name for spec in specs for name in spec["frame"][series]))
    rows = [max(spec["frame"][by].nunique(), 1) for spec in specs]
    with styled():
        height = sum(rows) * ROW + EDGES * len(specs) + 0.5
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(len(specs), 1, squeeze=False,
                               gridspec_kw={"height_ratios": [n + 0.8 for n in rows]})[:, 0]
        for axes, spec in zip(grid, specs, strict=True):
            require(spec["frame"], [by, series, "share", "low", "high"])
            _draw(axes, spec["frame"], names, by=by, series=series)
            axes.set_title(spec.get("title", ""))
        grid[-1].set_xlabel(f"{xlabel} [%], 95% interval; {better} is better")
        legend_below(figure, order=[*names, CAP])
    return figure


def _draw(axes: "Axes", frame: "DataFrame", names: list[str], *, by: str, series: str) -> None:
    labels, looks = list(dict.fromkeys(frame[by])), series_styles(names)
    for place, label in enumerate(labels):
        for name, line in frame[frame[by].eq(label)].set_index(series).iterrows():
            shift = (names.index(str(name)) / max(len(names) - 1, 1) - 0.5) * SPREAD
            _point(axes, line, place + shift, looks[str(name)], str(name))
    axes.set_xlim(-3, 103)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    if "note" in frame:
        _notes(axes, frame.drop_duplicates(by))
    if not labels:
        say_not_measured(axes)


def _point(axes, line, place, look, name) -> None:
    known = axes.get_legend_handles_labels()[1]
    low, middle, high = (100 * line[column] for column in ("low", "share", "high"))
    axes.plot([low, high], [place, place], color=look.color, linewidth=1.6)
    axes.plot(middle, place, color=look.color, marker=look.marker, linestyle="none",
              label=None if name in known else name)
    if "cap" in line and line["cap"] == line["cap"]:
        axes.plot(100 * line["cap"], place, color=INK, marker="|", markersize=13,
                  markeredgewidth=3, linestyle="none", label=None if CAP in known else CAP)


def _notes(axes, rows) -> None:
    for place, text in enumerate(rows["note"]):
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center",
                  fontsize=SMALL, color=FAINT)
