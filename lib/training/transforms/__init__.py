"""Transforms of a batch of images, with new draws in every step; one file each, found by its name.

A module of this folder has a `VERSION` and `Transform`, a frozen dataclass that satisfies
`Transform` below. What a transform mixes decides which guarantees hold:

- DP-SGD needs gradients that each depend on a single private record. "none", "views" and "public"
  keep the sensitivity, and epsilon is of the private records alone. "batch" does not, so noise is
  not calibrated and there is no epsilon.
- Partitions (DPA) and PATE's teachers learn from their own part of the records, and a batch has
  records of one part, so every kind is fine. The same holds for PATE's students, which learn from
  public records.
- Smoothing (RAB) certifies any training on inputs that already have their noise, so every kind is
  fine (the epsilon of its models is DP-SGD's, with the same restriction).
- Randomised labels (label noise, ALIBI, LP-MST) are drawn once, before all training, so every kind
  is fine.

An `Adaptive` transform looks at the network too, such as for the view of a record with the largest
loss. What it makes is a function of the record, of its draws and of the current weights. Under
DP-SGD these weights are already private, as results of the steps before, and the next step may
depend on them in any way: a record still contributes one clipped gradient, so the sensitivity is
that of the transform's `mixes`, and epsilon stays. This needs losses of single records, which is
why they are computed in evaluation mode.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from lib import parts, typed

MIXES = ("none", "views", "public", "batch")
NO_VIEWS = ("no views of the records: expected a run on frozen features, and a defence that trains "
            "one model on the private records")
PROGRESS = "progress"  # among an adaptive transform's draws: the share of the training that is done

# Of inputs [models, batch, channels, height, width] and their labels, every record's loss [models,
# batch] under the models' current weights, differentiable in the inputs.
Losses = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Transform(Protocol):
    """Changes the images of a batch, and perhaps their labels.

    mixes: what a record of the result may combine: "none" (a single record), "views" (several
    augmentations of one record), "public" (public images too), "batch" (several private records of
    a batch).
    """

    mixes: ClassVar[str]

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator
             ) -> dict[str, Tensor]:
        """One model's draws [count, ...] for images of `shape` (channels, height, width)."""
        ...

    def apply(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Transform inputs [models, batch, channels, height, width] and labels of a batch.

        labels: [models, batch, ...]; of transforms that mix records, "public" or "batch", always
        probabilities [models, batch, classes]. draws: [models, batch, ...], each model's own,
        zero-padded like the batch, whose records come before the padding.
        """
        ...


@runtime_checkable
class Adaptive(Transform, Protocol):
    """A transform that looks at the network: `choose` completes its draws, and `apply` uses them.

    Its draws also hold `PROGRESS` [models, batch], the share of each model's steps that is done.
    """

    def choose(self, x: Tensor, labels: Tensor, draws: dict[str, Tensor], losses: Losses
               ) -> dict[str, Tensor]:
        """The draws for `apply` [models, batch, ...], for the inputs and labels that it gets.

        A record's draws must depend on no other record: this may see a part of a batch at a time.
        """
        ...


@runtime_checkable
class Rounding(Adaptive, Protocol):
    """An adaptive transform that takes many losses, and for which rounded ones do.

    rounds: True. With precision "fast", losses of a deep network are computed like its gradients,
    in bfloat16.
    """

    rounds: ClassVar[bool]


@runtime_checkable
class Public(Transform, Protocol):
    """A transform that mixes public records: `with_public` hands it these before a training."""

    def with_public(self, images: Tensor, labels: Tensor) -> Transform:
        """The transform of these inputs [n, ...] with these classes int64 [n]."""
        ...


@runtime_checkable
class Viewed(Transform, Protocol):
    """A transform that uses one of several views of each image, which are made before a training:
    `bank` is the transform of records whose views the pool holds.

    count: views of an image. views: all of them, one tensor [n, ...] each.
    """

    count: int

    def views(self, images: Tensor) -> list[Tensor]:
        """Every view of uint8 images [n, channels, height, width]; each is a function of its image
        alone."""
        ...

    def bank(self) -> "Versioned":
        """The transform that draws one of the versions."""
        ...


@runtime_checkable
class Versioned(Transform, Protocol):
    """A transform that takes one of several versions of each record, in the place of the record.

    The pool holds the versions of a record one after the other, and a member's rows are the places
    of the first ones. The draws "version" [models, batch] say which to gather, so that `apply`
    finds it done.
    """

    versions: int


def viewed(transforms: Sequence[Transform]) -> Viewed | None:
    """The transform that uses views made before a training; None without any.

    Raises ValueError if others come with it: they need images, and views are features.
    """
    found = [transform for transform in transforms if isinstance(transform, Viewed)]
    if found and len(transforms) > 1:
        raise ValueError(f"transforms {', '.join(map(parts.name_of, transforms))}: expected "
                         f"{parts.name_of(found[0])} alone; what it draws from are features")
    return found[0] if found else None


def chosen_versions(transforms: Sequence[Transform], draws: Sequence[dict[str, Tensor]]
                    ) -> Tensor | None:
    """Which version of each record to gather [models, batch]; None where records have one."""
    for transform, own in zip(transforms, draws, strict=True):
        if isinstance(transform, Versioned):
            return own["version"]
    return None


def mixes_public(transforms: Sequence[Transform]) -> list[str]:
    """Names of the transforms that wait for public records."""
    return [parts.name_of(transform) for transform in transforms if isinstance(transform, Public)]


def chosen(transform: Transform, x: Tensor, labels: Tensor, draws: dict[str, Tensor],
           losses: Losses, *, chunk: int) -> dict[str, Tensor]:
    """The draws for `apply`: as they are, or what an adaptive transform makes of them, `chunk`
    records of each model at a time."""
    if not isinstance(transform, Adaptive):
        return draws
    found = []
    for start in range(0, x.shape[1], chunk):
        part = slice(start, start + chunk)
        own = {name: values[:, part] for name, values in draws.items()}
        found.append(transform.choose(x[:, part], labels[:, part], own, losses))
    return {name: torch.cat([part[name] for part in found], 1) for name in found[0]}


def build(values: "dict | Transform") -> Transform:
    """Build the transform that {"name": ..., settings} describes; return a transform unchanged.

    Raises ValueError for an unknown name or setting, and for an object that is not a transform.
    """
    made = parts.build("transform", values) if isinstance(values, dict) else values
    if not isinstance(made, Transform):
        raise ValueError(f"transform {values!r}: expected a frozen dataclass with mixes, draw and "
                         "apply, or a mapping such as {name: flip}")
    return made


typed.builders[Transform] = build


def mixing_a_batch(transforms: Sequence[Transform]) -> list[str]:
    """Names of the transforms that mix private records; ValueError for an unknown kind."""
    for transform in transforms:
        if transform.mixes not in MIXES:
            raise ValueError(
                f"transform {parts.name_of(transform)}: mixes {transform.mixes!r}: expected one of "
                f"{', '.join(MIXES)}; what a guarantee means depends on it")
    return [parts.name_of(transform) for transform in transforms if transform.mixes == "batch"]


def softens(transforms: Sequence[Transform]) -> bool:
    """Whether labels are mixed, and so must be probabilities."""
    return any(transform.mixes in ("public", "batch") for transform in transforms)


# ---------------------------------------------------------------- what transforms share

def orders(count: int, many: int, random: torch.Generator) -> Tensor:
    """Keys [count, many] that order a batch in `many` random ways.

    They lie above 0, so that padding comes last wherever it follows the batch.
    """
    return 1 + torch.rand(count, many, generator=random, device=random.device)


def partners(values: Tensor, order: Tensor) -> Tensor:
    """Values [models, batch, ...] at the places that keys [models, batch] put in each place's
    stead: a permutation of the records, and one of the padding."""
    places = order.argsort(1, descending=True)
    return values[torch.arange(len(values), device=values.device)[:, None], places]


def dirichlet(width: int, strength: float, random: torch.Generator) -> Tensor:
    """One draw [width] of a symmetric Dirichlet distribution; for two, the first is Beta."""
    shapes = torch.full((width,), strength, device=random.device)
    # torch.distributions takes no generator.
    gammas = torch.ops.aten._standard_gamma(shapes, random)
    return gammas / gammas.sum()


def inside(box: Tensor, size: tuple[int, ...]) -> Tensor:
    """Which pixels are in the box [..., 4] of rows and columns, ends exclusive: [..., *size]."""
    rows, columns = (torch.arange(length, device=box.device) for length in size)
    first_row, last_row, first, last = (edge[..., None] for edge in box.unbind(-1))
    in_rows = (rows >= first_row) & (rows < last_row)
    in_columns = (columns >= first) & (columns < last)
    return in_rows[..., :, None] & in_columns[..., None, :]


def whole(name: str, field: str, value: object, *, least: int) -> None:
    """Raise ValueError for a field that is not a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise ValueError(f"transform {name}: {field} {value!r}: expected a whole number of at "
                         f"least {least}")


def check_inputs(transforms: Sequence[Transform], shape: tuple[int, ...]) -> None:
    """Raise ValueError if there are transforms for images, and the inputs are not images; and if
    views of the records were not made."""
    if waiting := viewed(transforms):
        raise ValueError(f"transform {parts.name_of(waiting)}: {NO_VIEWS}")
    if any(isinstance(transform, Versioned) for transform in transforms):
        return
    if transforms and len(shape) != 3:
        raise ValueError(
            f"transforms {', '.join(map(parts.name_of, transforms))}: inputs of shape"
            f" {tuple(shape)}: expected images (channels, height, width); leave the transforms out"
            " for features")
