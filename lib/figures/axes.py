"""Axes that show 0 and ∞ honestly, a second axis, labels that do not cover each other."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from lib.figures.style import FAINT, INK, REFERENCES, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = ("linear", "log", "category")


class Scale(NamedTuple):
    """Places the values of a setting along an axis. `span` is the length of the axis."""

    places: dict
    span: float
    cut: float | None  # where a logarithmic axis jumps to 0
    far: float | None = None  # where the axis jumps to ∞

    def __call__(self, value: float) -> float:
        """The position of a value that the axis was made for."""
        return self.places[float(value)]


def make_scale(values: Iterable[float], kind: str) -> Scale:
    """Positions for the values: in proportion, by ratio (0 stands apart), or one after another.

    An infinite value stands one step behind the largest. Raises ValueError for an unknown kind or
    negative values on a logarithmic axis.
    """
    if kind not in SCALES:
        raise ValueError(f"scale {kind!r}: expected one of {SCALES}")
    values = sorted({float(value) for value in values if value == value})
    if kind == "log" and values and values[0] < 0:
        raise ValueError(f"the value {values[0]} has no place on a logarithmic axis: use 'linear'")
    if kind == "category":
        places = {value: float(i) for i, value in enumerate(values)}
        return Scale(places, max(len(values) - 1, 1), None)
    finite = [value for value in values if math.isfinite(value) and (value > 0 or kind == "linear")]
    places = {value: math.log10(value) if kind == "log" else value for value in finite}
    low, high = (places[finite[0]], places[finite[-1]]) if finite else (0.0, 1.0)
    step = max((high - low) / max(len(finite) - 1, 1), 1e-12) if high > low else 1.0
    cut = None
    if kind == "log" and 0.0 in values:
        places[0.0], cut = low - step, low - step / 2
    far = None
    if math.inf in values:  # among many values a step is short: ∞ needs room for its tick
        step = max(step, 0.1 * (high - low))
        places[math.inf], far = high + step, high + step / 2
    span = max(places.values()) - min(places.values()) if places else 1.0
    return Scale(places, span or 1.0, cut, far if finite else None)


def draw_scale(axes: "Axes", scale: Scale, label: str) -> None:
    """Ticks at the measured values (as many as fit), limits, and a mark where the axis is cut."""
    items = [(number(value), place) for value, place in scale.places.items()]
    ticks = thin(items, scale.span, letter=_letter(axes))
    axes.set_xticks([place for _, place in ticks], [text for text, _ in ticks])
    if scale.places:
        ends = min(scale.places.values()), max(scale.places.values())
        axes.set_xlim(ends[0] - 0.05 * scale.span, ends[1] + 0.05 * scale.span)
    for cut in [place for place in (scale.cut, scale.far) if place is not None]:
        axes.text(cut, 0, "//", transform=axes.get_xaxis_transform(), ha="center",
                  va="center", color=FAINT, fontsize=SMALL, zorder=5,
                  bbox={"pad": 0.5, "facecolor": "white", "edgecolor": "none"})
    axes.set_xlabel(label)


def draw_second_axis(axes: "Axes", scale: Scale, labels: Mapping[float, str], title: str) -> None:
    """An axis on top with the text that belongs to each value, as epsilon to a noise level."""
    items = [(text, scale(value)) for value, text in sorted(labels.items())]
    if not items:
        return
    ticks = thin(items, scale.span, letter=_letter(axes))
    top = axes.secondary_xaxis("top")
    top.set_xticks([place for _, place in ticks], [text for text, _ in ticks])
    top.set_xlabel(title)
    top.grid(False)
    top.tick_params(length=3)


def _letter(axes):
    """Half of a tick letter's width as a share of a panel, with its margins."""
    return 0.05 / (axes.figure.get_figwidth() / axes.get_gridspec().ncols)


def thin(items: Iterable[tuple[str, float]], span: float, *, letter: float
        ) -> list[tuple[str, float]]:
    """The (text, place) that leave gaps, in order: both ends and short texts before the others.

    letter: half a letter's width as a share of the span.
    """
    items = sorted(items, key=lambda item: item[1])
    kept = []
    for item in sorted(items, key=lambda item: (item not in (items[0], items[-1]), len(item[0]))):
        if all(
                abs(item[1] - other[1]) >= (0.02 + letter * len(item[0] + other[0])) * span
                for other in kept):
            kept.append(item)
    return sorted(kept, key=lambda item: item[1])


def number(value: float) -> str:
    """A tick's text: three significant digits, no exponent for thousands, ∞ for infinity."""
    if math.isinf(value):
        return "∞"
    return (f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}").replace("-", "−")


