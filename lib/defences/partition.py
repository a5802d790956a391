"""Deep Partition Aggregation (Levine and Feizi 2021, theorem 1): models trained on disjoint parts
of the data vote, so that a few samples cannot change the outcome.

This is not differential privacy: the certificate is exact and holds for a single image, against any
samples that are inserted or deleted. It is void if anything else was fitted on the parts' data, so
a feature extractor must come from images outside all parts.
"""

import hashlib
import math
import weakref
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, overload

import numpy as np
import torch
from torch import Tensor

from lib import models, training
from lib.attacks import Poisoned
from lib.defences import Trained, certificates, smoothing
from lib.defences.certificates import Certified, Examples
from lib.privacy import Guarantee
from lib.privacy.pate import vote_counts
from lib.training import generator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lib.study.runs import Run

VERSION = 1


@dataclass(frozen=True)
class Partition:
    """Train one model per part; the prediction is their plurality vote, ties to the lower class.

    partitions: k. by: "content" takes the hash of the image modulo k as its part, so that no sample
    affects another's part (an image changed in place may touch two parts, its old and its new one);
    "index" cuts contiguous blocks by place, as for PATE's teachers, and covers only samples changed
    in place. twin: also train on the same images before the attack, and count the predictions that
    differ; there can be none among the certified ones.

    models, noise: each part's vote comes from `models` models on noisy copies of the part (RAB
    inside DPA). To change the vote of a part, patterns must then exceed its radius, which takes
    several images (`images_withstood`). The comparison is with the same labels without the patterns
    (world L), with probability `confidence` over the noise. Only by index, because a hash of the
    content would move every changed image to another part.
    """

    needs_pixels: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = (
        *certificates.FACTS, "poisons", "touched", "size_min", "size_max")

    partitions: int = 250
    by: str = "content"
    twin: bool = False
    models: int = 1
    noise: float = 0.0
    confidence: float = 0.999

    def __post_init__(self) -> None:
        if self.partitions < 1:
            raise ValueError(f"defence partition: partitions {self.partitions}: expected 1 or more")
        if self.by not in ("content", "index"):
            raise ValueError(f"defence partition: by {self.by!r}: expected content or index")
        if self.models < 1 or not 0 <= self.noise < math.inf or not 0 < self.confidence < 1:
            raise ValueError(
                f"defence partition: models {self.models}, noise {self.noise}, confidence"
                f" {self.confidence}: expected 1 or more models, a noise of 0 or more, and a"
                " confidence between 0 and 1")
        if (self.models > 1) != (self.noise > 0) or (self.noise > 0 and self.by != "index"):
            raise ValueError(
                f"defence partition: models {self.models}, noise {self.noise}, by {self.by!r}:"
                " expected one model and noise 0, or several models, noise above 0 and by index")

    def group(self, run: "Run") -> tuple:
        """One run is many trainings already: only clean twins of several attacks share a group."""
        attack = ("clean",) if run.attack.in_world == "C" else (run.attack, run.attack_seed)
        return ("partition", self, attack, run.model, run.training, run.precision, run.init_seed)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group, one after the other."""
        return [self._train(run, data) for run, data in zip(runs, poisoned)]

    def _train(self, run: "Run", data: Poisoned) -> Trained:
        if run.training.checkpoints or run.training.sampling != "shuffle":
            raise ValueError(
                f"defence partition: training checkpoints {run.training.checkpoints}, sampling"
                f" {run.training.sampling!r}: expected 0 and shuffle")
        if self.by == "index" and len(data.rows) > len(data.clean):
            raise ValueError("defence partition: by 'index' with an attack that appends records, "
                             "which would shift later records to other parts: expected by "
                             "'content'")
        before = untouched(data)
        parts, clean_parts = self.assign(data), self.assign(before)
        own = Voters(self, run, data, parts)
        twin = Voters(self, run, before, clean_parts) if self.twin else None
        distances, sizes = smoothing.pattern_norms(data), [len(part) for part in parts]
        facts = {"poisons": int(data.mask.sum()),
                 "touched": touched(data, parts, before, clean_parts),
                 "size_min": min(sizes), "size_max": max(sizes)}

        def certify(tested: Examples) -> tuple[dict, list[dict]]:
            facts, lines = self._certify(own, twin, self.spent(data, before), tested)
            if self.noise and len(distances):
                lines = lines + self._together(own, distances.max().item(), tested)
            return facts, lines
        guarantee = Guarantee.none("votes without noise; the vote gap certifies in its place")
        return Trained(own.predict, guarantee, facts=facts, certify=certify)

    def assign(self, data: Poisoned) -> list[Tensor]:
        """The records of each part, int64 places among the run's records.

        With by "content", sorted by content within a part.
        """
        n = len(data.rows)
        if self.by == "index":
            if self.partitions > n:
                raise ValueError(f"defence partition: partitions {self.partitions}: expected at "
                                 f"most the {n} private images")
            return list(torch.arange(n).tensor_split(self.partitions))
        samples = contents(data)
        parts: list[list[int]] = [[] for _ in range(self.partitions)]
        for place in sorted(range(n), key=samples.__getitem__):
            parts[samples[place][0] % self.partitions].append(place)
        return [torch.tensor(part, dtype=torch.int64) for part in parts]

    def member(self, run: "Run", data: Poisoned, records: Tensor, number: int,
               copy: int) -> training.Member:
        """Model `copy` of part `number`; its random draws depend only on these two numbers and the
        run's seed, as in the released code."""
        stream = f"part {number}" + (f" copy {copy}" if copy else "")
        seed = generator(stream, run.init_seed).initial_seed() % 2**31
        return training.Member(
            data.rows[records], data.labels[records], min(run.training.batch_size, len(records)),
            run.training.lr, init_seed=seed, batch_seed=seed,
            steps=run.training.steps(len(records)), input_noise=self.noise, input_seed=seed)

    def spent(self, data: Poisoned, before: Poisoned) -> int:
        """The attack's size in the unit of the certificate: samples inserted plus deleted, or (by
        index) changed in place."""
        old, new = contents(before), contents(data)
        if self.by == "index":
            return sum(sample != other for sample, other in zip(old, new))
        return sum(((Counter(new) - Counter(old)) + (Counter(old) - Counter(new))).values())

    def _certify(self, own: "Voters", twin: "Voters | None", budget: int,
                 tested: Examples) -> tuple[dict, list[dict]]:
        pair = own.certified(tested.clean), own.certified(tested.stamped)
        ceiling = self.partitions // 2
        facts = certificates.facts(*pair, tested, budget=budget, ceiling=ceiling)
        facts |= certificates.quartiles(own.answers(tested.clean), own.answers(tested.stamped),
                                        tested)
        if twin is not None:
            facts |= certificates.flips(
                pair, (twin.certified(tested.clean), twin.certified(tested.stamped)), tested,
                budget=budget)
        return facts, certificates.curves(*pair, tested, rule="votes", radii=range(ceiling + 2))

    def _together(self, own: "Voters", each: float, tested: Examples) -> list[dict]:
        """Certified shares against a number of images with patterns of norm at most `each`, at
        unchanged labels."""
        def withstood(inputs: Tensor) -> Certified:
            images = images_withstood(own.answers(inputs), own.radii(inputs), each, own.classes)
            return Certified(own.certified(inputs).prediction, images, strict=False)
        pair = withstood(tested.clean), withstood(tested.stamped)
        most = int(max(certified.radius.max() for certified in pair))
        return certificates.curves(*pair, tested, rule="together", radii=range(most + 2))


