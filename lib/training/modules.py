"""Networks: first weights, numbers as flat vectors, and which of them can be trained."""

import copy
import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

_initialising = threading.Lock()  # torch's global generator is one for all threads

RANDOM = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)

def initialise(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module with its usual initialisation, drawn from `seed` alone."""
    with _initialising, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def flatten(module: nn.Module) -> Tensor:
    """The module's parameters, then its buffers, in one vector."""
    flat = nn.utils.parameters_to_vector(module.parameters()).detach()
    return torch.cat([flat, *(buffer.flatten().to(flat) for buffer in module.buffers())])


def unflatten(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Views of `flat` [models, parameters, ...] as the module's parameters, by name."""
    views, start = {}, 0
    for name, parameter in module.named_parameters():
        views[name] = flat[:, start : start + parameter.numel()].unflatten(
            1, parameter.shape or (1,)
        )
        start += parameter.numel()
    return views


def unflatten_buffers(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Copies of what `flat` [models, parameters and buffers] holds of the module's buffers."""
    sizes = [buffer.numel() for buffer in module.buffers()]
    parts = flat[:, flat.shape[1] - sum(sizes) :].split(sizes, 1)
    return {
        name: part.reshape(len(flat), *buffer.shape).to(buffer.dtype, copy=True)
        for (name, buffer), part in zip(module.named_buffers(), parts)
    }


def spectral_norms(module: nn.Module) -> list[str]:
    """Names of layers with a spectral norm, which iterates on vectors of its own in every call."""
    found = []
    for name, layer in module.named_modules():
        kept = (layer, *layer._forward_pre_hooks.values())  # a parametrization, or the older hook
        if any(isinstance(one, (SpectralNorm, _SpectralNorm)) for one in kept):
            found.append(name)
    return found


def check_averages(module: nn.Module, names: Sequence[str]) -> None:
    """Refuse averages of weights whose spectral norm is read off vectors kept beside them."""
    layers = spectral_norms(module)
    if names and layers:
        raise ValueError(
            f"averages {', '.join(names)}: model layer {layers[0]!r} has a spectral norm, "
            "whose vectors cannot be averaged; leave one of the two out"
        )


def check_starts(module: nn.Module, starts: Sequence[Tensor]) -> None:
    """Refuse starts that are of another module: ValueError that names both lengths."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    buffers = sum(buffer.numel() for buffer in module.buffers())
    for start in starts:
        if start.shape != (parameters + buffers,):
            raise ValueError(f"start with weights of shape {tuple(start.shape)}, of another "
                             f"architecture: expected ({parameters + buffers},), {parameters} "
                             f"parameters and {buffers} buffers of this model")


def load(module: nn.Module, flat: Tensor) -> None:
    """Put parameters and buffers of `flatten` into the module."""
    nn.utils.vector_to_parameters(flat, module.parameters())
    for name, buffer in unflatten_buffers(module, flat[None]).items():
        module.get_buffer(name).copy_(buffer[0])


def mixes_a_batch(module: nn.Module) -> bool:
    """True with batch normalisation: statistics of a batch are in what the module computes."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())


def frozen(module: nn.Module) -> list[str]:
    """Names of the parameters that are not trained."""
    return [name for name, parameter in module.named_parameters() if not parameter.requires_grad]


def check(module: nn.Module, *, clipped: bool) -> None:
    """Refuse what cannot be trained here: ValueError that names the layer or parameter.

    clipped: whether gradients of single samples are clipped.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(
            f"model {type(module).__name__} has no trainable weights: expected at least one "
            "parameter with requires_grad=True"
        )
    for name, layer in module.named_modules():
        if clipped and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"model layer {name!r} mixes the samples of a batch (batch normalisation); "
                "per-sample clipping needs GroupNorm or LayerNorm in its place"
            )
        if isinstance(layer, RANDOM):
            raise ValueError(f"model layer {name!r} draws random numbers of its own "
                             f"({type(layer).__name__}); a run could not be repeated: leave it out")
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise ValueError(
                f"model layer {name!r} draws random numbers of its own (dropout); "
                "a run could not be repeated: leave it out, or set p to 0"
            )
        if "forward" in vars(
            layer
        ):  # a copy of the layer would still call it with this one's weights
            raise ValueError(
                f"model layer {name!r} has a forward set on the object: define it in a class"
            )
        if layer._backward_hooks or layer._backward_pre_hooks:
            raise ValueError(
                f"model layer {name!r} has a backward hook, which torch.func cannot call: "
                "remove it, or change the gradient in the layer's own forward"
            )
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks:
            raise ValueError(
                f"model parameter {name!r} has a hook on its gradient, which is not called here: "
                "remove it (a frozen parameter has requires_grad=False)"
            )


def duplicate(module: nn.Module) -> nn.Module:
    """A copy that shares no tensor with `module`: `functional_call` changes what it is given.

    `copy.deepcopy` refuses tensors that were computed, such as the weight that `weight_norm` keeps.
    """
    computed = [
        value
        for layer in module.modules()
        for value in vars(layer).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})
