"""The slab attack on linear classifiers (Steinhardt, Koh and Liang 2017, as Hong et al. use it,
section 6.2): a few points within outlier filters, each appended many times.

The attacker and a learner play against each other. The learner minimises the hinge loss of clean
and poison records together by dual averaging (Nesterov 2009; Xiao 2010), with the squared norm of
weights and bias at most `rho_squared`. At each iteration the attacker answers with the feasible
points that hurt the learner most (`lib.attacks.feasible`). The poison is the answer against which a
learner that trains on it does worst on clean data.

Choices, where the paper and the released code leave room:
- The radii of the filters are quantiles over all clean records of a class (the released code
  samples 1,000); their centres are the means of the poisoned set.
- Weights of the four points: each class's share on its first point, and `tries` random splits by
  Gamma draws; the split with the largest loss counts. `fraction` is their sum.
- Candidates are the answers of each third iteration up to 50, then of each tenth, and of the last.
  A learner trains on each of them by stochastic dual averaging with the same norm: `PASSES` over
  the clean records in batches of `BATCH`, with the poison at its expected number of copies in each
  batch, and the average of the last pass. The candidate with the largest hinge loss on clean
  records is kept. (The released code takes records and copies one by one, and the last weights.)
- Copies are drawn from the kept points by their weights.
- With `eta` and `iterations` as published, the learner of the game hardly comes near its bound, so
  that `rho_squared` decides mainly which candidate is kept.
- Where points must leave the span of the means and the classifier, they do so along random
  directions.

Three training worlds: P, T (the same points with the other label, which a clean classifier gives
them) and C (no points).
"""

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.attacks import Poisoned, appended, check_world, clean, feasible, share_of
from lib.attacks.feasible import CLASSES, SIGNS, Array, Filters
from lib.data import Labelled
from lib.goals.availability import Availability

if TYPE_CHECKING:
    from lib.lab import Lab

VERSION = 1
SWITCHES = {"P": (True, True), "T": (True, False), "C": (False, False)}
CLEAN = "clean"
RHOS = tuple(0.1 * 2.0**power for power in range(9))  # squared norms to choose from
PASSES, BATCH = 10, 25  # of a learner that trains on a candidate: objective within 0.001


@dataclass(frozen=True)
class Slab:
    """Append copies of at most four points, which pass a sphere and a slab filter.

    fraction: copies per training record, rounded down. rho_squared: bound on the learner's squared
    norm, or "clean" for the one in `RHOS` with the lowest hinge loss on a tenth of the clean
    records that the learner did not train on. quantile: the share of the clean records of each
    class that the filters keep. iterations, eta: number of updates and learning rate of the dual
    averaging. tries: random splits of the weights at each iteration. clip_pixels: move the points
    into [0, 1] and round them to grey levels, as Hong et al. do (clipping alone); otherwise pixels
    may leave [0, 1]. append, mislabel: the two switches of the worlds.
    """

    worlds: ClassVar[tuple[str, ...]] = tuple(SWITCHES)
    FACTS: ClassVar[tuple[str, ...]] = ("kinds", "largest_share", "duality_gap")

    fraction: float = 0.4
    rho_squared: float | str = 0.8
    quantile: float = 0.65
    iterations: int = 200
    eta: float = 0.005
    tries: int = 10
    clip_pixels: bool = True
    append: bool = field(default=True, kw_only=True)
    mislabel: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"attack fraction {self.fraction}: expected a share between 0 and 1")
        rho = self.rho_squared
        if rho != CLEAN and (isinstance(rho, str) or not rho > 0):
            raise ValueError(f"attack rho_squared {rho!r}: expected above 0, or {CLEAN!r}")
        if not 0 < self.quantile <= 1:
            raise ValueError(f"attack quantile {self.quantile}: expected above 0 and at most 1")
        if self.iterations < 1 or self.tries < 0 or not self.eta > 0:
            raise ValueError(f"attack iterations {self.iterations}, tries {self.tries}, eta "
                             f"{self.eta}: expected 1 or more, 0 or more, and above 0")

    @property
    def goal(self) -> Availability:
        """The goal: lower accuracy on all test images."""
        return Availability()

    @property
    def in_world(self) -> str:
        """P, T or C, according to the switches."""
        if not self.append or self.fraction == 0:
            return "C"
        return "P" if self.mislabel else "T"

    def world(self, name: str) -> Self:
        """The same attack with its switches set for the named world."""
        check_world(self, name)
        append, mislabel = SWITCHES[name]
        return replace(self, append=append, mislabel=mislabel)

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """Append the copies.

        Raises ValueError unless there are two classes and at least seven pixels, or if the fraction
        selects no record.
        """
        if self.in_world == "C":
            return clean(data.images, data.labels, len(data.classes))
        _check(data)
        count = share_of(self.fraction, len(data.labels))
        if count == 0:
            raise ValueError(f"attack fraction {self.fraction} selects no record out of "
                             f"{len(data.labels)}: raise the fraction or the training size")
        kept = self.prototypes(data, seed=seed, lab=lab)
        drawn = torch.from_numpy(_random(seed, 4).choice(len(kept["weights"]), count,
                                                         p=kept["weights"].numpy()))
        points = kept["points"].float().view(-1, *data.images.shape[1:])
        images = points.mul(255).round().clamp(0, 255).to(torch.uint8) if self.clip_pixels else (
            points)
        wrong = kept["labels"][drawn]
        found = appended(data, images[drawn], wrong if self.mislabel else 1 - wrong,
                         truth=1 - wrong)
        return replace(found, facts=_facts(images[drawn], wrong) | {
            "duality_gap": kept["gap"].item()})

    def prototypes(self, data: Labelled, *, seed: int, lab: "Lab") -> dict[str, Tensor]:
        """The points [k, pixels], their labels and weights (sum 1), and the largest relative
        duality gap; from the cache if they were made before."""
        settings = {name: getattr(self, name) for name in (
            "fraction", "rho_squared", "quantile", "iterations", "eta", "tries")}
        return lab.cached(settings | {"slab": "prototypes", "seed": seed},
                          lambda: _prototypes(self, data, seed=seed))


