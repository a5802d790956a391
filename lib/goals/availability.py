"""Availability: the attacker wants lower accuracy on everything, with any wrong labels.

The relative accuracy drop against the clean twin, RAD = (a_C - a_P) / a_C, is reported twice: at
the last epoch, and at the best epoch of each path, as in the code released with Hong et al., which
cuts it at 0.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from lib.data import Labelled
from lib.goals import Cases, Predictions
from lib.metrics import clean_part, twins

if TYPE_CHECKING:
    from pandas import DataFrame

VERSION = 1  # raise it when what is counted changes


@dataclass(frozen=True)
class Availability:
    """donors: places of test images that the attacker used as poisons, which do not count."""

    name: ClassVar[str] = "availability"
    columns: ClassVar[tuple[str, ...]] = ("accuracy", "loss", "population", "tested", "collapsed")

    donors: tuple[int, ...] = ()

    @property
    def wanted(self) -> None:
        """Any wrong label will do."""
        return None

    def cases(self, test: Labelled, *, seed: int) -> Cases:
        """All test images but the donors, unchanged."""
        kept = torch.ones(len(test.labels), dtype=torch.bool)
        if self.donors and not 0 <= min(self.donors) <= max(self.donors) < len(kept):
            raise ValueError(f"donors {list(self.donors)}: expected places from 0 to "
                             f"{len(kept) - 1} of the test set")
        kept[list(self.donors)] = False
        if not kept.any():
            raise ValueError(f"{len(self.donors)} donors: expected fewer than the {len(kept)} test "
                             "images")
        return Cases(test.images[:0], kept.nonzero().flatten(), None)

    @property
    def base(self) -> None:
        """All classes are attacked."""
        return None

    def everyone(self, test: Labelled, *, seed: int) -> Cases:
        """Every test image as it is."""
        return Cases(test.images, torch.arange(len(test.labels)), None)

    def score(self, predictions: Predictions, cases: Cases) -> dict[str, float]:
        """Accuracy of the images that count."""
        rows = cases.rows
        found = clean_part(predictions.clean[rows], predictions.labels[rows])
        return found | {"population": len(rows)}


def parts(frame: "DataFrame") -> "DataFrame":
    """The P rows with rad and rad_best.

    rad: at the last epoch, or at this point of a path; may be negative. rad_best: at the best epoch
    of each path, at least 0; nan without recorded paths, and absent from tables of points.
    """
    found = twins.attacked(frame, "P")
    clean = twins.of(frame, found, "C", ("accuracy",))["accuracy"]
    found = found.assign(rad=(clean - found["accuracy"]) / clean)
    if "best_accuracy" not in frame:
        return found
    best = twins.of(frame, found, "C", ("best_accuracy",))["best_accuracy"]
    return found.assign(rad_best=((best - found["best_accuracy"]) / best).clip(lower=0))
