"""Poison Frogs (Shafahi et al. 2018), as Hong et al. use it against re-trainings.

The attacker wants one test image, the target, to get the wanted label. A poison starts as a donor,
a test image of the wanted class, and keeps the donor's look and its correct label, but is moved
until the victim's network (white box: the one that the re-training starts from) gives it nearly the
target's features. The victim appends it to its training set and trains on.

Crafting minimises |f(x) - f(t)|^2 + beta |x - d|^2 over images x in [0, 1], for features f, target
t and donor d, by forward-backward splitting (Shafahi et al., algorithm 1), with a step length of
its own for each donor; beta = similarity (features / inputs)^2, their section 3. Features are the
inputs of the last layer, or the logits of a network with a single layer (Hong et al., section 6.3).
Poisons are stored as bytes, as all images are, and used if they then lie within `reach` of the
target. A `watermark` of w replaces the donor d by (1 - w) d + w t from the start (their section 4,
which needs 0.2 to 0.3 where all layers are trained). Crafting code was not released: iterations and
similarity follow Shafahi et al.; file names of the release suggest a watermark of 0.6, which is a
poison that looks more like the target than like its donor. The benchmark of Schwarzschild et al.
(2021) also keeps every pixel within `eps` of the donor's, with a watermark of 0.3.

The attacker *searches*: one-shot, it tries one poison at a time, those with the smallest change of
their donor first; with `counts`, it uses the first so many poisons together. Each try is a training
of its own, and Hong et al. count the attack as a success if any of them succeeds.

| world | training set |
|---|---|
| P | the poisons, appended |
| T | their donors as they are, appended: correctly labelled test images |
| C | nothing appended; a re-training for each try, with batches of its own: the natural rate |
"""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from lib import parts
from lib.attacks import Poisoned, appended, check_classes, check_world, clean, perturbation
from lib.data import Labelled
from lib.goals.single_target import SingleTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from lib.lab import Lab, Surrogate

VERSION = 2

SWITCHES = {"P": (True, True), "T": (True, False), "C": (False, True)}


@dataclass(frozen=True)
class FeatureCollision:
    """target: place of the target among the test images of class `base`. label: the wanted class.
    candidates: the donors with the nearest features, among the first `pool` test images of the
    wanted class; accuracy does not count these `pool` images. counts: () to try the poisons one at
    a time, else the growing numbers of poisons to try together. reach: largest distance between the
    features of a usable poison and the target's. iterations, similarity: of the crafting.
    watermark: share of the target in the image that crafting starts from and stays near. eps:
    largest change of a donor's pixel, in [0, 1]; None for no bound.
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)

    target: int = 0
    base: int = 3
    label: int = 4
    candidates: int = 20
    counts: tuple[int, ...] = ()
    pool: int = 100
    reach: float = 3.5
    iterations: int = 1000
    similarity: float = 0.25
    watermark: float = 0.0
    eps: float | None = None
    append: bool = field(default=True, kw_only=True)
    collide: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", tuple(self.counts))
        if self.base == self.label:
            raise ValueError(f"attack feature_collision: a target of class {self.base}, the wanted "
                             "label: expected a target of another class")
        if not 1 <= self.candidates <= self.pool:
            raise ValueError(f"attack feature_collision: candidates {self.candidates} of a pool of "
                             f"{self.pool} donors: expected 1 to {self.pool}")
        if self.counts != tuple(sorted(set(self.counts))) or min(self.counts, default=1) < 1:
            raise ValueError(f"attack feature_collision: counts {list(self.counts)}: expected "
                             "growing numbers of poisons from 1 on")
        if max(self.counts, default=1) > self.candidates:
            raise ValueError(f"attack feature_collision: {max(self.counts)} poisons of "
                             f"{self.candidates} candidates: expected at most one poison a donor; "
                             "raise candidates, or lower counts")
        parts.check_positive("attack", self, "reach", "iterations", "similarity")
        if not 0 <= self.watermark < 1:
            raise ValueError(f"attack feature_collision: watermark {self.watermark}: expected 0 or "
                             "more and below 1, a share of the target")
        if self.eps is not None:
            perturbation.check_bound("feature_collision", "linf", self.eps)

    @property
    def goal(self) -> SingleTarget:
        """The goal: the target is classified as the wanted label."""
        return SingleTarget((self.target,), self.label, base=self.base, donors=self.pool)

    @property
    def in_world(self) -> str:
        """P, T or C, according to the switches."""
        return "C" if not self.append else "P" if self.collide else "T"

    def world(self, name: str) -> Self:
        """The same attack in another of its worlds."""
        check_world(self, name)
        append, collide = SWITCHES[name]
        return replace(self, append=append, collide=collide)

    @property
    def most_tries(self) -> int:
        """Number of tries if every candidate becomes a usable poison."""
        return len(self.counts) or self.candidates

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """The training set of the first try; ValueError if no poison is usable."""
        found = self.tries(data, seed=seed, lab=lab)
        if not found:
            raise ValueError(f"attack feature_collision: no poison within {self.reach} of target "
                             f"{self.target}: expected a larger reach, or more iterations")
        return found[0]

    def tries(self, data: Labelled, *, seed: int, lab: "Lab") -> list[Poisoned]:
        """The training sets of all tries in their order; empty if no poison is usable."""
        check_classes(data, self.base, self.label)
        if not self.append:
            nothing = clean(data.images, data.labels, len(data.classes))
            return [nothing] * self.most_tries
        made = lab.cached({"feature_collision": self._crafting()}, lambda: self._made(lab))
        usable = (made["distance"] <= self.reach).nonzero().flatten()
        order = usable[made["change"][usable].argsort(stable=True)]
        chosen = [order[:count] for count in self.counts if count <= len(order)]
        if not self.counts:
            chosen = [place[None] for place in order]
        return [self._appended(data, made, places) for places in chosen]

    def _crafting(self) -> dict[str, object]:
        """What the crafted poisons depend on, beside the lab's context."""
        names = ("target", "base", "label", "candidates", "pool", "iterations", "similarity",
                 "watermark")
        names = names if self.eps is None else (*names, "eps")
        return {name: getattr(self, name) for name in names}

    def _appended(self, data: Labelled, made: dict[str, Tensor], places: Tensor) -> Poisoned:
        images = made["poisons" if self.collide else "donors"][places].to(data.images.device)
        labels = torch.full((len(places),), self.label, device=data.labels.device)
        facts = {"poisons": len(places), "donor": made["place"][places[-1]].item(),
                 "distance": made["distance"][places].mean().item(),
                 "change": made["change"][places].mean().item()}
        return replace(appended(data, images, labels, truth=labels), facts=facts)

    def _made(self, lab: "Lab") -> dict[str, Tensor]:
        """Poisons, donors (uint8) and their places in the test set, and for each the distance of
        its features from the target's, and the l2 norm of its change in units of [0, 1]."""
        network, test = lab.given_start(), lab.given_test()
        places = self.goal.donated(test.labels)
        target = self.goal.cases(test, seed=0).images.to(lab.device)
        with torch.no_grad():
            wanted = features(network, target)
            pool = features(network, test.images[places].to(lab.device))
        nearest = (pool - wanted).norm(dim=1).argsort(stable=True)[: self.candidates].cpu()
        donors = test.images[places[nearest]].to(lab.device)
        marked = (1 - self.watermark) * donors.float() + self.watermark * target.float()
        poisons = collide(lambda images: features(network, images), marked, wanted,
                          iterations=self.iterations, similarity=self.similarity,
                          within=None if self.eps is None else around(donors, self.eps))
        with torch.no_grad():
            distance = (features(network, poisons) - wanted).norm(dim=1)
        change = (poisons.float() - donors.float()).flatten(1).norm(dim=1) / 255
        return {"poisons": poisons.cpu(), "donors": donors.cpu(), "place": places[nearest],
                "distance": distance.cpu(), "change": change.cpu()}


