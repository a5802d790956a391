"""Gradient matching, Witches' Brew (Geiping et al. 2021, arXiv 2009.02276; Borgnia et al., §4).

The attacker wants one test image, the target, to get the wanted label, and does not know the
victim's initial weights. It trains networks of its own on the clean data, picks training images of
the wanted class, and changes them within `eps` per pixel, labels kept, until the gradient of
training on them points where the gradient of calling the target so does (`lib.attacks.brewing`).
Then it publishes them in place of the originals. Of several restarts it keeps the one whose
objective is lowest at its end.

The defaults are those of the released code: 1% of the training set, 16/255, 250 iterations, 8
restarts, batches of 512, shifts and flips. Its rate of 0.1 is for inputs divided by their standard
deviation, 0.247 for CIFAR-10: 0.025 here. Its surrogate is a ResNet-18 of 40 epochs.

`adaptive(*transforms)` is the attacker who knows the defence: its networks train with these
transforms, and its poisons pass through them while they are brewed. As in the released code, a
transform that mixes a batch mixes poisons with poisons.

| world | training set |
|---|---|
| P | the brewed images in place of their originals |
| C | nothing changed; the natural rate |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

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
    share_of,
)
from lib.data import Labelled
from lib.goals.single_target import SingleTarget
from lib.training import Training
from lib.training.transforms import Transform, build
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1


@dataclass(frozen=True)
class GradientMatching:
    """target: place of the target among the test images of class `base`. label: the wanted class,
    whose training images are changed. fraction: poisons, as a share of the training set. eps:
    largest change of a pixel, in [0, 1]. iterations, lr, batch_size, transforms: of a brew, see
    `brewing.Settings`. restarts: brews from other starts. model, training, surrogates: the
    attacker's networks, and their number.
    """

    worlds: ClassVar[tuple[str, ...]] = ("P", "C")
    FACTS: ClassVar[tuple[str, ...]] = ("poisons", "loss_start", "loss_end", "loss_worst",
                                        "change_l2", "change_linf")

    target: int = 0
    base: int = 3
    label: int = 4
    fraction: float = 0.01
    eps: float = 16 / 255
    iterations: int = 250
    restarts: int = 8
    lr: float = 0.025
    batch_size: int = 512
    transforms: tuple[Transform, ...] = (Flip(), Crop())
    model: str = "cnn-16-32"
    training: Training = brewing.SURROGATE
    surrogates: int = 1
    brew: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(map(build, self.transforms)))
        if self.base == self.label:
            raise ValueError(f"attack gradient_matching: a target of class {self.base}, the wanted "
                             "label: expected a target of another class")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"attack gradient_matching: fraction {self.fraction}: expected above "
                             "0 and at most 1")
        perturbation.check_bound("gradient_matching", "linf", self.eps)
        parts.check_counts("attack", self, "iterations", "restarts", "batch_size", "surrogates")
        parts.check_positive("attack", self, "lr")

    @property
    def goal(self) -> SingleTarget:
        """The goal: the target is classified as the wanted label."""
        return SingleTarget((self.target,), self.label, base=self.base)

    @property
    def in_world(self) -> str:
        """P or C, according to the switch."""
        return "P" if self.brew else "C"

    def world(self, name: str) -> Self:
        """The same attack in another of its worlds."""
        check_world(self, name)
        return replace(self, brew=name == "P")

    def adaptive(self, *transforms: Transform) -> Self:
        """The same attacker, who knows that the victim trains with these transforms as well."""
        learning = replace(self.training, transforms=(*self.training.transforms, *transforms))
        return replace(self, training=learning, transforms=(*self.transforms, *transforms))

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """The training set with brewed poisons."""
        check_classes(data, self.base, self.label)
        if not self.brew:
            return clean(data.images, data.labels, len(data.classes))
        made = self.brewed(data, seed=seed, lab=lab)
        return replace(in_place(data, made.records, images=made.poisons.to(data.images.device)),
                       facts=made.facts())

    def brewed(self, data: Labelled, *, seed: int, lab: "Lab") -> "Brewed":
        """The poisons of `craft`, their originals, and how the objective fell."""
        return brewed([self], data, seeds=[seed], lab=lab)[0]

    @property
    def alike(self) -> Self:
        """Equal for attacks that can be brewed together."""
        return replace(self, target=0, base=0, label=1)

    def prepare(self, attacks: Sequence[Self], data: Labelled, *, seeds: Sequence[int],
                lab: "Lab") -> None:
        """Brew attacks like this one together, for `craft` to find."""
        brewed(attacks, data, seeds=seeds, lab=lab)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """Places of the images to change, int64 [poisons]; ValueError if there are too few."""
        own = (labels == self.label).nonzero().flatten()
        count = share_of(self.fraction, len(labels))
        if not 1 <= count <= len(own):
            raise ValueError(f"attack gradient_matching: {count} poisons (fraction {self.fraction} "
                             f"of {len(labels)} images) of the {len(own)} images of class "
                             f"{self.label}: expected 1 to {len(own)}")
        return permuted(own, seed=seed)[:count]

    def jobs(self, data: Labelled, *, seed: int, lab: "Lab") -> list[brewing.Job]:
        """A brew for each restart."""
        images = data.images[self.victims(data.labels, seed=seed)]
        target = self.goal.cases(lab.given_test(), seed=0).images
        return [brewing.Job(images, self.label, target, seed, restart)
                for restart in range(self.restarts)]

    def key(self, seed: int) -> dict[str, object]:
        """What the poisons depend on, beside the lab's context."""
        used = (*self.training.transforms, *self.transforms)
        versions = {"model": models.version(self.model), "training": training.VERSION,
                    "transforms": [parts.version(each) for each in used]}
        return {"gradient_matching": parts.sparse(self), "seed": seed, "versions": versions}

    def settings(self) -> brewing.Settings:
        """The settings of a brew."""
        return brewing.Settings(self.eps, self.iterations, self.lr, self.batch_size,
                                self.transforms)


