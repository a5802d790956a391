"""The tries of an attack that searches, as kept in a run's row and as a table.

A row keeps, for each try, the facts about its poison, the scores at the end of its training, and
success and accuracy at each recorded point: enough to apply any rule for which try and which epoch
count. Accuracies keep four digits, because there are many.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lib import ledger
from lib.defences import Predict, members
from lib.goals.single_target import SingleTarget
from lib.study import inputs
from lib.study.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

LAST = ("success", "accuracy", "margin", "probability")  # scores that a try keeps of its end
PATH = ("success", "accuracy")  # and of each point
UNIT = 10_000  # accuracies are kept in these parts of one


def means(ends: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over the tries of each score at the end; empty without tries."""
    names = list(ends[0]) if ends else []
    return {name: sum(float(each[name]) for each in ends) / len(ends) for name in names}


def point(run: Run, predicts: Sequence[Predict]) -> list[dict[str, float]]:
    """Success and accuracy of every try at one point of its path."""
    goal = run.attack.goal
    if not isinstance(goal, SingleTarget):
        raise TypeError(f"goal {goal.name!r} of an attack that searches: expected single_target")
    labels = inputs.private_and_test(run)[1].labels
    test, shown = inputs.shared(run)[1], inputs.cases(run)[1]
    kept = goal.counted(labels).to(test.device)
    counted, images = labels.to(test.device)[kept], test[kept]
    right = [_accuracy(logits.to(test.device), counted)
             for logits in members.together(predicts, images)]
    hits = [goal.hits(logits).double().mean().item()
            for logits in members.together(predicts, shown)]
    return [{"success": hit, "accuracy": share} for hit, share in zip(hits, right, strict=True)]


def _accuracy(logits: "Tensor", labels: "Tensor") -> float:
    """Share classified correctly; logits that are not finite are no answer."""
    right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
    return right.double().mean().item()


def packed(facts: Sequence[Mapping[str, float]], ends: Sequence[Mapping[str, float]],
           epochs: Sequence[float], points: Sequence[Sequence[Mapping[str, float]]]) -> dict:
    """The tries as plain values: {"epoch": of the points, "each": a mapping per try}.

    facts, ends: for each try. points: for each epoch and try.
    """
    each = []
    for number, (own, end) in enumerate(zip(facts, ends, strict=True)):
        path = _packed([scores[number] for scores in points])
        if each and path == each[0]["path"]:
            path = {}  # as the first try's, such as of clean trainings without noise
        each.append({"facts": dict(own), "path": path,
                     "last": {name: end[name] for name in LAST if name in end}})
    return {"epoch": list(epochs), "each": each}


def _packed(points: Sequence[Mapping[str, float]]) -> dict:
    """A path as text and whole numbers: a digit of success per point, accuracy in 1/10,000."""
    return {"success": "".join(str(round(point["success"])) for point in points),
            "accuracy": [round(point["accuracy"] * UNIT) for point in points]}


def _unpacked(path: Mapping) -> dict[str, list[float]]:
    return {"success": [float(digit) for digit in path["success"]],
            "accuracy": [value / UNIT for value in path["accuracy"]]}


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
    """One line per try and point; made in one go, because a run may have a thousand."""
    import pandas as pd
    row = ledger.find(key)[0] or {}
    kept = row.get("tries") or {"epoch": [], "each": []}
    if not kept["each"]:
        return []
    epochs = kept["epoch"] or [row["run"]["training"]["epochs"]]
    first = kept["each"][0]["path"]
    paths = [_unpacked(each["path"] or first) if kept["epoch"]
             else {name: [each["last"][name]] for name in PATH} for each in kept["each"]]
    found = pd.DataFrame({name: [value for path in paths for value in path[name]]
                          for name in PATH})
    places = [number for number in range(len(paths)) for _ in epochs]
    facts = pd.DataFrame([each["facts"] for each in kept["each"]]).iloc[places]
    last = [place == len(epochs) - 1 for place in range(len(epochs))] * len(paths)
    found = found.assign(**{"key": key, "try": places, "epoch": list(epochs) * len(paths),
                            "last": last})
    return [pd.concat([found, facts.reset_index(drop=True)], axis=1)]
