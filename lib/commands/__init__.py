"""The commands of build.py, one module each.

This file imports the standard library alone: build.py takes `Problem` from here before the
environment exists.
"""

import errno
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace


class Problem(Exception):
    """An error that the user can fix; `status` is the exit code, 2 for wrong usage."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


COMMANDS = {
    "report": "lib.commands.report:report",
    "plan": "lib.commands.plan:plan",
    "train": "lib.commands.elsewhere:train",
    "import": "lib.commands.elsewhere:bring",
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
    """The Problem to report for a full disk or a read-only place; None for any other OSError."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Problem(
            f"no space left to write {error.filename or 'a file'}: free some space and run the "
            "command again; finished rows are kept, partial files are not")
    if error.errno in (errno.EACCES, errno.EROFS):
        return Problem(f"cannot write {error.filename}: {error.strerror}")
    return None
