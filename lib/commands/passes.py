"""Passes over the notebooks: each runs read-only, and writes down the runs that it asks for."""

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
    """What the notebooks gave the last time each was run: {name: Result}, {name: {key: request}}.

    `tried`: keys of the runs that this command set out to train.
    """

    results: dict[str, execution.Result] = field(default_factory=dict)
    asked: dict[str, dict[str, dict]] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)

    def requests(self) -> dict[str, dict]:
        """Every run asked for, once, with the first notebook that asked: {key: request}."""
        return {key: request for runs in reversed(self.asked.values())
                for key, request in runs.items()}

    def own(self) -> list[dict]:
        """What each notebook asked for, but for rows that it reads from another one."""
        return [request for name, runs in self.asked.items() for request in runs.values()
                if request["notebook"] == name]

    def missing(self) -> dict[str, dict]:
        """The requests that no row answers: {key: request}."""
        return {key: request for key, request in self.requests().items() if not request["known"]}

    def failed(self) -> dict[str, dict]:
        """The requests whose row records a failed run: {key: request}."""
        return {key: request for key, request in self.requests().items()
                if request.get("status") == "failed"}

    def failures(self) -> list[str]:
        """A sentence a notebook and reason, about runs that failed."""
        found: dict[tuple[str, str], list[dict]] = {}
        for name, runs in self.asked.items():
            for request in runs.values():
                if request.get("status") == "failed":
                    reason = request.get("reason") or "no reason is recorded"
                    found.setdefault((name, reason), []).append(request)
        return [f"{name}: {number(len(requests), 'run')} failed, and count as not measured: "
                f"{reason}. --retry-failed trains them again."
                for (name, reason), requests in found.items()]

    def counts(self) -> dict[str, int]:
        """Number of rows by kind: their sources, "failed" and "missing"."""
        kinds = [self._kind(key, request) for key, request in self.requests().items()]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def seeds(self) -> dict[str, list[int]]:
        """The seeds of the rows asked for, by kind: {"attack": [0, 1], ...}."""
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
    """What one command works on: notebooks with their parameters, and the settings they share."""

    choices: list[Choice]
    values: dict[str, dict]
    settings: dict[str, str]
    out: Path
    jobs: int

    def run(self, names: Collection[str], seen: Pass, *, folder: Path) -> None:
        """Run these notebooks read-only, and put what they gave into `seen`."""
        with tempfile.TemporaryDirectory(prefix="asked-") as asked:
            tasks = [self._task(choice, folder=folder, asked=Path(asked, choice.name))
                     for choice in self.choices if choice.name in names]
            for result in execution.run_all(tasks, jobs=self.jobs, report=say):
                seen.results[result.name] = result
                seen.asked[result.name] = read_asked(Path(asked, result.name))

    def _task(self, choice: Choice, *, folder: Path, asked: Path) -> execution.Task:
        return execution.Task(
            source=choice.source, output=folder / f"{choice.name}.ipynb",
            parameters=self.values[choice.name],
            environment={**self.settings, "STUDY_MODE": "read-only", "STUDY_ASKED": str(asked)})


def read_asked(path: Path) -> dict[str, dict]:
    """The requests a notebook wrote down: {key: request}.

    A last line cut short by a kill is left out.
    """
    if not path.exists():
        return {}
    requests = {}
    for line in path.read_text("utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            request = json.loads(line)
            requests[request["key"]] = request
    return requests
