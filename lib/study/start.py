"""Runs that start from other runs: the last weights of one training initialise another.

The weights are cached under the key of the run that made them, so that a hundred re-trainings share
one base. The base is trained once for its weights, and again if a table needs its own row. Its
guarantee, composed with its own start's, is cached with the weights, because the guarantees of all
stages compose. Composition needs independent randomness, so each stage has different seeds.
"""

import functools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lib import defences, parts, paths
from lib.data import cache
from lib.defences import Trained
from lib.parts import name_of
from lib.privacy import Guarantee
from lib.study import inputs
from lib.study.runs import Run


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to start from, and the guarantee of the run that made them."""

    weights: Tensor
    privacy: Guarantee


def check(run: Run) -> None:
    """Raise ValueError for a start that the run cannot use."""
    if run.start is None:
        return
    if not defences.asks(run.defence).start:
        raise ValueError(f"run start with defence {name_of(run.defence)}: it trains from scratch; "
                         "expected no start, or a defence that trains one model")
    first = run.start
    if first.features != run.features:
        raise ValueError(f"run start on features {first.features!r}: expected {run.features!r}, "
                         "the run's own features")
    if first.split != run.split and first.dataset == run.dataset:
        raise ValueError(f"run start with split {first.split!r}: expected {run.split!r}; otherwise "
                         "it trains on images that the tuning is measured on")
    if run.start.model != run.model:
        raise ValueError(f"run start of model {run.start.model!r}: expected {run.model!r}, the "
                         "run's own model")


def with_own_seeds(run: Run) -> Run:
    """The run with seeds that no earlier stage used.

    If two stages drew the same noise, it could cancel, and their guarantees would not compose.
    """
    if run.start is None:
        return run
    own = {name: int(parts.digest([run.start.key, name, getattr(run, name)])[:7], 16)
           for name in ("init_seed", "noise_seed")}
    return replace(run, **own)


def load(run: Run) -> Start:
    """The cached weights of `run`; trains it if there are none.

    Raises ValueError if the run fails, or trains more than one model.
    """
    kept = cache.keep(_place(run), lambda: _made(run))
    found = json.loads(bytes(kept["privacy"].tolist()))
    found["epsilon"] = float(found["epsilon"])  # stored as text, because JSON has no infinity
    return Start(kept["weights"].to(inputs.device()), Guarantee(**found))


def prepare(runs: Iterable[Run]) -> None:
    """Train the starts of these runs that are not cached yet, together where they may be.

    A start that cannot be trained with others is left to `load`, which says why.
    """
    from lib.study.measure import trained
    from lib.study.sweep import groups
    wanted = {run.start.key: run.start for run in runs if run.start is not None}
    missing = [run for run in wanted.values() if not _place(run).is_file()]
    if not missing:
        return
    prepare(missing)
    for _, group in groups(missing):
        if len(group) == 1:
            continue
        try:
            models = trained(group)
        except ValueError:
            continue
        for run, model in zip(group, models, strict=True):
            if model.weights is not None:
                cache.keep(_place(run), functools.partial(_stored, run, model))


def _place(run: Run) -> Path:
    return paths.artefact_dir() / "starts" / f"{run.key[:40]}.safetensors"


def _made(run: Run) -> dict[str, Tensor]:
    from lib.study.measure import trained
    try:
        model = trained([run])[0]
    except ValueError as error:
        raise ValueError(f"run start cannot be trained: {error}") from error
    return _stored(run, model)


def _stored(run: Run, model: Trained) -> dict[str, Tensor]:
    """Weights and guarantee as tensors; raises ValueError for an ensemble."""
    if model.weights is None:
        raise ValueError(f"run start of defence {name_of(run.defence)}: it trains an ensemble; "
                         "expected one that trains a single model")
    before = None if run.start is None else load(run.start)
    facts = asdict(composed(model.privacy, before))
    text = json.dumps(facts | {"epsilon": str(facts["epsilon"])})
    return {"weights": model.weights, "privacy": torch.tensor(list(text.encode()),
                                                              dtype=torch.uint8)}


def composed(own: Guarantee, start: Start | None) -> Guarantee:
    """The guarantee of the whole training for a record of any stage, by basic composition.

    If the start has no guarantee, the whole has none. `own` still bounds the influence of records
    of the last stage, and rows keep it separately.
    """
    if start is None:
        return own
    first = start.privacy
    if not own.holds:
        return own
    if not first.holds or first.adjacency != own.adjacency:
        why = "has none" if not first.holds else f"is for adjacency {first.adjacency}"
        return Guarantee.none(f"the run that this one starts from {why}; epsilon given its weights "
                              "is kept apart")
    note = f"basic composition with the start (epsilon {first.epsilon:.4g}, delta {first.delta:g})"
    return Guarantee(first.epsilon + own.epsilon, min(1.0, first.delta + own.delta), own.adjacency,
                     own.sampler, own.accountant, own.noise_multiplier, own.max_grad_norm,
                     own.sample_rate, own.steps, f"{own.note}; {note}" if own.note else note)
