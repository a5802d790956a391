"""Sketches: pictures of an idea, computed on a toy loss."""

from typing import TYPE_CHECKING

from lib.figures.axes import legend_below
from lib.figures.style import FAINT, INK, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

START, STEP, UPDATES = (-1.6, 1.5), 0.03, 120
CLEAN = 3  # clean records to one poison
POISON = (1.9, 2.2)  # where the poison's own loss is least
NORM = 0.6  # at which the shaped gradients are clipped
PATHS = (("clean data alone", 0.0, "#007a5a", "-"), ("with poison", 6.0, "#b34700", "--"),
         ("with poison, gradients clipped", 6.0, "#0072b2", "-."))


def shaping() -> "Figure":
    """Three descents on a loss of two weights: clean, poisoned, and with every gradient clipped.

    Three clean records share one loss. The poison pulls to a point of its own, by a gradient of six
    times the distance; clipping bounds it like every other record's.
    """
    import numpy as np
    from matplotlib.figure import Figure

    x, y = np.meshgrid(np.linspace(-2.4, 2.6, 60), np.linspace(-2.0, 2.6, 60))
    with styled():
        figure = Figure(figsize=(5.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.contour(x, y, _loss(x, y), levels=9, colors="#c3c9d0", linewidths=0.8)
        for name, weight, color, line in PATHS:
            path = _descent(weight, clipped="clipped" in name)
            axes.plot(*path.T, color=color, linestyle=line, label=name, marker="o", markevery=24,
                      markersize=4)
        axes.plot(*START, marker="o", color=INK, markersize=7)
        axes.annotate("start", START, (6, 6), textcoords="offset points")
        axes.plot(*POISON, marker="X", color=FAINT, markersize=8)
        axes.annotate("what the poison asks for", POISON, (-8, 8), textcoords="offset points",
                      ha="right")
        axes.grid(False)
        axes.set(xticks=[], yticks=[], xlabel="a weight", ylabel="another weight")
        legend_below(figure, order=[name for name, *_ in PATHS])
    return figure


def final_losses() -> dict[str, float]:
    """The loss of clean data where each descent of `shaping` ends."""
    return {name: float(_loss(*_descent(weight, clipped="clipped" in name)[-1]))
            for name, weight, *_ in PATHS}


def _loss(x: "NDArray", y: "NDArray") -> "NDArray":
    """A valley with its lowest point at (0.6, -0.8)."""
    return 0.5 * (x - 0.6) ** 2 + 0.9 * (y + 0.8 - 0.25 * x**2 + 0.09) ** 2


def _descent(weight: float, *, clipped: bool) -> "NDArray":
    """The weights along the descent [updates + 1, 2]; `weight`: of the poison's gradient."""
    import numpy as np

    def cut(gradient):
        return gradient * min(1.0, NORM / max(np.linalg.norm(gradient), 1e-12)) if clipped \
            else gradient
    path = [np.array(START)]
    for _ in range(UPDATES):
        at = path[-1]
        inner = 1.8 * (at[1] + 0.89 - 0.25 * at[0] ** 2)
        clean = np.array([at[0] - 0.6 - 0.5 * at[0] * inner, inner])
        poison = weight * (at - np.array(POISON)) if weight else np.zeros(2)
        path.append(at - STEP * (CLEAN * cut(clean) + cut(poison)))
    return np.stack(path)
