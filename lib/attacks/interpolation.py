"""Interpolation: images of one class with images of another one laid over them, as a probe of
feature collision (Hong et al., section 3.1).

Worlds: P, the blends carry the label of the class beneath; T, the same blends carry the label of
the class that they show more of (up to a mixing of a half, T trains as P does); C, no blends.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lib.attacks import Poisoned, appended, check_classes, check_world, clean, permuted
from lib.data import Labelled
from lib.goals.availability import Availability

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1


@dataclass(frozen=True)
class Interpolation:
    """Append `count` blends (1 - mixing) source + mixing other, labelled as the source.

    source, other: classes (0 and 1: dress and coat of fashion-mnist:3-4). mixing: 0 to 1. The seed
    draws the pairs, the same ones for every mixing; a smaller count takes a subset. append,
    relabel: the two switches that make the worlds.
    """

    worlds: ClassVar[tuple[str, ...]] = ("P", "T", "C")

    source: int = 0
    other: int = 1
    mixing: float = 1.0
    count: int = 100
    append: bool = True
    relabel: bool = True

    def __post_init__(self) -> None:
        if self.source == self.other:
            raise ValueError(f"attack source {self.source} equals other: expected two different "
                             "classes")
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"attack mixing {self.mixing}: expected 0 to 1")
        if self.count < 1:
            raise ValueError(f"attack count {self.count}: expected 1 or more")

    @property
    def goal(self) -> Availability:
        """Lower accuracy on everything."""
        return Availability()

    @property
    def in_world(self) -> str:
        """P, T or C, according to the switches."""
        return "C" if not self.append else "P" if self.relabel else "T"

    def world(self, name: str) -> "Interpolation":
        """The same attack with its switches set for the named world."""
        check_world(self, name)
        return replace(self, append=name != "C", relabel=name != "T")

    def craft(self, data: Labelled, *, seed: int, lab: "Lab | None" = None) -> Poisoned:
        """Append the blends; `lab` is not used.

        Raises ValueError for a class that the data set does not have, or that has too few images.
        """
        check_classes(data, self.source, self.other)
        if not self.append:
            return clean(data.images, data.labels, len(data.classes))
        beneath, above = self.pairs(data.labels, seed=seed)
        images = self.blend(data.images[beneath], data.images[above])
        shown = torch.full((self.count,), self.other if self.mixing > 0.5 else self.source)
        labels = torch.full((self.count,), self.source) if self.relabel else shown
        return appended(data, images, labels, truth=shown)

    def pairs(self, labels: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        """Places of the images beneath and of those laid over them, int64 [count] each."""
        return (self._drawn(labels, self.source, seed=2 * seed),
                self._drawn(labels, self.other, seed=2 * seed + 1))

    def _drawn(self, labels: Tensor, name: int, *, seed: int) -> Tensor:
        found = (labels == name).nonzero().flatten()
        if len(found) < self.count:
            raise ValueError(f"attack count {self.count}: class {name} has {len(found)} training "
                             f"images; expected 1 to {len(found)}")
        return permuted(found, seed=seed)[:self.count]

    def blend(self, beneath: Tensor, above: Tensor) -> Tensor:
        """The blends of uint8 images, rounded to whole grey levels."""
        mixed = (1 - self.mixing) * beneath.float() + self.mixing * above.float()
        return mixed.round().to(torch.uint8)


Attack = Interpolation
