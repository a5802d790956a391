"""RAB (Weber et al. 2021): many models, each trained on its own noisy copy of the data, and the
certificate of their average.

The certificate (corollary 1) compares with the same training set *without the patterns*: same
images, same flipped labels (training world L), for the same test image. It does not cover the
flipped labels or a comparison with clean data.

The radius is a distance in the space of the noise. On pixels it is the l2 norm of all patterns
together. On features it is the distance between features, and does not bound the change of pixels
that causes it.
"""

import hashlib
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from lib import models, privacy, training
from lib.attacks import Poisoned
from lib.defences import Trained, certificates, members
from lib.defences.certificates import Certified, Examples
from lib.training import generator
from lib.training.transforms import mixing_a_batch

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lib.study.runs import Run

VERSION = 1
CORRECTIONS = ("none", "union")
# Those of the released code and one more; `_certify` adds multiples of a tenth of the noise.
RADII = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Smoothing:
    """Train `models` models on independent noisy copies of the training inputs.

    Each model also adds noise to test inputs, fixed by its parameters. The prediction is the class
    with the largest mean probability.

    noise: standard deviation, in the unit of the inputs. space: "inputs" (the run's: pixels in
    [0, 1], or features) or "pixels" (features are computed for every noisy copy). confidence:
    1 - alpha of the certificate. With max_grad_norm and noise_multiplier, DP-SGD trains each model.
    twin: also train an ensemble with independent noise on the same data without the patterns (world
    L), and count the predictions that differ.
    """

    needs_pixels: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = (
        *certificates.FACTS, "poisons", "each", "each_max", "votes_accuracy", "certified_union",
        "certified_votes", "epsilon_model")

    models: int = 100
    noise: float = 0.5
    space: str = "inputs"
    confidence: float = 0.999
    noise_multiplier: float = 0.0
    max_grad_norm: float | None = None
    delta: float = 1e-5
    twin: bool = False

    def __post_init__(self) -> None:
        multiplier = f"noise_multiplier {self.noise_multiplier}"
        checks = (
            (self.models >= 1, f"models {self.models}", "1 or more"),
            (0 < self.noise < math.inf, f"noise {self.noise}", "above 0"),
            (self.space in ("inputs", "pixels"), f"space {self.space!r}", "inputs or pixels"),
            (0 < self.confidence < 1, f"confidence {self.confidence}", "between 0 and 1"),
            (self.noise_multiplier >= 0, multiplier, "0 or more"),
            (not self.noise_multiplier > 0 or self.max_grad_norm is not None, multiplier,
             "0 without max_grad_norm"),
            (self.max_grad_norm is None or self.max_grad_norm > 0,
             f"max_grad_norm {self.max_grad_norm}", "above 0, or null for no clipping"),
            (0 < self.delta < 1, f"delta {self.delta}", "between 0 and 1"))
        for right, value, expected in checks:
            if not right:
                raise ValueError(f"defence smoothing: {value}: expected {expected}")

    @property
    def on_pixels(self) -> bool:
        """Whether the defence takes images and computes features itself."""
        return self.space == "pixels"

    def group(self, run: "Run") -> tuple:
        """One run is many trainings already: only clean twins of several attacks share a group."""
        attack = ("clean",) if run.attack.in_world == "C" else (run.attack, run.attack_seed)
        return ("smoothing", self, attack, run.model, run.training, run.precision, run.init_seed,
                run.noise_seed)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group, one after the other."""
        return [self._train(run, data) for run, data in zip(runs, poisoned)]

    def _train(self, run: "Run", data: Poisoned) -> Trained:
        if run.training.checkpoints:
            raise ValueError(
                f"defence smoothing: training checkpoints {run.training.checkpoints}: expected 0;"
                " the path of an ensemble is not recorded")
        own = Smoothed(self, run, data, "")
        before = unstamped(data)
        twin = Smoothed(self, run, before, "twin ") if self.twin else None
        distances = pattern_norms(data)

        def certify(tested: Examples) -> tuple[dict, list[dict]]:
            return self._certify(own, twin, distances, tested)
        guarantee, single = self.guarantee(run, members.records(run, data))
        return Trained(own.predict, guarantee,
                       facts={"epsilon_model": single, "poisons": len(distances)}, certify=certify)

    def member(self, run: "Run", rows: Tensor, labels: Tensor, prefix: str,
               number: int) -> training.Member:
        """Model `number`, with its own initial weights, batches and noise, independent of the data.
        """
        seed, noise = (generator(f"{prefix}model {number}", seed).initial_seed() % 2**31
                       for seed in (run.init_seed, run.noise_seed))
        member = training.Member(
            rows, labels, min(run.training.batch_size, len(rows)), run.training.lr, init_seed=seed,
            batch_seed=seed, noise_seed=noise, input_noise=self.noise, input_seed=noise)
        if self.max_grad_norm is None:
            return member
        return replace(member, clipping_norm=self.max_grad_norm,
                       noise=self.noise_multiplier * self.max_grad_norm)

    def guarantee(self, run: "Run", n: int) -> tuple[privacy.Guarantee, float | None]:
        """The guarantee of all models together, and the epsilon of a single one (None: no DP-SGD).

        Every model trains on every record, so the models compose.
        """
        if self.max_grad_norm is None or self.noise_multiplier == 0:
            return privacy.Guarantee.none(
                "smoothing noise on inputs is no differential privacy of the models"), None
        if run.training.sampling != "poisson":
            raise ValueError(
                f"defence smoothing: sampling {run.training.sampling!r}: expected 'poisson' with"
                " noise_multiplier above 0")
        mixed = mixing_a_batch(run.training.transforms)
        if mixed:
            note = f"transform {', '.join(mixed)} mixes private records"
            return privacy.Guarantee.none(note), None
        rate, steps = run.training.batch_size / n, run.training.steps(n)
        single, together = (privacy.dpsgd_epsilon(self.noise_multiplier, rate, count, self.delta)
                            for count in (steps, steps * self.models))
        return privacy.Guarantee(
            epsilon=together, delta=self.delta, adjacency="add-remove", sampler="poisson",
            accountant="pld", noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.max_grad_norm, sample_rate=rate, steps=steps * self.models,
            note=f"{self.models} models, each trained on every record"), single

    def _certify(self, own: "Smoothed", twin: "Smoothed | None", distances: Tensor,
                 tested: Examples) -> tuple[dict, list[dict]]:
        budget = distances.square().sum().sqrt().item()
        pairs = {rule: (own.certified(tested.clean, rule), own.certified(tested.stamped, rule))
                 for rule in ("nominal", "union", "votes")}
        facts = certificates.facts(*pairs["nominal"], tested, budget=budget,
                                   ceiling=ceiling(self.models, self.noise, self.confidence))
        facts |= certificates.quartiles(own.answers(tested.clean)[1],
                                        own.answers(tested.stamped)[1], tested)
        if twin is not None:
            others = (twin.certified(tested.clean, "votes"),
                      twin.certified(tested.stamped, "votes"))
            facts |= certificates.flips(pairs["nominal"], others, tested, budget=budget)
        labels = tested.labels.numpy()
        for name in ("union", "votes"):
            facts[f"certified_{name}"] = float(
                ((pairs[name][0].prediction == labels) & pairs[name][0].something()).mean())
        facts |= {"votes_accuracy": float((pairs["votes"][0].prediction == labels).mean()),
                  "each": distances.square().mean().sqrt().item() if len(distances) else None,
                  "each_max": distances.max().item() if len(distances) else None}
        radii = sorted({*RADII, *(round(self.noise * tenth / 10, 6) for tenth in range(31))})
        return facts, [line for rule, pair in pairs.items()
                       for line in certificates.curves(*pair, tested, rule=rule, radii=radii)]


class Smoothed:
    """The trained models of one run, and their predictions."""

    def __init__(self, defence: Smoothing, run: "Run", data: Poisoned, prefix: str) -> None:
        self.defence, self.classes, self.encode = defence, data.classes, data.encode
        pool = data.pool()
        n = members.records(run, data)
        numbered = [replace(defence.member(run, data.rows, data.labels, prefix, number), records=n)
                    for number in range(defence.models)]
        schedule = run.training.plan(n, run.precision)
        self.precision = run.precision

        def fit(pool: Tensor, some: list[training.Member]) -> training.Ensemble:
            return training.fit(
                lambda: models.build(run.model, tuple(pool.shape[1:]), data.classes), pool, some,
                schedule)

        self.group = fit(pool, numbered) if self.encode is None else _one_by_one(
            fit, pool, numbered, self.encode)
        self.known: list[tuple] = []

    def predict(self, inputs: Tensor) -> Tensor:
        """Logarithm of the mean probabilities [n, classes]."""
        return self.answers(inputs)[0].clamp_min(1e-12).log().float()

    def answers(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean probabilities float64 [n, classes], and the class that each model predicts, uint8
        [models, n]; computed once per tensor of inputs.
        """
        for reference, answers in self.known:
            if reference() is inputs:
                return answers
        mean = torch.zeros(len(inputs), self.classes, dtype=torch.float64)
        given = torch.empty(self.defence.models, len(inputs), dtype=torch.uint8)

        def ask(number):
            return torch.softmax(self._logits(inputs, number), 1)
        with training.products(self.precision):
            probabilities = training.spread(ask, range(self.defence.models),
                                            device=self.group.parameters.device)
            for number, chances in enumerate(probabilities):
                mean += chances
                given[number] = chances.argmax(1)
        answers = mean / self.defence.models, given
        self.known.append((weakref.ref(inputs), answers))
        return answers

    def _logits(self, inputs: Tensor, number: int) -> Tensor:
        offset = self.test_noise(number, inputs.shape[1:], inputs.device)
        if self.encode is None:
            return self.group.predict(inputs, model=number, offset=offset)
        return self.group.predict(self.encode(255 * (training.as_input(inputs) + offset)),
                                  model=number)

    def test_noise(self, number: int, shape: Sequence[int], device: torch.device) -> Tensor:
        """The noise that model `number` adds to every test input.

        The hash of the model's parameters seeds it, so that it is a part of the model.
        """
        digest = hashlib.sha256(self.group.parameters[number].cpu().numpy().tobytes()).digest()
        random = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return (torch.randn(shape, generator=random) * self.defence.noise).to(device)

    def certified(self, inputs: Tensor, rule: str) -> Certified:
        """Predictions with their radii.

        rule: "nominal" (mean probabilities, Hoeffding as published), "union" (corrected for the
        choice among the classes), "votes" (majority of the models, Clopper-Pearson, corrected).
        """
        mean, given = self.answers(inputs)
        if rule == "votes":
            counts = np.stack([(given == name).sum(0).numpy() for name in range(self.classes)], 1)
            return Certified(counts.argmax(1),
                             vote_radius(counts, self.defence.noise, self.defence.confidence),
                             strict=True)
        top, runner_up = mean.topk(2, dim=1).values.T.numpy()
        correction = "none" if rule == "nominal" else "union"
        found = radius(top, runner_up, self.defence.models, self.defence.noise,
                       self.defence.confidence, correction=correction, classes=self.classes)
        return Certified(mean.argmax(1).numpy(), found, strict=True)


