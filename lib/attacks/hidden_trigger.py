"""The hidden-trigger backdoor (Saha et al. 2020, arXiv 1910.00033).

The poisons are training images of the target class that look unchanged and keep their labels, but
whose features are those of images of another class, the base, with the trigger on them. The trigger
itself appears in no training image; at test time it is stamped on images of the base class.

For features f, poisons z with originals t, and stamped base images s, with one s for each z,

    minimise sum_j |f(z_j) - f(s_p(j))|^2,  |z_j - t_j| <= eps in linf,

by gradient descent with projection. Before each step the pairs p are made again: the nearest pair
first, then the nearest of what is left, among `TOGETHER` poisons. The defaults are those of the
benchmark that Borgnia et al. follow (Schwarzschild et al. 2021): 8/255, 5,000 steps of rate 0.001,
times 0.95 after every 2,000, and a 5x5 patch at pixel 22 of 32. A rate that suits one network's
features may not suit another's: `signed` takes the gradient's sign, so that `lr` is the length of a
pixel's step.

As in Saha et al., `network="features"` is for victims that train a new last layer on features that
the attacker knows, and "start" for those that start from a network that it knows; "surrogate" is an
attacker who trains a network of its own.

| world | training set |
|---|---|
| P | poisons in place of the originals |
| U | the same, but matched to base images without the trigger: what moved features do alone |
| C | nothing changed |
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from lib import models, parts, training
from lib.attacks import Poisoned, check_classes, check_world, clean, in_place, permuted, triggers
from lib.attacks.perturbation import change, check_bound, stored
from lib.data import Labelled
from lib.goals.backdoor import Backdoor
from lib.lab import surrogate_seed
from lib.training import Training
from lib.training.ascent import Ball
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1

SWITCHES = {"P": (True, True), "U": (True, False), "C": (False, True)}
NETWORKS = ("surrogate", "start", "features")
SURROGATE = Training("sgd", 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, epochs=20.0,
                     batch_size=128, sampling="shuffle", schedule="step",
                     transforms=(Flip(), Crop()))
DECAY, EVERY = 0.95, 2000  # of the rate, and after how many steps
TOGETHER = 100  # poisons brewed at once

Features = Callable[[Tensor], Tensor]  # from images (0 to 255) to [n, width], differentiable


@dataclass(frozen=True)
class HiddenTrigger:
    """base: the attacked class. target: the class of which `poisons` training images are changed.
    eps: largest change of a pixel, in [0, 1]. iterations, lr, signed: of the descent. size, margin,
    position, pattern, amplitude: of the trigger, see `triggers`. network: whose features,
    "surrogate" (of `model` and `training`), "start" or "features".
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)
    FACTS: ClassVar[tuple[str, ...]] = ("poisons", "loss_start", "loss_end", "change_l2",
                                        "change_linf")

    base: int = 3
    target: int = 4
    poisons: int = 100
    eps: float = 8 / 255
    iterations: int = 5000
    lr: float = 0.001
    signed: bool = False
    size: int = 5
    margin: int = 5
    position: str = "bottom-right"
    pattern: str = "random"
    amplitude: float = 1.0
    network: str = "surrogate"
    model: str = "cnn-16-32"
    training: Training = SURROGATE
    poison: bool = field(default=True, kw_only=True)
    patched: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.base == self.target:
            raise ValueError(f"attack hidden_trigger: base {self.base} is the target too: expected "
                             "two different classes")
        parts.check_counts("attack", self, "poisons", "iterations")
        parts.check_positive("attack", self, "lr")
        if self.network not in NETWORKS:
            raise ValueError(f"attack hidden_trigger: network {self.network!r}: expected one of "
                             f"{', '.join(NETWORKS)}")
        check_bound("hidden_trigger", "linf", self.eps)
        self.trigger.check()

    @property
    def trigger(self) -> triggers.Patch:
        """The square patch, on base images while brewing and for testing."""
        return triggers.Patch(self.size, self.margin, self.position, self.pattern, self.amplitude)

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that the attack reads."""
        return self.trigger.files

    @property
    def goal(self) -> Backdoor:
        """The goal: stamped images of the base class are classified as the target."""
        return Backdoor(self.base, self.target, self.trigger)

    @property
    def in_world(self) -> str:
        """P, U or C, according to the switches."""
        return "C" if not self.poison else "P" if self.patched else "U"

    def world(self, name: str) -> Self:
        """The same attack in another of its worlds."""
        check_world(self, name)
        poison, patched = SWITCHES[name]
        return replace(self, poison=poison, patched=patched)

    def chosen(self, labels: Tensor, name: int, *, seed: int) -> Tensor:
        """Places of so many images of a class as there are poisons, int64 [poisons]."""
        own = (labels == name).nonzero().flatten()
        if self.poisons > len(own):
            raise ValueError(f"attack hidden_trigger: {self.poisons} poisons of the {len(own)} "
                             f"images of class {name}: expected at most {len(own)}")
        return permuted(own, seed=seed)[:self.poisons]

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """The training set with brewed images of the target class."""
        check_classes(data, self.base, self.target)
        self.trigger.fits(data.images)
        records = self.chosen(data.labels, self.target, seed=seed)
        if not self.poison:
            return clean(data.images, data.labels, len(data.classes))
        made = self.brewed(data, seed=seed, lab=lab)
        images = made["images"]
        facts = {"poisons": len(records), "loss_start": made["path"][0].item(),
                 "loss_end": made["path"][-1].item(),
                 **change(images, data.images[records].cpu())}
        return replace(in_place(data, records, images=images.to(data.images.device)), facts=facts)

    def brewed(self, data: Labelled, *, seed: int, lab: "Lab") -> dict[str, Tensor]:
        """"images" uint8 [poisons, ...]; "path" [iterations + 1], the mean squared distance of
        pairs before each step and, of the images as bytes, at the end; "sources" int64 [poisons],
        the places in the training set of the base images that they were last paired with."""
        records = self.chosen(data.labels, self.target, seed=seed)
        sources = self.chosen(data.labels, self.base, seed=seed)

        def make() -> dict[str, Tensor]:
            shown = data.images[sources]
            shown = self.trigger(shown, seed=seed) if self.patched else shown
            features = self._features(data, lab)
            made = [self._match(features, own, other) for own, other in zip(
                data.images[records].to(lab.device).split(TOGETHER),
                shown.to(lab.device).split(TOGETHER))]
            images, paths, pairs = zip(*made)
            shares = torch.tensor([len(part) / len(records) for part in images])
            found = torch.cat([at + part for at, part in zip(
                range(0, len(records), TOGETHER), pairs)])
            return {"images": torch.cat(images).cpu(), "sources": sources.cpu()[found],
                    "path": (torch.stack(paths) * shares[:, None]).sum(0)}
        return lab.cached(self._key(seed), make)

    def _match(self, features: Features, originals: Tensor, sources: Tensor
               ) -> tuple[Tensor, Tensor, Tensor]:
        return match(features, originals, sources, eps=self.eps, iterations=self.iterations,
                     lr=self.lr, signed=self.signed)

    def _features(self, data: Labelled, lab: "Lab") -> Features:
        if self.network == "features":
            return lambda images: lab.encode(images).flatten(1)
        if self.network == "start":
            return lab.given_start().hidden
        return lab.surrogate(self.model, self.training, data, seed=surrogate_seed(0)).hidden

    def _key(self, seed: int) -> dict[str, object]:
        """What the poisons depend on, beside the lab's context."""
        versions = {"model": models.version(self.model), "training": training.VERSION,
                    "transforms": [parts.version(each) for each in self.training.transforms]}
        return {"hidden_trigger": parts.sparse(self), "seed": seed, "versions": versions}



