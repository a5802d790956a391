"""Turn runs and their poisoned data into members of one ensemble, and its models into results."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib import models, training
from lib.attacks import Poisoned, joined
from lib.defences import Averaged, Predict, Trained
from lib.parts import name_of
from lib.privacy import Guarantee
from lib.training.transforms import NO_VIEWS, Public, Viewed, mixes_public, viewed

if TYPE_CHECKING:
    from lib.study.runs import Run

Engine = Callable[..., training.Ensemble]  # has the signature of `training.fit`
Predictor = Callable[..., Predict]  # has the signature of `predictor`


def fit(runs: "list[Run]", poisoned: list[Poisoned], changes: list[dict], *,
        labels: str = "targets", engine: Engine = training.fit, planned: int | None = None
        ) -> training.Ensemble:
    """Train a group of runs.

    changes: for each run, the fields of its `Member` that the defence sets; "records" are places
    among the run's records to train on, by default all. labels: see `lib.training.losses`. engine:
    what trains. planned: the number of records that points of paths are planned for, where members
    set their own steps; by default that of the largest.
    """
    run, classes = runs[0], poisoned[0].classes
    view = viewed(run.training.transforms)
    pool, places = (pooled([data.before_stamps() for data in poisoned]) if view is None
                    else pooled_views(poisoned, view))
    members = [_member(run, data, rows, change)
               for run, data, rows, change in zip(runs, poisoned, places, changes, strict=True)]
    sizes = {records(run, data) for run, data, member in zip(runs, poisoned, members, strict=True)
             if member.steps is None}
    if len(sizes) > 1:
        # Steps and sampling rates follow from this number; an epsilon for another would be wrong.
        raise ValueError(f"a group trains on {sorted(sizes)} records: expected the same number for "
                         "all its runs; include the number in Defence.group")
    n = sizes.pop() if sizes else planned or max(len(member.rows) for member in members)
    schedule = bound(run.training.plan(n, run.precision, labels=labels), poisoned)
    return engine(lambda: models.build(run.model, tuple(pool.shape[1:]), classes), pool, members,
                  schedule)


def bound(schedule: training.Schedule, poisoned: Sequence[Poisoned]) -> training.Schedule:
    """The schedule with what its transforms wait for: the public records that they mix, which a
    group shares, and that the pool holds the views of each record.

    Raises ValueError where there are no public records, and for labels that cannot be mixed with
    known ones.
    """
    if view := viewed(schedule.transforms):
        return replace(schedule, transforms=(view.bank(),))
    waiting = mixes_public(schedule.transforms)
    if not waiting:
        return schedule
    name = ", ".join(waiting)
    if schedule.labels != "targets":
        raise ValueError(f"transform {name}: labels as {schedule.labels}: expected classes or "
                         "probabilities, which labels of public images can be mixed with")
    trusted = poisoned[0].trusted
    if trusted is None:
        raise ValueError(f"transform {name}: no public images: expected a training on the private "
                         "records of a run with public above 0")
    if any(data.trusted is None or data.trusted[0] is not trusted[0] for data in poisoned):
        raise ValueError("the runs of a group must share their public images; include the data set "
                         "in Defence.group")
    return replace(schedule, transforms=tuple(
        each.with_public(*trusted) if isinstance(each, Public) else each
        for each in schedule.transforms))


def records(run: "Run", data: Poisoned) -> int:
    """The number of records that determines the run's sample rate, steps and guarantee."""
    return data.records(run.training.appended)


def _member(run: "Run", data: Poisoned, rows: Tensor, change: dict) -> training.Member:
    change = {"start": data.start} | change
    chosen, labels = change.pop("records", None), data.labels
    late = data.late and training.Overlaid(data.late.overlay, data.rows >= len(data.clean))
    if late and chosen is not None:
        late = replace(late, rows=late.rows[chosen])
    if chosen is None:
        change.setdefault("records", records(run, data))
    else:
        rows, labels = rows[chosen], labels[chosen]
        change.setdefault("steps", run.training.steps(len(rows)))
        change.setdefault("batch_size", min(run.training.batch_size, len(rows)))
    member = training.Member(rows, labels, run.training.batch_size, run.training.lr,
                             init_seed=run.init_seed, batch_seed=run.init_seed,
                             noise_seed=run.noise_seed, overlaid=late)
    return replace(member, **change)


