"""Points in a plane, by kind; copies of one point as its size."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lib.figures.axes import legend_below, say_not_measured
from lib.figures.means import require
from lib.figures.style import SMALL, WIDTH, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 20  # copies from which on a point says how many it is


def scatter(specs: Iterable[Mapping[str, Any]], *, xlabel: str, ylabel: str) -> "Figure":
    """A Figure with a panel a spec, on common axes: points at columns x and y.

    A spec holds `frame` with x, y, kind and copies, and `title`. A point with many copies is
    larger and says how many they are.
    """
    from matplotlib.figure import Figure

    specs = [dict(spec) for spec in specs]
    kinds = [str(kind) for spec in specs for kind in dict.fromkeys(spec["frame"]["kind"])]
    looks = series_styles(list(dict.fromkeys(kinds)))
    with styled():
        figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
        panels = figure.subplots(1, len(specs), squeeze=False, sharex=True, sharey=True)[0]
        for axes, spec in zip(panels, specs, strict=True):
            _draw(axes, spec["frame"], looks)
            axes.set(title=spec["title"], xlabel=xlabel)
        panels[0].set_ylabel(ylabel)
        legend_below(figure)
    return figure


def _draw(axes, frame, looks):
    import numpy as np

    require(frame, ["x", "y", "kind", "copies"])
    if frame.empty:
        say_not_measured(axes)
    for kind, points in frame.groupby("kind", sort=False):
        look, many = looks[str(kind)], points["copies"].ge(MANY)
        few = points[~many]
        # The legend's own marker: those of the points are too small to tell.
        axes.plot([], [], linestyle="none", marker=look.marker, color=look.color, label=str(kind))
        # Dots as one line of zero-length strokes: a third of the bytes of as many markers.
        places, values = (np.repeat(few[name].to_numpy(float), 3) for name in ("x", "y"))
        values[2::3] = np.nan
        axes.plot(places, values, color=look.color, alpha=0.55, linewidth=2.6,
                  solid_capstyle="round")
        for _, point in points[many].iterrows():
            axes.plot(point["x"], point["y"], marker=look.marker, markersize=11, linestyle="none",
                      color=look.color, markeredgecolor="white", zorder=4)
            axes.annotate(f"{point['copies']:,.0f} copies", (point["x"], point["y"]), (7, 5),
                          textcoords="offset points", fontsize=SMALL, zorder=5)
