"""DP-SGD inside RAB's ensembles: clipping, noise and learning rate one by one, one sampler."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lib.attacks.four_pixel import FourPixel
from lib.defences.smoothing import Smoothing
from lib.papers.ours import alternatives
from lib.study.runs import Run
from lib.training import Training

if TYPE_CHECKING:
    from pandas import DataFrame

MODELS, SMOOTHING = 100, 0.5  # linear models, and the noise on their inputs
REFERENCE = 0.03  # the learning rate without clipping, as in notebook 40
COLUMNS = {"defence.max_grad_norm": "clipping norm", "training.lr": "rate",
           "defence.noise_multiplier": "DP noise"}


class Level(NamedTuple):
    """max_grad_norm: None for no clipping."""

    max_grad_norm: float | None
    noise_multiplier: float
    rates: Sequence[float]


def runs(pairs: Sequence[str], levels: Sequence[Sequence], *, fraction: float) -> list[Run]:
    """An ensemble for each level, learning rate and pair of classes ("0-2").

    levels: clipping norm, DP noise and learning rates of each, as `Level` has them.
    """
    return [_ensemble(pair, number, level, rate, fraction) for level in (
        Level(*one) for one in levels) for rate in level.rates for number, pair in enumerate(pairs)]


def _ensemble(pair: str, number: int, level: Level, rate: float, fraction: float) -> Run:
    return Run(dataset=f"cifar10-jpeg:{pair}", train_size=6000, test_size=2000, public=2000,
               features="patches:64", model="linear", precision="fast",
               attack=FourPixel(target=0, fraction=fraction),
               training=Training("sgd", rate, epochs=3.0, batch_size=128),
               defence=Smoothing(MODELS, SMOOTHING, max_grad_norm=level.max_grad_norm,
                                 noise_multiplier=level.noise_multiplier),
               attack_seed=number, init_seed=number, noise_seed=number)


def table(frame: "DataFrame") -> "DataFrame":
    """One line a setting, and how far it is from no clipping at the usual rate."""
    usual = frame["defence.max_grad_norm"].isna() & frame["training.lr"].eq(REFERENCE)
    return alternatives.by_setting(frame, COLUMNS, reference=frame[usual])