def _check(data: Labelled) -> None:
    """Raise ValueError for data that the attack cannot be made for."""
    pixels = data.images[0].numel()
    if len(data.classes) != 2:
        raise ValueError(f"attack slab: {len(data.classes)} classes: expected 2; name two, as in "
                         "fashion-mnist:3-4")
    if pixels < feasible.SIZE:
        raise ValueError(f"attack slab: inputs of {pixels} numbers: expected {feasible.SIZE} or "
                         "more")
    if data.labels.bincount(minlength=2).min() == 0:
        raise ValueError("attack slab: a class without a training record: expected records of both")


def _facts(images: Tensor, labels: Tensor) -> dict[str, float]:
    """Number of distinct poisons, and the share of the most frequent one."""
    both = torch.hstack([images.flatten(1).float(), labels[:, None]])
    counts = both.unique(dim=0, return_counts=True)[1]
    return {"kinds": float(len(counts)), "largest_share": counts.max().item() / len(labels)}


# ---------------------------------------------------------------- the game

@dataclass(frozen=True, eq=False)
class Candidate:
    """The attacker's answer at one iteration: four points [4, d], copies of each per clean record
    [4], and the largest relative duality gap so far."""

    points: Array
    weights: Array
    gap: float

    @functools.cached_property
    def signed(self) -> Array:
        """The points with a 1 for the bias, times their signs [4, d + 1]."""
        return SIGNS[CLASSES][:, None] * np.hstack([self.points, np.ones((len(self.points), 1))])


def _prototypes(attack: Slab, data: Labelled, *, seed: int) -> dict[str, Tensor]:
    inputs = data.images.flatten(1).double().numpy() / 255
    labels = data.labels.numpy()
    records = Records(inputs, labels)
    rho_squared = (norm(records, attack, seed=seed) if isinstance(attack.rho_squared, str)
                   else attack.rho_squared)
    played = candidates(attack, records, rho_squared, seed=seed)
    bounds = np.full(len(played), rho_squared)
    learners = records.learn(bounds, attack.eta / (1 + attack.fraction), seed=seed, poisons=played)
    chosen = played[int(records.losses(learners).argmax())]
    kept = chosen.weights > 0
    return {"points": torch.from_numpy(chosen.points[kept]),
            "weights": torch.from_numpy(chosen.weights[kept] / chosen.weights.sum()),
            "labels": torch.from_numpy(CLASSES[kept]),
            "gap": torch.tensor([max(candidate.gap for candidate in played)])}


def candidates(attack: Slab, records: "Records", rho_squared: float, *, seed: int
               ) -> list[Candidate]:
    """Play the game, and return the attacker's answers at some of the iterations."""
    given = feasible.filters(records.inputs, records.labels, attack.quantile)
    random, learner = _random(seed, 3), Learner(records.width, 1, attack.eta)
    n = len(records.labels)
    learner.step(records.descent(learner.weights, []) / n, rho_squared)
    found, gap = [], 0.0
    for number in range(1, attack.iterations + 1):
        answer = _answer(attack, given, learner.weights[:, 0], random)
        gap = max(gap, answer.gap)
        learner.step(records.descent(learner.weights, [answer]) / n, rho_squared)
        if number % (3 if number < 50 else 10) == 0 or number == attack.iterations:
            found.append(replace(answer, gap=gap))
    return found


