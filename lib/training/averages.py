"""Averages of a training's iterates: further weights to measure from the same run.

"tail" after s steps is the mean of the iterates floor(s/2) + 1 to s (Polyak and Juditsky 1992, over
the last half). "ema" is the exponential moving average of De et al. 2022 (arXiv 2204.13650): it
starts at the initial weights and becomes d ema + (1 - d) w after each step, with
d = min(decay, (1 + t) / (10 + t)) after t earlier steps. Both are affine in the iterates, so they
can be computed in any coordinates from which the weights follow affinely (`steps.coefficients`).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

NAMES = ("tail", "ema")


def check(names: Sequence[str], decay: float) -> None:
    """Raise ValueError for an unknown average or a decay out of range."""
    for name in names:
        if name not in NAMES:
            raise ValueError(f"averages {name!r}: expected some of {', '.join(NAMES)}")
    if not 0 <= decay < 1:
        raise ValueError(f"ema_decay {decay}: expected 0 or more and below 1")


class Tail:
    """The mean over the last half of the iterates, for each model at each wanted step.

    first: the initial iterates [models, numbers]. steps: number of updates of each model. wanted:
    steps at which to take the mean; a model that has finished keeps its final mean.
    """

    def __init__(self, first: Tensor, steps: Sequence[int], wanted: Iterable[int]) -> None:
        self.mean, self.total = first.clone(), torch.zeros_like(first, dtype=torch.float64)
        self.ends: dict[int, list[int]] = defaultdict(list)  # step: models
        self.starts: dict[int, list[int]] = defaultdict(list)
        self.sums: list[dict[int, Tensor]] = [{0: self.total[0].clone()} for _ in steps]
        for model, last in enumerate(steps):
            for end in {min(step, last) for step in (*wanted, last)}:
                self.ends[end].append(model)
                self.starts[end // 2].append(model)

    def add(self, values: Tensor, number: int) -> None:
        """Add the iterate [models, numbers] after `number` updates."""
        self.total += values
        for model in self.starts.get(number, ()):
            self.sums[model][number] = self.total[model].clone()
        for model in self.ends.get(number, ()):
            start = number // 2
            self.mean[model] = (self.total[model] - self.sums[model][start]) / (number - start)


class Ema:
    """The exponential moving average of each model; a model that has finished keeps its last."""

    def __init__(self, first: Tensor, steps: Sequence[int], decay: float) -> None:
        self.mean, self.steps, self.decay = first.clone(), steps, decay

    def add(self, values: Tensor, number: int) -> None:
        """Add the iterate [models, numbers] after `number` updates."""
        weight = 1 - min(self.decay, number / (number + 9))
        moving = [model for model, last in enumerate(self.steps) if number <= last]
        if len(moving) == len(self.steps):
            self.mean.lerp_(values, weight)
        else:
            self.mean[moving] = self.mean[moving].lerp(values[moving], weight)


def averages(names: Sequence[str], first: Tensor, steps: Sequence[int], wanted: Iterable[int], *,
             decay: float) -> dict[str, Tail | Ema]:
    """The named averages, each with a method `add(values, number)` and an attribute `mean`."""
    made = {"tail": lambda: Tail(first, steps, wanted), "ema": lambda: Ema(first, steps, decay)}
    return {name: made[name]() for name in names}
