"""k-way mixup: every record becomes a mean of itself and other records of its batch.

Zhang et al. 2018 (arXiv 1710.09412) for two records; Borgnia et al. (DP-InstaHide) for more.
Weights are equal, as their text prints, or one draw of a Dirichlet distribution for each batch, as
their code has it (whose default strength of 0 turns mixing off). A partner's place is that of a
random permutation of the batch, one for each further record of a mix.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib.training.transforms import dirichlet, orders, partners, whole

VERSION = 1
WEIGHTS = ("equal", "dirichlet")


@dataclass(frozen=True)
class Mixup:
    """width: records in a mix, k. weights: "equal" or "dirichlet" with `strength` alpha."""

    mixes: ClassVar[str] = "batch"

    width: int = 2
    weights: str = "equal"
    strength: float = 1.0

    def __post_init__(self) -> None:
        whole("mixup", "width", self.width, least=2)
        if self.weights not in WEIGHTS:
            raise ValueError(
                f"transform mixup: weights {self.weights!r}: expected one of {', '.join(WEIGHTS)}")
        if not self.strength > 0:
            raise ValueError(f"transform mixup: strength {self.strength}: expected above 0; leave "
                             "the transform out for no mixing")

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Keys of the permutations [count, width - 1] (see `orders`), and weights [count, width],
        the same for the whole batch."""
        found = {"order": orders(count, self.width - 1, random)}
        if self.weights == "dirichlet":
            shares = dirichlet(self.width, self.strength, random)
        else:
            shares = torch.full((self.width,), 1 / self.width, device=random.device)
        return found | {"weights": shares.expand(count, -1)}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mix images and labels with the same weights."""
        return (_mixed(x, draws["order"], draws["weights"]),
                _mixed(labels, draws["order"], draws["weights"]))


def _mixed(values: Tensor, order: Tensor, weights: Tensor) -> Tensor:
    first, *others = weights.unbind(2)
    shape = (*first.shape, *[1] * (values.dim() - 2))
    mixed = values * first.view(shape)
    for place, share in enumerate(others):
        mixed += partners(values, order[:, :, place]) * share.view(shape)
    return mixed


Transform = Mixup
