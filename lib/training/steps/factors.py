"""The per-sample gradients of a layer, in factors: their norms, their weighted sums, their dot
products with a direction.

A part holds the gradients of one layer for the samples of every model. Which product comes first
depends on the layer: a linear layer's gradient is never computed for a sample, a convolution's is
where its kernel is small and its image large, and a normalisation's has a number a channel.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Numbers of a kernel's gradient whose reads and writes take as long as one multiply-add a pair of
# positions and channel, which a norm from inner products of positions takes.
TRAFFIC = 10
# A norm from inner products of positions may come out too short by about this share of the factors'
# norms, which is added, so that no gradient is clipped too little.
ROUNDING = 2.0**-20


class Part(Protocol):
    """The per-sample gradients of one layer's weight and bias."""

    @property
    def squared_norms(self) -> Tensor:
        """[models, batch]."""
        ...

    def without(self, kept: Tensor) -> "Part":
        """The same with 0 for the samples that are not kept [models, batch]."""
        ...

    def sums(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of the gradients, each times its scale [models, batch]: weight, bias [models, ...].
        """
        ...

    def dots(self, *direction: Tensor) -> Tensor:
        """Dot products [models, batch] of the samples' gradients with a (weight, bias)."""
        ...


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
        weight = _kernels(weight.unflatten(1, self.weights.shape[2:]), self.layer)
        return weight, torch.bmm(scales[:, None], self.biases).squeeze(1)

    def dots(self, *direction: Tensor) -> Tensor:
        """Dot products [models, batch] of the samples' gradients with a (weight, bias)."""
        weight, bias = direction
        weight = _flat(weight).flatten(1)
        along = torch.bmm(self.weights.flatten(2), weight[:, :, None]).squeeze(2)
        return along + (self.biases * bias[:, None]).sum(-1)


@dataclass
class PositionsPart:
    """A convolution's gradients as products over positions, for many channels and few positions.

    The squared norm of E'P, for errors E and patches P, is the sum over pairs of positions of EE'
    times PP' (Goodfellow's rule at every pair; Bu et al. 2022, arXiv 2205.10683, "ghost norm").
    """

    patches: Tensor  # [models, batch, positions, rows * columns * channels]
    errors: Tensor  # [models, batch, out, positions]
    layer: nn.Conv2d

    @property
    def squared_norms(self) -> Tensor:
        patches, errors = self.patches.flatten(0, 1), self.errors.flatten(0, 1)
        pairs = torch.bmm(patches, patches.transpose(1, 2))
        pairs *= torch.bmm(errors.transpose(1, 2), errors)
        squares = pairs.sum((1, 2)).unflatten(0, self.errors.shape[:2]).clamp_min(0.0)
        factors = _squared_norms(self.patches.flatten(2)) * _squared_norms(self.errors.flatten(2))
        return squares + ROUNDING * factors + _squared_norms(self.errors.sum(3))

    def without(self, kept: Tensor) -> "PositionsPart":
        there = kept[:, :, None, None]
        return PositionsPart(self.patches.where(there, 0.0), self.errors.where(there, 0.0),
                             self.layer)

    def sums(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        errors = self.errors * scales[:, :, None, None]
        weight = product(errors.transpose(1, 2).flatten(2), self.patches.flatten(1, 2))
        return _kernels(weight, self.layer), errors.sum((1, 3))

    def dots(self, *direction: Tensor) -> Tensor:
        weight, bias = direction
        along = product(self.patches.flatten(1, 2), _flat(weight).transpose(1, 2))
        along = along.view(*self.patches.shape[:3], -1).transpose(2, 3)
        return ((along + bias[:, None, :, None]) * self.errors).sum((2, 3))


@dataclass
class ChannelPart:
    """Of a normalisation's scale and shift, both [models, batch, channels]."""

    weights: Tensor
    biases: Tensor

    @property
    def squared_norms(self) -> Tensor:
        return _squared_norms(self.weights) + _squared_norms(self.biases)

    def without(self, kept: Tensor) -> "ChannelPart":
        there = kept[:, :, None]
        return ChannelPart(self.weights.where(there, 0.0), self.biases.where(there, 0.0))

    def sums(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = (torch.bmm(scales[:, None], values).squeeze(1)
                        for values in (self.weights, self.biases))
        return weight, bias

    def dots(self, *direction: Tensor) -> Tensor:
        weight, bias = direction
        return (self.weights * weight[:, None]).sum(2) + (self.biases * bias[:, None]).sum(2)


def convolution(patches: Tensor, errors: Tensor, layer: nn.Conv2d
                ) -> ConvolutionPart | PositionsPart:
    """The gradients of a convolution in the cheaper form; shapes as of `PositionsPart`.

    With rounded factors the norm and the sum of a `PositionsPart` would differ by more than the
    slack on clipping norms allows for, because positions cancel.
    """
    (positions, kernel), outputs = patches.shape[2:], errors.shape[2]
    exact = torch.get_float32_matmul_precision() == "highest"
    if exact and positions**2 * (kernel + outputs) < TRAFFIC * kernel * outputs:
        return PositionsPart(patches, errors, layer)
    weights = torch.bmm(errors.flatten(0, 1), patches.flatten(0, 1))
    return ConvolutionPart(weights.unflatten(0, errors.shape[:2]), errors.sum(3), layer)


def _kernels(weight: Tensor, layer: nn.Conv2d) -> Tensor:
    """From the patches' order [models, out, row * column * channel] to the parameters'."""
    weight = weight.unflatten(2, (*layer.kernel_size, layer.in_channels))
    return weight.permute(0, 1, 4, 2, 3)


def _flat(weight: Tensor) -> Tensor:
    """From the parameters' order [models, out, channel, row, column] to the patches', flat."""
    return weight.permute(0, 1, 3, 4, 2).flatten(2)


def _squared_norms(x: Tensor) -> Tensor:
    """Squared Euclidean norm over the last dimension, without a temporary of the size of `x`."""
    return torch.linalg.vector_norm(x, dim=-1).square_()


def patches(x: Tensor, layer: nn.Conv2d, models: int, positions: tuple[int, int]) -> Tensor:
    """The layer's input as [models, batch, positions, rows * columns * channels], copied once."""
    (top, left), (down, across) = numbers(layer.padding), layer.stride
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


def numbers(padding: "tuple[int, ...] | str") -> tuple[int, ...]:
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
