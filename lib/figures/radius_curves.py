"""Certified share of the images against the radius, as step curves."""

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lib.figures.axes import note_collapsed, number, say_absent, say_not_measured, thin
from lib.figures.boxes import draw_panels, instances, series_names
from lib.figures.means import instance_means, interval, require
from lib.figures.style import FAINT, INK, SMALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOTTOM, TOP = -4.0, 104.0  # of the vertical axis in per cent; labels of vertical lines stand above
LINE, HEIGHT = 11, 138  # points: of a label's line, and about of a panel without its title and axis
MARKERS = 8  # on a curve; with more radii only the first and some at about equal distances have one
_RUN = ("key", "init_seed", "noise_seed")  # what tells the runs of an instance apart
_CEILING = "ceiling of the radius"


def certificates(specs: Iterable[Mapping[str, Any]], *, columns: int = 2) -> "Figure":
    """A Figure with a panel a spec: the share of images that are correct with at least a radius.

    A spec holds: frame, a row a run and radius, with the columns radius and correct (share of the
    images in [0, 1] that are correct and certified for at least this radius). xlabel: what the
    radius counts, with its unit. Optional: series (column), ylabel, title, xscale ("linear" or
    "log", on which 0 stands apart), ceilings ({series: radius} that its certificate cannot exceed;
    one that several share is drawn once, dark), vertical ([(radius, text)], as the size of an
    attack), instance (columns that tell attack instances apart; default: pair, attack seed and
    data set; without any of them all rows are one instance).

    Between two radii a curve has the value of the larger one: exact for whole numbers, else the
    least that the table certifies. Means over instances, with the band of their 95% t interval
    where there are at least two. A curve ends at the last radius that all its runs have; a run that
    has fallen to 0 stays there, and a curve that is 0 throughout goes on to the panel's last
    radius.
    """
    specs = [dict(spec) for spec in specs]
    top = max(map(_top, specs), default=100.0)

    def draw(axes, frame, **spec):
        return _draw(axes, frame, top=top, **spec)

    return draw_panels(specs, draw, columns=columns, needed=("frame", "xlabel"))


def _top(spec):
    """The upper end of an axis for the curves of a spec and their bands, a multiple of ten."""
    frame, series = spec.get("frame"), spec.get("series")
    if frame is None or not {"radius", "correct"} <= set(frame.columns):
        return 100.0  # an error that follows says what is missing
    groups = [frame] if series is None else [rows for _, rows in frame.groupby(series)]
    curves = [_curve(rows, spec.get("instance")) for rows in groups]
    ends = [end for curve in curves for end in (*curve["mean"], *curve["high"]) if end == end]
    return 10.0 * math.ceil(max(ends) / 10) if ends and max(ends) > 0 else 100.0


def _draw(axes, frame, *, looks, xlabel, top, ylabel=None, series=None, xscale="linear",
          ceilings=None, vertical=(), instance=None):
    """Draw the curves of one spec into axes, whose limits it sets: returns no values."""
    require(frame, ["radius", "correct"])
    names = series_names(frame, series)
    ceilings = ceilings or {} if names else {}  # without rows there are no series
    if unknown := [name for name in ceilings if str(name) not in names]:
        raise ValueError(f"ceilings of {unknown}, but the series are {names}")
    curves = {
        name: _curve(frame if series is None else frame[frame[series].astype(str) == name],
                     instance) for name in names
    }
    radii = [radius for curve in curves.values() for radius in curve.index]
    # tables may end at the first 0: a point would be lost on the axis
    for name, curve in curves.items():
        if len(curve) and (curve["mean"] == 0).all() and curve.index[-1] < max(radii):
            curves[name] = curve.reindex([*curve.index, max(radii)], method="ffill")
    _draw_radii(axes, [*radii, *ceilings.values(), *(radius for radius, _ in vertical)], xscale)
    axes.set_xlabel(xlabel)
    label = ylabel or "certified and correct\n[% of test images]"
    axes.set_ylabel(label if "[" in label else f"{label}\n[%]")
    axes.set_ylim(BOTTOM * top / 100, top + TOP - 100)
    axes.set_yticks(range(0, int(top) + 1, 20 if top > 50 else 10))
    for index, (name, curve) in enumerate(curves.items()):
        _draw_curve(axes, curve, looks[name], name, below=len(curves) - 1 - index)
    absent = [name for name in names if curves[name].empty]
    if not radii:
        say_not_measured(axes)
    elif absent:
        say_absent(axes, absent, height=0.08)
        axes.texts[-1].set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.3})
    _draw_ceilings(axes, {str(name): float(radius) for name, radius in ceilings.items()}, looks)
    _draw_verticals(axes, vertical)
    return []


