"""The part of a command that imports torch; it runs in a separate process.

`python -m lib.commands.worker ACTION GIVEN.json ANSWER.json`, where ACTION names a function below.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib import processes
from lib.commands import Problem, disk_problem

FIRST_FIGURE = "11_dpsgd"  # the notebook whose headline the page shows first


def train(requests: list[dict[str, Any]], *, until: float | None, processes: int | None,
          retry_failed: bool, untimed: list[str], cluster: str | None) -> int | None:
    """Train the requested runs; returns the number of new rows, None if unknown.

    until: when to stop, by `time.monotonic`; None for no budget.
    """
    return _trained(requests, until, jobs=processes, retry_failed=retry_failed, untimed=untimed,
                    cluster=cluster, report=_say)


def _trained(requests, until, **how):
    """`study.train` with `how`; a fault of this machine becomes a Problem."""
    from lib import study

    budget = None if until is None else until - time.monotonic()
    try:
        return study.train(requests, budget=budget, **how)
    except study.ClusterProblem as problem:
        raise Problem(f"--cluster: {problem}") from None
    except Exception as error:
        problem = _problem_of_machine(error)
        if problem is None:
            raise
        raise problem from error


def train_plan(path: str, *, until: float | None, processes: int | None, own_files: bool) -> int:
    """Train the missing runs of a saved plan in its order; returns the exit code."""
    from lib.study import plans, sweep

    try:
        requests = plans.load(Path(path), own_files=own_files)
    except ValueError as error:
        raise Problem(str(error)) from None
    started, todo = time.monotonic(), len(sweep.missing(requests))
    _say(f"{len(requests)} runs in the plan, {todo} to train, on {_device()}")

    def pace(line: str) -> None:
        done = todo - len(sweep.missing(requests))
        _say(f"{line}; {done / max(time.monotonic() - started, 1e-9):.2f} rows a second")

    found = _trained(requests, until, jobs=processes, report=pace)
    left = len(sweep.missing(requests))
    _say(f"{found} rows in {time.monotonic() - started:.0f} s, {left} left")
    return 0


def _device():
    from lib.study.inputs import device_name

    return device_name()


def bring(folder: str) -> dict[str, Any]:
    """Import the rows of a store: {"new": count, "known": count, "refused": lines}."""
    from lib.study import plans

    try:
        new, known, refused = plans.bring(Path(folder))
    except ValueError as error:
        raise Problem(str(error)) from None
    return {"new": new, "known": known, "refused": refused}


def save_plan(requests: list[dict[str, Any]], *, path: str) -> int:
    """Write the requests as a plan, most wanted first; returns how many."""
    from lib.study import measure, plans

    plans.save(Path(path), _wanted_first(requests), commit=measure.provenance()["commit"])
    return len(requests)


def _wanted_first(requests):
    """The headline's notebook, then notebooks by the number of their open verdicts; in a notebook
    as it asks."""
    from lib import verdicts

    names = {request["notebook"] for request in requests}
    if len(names) < 2:
        return requests
    results = verdicts.evaluate(_published(names))
    judged = [(result.claim.notebook, one) for result in results
              for one in (result.direction, result.size) if one is not None]
    still_open = Counter(name for name, one in judged
                         if one.outcome in ("inconclusive", "not measured"))
    return sorted(requests, key=lambda request: (request["notebook"] != FIRST_FIGURE,
                                                 -still_open[request["notebook"]]))


def _problem_of_machine(error):
    """One line about a fault of this machine (no space, memory or data); None for other errors."""
    from lib.study.measure import FAULTS
    from lib.study.sweep import WorkerDied

    if isinstance(error, OSError):
        return disk_problem(error)
    if isinstance(error, MemoryError):  # has no message
        return Problem(
            "not enough memory; finished rows are kept: run the command again with fewer --jobs")
    if isinstance(error, ModuleNotFoundError):
        return Problem(f"this run needs the package {error.name}, which is not installed here; "
                       "finished rows are kept")
    if isinstance(error, (*FAULTS, WorkerDied)):
        return Problem(processes.first_line(error, width=1000))
    return None


def estimate(requests_of: dict[str, list[dict[str, Any]]], *,
             processes: int | None) -> dict[str, float | None]:
    """Estimate the training time of each notebook's missing runs: {notebook: seconds or None}.

    None: no similar run was timed.
    """
    from lib import study

    return {name: study.estimate([request["run"] for request in requests], jobs=processes)
            for name, requests in requests_of.items()}


def export(requests: list[dict[str, Any]]) -> dict[str, Any]:
    """Copy the rows of these requests from the local store to the published rows.

    Returns the counts that `ledger.export` returns.
    """
    from lib import ledger

    try:
        return ledger.export(requests)
    except ValueError as error:
        raise Problem(str(error)) from None


def verdicts(requests_of: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The verdicts on the published rows beside those on these requests (records), the answer in
    sentences with notes, and the page's first figure.
    """
    from lib import verdicts

    published = _published()
    table = verdicts.table(verdicts.evaluate(published), verdicts.evaluate(_frames(requests_of)))
    return {"table": _records(table), "answer": verdicts.answer(published),
            "headline": _headline(FIRST_FIGURE)}


