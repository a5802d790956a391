"""Run notebooks: one process each, several at a time, each result written whole or not at all.

A notebook runs in a process of its own (papermill changes the folder of the whole process), with
its own kernel behind its own socket. Start and imports cost about 3 s a notebook.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lib import processes
from lib.paths import NOTEBOOKS, ROOT

TIME_LIMIT = 1800  # seconds for one notebook: it trains nothing, so a longer one hangs


@dataclass(frozen=True)
class Task:
    """One notebook to run.

    source: its .py file. output: where the .ipynb goes. environment: variables of its process;
    None removes one.
    """

    source: Path
    output: Path
    parameters: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.source.stem


@dataclass(frozen=True)
class Result:
    """What came of a task.

    output: the notebook with its outputs; None if there is none. error: None if it ran through.
    """

    name: str
    output: Path | None
    error: str | None
    seconds: float


# ---------------------------------------------------------------- many notebooks

def run_all(tasks: list[Task], *, jobs: int = 1,
            report: Callable[[str], object] = print) -> list[Result]:
    """Run the tasks, `jobs` at a time, and print a line for each; returns their results in order.

    A notebook that fails does not stop the others.
    """
    width = max((len(task.name) for task in tasks), default=0)
    done: list[Result] = []

    def run(task: Task) -> Result:
        result = run_one(task, jobs=jobs)
        if processes.ending():
            return result
        done.append(result)
        outcome = f"failed: {result.error}" if result.error else ""
        count = f"[{len(done):2}/{len(tasks)}]"
        report(f"{count} {task.name:{width}} {result.seconds:6.1f} s  {outcome}".rstrip())
        return result

    pool = ThreadPoolExecutor(min(jobs, len(tasks)) or 1)
    try:
        return list(pool.map(run, tasks))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def run_one(task: Task, *, jobs: int = 1) -> Result:
    """Run one notebook in a process of its own; its output appears whole, by a rename."""
    started = time.monotonic()
    task.output.parent.mkdir(parents=True, exist_ok=True)
    task.output.unlink(missing_ok=True)  # an older build's must never stand in for this one's
    # A short path: the names of sockets have 104 bytes at most.
    scratch = Path(tempfile.mkdtemp(prefix="nb-"))
    try:
        spec = {**asdict(task), "source": str(task.source), "output": str(task.output),
                "scratch": str(scratch)}
        (scratch / "task.json").write_text(json.dumps(spec), "utf-8")
        environment = processes.child_environment(
            **processes.thread_settings(jobs), STUDY_NOTEBOOK=task.name, **task.environment)
        command = [sys.executable, "-m", "lib.commands.execution", str(scratch / "task.json")]
        with open(scratch / "log", "wb") as log:
            child = processes.start(command, environment=environment, cwd=ROOT,
                                    stdout=log, stderr=subprocess.STDOUT)
            error = _wait(child)
        if error is None:
            error = _outcome(child, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    output = task.output if task.output.exists() else None
    return Result(task.name, output, error, time.monotonic() - started)


def _wait(child: subprocess.Popen) -> str | None:
    """Wait for the end of a notebook's process: an error if it had to be killed, else None."""
    try:
        child.wait(TIME_LIMIT)
    except subprocess.TimeoutExpired:
        processes.kill(child)
        return f"stopped after {TIME_LIMIT} s"
    return None


def _outcome(child: subprocess.Popen, scratch: Path) -> str | None:
    """The error of a process that has ended, None if the notebook ran through."""
    said = scratch / "outcome.json"
    if said.exists():
        outcome = json.loads(said.read_text("utf-8"))
        if outcome.get("errno"):
            raise OSError(outcome["errno"], os.strerror(outcome["errno"]), outcome["filename"])
        return outcome["error"]
    last = (scratch / "log").read_text("utf-8", "replace").strip().splitlines()[-1:]
    return f"its process ended with exit code {child.returncode}: {' '.join(last)}"


# ---------------------------------------------------------------- one notebook, in its own process

def execute(source: Path, output: Path, parameters: dict, scratch: Path) -> str | None:
    """Run a notebook's .py file with parameters; returns None, or `cell N · ename: evalue`.

    The output is renamed into place at the end, also after an error (the failing cell is marked).
    """
    without_address_grammar()
    import jupytext
    import papermill
    from traitlets.config import Config

    draft, ran = scratch / f"{source.stem}.ipynb", scratch / f"{source.stem}.out.ipynb"
    jupytext.write(jupytext.read(source), draft)
    error = None
    try:
        papermill.execute_notebook(
            _literal(draft), _literal(ran), parameters=parameters, kernel_name="python3",
            language="python", cwd=NOTEBOOKS, progress_bar=False,
            request_save_on_cell_execute=False,
            config=Config({"KernelManager": _kernel_channel(scratch)}))
    except papermill.PapermillExecutionError as raised:
        error = f"cell {raised.exec_count} · {raised.ename}: {processes.first_line(raised.evalue)}"
    if ran.exists():
        move(ran, output)
    return error


def _literal(path: Path) -> str:
    """A path as papermill takes it, which fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_channel(scratch: Path) -> dict[str, str]:
    """How to talk to a kernel: by a socket file of its own.

    TCP ports are picked, released and bound again, so that two notebooks that run side by side can
    get the same one; and the relative socket of plain "ipc" is shared by a folder.
    """
    if os.name == "nt":
        return {"transport_encryption": "auto"}
    return {"transport": "ipc", "ip": str(scratch / "k")}


def without_address_grammar() -> None:
    """Spare each process 0.8 s: without its package, jsonschema checks no web addresses.

    It would build a grammar for them, and notebook files have no such field. To be called before
    nbformat is imported.
    """
    if "jsonschema" not in sys.modules:
        modules: dict[str, Any] = sys.modules
        modules.setdefault("rfc3987_syntax", None)  # an import of it then fails


def move(made: Path, target: Path) -> None:
    """Put a finished file in its place by a rename, across file systems too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(made, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def main(path: str) -> None:
    """Run the task written in a JSON file, and write how it went beside it."""
    processes.end_with_parent()
    task = json.loads(Path(path).read_text("utf-8"))
    outcome: dict[str, Any] = {"error": None}
    try:
        outcome["error"] = execute(Path(task["source"]), Path(task["output"]), task["parameters"],
                                   Path(task["scratch"]))
    except OSError as error:
        outcome.update(error=str(error), errno=error.errno, filename=error.filename)
    except Exception as error:  # noqa: BLE001 (a kernel that died, a broken file: reported)
        outcome["error"] = f"{type(error).__name__}: {processes.first_line(error)}"
    Path(task["scratch"], "outcome.json").write_text(json.dumps(outcome), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
