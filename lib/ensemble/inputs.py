"""From images and flat parameters to what a network is called with."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.ensemble import sampling


def as_input(x: Tensor) -> Tensor:
    """uint8 images become floats in [0, 1], features stay as they are."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def gather(pool: Tensor, members: Sequence, longest: int) -> Tensor:
    """Each member's rows as inputs [models, longest, ...], with its noise where it has any; 0 behind its last row."""
    x = as_input(pool[:0]).new_zeros(len(members), longest, *pool.shape[1:])
    for own, member in zip(x, members):
        own = own[: len(member.rows)]
        if member.input_noise:
            own.normal_(0.0, member.input_noise, generator=sampling.generator("inputs", member.input_seed, pool.device))
        own.add_(as_input(pool.index_select(0, member.rows.to(pool.device))))
    return x


def pad_rows(parts: Sequence[Tensor], longest: int) -> Tensor:
    """Tensors of unequal length stacked [models, longest, ...], 0 behind their ends."""
    stacked = parts[0].new_zeros(len(parts), longest, *parts[0].shape[1:])
    for place, part in zip(stacked, parts):
        place[: len(part)] = part
    return stacked


def flatten(module: nn.Module) -> Tensor:
    """The module's parameters, then its buffers, in one vector."""
    flat = nn.utils.parameters_to_vector(module.parameters()).detach()
    return torch.cat([flat, *(buffer.flatten().to(flat) for buffer in module.buffers())])


def unflatten(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Views of `flat` [models, at least the parameters] as the module's parameters, name -> [models, ...]."""
    views, start = {}, 0
    for name, parameter in module.named_parameters():
        views[name] = flat[:, start : start + parameter.numel()].unflatten(1, parameter.shape or (1,))
        start += parameter.numel()
    return views


def unflatten_buffers(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Copies of what `flat` [models, parameters and buffers] holds of the module's buffers."""
    sizes = [buffer.numel() for buffer in module.buffers()]
    parts = flat[:, flat.shape[1] - sum(sizes):].split(sizes, 1)
    return {name: part.reshape(len(flat), *buffer.shape).to(buffer.dtype, copy=True)
            for (name, buffer), part in zip(module.named_buffers(), parts)}