def features(network: "Surrogate", images: Tensor) -> Tensor:
    """The features [n, width] that poisons collide in: the inputs of the last layer, or the logits
    of a network with one layer."""
    weights = sum(value.dim() > 1 for value in network.parameters.values())
    return network.logits(images) if weights == 1 else network.hidden(images)


def around(images: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The least and the largest images within eps, in [0, 1]: whole levels of 1/255, so that
    rounding keeps the bound. images: uint8 [n, ...]."""
    levels = math.floor(255 * eps + 1e-6)
    low, high = ((images.float() + change).clamp(0, 255) / 255 for change in (-levels, levels))
    return low, high


def collide(features: "Callable[[Tensor], Tensor]", near: Tensor, wanted: Tensor, *,
            iterations: int, similarity: float, within: tuple[Tensor, Tensor] | None = None
            ) -> Tensor:
    """Images close to those in `near` whose features are close to `wanted`, uint8 [n, ...].

    features: differentiable, from images (0 to 255) to [n, width]. near: [n, ...], 0 to 255.
    wanted: [1, width]. within: the least and the largest images, in [0, 1]. Each image has a step
    length of its own, which grows while its objective falls, and is halved, without the step, when
    it would rise.
    """
    base = near.float() / 255
    low, high = within or (torch.zeros_like(base), torch.ones_like(base))
    base = base.clamp(low, high)
    beta = similarity * (wanted.shape[1] / base[0].numel())**2
    shape = (-1, *[1] * (base.dim() - 1))

    def measured(x: Tensor, *, slope: bool) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_(slope)
        away = (features(x * 255) - wanted).square().sum(1)
        gradient = torch.autograd.grad(away.sum(), x)[0] if slope else x
        return away.detach() + beta * (x - base).flatten(1).square().sum(1).detach(), gradient

    x, length = base, base.new_full((len(base),), 0.01)
    objective, gradient = measured(x, slope=True)
    for _ in range(iterations):
        step = length.view(shape)
        moved = ((x - step * gradient + step * beta * base) / (1 + step * beta)).clamp(low, high)
        reached, slope = measured(moved, slope=True)
        better = reached <= objective
        keep = better.view(shape)
        x, gradient = moved.where(keep, x), slope.where(keep, gradient)
        objective = reached.where(better, objective)
        length = torch.where(better, length * 1.2, length / 2)
    return (x * 255).round().to(torch.uint8)


Attack = FeatureCollision
