"""Cutout (DeVries and Taylor 2017, arXiv 1708.04552): a square of each image is set to 0."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib.training.transforms import inside, whole

VERSION = 1


@dataclass(frozen=True)
class Cutout:
    """size: side of the square in pixels, around a random place of each image, cut at the edges.
    """

    mixes: ClassVar[str] = "none"

    size: int = 16

    def __post_init__(self) -> None:
        whole("cutout", "size", self.size, least=1)

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """The box of each image [count, 4]: first and last row, first and last column (exclusive).
        """
        sizes = torch.tensor(shape[1:], device=random.device)
        middle = torch.rand(count, 2, generator=random, device=random.device)
        low = (middle * sizes).long() - self.size // 2
        low, high = low.clamp_min(0), torch.minimum(low + self.size, sizes)
        return {"box": torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1)}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Blank the boxes; leaves labels unchanged."""
        return x.masked_fill(inside(draws["box"], x.shape[3:])[:, :, None], 0.0), labels


Transform = Cutout
