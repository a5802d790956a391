"""What to train: the members of a group, and the schedule that they share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from torch import Tensor

from lib.training import averages
from lib.training.losses import LABELS, check_smoothing
from lib.training.norms import Quantile
from lib.training.optimizers import NAMES, Rule
from lib.training.overlays import Overlaid
from lib.training.transforms import Transform, softens

# In an exact group, rows are padded to a multiple of this, so that the padded number depends on the
# member alone.
BLOCK = 32


@dataclass(frozen=True)
class Member:
    """One model of the ensemble.

    rows: int64 [n], places in the pool. labels: int64 [n], or float [n, classes] for soft labels or
    evidence (`Schedule.labels`). batch_size: the expected size; Poisson sampling takes each record
    with probability batch_size / records. clipping_norm: bound on each sample's gradient,
    `math.inf` for none. noise: standard deviation of the noise on the *sum* of the gradients, in
    the gradient's units (noise multiplier x clipping norm). records: nominal number of records,
    None for the number of rows. Rows beyond it are appended ones: every row is sampled at the rate
    batch_size / records, and sums are divided as if only the nominal records existed. steps:
    updates of this member, None for the schedule's number; it is then frozen while others train on.
    start: initial parameters and buffers [parameters and buffers], None to draw them from
    `init_seed`. input_noise: standard deviation of Gaussian noise on the inputs, drawn once from
    `input_seed`: the member trains on this one noisy copy of its rows, which exists only while its
    group trains. follows: None to keep `clipping_norm`; else it is where the norm starts, and
    `noise` grows and shrinks with it. mean_norm: bound on the mean gradient of each batch, whatever
    its records; if it is finite, `noise` is on that mean. micro_batches: parts of each batch whose
    mean gradients are clipped to `mean_norm` instead; then `noise` is on the sum of these means,
    and the update takes a share of 1 / micro_batches of it. overlaid: what is put on some of its
    records after the transforms, None for nothing.
    """

    rows: Tensor
    labels: Tensor
    batch_size: float
    lr: float
    init_seed: int = 0
    batch_seed: int = 0
    noise_seed: int = 0
    clipping_norm: float = math.inf
    noise: float = 0.0
    steps: int | None = None
    start: Tensor | None = None
    input_noise: float = 0.0
    input_seed: int = 0
    records: int | None = None
    follows: Quantile | None = None
    mean_norm: float = math.inf
    overlaid: Overlaid | None = None
    micro_batches: int = 1

    @property
    def nominal(self) -> int:
        """The number of records that the sampling rate and the expected batch size refer to."""
        return len(self.rows) if self.records is None else self.records

    @property
    def shuffled_batch(self) -> int:
        """Records in a shuffled batch; it grows with appended rows, so that an epoch keeps its
        number of steps."""
        if self.records is None:
            return round(self.batch_size)
        return max(1, round(self.batch_size * len(self.rows) / self.records))

    @property
    def training(self) -> tuple:
        """What determines the training: equal for members that end with the same weights.

        A noise seed counts if there is noise, a seed of initial weights if they are drawn.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["noise_seed"] = self.noise_seed if self.noise or self.follows else 0
        values["input_seed"] = self.input_seed if self.input_noise else 0
        values["init_seed"] = self.init_seed if self.start is None else 0
        return tuple(_content(value) for value in values.values())

    @property
    def private(self) -> bool:
        return math.isfinite(self.clipping_norm)