def _headline(notebook):
    """A notebook's headline figure as the page takes it."""
    from lib import figures, papers

    drawn = papers.drawn(notebook)
    return {"svg": figures.svg(drawn.figure, alt=drawn.alt), "caption": drawn.caption,
            "alt": drawn.alt, "finding": drawn.finding, "href": f"#{drawn.id}"}


def compare(requests_of_both: dict[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on the requests of two profiles, side by side, as records.

    requests_of_both: {"names": two names, "requests": two mappings {notebook: requests}}.
    """
    from lib import verdicts

    both = [verdicts.evaluate(_frames(requests_of)) for requests_of in requests_of_both["requests"]]
    return _records(verdicts.compare(*both, names=requests_of_both["names"]))


def _frames(requests_of):
    return {name: _frame(request["run"] for request in requests)
            for name, requests in requests_of.items()}


def targets(as_json: bool) -> str:
    """The text of `targets`: a row for each figure, table and claim, from the published rows."""
    from lib import verdicts

    frame = verdicts.targets_table(_published())
    if as_json:
        return json.dumps(_records(frame), indent=1, ensure_ascii=False)
    return _columns([list(frame.columns), *frame.fillna("").astype(str).values.tolist()])


def bench(name: str | None, *, as_json: bool, device: str) -> int:
    """Run one benchmark or all; returns the exit code, 2 for an unknown name or device."""
    import torch

    from lib import bench

    if device == "cuda" and not torch.cuda.is_available():
        raise Problem("--device cuda: torch sees no CUDA device; leave --device out", 2)
    try:
        return bench.main(name, as_json=as_json, device=device) or 0
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _published(names=None):
    """The published rows of these notebooks (None: all) as frames: {notebook: frame}."""
    from lib.paths import RESULTS

    files = {path.stem: path.read_text("utf-8").splitlines()
             for path in sorted(RESULTS.glob("*.jsonl")) if names is None or path.stem in names}
    return {name: _frame(json.loads(line)["run"] for line in lines if line.strip())
            for name, lines in files.items()}


def _frame(runs):
    """The rows of these runs, one line each; trains nothing."""
    from lib import study

    return study.run([study.from_dict(run) for run in runs])


def _records(frame):
    """A frame as plain values, with None for NaN."""
    return json.loads(frame.to_json(orient="records", double_precision=15))


def _columns(rows, widest=60):
    """Rows of texts as lines with aligned columns; texts longer than `widest` are cut."""
    rows = [[text if len(text) <= widest else f"{text[:widest - 1]}…" for text in row]
            for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows)


def cuda(_: object) -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


def _say(line):
    print(line, flush=True)


ACTIONS: dict[str, Callable[..., Any]] = {
    action.__name__: action
    for action in (train, train_plan, bring, save_plan, estimate, export, verdicts, compare,
                   targets, bench, cuda)
}


def main(action: str, given: str, answer: str) -> None:
    """Run one action; writes the answer file only if it succeeds."""
    processes.end_with_parent()
    settings = json.loads(Path(given).read_text("utf-8"))
    try:
        result = ACTIONS[action](settings.pop("payload"), **settings)
    except Problem as problem:
        print(f"{action}: {problem}", file=sys.stderr)
        sys.exit(problem.status)
    Path(answer).write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