def say_not_measured(axes: "Axes", *, ticks: bool = False, text: str = "not measured") -> None:
    """What stands in a panel without a single value; ticks stay where other panels share them."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center",
              color=FAINT, fontsize=10, style="italic")
    if not ticks:
        axes.set_yticks([])
        axes.grid(False)


def say_absent(axes: "Axes", names: Sequence[str], *, height: float = 0.03) -> None:
    """Which of several series have no value in this panel, at a height as a share of the panel."""
    if names:
        axes.text(0.02, height, "not measured: " + ", ".join(names), transform=axes.transAxes,
                  fontsize=SMALL, style="italic", color=FAINT)


def share_limits(axes: "Axes", values: Iterable[float], *, low: float = 0.0, high: float = 100.0
                ) -> None:
    """Limits for per cent: the whole range with a margin, wider if values lie beyond it."""
    values = [value for value in values if value == value]
    bottom, top = min([low, *values]), max([high, *values])
    axes.set_ylim(bottom - 0.04 * (top - bottom), top + 0.04 * (top - bottom))


def data_limits(panels: Sequence["Axes"], values: Iterable[float], *, least: float = 5.0) -> None:
    """The vertical limits of panels that share a measure: where its values end, and a margin.

    least: the shortest axis, in its unit, so that nothing is made of tiny differences.
    """
    values = [float(value) for value in values if math.isfinite(value)]
    if not values:
        return
    low, high = min(values), max(values)
    short = max(least - (high - low), 0) / 2
    margin = 0.05 * max(high - low, least)
    for axes in panels:
        axes.set_ylim(low - short - margin, high + short + margin)


def label_ends(axes: "Axes", ends: Sequence[tuple[float, float, str, str]]) -> bool:
    """Write each name of (x, y, name, colour) where its line ends, instead of a legend.

    For a row of panels. Returns whether: only up to five short names that leave a line's height
    between them. Limits must be set before; a constrained layout makes room for the names.
    """
    low, high = axes.get_ylim()
    inches = 0.7 * whole(axes).get_figheight()
    places = sorted(72 * inches * (y - low) / (high - low) for _, y, _, _ in ends)
    if not 1 < len(ends) <= 5 or any(len(name) > 20 for _, _, name, _ in ends) \
            or any(b - a < 11 for a, b in pairwise(places)):
        return False
    for x, y, name, color in ends:
        axes.annotate(name, (x, y), (7, 0), textcoords="offset points", va="center", ha="left",
                      color=color, fontsize=9, annotation_clip=False)
    return True


def legend_below(figure: "Figure", *, order: Sequence[str] = ()) -> None:
    """One legend for all panels, below them, each name once: references, then those in `order`."""
    found = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    names = sorted(found, key=lambda name: (name not in REFERENCES, order.index(name)
                                            if name in order else len(order)))
    if names:
        letters = figure.get_figwidth() * 72 / 5.2  # that fit into a line
        longest = max(map(len, names)) + 9
        fits = sum(len(name) + 9 for name in names) <= letters
        columns = len(names) if fits else max(1, min(len(names), int(letters / longest)))
        figure.legend([found[name] for name in names], names, loc="outside lower center",
                      ncols=columns, columnspacing=1.6)


def note_collapsed(axes: "Axes") -> None:
    """An entry in the legend for the hollow points."""
    axes.plot([], [], linestyle="none", marker="o", color=FAINT, markerfacecolor="white",
              label="hollow: collapsed model")


def whole(axes: "Axes") -> "Figure":
    """The Figure of the axes, whose size and layout are known; ValueError: a part of one."""
    from matplotlib.figure import Figure

    figure = axes.figure
    if not isinstance(figure, Figure):
        raise ValueError(f"axes of a {type(figure).__name__}: expected those of a Figure, whose "
                         "layout can be drawn")
    return figure


def label_points(axes: "Axes", points: Sequence[tuple[float, float, str]], *,
                 avoid: Iterable[tuple[float, float]] = ()) -> None:
    """Write a text beside each (x, y, text), near it and off other texts, points and the border.

    avoid: further (x, y), of lines, that a text should leave free where it can.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = whole(axes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # constrained layout moves the axes; positions are known only after it
    frame, scale = axes.get_window_extent(), figure.dpi / 72
    lines = [_box_around(axes, x, y, radius=2) for x, y in avoid]
    taken = [_box_around(axes, x, y, radius=6) for x, y, _ in points]
    for x, y, text in points:
        note = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", ha="left",
                             va="bottom", fontsize=SMALL, color=INK, annotation_clip=False,
                             bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none",
                                   "pad": 0.3})
        box = note.get_window_extent(canvas.get_renderer())

        def cost(offset, box=box):
            moved = _moved(box, offset, scale)
            return (sum(_overlap(moved, other) for other in taken) + 4 * _outside(moved, frame)
                    + sum(_overlap(moved, line) for line in lines) + 6 * offset[2])

        best = min(_offsets(box.width / scale, box.height / scale), key=cost)
        note.set_position(best[:2])
        taken.append(_moved(box, best, scale))


def _offsets(width, height):
    """Places (x, y, distance) for the corner of a text of this size (points) around its point."""
    for far in (1, 1.8, 3, 4.5):
        side, up = 7 * far, 5 * far
        for dx in (side, -side - width, -width / 2):
            for dy in (up, -up - height, -height / 2):
                if not (dx == -width / 2 and dy == -height / 2):
                    yield dx, dy, 5 * far


def _moved(box, offset, scale):
    from matplotlib.transforms import Bbox

    return Bbox(box.get_points() + [scale * offset[0], scale * offset[1]])


def _box_around(axes, x, y, *, radius):
    from matplotlib.transforms import Bbox

    px, py = axes.transData.transform((x, y))
    return Bbox.from_extents(px - radius, py - radius, px + radius, py + radius)


def _overlap(a, b):
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0) * max(height, 0)


def _outside(box, frame):
    return box.width * box.height - _overlap(box, frame)


def not_measured(text: str = "not measured") -> "Figure":
    """A figure that says so, where no row is known, or why there is nothing to show."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 1))
    say_not_measured(axes, text=text)
    axes.set_xticks([])
    return figure
