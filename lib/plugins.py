"""A user's own model, attack or defence: `my_file.py:Name`."""

import functools
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from lib import paths


def locate(spec: str) -> tuple[Path, str]:
    """Split `my_file.py:Name` and find the file, as `find` does."""
    file, _, name = spec.rpartition(":")
    return find(file), name


def find(file: str) -> Path:
    """A user's own file: in `paths.own_folders`, else beside the notebooks, else in the checkout.

    ValueError where it is in none.
    """
    folders = list(
        dict.fromkeys(
            folder.resolve() for folder in (*paths.own_folders(), paths.NOTEBOOKS, paths.ROOT)))
    for folder in folders:
        if (folder / file).is_file():
            return (folder / file).resolve()
    raise ValueError(
        f"no file {file!r} in {', '.join(f'{folder.name}/' for folder in folders)}: name it from"
        " one of them, or with its whole path"
    )


@functools.cache
def _module(path: Path, digest: str):
    spec = importlib.util.spec_from_file_location(f"plugin_{path.stem}_{digest[:8]}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path.name}: expected a Python file, my_file.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's own file raises is told with its name
        raise ValueError(
            f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def digest(spec: str) -> str:
    """SHA-256 of the file: it stands in for a version, so an edited file is another experiment."""
    return hashlib.sha256(locate(spec)[0].read_bytes()).hexdigest()


def load(spec: str) -> Any:
    """The object that `my_file.py:Name` names. Runs the file: use your own only."""
    path, name = locate(spec)
    module = _module(path, digest(spec))
    if not hasattr(module, name):
        raise ValueError(f"{spec!r}: {path.name} defines no {name!r}")
    return getattr(module, name)
