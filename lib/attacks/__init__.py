"""Attacks: each makes a poisoned training set, in one of several training worlds.

There is one file per method, found by its name. It has a `VERSION` and ends with
`Attack = TheClass`, a frozen dataclass that satisfies the Protocol below. `lib.goals` defines what
attackers want and how success is counted; `lib.lab.Lab` holds what they work with.
"""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lib import parts, typed
from lib.data import Labelled
from lib.training import Overlay, as_input

if TYPE_CHECKING:
    from lib.goals import Goal
    from lib.goals.single_target import SingleTarget
    from lib.lab import Lab


@dataclass(frozen=True, eq=False)
class Late:
    """Stamps that lie on the augmented image, in place of those on the stored one.

    beneath: `Poisoned.stamped` before they were stamped. overlay: the stamp.
    """

    beneath: Tensor
    overlay: Overlay


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set, as places in a pool, so that many attacked sets share their images.

    clean: the clean images or their features [n, ...], shared. stamped: the images (or features)
    that the attack made [poisons, ...]; floats beside uint8 images are already divided by 255, and
    may leave [0, 1]. rows: int64 [records], places in clean followed by stamped;
    n of them if poisons replace records, more if they are appended. labels: int64 [records]. mask:
    bool [records], True for attacked records, even if only the label or only the image changed.
    classes: number of classes. truth: int64 [records], the labels before the attack, which only
    controls may use. public: the public records under the same attack, for a defence that asks for
    them. pixels: the same set as uint8 images, for a defence that asks for them. encode: from
    images (0 to 255, uint8 or float) to features, for a defence that takes images. start: the
    initial weights, None to draw them. facts: numbers about the poison for the row, by name; the
    attack lists their names in its class attribute `FACTS`. trusted: inputs and labels of the
    public records without the attack, for transforms that mix them and for a defence that asks for
    them. late: how to stamp after the augmentation, None where the stored images are stamped;
    `stamped` has the stamps either way. views: the inputs [n, views, ...] and [poisons, views, ...]
    of all views of clean and stamped, for a transform that uses one of them in each visit.
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
    facts: Mapping[str, float] = field(default_factory=dict)
    trusted: tuple[Tensor, Tensor] | None = None
    late: Late | None = None
    views: tuple[Tensor, Tensor] | None = None

    def records(self, appended: str) -> int:
        """The number of records that determines sample rate, steps and expected batch size.

        appended (`Training.appended`): "nominal" counts the clean set, in every world, so that a
        bound links a world to its twin; "grown" counts all records, as the released code does.
        """
        n = len(self.rows)
        return min(len(self.clean), n) if appended == "nominal" else n

    def with_features(self, clean: Tensor, stamped: Tensor) -> "Poisoned":
        """The same poison on the features of the images."""
        return replace(self, clean=clean, stamped=stamped)

    def images(self) -> Tensor:
        """The training images as the victim sees them [records, ...] (a copy)."""
        return joined(self.clean, self.stamped)[self.rows]

    def pool(self) -> Tensor:
        """The images that `rows` are places in, stamped; ValueError if stamps come later."""
        self.check_early()
        return joined(self.clean, self.stamped) if len(self.stamped) else self.clean

    def check_early(self) -> None:
        """Raise ValueError if stamps come after the augmentation, for a defence without that."""
        if self.late is not None:
            raise ValueError("an attack that stamps after the augmentation, and a defence that does"
                             " not: expected after_augmentation false, or a defence that trains "
                             "one model on all records, such as dpsgd")

    def before_stamps(self) -> "Poisoned":
        """The same set without the stamps that come after the augmentation."""
        return self if self.late is None else replace(self, stamped=self.late.beneath)

    def given_public(self) -> "Poisoned":
        """The public records; ValueError if this set has none."""
        if self.public is None:
            raise ValueError("no public records: expected a defence with needs_public = True, and a"
                             " run with public above 0")
        return self.public

    def given_trusted(self) -> tuple[Tensor, Tensor]:
        """Inputs and labels of the records without the attack; ValueError if there are none."""
        if self.trusted is None:
            raise ValueError("no trusted records: expected a defence with needs_trusted = True, and"
                             " a run with public above 0")
        return self.trusted

    def given_pixels(self) -> "Poisoned":
        """The same set as uint8 images; ValueError if this set has none."""
        if self.pixels is None:
            raise ValueError("no images beside the features: expected a defence with needs_pixels "
                             "= True")
        return self.pixels


