"""Hardening by interpolation in the latent space of a GAN (Turner's thesis, sections 3.3.1, 7.4).

An attacker trains a Wasserstein GAN (`wgan`) on images of two classes, the target and another. It
seeks codes z1, z2 of an image x1 to be poisoned and of a random image x2 of the other class, by
gradient descent on |x - G(z)|, and poisons with

    x = G((1 - tau) z1 + tau z2),

so that tau = 0 is the reconstruction of x1, not x1 itself. The thesis prints tau and 1 - tau the
other way round, but its figures and its code use this convention.

The defaults are the thesis's: dim 128, 200,000 iterations. On one core of an AMD EPYC with AVX-512
and bfloat16, one iteration at dim 32 for images of 3x32x32 takes 250 ms (5,000 iterations:
21 minutes), and encoding 64 images and their partners with 1,000 steps 30 s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib import parts
from lib.attacks.hardening import (
    Hardener,
    Scene,
    check_other,
    check_share,
    check_source,
    others,
    wgan,
)
from lib.data import cache
from lib.lab import surrogate_seed
from lib.training.ascent import check_steps

VERSION = 1
IN_ROW, POINTS = ("critic_loss", "generator_loss"), 10  # curves of the GAN's training in a row


def points(curve: str) -> tuple[str, ...]:
    """Names in a row of the values of a curve at ten evenly spaced times, of the first and the last
    hundredth of the training among them."""
    return tuple(f"{curve}_{number}" for number in range(1, POINTS + 1))


@dataclass(frozen=True)
class GAN:
    """tau: how far towards the other image's code, 0 to 1. other: the other class; None for the one
    after the target (the first after the last). dim, iterations, lr: of the GAN, its width, its
    training's length in updates of the generator, and Adam's rate. steps, step: of the search for
    codes. data, images: what the GAN is trained on and where the other images come from, see
    `lib.attacks.hardening`; `images` counts images of all classes."""

    FACTS: ClassVar[tuple[str, ...]] = (
        "distance_start", "distance_end", "partner_distance",
        *(point for curve in IN_ROW for point in points(curve)))

    tau: float = 0.2
    other: int | None = None
    dim: int = 128
    iterations: int = 200_000
    lr: float = 1e-4
    steps: int = 1000
    step: float = 0.1
    data: str = "victim"
    images: int | None = None

    def __post_init__(self) -> None:
        check_share("gan", self.tau)
        check_source("gan", self.data, self.images)
        parts.check_counts("hardening", self, "dim", "iterations")
        if not 0 < self.lr < torch.inf:
            raise ValueError(f"hardening gan: lr {self.lr}: expected above 0 and finite")
        try:
            check_steps(self.step, self.steps)
        except ValueError as error:
            raise ValueError(f"hardening gan: {error}") from None

    @property
    def ball(self) -> None:
        """No distance bounds the change."""
        return None

    def check(self, *, target: int) -> None:
        """Raise ValueError if the other class is the target."""
        check_other("gan", self.other, target)

    def key(self) -> Mapping[str, object]:
        """The settings."""
        return {"gan": parts.plain(self), "version": VERSION}

    def other_class(self, scene: Scene) -> int:
        """The class to interpolate towards."""
        return (scene.target + 1) % len(scene.data.classes) if self.other is None else self.other

    def trained(self, scene: Scene) -> dict[str, Tensor]:
        """The GAN's artefact, see `wgan.train`: made once for a pair, whichever class is the target
        and whatever tau and the codes' search are."""
        own = scene.own(self.data, self.images)
        pair = sorted((scene.target, self.other_class(scene)))
        places = torch.isin(own.labels, torch.tensor(pair, device=own.labels.device))
        images = own.images[places]
        if not len(images):
            raise ValueError(f"attack clean_label: none of the attacker's {len(own.labels)} images "
                             f"is of class {pair[0]} or {pair[1]}: expected one or more")
        key = {"wgan": pair, "dim": self.dim, "iterations": self.iterations, "lr": self.lr,
               "version": VERSION, "data": cache.checksum({"images": images})}
        return scene.lab.cached(key, lambda: wgan.train(
            images.to(scene.lab.device), dim=self.dim, iterations=self.iterations, lr=self.lr,
            seed=surrogate_seed(0)))

    def network(self, scene: Scene) -> nn.Module:
        """The generator."""
        return wgan.load(self.trained(scene), tuple(scene.data.images.shape[1:]), self.dim,
                         scene.lab.device)

    def hardener(self, scene: Scene) -> Hardener:
        """What interpolates: "images"; "first", the reconstructions; and the distances
        "path" [n, steps + 1] and "partners" [n, steps + 1] during the search for both codes."""
        own, network = scene.own(self.data, self.images), self.network(scene)

        def harden(records: Tensor, random: torch.Generator) -> dict[str, Tensor]:
            places = others(own, scene.target, self.other_class(scene), len(records), random)
            kept = self._codes(scene, network, scene.originals(records),
                               own.images[places].to(scene.lab.device), random)
            codes = [kept[name].to(scene.lab.device) for name in ("codes", "other_codes")]
            return {"images": wgan.decode(network, torch.lerp(codes[0], codes[1], self.tau)),
                    "first": wgan.decode(network, codes[0]),
                    "path": kept["path"], "partners": kept["partners"]}
        return harden

    def _codes(self, scene: Scene, network: nn.Module, images: Tensor, partners: Tensor,
               random: torch.Generator) -> dict[str, Tensor]:
        """Codes of images and of their partners, an artefact that all tau share."""
        settings = {name: value for name, value in parts.plain(self).items() if name != "tau"}
        key = {"codes": settings, "version": VERSION, "other": self.other_class(scene),
               "images": cache.checksum({"images": images, "partners": partners}),
               "seed": random.initial_seed()}

        def make() -> dict[str, Tensor]:
            found = {}
            for name, path, wanted in (("codes", "path", images),
                                       ("other_codes", "partners", partners)):
                found[name], found[path] = wgan.encode(network, wanted, steps=self.steps,
                                                       step=self.step, random=random)
            return found
        return scene.lab.cached(key, make)

    def facts(self, made: dict[str, Tensor], scene: Scene) -> dict[str, float]:
        """Mean l2 distances (pixels in [0, 1]) of images from what their codes show, before and
        after the search; the same of their partners after it; and the losses of critic and
        generator, see `points`."""
        nearest = made["path"].amin(1).mean(), made["partners"].amin(1).mean()
        found = {"distance_start": made["path"][:, 0].mean().item(),
                 "distance_end": nearest[0].item(), "partner_distance": nearest[1].item()}
        for curve in IN_ROW:
            values = self.trained(scene)[curve]
            places = torch.linspace(0, len(values) - 1, POINTS).round().long()
            found |= dict(zip(points(curve), values[places].tolist()))
        return found


Hardening = GAN
