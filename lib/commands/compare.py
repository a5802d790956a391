"""`report --compare A B`: two profiles side by side, on the rows that are known of each; nothing is trained."""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path

from lib.commands import Problem, provenance
from lib.commands.profiles import profile_name
from lib.commands.report import Pass, number, prepare, say, shown, stoppable, worker
from lib.paths import BUILD


def compare(options):
    """Write the page of two profiles; returns the exit code, 1 where a notebook failed."""
    names = [profile_name(profile) for profile in options.compare]
    if names[0] == names[1]:
        raise Problem(f"--compare {' '.join(options.compare)}: both are called {names[0]}: expected two profiles of different names", 2)
    out = options.out or BUILD / f"{names[0]}-and-{names[1]}"
    with stoppable(), tempfile.TemporaryDirectory(prefix="compare-") as folder:
        studies, passes = [], []
        for profile, name in zip(options.compare, names):
            studies.append(prepare(argparse.Namespace(**{**vars(options), "profile": profile, "out": out})))
            passes.append(Pass())
            say(f"profile {name}: {number(len(studies[-1].choices), 'notebook')}, with what is known")
            studies[-1].run([choice.name for choice in studies[-1].choices], passes[-1], folder=Path(folder, name))
        requests = [{notebook: list(runs.values()) for notebook, runs in seen.asked.items()} for seen in passes]
        folders = os.pathsep.join(study.settings["STUDY_FOLDERS"] for study in studies)  # of both: each may have files of its own
        table = worker("compare", {"names": names, "requests": requests},
                       settings={**studies[0].settings, "STUDY_FOLDERS": folders, "STUDY_MODE": "read-only"})
        path = write_page(passes, names, table, out=out, folder=Path(folder))
    differ = sum(line["difference"].startswith("≠") for line in table)
    say(f"{shown(path)}  {number(len(table), 'claim')} measured in either profile, {differ} differ beyond the intervals")
    return 1 if any(result.error for seen in passes for result in seen.results.values()) else 0


def write_page(passes, names, table, *, out, folder):
    """The page: the table of both verdicts, then the figures of each notebook in pairs."""
    import pandas as pd

    from lib import report as page
    from lib.report.pairs import pair

    notebooks = []
    for name in sorted({name for seen in passes for name in seen.results}):
        results = [seen.results.get(name) for seen in passes]
        errors = [f"profile {label}: {result.error}" for result, label in zip(results, names) if result and result.error]
        paths = [result.output if result and not result.error else None for result in results]
        made = pair(name, paths, names=names, folder=folder / "pairs") if any(paths) else None
        notebooks.append((name, made, None if made else "; ".join(errors)))
        notebooks += [(f"{name}, profile {label}", None, result.error) for result, label in zip(results, names) if made and result and result.error]
    rows = {f"{kind} ({label})": count for seen, label in zip(passes, names) for kind, count in seen.counts().items()}
    context = {**provenance.describe(), "command": shlex.join(["python3", "build.py", *sys.argv[1:]]), "rows": rows, "pairs": True,
               "verdicts": pd.DataFrame(table) if table else None}
    out.mkdir(parents=True, exist_ok=True)
    return Path(page.build(notebooks, out=out / "report.html", profile=" and ".join(names), context=context))
