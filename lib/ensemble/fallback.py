"""Gradient sums of any module whose layers keep samples apart, by `vmap(grad)`: the slow path and the tests' oracle."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lib.ensemble.losses import losses


def check(module: nn.Module) -> None:
    """Refuse layers that mix the samples of a batch, where clipping means nothing, and layers that draw numbers."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"model layer {name!r} mixes the samples of a batch (batch normalisation); "
                             "per-sample clipping needs GroupNorm or LayerNorm in its place")
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise ValueError(f"model layer {name!r} draws random numbers of its own (dropout); "
                             "a run could not be repeated: leave it out, or set p to 0")


def sums(module: nn.Module, parameters: dict[str, Tensor], x: Tensor, labels: Tensor, present: Tensor,
         bounds: Tensor | None, *, kind: str = "targets") -> list[Tensor]:
    """As `layers.gradient_sums`; the models one after the other."""
    one = _plain if bounds is None else _clipped
    results = []
    for model in range(len(x)):
        values = {name: value[model] for name, value in parameters.items()}
        bound = () if bounds is None else (bounds[model],)
        results.append(one(module, values, x[model], labels[model], present[model], *bound, kind))
    return [torch.stack(parts) for parts in zip(*results)]


def _plain(module, parameters, x, labels, present, kind):
    def loss(parameters):
        return (losses(functional_call(module, parameters, x), labels, kind) * present).sum()
    return list(grad(loss)(parameters).values())


def _clipped(module, parameters, x, labels, present, bound, kind):
    def loss(parameters, sample, label):
        return losses(functional_call(module, parameters, sample[None]), label[None], kind)[0]
    gradients = list(vmap(grad(loss), (None, 0, 0), randomness="error")(parameters, x, labels).values())
    norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    finite = norms.isfinite()  # a record without a finite gradient counts for nothing
    scales = present * (bound / norms.clamp_min(1e-30)).clamp_max(1.0).where(finite, 0.0)
    return [torch.tensordot(scales, gradient.where(finite.view(-1, *[1] * (gradient.dim() - 1)), 0.0), 1) for gradient in gradients]
