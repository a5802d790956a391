"""Activation clustering (Chen et al. 2018, arXiv 1811.03728): split the features of each class in
two, and drop the smaller cluster.

Borgnia et al. (released code) cluster the features as they are, and drop the smaller cluster of
*every* class, up to half of the data. Chen et al. first reduce the features to ten independent
components (ICA), and call a class poisoned if its smaller cluster is much smaller than the other.
Independent components are a rotation of whitened principal ones, and distances do not change by
rotation, so `components` with `whiten` gives the same clusters without ICA.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lib.attacks import Poisoned
from lib.defences import Trained, filtering, own
from lib.defences.filtering import Seen
from lib.training import generator

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1
MOST_ROUNDS = 300  # of Lloyd's algorithm


@dataclass(frozen=True)
class ActivationClustering:
    """Drop the smaller of two clusters of each class.

    largest: share of its class up to which the smaller cluster is dropped; 0.5 always drops it, 0
    never. components: number of principal components to cluster, 0 for the features themselves.
    whiten: scale the components to equal variance. restarts: of 2-means, of which the best counts.
    """

    takes_start: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = filtering.FACTS

    largest: float = 0.5
    components: int = 0
    whiten: bool = False
    restarts: int = 10

    def __post_init__(self) -> None:
        checks = ((0 <= self.largest <= 0.5, f"largest {self.largest}", "0 to 0.5"),
                  (self.components >= 0, f"components {self.components}",
                   "1 or more, or 0 for the features themselves"),
                  (not self.whiten or self.components, f"whiten with components {self.components}",
                   "1 or more components to whiten"),
                  (self.restarts >= 1, f"restarts {self.restarts}", "1 or more"))
        for right, value, expected in checks:
            if not right:
                raise ValueError(f"defence activation_clustering: {value}: expected {expected}")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together."""
        return filtering.group("activation_clustering", run)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        return filtering.train(runs, poisoned, [own(run, ActivationClustering) for run in runs])

    def suspects(self, seen: Seen) -> Tensor:
        """The smaller cluster of each class, bool [records]."""
        found = torch.zeros_like(seen.labels, dtype=torch.bool)
        for rows in seen.by_class():
            random = generator(f"clusters {int(seen.labels[rows[0]])}", seen.seed)
            smaller = self._smaller(self._reduced(seen.features[rows]), random)
            if smaller.double().mean() <= self.largest:
                found[rows] = smaller
        return found

    def _reduced(self, features: Tensor) -> Tensor:
        if not self.components:
            return features.double()
        found, variances = filtering.principal(features, self.components)
        if not self.whiten:
            return found
        kept = variances > 1e-12 * variances.sum()  # an axis without variance is noise of rounding
        return found[:, kept] / variances[kept].sqrt()

    def _smaller(self, x: Tensor, random: torch.Generator) -> Tensor:
        """The smaller cluster; of equal ones, the one without the first record."""
        second = two_means(x, random, self.restarts)
        apart = second != second[0]
        return apart if apart.double().mean() <= 0.5 else ~apart


def two_means(x: Tensor, random: torch.Generator, restarts: int) -> Tensor:
    """2-means of the rows of x: which of them are in the second cluster, bool [n].

    Lloyd's algorithm from k-means++ starts, all restarts at once; the one with the smallest sum of
    squared distances counts. Rows that are all equal stay in one cluster.
    """
    x = x - x.mean(0)
    centres = _starts(x, random, restarts)
    second = _second(x, centres)
    for _ in range(MOST_ROUNDS):
        centres, before = _means(x, second, centres), second
        second = _second(x, centres)
        if torch.equal(second, before):
            break
    sizes = torch.stack([(~second).sum(0), second.sum(0)]).to(x)
    explained = (sizes * centres.square().sum(2)).sum(0)  # of the sum of squares, by the centres
    return second[:, explained.argmax()]


def _second(x: Tensor, centres: Tensor) -> Tensor:
    """Which rows are nearer to the second centre, bool [n, restarts]."""
    lengths = centres.square().sum(2)  # [2, restarts]
    return x @ (centres[1] - centres[0]).T > (lengths[1] - lengths[0]) / 2


def _starts(x: Tensor, random: torch.Generator, restarts: int) -> Tensor:
    """k-means++: a random row, and one drawn by its squared distance from it [2, restarts, width].
    """
    first = torch.randint(len(x), (restarts,), generator=random).to(x.device)
    away = torch.cdist(x, x[first]).square()
    away[:, away.sum(0) == 0] = 1.0  # rows that are all equal: any will do
    reached = away.cumsum(0)
    drawn = torch.rand(restarts, generator=random, dtype=torch.float64).to(x.device) * reached[-1]
    place = (reached <= drawn).sum(0).clamp_max(len(x) - 1)
    return torch.stack([x[first], x[place]])


def _means(x: Tensor, second: Tensor, before: Tensor) -> Tensor:
    """The means of both clusters of each restart; an empty cluster keeps its centre."""
    inside = torch.stack([~second, second]).to(x)  # [2, n, restarts]
    sizes = inside.sum(1)[:, :, None]
    sums = inside.transpose(1, 2) @ x
    return torch.where(sizes > 0, sums / sizes.clamp_min(1), before)


Defence = ActivationClustering