def _curve(rows, instance):
    """Mean, low, high (per cent), n and the share of collapsed models at each radius, the index."""
    import pandas as pd

    rows = rows.assign(radius=pd.to_numeric(rows["radius"]), correct=pd.to_numeric(rows["correct"]))
    if (rows["radius"] < 0).any():
        raise ValueError(f"radius {rows['radius'].min():g}: expected 0 or more")
    columns = instances(rows, instance) or ["one"]  # else each row would be an instance
    runs = [*columns, *[name for name in _RUN if name in rows.columns and name not in columns]]
    means = instance_means(rows.assign(one=0), by=["radius"], values=["correct"], instance=runs)
    means = means.assign(run=means.groupby(runs, dropna=False).ngroup(), instance=means.groupby(
        columns, dropna=False).ngroup())
    # Runs may have radii of their own: the next larger one is a lower bound, and 0 stays 0. So
    # before any mean.
    wide = means.pivot(index="radius", columns="run", values="correct").bfill()
    wide = wide.where(wide.notna() | (wide.ffill() != 0), 0.0).dropna()
    wide = wide.T.groupby(means.drop_duplicates("run").set_index("run")["instance"]).mean().T
    found = [interval(100 * line, within=(0, 100)) for line in wide.to_numpy()]
    return pd.DataFrame(
        {
            "mean": [one.mean for one in found], "low": [one.low for one in found], "high": [
                one.high for one in found
            ], "n": [one.n for one in found], "collapsed": means["collapsed"].mean()
        }, index=wide.index)


def _draw_curve(axes, curve, look, name, *, below):
    """One step curve with its band; below: how many curves may lie over it."""
    from matplotlib.patches import Rectangle

    hollow = len(curve) and curve["collapsed"].iloc[0] >= 0.5
    axes.plot([], [], color=look.color, marker=look.marker, linestyle=look.line, label=name or None)
    if curve.empty:
        return
    if curve["n"].min() > 1:
        axes.fill_between(curve.index, curve["low"], curve["high"], step="pre", color=look.color,
                          alpha=0.15, linewidth=0)
        axes.add_patch(Rectangle((0, 0), 0, 0, facecolor=(FAINT, 0.25), label="band: 95% interval"))
    # Curves meet at 0 and may be there throughout: the lower ones have larger markers, so that all
    # are seen.
    axes.plot(curve.index, curve["mean"], drawstyle="steps-pre",
              color=look.color, linestyle=look.line, marker=look.marker, markersize=min(
                  4.5 + 1.2 * below, 8), markevery=_marked(axes, curve.index, 0.03 * below),
              markerfacecolor="white" if hollow else look.color, zorder=3 - 0.01 * below,
              clip_on=False)
    if curve["collapsed"].iloc[0] > 0:
        note_collapsed(axes)


def _marked(axes, radii, start):
    """The indices of the radii with a marker.

    start: where on the axis, as a share of it, so that curves differ.
    """
    if len(radii) <= MARKERS:
        return list(range(len(radii)))
    places = (axes.transData + axes.transAxes.inverted()).transform(
        [(radius, 0) for radius in radii])[:, 0]
    steps = [start + step / MARKERS for step in range(1, MARKERS + 1)]
    return sorted({0, *(int(abs(places - step).argmin()) for step in steps if step <= places[-1])})


