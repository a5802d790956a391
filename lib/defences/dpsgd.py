"""DP-SGD (Abadi et al. 2016), and its two halves: clipping without noise, noise without clipping.

With noise multiplier 0 and without clipping it is plain training, so that undefended models run
through the same code.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lib import privacy
from lib.attacks import Poisoned
from lib.defences import Trained, members, own
from lib.training import Training, fit
from lib.training.transforms import mixing_a_batch

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1
GROWN = "the batch stays while the set grows: no bound links this run to its clean twin"
ENGINES = ("ensemble", "opacus-hooks", "opacus-ghost")


@dataclass(frozen=True)
class DPSGD:
    """Clip each sample's gradient to `max_grad_norm`, and add Gaussian noise to the sum.

    The noise's standard deviation is `noise_multiplier` x `max_grad_norm`. Set `noise_multiplier`,
    or set it to null and give `epsilon`, from which it is then calibrated (Poisson sampling, PLD).
    clip=False keeps the noise and drops the clipping (no guarantee). engine: "ensemble" (this
    project's trainer), "opacus-hooks" or "opacus-ghost".
    """

    takes_start: ClassVar[bool] = True
    plain_gradients: ClassVar[bool] = True

    noise_multiplier: float | None = 1.0
    epsilon: float | None = None
    max_grad_norm: float = 1.0
    clip: bool = True
    delta: float = 1e-5
    engine: str = "ensemble"

    def __post_init__(self) -> None:
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise ValueError(
                f"defence dpsgd: noise_multiplier {self.noise_multiplier} and epsilon"
                f" {self.epsilon}: give exactly one of them, and null for the other")
        if self.noise_multiplier is not None and self.noise_multiplier < 0:
            raise ValueError(
                f"defence dpsgd: noise_multiplier {self.noise_multiplier}: expected 0 or more")
        if self.epsilon is not None and not (self.epsilon > 0 and self.clip):
            raise ValueError(
                f"defence dpsgd: epsilon {self.epsilon}: expected above 0, and clip true")
        if not 0 < self.delta < 1:
            raise ValueError(f"defence dpsgd: delta {self.delta}: expected between 0 and 1")
        if not self.max_grad_norm > 0:
            raise ValueError(f"defence dpsgd: max_grad_norm {self.max_grad_norm}: expected above 0")
        if self.engine not in ENGINES:
            raise ValueError(
                f"defence dpsgd: engine {self.engine!r}: expected one of {', '.join(ENGINES)}")
        if self.engine != "ensemble" and not self.clip:
            raise ValueError(f"defence dpsgd: engine {self.engine!r} always clips; for clip false, "
                             "use engine 'ensemble'")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: noise, clipping norm, learning rate and seeds may
        differ."""
        return ("dpsgd", self.engine, self.clip, run.model, replace(run.training, lr=1.0),
                run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        calibrated = [own(run, DPSGD).calibrated(run, members.records(run, data))
                      for run, data in zip(runs, poisoned)]
        mechanisms = [defence.mechanism() for defence in calibrated]
        trained = members.fit(runs, poisoned, mechanisms, engine=self._engine())
        return [members.trained(trained, model, defence.guarantee(run, members.records(run, data),
                                                                  rows=len(data.rows)))
                for model, (run, data, defence) in enumerate(zip(runs, poisoned, calibrated))]

    def _engine(self) -> members.Engine:
        if self.engine == "ensemble":
            return fit
        from lib.defences import opacus_engine
        return opacus_engine.fitter(ghost=self.engine == "opacus-ghost")

    def mechanism(self) -> dict:
        """The fields of a `Member`: clipping norm, and standard deviation of the noise on the sum
        of gradients."""
        return {"clipping_norm": self.max_grad_norm if self.clip else math.inf,
                "noise": self._noise_multiplier() * self.max_grad_norm}

    def _noise_multiplier(self) -> float:
        if self.noise_multiplier is None:
            raise ValueError(f"defence dpsgd: epsilon {self.epsilon} without a noise_multiplier: "
                             "expected a defence that `calibrated` returned")
        return self.noise_multiplier

    def calibrated(self, run: "Run", n: int) -> "DPSGD":
        """This defence with a noise multiplier, calibrated if epsilon was given; n: records."""
        if self.epsilon is None:
            return self
        if run.training.sampling != "poisson":
            raise ValueError(
                f"defence dpsgd: epsilon with sampling {run.training.sampling!r}: calibration needs"
                " sampling 'poisson'; use it, or give noise_multiplier")
        mixed = mixing_a_batch(run.training.transforms)
        if mixed:
            raise ValueError(f"defence dpsgd: epsilon cannot be calibrated with transform "
                             f"{', '.join(mixed)}: it mixes private records, so clipping bounds "
                             "none of them; give noise_multiplier")
        z = privacy.dpsgd_noise_multiplier(self.epsilon, run.training.batch_size / n,
                                           run.training.steps(n), self.delta)
        return replace(self, noise_multiplier=z, epsilon=None)

    def guarantee(self, run: "Run", n: int, *, rows: int | None = None) -> privacy.Guarantee:
        """The guarantee of this training on `n` records; rows: with appended ones, None for n."""
        training, z = run.training, self._noise_multiplier()
        nothing = privacy.Guarantee(
            epsilon=math.inf, delta=self.delta, adjacency="none", sampler=training.sampling,
            noise_multiplier=z, max_grad_norm=self.max_grad_norm if self.clip else math.inf,
            sample_rate=training.batch_size / n, steps=training.steps(n))
        if not self.clip or z == 0:
            note = "no noise" if z == 0 else "gradients are not clipped"
            return replace(nothing, accountant="none", note=note)
        mixed = mixing_a_batch(training.transforms)
        if mixed:
            note = (f"transform {', '.join(mixed)} mixes private records, "
                    "and clipping bounds none of them")
            return replace(nothing, note=note)
        grown = "" if training.appended == "nominal" else GROWN
        if training.sampling == "poisson":
            epsilon = privacy.dpsgd_epsilon(z, training.batch_size / n, training.steps(n),
                                            self.delta)
            return replace(nothing, epsilon=epsilon, adjacency="add-remove", accountant="pld",
                           note=grown)
        rows = n if rows is None else rows
        epsilon = privacy.shuffled_epsilon(z, most_uses(training, n, rows), self.delta)
        notes = ("each record once an epoch, no amplification by sampling",
                 grown if rows == n else GROWN)
        note = "; ".join(filter(None, notes))
        return replace(nothing, epsilon=epsilon, adjacency="zero-out", accountant="gaussian",
                       note=note)


def most_uses(training: Training, n: int, rows: int) -> int:
    """The largest number of times that a record is used.

    Batches grow with `rows`, so that an epoch keeps the number of steps of `n` nominal records, up
    to rounding.
    """
    batch = max(1, round(training.batch_size * rows / n))
    return max(math.ceil(training.epochs), math.ceil(training.steps(n) / math.ceil(rows / batch)))


Defence = DPSGD
