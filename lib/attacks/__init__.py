"""Attacks: each makes a training set as its attacker leaves it, in one of several worlds.

One file a method, found by its name: its module has a `VERSION` and ends with `Attack = TheClass`,
a frozen dataclass that satisfies the Protocol below. What the attacker wants, and how success is
counted, is apart (`lib.goals`); what the attacker works with is a `lib.lab.Lab`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from lib import parts, typed
from lib.data import Labelled

if TYPE_CHECKING:
    from lib.goals import Goal
    from lib.lab import Lab


@dataclass(frozen=True)
class Poisoned:
    """A training set with poison in it, as places in a pool: many attacked sets share the images.

    clean: the clean images or their features [n, ...], shared. stamped: what the attack made
    [poisons, ...]. rows: int64 [records], places in clean followed by stamped: n of them where
    poisons replace records, more where they are appended. labels: int64 [records]. mask: bool
    [records], True for attacked records (also where only the label or only the image changed).
    classes: how many there are. truth: int64 [records], the labels before the attack; no defence
    may use them but a control. public: the pool of public records of the same attacked set, for a
    defence that asks for one. pixels: the same set as uint8 images, for a defence that asks for
    them. encode: from images (0 to 255, also floats) to features, where a defence takes images.
    start: the weights that the training begins with, None to draw them.
    """

    clean: Tensor
    stamped: Tensor
    rows: Tensor
    labels: Tensor
    mask: Tensor
    classes: int
    truth: Tensor
    public: "Poisoned | None" = None
    pixels: "Poisoned | None" = None
    encode: Callable[[Tensor], Tensor] | None = None
    start: Tensor | None = None

    def records(self, appended: str) -> int:
        """How many records sample rate, steps and expected batch are reckoned from.

        appended: "nominal", those of the clean set, the same in every world, so that a bound links
        a world to its twin; "grown", all there are, as in released code (`Training.appended`).
        """
        n = len(self.rows)
        return min(len(self.clean), n) if appended == "nominal" else n

    def with_features(self, clean: Tensor, stamped: Tensor) -> "Poisoned":
        """The same poison on the features of the images."""
        return replace(self, clean=clean, stamped=stamped)

    def images(self) -> Tensor:
        """The training images as the victim sees them [records, ...] (a copy)."""
        return torch.cat([self.clean, self.stamped])[self.rows]

    def given_public(self) -> "Poisoned":
        """The pool of public records; ValueError where the defence was given none."""
        if self.public is None:
            raise ValueError("no public records were given: expected a defence with needs_public "
                             "= True, and a run with public above 0")
        return self.public

    def given_pixels(self) -> "Poisoned":
        """The same set as uint8 images; ValueError where the defence was given none."""
        if self.pixels is None:
            raise ValueError("no images were given beside the features: expected a defence with "
                             "needs_pixels = True")
        return self.pixels


class Attack(Protocol):
    """What an attack must have; `lib.attacks.dirty_label.DirtyLabel` has most of it ready.

    worlds: names of the training worlds that it can make, the attacked one first. C is the clean
    one, and every attack has it; what the others are, its module says.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # a frozen dataclass
    worlds: ClassVar[tuple[str, ...]]

    @property
    def goal(self) -> "Goal":
        """What the attacker wants: which test images count, and how success is scored."""
        ...

    @property
    def in_world(self) -> str:
        """The world that this attack makes as it is; "C" also where it poisons nothing."""
        ...

    def world(self, name: str) -> "Attack":
        """The same attack in another of its worlds."""
        ...

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """The training set as the attacker leaves it; the same seed makes the same poison."""
        ...


typed.builders[Attack] = functools.partial(parts.build, "attack")


def check_world(attack: Attack, name: str) -> None:
    """Raise ValueError for a world that the attack cannot make."""
    if name not in attack.worlds:
        raise ValueError(f"world {name!r}: expected one of {', '.join(attack.worlds)}")


def check_classes(data: Labelled, *classes: int | None) -> None:
    """Raise ValueError for a class that the data set does not have; None stands for no class."""
    for name in classes:
        if name is not None and not 0 <= name < len(data.classes):
            last = len(data.classes) - 1
            raise ValueError(f"attack class {name}: the data set has the classes 0 to {last}")


def clean(images: Tensor, labels: Tensor, classes: int) -> Poisoned:
    """A training set without poison."""
    n = len(labels)
    nothing = torch.zeros(n, dtype=torch.bool)
    return Poisoned(images, images[:0], torch.arange(n), labels.clone(), nothing, classes, labels)


def in_place(data: Labelled, records: Tensor, *, images: Tensor | None = None,
             labels: Tensor | int | None = None) -> Poisoned:
    """`data` with some records replaced: their images, their labels, or both.

    records: int64 [poisons]. images: uint8 [poisons, ...], None to keep them. labels: int64
    [poisons] or one class for all, None to keep them.
    """
    result = clean(data.images, data.labels, len(data.classes))
    result.mask[records] = True
    if labels is not None:
        result.labels[records] = labels
    if images is None:
        return result
    result.rows[records] = len(data.images) + torch.arange(len(records))
    return result.with_features(data.images, images)


def appended(data: Labelled, images: Tensor, labels: Tensor, *, truth: Tensor) -> Poisoned:
    """`data` with further records behind its own.

    images: uint8 [poisons, ...]. labels: int64 [poisons], as the attacker gives them. truth: int64
    [poisons], what they show. How they are sampled, `Training.appended` says.
    """
    if not len(images) == len(labels) == len(truth):
        raise ValueError(f"{len(images)} appended images, {len(labels)} labels, {len(truth)} true "
                         "labels: expected as many of each")
    own, n = clean(data.images, data.labels, len(data.classes)), len(data.labels)
    rows = torch.cat([own.rows, n + torch.arange(len(images))])
    mask = torch.cat([own.mask, torch.ones(len(images), dtype=torch.bool)])
    return replace(own, stamped=images, rows=rows, labels=torch.cat([own.labels, labels]),
                   mask=mask, truth=torch.cat([own.truth, truth]))


def permuted(records: Tensor, *, seed: int) -> Tensor:
    """`records` in the order in which an attack takes them: a prefix of one permutation, so that
    fewer poisons are a subset of more."""
    # A stream of its own: the trigger's pattern uses the same seed.
    order = np.random.RandomState([seed, 1]).permutation(len(records))
    return records[torch.from_numpy(order)]


def share_of(fraction: float, count: int) -> int:
    """Whole records in a share of `count`: .29 of 100 is 29, though .29 x 100 is 28.999... in
    floating point."""
    return int(fraction * count + 1e-9)
