"""Lines with bands, such as a median over records with its quartiles, along a training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.figures.axes import legend_below, say_not_measured
from lib.figures.means import require
from lib.figures.style import PANEL, series_styles, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def bands(frame: "DataFrame", *, x: str, series: str, xlabel: str, ylabel: str,
          limits: Sequence[str] = ("low", "median", "high")) -> "Figure":
    """A line a series through the middle column of `limits`, with a band between the other two.

    frame: a row a series and x, at least 0.
    """
    from matplotlib.figure import Figure

    require(frame, [x, series, *limits])
    low, middle, high = limits
    names = [str(name) for name in dict.fromkeys(frame[series])]
    with styled():
        figure = Figure(figsize=(6.2, PANEL[1] + 0.5), layout="constrained")
        axes = figure.add_subplot()
        for name, look in series_styles(names).items():
            own = frame[frame[series].eq(name)].sort_values(x)
            axes.fill_between(own[x], own[low], own[high], color=look.color, alpha=0.15,
                              linewidth=0)
            axes.plot(own[x], own[middle], color=look.color, linestyle=look.line,
                      marker=look.marker, markevery=max(len(own) // 8, 1), label=name)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        if frame[middle].notna().any():
            axes.set_ylim(0, 1.05 * float(frame[high].max()) or 1.0)
            legend_below(figure, order=names)
        else:
            say_not_measured(axes)
    return figure
