"""Single targets: named test images, as they are or stamped, are called the label that is wanted.

Success is the share of them that are; beside it how sure the model is. The natural rate is that of
the clean twin: some targets are called so without any poison.
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
    """targets: places in the test set, chosen beforehand. label: what they should be called.
    trigger: stamps them at test time; None shows them as they are."""

    name: ClassVar[str] = "single_target"
    columns: ClassVar[tuple[str, ...]] = ("accuracy", "loss", "success", "margin", "probability",
                                          "population", "tested", "collapsed")

    targets: tuple[int, ...]
    label: int
    trigger: "Trigger | None" = None

    def __post_init__(self) -> None:
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets {list(self.targets)}: expected one test image or more, each "
                             "once")

    @property
    def wanted(self) -> int:
        """The label that is wanted."""
        return self.label

    def cases(self, test: Labelled, *, seed: int) -> Cases:
        """The targets. ValueError for a place outside the test set, a label that there is not, or
        a target that has the wanted label already."""
        rows, last = torch.tensor(self.targets), len(test.labels) - 1
        if not 0 <= int(rows.min()) <= int(rows.max()) <= last:
            raise ValueError(f"targets {list(self.targets)}: expected places from 0 to {last} of "
                             "the test set")
        if not 0 <= self.label < len(test.classes):
            raise ValueError(f"wanted label {self.label}: the data set has the classes 0 to "
                             f"{len(test.classes) - 1}")
        already = rows[test.labels[rows] == self.label].tolist()
        if already:
            raise ValueError(f"target {already[0]} is of class {self.label}, the wanted label: "
                             "expected targets of other classes")
        images = test.images[rows]
        shown = images if self.trigger is None else self.trigger(images, seed=seed)
        return Cases(shown, rows, self.label)

    @property
    def base(self) -> None:
        """Targets may be of several classes."""
        return None

    def everyone(self, test: Labelled, *, seed: int) -> Cases:
        """Every test image, stamped where the targets are."""
        images = test.images
        shown = images if self.trigger is None else self.trigger(images, seed=seed)
        return Cases(shown, torch.arange(len(test.labels)), self.label)

    def score(self, predictions: Predictions, cases: Cases) -> dict[str, float]:
        """success: share of the targets called the wanted label. margin: mean of its logit minus
        the largest other one. probability: mean softmax of it. A target without finite logits is
        no success; it has probability 0, and a margin is nan with any of them."""
        logits = predictions.cases.double()
        finite = logits.isfinite().all(1)
        own, other = _split(torch.where(finite[:, None], logits, 0.0), self.label)
        success = ((own > other) & finite).double().mean()
        probability = torch.softmax(torch.where(finite[:, None], logits, 0.0), 1)[:, self.label]
        margin = (own - other).mean() if bool(finite.all()) else torch.tensor(torch.nan)
        return clean_part(predictions.clean, predictions.labels) | {
            "success": success.item(), "margin": margin.item(),
            "probability": torch.where(finite, probability, 0.0).mean().item(),
            "population": len(cases.rows)}


def parts(frame: "DataFrame") -> "DataFrame":
    """The P rows with natural, the success of the clean twin, and excess = success - natural;
    nan where the twin is missing, failed or not measured."""
    found = twins.attacked(frame, "P")
    clean = twins.of(frame, found, "C", ("success",))
    return found.assign(natural=clean["success"], excess=found["success"] - clean["success"])


def _split(logits: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """(the label's logit, the largest other one), [cases] each."""
    others = torch.cat([logits[:, :label], logits[:, label + 1:]], 1)
    return logits[:, label], others.max(1).values
