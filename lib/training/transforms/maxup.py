"""MaxUp (Gong et al. 2020, arXiv 2002.09024): the worst of several random views of each image.

Each image of a batch is replaced by that of its `trials` views whose loss is largest under the
current weights, in evaluation mode (see `transforms.adversarial`).

`worst=False` is what the code that Borgnia et al. used does instead. Its Cutout changes the batch
in place, so that the trials are four references to one batch that carries the boxes of all four,
and it takes the mean of their losses, which is the loss of one: no maximum, but stacked views. That
code starts after 5 of 40 epochs (`after=0.125`), and draws a box for a batch, not for an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib import parts
from lib.training import transforms
from lib.training.transforms import Adaptive, Losses, whole
from lib.training.transforms.cutout import Cutout

VERSION = 1
PROGRESS = transforms.PROGRESS


@dataclass(frozen=True)
class MaxUp:
    """trials: views of each image. views: the transforms that make a view, applied in turn. worst:
    take the view with the largest loss; False to apply all trials one after the other, as released.
    after: share of the training until which images stay as they are."""

    mixes: ClassVar[str] = "views"

    trials: int = 4
    views: tuple[transforms.Transform, ...] = (Cutout(),)
    worst: bool = True
    after: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(map(transforms.build, self.views)))
        whole("maxup", "trials", self.trials, least=2)
        if not 0 <= self.after < 1:
            raise ValueError(f"transform maxup: after {self.after}: expected 0 or more and below 1,"
                             " a share of the training")
        if not self.views:
            raise ValueError("transform maxup: no views: expected at least one transform, such as "
                             "{name: cutout}")
        for view in self.views:
            if view.mixes not in ("none", "views") or isinstance(view, Adaptive):
                raise ValueError(
                    f"transform maxup: view {parts.name_of(view)}: expected transforms that change "
                    "a record by itself, whatever the network")

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """The draws of every view and trial [count, trials, ...], by place and name."""
        found = {}
        for place, view in enumerate(self.views):
            drawn = view.draw(count * self.trials, shape, random)
            found |= {f"{place}.{name}": values.unflatten(0, (count, self.trials))
                      for name, values in drawn.items()}
        return found

    def choose(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor], losses: Losses
               ) -> dict[str, Tensor]:
        """The draws of each image's worst trial; as released, all draws as they are."""
        if not self.worst:
            return draws
        with torch.no_grad():
            found = torch.stack([losses(*self._view(x, labels, trial))
                                 for trial in self._trials(draws)])
        # Indices [models, 1], [1, batch], [models, batch]: of each image's worst trial.
        models, batch = (torch.arange(size, device=x.device) for size in found.shape[1:])
        worst = models[:, None], batch[None], found.argmax(0)
        return {name: values if name == PROGRESS else values[worst]
                for name, values in draws.items()}

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Show the chosen view, or all of them on top of each other."""
        seen, own = x, labels
        for trial in [draws] if self.worst else self._trials(draws):
            seen, own = self._view(seen, own, trial)
        if not self.after:
            return seen, own
        begun = draws[PROGRESS] >= self.after
        return _where(begun, seen, x), _where(begun, own, labels)

    def _trials(self, draws: dict[str, Tensor]) -> Sequence[dict[str, Tensor]]:
        own = {name: values for name, values in draws.items() if name != PROGRESS}
        return [{name: values[:, :, trial] for name, values in own.items()}
                for trial in range(self.trials)]

    def _view(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        for place, view in enumerate(self.views):
            start = f"{place}."
            own = {name.removeprefix(start): values for name, values in draws.items()
                   if name.startswith(start)}
            x, labels = view.apply(x, labels, own)
        return x, labels


def _where(chosen: Tensor, values: Tensor, others: Tensor) -> Tensor:
    """Values where `chosen` [models, batch], else the others, [models, batch, ...]."""
    return values.where(chosen.view(*chosen.shape, *[1] * (values.dim() - 2)), others)


Transform = MaxUp
