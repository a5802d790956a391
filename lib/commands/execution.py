"""Run notebooks in parallel, one process each; a result is written whole or not at all.

Each notebook needs its own process, because papermill changes the working directory of the whole
process. Each has its own kernel and socket. Start-up and imports take about 3 s per notebook.
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

TIME_LIMIT = 1800  # seconds for one notebook; it trains nothing, so a slower one must be stuck


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
    """The outcome of a task.

    output: the notebook with its outputs, None if none was written. error: None if every cell ran.
    """

    name: str
    output: Path | None
    error: str | None
    seconds: float


# ---------------------------------------------------------------- many notebooks

def run_all(tasks: list[Task], *, jobs: int = 1,
            report: Callable[[str], object] = print) -> list[Result]:
    """Run the tasks, `jobs` at a time, and report a line for each; returns their results in order.

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
    """Run one notebook in a separate process; its output appears whole, by a rename."""
    started = time.monotonic()
    task.output.parent.mkdir(parents=True, exist_ok=True)
    task.output.unlink(missing_ok=True)  # never show an earlier build's output as this one's
    # The kernel's socket is in here, and socket names have at most 104 bytes: keep the path short.
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
    """Wait for a notebook's process to end; returns an error if it had to be killed, else None."""
    try:
        child.wait(TIME_LIMIT)
    except subprocess.TimeoutExpired:
        processes.kill(child)
        return f"stopped after {TIME_LIMIT} s"
    return None


def _outcome(child: subprocess.Popen, scratch: Path) -> str | None:
    """The error of a process that has ended, None if every cell of the notebook ran."""
    report = scratch / "outcome.json"
    if report.exists():
        outcome = json.loads(report.read_text("utf-8"))
        if outcome.get("errno"):
            raise OSError(outcome["errno"], os.strerror(outcome["errno"]), outcome["filename"])
        return outcome["error"]
    last = (scratch / "log").read_text("utf-8", "replace").strip().splitlines()[-1:]
    return f"its process ended with exit code {child.returncode}: {' '.join(last)}"


# ---------------------------------------------------------------- inside a notebook's process

def execute(source: Path, output: Path, parameters: dict, scratch: Path) -> str | None:
    """Run a notebook's .py file with parameters; returns None, or `cell N · ename: evalue`.

    The output is renamed into place at the end, even after an error (the failing cell is marked).
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
    """A path for papermill, which would otherwise substitute parameters for {name}."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_channel(scratch: Path) -> dict[str, str]:
    """Settings that give a kernel its own socket file.

    With TCP, jupyter picks ports, releases them and binds them later, so that two notebooks can get
    the same port. With plain "ipc", kernels that share a folder share a socket.
    """
    if os.name == "nt":
        return {"transport_encryption": "auto"}
    return {"transport": "ipc", "ip": str(scratch / "k")}


def without_address_grammar() -> None:
    """Save 0.8 s per process: keep jsonschema from building its grammar of web addresses.

    Notebook files have no field that needs it. Call this before importing nbformat.
    """
    if "jsonschema" not in sys.modules:
        modules: dict[str, Any] = sys.modules
        modules.setdefault("rfc3987_syntax", None)  # None makes importing it fail


def move(made: Path, target: Path) -> None:
    """Copy a finished file to its place; it appears whole, also across file systems."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(made, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def main(path: str) -> None:
    """Run the task in a JSON file, and write its outcome beside that file."""
    processes.end_with_parent()
    task = json.loads(Path(path).read_text("utf-8"))
    outcome: dict[str, Any] = {"error": None}
    try:
        outcome["error"] = execute(Path(task["source"]), Path(task["output"]), task["parameters"],
                                   Path(task["scratch"]))
    except OSError as error:
        outcome.update(error=str(error), errno=error.errno, filename=error.filename)
    except Exception as error:  # noqa: BLE001 (report a dead kernel or a broken file)
        outcome["error"] = f"{type(error).__name__}: {processes.first_line(error)}"
    Path(task["scratch"], "outcome.json").write_text(json.dumps(outcome), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
