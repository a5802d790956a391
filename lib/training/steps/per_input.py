"""Losses of a group at its current weights, as functions of its inputs.

They are differentiable in the inputs, which costs most in a first convolution with a stride: on a
CPU, its gradient in images of three channels takes several times as long as all that follows. There
blocks of pixels become channels, and the convolution a dense one of a smaller kernel, with the same
numbers in another order (the MNIST network at 32x32, 128 images, one core: 5.1 instead of 9.2 ms).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lib.training.losses import losses
from lib.training.modules import duplicate
from lib.training.steps import closed_form, factors

FEW = 4  # input channels up to which blocks pay


class InputLosses:
    """Every sample's loss, in evaluation mode, so that it depends on no other sample and buffers
    stay.

    dims: dimensions of an input. kind: of labels, see `lib.training.losses`. batched: see
    `closed_form.forward`.
    """

    def __init__(self, module: nn.Module, *, dims: int, kind: str, batched: bool) -> None:
        self.module, self.kind, self.batched = duplicate(module).eval(), kind, batched
        self.closed = closed_form.supports(module, dims)
        first = next(module.children(), None)
        self.blocks = (Blocks(first) if self.closed and not batched and isinstance(first, nn.Conv2d)
                       and Blocks.suit(first) else None)

    def __call__(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor,
                 labels: Tensor) -> Tensor:
        """Losses [models, batch] of inputs [models, batch, ...], differentiable in the inputs.

        parameters, buffers: name -> [models, ...]. labels: [models, batch] or [models, batch,
        classes].
        """
        found = self._logits(parameters, buffers, x).flatten(0, 1)
        return losses(found.float(), labels.flatten(0, 1), self.kind).view(x.shape[:2])

    def _logits(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor
                ) -> Tensor:
        if isinstance(self.module, nn.Sequential) and self.closed:
            module = self.module
            if self.blocks is not None:
                module, parameters = self.blocks.instead(module, parameters)
            return closed_form.forward(module, parameters, x, batched=self.batched)
        values = parameters | buffers
        return torch.stack([
            functional_call(self.module, {name: value[model] for name, value in values.items()},
                            _channels_last(own))
            for model, own in enumerate(x)])


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


class Blocks(nn.Module):
    """Blocks of stride x stride pixels as channels, for the dense form of a strided convolution."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.channels, self.stride = layer.in_channels, layer.stride[0]
        self.sizes, self.padding = layer.kernel_size, factors.numbers(layer.padding)
        rows, columns = (-(-size // self.stride) for size in self.sizes)
        self.kernel = rows, columns
        self.dense = nn.Conv2d(self.channels * self.stride**2, layer.out_channels, self.kernel,
                               device="meta")

    @staticmethod
    def suit(layer: nn.Conv2d) -> bool:
        """Whether the dense form is faster, and there is one."""
        return layer.in_channels <= FEW and layer.stride[0] == layer.stride[1] > 1

    def instead(self, module: nn.Sequential, parameters: dict[str, Tensor]
                ) -> tuple[nn.Sequential, dict[str, Tensor]]:
        """The module and its parameters with the dense form in the first convolution's place."""
        moved = {f"{int(place) + 1}.{name}": value for (place, _, name), value in
                 ((key.partition("."), value) for key, value in parameters.items())}
        moved["1.weight"] = self._weight(parameters["0.weight"])
        return nn.Sequential(self, self.dense, *module[1:]), moved

    def _weight(self, weight: Tensor) -> Tensor:
        """[models, out, channels, rows, columns] as [models, out, stride^2 * channels, ...]."""
        stride, (rows, columns) = self.stride, self.kernel
        weight = F.pad(weight, (0, columns * stride - weight.shape[4],
                                0, rows * stride - weight.shape[3]))
        weight = weight.unflatten(4, (columns, stride)).unflatten(3, (rows, stride))
        return weight.permute(0, 1, 4, 6, 2, 3, 5).flatten(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Images [batch, models * channels, ...], channels-last, with blocks as channels."""
        stride, ends = self.stride, []
        for length, before, size, blocks in zip(x.shape[2:], self.padding, self.sizes, self.kernel):
            outputs = (length + 2 * before - size) // stride + 1
            ends.append((outputs + blocks - 1) * stride - length - before)
        (top, left), (bottom, right) = self.padding, ends
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom))
        for place, size in ((3, self.channels), (2, stride), (1, stride)):
            x = x.unflatten(place, (-1, size))
        # [batch, rows, row, columns, column, models, channels]
        x = x.permute(0, 1, 3, 5, 2, 4, 6).flatten(3)
        return x.permute(0, 3, 1, 2)
