"""Calls into `lib.commands.worker`, which imports torch so that this process need not."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib import processes
from lib.commands import Problem
from lib.paths import ROOT

# Python's resource tracker warns when it cleans up after processes that we stopped.
QUIET = ("-W", "ignore::UserWarning:multiprocessing.resource_tracker")


def call_worker(action: str, payload: object, *, settings: Mapping[str, object] | None = None,
                jobs: int = 1, **how: object) -> Any:
    """Run one action of `lib.commands.worker` in a separate process; returns its result.

    settings: environment variables. jobs: processes that share the cores. how: the action's keyword
    arguments. What the worker prints goes to the terminal. Raises Problem if it fails.
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
                          "finished rows are kept; run the command again")
        if child.returncode or not answer.exists():
            raise Problem(f"{action} ended with exit code {child.returncode}: "
                          "see the message above")
        return json.loads(answer.read_text("utf-8"))


def has_cuda() -> bool:
    """Whether torch sees a CUDA device; a worker process looks."""
    return call_worker("cuda", None)
