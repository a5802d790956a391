"""The tries of an attack that searches, as kept in a run's row and as a table.

A row keeps, for each try, the facts about its poison, the scores at the end of its training, and
success and accuracy at each recorded point: enough to apply any rule for which try and which epoch
count. Accuracies keep four digits, because there are many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib import ledger

if TYPE_CHECKING:
    import pandas as pd

LAST = ("success", "accuracy", "margin", "probability")  # scores that a try keeps of its end
PATH = ("success", "accuracy")  # and of each point
DIGITS = 4


@dataclass(frozen=True)
class Try:
    """One try: facts about its poison, scores at the end, and {"epoch", scores} at each point."""

    facts: Mapping[str, float]
    scores: Mapping[str, float]
    points: Sequence[Mapping[str, float]]


def means(tries: Sequence[Try]) -> dict[str, float]:
    """Mean over the tries of each score at the end; empty without tries."""
    names = list(tries[0].scores) if tries else []
    return {name: sum(float(each.scores[name]) for each in tries) / len(tries) for name in names}


def packed(tries: Sequence[Try]) -> dict:
    """The tries as plain values: {"epoch": of the points, "each": a mapping per try}."""
    epochs = [point["epoch"] for point in tries[0].points] if tries else []
    return {"epoch": epochs, "each": [_plain(each) for each in tries]}


def _plain(each: Try) -> dict:
    path = {name: [round(float(point[name]), DIGITS) for point in each.points] for name in PATH}
    last = {name: each.scores[name] for name in LAST if name in each.scores}
    return {"facts": dict(each.facts), "last": last, "path": path}


def table(frame: "pd.DataFrame") -> "pd.DataFrame":
    """One line per run, try and point; of a run without recorded points, one per run and try.

    Columns: key (of the run), try (0 for the first), the facts about its poison, epoch, success and
    accuracy at this point, and last (whether it is the end).
    """
    import pandas as pd
    parts = [part for key in frame["key"].drop_duplicates() for part in _of_row(key)]
    names = ["key", "try", "epoch", "success", "accuracy", "last"]
    if not parts:
        return pd.DataFrame(columns=names)
    found = pd.concat(parts, ignore_index=True)
    return found[[*names, *(name for name in found.columns if name not in names)]]


def _of_row(key: str) -> "list[pd.DataFrame]":
    import pandas as pd
    row = ledger.find(key)[0] or {}
    kept = row.get("tries") or {"epoch": [], "each": []}
    parts = []
    for number, each in enumerate(kept["each"]):
        path = each["path"] if kept["epoch"] else {name: [each["last"][name]] for name in PATH}
        epochs = kept["epoch"] or [row["run"]["training"]["epochs"]]
        part = pd.DataFrame({"epoch": epochs, **path})
        last = part.index == len(part) - 1
        parts.append(part.assign(**{"key": key, "try": number, "last": last}, **each["facts"]))
    return parts
