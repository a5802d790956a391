"""Views of each image for frozen features: flips and crops, one of which each visit uses.

A frozen network costs far more than a step of the head on its features, so each image has a bank of
a few views, whose features are computed once. A record is all of its views: they are functions of
its image alone (the places of the crops follow from a hash of its pixels), and a visit uses one of
them. So one record still contributes one clipped gradient, and DP-SGD's sensitivity and epsilon
stay.

A trigger is stamped on the image before its views are made, so that flips and crops move it and may
cut it. Test images are classified as they are: no view of them is used.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lib.training.transforms import NO_VIEWS, whole
from lib.training.transforms.crop import Crop

VERSION = 1
UNBOUND = f"transform view: {NO_VIEWS}"


@dataclass(frozen=True)
class View:
    """One view of each record, drawn anew for each visit.

    crops: random crops of an image, as `Crop` with `padding` cuts them. flip: whether each crop is
    also there mirrored.
    """

    mixes: ClassVar[str] = "views"

    crops: int = 2
    padding: int = 2
    flip: bool = True

    def __post_init__(self) -> None:
        whole("view", "crops", self.crops, least=1)
        whole("view", "padding", self.padding, least=1)
        if self.count < 2:
            raise ValueError("transform view: crops 1 without flip is a single view: expected 2 "
                             "crops or more, or flip true")

    @property
    def count(self) -> int:
        """The number of views of an image."""
        return self.crops * (2 if self.flip else 1)

    def views(self, images: Tensor) -> list[Tensor]:
        """Every view of uint8 images [n, channels, height, width], one tensor like them a view."""
        corners = corners_of(images, self.crops, 2 * self.padding + 1)
        crop, found = Crop(self.padding), []
        for place in range(self.crops):
            draws = {"corner": corners[None, :, place]}
            cut = crop.apply(images[None], images.new_empty(0), draws)[0][0]
            found += [cut, cut.flip(-1)] if self.flip else [cut]
        return found

    def bank(self) -> "Bank":
        """The transform for records whose views the inputs hold."""
        return Bank(self.count)

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Refuse: `bank` comes first."""
        raise ValueError(UNBOUND)

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Refuse: `bank` comes first."""
        raise ValueError(UNBOUND)


@dataclass(frozen=True)
class Bank:
    """`View` of records whose views lie in the pool, see `transforms.Versioned`."""

    mixes: ClassVar[str] = "views"

    versions: int

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Which view of each record to use, int64 [count]."""
        return {"version": torch.randint(self.versions, (count,), generator=random,
                                         device=random.device)}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Leave both as they are: what was gathered is the view already."""
        return x, labels


def corners_of(images: Tensor, crops: int, choices: int) -> Tensor:
    """Row and column of each crop's corner, from 0 to below `choices`: int64 [n, crops, 2].

    They depend on the image alone, so that no record changes the views of another.
    """
    pixels = images.cpu().contiguous().numpy()
    digests = b"".join(hashlib.shake_256(one.tobytes()).digest(8 * crops) for one in pixels)
    # 32 bits for each number: their remainders are uniform up to one part in 10^8
    drawn = np.frombuffer(digests, dtype="<u4").reshape(len(pixels), crops, 2) % choices
    return torch.from_numpy(drawn.astype(np.int64)).to(images.device)


Transform = View
