"""How a build was made: command, commit, versions, device. No host names."""

import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lib import processes
from lib.paths import ROOT

SHOWN = ("torch", "torchvision", "opacus", "dp-accounting", "numpy", "pandas", "scikit-learn",
         "papermill")


def describe() -> dict[str, Any]:
    """{command, commit, dirty, date, device, threads, versions} of this checkout and machine."""
    return {"command": shlex.join(["python3", "build.py", *sys.argv[1:]]),
            "commit": _git("rev-parse", "HEAD"), "dirty": _dirty(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "device": _device(), "threads": processes.cores(), "versions": _versions()}


def _git(*arguments: str) -> str | None:
    """The output of a git command on this checkout; None if it fails or git is not installed."""
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _dirty() -> bool | None:
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return None if changes is None else bool(changes)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in SHOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _device() -> str:
    """The processor's name and, if there is one, the GPU's."""
    try:
        processor = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        processor = None
    names = [processor[1] if processor else platform.processor() or platform.machine()]
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
        names += done.stdout.strip().splitlines()[:1]
    except (FileNotFoundError, subprocess.TimeoutExpired):
        pass
    return ", ".join(names)
