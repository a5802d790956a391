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
    """Each one-hot label gets Laplace noise of scale 2 / epsilon on every class, once.

    The loss of a step is the cross-entropy against the posterior that the noisy label makes of the
    model's own prediction.

    epsilon: of label differential privacy (null: labels stay as they are). The noise's standard
    deviation, which Razmi et al. plot, is 2 sqrt(2) / epsilon.
    """

    takes_start: ClassVar[bool] = True

    epsilon: float | None = 1.0

    def __post_init__(self) -> None:
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ValueError(
                f"defence alibi: epsilon {self.epsilon}: expected above 0, or null for no noise")

    def group(self, run: "Run") -> tuple:
        """Runs with an equal group train together: epsilon may differ."""
        return ("alibi", self.epsilon is None, run.model, replace(run.training,
                                                                  lr=1.0), run.precision)

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
            raise ValueError("defence alibi: epsilon null: expected runs with an epsilon, or all "
                             "without, in a group")
        noisy = noisy_labels(data.labels, data.classes, self.epsilon, generator("labels", seed))
        return evidence(noisy, self.epsilon)

    def guarantee(self) -> Guarantee:
        """The noise is drawn once, and all else is post-processing: epochs cost nothing.

        Images have no guarantee.
        """
        if self.epsilon is None:
            return Guarantee.none("labels without noise")
        return Guarantee(
            epsilon=self.epsilon,
            delta=0.0,
            adjacency="label",
            sampler="none",
            accountant="exact",
            steps=1,
            sample_rate=1.0,
            note=(
                f"Laplace noise of standard deviation {2 * math.sqrt(2) / self.epsilon:.4g} on"
                " one-hot labels"
            ),
        )


def noisy_labels(labels: Tensor, classes: int, epsilon: float, random: torch.Generator) -> Tensor:
    """One-hot labels with Laplace noise [n, classes].

    A label moves two entries by 1, so the scale is 2 / epsilon.
    """
    uniform = torch.rand(len(labels), classes, generator=random, dtype=torch.float64) - 0.5
    noise = -uniform.sign() * torch.log1p(-2 * uniform.abs()) * (2 / epsilon)
    return F.one_hot(labels, classes).double() + noise.to(labels.device)


def evidence(noisy: Tensor, epsilon: float) -> Tensor:
    """Log-likelihood of each class for noisy labels [n, classes], up to a constant a record,
    float32.

    -|noisy - onehot(c)|_1 / scale differs between classes by epsilon x (noisy clipped to [0, 1])
    alone: beyond 0 and 1 both terms of a class move together.
    """
    return (epsilon * noisy.clamp(0, 1)).float()


def posterior(noisy_labels: "Tensor | ArrayLike", prior: "Tensor | ArrayLike", epsilon: float
              ) -> "Tensor | np.ndarray":
    """Probability of each class given its noisy label, [batch, classes]: prior x Laplace
    likelihood, normalised (algorithm 2).

    noisy_labels, prior: [batch, classes] or [classes], numpy or torch; returns the kind of
    `noisy_labels`. Raises ValueError for an epsilon not above 0, shapes that differ, or a prior
    that is none.
    """
    noisy, values = torch.as_tensor(noisy_labels).double(), torch.as_tensor(prior).double()
    if not epsilon > 0:
        raise ValueError(f"epsilon {epsilon}: expected above 0")
    if noisy.shape != values.shape or not (values >= 0).all() or not (values.sum(-1) > 0).all():
        raise ValueError(
            f"noisy labels {tuple(noisy.shape)} and prior {tuple(values.shape)}: expected equal"
            " shapes, a prior of 0 or more with mass"
        )
    result = torch.softmax(values.log() + epsilon * noisy.clamp(0, 1), dim=-1)
    return result if torch.is_tensor(noisy_labels) else result.numpy()


Defence = ALIBI
