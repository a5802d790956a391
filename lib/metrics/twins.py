"""Rows and their twins: the same run in other training worlds, joined by the name of the twin.

A row names the run that it is a world of (column "twin"), so that no list of columns has to say
what may differ between twins. Points of recorded paths are joined step by step, averaged weights
with averaged weights.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

NEEDED = ("twin", "world", "goal")
JOINED_ON = ("twin", "weights", "step")  # those of them that a table has


def check(frame: "DataFrame") -> None:
    """Raise ValueError for a table without the columns that twins are joined by."""
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}: expected study.run's")


def attacked(frame: "DataFrame", world: str = "P") -> "DataFrame":
    """A copy of the rows of the attacked world."""
    return frame[frame["world"] == world].copy()


def of(frame: "DataFrame", rows: "DataFrame", world: str, columns: Sequence[str]) -> "DataFrame":
    """For each of `rows` these columns of its twin in `world`, as floats; nan without a twin."""
    on = [name for name in JOINED_ON if name in frame.columns]
    there = frame.loc[frame["world"] == world, [*on, *columns]]
    # A run that was asked for twice has equal rows; one that was measured wins.
    known = there.sort_values(columns[0], na_position="last", kind="stable").drop_duplicates(on)
    found = rows[on].merge(known, on=on, how="left")
    return found[list(columns)].astype(float).set_index(rows.index)
