"""The runs of table 1: a random-place patch on a share of one class, and what is to stop it.

An instance is a pair of classes (victim, target) with a pattern, patched images and places of its
own. The paper has 20 pairs and does not name them; `PAIRS` is a rule fixed beforehand, in which
each class is once the victim and once the target. Every run has its clean twin (world C).

The victim's network and training are a run without attack and defence, to which each arm adds one
thing. Beside the paper's arms stand deepKNN, the "DP-SGD" on batch means that the paper tries on
other attacks, and per-sample DP-SGD with the same noise on the mean gradient.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lib import parts
from lib.attacks.random_patch import RandomPatch
from lib.defences.activation_clustering import ActivationClustering
from lib.defences.batch_clipping import BatchClipping
from lib.defences.deep_knn import DeepKNN
from lib.defences.dpsgd import DPSGD
from lib.defences.spectral_signatures import SpectralSignatures
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.training.transforms import Transform
from lib.training.transforms.cutmix import CutMix
from lib.training.transforms.mixup import Mixup

PAIRS = ((0, 8), (1, 9), (2, 4), (3, 5), (4, 7), (5, 2), (6, 3), (7, 0), (8, 1), (9, 6))
TENTH, ALL = 0.1, 1.0  # shares of the target class that are patched
NONE, CUTMIX, MIXUP = "no defence", "CutMix", "mixup"
SPECTRAL, CLUSTERING, NEIGHBOURS = "spectral signatures", "activation clustering", "deepKNN"
FILTERS = (SPECTRAL, CLUSTERING, NEIGHBOURS)
MIXES: Mapping[str, CutMix | Mixup] = {
    CUTMIX: CutMix(), MIXUP: Mixup(),
    "mixup, random weights": Mixup(weights="dirichlet"),  # as released, and in Zhang et al.
    "4-way mixup": Mixup(4),
}
AUGMENTATIONS = ("crop", "flip")  # of every victim, which name no arm

Arms = Mapping[str, Run]


# ---------------------------------------------------------------- arms

def mixing(victim: Run, names: Iterable[str] = (CUTMIX, MIXUP)) -> Arms:
    """The victim without a defence, and with each of these `MIXES` after its own augmentations."""
    own = victim.training.transforms
    return {NONE: victim} | {
        name: victim.with_(training__transforms=(*own, MIXES[name])) for name in names}


def filters(victim: Run, poisons: int) -> Arms:
    """The filters as the paper sets them, told how many poisons there are."""
    return {SPECTRAL: victim.with_(defence=SpectralSignatures(poisons)),
            CLUSTERING: victim.with_(defence=ActivationClustering()),
            NEIGHBOURS: victim.with_(defence=DeepKNN(2 * poisons))}


def shorter(victim: Run, epochs: Iterable[float]) -> Arms:
    """The undefended victim, trained for fewer epochs: what to compare a defence with that costs
    accuracy."""
    return {f"{NONE}, {count:g} epochs": victim.with_(training__epochs=count) for count in epochs}


def poisons(records: int, *, share: float = TENTH, classes: int = 10) -> int:
    """Poisons in a share of one of `classes` equal classes."""
    return round(share * records / classes)


def noisy(victim: Run, noise: float = 0.01, *, private: Mapping[str, Any] | None = None) -> Arms:
    """Clipping and noise at norm 1: on the batch's mean gradient, and on each record's own.

    Both add noise of deviation `noise` to every coordinate of the mean gradient of a batch, so that
    the noise multiplier of the second is noise x batch size. private: changes of the second, as
    `Run.with_` takes them (a network without batch normalisation, a learning rate).
    """
    changed = victim.with_(training__sampling="poisson", **(private or {}))
    multiplier = noise * changed.training.batch_size
    from lib.study.table import flatten  # it needs pandas, which training does not

    found = [victim.with_(defence=BatchClipping(noise)), changed.with_(defence=DPSGD(multiplier))]
    return {name(flatten(run)): run for run in found}


# ---------------------------------------------------------------- runs

def runs(arms: Arms, *, pairs: Iterable[Sequence[int]] = PAIRS,
         shares: Iterable[float] = (TENTH, ALL), seeds: int | None = 3, size: int = 4
         ) -> list[Run]:
    """Every arm on each pair (victim, target) at each patched share: attacked (P) and clean (C).

    Filters are left out where the whole class is patched: what they could keep is poison too.
    """
    pairs = list(pairs)
    return [world for share in shares for arm, victim in arms.items()
            if share < ALL or arm not in FILTERS
            for one in instances(victim.with_(attack=RandomPatch(fraction=share, size=size)),
                                 pairs, seeds=seeds) for world in worlds(one, "PC")]


# ---------------------------------------------------------------- names

def name(values: Mapping[str, Any], known: Mapping[str, str] | None = None) -> str:
    """The arm of a run from its columns (a row of `study.run`): its mixing, and its defence.

    known: names of transforms by their `told` text; by default those of `MIXES`.
    """
    known = KNOWN if known is None else known
    mixes = [known.get(one, one) for one in added(values["training.transforms"])]
    return " + ".join([*mixes, *_defence(values)]) or NONE


def added(transforms: Iterable[str]) -> tuple[str, ...]:
    """Of the transforms in a row's column, those that are not every victim's."""
    return tuple(one for one in map(str, transforms) if one.split()[0] not in AUGMENTATIONS)


def told(transform: Transform) -> str:
    """A transform as rows tell it: its name and its settings."""
    return " ".join(map(str, parts.plain(transform).values()))


KNOWN = {told(transform): name for name, transform in MIXES.items()}


def _defence(values: Mapping[str, Any]) -> list[str]:
    """The name of a row's defence; none for plain training."""
    kind = values["defence.name"]
    if kind == "dpsgd":
        return _private(values) if values["defence.clip"] else []
    if kind == "batch_clipping":
        return [f"batch clipping, noise {values['defence.noise']:g}"]
    if kind == "spectral_signatures":
        first = (_given(values["defence.percentile"])
                 or values["defence.classes"] != "all")
        return [SPECTRAL + (", as first published" if first else "")]
    if kind == "activation_clustering":
        count = int(values["defence.components"])
        return [CLUSTERING + (f", {count} components" if count else "")]
    return [NEIGHBOURS if kind == "deep_knn" else str(kind)]


def _private(values: Mapping[str, Any]) -> list[str]:
    z = values["defence.noise_multiplier"]
    if not _given(z):
        return [f"DP-SGD, ε {values['defence.epsilon']:g}"]
    return [f"DP-SGD, z {z:g}" if z else "clipping"]


def _given(value: object) -> bool:
    """Whether a cell of a table holds a value: neither None nor NaN."""
    return value is not None and value == value
