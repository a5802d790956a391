"""Gradients of a group with respect to the weights themselves: any network, clipped or not."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.training import sizes, transforms
from lib.training.batches import as_input, gather, pad_rows
from lib.training.modules import spectral_norms, unflatten, unflatten_buffers
from lib.training.overlays import Overlays
from lib.training.schedule import Member, Schedule
from lib.training.steps import alone, closed_form, per_sample
from lib.training.steps.per_input import InputLosses


class Direct:
    """The group's weights themselves are the optimizer's `coordinates` [models, parameters].

    states: [models, parameters and buffers], the initial ones. bounds: [models], on the norm of
    each sample's gradient. repeatable: whether `gradient_sums` changes nothing but its sums.
    """

    def __init__(self, module: nn.Module, states: Tensor, pool: Tensor, members: Sequence[Member],
                 schedule: Schedule, bounds: Tensor, *, ahead: bool = False) -> None:
        self.module, self.pool, self.kind = module, pool, schedule.labels
        self.transforms = schedule.transforms
        parameters = sum(parameter.numel() for parameter in module.parameters())
        self.coordinates = states[:, :parameters].contiguous()
        self.buffers = unflatten_buffers(module, states)
        self.bounds = bounds if any(member.private for member in members) else None
        self.within: Tensor | None = None  # [models], to count the records within the bounds
        # A step must update a module's buffers once, with the whole batch.
        self.whole = bool(self.buffers) and (self.bounds is None or bool(spectral_norms(module)))
        longest = schedule.rows(members)
        self.rows = pad_rows([member.rows for member in members], longest).to(pool.device)
        self.labels = pad_rows([member.labels for member in members], longest).to(pool.device)
        if transforms.softens(schedule.transforms) and not self.labels.is_floating_point():
            self.labels = F.one_hot(self.labels, sizes.outputs(module, pool)).float()
        if any(member.input_noise for member in members):
            # A noisy copy for each member, instead of places in the shared pool.
            self.pool = gather(pool, members, longest).flatten(0, 1)
            places = torch.arange(len(self.pool), device=pool.device)
            self.rows = places.unflatten(0, self.rows.shape)
        overlaid = [member.overlaid for member in members]
        self.overlays = Overlays(overlaid, longest, pool.device) if any(overlaid) else None
        # Allocated once, because allocating it in each step costs more than filling it.
        self.total = torch.empty_like(self.coordinates)
        self.views = list(unflatten(module, self.total).values())
        # For transforms that look at the network.
        self.watched = InputLosses(module, dims=pool.dim() - 1, kind=self.kind, batched=ahead)
        self.sums: Callable[..., list[Tensor]] = self._fallback
        self.rounded = False  # whether layers compute in bfloat16
        self.repeatable = closed_form.supports(module, pool.dim() - 1)
        if len(members) == 1 and alone.applies(module, pool, members):
            own = alone.Alone(module, self.coordinates, self.buffers, precision=schedule.precision)
            self.sums, self.rounded = own, own.rounded
        elif self.repeatable:
            self.sums = partial(closed_form.gradient_sums, branchless=ahead)
        numbers = sizes.sample_numbers(module, tuple(pool.shape[1:]))
        self.chunk = sizes.samples_at_once(module, pool.device, models=len(members),
                                           numbers=numbers)

    def states(self, values: Tensor) -> Tensor:
        """The weights and buffers from values of `numbers`, or from averages of them."""
        return values

    def numbers(self) -> Tensor:
        """The group's weights and buffers [models, parameters and buffers]."""
        if not self.buffers:
            return self.coordinates
        rest = [buffer.reshape(len(buffer), -1).to(self.coordinates)
                for buffer in self.buffers.values()]
        return torch.cat([self.coordinates, *rest], 1)

    def _fallback(self, *arguments, kind: str, within: Tensor | None) -> list[Tensor]:
        return per_sample.sums(*arguments, kind=kind, buffers=self.buffers, within=within)

    def gradient_sums(self, indices: Tensor, present: Tensor, resting: Sequence[int] = (),
                      draws: Sequence[dict[str, Tensor]] = ()) -> Tensor:
        """Sums of gradients over batches [models, parameters], clipped if a member clips.

        resting: models that have finished, whose buffers must not change. draws: of the schedule's
        transforms.
        """
        if not self.buffers:
            return self._sums(indices, present, draws, self.chunk)
        kept = {name: buffer[list(resting)] for name, buffer in self.buffers.items()}
        total = self._sums(indices, present, draws, indices.shape[1] if self.whole else self.chunk)
        for name, buffer in self.buffers.items():
            buffer[list(resting)] = kept[name]
        return total

    def _sums(self, indices: Tensor, present: Tensor, draws: Sequence[dict[str, Tensor]],
              chunk: int) -> Tensor:
        parameters, started = unflatten(self.module, self.coordinates), False
        for (x, labels), there in zip(self._chunks(indices, draws, chunk), present.split(chunk, 1)):
            sums = self.sums(self.module, parameters, x, labels, there, self.bounds,
                             kind=self.kind, within=self.within)
            for view, part in zip(self.views, sums):
                view.add_(part) if started else view.copy_(part)
            started = True
        return self.total

    def _chunks(self, indices: Tensor, draws: Sequence[dict[str, Tensor]], chunk: int
                ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of the batches, `chunk` samples of every model at a time."""
        if not self.transforms:
            for index in indices.split(chunk, 1):
                x, labels = self._records(index)
                yield self._overlaid(x, index), labels
            return
        x, labels = self._records(indices, transforms.chosen_versions(self.transforms, draws))
        for transform, own in zip(self.transforms, draws, strict=True):
            rounding = self.rounded and isinstance(transform, transforms.Rounding)
            losses = self._rounded_losses if rounding else self._losses
            own = transforms.chosen(transform, x, labels, own, losses, chunk=self.chunk)
            x, labels = transform.apply(x, labels, own)
        yield from zip(self._overlaid(x, indices).split(chunk, 1), labels.split(chunk, 1))

    def _overlaid(self, x: Tensor, index: Tensor) -> Tensor:
        return x if self.overlays is None else self.overlays(x, index)

    def _losses(self, x: Tensor, labels: Tensor) -> Tensor:
        """Every sample's loss [models, batch] at the current weights, in evaluation mode."""
        parameters = unflatten(self.module, self.coordinates)
        return self.watched(parameters, self.buffers, x, labels)

    def _rounded_losses(self, x: Tensor, labels: Tensor) -> Tensor:
        """The same losses of layers in bfloat16."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self._losses(x, labels)

    def _records(self, index: Tensor, version: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs [models, batch, ...] and labels [models, batch, ...] of the members' records.

        version: which of the versions of each record [models, batch], see `transforms.Versioned`.
        """
        places = self.rows.gather(1, index)
        if version is not None:
            places = places + version
        # index_select on a flat index is ten times faster here than indexing with a matrix.
        records = self.pool.index_select(0, places.flatten())
        x = as_input(records.unflatten(0, index.shape))
        return x, self.labels[torch.arange(len(index), device=index.device)[:, None], index]
