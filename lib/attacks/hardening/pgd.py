"""Hardening by projected gradient ascent on a surrogate's loss (Turner's thesis, section 3.3.2).

The surrogate is adversarially trained, or a standard network if `training` has no `Adversarial`. A
black-box attacker has another architecture (`model`) and `data="disjoint"`.

The defaults are those of the benchmark that Borgnia et al. follow (Schwarzschild et al. 2021):
linf, 8/255, 20 steps of 2/255 with a random start. The thesis's bounds are 300, 600 and 1,200 in l2
and 8, 16 and 32 in linf for pixels from 0 to 255; it states neither steps nor their length.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lib import models, parts, training
from lib.attacks.hardening import Hardener, Scene, check_source
from lib.attacks.perturbation import check_bound, stored
from lib.data import Labelled
from lib.lab import Surrogate, surrogate_seed
from lib.training import Training, generator
from lib.training.ascent import Ball, ascend, check_steps
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

VERSION = 1

ROBUST = Training("sgd", 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, epochs=20.0,
                  batch_size=128, sampling="shuffle", schedule="step",
                  transforms=(Flip(), Crop(), Adversarial()))
PRECISIONS = ("float32", "fast")
# How robust a surrogate is: PGD in linf, on so many test images at most.
WITHIN, STEP, STEPS, MEASURED, AT_ONCE = Ball("linf", 8.0), 2.0, 20, 1000, 100
WEAK = 0.3  # robust accuracy below which figures call a surrogate weak


@dataclass(frozen=True)
class PGD:
    """norm, eps: of the ball around an image, for pixels in [0, 1]. step, steps: of the ascent.
    random_start: begin at a random place in the ball. model, training, precision: of the surrogate.
    data, images: which images and how many of them it is trained on, see `lib.attacks.hardening`.
    """

    FACTS: ClassVar[tuple[str, ...]] = ("loss_start", "loss_end", "surrogate_accuracy",
                                        "surrogate_robust")

    norm: str = "linf"
    eps: float = 8 / 255
    step: float = 2 / 255
    steps: int = 20
    random_start: bool = True
    model: str = "cnn-16-32"
    training: Training = ROBUST
    precision: str = "fast"
    data: str = "victim"
    images: int | None = None

    def __post_init__(self) -> None:
        check_bound("clean_label", self.norm, self.eps)
        try:
            check_steps(self.step, self.steps)
        except ValueError as error:
            raise ValueError(f"attack clean_label: {error}") from None
        if self.precision not in PRECISIONS:
            raise ValueError(f"hardening pgd: precision {self.precision!r}: expected one of "
                             f"{', '.join(PRECISIONS)}")
        check_source("pgd", self.data, self.images)

    @property
    def ball(self) -> Ball:
        """The ball for pixels from 0 to 255."""
        return Ball(self.norm, 255 * self.eps)

    def check(self, *, target: int) -> None:
        """Every class will do."""

    def key(self) -> Mapping[str, object]:
        """The settings, and the versions of what trains the surrogate."""
        versions = {"pgd": VERSION, "model": models.version(self.model),
                    "training": training.VERSION,
                    "transforms": [parts.version(each) for each in self.training.transforms]}
        return {"pgd": parts.sparse(self), "versions": versions}

    def surrogate(self, scene: Scene) -> Surrogate:
        """The attacker's network, trained once for all bounds, targets and seeds."""
        own = scene.own(self.data, self.images)
        return scene.lab.surrogate(self.model, self.training, own, seed=surrogate_seed(0),
                                   precision=self.precision)

    def hardener(self, scene: Scene) -> Hardener:
        """What hardens images: "images", and each image's losses "path" [n, steps + 1]."""
        network = self.surrogate(scene)

        def harden(records: Tensor, random: torch.Generator) -> dict[str, Tensor]:
            images, path = self.moved(network, scene.originals(records), scene.target, random)
            return {"images": images, "path": path}
        return harden

    def moved(self, network: Surrogate, images: Tensor, label: int, random: torch.Generator
              ) -> tuple[Tensor, Tensor]:
        """Hardened uint8 images like `images` [n, ...] of class `label`, and the network's loss for
        each of them before each step and at the end [n, steps + 1].

        random: draws the random starts, on the network's device like the images.
        """
        x, seen = images.float().contiguous(memory_format=torch.channels_last), []
        labels = torch.full((len(x),), label, device=x.device)

        def losses(moved: Tensor) -> Tensor:
            found = _losses(network, labels, moved)
            seen.append(found.detach())
            return found
        start = self.ball.draw(len(x), tuple(x.shape[1:]), random) if self.random_start else None
        moved = ascend(losses, x, self.ball, step=255 * self.step, steps=self.steps, start=start)
        made = stored(moved.contiguous(), images, self.ball)
        with torch.no_grad():
            losses(made.float())
        return made, torch.stack(seen, 1)

    def facts(self, made: dict[str, Tensor], scene: Scene) -> dict[str, float]:
        """The mean loss at the start and at the end, and how good the surrogate is."""
        path = made["path"].mean(0)
        return {"loss_start": path[0].item(), "loss_end": path[-1].item(),
                **self.measured(scene)}

    def measured(self, scene: Scene) -> dict[str, float]:
        """The surrogate's accuracy on test images, and on the same images after PGD in linf: 8/255,
        20 steps of 2/255, random start."""
        settings = dict(self.key())
        settings["pgd"] = {name: getattr(self, name)
                           for name in ("model", "precision", "data", "images")}

        def make() -> dict[str, Tensor]:
            shares = accuracies(self.surrogate(scene), scene.lab.given_test())
            return {"shares": torch.tensor(shares, dtype=torch.float64)}
        key = {"measured": settings, "training": parts.sparse(self.training)}
        kept = scene.lab.cached(key, make)
        return dict(zip(("surrogate_accuracy", "surrogate_robust"), kept["shares"].tolist()))


def accuracies(network: Surrogate, test: Labelled) -> tuple[float, float]:
    """Shares of up to 1,000 test images that the network classifies as labelled: as they are, and
    after PGD in linf of 8/255, 20 steps of 2/255 from a random start."""
    device = next(iter(network.parameters.values())).device
    random, right = generator("robust accuracy", 0, device), torch.zeros(2, device=device)
    count = min(MEASURED, len(test.labels))
    for places in torch.arange(count).split(AT_ONCE):
        x = test.images[places].to(device).float().contiguous(memory_format=torch.channels_last)
        labels = test.labels[places].to(device)
        start = WITHIN.draw(len(x), tuple(x.shape[1:]), random)
        moved = ascend(functools.partial(_losses, network, labels), x, WITHIN, step=STEP,
                       steps=STEPS, start=start)
        with torch.no_grad():
            right += torch.stack([(network.logits(shown).argmax(1) == labels).sum()
                                  for shown in (x, moved)])
    clean, robust = (right / count).tolist()
    return clean, robust


def _losses(network: Surrogate, labels: Tensor, images: Tensor) -> Tensor:
    return F.cross_entropy(network.logits(images), labels, reduction="none")


Hardening = PGD
