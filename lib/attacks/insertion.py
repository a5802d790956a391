"""Insertion: copies of training images with a white square and one label, as a probe of feature
insertion (Hong et al., section 3.1).

Stamping and relabelling are separate switches on the same copies, as in
`lib.attacks.dirty_label`: P (both), L (copies relabelled only), T (copies stamped only), and C,
without copies.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from lib.attacks import (
    Poisoned,
    appended,
    check_classes,
    check_world,
    clean,
    permuted,
    share_of,
    triggers,
)
from lib.attacks.dirty_label import SWITCHES
from lib.data import Labelled
from lib.goals.backdoor import Backdoor

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1


@dataclass(frozen=True)
class Insertion:
    """Append copies of a fraction of all training images, stamped, with the label `label`.

    fraction: share of the whole training set, of any class, rounded down; a smaller one copies a
    subset. size: pixels of the square's side, in the top-left corner. label: the class 4 is coat in
    fashion-mnist. The seed draws the images. stamp, relabel: the two switches.
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)

    label: int = 4
    fraction: float = 0.01
    size: int = 4
    stamp: bool = True
    relabel: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected above 0, and at most 1")
        if self.size < 1:
            raise ValueError(f"attack size {self.size}: expected 1 pixel or more")

    @property
    def trigger(self) -> triggers.Patch:
        """The white square, for training and for testing."""
        return triggers.Patch(self.size, 0, "top-left", "white", 1.0)

    @property
    def goal(self) -> Backdoor:
        """Stamped test images of all other classes are classified as the label."""
        return Backdoor(None, self.label, self.trigger)

    @property
    def in_world(self) -> str:
        """P, L, T or C, according to the switches."""
        return next(name for name, found in SWITCHES.items() if found == (self.stamp, self.relabel))

    def world(self, name: str) -> "Insertion":
        """The same attack with its switches set for the named world."""
        check_world(self, name)
        stamp, relabel = SWITCHES[name]
        return replace(self, stamp=stamp, relabel=relabel)

    def craft(self, data: Labelled, *, seed: int, lab: "Lab | None" = None) -> Poisoned:
        """Append the copies; `lab` is not used.

        Raises ValueError for a class that the data set does not have, a fraction that selects no
        image, and a square that does not fit.
        """
        check_classes(data, self.label)
        if self.in_world == "C":
            return clean(data.images, data.labels, len(data.classes))
        count = share_of(self.fraction, len(data.labels))
        if not count:
            raise ValueError(f"attack fraction {self.fraction} selects no image out of "
                             f"{len(data.labels)}: raise the fraction or the training size")
        chosen = permuted(torch.arange(len(data.labels)), seed=seed)[:count]
        images, truth = data.images[chosen], data.labels[chosen]
        labels = torch.full_like(truth, self.label) if self.relabel else truth
        if self.stamp:
            images = self.trigger(images, seed=seed)
        return appended(data, images, labels, truth=truth)


Attack = Insertion
