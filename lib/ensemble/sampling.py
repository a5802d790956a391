"""Which images a step sees: Poisson or shuffled batches, drawn by each model for itself."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor


def generator(stream: str, seed: int, device="cpu") -> torch.Generator:
    """A generator for one purpose of one run, so that streams of equal seeds do not repeat each other."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


def poisson(n: int, sample_rate: float, random: torch.Generator) -> Iterator[Tensor]:
    """Every record joins every batch independently with probability `sample_rate` (what the accountants assume)."""
    while True:
        yield (torch.rand(n, generator=random, device=random.device) < sample_rate).nonzero().flatten()


def shuffled(n: int, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    """A fresh permutation each epoch, cut into batches; the last one of an epoch may be smaller."""
    while True:
        yield from torch.randperm(n, generator=random, device=random.device).split(batch_size)


def pad(batches: list[Tensor], *, longest: int | None = None) -> tuple[Tensor, Tensor]:
    """Stack batches of unequal length: (indices [models, longest], present [models, longest] of 0 and 1)."""
    longest = longest or max(1, max(len(batch) for batch in batches))
    indices = batches[0].new_zeros(len(batches), longest)
    present = torch.zeros(len(batches), longest, device=indices.device)
    for row, batch in enumerate(batches):
        indices[row, : len(batch)] = batch
        present[row, : len(batch)] = 1.0
    return indices, present