def _one_by_one(fit: Callable[[Tensor, list[training.Member]], training.Ensemble], pool: Tensor,
                numbered: list[training.Member], encode: Callable[[Tensor], Tensor]
                ) -> training.Ensemble:
    """Train models on the features of their noisy images, with one noisy copy in memory at a time.
    """
    trained = []
    for member in numbered:
        noisy = training.gather(pool, [member], len(member.rows))[0]
        features = encode(255 * noisy).to(pool.device)
        rows = torch.arange(len(member.rows), device=pool.device)
        trained.append(fit(features, [replace(member, rows=rows, input_noise=0.0)]))
    parameters = torch.cat([ensemble.parameters for ensemble in trained])
    return training.Ensemble(trained[0].module, parameters, {})


def unstamped(data: Poisoned) -> Poisoned:
    """The same training set and labels without the patterns (world L of the same attack)."""
    if len(data.rows) > len(data.clean):
        raise ValueError("defence smoothing: the attack appends records, which have no version "
                         "without a pattern: expected an attack that replaces records, or defence "
                         "partition")
    return replace(data, rows=torch.arange(len(data.rows), device=data.rows.device),
                   stamped=data.stamped[:0])


def pattern_norms(data: Poisoned) -> Tensor:
    """l2 distance of each stamped training input from the untouched one [stamped], in the unit of
    the inputs. Leaves out appended records, which replace none.
    """
    places = data.rows[: len(data.clean)]
    records = (places >= len(data.clean)).nonzero().flatten()
    before, after = data.clean[records], data.stamped[data.rows[records] - len(data.clean)]
    return (training.as_input(after) - training.as_input(before)).flatten(1).norm(dim=1).cpu()


