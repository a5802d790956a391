"""Processes on this machine: their share of the cores, and child processes that end with us."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.paths import ROOT

THREAD_SETTINGS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


# ---------------------------------------------------------------- sharing the machine

def cores() -> int:
    """Number of CPU cores that this process may use, within a container's quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        pass
    return count


def thread_settings(jobs: int) -> dict[str, str]:
    """Environment variables that limit each of `jobs` processes to its share of the cores.

    Set them before importing torch: two processes that each use all cores run fifty times slower
    than with half each. A smaller $OMP_NUM_THREADS of the user's stays.
    """
    share = max(1, cores() // jobs)
    own = os.environ.get("OMP_NUM_THREADS", "")
    share = min(share, int(own)) if own.isdecimal() and int(own) else share
    return dict.fromkeys(THREAD_SETTINGS, str(share))


def child_environment(**settings: object) -> dict[str, str]:
    """The environment for a child process: ours with the checkout importable, and `settings`.

    A setting of None removes the variable.
    """
    importable = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(importable),
                   "JUPYTER_PREFER_ENV_PATH": "1"}
    for name, value in settings.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = str(value)
    return environment


def first_line(text: object, width: int = 200) -> str:
    """The first line of a message, such as a child's error, cut at `width` characters."""
    line = next(iter(str(text).strip().splitlines()), "")
    return line if len(line) <= width else f"{line[:width - 1]}…"


# ---------------------------------------------------------------- children

_children: set[subprocess.Popen] = set()
_starting = threading.Lock()  # held to start a child or to begin ending, never both at once
_ending = threading.Event()


def start(command: list[str], *, environment: dict[str, str], **how: Any) -> subprocess.Popen:
    """Start a child in a new process group, so that `end_children` also ends its descendants."""
    with _starting:
        if _ending.is_set():
            raise RuntimeError("this process is ending and starts no more children")
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                 start_new_session=os.name != "nt", **how)
        _children.add(child)
    return child


def end_children(patience: float = 2.0) -> None:
    """End every running child and its process group: terminate, then kill after `patience` s."""
    with _starting:
        _ending.set()
    running = [child for child in list(_children) if child.poll() is None]
    for child in running:
        _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + patience
    for child in running:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            kill(child)


def ending() -> bool:
    """Whether `end_children` was called; the ends of children then need no report."""
    return _ending.is_set()


def kill(child: subprocess.Popen) -> None:
    """Kill a child and its process group, and wait until it has ended."""
    _signal(child, getattr(signal, "SIGKILL", signal.SIGTERM))
    child.wait()


def _signal(child: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if os.name != "nt":
            os.killpg(child.pid, number)
        else:
            child.terminate()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """End all children if the block is interrupted by Ctrl-C, SIGTERM or an error."""
    def leave(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except BaseException:
        end_children()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_parent() -> None:
    """End this process when its parent is gone (killed -9), as nobody would read its result."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(0, signal.SIGTERM)

    if os.name != "nt":
        threading.Thread(target=watch, daemon=True).start()
