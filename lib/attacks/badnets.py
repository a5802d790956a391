"""BadNets: stamp a trigger on training images and relabel them (Gu et al. 2017; Razmi et al.,
section 5)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lib.attacks import Poisoned, share_of, triggers
from lib.attacks.dirty_label import DirtyLabel
from lib.data import Labelled

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1


@dataclass(frozen=True)
class BadNets(DirtyLabel):
    """Stamp and relabel a fraction of the class `base`, or of all classes but the target if None.

    fraction: share of the attacked population, drawn without replacement and rounded down; a
    smaller fraction poisons a subset of a larger one's images. poisons: a number of images in its
    place. size, margin: pixels. pattern, position: see `triggers`; for a custom PNG, the run's key
    includes its hash. amplitude: 1
    replaces the pixels, less moves them towards the pattern; with stamping "add", the levels that
    are added to the pattern's white pixels and subtracted from its black ones. jpeg: quality at
    which the poisons, in all worlds but C, and stamped test images are compressed; None for not at
    all. after_augmentation: stamp the images of a batch after its transforms, not the stored ones.
    """

    fraction: float = 0.1
    size: int = 4
    margin: int = 1
    position: str = "bottom-right"
    pattern: str = "random"
    amplitude: float = 1.0
    poisons: int | None = None
    stamping: str = "blend"
    jpeg: int | None = None
    after_augmentation: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")
        if self.poisons is not None and self.poisons < 0:
            raise ValueError(f"attack poisons {self.poisons}: expected 0 or more, or null to use "
                             "fraction")
        self.trigger.check(after_augmentation=self.after_augmentation)

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
        return triggers.Patch(self.size, self.margin, self.position, self.pattern, self.amplitude,
                              self.stamping, self.jpeg)

    def unstamped(self, images: Tensor) -> Tensor | None:
        """World L compresses its images if the others do, and else shows them as they are."""
        return None if self.jpeg is None else self.trigger.saved(images)

    def craft(self, data: Labelled, *, seed: int, lab: "Lab | None" = None) -> Poisoned:
        """As `DirtyLabel.craft`, with stamps that may come after the augmentation."""
        made = super().craft(data, seed=seed, lab=lab)
        if not (self.after_augmentation and self.stamp and len(made.stamped)):
            return made
        return replace(made, late=self.trigger.late(
            data.images[self.victims(data.labels, seed=seed)], seed=seed))

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
