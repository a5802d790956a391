"""Goals: what an attacker wants, which test images count, and how success is scored.

One file a goal. An attack names its goal (`Attack.goal`), and whoever measures asks the goal alone:
nothing else knows one goal from another.

| goal | counts | success |
|---|---|---|
| backdoor | stamped test images of the attacked classes | share called the target |
| single_target | named test images, as they are or stamped | share called the wanted label |
| availability | all test images | accuracy that is lost, against the clean twin |
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

from lib.data import Labelled
from lib.metrics import twins

if TYPE_CHECKING:
    from pandas import DataFrame

PLACE = "place in the table"


@dataclass(frozen=True, eq=False)
class Cases:
    """The test images that count.

    images: uint8 [cases, channels, height, width], as the attacker shows them. rows: int64
    [cases], their places in the test set. wanted: the class that the attacker wants them to be
    called; None where any wrong one will do.
    """

    images: Tensor
    rows: Tensor
    wanted: int | None


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model says: logits of all test images [n, classes] and of the cases
    [cases, classes], beside the true labels int64 [n]."""

    clean: Tensor
    cases: Tensor
    labels: Tensor


class Goal(Protocol):
    """A frozen dataclass, so that equal goals share their cases.

    name: the goal's module, which has a `VERSION`, and a function `parts(frame)` that adds to the
    attacked rows what their twins in other worlds say. columns: what `score` returns, in order.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    @property
    def wanted(self) -> int | None:
        """The class that the attacker wants; None where any wrong one will do."""
        ...

    @property
    def base(self) -> int | None:
        """The class that is attacked, where it is one."""
        ...

    def cases(self, test: Labelled, *, seed: int) -> Cases:
        """The test images that count; the seed is the attack's."""
        ...

    def everyone(self, test: Labelled, *, seed: int) -> Cases:
        """Every test image as the attacker would show it: certificates ask for them."""
        ...

    def score(self, predictions: Predictions, cases: Cases) -> Mapping[str, float]:
        """The columns of one model."""
        ...

    def __hash__(self) -> int: ...


def module(name: str) -> ModuleType:
    """The module of a goal."""
    return importlib.import_module(f"lib.goals.{name}")


def parts(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of the table of `study.run`, with what their twins add.

    Which columns those are, the module of the rows' goal says. Order and index are kept. Raises
    ValueError for a table that `study.run` did not make.
    """
    import pandas as pd

    twins.check(frame)
    if frame.empty:
        return module("backdoor").parts(frame)
    numbered = frame.assign(**{PLACE: range(len(frame))})
    found = [module(name).parts(group) for name, group in numbered.groupby("goal", sort=False)]
    return pd.concat(found).sort_values(PLACE).drop(columns=PLACE)
