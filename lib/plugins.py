"""Load a user's own model, attack, defence or transform: `my_file.py:Name`."""

import functools
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from lib import paths


def locate(spec: str) -> tuple[Path, str]:
    """Split `my_file.py:Name` into the file, found by `find`, and the name."""
    file, _, name = spec.rpartition(":")
    return find(file), name


def find(file: str) -> Path:
    """Find a user's own file: in `paths.own_folders`, beside the notebooks, or in the checkout.

    Raises ValueError if it is in none of them.
    """
    searched = (*paths.own_folders(), paths.NOTEBOOKS, paths.ROOT)
    folders = list(dict.fromkeys(folder.resolve() for folder in searched))
    for folder in folders:
        if (folder / file).is_file():
            return (folder / file).resolve()
    raise ValueError(
        f"no file {file!r} in {', '.join(f'{folder.name}/' for folder in folders)}: expected a path"
        " relative to one of these folders, or an absolute path")


@functools.cache
def _module(path: Path, digest: str):
    spec = importlib.util.spec_from_file_location(f"plugin_{path.stem}_{digest[:8]}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path.name}: expected a Python file, my_file.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything; report it with the file's name
        raise ValueError(
            f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def digest(spec: str) -> str:
    """SHA-256 of the file, used as its version: an edited file makes another experiment."""
    return hashlib.sha256(locate(spec)[0].read_bytes()).hexdigest()


def load(spec: str) -> Any:
    """Load the object `my_file.py:Name`. This executes the file, so use only files you trust."""
    path, name = locate(spec)
    module = _module(path, digest(spec))
    if not hasattr(module, name):
        raise ValueError(f"{spec!r}: {path.name} defines no {name!r}")
    return getattr(module, name)
