"""Passes over the notebooks: each notebook runs read-only and records the runs that it requests."""

import contextlib
import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from lib.commands import execution
from lib.commands.profiles import Choice
from lib.commands.terminal import number, say

SEEDS = ("attack", "init", "noise")


@dataclass
class Pass:
    """What came of the latest execution of each notebook.

    results: {notebook: Result}. asked: the runs it requested, {notebook: {key: request}}. tried:
    keys of the runs that this command has tried to train.
    """

    results: dict[str, execution.Result] = field(default_factory=dict)
    asked: dict[str, dict[str, dict]] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)

    def requests(self) -> dict[str, dict]:
        """Every requested run once, as the first notebook requested it: {key: request}."""
        return {key: request for runs in reversed(self.asked.values())
                for key, request in runs.items()}

    def own(self) -> list[dict]:
        """The requests of each notebook, without rows that another notebook publishes."""
        return [request for name, runs in self.asked.items() for request in runs.values()
                if request["notebook"] == name]

    def missing(self) -> dict[str, dict]:
        """The requests without a row: {key: request}."""
        return {key: request for key, request in self.requests().items() if not request["known"]}

    def failed(self) -> dict[str, dict]:
        """The requests whose row records a failed run: {key: request}."""
        return {key: request for key, request in self.requests().items()
                if request.get("status") == "failed"}

    def failures(self) -> list[str]:
        """One sentence for each notebook and each reason why runs failed."""
        found: dict[tuple[str, str], list[dict]] = {}
        for name, runs in self.asked.items():
            for request in runs.values():
                if request.get("status") == "failed":
                    reason = request.get("reason") or "no reason was recorded"
                    found.setdefault((name, reason), []).append(request)
        return [f"{name}: {number(len(requests), 'run')} failed ({reason}) and "
                f"{'counts' if len(requests) == 1 else 'count'} as not measured. "
                "--retry-failed trains again."
                for (name, reason), requests in found.items()]

    def counts(self) -> dict[str, int]:
        """Number of rows by kind: their sources, "failed" and "missing"."""
        kinds = [self._kind(key, request) for key, request in self.requests().items()]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def seeds(self) -> dict[str, list[int]]:
        """The seeds of the requested rows, by kind: {"attack": [0, 1], ...}."""
        runs = [request["run"] for request in self.requests().values()
                if isinstance(request["run"], dict)]
        found = {kind: {run[f"{kind}_seed"] for run in runs if f"{kind}_seed" in run}
                 for kind in SEEDS}
        return {kind: sorted(seeds) for kind, seeds in found.items() if seeds}

    def _kind(self, key: str, request: dict) -> str:
        if not request["known"]:
            return "missing"
        if request.get("status") == "failed":
            return "failed"
        return "fresh" if key in self.tried else request.get("source") or "known"


@dataclass(frozen=True)
class Study:
    """What one command works on: notebooks, their parameters, and the settings they share.

    values: {notebook: parameters}. settings: environment variables. out: folder of the page. jobs:
    notebooks to run at once.
    """

    choices: list[Choice]
    values: dict[str, dict]
    settings: dict[str, str]
    out: Path
    jobs: int

    def run(self, names: Collection[str], latest: Pass, *, folder: Path) -> None:
        """Run these notebooks read-only, and store their results and requests in `latest`."""
        with tempfile.TemporaryDirectory(prefix="asked-") as asked:
            tasks = [self._task(choice, folder=folder, asked=Path(asked, choice.name))
                     for choice in self.choices if choice.name in names]
            for result in execution.run_all(tasks, jobs=self.jobs, report=say):
                latest.results[result.name] = result
                latest.asked[result.name] = read_asked(Path(asked, result.name))

    def _task(self, choice: Choice, *, folder: Path, asked: Path) -> execution.Task:
        return execution.Task(
            source=choice.source, output=folder / f"{choice.name}.ipynb",
            parameters=self.values[choice.name],
            environment={**self.settings, "STUDY_MODE": "read-only", "STUDY_ASKED": str(asked)})


def read_asked(path: Path) -> dict[str, dict]:
    """Read the requests that a notebook recorded: {key: request}.

    Skips a last line that a kill cut short.
    """
    if not path.exists():
        return {}
    requests = {}
    for line in path.read_text("utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            request = json.loads(line)
            requests[request["key"]] = request
    return requests
