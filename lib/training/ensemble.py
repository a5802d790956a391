"""The result of a training: the weights of many models of one shape, and their predictions."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib.training import modules, sizes
from lib.training.batches import as_input
from lib.training.steps import alone, closed_form, coefficients

# Inputs times models to predict together: of vectors, and of images, whose activations are larger.
TOGETHER, IMAGES_TOGETHER = 2**17, 2**12


class Ensemble:
    """Trained models of one shape: `parameters` [models, parameters], and snapshots of them.

    If the module has buffers, they follow its parameters. averages: {name: the same models with
    averaged weights, at the same steps}. norms: [models], the clipping norms at the end, None if
    they are not kept. trainings: for each model, the number of its training, equal for models that
    are one training; by default each has its own.
    """

    def __init__(self, module: nn.Module, parameters: Tensor, snapshots: dict[int, Tensor],
                 averages: dict[str, "Ensemble"] | None = None, *, norms: Tensor | None = None,
                 trainings: Sequence[int] | None = None) -> None:
        self.module, self.parameters, self.snapshots = module.eval(), parameters, snapshots
        self.averages, self.norms = averages or {}, norms
        self.trainings = list(range(len(parameters))) if trainings is None else list(trainings)
        self.shared = {number for number, models in Counter(self.trainings).items() if models > 1}

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

    def predict_together(self, inputs: Tensor, *, models: Sequence[int], step: int | None = None,
                         weights: str = "last") -> Tensor:
        """Logits [models, n, classes] of several models on the same inputs, on their device.

        Inputs are read once, and a first linear layer is one product for all models. On a CPU
        convolutions predict one model after the other, because grouped ones are slower there.
        """
        kept = self if weights == "last" else self.averages[weights]
        states = (kept.parameters if step is None else kept.snapshots[step])[list(models)]
        module = self.module
        convolved = states.device.type == "cpu" and sizes.convolves(module)
        if (not closed_form.supports(module, inputs.dim() - 1) or alone.deep(module, inputs)
                or convolved):
            return torch.stack([self.predict(inputs, model=model, step=step, weights=weights)
                                for model in models]).to(states.device)
        values = modules.unflatten(module, states)
        vectors = coefficients.first_linear(module, inputs.dim() - 1) is not None
        chunk = max(1, (TOGETHER if vectors else IMAGES_TOGETHER) // len(states))
        with torch.no_grad():
            return torch.cat([_together(module, values, _moved(part, None, states.device))
                              for part in inputs.split(chunk)], 1)

    def _logits(self, values: dict[str, Tensor], x: Tensor) -> Tensor:
        if closed_form.supports(self.module, x.dim() - 1):
            # Runs channels-last, where pooling is five times faster.
            return closed_form.forward(self.module, values, x[None])[0]
        # A copy, because the call puts parameters into the module while other threads may call it.
        own = {name: value[0] for name, value in values.items()}
        if x.dim() == 4:  # as above
            x = x.contiguous(memory_format=torch.channels_last)
        return functional_call(modules.duplicate(self.module), own, x)


def _moved(part: Tensor, offset: Tensor | None, device: torch.device) -> Tensor:
    x = as_input(part.to(device))
    return x if offset is None else x + offset


def _together(module: nn.Sequential, values: dict[str, Tensor], x: Tensor) -> Tensor:
    """Logits [models, n, classes] of stacked parameters on the same inputs [n, ...]."""
    first = coefficients.first_linear(module, x.dim() - 1)
    if first is None:
        models = len(next(iter(values.values())))
        return closed_form.forward(module, values, x[None].expand(models, *x.shape))
    weight, bias = values[f"{first}.weight"], values[f"{first}.bias"]
    hidden = (x.flatten(1) @ weight.flatten(0, 1).T).unflatten(1, weight.shape[:2])
    hidden = hidden.transpose(0, 1) + bias[:, None]
    if first + 1 == len(module):
        return hidden
    later = {key: value for key, value in values.items() if int(key.split(".")[0]) > first}
    # The rest is a module of its own, which numbers its layers from 0.
    rest = {f"{int(key.split('.')[0]) - first - 1}.{key.split('.')[1]}": value
            for key, value in later.items()}
    return closed_form.forward(nn.Sequential(*module[first + 1:]), rest, hidden)
