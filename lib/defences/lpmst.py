"""LP-MST (Ghazi et al. 2021): training in stages; each randomises the labels of its records with
the previous stage's model as the prior.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lib.attacks import Poisoned
from lib.defences import Predict, Trained, members, own
from lib.privacy import Guarantee
from lib.training import Ensemble, generator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lib.study.runs import Run

    Array = Tensor | np.ndarray

VERSION = 1
ORACLE = 0.9  # probability of the true label under the prior "truth"


@dataclass(frozen=True)
class LPMST:
    """Randomise each label once, in the stage of its record; stage t trains on stages 1 to t.

    epsilon: of label differential privacy (null: labels without noise). split: shares of the
    records in the stages; (1.0,) is one stage, which is plain randomised response. temperature:
    divides the logits that make a prior. warm_start: a stage starts from the weights of the one
    before. filtered: drop records of earlier stages whose noisy label is not among the previous
    model's top labels, as many as the stage's mean k. as_released: the score of the released code
    (`rr_with_prior`). Controls: prior "truth" gives probability 0.9 to the label before the attack
    (no guarantee); prior "uniform" is plain randomised response in every stage; top sets k for
    every record.
    """

    takes_start: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = (
        "k_mean", "k1_records", "k1_poisons", "kept_labels_poisons", "restored_labels_poisons",
        "label_accuracy", "dropped")

    epsilon: float | None = 1.0
    split: tuple[float, ...] = (0.4, 0.6)
    temperature: float = 0.1
    warm_start: bool = True
    filtered: bool = True
    prior: str = "model"
    top: int | None = None
    as_released: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "split", tuple(float(share) for share in self.split))
        checks = (
            (self.epsilon is None or 0 < self.epsilon < math.inf,
             f"epsilon {self.epsilon}", "above 0, or null for no noise"),
            (self.split and min(self.split) > 0 and abs(sum(self.split) - 1) <= 1e-9,
             f"split {list(self.split)}", "shares above 0 that sum to 1"),
            (0 < self.temperature < math.inf, f"temperature {self.temperature}", "above 0"),
            (self.prior in ("model", "truth", "uniform"),
             f"prior {self.prior!r}", "model, truth or uniform"),
            (self.top is None or self.top >= 1, f"top {self.top}", "1 or more, or null"))
        for right, value, expected in checks:
            if not right:
                raise ValueError(f"defence lpmst: {value}: expected {expected}")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: all settings but the stages may differ."""
        return ("lpmst", self.split, run.model, replace(run.training, lr=1.0), run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group, stage by stage; results in their order."""
        defences = [own(run, LPMST) for run in runs]
        states = [Labels(defence, data, run.noise_seed)
                  for defence, run, data in zip(defences, runs, poisoned)]
        pool, places = members.pooled(poisoned)
        for state in states:
            state.draw(0, None)
        group = self._fit(0, runs, poisoned, states, None)
        for stage in range(1, len(self.split)):
            for model, state in enumerate(states):
                state.draw(stage, _predictor(group, model, pool, places[model]))
            group = self._fit(stage, runs, poisoned, states, group)
        return [replace(members.trained(group, model, defence.guarantee()), facts=state.facts())
                for model, (defence, state) in enumerate(zip(defences, states))]

    def _fit(self, stage: int, runs: "list[Run]", poisoned: list[Poisoned],
             states: "list[Labels]", before: Ensemble | None) -> Ensemble:
        """Train the models of one stage; only the last stage records checkpoints."""
        changes = [self._member(stage, run, state, before and before.parameters[model])
                   for model, (run, state) in enumerate(zip(runs, states))]
        last = stage == len(self.split) - 1
        measured = runs if last else [run.with_(training__checkpoints=0) for run in runs]
        return members.fit(measured, poisoned, changes)

    @staticmethod
    def _member(stage: int, run: "Run", state: "Labels", before: Tensor | None) -> dict:
        rows = state.kept.sort().values  # in order, so that a single stage has the usual batches
        change: dict[str, Any] = {"records": rows, "labels": state.noisy[rows]}
        if stage:
            change["batch_seed"] = generator(f"stage {stage}", run.init_seed).initial_seed() % 2**31
        return change | ({"start": before} if own(run, LPMST).warm_start and stage else {})

    def guarantee(self) -> Guarantee:
        """Label differential privacy; images have no guarantee.

        Every label is drawn once with epsilon, so the number of stages does not matter (parallel
        composition).
        """
        if self.epsilon is None:
            return Guarantee.none("labels without noise")
        if self.prior == "truth":
            return Guarantee.none("control: the prior knows the true labels")
        return Guarantee(
            epsilon=self.epsilon, delta=0.0, adjacency="label", sampler="none", accountant="exact",
            steps=1, sample_rate=1.0,
            note=f"randomised response with prior, {len(self.split)} stages on disjoint records")


def _predictor(group: Ensemble, model: int, pool: Tensor, places: Tensor) -> Predict:
    """A function from a run's record numbers to the logits of the previous stage's model."""
    return lambda records: group.predict(pool[places[records]], model=model)


class Labels:
    """The labels of one run, drawn stage by stage.

    noisy: int64 [n]. k: int64 [n], the number of labels that each record's draw could give. kept:
    the records to train on.
    """

    def __init__(self, defence: LPMST, data: Poisoned, seed: int) -> None:
        self.defence, self.data, self.seed = defence, data, seed
        n, where = len(data.labels), data.labels.device
        order = torch.randperm(n, generator=generator("parts", seed))  # independent of the labels
        cuts = [round(share * n) for share in np.cumsum(defence.split)[:-1]]
        self.parts = [part.to(where) for part in order.tensor_split(cuts)]
        self.noisy, self.k = data.labels.clone(), torch.full((n,), data.classes, device=where)
        self.kept = order[:0].to(where)

    def draw(self, stage: int, predict: Predict | None) -> None:
        """Draw the labels of a stage.

        predict(records) returns the logits of the previous model; None for the first stage.
        """
        part, defence = self.parts[stage], self.defence
        if defence.epsilon is not None:
            prior, random = self._prior(stage, predict), generator(f"labels {stage}", self.seed)
            labels, k = randomise(self.data.labels[part].cpu(), prior, defence.epsilon, random,
                                  top=defence.top if stage else None,
                                  as_released=defence.as_released and stage > 0)
            self.noisy[part], self.k[part] = labels.to(part.device), k.to(part.device)
        self.kept = torch.cat(
            [self._plausible(part, _needed(predict, stage))
             if stage and defence.filtered else self.kept, part])

    def _prior(self, stage: int, predict: Predict | None) -> Tensor:
        """Prior probabilities [records, classes] of the stage's records; uniform in stage 0."""
        part, classes = self.parts[stage], self.data.classes
        if stage == 0 or self.defence.prior == "uniform":
            return torch.full((len(part), classes), 1 / classes, dtype=torch.float64)
        if self.defence.prior == "truth":
            prior = torch.full((len(part), classes), (1 - ORACLE) / (classes - 1),
                               dtype=torch.float64)
            return prior.scatter_(1, self.data.truth[part].cpu()[:, None], ORACLE)
        logits = _needed(predict, stage)(part)
        return torch.softmax(logits.double() / self.defence.temperature, 1)

    def _plausible(self, part: Tensor, predict: Predict) -> Tensor:
        """The earlier records whose noisy label is among the previous model's m top labels.

        m is the mean k of this stage, rounded down, at least 1.
        """
        most = max(1, int(self.k[part].double().mean()))
        top = predict(self.kept).topk(most, 1).indices.to(self.kept.device)
        return self.kept[(top == self.noisy[self.kept][:, None]).any(1)]

    def facts(self) -> dict[str, float | None]:
        """Shares of records and of poisons with k = 1 after the first stage, and the fate of the
        poisons' labels."""
        later = torch.cat(self.parts[1:]) if len(self.parts) > 1 else self.parts[0][:0]
        poisons, of_poisons = self.data.mask.nonzero().flatten(), self.data.mask[later]
        trained = torch.zeros_like(self.data.mask)
        trained[self.kept] = True
        unchanged, restored = self.noisy == self.data.labels, self.noisy == self.data.truth
        return {
            "k_mean": _mean(self.k[later]), "k1_records": _mean(self.k[later] == 1),
            "k1_poisons": _mean(self.k[later][of_poisons] == 1),
            "kept_labels_poisons": _mean(unchanged[poisons] & trained[poisons]),
            "restored_labels_poisons": _mean(restored[poisons] & trained[poisons]),
            "label_accuracy": _mean(restored[self.kept]),
            "dropped": 1 - trained.double().mean().item()
        }


def _needed(predict: Predict | None, stage: int) -> Predict:
    if predict is None:
        raise ValueError(f"defence lpmst: stage {stage} needs the previous stage's model")
    return predict


def _mean(values: Tensor) -> float | None:
    return values.double().mean().item() if len(values) else None


def rr_with_prior(prior: "Tensor | ArrayLike", epsilon: float, *, as_released: bool = False
                  ) -> "tuple[int, float, float] | tuple[Array, Array, Array]":
    """RRWithPrior (Ghazi et al. 2021, algorithms 1 and 2): (k, keep_probability,
    other_probability).

    prior: probabilities [classes] or [batch, classes], unsorted, numpy or torch. k = argmax_k of
    e^epsilon / (e^epsilon + k - 1) x the mass of the k likeliest labels, ties to the smaller k. A
    label among these k is kept with keep_probability, and each of the other k - 1 drawn with
    other_probability (0 if k = 1). A label outside becomes uniform over the k. as_released: the
    score of the code published with the paper, which has the divisor of k - 1 labels. Returns
    numbers for one prior, arrays [batch] for several. Raises ValueError for a prior that is not a
    distribution, or an epsilon not above 0.
    """
    values = _checked(torch.as_tensor(prior))
    k, keep, other = _with_prior(values, epsilon, as_released)
    if values.dim() == 1:
        return int(k), float(keep), float(other)
    return (k, keep, other) if torch.is_tensor(prior) else (k.numpy(), keep.numpy(), other.numpy())


def _checked(prior: Tensor) -> Tensor:
    values = prior.double().cpu()
    unit = torch.ones(()).double()
    if (values.dim() not in (1, 2) or not (values >= 0).all()
            or not torch.allclose(values.sum(-1), unit, atol=1e-4)):
        raise ValueError(f"prior of shape {tuple(values.shape)}: expected probabilities [classes] "
                         "or [batch, classes] that sum to 1")
    return values


def _with_prior(values: Tensor, epsilon: float, as_released: bool
                ) -> tuple[Tensor, Tensor, Tensor]:
    if not epsilon > 0:
        raise ValueError(f"epsilon {epsilon}: expected above 0")
    sizes = torch.arange(1, values.shape[-1] + 1, dtype=torch.float64)
    divisors = 1 + (sizes - 1) * math.exp(-epsilon)
    scores = values.sort(-1, descending=True).values.cumsum(-1) / (divisors - math.exp(-epsilon)
                                                                   if as_released else divisors)
    # Scores that differ only in the last bits are ties: sums depend on the order of the terms.
    k = (scores >= scores.max(-1, keepdim=True).values - 1e-12).int().argmax(-1) + 1
    keep = 1 / (1 + (k - 1) * math.exp(-epsilon))
    return k, keep, torch.where(k > 1, math.exp(-epsilon) * keep, 0.0)


def probabilities(labels: Tensor, prior: Tensor, epsilon: float, *, top: int | None = None,
                  as_released: bool = False) -> tuple[Tensor, Tensor]:
    """The probability of each outcome for labels int64 [batch]: [batch, classes], and k [batch].

    top: use this k for every record.
    """
    if top is None:
        k = _with_prior(_checked(prior), epsilon, as_released)[0]
    else:
        k = torch.full(labels.shape, min(top, prior.shape[1]))
    ranks = prior.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    inside = ranks < k[:, None]
    # relative to the likeliest outcome
    weight = torch.full_like(prior, math.exp(-epsilon)).scatter_(1, labels[:, None], 1.0) * inside
    weight = torch.where(inside.gather(1, labels[:, None]), weight, inside.double())
    return weight / weight.sum(1, keepdim=True), k


def randomise(labels: Tensor, prior: Tensor, epsilon: float, random: torch.Generator, *,
              top: int | None = None, as_released: bool = False) -> tuple[Tensor, Tensor]:
    """Draw noisy labels by RRWithPrior; returns (noisy labels int64 [batch], k [batch])."""
    chances, k = probabilities(labels, prior, epsilon, top=top, as_released=as_released)
    drawn = torch.rand(len(labels), 1, generator=random, dtype=torch.float64)
    sums = chances.cumsum(1)
    place = (drawn * sums[:, -1:] >= sums).sum(1)
    # If rounding leads past the end, take a possible label: one outside the k must never come out.
    return torch.where(place < chances.shape[1], place, chances.argmax(1)), k


Defence = LPMST
