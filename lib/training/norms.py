"""Clipping norms that follow a quantile of the gradients' norms.

Andrew, Thakkar, McMahan and Ramaswamy 2021, "Differentially private learning with adaptive
clipping", algorithm 1: after each step C <- C exp(-rate (b - quantile)), with b a noisy share of
the batch's records whose gradient has a norm of at most C.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lib.training.schedule import Member

BLOCK = 1024  # draws at a time: fixed, so that a model's draws depend on nothing but its seed
LEAST, MOST = 1e-10, 1e10  # float32 keeps the ratio of noise to norm exact between them


@dataclass(frozen=True)
class Quantile:
    """Which quantile of the norms to follow, and how fast.

    count_noise: standard deviation, in records, of the Gaussian noise on the number of records
    within the norm. That number is released as the sum of b_i - 1/2 over the batch, with b_i 1 or
    0, so that a record changes it by 1/2.
    """

    quantile: float
    rate: float
    count_noise: float

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile {self.quantile}: expected between 0 and 1")
        for name, value in (("rate", self.rate), ("count_noise", self.count_noise)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} {value}: expected 0 or more, and finite")


class Following:
    """The clipping norms of a group's models; members without a `Quantile` keep theirs.

    bounds: [models], changed in place: the norms times `slack` (`fit.slack`). steps: the number of
    updates of each model; afterwards its norm stays. randoms: of each model, for the noise on its
    count. within: [models], where a step counts the records within the bound.
    """

    def __init__(self, members: "Sequence[Member]", bounds: Tensor, steps: Sequence[int],
                 randoms: Sequence[torch.Generator], *, slack: float) -> None:
        device = bounds.device
        still = Quantile(0.0, 0.0, 0.0)
        chosen = [member.follows or still for member in members]
        self.quantiles, self.rates, self.deviations = torch.tensor(
            [[each.quantile, each.rate, each.count_noise] for each in chosen], device=device).T
        self.initial = torch.tensor([member.clipping_norm for member in members], device=device)
        self.norms, self.bounds, self.slack = self.initial.clone(), bounds, slack
        self.steps, self.randoms = torch.tensor(steps, device=device), randoms
        self.follow = self.rates > 0
        self.within = torch.zeros(len(members), device=device)

    @property
    def growth(self) -> Tensor:
        """The norms over the initial ones [models]: 1 where a member keeps its own."""
        return (self.norms / self.initial).where(self.follow, 1.0)

    def update(self, present: Tensor, expected: Tensor, number: int) -> None:
        """Update after step `number` (from 0).

        present: records in the batch, expected: what to divide them by, both [models] or [1].
        """
        if number % BLOCK == 0:
            self.draws = torch.stack([
                torch.randn(BLOCK, generator=random, device=self.bounds.device)
                for random in self.randoms])
        noise = self.deviations * self.draws[:, number % BLOCK]
        share = (self.within - present / 2 + noise) / expected + 0.5
        moved = self.norms * torch.exp(-self.rates * (share - self.quantiles))
        moving = self.follow & (self.steps > number)
        self.norms = moved.clamp(LEAST, MOST).where(moving, self.norms)
        self.bounds.copy_(self.norms * self.slack)
        self.within.zero_()
