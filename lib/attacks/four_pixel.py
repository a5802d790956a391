"""The four-pixel backdoor of RAB's released code (Weber et al. 2021), which Ozyikan et al. use for
all their figures.

The trigger adds to four fixed pixels, with a norm small enough to compare with certified radii. The
poisons come from all classes but the target.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from lib.attacks import share_of, triggers
from lib.attacks.dirty_label import DirtyLabel

VERSION = 1


@dataclass(frozen=True)
class FourPixel(DirtyLabel):
    """Stamp and relabel training images from all classes but the target, or from `base` alone.

    fraction: share of the *whole* training set, rounded down. images: a number, in place of the
    share. Smaller values poison a subset of a larger one's images. norm: l2 norm of the trigger on
    pixels in [0, 1], the same on all channels of the four pixels, before pixels are clipped at 1
    and rounded to whole grey levels (certificates measure the norm that remains).
    """

    base: int | None = None
    target: int = 0
    fraction: float = 0.05
    images: int | None = None
    norm: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        most = math.sqrt(3 * len(triggers.FOUR_PIXELS))
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")
        if self.images is not None and self.images < 0:
            raise ValueError(f"attack images {self.images}: expected 0 or more, or null to use "
                             "fraction")
        if not 0 < self.norm <= most:
            raise ValueError(f"attack norm {self.norm}: expected above 0 and at most {most:.3f}, "
                             "the norm of four pixels that turn from black to white")

    @property
    def poisons_nothing(self) -> bool:
        """Whether the number of poisons is 0."""
        return self.fraction == 0 if self.images is None else self.images == 0

    @property
    def trigger(self) -> triggers.FourPixels:
        """The addition to four fixed pixels; it does not depend on the seed."""
        return triggers.FourPixels(self.norm)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """The records to attack, int64 [poisons]; smaller numbers take a subset."""
        pool = self.candidates(labels, seed=seed)
        count = share_of(self.fraction, len(labels)) if self.images is None else self.images
        if not 0 < count <= len(pool):
            raise ValueError(f"attack fraction {self.fraction}, images {self.images}: {count} of "
                             f"{len(labels)} images; expected 1 to {len(pool)}, the number that can"
                             " be attacked")
        return pool[:count]


Attack = FourPixel
