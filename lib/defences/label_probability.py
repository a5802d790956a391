"""A filter by a small trusted set (Turner's thesis, sections 3.1 and 7.3): a network trained on a
few images that the defender trusts ranks the training set by the probability that it gives each
record's *label*, and the least likely records are inspected.

The thesis trains on 1,024 clean images and inspects 300 of 50,000 records. It does not say whether
the 1,024 are among the 50,000. Here they are the run's public images, which no attack reaches: the
defender then needs no knowledge of which records are poison, and the network does not rank images
that it was trained on. A person would inspect the least likely records; here the victim trains
without them, so that clean ones among them are lost too.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lib import models, parts, training
from lib.attacks import Poisoned, share_of
from lib.defences import Trained, filtering, own
from lib.training import Member, Training
from lib.training.transforms import mixes_public

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1
DETECTOR = Training("sgd", 0.05, nesterov=True, weight_decay=5e-4, epochs=30.0, batch_size=64,
                    sampling="shuffle", schedule="one-cycle")
DECADES, PER_DECADE = 8, 4  # of the histogram: bins of log10 of the probability, from -8 to 0
LEAST = 20  # records that a row names, the least likely first (figure A.1)


@dataclass(frozen=True)
class LabelProbability:
    """Drop the records whose labels are the least likely under a network of the public images.

    share: of the training set to inspect, rounded down; 0.006 is 300 of 50,000. inspected: a number
    of records in its place; 0 ranks and drops nothing. model: of the detector, by default the
    run's. training: of the detector, from scratch; without augmentation by default.
    """

    takes_start: ClassVar[bool] = True
    needs_trusted: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = (
        *filtering.FACTS, "records", "found", "expected", "enrichment", "auc", "detector_accuracy")

    share: float = 0.006
    inspected: int | None = None
    model: str | None = None
    training: Training = DETECTOR

    def __post_init__(self) -> None:
        mixed = ", ".join(mixes_public(self.training.transforms))
        checks = ((0 < self.share <= 1, f"share {self.share}", "above 0 and at most 1"),
                  (self.inspected is None or self.inspected >= 0, f"inspected {self.inspected}",
                   "0 or more, or null to use share"),
                  (not mixed, f"transform {mixed} in training",
                   "one that mixes no further public images: all of them train the detector"))
        for right, value, expected in checks:
            if not right:
                raise ValueError(f"defence label_probability: {value}: expected {expected}")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: the number of inspected records may differ."""
        return (*filtering.group("label_probability", run), self._network(run),
                replace(self.training, lr=1.0))

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        ranks = self._ranks(runs, poisoned)
        dropped = [own(run, LabelProbability).least_likely(data, logs)
                   for run, data, (_, logs) in zip(runs, poisoned, ranks, strict=True)]
        found = filtering.retrained(runs, poisoned, dropped)
        return [replace(one, facts={**one.facts, **facts(data, drop, right, logs)},
                        ranked=ranked(data, logs))
                for one, data, drop, (right, logs) in zip(found, poisoned, dropped, ranks,
                                                          strict=True)]

    def least_likely(self, data: Poisoned, logs: Tensor) -> Tensor:
        """The records to drop, bool [records], by the logarithms [records] of their labels'
        probabilities; of equal ones the earlier."""
        n = len(data.labels)
        count = share_of(self.share, n) if self.inspected is None else self.inspected
        if count > n or (self.inspected is None and not count):
            raise ValueError(f"defence label_probability: share {self.share}, inspected "
                             f"{self.inspected}: {count} of {n} records: expected 1 to {n}")
        found = torch.zeros(n, dtype=torch.bool)
        found[logs.argsort(stable=True)[:count]] = True
        found = found.to(data.labels.device)
        filtering.check_classes_left("label_probability", data, found)
        return found

    def _network(self, run: "Run") -> str:
        return self.model or run.model

    def _ranks(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[tuple[Tensor, Tensor]]:
        """Of each run's records: whether the detector's answer is the label, bool [records], and
        the natural logarithm of the label's probability, float64 [records]; on the CPU.

        Runs with one noise seed share their detector, in every world.
        """
        inputs, labels = poisoned[0].given_trusted()
        n, classes, shape = len(labels), poisoned[0].classes, tuple(inputs.shape[1:])
        detectors = training.fit(lambda: models.build(self._network(runs[0]), shape, classes),
                                 inputs, [_detector(run, labels) for run in runs],
                                 self.training.plan(n, runs[0].precision))
        return [_answers(detectors.predict(data.images(), model=model), data.labels.cpu())
                for model, data in enumerate(poisoned)]


def _detector(run: "Run", labels: Tensor) -> Member:
    """The detector of a run as a member of their training, with seeds that no victim uses."""
    settings, seed = own(run, LabelProbability).training, detector_seed(run.noise_seed)
    rows = torch.arange(len(labels), device=labels.device)
    return Member(rows, labels, min(settings.batch_size, len(rows)), settings.lr, init_seed=seed,
                  batch_seed=seed)


def detector_seed(noise_seed: int) -> int:
    """The seed of the detector's weights and batches, which no victim uses."""
    return int(parts.digest(["detector", noise_seed])[:7], 16)


def _answers(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logs = torch.log_softmax(logits.cpu().double(), 1).gather(1, labels[:, None])[:, 0]
    if not logs.isfinite().all():
        raise ValueError("defence label_probability: the detector's outputs are not finite: "
                         "expected a training that converges; lower training.lr")
    return logits.argmax(1).cpu() == labels, logs


def facts(data: Poisoned, dropped: Tensor, right: Tensor, logs: Tensor) -> dict[str, float | None]:
    """How far the inspected records are poison, beyond `filtering.facts`.

    records: of the training set. found: poisons among the inspected ones. expected: the same of as
    many records drawn at random (chance). enrichment: found / expected. auc: the chance that a
    poison's label is less likely than another record's. detector_accuracy: the share of the other
    records whose label the detector gives.
    """
    poison, n = data.mask.cpu(), len(data.labels)
    found, poisons = int((dropped.cpu() & poison).sum()), int(poison.sum())
    expected = int(dropped.sum()) * poisons / n
    return {"records": n, "found": found, "expected": expected,
            "enrichment": found / expected if expected else None, "auc": _auc(logs, poison),
            "detector_accuracy": right[~poison].double().mean().item() if poisons < n else None}


def _auc(logs: Tensor, poison: Tensor) -> float | None:
    """The chance that a poison is below another record, ties counted half."""
    below, others = logs[poison], logs[~poison].sort().values
    if not len(below) or not len(others):
        return None
    upper = len(others) - torch.searchsorted(others, below, right=True)
    ties = len(others) - torch.searchsorted(others, below) - upper
    return ((upper + ties / 2).double().mean() / len(others)).item()


def ranked(data: Poisoned, logs: Tensor) -> dict[str, Any]:
    """The distribution of label probabilities, and the least likely records, as plain values.

    low: log10 of the lower edges of the histogram's bins, the first of which holds all that is
    smaller. poison, other: records in each bin. least: the `LEAST` least likely records, least
    first: record (its place in the training set), label, poison, and log10 of the probability.
    """
    tens, poison = logs / math.log(10), data.mask.cpu()
    place = ((tens + DECADES) * PER_DECADE).floor().long().clamp(0, DECADES * PER_DECADE - 1)

    def counts(kind: Tensor) -> list[int]:
        return torch.bincount(place[kind], minlength=DECADES * PER_DECADE).tolist()
    least = logs.argsort(stable=True)[:LEAST].tolist()
    labels = data.labels.tolist()
    return {"low": [number / PER_DECADE - DECADES for number in range(DECADES * PER_DECADE)],
            "poison": counts(poison), "other": counts(~poison),
            "least": [{"record": record, "label": labels[record], "poison": bool(poison[record]),
                       "log10": round(tens[record].item(), 4)} for record in least]}


Defence = LabelProbability
