"""Run notebooks: one process each, several at a time, each result written whole or not at all.

A notebook runs in a process of its own (papermill changes the folder of the whole process), with
its own kernel behind its own socket. Start and imports cost about 3 s a notebook.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lib.paths import NOTEBOOKS, ROOT

TIME_LIMIT = 1800  # seconds for one notebook: it trains nothing, so a longer one hangs
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """One notebook to run: its .py file, where its outputs go, its parameters, its environment variables."""

    source: Path
    output: Path
    parameters: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)

    @property
    def name(self):
        return self.source.stem


@dataclass(frozen=True)
class Result:
    """What came of a task: the notebook with outputs (None: there is none), the error (None: it ran through)."""

    name: str
    output: Path | None
    error: str | None
    seconds: float


# ---------------------------------------------------------------- sharing the machine

def cores():
    """The CPU cores this process may use, a container's quota included."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        count = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        pass
    return count


def thread_settings(jobs):
    """Environment variables that give each of `jobs` processes its share of the cores.

    They must be set before torch is imported: two processes with all threads each run fifty times
    slower than with half. A smaller number that the user has set stays.
    """
    share = max(1, cores() // jobs)
    own = os.environ.get("OMP_NUM_THREADS", "")
    share = min(share, int(own)) if own.isdecimal() and int(own) else share
    return dict.fromkeys(THREAD_SETTINGS, str(share))


def child_environment(**settings):
    """The environment of a child: this one's, the checkout importable, and the settings (None: unset)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]), "JUPYTER_PREFER_ENV_PATH": "1"}
    for name, value in settings.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = str(value)
    return environment


# ---------------------------------------------------------------- children that end with their parent

_children = set()
_starting = threading.Lock()  # so that no child slips in while the others are ended
_ending = threading.Event()


def start(command, *, environment, **how):
    """Start a child in a process group of its own, so that `end_children` can end all of it."""
    with _starting:
        if _ending.is_set():
            raise RuntimeError("this process is ending: it starts no more children")
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                 start_new_session=os.name != "nt", **how)
        _children.add(child)
    return child


def end_children(patience=2.0):
    """End every child still running with its whole group: asked first, killed after `patience` seconds."""
    with _starting:
        _ending.set()
    running = [child for child in list(_children) if child.poll() is None]
    for child in running:
        _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + patience
    for child in running:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal(child, getattr(signal, "SIGKILL", signal.SIGTERM))
            child.wait()


def _signal(child, number):
    try:
        os.killpg(child.pid, number) if os.name != "nt" else child.terminate()
    except ProcessLookupError:
        pass


def end_with_parent():
    """Make this process end when its parent has gone (killed -9): nobody would read what it makes."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os.killpg(0, signal.SIGTERM)

    if os.name != "nt":
        threading.Thread(target=watch, daemon=True).start()


# ---------------------------------------------------------------- many notebooks

def run_all(tasks, *, jobs=1, report=print):
    """Run the tasks, `jobs` at a time, and print a line for each; returns their results in order.

    A notebook that fails does not stop the others.
    """
    width, done = max((len(task.name) for task in tasks), default=0), []

    def one(task):
        result = run_one(task, jobs=jobs)
        if _ending.is_set():
            return result
        done.append(result)
        outcome = f"failed: {result.error}" if result.error else ""
        report(f"[{len(done):2}/{len(tasks)}] {task.name:{width}} {result.seconds:6.1f} s  {outcome}".rstrip())
        return result

    pool = ThreadPoolExecutor(min(jobs, len(tasks)) or 1)
    try:
        return list(pool.map(one, tasks))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def run_one(task, *, jobs=1):
    """Run one notebook in a process of its own; its output appears whole, by a rename."""
    started = time.monotonic()
    task.output.parent.mkdir(parents=True, exist_ok=True)
    task.output.unlink(missing_ok=True)  # an older build's must never stand in for this one's
    scratch = Path(tempfile.mkdtemp(prefix="nb-"))  # a short path: names of sockets have 104 bytes at most
    try:
        spec = {**asdict(task), "source": str(task.source), "output": str(task.output), "scratch": str(scratch)}
        (scratch / "task.json").write_text(json.dumps(spec), "utf-8")
        environment = child_environment(**thread_settings(jobs), STUDY_NOTEBOOK=task.name, **task.environment)
        with open(scratch / "log", "wb") as log:
            child = start([sys.executable, "-m", "lib.execute", str(scratch / "task.json")],
                          environment=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            error = _wait(child)
        if error is None:
            error = _outcome(child, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    output = task.output if task.output.exists() else None
    return Result(task.name, output, error, time.monotonic() - started)


def _wait(child):
    try:
        child.wait(TIME_LIMIT)
    except subprocess.TimeoutExpired:
        _signal(child, getattr(signal, "SIGKILL", signal.SIGTERM))
        child.wait()
        return f"stopped after {TIME_LIMIT} s"
    return None


def _outcome(child, scratch):
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

def execute(source, output, parameters, scratch):
    """Run a notebook's .py file with parameters; returns None, or `cell N · ename: evalue`.

    The output is renamed into place at the end, also after an error (the failing cell is marked).
    """
    without_address_grammar()
    import jupytext
    import papermill
    from traitlets.config import Config

    draft, ran = scratch / f"{source.stem}.ipynb", scratch / f"{source.stem}.out.ipynb"
    jupytext.write(jupytext.read(source), draft)
    # A socket file of its own: TCP ports are picked, let go and bound again, so that notebooks that
    # run side by side can meet at one; and the relative socket of plain "ipc" is shared by a folder.
    kernel = {"transport": "ipc", "ip": str(scratch / "k")} if os.name != "nt" else {"transport_encryption": "auto"}
    error = None
    try:
        papermill.execute_notebook(
            str(draft).replace("{", "{{").replace("}", "}}"), str(ran).replace("{", "{{").replace("}", "}}"),
            parameters=parameters, kernel_name="python3", language="python", cwd=NOTEBOOKS, progress_bar=False,
            request_save_on_cell_execute=False, config=Config({"KernelManager": kernel}))
    except papermill.PapermillExecutionError as raised:
        error = f"cell {raised.exec_count} · {raised.ename}: {first_line(raised.evalue)}"
    if ran.exists():
        move(ran, output)
    return error


def without_address_grammar():
    """Spare each process 0.8 s: jsonschema builds a grammar for checking web addresses, and takes none for an answer.

    Notebook files have no field that it checks. To be called before nbformat is imported.
    """
    if "jsonschema" not in sys.modules:
        sys.modules.setdefault("rfc3987_syntax", None)


def first_line(text, width=200):
    """The first line of a message, cut at `width` characters."""
    line = next(iter(str(text).strip().splitlines()), "")
    return line if len(line) <= width else f"{line[:width - 1]}…"


def move(made, target):
    """Put a finished file in its place by a rename, across file systems too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(made, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def main(path):
    """Run the task written in a JSON file, and write how it went beside it."""
    end_with_parent()
    task = json.loads(Path(path).read_text("utf-8"))
    outcome = {"error": None}
    try:
        outcome["error"] = execute(Path(task["source"]), Path(task["output"]), task["parameters"],
                                   Path(task["scratch"]))
    except OSError as error:
        outcome.update(error=str(error), errno=error.errno, filename=error.filename)
    except Exception as error:  # noqa: BLE001  a kernel that died, a file that is no notebook: told, not raised
        outcome["error"] = f"{type(error).__name__}: {first_line(error)}"
    Path(task["scratch"], "outcome.json").write_text(json.dumps(outcome), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
