"""The runs of figure 1: probes of feature collision and insertion, from scratch and re-training.

The paper compares single runs. Here a draw of the poison is an instance: `attack_seed` draws the
pairs or the patched images, and initial weights and batches are those of draw 0.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.attacks import Attack
from lib.attacks.insertion import Insertion
from lib.attacks.interpolation import Interpolation
from lib.defences.dpsgd import DPSGD
from lib.study import Run, grid
from lib.training import Training

if TYPE_CHECKING:
    from pandas import DataFrame

SCRATCH, RETRAINED, INSERTED = "from scratch, blends", "re-training, blends", "re-training, patches"
VANILLA = "not clipped"


def victim(dataset: str, model: str, attack: Attack, training: Mapping[str, Any], **fields: Any
           ) -> Run:
    """An undefended training that keeps its anatomy; fields: further ones of `Run`."""
    return Run(dataset=dataset, model=model, attack=attack, training=Training(**training),
               defence=DPSGD(0.0, clip=False), anatomy=True, **fields)


def scratch(dataset: str, model: str, classes: Sequence[int], count: int,
            training: Mapping[str, Any], **fields: Any) -> Run:
    """Scenario 1: trained from scratch on two classes, with `count` blends of the two."""
    source, other = classes
    return victim(dataset, model, Interpolation(source, other, count=count), training, **fields)


def retrained(clean: Run, attack: Attack, training: Mapping[str, Any]) -> Run:
    """Scenarios 2 and 3: a clean run's network trained on, with `attack` in the same data."""
    return victim(clean.dataset, clean.model, attack, training, start=clean,
                  train_size=clean.train_size, test_size=clean.test_size, precision=clean.precision)


def blends(run: Run, mixings: Sequence[float], *, draws: int) -> list[Run]:
    """Every mixing, for every draw of the pairs."""
    return _drawn(grid(run, attack__mixing=mixings), draws)


def patches(run: Run, sizes: Sequence[int], *, draws: int) -> list[Run]:
    """Every size of the square, for every draw of the images that get it."""
    return _drawn(grid(run, attack__size=sizes), draws)


def _drawn(runs: Sequence[Run], draws: int) -> list[Run]:
    return [run.with_(attack_seed=draw, noise_seed=draw) for draw in range(draws) for run in runs]


def clipped(runs: Sequence[Run], norms: Sequence[float]) -> list[Run]:
    """The same runs with every record's gradient clipped at each norm, without noise."""
    return [run.with_(defence=DPSGD(0.0, max_grad_norm=norm)) for norm in norms for run in runs]
