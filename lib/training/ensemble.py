"""What a training leaves behind: the weights of many models of one shape, and their predictions."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib.training import modules, sizes
from lib.training.batches import as_input
from lib.training.steps import closed_form, coefficients


class Ensemble:
    """Trained models of one shape: `parameters` [models, parameters] and snapshots of them along the way.

    A module with buffers has them behind its parameters.
    """

    def __init__(self, module: nn.Module, parameters: Tensor, snapshots: dict[int, Tensor]):
        self.module, self.parameters, self.snapshots = module.eval(), parameters, snapshots

    def predict(self, inputs: Tensor, *, model: int, step: int | None = None, chunk: int | None = None, offset: Tensor | None = None) -> Tensor:
        """Logits [n, classes] of one model on `inputs` (uint8 images or float features), at a kept step or the end.

        offset: one tensor of an input's shape that is added to every input.
        """
        flat = (self.parameters if step is None else self.snapshots[step])[model]
        values, chunk = modules.unflatten(self.module, flat[None]), chunk or sizes.samples_to_predict(self.module, flat.device)
        values |= modules.unflatten_buffers(self.module, flat[None])
        first = coefficients.first_linear(self.module, inputs.dim() - 1)
        with torch.no_grad():
            if offset is not None and first is not None:  # into the bias: cheaper than to move every input
                shift = values[f"{first}.weight"] @ offset.flatten()
                values, offset = values | {f"{first}.bias": values[f"{first}.bias"] + shift}, None
            return torch.cat([self._logits(values, _moved(part, offset, flat.device)) for part in inputs.split(chunk)]).cpu()

    def _logits(self, values: dict[str, Tensor], x: Tensor) -> Tensor:
        if closed_form.supports(self.module, x.dim() - 1):
            return closed_form.forward(self.module, values, x[None])[0]  # channels-last: pooling is five times faster there
        # A copy: the call puts parameters into the module for its time, and other threads may be calling too.
        return functional_call(modules.duplicate(self.module), {name: value[0] for name, value in values.items()}, x)


def _moved(part: Tensor, offset: Tensor | None, device: torch.device) -> Tensor:
    x = as_input(part.to(device))
    return x if offset is None else x + offset