def pooled(poisoned: list[Poisoned]) -> tuple[Tensor, list[Tensor]]:
    """One pool of images for several runs, and each run's rows in it.

    The pool holds the shared clean images, then each run's stamped ones; all are floats if some
    are. Raises ValueError if the runs do not share their clean images.
    """
    clean = poisoned[0].clean
    if any(data.clean is not clean for data in poisoned):
        raise ValueError("the runs of a group must share their clean images; include the data set "
                         "in Defence.group")
    places, shift = [], 0
    for data in poisoned:
        places.append(torch.where(data.rows >= len(clean), data.rows + shift, data.rows))
        shift += len(data.stamped)
    return (joined(clean, *(data.stamped for data in poisoned)) if shift else clean), places


def pooled_views(poisoned: list[Poisoned], view: Viewed) -> tuple[Tensor, list[Tensor]]:
    """`pooled` of all views of the records, those of a record one after the other; places are those
    of the first ones."""
    banks = []
    for data in poisoned:
        if data.views is None or data.views[0].shape[1] != view.count:
            raise ValueError(f"transform {name_of(view)}: {NO_VIEWS}")
        banks.append(data.with_features(*data.views))
    pool, places = pooled(banks)
    return pool.flatten(0, 1), [view.count * rows for rows in places]


def predictor(group: training.Ensemble, model: int, *, step: int | None = None,
              weights: str = "last") -> Predict:
    """A function from inputs to the logits of one model, at the end or at a step."""
    return OfGroup(group, model, step, weights)


@dataclass(frozen=True, eq=False)
class OfGroup:
    """The predictions of one model of a trained group, which `together` can share."""

    group: training.Ensemble
    model: int
    step: int | None
    weights: str

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.group.predict(inputs, model=self.model, step=self.step, weights=self.weights)


    @property
    def training(self) -> tuple:
        """Equal for predictions of one training at one step."""
        return self.group, self.group.trainings[self.model], self.step, self.weights


class Answers:
    """Logits of many models on the same inputs, in which a training is asked once.

    Clean twins of a hundred attacks are often a few trainings, and predicting takes longer than
    they do. Kept are only the answers of trainings that several models share.
    """

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs
        self._kept: dict[tuple, Tensor] = {}

    def of(self, predicts: Sequence[Predict]) -> Iterator[Tensor]:
        """Logits [n, classes] of each function."""
        names = [_repeated(predict) for predict in predicts]
        new = {name: predict for name, predict in zip(names, predicts, strict=True)
               if name is not None and name not in self._kept}
        self._kept |= zip(new, together(list(new.values()), self.inputs))
        alone = together([predict for name, predict in zip(names, predicts, strict=True)
                          if name is None], self.inputs)
        for name in names:
            yield next(alone) if name is None else self._kept[name]


def _repeated(predict: Predict) -> tuple | None:
    """The training of a model that shares it with others of its group, else None."""
    if isinstance(predict, OfGroup) and predict.training[1] in predict.group.shared:
        return predict.training
    return None


MOST_TOGETHER = 64  # models


def together(predicts: Sequence[Predict], inputs: Tensor) -> Iterator[Tensor]:
    """Logits [n, classes] of each function on the same inputs; models of one group that stand next
    to each other are predicted together, with results on their device."""
    def alike(predict: Predict) -> tuple:
        if isinstance(predict, OfGroup):
            return id(predict.group), predict.step, predict.weights
        return (id(predict),)
    for _, same in itertools.groupby(predicts, alike):
        same = list(same)
        for part in (same[at:at + MOST_TOGETHER] for at in range(0, len(same), MOST_TOGETHER)):
            first = part[0]
            if not isinstance(first, OfGroup):
                yield from (predict(inputs) for predict in part)
                continue
            chosen = [predict.model for predict in part if isinstance(predict, OfGroup)]
            yield from first.group.predict_together(inputs, models=chosen, step=first.step,
                                                    weights=first.weights)


def trained(group: training.Ensemble, model: int, privacy: Guarantee, *,
            predictor: Predictor = predictor) -> Trained:
    """One model of a trained group as a result, with its path and its averaged weights.

    predictor: makes its prediction functions; the default uses the model as it is.
    """
    def path(weights: str) -> list[tuple[int, Predict]]:
        return [(step, predictor(group, model, step=step, weights=weights))
                for step in sorted(group.snapshots)]
    last = group.state(model)
    averaged = {name: Averaged(predictor(group, model, weights=name), path(name),
                               (last - group.state(model, weights=name)).norm().item())
                for name in group.averages}
    states = {step: values[model] for step, values in group.snapshots.items()}
    return Trained(predictor(group, model), privacy, path("last"), weights=last,
                   averaged=averaged, module=group.module, states=states)
