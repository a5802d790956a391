"""Forward passes and clipped gradient sums of many networks of one shape at once, in closed form.

For a linear layer, the gradient of one sample is the outer product of the error at its output and
its input, so its norm is the product of two norms (Goodfellow 2015, arXiv 1510.01799), and the
clipped sum is one matrix product. For a convolution it is a small product over the positions,
computed once for both the norm and the sum. A single backward pass to the layers' outputs is
enough.

Vectors are `[models, batch, features]`. Images are `[batch, models * channels, height, width]` in
channels-last memory, where pooling on a CPU is five times faster than channels-first, and a
convolution of all models is a grouped one. Grouped convolutions are slow on a GPU: there
(`batched`) images are `[models * batch, channels, height, width]`, and a convolution is a batched
product with its input's patches, which the per-sample gradients need anyway.
"""

from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.training.losses import losses

WEIGHTED = (nn.Conv2d, nn.Linear)
ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity)
POOLING = (nn.MaxPool2d, nn.AvgPool2d)


def supports(module: nn.Module, dimensions: int) -> TypeGuard[nn.Sequential]:
    """Whether every layer has a closed form here, for inputs with `dimensions` (3: images).

    Types are compared exactly, because a subclass may compute anything in its `forward`, and so may
    a hook. Other modules take the `vmap` path.
    """
    if type(module) is not nn.Sequential or not _plain(module) or not _own_weights(module):
        return False
    return all(_known(layer) and _plain(layer) for layer in module) and _fits(module, dimensions)


def _plain(layer: nn.Module) -> bool:
    """Whether the layer has no hooks, and no functions set on the object in place of its type's."""
    own = (layer._forward_hooks, layer._forward_pre_hooks,
           layer._backward_hooks, layer._backward_pre_hooks)
    everywhere = nn.modules.module._has_any_global_hook()
    return not any(own) and not everywhere and not any(map(callable, vars(layer).values()))


def _own_weights(module: nn.Sequential) -> bool:
    """Whether the parameters are weight and bias of each numbered layer, none shared or frozen."""
    weighted = [place for place, layer in enumerate(module) if type(layer) in WEIGHTED]
    names = [f"{place}.{name}" for place in weighted for name in ("weight", "bias")]
    found = dict(module.named_parameters())  # contains a shared parameter only once
    numbered = list(module._modules) == [str(place) for place in range(len(module))]
    stateless = next(module.buffers(), None) is None
    trained = all(parameter.requires_grad for parameter in found.values())
    return bool(names) and list(found) == names and numbered and stateless and trained


def _known(layer: nn.Module) -> bool:
    """Whether the layer is exactly of a known type, with settings that the closed forms cover."""
    if type(layer) is nn.Conv2d:
        return (layer.groups == 1 and layer.padding_mode == "zeros"
                and not isinstance(layer.padding, str) and set(layer.dilation) == {1})
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.ReLU:  # in place it would overwrite outputs that the gradients need
        return not layer.inplace
    if type(layer) is nn.MaxPool2d:
        return not layer.return_indices
    return type(layer) in (nn.Linear, nn.AvgPool2d, *ELEMENTWISE)


def _fits(module: nn.Sequential, dimensions: int) -> bool:
    """Whether convolutions and pooling get images, and linear layers and the loss vectors."""
    for layer in module:
        expected = 1 if type(layer) is nn.Linear else 3
        if type(layer) is nn.Flatten:
            dimensions = 1
        elif type(layer) not in ELEMENTWISE and dimensions != expected:
            return False
    return dimensions == 1


@dataclass
class Tape:
    """The input and the output of one weighted layer, recorded for its gradient.

    patches: of a convolution's input [models, batch, positions, rows * columns * channels], if it
    was computed from them.
    """

    layer: nn.Conv2d | nn.Linear
    inputs: Tensor
    outputs: Tensor
    patches: Tensor | None = None


def forward(module: nn.Sequential, parameters: dict[str, Tensor], x: Tensor, *,
            tapes: list[Tape] | None = None, batched: bool = False) -> Tensor:
    """Logits [models, batch, classes] of stacked `parameters` (name -> [models, ...]).

    x: [models, batch, ...]. tapes: a list to which to append every weighted layer; gradients are
    then available at the layers' outputs only, and the first output becomes a leaf. batched:
    convolutions as products of patches, for a GPU.
    """
    models = x.shape[0]
    # Pixels that are flattened at once need no image layout.
    image = x.dim() == 5 and not isinstance(module[0], nn.Flatten)
    if image and batched:
        x = x.flatten(0, 1)
    elif image:
        x = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    for index, layer in enumerate(module):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            weight, bias = parameters[f"{index}.weight"], parameters[f"{index}.bias"]
            before, patches = x, None
            if batched and isinstance(layer, nn.Conv2d):
                patches = batched_patches(x, layer, models)
                x = _on_patches(patches, weight, bias)
            else:
                x = _weighted(layer, weight, bias, x)
            if tapes is not None:
                if not x.requires_grad:
                    x.requires_grad_()
                kept = None if patches is None else patches.detach().flatten(2, 3)
                tapes.append(Tape(layer, before.detach(), x, kept))
        elif isinstance(layer, nn.Flatten):
            if image:
                x = (x.unflatten(0, (models, -1)) if batched
                     else x.unflatten(1, (models, -1)).transpose(0, 1))
                image = False
            x = x.flatten(2)
        else:
            x = layer(x)
    return x


