"""`plan` and `export`: what the notebooks ask for, and what of it is known."""

import tempfile
from argparse import Namespace
from pathlib import Path

from lib.commands.calls import call_worker
from lib.commands.passes import Pass, Study
from lib.commands.prepare import prepare
from lib.commands.terminal import say
from lib.processes import stoppable


def ask(options: Namespace) -> tuple[Study, Pass]:
    """The study of a command line, and what its notebooks ask for; nothing is trained or kept."""
    study, seen = prepare(options), Pass()
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        study.run([choice.name for choice in study.choices], seen, folder=Path(folder))
    return study, seen


def plan(options: Namespace) -> int:
    """Print, for each notebook, the rows that are known and missing and the time these will take.

    Returns the exit code, 1 where a notebook failed.
    """
    with stoppable():
        study, seen = ask(options)
        missing = {name: [request for request in runs.values() if not request["known"]]
                   for name, runs in seen.asked.items()}
        everything = list(seen.missing().values())
        times = call_worker("estimate", {**missing, "": everything}, settings=study.settings,
                            jobs=options.jobs or 1, processes=options.jobs)
    width = max(len(name) for name in missing)
    say(f"\n{'notebook':{width}} {'known':>8} {'missing':>8}  time")
    for name, requests in missing.items():
        known = len(seen.asked[name]) - len(requests)
        error = seen.results[name].error
        say(f"{name:{width}} {known:8} {len(requests):8}  "
            f"{'failed: ' + error if error else in_words(times[name], requests)}")
    known = len(seen.requests()) - len(everything)
    say(f"{'all':{width}} {known:8} {len(everything):8}  {in_words(times[''], everything)} "
        "(rows that several notebooks ask for count once; runs that depend on results, as tuned "
        "ones do, come on top)")
    return 1 if any(result.error for result in seen.results.values()) else 0


def in_words(seconds: float | None, requests: list[dict]) -> str:
    """A time as people say it; "unknown" where nothing like it was measured."""
    if not requests:
        return "-"
    if seconds is None:
        return "unknown"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def export(options: Namespace) -> int:
    """Copy the rows that a profile's notebooks ask for into notebooks/results/.

    They replace the rows that are there. Returns the exit code, 1 where a notebook failed.
    """
    with stoppable():
        study, seen = ask(options)
        counts = call_worker("export", seen.own(), settings=study.settings)
    for name, (count, removed) in sorted(counts.items()):
        say(f"{name}  {count} rows{told(count, removed)}")
    missing = seen.missing()
    if missing:
        say(f"{len(missing)} rows are not measured: "
            f"`build.py report {options.profile}` trains them")
    return 1 if any(result.error for result in seen.results.values()) else 0


def told(count: int, removed: int) -> str:
    """What an export did to the rows that a notebook had before."""
    if removed:
        return (f", {removed} previously published rows were removed: "
                "`git checkout notebooks/results` brings them back")
    return "" if count else ": its file stays as it is"
