"""SGD, RMSProp and Adam for many models at once, with the results of `torch.optim`'s defaults.

`torch.optim` has one learning rate per parameter group. A hundred models with different learning
rates would need a hundred groups and, on a GPU, a hundred times as many launches. Parameters are
[models, parameters].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """The update rule of all models of a group, with the names and defaults of `torch.optim`."""

    name: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


NAMES = ("sgd", "rmsprop", "adam")


class Optimizer:
    """Updates `parameters` [models, parameters] in place; its state has the same shape.

    frozen: columns that never change, not even by weight decay.
    """

    def __init__(self, parameters: Tensor, rule: Rule, frozen: Sequence[slice] = ()) -> None:
        self.parameters, self.rule, self.step_count = parameters, rule, 0
        self.frozen = list(frozen)
        self.first = torch.zeros_like(parameters) if rule.name == "adam" or rule.momentum else None
        adaptive = rule.name in ("rmsprop", "adam")
        self.second = torch.zeros_like(parameters) if adaptive else None
        # Allocated once, because on a CPU allocating a temporary costs more than filling it.
        self.scale = torch.empty_like(parameters) if adaptive else None

    def step(self, gradients: Tensor, rates: Tensor) -> None:
        """Update once with `gradients` [models, parameters] (overwritten) and `rates` [models]."""
        self.step_count += 1
        if self.rule.weight_decay:
            gradients.add_(self.parameters, alpha=self.rule.weight_decay)
        for columns in self.frozen:
            gradients[:, columns] = 0.0
        getattr(self, "_" + self.rule.name)(gradients, rates.view(-1, 1))

    def _sgd(self, gradients: Tensor, rates: Tensor) -> None:
        if self.first is not None:
            # torch.optim.SGD initialises the buffer with the first gradient, which is the same.
            torch.add(gradients, self.first, alpha=self.rule.momentum, out=self.first)
            update = self.first
            if self.rule.nesterov:
                update = gradients.add_(self.first, alpha=self.rule.momentum)
        else:
            update = gradients
        self.parameters.addcmul_(update, rates, value=-1)

    def _rmsprop(self, gradients: Tensor, rates: Tensor) -> None:
        second = self._moment("second", self.second)
        second.mul_(0.99).addcmul_(gradients, gradients, value=0.01)
        update = gradients.div_(torch.sqrt(second, out=self.scale).add_(1e-8))
        if self.first is not None:
            update = self.first.mul_(self.rule.momentum).add_(update)
        self.parameters.addcmul_(update, rates, value=-1)

    def _adam(self, gradients: Tensor, rates: Tensor) -> None:
        first = self._moment("first", self.first)
        second = self._moment("second", self.second)
        first.lerp_(gradients, 0.1)
        second.mul_(0.999).addcmul_(gradients, gradients, value=0.001)
        # Both bias corrections on the rates, instead of one on every second moment.
        correction = math.sqrt(1 - 0.999**self.step_count)
        scale = torch.sqrt(second, out=self.scale).add_(1e-8 * correction)
        update = torch.div(first, scale, out=gradients)
        rates = rates * (correction / (1 - 0.9**self.step_count))
        self.parameters.addcmul_(update, rates, value=-1)

    def _moment(self, name: str, state: Tensor | None) -> Tensor:
        if state is None:
            raise ValueError(f"rule {self.rule.name} keeps no {name} moment")
        return state
