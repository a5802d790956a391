"""DP-SGD whose clipping norm follows a quantile of the gradients' norms (Hong et al. section 7.2).

The rule is that of Andrew, Thakkar, McMahan and Ramaswamy 2021, "Differentially private learning
with adaptive clipping". A step with norm C_t releases, of a Poisson batch B,

    the sum of the gradients clipped to C_t, with noise of deviation z C_t in every coordinate, and
    the sum over B of b_i - 1/2, with noise of deviation s; b_i is 1 if record i's norm is at most
    C_t, otherwise 0.

Everything else follows from these two: b = 1/2 + (the second) / (expected batch size), and
C_{t+1} = C_t exp(-rate (b - quantile)). Given C_t, which follows from earlier releases, adding or
removing a record changes the first sum by at most C_t and the second by 1/2. In units of their
noise the pair moves by at most sqrt(1 / z^2 + 1 / (2 s)^2). Gaussian noise is equal in all
directions, so the pair is a Gaussian mechanism with noise multiplier

    (z^-2 + (2 s)^-2)^(-1/2)

on one Poisson sample, and steps compose adaptively. Without centring, b_i itself would change its
sum by up to 1, and 2 s would be s. An expected batch of 500 and s = 25 cost a step with z = 1 0.02%
of its noise multiplier.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lib import privacy
from lib.attacks import Poisoned
from lib.defences import Trained, members, own
from lib.defences.dpsgd import GROWN
from lib.training import Quantile
from lib.training.transforms import mixing_a_batch

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1


@dataclass(frozen=True)
class QuantileClipping:
    """Clip each sample's gradient to a norm that follows the `quantile` of the samples' norms.

    noise_multiplier: z, the deviation of the noise on the sum of gradients over the norm of that
    step. quantile: share of gradients to leave unclipped. rate: of the norm's geometric update.
    count_noise: standard deviation, in records, of the noise on the number of unclipped gradients;
    a twentieth of the batch is usual. initial_norm: the norm of the first step. An epsilon needs
    Poisson sampling and both noises.
    """

    takes_start: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = ("final_norm",)

    noise_multiplier: float = 1.0
    quantile: float = 0.5
    rate: float = 0.2
    count_noise: float = 10.0
    initial_norm: float = 1.0
    delta: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "count_noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"defence quantile_clipping: {name} {getattr(self, name)}: "
                                 "expected 0 or more, and finite")
        for name in ("rate", "initial_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"defence quantile_clipping: {name} {getattr(self, name)}: "
                                 "expected above 0, and finite")
        for name in ("quantile", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"defence quantile_clipping: {name} {getattr(self, name)}: "
                                 "expected between 0 and 1")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: all settings of this defence may differ."""
        return ("quantile_clipping", run.model, replace(run.training, lr=1.0), run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        settings = [own(run, QuantileClipping) for run in runs]
        group = members.fit(runs, poisoned, [each.mechanism() for each in settings])
        if group.norms is None:
            raise ValueError("a training that keeps no clipping norms: expected `training.fit`")
        return [replace(members.trained(group, model,
                                        each.guarantee(run, members.records(run, data))),
                        facts={"final_norm": norm})
                for model, (run, data, each, norm) in enumerate(
                    zip(runs, poisoned, settings, group.norms.tolist(), strict=True))]

    def mechanism(self) -> dict:
        """The fields of a `Member`; the noise is that of the first step."""
        return {"clipping_norm": self.initial_norm,
                "noise": self.noise_multiplier * self.initial_norm,
                "follows": Quantile(self.quantile, self.rate, self.count_noise)}

    @property
    def whole_multiplier(self) -> float:
        """The noise multiplier of a whole step, its count included; 0 without one of the noises."""
        if not (self.noise_multiplier and self.count_noise):
            return 0.0
        return 1 / math.hypot(1 / self.noise_multiplier, 1 / (2 * self.count_noise))

    def guarantee(self, run: "Run", n: int) -> privacy.Guarantee:
        """The guarantee of this training on `n` records, which charges the count."""
        training, z = run.training, self.whole_multiplier
        rate, steps = training.batch_size / n, training.steps(n)
        why = self._why_none(run)
        if why:
            return replace(privacy.Guarantee.none(why), delta=self.delta, noise_multiplier=z,
                           sampler=training.sampling, sample_rate=rate, steps=steps)
        notes = ["the clipping norm follows a noisy count, which is charged"]
        if training.appended != "nominal":
            notes.append(GROWN)
        return privacy.Guarantee(
            epsilon=privacy.dpsgd_epsilon(z, rate, steps, self.delta), delta=self.delta,
            sampler="poisson", accountant="pld", noise_multiplier=z, sample_rate=rate, steps=steps,
            note="; ".join(notes))

    def _why_none(self, run: "Run") -> str:
        mixed = mixing_a_batch(run.training.transforms)
        if mixed:
            return (f"transform {', '.join(mixed)} mixes private records, "
                    "and clipping bounds none of them")
        if not self.noise_multiplier:
            return "no noise on the gradients"
        if not self.count_noise:
            return "no noise on the number of unclipped gradients, which sets the clipping norm"
        if run.training.sampling != "poisson":
            return (f"sampling {run.training.sampling!r}: the number of unclipped gradients is "
                    "accounted for with Poisson batches only")
        return ""


Defence = QuantileClipping
