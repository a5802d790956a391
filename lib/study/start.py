"""Runs that start from runs: the last weights of one training as the first ones of another.

Weights are an artefact, named by the key of the run that made them, so that a hundred
re-trainings share one base: it is trained once for its weights, and once more if its own row is
asked for. What the base guarantees, its own start included, lies beside the weights: guarantees of
all stages compose. That needs independent randomness, so every stage draws from seeds of its own.
"""

import json
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from lib import defences, parts, paths
from lib.data import cache
from lib.parts import name_of
from lib.privacy import Guarantee
from lib.study import inputs
from lib.study.runs import Run


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to begin with, and what the run that made them guarantees."""

    weights: Tensor
    privacy: Guarantee


def check(run: Run) -> None:
    """Raise ValueError for a start that the run cannot use."""
    if run.start is None:
        return
    if not defences.asks(run.defence).start:
        raise ValueError(f"run start with defence {name_of(run.defence)}: it trains from scratch; "
                         "expected a defence that trains one model")
    first = run.start
    if first.features != run.features:
        raise ValueError(f"run start on features {first.features!r}: expected {run.features!r}, "
                         "what the run itself is given")
    if first.split != run.split and first.dataset == run.dataset:
        raise ValueError(f"run start with split {first.split!r}: expected {run.split!r}; it would "
                         "have seen the images that the tuning is measured on")
    if run.start.model != run.model:
        raise ValueError(f"run start of model {run.start.model!r}: expected {run.model!r}, the "
                         "model that starts with its weights")


def with_own_seeds(run: Run) -> Run:
    """The run with seeds that no earlier stage had: a repeated draw of noise would cancel between
    two stages, and neither guarantee would hold for both."""
    if run.start is None:
        return run
    own = {name: int(parts.digest([run.start.key, name, getattr(run, name)])[:7], 16)
           for name in ("init_seed", "noise_seed")}
    return replace(run, **own)


def load(run: Run) -> Start:
    """The weights of `run`, trained here if no earlier training left them.

    Raises ValueError where the run fails, or trains no single model.
    """
    path = paths.artefact_dir() / "starts" / f"{run.key[:40]}.safetensors"
    kept = cache.keep(path, lambda: _made(run))
    found = json.loads(bytes(kept["privacy"].tolist()))
    found["epsilon"] = float(found["epsilon"])  # JSON has no infinity
    return Start(kept["weights"].to(inputs.device()), Guarantee(**found))


def _made(run: Run) -> dict[str, Tensor]:
    from lib.study.measure import trained
    try:
        model = trained([run])[0]
    except ValueError as error:
        raise ValueError(f"run start cannot be trained: {error}") from error
    if model.weights is None:
        raise ValueError(f"run start of defence {name_of(run.defence)}: it trains an ensemble; "
                         "expected one that trains a single model")
    before = None if run.start is None else load(run.start)
    facts = asdict(composed(model.privacy, before))
    text = json.dumps(facts | {"epsilon": str(facts["epsilon"])})
    return {"weights": model.weights, "privacy": torch.tensor(list(text.encode()),
                                                              dtype=torch.uint8)}


def composed(own: Guarantee, start: Start | None) -> Guarantee:
    """What the whole training guarantees for a record of any stage: the sum of all.

    Without a guarantee of the start there is none for the whole. `own` still bounds what records
    of the second stage alone can do, and is kept beside it.
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
