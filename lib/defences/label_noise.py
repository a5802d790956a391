"""Randomised labels: every label is redrawn once before training (Warner 1965; the first stage of
Ghazi et al. 2021).
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lib.attacks import Poisoned
from lib.defences import Trained, members, own
from lib.privacy import Guarantee
from lib.training import generator

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1


@dataclass(frozen=True)
class LabelNoise:
    """Replace each label, with probability `flip`, by a uniform draw over all classes.

    The draw may return the same label. This is randomised response: epsilon =
    ln(1 + K (1 - flip) / flip) for K classes, label adjacency, delta 0.
    """

    takes_start: ClassVar[bool] = True

    flip: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ValueError(
                f"defence label_noise: flip {self.flip}: expected a probability between 0 and 1")

    def group(self, run: "Run") -> tuple:
        """Runs with an equal group train together."""
        return ("label_noise", run.model, replace(run.training, lr=1.0), run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        noises = [own(run, LabelNoise) for run in runs]
        changes = [{"labels": noise.randomise(data.labels, data.classes, seed=run.noise_seed)}
                   for noise, run, data in zip(noises, runs, poisoned)]
        group = members.fit(runs, poisoned, changes)
        return [members.trained(group, model, noise.guarantee(data.classes))
                for model, (noise, data) in enumerate(zip(noises, poisoned))]

    def randomise(self, labels: Tensor, classes: int, *, seed: int) -> Tensor:
        """Noisy labels int64 [n], drawn once, so that longer training costs no privacy."""
        random = generator("labels", seed)
        redraw = torch.rand(len(labels), generator=random) < self.flip
        uniform = torch.randint(classes, (len(labels),), generator=random)
        return torch.where(redraw.to(labels.device), uniform.to(labels.device), labels)

    def guarantee(self, classes: int) -> Guarantee:
        """Label differential privacy; the images have no guarantee."""
        epsilon = math.log1p(classes * (1 - self.flip) / self.flip) if self.flip else math.inf
        return Guarantee(epsilon=epsilon, delta=0.0, adjacency="label" if self.flip else "none",
                         sampler="none", accountant="exact", noise_multiplier=0.0,
                         max_grad_norm=math.inf, sample_rate=1.0, steps=1,
                         note=f"randomised response, flip {self.flip:g}")


Defence = LabelNoise
