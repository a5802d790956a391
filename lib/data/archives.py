"""Tabular data sets from the archives that membership-inference papers use.

Each archive holds one text file: a record a line, its class (a number from 1, perhaps in quotes),
then zeros and ones, all separated by commas. Classes become labels from 0, bits become 0 or 255.
Records come in an order of their own, so a permutation drawn by RandomState(0) mixes them, and the
test set is its end.

`location-30` (Foursquare check-ins in Bangkok; 446 places, 30 classes) is 5,010 records of people
who agreed to no publication: use it to measure, and show no single record.

`purchase-100` has 600 columns in 197,324 records. Hong et al. (section 6.1) write of "records of
size 100"; the archive has no such version, so these are all its columns. The first 10,000 training
records (`train_size=10000`) and the 10,000 test records are a split of their sizes.
"""

import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lib import paths
from lib.data import cache
from lib.data.files import DataNotFound, not_found, sha256

VERSION = 1  # of the parsing and of the order of records; part of the cache's keys


@dataclass(frozen=True)
class Archive:
    """One archive: where it lies in a data root, its only file, and what that file holds.

    test: the number of test records. digest: SHA-256 of the archive, "" if it is not known.
    """

    folder: str
    name: str
    member: str
    records: int
    columns: int
    classes: int
    test: int
    digest: str = ""

    @property
    def largest(self) -> int:
        """The most bytes that its text file may have: two a column, and a class."""
        return self.records * (2 * self.columns + 16)


ARCHIVES = {
    "location-30": Archive(
        "Location", "dataset_location.tgz", "bangkok", 5_010, 446, 30, 2_505,
        "927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33"),
    "purchase-100": Archive(
        "Purchase", "dataset_purchase.tgz", "dataset_purchase", 197_324, 600, 100, 10_000),
}


def load(name: str) -> cache.Parts:
    """Read an archive by the name of its data set; records are uint8 [n, columns].

    Raises DataNotFound, with a one-line message, if it is missing or not what it should be.
    """
    archive = ARCHIVES[name]
    path = _found(name, archive)
    digest = sha256(path)
    if archive.digest not in ("", digest):
        raise DataNotFound(f"{path} has SHA-256 {digest[:16]}..., expected "
                           f"{archive.digest[:16]}...; download it again")
    return cache.parts(name, f"{VERSION}-{digest[:16]}", partial(_parts, path, archive))


def _found(name: str, archive: Archive) -> Path:
    for root in paths.data_roots():
        for path in (root / archive.folder / archive.name, root / archive.name):
            if path.is_file():
                return path
    raise not_found(f"data set {name}", f"expected {archive.folder}/{archive.name}")


def _parts(path: Path, archive: Archive) -> cache.Parts:
    records, labels = _parsed(path, _text(path, archive), archive)
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    records, labels = records[order], labels[order]
    train = len(labels) - archive.test
    return cache.Parts(records[:train], labels[:train], records[train:], labels[train:],
                       classes=tuple(str(number + 1) for number in range(archive.classes)))


def _text(path: Path, archive: Archive) -> bytes:
    """The bytes of the archive's text file, read in memory: nothing is unpacked to the disk."""
    try:
        with tarfile.open(path) as file:
            members = [member for member in file if member.name.split("/")[-1] == archive.member]
            if len(members) != 1 or not members[0].isreg():
                raise ValueError(f"expected one plain file {archive.member} in it")
            if members[0].size > archive.largest:
                raise ValueError(f"{archive.member} has {members[0].size} bytes, expected at most "
                                 f"{archive.largest}")
            content = file.extractfile(members[0])
            assert content is not None  # of a plain file
            return content.read()
    except Exception as error:  # not a tar archive, truncated, another content
        raise DataNotFound(f"{path} cannot be read ({cache.one_line(error)}); download it again"
                           ) from error


def _parsed(path: Path, text: bytes, archive: Archive) -> tuple[torch.Tensor, torch.Tensor]:
    """Records uint8 [n, columns] and labels int64 [n], in the file's order."""
    lines = text.split()
    if len(lines) != archive.records:
        raise DataNotFound(f"{path}: {len(lines)} records, expected {archive.records}; download it "
                           "again")
    records = np.empty((len(lines), archive.columns), np.uint8)
    labels = np.empty(len(lines), np.int64)
    for row, line in enumerate(lines):
        try:
            labels[row], records[row] = _record(line, archive)
        except ValueError as error:
            raise DataNotFound(f"{path}, line {row + 1}: {error}; download it again") from error
    return torch.from_numpy(records), torch.from_numpy(labels)


def _record(line: bytes, archive: Archive) -> tuple[int, np.ndarray]:
    """Label and bits (0 or 255) of one line."""
    first, _, rest = line.partition(b",")
    digits = first.strip(b'"')
    if not digits.isdigit() or not 1 <= int(digits) <= archive.classes:
        raise ValueError(f"class {first[:20]!r}, expected 1 to {archive.classes}")
    found = np.frombuffer(rest, np.uint8)
    bits, commas = found[::2] - np.uint8(ord("0")), found[1::2]
    if len(found) != 2 * archive.columns - 1 or (bits > 1).any() or (commas != ord(",")).any():
        raise ValueError(f"expected {archive.columns} zeros and ones, separated by commas")
    return int(digits) - 1, bits * np.uint8(255)
