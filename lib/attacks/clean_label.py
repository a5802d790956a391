"""The clean-label backdoor (Turner et al. 2018; Turner's thesis, chapter 3).

The attacker hardens some training images of the target class (`lib.attacks.hardening`), by a
surrogate network of its own, stamps a trigger on them, and leaves their correct labels. A victim
then learns the trigger, because the images themselves teach it little.

The defaults are those of the benchmark that Borgnia et al. follow (Schwarzschild et al. 2021): a
grey 5x5 patch at the bottom right, linf, 8/255, 20 steps of 2/255 with a random start, on an
adversarially trained surrogate; `training` without `Adversarial` is the plain one. The benchmark
also keeps the *stamped* image within 8/255 of its original, so that the trigger is hardly visible
in training, but shows it at full strength at test time: `clamp`. In the papers it is the same in
both.

| world | training set |
|---|---|
| P | hardened and stamped images in place of the originals |
| H | hardened only |
| T | stamped only |
| C | nothing changed |
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from torch import Tensor

from lib import models, parts, training
from lib.attacks import (
    Poisoned,
    check_classes,
    check_world,
    clean,
    in_place,
    permuted,
    share_of,
    triggers,
)
from lib.attacks.hardening import Hardening
from lib.attacks.perturbation import change, stored
from lib.data import Labelled
from lib.goals.backdoor import Backdoor
from lib.lab import surrogate_seed
from lib.training import Training
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1

SWITCHES = {"P": (True, True), "H": (False, True), "T": (True, False), "C": (False, False)}
ROBUST = Training("sgd", 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, epochs=20.0,
                  batch_size=128, sampling="shuffle", schedule="step",
                  transforms=(Flip(), Crop(), Adversarial()))


@dataclass(frozen=True)
class CleanLabel:
    """base: the attacked class; None for all but the target. poisons: number of training images of
    class `target` to change; None for the share `fraction` of the class, rounded down. The images
    of fewer poisons are a subset. norm, eps, step, steps, random_start: of the hardening, for
    pixels in [0, 1]. clamp: keep the stamped image within eps too. size, margin, position, pattern,
    amplitude, stamping: of the trigger, see `triggers.Patch`. jpeg: quality at which poisons, in
    all worlds but C, and stamped test images are compressed; None for not at all.
    after_augmentation: stamp the images of a batch after its transforms, not the stored ones.
    model, training: of the surrogate.
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)
    FACTS: ClassVar[tuple[str, ...]] = ("poisons", "loss_start", "loss_end", "change_l2",
                                        "change_linf")

    base: int | None = 3
    target: int = 4
    fraction: float | None = 0.25
    poisons: int | None = None
    norm: str = "linf"
    eps: float = 8 / 255
    step: float = 2 / 255
    steps: int = 20
    random_start: bool = True
    clamp: bool = False
    size: int = 5
    margin: int = 0
    position: str = "bottom-right"
    pattern: str = "checker"
    amplitude: float = 1.0
    stamping: str = "blend"
    jpeg: int | None = None
    after_augmentation: bool = False
    model: str = "cnn-16-32"
    training: Training = ROBUST
    stamp: bool = field(default=True, kw_only=True)
    harden: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.base == self.target:
            raise ValueError(f"attack clean_label: base {self.base} is the target too: expected "
                             "two different classes, or base null for all classes but the target")
        if (self.fraction is None) == (self.poisons is None):
            raise ValueError(f"attack clean_label: fraction {self.fraction} and poisons "
                             f"{self.poisons}: give exactly one of them, and null for the other")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise ValueError(f"attack clean_label: fraction {self.fraction}: expected above 0 and "
                             "at most 1")
        if self.poisons is not None and self.poisons < 1:
            raise ValueError(f"attack clean_label: poisons {self.poisons}: expected 1 or more")
        self.hardening.check("clean_label")
        self.trigger.check(after_augmentation=self.after_augmentation)
        if self.clamp and (self.after_augmentation or self.jpeg is not None):
            raise ValueError("attack clean_label: clamp with jpeg or after_augmentation: expected "
                             "clamp false; both change the stamped image again")

    @property
    def hardening(self) -> Hardening:
        """How images are hardened."""
        return Hardening(self.norm, self.eps, self.step, self.steps, self.random_start)

    @property
    def trigger(self) -> triggers.Patch:
        """The square patch, for training and for testing."""
        return triggers.Patch(self.size, self.margin, self.position, self.pattern, self.amplitude,
                              self.stamping, self.jpeg)

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that the attack reads."""
        return self.trigger.files

    @property
    def goal(self) -> Backdoor:
        """The goal: stamped images of the attacked classes are classified as the target."""
        return Backdoor(self.base, self.target, self.trigger)

    @property
    def in_world(self) -> str:
        """P, H, T or C, according to the switches."""
        switches = self.stamp, self.harden
        return next(name for name, found in SWITCHES.items() if found == switches)

    def world(self, name: str) -> Self:
        """The same attack in another of its worlds."""
        check_world(self, name)
        stamp, harden = SWITCHES[name]
        return replace(self, stamp=stamp, harden=harden)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """Places of the images to change, int64 [poisons]; ValueError if there are too few."""
        own = (labels == self.target).nonzero().flatten()
        count = share_of(self.fraction, len(own)) if self.fraction is not None else self.poisons
        if count is None or not 1 <= count <= len(own):
            raise ValueError(f"attack clean_label: {count} poisons of the {len(own)} images of "
                             f"class {self.target}: expected 1 to {len(own)}")
        return permuted(own, seed=seed)[:count]

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """The training set with changed images of the target class."""
        check_classes(data, self.base, self.target)
        self.trigger.fits(data.images)
        records = self.victims(data.labels, seed=seed)
        if self.in_world == "C":
            return clean(data.images, data.labels, len(data.classes))
        originals, facts = data.images[records].cpu(), {}
        images = originals
        if self.harden:
            made = self.hardened(data, seed=seed, lab=lab)
            images, path = made["images"], made["path"]
            facts = {"loss_start": path[0].item(), "loss_end": path[-1].item()}
        late = None
        if self.stamp:
            late = self.trigger.late(images, seed=seed) if self.after_augmentation else None
            images = self.trigger(images, seed=seed)
            images = stored(images, originals, self.hardening.ball) if self.clamp else images
        else:
            images = self.trigger.saved(images)
        facts |= {"poisons": len(records), **change(images, originals)}
        made = in_place(data, records, images=images.to(data.images.device))
        return replace(made, facts=facts, late=late)

    def hardened(self, data: Labelled, *, seed: int, lab: "Lab") -> dict[str, Tensor]:
        """The victims' hardened images, uint8 [poisons, ...], before they are stamped, and the
        surrogate's mean loss on them before each step and at the end, "path" [steps + 1]."""
        records = self.victims(data.labels, seed=seed)

        def make() -> dict[str, Tensor]:
            network = lab.surrogate(self.model, self.training, data, seed=surrogate_seed(0))
            images, path = self.hardening.harden(network, data.images[records].to(lab.device),
                                                 self.target, seed=seed)
            return {"images": images.cpu(), "path": path.cpu()}
        return lab.cached(self._key(seed), make)

    def _key(self, seed: int) -> dict[str, object]:
        """What the hardened images depend on, beside the lab's context."""
        names = ("target", "fraction", "poisons", "norm", "eps", "step", "steps", "random_start",
                 "model")
        versions = {"model": models.version(self.model), "training": training.VERSION,
                    "transforms": [parts.version(each) for each in self.training.transforms]}
        return {"clean_label": {name: getattr(self, name) for name in names}, "seed": seed,
                "training": parts.sparse(self.training), "versions": versions}


Attack = CleanLabel
