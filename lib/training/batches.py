"""The records that each step uses, drawn separately for each model, and their inputs."""

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lib.training.schedule import Member
from lib.training.transforms import Transform


def generator(stream: str, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose of one run; different streams differ even for equal seeds."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


def poisson(n: int, sample_rate: float, random: torch.Generator) -> Iterator[Tensor]:
    """Batches in which every record is independently with probability `sample_rate`."""
    while True:
        chosen = torch.rand(n, generator=random, device=random.device) < sample_rate
        yield chosen.nonzero().flatten()


def shuffled(n: int, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    """A new permutation each epoch, cut into batches; the last batch of an epoch may be smaller."""
    while True:
        yield from torch.randperm(n, generator=random, device=random.device).split(batch_size)


def member_batches(member: Member, how: str, device: torch.device) -> Iterator[Tensor]:
    """The member's endless sequence of batches, as places among its rows."""
    random, n = generator("batches", member.batch_seed, device), len(member.rows)
    if how == "poisson":
        return poisson(n, member.batch_size / member.nominal, random)
    return shuffled(n, member.shuffled_batch, random)


def pad(batches: list[Tensor], *, longest: int | None = None) -> tuple[Tensor, Tensor]:
    """Stack batches of unequal length: indices and present (0 or 1), both [models, longest]."""
    longest = longest or max(1, max(len(batch) for batch in batches))
    indices = batches[0].new_zeros(len(batches), longest)
    present = torch.zeros(len(batches), longest, device=indices.device)
    for row, batch in enumerate(batches):
        indices[row, : len(batch)] = batch
        present[row, : len(batch)] = 1.0
    return indices, present


def draws(transforms: Sequence[Transform], drawn: list[Tensor], shape: tuple[int, ...],
          randoms: list[torch.Generator], width: int) -> list[dict[str, Tensor]]:
    """Every transform's draws [models, width, ...], from each model's own generator.

    A model draws for the records of its batch alone, and padding follows, so that it draws the same
    numbers alone and in a group.
    """
    by_model = [[transform.draw(len(batch), shape, random) for transform in transforms]
                for batch, random in zip(drawn, randoms, strict=True)]
    return [{name: pad_rows([values[name] for values in by_transform], width)
             for name in by_transform[0]}
            for by_transform in zip(*by_model)]


def as_input(x: Tensor) -> Tensor:
    """Convert uint8 images to floats in [0, 1]; return features unchanged."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def gather(pool: Tensor, members: Sequence[Member], longest: int) -> Tensor:
    """Each member's rows as inputs [models, longest, ...], with its noise, zero-padded."""
    x = as_input(pool[:0]).new_zeros(len(members), longest, *pool.shape[1:])
    for own, member in zip(x, members):
        own = own[: len(member.rows)]
        if member.input_noise:
            random = generator("inputs", member.input_seed, pool.device)
            own.normal_(0.0, member.input_noise, generator=random)
        own.add_(as_input(pool.index_select(0, member.rows.to(pool.device))))
    return x


def pad_rows(parts: Sequence[Tensor], longest: int) -> Tensor:
    """Stack tensors of unequal length [models, longest, ...], zero-padded after their last rows."""
    stacked = parts[0].new_zeros(len(parts), longest, *parts[0].shape[1:])
    for place, part in zip(stacked, parts):
        place[: len(part)] = part
    return stacked
