"""Gaussian noise in place of hardening (Turner's thesis, section 4.4), a control.

The thesis states no standard deviations; 5, 10, 20, 40 and 80 for pixels from 0 to 255 are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lib import parts
from lib.attacks.hardening import Hardener, Scene

VERSION = 1


@dataclass(frozen=True)
class Noise:
    """std: the noise's standard deviation, for pixels in [0, 1]; each pixel and channel has its own
    draw, and values outside of [0, 1] are clipped."""

    FACTS: ClassVar[tuple[str, ...]] = ()

    std: float = 20 / 255

    def __post_init__(self) -> None:
        if not 0 < self.std < torch.inf:
            raise ValueError(f"hardening noise: std {self.std}: expected above 0 and finite; for "
                             "no noise use world T")

    @property
    def ball(self) -> None:
        """No distance bounds Gaussian noise."""
        return None

    def check(self, *, target: int) -> None:
        """Every class will do."""

    def key(self) -> Mapping[str, object]:
        """The settings."""
        return {"noise": parts.plain(self), "version": VERSION}

    def hardener(self, scene: Scene) -> Hardener:
        """What adds the noise."""
        def harden(records: Tensor, random: torch.Generator) -> dict[str, Tensor]:
            x = scene.originals(records).float()
            drawn = torch.empty_like(x).normal_(generator=random)
            moved = (x + 255 * self.std * drawn).round().clamp(0, 255)
            return {"images": moved.to(torch.uint8)}
        return harden

    def facts(self, made: dict[str, Tensor], scene: Scene) -> dict[str, float]:
        """None."""
        return {}


Hardening = Noise
