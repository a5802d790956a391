"""A cache of tensors that can be computed again: safetensors files with verified checksums."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from lib import paths

TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, eq=False)
class Parts:
    """The decoded tensors of a data set: images uint8 [n, channels, height, width], or tabular
    records [n, columns], and labels int64 [n].
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of class names, shapes and bytes."""
        return checksum(self.tensors(), "\n".join(self.classes))

    def tensors(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in TENSORS}


def parts(name: str, key: str, make: Callable[[], Parts]) -> Parts:
    """Read a decoded data set from the cache, else make it and write it there.

    key: a text that changes with everything its bytes depend on.
    """

    def made() -> dict[str, torch.Tensor]:
        decoded = make()
        # Class names are stored as bytes, so that the checksum covers them too.
        names = torch.tensor(list("\n".join(decoded.classes).encode()), dtype=torch.uint8)
        return {**decoded.tensors(), "classes": names}

    kept = keep(paths.cache_dir() / "data" / f"{name}-{key}.safetensors", made)
    classes = bytes(kept.pop("classes").tolist()).decode().split("\n")
    return Parts(**kept, classes=tuple(classes))


def keep(path: Path, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Read named tensors (on the CPU) from a file, else make them and write the file.

    If the file is unreadable or its checksum is wrong, warn and make the tensors again.
    """
    if path.is_file():
        try:
            return read(path)
        except Exception as error:  # noqa: BLE001 (any error means a damaged file)
            warnings.warn(f"{path} is damaged ({one_line(error)}) and is made again", stacklevel=2)
    tensors = make()
    write(path, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    return tensors


def checksum(tensors: dict[str, torch.Tensor], head: str = "") -> str:
    """SHA-256 of a text and of the tensors' names, types, shapes and bytes."""
    found = hashlib.sha256(head.encode())
    for name in sorted(tensors):
        tensor = tensors[name].cpu().contiguous()
        found.update(f"\n{name} {tensor.dtype} {json.dumps(list(tensor.shape))}\n".encode())
        found.update(tensor.numpy().reshape(-1).view("uint8").data)
    return found.hexdigest()


def one_line(error: Exception) -> str:
    """The first line of an error's message, to quote in a one-line message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def read(path: Path) -> dict[str, torch.Tensor]:
    """Read the named tensors of a file that `write` wrote; ValueError if its bytes have changed."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = file.keys()  # `file` itself cannot be iterated
        tensors, notes = {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    if checksum(tensors) != notes.get("sha256"):
        raise ValueError("its bytes do not match its checksum")
    return tensors


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write named tensors; readers see the whole file or none, even if this process is killed."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        save_file(tensors, part, {"sha256": checksum(tensors)})
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
