"""Figures 4c and 4f of Hong et al.: the ratio of poison's to clean gradients by epoch, clipped or
not, under both attacks; their means over the epochs beside the published ones."""

from typing import TYPE_CHECKING, Any

from lib.papers.hong import anatomy, disturbance
from lib.papers.hong.anatomy_figures import signed
from lib.papers.hong.damage import PLAIN
from lib.papers.hong.indiscriminate import FLIPS, SLAB
from lib.verdicts import judgement, numerals

if TYPE_CHECKING:
    from pandas import DataFrame, Series

CLIPPED = f"C {disturbance.NORM:g}"
PANELS = {"flipped": ("4c", FLIPS), "slab": ("4f", SLAB)}
PUBLISHED = {  # mean over the epochs, single runs (captions of figure 4)
    ("flipped", anatomy.VANILLA): 2.527, ("flipped", CLIPPED): 2.221,
    ("slab", anatomy.VANILLA): 2.497, ("slab", CLIPPED): 3.645}
TABLE = [  # columns
    "attack", "norm", "draws", "published ratio", "ratio", "of what is summed",
    "where all cancel", "cosine"]
RATIO = "ratio of norms"


def panels(found: "DataFrame") -> list[dict[str, Any]]:
    """For `figures.panels`: a panel an attack, a line a way to train. found: of
    `disturbance.figure4`."""
    named = found.assign(series=found["norm"].replace(anatomy.VANILLA, PLAIN))
    named = named.sort_values(["norm", "draw", "epoch"], key=_vanilla_first, kind="stable")
    return [{"frame": named[named["attack"].eq(name)], "x": "epoch", "y": "ratio",
             "series": "series", "instance": "draw", "xlabel": "epoch", "ylabel": RATIO,
             "spread": "range", "title": f"{number}: 40% {kind}"}
            for name, (number, kind) in PANELS.items()]


def _vanilla_first(column: "Series") -> "Series":
    return column.ne(anatomy.VANILLA) if column.name == "norm" else column


def table(found: "DataFrame") -> "DataFrame":
    """One line an attack and way to train: the published mean ratio, ours and the mean cosine with
    intervals over draws, the ratio of clipped gradients, and where all gradients cancel."""
    import pandas as pd

    scalars, lines = disturbance.scalars(found), []
    for name, (_, kind) in PANELS.items():
        for norm in (anatomy.VANILLA, CLIPPED):
            own = scalars[scalars["attack"].eq(name) & scalars["norm"].eq(norm)]
            if len(own):
                lines.append((kind, norm, own["draw"].nunique(), PUBLISHED[name, norm],
                              number(own["ratio"]), number(own[disturbance.SUMMED]),
                              own["balance"].mean(), signed(own["cosine"])))
    return pd.DataFrame(lines, columns=TABLE)


def number(values: "Series", sign: str = "") -> str:
    """Mean and 95% t interval, as text."""
    found = judgement.estimate(values)
    text = f"{found.mean:{sign}.2f}"
    if found.low == found.low:
        text += f" [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"
    return text.replace("-", numerals.MINUS)


def finding(found: "DataFrame") -> str:
    """In words: what clipping changes in the mean ratio, and where both ratios end."""
    apart, last = disturbance.ratio_change(disturbance.scalars(found)), found["epoch"].max()
    said = []
    for name, (_, kind) in PANELS.items():
        change = apart.loc[apart["attack"].eq(name), "difference"]
        end = found[found["attack"].eq(name) & found["norm"].eq(anatomy.VANILLA)
                    & found["epoch"].eq(last)]["ratio"]
        if len(change):
            said.append(f"Clipping changes the mean ratio of {kind} by {number(change, '+')}; in"
                        f" the last epoch it is {end.mean():.2f} without clipping.")
    return " ".join(said)
