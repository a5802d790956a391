"""Networks trained on fewer images than features: the first layer in coefficients of its inputs.

Gradient descent moves the weights of the first linear layer only along its inputs, so that at every
step W = s W0 + A'X for the member's inputs X [n, features], with a scalar s (weight decay) and
A [n, hidden]. SGD, even with momentum and weight decay, is linear in the weights, hence the same
rule applies to (s, A), and a step needs the Gram matrix XX' [n, n] in place of X. This is exact,
and cheaper by a factor of about features / n. Clipping, and rules that divide by each coordinate's
history (Adam, RMSProp), do not commute with the change of coordinates.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.training.batches import gather, pad_rows
from lib.training.losses import losses
from lib.training.modules import unflatten
from lib.training.schedule import Member, Schedule
from lib.training.steps import closed_form

MAX_RATIO = 0.5  # of images to features; above it, coefficients are not cheaper


def applies(module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule) -> bool:
    """Whether the Gram form is exact and cheaper for this group."""
    if first_linear(module, pool.dim() - 1) is None or schedule.rule.name != "sgd":
        return False
    if any(member.private or member.noise or math.isfinite(member.mean_norm)
           for member in members):
        return False
    if schedule.transforms or any(member.overlaid for member in members):  # inputs change
        return False
    return schedule.rows(members) <= MAX_RATIO * pool[0].numel()


def numbers(module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule) -> int:
    """Number of coordinates of one model of the group."""
    first = layers(module, pool.dim() - 1)[0]
    rest = sum(parameter.numel() for parameter in module.parameters()) - first.weight.numel()
    return 1 + schedule.rows(members) * first.out_features + rest


def first_linear(module: nn.Module, dimensions: int) -> int | None:
    """Place of the first layer with weights if it is linear and the network has closed forms.

    dimensions: of one input (3: images). Otherwise None.
    """
    if not closed_form.supports(module, dimensions):
        return None
    places = (place for place, layer in enumerate(module)
              if not isinstance(layer, (nn.Flatten, nn.Identity)))
    place = next(places, None)
    return place if place is not None and isinstance(module[place], nn.Linear) else None


def layers(module: nn.Module, dimensions: int) -> tuple[nn.Linear, nn.Sequential]:
    """The first layer with weights, and the layers after it."""
    place = first_linear(module, dimensions)
    if place is None or not isinstance(module, nn.Sequential):
        raise ValueError(f"model {type(module).__name__}: expected one that starts with a linear "
                         "layer; see `applies`")
    first, *rest = module[place:]
    if not isinstance(first, nn.Linear):
        raise TypeError(f"layer {place} is a {type(first).__name__}: expected Linear")
    return first, nn.Sequential(*rest)


class Coefficients:
    """The group in coordinates (s, A, other parameters) [models, 1 + n * hidden + rest]."""

    repeatable = True  # see `direct.Direct`

    def __init__(self, module: nn.Module, weights: Tensor, pool: Tensor,
                 members: Sequence[Member], schedule: Schedule, *, ahead: bool = False) -> None:
        self.ahead = ahead
        self.module, self.kind = module, schedule.labels
        self.first, self.rest = layers(module, pool.dim() - 1)
        longest, count = schedule.rows(members), self.first.weight.numel()
        self.labels = pad_rows([member.labels for member in members], longest).to(pool.device)
        self.x = gather(pool, members, longest).flatten(2)  # [models, n, features]
        # [models, hidden, features]
        self.initial = weights[:, :count].unflatten(1, self.first.weight.shape).clone()
        self.kernel = _pairs(self.x, self.x)  # [models, n, n]
        self.outputs = _pairs(self.x, self.initial)  # of the initial weights, [models, n, hidden]
        s = weights.new_ones(len(members), 1)
        a = weights.new_zeros(len(members), self.outputs[0].numel())
        self.coordinates = torch.cat([s, a, weights[:, count:]], 1)
        self.total = torch.zeros_like(self.coordinates)
        self.starts = longest * torch.arange(len(members), device=pool.device)[:, None]

    def _split(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Views of coordinates: s [models, 1], A [models, n, hidden], the first bias, the rest."""
        n, hidden = self.outputs.shape[1:]
        others = flat.shape[1] - 1 - n * hidden - hidden
        s, a, bias, rest = flat.split([1, n * hidden, hidden, others], 1)
        return s, a.unflatten(1, (n, hidden)), bias, rest

    def numbers(self) -> Tensor:
        """The group's coordinates."""
        return self.coordinates

    def states(self, values: Tensor) -> Tensor:
        """The group's weights [models, parameters] from coordinates, or from averages of them."""
        s, a, bias, rest = self._split(values)
        first = torch.stack([scale * start + part.T @ x
                             for scale, start, part, x in zip(s, self.initial, a, self.x)])
        return torch.cat([first.flatten(1), bias, rest], 1)

    def gradient_sums(self, indices: Tensor, present: Tensor, resting: Sequence[int] = (),
                      draws: Sequence[dict[str, Tensor]] = ()) -> Tensor:
        """Sums of gradients with respect to the first layer's outputs (A) and the rest."""
        s, a, bias, rest = self._split(self.coordinates)
        kernel, outputs, labels = (self._of(indices, values)
                                   for values in (self.kernel, self.outputs, self.labels))
        initial = outputs.mul_(s[:, :, None]).add_(bias[:, None])
        z = torch.baddbmm(initial, kernel, a).requires_grad_()
        parameters = {name: value.detach().requires_grad_()
                      for name, value in unflatten(self.rest, rest).items()}
        logits = closed_form.forward(self.rest, parameters, z)
        loss = losses(logits.flatten(0, 1), labels.flatten(0, 1), self.kind).view_as(present)
        errors, *gradients = torch.autograd.grad((loss * present).sum(), [z, *parameters.values()])
        _, slots, biases, others = self._split(self.total.zero_())
        if self.ahead:
            slots.scatter_add_(1, indices[:, :, None].expand_as(errors), errors)
        else:  # on a CPU adding whole rows is faster
            for slot, index, error in zip(slots, indices, errors):
                slot.index_add_(0, index, error)
        biases.copy_(errors.sum(1))
        if gradients:
            others.copy_(torch.cat([gradient.flatten(1) for gradient in gradients], 1))
        return self.total

    def _of(self, indices: Tensor, values: Tensor) -> Tensor:
        """Rows of each model's values [models, n, ...] at its indices [models, batch]."""
        # index_select on a flat index is ten times faster than indexing with a matrix.
        flat = (indices + self.starts).flatten()
        return values.flatten(0, 1).index_select(0, flat).unflatten(0, indices.shape)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of rows [models, rows of a, rows of b].

    Model by model, so that the bits do not depend on the group.
    """
    return torch.stack([left @ right.T for left, right in zip(a, b)])
