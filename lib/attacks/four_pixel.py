"""The four-pixel backdoor of RAB's released code (Weber et al. 2021), which Ozyikan et al. use for
all their figures.

An addition to four fixed pixels, small enough for a norm to mean something; poisons come from all
other classes.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from lib.attacks import share_of, triggers
from lib.attacks.dirty_label import DirtyLabel

VERSION = 1


@dataclass(frozen=True)
class FourPixel(DirtyLabel):
    """A share of the training images, drawn from all classes but the target (or from `base`
    alone), gets the trigger and the target's label.

    fraction: share of the *whole* training set, rounded down; images: so many instead. Fewer
    poison a subset of what more do. norm: l2 norm of the trigger on pixels in [0, 1], the same on
    all channels of the four pixels, before it is clipped at 1 and rounded to whole grey levels
    (what is left of it is measured where a certificate needs it).
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
            raise ValueError(f"attack images {self.images}: expected 0 or more, or null for a "
                             "share")
        if not 0 < self.norm <= most:
            raise ValueError(f"attack norm {self.norm}: expected above 0 and at most {most:.3f}, "
                             "four pixels from black to white")

    @property
    def poisons_nothing(self) -> bool:
        """True at a share or a number of 0."""
        return self.fraction == 0 if self.images is None else self.images == 0

    @property
    def trigger(self) -> triggers.FourPixels:
        """The addition to four pixels; it is fixed, and the seed changes nothing."""
        return triggers.FourPixels(self.norm)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """Records that are attacked, int64 [poisons]; smaller numbers take a subset."""
        pool = self.candidates(labels, seed=seed)
        count = share_of(self.fraction, len(labels)) if self.images is None else self.images
        if not 0 < count <= len(pool):
            raise ValueError(f"attack fraction {self.fraction}, images {self.images}: {count} of "
                             f"{len(labels)} images; expected 1 to {len(pool)}, those that can be "
                             "attacked")
        return pool[:count]


Attack = FourPixel
