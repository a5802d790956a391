"""Defences: each is a few lines on top of `lib.training` and trains a group of runs at once.

There is one file per method, found by its name. It has a `VERSION` and ends with
`Defence = TheClass`, a frozen dataclass that satisfies the Protocol below.
"""

import functools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from torch import Tensor, nn

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
    """One trained model: its predictions, its guarantee, and its path.

    path: (step, predict) pairs, the model at steps of the training. facts: further numbers for the
    row, by name. certify: computes more facts and curves of certified shares from the test images
    (`certificates.Examples`). weights: what another run can start from, None for an ensemble.
    averaged: averages of the weights by name ("tail", "ema"), which are measured too. module,
    states: the network, and its weights and buffers at the steps of the path, for gradients; None
    and empty for an ensemble. ranked: how the defence ranks the training records, plain values for
    the row (`lib.defences.label_probability.ranked`).
    """

    predict: Predict
    privacy: Guarantee
    path: list[tuple[int, Predict]] = field(default_factory=list)
    facts: Mapping[str, float | None] = field(default_factory=dict)
    certify: Certify | None = None
    weights: Tensor | None = None
    averaged: "dict[str, Averaged]" = field(default_factory=dict)
    module: nn.Module | None = None
    states: Mapping[int, Tensor] = field(default_factory=dict)
    ranked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Averaged:
    """Averaged weights of one training, at its end and along its path.

    distance: L2 norm of the last weights minus the averaged ones, at the end.
    """

    predict: Predict
    path: list[tuple[int, Predict]]
    distance: float


class Defence(Protocol):
    """What a defence must define.

    It may also have class attributes, which `asks` reads: `needs_public`, `needs_trusted`,
    `needs_pixels` and `on_pixels` (the data that it needs), `takes_start` (whether it can start
    from another run's weights), `plain_gradients` (whether it trains one model on the gradients of
    the attacked records themselves), and `FACTS` (the names of the facts that it adds to a row).
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # a frozen dataclass

    def group(self, run: "Run") -> Hashable:
        """Runs with equal groups may train together."""
        ...

    def train(self, runs: "list[Run]", poisoned: list[Poisoned]) -> list[Trained]:
        """Train all runs of one group; returns a result for each, in the order of the runs."""
        ...


typed.builders[Defence] = functools.partial(parts.build, "defence")


def own(run: "Run", cls: type[Own]) -> Own:
    """The run's defence, checked to be a `cls`; raises ValueError otherwise."""
    if not isinstance(run.defence, cls):
        raise ValueError(f"defence {parts.name_of(run.defence)} in a group of {cls.__name__}: "
                         "expected all runs of a group to have the same defence")
    return run.defence


@dataclass(frozen=True)
class Asks:
    """What a defence needs, and what it adds to a row.

    public: the public records under the attack, in `Poisoned.public`. trusted: the same records
    without the attack, in `Poisoned.trusted`. pixels: the images, in `Poisoned.pixels`.
    on_pixels: images in place of features, and `Poisoned.encode`. start: it can start from another
    run's weights, `Poisoned.start`. plain_gradients: it trains one model on the records as the
    attack left them, and returns `Trained.module` and `Trained.states`. facts: the names of its
    facts.
    """

    public: bool
    trusted: bool
    pixels: bool
    on_pixels: bool
    start: bool
    plain_gradients: bool
    facts: tuple[str, ...]


def asks(defence: Defence) -> Asks:
    """Read what a defence asks for from its class attributes; a missing one counts as False."""
    def flag(name: str) -> bool:
        return bool(getattr(defence, name, False))
    return Asks(flag("needs_public"), flag("needs_trusted"), flag("needs_pixels"),
                flag("on_pixels"), flag("takes_start"), flag("plain_gradients"),
                tuple(getattr(defence, "FACTS", ())))
