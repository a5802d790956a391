"""The methods of figure 3 in one set-up: how each is trained, and tuned before any attack.

A set-up is a mapping, as the parameters of notebook 13 give it: the data, features and network of
`Run`, `epochs` of the methods, `teacher_epochs` of PATE, `undefended` (a training) and `rates`, the
learning rates that are tried for each method.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.defences.pate import PATE
from lib.study import recipes
from lib.study.design import instances
from lib.study.runs import Run
from lib.training import Training
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame

RUN = ("dataset", "train_size", "test_size", "public", "features", "model")
STUDENT = Training("adam", 0.001, momentum=0.0, epochs=30.0, batch_size=128, sampling="shuffle")
ANY = 1.0  # the epsilon under which PATE's choice is kept: it is tuned without noise
PLACE = ["data", "method", "tuned at"]  # of one choice


class Choice(NamedTuple):
    """What the tuning chose for a method at an epsilon; temperature: of LP-2ST's prior, else None.
    """

    rate: float
    temperature: float | None


Choices = dict[tuple[str, str], dict[float, Choice]]  # by (data set, method), then by epsilon


@dataclass(frozen=True)
class Methods:
    """What all set-ups share. teachers: of PATE, on disjoint blocks of the private images; split:
    shares of the records in LP-2ST's two stages.
    """

    precision: str
    teachers: int
    split: Sequence[float]

    def start(self, setup: Mapping[str, Any], **changes: Any) -> Run:
        """A clean run of the set-up with these changes."""
        clean = BadNets(stamp=False, relabel=False)
        return Run(**{name: setup[name] for name in RUN}, precision=self.precision,
                   attack=clean).with_(**changes)

    def undefended(self, setup: Mapping[str, Any]) -> Run:
        """Plain training, as the set-up's `undefended` says."""
        return self.start(setup, training=Training(**setup["undefended"]),
                          defence=DPSGD(0.0, clip=False))

    def pate(self, setup: Mapping[str, Any], rate: float, **settings: Any) -> Run:
        """PATE with this learning rate of its teachers; settings: threshold, noises, queries."""
        teacher = Training("sgd", rate, epochs=float(setup["teacher_epochs"]), batch_size=32,
                           sampling="shuffle")
        return self.start(setup, training=STUDENT,
                          defence=PATE(self.teachers, teacher=teacher, **settings))

    def private(self, setup: Mapping[str, Any], method: str, epsilon: float | None, *,
                choice: Choice) -> Run:
        """DP-SGD, LP-2ST or ALIBI at this epsilon (None: without noise)."""
        extra = {} if choice.temperature is None else {"temperature": choice.temperature,
                                                       "split": tuple(self.split)}
        return self.start(setup, **recipes.arm(method, epsilon, lr=choice.rate,
                                               epochs=setup["epochs"], **extra))

    def tried(self, setups: Iterable[Mapping[str, Any]], *, epsilons: Sequence[float],
              temperatures: Sequence[float]) -> list[Run]:
        """Every candidate on nine tenths of the private images, clean, measured on the tenth."""
        return [one.with_(split="tune") for setup in setups
                for method, rates in setup["rates"].items()
                for one in self._tried(setup, method, rates, epsilons, temperatures)]

    def _tried(self, setup: Mapping[str, Any], method: str, rates: Sequence[float],
               epsilons: Sequence[float], temperatures: Sequence[float]) -> list[Run]:
        if method == "PATE":
            return [self.pate(setup, rate) for rate in rates]
        priors: Sequence[float | None] = temperatures if method == "LP-2ST" else [None]
        return [self.private(setup, method, epsilon, choice=Choice(rate, temperature))
                for epsilon, rate, temperature in product(epsilons, rates, priors)]


def attacked(settings: Iterable[Run], pairs: Sequence[Sequence[int]], *, fraction: float
             ) -> list[Run]:
    """Each setting on every pair of classes, with this poisoned share of the base class."""
    return [one for start in settings
            for one in instances(start.with_(attack=BadNets(fraction=fraction)), pairs)]


def named(tuning: "DataFrame") -> "DataFrame":
    """The tuning rows with `data`, `method`, `tuned at`, `rate`, `temperature`, in their order; NaN
    where a method has no epsilon or no temperature.
    """
    rate = rows.optional(tuning, "defence.teacher.lr").fillna(tuning["training.lr"])
    found = tuning.assign(data=tuning["dataset"], method=recipes.names(tuning), rate=rate, **{
        "tuned at": rows.optional(tuning, "defence.epsilon").astype(float),
        "temperature": rows.optional(tuning, "defence.temperature").astype(float)})
    return found.astype({"rate": float}).sort_values([*PLACE, "rate", "temperature"])


def chosen(tuning: "DataFrame") -> Choices:
    """The most accurate candidate of each method; none where a candidate was not measured."""
    found: Choices = {}
    for place, group in named(tuning).groupby(PLACE, dropna=False):
        data, method, epsilon = place
        if group["accuracy"].notna().all():
            best = group.loc[group["accuracy"].idxmax()]
            warm = None if best["temperature"] != best["temperature"] else best["temperature"]
            found.setdefault((str(data), str(method)), {})[
                ANY if epsilon != epsilon else float(epsilon)] = Choice(best["rate"], warm)
    return found


def known(choices: Choices, setup: Mapping[str, Any]) -> set[str]:
    """The methods whose tuning is complete for the set-up's data."""
    return {method for data, method in choices if data == setup["dataset"]}


def table(tuning: "DataFrame") -> "DataFrame":
    """One line a method and epsilon: the best candidate, its accuracy, that of the next best, and
    whether the best rate is the lowest or highest that was tried."""
    import pandas as pd

    lines = []
    for _, group in named(tuning).groupby(PLACE, dropna=False):
        ranked = group.sort_values("accuracy", ascending=False)
        best, ends = ranked.iloc[0], (group["rate"].min(), group["rate"].max())
        at_end = "lowest" if best["rate"] == ends[0] else "highest" if best["rate"] == ends[1] \
            else ""
        lines.append({name: best[name] for name in [*PLACE, "rate", "temperature"]} | {
            "of those tried": at_end if ends[0] < ends[1] else "only one",
            "accuracy": best["accuracy"],
            "next best": ranked["accuracy"].iloc[1] if len(ranked) > 1 else float("nan")})
    return pd.DataFrame(lines)
