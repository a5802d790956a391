"""Mixing beyond its paper: against the patch of Razmi et al. and the flipped labels of Hong et al.,
and together with DP-SGD or with randomised labels.

Mixing is the one family here that may raise accuracy. So each mixing stands beside the same
training without it, in accuracy of the clean twin as well as in what the attack gains: lift and
effect of the patch (worlds L, T and C beside P), RAD of the flips (world C).

With DP-SGD all arms have the same private records and the same epsilon; mixes are of a record's own
views, or of the record and public images. With randomised labels a mix is of labels that already
have their noise, and the guarantee compares with the same stamped images under true labels (T).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib import goals
from lib.attacks.badnets import BadNets
from lib.attacks.label_flip import LabelFlip
from lib.defences.alibi import ALIBI
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.defences.lpmst import LPMST
from lib.metrics import twins
from lib.papers.borgnia import matching, patching, practice, table1
from lib.papers.borgnia.matching import AUGMENTATIONS, CUTOUT, FOUR, MAXUP, TWO
from lib.papers.borgnia.patching import CUTMIX, NONE, PAIRS, Arms
from lib.papers.borgnia.practice import ARM, COMPOSED, SCALE, VIEWS
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.training.transforms import Transform
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LOUD = 16  # over 255: the noise with which the paper stops its own attack
NOISY = f"{MAXUP}, noise {LOUD}/255"
MIXES: Mapping[str, tuple[Transform, ...]] = {
    name: AUGMENTATIONS[name] for name in (NONE, TWO, FOUR, CUTMIX, CUTOUT, MAXUP)} | {
    NOISY: practice.shaken(AUGMENTATIONS[MAXUP], LOUD)}
LABELS = {"label_noise": "label noise", "alibi": "ALIBI", "lpmst": "LP-2ST"}
FRACTION, SHARE = 0.1, 0.4  # of the base class that is stamped; of flipped copies
CLEAN, UNIT, AGAINST_T = "clean accuracy", "instance", "lift above T"
WITH = " + "  # between a defence and its mixing


# ---------------------------------------------------------------- arms

def mixing(victim: Run, names: Iterable[str] = tuple(MIXES)) -> Arms:
    """The victim with each of these `MIXES` after its own augmentations."""
    return {name: matching.augmented(victim, *MIXES[name]) for name in names}


def private(victim: Run, epsilon: float, *, public: int, changes: Mapping[str, Any]) -> Arms:
    """DP-SGD alone, with mixes of own views, and with mixes of public images.

    The first `public` images are public in all of them, and as many more are taken, so that the
    number of private ones stays. Own views crop and flip themselves. changes: of the victim, as
    `Run.with_` takes them.
    """
    size = None if victim.train_size is None else victim.train_size + public
    own = victim.with_(**{**changes, "training__sampling": "poisson"}).with_(
        defence=DPSGD(None, epsilon=epsilon), public=public, train_size=size)
    name = f"DP-SGD, ε {epsilon:g}"
    return {name: own} | {name + WITH + mix: own.with_(training__transforms=(
        transforms if mix == VIEWS else (*own.training.transforms, *transforms)))
        for mix, transforms in COMPOSED.items()}


def randomised(victim: Run, epsilon: float, *, mix: str = TWO, classes: int = 10) -> Arms:
    """Each label-DP method at one epsilon, alone and with a mixing.

    Without label smoothing, which the likelihoods of ALIBI cannot have.
    """
    plain = victim.with_(training__label_smoothing=0.0)
    defences = {"label noise": LabelNoise(flip(epsilon, classes)), "ALIBI": ALIBI(epsilon),
                "LP-2ST": LPMST(epsilon)}
    return {name + added: matching.augmented(plain.with_(defence=defence), *transforms)
            for name, defence in defences.items()
            for added, transforms in (("", ()), (WITH + mix, MIXES[mix]))}


def flip(epsilon: float, classes: int) -> float:
    """The share of labels that are redrawn at this epsilon: that of `LabelNoise.guarantee`."""
    return classes / (classes + math.expm1(epsilon))


# ---------------------------------------------------------------- runs

def backdoor(arms: Arms, *, pairs: Iterable[Sequence[int]] = PAIRS, names: str = "PLTC",
             seeds: int | None = 3) -> list[Run]:
    """Every arm on each pair (base, target), a tenth of the base class stamped and relabelled, in
    the named worlds."""
    pairs = list(pairs)
    return [world for victim in arms.values()
            for one in instances(victim.with_(attack=BadNets(fraction=FRACTION)), pairs,
                                 seeds=seeds) for world in worlds(one, names)]


def flips(arms: Arms, *, draws: int = 4) -> list[Run]:
    """Every arm in each draw of flipped labels, with its clean twin."""
    return [world for victim in arms.values() for draw in range(draws)
            for world in worlds(victim.with_(attack=LabelFlip(SHARE), attack_seed=draw,
                                             init_seed=draw, noise_seed=draw), "PC")]


# ---------------------------------------------------------------- rows

def of_patch(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of the patch at a tenth of the base class, with arm, instance, clean
    accuracy, lift above that of world T, and the columns of `rows.prepared`."""
    own = frame[frame["attack.name"].eq("badnets")]
    own = own[(rows.optional(own, "attack.fraction").astype(float) - FRACTION).abs().lt(1e-9)]
    measured = rows.measured(own, world=None).reset_index(drop=True)
    found = rows.prepared(own)
    true = twins.of(measured, found, "T", ("lift",))["lift"]
    return _named(found.assign(**{UNIT: rows.unit(found), AGAINST_T: found["lift"] - true}),
                  measured)


