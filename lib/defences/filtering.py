"""What filters share: train, look at the features, drop suspicious records, train again.

A filter sees what a victim has: the features that its own first model gives to its training
records, and their labels. Which records are poison only enters the facts of the row. The second
training starts from scratch, with the seeds of the first and the same number of epochs over the
records that are left, so that a filter that drops nothing ends with the undefended model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from lib.attacks import Poisoned
from lib.defences import Trained, members
from lib.parts import name_of
from lib.privacy import Guarantee
from lib.training import Ensemble

if TYPE_CHECKING:
    from lib.study.runs import Run

FACTS = ("removed", "poisons", "precision", "recall", "removed_of_target", "removed_of_others",
         "removed_of_class_min", "removed_of_class_max")
GUARANTEE = Guarantee.none("a filter decides about each record by all others, without noise")


@dataclass(frozen=True, eq=False)
class Seen:
    """What a filter sees: features [records, width] of the first model, and labels int64 [records].

    seed: for the filter's own draws. target: the class that the attacker wants, None if there is no
    single one; only a filter that is told it (`classes="target"`) may use it.
    """

    features: Tensor
    labels: Tensor
    seed: int
    target: int | None

    def by_class(self, *, only_target: bool = False) -> list[Tensor]:
        """Places of the records of each class that has any, or of the target class alone."""
        if not only_target:
            return [(self.labels == name).nonzero().flatten() for name in self.labels.unique()]
        if self.target is None:
            raise ValueError("a filter of the target class, and an attack without one: expected "
                             "classes \"all\"")
        return [(self.labels == self.target).nonzero().flatten()]


class Filter(Protocol):
    """A defence that drops records."""

    def suspects(self, seen: Seen) -> Tensor:
        """The records to drop, bool [records]."""
        ...


def group(name: str, run: "Run") -> tuple:
    """Runs with equal groups train together: all settings of a filter may differ."""
    return (name, run.model, replace(run.training, lr=1.0), run.precision)


def train(runs: "list[Run]", poisoned: list[Poisoned], filters: Sequence[Filter]) -> list[Trained]:
    """Train all runs of one group twice, the second time without what their filters drop."""
    brief = [run.with_(training__checkpoints=0, training__every=0.0, training__averages=())
             for run in runs]
    bodies = penultimate(members.fit(brief, poisoned, [{} for _ in runs]))
    dropped = [_dropped(one, bodies, model, run, data)
               for model, (one, run, data) in enumerate(zip(filters, runs, poisoned, strict=True))]
    return retrained(runs, poisoned, dropped)


def retrained(runs: "list[Run]", poisoned: list[Poisoned], dropped: list[Tensor]
              ) -> list[Trained]:
    """Train all runs of one group without the records that each drops, bool [records]."""
    left = [without(data, drop) for data, drop in zip(poisoned, dropped, strict=True)]
    # Points of a path are planned for the whole set, so that they do not depend on the other runs.
    again = members.fit(runs, left, [_change(run, data) for run, data in zip(runs, left)],
                        planned=members.records(runs[0], poisoned[0]))
    return [replace(members.trained(again, model, GUARANTEE),
                    facts=facts(data, drop, run.attack.goal.wanted))
            for model, (run, data, drop) in enumerate(zip(runs, poisoned, dropped, strict=True))]


def _change(run: "Run", left: Poisoned) -> dict:
    """The fields of a `Member` on the records that are left: as many epochs, on fewer records."""
    n = members.records(run, left)
    return {"steps": run.training.steps(n), "batch_size": min(run.training.batch_size, n)}


def _dropped(one: Filter, bodies: Ensemble, model: int, run: "Run", data: Poisoned) -> Tensor:
    """What the filter drops, bool [records]; ValueError if that empties a class."""
    features = bodies.predict(data.images(), model=model).to(data.labels.device)
    found = one.suspects(Seen(features, data.labels, run.noise_seed, run.attack.goal.wanted))
    check_classes_left(name_of(one), data, found)
    return found


def check_classes_left(defence: str, data: Poisoned, dropped: Tensor) -> None:
    """Raise ValueError if a defence would drop every record of a class."""
    for name in data.labels.unique().tolist():
        own = data.labels == name
        if bool(dropped[own].all()):
            raise ValueError(f"defence {defence}: it would drop all {int(own.sum())} records "
                             f"of class {name}: expected to keep some; lower what it drops, or "
                             "leave this set unfiltered")


def without(data: Poisoned, dropped: Tensor) -> Poisoned:
    """The training set without the dropped records."""
    kept = ~dropped
    return replace(data, rows=data.rows[kept], labels=data.labels[kept], mask=data.mask[kept],
                   truth=data.truth[kept])


def facts(data: Poisoned, dropped: Tensor, target: int | None) -> dict[str, float | None]:
    """How many records were dropped, which share of them is poison (precision), which share of the
    poison that is (recall), and shares of the records with the target's label and with each other.
    """
    removed, poisons = int(dropped.sum()), int(data.mask.sum())
    hits = int((dropped & data.mask).sum())
    shares = {name: dropped[data.labels == name].double().mean().item()
              for name in data.labels.unique().tolist()}
    others = [share for name, share in shares.items() if name != target]
    return {
        "removed": removed, "poisons": poisons,
        "precision": hits / removed if removed else None,
        "recall": hits / poisons if poisons else None,
        "removed_of_target": shares.get(target) if target is not None else None,
        "removed_of_others": math.fsum(others) / len(others) if others else None,
        "removed_of_class_min": min(shares.values()),
        "removed_of_class_max": max(shares.values())
    }


def penultimate(group: Ensemble) -> Ensemble:
    """The same models up to their last linear layer: they predict its inputs.

    Raises ValueError unless the network is a Sequential with a linear layer of its own.
    """
    module = group.module
    layers = list(module) if isinstance(module, nn.Sequential) else []
    last = max((place for place, layer in enumerate(layers) if isinstance(layer, nn.Linear)),
               default=None)
    if last is None:
        raise ValueError(f"model {type(module).__name__}: a filter reads the inputs of the last "
                         "linear layer: expected a Sequential that holds one")
    names = [name for name, _ in module.named_children()][:last]
    columns = torch.cat([
        torch.full((value.numel(),), name.split(".")[0] in names)
        for name, value in [*module.named_parameters(), *module.named_buffers()]])
    return Ensemble(nn.Sequential(*layers[:last]), group.parameters[:, columns.to(
        group.parameters.device)], {})


def principal(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Projections [n, count] of the rows of x on their principal axes, largest first, and the
    variances [count] along these.

    Axes come from the smaller of the two Gram matrices. In double precision, which squares need.
    """
    centred = x.double() - x.double().mean(0)
    n, width = centred.shape
    if width <= n:
        values, axes = torch.linalg.eigh(centred.T @ centred)
        found = centred @ axes.flip(1)[:, :count]
    else:
        values, axes = torch.linalg.eigh(centred @ centred.T)
        found = (axes * values.clamp_min(0).sqrt()).flip(1)[:, :count]
    return found, values.flip(0)[:count].clamp_min(0) / n
