"""The ensembles of notebook 41 as lists of runs: votes of parts, and what they are compared with on
the same attacks. `base` is always a run of DPA on the shared data; a function changes what differs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib.attacks.four_pixel import FourPixel
from lib.defences.dpsgd import DPSGD
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.defences.smoothing import Smoothing
from lib.study.runs import Run
from lib.training import Training

if TYPE_CHECKING:
    from pandas import DataFrame

TUNED_ON = 2  # attack instances whose clean images choose a learning rate
STUDENT = Training("adam", 0.001, momentum=0.0, epochs=30.0, batch_size=128, sampling="shuffle")


def base(setup: Mapping[str, Any], *, model: str, norm: float, precision: str,
         training: Mapping[str, Any]) -> Run:
    """DPA on one data set. training: fields of a part's training; norm: the trigger's."""
    return Run(**setup, model=model, precision=precision, attack=FourPixel(norm=norm),
               defence=Partition(), training=Training(**{"momentum": 0.9, **training}))


def instances(start: Run, targets: Iterable[int], **attack: Any) -> list[Run]:
    """A run for each target class, with poisons and seeds of its own."""
    changes = {f"attack__{name}": value for name, value in attack.items()}
    return [start.with_(attack__target=target, attack_seed=number, init_seed=number,
                        noise_seed=number, **changes) for number, target in enumerate(targets)]


def tuning(start: Run, targets: Sequence[int], parts: Iterable[int], rates: Sequence[float]
           ) -> list[Run]:
    """Every number of parts at every rate on clean data, measured on a held-out tenth."""
    clean = [one.with_(split="tune") for one in instances(start, targets[:TUNED_ON], fraction=0.0)]
    return [one.with_(defence=Partition(k), training__lr=rate)
            for k in parts for rate in rates for one in clean]


def best(frame: "DataFrame") -> dict[int, float]:
    """The most accurate rate of each number of parts that was measured in full."""
    from lib import study

    return study.best(frame, by="defence.partitions", choose="training.lr", on="accuracy")


def votes(start: Run, targets: Sequence[int], rates: Mapping[int, float], *, parts: Iterable[int],
          shares: Sequence[float]) -> list[Run]:
    """DPA at every number of parts and poisoned share. rates: as tuned; parts without one are left
    out."""
    return [one.with_(defence=Partition(k), training__lr=rates[k])
            for k in parts if k in rates
            for share in shares for one in instances(start, targets, fraction=share)]


def smoothed(attacked: Iterable[Run], levels: Iterable[Sequence[float]], *, models: int,
             model: str, training: Mapping[str, Any]) -> list[Run]:
    """RAB against the same attacks. levels: (noise, learning rate); model, training: of one of its
    models."""
    attacked = list(attacked)
    return [one.with_(model=model, defence=Smoothing(models, noise), training=Training(
        momentum=0.9, lr=rate, **training)) for noise, rate in levels for one in attacked]


def by_place(attacked: Iterable[Run], parts: int, rate: float) -> list[Run]:
    """Votes of parts cut by place: an image changed in place stays in its part."""
    return [one.with_(defence=Partition(parts, by="index"), training__lr=rate) for one in attacked]


def over_smoothed(attacked: Iterable[Run], model: str, settings: Mapping[str, Any]) -> list[Run]:
    """Votes of parts by place, each of smoothed models. settings: partitions, models, noise, rate.
    """
    defence = Partition(settings["partitions"], by="index", models=settings["models"],
                        noise=settings["noise"])
    return [one.with_(model=model, training__lr=settings["rate"], defence=defence)
            for one in attacked]


def teachers(attacked: Iterable[Run], count: int, rate: float) -> list[Run]:
    """PATE without noise: teachers by place, trained as DPA's parts are."""
    return [one.with_(defence=PATE(count, teacher=replace(one.training, lr=rate)), training=STUDENT)
            for one in attacked]


def private(attacked: Iterable[Run], noise: Iterable[float], training: Mapping[str, Any]
            ) -> list[Run]:
    """DP-SGD at every noise multiplier."""
    attacked = list(attacked)
    return [one.with_(defence=DPSGD(z), training=Training(momentum=0.9, **training))
            for z in noise for one in attacked]


def tested(start: Run, counts: Iterable[int], seeds: int, rates: Mapping[int, float], parts: int
           ) -> list[Run]:
    """A few poisoned images, other ones and another target with each seed, beside the same ensemble
    on clean data."""
    return [one.with_(attack__images=count, defence=Partition(parts, twin=True),
                      training__lr=rates[parts])
            for count in counts if parts in rates
            for one in instances(start, [number % 10 for number in range(seeds)])]