def joined(*parts: Tensor) -> Tensor:
    """Images one after the other; floats in the unit of the victim's inputs if any of them are."""
    if len({part.dtype for part in parts}) > 1:
        parts = tuple(as_input(part) for part in parts)
    return torch.cat(parts)


def facts(attack: "Attack") -> tuple[str, ...]:
    """The names of the facts that an attack adds to a row."""
    return tuple(getattr(attack, "FACTS", ()))  # most attacks add none


class Attack(Protocol):
    """What an attack must define; `lib.attacks.dirty_label.DirtyLabel` implements most of it.

    worlds: names of the training worlds that it can make, the attacked one first. Every attack has
    C, the clean one; its module explains the others. It may also have an attribute `FACTS`, the
    names of the facts in its `Poisoned`.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # a frozen dataclass
    worlds: ClassVar[tuple[str, ...]]

    @property
    def goal(self) -> "Goal":
        """The attacker's goal: which test images count, and how success is scored."""
        ...

    @property
    def in_world(self) -> str:
        """The world that this attack makes with its current settings; "C" if it poisons nothing."""
        ...

    def world(self, name: str) -> "Attack":
        """The same attack in another of its worlds."""
        ...

    def craft(self, data: Labelled, *, seed: int, lab: "Lab") -> Poisoned:
        """Poison a training set; the same seed makes the same poison."""
        ...


@runtime_checkable
class Search(Protocol):
    """An attack that tries several training sets in turn, each on a training of its own.

    most_tries: number of tries if all of them can be made; the clean world has as many. Its goal is
    a single target, so that a try succeeds or fails.
    """

    @property
    def goal(self) -> "SingleTarget": ...

    @property
    def most_tries(self) -> int: ...

    def tries(self, data: Labelled, *, seed: int, lab: "Lab") -> list[Poisoned]:
        """The training sets of all tries, in their order."""
        ...


@runtime_checkable
class Prepared(Protocol):
    """An attack that takes long to craft, and less for several at once.

    alike: equal for attacks that can be crafted together.
    """

    @property
    def alike(self) -> Hashable: ...

    def prepare(self, attacks: Sequence[Any], data: Labelled, *, seeds: Sequence[int], lab: "Lab"
                ) -> None:
        """Craft attacks with equal `alike`, each with its seed, and keep them in the lab's cache.
        """
        ...


typed.builders[Attack] = functools.partial(parts.build, "attack")


def check_world(attack: Attack, name: str) -> None:
    """Raise ValueError for a world that the attack cannot make."""
    if name not in attack.worlds:
        raise ValueError(f"world {name!r}: expected one of {', '.join(attack.worlds)}")


def check_classes(data: Labelled, *classes: int | None) -> None:
    """Raise ValueError for a class that the data set does not have; ignore None."""
    for name in classes:
        if name is not None and not 0 <= name < len(data.classes):
            last = len(data.classes) - 1
            raise ValueError(f"attack class {name}: expected one of the data set's classes, 0 to "
                             f"{last}")


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
    """`data` with further records after its own.

    images: uint8 [poisons, ...]. labels: int64 [poisons], chosen by the attacker. truth: int64
    [poisons], what the images show. `Training.appended` decides how they are sampled.
    """
    if not len(images) == len(labels) == len(truth):
        raise ValueError(f"{len(images)} appended images, {len(labels)} labels, {len(truth)} true "
                         "labels: expected the same number of each")
    own, n = clean(data.images, data.labels, len(data.classes)), len(data.labels)
    rows = torch.cat([own.rows, n + torch.arange(len(images))])
    mask = torch.cat([own.mask, torch.ones(len(images), dtype=torch.bool)])
    return replace(own, stamped=images, rows=rows, labels=torch.cat([own.labels, labels]),
                   mask=mask, truth=torch.cat([own.truth, truth]))


def permuted(records: Tensor, *, seed: int) -> Tensor:
    """`records` in the order in which an attack takes them, a permutation given by the seed.

    An attack takes a prefix, so that the victims of a weaker attack are a subset of a stronger's.
    """
    # A separate stream, because the trigger's pattern uses the same seed.
    order = np.random.RandomState([seed, 1]).permutation(len(records))
    return records[torch.from_numpy(order)]


def share_of(fraction: float, count: int) -> int:
    """Whole records in a share of `count`: 0.29 of 100 is 29, although 0.29 x 100 is 28.999... in
    floating point."""
    return int(fraction * count + 1e-9)
