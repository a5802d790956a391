"""Gradients of poison and of clean records along a training (`Run.anatomy`), point by point."""

import math
from collections.abc import Iterator

from lib import defences
from lib.attacks import Poisoned
from lib.defences import Trained, members
from lib.parts import name_of
from lib.study.runs import Run
from lib.training.gradients import Records, compare
from lib.training.losses import smoothed


def check(run: Run) -> None:
    """Raise ValueError for a run that asks for an anatomy that it cannot have."""
    if not run.anatomy:
        return
    if not defences.asks(run.defence).plain_gradients:
        raise ValueError(f"run anatomy with defence {name_of(run.defence)}: it trains several "
                         "models, or on other labels than the attack's; expected dpsgd, or a "
                         "defence with plain_gradients = True")
    if not (run.training.every or run.training.checkpoints):
        raise ValueError("run anatomy without points: training every 0 and checkpoints 0; set one "
                         "of them")


def along(run: Run, model: Trained, data: Poisoned) -> Iterator[dict[str, float | None]]:
    """The comparison of `lib.training.gradients` at every step of the path, in its order.

    It uses the whole training set, as the model sees it, and clips at the run's own norm. Nothing
    where the run asks for none: an empty mapping a step.
    """
    check(run)
    if not run.anatomy:
        yield from ({} for _ in model.path)
        return
    if model.module is None:
        raise ValueError(f"run anatomy with defence {name_of(run.defence)}: it kept no weights "
                         "along its path; expected Trained.module and Trained.states")
    pool, places = members.pooled([data])
    bound = model.privacy.max_grad_norm or math.inf
    share = run.training.label_smoothing
    labels = smoothed(data.labels, share, data.classes) if share else data.labels
    for step, _ in model.path:
        records = Records(model.module, model.states[step], pool, places[0], labels)
        yield compare(records, data.mask, bound=bound)
