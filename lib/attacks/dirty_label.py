"""BadNets: stamp a trigger on training images and relabel them (Gu et al. 2017; Razmi et al., section 5).

Stamping and relabelling are separate switches, which gives the four training worlds of every comparison:
P (both), L (relabelled only), T (stamped only) and C (neither).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.attacks import Poisoned, attackable, dirty, triggers

VERSION = 1

# Each class once base and once target, fixed before any run: the ten attack instances of the headline.
PAIRS = {
    "cifar10": ((0, 8), (1, 9), (2, 4), (3, 5), (4, 7), (5, 2), (6, 3), (7, 0), (8, 1), (9, 6)),
    "mnist": ((7, 1), (1, 4), (4, 9), (9, 7), (3, 5), (5, 6), (6, 0), (0, 2), (2, 8), (8, 3)),
}


@dataclass(frozen=True)
class BadNets:
    """A fraction of a class (`base`, or of every non-target class when None) gets a trigger and the target's label.

    fraction: share of the attacked population, int(fraction x count) images without replacement; a smaller
    fraction poisons a subset of a larger one's images. size, margin: pixels. pattern: see `triggers.pattern`; of a user's
    own PNG the key of a run holds the content. amplitude: 1 replaces pixels.
    """

    base: int | None = 7
    target: int = 1
    fraction: float = 0.1
    stamp: bool = True
    relabel: bool = True
    size: int = 4
    margin: int = 1
    position: str = "bottom-right"
    pattern: str = "random"
    amplitude: float = 1.0

    def __post_init__(self):
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")
        if self.base == self.target:
            raise ValueError(f"attack base {self.base} equals the target: choose two different classes, or base null for all-to-one")
        if not 0 < self.amplitude <= 1:
            raise ValueError(f"attack amplitude {self.amplitude}: expected above 0 and at most 1")
        if not (self.pattern in triggers.PATTERNS or self.pattern.endswith(".png")) or self.position not in triggers.POSITIONS:
            raise ValueError(f"attack pattern {self.pattern!r} at {self.position!r}: expected {triggers.EXPECTED} "
                             f"at one of {', '.join(triggers.POSITIONS)}")

    @property
    def files(self) -> tuple:
        """Files of the user's own that the attack reads."""
        return (triggers.picture(self.pattern),) if self.pattern.endswith(".png") else ()

    @property
    def untouched(self) -> bool:
        """True where training data stay clean (world C)."""
        return not (self.stamp or self.relabel) or self.fraction == 0

    def trigger(self, images: Tensor, *, seed: int) -> Tensor:
        """Stamp `images` uint8 [n, channels, height, width] as at test time."""
        patch = triggers.pattern(self.pattern, self.size, images.shape[1], seed=seed)
        return triggers.stamp(images, patch, position=self.position, margin=self.margin, amplitude=self.amplitude)

    def poison(self, data, *, seed: int) -> Poisoned:
        """Attack `data` (`.images` uint8 [n, c, h, w], `.labels` int64 [n], `.classes`); the same seed draws the same trigger and rows."""
        return dirty(self, data, seed=seed)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """Rows that are attacked, int64 [poisons]: a prefix of one permutation, so that fractions are nested."""
        pool = attackable(self, labels, seed=seed)
        count = int(self.fraction * len(pool) + 1e-9)
        if count == 0:
            raise ValueError(f"attack fraction {self.fraction} of {len(pool)} images is no image: raise the fraction or the training size")
        return pool[:count]


Attack = BadNets
