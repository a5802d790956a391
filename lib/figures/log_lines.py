"""Lines over a setting on a logarithmic scale, with the region past a reference shaded."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.figures.axes import legend_below
from lib.figures.means import require
from lib.figures.style import INK, SMALL, THICK, THIN, WIDTH, WORSE, Series, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

HEIGHT = 3.5  # inches of a panel
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")  # as text, since SVG text has no other way


def log_lines(specs: Iterable[Mapping[str, Any]], *, x: str, y: str, series: str, xlabel: str,
              ylabel: str, reference: str = "", beyond: str = "", markers: Sequence[str] = ()
              ) -> "Figure":
    """A Figure of panels side by side; y is drawn by its logarithm, all panels with one scale.

    A spec holds `frame`, a line a point (x, y above 0, series), and `title`. reference: the series
    drawn last, thick and in ink; above it the panel is shaded, and `beyond` says what that means;
    "": there is none.
    markers: series of points without a line, on top.
    """
    from matplotlib.figure import Figure

    specs = list(specs)
    names = list(dict.fromkeys(name for spec in specs for name in spec["frame"][series]))
    looks = series_styles(names) | ({reference: Series(INK, "", "-")} if reference else {})
    with styled():
        figure = Figure(figsize=(WIDTH if len(specs) > 1 else 6.2, HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(specs), squeeze=False, sharey=True)[0]
        for axes, spec in zip(panels, specs, strict=True):
            frame = spec["frame"]
            require(frame, [x, y, series])
            for name in sorted(names, key=lambda name: (name == reference, name in markers)):
                rows = frame[frame[series].eq(name)].sort_values(x)
                _draw(axes, rows[x], rows[y], looks[name], name, thick=name == reference,
                      marks=name in markers)
            axes.set_title(spec.get("title", ""))
            axes.set_xlabel(xlabel)
            axes.set_xticks(sorted(frame[x].unique()))
        panels[0].set_ylabel(ylabel)
        _ticks(panels, [float(v) for spec in specs for v in spec["frame"][y]])
        for axes, spec in zip(panels, specs, strict=True):
            _shade(axes, spec["frame"], x=x, y=y, series=series, reference=reference)
        if beyond:
            panels[0].text(0.98, 0.97, beyond, transform=panels[0].transAxes, ha="right", va="top",
                           color=WORSE, fontweight="bold", fontsize=SMALL)
        legend_below(figure, order=[reference, *names])
    return figure


def _draw(axes: "Axes", x: Any, y: Any, look: Series, name: str, *, thick: bool, marks: bool
          ) -> None:
    line = {"linestyle": "none", "markerfacecolor": "white", "zorder": 5, "markersize": 7,
            "markeredgewidth": 1.6} if marks else {
        "linestyle": look.line, "linewidth": THICK if thick else THIN, "zorder": 4 if thick else 3}
    axes.plot(x, [math.log10(value) for value in y], color=look.color, marker=look.marker,
              label=name, **line)


def _ticks(panels: Sequence["Axes"], values: Sequence[float]) -> None:
    """Powers of ten, written out from 0.01 to 1,000."""
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = 0.06 * (high - low)
    for axes in panels:
        axes.set_ylim(low - margin, high + 2.5 * margin)
    step = max(1, round((high - low) / 7))
    powers = range(math.ceil(low - margin), math.floor(high + 2.5 * margin) + 1, step)
    panels[0].set_yticks(list(powers), [
        f"{10.0**power:,g}" if -2 <= power <= 3 else "10" + str(power).translate(RAISED)
        for power in powers])


def _shade(axes: "Axes", frame: "DataFrame", *, x: str, y: str, series: str, reference: str
           ) -> None:
    rows = frame[frame[series].eq(reference)].sort_values(x)
    heights, top = [math.log10(value) for value in rows[y]], axes.get_ylim()[1]
    axes.fill_between(rows[x], heights, top, color=WORSE, alpha=0.09, linewidth=0, zorder=0)
