"""How a defence ranked the training records, from rows (`Trained.ranked`): the distribution of
label probabilities, and the least likely records."""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lib import ledger

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = {"poison": "poisons", "other": "the rest"}
HISTOGRAM = ("records are", "low", "high", "count", "share")
LEAST = ("rank", "record", "label", "poison", "log10")


def histogram(frame: "DataFrame") -> "DataFrame":
    """One line per run, kind of record (`KINDS`) and bin.

    Columns: the run's; low and high, log10 of the bin's edges (the first bin also holds what is
    smaller); count, and its share of the records of that kind (NaN if there are none).
    """
    return _lines(frame, HISTOGRAM, _bins)


def least(frame: "DataFrame") -> "DataFrame":
    """One line per run and least likely record, rank 1 first.

    Columns: the run's; record (its place in the run's training set), label, poison, log10 of the
    label's probability.
    """
    return _lines(frame, LEAST, lambda kept: (
        {"rank": number} | line for number, line in enumerate(kept["least"], 1)))


def _bins(kept: dict[str, Any]) -> Iterable[dict[str, Any]]:
    edges = list(pairwise([*kept["low"], 0.0]))
    for kind, name in KINDS.items():
        total = sum(kept[kind])
        for (low, high), count in zip(edges, kept[kind], strict=True):
            share = count / total if total else math.nan
            yield dict(zip(HISTOGRAM, (name, low, high, count, share), strict=True))


def _lines(frame: "DataFrame", added: tuple[str, ...],
           of_row: Callable[[dict[str, Any]], Iterable[dict[str, Any]]]) -> "DataFrame":
    import pandas as pd

    from lib.study.table import MEASURED

    kept = [name for name in frame.columns if name not in MEASURED]
    lines = [{name: line[name] for name in kept} | more
             for _, line in frame[frame["weights"].eq("last")].iterrows()
             for found in [(ledger.find(line["key"])[0] or {}).get("ranked")] if found
             for more in of_row(found)]
    return pd.DataFrame(lines, columns=[*kept, *added])