def match(features: Features, originals: Tensor, sources: Tensor, *, eps: float, iterations: int,
          lr: float, signed: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Images within eps of the originals whose features are close to those of the sources.

    originals, sources: uint8 [n, channels, height, width]. Returns the images as bytes, the mean
    squared distance of pairs before each step and of these bytes [iterations + 1], and each image's
    source at the end, int64 [n] (the last two on the CPU).
    """
    x0, ball, path = originals.float() / 255, Ball("linf", eps), []
    with torch.no_grad():
        wanted = features(sources.float())

    def away(x: Tensor) -> tuple[Tensor, Tensor]:
        own = features(255 * x)
        pairs = paired(own.detach(), wanted)
        squares = (own - wanted[pairs.to(own.device)]).square().sum(1)
        path.append(squares.detach().mean())
        return squares, pairs

    x = x0
    for step in range(iterations):
        x.requires_grad_()
        gradient, = torch.autograd.grad(away(x)[0].sum(), x)
        rate = lr * DECAY ** (step // EVERY)
        moved = x.detach() - rate * (gradient.sign() if signed else gradient)
        x = (x0 + ball.project(moved - x0)).clamp(0, 1)
    images = stored(255 * x, originals, Ball("linf", 255 * eps))
    with torch.no_grad():
        _, pairs = away(images.float() / 255)
    return images, torch.stack(path).cpu(), pairs


def paired(own: Tensor, others: Tensor) -> Tensor:
    """For each of own [n, width] one of the others [n, width], int64 [n] on the CPU: the nearest
    pair first, then the nearest of what is left."""
    distances = torch.cdist(own, others).cpu().numpy()
    found = np.empty(len(own), np.int64)
    for _ in range(len(own)):
        row, column = np.unravel_index(distances.argmin(), distances.shape)
        found[row] = column
        distances[row], distances[:, column] = np.inf, np.inf
    return torch.from_numpy(found)


Attack = HiddenTrigger
