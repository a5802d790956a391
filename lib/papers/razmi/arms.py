"""The methods of figures 4 and 7 and of table 2 as trainings, and their rows by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.defences.dpsgd import DPSGD
from lib.defences.pate import PATE
from lib.study import recipes
from lib.training import Training
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame

Arm = dict[str, Any]  # what `Run.with_` needs: a defence and its training
Rates = Mapping[str, Sequence[Sequence[float]]]  # by method [epsilon, learning rate], ...

UNDEFENDED = "undefended"


def undefended(training: Mapping[str, Any]) -> Arm:
    """Plain SGD, with the fields of its training."""
    return {"defence": DPSGD(0.0, clip=False), "training": Training(**training)}


def at_epsilon(rates: Rates, epsilon: float | None, *, epochs: float, lp2st: Mapping[str, Any]
               ) -> dict[str, Arm]:
    """Every method of `rates` at one epsilon (None: without noise), at the learning rate that was
    tuned at the nearest one. lp2st: further fields of LP-2ST's defence."""
    further = {"LP-2ST": dict(lp2st)}
    return {name: recipes.arm(name, epsilon, epochs=epochs,
                              lr=recipes.tuned({line[0]: line[1] for line in tried}, epsilon),
                              **further.get(name, {}))
            for name, tried in rates.items()}


def lp2st(temperature: float, split: Sequence[float]) -> dict[str, Any]:
    """Fields of LP-2ST's defence: its prior's temperature, and the shares of its two stages."""
    return {"temperature": temperature, "split": tuple(split)}


def pate(teachers: int, *, teacher: Mapping[str, Any], student: Mapping[str, Any], **settings: Any
         ) -> Arm:
    """PATE, with the fields of its teachers' and its student's training."""
    return {"defence": PATE(teachers, teacher=Training(**teacher), **settings),
            "training": Training(**student)}


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `series`, the method as `recipes` names it, and `pair`, their classes."""
    return frame.assign(series=recipes.names(frame), pair=rows.unit(frame))


def of(frame: "DataFrame", names: Iterable[str]) -> "DataFrame":
    """The rows of some methods, in the order of the names; of a frame that is `named`."""
    import pandas as pd

    return pd.concat([frame[frame["series"].eq(name)] for name in names])
