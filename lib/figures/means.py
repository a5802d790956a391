"""Means and intervals over attack instances."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame

    from lib.metrics import Interval

_INSTANCE = ("attack.base", "attack.target", "attack_seed")


def instance_columns(frame: "DataFrame", instance: str | Sequence[str] | None) -> list[str]:
    """The columns that tell attack instances apart: those asked for, or pair and attack seed."""
    if instance is None:
        return [column for column in _INSTANCE if column in frame.columns]
    columns = [instance] if isinstance(instance, str) else list(instance)
    require(frame, columns)
    return columns


def require(frame: "DataFrame", columns: Iterable[str]) -> None:
    """Raise a ValueError that names the columns the frame lacks, if any."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(frame.columns)}")


def filled(frame: "DataFrame", column: str, value: float | None) -> "DataFrame":
    """The table with `value` where the column is empty, as ∞ for "no noise".

    None changes nothing.
    """
    import pandas as pd

    if value is None:
        return frame
    require(frame, [column])
    return frame.assign(**{column: pd.to_numeric(frame[column]).fillna(value)})


def instance_means(frame: "DataFrame", *, by: Sequence[str], values: Sequence[str],
                   instance: str | Sequence[str] | None = None) -> "DataFrame":
    """Mean over the seeds of each instance: a row for each value of `by` and each instance.

    Rows without a value are left out. The column `collapsed` becomes the share of collapsed runs.
    """
    import pandas as pd

    require(frame, [*by, *values])
    columns = [*by, *[c for c in instance_columns(frame, instance) if c not in by]]
    kept = frame.dropna(subset=[*by, *values]).copy()
    if len(columns) == len(by):  # nothing tells instances apart: each row is one
        kept["instance"] = range(len(kept))
        columns.append("instance")
    kept["collapsed"] = _collapsed(kept)
    extra = [c for c in ("epsilon", "delta") if c in kept.columns and c not in [*columns, *values]]
    kept[extra] = kept[extra].apply(pd.to_numeric)
    wanted = [*values, *extra, "collapsed"]
    return kept.groupby(columns, dropna=False, sort=True)[wanted].mean().reset_index()


def _collapsed(frame):
    if "collapsed" not in frame.columns:
        return 0.0
    return frame["collapsed"].map(lambda flag: float(flag)
                                  if flag == flag and flag is not None else 0.0)


def interval(values: "ArrayLike", *, within: Sequence[float] = (-math.inf, math.inf)) -> "Interval":
    """Mean, lower and upper end of the 95% t interval (nan for one value) and n.

    within: what the measure can be: with two ends the interval is made for that range, with one it
    stops there.
    """
    from lib.metrics import mean_interval

    low, high = within
    if math.isfinite(low) and math.isfinite(high):
        return mean_interval(values, bounds=(low, high))
    found = mean_interval(values)
    if found.n < 2:
        return found
    return replace(found, low=min(found.mean, max(found.low, low)),
                   high=max(found.mean, min(found.high, high)))
