"""From images and flat parameters to what a network is called with."""

import torch
from torch import Tensor, nn


def as_input(x: Tensor) -> Tensor:
    """uint8 images become floats in [0, 1], features stay as they are."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def unflatten(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Views of `flat` [models, parameters] as the module's parameters, name -> [models, ...]."""
    views, start = {}, 0
    for name, parameter in module.named_parameters():
        views[name] = flat[:, start : start + parameter.numel()].unflatten(1, parameter.shape or (1,))
        start += parameter.numel()
    return views
