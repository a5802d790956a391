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

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lib import parts, typed

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


def build(values: "dict | Transform") -> Transform:
    """The transform that {"name": ..., settings} describes, or the transform that was given.

    Raises ValueError for an unknown name or setting, and for an object that is no transform.
    """
    made = parts.build("transform", values) if isinstance(values, dict) else values
    if not isinstance(made, Transform):
        raise ValueError(f"transform {values!r}: expected a frozen dataclass with mixes, draw and "
                         "apply, or a mapping such as {name: flip}")
    return made


typed.builders[Transform] = build


def mixing_a_batch(transforms: Sequence[Transform]) -> list[str]:
    """Names of transforms that mix records of a private batch; ValueError if unknown."""
    for transform in transforms:
        if transform.mixes not in MIXES:
            raise ValueError(
                f"transform {parts.name_of(transform)}: mixes {transform.mixes!r}: expected one of "
                f"{', '.join(MIXES)}; what a guarantee means depends on it")
    return [parts.name_of(transform) for transform in transforms if transform.mixes == "batch"]


def check_inputs(transforms: Sequence[Transform], shape: tuple[int, ...]) -> None:
    """Refuse inputs that are not images: ValueError that names their shape."""
    if transforms and len(shape) != 3:
        raise ValueError(
            f"transforms {', '.join(map(parts.name_of, transforms))}: inputs of shape"
            f" {tuple(shape)}: expected images (channels, height, width); leave the transforms out"
            " for features"
        )
