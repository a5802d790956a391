"""Mixup of a record with itself: the mean of several random views of each image.

A mix of one record's flips and crops depends on that record alone, so that DP-SGD's sensitivity,
and its epsilon, stay as they are (Bao et al. 2023, arXiv 2311.01295, DP-Mix-Self, who also take the
mean of the gradients of several such mixes).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib.training.transforms import whole
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

VERSION = 1


@dataclass(frozen=True)
class SelfMixup:
    """width: views in a mix, with equal weights. padding: of their crops, see `Crop`."""

    mixes: ClassVar[str] = "views"

    width: int = 2
    padding: int = 4

    def __post_init__(self) -> None:
        whole("self_mixup", "width", self.width, least=2)
        whole("self_mixup", "padding", self.padding, least=1)

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Of every view: the corner of its crop [count, width, 2], and whether it is mirrored
        [count, width]."""
        views = count * self.width
        drawn = Crop(self.padding).draw(views, shape, random) | Flip().draw(views, shape, random)
        return {name: value.unflatten(0, (count, self.width)) for name, value in drawn.items()}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The mean of the views of each image; leaves labels unchanged."""
        views = [self._view(x, draws, place) for place in range(self.width)]
        return torch.stack(views).mean(0), labels

    def _view(self, x: Tensor, draws: dict[str, Tensor], place: int) -> Tensor:
        own = {name: value[:, :, place] for name, value in draws.items()}
        nothing = x.new_empty(0)  # neither transform reads labels
        cropped, _ = Crop(self.padding).apply(x, nothing, own)
        return Flip().apply(cropped, nothing, own)[0]


Transform = SelfMixup
