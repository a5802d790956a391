"""A run as plain values: the argument, the cache key and the row of the result table."""

import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from lib import parts, typed
from lib.attacks import Attack
from lib.attacks.badnets import BadNets
from lib.defences import Defence
from lib.defences.dpsgd import DPSGD
from lib.training import Training
from lib.training.transforms import Transform

SPLITS = ("test", "tune", *(f"tune-{tenth}" for tenth in range(2, 11)))
CHOICES = {"precision": ("float32", "fast"), "split": SPLITS}


@dataclass(frozen=True)
class Run:
    """One training of one network on one attacked data set, and its measurement.

    dataset: a name in `lib.data`. train_size, test_size: use only this many of the first images
    (None: all). public: how many of the first training images are public; the victim trains on the
    rest. features: "none" (pixels) or a name in `lib.features`. model: a name in `lib.models`.
    precision: "float32" or "fast" (`lib.training.Schedule`). split: "test" measures on the test
    set; "tune" holds out the last tenth of the private images and measures on it, "tune-2" to
    "tune-10" the second to tenth from last. attack_seed draws the trigger and the poisoned records,
    init_seed the initial weights and batches, noise_seed the defence's noise. start: another run,
    from whose last weights this one starts. scores: keep the logits of every test image and case in
    a file beside the row. maps: keep the decision map of a model of the plane at each point of its
    path (`lib.study.maps`). anatomy: compare gradients of poison and clean records at each point of
    the path (`study.anatomy`). losses: keep quartiles of the training losses of clean records, of
    poisons, and of poisons without their trigger at each point (`study.training_losses`).

    Never change a default: a key leaves out fields at their defaults, so old keys rely on them.
    """

    dataset: str = "strokes"
    train_size: int | None = None
    test_size: int | None = None
    public: int = 0
    features: str = "none"
    model: str = "cnn"
    attack: Attack = field(default_factory=BadNets)
    defence: Defence = field(default_factory=lambda: DPSGD(noise_multiplier=0.0, clip=False))
    training: Training = field(default_factory=Training)
    precision: str = "float32"
    split: str = "test"
    attack_seed: int = 0
    init_seed: int = 0
    noise_seed: int = 0
    start: "Run | None" = None
    scores: bool = False
    maps: bool = False
    anatomy: bool = False
    losses: bool = False

    def __post_init__(self) -> None:
        typed.check(self, "run")
        for name in ("attack", "defence", "training"):
            typed.check(getattr(self, name), name)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"run {name} {getattr(self, name)!r}: expected one of "
                                 f"{', '.join(choices)}")
        if self.public < 0:
            raise ValueError(f"run public {self.public}: expected 0 or more images")

    def to_dict(self) -> dict[str, Any]:
        """The run as nested plain values, with the names of its parts; inverse of `from_dict`."""
        return parts.plain(self)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of canonical JSON: the run without fields at their defaults, and the versions
        of every part that its result depends on."""
        own = parts.sparse(self)
        if self.start is not None:
            own["start"] = self.start.key
        return parts.digest({"run": own, "versions": versions(self)})

    @functools.cached_property
    def twin(self) -> str:
        """The key of the same run in the attacked world, equal for runs that differ only in their
        world."""
        return self.in_world(self.attack.worlds[0]).key

    def in_world(self, name: str) -> "Run":
        """The same run in another training world of its attack."""
        return replace(self, attack=self.attack.world(name))

    def with_(self, **changes: Any) -> "Run":
        """A copy with changed fields, nested ones by a double underscore:
        `with_(attack__fraction=0.5)`."""
        nested: dict[str, dict] = {}
        for name in [name for name in changes if "__" in name]:
            part, _, inner = name.partition("__")
            nested.setdefault(part, {})[inner] = changes.pop(name)
        for part, inner in nested.items():
            changes[part] = replace(changes.get(part, getattr(self, part)), **inner)
        return replace(self, **changes)


def from_dict(values: dict) -> Run:
    """Build a run from plain values (a row, a YAML file).

    Raises ValueError for an unknown key or a wrong type.
    """
    return typed.build(Run, values, "run")


def grid(base: Run, **axes: Iterable) -> list[Run]:
    """Every combination of the axes:
    `grid(run, defence__noise_multiplier=[0, 1], init_seed=range(3))` returns six runs."""
    names, values = list(axes), [list(axis) for axis in axes.values()]
    return [base.with_(**dict(zip(names, combination, strict=True)))
            for combination in itertools.product(*values)]


def versions(run: Run) -> Mapping[str, Any]:
    """The versions of the parts that a run uses: set by hand, or the hash of a user's own file.

    Optional parts appear only if the run uses them, so that new parts leave existing keys as they
    are.
    """
    from lib import data, features, goals, metrics, models, privacy, training
    found = {"data": data.VERSION, "training": training.VERSION, "privacy": privacy.VERSION,
             "metrics": metrics.VERSION, "goal": goals.module(run.attack.goal.name).VERSION,
             "attack": parts.version(run.attack), "defence": parts.version(run.defence),
             "model": models.version(run.model)}
    if run.features != "none":
        found["features"] = features.VERSION
    if run.dataset.startswith("imagefolder:"):
        found["images"] = data.load(run.dataset).digest
    crafting = {item.name: getattr(run.attack, item.name) for item in fields(run.attack)}
    if is_dataclass(hardening := crafting.get("hardening")):
        crafting |= {item.name: getattr(hardening, item.name) for item in fields(hardening)}
    surrogate = crafting.get("model")
    if isinstance(surrogate, str):
        found["surrogate"] = models.version(surrogate)
    guarding = {item.name: getattr(run.defence, item.name) for item in fields(run.defence)}
    detector = guarding.get("model")
    if isinstance(detector, str):
        found["detector"] = models.version(detector)
    own = [*crafting.values(), *guarding.values()]
    used = [transform for settings in (run.training, *own) if isinstance(settings, Training)
            for transform in settings.transforms]
    used += [each for value in own if isinstance(value, tuple)
             for each in value if isinstance(each, Transform)]
    return found | ({"transforms": [parts.version(each) for each in used]} if used else {})