@dataclass(frozen=True, eq=False)
class Brewed:
    """What the attacker made. poisons, originals: uint8 [poisons, ...]. records: int64 [poisons],
    their places in the training set. paths: the objective [restarts, iterations]. losses: the
    objective at the end of each restart, see `brewing.Brew.loss`; the smallest one's poisons are
    kept."""

    poisons: Tensor
    originals: Tensor
    records: Tensor
    paths: Tensor
    losses: Tensor

    @property
    def path(self) -> Tensor:
        """The objective of the restart that was kept [iterations]."""
        return self.paths[self.losses.argmin()]

    def facts(self) -> dict[str, float]:
        """The facts of a row: distances are in units of [0, 1], l2 as a mean over poisons."""
        return {"poisons": len(self.poisons), "loss_start": self.path[0].item(),
                "loss_end": self.losses.min().item(), "loss_worst": self.losses.max().item(),
                **perturbation.change(self.poisons, self.originals)}


def brewed(attacks: Sequence[GradientMatching], data: Labelled, *, seeds: Sequence[int],
           lab: "Lab") -> list[Brewed]:
    """What each attack makes with its seed; those that are not cached yet are brewed together.

    Raises ValueError if their settings differ in more than the target, its class and the label.
    """
    keys = [attack.key(seed) for attack, seed in zip(attacks, seeds, strict=True)]
    missing = [place for place, key in enumerate(keys) if not lab.made(key)]
    made = dict(zip(missing, _together([attacks[place] for place in missing], data,
                                       [seeds[place] for place in missing], lab)))
    found = []
    for place, (attack, seed, key) in enumerate(zip(attacks, seeds, keys)):
        def again(attack=attack, seed=seed, place=place):
            return made[place] if place in made else _together([attack], data, [seed], lab)[0]
        kept, records = lab.cached(key, again), attack.victims(data.labels, seed=seed)
        found.append(Brewed(kept["poisons"], data.images[records].cpu(), records, kept["paths"],
                            kept["losses"]))
    return found


def _together(attacks: Sequence[GradientMatching], data: Labelled, seeds: Sequence[int],
              lab: "Lab") -> list[dict[str, Tensor]]:
    """For each attack the poisons of its best restart, and of all the paths and losses."""
    if not attacks:
        return []
    first = attacks[0]
    for attack in attacks:
        if attack.alike != first.alike:
            raise ValueError("attack gradient_matching: attacks with different settings cannot be "
                             "brewed together: expected them to differ in target, base and label")
    jobs = [attack.jobs(data, seed=seed, lab=lab) for attack, seed in zip(attacks, seeds)]
    networks = brewing.surrogates(lab, data, first.model, first.training, first.surrogates)
    made = brewing.brew([job for own in jobs for job in own], networks, first.settings(),
                        device=lab.device)
    return [_kept(made[start:start + first.restarts])
            for start in range(0, len(made), first.restarts)]


def _kept(restarts: Sequence[brewing.Brew]) -> dict[str, Tensor]:
    best = min(restarts, key=lambda brew: brew.loss)
    return {"poisons": best.poisons, "paths": torch.stack([brew.path for brew in restarts]),
            "losses": torch.tensor([brew.loss for brew in restarts])}


Attack = GradientMatching
