"""What the commands of build.py do, once there is an environment to do it in.

Importing this needs the standard library alone: build.py reads its error type from here.
"""

import errno
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace


class Problem(Exception):
    """Something the user can put right; `status` is the exit code, 2 for wrong usage."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


COMMANDS = {
    "report": "lib.commands.report:report",
    "plan": "lib.commands.plan:plan",
    "export": "lib.commands.plan:export",
    "notebooks": "lib.commands.notebooks:notebooks",
    "targets": "lib.commands.tables:targets",
    "bench": "lib.commands.tables:bench",
    "test": "lib.commands.tests:test",
}


def run(options: "Namespace") -> int:
    """Run one command with its parsed options; returns the exit code."""
    module, _, function = COMMANDS[options.command].partition(":")
    try:
        return getattr(importlib.import_module(module), function)(options)
    except OSError as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        raise problem from None


def disk_problem(error: OSError) -> "Problem | None":
    """What to tell of an OSError of a full disk or a place that may not be written.

    None for any other.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Problem(
            f"no space left for {error.filename or 'what is being written'}: nothing half-written "
            "is kept; make room and start again, what is trained is kept")
    if error.errno in (errno.EACCES, errno.EROFS):
        return Problem(f"cannot write {error.filename}: {error.strerror}")
    return None
