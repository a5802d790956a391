"""Train and measure a group of runs, and make their rows."""

import functools
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from torch import Tensor

from lib import data, paths
from lib.attacks import Poisoned, Search
from lib.defences import Certify, Predict, Trained, members
from lib.defences.certificates import Examples
from lib.goals import Cases, Predictions
from lib.parts import digest, name_of
from lib.privacy import Guarantee
from lib.study import (
    inputs,
    maps,
    poison_gradients,
    record_losses,
    scores,
    searches,
    start,
    traces,
)
from lib.study.runs import Run

# Errors that are this machine's fault, not the run's.
FAULTS = (data.DataNotFound, MemoryError, OSError, torch.OutOfMemoryError, ModuleNotFoundError)


def identity(run: Run) -> str:
    """A digest that is equal for runs that train the same model, such as clean twins of different
    attacks."""
    values = run.to_dict() | {"scores": False, "maps": False, "anatomy": False,
                              "losses": False}
    if run.attack.in_world == "C":
        values["attack"], values["attack_seed"] = "clean", None
        if isinstance(run.attack, Search):
            values["attack"] = f"clean, {run.attack.most_tries} times"
    return digest(values)


# ---------------------------------------------------------------- training

@dataclass(frozen=True, eq=False)
class Attempt:
    """One training: the run, with the seeds of this try, and its training set."""

    run: Run
    poisoned: Poisoned


def attempts(run: Run) -> list[Attempt]:
    """The trainings of a run: one, or one for each try of an attack that searches.

    Tries share initial weights and batches, and each has noise of its own, as each re-training of
    an attacker would. Clean ones draw batches of their own too: without poison and noise they would
    all be one training, and no measure of how often a search succeeds by nature. There is none if
    the attack made no usable poison.
    """
    start.check(run)
    poison_gradients.check(run)
    maps.check(run)
    record_losses.check(run)
    begun = None if run.start is None else start.load(run.start).weights
    sets = inputs.poisoned(run, start=begun)
    if not isinstance(run.attack, Search):
        return [Attempt(run, each) for each in sets]
    return [Attempt(_of_try(run, number), each) for number, each in enumerate(sets)]


def _of_try(run: Run, number: int) -> Run:
    """The run with the seeds of this try; the first clean one has the batches of its twin."""
    def seed(value: int) -> int:
        return int(digest([value, number])[:7], 16)
    own = {"noise_seed": seed(run.noise_seed)}
    if run.attack.in_world == "C" and number:
        own["init_seed"] = seed(run.init_seed)
    return run.with_(**own)


def poisoned(run: Run) -> Poisoned:
    """The run's poisoned training set, or that of its first try."""
    found = attempts(run)
    if not found:
        raise ValueError(f"attack {name_of(run.attack)}: it made no usable poison")
    return found[0].poisoned


def trained(runs: list[Run], sets: list[Poisoned] | None = None) -> list[Trained]:
    """Train runs of one group with their defence; returns a `Trained` for each run."""
    defence, sets = runs[0].defence, sets or [poisoned(run) for run in runs]
    made = defence.train([start.with_own_seeds(run) for run in runs], sets)
    whole = isinstance(made, list) and len(made) == len(runs)
    if not whole or not all(isinstance(model, Trained) for model in made):
        raise ValueError(f"defence {name_of(defence)}: train returned {type(made).__name__}: "
                         f"expected a list of {len(runs)} lib.defences.Trained, one per run, in "
                         "the order of the runs")
    return made


