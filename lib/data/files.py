"""Data sets from files: torchvision's, the JPEG archive of CIFAR-10, folders of images."""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lib import paths
from lib.data import cache

VERSION = 1  # of the decoding and of the order of images; part of the cache's keys
TORCHVISION = {  # name: (torchvision's class, the folder with its files)
    "mnist": ("MNIST", "MNIST"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
}
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                 "truck")
CIFAR_COUNTS = {"train": 5_000, "test": 1_000}  # images per class
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


class DataNotFound(RuntimeError):
    """A data set, or a file of it, is missing or unreadable; the message says in one line what to
    do."""


# torchvision's sets


def from_torchvision(name: str) -> cache.Parts:
    """MNIST, Fashion-MNIST or CIFAR-10, from a data root, else downloaded into the cache."""
    folder = TORCHVISION[name][1]
    for root in paths.data_roots():
        # Accept the folder that contains MNIST/, and MNIST/ itself.
        for candidate in (root, root.parent) if root.name == folder else (root,):
            if (candidate / folder).is_dir():
                return _torchvision_parts(name, candidate)
    return _downloaded(name)


def _torchvision_parts(name: str, root: Path) -> cache.Parts:
    import torchvision

    make, folder = getattr(torchvision.datasets, TORCHVISION[name][0]), root / TORCHVISION[name][1]
    try:
        train, test = make(root, train=True), make(root, train=False)
    except Exception as error:
        # torchvision raises many types for missing files, wrong checksums and truncated files.
        raise DataNotFound(
            f"data set {name}: the files in {folder} are incomplete or damaged"
            f" ({cache.one_line(error)}); remove that folder to download them again, or name"
            " another folder with --data DIR or DATA_ROOT") from error
    tensors = []
    for part in (train, test):
        tensors += [_channels_first(part.data), torch.as_tensor(part.targets).long()]
    # Shorten "7 - seven" to "7".
    return cache.Parts(*tensors, classes=tuple(label.split(" - ")[0] for label in train.classes))


def _channels_first(images) -> torch.Tensor:
    images = torch.as_tensor(images)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return images.contiguous()


def _downloaded(name: str) -> cache.Parts:
    """Download into a temporary folder and move it into place, so that a killed download leaves no
    partial files behind."""
    import torchvision

    kind, folder = TORCHVISION[name]
    home = paths.cache_dir() / "data"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".download-") as part:
        try:
            with contextlib.redirect_stdout(sys.stderr), timeout(30.0):
                getattr(torchvision.datasets, kind)(part, download=True)
        except Exception as error:  # no network, no such host, a mirror's error page
            raise not_found(f"data set {name}",
                            f"it could not be downloaded ({cache.one_line(error)})") from error
        shutil.rmtree(home / folder, ignore_errors=True)
        os.replace(Path(part) / folder, home / folder)
    return _torchvision_parts(name, home)


