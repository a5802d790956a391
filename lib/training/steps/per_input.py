"""Losses of a group at its current weights, as functions of its inputs."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib.training import losses
from lib.training.steps import closed_form


def input_losses(module: nn.Module, parameters: dict[str, Tensor], buffers: dict[str, Tensor],
                 x: Tensor, labels: Tensor, *, kind: str, batched: bool = False) -> Tensor:
    """Every sample's loss [models, batch], differentiable in the inputs x [models, batch, ...].

    module: in evaluation mode, so that a sample's loss depends on no other sample, and buffers
    stay. parameters, buffers: name -> [models, ...]. labels, kind: as `closed_form.gradient_sums`.
    batched: see `closed_form.forward`.
    """
    if closed_form.supports(module, x.dim() - 2):
        logits = closed_form.forward(module, parameters, x, batched=batched)
    else:
        values = parameters | buffers
        logits = torch.stack([
            functional_call(module, {name: value[model] for name, value in values.items()}, own)
            for model, own in enumerate(x)])
    found = losses.losses(logits.flatten(0, 1), labels.flatten(0, 1), kind)
    return found.view(x.shape[:2])
