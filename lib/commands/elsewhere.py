"""`train` and `import`: runs of a saved plan on a machine without notebooks, and the way back."""

import time
from argparse import Namespace
from pathlib import Path

from lib.commands import Problem
from lib.commands.calls import call_worker
from lib.commands.terminal import say
from lib.processes import stoppable


def train(options: Namespace) -> int:
    """Train the missing runs of a saved plan; returns the exit code."""
    started = time.monotonic()
    until = None if options.budget is None else started + options.budget
    with stoppable():
        return call_worker("train_plan", str(options.plan.resolve()), settings=_settings(options),
                           jobs=options.jobs or 1, until=until, processes=options.jobs,
                           own_files=options.own_files)


def _settings(options: Namespace) -> dict[str, str]:
    folders = Path.cwd() if options.own_files else None
    given = {"STUDY_DEVICE": options.device, "STUDY_STORE": options.store,
             "DATA_ROOT": options.data, "STUDY_FOLDERS": folders}
    return {name: str(value) for name, value in given.items() if value}


def bring(options: Namespace) -> int:
    """Import rows that were trained elsewhere; returns the exit code, 1 if some were refused."""
    given = {"STUDY_STORE": str(options.into)} if options.into else {}
    found = call_worker("bring", str(options.folder.resolve()), settings=given)
    for line in found["refused"]:
        say(f"refused: {line}")
    say(f"{found['new']} rows imported, {found['known']} known already, {len(found['refused'])} "
        "refused")
    if not found["new"] and not found["known"]:
        raise Problem(f"{options.folder}: no row of it could be imported")
    return 1 if found["refused"] else 0
