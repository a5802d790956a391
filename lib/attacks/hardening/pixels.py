"""Interpolation of pixels with an image of another class (Turner's thesis, section 4.5), the
baseline of the GAN: x' = (1 - tau) x + tau z.

In the thesis z comes from CINIC-10, images that the victim does not have; here from training images
that it does not use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib import parts
from lib.attacks.hardening import (
    Hardener,
    Scene,
    check_other,
    check_share,
    check_source,
    others,
)

VERSION = 1


@dataclass(frozen=True)
class Pixels:
    """tau: the other image's share, 0 for the original. other: its class, None for any class but
    the target. data, images: where it comes from, see `lib.attacks.hardening`."""

    FACTS: ClassVar[tuple[str, ...]] = ()

    tau: float = 0.2
    other: int | None = None
    data: str = "disjoint"
    images: int | None = None

    def __post_init__(self) -> None:
        check_share("pixels", self.tau)
        check_source("pixels", self.data, self.images)

    @property
    def ball(self) -> None:
        """No distance bounds the change."""
        return None

    def check(self, *, target: int) -> None:
        """Raise ValueError if the other class is the target."""
        check_other("pixels", self.other, target)

    def key(self) -> Mapping[str, object]:
        """The settings."""
        return {"pixels": parts.plain(self), "version": VERSION}

    def hardener(self, scene: Scene) -> Hardener:
        """What interpolates; the other images are the same for each tau."""
        own = scene.own(self.data, self.images)

        def harden(records: Tensor, random: torch.Generator) -> dict[str, Tensor]:
            places = others(own, scene.target, self.other, len(records), random)
            x, z = scene.originals(records).float(), own.images[places].to(scene.lab.device)
            moved = (1 - self.tau) * x + self.tau * z.float()
            return {"images": moved.round().clamp(0, 255).to(torch.uint8)}
        return harden

    def facts(self, made: dict[str, Tensor], scene: Scene) -> dict[str, float]:
        """None."""
        return {}


Hardening = Pixels
