"""The training settings, as plain values: the part of a run that all defences share."""

from dataclasses import dataclass

import numpy as np

from lib.training import averages
from lib.training.losses import check_smoothing
from lib.training.optimizers import NAMES, Rule
from lib.training.schedule import Schedule
from lib.training.transforms import Transform, build, mixing_a_batch, viewed

APPENDED = ("nominal", "grown")
STAIRS = 20  # in which "linear" lowers the learning rate
# name: (share of the steps in which the rate rises, (share, factor) pairs). "ramp" is Razmi et
# al.'s for ALIBI: the rate rises for 30 of 50 epochs, then is a tenth, and a hundredth for the last
# ten.
SCHEDULES = {
    "constant": (0.0, ()),
    "step": (0.0, ((0.5, 0.1), (0.75, 0.1))),
    "ramp": (0.6, ((0.6, 0.1), (0.8, 0.1))),
    "linear": (0.0, tuple((k / STAIRS, (STAIRS - k) / (STAIRS - k + 1)) for k in range(1, STAIRS))),
    "one-cycle": (0.25, ()),
}
FALLING = ("one-cycle", )  # to 0 at the end, evenly from where the rate is highest


@dataclass(frozen=True)
class Training:
    """Optimizer, length and batches of a training.

    optimizer: "sgd", "rmsprop" or "adam". epochs: passes over the data in expectation (Poisson) or
    exactly (shuffle). batch_size: expected size of a batch. sampling: "poisson" (which the epsilons
    assume) or "shuffle". schedule of the learning rate: "constant"; "step" (multiplied by 0.1 at
    half and at three quarters); "ramp" (rising for 60% of the steps, then a tenth, then a
    hundredth); "linear" (falling to 0 in twenty stairs); "one-cycle" (rising for a quarter of the
    steps, then falling evenly to 0). checkpoints: number of geometrically
    spaced steps at which the model is measured; 0 for the end alone. every: measure it every so
    many epochs as well, as papers do that report a best epoch; 0 for never. averages: further
    weights of the same run to measure, "tail" and "ema" (with ema_decay), see
    `lib.training.averages`.
    label_smoothing: share of every label that is spread evenly over all classes (Szegedy et al.
    2016). transforms: applied in turn to every batch; each an object of `lib.training.transforms`
    or a mapping such as {name: crop, padding: 4}.

    appended: what happens when an attack appends records. "nominal" takes sample rate, steps and
    expected batch size from the nominal clean set in every world, so that a bound links a run to
    its clean twin. "grown" is the convention of the released code: the batch size stays, and the
    sample rate falls as the set grows.
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
    every: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "averages", tuple(self.averages))
        object.__setattr__(self, "transforms", tuple(map(build, self.transforms)))
        mixing_a_batch(self.transforms)
        viewed(self.transforms)
        self._check_widths()
        averages.check(self.averages, self.ema_decay)
        check_smoothing(self.label_smoothing)
        if self.appended not in APPENDED:
            raise ValueError(
                f"training appended {self.appended!r}: expected one of {', '.join(APPENDED)}")
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
        if not 0 <= self.momentum < 1:
            raise ValueError(f"training momentum {self.momentum}: expected 0 or more and below 1")
        for name in ("weight_decay", "checkpoints", "every"):
            if getattr(self, name) < 0:
                raise ValueError(f"training {name} {getattr(self, name)}: expected 0 or more")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise ValueError(f"training nesterov with optimizer {self.optimizer!r} and momentum "
                             f"{self.momentum}: expected optimizer 'sgd' with momentum above 0")

    def _check_widths(self) -> None:
        """Raise ValueError for a mix of more records than a batch has."""
        for transform in self.transforms:
            width = getattr(transform, "width", 0) if transform.mixes == "batch" else 0
            if width > self.batch_size:
                raise ValueError(f"transform that mixes {width} records with batch_size "
                                 f"{self.batch_size}: expected at most as many as a batch has")

    def steps(self, n: int) -> int:
        """Number of updates in this training on `n` records."""
        per_epoch = n / self.batch_size if self.sampling == "poisson" else -(-n // self.batch_size)
        return max(1, round(self.epochs * per_epoch))

    def snapshots(self, n: int) -> tuple[int, ...]:
        """Steps at which the model is measured, ending with the last step; none if not asked for.
        """
        steps, found = self.steps(n), set()
        if self.checkpoints:
            spaced = np.geomspace(max(1, steps / 500), steps, self.checkpoints)
            found |= {steps} | {round(step) for step in spaced}
        if self.every:
            points = np.arange(self.every, self.epochs, self.every)
            found |= {steps} | {max(1, round(steps * at / self.epochs)) for at in points}
        return tuple(sorted(found))

    def plan(self, n: int, precision: str, *, labels: str = "targets") -> Schedule:
        """The schedule of this training for a group on `n` records."""
        rule = Rule(self.optimizer, self.momentum, self.nesterov, self.weight_decay)
        ramp, decay = SCHEDULES[self.schedule]
        return Schedule(self.steps(n), rule, self.sampling, decay, self.snapshots(n), precision,
                        labels, ramp, averages=self.averages, ema_decay=self.ema_decay,
                        transforms=self.transforms, falls=self.schedule in FALLING,
                        label_smoothing=self.label_smoothing)
