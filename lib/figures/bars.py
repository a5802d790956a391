"""The parts of the attack success as stacked bars."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib.figures.axes import legend_below, say_not_measured
from lib.figures.means import instance_means, interval, require
from lib.figures.style import FAINT, INK, PARTS, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

LETTERS = 34  # of a label's line: longer ones would leave a phone's width without bars


def parts_bars(frame: "DataFrame", *, label: str, blind: str = "blind",
               instance: str | Sequence[str] | None = None) -> "Figure":
    """A bar for each value of the column `label`: natural + collateral + lift = attack success.

    frame: a row a run with natural, collateral, lift and success in [0, 1]; means over instances
    are drawn, with the t interval of the success, or with the columns success_low and success_high
    where the frame has them. Negative parts go left from zero; the diamond is the attack success.
    blind: the column with the blind reference S_L(x'), drawn as a marker where the frame has it.
    """
    from matplotlib.figure import Figure

    require(frame, [label, *PARTS, "success"])
    names = list(dict.fromkeys(frame[label]))
    texts = [textwrap.fill(_together(name), LETTERS, break_on_hyphens=False) for name in names]
    wrapped = any("\n" in text for text in texts)
    height = 0.42 if len(names) <= 8 else 0.35 if wrapped else 0.26
    with styled():
        figure = Figure(figsize=(WIDTH, 1.5 + height * len(names)), layout="constrained")
        axes = figure.add_subplot()
        drawn = [_bar(axes, frame[frame[label] == name], place, blind=blind, label=label,
                      instance=instance) for place, name in enumerate(names)]
        if wrapped:
            axes.set_yticks(range(len(names)), texts, linespacing=1)
        else:  # to give the default would move the texts
            axes.set_yticks(range(len(names)), texts)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.axvline(0, color=FAINT, linewidth=1)
        axes.set_xlabel("share called target [% of base-class test images] (lower is better)")
        if any(drawn):
            low, high = axes.get_xlim()
            axes.set_xlim(min(low, -0.02 * high), high)
            legend_below(figure, order=list(PARTS))
        else:
            say_not_measured(axes)
    return figure


def _together(name):
    """The label with spaces that do not break between ε and its number."""
    return str(name).replace("ε ", "ε\N{NO-BREAK SPACE}")


def _bar(axes, rows, place, *, blind, label, instance):
    """Draw one bar; False if none of its runs was measured."""
    means = instance_means(rows, by=[label], values=[*PARTS, "success"], instance=instance)
    if means.empty:
        axes.text(1, place, "not measured", va="center", color=FAINT, style="italic")
        return False
    ends = {True: 0.0, False: 0.0}  # where the bar ends to the right and to the left of zero
    for layer, (part, (color, hatch)) in enumerate(PARTS.items()):
        value = 100 * means[part].mean()
        axes.barh(place, value, left=ends[value >= 0], height=0.62, color=color, hatch=hatch,
                  edgecolor="white", linewidth=0.8, label=part,
                  zorder=1 + 0.1 * layer)  # a part of all bars after another: they share a style
        ends[value >= 0] += value
    mean, low, high = _success(rows, means)
    if low == low:
        axes.plot([low, high], [place, place], color=INK, linewidth=1.3, marker="|", markersize=7,
                  zorder=2.1)
    axes.plot(mean, place, linestyle="none", marker="D", markersize=6, color="white",
              markeredgecolor=INK, markeredgewidth=1.3, zorder=2.2,
              label="attack success, 95% interval" if low == low else "attack success")
    if blind in rows.columns and rows[blind].notna().any():
        axes.plot(100 * rows[blind].mean(), place, linestyle="none", marker="x", markersize=8,
                  markeredgewidth=2, color="#b3261e", zorder=2.3,
                  label="trigger-blind reference S_L(x')")
    return True


def _success(rows, means):
    """Attack success and its interval in per cent, the frame's own interval if it has one."""
    if {"success_low", "success_high"} <= set(rows.columns):
        return tuple(100 * rows[column].mean()
                     for column in ("success", "success_low", "success_high"))
    found = interval(means["success"], within=(0, 1))
    return 100 * found.mean, 100 * found.low, 100 * found.high

