"""Goals: what an attacker wants, which test images count, and how success is scored.

There is one file per goal. An attack names its goal (`Attack.goal`), and all measurements go
through it, so that no other code depends on which goal it is.

| goal | counts | success |
|---|---|---|
| backdoor | stamped test images of the attacked classes | share classified as the target |
| single_target | named test images, unchanged or stamped | share classified as the wanted label |
| availability | all test images | accuracy lost, compared with the clean twin |
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

    images: uint8 [cases, channels, height, width], as the attacker presents them. rows: int64
    [cases], their places in the test set. wanted: the class that the attacker wants predicted; None
    if any wrong class will do.
    """

    images: Tensor
    rows: Tensor
    wanted: int | None


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's logits on all test images [n, classes] and on the cases [cases, classes], and the
    true labels int64 [n]."""

    clean: Tensor
    cases: Tensor
    labels: Tensor


class Goal(Protocol):
    """A frozen dataclass, so that equal goals share their cases.

    name: the goal's module, which has a `VERSION` and a function `parts(frame)` that adds columns
    from the twins in other worlds to the attacked rows. columns: what `score` returns, in order.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    @property
    def wanted(self) -> int | None:
        """The class that the attacker wants; None if any wrong class will do."""
        ...

    @property
    def base(self) -> int | None:
        """The attacked class; None if there is no single one."""
        ...

    def cases(self, test: Labelled, *, seed: int) -> Cases:
        """The test images that count; the seed is the attack's."""
        ...

    def everyone(self, test: Labelled, *, seed: int) -> Cases:
        """Every test image as the attacker would present it, for certificates."""
        ...

    def score(self, predictions: Predictions, cases: Cases) -> Mapping[str, float]:
        """The columns of one model."""
        ...

    def __hash__(self) -> int: ...


def module(name: str) -> ModuleType:
    """The module of a goal."""
    return importlib.import_module(f"lib.goals.{name}")


def parts(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of a `study.run` table, with columns from their twins.

    The module of each row's goal defines these columns. Keeps order and index. Raises ValueError
    for a table that is not from `study.run`.
    """
    import pandas as pd

    twins.check(frame)
    if frame.empty:
        return module("backdoor").parts(frame)
    numbered = frame.assign(**{PLACE: range(len(frame))})
    found = [module(name).parts(group) for name, group in numbered.groupby("goal", sort=False)]
    return pd.concat(found).sort_values(PLACE).drop(columns=PLACE)
