"""The clean-label backdoor (Turner et al. 2018; Turner's thesis, chapter 3).

The attacker hardens some training images of the target class by a method of
`lib.attacks.hardening`, stamps a trigger on them, and leaves their correct labels. A victim then
learns the trigger, because the images themselves teach it little.

The defaults are those of the benchmark that Borgnia et al. follow (Schwarzschild et al. 2021): a
grey 5x5 patch at the bottom right, and hardening within 8/255 in linf by an adversarially trained
surrogate. The benchmark also keeps the *stamped* image within 8/255 of its original, so that the
trigger is hardly visible in training, but shows it at full strength at test time: `clamp`. In the
papers it is the same in both.

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

from lib import parts
from lib.attacks import (
    Poisoned,
    check_classes,
    check_world,
    clean,
    hardening,
    in_place,
    permuted,
    share_of,
    triggers,
)
from lib.attacks.hardening import Hardening, Scene
from lib.attacks.hardening.pgd import PGD
from lib.attacks.perturbation import change, stored
from lib.data import Labelled
from lib.goals.backdoor import Backdoor

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 2

SWITCHES = {"P": (True, True), "H": (False, True), "T": (True, False), "C": (False, False)}


@dataclass(frozen=True)
class CleanLabel:
    """base: the attacked class; None for all but the target. poisons: number of training images of
    class `target` to change; None for the share `fraction` of the class, rounded down. The images
    of fewer poisons are a subset. hardening: the method, in YAML {name: pgd, eps: 0.1}. clamp: keep
    the stamped image within the method's bound too. size, margin, position, pattern, amplitude,
    stamping: of the trigger, see `triggers.Patch`. jpeg: quality at which poisons, in all worlds
    but C, and stamped test images are compressed; None for not at all. after_augmentation: stamp
    the images of a batch after its transforms, not the stored ones.
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)

    base: int | None = 3
    target: int = 4
    fraction: float | None = 0.25
    poisons: int | None = None
    hardening: Hardening = field(default_factory=PGD)
    clamp: bool = False
    size: int = 5
    margin: int = 0
    position: str = "bottom-right"
    pattern: str = "checker"
    amplitude: float = 1.0
    stamping: str = "blend"
    jpeg: int | None = None
    after_augmentation: bool = False
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
        object.__setattr__(self, "hardening", hardening.build(self.hardening))
        self.hardening.check(target=self.target)
        if self.clamp and self.hardening.ball is None:
            raise ValueError(f"attack clean_label: clamp with hardening "
                             f"{parts.name_of(self.hardening)}, which has no bound: expected pgd")
        self.trigger.check(after_augmentation=self.after_augmentation)
        if self.clamp and (self.after_augmentation or self.jpeg is not None):
            raise ValueError("attack clean_label: clamp with jpeg or after_augmentation: expected "
                             "clamp false; both change the stamped image again")

    @property
    def FACTS(self) -> tuple[str, ...]:
        """The names of the numbers for the row."""
        return ("poisons", "change_l2", "change_linf", *self.hardening.FACTS)

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
        order = self.order(labels, seed=seed)
        count = share_of(self.fraction, len(order)) if self.fraction is not None else self.poisons
        if count is None or not 1 <= count <= len(order):
            raise ValueError(f"attack clean_label: {count} poisons of the {len(order)} images of "
                             f"class {self.target}: expected 1 to {len(order)}")
        return order[:count]

    def order(self, labels: Tensor, *, seed: int) -> Tensor:
        """Places of all images of the target class, in the order in which they are taken."""
        return permuted((labels == self.target).nonzero().flatten(), seed=seed)

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
            images, facts = made["images"], self.hardening.facts(
                made, self.scene(data, seed=seed, lab=lab))
        late = None
        if self.stamp:
            late = self.trigger.late(images, seed=seed) if self.after_augmentation else None
            images = self.trigger(images, seed=seed)
            if self.clamp and self.hardening.ball is not None:
                images = stored(images, originals, self.hardening.ball)
        else:
            images = self.trigger.saved(images)
        facts |= {"poisons": len(records), **change(images, originals)}
        changed = in_place(data, records, images=images.to(data.images.device))
        return replace(changed, facts=facts, late=late)

    def hardened(self, data: Labelled, *, seed: int, lab: "Lab") -> dict[str, Tensor]:
        """The victims' hardened images, uint8 [poisons, ...], before they are stamped: "images";
        and what else the method keeps of each of them."""
        return hardening.hardened(self.hardening, self.scene(data, seed=seed, lab=lab),
                                  self.order(data.labels, seed=seed),
                                  len(self.victims(data.labels, seed=seed)))

    def scene(self, data: Labelled, *, seed: int, lab: "Lab") -> Scene:
        """What the method hardens."""
        return Scene(data, self.target, seed, lab)


Attack = CleanLabel
