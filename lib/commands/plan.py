"""`plan` and `export`: which rows the notebooks request, and which of them exist."""

import tempfile
from argparse import Namespace
from pathlib import Path

from lib.commands.calls import call_worker
from lib.commands.passes import Pass, Study
from lib.commands.prepare import prepare
from lib.commands.terminal import number, say
from lib.processes import stoppable


def ask(options: Namespace) -> tuple[Study, Pass]:
    """Run the notebooks of a command line to collect their requests; trains and keeps nothing."""
    study, latest = prepare(options), Pass()
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        study.run([choice.name for choice in study.choices], latest, folder=Path(folder))
    return study, latest


def plan(options: Namespace) -> int:
    """Print how many rows each notebook has and lacks, and how long training the rest would take.

    Returns the exit code, 1 if a notebook failed.
    """
    with stoppable():
        study, latest = ask(options)
        missing = {name: [request for request in runs.values() if not request["known"]]
                   for name, runs in latest.asked.items()}
        everything = list(latest.missing().values())
        times = call_worker("estimate", {**missing, "": everything}, settings=study.settings,
                            jobs=options.jobs or 1, processes=options.jobs)
    width = max(len(name) for name in missing)
    say(f"\n{'notebook':{width}} {'known':>8} {'missing':>8}  time")
    for name, requests in missing.items():
        known = len(latest.asked[name]) - len(requests)
        error = latest.results[name].error
        say(f"{name:{width}} {known:8} {len(requests):8}  "
            f"{'failed: ' + error if error else in_words(times[name], requests)}")
    known = len(latest.requests()) - len(everything)
    say(f"{'all':{width}} {known:8} {len(everything):8}  {in_words(times[''], everything)} "
        "(counting shared rows once; without runs that depend on missing results, such as tuned "
        "ones)")
    if options.save:
        save(everything, options.save)
    return 1 if any(result.error for result in latest.results.values()) else 0


def save(requests: list[dict], path: Path) -> None:
    """Write the missing runs as a plan, and say what comes next."""
    count = call_worker("save_plan", requests, path=str(path))
    say(f"{number(count, 'run')} in {path}: `build.py train {path.name} --budget 8m --store rows/` "
        "trains them anywhere, `build.py import rows/` takes the rows home. Runs that depend on "
        "them, such as tuned ones, come in a second plan: save it then.")


def in_words(seconds: float | None, requests: list[dict]) -> str:
    """Format an estimate, such as "2.5 h"; "unknown" if no similar run was timed."""
    if not requests:
        return "-"
    if seconds is None:
        return "unknown"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def export(options: Namespace) -> int:
    """Copy the rows that a profile's notebooks request into notebooks/results/.

    They replace the rows published before. Returns the exit code, 1 if a notebook failed.
    """
    with stoppable():
        study, latest = ask(options)
        counts = call_worker("export", latest.own(), settings=study.settings)
    for name, (count, removed) in sorted(counts.items()):
        say(f"{name}  {count} rows{effect_of_export(count, removed)}")
    missing = latest.missing()
    if missing:
        say(f"{len(missing)} rows are not measured; `build.py report {options.profile}` trains "
            "them")
    return 1 if any(result.error for result in latest.results.values()) else 0


def effect_of_export(count: int, removed: int) -> str:
    """What an export did to a notebook's earlier rows, to append to the line about it."""
    if removed:
        return (f", {removed} previously published rows were removed; "
                "`git checkout notebooks/results` restores them")
    return "" if count else "; its file was not changed"
