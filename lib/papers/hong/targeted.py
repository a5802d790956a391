"""The runs of the targeted attacks (figures 5 to 7, table 3): re-trainings that a frog joins.

A clean base model is trained, with or without DP; the attacker, who knows it, crafts poisons; the
victim trains on with the same data and the poison. In figures 5 and 6 the base and the re-training
have the same settings, table 3 mixes them. An attack instance is a target: the first test records
of a class, whatever a model says of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from lib.attacks.feature_collision import FeatureCollision
from lib.defences.dpsgd import DPSGD
from lib.papers.hong.bases import CASES, NOISE_NORM, NOISES, NORMS, base, defence
from lib.study import Run

INSTANCES = 25
COUNTS = (1, 2, 3, 5, 8, 13, 20, 50, 100)
TABLE_NOISE = 0.01  # of table 3, at NOISE_NORM
VANILLA = "vanilla"


@dataclass(frozen=True)
class Victim:
    """How a base is re-trained, and the classes of targets and of poisons.

    train_size: records of the re-training, None for those of the base, as in the paper. pool: see
    `FeatureCollision`. candidates: one-shot tries. The watermark was chosen on targets 25 to 30 of
    the location records, where it lets half of them be attacked; larger ones attack all.
    iterations: of the crafting. bases: "own" if each target has a base of its own, with batches of
    its own before and after, so that intervals over targets cover both; "one" where that takes
    hours.
    """

    target_class: int
    label: int
    epochs: float
    lr: float
    candidates: int
    pool: int
    train_size: int | None = None
    watermark: float = 0.2
    iterations: int = 1000
    bases: str = "own"


VICTIMS = {
    # The two largest classes: their test records suffice for 25 targets and 100 donors.
    "location": Victim(7, 19, epochs=50.0, lr=0.04, candidates=20, pool=100),
    "location-mlp": Victim(7, 19, epochs=50.0, lr=0.04, candidates=20, pool=100,
                           iterations=300, bases="one"),
    "baskets": Victim(3, 4, epochs=50.0, lr=0.04, candidates=20, pool=80),
    "fashion-mlp": Victim(3, 4, epochs=20.0, lr=0.04, candidates=5, pool=100, train_size=10_000,
                          iterations=300, bases="one"),
    "cifar-cnn": Victim(3, 4, epochs=5.0, lr=0.02, candidates=5, pool=100, train_size=2500,
                        iterations=300, bases="one"),
    "strokes": Victim(3, 4, epochs=4.0, lr=0.04, candidates=3, pool=20, watermark=0.5,
                      iterations=40),
}


@dataclass(frozen=True)
class Setting:
    """A clipping norm, None for plain training, and the paper's absolute noise."""

    norm: float | None = None
    noise: float = 0.0

    @property
    def name(self) -> str:
        """As figures name it."""
        if self.norm is None:
            return VANILLA
        return f"C {self.norm:g}" + (f", noise {self.noise:g}" if self.noise else "")

    @classmethod
    def named(cls, name: str) -> Self:
        """The setting of this name, as `vanilla`, `C 4` or `C 4, noise 0.1`; else ValueError."""
        found = re.fullmatch(r"C (\S+?)(?:, noise (\S+))?", name)
        if name != VANILLA and not found:
            raise ValueError(f"setting {name!r}: expected {VANILLA!r}, or as 'C 4' or "
                             "'C 4, noise 0.1'")
        return cls(float(found[1]), float(found[2] or 0)) if found else cls()


PLAIN = Setting()
SHAPED = Setting(NOISE_NORM, 0.1)  # of figure 7


def settings(norms: Iterable[float] = NORMS, noises: Iterable[float] = NOISES, *,
             norm: float = NOISE_NORM) -> list[Setting]:
    """Plain training, clipping norms without noise, and noises at one norm: the axes of figure 5.
    """
    return [PLAIN, *(Setting(each) for each in norms), *(Setting(norm, each) for each in noises)]


