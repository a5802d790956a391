"""Single targets: named test images, unchanged or stamped, are classified as the wanted label.

Success is the share of targets with the wanted label; margin and probability say how confident the
model is. The natural rate is the clean twin's: some targets get the wanted label without poison.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lib.data import Labelled
from lib.goals import Cases, Predictions
from lib.metrics import clean_part, twins

if TYPE_CHECKING:
    from pandas import DataFrame

    from lib.attacks.triggers import Trigger

VERSION = 1  # raise it when what is counted changes


@dataclass(frozen=True)
class SingleTarget:
    """targets: places in the test set, chosen beforehand; with a `base`, places among the test
    images of that class. label: the wanted class. trigger: stamps the targets at test time; None
    leaves them unchanged. donors: the first test images of the wanted class, from which the
    attacker makes poison; accuracy does not count them."""

    name: ClassVar[str] = "single_target"
    columns: ClassVar[tuple[str, ...]] = ("accuracy", "loss", "success", "margin", "probability",
                                          "population", "tested", "collapsed")

    targets: tuple[int, ...]
    label: int
    trigger: "Trigger | None" = None
    base: int | None = None
    donors: int = 0

    def __post_init__(self) -> None:
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets {list(self.targets)}: expected at least one test image, and "
                             "each only once")

    @property
    def wanted(self) -> int:
        """The wanted label."""
        return self.label

    def cases(self, test: Labelled, *, seed: int) -> Cases:
        """The targets. Raises ValueError for a place outside the test set, an unknown label, too
        many donors, or a target whose true class is the wanted label."""
        for name in (self.label, self.base):
            if name is not None and not 0 <= name < len(test.classes):
                raise ValueError(f"class {name} of a target: expected one of the data set's "
                                 f"classes, 0 to {len(test.classes) - 1}")
        self.donated(test.labels)
        rows = self._rows(test)
        already = rows[test.labels[rows] == self.label].tolist()
        if already:
            raise ValueError(f"target {already[0]} is of class {self.label}, the wanted label: "
                             "expected targets of other classes")
        images = test.images[rows]
        shown = images if self.trigger is None else self.trigger(images, seed=seed)
        return Cases(shown, rows, self.label)

    def _rows(self, test: Labelled) -> Tensor:
        """The targets' places in the test set, int64 [targets]."""
        chosen = torch.tensor(self.targets)
        among = torch.arange(len(test.labels))
        if self.base is not None:
            among = among[test.labels == self.base]
        if not 0 <= int(chosen.min()) <= int(chosen.max()) < len(among):
            where = "the test set" if self.base is None else f"the test images of class {self.base}"
            raise ValueError(f"targets {list(self.targets)}: expected places from 0 to "
                             f"{len(among) - 1} of {where}")
        return among[chosen]

    def donated(self, labels: Tensor) -> Tensor:
        """Places of the donors in a test set with these labels, int64 [donors]."""
        found = (labels == self.label).nonzero().flatten()
        if self.donors > len(found):
            raise ValueError(f"{self.donors} donors: expected at most the {len(found)} test images "
                             f"of class {self.label}")
        return found[:self.donors]

    def counted(self, labels: Tensor) -> Tensor:
        """Which test images accuracy counts: all but the donors, bool [test]."""
        kept = torch.ones(len(labels), dtype=torch.bool)
        kept[self.donated(labels)] = False
        return kept

    def hits(self, logits: Tensor) -> Tensor:
        """Which cases are classified as the wanted label, bool [cases]; none without finite logits.
        """
        own, other = _split(torch.where(logits.isfinite(), logits, 0.0), self.label)
        return (own > other) & logits.isfinite().all(1)

    def everyone(self, test: Labelled, *, seed: int) -> Cases:
        """Every test image, stamped if the goal has a trigger."""
        images = test.images
        shown = images if self.trigger is None else self.trigger(images, seed=seed)
        return Cases(shown, torch.arange(len(test.labels)), self.label)

    def score(self, predictions: Predictions, cases: Cases) -> dict[str, float]:
        """Score the targets.

        success: share with the wanted label. margin: mean of its logit minus the largest other
        logit. probability: mean of its softmax. A target without finite logits is not a success and
        has probability 0; the margin is nan if there is any. Accuracy leaves out the donors.
        """
        logits = predictions.cases.double()
        finite = logits.isfinite().all(1)
        own, other = _split(torch.where(finite[:, None], logits, 0.0), self.label)
        success = self.hits(logits).double().mean()
        probability = torch.softmax(torch.where(finite[:, None], logits, 0.0), 1)[:, self.label]
        margin = (own - other).mean() if bool(finite.all()) else torch.tensor(torch.nan)
        counted = self.counted(predictions.labels)
        return clean_part(predictions.clean[counted], predictions.labels[counted]) | {
            "success": success.item(), "margin": margin.item(),
            "probability": torch.where(finite, probability, 0.0).mean().item(),
            "population": len(cases.rows)}


def parts(frame: "DataFrame") -> "DataFrame":
    """The P rows with natural, the success of the clean twin, and excess = success - natural;
    nan if the twin is missing, failed or not measured."""
    found = twins.attacked(frame, "P")
    clean = twins.of(frame, found, "C", ("success",))
    return found.assign(natural=clean["success"], excess=found["success"] - clean["success"])


def _split(logits: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """(the label's logit, the largest other logit), [cases] each."""
    others = torch.cat([logits[:, :label], logits[:, label + 1:]], 1)
    return logits[:, label], others.max(1).values
