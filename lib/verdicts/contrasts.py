"""Rows beside others of the same attack: paired differences, shares and trends, a value an
instance.
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from lib.verdicts import rows
from lib.verdicts.claim import Part

if TYPE_CHECKING:
    from numpy import ndarray
    from numpy.typing import ArrayLike
    from pandas import DataFrame, Series


def paired(frame: "DataFrame", other: "DataFrame", column: str) -> "DataFrame":
    """`own` and `other`: means of `column` for each attack (pair and attack seed) that both frames
    have, averaged an instance.
    """
    on = [*rows.PAIR, "attack_seed"]
    own, beside = (
        one[[*on, column]].groupby(on, dropna=False).mean().astype(float) for one in (frame, other)
    )
    both = (
        own.rename(columns={column: "own"})
        .join(beside.rename(columns={column: "other"}), how="inner")
        .reset_index()
    )
    return both.groupby(rows.unit(both))[["own", "other"]].mean()


def least_elsewhere(table: "DataFrame", arms: Iterable[str]) -> "Series | None":
    """For each instance (a line) the value of the arm (a column) that has the least mean over the
    other instances, so that no instance chooses what it is judged by.

    None with fewer than two instances, or without any of the arms.
    """
    import pandas as pd

    whole = table[[name for name in arms if name in table]].dropna()
    if len(whole) < 2 or not whole.shape[1]:
        return None
    best = {one: whole.drop(index=one).mean().idxmin() for one in whole.index}
    return pd.Series({one: whole.at[one, name] for one, name in best.items()})


def compare(part: Part, both: "DataFrame") -> "Series | ndarray":
    """The statistic of a part, one value an instance, from the table of `paired`: the share
    retained, else the difference.
    """
    return (
        share(both["own"], both["other"])
        if part.name == "retained"
        else both["own"] - both["other"]
    )


def metric(part: Part, column: str) -> str:
    """What a part is about: accuracy where its name says so, else `column` (lift, or a metric
    beside it).
    """
    return "accuracy" if part.name.startswith("accuracy") else column


def share(values: "ArrayLike", reference: "ArrayLike") -> "ndarray":
    """One value an instance.

    Their mean is mean(values) / mean(reference), their spread that of this ratio.

    By the delta method the ratio R of two means varies like the mean of R + (value - R reference) /
    mean(reference). A ratio for each instance would let the one with the smallest reference decide.
    NaN where the reference is not above 0.
    """
    import numpy as np

    values, reference = (np.asarray(one, dtype=float) for one in (values, reference))
    known = ~(np.isnan(values) | np.isnan(reference))
    mean = reference[known].mean() if known.any() else math.nan
    if not mean > 0:
        return np.full(len(values), math.nan)
    ratio = values[known].mean() / mean
    return ratio + (values - ratio * reference) / mean


def trend(table: "DataFrame") -> list[float]:
    """Spearman's correlation of a curve's values with its axis, per line of `rows.curve`.

    A flat curve counts 0.
    """
    from scipy.stats import spearmanr

    return [
        0.0 if line.nunique() < 2 else float(spearmanr(table.columns, line).statistic)
        for _, line in table.iterrows()
    ]


def slope(table: "DataFrame") -> list[float]:
    """Change of a curve per level of its axis, per line of `rows.curve`: the least-squares slope
    over the ranks of the levels.

    A rank correlation of three levels takes few values, and says nothing of the size.
    """
    import numpy as np

    ranks = np.arange(table.shape[1]) - (table.shape[1] - 1) / 2
    return list(table.to_numpy() @ ranks / (ranks @ ranks)) if table.shape[1] > 1 else []


def steps(table: "DataFrame") -> "dict[str, Series]":
    """From each level of the axis of `rows.curve` to the next: the change of each line."""
    return {
        f"{low:g} to {high:g}": table[high] - table[low] for low, high in pairwise(table.columns)
    }
