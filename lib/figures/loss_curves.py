"""Losses of attacked and clean training samples along a training."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.figures.axes import legend_below, number, say_not_measured
from lib.figures.levels import level_text, levels
from lib.figures.means import filled, instance_columns, instance_means, interval, require
from lib.figures.style import WIDTH, Series, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

# Which training samples, and how their mean cross-entropy is drawn.
SAMPLES = {
    "loss_poison": ("attacked, attack's label", Series("#c44e00", "s", "-")),
    "loss_base": ("base class, untouched", Series("#0072b2", "o", "--")),
    "loss_clean": ("other classes, untouched", Series("#57606a", "^", (0, (1, 1.2)))),
}
SINGLE = 4  # instances; fewer are drawn one by one: their interval would say little


def losses(curves: "DataFrame", *, columns: str = "series", rows: str = "epsilon", x: str = "epoch",
           missing: float | None = math.inf, instance: str | Sequence[str] | None = None
          ) -> "Figure":
    """A grid of panels: mean cross-entropy over the epochs, as Razmi et al.'s figure 7.

    curves: a row a run and checkpoint with loss_poison, loss_base and loss_clean in nats an image.
    columns: column of the method, a column of panels each. rows: column of the setting, a row of
    panels each, numbers downwards from no guarantee (values of one text, as 0.9996 and 1, share a
    row); missing: the number that an empty setting stands for. x: epochs, on a logarithmic axis.
    Lines are means over instances with the band of their 95% t interval, or with the single
    instances, faint, where there are fewer than four. The panels of a row share their vertical
    axis. Raises ValueError for an epoch that is not above 0.
    """
    from matplotlib.figure import Figure

    require(curves, [columns, rows, x, *SAMPLES])
    curves = _named(curves, rows, missing)
    if (curves[x] <= 0).any():
        raise ValueError(
            f"{x} {curves[x].min():g} has no place on a logarithmic axis: leave out what is not"
            " above 0"
        )
    names = [str(name) for name in dict.fromkeys(curves[columns].dropna())] or [""]
    settings = list(dict.fromkeys(curves["setting"])) or [""]
    with styled():
        figure = Figure(figsize=(WIDTH, 2.3 * len(settings) + 0.6), layout="constrained")
        grid = figure.subplots(len(settings), len(names), squeeze=False, sharex=True, sharey="row")
        for line, setting in zip(grid, settings, strict=True):
            some = curves[curves["setting"] == setting]
            highest = [_panel(axes, some[some[columns].astype(str) == name], x=x, instance=instance)
                       for axes, name in zip(line, names, strict=True)]
            line[0].set_ylim(0, 1.08 * max(highest) or 1)
            if not max(highest):
                line[0].set_yticks([])
            line[0].set_ylabel("cross-entropy\n[nats an image]")
            for axes, title in zip(line, _titles(names, setting), strict=True):
                axes.set_title(title)
        _draw_epochs(grid[-1], curves[x], x)
        legend_below(figure, order=[text for text, _ in SAMPLES.values()])
    return figure


def _named(curves, rows, missing):
    """The curves with the text of their setting, in the order in which the settings are drawn."""
    if not any(isinstance(value, str) for value in curves[rows]):
        curves = filled(curves, rows, missing)
    found = levels(curves[rows])
    found = found if any(isinstance(value, str) for value in found) else found[::-1]
    parts = [
        curves[curves[rows] == level].assign(setting=level_text(rows, level)) for level in found
    ]
    if not parts:
        return curves.iloc[:0].assign(setting="")
    import pandas as pd

    return pd.concat(parts)


def _titles(names, setting):
    """Method and setting, on one line where all of them fit."""
    letters = WIDTH * 72 / 6.4 / len(names)
    one_line = all(len(name) + len(setting) + 2 <= letters for name in names)
    return [(", " if one_line else "\n").join(filter(None, (name, setting))) for name in names]


def _panel(axes, curves, *, x, instance):
    """Draw the losses of one method and setting; returns the highest mean."""
    highest = 0.0
    for column, (text, look) in SAMPLES.items():
        means = instance_means(curves, by=[x], values=[column], instance=instance)
        axes.plot([], [], color=look.color, marker=look.marker, linestyle=look.line, label=text)
        if means.empty:
            continue
        epochs = [(epoch, interval(group[column], within=(0, math.inf)))
                  for epoch, group in means.groupby(x)]
        places, found = zip(*epochs, strict=True)
        highest = max(highest, _spread(axes, means, places, found, column, look, x=x,
                                       instance=instance))
        centres = [one.mean for one in found]
        axes.plot(places, centres, color=look.color, marker=look.marker, linestyle=look.line,
                  markersize=4, markevery=max(len(places) // 6, 1))
        highest = max(highest, *centres)
    if not highest:
        say_not_measured(axes, ticks=True)
    return highest


def _spread(axes, means, places, found, column, look, *, x, instance):
    """The band of the interval, or the single instances; returns how high those go."""
    if max(one.n for one in found) >= SINGLE:
        axes.fill_between(places, [one.low for one in found], [one.high for one in found],
                          color=look.color, alpha=0.15, linewidth=0)
    elif max(one.n for one in found) > 1:
        groups = means.groupby(instance_columns(means, instance) or ["instance"])
        # One line with gaps takes fewer bytes than a line each.
        epochs, values = ([value
                           for _, group in groups
                           for value in (*group[name], math.nan)]
                          for name in (x, column))
        axes.plot(epochs, values, color=look.color, linewidth=0.8, alpha=0.4)
        return float(means[column].max())
    return 0.0


def _draw_epochs(line, epochs, x):
    """A logarithmic axis with powers of ten, and the ends where they are far from those."""
    epochs = epochs.dropna()
    for axes in line:
        axes.set_xlabel(x)
        if epochs.empty:
            axes.set_xticks([])
        else:
            axes.set_xscale("log")
            low, high = float(epochs.min()), float(epochs.max())
            tens = [
                10.0**power for power in range(math.floor(math.log10(low)),
                                               math.ceil(math.log10(high)) + 1)
            ]
            tens = [ten for ten in tens if low * 0.99 <= ten <= high * 1.01]
            ends = [
                end for end in (low, high) if all(
                    abs(math.log10(end / ten)) > 0.45 for ten in tens)
            ]
            ticks = sorted({*ends, *tens})
            axes.set_xticks(ticks, [number(tick) for tick in ticks])
            axes.set_xlim(low / 1.25, high * 1.25)
            axes.minorticks_off()
