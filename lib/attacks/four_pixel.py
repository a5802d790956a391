"""The four-pixel backdoor of RAB's released code (Weber et al. 2021), which Ozyikan et al. use for all their figures.

An addition to four fixed pixels, small enough for a norm to mean something; poisons come from all other classes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.attacks import Poisoned, attackable, dirty

VERSION = 1
PIXELS = ((14, 16), (15, 15), (16, 14), (16, 16))  # row, column


@dataclass(frozen=True)
class FourPixel:
    """A share of the training images, drawn from all classes but the target (or from `base` alone), gets the trigger and the target's label.

    fraction: share of the *whole* training set, int(fraction x n) images; images: so many in its place. Fewer poison a subset
    of what more do. norm: l2 norm of the trigger on pixels in [0, 1], the same on all channels of the four pixels, before
    it is clipped at 1 and rounded to whole grey levels (what is left of it is measured where a certificate needs it).
    stamp, relabel: the switches of the training worlds.
    """

    base: int | None = None
    target: int = 0
    fraction: float = 0.05
    images: int | None = None
    norm: float = 1.0
    stamp: bool = True
    relabel: bool = True

    def __post_init__(self):
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")
        if self.images is not None and self.images < 0:
            raise ValueError(f"attack images {self.images}: expected 0 or more, or null for a share")
        if self.base == self.target:
            raise ValueError(f"attack base {self.base} equals the target: choose two different classes, or base null for all other classes")
        if not 0 < self.norm <= math.sqrt(3 * len(PIXELS)):
            raise ValueError(f"attack norm {self.norm}: expected above 0 and at most {math.sqrt(3 * len(PIXELS)):.3f}, four pixels from black to white")

    @property
    def untouched(self) -> bool:
        """True where training data stay clean (world C)."""
        return not (self.stamp or self.relabel) or (self.fraction == 0 if self.images is None else self.images == 0)

    def trigger(self, images: Tensor, *, seed: int) -> Tensor:
        """A stamped copy of `images` uint8 [n, channels, height, width]; the trigger is fixed, `seed` changes nothing."""
        height, width = images.shape[2:]
        if min(height, width) <= max(max(pixel) for pixel in PIXELS):
            raise ValueError(f"attack four_pixel: an image of {height}x{width} has no pixel (16, 16); expected 17x17 at least")
        rows, columns = torch.tensor(PIXELS).T
        step = 255 * self.norm / math.sqrt(len(PIXELS) * images.shape[1])
        stamped = images.clone()
        stamped[:, :, rows, columns] = (stamped[:, :, rows, columns].float() + step).round().clamp(0, 255).to(torch.uint8)
        return stamped

    def poison(self, data, *, seed: int) -> Poisoned:
        """Attack `data` (`.images` uint8 [n, c, h, w], `.labels` int64 [n], `.classes`); the same seed draws the same rows."""
        return dirty(self, data, seed=seed)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """Rows that are attacked, int64 [poisons]: a prefix of one permutation, so that fractions are nested."""
        pool = attackable(self, labels, seed=seed)
        count = int(self.fraction * len(labels) + 1e-9) if self.images is None else self.images
        if not 0 < count <= len(pool):
            raise ValueError(f"attack fraction {self.fraction}, images {self.images}: {count} of {len(labels)} images; "
                             f"expected 1 to {len(pool)}, those that can be attacked")
        return pool[:count]


Attack = FourPixel
