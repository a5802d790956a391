"""From runs and their poisoned data to members of one ensemble, and back: what every defence that
trains needs."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib import models, training
from lib.attacks import Poisoned
from lib.defences import Averaged, Predict, Trained
from lib.privacy import Guarantee

if TYPE_CHECKING:
    from lib.study.runs import Run

Engine = Callable[..., training.Ensemble]  # has the signature of `training.fit`
Predictor = Callable[..., Predict]  # has the signature of `predictor`


def fit(runs: "list[Run]", poisoned: list[Poisoned], changes: list[dict], *,
        labels: str = "targets", engine: Engine = training.fit) -> training.Ensemble:
    """Train a group. `changes`: for each run the fields of its `Member` that the defence sets.

    A change of "records" holds the places among the run's own records to train on (all of them
    without it). labels: see `lib.training.losses`.
    """
    run, classes = runs[0], poisoned[0].classes
    pool, places = pooled(poisoned)
    members = [_member(run, data, rows, change)
               for run, data, rows, change in zip(runs, poisoned, places, changes, strict=True)]
    sizes = {records(run, data) for run, data, member in zip(runs, poisoned, members, strict=True)
             if member.steps is None}
    if len(sizes) > 1:
        # Steps and sampling rates follow from it: an epsilon for another number would be wrong.
        raise ValueError(f"a group trains on {sorted(sizes)} records: expected one number; put it "
                         "into Defence.group")
    n = sizes.pop() if sizes else max(len(member.rows) for member in members)
    schedule = run.training.plan(n, run.precision, labels=labels)
    return engine(lambda: models.build(run.model, tuple(pool.shape[1:]), classes), pool, members,
                  schedule)


def records(run: "Run", data: Poisoned) -> int:
    """How many records the run's sample rate, steps and guarantee are reckoned from."""
    return data.records(run.training.appended)


def _member(run: "Run", data: Poisoned, rows: Tensor, change: dict) -> training.Member:
    change = {"start": data.start} | change
    chosen, labels = change.pop("records", None), data.labels
    if chosen is None:
        change.setdefault("records", records(run, data))
    else:
        rows, labels = rows[chosen], labels[chosen]
        change.setdefault("steps", run.training.steps(len(rows)))
        change.setdefault("batch_size", min(run.training.batch_size, len(rows)))
    member = training.Member(rows, labels, run.training.batch_size, run.training.lr,
                             init_seed=run.init_seed, batch_seed=run.init_seed,
                             noise_seed=run.noise_seed)
    return replace(member, **change)


def pooled(poisoned: list[Poisoned]) -> tuple[Tensor, list[Tensor]]:
    """One pool (the shared clean images, then each run's stamped ones) and the rows of each run in
    it.

    Raises ValueError where the runs do not share their clean images.
    """
    clean = poisoned[0].clean
    if any(data.clean is not clean for data in poisoned):
        raise ValueError("the runs of a group must share their clean images: put the data set into "
                         "Defence.group")
    places, shift = [], 0
    for data in poisoned:
        places.append(torch.where(data.rows >= len(clean), data.rows + shift, data.rows))
        shift += len(data.stamped)
    return (torch.cat([clean, *(data.stamped for data in poisoned)]) if shift else clean), places


def predictor(group: training.Ensemble, model: int, *, step: int | None = None,
              weights: str = "last") -> Predict:
    """From inputs to the logits of one model of a trained group: at its end, or at a step."""
    return lambda inputs: group.predict(inputs, model=model, step=step, weights=weights)


def trained(group: training.Ensemble, model: int, privacy: Guarantee, *,
            predictor: Predictor = predictor) -> Trained:
    """One model of a trained group, with its path, and the same for its averaged weights.

    predictor: what makes each of its predictions, where it is not the model itself.
    """
    def path(weights: str) -> list[tuple[int, Predict]]:
        return [(step, predictor(group, model, step=step, weights=weights))
                for step in sorted(group.snapshots)]
    last = group.state(model)
    averaged = {name: Averaged(predictor(group, model, weights=name), path(name),
                               (last - group.state(model, weights=name)).norm().item())
                for name in group.averages}
    return Trained(predictor(group, model), privacy, path("last"), weights=last,
                   averaged=averaged)
