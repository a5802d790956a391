"""Spectral signatures (Tran, Li and Madry 2018): drop what lies furthest along the direction in
which the features of a class vary most.

The features of a class are centred, and each record's score is its squared projection on the top
singular vector. Borgnia et al. (released code) drop, in *every* class, 1.5 times as many records as
there are poisons altogether: with 500 poisons 750 of 5,000 records of each class. The code of Tran
et al. looks at the target class alone and keeps the scores up to the 85th percentile; the defender
must then know the target.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lib.attacks import Poisoned
from lib.defences import Trained, filtering, own
from lib.defences.filtering import Seen

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1


@dataclass(frozen=True)
class SpectralSignatures:
    """Drop `factor` x `poisons` records of each class, those with the largest scores.

    poisons: the number that the defender assumes. percentile: keep the scores up to this
    percentile, whatever the number; None: by number. classes: "all", or "target" for the attacker's
    target alone (which no defender is told).
    """

    takes_start: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = filtering.FACTS

    poisons: int = 500
    factor: float = 1.5
    percentile: float | None = None
    classes: str = "all"

    def __post_init__(self) -> None:
        checks = ((self.poisons >= 0, f"poisons {self.poisons}", "0 or more"),
                  (self.factor >= 0, f"factor {self.factor}", "0 or more"),
                  (self.percentile is None or 0 <= self.percentile <= 100,
                   f"percentile {self.percentile}", "0 to 100, or null to drop a number"),
                  (self.classes in ("all", "target"), f"classes {self.classes!r}",
                   "all or target"))
        for right, value, expected in checks:
            if not right:
                raise ValueError(f"defence spectral_signatures: {value}: expected {expected}")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together."""
        return filtering.group("spectral_signatures", run)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        return filtering.train(runs, poisoned, [own(run, SpectralSignatures) for run in runs])

    def suspects(self, seen: Seen) -> Tensor:
        """The records with the largest scores of their class, bool [records]."""
        found = torch.zeros_like(seen.labels, dtype=torch.bool)
        for rows in seen.by_class(only_target=self.classes == "target"):
            found[rows] = self._largest(scores(seen.features[rows]))
        return found

    def _largest(self, values: Tensor) -> Tensor:
        if self.percentile is not None:
            return values > torch.quantile(values, self.percentile / 100)
        count = min(round(self.factor * self.poisons), len(values))
        found = torch.zeros_like(values, dtype=torch.bool)
        found[values.argsort(descending=True, stable=True)[:count]] = True
        return found


def scores(features: Tensor) -> Tensor:
    """Squared projection [n] of the centred features [n, width] on their top singular vector."""
    return filtering.principal(features, 1)[0][:, 0].square()


Defence = SpectralSignatures
