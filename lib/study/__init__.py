"""A study is a list of runs. The ledger has the known rows; the missing ones are trained in groups.

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
from lib.study.searches import table as tries
from lib.study.sweep import estimate, train

if TYPE_CHECKING:
    import pandas

    from lib.attacks import Poisoned
    from lib.defences import Trained
    from lib.study.table import (
        anatomy,
        best,
        certified,
        curves,
        means,
        published,
        tidy,
        together,
        training_losses,
    )

__all__ = [
    "ClusterProblem", "Run", "anatomy", "best", "certified", "curves", "estimate", "fit",
    "from_dict", "grid", "instances", "means", "published", "run", "tidy", "together", "train",
    "training_losses", "tries", "worlds"
]


def __getattr__(name: str) -> Any:
    # they need pandas, which training does not
    if name in ("anatomy", "best", "certified", "curves", "means", "published", "tidy", "together",
                "training_losses"):
        from lib.study import table
        return getattr(table, name)
    raise AttributeError(f"module 'lib.study' has no {name!r}")


def run(runs: Iterable[Run], *, alone: bool = False, like: Run | None = None, of: str = ""
        ) -> "pandas.DataFrame":
    """Train the missing runs and return a table with one line per run, in the given order.

    For the columns see `lib.study.columns`. alone: train each run by itself, to time it. like: a
    template for the columns when `runs` is empty, as when the runs depend on missing results. of:
    the notebook that publishes these rows, if the caller only reads them; this keeps rows from
    being published twice.

    If $STUDY_MODE is "read-only", nothing is trained, and a missing row shows as "not measured". If
    $STUDY_ASKED names a file, every requested run is appended to it.
    """
    from lib.study.table import table
    runs = list(runs)
    _note(runs, alone, of)
    if os.environ.get("STUDY_MODE") != "read-only":
        train([{"notebook": "", "key": run.key, "run": run.to_dict(), "alone": alone}
               for run in runs], retry_failed=os.environ.get("STUDY_RETRY") == "1")
    _warn_of_failures(runs)
    return table(runs, like=like)


def _warn_of_failures(runs: list[Run]) -> None:
    """Print on stderr how many runs failed and why, because their lines of the table are empty."""
    failed = [row for run in runs if (row := ledger.find(run.key)[0]) and row["status"] == "failed"]
    if failed and os.environ.get("STUDY_MODE") != "read-only":
        print(f"{len(failed)} of {len(runs)} runs failed: {ledger.reason(failed[0])} "
              "(STUDY_RETRY=1 trains them again)", file=sys.stderr)


def fit(run: Run) -> "tuple[Trained, Poisoned]":
    """Train one run without the ledger, to inspect the model and its training set."""
    from lib.study import measure
    poisoned = measure.poisoned(run)
    return measure.trained([run], [poisoned])[0], poisoned


def _note(runs: list[Run], alone: bool, of: str) -> None:
    """Append the requested runs to the file $STUDY_ASKED, one JSON object per line."""
    asked = os.environ.get("STUDY_ASKED")
    if not asked:
        return
    notebook = of or os.environ.get("STUDY_NOTEBOOK", "")
    with open(asked, "a", encoding="utf-8") as file:
        for run in runs:
            row, source = ledger.find(run.key)
            request = {
                "notebook": notebook, "key": run.key, "run": run.to_dict(), "alone": alone,
                "known": row is not None, "status": row["status"] if row else "", "source": source,
                "reason": ledger.reason(row) if row else ""}
            file.write(json.dumps(request) + "\n")
