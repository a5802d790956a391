"""Random horizontal flips."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

VERSION = 1


@dataclass(frozen=True)
class Flip:
    """Mirror each image left to right with `probability`."""

    mixes: ClassVar[str] = "none"

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(
                f"transform flip: probability {self.probability}: expected between 0 and 1")

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Which images to mirror, bool [count]."""
        drawn = torch.rand(count, generator=random, device=random.device)
        return {"mirrored": drawn < self.probability}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mirror the drawn images; leaves labels unchanged."""
        return torch.where(draws["mirrored"][:, :, None, None, None], x.flip(-1), x), labels


Transform = Flip
