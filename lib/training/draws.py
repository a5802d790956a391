"""What the models of a group draw in each step: batches, draws of transforms, noise.

A model's numbers come from its own seeds, the same bits alone and in any group. There are two ways
to draw them, whose numbers differ:

- `Stepwise` makes a few calls for each model in each step. On a CPU calls are cheap, and all
  published rows of a CPU come from these numbers.
- `Ahead` draws blocks of steps for each model, and makes a few calls a step for all of them. On a
  GPU a call costs more than what it computes.

A model's blocks are as long as its own shape allows, whatever the group and the free memory.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.training import batches
from lib.training.schedule import Member, Schedule
from lib.training.transforms import PROGRESS, Adaptive, Transform

LONGEST = 256  # steps of a block
BATCH_NUMBERS = 2**23  # uniform numbers of a model's block of batches
NOISE_NUMBERS = 2**24  # normal numbers of a model's block of noise
TRANSFORM_NUMBERS = 2**22  # numbers that a model's transforms draw for a block
ROUND = 16  # padded widths are multiples of this, so that they seldom grow
DEVIATIONS = 6  # of a Poisson batch's size, to which it is padded from the start


class Draws(Protocol):
    """A group's draws, to be asked for in the order of the steps."""

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Places among each model's rows, and whether they are present (0 or 1), both [models,
        width], of step `number` (from 0)."""
        ...

    def transformed(self) -> Sequence[dict[str, Tensor]]:
        """The draws of each transform [models, width, ...] for the batch asked for last."""
        ...

    def add_noise(self, sums: Tensor, growth: Tensor | None) -> None:
        """Add the noise of the step asked for last to `sums` [models, parameters], in place.

        growth: factors on the members' noise [models, 1], or None.
        """
        ...


@dataclass(frozen=True)
class Noisy:
    """The members with noise: their seeds, without repeats, and how each gets its noise.

    models: places of the noisy members. seeds: distinct ones. of: for each noisy member the place
    of its seed. scales: standard deviations [noisy, 1].
    """

    models: list[int]
    seeds: list[int]
    of: list[int]
    scales: Tensor

    @classmethod
    def among(cls, members: Sequence[Member], device: torch.device) -> "Noisy":
        """The noisy ones of these members."""
        models = [place for place, member in enumerate(members) if member.noise]
        seeds = list(dict.fromkeys(members[place].noise_seed for place in models))
        of = [seeds.index(members[place].noise_seed) for place in models]
        scales = torch.tensor([[members[place].noise] for place in models], device=device)
        return cls(models, seeds, of, scales)


class Progress:
    """Adds to the draws of adaptive transforms which share of each model's steps is done."""

    def __init__(self, members: Sequence[Member], schedule: Schedule, device: torch.device) -> None:
        steps = [schedule.steps if member.steps is None else member.steps for member in members]
        self.steps = torch.tensor(steps, device=device)[:, None]
        self.adaptive = [isinstance(transform, Adaptive) for transform in schedule.transforms]

    def added(self, draws: Sequence[dict[str, Tensor]], number: int, width: int
              ) -> Sequence[dict[str, Tensor]]:
        """The draws for step `number`, of batches of this width."""
        if not any(self.adaptive):
            return draws
        done = (number / self.steps).expand(-1, width)
        return [own | {PROGRESS: done} if adaptive else own
                for own, adaptive in zip(draws, self.adaptive, strict=True)]


# ---------------------------------------------------------------- a call for each model and step

