"""Families of trainings compared at equal clean accuracy: envelopes, and settings one by one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lib.figures.axes import data_limits, label_ends, legend_below, number, say_not_measured
from lib.figures.curves import FEW_INSTANCES
from lib.figures.means import instance_means, interval, require
from lib.figures.measures import factor, measure_label
from lib.figures.sides import draw_sides
from lib.figures.style import INK, SERIES, SMALL, THICK, WIDTH, series_styles, styled
from lib.figures.style import references as style_references

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SHOWN = 0.2  # of accuracy below the largest: where backdoors are learnt
TITLE = 42  # characters that fit above a panel


def envelopes(lines: "DataFrame", differences: "DataFrame", *, measure: str = "lift",
              families: tuple[str, str] = ("DP-SGD", "plain SGD"), instance: str = "instance",
              shown: float = SHOWN) -> "Figure":
    """The least of a measure that two families leave at an accuracy, and their paired difference.

    lines: a row a family, instance and accuracy with the measure. differences: a row an instance
    and accuracy with `difference`, the first family minus the second. Left the means over all
    instances, at accuracies that all of them reach; right the mean difference with its 95% t
    interval, and up to five single instances faint. shown: accuracies from so far below the
    largest one on.
    """
    from matplotlib.figure import Figure

    require(lines, ["family", instance, "accuracy", measure])
    require(differences, [instance, "accuracy", "difference"])
    with styled():
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        looks, ends = series_styles(families), []
        for name in families:  # the reference is drawn last, and thickest
            table = _whole(lines[lines["family"].eq(name)], measure, instance, shown)
            reference, mean = name == families[1], factor(measure) * table.mean()
            left.plot(100 * table.columns, mean, color=looks[name].color,
                      linestyle=looks[name].line, label=f"{name}, least over its settings",
                      linewidth=THICK if reference else 2, zorder=4 if reference else 3)
            ends += [(100 * table.columns[-1], mean.iloc[-1], name, looks[name].color)] \
                if len(mean) else []
        _difference(right, _whole(differences, "difference", instance, shown), measure, families)
        left.set(xlabel=measure_label("accuracy"), ylabel=measure_label(measure))
        left.set_title("the least that is left")
        if not left.lines or not left.lines[0].get_xdata().size:
            say_not_measured(left)
        if not label_ends(left, ends):
            legend_below(figure, order=[f"{name}, least over its settings" for name in families])
    return figure


def _whole(frame: "DataFrame", column: str, instance: str, shown: float) -> "DataFrame":
    """One line an instance, one column an accuracy that all instances reach, near the largest."""
    table = frame.pivot(index=instance, columns="accuracy", values=column).dropna(axis=1)
    return table.loc[:, table.columns >= table.columns.max() - shown - 1e-9]


def _difference(axes: "Axes", table: "DataFrame", measure: str, families: tuple[str, str]) -> None:
    """The mean difference over the accuracy, its interval, and a few single instances."""
    x, scale, look = 100 * table.columns, factor(measure), SERIES["DP-SGD"]
    for _, line in table.iterrows() if len(table) <= FEW_INSTANCES else ():
        axes.plot(x, scale * line, color=look.color, linewidth=0.5, alpha=0.3)
    bands = [interval(scale * table[level]) for level in table.columns]
    if bands:
        axes.fill_between(x, [b.low for b in bands], [b.high for b in bands], color=look.color,
                          alpha=0.2, linewidth=0)
        axes.plot(x, [b.mean for b in bands], color=look.color)
    else:
        say_not_measured(axes)
    data_limits([axes], [0, *(end for b in bands for end in (b.low, b.high))])
    draw_sides(axes, "lower", vertical=True)
    axes.set(xlabel=measure_label("accuracy"), ylabel="difference [points]")
    title = f"{families[0]} minus {families[1]}: above 0 is worse"
    axes.set_title(title if len(title) <= TITLE else title.replace(": ", ":\n"))


def by_setting(points: "DataFrame", *, series: str, along: str, measure: str = "lift",
               references: "Mapping[str, DataFrame] | None" = None, labels: bool = True
               ) -> "Figure":
    """Settings as points (clean accuracy, measure), joined along one of them, such as the rate.

    points: a row a run; means over instances for each value of `series` (a line each) and `along`
    (its value beside each point). references: recorded paths by name (a row a checkpoint, one
    setting each), drawn last and thickest as their mean at equal steps. labels: without them,
    points are not joined, and a line stands at zero.
    """
    from matplotlib.figure import Figure

    means = instance_means(points, by=[series, along], values=["accuracy", measure])
    means = means.groupby([series, along], sort=True)[["accuracy", measure]].mean().reset_index()
    names, references = list(dict.fromkeys(points[series])), references or {}
    looks = series_styles(names) | dict(zip(references, style_references(len(references)),
                                            strict=True))
    with styled():
        figure = Figure(figsize=(WIDTH * 0.86, 4.2), layout="constrained")
        axes, known = figure.add_subplot(), []
        for name in names:
            line = means[means[series].eq(name)]
            x, y = 100 * line["accuracy"], factor(measure) * line[measure]
            axes.plot(x, y, color=looks[name].color,
                      linestyle=looks[name].line if labels else "none",
                      marker=looks[name].marker, label=str(name))
            for value, across, up in zip(line[along], x, y, strict=True) if labels else ():
                if not _crowded(known, value, across, up):
                    axes.annotate(f"{value:g}", (across, up), xytext=(5, 4), fontsize=SMALL,
                                  textcoords="offset points", color=looks[name].color)
                    known.append((value, across, up))
        for name, path in references.items():
            line = path.groupby("step")[["accuracy", measure]].mean()
            axes.plot(100 * line["accuracy"], factor(measure) * line[measure], linewidth=THICK,
                      color=looks[name].color, linestyle=looks[name].line, label=name, zorder=5)
        if not labels:
            draw_sides(axes, "lower", vertical=True)
        if len(means):
            # Paths start at chance: the axis begins with the points, and ends where all end.
            low, high = 100 * means["accuracy"].min(), 100 * max(
                [means["accuracy"].max(), *(path.groupby("step")["accuracy"].mean().max()
                                            for path in references.values())])
            room = 0.05 * (high - low) + 0.5
            axes.set_xlim(low - room, high + room)
        else:
            say_not_measured(axes)
        axes.set(xlabel=measure_label("accuracy", lines=1), ylabel=measure_label(measure))
        legend_below(figure, order=[*references, *map(str, names)])
    return figure


def _crowded(known: list[tuple[float, float, float]], value: float, x: float, y: float) -> bool:
    """Whether the same label stands close by: points of several series that lie together."""
    return any(value == other and abs(x - across) < 3 and abs(y - up) < 5
               for other, across, up in known)


def collapsed(curves: "DataFrame", specs: Sequence[tuple[str, str, str]], *, series: str,
              setting: str) -> "Figure":
    """Paths over several axes: do settings fall on one line?

    curves: a row a checkpoint; means over instances at each step of each `setting`, a colour for
    each value of `series`, with its marker where a path ends. specs: (x, y, title) of each panel;
    both axes are logarithmic.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    names = list(dict.fromkeys(curves[series]))
    looks = series_styles([str(name) for name in names])
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        for axes, (x, y, title) in zip(figure.subplots(1, len(specs)), specs, strict=True):
            for (name, _), path in curves.groupby([series, setting], sort=False):
                line = path.groupby("step")[[x, y]].mean()
                line = line[(line > 0).all(axis=1)]
                look = looks[str(name)]
                axes.plot(line[x], line[y], color=look.color, linestyle=look.line, linewidth=1,
                          marker=look.marker, markersize=4, markevery=[-1] if len(line) else None)
            axes.set(xscale="log", yscale="log", xlabel=x.replace("_", " "),
                     ylabel=y.replace("_", " "), title=title)
            for axis in (axes.xaxis, axes.yaxis):  # plain texts: mathematics takes many bytes
                axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            axes.minorticks_off()
            if curves.empty:
                say_not_measured(axes)
        for name in names:
            figure.axes[0].plot([], [], color=looks[str(name)].color, label=str(name),
                                linestyle=looks[str(name)].line, marker=looks[str(name)].marker)
        legend_below(figure, order=[str(name) for name in names])
    return figure


