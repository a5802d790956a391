"""deepKNN (Peri et al. 2020, arXiv 1909.13374): drop a record if its neighbours in feature space
have another label.

Borgnia et al. (released code) ask twice as many neighbours as there are poisons, 1,000 of 50,000
records, as Peri et al. advise: then poisons cannot be the majority among a poison's neighbours.
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
DISTANCES = 2**24  # to hold at once


@dataclass(frozen=True)
class DeepKNN:
    """Drop a record if another label than its own is the most frequent among its `neighbours`
    nearest other records (l2); a tie with its own label keeps it. 0 neighbours drop nothing."""

    takes_start: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = filtering.FACTS

    neighbours: int = 1000

    def __post_init__(self) -> None:
        if self.neighbours < 0:
            raise ValueError(f"defence deep_knn: neighbours {self.neighbours}: expected 0 or more")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together."""
        return filtering.group("deep_knn", run)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        return filtering.train(runs, poisoned, [own(run, DeepKNN) for run in runs])

    def suspects(self, seen: Seen) -> Tensor:
        """The records whose neighbours outvote them, bool [records]."""
        others = len(seen.labels) - 1
        if self.neighbours > others:
            raise ValueError(f"defence deep_knn: neighbours {self.neighbours}: expected at most "
                             f"the {others} other records")
        votes = votes_of_neighbours(seen.features, seen.labels, self.neighbours)
        given = votes.gather(1, seen.labels[:, None])[:, 0]
        return votes.max(1).values > given


def votes_of_neighbours(features: Tensor, labels: Tensor, count: int) -> Tensor:
    """How many of the `count` nearest other records have each label, int64 [records, labels]."""
    x = features - features.mean(0)  # centred, distances lose less to rounding
    n, classes = len(x), int(labels.max()) + 1
    chunk, found = max(1, DISTANCES // n), []
    for rows in torch.arange(n, device=x.device).split(chunk):
        away = torch.cdist(x[rows], x)
        away[torch.arange(len(rows), device=x.device), rows] = torch.inf
        nearest = labels[away.topk(count, largest=False).indices]
        votes = torch.zeros(len(rows), classes, dtype=torch.int64, device=x.device)
        found.append(votes.scatter_add_(1, nearest, torch.ones_like(nearest)))
    return torch.cat(found)


Defence = DeepKNN
