"""Logits of single test images, kept beside the row of a run that asks for them (`Run.scores`)."""

from pathlib import Path

from torch import Tensor

from lib import paths
from lib.data import cache
from lib.goals import Cases, Predictions
from lib.study.runs import Run


def keep(run: Run, predictions: Predictions, cases: Cases) -> str:
    """Write the logits of a run to the local store; returns their checksum, for its row."""
    found = {"clean": predictions.clean, "cases": predictions.cases,
             "labels": predictions.labels, "rows": cases.rows}
    cache.write(_place(run), {name: tensor.cpu() for name, tensor in found.items()})
    return cache.checksum({name: tensor.cpu() for name, tensor in found.items()})


def load(run: Run) -> dict[str, Tensor]:
    """Read the logits of a known run.

    Returns "clean" [test, classes], "cases" [cases, classes], true "labels" [test], and "rows"
    [cases], the places of the cases in the test set. Raises ValueError if the run keeps no scores,
    or if they are on the machine that trained it and not here.
    """
    if not run.scores:
        raise ValueError("the run keeps no scores: expected one with scores=True (its key differs)")
    if not _place(run).is_file():
        raise ValueError(f"no scores of run {run.key[:12]} in {_place(run).parent}: they are kept "
                         "on the machine that trained it; to train it here, use build.py report "
                         "--fresh")
    return cache.read(_place(run))


def _place(run: Run) -> Path:
    return paths.store_dir() / "scores" / f"{run.key}.safetensors"
