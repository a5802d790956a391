"""One deep network at a time, without clipping: plain autograd on the module itself.

What pays for many small models (stacked weights, one product for all) costs a deep one: its
layers fill the device alone. The module's parameters are views of the group's coordinates, and with
precision "fast" the layers compute in bfloat16 where the device has it; losses, sums of gradients,
noise and weights stay float32. The numbers drawn are those of any other form.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.training import sizes
from lib.training.losses import losses
from lib.training.modules import frozen, image_layout, mixes_a_batch, unflatten
from lib.training.schedule import Member

# Floating-point operations of a forward pass for one sample, from which a network is deep: above
# the small convolutional networks of the papers, which train faster together.
DEEP = 14_000_000


def applies(module: nn.Module, pool: Tensor, members: Sequence[Member]) -> bool:
    """Whether each of these members is to be trained by itself, by this form of a step."""
    return not any(member.private for member in members) and deep(module, pool)


def deep(module: nn.Module, pool: Tensor) -> bool:
    """Whether the network has convolutions, and takes `DEEP` operations for an image of the pool.
    """
    convolutions = any(isinstance(layer, nn.Conv2d) for layer in module.modules())
    return convolutions and sizes.operations(module, pool) >= DEEP


class Alone:
    """Unclipped gradient sums of one model, called like `closed_form.gradient_sums`.

    coordinates: [1, parameters], which the module shares from now on, as it does `buffers`, name
    -> [1, ...].
    """

    def __init__(self, module: nn.Module, coordinates: Tensor, buffers: dict[str, Tensor], *,
                 precision: str) -> None:
        self.module, self.mixes = module, mixes_a_batch(module)
        self.layout = image_layout(module)
        for name, value in unflatten(module, coordinates).items():
            module.get_parameter(name).data = value[0]
        for name, value in buffers.items():
            module.get_buffer(name).data = value[0]
        skipped = frozen(module)
        self.trained = {name: value for name, value in module.named_parameters()
                        if name not in skipped}
        self.device = coordinates.device.type
        self.rounded = precision == "fast" and bfloat16(coordinates.device)

    def __call__(self, module: nn.Module, parameters: dict[str, Tensor], x: Tensor, labels: Tensor,
                 present: Tensor, bounds: Tensor | None, *, kind: str = "targets",
                 within: Tensor | None = None) -> list[Tensor]:
        """Sums of the gradients [1, ...] of each parameter, over the samples that are present."""
        x, labels, present = x[0], labels[0], present[0]
        if self.mixes and not (there := present.bool()).all():
            # Statistics are of the records that are present.
            x, labels, present = x[there], labels[there], present[there]
        found = self._gradients(x, labels, present, kind) if len(x) else {}
        return [found[name][None] if name in found else torch.zeros_like(value)
                for name, value in parameters.items()]

    def _gradients(self, x: Tensor, labels: Tensor, present: Tensor, kind: str
                   ) -> dict[str, Tensor]:
        if x.dim() == 4:
            x = x.contiguous(memory_format=self.layout)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.rounded):
            logits = self.module(x)
        total = (losses(logits.float(), labels, kind) * present).sum()
        gradients = torch.autograd.grad(total, list(self.trained.values()))
        return dict(zip(self.trained, gradients, strict=True))


def bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 numbers itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported()
                                     or torch.cpu._is_amx_tile_supported())
