"""Data sets as uint8 tensors, decoded once, and their public and private parts.

A name stands for exact bytes: `cifar10` is torchvision's original, `cifar10-jpeg` the same images
after JPEG compression. No data set replaces another; a missing one raises DataNotFound.

| name | one image or record | where it comes from |
|---|---|---|
| strokes, strokes-colour | [1, 28, 28], [3, 32, 32] | generated: 12,000 and 2,000, or more |
| mnist, fashion-mnist | [1, 28, 28] | torchvision's files in a data root, else downloaded |
| cifar10 | [3, 32, 32] | the same |
| cifar10-jpeg | [3, 32, 32] | cifar10-jpeg.tar.xz, or a folder of that name, in a data root |
| NAME-jpeg of strokes, mnist, fashion-mnist | as NAME | NAME after JPEG compression, quality 75 |
| imagefolder:PATH | [1 or 3, 32, 32] | a folder of class folders, or two: train/ and test/ |
| imagefolder:PATH@28 | [1 or 3, 28, 28] | the same |
| location-30 | [446] bits | Location/dataset_location.tgz in a data root; a substitute, see below |
| purchase-100 | [600] bits | Purchase/dataset_purchase.tgz in a data root |
| baskets | [100] bits | generated: 10,000 and 10,000; a substitute, see below |
| moons | [2] coordinates | generated: 700 and 300 |
| NAME:A-B | as NAME | two classes by number (or more, `NAME:A-B-C`): A is label 0, B is 1 |

Tabular records are uint8 as well; a bit is 0 or 255. Hong et al.'s results on Purchase-100 are
re-run on two substitutes, and every result names the one that it comes from: location-30 is real
(5,010 records, 30 classes), baskets has Purchase-100's number of classes and the accuracy of the
paper's softmax regression.

Measured on one core: strokes 1 s the first time, MNIST 0.1 s, cifar10-jpeg 15 s the first time and
.2 s later.
"""

import re
from dataclasses import dataclass, replace

import torch

from lib.data import archives, cache, compression, files, records
from lib.data.drawn import strokes
from lib.data.files import DataNotFound

__all__ = [
    "VERSION", "DataNotFound", "Dataset", "Labelled", "load", "restriction", "split", "strokes"
]

VERSION = 1  # raise it when any data set's bytes or order change

COMPRESSED = {f"{name}-jpeg": name for name in (
    "strokes", "strokes-colour", "mnist", "fashion-mnist")}
STROKES_TRAIN, STROKES_TEST = 12_000, 2_000  # images
SEEDS = (0, 1)  # of the training part and of the test part of a drawn set
RECORDS = {  # name: (drawing, class names, training records, test records)
    "baskets": (records.baskets, tuple(map(str, range(records.CLASSES))), 10_000, 10_000),
    "moons": (records.moons, ("upper", "lower"), 700, 300),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: images uint8 [n, channels, height, width], or [n, columns] if they are
    tabular records; labels int64 [n]; all on one device.

    digest: SHA-256 of the decoded bytes of the whole set, even if only its first images are here.
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
    """Labelled images, to attack or to measure a model on.

    images: uint8 [n, channels, height, width], tabular records [n, columns]. labels: int64 [n].
    classes: names.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]


def load(name: str, *, train_size: int | None = None, test_size: int | None = None,
         device: torch.device | str = "cpu") -> Dataset:
    """Load a data set, or only its first `train_size` training and `test_size` test images.

    Training images have a fixed order that mixes the classes, so that the first rows can be public.
    Raises DataNotFound, with a one-line message, for missing or unreadable data, and ValueError for
    an unknown name or a size larger than the set.
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
    """Split row numbers into (public [public], private [n - public]), int64.

    The first rows are public, as in Razmi et al.'s PATE.
    """
    if not 0 <= public <= n:
        raise ValueError(f"public is {public}: expected 0 to {n}, the number of training images; "
                         "lower it, or load more images")
    return torch.arange(public), torch.arange(public, n)


def restriction(name: str) -> tuple[str, tuple[int, ...] | None]:
    """Split a name into the whole data set's name and the classes to keep.

    ("mnist", (1, 0)) for "mnist:1-0"; (name, None) if all classes are kept.
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
    if name in RECORDS:
        return _drawn_records(name)
    if name in archives.ARCHIVES:
        return archives.load(name)
    if name in files.TORCHVISION:
        # These files hold decoded bytes, so a cached copy would gain nothing.
        return files.from_torchvision(name)
    if name in COMPRESSED:
        return _compressed(name, _whole(COMPRESSED[name], train_size, test_size))
    if name == "cifar10-jpeg":
        return files.cifar10_jpeg()
    if name.startswith("imagefolder:"):
        return files.image_folder(name)
    raise ValueError(
        f"data set {name!r} is unknown: expected strokes, strokes-colour, mnist, fashion-mnist,"
        " cifar10, cifar10-jpeg, location-30, purchase-100, baskets, moons or imagefolder:PATH, or"
        " NAME:A-B for two classes of one of them, or NAME-jpeg for strokes, mnist or fashion-mnist"
        " after compression")


def _compressed(name: str, whole: cache.Parts) -> cache.Parts:
    """The images, each saved as JPEG at the quality of cifar10-jpeg and read again."""
    def make() -> cache.Parts:
        images = (compression.compressed(part, compression.QUALITY)
                  for part in (whole.train_images, whole.test_images))
        return replace(whole, **dict(zip(("train_images", "test_images"), images)))
    return cache.parts(name, f"{compression.VERSION}-{whole.digest[:16]}", make)


def _drawn(name: str, train: int, test: int) -> cache.Parts:
    def make() -> cache.Parts:
        colour = name == "strokes-colour"
        tensors = []
        for n, seed in zip((train, test), SEEDS):
            images, labels = strokes(n, seed=seed, colour=colour)
            tensors += [torch.from_numpy(images if colour else images[:, None]),
                        torch.from_numpy(labels)]
        return cache.Parts(*tensors, classes=tuple("0123456789"))

    return cache.parts(name, f"{VERSION}-{train}-{test}", make)


def _drawn_records(name: str) -> cache.Parts:
    draw, classes, train, test = RECORDS[name]
    tensors = [torch.from_numpy(part) for n, seed in zip((train, test), SEEDS)
               for part in draw(n, seed=seed)]
    return cache.Parts(*tensors, classes=classes)


def _count(name: str, part: str, parts: cache.Parts, size) -> int:
    """The number of images to keep; raises ValueError if the set has fewer."""
    available = len(getattr(parts, f"{part}_labels"))
    if size is None:
        return available
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= available:
        raise ValueError(
            f"{part}_size is {size!r}: expected a whole number, 1 to {available}, for {name}")
    return size