def train_rows(runs: list[Run]) -> list[dict]:
    """Train runs of one group, each identity once, and return their rows.

    A run that cannot be trained becomes a row with its traceback, and the rest of its group trains
    without it. Errors of this machine (`FAULTS`: no data, memory, disk or package) are raised,
    because they say nothing about the run.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    first = {identity(run): run for run in reversed(runs)}
    try:
        start.prepare(first.values())
        inputs.prepare(first.values())
        groups = {name: attempts(run) for name, run in first.items()}
        each = [attempt for group in groups.values() for attempt in group]
        models = iter(trained([attempt.run for attempt in each],
                              [attempt.poisoned for attempt in each]) if each else ())
        made = {name: [(next(models), attempt.poisoned) for attempt in group]
                for name, group in groups.items()}
        answers = members.Answers(inputs.shared(runs[0])[1])
        rows = [_row(run) | _measured(run, made[identity(run)], answers) for run in runs]
    except FAULTS:
        raise
    except Exception:  # noqa: BLE001  recorded in the row: one bad setting must not stop a sweep
        if len(first) > 1:
            return [row for name in first
                    for row in train_rows([run for run in runs if identity(run) == name])]
        failed = {"status": "failed", "error": traceback.format_exc(), "metrics": {}, "curve": [],
                  "privacy": {}}
        rows = [_row(run) | failed for run in runs]
    seconds = time.perf_counter() - clock
    facts = provenance() | {"started": started.isoformat(timespec="seconds"),
                            "group_seconds": seconds, "group_size": len(first),
                            "seconds": seconds / len(first)}
    return [row | {"provenance": facts} for row in rows]


def _row(run: Run) -> dict:
    return {"key": run.key, "twin": run.twin, "run": run.to_dict()}


# ---------------------------------------------------------------- measurement

def _measured(run: Run, models: list[tuple[Trained, Poisoned]], answers: members.Answers) -> dict:
    """The measured part of a run's row, of its single training or of all tries.

    answers: on the test images, for the whole group.
    """
    if isinstance(run.attack, Search):
        return _searched(run, models, answers)
    return measure(run, *models[0])


def _searched(run: Run, models: list[tuple[Trained, Poisoned]], answers: members.Answers) -> dict:
    """The measured part of a row of an attack that searches: means over its tries, and each try;
    with `Run.anatomy`, the path of the first."""
    predicts = [model.predict for model, _ in models]
    ends = [dict(run.attack.goal.score(*_logits(run, predict, clean.cpu())))
            for predict, clean in zip(predicts, answers.of(predicts), strict=True)]
    facts = [training_set.facts for _, training_set in models]
    nothing = Guarantee.none("nothing was trained: the attack made no usable poison")
    row = {"status": "ok", "metrics": searches.means(ends), "curve": [],
           "privacy": nothing.as_dict(), "tries": searches.NONE,
           "facts": _mean_facts([model.facts for model, _ in models])}
    if not models:
        return row
    if run.anatomy:
        row["curve"] = _path_with_anatomy(run, *models[0])
    paths = [model.path for model, _ in models]
    epochs = [epoch for _, epoch, _ in _epochs(run, paths[0], models[0][1])]
    points = [searches.point(run, [path[place][1] for path in paths], answers)
              for place in range(len(epochs) - 1)]
    if epochs:  # the last point of a path is the end
        points.append([{name: end[name] for name in searches.PATH} for end in ends])
    return row | {"privacy": _privacy(run, models[0][0]),
                  "tries": searches.packed(facts, ends, epochs, points)}


def _mean_facts(tries: list[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean over the tries of what the defence counted; None where a try has no number."""
    found = {name: [facts[name] for facts in tries] for name in (tries[0] if tries else {})}
    return {name: None if None in values else sum(v or 0 for v in values) / len(values)
            for name, values in found.items()}


def measure(run: Run, model: Trained, training_set: Poisoned) -> dict:
    """Measure a trained model; returns the measured part of its row.

    That is metrics, the path with losses on training samples, the same for averaged weights,
    privacy, facts, and certified shares.
    """
    row = {"status": "ok", "metrics": _score(run, model.predict),
           "curve": _path_with_anatomy(run, model, training_set),
           "privacy": _privacy(run, model), "facts": {**training_set.facts, **model.facts}}
    if model.averaged:
        row["averaged"] = {name: {"metrics": _score(run, averaged.predict),
                                  "curve": _path(run, averaged.path, training_set),
                                  "distance": averaged.distance}
                           for name, averaged in model.averaged.items()}
    if model.ranked:
        row["ranked"] = dict(model.ranked)
    if run.scores:
        row["scores"] = scores.keep(run, *_logits(run, model.predict))
    if model.certify is not None:
        facts, row["certified"] = _certified(run, model.certify)
        row["facts"] |= facts
    return row


