"""The part of a command that imports torch, in a process of its own.

`python -m lib.commands.worker ACTION GIVEN.json ANSWER.json`; actions are the functions below.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib import processes
from lib.commands import Problem, disk_problem

FIRST_FIGURE = "11_dpsgd"  # the notebook whose headline the page shows first


def train(requests: list[dict[str, Any]], *, until: float | None, processes: int | None,
          retry_failed: bool, untimed: list[str], cluster: str | None) -> int | None:
    """Train what the requests ask for; returns the number of rows made, None if that is not known.

    until: the moment, on the clock `time.monotonic`, at which to stop; None for no budget.
    """
    from lib import study

    budget = None if until is None else until - time.monotonic()
    try:
        return study.train(requests, budget=budget, jobs=processes, retry_failed=retry_failed,
                           untimed=untimed, cluster=cluster, report=_say)
    except study.ClusterProblem as problem:
        raise Problem(f"--cluster: {problem}") from None
    except Exception as error:
        problem = _problem_of_machine(error)
        if problem is None:
            raise
        raise problem from error


def _problem_of_machine(error):
    """A fault of this machine in one line: no room, no memory, no data.

    None for any other error.
    """
    from lib.study.measure import FAULTS
    from lib.study.sweep import WorkerDied

    if isinstance(error, OSError):
        return disk_problem(error)
    if isinstance(error, MemoryError):  # says nothing by itself
        return Problem(
            "not enough memory; what was finished is kept: start again, with fewer --jobs")
    return Problem(processes.first_line(error, width=1000)) if isinstance(
        error, (*FAULTS, WorkerDied)) else None


def estimate(requests_of: dict[str, list[dict[str, Any]]], *, processes: int | None
            ) -> dict[str, float | None]:
    """Seconds that the missing runs of each notebook will take, None where nothing is known: {name:
    seconds}.
    """
    from lib import study

    return {name: study.estimate([request["run"] for request in requests], jobs=processes)
            for name, requests in requests_of.items()}


def export(requests: list[dict[str, Any]]) -> dict[str, Any]:
    """Copy the rows of these requests from the local store to the published ones.

    Returns the counts, see `ledger.export`.
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
    """The verdicts on the requests of two profiles, side by side: {"names": two names, "requests":
    two {notebook: requests}}.
    """
    from lib import verdicts

    both = [verdicts.evaluate(_frames(requests_of)) for requests_of in requests_of_both["requests"]]
    return _records(verdicts.compare(*both, names=requests_of_both["names"]))


def _frames(requests_of):
    return {
        name: _frame(request["run"]
                     for request in requests)
        for name, requests in requests_of.items()
    }


def targets(as_json: bool) -> str:
    """A row for each figure, table and claim, as the published rows have it: the text to print."""
    from lib import verdicts

    frame = verdicts.targets_table(_published())
    if as_json:
        return json.dumps(_records(frame), indent=1, ensure_ascii=False)
    return _columns([list(frame.columns), *frame.fillna("").astype(str).values.tolist()])


def bench(name: str | None, *, as_json: bool) -> int:
    """Run one benchmark or all; returns the exit code, 2 for a name that there is not."""
    from lib import bench

    try:
        return bench.main(name, as_json=as_json) or 0
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def _published():
    """The published rows as frames: {notebook: frame}."""
    from lib.paths import RESULTS

    files = {
        path.stem: path.read_text("utf-8").splitlines() for path in sorted(RESULTS.glob("*.jsonl"))
    }
    return {
        name: _frame(json.loads(line)["run"]
                     for line in lines
                     if line.strip())
        for name, lines in files.items()
    }


def _frame(runs):
    """What is known of these runs, one line each; nothing is trained."""
    from lib import study

    return study.run([study.from_dict(run) for run in runs])


def _records(frame):
    """A frame as plain values; what is not a number is None."""
    return json.loads(frame.to_json(orient="records", double_precision=15))


def _columns(rows, widest=60):
    """Rows of texts as lines with aligned columns; texts longer than `widest` are cut."""
    rows = [[text if len(text) <= widest else f"{text[:widest - 1]}…"
             for text in row]
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
    for action in (train, estimate, export, verdicts, compare, targets, bench, cuda)
}


def main(action: str, given: str, answer: str) -> None:
    """Do one action; the answer file appears only if it went well."""
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
