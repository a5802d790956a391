"""Training losses of clean records, of poisons, and of poisons without their trigger along a
training (`Run.losses`; Turner's thesis, figure 4.1), point by point.

Poisons without their trigger are the same records in the attack's world that does everything but
stamp: hardened only (H) of a clean-label attack, relabelled only (L) of a dirty-label one, else
clean (C). They keep the labels that the poisons have. All losses are of the network as it predicts,
without augmentation.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.attacks import Poisoned, Search
from lib.defences import Predict
from lib.parts import name_of
from lib.study import columns, inputs
from lib.study.runs import Run
from lib.study.traces import MAX_SAMPLES, inputs_at

QUARTILES = (25, 50, 75)
WITHOUT_STAMP = ("H", "L", "C")  # what an attack is without its trigger, in order of preference


def check(run: Run) -> None:
    """Raise ValueError for a run that asks for losses that it cannot have."""
    if not run.losses:
        return
    if not (run.training.every or run.training.checkpoints):
        raise ValueError("run losses without points: training every 0 and checkpoints 0; set one "
                         "of them")
    if run.attack.goal.name != "backdoor" or isinstance(run.attack, Search):
        raise ValueError(f"run losses with attack {name_of(run.attack)}: expected a backdoor, whose"
                         " poisons are measured with their trigger and without it")


def unstamped(run: Run) -> Run:
    """The same run without stamps: P as H, L or C, T as C, any other world as it is."""
    world, known = run.attack.in_world, run.attack.worlds
    if world == "P":
        return run.in_world(next(name for name in WITHOUT_STAMP if name in known))
    return run.in_world("C") if world == "T" else run


def along(run: Run, path: list[tuple[int, Predict]], data: Poisoned
          ) -> Iterator[dict[str, float | None]]:
    """`columns.LOSSES` at every step of the path, in its order; nothing where the run asks for
    none: an empty mapping a step.
    """
    check(run)
    if not run.losses:
        yield from ({} for _ in path)
        return
    records = kinds(run, data)
    for _, predict in path:
        yield dict(zip(columns.LOSSES, (value for x, labels in records.values()
                                        for value in _quartiles(predict, x, labels)), strict=True))


def kinds(run: Run, data: Poisoned) -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs and labels of the first `MAX_SAMPLES` records of each kind: clean, poison, bare.

    Raises ValueError for an attack that appends records in one world and not in the other.
    """
    clean, poison = ((data.mask == attacked).nonzero().flatten()[:MAX_SAMPLES]
                     for attacked in (False, True))
    other = unstamped(run)
    bare = data if other == run else inputs.poisoned(other, start=data.start)[0]
    if len(bare.rows) != len(data.rows):
        raise ValueError(f"run losses with attack {name_of(run.attack)}: {len(data.rows)} training "
                         f"records, and {len(bare.rows)} without stamps: expected an attack that "
                         "changes records in place")
    return {name: (inputs_at(own, own.rows[places]), data.labels[places].cpu())
            for name, own, places in (("clean", data, clean), ("poison", data, poison),
                                      ("bare", bare, poison))}


def _quartiles(predict: Predict, x: Tensor, labels: Tensor) -> list[float | None]:
    """Quartiles of the cross-entropy in nats; None without records."""
    if not len(labels):
        return [None] * len(QUARTILES)
    losses = F.cross_entropy(predict(x).cpu().double(), labels, reduction="none")
    at = torch.tensor(QUARTILES, dtype=torch.float64) / 100
    return torch.quantile(losses, at).tolist()