@dataclass(frozen=True)
class Schedule:
    """What the models of a group share: steps, sampling, update rule, snapshots.

    steps: number of updates of members that do not set their own. sampling: "poisson" or "shuffle".
    ramp: share of the steps in which the learning rate rises to its full value. decay: (share of
    the steps, factor) pairs for the learning rate. snapshots: steps after which the parameters are
    kept. precision: "float32", or "fast", which lets the hardware round the factors of matrix
    products to bfloat16 or TF32; norms, sums and noise stay float32. labels: the kind of the
    members' labels, see `lib.training.losses`. exact: the bits of a model depend only on its own
    member, not on the others in its group (for a given device and number of threads); needs
    shuffled batches. averages: further weights to keep, "tail" and "ema" (with ema_decay), see
    `lib.training.averages`. transforms: applied in turn to the images of every batch.
    falls: whether the learning rate falls evenly to 0 after its rise. label_smoothing: share of
    every label that is spread evenly over all classes.
    """

    steps: int
    rule: Rule = field(default_factory=Rule)
    sampling: str = "poisson"
    decay: tuple[tuple[float, float], ...] = ()
    snapshots: tuple[int, ...] = ()
    precision: str = "float32"
    labels: str = "targets"
    ramp: float = 0.0
    exact: bool = False
    averages: tuple[str, ...] = ()
    ema_decay: float = 0.9999
    transforms: tuple[Transform, ...] = ()
    falls: bool = False
    label_smoothing: float = 0.0

    def rows(self, members: Sequence[Member]) -> int:
        """Padded number of rows: the largest member's; if exact, rounded up to whole `BLOCK`s."""
        most = max(len(member.rows) for member in members)
        return -(-most // BLOCK) * BLOCK if self.exact else most

    def factor(self, step: int, steps: int) -> float:
        """Learning-rate factor at `step` (from 0) of a member with `steps` updates; then 0."""
        if step >= steps:
            return 0.0
        climbed = min(1.0, (step + 1) / (self.ramp * steps)) if self.ramp else 1.0
        if self.falls:
            climbed = min(climbed, (steps - step) / max(1.0, (1 - self.ramp) * steps))
        return climbed * math.prod(factor for share, factor in self.decay if step >= share * steps)


def _content(value: object) -> object:
    """A value that is equal for equal tensors, and for other values the value itself."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.cpu().contiguous().numpy().tobytes()
    if isinstance(value, Overlaid):
        return tuple(map(_content, (value.rows, value.overlay.keep, value.overlay.add)))
    return value


def check(members: Sequence[Member], schedule: Schedule) -> None:
    """Raise ValueError for a member or a schedule out of range."""
    for name, value, choices in (
        ("optimizer", schedule.rule.name, NAMES),
        ("sampling", schedule.sampling, ("poisson", "shuffle")),
        ("precision", schedule.precision, ("float32", "fast")),
        ("labels", schedule.labels, LABELS),
    ):
        if value not in choices:
            raise ValueError(f"{name} {value!r}: expected one of {', '.join(choices)}")
    averages.check(schedule.averages, schedule.ema_decay)
    check_smoothing(schedule.label_smoothing, schedule.labels)
    if schedule.exact and schedule.sampling != "shuffle":
        raise ValueError(
            f"exact with sampling {schedule.sampling!r}: expected 'shuffle'; "
            "the padding of Poisson batches depends on the other members")
    for member in members:
        _check_member(member)
    if softens(schedule.transforms) and any(member.overlaid for member in members):
        raise ValueError("a stamp after the augmentation, and transforms that mix records: "
                         "expected transforms that keep them apart, such as flip and crop")
    if len(counts := {member.micro_batches for member in members}) > 1:
        raise ValueError(f"micro_batches {sorted(counts)}: expected the same number for all members"
                         " of a group")


def _check_member(member: Member) -> None:
    if member.records is not None and member.records < 1:
        raise ValueError(
            f"records {member.records} of a member: expected 1 or more, or None for its rows")
    if not 0 < member.batch_size <= member.nominal:
        raise ValueError(
            f"batch_size {member.batch_size}: expected between 1 and "
            f"the {member.nominal} training images")
    if not (member.clipping_norm > 0 and member.noise >= 0 and member.lr > 0):
        raise ValueError(
            f"clipping norm {member.clipping_norm}, noise {member.noise}, lr {member.lr}: "
            "expected a norm and a rate above 0, noise of 0 or more")
    if member.follows is not None and not member.private:
        raise ValueError(f"clipping norm {member.clipping_norm} of a member that follows a "
                         "quantile: expected a finite norm to start from")
    if not member.mean_norm > 0 or (member.follows and math.isfinite(member.mean_norm)):
        raise ValueError(f"mean_norm {member.mean_norm} of a member: expected above 0, and "
                         "infinite where the clipping norm follows a quantile")
    if member.micro_batches < 1 or (member.micro_batches > 1 and not (
            math.isfinite(member.mean_norm) and not member.private)):
        raise ValueError(f"micro_batches {member.micro_batches} of a member with mean_norm "
                         f"{member.mean_norm} and clipping norm {member.clipping_norm}: expected 1,"
                         " or more with a finite mean_norm and without a clipping norm")
    if not 0 <= member.input_noise < math.inf:
        raise ValueError(f"input_noise {member.input_noise} of a member: expected 0 or more")
    if member.overlaid is not None and member.input_noise:
        raise ValueError("a stamp after the augmentation of a member with input_noise: expected one"
                         " of them; certificates are of inputs with all their noise")
    if member.overlaid is not None and len(member.overlaid.rows) != len(member.rows):
        raise ValueError(f"{len(member.overlaid.rows)} overlaid rows of {len(member.rows)}: "
                         "expected True or False for each row")
    if len(member.labels) != len(member.rows):
        raise ValueError(f"{len(member.labels)} labels for {len(member.rows)} rows: expected one "
                         "label per row")
    if member.steps is not None and member.steps < 1:
        raise ValueError(f"steps {member.steps} of a member: expected 1 or more")
