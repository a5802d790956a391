"""A backdoor: stamped test images of the attacked classes are classified as the target.

S_W(x) and S_W(x') are the shares classified as the target in training world W, among clean and
among stamped images. floor = S_P(x), success = S_P(x'), lift = success - floor; natural = S_C(x),
collateral = floor - natural, so that success = natural + collateral + lift; effect = lift -
(S_L(x') - S_L(x)), what stamping adds to relabelling alone; blind = S_L(x'). Where labels stay
correct, world H takes the place of L: poisons that are changed but not stamped.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lib import metrics
from lib.data import Labelled
from lib.goals import Cases, Predictions
from lib.metrics import twins

if TYPE_CHECKING:
    from pandas import DataFrame

    from lib.attacks.triggers import Trigger

VERSION = 1  # raise it when what is counted changes


def attacked(labels: Tensor, *, base: int | None, target: int) -> Tensor:
    """Mask of the images of the attacked classes, bool [n]."""
    return labels == base if base is not None else labels != target


@dataclass(frozen=True)
class Backdoor:
    """base: the attacked class, None for all but the target. trigger: stamps images."""

    name: ClassVar[str] = "backdoor"
    columns: ClassVar[tuple[str, ...]] = metrics.AttackResult.columns()

    base: int | None
    target: int
    trigger: "Trigger"

    @property
    def wanted(self) -> int:
        """The target."""
        return self.target

    def cases(self, test: Labelled, *, seed: int) -> Cases:
        """The test images of the attacked classes, stamped as at test time."""
        rows = attacked(test.labels, base=self.base, target=self.target).nonzero().flatten()
        return Cases(self.trigger(test.images[rows], seed=seed), rows, self.target)

    def everyone(self, test: Labelled, *, seed: int) -> Cases:
        """Every test image, stamped, including those that do not count."""
        rows = torch.arange(len(test.labels))
        return Cases(self.trigger(test.images, seed=seed), rows, self.target)

    def score(self, predictions: Predictions, cases: Cases) -> dict[str, float]:
        """Accuracy, success and lift, see `lib.metrics.attack`."""
        return metrics.attack(predictions.clean, predictions.cases, predictions.labels,
                              target=self.target, base=self.base).as_dict()


def parts(frame: "DataFrame") -> "DataFrame":
    """The P rows with natural, collateral, effect, blind, auc_clean (the trigger AUC of the clean
    twin) and lost_recall; nan if the twin is missing, failed or not measured."""
    found = twins.attacked(frame, "P")
    clean = twins.of(frame, found, "C", ("floor", "trigger_auc", "target_recall"))
    unstamped = twins.of(frame, found, "L", ("lift", "success")).fillna(
        twins.of(frame, found, "H", ("lift", "success")))
    return found.assign(
        natural=clean["floor"], collateral=found["floor"] - clean["floor"],
        effect=found["lift"] - unstamped["lift"], blind=unstamped["success"],
        auc_clean=clean["trigger_auc"],
        lost_recall=clean["target_recall"] - found["target_recall"].astype(float))