@contextlib.contextmanager
def timeout(seconds: float) -> Iterator[None]:
    """Make connections fail after some seconds; a network that drops packets hangs for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# folders of images


def cifar10_jpeg() -> cache.Parts:
    """CIFAR-10 as JPEG files, from an archive or a folder with {train,test}/CLASS/NAME.jpg."""
    for root in paths.data_roots():
        for name in ("cifar10-jpeg", "cifar-10-jpeg"):
            if (root / f"{name}.tar.xz").is_file():
                return _cifar10_archive(root / f"{name}.tar.xz")
            if (root / name).is_dir():
                folder = root / name
                key = _key(_listed(folder), folder)
                return cache.parts("cifar10-jpeg", key, partial(_cifar10_folder, folder))
    raise not_found("data set cifar10-jpeg",
                    "expected cifar10-jpeg.tar.xz or a folder cifar10-jpeg")


def _cifar10_archive(archive: Path) -> cache.Parts:
    import tarfile

    def make() -> cache.Parts:
        home = paths.cache_dir() / "data"
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=".unpacked-") as folder:
            try:
                with tarfile.open(archive) as file:
                    file.extractall(folder, filter=_without_links)
            except Exception as error:  # a truncated archive, a refused member, a full disk
                raise DataNotFound(f"{archive} cannot be unpacked ({cache.one_line(error)}); "
                                   "download it again") from error
            inside = [Path(folder), *sorted(Path(folder).glob("cifar*/"))]
            unpacked = next((path for path in inside if (path / "train").is_dir()), Path(folder))
            return _cifar10_folder(unpacked, archive)

    return cache.parts("cifar10-jpeg", f"{VERSION}-{sha256(archive)[:16]}", make)


def _without_links(member, folder: str):
    """A filter for tarfile: like "data", which refuses devices and paths outside the folder, but
    without links too, since images need none."""
    import tarfile

    if member.issym() or member.islnk():
        raise tarfile.FilterError(f"{member.name} is a link")
    return tarfile.data_filter(member, folder)


def _cifar10_folder(folder: Path, shown: Path | None = None) -> cache.Parts:
    names = {part: _listed(folder / part) for part in ("train", "test")}
    for part, count in CIFAR_COUNTS.items():
        for label in CIFAR_CLASSES:
            found = sum(name.split("/")[0] == label for name in names[part])
            if found != count:
                raise DataNotFound(f"{shown or folder}: {part}/{label} has {found} images, expected"
                                   f" {count}; download it again")
    train = _decoded(folder / "train", names["train"], CIFAR_CLASSES, side=32, resize=False)
    test = _decoded(folder / "test", names["test"], CIFAR_CLASSES, side=32, resize=False)
    return cache.Parts(*train, *test, classes=CIFAR_CLASSES)


def image_folder(name: str) -> cache.Parts:
    """Load `imagefolder:PATH` or `imagefolder:PATH@SIDE`.

    PATH is relative to a folder of `paths.own_folders` or to a data root, or it is absolute.
    """
    match = re.fullmatch(r"imagefolder:(.*?)(?:@(\d+))?", name)
    side = int(match[2] or 32) if match else 0
    if match is None or not match[1] or side < 1:
        raise ValueError(f"data set {name!r}: expected imagefolder:PATH or imagefolder:PATH@SIDE")
    given = Path(match[1]).expanduser()
    folder = next(
        (place for place in (root / given for root in (*paths.own_folders(), *paths.data_roots()))
         if place.is_dir()), None)
    if folder is None and given.is_absolute():
        raise DataNotFound(f"data set {name}: no folder {given}; correct the path")
    if folder is None:
        raise not_found(f"data set {name}", f"no such folder there, nor in {Path.cwd()}")
    names = _listed(folder)
    return cache.parts("imagefolder", _key(names, folder, side),
                       lambda: _folder_parts(folder, names, side))


def _folder_parts(folder: Path, names: list[str], side: int) -> cache.Parts:
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, test = _listed(folder / "train"), _listed(folder / "test")
        at = (folder / "train", folder / "test")
    else:
        test = [name for name in names if _is_test(name)]
        train = [name for name in names if not _is_test(name)]
        at = (folder, folder)
    classes = tuple(sorted({name.split("/")[0] for name in train if "/" in name}))
    if len(classes) < 2 or not test:
        raise DataNotFound(
            f"{folder}: found {len(classes)} class folders and {len(test)} test images; expected at"
            " least two class folders with images, or train/ and test/ with such folders")
    parts = [*_decoded(at[0], train, classes, side=side),
             *_decoded(at[1], test, classes, side=side)]
    if parts[0].shape[1] != parts[2].shape[1]:  # grey in one part, colour in the other
        parts[0], parts[2] = (parts[i].expand(-1, 3, -1, -1).contiguous() for i in (0, 2))
    return cache.Parts(*parts, classes=classes)


def _is_test(name: str) -> bool:
    """Whether a name belongs to the test fifth, by its hash; adding images does not change it."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 5 == 0


def _listed(folder: Path) -> list[str]:
    """Paths of the images below a folder, with / as separator, sorted by code points."""
    return sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*")
                  if path.suffix.lower() in IMAGES and not path.name.startswith("."))


def _key(names: list[str], folder: Path, side: int = 32) -> str:
    """A key that depends on every name and every byte of a folder's images."""
    found = hashlib.sha256(f"{VERSION} {side}".encode())
    for name in names:
        found.update(f"{name} {sha256(folder / name)}\n".encode())
    return f"{VERSION}-{side}-{found.hexdigest()[:16]}"


def _decoded(folder: Path, names: list[str], classes: tuple, *, side: int, resize: bool = True):
    """Decode images uint8 [n, channels, side, side] and labels int64 [n].

    Names come sorted by class; RandomState(0) permutes them, so that the first rows are a sample of
    all classes. If every image is grey, there is one channel.
    """
    order = np.random.RandomState(0).permutation(len(names))
    images, grey = np.empty((len(names), side, side, 3), np.uint8), True
    labels = torch.empty(len(names), dtype=torch.int64)
    for row, pick in enumerate(order):
        label = names[pick].split("/")[0]
        if label not in classes:
            raise DataNotFound(f"{folder / names[pick]}: {label} is not one of the classes "
                               f"({', '.join(classes)})")
        images[row], is_grey = _decode(folder / names[pick], side, resize)
        labels[row], grey = classes.index(label), grey and is_grey
    images = torch.from_numpy(images).permute(0, 3, 1, 2)
    return (images[:, :1] if grey else images).contiguous(), labels


def _decode(path: Path, side: int, resize: bool) -> tuple[np.ndarray, bool]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L")
            image = image.convert("RGB")
            if image.size != (side, side):
                if not resize:
                    raise ValueError(f"it is {image.width}x{image.height}, expected {side}x{side}")
                image = image.resize((side, side), Image.Resampling.BILINEAR)
            return np.asarray(image), grey
    except Exception as error:
        # For damaged files PIL raises OSError, SyntaxError, ValueError and more.
        raise DataNotFound(f"image {path} cannot be read ({cache.one_line(error)}); download it "
                           "again") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataNotFound(f"{path} cannot be read ({cache.one_line(error)})") from error


def not_found(name: str, why: str) -> DataNotFound:
    """The error for missing data: one line on what is missing, where we looked, and what to set."""
    places = ", ".join(str(root) for root in paths.data_roots())
    return DataNotFound(
        f"{name} not found in {places}: {why}; name its folder with --data DIR or DATA_ROOT")
