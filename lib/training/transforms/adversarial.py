"""Adversarial training (Madry et al. 2018, arXiv 1706.06083): every image of a batch is replaced by
one within a ball of it that raises its loss under the current weights.

Madry et al. train on these images alone, as here, with linf, 8/255, 7 steps of 2/255 and a random
start (section 5, CIFAR-10). The perturbation is sought in evaluation mode: batch normalisation uses
its running statistics, and updates none, so that an image's perturbation depends on no other image.
(Their code keeps the statistics of the batch.)

The search takes most of the time: with 7 steps, eight of nine passes. With precision "fast" it is
in bfloat16 for deep networks, like the rest of a step.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib.training.ascent import Ball, ascend, check_steps
from lib.training.transforms import Losses

VERSION = 2


@dataclass(frozen=True)
class Adversarial:
    """norm: "linf" or "l2". radius, step: for pixels in [0, 1]; steps of this length. random_start:
    begin at a uniform draw from the ball, else at the image itself."""

    mixes: ClassVar[str] = "none"
    rounds: ClassVar[bool] = True

    norm: str = "linf"
    radius: float = 8 / 255
    step: float = 2 / 255
    steps: int = 7
    random_start: bool = True

    def __post_init__(self) -> None:
        try:
            Ball(self.norm, self.radius)
            check_steps(self.step, self.steps)
        except ValueError as error:
            raise ValueError(f"transform adversarial: {error}") from None

    @property
    def ball(self) -> Ball:
        """Where perturbations are sought."""
        return Ball(self.norm, self.radius)

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """The random starts [count, channels, height, width]."""
        return {"start": self.ball.draw(count, shape, random)} if self.random_start else {}

    def choose(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor], losses: Losses
               ) -> dict[str, Tensor]:
        """The perturbed images, in the draws' place."""
        moved = ascend(lambda images: losses(images, labels), x, self.ball, step=self.step,
                       steps=self.steps, start=draws.get("start"), valid=(0.0, 1.0))
        return {"images": moved}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Take the perturbed images; leaves labels unchanged."""
        return draws["images"], labels


Transform = Adversarial
