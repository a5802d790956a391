"""Processes on this machine: their share of its cores, and children that end with their parent."""

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
    """The CPU cores this process may use, a container's quota included."""
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
    """Environment variables that give each of `jobs` processes its share of the cores.

    They must be set before torch is imported: two processes with all threads each run fifty times
    slower than with half. A smaller number that the user has set stays.
    """
    share = max(1, cores() // jobs)
    own = os.environ.get("OMP_NUM_THREADS", "")
    share = min(share, int(own)) if own.isdecimal() and int(own) else share
    return dict.fromkeys(THREAD_SETTINGS, str(share))


def child_environment(**settings: object) -> dict[str, str]:
    """The environment of a child: this one's, the checkout importable, and `settings`.

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
_starting = threading.Lock()  # so that no child slips in while the others are ended
_ending = threading.Event()


def start(command: list[str], *, environment: dict[str, str], **how: Any) -> subprocess.Popen:
    """Start a child in a process group of its own, so that `end_children` can end all of it."""
    with _starting:
        if _ending.is_set():
            raise RuntimeError("this process is ending: it starts no more children")
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                 start_new_session=os.name != "nt", **how)
        _children.add(child)
    return child


def end_children(patience: float = 2.0) -> None:
    """End every child that still runs, with its whole group.

    Each is asked to end first, and killed after `patience` seconds.
    """
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
    """Whether `end_children` was called: what children then say of their end is no news."""
    return _ending.is_set()


def kill(child: subprocess.Popen) -> None:
    """Kill a child with its whole group, and wait for its end."""
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
    """End the children whenever the work is broken off: Ctrl-C, a termination, an error."""
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
    """Make this process end once its parent is gone (killed -9): nobody would read its result."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(0, signal.SIGTERM)

    if os.name != "nt":
        threading.Thread(target=watch, daemon=True).start()
