"""Defences: each is a few lines on top of `lib.training`, and trains a group of runs at once.

A defence is a frozen dataclass with `group(run) -> hashable` (what may train together) and
`train(runs, poisoned) -> list[Trained]`, in the order of the runs. Its module has a `VERSION`. With a class attribute
`needs_public = True` it finds the public records in `Poisoned.public`, with `needs_pixels = True` the images in
`Poisoned.pixels`; with a true `on_pixels` it gets images in place of features, and `Poisoned.encode`. `FACTS` names the
facts that its results add to a row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from lib.privacy import Guarantee


@dataclass(frozen=True)
class Trained:
    """One trained model: `predict(inputs) -> logits [n, classes]`, what it guarantees, and the path it took.

    path: (step, predict) pairs, the model at steps along the training. facts: further numbers for the row, by name.
    certify: more facts, and curves of certified shares, from what the model is tested on (`certificates.Examples`).
    """

    predict: Callable[[Tensor], Tensor]
    privacy: Guarantee
    path: list[tuple[int, Callable[[Tensor], Tensor]]] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    certify: Callable | None = None
