"""The result of a training: the weights of many models of one shape, and their predictions."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib.training import modules, sizes
from lib.training.batches import as_input
from lib.training.steps import closed_form, coefficients


class Ensemble:
    """Trained models of one shape: `parameters` [models, parameters], and snapshots of them.

    If the module has buffers, they follow its parameters. averages: {name: the same models with
    averaged weights, at the same steps}. norms: [models], the clipping norms at the end, None if
    they are not kept.
    """

    def __init__(self, module: nn.Module, parameters: Tensor, snapshots: dict[int, Tensor],
                 averages: dict[str, "Ensemble"] | None = None, *,
                 norms: Tensor | None = None) -> None:
        self.module, self.parameters, self.snapshots = module.eval(), parameters, snapshots
        self.averages, self.norms = averages or {}, norms

    def state(self, model: int, *, step: int | None = None, weights: str = "last") -> Tensor:
        """A copy of one model's parameters and buffers, which a later `Member.start` accepts.

        step: of a snapshot, None for the end. weights: "last", or the name of an average.
        """
        if weights != "last" and weights not in self.averages:
            known = ", ".join(["last", *self.averages])
            raise ValueError(f"weights {weights!r}: expected one of {known}; to keep others, name "
                             "them in Training.averages")
        kept = self if weights == "last" else self.averages[weights]
        return (kept.parameters if step is None else kept.snapshots[step])[model].clone()

    def predict(self, inputs: Tensor, *, model: int, step: int | None = None,
                weights: str = "last", chunk: int | None = None,
                offset: Tensor | None = None) -> Tensor:
        """Logits [n, classes] of one model on `inputs` (uint8 images or float features).

        step: of a snapshot, None for the end. weights: "last", or the name of an average. chunk:
        inputs at a time. offset: a tensor of an input's shape to add to every input.
        """
        flat = self.state(model, step=step, weights=weights)
        values = modules.unflatten(self.module, flat[None])
        values |= modules.unflatten_buffers(self.module, flat[None])
        chunk = chunk or sizes.samples_to_predict(self.module, flat.device)
        first = coefficients.first_linear(self.module, inputs.dim() - 1)
        with torch.no_grad():
            if offset is not None and first is not None:
                # Shifting the first layer's bias is cheaper than shifting every input.
                shift = values[f"{first}.weight"] @ offset.flatten()
                values, offset = values | {f"{first}.bias": values[f"{first}.bias"] + shift}, None
            return torch.cat([self._logits(values, _moved(part, offset, flat.device))
                              for part in inputs.split(chunk)]).cpu()

    def _logits(self, values: dict[str, Tensor], x: Tensor) -> Tensor:
        if closed_form.supports(self.module, x.dim() - 1):
            # Runs channels-last, where pooling is five times faster.
            return closed_form.forward(self.module, values, x[None])[0]
        # A copy, because the call puts parameters into the module while other threads may call it.
        own = {name: value[0] for name, value in values.items()}
        return functional_call(modules.duplicate(self.module), own, x)


def _moved(part: Tensor, offset: Tensor | None, device: torch.device) -> Tensor:
    x = as_input(part.to(device))
    return x if offset is None else x + offset
