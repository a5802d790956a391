"""`targets` and `bench`: tables on the terminal."""

import tempfile
from argparse import Namespace
from pathlib import Path

from lib.commands.calls import call_worker
from lib.commands.terminal import say
from lib.commands.variables import published_only
from lib.processes import stoppable


def targets(options: Namespace) -> int:
    """Print a row for each figure, table and claim of the papers; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="targets-") as empty:
        say(call_worker("targets", options.json, settings=published_only(Path(empty))))
    return 0


def bench(options: Namespace) -> int:
    """Run one benchmark or all; returns the exit code."""
    with stoppable():
        return call_worker("bench", options.name, as_json=options.json, device=options.device)
