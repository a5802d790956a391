"""PATE with Confident-GNMax (Papernot et al. 2018): teachers trained on disjoint blocks vote on
public queries, and a student learns the answers.
"""

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lib import models, privacy, training
from lib.attacks import Poisoned
from lib.defences import Predict, Trained, members, own, partition, teachers
from lib.training import Training, generator

if TYPE_CHECKING:
    from lib.study.runs import Run

VERSION = 1
# Razmi et al., table 4
TEACHER = Training("adam", 0.001, momentum=0.0, epochs=50.0, batch_size=32, sampling="shuffle")


@dataclass(frozen=True)
class PATE:
    """Answer a query if its largest vote count plus N(0, selection_noise^2) reaches `threshold`
    (null: always), with the class of the largest count after adding N(0, result_noise^2) to each.

    Noises are standard deviations, in votes. teachers: number of models, each trained on one
    contiguous block of the private records. queries: number of public records to ask about, drawn
    by the noise seed (null: all). as_released: add the selection noise to every count before taking
    the maximum, as in the code of Razmi et al., instead of to the maximum. pool: "stamped", the
    public records as the attack leaves them, or "clean". teacher: the training of the teachers; the
    run's training is the student's. Controls: labels "truth" gives the student the true labels of
    the answered queries; voters lets only this many of the first teachers vote.
    """

    needs_public: ClassVar[bool] = True
    FACTS: ClassVar[tuple[str, ...]] = (
        "queries", "answered", "triggered", "triggered_answered", "target_answered",
        "target_unanswered", "student_target_answered", "student_target_unanswered",
        "label_accuracy", "certified_1", "certified_median", "epsilon_answered",
        "epsilon_expected")

    teachers: int = 200
    queries: int | None = None
    threshold: float | None = None
    selection_noise: float = 0.0
    result_noise: float = 0.0
    as_released: bool = False
    pool: str = "stamped"
    labels: str = "votes"
    voters: int | None = None
    delta: float = 1e-5
    teacher: Training = field(default_factory=lambda: TEACHER)

    def __post_init__(self) -> None:
        if isinstance(self.teacher, dict):
            object.__setattr__(self, "teacher", Training(**self.teacher))
        voters = self.teachers if self.voters is None else self.voters
        checks = (
            (self.teachers >= 1, f"teachers {self.teachers}", "1 or more"),
            (1 <= voters <= self.teachers, f"voters {self.voters}",
             f"between 1 and the {self.teachers} teachers"),
            (self.queries is None or self.queries >= 1, f"queries {self.queries}",
             "1 or more, or null for all public records"),
            (self.threshold is None or 0 <= self.threshold <= voters,
             f"threshold {self.threshold}", f"between 0 and the {voters} votes"),
            (self.selection_noise >= 0, f"selection_noise {self.selection_noise}", "0 or more"),
            (self.result_noise >= 0, f"result_noise {self.result_noise}", "0 or more"),
            (not self.selection_noise > 0 or self.threshold is not None,
             f"selection_noise {self.selection_noise}",
             "0 without a threshold, as there is no selection"),
            (self.pool in ("stamped", "clean"), f"pool {self.pool!r}", "stamped or clean"),
            (self.labels in ("votes", "truth"), f"labels {self.labels!r}", "votes or truth"),
            (0 < self.delta < 1, f"delta {self.delta}", "between 0 and 1"))
        for right, value, expected in checks:
            if not right:
                raise ValueError(f"defence pate: {value}: expected {expected}")

    def group(self, run: "Run") -> tuple:
        """Runs with equal groups train together: all students of one set of teachers."""
        attack = ("clean",) if run.attack.in_world == "C" else (run.attack, run.attack_seed)
        return ("pate", self.teachers, self.teacher, run.init_seed, attack, run.model,
                replace(run.training, lr=1.0), run.precision)

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Ask the teachers, and train the students of one group; results in the runs' order."""
        if runs[0].training.checkpoints:
            raise ValueError(
                f"defence pate: training checkpoints {runs[0].training.checkpoints}: expected 0;"
                " a student's path is not recorded")
        publics = [data.given_public() for data in poisoned]
        asked = [own(run, PATE).ask(run, data) for run, data in zip(runs, poisoned)]
        students = _students(runs, publics, asked)
        results = []
        for run, public, answers, predict in zip(runs, publics, asked, students):
            wanted, defence = run.attack.goal.wanted, own(run, PATE)
            facts = answers.facts(public, wanted, predict)
            results.append(Trained(predict, defence.guarantee(answers),
                                   facts=facts | defence.costs(answers)))
        return results

    def ask(self, run: "Run", private: Poisoned) -> "Answered":
        """The teachers' votes on the run's queries, and the noisy answers."""
        public = private.given_public()
        if self.queries is not None and self.queries > len(public.rows):
            raise ValueError(f"defence pate: queries {self.queries}: expected at most the "
                             f"{len(public.rows)} public images")
        answers = teachers.ask(run, private, teachers=self.teachers, training=self.teacher,
                               version=VERSION)
        classes = answers.to_queries(public, stamped=self.pool == "stamped", voters=self.voters)
        order = torch.randperm(classes.shape[1], generator=generator("queries", run.noise_seed))
        queries = order[: self.queries].sort().values
        votes = teachers.votes(classes[:, queries], private.classes)
        return Answered(queries, votes, *self.aggregate(votes, seed=run.noise_seed),
                        self.pool == "stamped", self.labels == "truth")

    def aggregate(self, votes: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        """Add the noises to counts [queries, classes]; ties go to the lower class.

        Returns (answered bool [queries], answers int64 [queries]).
        """
        random, counts = generator("votes", seed), votes.double()
        shape, kind = counts.shape, torch.float64
        result = self.result_noise * torch.randn(shape, generator=random, dtype=kind)
        selection = self.selection_noise * torch.randn(shape, generator=random, dtype=kind)
        if self.as_released:
            largest = (counts + selection).max(1).values
        else:
            largest = counts.max(1).values + selection[:, 0]
        answered = torch.ones(len(votes), dtype=torch.bool)
        if self.threshold is not None:
            answered = largest >= self.threshold
        return answered, (counts + result).argmax(1)

    def guarantee(self, answers: "Answered") -> privacy.Guarantee:
        """The guarantee of the student's labels for any number of answers, if one private record is
        replaced (so that one teacher changes)."""
        if self.labels == "truth":
            return privacy.Guarantee.none("control: true labels")
        if self.result_noise == 0 or (self.threshold is not None and self.selection_noise == 0):
            return privacy.Guarantee.none(
                "votes without noise; the vote gap certifies in its place")
        note = (
            f"{len(answers.votes)} queries, all taken as answered; public images have no guarantee"
        )
        return privacy.Guarantee(epsilon=self._epsilon(answers), delta=self.delta,
                                 adjacency="replace-one", accountant="gaussian", note=note,
                                 sampler="none", noise_multiplier=self.result_noise / math.sqrt(2),
                                 sample_rate=1.0, steps=len(answers.votes))

    def _epsilon(self, answers: "Answered", **how: Any) -> float:
        released = self.as_released and self.threshold is not None
        account = privacy.released_pate_epsilon if released else privacy.pate_epsilon
        return account(answers.votes.numpy(), threshold=self.threshold,
                       selection_noise=self.selection_noise, result_noise=self.result_noise,
                       delta=self.delta, **how)

    def costs(self, answers: "Answered") -> dict[str, float | None]:
        """Two epsilons of the same noise that are not guarantees: for the realised number of
        answers, and the expected data-dependent cost."""
        if self.labels == "truth" or not math.isfinite(self._epsilon(answers)):
            return {"epsilon_answered": None, "epsilon_expected": None}
        return {"epsilon_answered": self._epsilon(answers, answered=int(answers.answered.sum())),
                "epsilon_expected": self._epsilon(answers, data_dependent=True)}


@dataclass(frozen=True)
class Answered:
    """The queries of one run and their answers.

    queries: int64 [queries], places among the public records. votes: counts [queries, classes].
    answered: bool [queries]. answers: int64 [queries], noisy. stamped: whether the queries are
    attacked. truth: whether the student gets true labels.
    """

    queries: Tensor
    votes: Tensor
    answered: Tensor
    answers: Tensor
    stamped: bool
    truth: bool

    def rows(self) -> Tensor:
        """Places of the answered queries among the public records."""
        return self.queries[self.answered]

    def labels(self, public: Poisoned) -> Tensor:
        """The student's labels for the answered queries."""
        return public.truth[self.rows()] if self.truth else self.answers[self.answered]

    def pool(self, public: Poisoned) -> Poisoned:
        """The public records that the student trains on: attacked or untouched."""
        if self.stamped:
            return public
        return replace(public, rows=torch.arange(len(public.clean), device=public.rows.device),
                       stamped=public.clean[:0])

    def facts(self, public: Poisoned, target: int | None, predict: Predict
              ) -> dict[str, float | None]:
        """Counts and shares over the queries; those of stamped queries by answered and unanswered.

        A share is None if there is no such query, or if the attacker wants no class.
        """
        changed = (public.rows >= len(public.clean)).cpu()[self.queries] & self.stamped
        given, (plurality, radius) = self.answered, partition.certificate(self.votes)
        correct = self.answers == public.truth.cpu()[self.queries]
        kept, dropped = given[changed], ~given[changed]
        called = self._called(public, changed, predict)
        shares = {
            "target_answered": self.answers[changed][kept],
            "target_unanswered": plurality[changed][dropped],
            "student_target_answered": called[kept],
            "student_target_unanswered": called[dropped],
        }
        counts: dict[str, float | None] = {
            "queries": len(given), "answered": int(given.sum()),
            "triggered": int(changed.sum()), "triggered_answered": int(kept.sum())}
        wanted = {name: None if target is None else _share(answers == target)
                  for name, answers in shares.items()}
        return counts | wanted | {
            "label_accuracy": _share(correct[given & ~changed]),
            "certified_1": _share(radius >= 1), "certified_median": float(radius.median())}

    def _called(self, public: Poisoned, changed: Tensor, predict: Predict) -> Tensor:
        """The student's predictions for the stamped queries."""
        if not changed.any():
            return torch.zeros(0, dtype=torch.int64)
        rows = public.rows[self.queries[changed].to(public.rows.device)] - len(public.clean)
        return predict(public.stamped[rows]).argmax(1)


def _share(found: Tensor) -> float | None:
    return found.double().mean().item() if len(found) else None


def _students(runs: "list[Run]", publics: list[Poisoned], asked: list[Answered]) -> list[Predict]:
    """A predictor per run; a student without any answers keeps its initial weights."""
    pools = [answers.pool(public) for public, answers in zip(publics, asked)]
    taught = [place for place, answers in enumerate(asked) if answers.answered.any()]
    results: dict[int, Predict] = {}
    if taught:
        changes = [{"records": asked[place].rows(),
                    "labels": asked[place].labels(pools[place]).to(pools[place].labels.device)}
                   for place in taught]
        group = members.fit([runs[place] for place in taught], [pools[place] for place in taught],
                            changes)
        results = {place: members.predictor(group, model) for model, place in enumerate(taught)}
    return [results[place] if place in results else _untaught(run, pools[place])
            for place, run in enumerate(runs)]


def _untaught(run: "Run", public: Poisoned) -> Predict:
    module = training.initialise(
        lambda: models.build(run.model, tuple(public.clean.shape[1:]), public.classes),
        run.init_seed)
    device = public.clean.device
    flat = torch.nn.utils.parameters_to_vector(module.parameters()).detach()[None].to(device)
    untaught = training.Ensemble(module.to(device), flat, {})
    return lambda inputs: untaught.predict(inputs, model=0)


Defence = PATE
