"""Dirty-label attacks: stamp a trigger on some training images and give them the target's label.

Stamping and relabelling are separate switches on the same records, which gives four training
worlds: P (both), L (relabelled only), T (stamped only) and C (neither).
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from torch import Tensor

from lib.attacks import Poisoned, check_classes, check_world, clean, in_place, permuted
from lib.attacks.triggers import Trigger
from lib.data import Labelled
from lib.goals.backdoor import Backdoor, attacked

if TYPE_CHECKING:
    from lib.lab import Lab

SWITCHES = {"P": (True, True), "L": (False, True), "T": (True, False), "C": (False, False)}


@dataclass(frozen=True)
class DirtyLabel:
    """What dirty-label attacks share. A subclass adds its fields and defines two things:

    `trigger(images, *, seed) -> images` (a method, or a property that returns a `Trigger`), and
    `victims(labels, *, seed) -> int64 [poisons]`, the records to attack, preferably in the order of
    `candidates`. base: the attacked class; None for every class but the target. stamp, relabel: the
    two switches. Raises ValueError if base equals target.
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)

    base: int | None = 7
    target: int = 1
    stamp: bool = field(default=True, kw_only=True)
    relabel: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.base == self.target:
            raise ValueError(f"attack base {self.base} equals the target: expected two different "
                             "classes, or base null for all classes but the target")

    @property
    def trigger(self) -> Trigger:
        """What stamps an image, for training and for testing."""
        raise NotImplementedError(f"{type(self).__name__} defines no trigger")

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """The records to attack, int64 [poisons]."""
        raise NotImplementedError(f"{type(self).__name__} defines no victims")

    def unstamped(self, images: Tensor) -> Tensor | None:
        """What world L shows in place of the victims' images; None for the images themselves."""
        return None

    def candidates(self, labels: Tensor, *, seed: int) -> Tensor:
        """All records that may be attacked, int64, in the order in which to attack them."""
        pool = attacked(labels, base=self.base, target=self.target).nonzero().flatten()
        return permuted(pool, seed=seed)

    @property
    def poisons_nothing(self) -> bool:
        """Whether the attack's strength is 0, so that every world is the clean one."""
        return False

    @property
    def goal(self) -> Backdoor:
        """The goal: stamped images of the attacked classes are classified as the target."""
        return Backdoor(self.base, self.target, self.trigger)

    @property
    def in_world(self) -> str:
        """P, L, T or C, according to the switches."""
        switches = (False, False) if self.poisons_nothing else (self.stamp, self.relabel)
        return next(name for name, found in SWITCHES.items() if found == switches)

    def world(self, name: str) -> Self:
        """The same attack with its switches set for the named world."""
        check_world(self, name)
        stamp, relabel = SWITCHES[name]
        return replace(self, stamp=stamp, relabel=relabel)

    def craft(self, data: Labelled, *, seed: int, lab: "Lab | None" = None) -> Poisoned:
        """Stamp the victims, relabel them, or both; `lab` is not used.

        Raises ValueError for a class that the data set does not have.
        """
        check_classes(data, self.base, self.target)
        if self.in_world == "C":
            return clean(data.images, data.labels, len(data.classes))
        victims = self.victims(data.labels, seed=seed)
        own = data.images[victims]
        images = self.trigger(own, seed=seed) if self.stamp else self.unstamped(own)
        return in_place(data, victims, images=images, labels=self.target if self.relabel else None)
