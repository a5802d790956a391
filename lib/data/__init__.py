"""Data sets as uint8 tensors, decoded once, and their public and private parts.

A data set's name names bytes, not a subject: `cifar10` is torchvision's original, `cifar10-jpeg`
the same images after JPEG compression. Nothing stands in for anything else: what is not there is a
DataNotFound.

| name | images | where it comes from |
|---|---|---|
| strokes, strokes-colour | [1, 28, 28], [3, 32, 32] | drawn here: 12,000 and 2,000, or more |
| mnist, fashion-mnist | [1, 28, 28] | torchvision's files in a data root, else downloaded |
| cifar10 | [3, 32, 32] | the same |
| cifar10-jpeg | [3, 32, 32] | cifar10-jpeg.tar.xz, or a folder of that name, in a data root |
| imagefolder:PATH | [1 or 3, 32, 32] | a folder of class folders, or two: train/ and test/ |
| imagefolder:PATH@28 | [1 or 3, 28, 28] | the same |
| NAME:A-B | as NAME | two classes by number (or more, `NAME:A-B-C`): A is label 0, B is 1 |

Measured on one core: strokes 1 s the first time, MNIST .1 s, cifar10-jpeg 15 s the first time and
.2 s later.
"""

import re
from dataclasses import dataclass

import torch

from lib.data import cache, files
from lib.data.drawn import strokes
from lib.data.files import DataNotFound

__all__ = [
    "VERSION", "DataNotFound", "Dataset", "Labelled", "load", "restriction", "split", "strokes"
]

VERSION = 1  # raise it when any data set's bytes or order change

STROKES_TRAIN, STROKES_TEST = 12_000, 2_000
STROKES_SEEDS = (0, 1)  # the training images' and the test images'


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: images uint8 [n, channels, height, width], labels int64 [n], all on one
    device.

    `digest` is the SHA-256 of the whole set's decoded bytes, also where only its first images were
    asked for.
    """

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    digest: str


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images uint8 [n, channels, height, width], labels int64 [n] and class names: what an attack
    is given, and what a model is measured on."""

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]


def load(name: str, *, train_size: int | None = None, test_size: int | None = None,
         device: torch.device | str = "cpu") -> Dataset:
    """Load a data set, its first `train_size` training and `test_size` test images (all of them if
    None).

    Training images stand in a fixed order with the classes mixed, so that the first rows can be the
    public ones. Raises DataNotFound, with a message of one line, for data that are not there or
    cannot be read, and ValueError for an unknown name or a size that the set does not have.
    """
    parts = _whole(name, train_size, test_size)
    train, test = _count(name, "train", parts, train_size), _count(name, "test", parts, test_size)
    return Dataset(
        name=name,
        train_images=parts.train_images[:train].to(device),
        train_labels=parts.train_labels[:train].to(device),
        test_images=parts.test_images[:test].to(device),
        test_labels=parts.test_labels[:test].to(device),
        classes=parts.classes,
        digest=parts.digest,
    )


def split(n: int, *, public: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers (public [public], private [n - public], int64): the first rows are public, as in
    Razmi's PATE.
    """
    if not 0 <= public <= n:
        raise ValueError(
            f"public is {public}: expected 0 to {n}, the number of training images; lower it or"
            " load more"
        )
    return torch.arange(public), torch.arange(public, n)


def restriction(name: str) -> tuple[str, tuple[int, ...] | None]:
    """A name as (the whole data set's name, the classes that are kept): ("mnist", (1, 0)) for
    "mnist:1-0", else (name, None).
    """
    found = re.fullmatch(r"(.+):(\d+(?:-\d+)+)", name)
    if found is None or found[1] == "imagefolder":  # a folder may be called 0-1
        return name, None
    return found[1], tuple(int(number) for number in found[2].split("-"))


def _restricted(name: str, whole: cache.Parts, kept: tuple[int, ...]) -> cache.Parts:
    if len(set(kept)) < len(kept) or max(kept) >= len(whole.classes):
        raise ValueError(
            f"data set {name!r}: expected different classes from 0 to {len(whole.classes) - 1}")
    new = torch.full((len(whole.classes),), -1)
    new[list(kept)] = torch.arange(len(kept))
    tensors = []
    for part in ("train", "test"):
        labels = new[getattr(whole, f"{part}_labels")]
        tensors += [getattr(whole, f"{part}_images")[labels >= 0], labels[labels >= 0]]
    return cache.Parts(*tensors, classes=tuple(whole.classes[number] for number in kept))


def _whole(name: str, train_size, test_size) -> cache.Parts:
    whole, kept = restriction(name)
    if kept is not None:
        return _restricted(name, _whole(whole, train_size, test_size), kept)
    if name in ("strokes", "strokes-colour"):
        return _drawn(name, max(train_size or 0, STROKES_TRAIN), max(test_size or 0, STROKES_TEST))
    if name in files.TORCHVISION:
        # their files are decoded bytes already: a second copy would gain nothing
        return files.from_torchvision(name)
    if name == "cifar10-jpeg":
        return files.cifar10_jpeg()
    if name.startswith("imagefolder:"):
        return files.image_folder(name)
    raise ValueError(
        f"data set {name!r} is unknown: expected strokes, strokes-colour, mnist, fashion-mnist,"
        " cifar10, cifar10-jpeg or imagefolder:PATH, and NAME:A-B for two classes of one"
    )


def _drawn(name: str, train: int, test: int) -> cache.Parts:
    def make() -> cache.Parts:
        colour = name == "strokes-colour"
        tensors = []
        for n, seed in zip((train, test), STROKES_SEEDS):
            images, labels = strokes(n, seed=seed, colour=colour)
            tensors += [
                torch.from_numpy(images if colour else images[:, None]),
                torch.from_numpy(labels)
            ]
        return cache.Parts(*tensors, classes=tuple("0123456789"))

    return cache.parts(name, f"{VERSION}-{train}-{test}", make)


def _count(name: str, part: str, parts: cache.Parts, size) -> int:
    """The number of images to keep, checked against what there is."""
    there = len(getattr(parts, f"{part}_labels"))
    if size is None:
        return there
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= there:
        raise ValueError(
            f"{part}_size is {size!r}: expected a whole number, 1 to {there}, for {name}")
    return size
