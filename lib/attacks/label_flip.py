"""Random label flips (Barreno et al. 2010; Hong et al., section 6.2): copies of training records
with wrong labels, appended to the training set.

Three training worlds: P (the copies have wrong labels), T (the same copies have their true labels:
the control for more data) and C (no copies).
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from lib.attacks import Poisoned, appended, check_world, clean, permuted, share_of
from lib.data import Labelled
from lib.goals.availability import Availability

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1
SWITCHES = {"P": (True, True), "T": (True, False), "C": (False, False)}


@dataclass(frozen=True)
class LabelFlip:
    """Append copies of training records, each with another class as its label.

    fraction: copies per training record, rounded down to whole copies, each of another record; a
    smaller fraction appends a subset of a larger one's copies. With two classes the label is the
    other class, with more a random other one. append, flip: the two switches of the worlds.
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)

    fraction: float = 0.4
    append: bool = field(default=True, kw_only=True)
    flip: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")

    @property
    def goal(self) -> Availability:
        """The goal: lower accuracy on all test images."""
        return Availability()

    @property
    def in_world(self) -> str:
        """P, T or C, according to the switches."""
        if not self.append or self.fraction == 0:
            return "C"
        return "P" if self.flip else "T"

    def world(self, name: str) -> Self:
        """The same attack with its switches set for the named world."""
        check_world(self, name)
        append, flip = SWITCHES[name]
        return replace(self, append=append, flip=flip)

    def craft(self, data: Labelled, *, seed: int, lab: "Lab | None" = None) -> Poisoned:
        """Append the copies; `lab` is not used.

        Raises ValueError if the fraction selects no record, or if there is only one class.
        """
        if self.in_world == "C":
            return clean(data.images, data.labels, len(data.classes))
        if len(data.classes) < 2:
            raise ValueError("attack label_flip: 1 class: expected 2 or more, to choose a wrong "
                             "label from")
        count = share_of(self.fraction, len(data.labels))
        if count == 0:
            raise ValueError(f"attack fraction {self.fraction} selects no record out of "
                             f"{len(data.labels)}: raise the fraction or the training size")
        chosen = permuted(torch.arange(len(data.labels)), seed=seed)[:count]
        truth = data.labels[chosen]
        labels = flipped(data.labels, len(data.classes), seed=seed)[chosen] if self.flip else truth
        return appended(data, data.images[chosen], labels, truth=truth)


def flipped(labels: Tensor, classes: int, *, seed: int) -> Tensor:
    """Another class for each record, int64 [n], all others equally likely."""
    # Drawn for every record, so that a record's wrong label does not depend on the fraction.
    shift = np.random.RandomState([seed, 2]).randint(1, classes, len(labels))
    return (labels + torch.from_numpy(shift)) % classes


Attack = LabelFlip
