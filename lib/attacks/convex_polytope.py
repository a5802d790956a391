"""Convex polytope (Zhu et al. 2019, arXiv 1905.05897; the benchmark of Schwarzschild et al. 2021).

The attacker wants one test image, the target, to get the wanted label. It changes several training
images of the wanted class within `eps` per pixel, labels kept, until a mixture of their features is
the target's: a linear layer that gives all of them the wanted label gives it to the target too. For
features f of each of the attacker's networks, and of each of their last `layers` layers, target t
and poisons p_j (Zhu et al., equation 2), it minimises the mean over the feature spaces of

    1/2 |f(t) - sum_j c_j f(p_j)|^2 / |f(t)|^2,  c_j >= 0,  sum_j c_j = 1

in turn in the coefficients c, which have an exact solution, and by a step of Adam in the poisons.
Their rate of 0.04 is for inputs divided by their standard deviation: 0.01 here.

Transfer: the victim trains a new linear layer on features that the attacker knows, from a public
extractor (`network="features"`) or the network that it starts from ("start"). From scratch, the
attacker trains `surrogates` of its own, and Zhu et al. use all layers.

| world | training set |
|---|---|
| P | the changed images in place of their originals |
| C | nothing changed; the natural rate |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from lib import models, parts, training
from lib.attacks import (
    Poisoned,
    brewing,
    check_classes,
    check_world,
    clean,
    in_place,
    permuted,
    perturbation,
)
from lib.data import Labelled
from lib.goals.single_target import SingleTarget
from lib.training import Training

if TYPE_CHECKING:
    from lib.lab import Lab, Surrogate

VERSION = 1

NETWORKS = ("surrogates", "start", "features")

Features = Callable[[Tensor], list[Tensor]]  # from images (0 to 255) to spaces, each [n, width]


@dataclass(frozen=True)
class ConvexPolytope:
    """target: place of the target among the test images of class `base`. label: the wanted class,
    `poisons` of whose training images are changed. eps: largest change of a pixel, in [0, 1].
    iterations, lr: of the crafting. network: whose features, "surrogates" (of a `model` and its
    `training`, so many of them), "start" or "features". layers: how many of the last layers, in
    whose inputs the target is enclosed; of public features, 1.
    """

    worlds: ClassVar[tuple[str, ...]] = ("P", "C")
    FACTS: ClassVar[tuple[str, ...]] = ("poisons", "loss_start", "loss_end", "change_l2",
                                        "change_linf")

    target: int = 0
    base: int = 3
    label: int = 4
    poisons: int = 25
    eps: float = 8 / 255
    iterations: int = 1200
    lr: float = 0.01
    layers: int = 1
    network: str = "surrogates"
    model: str = "cnn-16-32"
    training: Training = brewing.SURROGATE
    surrogates: int = 3
    enclose: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.base == self.label:
            raise ValueError(f"attack convex_polytope: a target of class {self.base}, the wanted "
                             "label: expected a target of another class")
        perturbation.check_bound("convex_polytope", "linf", self.eps)
        parts.check_counts("attack", self, "poisons", "iterations", "layers", "surrogates")
        parts.check_positive("attack", self, "lr")
        if self.network not in NETWORKS:
            raise ValueError(f"attack convex_polytope: network {self.network!r}: expected one of "
                             f"{', '.join(NETWORKS)}")
        if self.network == "features" and self.layers > 1:
            raise ValueError(f"attack convex_polytope: {self.layers} layers of public features: "
                             "expected 1, or another network")

    @property
    def goal(self) -> SingleTarget:
        """The goal: the target is classified as the wanted label."""
        return SingleTarget((self.target,), self.label, base=self.base)

    @property
    def in_world(self) -> str:
        """P or C, according to the switch."""
        return "P" if self.enclose else "C"

    def world(self, name: str) -> Self:
        """The same attack in another of its worlds."""
        check_world(self, name)
        return replace(self, enclose=name == "P")

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """The training set with crafted poisons."""
        check_classes(data, self.base, self.label)
        if not self.enclose:
            return clean(data.images, data.labels, len(data.classes))
        made = self.crafted(data, seed=seed, lab=lab)
        return replace(in_place(data, made.records, images=made.poisons.to(data.images.device)),
                       facts=made.facts())

    def crafted(self, data: Labelled, *, seed: int, lab: "Lab") -> "Crafted":
        """The poisons of `craft`, their originals, and how the objective fell."""
        records = self.victims(data.labels, seed=seed)
        kept = lab.cached(self.key(seed), lambda: self._made(data, records, lab))
        return Crafted(kept["poisons"], data.images[records].cpu(), records, kept["path"])

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """Places of the images to change, int64 [poisons]; ValueError if there are too few."""
        own = (labels == self.label).nonzero().flatten()
        if self.poisons > len(own):
            raise ValueError(f"attack convex_polytope: {self.poisons} poisons of the {len(own)} "
                             f"images of class {self.label}: expected at most {len(own)}")
        return permuted(own, seed=seed)[:self.poisons]

    def key(self, seed: int) -> dict[str, object]:
        """What the poisons depend on, beside the lab's context."""
        versions = {"model": models.version(self.model), "training": training.VERSION,
                    "transforms": [parts.version(each) for each in self.training.transforms]}
        return {"convex_polytope": parts.sparse(self), "seed": seed, "versions": versions}

    def _made(self, data: Labelled, records: Tensor, lab: "Lab") -> dict[str, Tensor]:
        target = self.goal.cases(lab.given_test(), seed=0).images.to(lab.device)
        poisons, path = enclose(self._features(data, lab), data.images[records].to(lab.device),
                                target, eps=self.eps, iterations=self.iterations, lr=self.lr)
        return {"poisons": poisons.cpu(), "path": path.cpu()}

    def _features(self, data: Labelled, lab: "Lab") -> list[Features]:
        """The feature spaces in which the target is enclosed."""
        if self.network == "features":
            if lab.context.get("features", "none") == "none":
                raise ValueError("attack convex_polytope: network 'features' of a run on pixels: "
                                 "expected a run with features, or network surrogates or start")
            return [lambda images: [lab.encode(images).flatten(1)]]
        networks = ([lab.given_start()] if self.network == "start" else brewing.surrogates(
            lab, data, self.model, self.training, self.surrogates))
        return [lambda images, network=network: inputs_of_layers(network, images, self.layers)
                for network in networks]


