"""The two sides of zero: a thick line, the worse side shaded, both named in words."""

from typing import TYPE_CHECKING

from lib.figures.axes import whole
from lib.figures.style import BETTER, INK, THICK, WORSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDES = {"lower": ("better", "worse"), "higher": ("worse", "better")}


def check_better(better: str) -> None:
    """Raise a ValueError unless `better` is "lower" or "higher"."""
    if better not in SIDES:
        raise ValueError(f"better {better!r}: expected 'lower' or 'higher', the better side of 0")


def draw_sides(axes: "Axes", better: str, *, vertical: bool = False, at: float = 0.0) -> None:
    """A thick line at zero, and the worse side lightly shaded; limits must be set before.

    vertical: the difference is on the vertical axis. at: where the line stands in place of zero.
    """
    check_better(better)
    low, high = axes.get_ylim() if vertical else axes.get_xlim()
    worse = (min(at, high), high) if better == "lower" else (low, max(at, low))
    span, line = (axes.axhspan, axes.axhline) if vertical else (axes.axvspan, axes.axvline)
    span(*worse, color=WORSE, alpha=0.11, linewidth=0, zorder=0)
    line(at, color=INK, linewidth=THICK, zorder=3)
    (axes.set_ylim if vertical else axes.set_xlim)(low, high)


def name_sides(axes: "Axes", sides: tuple[str, str] | None, better: str, *, size: float,
               room: float | None = None, at: float = 0.0) -> None:
    """Both sides above the axis, with arrows, beside zero or as far from it as they need.

    size: points. room: inches from the axis's left end to the right that texts may take; the axis
    must have its final place. at: as in `draw_sides`.
    """
    left, right = sides or SIDES[better]
    colors = (BETTER, WORSE) if better == "lower" else (WORSE, BETTER)
    inches = axes.get_position().width * whole(axes).get_figwidth()
    letter = 0.68 * size / 72  # inches, of a bold one
    texts = f"← {left}", f"{right} →"
    places = _places([end - at for end in axes.get_xlim()], inches,
                     [letter * len(text) for text in texts], room or inches)
    for text, place, align, color in zip(texts, places, ("right", "left"), colors, strict=True):
        axes.annotate(text, (place / inches, 1), (0, 5), xycoords="axes fraction", ha=align,
                      textcoords="offset points", va="bottom", fontsize=size, color=color,
                      fontweight="bold")


def _places(ends, inches, widths, room):
    """Inches from the axis's left end: where the left text ends, and where the right one begins."""
    zero = -ends[0] / (ends[1] - ends[0]) * inches
    left = min(max(zero - 0.07, widths[0]), room)
    return left, min(max(zero + 0.07, left + 0.15), room - widths[1])
