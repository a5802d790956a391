"""The environment variables of notebooks and workers."""

import os
from argparse import Namespace
from pathlib import Path

from lib.commands.profiles import profile_folder


def published_only(empty: Path) -> dict[str, str | None]:
    """Settings that show a notebook the published rows and hide this machine's store and data.

    empty: a folder for its caches. A value of None removes the variable.
    """
    empty.mkdir(parents=True, exist_ok=True)
    # Keep matplotlib's own cache: rebuilding its list of fonts costs seconds per notebook.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {"STUDY_MODE": "read-only", "STUDY_STORE": str(empty / "store"),
            "XDG_CACHE_HOME": str(empty), "DATA_ROOT": None, "STUDY_ASKED": None,
            "STUDY_DEVICE": "cpu", "STUDY_PUBLISHED": None,
            "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or str(cache / "matplotlib")}


def chosen(options: Namespace) -> dict[str, str]:
    """Settings from the command line: device, store, data, folders of the user's files."""
    folders = [str(profile_folder(options.profile)), str(Path.cwd())]
    settings = {"STUDY_DEVICE": options.device or os.environ.get("STUDY_DEVICE") or "auto",
                "STUDY_FOLDERS": os.pathsep.join(folders)}
    if options.store:
        settings["STUDY_STORE"] = str(options.store)
    if options.data:
        settings["DATA_ROOT"] = str(options.data)
    return settings


def store_of_its_own(out: Path) -> dict[str, str]:
    """Settings for `--fresh`: a new store beside the page, and no published rows."""
    return {"STUDY_STORE": str(out / "store-fresh"), "STUDY_PUBLISHED": "0"}
