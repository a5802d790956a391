"""Defences: each is a few lines on top of `lib.training`, and trains a group of runs at once.

One file a method, found by its name: its module has a `VERSION` and ends with
`Defence = TheClass`, a frozen dataclass that satisfies the Protocol below.
"""

import functools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from lib import parts, typed
from lib.attacks import Poisoned
from lib.privacy import Guarantee

if TYPE_CHECKING:
    from lib.defences.certificates import Examples
    from lib.study.runs import Run

Own = TypeVar("Own")

Predict = Callable[[Tensor], Tensor]  # from inputs [n, ...] to logits [n, classes]
Certify = Callable[["Examples"], tuple[Mapping[str, float | None], list[dict[str, Any]]]]


@dataclass(frozen=True)
class Trained:
    """One trained model: what it predicts, what it guarantees, and the path it took.

    path: (step, predict) pairs, the model at steps along the training. facts: further numbers for
    the row, by name. certify: more facts, and curves of certified shares, from what the model is
    tested on (`certificates.Examples`). weights: what a run can start with, None for an ensemble.
    averaged: further weights of the same training by name ("tail", "ema"), measured beside it.
    """

    predict: Predict
    privacy: Guarantee
    path: list[tuple[int, Predict]] = field(default_factory=list)
    facts: Mapping[str, float | None] = field(default_factory=dict)
    certify: Certify | None = None
    weights: Tensor | None = None
    averaged: "dict[str, Averaged]" = field(default_factory=dict)


@dataclass(frozen=True)
class Averaged:
    """Averaged weights of one training, at its end and along its path.

    distance: L2 norm of the last weights minus these, at the end.
    """

    predict: Predict
    path: list[tuple[int, Predict]]
    distance: float


class Defence(Protocol):
    """What a defence must have.

    It may have class attributes as well, which `asks` reads: `needs_public`, `needs_pixels` and
    `on_pixels` (what it wants to be given), `takes_start` (whether it can begin with the weights
    of another run) and `FACTS`, the names of the facts that its results add to a row.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # a frozen dataclass

    def group(self, run: "Run") -> Hashable:
        """What may train together: runs of equal groups do."""
        ...

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; results in their order."""
        ...


typed.builders[Defence] = functools.partial(parts.build, "defence")


def own(run: "Run", cls: type[Own]) -> Own:
    """The run's defence, which is one of `cls`; ValueError where it is another."""
    if not isinstance(run.defence, cls):
        raise ValueError(f"defence {parts.name_of(run.defence)} in a group of {cls.__name__}: "
                         "expected runs of one defence")
    return run.defence


@dataclass(frozen=True)
class Asks:
    """What a defence wants to be given, and what it adds to a row.

    public: the public records, in `Poisoned.public`. pixels: the images, in `Poisoned.pixels`.
    on_pixels: images in place of features, and `Poisoned.encode`. start: it can begin with the
    weights of another run, `Poisoned.start`. facts: names of its facts.
    """

    public: bool
    pixels: bool
    on_pixels: bool
    start: bool
    facts: tuple[str, ...]


def asks(defence: Defence) -> Asks:
    """What a defence asks for; what it does not mention, it does not want."""
    def said(name: str) -> bool:
        return bool(getattr(defence, name, False))
    return Asks(said("needs_public"), said("needs_pixels"), said("on_pixels"), said("takes_start"),
                tuple(getattr(defence, "FACTS", ())))
