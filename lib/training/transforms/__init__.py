"""Transforms of a batch of images, drawn anew in every step: one file each, found by its name.

A module of this folder has a `VERSION` and `Transform`, a frozen dataclass that satisfies
`Transform` below. What it mixes decides which guarantees stay:

- DP-SGD needs gradients that depend on one private record each. "none", "views" and "public" keep
  the sensitivity; "batch" does not, and neither a calibration nor an epsilon is given.
- Partitions (DPA) and PATE's teachers learn from their own part of the records, and a batch holds
  records of one part: every kind is fine. So it is for PATE's students, which see public records.
- Smoothing (RAB) certifies any training on inputs that have their noise already: every kind is fine
  (an epsilon of its models is DP-SGD's, and refused as there).
- Randomised labels (label noise, ALIBI, LP-MST) are drawn once, before all training: every kind is
  fine.
"""

import importlib
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lib import plugins

MIXES = ("none", "views", "public", "batch")


@runtime_checkable
class Transform(Protocol):
    """What changes the images of a batch, and perhaps their labels.

    mixes: what comes together in one record of the result: "none" (each stays by itself), "views"
    (one record's own augmentations), "public" (public images too), "batch" (records of a private
    batch).
    """

    mixes: str

    def draw(
        self, count: int, shape: tuple[int, ...], random: torch.Generator
    ) -> dict[str, Tensor]:
        """One model's draws [count, ...] for images of `shape` (channels, height, width)."""
        ...

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Inputs [models, batch, channels, height, width] and labels [models, batch, ...].

        draws: [models, batch, ...], of every model's own, 0 where the batch is padded.
        """
        ...


_own: dict[type, str] = {}  # classes of a user's own files, by the name that keys and YAML hold


def names() -> list[str]:
    """The transforms of this folder."""
    return sorted(
        file.stem for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__"
    )


def build(values) -> Transform:
    """The transform that {"name": ..., settings} describes, or the transform that was given.

    Raises ValueError for an unknown name or setting, and for an object that is no transform.
    """
    made = _named(dict(values)) if isinstance(values, dict) else values
    if not (
        isinstance(made, Transform)
        and is_dataclass(made)
        and type(made).__dataclass_params__.frozen
    ):
        raise ValueError(
            f"transform {values!r}: expected a frozen dataclass with mixes, draw and apply, "
            f"or a mapping such as {{name: {names()[0]}}}"
        )
    return made


def _named(values: dict) -> object:
    """An object of the class that a mapping names."""
    name = values.pop("name", None)
    kind = _kind(name)
    known = [item.name for item in fields(kind)] if is_dataclass(kind) else []
    for setting in values:
        if setting not in known:
            raise ValueError(
                f"transform {name}: unknown key {setting!r}; "
                f"expected {' or '.join(known) or 'none'}"
            )
    return kind(**values)


def _kind(name) -> type:
    if isinstance(name, str) and ".py:" in name:
        found = plugins.load(name)
        _own[found] = name
        return found
    if name not in names():
        raise ValueError(
            f"transform {name!r}: expected one of {', '.join(names())}, or my_file.py:Name"
        )
    return importlib.import_module(f"{__name__}.{name}").Transform


def to_dict(transform: Transform) -> dict:
    """Name and settings as plain values; `build` takes them back."""
    return {"name": name_of(transform), **asdict(transform)}


def name_of(transform: Transform) -> str:
    """The name under which YAML and rows know a transform."""
    return _own.get(type(transform), type(transform).__module__.rpartition(".")[2])


def version(transform: Transform) -> int | str:
    """The version of a transform's module; of a user's own file its hash."""
    if type(transform) in _own:
        return plugins.digest(_own[type(transform)])
    return importlib.import_module(type(transform).__module__).VERSION


def mixing_a_batch(transforms: Sequence[Transform]) -> list[str]:
    """Names of transforms that mix records of a private batch; ValueError if unknown."""
    for transform in transforms:
        if transform.mixes not in MIXES:
            raise ValueError(
                f"transform {name_of(transform)}: mixes {transform.mixes!r}: expected one of "
                f"{', '.join(MIXES)}; what a guarantee means depends on it"
            )
    return [name_of(transform) for transform in transforms if transform.mixes == "batch"]


def check_inputs(transforms: Sequence[Transform], shape: tuple[int, ...]) -> None:
    """Refuse inputs that are not images: ValueError that names their shape."""
    if transforms and len(shape) != 3:
        raise ValueError(
            f"transforms {', '.join(map(name_of, transforms))}: inputs of shape {tuple(shape)}: "
            "expected images (channels, height, width); leave the transforms out for features"
        )
