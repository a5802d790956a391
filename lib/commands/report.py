"""`report`: collect the runs that the notebooks request, train the missing ones, write the page.

A first pass runs the notebooks read-only, and each records the runs it requests. One process then
trains those without a row, grouped across notebooks. The notebooks that lacked rows run again.
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
        study, latest = prepare(options), Pass()
        names = [choice.name for choice in study.choices]
        say(f"running {number(len(names), 'notebook')} on known rows")
        study.run(names, latest, folder=study.out / "notebooks")
        trouble = train_missing(study, latest, options, started)
        found = judge(study, latest)
        path = write_page(study, latest, options, {**found, "seconds": time.monotonic() - started})
    failed = [result for result in latest.results.values() if result.error]
    counts = conclude(latest, path, time.monotonic() - started)
    return 1 if failed or trouble or counts.get("failed") or not found else 0


def conclude(latest: Pass, path: Path, seconds: float) -> dict[str, int]:
    """Print the failures and the row counts; returns the number of rows by kind."""
    for result in latest.results.values():
        if result.error:
            print(f"{result.name} · {result.error}", file=sys.stderr)
    counts = latest.counts()
    missing, failed = counts.get("missing", 0), counts.get("failed", 0)
    measured = sum(counts.values()) - missing - failed
    say(f"{shown(path)}  {seconds:.0f} s  {number(measured, 'row')} measured, "
        f"{missing} not measured" + (f", {failed} failed" if failed else ""))
    for line in latest.failures():
        print(line, file=sys.stderr)
    return counts


def judge(study: Study, latest: Pass) -> dict[str, Any]:
    """The page's verdicts, answer and first figure; nothing if they cannot be made."""
    import pandas as pd

    requests = {name: list(runs.values()) for name, runs in latest.asked.items()}
    try:
        found = call_worker("verdicts", requests,
                            settings={**study.settings, "STUDY_MODE": "read-only"})
    except Problem as problem:
        say(f"the page has no verdicts: {problem}")
        return {}
    return {"verdicts": pd.DataFrame(found["table"]), "answer": found["answer"],
            "headline": found["headline"]}


def write_page(study: Study, latest: Pass, options: Namespace, more: dict[str, Any]) -> Path:
    """Write the page of all executed notebooks, with the provenance of this build.

    more: further keys of the page's context, see `lib.page.build`.
    """
    from lib import page

    results = [latest.results[choice.name] for choice in study.choices]
    context = {**provenance.describe(), "rows": latest.counts(), "seeds": latest.seeds(),
               "notes": latest.failures(), **more}
    study.out.mkdir(parents=True, exist_ok=True)
    return page.build([(result.name, result.output, result.error) for result in results],
                      out=study.out / "report.html", profile=profile_name(options.profile),
                      context=context)
