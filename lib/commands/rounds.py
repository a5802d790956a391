"""Rounds of training: train the missing rows, and rerun the notebooks that need them."""

import time
from argparse import Namespace
from collections.abc import Iterable

from lib.commands import Problem
from lib.commands.calls import call_worker, has_cuda
from lib.commands.passes import Pass, Study
from lib.commands.terminal import number, say
from lib.paths import PARAMS

ROUNDS = 3  # a notebook requests runs that depend on results only once these results exist
RERUN_SLOWDOWN = 1.5  # a notebook takes 1.5 times as long once its rows exist


def train_missing(study: Study, latest: Pass, options: Namespace, started: float) -> bool:
    """Train the missing rows and rerun the notebooks that need them, in at most `ROUNDS` rounds.

    started: when the command started, by `time.monotonic`. Returns whether a training failed.
    """
    for turn in range(ROUNDS):
        wanted = {key: request for key, request in latest.missing().items()
                  if key not in latest.tried}
        if options.retry_failed and turn == 0:
            wanted |= latest.failed()
        if not wanted or not may_train(options, wanted):
            return False
        again = [name for name, runs in latest.asked.items() if wanted.keys() & runs.keys()]
        left = time_left(options.budget, started, time_to_show(study, latest, again))
        if left is not None and left <= 0:
            say(f"the budget is used up; {number(len(wanted), 'row')} left to train next time")
            return False
        before, latest.tried = latest.tried, latest.tried | wanted.keys()
        made, failed = train(study, options, list(wanted.values()), left, before)
        if made:
            say(f"rerunning {number(len(again), 'notebook')} with the new rows")
            study.run(again, latest, folder=study.out / "notebooks")
        if failed or not made:
            return failed
    return False


def train(study: Study, options: Namespace, requests: list[dict], seconds: float | None,
          before: Iterable[str]) -> tuple[int | None, bool]:
    """Train the requests that have no row, within `seconds` (None: no limit).

    before: keys of the rows from this command's earlier rounds. Their timings are not used to group
    runs, so that the same command on an empty store always groups them in the same way. Returns the
    number of new rows (None: unknown), and whether the training failed.
    """
    until = None if seconds is None else time.monotonic() + seconds
    say(f"{number(len(requests), 'row')} to train")
    try:
        made = call_worker(
            "train", requests, settings={**study.settings, "STUDY_MODE": "train"},
            jobs=options.jobs or 1, until=until, processes=options.jobs,
            retry_failed=options.retry_failed, untimed=sorted(before), cluster=options.cluster)
    except Problem as problem:
        say(f"training: {problem}")
        # Rows are written one by one, so those finished before the failure exist.
        return len(requests), True
    return made, False


def may_train(options: Namespace, wanted: dict[str, dict]) -> bool:
    """Whether this command may train; paper scale on a CPU requires --train."""
    if options.read_only:
        return False
    paper = (PARAMS / options.profile) == PARAMS / "paper"
    if not paper or options.train or options.cluster:
        return True
    if options.device != "cpu" and has_cuda():
        return True
    one = len(wanted) == 1
    say(f"{number(len(wanted), 'row')} of the profile paper {'is' if one else 'are'} not trained "
        f"without a GPU; --train trains {'it' if one else 'them'} on the CPU")
    return False


def time_to_show(study: Study, latest: Pass, again: list[str]) -> float:
    """Seconds to reserve for rerunning these notebooks and judging the claims.

    The verdicts take about as long as the slowest notebook.
    """
    seconds = [latest.results[name].seconds for name in again]
    notebooks = max(max(seconds), sum(seconds) / study.jobs)
    slowest = max(result.seconds for result in latest.results.values())
    return RERUN_SLOWDOWN * notebooks + slowest


def time_left(budget: float | None, started: float, reserve: float) -> float | None:
    """Seconds of the budget left for training, less a reserve; None without a budget."""
    return None if budget is None else budget - (time.monotonic() - started) - reserve
