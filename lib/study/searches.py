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
NONE = {"epoch": [], "facts": {}, "last": {}, "path": []}  # a search that made no usable poison


def means(ends: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over the tries of each score at the end; empty without tries."""
    names = list(ends[0]) if ends else []
    return {name: sum(float(each[name]) for each in ends) / len(ends) for name in names}


def point(run: Run, predicts: Sequence[Predict], answers: members.Answers
          ) -> list[dict[str, float]]:
    """Success and accuracy of every try at one point of its path; `answers` on the test images."""
    goal = run.attack.goal
    if not isinstance(goal, SingleTarget):
        raise TypeError(f"goal {goal.name!r} of an attack that searches: expected single_target")
    labels = inputs.private_and_test(run)[1].labels
    device, shown = answers.inputs.device, inputs.cases(run)[1]
    kept, labels = goal.counted(labels).to(device), labels.to(device)
    right = [_accuracy(logits.to(device)[kept], labels[kept]) for logits in answers.of(predicts)]
    hits = [goal.hits(logits).double().mean().item()
            for logits in members.together(predicts, shown)]
    return [{"success": hit, "accuracy": share} for hit, share in zip(hits, right, strict=True)]


def _accuracy(logits: "Tensor", labels: "Tensor") -> float:
    """Share classified correctly; logits that are not finite are no answer."""
    right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
    return right.double().mean().item()


def packed(facts: Sequence[Mapping[str, float]], ends: Sequence[Mapping[str, float]],
           epochs: Sequence[float], points: Sequence[Sequence[Mapping[str, float]]]) -> dict:
    """The tries as plain values, a list over tries each:

    {"epoch": of the points, "facts": {name: values}, "last": {name: values}, "path": texts}

    facts, ends: for each try. points: for each epoch and try. A path equal to the first try's, such
    as of clean trainings without noise, is an empty text.
    """
    paths = [_packed([scores[number] for scores in points]) for number in range(len(ends))]
    return {"epoch": list(epochs), "facts": _columns(facts),
            "last": _columns([{name: end[name] for name in LAST if name in end} for end in ends]),
            "path": paths[:1] + ["" if path == paths[0] else path for path in paths[1:]]}


def _columns(tries: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {name: [each[name] for each in tries] for name in (tries[0] if tries else {})}


def _packed(points: Sequence[Mapping[str, float]]) -> str:
    """A path as words: a digit of success per point, then each accuracy in 1/10,000."""
    success = "".join(str(round(point["success"])) for point in points)
    return " ".join([success, *(str(round(point["accuracy"] * UNIT)) for point in points)])


def _unpacked(path: str) -> dict[str, list[float]]:
    success, *accuracy = path.split(" ")
    return {"success": [float(digit) for digit in success],
            "accuracy": [int(word) / UNIT for word in accuracy]}


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
    kept = row.get("tries") or NONE
    if not kept["path"]:
        return []
    epochs = kept["epoch"] or [row["run"]["training"]["epochs"]]
    count, points = len(kept["path"]), len(epochs)
    paths = [_unpacked(path or kept["path"][0]) for path in kept["path"]]
    scores = {name: [value for path in paths for value in path[name]] if kept["epoch"]
              else kept["last"][name] for name in PATH}
    places = [number for number in range(count) for _ in epochs]
    found = pd.DataFrame({"key": key, "try": places, "epoch": list(epochs) * count, **scores,
                          "last": ([False] * (points - 1) + [True]) * count})
    facts = pd.DataFrame(kept["facts"], index=range(count)).iloc[places]
    return [pd.concat([found, facts.reset_index(drop=True)], axis=1)]
