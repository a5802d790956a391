"""Where things lie: the checkout, the published rows, the caches of this user."""

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
    """Features and other artefacts that rows are made from, and that can be made again."""
    return cache_dir() / "artefacts"


def own_folders() -> list[Path]:
    """Where a user's own files are looked for: here, then $STUDY_FOLDERS (a profile's folder, and
    where build.py was started).
    """
    return [
        Path.cwd(), *map(Path, filter(None,
                                      os.environ.get("STUDY_FOLDERS", "").split(os.pathsep)))
    ]


def data_roots() -> list[Path]:
    """Folders in which data sets are looked for, in this order."""
    named = os.environ.get("DATA_ROOT")
    return ([Path(named)] if named else []) + [cache_dir() / "data"]
