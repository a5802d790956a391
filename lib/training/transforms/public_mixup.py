"""Mixup of a record with public images, whose labels are public too.

A mix holds one private record and `width` - 1 public ones, so that its gradient depends on one
private record alone. DP-SGD clips that gradient: the sensitivity, and with it epsilon, stays (Bao
et al. 2023, arXiv 2311.01295, DP-Mix-Diff, who mix generated public images). The guarantee is of
the private records alone: nothing is promised to those of the public ones.

Labels of public records enter as they are, without label smoothing. They must be classes: the log-
likelihoods of randomised labels (ALIBI's evidence) have no counterpart for labels that are known.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib.training.batches import as_input
from lib.training.transforms import whole

VERSION = 1
UNBOUND = ("transform public_mixup: no public images: expected a run with public above 0, and a "
           "defence that trains one model on the private records")


@dataclass(frozen=True)
class PublicMixup:
    """width: images in a mix, one of them private, with equal weights."""

    mixes: ClassVar[str] = "public"

    width: int = 2

    def __post_init__(self) -> None:
        whole("public_mixup", "width", self.width, least=2)

    def with_public(self, images: Tensor, labels: Tensor) -> "Bound":
        """The transform with what it mixes in: inputs [n, channels, height, width] and their
        classes int64 [n]. ValueError without any."""
        if not len(images):
            raise ValueError(UNBOUND)
        return Bound(self.width, images, labels)

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Refuse: `with_public` comes first."""
        raise ValueError(UNBOUND)

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Refuse: `with_public` comes first."""
        raise ValueError(UNBOUND)


@dataclass(frozen=True, eq=False)
class Bound:
    """`PublicMixup` with its public images and labels."""

    mixes: ClassVar[str] = "public"

    width: int
    images: Tensor
    labels: Tensor

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Places of public records [count, width - 1], uniform and with repeats, so that a mix's
        draw depends on no other record of the batch."""
        places = torch.randint(len(self.images), (count, self.width - 1), generator=random,
                               device=random.device)
        return {"public": places}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The mean of each image and of its public ones; the same of their labels."""
        seen, told = x, labels
        classes = torch.arange(labels.shape[2], device=labels.device)
        for places in draws["public"].unbind(2):
            # index_select on a flat index is faster than indexing with a matrix.
            images = self.images.index_select(0, places.flatten()).unflatten(0, places.shape)
            seen = seen + as_input(images)
            # Not `one_hot`, whose checks wait for the device.
            told = told + (self.labels[places][..., None] == classes)
        return seen / self.width, told / self.width


Transform = PublicMixup
