"""How far a certificate reaches, beside what the attack spends: both in the certificate's unit.

RAB: the l2 norm of all patterns together, where the noise lies (here between features). DPA: how
many training images are inserted or deleted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lib.papers.ozyikan import certified, partitions
from lib.papers.ozyikan.certified import BUDGET, CEILING, COUNT, MODELS, NOISE, RADIUS, SHARE
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

EACH = "facts.each"
NUMBERS = {BUDGET: "attack", CEILING: "at most", RADIUS: "reached", COUNT: "certified",
           certified.CERTIFIED: "certified at all"}
COUNTS = ("predictions", "lowest", "highest", "factor", "models", "images", "poisons")


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
