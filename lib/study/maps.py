"""Decision maps of models of the plane (`Run.maps`): the probability of class 1 on a grid.

A map is kept at each point of a run's path, as text in its row, so that figures of a boundary come
from rows like all others. The grid has SIDE x SIDE points; its first index goes up the second
column of the records, its second index along the first column.
"""

import base64
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lib.defences import Predict
from lib.study import inputs
from lib.study.runs import Run

if TYPE_CHECKING:
    from pandas import DataFrame

SIDE = 64
STEP = 256 // SIDE  # bytes between neighbouring points


def grid() -> Tensor:
    """The grid's points as records uint8 [SIDE * SIDE, 2], row by row."""
    places = torch.arange(SIDE, dtype=torch.uint8) * STEP + STEP // 2
    up, along = torch.meshgrid(places, places, indexing="ij")
    return torch.stack([along, up], dim=-1).reshape(-1, 2)


def check(run: Run) -> None:
    """Raise ValueError for a run that asks for maps and whose records are not points of a plane."""
    if not run.maps:
        return
    records = inputs.private_and_test(run)[0]
    shape, classes = tuple(records.images.shape[1:]), len(records.classes)
    if shape != (2,) or classes != 2:
        raise ValueError(f"run maps on {run.dataset}, with records of shape {shape} in {classes} "
                         "classes: expected 2 columns and 2 classes, as in moons")
    if not run.training.every and not run.training.checkpoints:
        raise ValueError("run maps without a path: expected training every or checkpoints above 0, "
                         "the points at which a map is kept")


def point(run: Run, predict: Predict) -> dict[str, str]:
    """The map of a model at one point of its path; nothing if the run does not ask for maps."""
    if not run.maps:
        return {}
    logits = predict(grid().to(inputs.device()))
    return {"map": packed(torch.softmax(logits.double(), 1)[:, 1].cpu().numpy())}


def packed(probabilities: np.ndarray) -> str:
    """Probabilities as text, to 1/255: bytes, compressed, in base64 without slashes (no path)."""
    values = np.rint(np.nan_to_num(probabilities, nan=0.5) * 255).astype(np.uint8)
    return base64.urlsafe_b64encode(zlib.compress(values.tobytes(), 9)).decode()


def unpacked(text: str) -> np.ndarray:
    """The probabilities float64 [SIDE, SIDE] that `packed` wrote."""
    values = np.frombuffer(zlib.decompress(base64.urlsafe_b64decode(text)), np.uint8)
    return values.reshape(SIDE, SIDE) / 255


def along(frame: "DataFrame") -> "DataFrame":
    """One line per run and point of its path: the run's columns, epoch and map [SIDE, SIDE]."""
    import pandas as pd

    from lib import ledger
    from lib.study.table import MEASURED

    kept = [name for name in frame.columns if name not in MEASURED]
    lines = [{name: line[name] for name in kept} | found
             for _, line in frame.iterrows() for found in _points(ledger.find(line["key"])[0])]
    return pd.DataFrame(lines, columns=[*kept, "epoch", "map"])


def _points(row: dict | None) -> Iterable[dict]:
    for found in (row or {}).get("curve", []):
        if "map" in found:
            yield {"epoch": found["epoch"], "map": unpacked(found["map"])}
