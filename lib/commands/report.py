"""`report`: find out which rows the notebooks ask for, train what is missing, show all on one page.

A pass runs the notebooks read-only while each writes down the runs it asked for. What is missing is
trained, grouped across notebooks, in one process; then the notebooks that missed something run
again.
"""

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from lib.commands import Problem, provenance
from lib.commands.calls import call_worker
from lib.commands.compare import compare
from lib.commands.passes import Pass, Study
from lib.commands.prepare import prepare
from lib.commands.profiles import profile_name
from lib.commands.rounds import train_missing
from lib.commands.terminal import number, say, shown
from lib.processes import stoppable


def report(options: Namespace) -> int:
    """Run the notebooks of a profile, train what is missing, write the page; returns the exit code.

    With --compare: the page of two profiles.
    """
    if options.compare:
        return compare(options)
    started = time.monotonic()
    with stoppable():
        study, seen = prepare(options), Pass()
        names = [choice.name for choice in study.choices]
        say(f"{number(len(names), 'notebook')}, with what is known")
        study.run(names, seen, folder=study.out / "notebooks")
        trouble = train_missing(study, seen, options, started)
        found = judge(study, seen)
        path = write_page(study, seen, options, {**found, "seconds": time.monotonic() - started})
    failed = [result for result in seen.results.values() if result.error]
    counts = conclude(seen, path, time.monotonic() - started)
    return 1 if failed or trouble or counts.get("failed") or not found else 0


def conclude(seen: Pass, path: Path, seconds: float) -> dict[str, int]:
    """Print what failed and how many rows there are; returns the number of rows by kind."""
    for result in seen.results.values():
        if result.error:
            print(f"{result.name} · {result.error}", file=sys.stderr)
    counts = seen.counts()
    missing, failed = counts.get("missing", 0), counts.get("failed", 0)
    measured = sum(counts.values()) - missing - failed
    say(f"{shown(path)}  {seconds:.0f} s  {number(measured, 'row')} measured, "
        f"{missing} not measured" + (f", {failed} failed" if failed else ""))
    for line in seen.failures():
        print(line, file=sys.stderr)
    return counts


def judge(study: Study, seen: Pass) -> dict[str, Any]:
    """The page's verdicts, answer and first figure; nothing if they cannot be made."""
    import pandas as pd

    requests = {name: list(runs.values()) for name, runs in seen.asked.items()}
    try:
        found = call_worker("verdicts", requests,
                            settings={**study.settings, "STUDY_MODE": "read-only"})
    except Problem as problem:
        say(f"the page has no verdicts: {problem}")
        return {}
    return {"verdicts": pd.DataFrame(found["table"]), "answer": found["answer"],
            "headline": found["headline"]}


def write_page(study: Study, seen: Pass, options: Namespace, more: dict[str, Any]) -> Path:
    """Write the page of all notebooks that were run, with how it was made.

    more: further keys of the page's context, see `lib.page.build`.
    """
    from lib import page

    results = [seen.results[choice.name] for choice in study.choices]
    context = {**provenance.describe(), "rows": seen.counts(), "seeds": seen.seeds(),
               "notes": seen.failures(), **more}
    study.out.mkdir(parents=True, exist_ok=True)
    return page.build([(result.name, result.output, result.error) for result in results],
                      out=study.out / "report.html", profile=profile_name(options.profile),
                      context=context)
