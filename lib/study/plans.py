"""Saved plans: lists of runs as a file, to be trained on another machine.

A plan is data: {"format": 1, "commit": of the checkout that saved it, "runs": [{"notebook", "key",
"run"}, ...]}, most wanted first. A run that names a user's own file could run code or read files of
the machine that trains it, so a plan with one is refused unless it is asked for.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib import ledger
from lib.study.runs import Run, from_dict

FORMAT = 1
OWN = (".py:", ".png", "imagefolder:")  # in the texts of runs that name a user's own files


def save(path: Path, requests: list[dict], *, commit: str) -> None:
    """Write the requests ({"notebook", "key", "run", ...}) in their order."""
    kept = [{name: request[name] for name in ("notebook", "key", "run")} for request in requests]
    lines = ",\n".join(json.dumps(each, sort_keys=True) for each in kept)
    ledger.write_atomically(path, f'{{"format": {FORMAT}, "commit": {json.dumps(commit)}, '
                                  f'"runs": [\n{lines}\n]}}\n')


def load(path: Path, *, own_files: bool = False) -> list[dict]:
    """The requests of a saved plan.

    own_files: accept runs that name a user's own files. Raises ValueError, in one line, for a file
    that is no plan, and for a run of another version of the project.
    """
    try:
        plan = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}: expected a plan, as `build.py plan --save` writes it"
                         ) from None
    if not isinstance(plan, dict) or plan.get("format") != FORMAT or not _requests(plan):
        raise ValueError(f"{path}: expected a plan of format {FORMAT}, as `build.py plan --save` "
                         "writes it")
    for request in plan["runs"]:
        _check(request, path, plan.get("commit"), own_files=own_files)
    return plan["runs"]


def _requests(plan: dict) -> bool:
    runs = plan.get("runs")
    return isinstance(runs, list) and all(
        isinstance(each, dict) and isinstance(each.get("run"), dict)
        and all(isinstance(each.get(name), str) for name in ("notebook", "key")) for each in runs)


def _check(request: dict, path: Path, commit: object, *, own_files: bool) -> None:
    named = [text for text in _texts(request["run"]) if any(each in text for each in OWN)]
    if named and not own_files:
        raise ValueError(f"{path}: run {request['key'][:8]} names {named[0]!r}, a file of its own: "
                         "a plan from a stranger could run code; add --own-files if you trust it")
    run = _built(request["run"], f"{path}: run {request['key'][:8]}")
    if run.key != request["key"]:
        raise ValueError(f"{path}: run {request['key'][:8]} has another key here ({run.key[:8]}): "
                         f"the plan is of commit {str(commit)[:12]}; check that out, or save the "
                         "plan anew")


def _built(values: dict, where: str) -> Run:
    try:
        return from_dict(values)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{where}: {error}") from None


def _texts(value: Any) -> list[str]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, str)]


def _leaves(value: Any) -> Iterator[Any]:
    """What a value of JSON holds, without its lists and mappings."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value


# ---------------------------------------------------------------- rows that come home

def bring(folder: Path) -> tuple[int, int, list[str]]:
    """Copy the rows of another machine's store into this one's.

    Returns the numbers of new rows and of known ones, and one line for each row that was refused.
    Raises ValueError for a folder without rows.
    """
    files = sorted(folder.glob("rows/*/*.json")) or sorted(folder.glob("*/*.json"))
    if not files:
        raise ValueError(f"{folder}: no rows in it; expected a store, as `build.py train --store` "
                         "fills it")
    new = known = 0
    refused = []
    for file in files:
        try:
            row = checked(file)
        except ValueError as error:
            refused.append(f"{file}: {error}")
            continue
        if ledger.find(row["key"])[0] is None:
            ledger.write(row)
            new += 1
        else:
            known += 1
    return new, known, refused


def checked(file: Path) -> dict:
    """The row in a file, if it is one that this project could have measured; else ValueError."""
    try:
        row = json.loads(file.read_text("utf-8"), parse_constant=_refuse)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"unreadable: {error}") from None
    missing = {"key", "twin", "run", "status", "metrics", "privacy", "curve", "provenance"} - (
        row.keys() if isinstance(row, dict) else set())
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))}: expected a whole row")
    if row["status"] != "ok":
        raise ValueError(f"status {row['status']!r}: expected a run that was measured")
    run = _built(row["run"], "its run")
    if (run.key, run.twin) != (row["key"], row["twin"]) or file.stem != row["key"]:
        raise ValueError(f"key {row['key'][:8]}: expected {run.key[:8]}, the key of its run here; "
                         "was it trained by another version?")
    _check_provenance(row["provenance"])
    wrong = [value for value in _leaves(row["metrics"]) if not _finite(value)]
    if wrong or not row["metrics"]:
        raise ValueError(f"metrics {wrong[:1] or row['metrics']}: expected finite numbers")
    return row


def _finite(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _refuse(name: str) -> None:
    raise ValueError(f"the number {name}: expected finite numbers")


def _check_provenance(facts: object) -> None:
    known = facts if isinstance(facts, dict) else {}
    commit = known.get("commit")
    if not isinstance(commit, str) or len(commit) != 40 or set(commit) - set("0123456789abcdef"):
        raise ValueError(f"commit {commit!r}: expected the commit of the code that measured it; on "
                         "a machine without git set STUDY_COMMIT")
    if known.get("dirty") is not False:
        raise ValueError(f"changed files on commit {commit[:12]}: expected committed code")
