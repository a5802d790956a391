"""From runs and their poisoned data to members of one ensemble, and back: what every defence that trains needs."""

from dataclasses import replace

import torch
from torch import Tensor

from lib import models, training
from lib.attacks import Poisoned
from lib.defences import Trained
from lib.privacy import Guarantee


def fit(runs: list, poisoned: list[Poisoned], changes: list[dict], *, labels: str = "targets", engine=training.fit) -> training.Ensemble:
    """Train a group. `changes`: for each run the fields of its `Member` that the defence sets.

    A change of "records" holds the places among the run's own records to train on (all of them without it). labels: see `lib.training.losses`.
    """
    run, classes = runs[0], poisoned[0].classes
    pool, places = pooled(poisoned)
    members = [_member(run, data, rows, change) for run, data, rows, change in zip(runs, poisoned, places, changes)]
    sizes = {len(member.rows) for member in members if member.steps is None}
    if len(sizes) > 1:
        # Steps and sampling rates follow from the number of records: an epsilon for other ones would be wrong.
        raise ValueError(f"a group trains on {sorted(sizes)} records: expected one number; put it into Defence.group")
    schedule = run.training.plan(max(len(member.rows) for member in members), run.precision, labels=labels)
    return engine(lambda: models.build(run.model, tuple(pool.shape[1:]), classes), pool, members, schedule)


def _member(run, data: Poisoned, rows: Tensor, change: dict) -> training.Member:
    change = dict(change)
    chosen = change.pop("records", None)
    labels = data.labels
    if chosen is not None:
        rows, labels = rows[chosen], labels[chosen]
        change.setdefault("steps", run.training.steps(len(rows)))
        change.setdefault("batch_size", min(run.training.batch_size, len(rows)))
    member = training.Member(rows, labels, run.training.batch_size, run.training.lr, init_seed=run.init_seed,
                             batch_seed=run.init_seed, noise_seed=run.noise_seed)
    return replace(member, **change)


def pooled(poisoned: list[Poisoned]) -> tuple[Tensor, list[Tensor]]:
    """One pool (the shared clean images, then each run's stamped ones) and the rows of each run in it.

    Raises ValueError where the runs do not share their clean images.
    """
    clean = poisoned[0].clean
    if any(data.clean is not clean for data in poisoned):
        raise ValueError("the runs of a group must share their clean images: put the data set into Defence.group")
    places, shift = [], 0
    for data in poisoned:
        places.append(torch.where(data.rows >= len(clean), data.rows + shift, data.rows))
        shift += len(data.stamped)
    return (torch.cat([clean, *(data.stamped for data in poisoned)]) if shift else clean), places


def trained(group: training.Ensemble, model: int, privacy: Guarantee) -> Trained:
    """One model of a trained group, with its path."""
    def predictor(step=None):
        return lambda inputs: group.predict(inputs, model=model, step=step)
    return Trained(predictor(), privacy, [(step, predictor(step)) for step in sorted(group.snapshots)])
