"""Attacks: each turns clean training data into a poisoned training set, and stamps test images.

An attack is a frozen dataclass with `poison(data, *, seed) -> Poisoned`, `trigger(images, *, seed)` for test images,
`base` and `target` (who is counted), `world`, and `untouched` (True where it changes nothing: clean twins are shared).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

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