def radius(mean_top: "ArrayLike", mean_runner_up: "ArrayLike", models: int, noise: float,
           confidence: float, *, correction: str = "none", classes: int = 10) -> np.ndarray:
    """l2 radius of RAB's certificate (Weber et al. 2021, corollary 1 and section 5): an array, 0 if
    nothing is certified.

    mean_top, mean_runner_up: largest and second largest mean probability of `models` models; arrays
    or numbers. noise: standard deviation sigma. Hoeffding's inequality shifts each by
    sqrt(ln(1 / alpha) / (2 models)), alpha = 1 - confidence; the radius is
    sigma / 2 (Phi^-1(p_top) - Phi^-1(p_runner_up)).

    correction: "none" as published, which uses one alpha for two bounds on classes chosen after
    looking at the data; "union" bounds all `classes` from both sides at once, with
    alpha / (2 classes). Raises ValueError for values out of range.
    """
    from scipy.special import ndtri
    top, runner_up = np.asarray(mean_top, dtype=float), np.asarray(mean_runner_up, dtype=float)
    shift = _shift(models, noise, confidence, correction, classes)
    if not ((runner_up >= 0) & (runner_up <= top) & (top <= 1 + 1e-9) &
            (top + runner_up <= 1 + 1e-6)).all():
        raise ValueError(
            f"mean_top {mean_top} and mean_runner_up {mean_runner_up}: expected probabilities of"
            " two classes, the larger one first")
    lower, upper = np.minimum(top, 1.0) - shift, runner_up + shift
    certified = lower > upper  # this implies 0 < upper and lower < 1, unless shift is 0
    found = noise / 2 * (ndtri(np.where(certified, lower, 0.5)) -
                         ndtri(np.where(certified, upper, 0.5)))
    return np.where(certified, found, 0.0)


