"""Forward passes and clipped gradient sums of many networks of one shape at once, in closed form.

For a linear layer, the gradient of one sample is the outer product of the error at its output and
its input, so its norm is the product of two norms (Goodfellow 2015, arXiv 1510.01799), and the
clipped sum is one matrix product. For a convolution it is a small product over the positions,
computed once for both the norm and the sum. A single backward pass to the layers' outputs is
enough.

Vectors are `[models, batch, features]`. Images are `[batch, models * channels, height, width]`, as
a rule in channels-last memory (`modules.image_layout`), and a convolution of all models is a
grouped one. Grouped convolutions are slow on a GPU: there
(`batched`) images are `[models * batch, channels, height, width]`, and a convolution is a batched
product with its input's patches, which the per-sample gradients need anyway.
"""

from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.training.losses import losses
from lib.training.modules import image_layout
from lib.training.residual import Residual
from lib.training.steps import factors
from lib.training.steps.factors import ChannelPart, LinearPart, Part

WEIGHTED = (nn.Conv2d, nn.Linear, nn.GroupNorm)
ELEMENTWISE = (nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.Identity)
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
CONTAINERS = (nn.Sequential, Residual)


def supports(module: nn.Module, dimensions: int) -> TypeGuard[nn.Sequential]:
    """Whether every layer has a closed form here, for inputs with `dimensions` (3: images).

    Types are compared exactly, because a subclass may compute anything in its `forward`, and so may
    a hook. Other modules take the `vmap` path.
    """
    if not isinstance(module, nn.Sequential) or not _own_weights(module):
        return False
    layers = list(module.modules())
    if not all(_known(layer) and _plain(layer) for layer in layers):
        return False
    return _dimensions(module, dimensions) == 1


def _plain(layer: nn.Module) -> bool:
    """Whether the layer has no hooks, and no functions set on the object in place of its type's."""
    own = (layer._forward_hooks, layer._forward_pre_hooks,
           layer._backward_hooks, layer._backward_pre_hooks)
    everywhere = nn.modules.module._has_any_global_hook()
    return not any(own) and not everywhere and not any(map(callable, vars(layer).values()))


def _own_weights(module: nn.Sequential) -> bool:
    """Whether the parameters are weight and bias of each named layer, none shared or frozen."""
    names = [f"{place}.{name}" for place, layer in module.named_modules(remove_duplicate=False)
             if type(layer) in WEIGHTED for name in ("weight", "bias")]
    found = dict(module.named_parameters())  # contains a shared parameter only once
    stateless = next(module.buffers(), None) is None
    trained = all(parameter.requires_grad for parameter in found.values())
    return bool(names) and list(found) == names and stateless and trained


def _known(layer: nn.Module) -> bool:
    """Whether the layer is exactly of a known type, with settings that the closed forms cover."""
    if type(layer) is nn.Sequential:
        return list(layer._modules) == [str(place) for place in range(len(layer))]
    if type(layer) is Residual:
        return list(layer._modules) == ["body", "shortcut"]
    if type(layer) is nn.Conv2d:
        return (layer.groups == 1 and layer.padding_mode == "zeros"
                and not isinstance(layer.padding, str) and set(layer.dilation) == {1})
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.ReLU:  # in place it would overwrite outputs that the gradients need
        return not layer.inplace
    if type(layer) is nn.MaxPool2d:
        return not layer.return_indices
    return type(layer) in (nn.Linear, nn.GroupNorm, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
                           *ELEMENTWISE)


def _dimensions(layer: nn.Module, dimensions: int | None) -> int | None:
    """Dimensions of the layer's output for an input with `dimensions` (3: images, 1: vectors).

    None if it, or a layer inside, is not for such an input.
    """
    if dimensions is None:
        return None
    if isinstance(layer, nn.Sequential):
        for inner in layer:
            dimensions = _dimensions(inner, dimensions)
        return dimensions
    if isinstance(layer, Residual):
        flattens = any(type(inner) is nn.Flatten for inner in layer.modules())
        alike = dimensions == _dimensions(layer.body, dimensions) == _dimensions(layer.shortcut,
                                                                                 dimensions)
        return dimensions if alike and not flattens else None
    if type(layer) is nn.Flatten:
        return 1
    if type(layer) in ELEMENTWISE:
        return dimensions
    expected = 1 if type(layer) is nn.Linear else 3
    return expected if dimensions == expected else None


@dataclass
class Tape:
    """The input and the output of one weighted layer, recorded for its gradient.

    inputs: of a normalisation, what it scales and shifts. patches: of a convolution's input
    [models, batch, positions, rows * columns * channels], if it was computed from them.
    """

    layer: nn.Module
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
    # Pixels that are flattened at once need no image layout.
    image = x.dim() == 5 and not isinstance(module[0], nn.Flatten)
    own = Pass(parameters, x.shape[0], batched, tapes, image, image_layout(module))
    if image and batched:
        x = x.flatten(0, 1)
    elif image:
        x = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=own.layout)
    return own.run(module, "", x)


