"""Rounds of training: what the notebooks missed is trained, and those that missed it run again."""

import time
from argparse import Namespace
from collections.abc import Iterable

from lib.commands import Problem
from lib.commands.calls import call_worker, has_cuda
from lib.commands.passes import Pass, Study
from lib.commands.terminal import number, say
from lib.paths import PARAMS

ROUNDS = 3  # runs that depend on results are asked for only once these exist
RERUN_SLOWDOWN = 1.5  # a notebook takes 1.5 times as long once its rows exist


def train_missing(study: Study, seen: Pass, options: Namespace, started: float) -> bool:
    """Train what the notebooks missed and run them again, in at most three rounds.

    started: when the command started, on the clock `time.monotonic`. Returns whether it failed.
    """
    for turn in range(ROUNDS):
        wanted = {key: request for key, request in seen.missing().items()
                  if key not in seen.tried}
        if options.retry_failed and turn == 0:
            wanted |= seen.failed()
        if not wanted or not may_train(options, wanted):
            return False
        again = [name for name, runs in seen.asked.items() if wanted.keys() & runs.keys()]
        left = time_left(options.budget, started, time_to_show(study, seen, again))
        if left is not None and left <= 0:
            say(f"the budget is used up: {number(len(wanted), 'row')} left for the next time")
            return False
        before, seen.tried = seen.tried, seen.tried | wanted.keys()
        made, failed = train(study, options, list(wanted.values()), left, before)
        if made:
            say(f"{number(len(again), 'notebook')} again, with the new rows")
            study.run(again, seen, folder=study.out / "notebooks")
        if failed or not made:
            return failed
    return False


def train(study: Study, options: Namespace, requests: list[dict], seconds: float | None,
          before: Iterable[str]) -> tuple[int | None, bool]:
    """Train what is missing of the requests in these seconds.

    before: keys of the rows that this command made already. Their times do not count, so that the
    same command from an empty store groups its runs the same way. Returns the number of rows made
    (None: not known) and whether it failed.
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
        # Rows are written one by one: those before the failure are there.
        return len(requests), True
    return made, False


def may_train(options: Namespace, wanted: dict[str, dict]) -> bool:
    """Whether this command trains at all; paper scale on a CPU requires --train."""
    if options.read_only:
        return False
    paper = (PARAMS / options.profile) == PARAMS / "paper"
    if not paper or options.train or options.cluster:
        return True
    if options.device != "cpu" and has_cuda():
        return True
    one = len(wanted) == 1
    say(f"{number(len(wanted), 'row')} of the profile paper {'is' if one else 'are'} not trained, "
        f"as there is no GPU: --train trains {'it' if one else 'them'}")
    return False


def time_to_show(study: Study, seen: Pass, again: list[str]) -> float:
    """Seconds until notebooks that run again, with more to show, are on the page.

    The verdicts take as long as the slowest notebook.
    """
    seconds = [seen.results[name].seconds for name in again]
    notebooks = max(max(seconds), sum(seconds) / study.jobs)
    slowest = max(result.seconds for result in seen.results.values())
    return RERUN_SLOWDOWN * notebooks + slowest


def time_left(budget: float | None, started: float, reserve: float) -> float | None:
    """Seconds of the budget left for training, with a reserve; None without a budget."""
    return None if budget is None else budget - (time.monotonic() - started) - reserve