@dataclass(frozen=True, eq=False)
class Crafted:
    """What the attacker made. poisons, originals: uint8 [poisons, ...]. records: int64 [poisons],
    their places in the training set. path: the objective [iterations]."""

    poisons: Tensor
    originals: Tensor
    records: Tensor
    path: Tensor

    def facts(self) -> dict[str, float]:
        """The facts of a row: distances are in units of [0, 1], l2 as a mean over poisons."""
        return {"poisons": len(self.poisons), "loss_start": self.path[0].item(),
                "loss_end": self.path[-1].item(),
                **perturbation.change(self.poisons, self.originals)}


def inputs_of_layers(network: "Surrogate", images: Tensor, layers: int) -> list[Tensor]:
    """The inputs [n, width] of the network's last layers with weights, in their order."""
    found: list[Tensor] = []
    weighted = [layer for layer in network.module.modules()
                if isinstance(layer, (nn.Linear, nn.Conv2d))]
    if layers > len(weighted):
        raise ValueError(f"attack convex_polytope: {layers} layers of a network with "
                         f"{len(weighted)}: expected at most {len(weighted)}")
    hooks = [layer.register_forward_pre_hook(lambda _, given: found.append(given[0].flatten(1)))
             for layer in weighted]
    try:
        network.logits(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[-layers:]


def enclose(features: Sequence[Features], base: Tensor, target: Tensor, *, eps: float,
            iterations: int, lr: float) -> tuple[Tensor, Tensor]:
    """Images within eps of `base` that enclose the target, uint8 [poisons, ...], and the objective
    in each iteration, before its step [iterations].

    base: uint8 [poisons, ...]. target: uint8 [1, ...].
    """
    start = base.float() / 255
    with torch.no_grad():
        wanted = [space[0] for network in features for space in network(target)]
    change, path = nn.Parameter(torch.zeros_like(start)), []
    optimizer = torch.optim.Adam([change], lr)
    for _ in range(iterations):
        spaces = [space for network in features for space in network(255 * (start + change))]
        loss = torch.stack([_apart(*each) for each in zip(spaces, wanted)]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            change.copy_(brewing.projected(change, start, eps))
        path.append(loss.detach())
    return brewing.as_bytes(start, change.detach(), eps), torch.stack(path)


def _apart(space: Tensor, wanted: Tensor) -> Tensor:
    """The objective in one space: poisons [poisons, width], the target's [width]."""
    mixture = coefficients(space.detach(), wanted).to(space) @ space
    return (wanted - mixture).square().sum() / wanted.square().sum().clamp_min(1e-30) / 2


def coefficients(points: Tensor, wanted: Tensor) -> Tensor:
    """Weights [points] of the mixture of points [points, width] that is nearest to `wanted`.

    With differences d_j = p_j - t, it is the shortest vector sum_j c_j d_j of their convex hull.
    Least squares without the sum's constraint, min |sum_j u_j d_j|^2 + (sum_j u_j - 1)^2 over
    u >= 0, has the same solution up to its length: for u = s c and a fixed s > 0, the best c does
    not depend on s.
    """
    from scipy.optimize import nnls

    apart = (points - wanted).double().cpu().numpy().T
    apart = apart / max(float(np.abs(apart).max()), 1e-30)
    system = np.vstack([apart, np.ones((1, apart.shape[1]))])
    found = nnls(system, np.append(np.zeros(len(apart)), 1.0))[0]
    return torch.from_numpy(found / found.sum())


Attack = ConvexPolytope
