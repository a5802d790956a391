"""ALIBI: Laplace noise on one-hot labels, and Bayesian post-processing while training (Malek
Esmaeili et al. 2021).
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.attacks import Poisoned
from lib.defences import Trained, members, own
from lib.privacy import Guarantee
from lib.training import generator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from lib.study.runs import Run

VERSION = 1


@dataclass(frozen=True)
class ALIBI:
    """Add Laplace noise of scale 2 / epsilon to every class of each one-hot label, once.

    A step's loss is the cross-entropy against the posterior given the noisy label, with the model's
    own prediction as the prior.

    epsilon: of label differential privacy (null: labels without noise). The noise's standard
    deviation, which Razmi et al. plot, is 2 sqrt(2) / epsilon.
    """

    takes_start: ClassVar[bool] = True

    epsilon: float | None = 1.0

    def __post_init__(self) -> None:
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ValueError(
                f"defence alibi: epsilon {self.epsilon}: expected above 0, or null for no noise")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: epsilons and learning rates may differ."""
        return ("alibi", self.epsilon is None, run.model, replace(run.training, lr=1.0),
                run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        if self.epsilon is None:
            group = members.fit(runs, poisoned, [{} for _ in runs])
        else:
            changes = [{"labels": own(run, ALIBI).observed(data, seed=run.noise_seed)}
                       for run, data in zip(runs, poisoned)]
            group = members.fit(runs, poisoned, changes, labels="evidence")
        return [members.trained(group, model, own(run, ALIBI).guarantee())
                for model, run in enumerate(runs)]

    def observed(self, data: Poisoned, *, seed: int) -> Tensor:
        """Log-likelihood of each class for each record's noisy label [records, classes]."""
        if self.epsilon is None:
            raise ValueError("defence alibi: epsilon null: expected every run of the group to have "
                             "an epsilon, or none")
        noisy = noisy_labels(data.labels, data.classes, self.epsilon, generator("labels", seed))
        return evidence(noisy, self.epsilon)

    def guarantee(self) -> Guarantee:
        """Label differential privacy; images have no guarantee.

        The noise is drawn once and everything else is post-processing, so epochs cost nothing.
        """
        if self.epsilon is None:
            return Guarantee.none("labels without noise")
        deviation = 2 * math.sqrt(2) / self.epsilon
        return Guarantee(epsilon=self.epsilon, delta=0.0, adjacency="label", sampler="none",
                         accountant="exact", steps=1, sample_rate=1.0,
                         note=f"Laplace noise of standard deviation {deviation:.4g} on one-hot "
                              "labels")


def noisy_labels(labels: Tensor, classes: int, epsilon: float, random: torch.Generator) -> Tensor:
    """One-hot labels with Laplace noise [n, classes].

    Changing a label changes two entries by 1 each, so the scale is 2 / epsilon.
    """
    uniform = torch.rand(len(labels), classes, generator=random, dtype=torch.float64) - 0.5
    noise = -uniform.sign() * torch.log1p(-2 * uniform.abs()) * (2 / epsilon)
    return F.one_hot(labels, classes).double() + noise.to(labels.device)


def evidence(noisy: Tensor, epsilon: float) -> Tensor:
    """Log-likelihood of each class for noisy labels [n, classes], up to a constant per record,
    float32.

    -|noisy - onehot(c)|_1 / scale differs between classes only by epsilon x (noisy clipped to
    [0, 1]): outside [0, 1] both terms of a class change by the same amount.
    """
    return (epsilon * noisy.clamp(0, 1)).float()


def posterior(noisy_labels: "Tensor | ArrayLike", prior: "Tensor | ArrayLike", epsilon: float
              ) -> "Tensor | np.ndarray":
    """Probability of each class given its noisy label, [batch, classes]: prior x Laplace
    likelihood, normalised (algorithm 2).

    noisy_labels, prior: [batch, classes] or [classes], numpy or torch; returns the type of
    `noisy_labels`. Raises ValueError for an epsilon not above 0, different shapes, or a prior with
    negative entries or without mass.
    """
    noisy, values = torch.as_tensor(noisy_labels).double(), torch.as_tensor(prior).double()
    if not epsilon > 0:
        raise ValueError(f"epsilon {epsilon}: expected above 0")
    if noisy.shape != values.shape or not (values >= 0).all() or not (values.sum(-1) > 0).all():
        raise ValueError(
            f"noisy labels {tuple(noisy.shape)} and prior {tuple(values.shape)}: expected equal"
            " shapes, and a prior with entries of 0 or more, not all 0")
    result = torch.softmax(values.log() + epsilon * noisy.clamp(0, 1), dim=-1)
    return result if torch.is_tensor(noisy_labels) else result.numpy()


Defence = ALIBI
