"""Clip the mean gradient of each batch and add noise to it: the "DP-SGD" of DP-InstaHide.

Borgnia et al. (section 4.2, after Hong et al.) compare with a baseline that clips the batch's mean
gradient to a norm C and adds Gaussian noise of deviation n C to every coordinate. No record's own
gradient is bounded: one record can turn the mean from one point of the ball to another, a change of
up to 2 C whatever the batch's size, so that n is a noise multiplier of n / 2. At their largest
noise, 0.01, that is an epsilon of about 3e8, and no guarantee worth the name; none is claimed here.
`dpsgd` is per-sample clipping at the same noise.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lib import privacy
from lib.attacks import Poisoned
from lib.defences import Trained, members, own

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1
WHY = ("the mean gradient of a batch is clipped, not that of each record: one record can change it "
       "by twice the norm")


@dataclass(frozen=True)
class BatchClipping:
    """Clip each batch's mean gradient to `max_grad_norm`, and add noise of deviation `noise` x
    `max_grad_norm` to every coordinate of it."""

    takes_start: ClassVar[bool] = True

    noise: float = 0.01
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"defence batch_clipping: noise {self.noise}: expected 0 or more, and "
                             "finite")
        if not 0 < self.max_grad_norm < math.inf:
            raise ValueError(f"defence batch_clipping: max_grad_norm {self.max_grad_norm}: "
                             "expected above 0, and finite")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: all settings of this defence may differ."""
        return ("batch_clipping", run.model, replace(run.training, lr=1.0), run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        group = members.fit(runs, poisoned, [own(run, BatchClipping).mechanism() for run in runs])
        return [members.trained(group, model, own(run, BatchClipping).guarantee(
            run, members.records(run, data)))
                for model, (run, data) in enumerate(zip(runs, poisoned, strict=True))]

    def mechanism(self) -> dict:
        """The fields of a `Member`."""
        return {"mean_norm": self.max_grad_norm, "noise": self.noise * self.max_grad_norm}

    def guarantee(self, run: "Run", n: int) -> privacy.Guarantee:
        """None, with what was done; n: records."""
        training = run.training
        return replace(privacy.Guarantee.none(WHY), sampler=training.sampling,
                       sample_rate=training.batch_size / n, steps=training.steps(n))


Defence = BatchClipping
