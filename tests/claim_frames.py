"""Rows as `lib.study.run` returns them, made up: for the tests of claims about several defences."""

import math
import zlib

import numpy as np
import pandas as pd

from lib import papers

PAIRS = 8
OUTCOMES = ("seconds", "alone", "group_size")
RUN = {
    "status": "ok",
    "source": "store",
    "dataset": "cifar10-jpeg",
    "train_size": None,
    "test_size": None,
    "public": 10000,
    "features": "imagenet-resnet50",
    "model": "head",
    "attack.name": "badnets",
    "attack.size": 4,
    "precision": "fast",
    "split": "test",
    "training.optimizer": "sgd",
    "training.lr": 0.1,
    "training.momentum": 0.9,
    "training.epochs": 50.0,
    "training.batch_size": 512,
    "training.sampling": "poisson",
    "training.checkpoints": 0,
}
DPSGD = {
    "defence.name": "dpsgd", "defence.noise_multiplier": None, "defence.epsilon": None,
    "defence.max_grad_norm": 1.0, "defence.clip": True, "defence.delta": 1e-5,
    "defence.engine": "opacus-hooks"
}
PATE = {
    "defence.name": "pate", "defence.teachers": 200, "defence.queries": None,
    "defence.threshold": 0.0, "defence.selection_noise": 0.0, "defence.result_noise": 0.0,
    "defence.as_released": False, "defence.pool": "stamped", "defence.labels": "votes",
    "defence.voters": None, "defence.delta": 1e-5, "defence.teacher.optimizer": "adam",
    "defence.teacher.lr": 0.001, "facts.queries": 10000.0, "facts.answered": 10000.0
}
LPMST = {
    "defence.name": "lpmst", "defence.epsilon": 1.0, "defence.split": (0.4, 0.6),
    "defence.temperature": 0.1, "defence.warm_start": True, "defence.filtered": True,
    "defence.prior": "model", "defence.top": None, "defence.as_released": False
}
ALIBI = {"defence.name": "alibi", "defence.epsilon": 1.0}
NONE = {"defence.noise_multiplier": 0.0, "defence.clip": False}


WORLD = ("world", "attack.stamp", "attack.relabel")


def twin_of(values):
    """The columns that join a row to its twins: as `lib.study.run` names them."""
    own = sorted(
        ((name, value) for name, value in values.items() if name not in WORLD + OUTCOMES
         and not name.startswith("facts.")), key=str)
    return {"goal": "backdoor", "weights": "last", "twin": repr(own)}


def run(pair, defence, *, accuracy, lift, floor=0.1, epsilon=math.inf, fraction=0.5, world="P",
        wobble=0.004, **more):
    """One row.

    `more` names columns, or (where the run has no such field) fields of the defence without their
    prefix.
    """
    values = RUN | defence | {
        "attack.base": pair, "attack.target": (pair + 1) % 10, "attack.fraction": fraction,
        "attack.stamp": world in "TP", "attack.relabel": world in "LP", "attack_seed": pair,
        "init_seed": pair, "noise_seed": pair, "world": world
    }
    values |= {
        name if name in RUN or "." in name or "_seed" in name else f"defence.{name}": value
        for name, value in more.items()
        if name not in OUTCOMES
    }
    key = repr(sorted(values.items(), key=str))
    # a row is the same whatever was made before it
    random = np.random.RandomState(zlib.crc32(key.encode()))
    accuracy, lift = (value + wobble * random.randn() for value in (accuracy, lift))
    measured = {name: more[name] for name in OUTCOMES if name in more}
    if "seconds" in measured:  # no two runs take equally long
        measured["seconds"] *= 1 + wobble * random.randn() / 10
    return values | twin_of(values) | measured | {
        "key": key, "accuracy": accuracy, "floor": floor, "success": floor + lift, "lift": lift,
        "trigger_auc": 0.5 + lift / 2, "target_recall": 0.8, "epsilon": epsilon, "delta": 1e-5,
        "adjacency": "none" if math.isinf(epsilon) else "add-remove"
    }


def plain(*, lift=0.8, accuracy=0.7, pairs=PAIRS, **more):
    """The undefended rows."""
    return [run(pair, DPSGD | NONE, accuracy=accuracy, lift=lift, **more) for pair in range(pairs)]


def sgd(epsilon, *, accuracy, lift, pairs=PAIRS, **more):
    return [
        run(pair, DPSGD, accuracy=accuracy, lift=lift, epsilon=epsilon,
            **{"defence.epsilon": epsilon} | more) for pair in range(pairs)
    ]


def pate(*, accuracy, lift, pairs=PAIRS, answered=10000.0, queries_asked=10000.0, **more):
    facts = {"facts.queries": queries_asked, "facts.answered": answered}
    return [run(pair, PATE, accuracy=accuracy, lift=lift, **facts | more) for pair in range(pairs)]


def lpmst(epsilon, *, accuracy, lift, pairs=PAIRS, **more):
    return [
        run(pair, LPMST, accuracy=accuracy, lift=lift,
            epsilon=math.inf if epsilon is None else epsilon, **{"defence.epsilon": epsilon} | more)
        for pair in range(pairs)
    ]


def alibi(epsilon, *, accuracy, lift, pairs=PAIRS, **more):
    return [
        run(pair, ALIBI, accuracy=accuracy, lift=lift,
            epsilon=math.inf if epsilon is None else epsilon, **{"defence.epsilon": epsilon} | more)
        for pair in range(pairs)
    ]


def table(*groups):
    """Rows of several groups as one frame."""
    return pd.DataFrame([row for group in groups for row in group])


def result(name, frame, **frames):
    """The measurement of a claim on one frame of its notebook."""
    one = papers.claim(name)
    return one.measure({one.notebook: frame} | frames, one)


def outcomes(name, frame, **frames):
    """(direction, size) in words; None where none is claimed."""
    got = result(name, frame, **frames)
    return got.direction and got.direction.outcome, got.size and got.size.outcome


def beside(name, frame, **frames):
    """The verdicts beside a claim's own: {name: (direction, size)}."""
    return {
        line: (direction, size) for line, direction, size in result(name, frame, **frames).beside
    }


def counts(frame, *targets):
    """How many rows of its notebook each target of Razmi et al. counts as its own."""
    select = {target.id: target.select for target in papers.targets()}
    return [len(select[f"razmi-{name}"](frame)) for name in targets]