def _draw_radii(axes, values, xscale):
    """The scale of the radii: limits with a margin, ticks at round numbers, 0 apart on a
    logarithmic one.
    """
    if xscale not in ("linear", "log"):
        raise ValueError(f"scale {xscale!r}: expected 'linear' or 'log'")
    values = sorted({float(value) for value in values if value == value})
    if not values:
        axes.set_xticks([])
        return
    positive = [value for value in values if value > 0]
    apart = xscale == "log" and bool(positive) and values[0] == 0
    if apart:
        decades = math.log10(positive[-1] / positive[0])
        axes.set_xscale("symlog", linthresh=positive[0], linscale=max(0.12 * decades, 0.25))
    elif xscale == "log" and positive:
        axes.set_xscale("log")
    place = axes.xaxis.get_transform()
    low, high = place.transform([values[0], values[-1]])
    margin = 0.04 * (high - low) or 0.5
    ends = place.inverted().transform([low - margin, high + margin])
    ticks = _round_radii(
        axes, values) if xscale == "linear" or not positive else _powers(positive) + [0.0] * apart
    items = [(number(tick), at) for tick, at in zip(ticks, place.transform(ticks), strict=True)]
    letter = 0.05 / (axes.figure.get_figwidth() / axes.get_gridspec().ncols)
    kept = thin(items, high - low or 1.0, letter=letter)
    axes.set_xticks(place.inverted().transform([at for _, at in kept]), [text for text, _ in kept])
    axes.minorticks_off()
    axes.set_xlim(*ends)
    if apart:
        cut = place.inverted().transform([place.transform([positive[0]])[0] / 2])[0]
        axes.text(cut, 0, "//", transform=axes.get_xaxis_transform(), ha="center", va="center",
                  color=FAINT, fontsize=SMALL, zorder=5,
                  bbox={"pad": 0.5, "facecolor": "white", "edgecolor": "none"})


def _round_radii(axes, values):
    """About five round numbers between the ends."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(values[0], values[-1])
    return [float(tick) for tick in found if values[0] - 1e-9 <= tick <= values[-1] + 1e-9
            ] or [values[0]]


def _powers(positive):
    """Powers of ten between the ends, with 2 and 5 times those where there are few."""
    low, high = math.floor(math.log10(positive[0])), math.ceil(math.log10(positive[-1]))
    within = [[
        factor * 10.0**power
        for power in range(low, high + 1)
        for factor in factors
        if positive[0] * 0.999 <= factor * 10.0**power <= positive[-1] * 1.001
    ]
              for factors in ((1, ), (1, 2, 5))]
    return within[0] if len(within[0]) >= 3 else within[1] or [positive[0], positive[-1]]


def _draw_ceilings(axes, ceilings, looks):
    """A short tick on the axis at each ceiling, with the marker of its series at the foot."""
    for radius in sorted(set(ceilings.values())):
        names = [name for name, value in ceilings.items() if value == radius]
        look = looks[names[0]] if len(names) == 1 else None
        color = look.color if look else INK
        foot, end = axes.get_ylim()[0], 0.09 * axes.get_ylim()[1]
        axes.plot([radius, radius], [foot, end], color=color, linestyle=look.line if look else "-",
                  linewidth=2.4, solid_capstyle="butt", zorder=3.5)
        if look:
            axes.plot(radius, foot, color=color, marker=look.marker, linestyle="none",
                      markersize=5, clip_on=False, zorder=5)
        axes.plot([], [], color=FAINT, linestyle="none", marker="|", markersize=9,
                  markeredgewidth=2.4, label=_CEILING)


def _draw_verticals(axes, vertical):
    """Vertical lines, their texts one above the other over 100%, where no curve is.

    The texts point to the middle and those at the border stand highest, so that none lies on a
    line of its side.
    """
    if not vertical:
        return
    place = axes.transData + axes.transAxes.inverted()
    items = sorted(((place.transform((float(radius), 0))[0], float(radius), text)
                    for radius, text in vertical), key=lambda item: (abs(item[0] - 0.5), item[1]))
    wide = (axes.figure.get_figwidth() / axes.get_gridspec().ncols - 0.8) * 72 / 5.2  # letters
    texts = [
        textwrap.wrap(str(text), max(int(wide * max(at, 1 - at)), 8)) or [""]
        for at, _, text in items
    ]
    bottom, height = axes.get_ylim()
    rows = min(sum(map(len, texts)), HEIGHT // LINE - 5)
    line = (height - bottom) * LINE / (HEIGHT - LINE * rows)
    for (at, radius, _), lines in zip(items, texts, strict=True):
        height += line * len(lines)
        axes.plot([radius, radius], [bottom, 0.99 * height], color=INK, linewidth=1,
                  linestyle=(0, (4, 1.5, 1, 1.5)), zorder=1.5)
        axes.annotate("\n".join(lines), (radius, height), (3 if at < 0.5 else -3, 0),
                      textcoords="offset points", va="top", ha="left" if at < 0.5 else "right",
                      fontsize=SMALL, linespacing=1,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3})
    axes.set_ylim(bottom, height + 1)
