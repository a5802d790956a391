"""The ensembles of notebook 40 as lists of runs: data and attack instances in a `SetUp`, then every
noise level, poisoned share and number of models on it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lib.attacks.four_pixel import FourPixel
from lib.defences.dpsgd import DPSGD
from lib.defences.smoothing import Smoothing
from lib.study.design import worlds
from lib.study.runs import Run
from lib.training import Training

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

TUNED_ON = 2  # attack instances whose clean images choose a learning rate


@dataclass(frozen=True)
class SetUp:
    """Data, features and base learner (`fields` of a run), and the attack instances on them.

    names: pairs of classes, target first, each a binary task; or targets among all classes.
    training: fields of a model's training but the rate. norm: the trigger's on pixels in [0, 1].
    """

    fields: Mapping[str, Any]
    names: Sequence[list[int] | int]
    training: Mapping[str, Any]
    norm: float
    precision: str

    def instances(self, *, names: slice = slice(None), **attack: Any) -> list[Run]:
        """A run of RAB for each attack instance, with a trigger, poisons and seeds of its own."""
        return [self.start(number, name, **attack)
                for number, name in list(enumerate(self.names))[names]]

    def start(self, number: int = 0, name: list[int] | int | None = None, **attack: Any) -> Run:
        """The run of one instance (default: the first)."""
        name = self.names[0] if name is None else name
        binary = isinstance(name, list)
        own = {"dataset": f"{self.fields['dataset']}:{name[0]}-{name[1]}"} if binary else {}
        return Run(**{**self.fields, **own}, precision=self.precision, defence=Smoothing(),
                   attack=FourPixel(target=0 if binary else name, norm=self.norm, **attack),
                   training=Training(momentum=0.9, **self.training),
                   attack_seed=number, init_seed=number, noise_seed=number)


def undefended(setup: SetUp, shares: Iterable[float], rate: float) -> list[Run]:
    """One model on inputs without noise, attacked and clean: the positive control."""
    plain = {"defence": DPSGD(0.0, clip=False), "training__lr": rate}
    return [one for share in shares for instance in setup.instances(fraction=share)
            for one in worlds(instance.with_(**plain), "PC")]


def tuning(setup: SetUp, defences: Iterable[Smoothing], rates: Sequence[float], share: float,
           **fields: Any) -> list[Run]:
    """Each defence at each rate on clean data, measured on a held-out tenth of the private images.

    fields: what else differs, as `with_` takes it.
    """
    clean = [one.with_(split="tune", **fields).in_world("C")
             for one in setup.instances(names=slice(TUNED_ON), fraction=share)]
    return [one.with_(defence=defence, training__lr=rate)
            for defence in defences for rate in rates for one in clean]


def ensembles(setup: SetUp, rates: Mapping[float, float], models: int, *,
              noises: Iterable[float], shares: Sequence[float]) -> list[Run]:
    """RAB at every noise and share (0: the clean twin). rates: by noise, as tuned; a noise without
    one is left out."""
    return [one.with_(defence=Smoothing(models, noise), training__lr=rates[noise])
            for noise in noises if noise in rates
            for share in shares for one in setup.instances(fraction=share)]


def in_worlds(setup: SetUp, rates: Mapping[float, float], models: int, *,
              noises: Iterable[float], share: float) -> list[Run]:
    """RAB trained on stamped and relabelled (P), only relabelled (L) and clean data (C)."""
    return [world for one in ensembles(setup, rates, models, noises=noises, shares=[share])
            for world in worlds(one)]


def private(setup: SetUp, rates: Mapping[float, float], defences: Mapping[float, Smoothing], *,
            shares: Sequence[float]) -> list[Run]:
    """RAB of models trained by DP-SGD, by its noise multiplier; the first has its clean twin."""
    first = min(defences)
    return [one.with_(defence=defence, training__lr=rates[noise], training__sampling="poisson")
            for noise, defence in defences.items() if noise in rates
            for share in (shares if noise > first else [*shares, 0.0])
            for one in setup.instances(fraction=share)]


def below_features(setup: SetUp, space: Iterable[Sequence[float]], share: float, rate: float
                   ) -> list[Run]:
    """Noise on pixels, features of every copy computed anew: the first instance. space: (noise,
    models)."""
    return [one.with_(defence=Smoothing(int(models), noise, space="pixels"), training__lr=rate)
            for noise, models in space
            for one in setup.instances(names=slice(1), fraction=share)]


def tested(setup: SetUp, rates: Mapping[float, float], counts: Iterable[int], norm: float,
           defence: Smoothing) -> list[Run]:
    """A few images with a weak trigger, and a second ensemble without it to compare with."""
    if defence.noise not in rates:
        return []
    return [one.with_(attack__images=count, attack__norm=norm, defence=defence,
                      training__lr=rates[defence.noise])
            for count in counts for one in setup.instances()]


def smaller(defences: Iterable[Smoothing], models: int) -> list[Smoothing]:
    """The same defences with fewer models."""
    return [replace(one, models=models) for one in defences]


def best(frame: "DataFrame", *, by: str = "defence.noise") -> dict[float, float]:
    """The most accurate rate at each level that was measured in full; rows of `tuning`."""
    from lib import study

    return study.best(frame, by=by, choose="training.lr", on="accuracy")


def pictures(images: "Tensor", stamped: Mapping[float, "Tensor"]) -> tuple["Tensor", list[str]]:
    """Images without and with the trigger, by its norm, and a title for each."""
    import torch

    titles = ["clean", *(f"norm {size:g}" for size in stamped)]
    return torch.cat([images, *stamped.values()]), [
        title for title in titles for _ in range(len(images))]


def realised(images: "Tensor", stamped: Mapping[float, "Tensor"]) -> str:
    """In words: how much the trigger changes, by the norm that was asked for."""
    changes = {size: (after.float() - images.float()) / 255 for size, after in stamped.items()}
    return "; ".join(
        f"a trigger of norm {size:g} changes a pixel by up to {255 * found.abs().max():.0f} of 255"
        f" grey levels, a realised norm of up to {found.flatten(1).norm(dim=1).max():.2f}"
        for size, found in changes.items()).capitalize() + "."