class Stepwise:
    """Draws in each step for each model.

    members: all of the group. drawing: those that draw batches. module: whose parameters get noise.
    shape: of an input.
    """

    def __init__(self, members: Sequence[Member], drawing: Sequence[Member], schedule: Schedule,
                 module: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
        self.chosen, self.shape = schedule.transforms, shape
        self.progress = Progress(members, schedule, device)
        self.iterators = [batches.member_batches(member, schedule.sampling, device)
                          for member in drawing]
        self.randoms = [batches.generator("transforms", member.batch_seed, device)
                        for member in members]
        # In an exact schedule, a batch has the same length alone and in a group.
        self.longest = members[0].shuffled_batch if schedule.exact else None
        self.noisy = _by_seed(Noisy.among(members, device), device)
        parameters = list(module.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        self.draw = torch.zeros(sum(sizes), device=device)
        # Draw per parameter, as Opacus does; a frozen parameter gets no noise.
        self.parts = list(itertools.compress(
            self.draw.split(sizes), [parameter.requires_grad for parameter in parameters]))

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        self.number = number
        self.drawn = [next(each) for each in self.iterators]
        indices, present = batches.pad(self.drawn, longest=self.longest)
        self.width = indices.shape[1]
        return indices, present

    def transformed(self) -> Sequence[dict[str, Tensor]]:
        if not self.chosen:
            return ()
        found = batches.draws(self.chosen, self.drawn, self.shape, self.randoms, self.width)
        return self.progress.added(found, self.number, self.width)

    def add_noise(self, sums: Tensor, growth: Tensor | None) -> None:
        """Models of one noise seed share one draw, each at its scale."""
        for random, models, scales in self.noisy:
            scales = scales if growth is None else scales * growth[models]
            for part in self.parts:
                part.normal_(generator=random)
            noisy = sums[models].addcmul_(self.draw, scales)
            if not isinstance(models, slice):  # `noisy` is a copy, not a view
                sums[models] = noisy


def _by_seed(noisy: Noisy, device: torch.device
             ) -> list[tuple[torch.Generator, slice | Tensor, Tensor]]:
    """For each noise seed its generator, its members, and their scales [models, 1]."""
    found = []
    for place, seed in enumerate(noisy.seeds):
        own = [at for at, of in enumerate(noisy.of) if of == place]
        models = [noisy.models[at] for at in own]
        first, last = models[0], models[-1]
        one_after_another = last - first + 1 == len(models)
        index = (slice(first, last + 1) if one_after_another
                 else torch.tensor(models, device=device))
        found.append((batches.generator("noise", seed, device), index, noisy.scales[own]))
    return found


# ---------------------------------------------------------------- blocks of steps

class Ahead:
    """Draws blocks of steps ahead; arguments as for `Stepwise`.

    The calls that a block takes for each model are spread over its steps. Batches are padded to a
    width that grows when a batch is larger, and never shrinks, so that shapes seldom change.
    """

    def __init__(self, members: Sequence[Member], drawing: Sequence[Member], schedule: Schedule,
                 module: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
        self.own = [OwnBatches(member, schedule, shape, device) for member in drawing]
        self.first = self.end = 0  # steps of the group's current block
        self.progress = Progress(members, schedule, device)
        noisy = Noisy.among(members, device)
        self.randoms = [batches.generator("noise", seed, device) for seed in noisy.seeds]
        numbers = sum(parameter.numel() for parameter in module.parameters())
        self.steps = noise_steps(numbers)
        self.noise = torch.empty(len(noisy.seeds), self.steps, numbers, device=device)
        self.scales = noisy.scales
        # None: every member has noise, from a seed of its own, so that nothing need be gathered.
        every = noisy.models == list(range(len(members)))
        self.models = None if every else torch.tensor(noisy.models, device=device)
        self.of = None if every and len(noisy.seeds) == len(members) else torch.tensor(
            noisy.of, device=device)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        if number == self.end:
            self._next_block()
        self.number, self.at = number, number - self.first
        return self.indices[self.at], self.present[self.at]

    def _next_block(self) -> None:
        """Steps for which every model has drawn, as [steps, models, width]."""
        for each in self.own:
            if not each.left:
                each.draw()
        steps = min(each.left for each in self.own)
        width = max(each.width for each in self.own)
        taken = [each.take(steps) for each in self.own]
        self.indices, self.present = (
            torch.stack([_widened(block, width) for block in blocks], 1)
            for blocks in zip(*((each.indices, each.present) for each in taken)))
        self.draws = [{name: torch.stack([_widened(each.draws[place][name], width)
                                          for each in taken], 1)
                       for name in names} for place, names in enumerate(taken[0].draws)]
        self.first, self.end = self.end, self.end + steps

    def transformed(self) -> Sequence[dict[str, Tensor]]:
        found = [{name: values[self.at] for name, values in own.items()} for own in self.draws]
        return self.progress.added(found, self.number, self.indices.shape[2])

    def add_noise(self, sums: Tensor, growth: Tensor | None) -> None:
        if not self.randoms:
            return
        at = self.number % self.steps
        if not at:
            for block, random in zip(self.noise, self.randoms):
                block.normal_(generator=random)
        noise = self.noise[:, at] if self.of is None else self.noise[self.of, at]
        if self.models is None:
            sums.addcmul_(noise, self.scales if growth is None else self.scales * growth)
            return
        scales = self.scales if growth is None else self.scales * growth[self.models]
        sums.index_add_(0, self.models, noise * scales)


@dataclass
class Block:
    """Steps of one model: indices and present [steps, width], and each transform's draws [steps,
    width, ...]."""

    indices: Tensor
    present: Tensor
    draws: list[dict[str, Tensor]] = field(default_factory=list)

    def cut(self, start: int, end: int) -> "Block":
        """The steps from `start` to before `end`."""
        return Block(self.indices[start:end], self.present[start:end],
                     [{name: values[start:end] for name, values in own.items()}
                      for own in self.draws])


class OwnBatches:
    """One model's batches in blocks, with the draws of its transforms.

    left: steps drawn and not taken yet. width: to which its batches are padded, by itself.
    """

    def __init__(self, member: Member, schedule: Schedule, shape: tuple[int, ...],
                 device: torch.device) -> None:
        self.shape, self.transforms = shape, schedule.transforms
        random, n = batches.generator("batches", member.batch_seed, device), len(member.rows)
        if schedule.sampling == "poisson":
            rate = member.batch_size / member.nominal
            self.width = _rounded(n * rate + DEVIATIONS * math.sqrt(n * rate))
            self.blocks = poisson(n, rate, random)
        else:
            self.width = member.shuffled_batch
            self.blocks = shuffled(n, self.width, random)
        self.random = batches.generator("transforms", member.batch_seed, device)
        self.more: list[Block] = []  # drawn, without the transforms' draws
        self.left = 0

    def draw(self) -> None:
        """Draw the next block: its batches, and the transforms' draws for their first steps."""
        if not self.more:
            indices, present = next(self.blocks)
            if indices.shape[1] > self.width:  # an unusually large Poisson batch
                self.width = _rounded(indices.shape[1])
            self.more = self._split(_widened(indices, self.width), _widened(present, self.width))
        self.block = self.more.pop(0)
        self.left, self.at = len(self.block.indices), 0
        self.block.draws = [self._transformed(each) for each in self.transforms]

    def _split(self, indices: Tensor, present: Tensor) -> list[Block]:
        """In blocks for which the transforms draw no more than `TRANSFORM_NUMBERS`."""
        if not self.transforms:
            return [Block(indices, present)]
        probe = batches.generator("probe", 0, self.random.device)
        numbers = sum(values.numel() for each in self.transforms
                      for values in each.draw(1, self.shape, probe).values())
        steps = block_steps(TRANSFORM_NUMBERS, numbers * indices.shape[1])
        return [Block(*both) for both in zip(indices.split(steps), present.split(steps))]

    def _transformed(self, transform: Transform) -> dict[str, Tensor]:
        shape = self.block.indices.shape
        if transform.mixes == "batch":  # draws may name places in a batch: one batch at a time
            sizes = self.block.present.sum(1).int().tolist()
            drawn = [transform.draw(size, self.shape, self.random) for size in sizes]
            return {name: batches.pad_rows([own[name] for own in drawn], shape[1])
                    for name in drawn[0]}
        drawn = transform.draw(shape.numel(), self.shape, self.random)
        return {name: values.unflatten(0, shape) for name, values in drawn.items()}

    def take(self, steps: int) -> Block:
        """The next steps; at most as many as are left."""
        taken = self.block.cut(self.at, self.at + steps)
        self.at += steps
        self.left -= steps
        return taken


def block_steps(most: int, numbers: int) -> int:
    """Steps of a block for which `numbers` a step make at most `most`; at least 1."""
    return max(1, min(LONGEST, most // max(1, numbers)))


def noise_steps(parameters: int) -> int:
    """Steps for which a model of so many parameters draws its noise at once."""
    return block_steps(NOISE_NUMBERS, parameters)


def poisson(n: int, sample_rate: float, random: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of batches in which every record is independently with probability `sample_rate`:
    indices and present, both [steps, longest batch of the block]."""
    steps, device = block_steps(BATCH_NUMBERS, n), random.device
    while True:
        chosen = torch.rand(steps, n, generator=random, device=device) < sample_rate
        step, row = chosen.nonzero(as_tuple=True)  # in the order of the steps
        sizes = chosen.sum(1)
        place = torch.arange(len(step), device=device) - (sizes.cumsum(0) - sizes)[step]
        width = max(1, int(sizes.max()))
        indices = torch.zeros(steps, width, dtype=torch.long, device=device)
        indices[step, place] = row
        yield indices, _present(sizes, indices.shape[1])


def shuffled(n: int, batch_size: int, random: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of whole epochs: a new permutation each epoch, cut into batches, of which the last may
    be smaller; indices and present, both [steps, batch_size]."""
    steps, device = -(-n // batch_size), random.device
    epochs = block_steps(BATCH_NUMBERS // steps, n)
    sizes = torch.full((steps,), batch_size, device=device)
    sizes[-1] = n - (steps - 1) * batch_size
    present = _present(sizes, batch_size).repeat(epochs, 1)
    while True:
        # Doubles, because among 2^24 floats two records of a large set would often tie.
        keys = torch.rand(epochs, n, generator=random, dtype=torch.float64, device=device)
        order = F.pad(keys.argsort(1), (0, steps * batch_size - n))
        yield order.view(epochs * steps, batch_size), present


def _present(sizes: Tensor, width: int) -> Tensor:
    """1 for the first so many places of each step and 0 for the rest [steps, width]."""
    return (torch.arange(width, device=sizes.device) < sizes[:, None]).float()


def _widened(values: Tensor, width: int) -> Tensor:
    """Values [steps, places, ...] with zeros after the last place, up to `width`."""
    missing = width - values.shape[1]
    return F.pad(values, (*[0, 0] * (values.dim() - 2), 0, missing)) if missing else values


def _rounded(width: float) -> int:
    return -(-math.ceil(width) // ROUND) * ROUND
