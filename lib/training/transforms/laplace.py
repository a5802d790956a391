"""Laplace noise on the inputs, as DP-InstaHide adds it after mixing (Borgnia et al., section 3)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

VERSION = 1


@dataclass(frozen=True)
class Laplace:
    """scale: of the noise on every pixel, for pixels in [0, 1]; the paper prints 255 times it."""

    mixes: ClassVar[str] = "none"

    scale: float = 16 / 255

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"transform laplace: scale {self.scale}: expected above 0; leave the "
                             "transform out for no noise")

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """The noise [count, channels, height, width]."""
        # A difference of exponentials is Laplace, and never infinite.
        both = torch.empty(2, count, *shape, device=random.device)
        both.exponential_(generator=random)
        return {"noise": self.scale * (both[0] - both[1])}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Add the noise, without clipping; leaves labels unchanged."""
        return x + draws["noise"], labels


Transform = Laplace
