"""`report --compare A B`: two profiles side by side, from the rows they have; trains nothing."""

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
    """Write the page of two profiles; returns the exit code, 1 if a notebook failed."""
    names = [profile_name(profile) for profile in options.compare]
    if names[0] == names[1]:
        raise Problem(f"--compare {' '.join(options.compare)}: both profiles are called "
                      f"{names[0]}; expected two different names", 2)
    out = options.out or BUILD / f"{names[0]}-and-{names[1]}"
    with stoppable(), tempfile.TemporaryDirectory(prefix="compare-") as folder:
        studies, passes = [], []
        for profile, name in zip(options.compare, names):
            study = prepare(argparse.Namespace(**{**vars(options), "profile": profile, "out": out}))
            latest = Pass()
            say(f"profile {name}: running {number(len(study.choices), 'notebook')} on known rows")
            study.run([choice.name for choice in study.choices], latest, folder=Path(folder, name))
            studies.append(study)
            passes.append(latest)
        table = judge(studies, passes, names)
        path = write_page(passes, names, table, out=out, folder=Path(folder))
    differ = sum(line["difference"].startswith("≠") for line in table)
    say(f"{shown(path)}  {number(len(table), 'claim')} measured in either profile, "
        f"{differ} differ beyond the intervals")
    return 1 if any(result.error for latest in passes for result in latest.results.values()) else 0


def judge(studies: list[Study], passes: list[Pass], names: list[str]) -> list[dict]:
    """The verdicts of both profiles side by side, one line per claim."""
    requests = [{notebook: list(runs.values()) for notebook, runs in latest.asked.items()}
                for latest in passes]
    # The folders of both profiles, since each may refer to its own files.
    folders = os.pathsep.join(study.settings["STUDY_FOLDERS"] for study in studies)
    settings = {**studies[0].settings, "STUDY_FOLDERS": folders, "STUDY_MODE": "read-only"}
    return call_worker("compare", {"names": names, "requests": requests}, settings=settings)


def write_page(passes: list[Pass], names: list[str], table: list[dict], *,
               out: Path, folder: Path) -> Path:
    """Write the page: the table of both verdicts, then the figures of each notebook in pairs.

    folder: where to keep the paired notebooks, which only the page reads.
    """
    import pandas as pd

    from lib import page

    notebooks = []
    for name in sorted({name for latest in passes for name in latest.results}):
        results = {label: latest.results.get(name) for label, latest in zip(names, passes)}
        notebooks += paired(name, results, folder=folder / "pairs")
    rows = {f"{kind} ({label})": count
            for latest, label in zip(passes, names) for kind, count in latest.counts().items()}
    context = {**provenance.describe(), "rows": rows, "pairs": True,
               "verdicts": pd.DataFrame(table) if table else None}
    out.mkdir(parents=True, exist_ok=True)
    return page.build(notebooks, out=out / "report.html", profile=" and ".join(names),
                      context=context)


def paired(name: str, results: dict[str, Result | None], *,
           folder: Path) -> list[tuple[str, Path | None, str | None]]:
    """The entries of one notebook on the page of two profiles: (name, file, error) each.

    If the notebook failed in one profile only, that failure is a second entry.
    """
    from lib.page.pairs import pair

    files = [result.output if result and not result.error else None
             for result in results.values()]
    errors = {label: result.error for label, result in results.items() if result and result.error}
    if not any(files):
        message = "; ".join(f"profile {label}: {error}" for label, error in errors.items())
        return [(name, None, message)]
    made = pair(name, files, names=list(results), folder=folder)
    return [(name, made, None),
            *((f"{name}, profile {label}", None, error) for label, error in errors.items())]
