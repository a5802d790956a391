"""One side of a benchmark, and the plain PyTorch loop that most compare with."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from lib import training
from lib.defences import opacus_engine
from lib.training import Member, Schedule


@dataclass(frozen=True)
class Side:
    """One contender: `train(schedule)` returns parameters [models, parameters], or what else tells
    two results apart.

    steps: per round. required: how many times as long as ours this side must take at least. models:
    how many of the benchmark's models it trains, None for all; a loop takes as long for each, so
    the first few are enough.
    """

    name: str
    train: Callable[[Schedule], torch.Tensor]
    steps: int
    required: float | None = None
    models: int | None = None


def shuffled(schedule: Schedule) -> Schedule:
    """The schedule with whole passes over the data."""
    return replace(schedule, sampling="shuffle")


def plain(build: Callable[[], nn.Module], pool: torch.Tensor, members: list[Member],
          schedule: Schedule, layout: torch.memory_format = torch.contiguous_format,
          change: Callable | None = None) -> torch.Tensor:
    """Plain PyTorch, one model after another, on the same batches, without clipping or noise.

    change: from a module, its inputs and their labels to the inputs to train on.
    """
    trained = []
    with training.products(schedule.precision):
        for member in members:
            module = training.initialise(build, member.init_seed).to(pool.device)
            if member.start is not None:
                start = member.start.clone().to(pool.device)
                nn.utils.vector_to_parameters(start, module.parameters())
            module.to(memory_format=layout)
            rows, labels = member.rows.to(pool.device), member.labels.to(pool.device)
            optimizer = opacus_engine.torch_optimizer(module, member.lr, schedule)
            batches = training.member_batches(member, schedule.sampling, pool.device)
            for _ in range(schedule.steps):
                chosen = next(batches)
                optimizer.zero_grad()
                inputs = training.as_input(
                    pool[rows[chosen]]).contiguous(memory_format=layout)
                if change is not None:
                    inputs = change(module, inputs, labels[chosen])
                    optimizer.zero_grad()
                F.cross_entropy(module(inputs), labels[chosen]).backward()
                optimizer.step()
            trained.append(
                torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    return torch.stack(trained)
