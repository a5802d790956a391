"""Gradients of a group with respect to the weights themselves: any network, with or without clipping."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.ensemble import fallback, layers, sizes
from lib.ensemble.inputs import as_input, gather, pad_rows, unflatten
from lib.ensemble.plan import Member, Schedule


class Direct:
    """The group's weights as what the optimiser moves: `coordinates` [models, parameters]."""

    def __init__(self, module: nn.Module, weights: Tensor, pool: Tensor, members: Sequence[Member], schedule: Schedule, bounds: Tensor):
        self.module, self.pool, self.coordinates, self.kind = module, pool, weights, schedule.labels
        self.bounds = bounds if any(member.private for member in members) else None
        longest = schedule.rows(members)
        self.rows = pad_rows([member.rows for member in members], longest).to(pool.device)
        self.labels = pad_rows([member.labels for member in members], longest).to(pool.device)
        if any(member.input_noise for member in members):  # a noisy copy each, instead of places in the shared pool
            self.pool = gather(pool, members, longest).flatten(0, 1)
            self.rows = torch.arange(len(self.pool), device=pool.device).unflatten(0, self.rows.shape)
        self.total = torch.empty_like(weights)  # kept: to allocate it anew each step costs more than to fill it
        self.views = list(unflatten(module, self.total).values())
        self.sums = layers.gradient_sums if layers.supports(module) else fallback.sums
        numbers = sizes.sample_numbers(module, tuple(pool.shape[1:]))
        self.chunk = sizes.samples_at_once(module, pool.device, models=len(members), numbers=numbers)

    def weights(self) -> Tensor:
        """The group's weights [models, parameters]."""
        return self.coordinates

    def gradient_sums(self, indices: Tensor, present: Tensor) -> Tensor:
        """Clipped (where a member clips) sums of gradients [models, parameters] over the batches of `indices`."""
        parameters, started = unflatten(self.module, self.coordinates), False
        for index, there in zip(indices.split(self.chunk, 1), present.split(self.chunk, 1)):
            # index_select on a flat index is ten times faster here than indexing with a matrix
            x = as_input(self.pool.index_select(0, self.rows.gather(1, index).flatten()).unflatten(0, index.shape))
            labels = self.labels[torch.arange(len(index), device=index.device)[:, None], index]
            for view, part in zip(self.views, self.sums(self.module, parameters, x, labels, there, self.bounds, kind=self.kind)):
                view.add_(part) if started else view.copy_(part)
            started = True
        return self.total