def of_flips(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of flipped labels, with arm, instance, clean accuracy and `rad`."""
    own = frame[frame["attack.name"].eq("label_flip")]
    measured = rows.measured(own, world=None).reset_index(drop=True)
    found = goals.parts(measured) if len(measured) else measured.assign(rad=None)
    return _named(found.assign(**{UNIT: found["attack_seed"].astype(str)}), measured)


def _named(found: "DataFrame", measured: "DataFrame") -> "DataFrame":
    clean = twins.of(measured, found, "C", ("accuracy",))["accuracy"]
    return found.assign(**{CLEAN: clean, ARM: [name(row) for _, row in found.iterrows()]})


def name(row: Mapping[str, Any]) -> str:
    """The arm of a row: its defence, and what mixes."""
    own = patching.added(row["training.transforms"])
    parts = [_defence(row), full(practice.arm_of(own), practice.scale_of(own))]
    return WITH.join(part for part in parts if part not in ("", NONE)) or NONE


def full(arm: str, scale: float) -> str:
    """The name of an augmentation with its noise."""
    return f"{arm}, noise {scale:g}/255" if scale else arm


def _defence(row: Mapping[str, Any]) -> str:
    kind = str(row["defence.name"])
    if kind != "dpsgd":
        return LABELS.get(kind, kind)
    if not row["defence.clip"]:
        return ""
    asked = row["defence.epsilon"]
    return f"DP-SGD, ε {asked:g}" if asked == asked and asked is not None else "DP-SGD"


def without(arm: str) -> str:
    """The arm that differs in its mixing alone; a defence that mixes nothing is its own."""
    alone = arm in LABELS.values() or (WITH not in arm and arm.startswith("DP-SGD"))
    return arm if alone else arm.rpartition(WITH)[0] or NONE


def values(found: "DataFrame", arm: str, column: str) -> "Series":
    """One value an instance."""
    own = found[found[ARM].eq(arm)]
    return own[column].astype(float).groupby(own[UNIT]).mean().dropna()


def difference(found: "DataFrame", arm: str, column: str) -> "Series":
    """An arm's value minus that of the arm without its mixing, in the same instance."""
    return (values(found, arm, column) - values(found, without(arm), column)).dropna()


def of_place(frame: "DataFrame") -> "DataFrame":
    """Rows of `table1.nearest` at a tenth of the class in the same columns."""
    own = table1.at(frame, patching.TENTH)
    return own.assign(**{UNIT: rows.unit(own), ARM: own[ARM].replace({patching.MIXUP: TWO})})


def of_matching(frame: "DataFrame") -> "DataFrame":
    """Rows of `practice.nearest` in the same columns; their accuracy is that under attack."""
    return frame.assign(**{UNIT: frame[practice.TRIAL].astype(str), CLEAN: frame["accuracy"], ARM: [
        full(arm, scale) for arm, scale in zip(frame[ARM], frame[SCALE], strict=True)]})
