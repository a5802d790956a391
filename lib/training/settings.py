"""How a model is trained, as plain values: the part of a run that all defences share."""

from dataclasses import dataclass

import numpy as np

from lib.training import averages
from lib.training.optimizers import NAMES, Rule
from lib.training.schedule import Schedule
from lib.training.transforms import Transform, build, mixing_a_batch

APPENDED = ("nominal", "grown")
STAIRS = 20  # of a linear fall
# name: (share of the steps in which the rate climbs, (share, factor) pairs). "ramp" is Razmi et
# al.'s for ALIBI: 30 of 50 epochs up, then a tenth, and a hundredth for the last ten.
SCHEDULES = {
    "constant": (0.0, ()),
    "step": (0.0, ((0.5, 0.1), (0.75, 0.1))),
    "ramp": (0.6, ((0.6, 0.1), (0.8, 0.1))),
    "linear": (0.0, tuple((k / STAIRS, (STAIRS - k) / (STAIRS - k + 1)) for k in range(1, STAIRS))),
}


@dataclass(frozen=True)
class Training:
    """Optimizer, length and batches of a training.

    optimizer: "sgd", "rmsprop" or "adam". epochs: passes over the data in expectation (Poisson) or
    exactly (shuffle). batch_size: expected size of a batch. sampling: "poisson" (what the epsilons
    assume) or "shuffle". schedule: "constant", "step" (a tenth at a half and at three
    quarters), "ramp" (up for 60%, then a tenth, then a hundredth) or "linear" (down to nothing, in
    twenty stairs). checkpoints: how many times along the way,
    in geometric steps, the model is measured; 0 for the end alone. averages: further weights of the
    same run to measure, "tail" and "ema" (with ema_decay), see `lib.training.averages`. transforms:
    of every batch, in turn; each an object of `lib.training.transforms` or a mapping such as {name:
    crop, padding: 4}.

    appended: where an attack appends records, "nominal" takes sample rate, steps and expected batch
    from the nominal clean set in every world, so that a bound links a run to its clean twin;
    "grown" is the released convention: the batch stays and the rate falls as the set grows.
    """

    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    epochs: float = 10.0
    batch_size: int = 512
    sampling: str = "poisson"
    schedule: str = "constant"
    checkpoints: int = 0
    averages: tuple[str, ...] = ()
    ema_decay: float = 0.9999
    transforms: tuple[Transform, ...] = ()
    appended: str = "nominal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "averages", tuple(self.averages))
        object.__setattr__(self, "transforms", tuple(map(build, self.transforms)))
        mixing_a_batch(self.transforms)
        averages.check(self.averages, self.ema_decay)
        if self.appended not in APPENDED:
            raise ValueError(
                f"training appended {self.appended!r}: expected one of {', '.join(APPENDED)}"
            )
        for name, value, choices in (
            ("optimizer", self.optimizer, NAMES),
            ("schedule", self.schedule, SCHEDULES),
            ("sampling", self.sampling, ("poisson", "shuffle")),
        ):
            if value not in choices:
                raise ValueError(f"training {name} {value!r}: expected one of {', '.join(choices)}")
        for name in ("lr", "epochs", "batch_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"training {name} {getattr(self, name)}: expected above 0")
        if not 0 <= self.momentum < 1 or self.weight_decay < 0 or self.checkpoints < 0:
            raise ValueError(
                f"training momentum {self.momentum}, weight_decay {self.weight_decay}, "
                f"checkpoints {self.checkpoints}: "
                "expected momentum in [0, 1), the others 0 or more"
            )
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise ValueError("training nesterov: needs optimizer sgd with momentum above 0")

    def steps(self, n: int) -> int:
        """Updates in this training on `n` records."""
        per_epoch = n / self.batch_size if self.sampling == "poisson" else -(-n // self.batch_size)
        return max(1, round(self.epochs * per_epoch))

    def snapshots(self, n: int) -> tuple[int, ...]:
        """Steps at which the model is measured, in geometric progression, the last one included."""
        if not self.checkpoints:
            return ()
        steps = self.steps(n)
        return tuple(
            sorted(
                {steps}
                | {
                    round(step)
                    for step in np.geomspace(max(1, steps / 500), steps, self.checkpoints)
                }
            )
        )

    def plan(self, n: int, precision: str, *, labels: str = "targets") -> Schedule:
        """The group's schedule for `n` records."""
        rule, (ramp, decay) = Rule(self.optimizer, self.momentum, self.nesterov,
                                   self.weight_decay), SCHEDULES[self.schedule]
        return Schedule(self.steps(n), rule, self.sampling, decay, self.snapshots(n), precision,
                        labels, ramp, averages=self.averages, ema_decay=self.ema_decay,
                        transforms=self.transforms)
