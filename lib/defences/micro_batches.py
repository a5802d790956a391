"""Clip the mean gradient of each micro-batch, and add noise to their sum: Turner's "DP-SGD".

Turner's thesis (sections 5.2 and 7.10) trains with TF-Privacy, lots of 2,000 records in 16
micro-batches of 125. The mean gradient of each micro-batch is clipped to a norm C, noise of
deviation z C is added to the sum of these means, and the sum is divided by their number. With a
record in each micro-batch that is DP-SGD; with more it is something else, which spends far more
noise for what it promises:

- *Replacing* a record changes the mean of its own micro-batch alone, from one point of a ball of
  radius C to another, by up to 2 C. So an epoch is one Gaussian mechanism of noise multiplier z / 2
  for each record, and that is the guarantee here: no amplification by sampling, because each record
  is used once an epoch. It is also that of DP-SGD under replacement, where the same noise is on
  a sum of 2,000 gradients in place of 16 means.
- *Removing* a record moves all later ones up: in the shuffled order they fill micro-batches of
  other records, in this lot and in the later ones of the epoch. Up to 16 means of a lot may change,
  by up to 2 C each. Nothing is claimed under removal, nor under add-remove.

`dpsgd` clips each record's own gradient. `batch_clipping` is the case of one micro-batch.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lib import privacy
from lib.attacks import Poisoned
from lib.defences import Trained, members, own
from lib.defences.dpsgd import most_uses
from lib.training.transforms import mixing_a_batch

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1
REMOVAL = ("micro-batch means are clipped: a replaced record changes one of them by up to 2 C; no "
           "guarantee under removal, which regroups the records after it")


@dataclass(frozen=True)
class MicroBatches:
    """Clip the mean gradient of each of `count` micro-batches to `max_grad_norm`, and add Gaussian
    noise of deviation `noise_multiplier` x `max_grad_norm` to the sum of these means."""

    takes_start: ClassVar[bool] = True

    noise_multiplier: float = 1.0
    max_grad_norm: float = 1.0
    count: int = 16
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 <= self.noise_multiplier < math.inf:
            raise ValueError(f"defence micro_batches: noise_multiplier {self.noise_multiplier}: "
                             "expected 0 or more, and finite")
        if not 0 < self.max_grad_norm < math.inf:
            raise ValueError(f"defence micro_batches: max_grad_norm {self.max_grad_norm}: expected "
                             "above 0, and finite")
        if self.count < 2:
            raise ValueError(f"defence micro_batches: count {self.count}: expected 2 or more; "
                             "batch_clipping clips the mean of a whole batch")
        if not 0 < self.delta < 1:
            raise ValueError(f"defence micro_batches: delta {self.delta}: expected between 0 and 1")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: noise, clipping norm, learning rate and seeds may
        differ."""
        return ("micro_batches", self.count, run.model, replace(run.training, lr=1.0),
                run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        for run in runs:
            own(run, MicroBatches).check(run)
        group = members.fit(runs, poisoned, [own(run, MicroBatches).mechanism() for run in runs])
        return [members.trained(group, model, own(run, MicroBatches).guarantee(
            run, members.records(run, data), rows=len(data.rows)))
                for model, (run, data) in enumerate(zip(runs, poisoned, strict=True))]

    def check(self, run: "Run") -> None:
        """Raise ValueError for batches that cannot be cut into these micro-batches."""
        if run.training.sampling != "shuffle":
            raise ValueError(f"defence micro_batches: sampling {run.training.sampling!r}: expected "
                             "'shuffle'; batches of random size have no fixed micro-batches")
        if run.training.batch_size < self.count:
            raise ValueError(f"defence micro_batches: count {self.count} with batch_size "
                             f"{run.training.batch_size}: expected a record or more in each")

    def mechanism(self) -> dict:
        """The fields of a `Member`."""
        return {"mean_norm": self.max_grad_norm, "micro_batches": self.count,
                "noise": self.noise_multiplier * self.max_grad_norm}

    def guarantee(self, run: "Run", n: int, *, rows: int | None = None) -> privacy.Guarantee:
        """The guarantee for a replaced record, of a training on `n` records; rows: with appended
        ones, None for n."""
        training, rows = run.training, n if rows is None else rows
        nothing = privacy.Guarantee(
            epsilon=math.inf, delta=self.delta, adjacency="none", sampler=training.sampling,
            noise_multiplier=self.noise_multiplier, max_grad_norm=self.max_grad_norm,
            sample_rate=training.batch_size / n, steps=training.steps(n))
        if self.noise_multiplier == 0:
            return replace(nothing, note="no noise")
        if mixed := mixing_a_batch(training.transforms):
            return replace(nothing, note=f"transform {', '.join(mixed)} mixes private records")
        epsilon = privacy.shuffled_epsilon(self.noise_multiplier, most_uses(training, n, rows),
                                           self.delta, adjacency="replace-one")
        return replace(nothing, epsilon=epsilon, adjacency="replace-one", accountant="gaussian",
                       note=REMOVAL)


Defence = MicroBatches
