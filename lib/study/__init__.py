"""A study is a list of runs: known rows come from the ledger, missing ones are trained in groups,
written one by one.

    from lib.study import Run, grid, run
    frame = run(grid(Run(), defence__noise_multiplier=[0.0, 1.0]))
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lib import ledger
from lib.study.cluster import ClusterProblem
from lib.study.design import instances, worlds
from lib.study.runs import Run, from_dict, grid
from lib.study.sweep import estimate, train

if TYPE_CHECKING:
    import pandas

    from lib.attacks import Poisoned
    from lib.defences import Trained
    from lib.study.table import best, certified, curves, means, published, tidy, together

__all__ = [
    "ClusterProblem", "Run", "best", "certified", "curves", "estimate", "fit", "from_dict", "grid",
    "instances", "means", "published", "run", "tidy", "together", "train", "worlds"
]


def __getattr__(name: str) -> Any:
    # they need pandas, which training does not
    if name in ("best", "certified", "curves", "means", "published", "tidy", "together"):
        from lib.study import table
        return getattr(table, name)
    raise AttributeError(f"module 'lib.study' has no {name!r}")


def run(runs: Iterable[Run], *, alone: bool = False, like: Run | None = None, of: str = ""
        ) -> "pandas.DataFrame":
    """One line a run, in the order asked (columns: see `table`).

    alone: train each by itself, for its time. like: a run whose columns the table has where `runs`
    is empty, as where they follow from results that are not there yet. of: the notebook that
    publishes these rows, where another one only reads them: they are then not published twice.

    With $STUDY_MODE "read-only" nothing is trained and a missing row shows as "not measured"; every
    run asked for is noted in the file $STUDY_ASKED. Otherwise what is missing is trained here and
    now, and kept.
    """
    from lib.study.table import table
    runs = list(runs)
    _note(runs, alone, of)
    if os.environ.get("STUDY_MODE") != "read-only":
        train([{"notebook": "", "key": one.key, "run": one.to_dict(), "alone": alone}
               for one in runs], retry_failed=os.environ.get("STUDY_RETRY") == "1")
    _warn_of_failures(runs)
    return table(runs, like=like)


def _warn_of_failures(runs: list[Run]) -> None:
    """Say in the terminal, each time, that runs failed and why: their line of the table holds no
    number.
    """
    failed = [row for one in runs if (row := ledger.find(one.key)[0]) and row["status"] == "failed"]
    if failed and os.environ.get("STUDY_MODE") != "read-only":
        print(
            f"{len(failed)} of {len(runs)} runs failed: {ledger.reason(failed[0])} (STUDY_RETRY=1"
            " trains them again)",
            file=sys.stderr,
        )


def fit(run: Run) -> "tuple[Trained, Poisoned]":
    """Train one run without the ledger: (Trained, Poisoned), for looking inside."""
    from lib.study import measure
    poisoned = measure.poisoned(run)
    return measure.trained([run], [poisoned])[0], poisoned


def _note(runs: list[Run], alone: bool, of: str) -> None:
    """Append what was asked for to $STUDY_ASKED, one JSON object a line."""
    asked = os.environ.get("STUDY_ASKED")
    if not asked:
        return
    notebook = of or os.environ.get("STUDY_NOTEBOOK", "")
    with open(asked, "a", encoding="utf-8") as file:
        for one in runs:
            row, source = ledger.find(one.key)
            file.write(
                json.dumps({
                    "notebook": notebook, "key": one.key, "run": one.to_dict(), "alone": alone,
                    "known": row is not None, "status": row["status"] if row else "",
                    "source": source, "reason": ledger.reason(row) if row else ""
                }) + "\n")
