"""Attacks: each turns clean training data into a poisoned training set, and stamps test images.

An attack is a frozen dataclass with `poison(data, *, seed) -> Poisoned`, `trigger(images, *, seed)` for test images (uint8
in, uint8 out), `base` (None: all classes but the target) and `target`, which say who is counted. To be trained in several
worlds it has the switches `stamp` and `relabel`, too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Poisoned:
    """A training set with poison in it, as places in a pool: many attacked sets share the clean images.

    clean: the clean images or their features [n, ...], shared. stamped: what the attack put in the place of some
    [poisons, ...]. rows: int64 [n], places in clean followed by stamped. labels: int64 [n]. mask: bool [n], True
    for attacked records (also where only the label or only the image was changed). classes: how many there are.
    truth: int64 [n], the labels before the attack; no defence may use them but a control. public: the pool of public
    records of the same attacked set, for a defence that asks for one. pixels: the same set as uint8 images, for a defence
    that asks for them. encode: from images (0 to 255, also floats) to features, where a defence takes images in their place.
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

    def with_features(self, clean: Tensor, stamped: Tensor) -> "Poisoned":
        """The same poison on the features of the images."""
        return replace(self, clean=clean, stamped=stamped)

    def images(self) -> Tensor:
        """The training images as the victim sees them [n, ...] (a copy)."""
        return torch.cat([self.clean, self.stamped])[self.rows]


def clean(images: Tensor, labels: Tensor, classes: int) -> Poisoned:
    """A training set without poison."""
    n = len(labels)
    return Poisoned(images, images[:0], torch.arange(n), labels.clone(), torch.zeros(n, dtype=torch.bool), classes, labels)


def untouched(attack) -> bool:
    """True where an attack changes nothing (clean twins are shared): as it says itself, else by its switches."""
    return getattr(attack, "untouched", not any(_switches(attack)))


def _switches(attack) -> tuple[bool, bool]:
    return getattr(attack, "stamp", True), getattr(attack, "relabel", True)


def world_of(attack) -> str:
    """Which training world an attack makes: P stamped and relabelled, L relabelled, T stamped, C clean."""
    if untouched(attack):
        return "C"
    return {(True, True): "P", (False, True): "L", (True, False): "T"}[_switches(attack)]


def dirty(attack, data, *, seed: int) -> Poisoned:
    """`data` with the victims of a dirty-label attack stamped, relabelled, or both, as its switches say.

    attack: has `base`, `target`, `stamp`, `relabel`, `trigger` and `victims(labels, seed=)`. Raises ValueError for a class
    that the data set does not have.
    """
    for name in (attack.base, attack.target):
        if name is not None and not 0 <= name < len(data.classes):
            raise ValueError(f"attack class {name}: the data set has the classes 0 to {len(data.classes) - 1}")
    result = clean(data.images, data.labels, len(data.classes))
    if untouched(attack):
        return result
    victims = attack.victims(data.labels, seed=seed)
    result.mask[victims] = True
    if attack.relabel:
        result.labels[victims] = attack.target
    if not attack.stamp:
        return result
    result.rows[victims] = len(data.images) + torch.arange(len(victims))
    return result.with_features(data.images, attack.trigger(data.images[victims], seed=seed))


def attackable(attack, labels: Tensor, *, seed: int) -> Tensor:
    """Rows that can be attacked, int64, in the order in which they are: a prefix of one permutation, so that fewer are a subset."""
    pool = (labels == attack.base if attack.base is not None else labels != attack.target).nonzero().flatten()
    # A stream of its own: the trigger's pattern uses the same seed.
    return pool[torch.from_numpy(np.random.RandomState([seed, 1]).permutation(len(pool)))]
