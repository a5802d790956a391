"""Noise on a trained model: plain training, then Gaussian noise on logits or weights.

A baseline, not a defence with a guarantee. It costs accuracy without changing what the model
learnt. If DP-SGD weakens a backdoor more at equal accuracy, this is due to how DP-SGD learns.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lib import training
from lib.attacks import Poisoned
from lib.defences import Predict, Trained, members, own
from lib.privacy import Guarantee

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1
PLACES = ("logits", "weights")
NONE = "noise on the output of plain training: nothing bounds what one record does to the model"


@dataclass(frozen=True)
class OutputNoise:
    """Independent draws of N(0, scale^2), from `noise_seed`.

    on="logits": a draw for every logit of every image. Each call of `predict` derives a new seed
    from `noise_seed` and the number of images. Therefore a repeated call has the same noise, an
    image's noise depends on its place in the call, and all steps of a path and all averaged weights
    share their draws, as do two sets with the same number of images.
    on="weights": a draw for every trained parameter, the same at all steps and for averaged
    weights; buffers and frozen parameters get no noise. A run that starts from these weights starts
    from the noisy ones.
    """

    takes_start: ClassVar[bool] = True

    scale: float
    on: str = "logits"

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise ValueError(
                f"defence output_noise: scale {self.scale}: expected 0 or more, and finite")
        if self.on not in PLACES:
            raise ValueError(
                f"defence output_noise: on {self.on!r}: expected one of {', '.join(PLACES)}")

    def group(self, run: "Run") -> tuple:
        """Runs with an equal group train together."""
        return ("output_noise", run.model, replace(run.training, lr=1.0), run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group, once for those that differ only in their noise.

        Returns the results in the order of the runs.
        """
        names = [_before_noise(run) for run in runs]
        first: dict[str, tuple[Run, Poisoned]] = {}
        for name, run, data in zip(names, runs, poisoned, strict=True):
            first.setdefault(name, (run, data))
        group = members.fit([run for run, _ in first.values()],
                            [data for _, data in first.values()], [{} for _ in first])
        places = {name: place for place, name in enumerate(first)}
        return [own(run, OutputNoise).perturbed(group, places[name], seed=run.noise_seed)
                for name, run in zip(names, runs)]

    def perturbed(self, group: training.Ensemble, model: int, *, seed: int) -> Trained:
        """One model of a trained group with this noise; does not change the group."""
        on_logits = self.on == "logits"
        predictor = functools.partial(
            self._noisy_logits if on_logits else self._noisy_weights, seed)
        found = members.trained(group, model, Guarantee.none(NONE), predictor=predictor)
        if on_logits:
            return found
        return replace(found, weights=self._on_weights(group.state(model), group.module, seed))

    def _noisy_logits(self, seed: int, group: training.Ensemble, model: int,
                      **which: Any) -> Predict:
        plain = members.predictor(group, model, **which)
        return lambda inputs: self._on_logits(plain(inputs), seed)

    def _noisy_weights(self, seed: int, group: training.Ensemble, model: int,
                       **which: Any) -> Predict:
        def predict(inputs: Tensor) -> Tensor:
            # Draw the noise in every call, because a path of noisy copies would fill the memory.
            state = self._on_weights(group.state(model, **which), group.module, seed)
            return training.Ensemble(group.module, state[None], {}).predict(inputs, model=0)
        return predict

    def _on_logits(self, logits: Tensor, seed: int) -> Tensor:
        random = training.generator(f"output logits {len(logits)}", seed)
        return logits + self.scale * torch.randn(logits.shape, generator=random)

    def _on_weights(self, state: Tensor, module: nn.Module, seed: int) -> Tensor:
        """Parameters and buffers [numbers] of a model, with noise on the trained parameters."""
        trained = _trained_numbers(module)
        noise = torch.zeros(len(state))
        noise[trained] = torch.randn(int(trained.sum()),
                                     generator=training.generator("output weights", seed))
        return state + self.scale * noise.to(state.device)


def _before_noise(run: "Run") -> str:
    """A digest that is equal for runs whose models are equal before the noise."""
    from lib.study.measure import identity
    return identity(replace(run, defence=OutputNoise(0.0), noise_seed=0))


def _trained_numbers(module: nn.Module) -> Tensor:
    """Mask of the trained numbers among a model's parameters and buffers, bool [numbers]."""
    parameters = [torch.full((parameter.numel(),), parameter.requires_grad)
                  for parameter in module.parameters()]
    buffers = torch.zeros(sum(buffer.numel() for buffer in module.buffers()), dtype=torch.bool)
    return torch.cat([*parameters, buffers])


Defence = OutputNoise
