"""The trainings that D1a, D1b and the law are judged on, as lists of runs."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib import privacy
from lib.attacks.badnets import BadNets
from lib.defences import Defence
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.study.design import instances
from lib.study.runs import Run
from lib.training import Training

if TYPE_CHECKING:
    from pandas import DataFrame

DELTA = 1e-5
PLAIN = DPSGD(0.0, clip=False)


def arms(noise: Iterable[float], *, label_flip: float) -> Mapping[str, Defence]:
    """The arms of notebook 11 by name: plain SGD, two references, DP-SGD at each noise multiplier.
    """
    return {"plain SGD": PLAIN, "clip only": DPSGD(0.0), "label noise": LabelNoise(label_flip)} | {
        f"DP-SGD {z:g}": DPSGD(z) for z in noise}


def paths(base: Run, settings: Iterable[tuple[Defence, float]], pairs: Iterable[Sequence[int]], *,
          epochs: float, world: str = "P", **training: Any) -> list[Run]:
    """Every (defence, learning rate) on every pair of classes, measured along its way with its
    averaged weights; three training seeds serve the pairs in turn. training: further fields."""
    known: dict[str, Any] = {"checkpoints": 12, "averages": ("tail", "ema")}
    starts = [base.with_(defence=defence, training=Training(
        "sgd", rate, epochs=float(epochs), **known | training)) for defence, rate in settings]
    return [one.in_world(world) for start in starts for one in instances(start, pairs)]


def private(base: Run, pairs: Sequence[Sequence[int]], *, noise: Iterable[float],
            rates: Sequence[float], epochs: float, batch_size: int,
            varied: Iterable[Mapping[str, Any]] = (), **training: Any) -> list[Run]:
    """DP-SGD at every noise multiplier and learning rate, clipping norm 1.

    varied: further trainings, each a mapping with its "rates" and the fields of the training in
    which it differs; where batch or length do, it takes the noise that gives the first's epsilons.
    """
    usual, noise = {"epochs": epochs, "batch_size": batch_size, **training}, list(noise)
    runs = paths(base, itertools.product([DPSGD(float(z)) for z in noise], rates), pairs, **usual)
    for one in varied:
        changes = {name: value for name, value in one.items() if name != "rates"}
        levels = [_with(base, z, epochs, batch_size, changes) for z in noise]
        runs += paths(base, itertools.product(levels, one["rates"]), pairs, **usual | changes)
    return runs


def _with(base: Run, noise: float, epochs: float, batch_size: int, changes: Mapping) -> DPSGD:
    """DP-SGD with the epsilon of `noise` where the changes ask for other noise."""
    if not changes.keys() & {"epochs", "batch_size"}:
        return DPSGD(float(noise))
    if base.train_size is None:
        raise ValueError("train_size None: expected a number; epsilons are reckoned from it")
    return same_epsilon(noise, records=base.train_size - base.public, epochs=epochs,
                        batch_size=batch_size)


def tuning(base: Run, defences: Iterable[Defence], rates: Iterable[float], *, draws: int,
           epochs: float, batch_size: int) -> list[Run]:
    """Clean trainings on nine tenths of the private images, measured on the tenth that is left:
    each draw leaves out another one, and has seeds of its own."""
    clean = base.with_(attack=BadNets(stamp=False, relabel=False))
    defences, rates = list(defences), list(rates)
    return [clean.with_(defence=defence, init_seed=draw, noise_seed=draw,
                        split=f"tune-{draw + 1}" if draw else "tune",
                        training=Training("sgd", rate, epochs=float(epochs), batch_size=batch_size))
            for draw in range(draws) for defence in defences for rate in rates]


def twins(base: Run, known: Mapping[str, Defence], choices: "DataFrame",
          pairs: Sequence[Sequence[int]], *, checkpoints: int, plain_checkpoints: int,
          **training: Any) -> list[Run]:
    """Every arm at every rate that a tuning draw chose, attacked (P), only relabelled (L) and clean
    (C). known: the arms by name; choices: of `lib.papers.ours.tuned`."""
    chosen = choices[["arm", "training.lr"]].drop_duplicates().itertuples(index=False)
    return [one for name, rate in chosen for world in "PLC" for one in paths(
        base, [(known[name], rate)], pairs, world=world, **training,
        checkpoints=checkpoints if name.startswith("DP-SGD") else plain_checkpoints)]


def same_epsilon(noise: float, *, records: int, epochs: float, batch_size: int) -> DPSGD:
    """DP-SGD with the epsilon that `noise` has at this length and batch, rounded down to two
    digits: its own noise follows from the length and batch that it is then trained with."""
    steps = max(1, round(epochs * records / batch_size))
    epsilon = privacy.dpsgd_epsilon(noise, batch_size / records, steps, DELTA)
    return DPSGD(None, epsilon=math.floor(100 * epsilon) / 100)
