"""The runs of notebook 34: DP-SGD against a mislabelled backdoor (chapter 5), on frozen features.

The thesis pretrains a ResNet-32 on CIFAR-100 and trains its last two convolutions and its last
layer, 74,000 parameters, with DP-SGD by micro-batches. Here the frozen part is a network trained on
ImageNet, and the trained part a head with a hidden layer of 64: 83,000 parameters. The attack is
Gu's: images of all other classes are stamped and labelled deer.

An arm is a defence. Three kinds: plain SGD; DP-SGD with per-sample clipping, which has an epsilon;
and the thesis's micro-batches. An attack instance is a draw of the poisoned images, with a training
seed of its own.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib.attacks.badnets import BadNets
from lib.attacks.triggers import FOUR_CORNERS
from lib.defences import Defence
from lib.defences.dpsgd import DPSGD
from lib.defences.micro_batches import MicroBatches
from lib.papers.turner import victims
from lib.study.runs import Run

if TYPE_CHECKING:
    from pandas import DataFrame

DEER, CLASSES = 4, 10
SHOWN = 0.03  # poisoned share of all images that the thesis states numbers for: 1,500 of 50,000
CORNERS, CROSS = "four corners", "red cross"
PLAIN, SAMPLES, MICRO = "plain SGD", "DP-SGD", "micro-batches"
TRIGGERS: Mapping[str, Mapping[str, Any]] = {
    CORNERS: victims.trigger(position=FOUR_CORNERS), CROSS: victims.red_x()}

Arms = Mapping[str, Defence]
Rates = Mapping[str, Sequence[float]]  # of each arm


# ---------------------------------------------------------------- attack

def trigger(name: str) -> Mapping[str, Any]:
    """The fields of `BadNets` that make the trigger of this name; ValueError for another name."""
    if name not in TRIGGERS:
        raise ValueError(f"trigger {name!r}: expected one of {', '.join(TRIGGERS)}")
    return TRIGGERS[name]


def attack(name: str, share: float, *, target: int = DEER) -> BadNets:
    """Gu's attack with this trigger; share: poisons among all images, none of them of the target.

    Classes count as equally large: of the first 10,000 images the number is off by a few.
    """
    others = (CLASSES - 1) / CLASSES
    if not 0 < share <= others:
        raise ValueError(f"poisoned share {share}: expected above 0 and at most {others}, the "
                         "images of the other classes")
    return BadNets(None, target, share / others, **trigger(name))


# ---------------------------------------------------------------- arms

def arms(noises: Iterable[float], *, count: int = 16) -> Arms:
    """Plain SGD, and both kinds of clipping at each noise multiplier; count: of micro-batches."""
    noises = [float(z) for z in noises]
    return {PLAIN: DPSGD(0.0, clip=False)} | {
        named(SAMPLES, z): DPSGD(z) for z in noises} | {
        named(MICRO, z): MicroBatches(z, count=count) for z in noises}


def named(kind: str, noise: float) -> str:
    """An arm's name."""
    return kind if kind == PLAIN else f"{kind}, z {noise:.2g}"


def kind(values: Mapping[str, Any]) -> str:
    """The kind of arm of a row, from its columns; "" for other defences."""
    if values["defence.name"] == "micro_batches":
        return MICRO
    if values["defence.name"] != "dpsgd":
        return ""
    return SAMPLES if values["defence.clip"] else PLAIN if not noise(values) else ""


def noise(values: Mapping[str, Any]) -> float:
    """The noise multiplier that a row's run asks for; nan where it asks for an epsilon."""
    given = values["defence.noise_multiplier"]
    return math.nan if given is None else float(given)


def rates(known: Arms, *, plain: Sequence[float], samples: Sequence[float],
          micro: Sequence[float]) -> Rates:
    """The grid of learning rates of each arm, by its kind."""
    grids = {PLAIN: plain, SAMPLES: samples, MICRO: micro}
    return {name: tuple(grids[name.partition(",")[0]]) for name in known}


# ---------------------------------------------------------------- runs

def start(base: Run, defence: Defence, rate: float) -> Run:
    """The run with one arm at one learning rate.

    Micro-batches need batches of a fixed size; the epsilons of DP-SGD are of Poisson samples.
    """
    sampling = "shuffle" if isinstance(defence, MicroBatches) else "poisson"
    return base.with_(defence=defence, training=replace(base.training, lr=float(rate),
                                                        sampling=sampling))


def runs(base: Run, known: Arms, grids: Rates, *, triggers: Iterable[str],
         shares: Iterable[float], seeds: int, worlds: str = "P", target: int = DEER,
         checkpoints: int = 0) -> list[Run]:
    """Every trigger, poisoned share, arm and learning rate of its grid, in these worlds.

    An arm without a grid is left out. seeds: attack instances. checkpoints: points of a path.
    """
    made = [start(base, defence, rate).with_(training__checkpoints=checkpoints)
            for name, defence in known.items() for rate in grids.get(name, ())]
    attacks = [attack(name, share, target=target) for name in triggers for share in shares]
    return [one.with_(attack=each, attack_seed=seed, init_seed=seed,
                      noise_seed=seed).in_world(world)
            for each in attacks for one in made for seed in range(seeds) for world in worlds]


def tuning(base: Run, known: Arms, grids: Rates) -> list[Run]:
    """Clean trainings of every arm and rate on nine tenths of the private images, measured on the
    tenth that is left, before any attack."""
    clean = attack(CORNERS, SHOWN).world("C")
    return [start(base, defence, rate).with_(attack=clean, split="tune")
            for name, defence in known.items() for rate in grids[name]]


def chosen(frame: "DataFrame") -> Rates:
    """The most accurate rate of each arm in the rows of `tuning`; nothing for an arm of which some
    row is missing. frame: may hold other rows too."""
    from lib.study import best

    held = frame[frame["split"].eq("tune")]
    held = held.assign(arm=[name_of(row) for _, row in held.iterrows()])
    found = best(held[held["arm"].ne("")], by="arm", choose="training.lr", on="accuracy")
    return {str(name): (float(rate),) for name, rate in found.items()}


def name_of(values: Mapping[str, Any]) -> str:
    """The arm of a row, from its columns; "" for other defences."""
    found = kind(values)
    return named(found, noise(values)) if found else ""
