"""CutMix (Yun et al. 2019, arXiv 1905.04899): a box of each image is another image's.

The box covers a share 1 - l of the image, l drawn from Beta(strength, strength), around a random
centre, cut at the edges; labels are mixed by the areas. As in the code that Borgnia et al. used,
one box is drawn for a batch, and `probability` of the batches are mixed.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib.training.transforms import dirichlet, inside, orders, partners

VERSION = 1


@dataclass(frozen=True)
class CutMix:
    """strength: of the Beta distribution; 1: any share is equally likely."""

    mixes: ClassVar[str] = "batch"

    strength: float = 1.0
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ValueError(f"transform cutmix: strength {self.strength}: expected above 0")
        if not 0 < self.probability <= 1:
            raise ValueError(f"transform cutmix: probability {self.probability}: expected above 0 "
                             "and at most 1; leave the transform out for no mixing")

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """Keys of the permutation [count, 1] (see `orders`), and the box [count, 4]: first and
        last row, first and last column (exclusive), the same for the whole batch."""
        order = orders(count, 1, random)
        share = dirichlet(2, self.strength, random)[1]
        middle = torch.rand(2, generator=random, device=random.device)
        active = torch.rand(1, generator=random, device=random.device) < self.probability
        sizes = torch.tensor(shape[1:], device=random.device)
        half = (sizes * share.sqrt()).long() // 2 * active
        centre = (middle * sizes).long()
        low, high = (centre - half).clamp_min(0), torch.minimum(centre + half, sizes)
        box = torch.stack([low[0], high[0], low[1], high[1]])
        return {"order": order, "box": box.expand(count, -1)}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Put the partner's box into each image; a label's weight is its image's area."""
        box, order = draws["box"], draws["order"][:, :, 0]
        cut = inside(box, x.shape[3:])
        area = cut.float().mean((2, 3))
        mixed = torch.where(cut[:, :, None], partners(x, order), x)
        share = area.view(*area.shape, *[1] * (labels.dim() - 2))
        return mixed, labels * (1 - share) + partners(labels, order) * share


Transform = CutMix