def _privacy(run: Run, model: Trained) -> dict:
    """The guarantee of the whole training, and of the last stage alone, given its start."""
    if run.start is None:
        return model.privacy.as_dict()
    begun = start.load(run.start)
    return {**start.composed(model.privacy, begun).as_dict(),
            "given_start": model.privacy.as_dict()}


def _logits(run: Run, predict: Predict, clean: Tensor | None = None) -> tuple[Predictions, Cases]:
    """A model's logits on the test images (`clean` if they are known) and the cases, and the cases.
    """
    cases, shown = inputs.cases(run)
    test = inputs.private_and_test(run)[1]
    clean = predict(inputs.shared(run)[1]) if clean is None else clean
    answers = predict(shown) if len(shown) else clean[:0]
    return Predictions(clean, answers, test.labels), cases


def _score(run: Run, predict: Predict) -> dict:
    return dict(run.attack.goal.score(*_logits(run, predict)))


def _path(run: Run, path: list[tuple[int, Predict]], training_set: Poisoned) -> list[dict]:
    return [{"step": step, "epoch": epoch, **_point(run, predict, training_set)}
            for step, epoch, predict in _epochs(run, path, training_set)]


def _epochs(run: Run, path: list[tuple[int, Predict]], training_set: Poisoned
            ) -> Iterator[tuple[int, float, Predict]]:
    """(step, epoch, predict) of each point of a path."""
    n = training_set.records(run.training.appended)
    per_epoch = run.training.steps(n) / run.training.epochs
    for step, predict in path:
        yield step, step / per_epoch, predict


def _path_with_anatomy(run: Run, model: Trained, training_set: Poisoned) -> list[dict]:
    """The path of the last weights; with `Run.anatomy`, its points hold `columns.ANATOMY` too,
    with `Run.losses` also `columns.LOSSES`."""
    anatomy = poison_gradients.along(run, model, training_set)
    losses = record_losses.along(run, model.path, training_set)
    return [point | own | more for point, own, more in
            zip(_path(run, model.path, training_set), anatomy, losses, strict=True)]


def _point(run: Run, predict: Predict, training_set: Poisoned) -> dict:
    """Scores, losses and effect of the trigger at one step of the training."""
    found, goal = _logits(run, predict), run.attack.goal
    return {**goal.score(*found), **traces.losses(predict, training_set, goal.base),
            **traces.trigger(*found, goal.base), **maps.point(run, predict)}


def _certified(run: Run, certify: Certify) -> tuple[Mapping[str, float | None], list[dict]]:
    """The facts and the certified shares that the defence's certificate yields."""
    test, wanted = inputs.private_and_test(run)[1], run.attack.goal.wanted
    counted = torch.zeros(len(test.labels), dtype=torch.bool)
    counted[inputs.cases(run)[0].rows] = True
    return certify(Examples(
        inputs.shared(run)[1], inputs.everyone(run)[1], test.labels, counted, wanted))


# ---------------------------------------------------------------- provenance

@functools.cache
def provenance() -> dict:
    """Commit, device, threads and versions of this process, without a host name.

    $STUDY_COMMIT names the commit of a copy, whose own repository, if any, says something else.
    """
    given = os.environ.get("STUDY_COMMIT", "")
    packages = ("torch", "opacus", "dp-accounting", "numpy")
    return {"commit": given or _git("rev-parse", "HEAD") or "unknown",
            "dirty": not given and bool(_git("status", "--porcelain", "lib")),
            "device": inputs.device_name(), "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in packages}}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True,
                              timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
