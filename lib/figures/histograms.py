"""Distributions of a few kinds of records over bins of a logarithm."""

from typing import TYPE_CHECKING

from lib.figures.axes import legend_below, say_not_measured
from lib.figures.means import require
from lib.figures.style import PANEL, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")  # as text, since SVG text has no other way


def histograms(frame: "DataFrame", *, series: str, xlabel: str, ylabel: str) -> "Figure":
    """A step line a series: the share of its records in each bin, in per cent.

    frame: a row a series and bin, with low and high (log10 of the bin's edges) and share; several
    rows of one bin, of several runs, are averaged. Bins at the left end hold all that is smaller.
    """
    from matplotlib.figure import Figure

    require(frame, [series, "low", "high", "share"])
    known = frame.dropna(subset=["share"])
    names = [str(name) for name in dict.fromkeys(frame[series])]
    with styled():
        figure = Figure(figsize=(6.2, PANEL[1] + 0.4), layout="constrained")
        axes = figure.add_subplot()
        for name, look in series_styles(names).items():
            own = known[known[series].eq(name)].groupby("low")[["high", "share"]].mean()
            if len(own):
                edges = [*own.index, float(own["high"].iloc[-1])]
                axes.stairs(100 * own["share"], edges, color=look.color, linestyle=look.line,
                            fill=False, linewidth=1.8, label=name)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        if len(known):
            _ticks(axes, float(known["low"].min()), float(known["high"].max()))
            legend_below(figure, order=names)
        else:
            say_not_measured(axes)
    return figure


def _ticks(axes: "Axes", low: float, high: float) -> None:
    """Powers of ten; the lowest says that it holds what is smaller too."""
    powers = range(round(low), round(high) + 1, 2 if high - low > 4 else 1)
    texts = ["10" + str(power).translate(RAISED) if power else "1" for power in powers]
    axes.set_xticks(list(powers), [f"≤ {texts[0]}", *texts[1:]])
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=0)
