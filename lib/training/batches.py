"""Which records a step sees, drawn by each model for itself, and as what inputs."""

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lib.training.schedule import Member
from lib.training.transforms import Transform


def generator(stream: str, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose of one run: streams of equal seeds do not repeat each other."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


def poisson(n: int, sample_rate: float, random: torch.Generator) -> Iterator[Tensor]:
    """Every record joins every batch independently with probability `sample_rate`."""
    while True:
        yield (
            (torch.rand(n, generator=random, device=random.device) < sample_rate)
            .nonzero()
            .flatten()
        )


def shuffled(n: int, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    """A fresh permutation each epoch, cut into batches; the last one of an epoch may be smaller."""
    while True:
        yield from torch.randperm(n, generator=random, device=random.device).split(batch_size)


def member_batches(member: Member, how: str, device: torch.device) -> Iterator[Tensor]:
    """The member's batches, as places among its rows, for ever."""
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


def draws(
    transforms: Sequence[Transform],
    drawn: list[Tensor],
    shape: tuple[int, ...],
    randoms: list[torch.Generator],
    width: int,
) -> list[dict[str, Tensor]]:
    """Every transform's draws [models, width, ...], each model's from its own generator.

    As many are drawn as the batch has records, and padded then: alone or in a group the same
    numbers.
    """
    own = [
        [transform.draw(len(batch), shape, random) for transform in transforms]
        for batch, random in zip(drawn, randoms, strict=True)
    ]
    return [
        {name: pad_rows([one[name] for one in same], width) for name in same[0]}
        for same in zip(*own)
    ]


def as_input(x: Tensor) -> Tensor:
    """uint8 images become floats in [0, 1], features stay as they are."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def gather(pool: Tensor, members: Sequence[Member], longest: int) -> Tensor:
    """Each member's rows as inputs [models, longest, ...], with its noise, zero-padded."""
    x = as_input(pool[:0]).new_zeros(len(members), longest, *pool.shape[1:])
    for own, member in zip(x, members):
        own = own[: len(member.rows)]
        if member.input_noise:
            own.normal_(
                0.0,
                member.input_noise,
                generator=generator("inputs", member.input_seed, pool.device),
            )
        own.add_(as_input(pool.index_select(0, member.rows.to(pool.device))))
    return x


def pad_rows(parts: Sequence[Tensor], longest: int) -> Tensor:
    """Tensors of unequal length stacked [models, longest, ...], 0 behind their ends."""
    stacked = parts[0].new_zeros(len(parts), longest, *parts[0].shape[1:])
    for place, part in zip(stacked, parts):
        place[: len(part)] = part
    return stacked
