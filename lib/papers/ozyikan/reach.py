"""How far a certificate reaches, beside what the attack spends: both in the certificate's unit.

RAB: the l2 norm of all patterns together, where the noise lies (here between features). DPA: how
many training images are inserted or deleted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lib.figures.comparisons import BOTTOM, LETTER, MARGIN, ROW, TEXT, WIDTH
from lib.figures.style import BETTER, FAINT, INK, WORSE, styled
from lib.papers.ozyikan import certified, partitions
from lib.papers.ozyikan.certified import BUDGET, CEILING, COUNT, MODELS, NOISE, RADIUS, SHARE
from lib.verdicts import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

EACH = "facts.each"
SIDES = "← not certified against this attack", "certified →"
NUMBERS = {BUDGET: "attack", CEILING: "at most", RADIUS: "reached", COUNT: "certified",
           certified.CERTIFIED: "certified at all"}
COUNTS = ("predictions", "lowest", "highest", "factor", "models", "images", "poisons")
LEFT, RIGHT = 11, 17  # letters beside the bars
TOP = 0.7  # inches above them: two lines


def smoothing(published: "DataFrame", share: float) -> "DataFrame":
    """RAB's reach by its noise, of the ensembles with the most models: a line a noise level.

    Columns: `NUMBERS`' names (means over instances; certified: a sum), noise, label, predictions
    (so many were made), lowest and highest (of the attack, over instances), factor.
    """
    found = _deciding(certified.plain(certified.prepared(published)), share)
    return _by(found[found[MODELS].eq(found[MODELS].max())], NOISE, "noise",
               "noise {:g}")


def voting(published: "DataFrame", share: float) -> "DataFrame":
    """DPA's reach by its number of parts k: a line a number. Columns as of `smoothing`, but k."""
    return _by(_deciding(partitions.votes(certified.prepared(published)), share),
               partitions.PARTS, "k", "{:g} parts")


def _deciding(frame: "DataFrame", share: float) -> "DataFrame":
    """The poisoned rows at one share, in the set-up that decides the claims."""
    own = frame[frame["world"].eq("P") & (frame[SHARE] - share).abs().lt(1e-9)]
    places = certified.ranked(own, certified.ozyikan.SETUP)
    return places[0] if places else own


def _by(frame: "DataFrame", column: str, name: str, words: str) -> "DataFrame":
    import pandas as pd

    lines = []
    for level, group in frame.groupby(column):
        means = {to: rows.per_unit(group, one).mean() for one, to in NUMBERS.items()}
        lines.append({
            name: level, "label": words.format(level), **means, "certified": group[COUNT].sum(),
            "predictions": (group["tested"] + group["population"]).sum(),
            "lowest": group[BUDGET].min(), "highest": group[BUDGET].max(),
            "factor": means["attack"] / means["at most"],
            **_sizes(group.iloc[0])})
    return pd.DataFrame(lines, columns=[name, "label", *NUMBERS.values(), *COUNTS])


def _sizes(line: "Series") -> dict[str, float]:
    images = line["train_size"] - line["public"]
    return {"models": line[MODELS], "images": images, "poisons": int(images * line[SHARE] + 1e-6)}


def radii(frame: "DataFrame", share: float, *, rule: str, by: str, words: str) -> "DataFrame":
    """Certified share of clean test images over the radius at one poisoned share, means over
    instances: a line a value of `by` (in `series` too) and radius, down to the first that certifies
    nothing. rule: of the certificate.
    """
    from lib import study

    found = study.certified(frame[frame["world"].eq("P") & (frame[SHARE] - share).abs().lt(1e-9)])
    found = found[found["images"].eq("clean") & found["rule"].eq(rule)]
    # an instance's table ends at its first 0, so that sums are over all of them
    number = found.groupby(by)["key"].transform("nunique")
    means = {name: found[name].groupby(found[by]).transform("mean") for name in (EACH, BUDGET)
             if name in found}
    found = found.assign(correct=found["correct"] / number, **means)
    found = found.groupby([by, "radius", CEILING, *means], as_index=False, dropna=False)[
        "correct"].sum()
    return found.assign(series=[words.format(value) for value in found[by]])


def certificate(curves: "DataFrame", *, xlabel: str, attacks: Mapping[str, str]) -> dict[str, Any]:
    """The panel that `lib.figures.certificates` draws of `radii`, with ceilings and the attack.

    attacks: columns of `radii` that are drawn as vertical lines, and their names.
    """
    spent = curves[list(attacks)].mean() if len(curves) else {}
    return dict(
        frame=curves, instance=["series"], series="series", xscale="log", xlabel=xlabel,
        ylabel="correct with this radius\n[% of clean test images]",
        ceilings=curves.groupby("series", sort=False)[CEILING].first().to_dict(),
        vertical=[(spent[name], f"{words}: {spent[name]:.3g}") for name, words in attacks.items()
                  if len(curves)])


def bars(frame: "DataFrame", *, attack: str, unit: str) -> "Figure":
    """What a certificate can reach (light) and does reach (dark), a bar a line of the frame; the
    thick line is what the attack spends.

    frame: of `smoothing` or `voting`, with the text column `note`. attack: in words, over the
    line. unit: of the axis.
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