class Voters:
    """The models of all parts of one run, or of the parts in `only`.

    An empty part always votes for class 0.
    """

    def __init__(self, defence: Partition, run: "Run", data: Poisoned, parts: list[Tensor],
                 only: list[int] | None = None) -> None:
        self.defence, self.classes = defence, data.classes
        self.count, self.precision = len(parts), run.precision
        pool = data.pool()
        chosen = range(len(parts)) if only is None else only
        self.numbers = [number for number in chosen if len(parts[number])]
        numbered = [defence.member(run, data, parts[number].to(data.rows.device), number, copy)
                    for number in self.numbers for copy in range(defence.models)]
        # Exact: the bits of a model must not depend on the contents of other parts.
        largest = max(len(member.rows) for member in numbered)
        schedule = replace(run.training.plan(largest, run.precision), exact=True)
        self.group = training.fit(
            lambda: models.build(run.model, tuple(pool.shape[1:]), data.classes), pool, numbered,
            schedule)
        self.known: list[tuple] = []

    def predict(self, inputs: Tensor) -> Tensor:
        """Logarithm of the shares of votes [n, classes], with half a vote added to each class."""
        return ((self.votes(inputs) + 0.5) / (self.count + 0.5 * self.classes)).log().float()

    def votes(self, inputs: Tensor) -> Tensor:
        """Counts int64 [n, classes]."""
        given = self.answers(inputs)
        return torch.stack([(given == name).sum(0) for name in range(self.classes)], 1)

    def answers(self, inputs: Tensor) -> Tensor:
        """The class that each part votes for, uint8 [partitions, n]."""
        return self._asked(inputs)[0]

    def radii(self, inputs: Tensor) -> np.ndarray:
        """The norm of patterns in a part below which its vote cannot change, float [partitions, n].

        The bounds hold for all parts and classes at once.
        """
        top, runner_up = self._asked(inputs)[1].double().numpy()
        defence, bounds = self.defence, self.count * self.classes
        return smoothing.radius(top, runner_up, defence.models, defence.noise, defence.confidence,
                                correction="union", classes=bounds)

    def _asked(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Answers, and the two largest mean probabilities [2, partitions, n]; computed once."""
        for reference, asked in self.known:
            if reference() is inputs:
                return asked
        given = torch.zeros(self.count, len(inputs), dtype=torch.uint8)
        chances = torch.zeros(2, self.count, len(inputs))
        chances[0] = 1  # an empty part gives class 0 probability 1
        copies = self.defence.models

        def ask(place):
            return sum(torch.softmax(self.group.predict(inputs, model=model).double(), 1)
                       for model in range(place * copies, (place + 1) * copies)) / copies
        with training.products(self.precision):
            means = training.spread(ask, range(len(self.numbers)),
                                    device=self.group.parameters.device, alone=True)
            for number, mean in zip(self.numbers, means):
                given[number] = mean.argmax(1)
                chances[:, number] = mean.topk(2, 1).values.T.float()
        asked = given, chances
        self.known.append((weakref.ref(inputs), asked))
        return asked

    def certified(self, inputs: Tensor) -> Certified:
        """Predictions with the largest number of samples that cannot change them."""
        return Certified(*certificate(self.votes(inputs).numpy()), strict=False)


def untouched(data: Poisoned) -> Poisoned:
    """The training set before the attack, with its true labels (training world C)."""
    n = data.records("nominal")  # without appended records
    return replace(data, rows=torch.arange(n, device=data.rows.device), labels=data.truth[:n],
                   stamped=data.stamped[:0], mask=torch.zeros_like(data.mask[:n]),
                   truth=data.truth[:n], pixels=data.pixels and untouched(data.pixels))


def contents(data: Poisoned) -> list[tuple[int, int]]:
    """(hash of the image's bytes, label) of each record.

    Only the hash determines the part, so a changed label moves no record.
    """
    pixels = data.given_pixels()
    # One list, not one tensor: the bytes of clean images must not depend on the type of the others.
    images = [*pixels.clean.numpy(), *pixels.stamped.numpy()]
    hashes = [int.from_bytes(hashlib.sha256(images[row].tobytes()).digest()[:8], "big")
              for row in pixels.rows.tolist()]
    return list(zip(hashes, pixels.labels.tolist()))


def touched(data: Poisoned, parts: list[Tensor], before: Poisoned,
            clean_parts: list[Tensor]) -> int:
    """The number of parts whose samples differ from those before the attack."""
    new, old = contents(data), contents(before)
    return sum(sorted(new[place] for place in part.tolist())
               != sorted(old[place] for place in other.tolist())
               for part, other in zip(parts, clean_parts))


@overload
def certificate(votes: Tensor) -> tuple[Tensor, Tensor]: ...


@overload
def certificate(votes: "ArrayLike") -> tuple[np.ndarray, np.ndarray]: ...


def certificate(votes: "Tensor | ArrayLike"
                ) -> tuple[Tensor, Tensor] | tuple[np.ndarray, np.ndarray]:
    """Return (prediction [samples], radius [samples]): the plurality vote, and the number of
    changed votes that it withstands.

    votes: counts [samples, classes]; ties go to the lower class. A changed vote moves from any
    class to any other. The radius is the largest number of changed votes that cannot change the
    prediction: with n_c votes for the prediction c, the smallest floor((n_c - n_c' - [c' < c]) / 2)
    over the other classes c'; with a single class, all votes.

    Under a partition by a hash of the sample, the radius is the number of training samples inserted
    plus deleted (an image changed in place: 2). Under a partition by index it is the number of
    samples changed in place; an inserted sample would shift all later ones, which no radius covers.
    The models must be deterministic: equal parts give equal votes.

    Returns numpy for numpy and torch for torch (int64, on the same device). Raises ValueError for
    counts that are not whole and non-negative.
    """
    counts = vote_counts(votes, rows="samples").astype(np.int64)
    prediction = counts.argmax(axis=1)  # the first of equal counts
    lower = np.arange(counts.shape[1]) < prediction[:, None]
    gaps = counts.max(axis=1, keepdims=True) - counts - lower
    # Exclude the prediction itself; no radius is larger than the number of votes.
    np.put_along_axis(gaps, prediction[:, None], 2 * counts.sum(axis=1, keepdims=True), axis=1)
    radius = gaps.min(axis=1) // 2
    if isinstance(votes, torch.Tensor):
        return (torch.from_numpy(prediction).to(votes.device),
                torch.from_numpy(radius).to(votes.device))
    return prediction, radius


def images_withstood(answers: "Tensor | ArrayLike", radii: "ArrayLike", each: float, classes: int
                     ) -> np.ndarray:
    """The number of training images with patterns of norm at most `each` that cannot change the
    plurality, int [n].

    answers: classes [partitions, n]. radii: [partitions, n], the norm of all patterns in a part
    that its answer withstands. The patterns of m images in one part have a norm of at most
    sqrt(m) `each`, so changing a part takes at least max(1, ceil((radius / each)^2)) images. A part
    that moves from the winner to a rival closes the gap by 2, any other part by 1. The result is
    the cheapest change over all rivals and splits, less one image.
    """
    answers = np.asarray(answers).astype(np.int64)
    costs = np.maximum(1, np.ceil((np.asarray(radii) / each) ** 2 - 1e-9)).astype(np.int64)
    counts = np.stack([(answers == name).sum(0) for name in range(classes)], 1)
    return np.array([_cheapest(*image, classes) - 1 for image in zip(answers.T, costs.T, counts)])


def _cheapest(answers: np.ndarray, costs: np.ndarray, counts: np.ndarray, classes: int) -> int:
    """The smallest number of images that can change the plurality for one test image."""
    winner = int(counts.argmax())
    own = np.concatenate([[0], np.cumsum(np.sort(costs[answers == winner]))])
    best = int(costs.sum())  # with a single class: at most all parts can be changed
    for rival in range(classes):
        if rival == winner:
            continue
        needed = int(counts[winner] - counts[rival] - (rival < winner)) + 1
        remaining = costs[(answers != winner) & (answers != rival)]
        others = np.concatenate([[0], np.cumsum(np.sort(remaining))])
        taken = np.arange(len(own))
        rest = np.maximum(0, needed - 2 * taken)
        possible = rest < len(others)
        best = min(best, int((own[possible] + others[rest[possible]]).min()))
    return best


Defence = Partition
