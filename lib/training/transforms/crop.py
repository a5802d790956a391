"""Random crops of a padded image."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

VERSION = 1


@dataclass(frozen=True)
class Crop:
    """Pad each image with `padding` zeros on all sides, and cut it to its size at a random place.
    """

    mixes: ClassVar[str] = "none"

    padding: int = 4

    def __post_init__(self) -> None:
        if type(self.padding) is not int or self.padding < 1:
            raise ValueError(
                f"transform crop: padding {self.padding!r}: expected a whole number above 0")

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """The first row and column of each crop in the padded image, int64 [count, 2]."""
        places = torch.randint(2 * self.padding + 1, (count, 2), generator=random,
                               device=random.device)
        return {"corner": places}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Crop the images at the drawn places; leaves labels unchanged."""
        images, corner = F.pad(x.flatten(0, 1), (self.padding,) * 4), draws["corner"].flatten(0, 1)
        channels, height, width = x.shape[2:]
        places = torch.arange(len(images), device=x.device)[:, None, None, None]
        rows = corner[:, 0, None] + torch.arange(height, device=x.device)  # [images, height]
        columns = corner[:, 1, None] + torch.arange(width, device=x.device)
        channel = torch.arange(channels, device=x.device)[:, None, None]
        cut = images[places, channel, rows[:, None, :, None], columns[:, None, None, :]]
        return cut.unflatten(0, x.shape[:2]), labels


Transform = Crop