def attack(case: str, *, target: int = 0, counts: Iterable[int] = ()) -> FeatureCollision:
    """The one-shot attack on a case, or the multi-poison attack with growing `counts`."""
    own, counts = VICTIMS[case], tuple(counts)
    candidates = max(counts, default=own.candidates)
    return FeatureCollision(target=target, base=own.target_class, label=own.label,
                            candidates=candidates, counts=counts, pool=max(own.pool, candidates),
                            watermark=own.watermark, iterations=own.iterations)


def retraining(case: str, start: Setting, again: Setting, *, target: int,
               counts: Iterable[int] = (), **changes: Any) -> Run:
    """One target's re-trainings: the base trained with `start`, trained on with `again`."""
    own = VICTIMS[case]
    seed = target if own.bases == "own" else 0
    first = base(case, max_grad_norm=start.norm, noise=start.noise, init_seed=seed, noise_seed=seed)
    training = replace(first.training, lr=own.lr, epochs=own.epochs, every=1.0)
    run = replace(first, start=first, train_size=own.train_size or first.train_size,
                  training=training, defence=defence(again.norm, again.noise),
                  attack=attack(case, target=target, counts=counts), noise_seed=target)
    return run.with_(**changes)


def figure(case: str, chosen: Iterable[Setting], *, targets: int = INSTANCES,
           counts: Iterable[int] = (), **changes: Any) -> list[Run]:
    """Base and re-training at the same setting (figures 5 and 6), with clean re-trainings."""
    return [each for setting in chosen
            for each in with_clean(retraining(case, setting, setting, target=target, counts=counts,
                                              **changes) for target in range(targets))]


def figures(chosen: Mapping[str, Iterable[str]], *, targets: int = INSTANCES,
            counts: Iterable[int] = (), whole: Iterable[str] = ()) -> list[Run]:
    """`figure` for several cases. chosen: names of settings by case. whole: cases that are
    re-trained on every record of the base instead of `Victim.train_size`."""
    return [run for case, names in chosen.items()
            for run in figure(case, map(Setting.named, names), targets=targets, counts=counts,
                              **({"train_size": CASES[case].train_size} if case in whole else {}))]


def anatomies(case: str, *, target: int = 0) -> list[Run]:
    """Figure 7: a vanilla base re-trained with one poison, without and with DP, gradients kept.

    Both start from one base, so that the poison is the same.
    """
    return [retraining(case, PLAIN, again, target=target, counts=(1,), anatomy=True)
            for again in (PLAIN, SHAPED)]


def table_three(case: str, *, targets: int = INSTANCES, counts: Iterable[int] = ()) -> list[Run]:
    """Vanilla and DP bases, each re-trained with and without DP: three of the paper, one of ours.
    """
    private = Setting(NOISE_NORM, TABLE_NOISE)
    return [each for start in (PLAIN, private) for again in (PLAIN, private)
            for each in with_clean(retraining(case, start, again, target=target, counts=counts)
                                   for target in range(targets))]


def proper(case: str, epsilons: Iterable[float], *, targets: int = INSTANCES,
           norm: float = 1.0) -> list[Run]:
    """A vanilla base, re-trained by per-sample DP at a real epsilon for the last stage."""
    return [each for epsilon in epsilons
            for each in with_clean(
                retraining(case, PLAIN, PLAIN, target=target,
                           defence=DPSGD(None, epsilon=epsilon, max_grad_norm=norm))
                for target in range(targets))]


def slower(case: str, rates: Iterable[float], *, targets: int = INSTANCES) -> list[Run]:
    """A vanilla base, re-trained without DP at smaller learning rates: twins at equal accuracy."""
    return [each for rate in rates
            for each in with_clean(retraining(case, PLAIN, PLAIN, target=target, training__lr=rate)
                                   for target in range(targets))]


def with_clean(runs: Iterable[Run]) -> list[Run]:
    """The runs and their clean twins."""
    return [each for run in runs for each in (run, run.in_world("C"))]
