"""Sums of the clipped mean gradients of micro-batches: what TF-Privacy calls `num_microbatches`.

A batch is cut into parts of equal size, up to one record, in the order in which it was drawn. The
mean gradient of each part is clipped, and the sum of these means takes the place of the sum over
records.

A record changes the mean of its own part, from one point of a ball of radius C to another: by up to
2 C, however many records share the part. This holds while every other record stays in its part, as
when the record is *replaced*. When it is *removed*, the records after it move up: every part may
change, in this batch and in later ones of the epoch.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Sums = Callable[..., Tensor]  # such as `direct.Direct.gradient_sums`


class ClippedMeans:
    """Called like the `gradient_sums` that it is made from; several calls of these a step.

    count: parts of a batch. bounds: [models], on the norm of each part's mean gradient.
    """

    def __init__(self, sums: Sums, count: int, bounds: Tensor) -> None:
        self.sums, self.count, self.bounds = sums, count, bounds

    def __call__(self, indices: Tensor, present: Tensor, resting: Sequence[int] = (),
                 draws: Sequence[dict[str, Tensor]] = ()) -> Tensor:
        """Sums of the parts' clipped mean gradients [models, parameters]."""
        total: Tensor | None = None
        for index, there, own in parts(indices, present, draws, self.count):
            found = clipped(self.sums(index, there, resting, own), there.sum(1), self.bounds)
            total = found if total is None else total.add_(found)
        if total is None:
            raise ValueError(f"micro_batches {self.count}: expected 1 or more")
        return total


def parts(indices: Tensor, present: Tensor, draws: Sequence[dict[str, Tensor]], count: int
          ) -> Iterator[tuple[Tensor, Tensor, list[dict[str, Tensor]]]]:
    """Indices, present and draws of each part, [models, width, ...].

    Each model's own records are shared out, whatever the others' batches, so that it has the same
    parts alone and in a group. Records come before the padding.
    """
    width = -(-indices.shape[1] // count)
    sizes, steps = present.sum(1).long(), torch.arange(width, device=indices.device)
    for number in range(count):
        first, end = (sizes * at // count for at in (number, number + 1))
        there = (steps < (end - first)[:, None]).to(present)
        places = (first[:, None] + steps).clamp_max(indices.shape[1] - 1)
        yield _at(indices, places), there, [
            {name: _at(values, places) for name, values in own.items()} for own in draws]


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Each model's values [models, batch, ...] at its places [models, width].

    A group that shares its batches has places of one model, and draws of all.
    """
    models = torch.arange(len(values), device=values.device)[:, None]
    return values[models, places.expand(len(values), -1)]


def clipped(sums: Tensor, sizes: Tensor, bounds: Tensor) -> Tensor:
    """Mean gradients [models, parameters] of parts with so many records, clipped to their bounds.

    0 for a part without records. A gradient that is not finite counts as 0, so that no record moves
    it further than the bound allows.
    """
    means = sums / sizes.clamp_min(1)[:, None]
    norms = torch.linalg.vector_norm(means, dim=1)
    scaled = means * (bounds / norms.clamp_min(1e-30)).clamp_max(1.0)[:, None]
    return scaled.where(norms.isfinite()[:, None], 0.0)
