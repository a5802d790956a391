"""Gradient sums of any module whose layers keep samples apart, by `vmap(grad)`: the slow path and the tests' oracle."""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lib.ensemble.losses import losses


def check(module: nn.Module) -> None:
    """Refuse what cannot be trained here: ValueError with one line that names the layer or parameter."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(f"model {type(module).__name__} has no trainable weights: expected at least one "
                         "parameter with requires_grad=True")
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"model layer {name!r} mixes the samples of a batch (batch normalisation); "
                             "per-sample clipping needs GroupNorm or LayerNorm in its place")
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise ValueError(f"model layer {name!r} draws random numbers of its own (dropout); "
                             "a run could not be repeated: leave it out, or set p to 0")
        if "forward" in vars(layer):  # a copy of the layer would still call it with this one's weights
            raise ValueError(f"model layer {name!r} has a forward set on the object: define it in a class")
        if layer._backward_hooks or layer._backward_pre_hooks:
            raise ValueError(f"model layer {name!r} has a backward hook, which torch.func cannot call: "
                             "remove it, or change the gradient in the layer's own forward")
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks:
            raise ValueError(f"model parameter {name!r} has a hook on its gradient, which is not called here: "
                             "remove it (a frozen parameter has requires_grad=False)")


def duplicate(module: nn.Module) -> nn.Module:
    """A copy that shares no tensor with `module`: `functional_call` changes what it is given.

    `copy.deepcopy` refuses tensors that were computed, such as the weight that `weight_norm` keeps.
    """
    computed = [value for layer in module.modules() for value in vars(layer).values()
                if isinstance(value, Tensor) and not value.is_leaf]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})


def sums(module: nn.Module, parameters: dict[str, Tensor], x: Tensor, labels: Tensor, present: Tensor,
         bounds: Tensor | None, *, kind: str = "targets", buffers: dict[str, Tensor] | None = None) -> list[Tensor]:
    """As `layers.gradient_sums`; the models one after the other.

    Parameters with `requires_grad=False` count for nothing, their sums are 0. buffers: name -> [models, ...],
    updated in place where the module updates its own.
    """
    one = _plain if bounds is None else _clipped
    results = []
    for model in range(len(x)):
        values = {name: value[model] for name, value in parameters.items()}
        fixed = {name: value[model] for name, value in (buffers or {}).items()}
        fixed |= {name: values[name] for name in frozen(module)}
        moved = {name: value for name, value in values.items() if name not in fixed}
        bound = () if bounds is None else (bounds[model],)
        found = dict(zip(moved, one(module, moved, fixed, x[model], labels[model], present[model], *bound, kind)))
        results.append([found[name] if name in found else torch.zeros_like(values[name]) for name in values])
    return [torch.stack(parts) for parts in zip(*results)]


def frozen(module: nn.Module) -> list[str]:
    """Names of the parameters that are not trained."""
    return [name for name, parameter in module.named_parameters() if not parameter.requires_grad]


def _plain(module, moved, fixed, x, labels, present, kind):
    def loss(moved):
        return (losses(functional_call(module, moved | fixed, x), labels, kind) * present).sum()
    return list(grad(loss)(moved).values())


def _clipped(module, moved, fixed, x, labels, present, bound, kind):
    def loss(moved, sample, label):
        return losses(functional_call(module, moved | fixed, sample[None]), label[None], kind)[0]
    gradients = list(vmap(grad(loss), (None, 0, 0), randomness="error")(moved, x, labels).values())
    norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    finite = norms.isfinite()  # a record without a finite gradient counts for nothing
    scales = present * (bound / norms.clamp_min(1e-30)).clamp_max(1.0).where(finite, 0.0)
    return [torch.tensordot(scales, gradient.where(finite.view(-1, *[1] * (gradient.dim() - 1)), 0.0), 1) for gradient in gradients]
