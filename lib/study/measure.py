"""Train and measure a group of runs, and make their rows."""

import functools
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

import torch

from lib import data, paths
from lib.attacks import Poisoned
from lib.defences import Certify, Predict, Trained
from lib.defences.certificates import Examples
from lib.goals import Cases, Predictions
from lib.parts import digest, name_of
from lib.study import inputs, poison_gradients, scores, start, traces
from lib.study.runs import Run

# Errors that are this machine's fault, not the run's.
FAULTS = (data.DataNotFound, MemoryError, OSError, torch.OutOfMemoryError)


def identity(run: Run) -> str:
    """A digest that is equal for runs that train the same model, such as clean twins of different
    attacks."""
    values = run.to_dict() | {"scores": False, "anatomy": False}
    if run.attack.in_world == "C":
        values["attack"], values["attack_seed"] = "clean", None
    return digest(values)


# ---------------------------------------------------------------- training

def poisoned(run: Run) -> Poisoned:
    """The run's poisoned training set, with the weights that it starts from."""
    start.check(run)
    poison_gradients.check(run)
    found = inputs.poisoned(run)
    return found if run.start is None else replace(found, start=start.load(run.start).weights)


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
    without it. Errors of this machine (`FAULTS`: no data, no memory, a full disk) are raised,
    because they say nothing about the run.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    first = {identity(run): run for run in reversed(runs)}
    try:
        unique = list(first.values())
        sets = [poisoned(run) for run in unique]
        models = dict(zip(first, zip(trained(unique, sets), sets, strict=True), strict=True))
        rows = [_row(run) | measure(run, *models[identity(run)]) for run in runs]
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

def measure(run: Run, model: Trained, training_set: Poisoned) -> dict:
    """Measure a trained model; returns the measured part of its row.

    That is metrics, the path with losses on training samples, the same for averaged weights,
    privacy, facts, and certified shares.
    """
    own = model.privacy
    begun = None if run.start is None else start.load(run.start)
    row = {"status": "ok", "metrics": _score(run, model.predict),
           "curve": _path_with_anatomy(run, model, training_set),
           "privacy": start.composed(own, begun).as_dict(),
           "facts": {**training_set.facts, **model.facts}}
    if begun is not None:
        row["privacy"]["given_start"] = own.as_dict()
    if model.averaged:
        row["averaged"] = {name: {"metrics": _score(run, averaged.predict),
                                  "curve": _path(run, averaged.path, training_set),
                                  "distance": averaged.distance}
                           for name, averaged in model.averaged.items()}
    if run.scores:
        row["scores"] = scores.keep(run, *_logits(run, model.predict))
    if model.certify is not None:
        facts, row["certified"] = _certified(run, model.certify)
        row["facts"] |= facts
    return row


def _logits(run: Run, predict: Predict) -> tuple[Predictions, Cases]:
    """A model's logits on the test images and the cases, and the cases."""
    cases, shown = inputs.cases(run)
    test = inputs.private_and_test(run)[1]
    clean = predict(inputs.shared(run)[1])
    answers = predict(shown) if len(shown) else clean[:0]
    return Predictions(clean, answers, test.labels), cases


def _score(run: Run, predict: Predict) -> dict:
    return dict(run.attack.goal.score(*_logits(run, predict)))


def _path(run: Run, path: list[tuple[int, Predict]], training_set: Poisoned) -> list[dict]:
    n = training_set.records(run.training.appended)
    per_epoch = run.training.steps(n) / run.training.epochs
    return [{"step": step, "epoch": step / per_epoch, **_point(run, predict, training_set)}
            for step, predict in path]


def _path_with_anatomy(run: Run, model: Trained, training_set: Poisoned) -> list[dict]:
    """The path of the last weights; with `Run.anatomy`, its points hold `columns.ANATOMY` too."""
    anatomy = poison_gradients.along(run, model, training_set)
    return [point | own for point, own in
            zip(_path(run, model.path, training_set), anatomy, strict=True)]


def _point(run: Run, predict: Predict, training_set: Poisoned) -> dict:
    """Scores, losses and effect of the trigger at one step of the training."""
    found, goal = _logits(run, predict), run.attack.goal
    return {**goal.score(*found), **traces.losses(predict, training_set, goal.base),
            **traces.trigger(*found, goal.base)}


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
    """Commit, device, threads and versions of this process, without a host name."""
    packages = ("torch", "opacus", "dp-accounting", "numpy")
    return {"commit": _git("rev-parse", "HEAD") or os.environ.get("STUDY_COMMIT", "unknown"),
            "dirty": bool(_git("status", "--porcelain", "lib")), "device": inputs.device_name(),
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in packages}}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True,
                              timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