def _answer(attack: Slab, given: Filters, weights: Array, random: np.random.RandomState
            ) -> Candidate:
    """The points and their weights with the largest loss under a classifier [d + 1]."""
    theta, bias = weights[:-1], float(weights[-1])
    spare, shares, found = feasible.directions(given, random, theta), given.shares[CLASSES], []
    for number in range(1 + attack.tries):
        split = random.gamma(shares) if number else shares * [1, 0, 1, 0]
        copies = attack.fraction * split / split.sum()
        found.append((copies, feasible.worst(given, theta, bias, copies, spare)))
    copies, best = max(found, key=lambda pair: pair[1].loss)
    return Candidate(best.points, copies, max(worst.gap for _, worst in found))


class Learner:
    """Linear classifiers with a bounded norm that learn by dual averaging.

    weights: [d + 1, models], the bias last. total: the sum of the negative gradients.
    """

    def __init__(self, width: int, models: int, eta: float) -> None:
        self.total = np.zeros((width, models))
        self.weights = np.zeros((width, models))
        self.divisor = np.full(models, 1 / eta)

    def step(self, direction: Array, rho_squared: float | Array) -> None:
        """Move along `direction`, minus a gradient; rho_squared: one for all, or one each."""
        self.total += direction
        length = np.linalg.norm(self.total, axis=0) / np.sqrt(rho_squared)
        self.divisor = np.maximum(self.divisor, length)
        self.weights = self.total / self.divisor


class Records:
    """The clean records, as linear classifiers see them.

    inputs: [n, d]. labels: 0 or 1 [n]. width: d + 1, with the bias.
    """

    def __init__(self, inputs: Array, labels: NDArray[np.int64]) -> None:
        self.inputs, self.labels = inputs, labels
        signed = SIGNS[labels][:, None] * np.hstack([inputs, np.ones((len(inputs), 1))])
        self.signed = signed.astype(np.float32)  # half the time of the products
        self.width = signed.shape[1]

    def losses(self, weights: Array) -> Array:
        """Mean hinge loss of each classifier on the clean records [models]."""
        return np.maximum(1 - self.signed @ weights, np.zeros(1)).mean(axis=0)

    def descent(self, weights: Array, poisons: list[Candidate],
                chosen: NDArray[np.int64] | slice = slice(None)) -> Array:
        """Minus the gradients of the summed hinge loss of these clean records and of each
        classifier's poison, in proportion [d + 1, models]."""
        rows = self.signed[chosen]
        inside = rows @ weights.astype(np.float32) < 1
        found = (rows.T @ inside.astype(np.float32)).astype(np.float64)
        for number, poison in enumerate(poisons):
            active = poison.signed @ weights[:, number] < 1
            found[:, number] += len(rows) * (poison.signed.T @ (poison.weights * active))
        return found

    def learn(self, rho_squared: Array, eta: float, *, seed: int,
              poisons: list[Candidate] | None = None) -> Array:
        """Train a classifier on the clean records for each bound, and on its poison if there is
        any: the averaged weights of the last pass [d + 1, models]."""
        learner, random = Learner(self.width, len(rho_squared), eta), _random(seed, 5)
        mean = learner.weights
        for _ in range(PASSES):
            mean, order = np.zeros_like(learner.weights), random.permutation(len(self.labels))
            starts = range(0, len(order), BATCH)
            for first in starts:
                chosen = order[first : first + BATCH]
                learner.step(self.descent(learner.weights, poisons or [], chosen), rho_squared)
                mean += learner.weights / len(starts)
        return mean


def _random(seed: int, stream: int) -> np.random.RandomState:
    return np.random.RandomState([seed, stream])


def norm(records: Records, attack: Slab, *, seed: int) -> float:
    """The squared norm of the clean solution: the bound in `RHOS` whose classifier has the lowest
    hinge loss on the last tenth of the records, which it does not train on."""
    cut = len(records.labels) - max(1, len(records.labels) // 10)
    own = Records(records.inputs[:cut], records.labels[:cut])
    held = Records(records.inputs[cut:], records.labels[cut:])
    learners = own.learn(np.array(RHOS), attack.eta, seed=seed)
    return RHOS[int(held.losses(learners).argmin())]


Attack = Slab