def _weighted(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return product(x, weight.transpose(1, 2)) + bias[:, None]
    x = F.conv2d(x, weight.flatten(0, 1), bias.flatten(), layer.stride, layer.padding,
                 groups=weight.shape[0])
    # Convert, because an input of one channel fits both formats, and torch picks the other one.
    return x.contiguous(memory_format=torch.channels_last)


def batched_patches(x: Tensor, layer: nn.Conv2d, models: int) -> Tensor:
    """Patches [models, batch, height, width, rows * columns * channels] of images [models * batch,
    channels, ...], for the positions of the output."""
    (top, left), (down, across) = _numbers(layer.padding), layer.stride
    rows, columns = layer.kernel_size
    x = F.pad(x, (left, left, top, top)).unfold(2, rows, down).unfold(3, columns, across)
    x = x.permute(0, 2, 3, 4, 5, 1).flatten(3)  # [images, height, width, rows * columns * channels]
    return x.unflatten(0, (models, -1))


def _on_patches(patches: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution's outputs as images [models * batch, channels, height, width]."""
    # To the patches' order (row, column, channel).
    kernel = weight.permute(0, 3, 4, 2, 1).flatten(1, 3)
    out = torch.baddbmm(bias[:, None], patches.flatten(1, 3), kernel)
    return out.view(*patches.shape[:4], -1).flatten(0, 1).permute(0, 3, 1, 2)


def _numbers(padding: "tuple[int, ...] | str") -> tuple[int, ...]:
    if isinstance(padding, str):
        raise ValueError(f"convolution with padding {padding!r}: expected numbers; see `supports`")
    return padding


def product(a: Tensor, b: Tensor) -> Tensor:
    """Batched product [models, i, j] x [models, j, k]; on a CPU, large ones are faster one by one.
    """
    if one_by_one(a, b):
        if len(a) == 1:
            return torch.mm(a[0], b[0])[None]
        return torch.stack([torch.mm(left, right) for left, right in zip(a, b)])
    return torch.bmm(a, b)


def one_by_one(a: Tensor, b: Tensor) -> bool:
    """Whether `product` multiplies these for each model in turn."""
    return a.device.type == "cpu" and a.shape[1] * b.shape[1] * b.shape[2] > 2**20


def gradient_sums(module: nn.Sequential, parameters: dict[str, Tensor], x: Tensor, labels: Tensor,
                  present: Tensor, bounds: Tensor | None, *, kind: str = "targets",
                  within: Tensor | None = None, branchless: bool = False) -> list[Tensor]:
    """Sum of each model's per-sample gradients, each clipped to a norm of at most `bounds`.

    x: [models, batch, ...]. labels: [models, batch] or [models, batch, classes], of a kind in
    `lib.training.losses`. present: [models, batch] of 0 and 1. bounds: [models], or None for no
    clipping. within: [models], to which the number of present records with a norm within the bound
    is added. branchless: for a GPU, ask for no value on the way, which would wait for it, and see
    `forward` (batched). Returns one tensor [models, ...] per parameter, in the module's order.
    """
    if bounds is None and any(isinstance(layer, nn.Conv2d) for layer in module):
        return _unclipped_sums(module, parameters, x, labels, present, kind, batched=branchless)
    found = parts(module, parameters, x, labels, kind=kind, batched=branchless)
    scales = present
    if bounds is not None:
        norms = torch.stack([part.squared_norms for part in found]).sum(0).sqrt()
        scales = present * (bounds[:, None] / norms.clamp_min(1e-30)).clamp_max(1.0)
        if within is not None:
            within.add_((present * (norms <= bounds[:, None])).sum(1))
        if branchless or not norms.isfinite().all():
            # A record without a finite gradient must not change the sum by more than the bound.
            found = [part.without(norms.isfinite()) for part in found]
            scales = scales.where(norms.isfinite(), 0.0)
    return [gradient for part in found for gradient in part.sums(scales)]


def parts(module: nn.Sequential, parameters: dict[str, Tensor], x: Tensor, labels: Tensor, *,
          kind: str = "targets", batched: bool = False) -> "list[LinearPart | ConvolutionPart]":
    """The per-sample gradients of every weighted layer, in factors; inputs as `gradient_sums`."""
    tapes: list[Tape] = []
    logits = forward(module, parameters, x, tapes=tapes, batched=batched)
    total = losses(logits.flatten(0, 1), labels.flatten(0, 1), kind).sum()
    errors = torch.autograd.grad(total, [tape.outputs for tape in tapes])
    return [_part(tape, error, x.shape[0]) for tape, error in zip(tapes, errors)]


@dataclass
class LinearPart:
    inputs: Tensor  # [models, batch, in]
    errors: Tensor  # [models, batch, out]

    @property
    def squared_norms(self) -> Tensor:
        return _squared_norms(self.errors) * (_squared_norms(self.inputs) + 1.0)

    def without(self, kept: Tensor) -> "LinearPart":
        return LinearPart(
            self.inputs.where(kept[:, :, None], 0.0), self.errors.where(kept[:, :, None], 0.0)
        )

    def sums(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        scaled = self.errors * scales[:, :, None]
        return product(scaled.transpose(1, 2), self.inputs), scaled.sum(1)

    def dots(self, *direction: Tensor) -> Tensor:
        """Dot products [models, batch] of the samples' gradients with a (weight, bias)."""
        weight, bias = direction
        along = product(self.errors, weight).mul_(self.inputs).sum(-1)
        return along + (self.errors * bias[:, None]).sum(-1)


@dataclass
class ConvolutionPart:
    weights: Tensor  # per-sample gradients [models, batch, out, rows * columns * channels]
    biases: Tensor  # [models, batch, out]
    layer: nn.Conv2d

    @property
    def squared_norms(self) -> Tensor:
        return _squared_norms(self.weights.flatten(2)) + _squared_norms(self.biases)

    def without(self, kept: Tensor) -> "ConvolutionPart":
        weights = self.weights.where(kept[:, :, None, None], 0.0)
        return ConvolutionPart(weights, self.biases.where(kept[:, :, None], 0.0), self.layer)

    def sums(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.bmm(scales[:, None], self.weights.flatten(2)).squeeze(1)
        # From the patches' order (row, column, channel) to the parameters' (channel, row, column).
        weight = weight.unflatten(1, (-1, *self.layer.kernel_size, self.layer.in_channels))
        weight = weight.permute(0, 1, 4, 2, 3)
        return weight, torch.bmm(scales[:, None], self.biases).squeeze(1)

    def dots(self, *direction: Tensor) -> Tensor:
        """Dot products [models, batch] of the samples' gradients with a (weight, bias)."""
        weight, bias = direction
        # From the parameters' order (channel, row, column) to the patches'.
        weight = weight.permute(0, 1, 3, 4, 2).flatten(1)
        along = torch.bmm(self.weights.flatten(2), weight[:, :, None]).squeeze(2)
        return along + (self.biases * bias[:, None]).sum(-1)


def _squared_norms(x: Tensor) -> Tensor:
    """Squared Euclidean norm over the last dimension, without a temporary of the size of `x`."""
    return torch.linalg.vector_norm(x, dim=-1).square_()


def _part(tape: Tape, errors: Tensor, models: int) -> LinearPart | ConvolutionPart:
    if isinstance(tape.layer, nn.Linear):
        return LinearPart(tape.inputs, errors)
    positions = errors.shape[2], errors.shape[3]
    patches = tape.patches
    if patches is None:
        patches = _patches(tape.inputs, tape.layer, models, positions)
        errors = errors.unflatten(1, (models, -1)).transpose(0, 1)
    else:
        errors = errors.unflatten(0, (models, -1))
    errors = errors.flatten(3)  # [models, batch, out, positions]
    weights = torch.bmm(errors.flatten(0, 1), patches.flatten(0, 1)).unflatten(0, (models, -1))
    return ConvolutionPart(weights, errors.sum(3), tape.layer)


def _patches(x: Tensor, layer: nn.Conv2d, models: int, positions: tuple[int, int]) -> Tensor:
    """The layer's input as [models, batch, positions, rows * columns * channels], copied once."""
    (top, left), (down, across) = _numbers(layer.padding), layer.stride
    # [batch, height, width, models * channels]
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    batch, _, _, channels = x.shape
    per_model = channels // models
    sample, row, column, channel = x.stride()
    view = x.as_strided(
        (models, batch, *positions, *layer.kernel_size, per_model),
        (per_model * channel, sample, row * down, column * across, row, column, channel),
    )
    return view.reshape(models, batch, positions[0] * positions[1], -1)


def _unclipped_sums(module: nn.Sequential, parameters: dict[str, Tensor], x: Tensor,
                    labels: Tensor, present: Tensor, kind: str, *, batched: bool
                    ) -> list[Tensor]:
    """Unclipped sums by autograd, which for convolutions is cheaper than per-sample gradients."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    logits = forward(module, leaves, x, batched=batched)
    total = (losses(logits.flatten(0, 1), labels.flatten(0, 1), kind) * present.flatten()).sum()
    return list(torch.autograd.grad(total, list(leaves.values())))