def dots(frame: "DataFrame", *, value: str, by: str, series: str, instance: str, reference: float,
         xlabel: str) -> "Figure":
    """Mean shares with 95% t intervals over instances: a line for each value of `by`, a marker for
    each of `series`, and a vertical line at the reference."""
    from matplotlib.figure import Figure

    require(frame, [value, by, series, instance])
    lines, names = list(dict.fromkeys(frame[by])), list(dict.fromkeys(frame[series]))
    looks = series_styles(names)
    with styled():
        figure = Figure(figsize=(WIDTH * 0.86, 1.2 + 0.42 * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(reference, color=INK, linewidth=THICK, zorder=2.2)
        for shift, name in enumerate(names):
            place = [line + 0.6 * ((shift + 0.5) / len(names) - 0.5) for line in range(len(lines))]
            found = [interval(frame.loc[frame[by].eq(line) & frame[series].eq(name), value],
                              within=(0, 1)) for line in lines]
            axes.errorbar([one.mean for one in found], place, linestyle="none",
                          xerr=[[one.mean - one.low for one in found],
                                [one.high - one.mean for one in found]],
                          color=looks[name].color, marker=looks[name].marker, label=name)
        axes.set_yticks(range(len(lines)), lines)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.set_xlabel(xlabel)
        if frame[value].notna().sum() == 0:
            say_not_measured(axes)
        legend_below(figure, order=names)
    return figure
