"""How far a certificate reaches, beside what an attack spends, both in the certificate's unit."""

from typing import TYPE_CHECKING, Any

from lib.figures.comparisons import BOTTOM, LETTER, MARGIN, ROW, TEXT, WIDTH
from lib.figures.style import BETTER, FAINT, INK, WORSE, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SIDES = "← not certified against this attack", "certified →"
LEFT, RIGHT = 11, 17  # letters beside the bars
TOP = 0.7  # inches above them: two lines


def reaches(frame: "DataFrame", *, attack: str, unit: str) -> "Figure":
    """What a certificate can reach (light) and does reach (dark), a bar a line of the frame; the
    thick line is what the attack spends.

    frame: a line a setting, with its label, what it reaches ("reached", "at most"), what the attack
    spends ("attack", with "lowest" and "highest" over instances), their ratio ("factor") and a
    text ("note"). attack: in words, over the line. unit: of the axis.
    """
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(WIDTH, TOP + BOTTOM + ROW * max(len(frame), 1)))
        axes = figure.add_axes(_frame(figure))
        axes.set_ylim(max(len(frame), 1) - 0.5, -0.5)
        axes.set_xlim(0, 1.2 * frame[["highest", "at most"]].max().max())
        for place, line in enumerate(frame.to_dict("records")):
            _bar(axes, place, line)
        _attack(axes, frame, attack)
        axes.set_yticks(range(len(frame)), list(frame["label"]), fontsize=TEXT)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=TEXT - 0.5)
        axes.grid(False, axis="y")
        axes.set_xlabel(unit, fontsize=TEXT, loc="left")
        axes.annotate("attack ÷ reach", (1, 0), (6, -5), xycoords=axes.transAxes, color=FAINT,
                      fontsize=TEXT - 1, textcoords="offset points", va="top")
    return figure


def _frame(figure: "Figure") -> tuple[float, float, float, float]:
    """The place of the axes in the figure, between labels and numbers."""
    height = figure.get_figheight()
    left, right = LEFT * LETTER + MARGIN, RIGHT * LETTER + MARGIN
    return (left / WIDTH, BOTTOM / height, (WIDTH - left - right) / WIDTH,
            (height - TOP - BOTTOM) / height)


def _bar(axes: "Axes", place: int, line: dict) -> None:
    write: dict[str, Any] = {"va": "center", "fontsize": TEXT, "textcoords": "offset points"}
    for name, thick, opaque in (("at most", 0.6, 0.3), ("reached", 0.34, 1)):
        axes.barh(place, line[name], height=thick, color=BETTER, alpha=opaque, linewidth=0,
                  zorder=3)
    axes.annotate(f"at most {_digits(line['at most'])}", (line["at most"], place), (5, 0),
                  zorder=6, color=INK, **write)
    beside: dict[str, Any] = {"xycoords": axes.get_yaxis_transform()} | write
    axes.annotate(f"{_digits(line['factor'])} times", (1, place), (6, 7), color=INK,
                  fontweight="bold", **beside)
    axes.annotate(line["note"], (1, place), (6, -7), color=FAINT, **beside)


def _digits(value: float) -> str:
    """Two significant digits, or whole numbers from ten on."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _attack(axes: "Axes", frame: "DataFrame", words: str) -> None:
    """The line of the attack with its range over instances, and what its two sides mean."""
    if frame.empty:
        return
    at = frame["attack"].mean()
    axes.axvspan(0, at, color=WORSE, alpha=0.11, linewidth=0, zorder=0)
    axes.axvspan(frame["lowest"].min(), frame["highest"].max(), color=INK, alpha=0.12, linewidth=0)
    axes.axvline(at, color=INK, linewidth=3, zorder=5)
    over: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points",
            "va": "bottom", "fontsize": TEXT}
    axes.annotate(SIDES[0], (at, 1), (-4, 5), ha="right", color=WORSE, fontweight="bold", **over)
    axes.annotate(SIDES[1], (at, 1), (4, 5), ha="left", color=BETTER, fontweight="bold", **over)
    axes.annotate(words, (at, 1), (0, 21), ha="center", color=INK, **over)