def ceiling(models: int, noise: float, confidence: float, *, correction: str = "none",
            classes: int = 10) -> float:
    """The largest radius that `radius` can give, when all models are certain of one class."""
    return float(radius(1.0, 0.0, models, noise, confidence, correction=correction,
                        classes=classes))


def _shift(models: int, noise: float, confidence: float, correction: str, classes: int) -> float:
    checks = (
        (models >= 1, f"models {models}", "1 or more"),
        (0 <= noise < math.inf, f"noise {noise}", "0 or more"),
        (0 < confidence < 1, f"confidence {confidence}", "between 0 and 1"),
        (correction in CORRECTIONS, f"correction {correction!r}", " or ".join(CORRECTIONS)),
        (classes >= 2, f"classes {classes}", "2 or more"))
    for right, value, expected in checks:
        if not right:
            raise ValueError(f"{value}: expected {expected}")
    alpha = (1 - confidence) / (2 * classes if correction == "union" else 1)
    return math.sqrt(math.log(1 / alpha) / (2 * models))


def vote_radius(votes: "ArrayLike", noise: float, confidence: float) -> np.ndarray:
    """The radius from vote counts [n, classes], with Clopper-Pearson bounds on all classes at once.

    Each class gets alpha / classes, halved for its two sides. 0 if nothing is certified; ties are
    never certified.
    """
    from scipy.special import ndtri
    from scipy.stats import beta
    counts = np.asarray(votes)
    ordered, total = np.sort(counts, 1), counts.sum(1)
    tail, top, runner_up = (1 - confidence) / (2 * counts.shape[1]), ordered[:, -1], ordered[:, -2]
    lower = np.where(top > 0, beta.ppf(tail, np.maximum(top, 1), total - top + 1), 0.0)
    upper = np.where(runner_up < total,
                     beta.ppf(1 - tail, runner_up + 1, np.maximum(total - runner_up, 1)), 1.0)
    certified = lower > upper
    found = noise / 2 * (ndtri(np.where(certified, lower, 0.5)) -
                         ndtri(np.where(certified, upper, 0.5)))
    return np.where(certified, found, 0.0)


Defence = Smoothing
