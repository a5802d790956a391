"""The random-place patch of Borgnia et al. (section 2.1 and appendix A.1): a small random pattern
on training images of the target class, each at a place of its own.

The poison is label-consistent: a stamped image is of the target class and keeps its label. At test
time the same pattern is stamped at random places on images of another class, the victim class.

Two training worlds: P (stamped) and C (clean). The other worlds of `dirty_label` and of clean-label
attacks coincide with these. No label changes, so stamping alone (T) is P, and relabelling alone is
C; no image is made harder to learn before it is stamped, so hardening alone (H) is C.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

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
from lib.data import Labelled
from lib.goals.backdoor import Backdoor

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1
TRAIN_PLACES, TEST_PLACES = 2, 3  # streams of the attack's seed; `permuted` uses 1


@dataclass(frozen=True)
class RandomPatch:
    """Stamp a share of the training images of class `target`.

    base: the victim class, whose stamped test images the attacker wants to be called `target`; None
    for every other class. fraction: share of the target class, rounded down; a smaller fraction
    stamps a subset of a larger one's images, at the same places. size: pixels. The attack seed
    draws the pattern, the images and the places.
    """

    worlds: ClassVar[tuple[str, ...]] = ("P", "C")

    base: int | None = 7
    target: int = 1
    fraction: float = 0.1
    size: int = 4
    stamp: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.base == self.target:
            raise ValueError(f"attack random_patch: base {self.base} is the target too: expected "
                             "two different classes, or base null for all classes but the target")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"attack random_patch: fraction {self.fraction}: expected above 0 and "
                             "at most 1; for the clean set use world C")
        if self.size < 1:
            raise ValueError(f"attack random_patch: size {self.size}: expected 1 pixel or more")

    @property
    def trigger(self) -> "RandomPlace":
        """What stamps test images."""
        return RandomPlace(self.size)

    @property
    def goal(self) -> Backdoor:
        """The goal: stamped images of the victim class are classified as the target."""
        return Backdoor(self.base, self.target, self.trigger)

    @property
    def in_world(self) -> str:
        """P or C, according to the switch."""
        return "P" if self.stamp else "C"

    def world(self, name: str) -> Self:
        """The same attack in another of its worlds."""
        check_world(self, name)
        return replace(self, stamp=name == "P")

    def craft(self, data: Labelled, *, seed: int, lab: "Lab | None" = None) -> Poisoned:
        """Stamp images of the target class; `lab` is not used.

        Raises ValueError for a class that the data set does not have, a fraction that selects no
        image, and a patch that is larger than the images.
        """
        check_classes(data, self.base, self.target)
        if not self.stamp:
            return clean(data.images, data.labels, len(data.classes))
        chosen = self._chosen(data.labels, seed=seed)
        stamped = pasted(data.images[chosen], self.size, seed=seed, stream=TRAIN_PLACES)
        return in_place(data, chosen, images=stamped)

    def _chosen(self, labels: Tensor, *, seed: int) -> Tensor:
        """The records to stamp, int64 [poisons]."""
        pool = permuted((labels == self.target).nonzero().flatten(), seed=seed)
        count = share_of(self.fraction, len(pool))
        if count == 0:
            raise ValueError(f"attack random_patch: fraction {self.fraction} selects none of the "
                             f"{len(pool)} images of class {self.target}: raise the fraction or "
                             "the training size")
        return pool[:count]


@dataclass(frozen=True)
class RandomPlace:
    """The trigger at test time: the pattern of the seed, at a random place in each image."""

    size: int

    def __call__(self, images: Tensor, *, seed: int) -> Tensor:
        """A stamped copy of uint8 `images`."""
        return pasted(images, self.size, seed=seed, stream=TEST_PLACES)


def pattern(size: int, channels: int, *, seed: int) -> Tensor:
    """A pattern of fair coin tosses, uint8 [channels, size, size], 0 or 255.

    One toss for each pixel and channel; the paper says "a Bernoulli distribution", and not whether
    channels share it. Standardised like the images, as in the paper, 0 and 255 are its 0 and 1.
    """
    tosses = np.random.RandomState(seed).randint(0, 2, (channels, size, size))
    return torch.from_numpy((255 * tosses).astype(np.uint8))


def pasted(images: Tensor, size: int, *, seed: int, stream: int) -> Tensor:
    """A copy of uint8 `images` [n, channels, height, width] with the seed's pattern in each, at
    places drawn from a stream of the seed, uniformly, wholly inside.

    Places are drawn image by image, so that the first images keep theirs if others follow.
    """
    triggers.check_images(images)
    channels, height, width = images.shape[1:]
    if size > min(height, width):
        raise ValueError(f"attack random_patch: a patch of {size}x{size} pixels is larger than an "
                         f"image of {height}x{width}: expected a size of at most "
                         f"{min(height, width)}")
    room = [height - size + 1, width - size + 1]
    corners = np.random.RandomState([seed, stream]).randint(0, room, (len(images), 2))
    inside = torch.arange(size)
    rows, columns = (torch.from_numpy(corner)[:, None] + inside for corner in corners.T)
    stamped = images.clone()
    every = torch.arange(len(images))[:, None, None]
    # Advanced indices around a slice put the channels last: [n, size, size, channels].
    stamped[every, :, rows[:, :, None], columns[:, None, :]] = pattern(
        size, channels, seed=seed).to(images.device).permute(1, 2, 0)
    return stamped


Attack = RandomPatch
