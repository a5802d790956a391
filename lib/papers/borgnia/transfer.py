"""The runs of tables 4 and 6: attacks on a victim that trains on from a network they know.

The paper follows the benchmark of Schwarzschild et al. (2021), whose victim takes a public network,
freezes it, and trains a new last layer on 2,500 images, 25 of them poisons. Mixing changes images,
so that frozen features cannot be computed once; here the victim trains all of a network on, at a
small rate, on its first `records` images. Every trial has a network of its own, so that intervals
over trials cover it, and the attacker has it too.

The paper's success rates without a defence are three to thirteen times those of the benchmark. So
every attack has two settings: the benchmark's constraints, and looser ones.

| attack | benchmark | looser |
|---|---|---|
| feature collision | 25 donors, 8/255, watermark 0.3 | no bound |
| convex polytope | 25 poisons, 8/255 | 0.1 (Zhu et al. 2019) |
| hidden trigger | 25 poisons, 8/255 | 100 poisons, 16/255 (Saha et al. 2020) |
| clean label | 25 poisons, 8/255 with the patch in it | 100 poisons, 16/255, the patch in full |
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from lib.attacks import Attack
from lib.attacks.clean_label import CleanLabel
from lib.attacks.convex_polytope import ConvexPolytope
from lib.attacks.feature_collision import FeatureCollision
from lib.attacks.hardening.pgd import PGD, ROBUST
from lib.attacks.hidden_trigger import HiddenTrigger
from lib.attacks.label_flip import LabelFlip
from lib.papers.borgnia import matching, patching
from lib.papers.borgnia.patching import NEIGHBOURS, PAIRS
from lib.study.design import worlds
from lib.study.runs import Run

COLLISION, POLYTOPE = "feature collision", "convex polytope"
HIDDEN, CLEAN_LABEL = "hidden trigger", "clean label"
BENCHMARK, LOOSER = "benchmark's constraints", "looser constraints"
BACKDOORS = (HIDDEN, CLEAN_LABEL)  # of table 6
CONSTRAINTS = (BENCHMARK, LOOSER)
EPS = 8 / 255
FEW, MANY = 25, 100  # poisons
ANY = 1e9  # distance of features: a poison counts, however far it is from the target
DONORS = 100
NAMES = {"feature_collision": COLLISION, "convex_polytope": POLYTOPE,
         "hidden_trigger": HIDDEN, "clean_label": CLEAN_LABEL}


# ---------------------------------------------------------------- attacks

def collision(trial: int, *, tight: bool, iterations: int, poisons: int = FEW,
              donors: int = DONORS) -> FeatureCollision:
    """Poison Frogs with all its poisons together, in one try."""
    base, label = PAIRS[trial % len(PAIRS)]
    return FeatureCollision(trial // len(PAIRS), base, label, candidates=poisons,
                            counts=(poisons,), pool=donors, reach=ANY, watermark=0.3,
                            eps=EPS if tight else None, iterations=iterations)


def polytope(trial: int, *, tight: bool, iterations: int, poisons: int = FEW) -> ConvexPolytope:
    """Convex polytope on the network that the victim starts from."""
    base, label = PAIRS[trial % len(PAIRS)]
    return ConvexPolytope(trial // len(PAIRS), base, label, poisons, EPS if tight else 0.1,
                          iterations, network="start")


def hidden(trial: int, *, tight: bool, iterations: int, poisons: int | None = None
           ) -> HiddenTrigger:
    """The hidden trigger on that network, by steps of half a grey level."""
    base, target = PAIRS[trial % len(PAIRS)]
    return HiddenTrigger(base, target, poisons or (FEW if tight else MANY),
                         eps=EPS if tight else 2 * EPS, iterations=iterations, lr=0.5 / 255,
                         signed=True, network="start")


def clean_label(trial: int, *, tight: bool, iterations: int = 20, poisons: int | None = None,
                model: str = "convnet-small-bn", epochs: float = ROBUST.epochs,
                images: int | None = None) -> CleanLabel:
    """The clean-label backdoor, hardened on an adversarially trained network of the attacker's.

    model, epochs: of that network. images: that it is trained on, of the victim's and all others;
    None for all. The victim's alone are too few for a robust one.
    """
    base, target = PAIRS[trial % len(PAIRS)]
    hardening = PGD(eps=EPS if tight else 2 * EPS, steps=iterations, model=model,
                    training=replace(ROBUST, epochs=epochs), data="both", images=images)
    return CleanLabel(base, target, fraction=None, poisons=poisons or (FEW if tight else MANY),
                      hardening=hardening, clamp=tight)


ATTACKS: Mapping[str, Callable[..., Attack]] = {
    COLLISION: collision, POLYTOPE: polytope, HIDDEN: hidden, CLEAN_LABEL: clean_label}


# ---------------------------------------------------------------- runs

def runs(victim: Run, settings: Mapping[str, Mapping[str, Any]], *, trials: int, records: int,
         again: Mapping[str, Any], constraints: Iterable[str] = CONSTRAINTS) -> list[Run]:
    """Every attack, with each constraint, against each arm of the tables, with its clean twin.

    victim: as the network that it starts from is trained. settings: arguments of each attack, by
    name (a key of `ATTACKS`), as {"iterations": 300}. records: images of the training that goes on.
    again: what that training changes, as {"lr": 0.01, "epochs": 10.0}.
    """
    constraints = list(constraints)
    return [each for kind, own in settings.items() for constraint in constraints
            for trial in range(trials)
            for arm in _arms(victim, trial, _known(kind)(trial, tight=constraint == BENCHMARK,
                                                         **own), records=records, again=again)
            for each in worlds(arm, "PC")]


def _known(kind: str) -> Callable[..., Attack]:
    if kind not in ATTACKS:
        raise ValueError(f"attack {kind!r}: expected one of {', '.join(ATTACKS)}")
    return ATTACKS[kind]


def _arms(victim: Run, trial: int, attack: Attack, *, records: int, again: Mapping[str, Any]
          ) -> Iterable[Run]:
    """One trial in every arm: no defence, mixing, and the filters of these tables."""
    first = matching.seeded(victim.with_(attack=LabelFlip(fraction=0.0)), trial)
    changes = {f"training__{name}": value for name, value in again.items()}
    on = first.with_(start=first, train_size=records, attack=attack, **changes)
    # Told the benchmark's number: for more poisons they would drop more than half of the records.
    arms = {**patching.mixing(on), **patching.filters(on, min(FEW, poisons(attack)))}
    return [arm for name, arm in arms.items() if name != NEIGHBOURS]


def poisons(attack: Attack) -> int:
    """How many poisons an attack of `ATTACKS` makes."""
    if isinstance(attack, FeatureCollision):
        return attack.candidates
    if isinstance(attack, ConvexPolytope | HiddenTrigger | CleanLabel) and attack.poisons:
        return attack.poisons
    raise ValueError(f"attack {attack!r}: expected one that `ATTACKS` makes")


# ---------------------------------------------------------------- names

def constraint(values: Mapping[str, Any]) -> str:
    """The constraints of a row, by the bound of its attack."""
    hardened = values["attack.name"] == "clean_label"
    eps = values["attack.hardening.eps" if hardened else "attack.eps"]
    return BENCHMARK if eps is not None and abs(eps - EPS) < 1e-9 else LOOSER