@dataclass
class Pass:
    """One forward pass.

    image: whether the values are images, until they are flattened. layout: their memory format.
    """

    parameters: dict[str, Tensor]
    models: int
    batched: bool
    tapes: list[Tape] | None
    image: bool
    layout: torch.memory_format

    def run(self, layer: nn.Module, name: str, x: Tensor) -> Tensor:
        """The outputs of the layer with this name in the module."""
        if isinstance(layer, nn.Sequential):
            for place, inner in layer._modules.items():
                if inner is not None:
                    x = self.run(inner, f"{name}.{place}" if name else place, x)
            return x
        if isinstance(layer, Residual):
            # In the order of the parameters.
            body = self.run(layer.body, f"{name}.body", x)
            return self.run(layer.shortcut, f"{name}.shortcut", x) + body
        if isinstance(layer, nn.Flatten):
            own = _models_first(x, self.models, self.batched) if self.image else x
            self.image = False
            return own.flatten(2)
        if type(layer) not in WEIGHTED:
            return layer(x)
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        before, out, patches = self._weighted(layer, weight, bias, x)
        if self.tapes is not None:
            if not out.requires_grad:
                out.requires_grad_()
            self.tapes.append(Tape(layer, before.detach(), out, patches))
        return out

    def _weighted(self, layer: nn.Module, weight: Tensor, bias: Tensor, x: Tensor
                  ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the layer's gradient needs of its input, its output, and patches of the input."""
        if isinstance(layer, nn.Linear):
            return x, factors.product(x, weight.transpose(1, 2)) + bias[:, None], None
        if isinstance(layer, nn.GroupNorm):
            return *self._normalised(layer, weight, bias, x), None
        if not isinstance(layer, nn.Conv2d):
            raise TypeError(f"layer {type(layer).__name__}: expected one of `WEIGHTED`")
        if self.batched:
            patches = batched_patches(x, layer, self.models)
            out = _on_patches(patches, weight, bias)
            return x, out, None if self.tapes is None else patches.detach().flatten(2, 3)
        out = F.conv2d(x, weight.flatten(0, 1), bias.flatten(), layer.stride, layer.padding,
                       groups=self.models)
        # Convert, because an input of one channel fits both formats, and torch picks the other one.
        return x, out.contiguous(memory_format=self.layout), None

    def _normalised(self, layer: nn.GroupNorm, weight: Tensor, bias: Tensor, x: Tensor
                    ) -> tuple[Tensor, Tensor]:
        """Inputs with mean 0 and variance 1 in each group of channels, and scaled and shifted."""
        if self.batched:
            plain = F.group_norm(x, layer.num_groups, eps=layer.eps)
            own = plain.unflatten(0, (self.models, -1))
            out = torch.addcmul(bias[:, None, :, None, None], own, weight[:, None, :, None, None])
            return plain, out.flatten(0, 1)
        plain = F.group_norm(x, self.models * layer.num_groups, eps=layer.eps)
        return plain, torch.addcmul(bias.flatten()[:, None, None], plain,
                                    weight.flatten()[:, None, None])


def _models_first(x: Tensor, models: int, batched: bool) -> Tensor:
    """Images in the layout of `forward` as [models, batch, channels, height, width]."""
    if batched:
        return x.unflatten(0, (models, -1))
    return x.unflatten(1, (models, -1)).transpose(0, 1)


def batched_patches(x: Tensor, layer: nn.Conv2d, models: int) -> Tensor:
    """Patches [models, batch, height, width, rows * columns * channels] of images [models * batch,
    channels, ...], for the positions of the output."""
    (top, left), (down, across) = factors.numbers(layer.padding), layer.stride
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
    if bounds is None and any(isinstance(layer, nn.Conv2d) for layer in module.modules()):
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
          kind: str = "targets", batched: bool = False) -> list[Part]:
    """The per-sample gradients of every weighted layer, in factors; inputs as `gradient_sums`."""
    tapes: list[Tape] = []
    logits = forward(module, parameters, x, tapes=tapes, batched=batched)
    total = losses(logits.flatten(0, 1), labels.flatten(0, 1), kind).sum()
    errors = torch.autograd.grad(total, [tape.outputs for tape in tapes])
    return [_part(tape, error, x.shape[0], batched) for tape, error in zip(tapes, errors)]


def _part(tape: Tape, errors: Tensor, models: int, batched: bool) -> Part:
    """The layer's per-sample gradients from the errors at its outputs."""
    if isinstance(tape.layer, nn.Linear):
        return LinearPart(tape.inputs, errors)
    positions = errors.shape[2], errors.shape[3]
    errors = _models_first(errors, models, batched).flatten(3)  # [models, batch, out, positions]
    if not isinstance(tape.layer, nn.Conv2d):
        inputs = _models_first(tape.inputs, models, batched).flatten(3)
        return ChannelPart((errors * inputs).sum(3), errors.sum(3))
    patches = tape.patches
    if patches is None:
        patches = factors.patches(tape.inputs, tape.layer, models, positions)
    return factors.convolution(patches, errors, tape.layer)


def _unclipped_sums(module: nn.Sequential, parameters: dict[str, Tensor], x: Tensor,
                    labels: Tensor, present: Tensor, kind: str, *, batched: bool
                    ) -> list[Tensor]:
    """Unclipped sums by autograd, which for convolutions is cheaper than per-sample gradients."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    logits = forward(module, leaves, x, batched=batched)
    total = (losses(logits.flatten(0, 1), labels.flatten(0, 1), kind) * present.flatten()).sum()
    return list(torch.autograd.grad(total, list(leaves.values())))
