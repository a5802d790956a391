"""LP-2ST and ALIBI as notebook 16 trains them: one network and data set, rates by epsilon."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.study import recipes
from lib.study.runs import Run

if TYPE_CHECKING:
    from pandas import DataFrame

NAMES = ("LP-2ST", "ALIBI")


@dataclass(frozen=True)
class Methods:
    """The runs of each label-private method at an epsilon (None: labels as they are).

    rates: by method, pairs of epsilon and the learning rate that was tuned there. epochs: of
    LP-2ST in each stage. temperature, split: LP-2ST's, where a call does not set them.
    """

    base: Run
    rates: Mapping[str, Sequence[tuple[float, float]]]
    epochs: float
    temperature: float
    split: Sequence[float]

    def lp2st(self, epsilon: float | None, **settings: Any) -> Run:
        """LP-2ST; further settings are fields of the defence."""
        chosen = {"temperature": self.temperature, "split": self.split} | settings
        chosen["split"] = tuple(chosen["split"])
        return self._run("LP-2ST", epsilon, "LP-2ST", **chosen)

    def alibi(self, epsilon: float | None) -> Run:
        """ALIBI."""
        return self._run("ALIBI", epsilon, "ALIBI")

    def randomised_response(self, epsilon: float | None) -> Run:
        """Every label randomised once, without a prior; trained as LP-2ST's stages."""
        return self._run("randomised response", epsilon, "LP-2ST")

    def _run(self, name: str, epsilon: float | None, rates_of: str, **settings: Any) -> Run:
        rate = recipes.tuned(dict(self.rates[rates_of]), epsilon)
        return self.base.with_(**recipes.arm(name, epsilon, lr=rate, epochs=self.epochs,
                                             **settings))


def two_shares(first: Iterable[float]) -> list[tuple[float, ...]]:
    """LP-2ST's split by the share of its first stage; 1 is a single stage."""
    return [(1.0,) if share == 1 else (share, round(1 - share, 6)) for share in first]


def on_clean(base: Run, epsilons: Iterable[float], *, rates: Mapping[str, float], epochs: float,
             temperature: float, split: Sequence[float]) -> list[Run]:
    """Both methods without any attack, to hold against published accuracies."""
    tuned = {name: [(1.0, rate)] for name, rate in rates.items()}
    methods = Methods(base, tuned, epochs, temperature, split)
    return [start(epsilon) for start in (methods.lp2st, methods.alibi) for epsilon in epsilons]


def accuracies(frame: "DataFrame") -> "DataFrame":
    """Clean accuracy by method and epsilon, a line a run."""
    return frame.assign(method=recipes.names(frame)).rename(
        columns={"defence.epsilon": "ε (label)"})[["method", "ε (label)", "accuracy"]]
