"""`report --compare A B`: two profiles side by side, on the known rows of each; trains nothing."""

import argparse
import os
import tempfile
from argparse import Namespace
from pathlib import Path

from lib.commands import Problem, provenance
from lib.commands.calls import call_worker
from lib.commands.execution import Result
from lib.commands.passes import Pass, Study
from lib.commands.prepare import prepare
from lib.commands.profiles import profile_name
from lib.commands.terminal import number, say, shown
from lib.paths import BUILD
from lib.processes import stoppable


def compare(options: Namespace) -> int:
    """Write the page of two profiles; returns the exit code, 1 where a notebook failed."""
    names = [profile_name(profile) for profile in options.compare]
    if names[0] == names[1]:
        raise Problem(f"--compare {' '.join(options.compare)}: both are called {names[0]}: "
                      "expected two profiles of different names", 2)
    out = options.out or BUILD / f"{names[0]}-and-{names[1]}"
    with stoppable(), tempfile.TemporaryDirectory(prefix="compare-") as folder:
        studies, passes = [], []
        for profile, name in zip(options.compare, names):
            one = argparse.Namespace(**{**vars(options), "profile": profile, "out": out})
            study, seen = prepare(one), Pass()
            say(f"profile {name}: {number(len(study.choices), 'notebook')}, with what is known")
            study.run([choice.name for choice in study.choices], seen, folder=Path(folder, name))
            studies.append(study)
            passes.append(seen)
        table = judge(studies, passes, names)
        path = write_page(passes, names, table, out=out, folder=Path(folder))
    differ = sum(line["difference"].startswith("≠") for line in table)
    say(f"{shown(path)}  {number(len(table), 'claim')} measured in either profile, "
        f"{differ} differ beyond the intervals")
    return 1 if any(result.error for seen in passes for result in seen.results.values()) else 0


def judge(studies: list[Study], passes: list[Pass], names: list[str]) -> list[dict]:
    """The verdicts of both profiles side by side, a line a claim."""
    requests = [{notebook: list(runs.values()) for notebook, runs in seen.asked.items()}
                for seen in passes]
    # Of both: each profile may have files of its own.
    folders = os.pathsep.join(study.settings["STUDY_FOLDERS"] for study in studies)
    settings = {**studies[0].settings, "STUDY_FOLDERS": folders, "STUDY_MODE": "read-only"}
    return call_worker("compare", {"names": names, "requests": requests}, settings=settings)


def write_page(passes: list[Pass], names: list[str], table: list[dict], *,
               out: Path, folder: Path) -> Path:
    """Write the page: the table of both verdicts, then the figures of each notebook in pairs.

    folder: for the paired notebooks, which the page alone reads.
    """
    import pandas as pd

    from lib import page

    notebooks = []
    for name in sorted({name for seen in passes for name in seen.results}):
        results = {label: seen.results.get(name) for label, seen in zip(names, passes)}
        notebooks += paired(name, results, folder=folder / "pairs")
    rows = {f"{kind} ({label})": count
            for seen, label in zip(passes, names) for kind, count in seen.counts().items()}
    context = {**provenance.describe(), "rows": rows, "pairs": True,
               "verdicts": pd.DataFrame(table) if table else None}
    out.mkdir(parents=True, exist_ok=True)
    return page.build(notebooks, out=out / "report.html", profile=" and ".join(names),
                      context=context)


def paired(name: str, results: dict[str, Result | None], *,
           folder: Path) -> list[tuple[str, Path | None, str | None]]:
    """One notebook of both profiles as the page takes it: (name, file, error) each.

    A profile in which it failed gets an entry of its own where the other one has a file.
    """
    from lib.page.pairs import pair

    files = [result.output if result and not result.error else None
             for result in results.values()]
    errors = {label: result.error for label, result in results.items() if result and result.error}
    if not any(files):
        told = "; ".join(f"profile {label}: {error}" for label, error in errors.items())
        return [(name, None, told)]
    made = pair(name, files, names=list(results), folder=folder)
    return [(name, made, None),
            *((f"{name}, profile {label}", None, error) for label, error in errors.items())]
