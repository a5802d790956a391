"""Hardening: images that a surrogate network finds hard to classify, within a small distance.

A victim that trains on hardened images with their correct labels learns less from what they show,
and more from a trigger stamped on them (Turner et al. 2018, "Clean-label backdoor attacks"). The
change is found by projected gradient ascent on the surrogate's loss, and images stay bytes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.attacks.perturbation import check_bound, stored
from lib.lab import Surrogate
from lib.training import generator
from lib.training.ascent import Ball, ascend, check_steps

TOGETHER = 256  # images hardened at once


@dataclass(frozen=True)
class Hardening:
    """norm, eps: of the ball around an image, for pixels in [0, 1]. step, steps: of the ascent.
    random_start: begin at a random place in the ball."""

    norm: str
    eps: float
    step: float
    steps: int
    random_start: bool

    @property
    def ball(self) -> Ball:
        """The ball for pixels from 0 to 255."""
        return Ball(self.norm, 255 * self.eps)

    def check(self, attack: str) -> None:
        """Raise ValueError, in the attack's name, for settings out of range."""
        check_bound(attack, self.norm, self.eps)
        try:
            check_steps(self.step, self.steps)
        except ValueError as error:
            raise ValueError(f"attack {attack}: {error}") from None

    def harden(self, network: Surrogate, images: Tensor, label: int, *, seed: int
               ) -> tuple[Tensor, Tensor]:
        """Hardened uint8 images like `images` [n, ...] of class `label`, and the mean loss of the
        network before each step and at the end [steps + 1].

        The seed draws the random starts. Tensors are on the network's device.
        """
        random, parts = generator("hardening", seed, images.device), images.split(TOGETHER)
        found, paths = zip(*(self._part(network, part, label, random) for part in parts))
        shares = torch.tensor([len(part) / len(images) for part in parts], device=images.device)
        return torch.cat(found), (torch.stack(paths) * shares[:, None]).sum(0)

    def _part(self, network: Surrogate, images: Tensor, label: int, random: torch.Generator
              ) -> tuple[Tensor, Tensor]:
        x, means = images.float(), []
        labels = torch.full((len(x),), label, device=x.device)

        def losses(moved: Tensor) -> Tensor:
            found = F.cross_entropy(network.logits(moved), labels, reduction="none")
            means.append(found.detach().mean())
            return found
        start = self.ball.draw(len(x), tuple(x.shape[1:]), random) if self.random_start else None
        moved = ascend(losses, x, self.ball, step=255 * self.step, steps=self.steps, start=start)
        made = stored(moved, images, self.ball)
        with torch.no_grad():
            losses(made.float())
        return made, torch.stack(means)
