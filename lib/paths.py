"""Paths: the checkout, the published rows, this user's caches."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
RESULTS = NOTEBOOKS / "results"
PARAMS = ROOT / "params"
BUILD = ROOT / "build"


def cache_dir() -> Path:
    """The project's folder in the user's cache ($XDG_CACHE_HOME, else ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dp-backdoors"


def store_dir() -> Path:
    """The local store of rows ($STUDY_STORE, else a folder in the cache)."""
    store = os.environ.get("STUDY_STORE")
    return Path(store) if store else cache_dir() / "store"


def artefact_dir() -> Path:
    """The folder of features and other cached artefacts, which can be computed again."""
    return cache_dir() / "artefacts"


def own_folders() -> list[Path]:
    """Where to look for a user's own files: the working directory, then $STUDY_FOLDERS.

    build.py sets $STUDY_FOLDERS to the profile's folder and the folder where it was started.
    """
    named = os.environ.get("STUDY_FOLDERS", "").split(os.pathsep)
    return [Path.cwd(), *map(Path, filter(None, named))]


def data_roots() -> list[Path]:
    """Where to look for data sets, in this order: $DATA_ROOT, then the cache."""
    named = os.environ.get("DATA_ROOT")
    return ([Path(named)] if named else []) + [cache_dir() / "data"]
