"""Join rows with their twins: the same run in other training worlds.

Column "twin" of a row holds the key of the run in the attacked world, so that no list of columns
has to say what may differ between twins. Points of recorded paths are joined step by step, and
averaged weights with averaged weights.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

NEEDED = ("twin", "world", "goal")
JOINED_ON = ("twin", "weights", "step")  # if the table has them


def check(frame: "DataFrame") -> None:
    """Raise ValueError for a table without the columns needed to join twins."""
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}: expected a table from "
                         "study.run")


def attacked(frame: "DataFrame", world: str = "P") -> "DataFrame":
    """A copy of the rows of the attacked world."""
    return frame[frame["world"] == world].copy()


def of(frame: "DataFrame", rows: "DataFrame", world: str, columns: Sequence[str]) -> "DataFrame":
    """These columns of the twin in `world` of each of `rows`, as floats; nan without a twin."""
    on = [name for name in JOINED_ON if name in frame.columns]
    twins = frame.loc[frame["world"] == world, [*on, *columns]]
    # A run that is in the table twice has equal rows; prefer one that was measured.
    known = twins.sort_values(columns[0], na_position="last", kind="stable").drop_duplicates(on)
    found = rows[on].merge(known, on=on, how="left")
    return found[list(columns)].astype(float).set_index(rows.index)
