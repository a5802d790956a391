"""Calls into `lib.commands.worker`: this process never imports torch, the worker does."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib import processes
from lib.commands import Problem
from lib.paths import ROOT

# It reports that it tidied up after processes that were stopped.
QUIET = ("-W", "ignore::UserWarning:multiprocessing.resource_tracker")


def call_worker(action: str, payload: object, *, settings: Mapping[str, object] | None = None,
                jobs: int = 1, **how: object) -> Any:
    """Run one action of `lib.commands.worker` in a process of its own; returns its result.

    settings: environment variables. jobs: processes that share the cores. What the worker prints
    goes to the terminal. Raises Problem if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="work-") as folder:
        given, answer = Path(folder, "given.json"), Path(folder, "answer.json")
        given.write_text(json.dumps({"payload": payload, **how}), "utf-8")
        shared = {**processes.thread_settings(jobs), "STUDY_ASKED": None, **(settings or {})}
        command = [sys.executable, *QUIET, "-m", "lib.commands.worker",
                   action, str(given), str(answer)]
        environment = processes.child_environment(**shared)
        child = processes.start(command, environment=environment, cwd=ROOT)
        if child.wait() < 0:
            why = " (out of memory?)" if child.returncode == -9 else ""
            raise Problem(f"{action} was killed by signal {-child.returncode}{why}; "
                          "what was finished is kept: start again")
        if child.returncode or not answer.exists():
            raise Problem(f"{action} ended with exit code {child.returncode}: "
                          "see the message above")
        return json.loads(answer.read_text("utf-8"))


def has_cuda() -> bool:
    """Whether torch sees a CUDA device, asked in another process."""
    return call_worker("cuda", None)
