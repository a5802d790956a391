"""Decision maps of models of the plane, and their boundaries along the training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.figures.axes import legend_below, say_not_measured
from lib.figures.style import INK, WIDTH, styled

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

CLASSES = ("#c44e00", "#0072b2")  # of class 0 and of class 1
MARKERS = ("o", "^")
SHADES = ("#f0a878", "#8cc3e4")  # of a decision that is sure, light enough for lines on top
BEFORE = ("#8f3f84", "#007a5a", "#6b5b00", "#57606a")  # boundaries before the last


def decision_maps(panels: Iterable[Mapping[str, Any]], *, extent: Sequence[float],
                  points: "np.ndarray", labels: "np.ndarray") -> "Figure":
    """A Figure of the data and, beside it, a decision map for each panel.

    panels: mappings with "title", "map" (probability of class 1 [rows, columns], None if it is not
    measured) and "boundaries" (name -> polylines [points, 2], the last drawn thickest). extent:
    left, right, bottom and top of the maps. points [n, 2], labels [n]: the data, in the first
    panel. A stronger colour is a more confident decision; white is undecided.
    """
    from matplotlib.figure import Figure

    panels = list(panels)
    with styled():
        figure = Figure(figsize=(WIDTH, 0.67 * WIDTH / (len(panels) + 1) + 0.9),
                        layout="constrained")
        first, *others = figure.subplots(1, len(panels) + 1, sharex=True, sharey=True)
        for name, (color, marker) in enumerate(zip(CLASSES, MARKERS, strict=True)):
            first.plot(*points[labels == name].T, linestyle="none", marker=marker, markersize=2.2,
                       color=color, alpha=0.6, markeredgewidth=0)
        first.set_title(f"{len(points)} training points")
        for axes, panel in zip(others, panels, strict=True):
            _draw(axes, panel, extent)
        for axes in (first, *others):
            axes.set(xlim=extent[:2], ylim=extent[2:], aspect="equal")
            axes.grid(visible=False)
        legend_below(figure)
    return figure


def _draw(axes, panel, extent):
    axes.set_title(panel["title"])
    if panel["map"] is None:
        say_not_measured(axes)
        return
    axes.imshow(panel["map"], cmap=_colours(), vmin=0, vmax=1, origin="lower", extent=tuple(extent),
                interpolation="nearest", aspect="auto")
    *before, last = panel["boundaries"]
    for place, name in enumerate([*before, last]):
        color = INK if name == last else BEFORE[place % len(BEFORE)]
        for part, line in enumerate(panel["boundaries"][name]):
            axes.plot(*line.T, color=color, linewidth=2.4 if name == last else 1.4,
                      linestyle="-" if name == last else (0, (4, 1 + place)),
                      label=name if part == 0 else None)


def _colours():
    """From class 0's shade over white to class 1's."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("decision", [SHADES[0], "white", SHADES[1]])
