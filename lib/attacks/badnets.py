"""BadNets: stamp a trigger on training images and relabel them (Gu et al. 2017; Razmi et al.,
section 5)."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lib.attacks import share_of, triggers
from lib.attacks.dirty_label import DirtyLabel

VERSION = 1


@dataclass(frozen=True)
class BadNets(DirtyLabel):
    """Stamp and relabel a fraction of the class `base`, or of all classes but the target if None.

    fraction: share of the attacked population, drawn without replacement and rounded down; a
    smaller fraction poisons a subset of a larger one's images. poisons: a number of images in its
    place. size, margin: pixels. pattern,
    position: see `triggers`; for a custom PNG, the run's key includes its hash. amplitude: 1
    replaces the pixels, less moves them towards the pattern.
    """

    fraction: float = 0.1
    size: int = 4
    margin: int = 1
    position: str = "bottom-right"
    pattern: str = "random"
    amplitude: float = 1.0
    poisons: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")
        if self.poisons is not None and self.poisons < 0:
            raise ValueError(f"attack poisons {self.poisons}: expected 0 or more, or null to use "
                             "fraction")
        self.trigger.check()

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that the attack reads."""
        return self.trigger.files

    @property
    def poisons_nothing(self) -> bool:
        """Whether the number of poisons is 0."""
        return self.fraction == 0 if self.poisons is None else self.poisons == 0

    @property
    def trigger(self) -> triggers.Patch:
        """The square patch, for training and for testing."""
        return triggers.Patch(self.size, self.margin, self.position, self.pattern, self.amplitude)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """The records to attack, int64 [poisons]; smaller fractions take a subset."""
        pool = self.candidates(labels, seed=seed)
        count = share_of(self.fraction, len(pool)) if self.poisons is None else self.poisons
        if self.poisons is not None and not 0 < count <= len(pool):
            raise ValueError(f"attack poisons {count} of {len(pool)} images that can be attacked: "
                             f"expected 1 to {len(pool)}")
        if count == 0:
            raise ValueError(f"attack fraction {self.fraction} selects no image out of "
                             f"{len(pool)}: raise the fraction or the training size")
        return pool[:count]


Attack = BadNets
