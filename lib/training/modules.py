"""Networks: initial weights, parameters as flat vectors, and checks that a module can be trained.
"""

import copy
import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

_initialising = threading.Lock()  # all threads share torch's global generator

RANDOM = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


def initialise(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module with its usual initialisation, drawn from `seed` alone."""
    with _initialising, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def flatten(module: nn.Module) -> Tensor:
    """The module's parameters, then its buffers, as one vector."""
    flat = nn.utils.parameters_to_vector(module.parameters()).detach()
    return torch.cat([flat, *(buffer.flatten().to(flat) for buffer in module.buffers())])


def unflatten(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Views of `flat` [models, parameters, ...] as the module's parameters, by name."""
    views, start = {}, 0
    for name, parameter in module.named_parameters():
        end = start + parameter.numel()
        views[name], start = flat[:, start:end].unflatten(1, parameter.shape or (1,)), end
    return views


def unflatten_buffers(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Copies of the buffers in `flat` [models, parameters and buffers], by name."""
    sizes = [buffer.numel() for buffer in module.buffers()]
    parts = flat[:, flat.shape[1] - sum(sizes) :].split(sizes, 1)
    return {name: part.reshape(len(flat), *buffer.shape).to(buffer.dtype, copy=True)
            for (name, buffer), part in zip(module.named_buffers(), parts)}


def spectral_norms(module: nn.Module) -> list[str]:
    """Names of layers with a spectral norm, which updates its own vectors in every call."""
    found = []
    for name, layer in module.named_modules():
        # It is a parametrization, or in older code a hook.
        candidates = (layer, *layer._forward_pre_hooks.values())
        if any(isinstance(part, (SpectralNorm, _SpectralNorm)) for part in candidates):
            found.append(name)
    return found


def check_averages(module: nn.Module, names: Sequence[str]) -> None:
    """Raise ValueError for averages of a module with a spectral norm, whose state is not affine."""
    layers = spectral_norms(module)
    if names and layers:
        raise ValueError(
            f"averages {', '.join(names)}: model layer {layers[0]!r} has a spectral norm, "
            "whose vectors cannot be averaged; leave one of the two out")


def check_starts(module: nn.Module, starts: Sequence[Tensor]) -> None:
    """Raise ValueError for start weights of another architecture."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    buffers = sum(buffer.numel() for buffer in module.buffers())
    for start in starts:
        if start.shape != (parameters + buffers,):
            raise ValueError(f"start with weights of shape {tuple(start.shape)}, from another "
                             f"architecture: expected ({parameters + buffers},) for this model's "
                             f"{parameters} parameters and {buffers} buffers")


def check_buffers(module: nn.Module, micro_batches: Sequence[int]) -> None:
    """Raise ValueError for buffers of a module that is trained by micro-batches.

    Each micro-batch would update them, without clipping and without noise.
    """
    names = [name for name, _ in module.named_buffers()]
    if names and max(micro_batches) > 1:
        raise ValueError(f"model buffer {names[0]!r} with {max(micro_batches)} micro-batches: "
                         "expected a model without buffers; replace batch normalisation by "
                         "GroupNorm or LayerNorm")


def image_layout(module: nn.Module) -> torch.memory_format:
    """The memory format of images for a training of the module.

    Channels-last, in which pooling on a CPU is five times faster. Not with a 1x1 convolution that
    skips pixels of 2 to 7 channels: on a CPU without AVX-512, oneDNN then writes past its memory
    while it computes the gradient of the weights (its issue 6035).
    """
    overruns = any(isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
                   and max(layer.stride) > 1 and layer.in_channels < 8
                   for layer in module.modules())
    return torch.contiguous_format if overruns else torch.channels_last


def load(module: nn.Module, flat: Tensor) -> None:
    """Load parameters and buffers, as from `flatten`, into the module."""
    nn.utils.vector_to_parameters(flat, module.parameters())
    for name, buffer in unflatten_buffers(module, flat[None]).items():
        module.get_buffer(name).copy_(buffer[0])


def mixes_a_batch(module: nn.Module) -> bool:
    """Whether the module has batch normalisation, so that outputs depend on the whole batch."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())


def frozen(module: nn.Module) -> list[str]:
    """Names of the parameters that are not trained."""
    return [name for name, parameter in module.named_parameters() if not parameter.requires_grad]


def check(module: nn.Module, *, clipped: bool) -> None:
    """Raise ValueError, with the layer or parameter, for a module that cannot be trained here.

    clipped: whether gradients of single samples are clipped.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(
            f"model {type(module).__name__} has no trainable weights: expected at least one "
            "parameter with requires_grad=True")
    for name, layer in module.named_modules():
        _check_layer(name, layer, clipped=clipped)
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks:
            raise ValueError(
                f"model parameter {name!r} has a hook on its gradient, which is not called here; "
                "remove it (to freeze a parameter, set requires_grad=False)")


def _check_layer(name: str, layer: nn.Module, *, clipped: bool) -> None:
    if clipped and isinstance(layer, nn.modules.batchnorm._BatchNorm):
        raise ValueError(
            f"model layer {name!r} mixes the samples of a batch (batch normalisation); for "
            "per-sample clipping, replace it by GroupNorm or LayerNorm")
    if isinstance(layer, RANDOM):
        raise ValueError(f"model layer {name!r} ({type(layer).__name__}) draws random numbers, so "
                         "runs would not be reproducible; remove it")
    if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
        raise ValueError(
            f"model layer {name!r} (dropout) draws random numbers, so runs would not be "
            "reproducible; remove it, or set p to 0")
    if "forward" in vars(layer):  # copies of the layer would still call it with this one's weights
        raise ValueError(
            f"model layer {name!r} has a forward set on the object; define it in a class")
    if layer._backward_hooks or layer._backward_pre_hooks:
        raise ValueError(
            f"model layer {name!r} has a backward hook, which torch.func cannot call; remove it, "
            "or change the gradient in the layer's own forward")


def duplicate(module: nn.Module) -> nn.Module:
    """A copy that shares no tensor with `module`, for `functional_call`, which changes its module.

    Clones computed tensors, such as the weight that `weight_norm` keeps, because `copy.deepcopy`
    refuses them.
    """
    computed = [value for layer in module.modules() for value in vars(layer).values()
                if isinstance(value, Tensor) and not value.is_leaf]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})
