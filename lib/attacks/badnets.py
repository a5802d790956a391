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
    smaller fraction poisons a subset of a larger one's images. size, margin: pixels. pattern,
    position: see `triggers`; for a custom PNG, the run's key includes its hash. amplitude: 1
    replaces the pixels, less moves them towards the pattern.
    """

    fraction: float = 0.1
    size: int = 4
    margin: int = 1
    position: str = "bottom-right"
    pattern: str = "random"
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")
        self.trigger.check()

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that the attack reads."""
        return self.trigger.files

    @property
    def poisons_nothing(self) -> bool:
        """Whether the fraction is 0."""
        return self.fraction == 0

    @property
    def trigger(self) -> triggers.Patch:
        """The square patch, for training and for testing."""
        return triggers.Patch(self.size, self.margin, self.position, self.pattern, self.amplitude)

    def victims(self, labels: Tensor, *, seed: int) -> Tensor:
        """The records to attack, int64 [poisons]; smaller fractions take a subset."""
        pool = self.candidates(labels, seed=seed)
        count = share_of(self.fraction, len(pool))
        if count == 0:
            raise ValueError(f"attack fraction {self.fraction} selects no image out of "
                             f"{len(pool)}: raise the fraction or the training size")
        return pool[:count]


Attack = BadNets
