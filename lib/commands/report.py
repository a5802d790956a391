"""`report`: find out which rows the notebooks ask for, train what is missing, show them all on one page.

A pass runs the notebooks read-only while each writes down the runs it asked for. What is missing is
trained, grouped across notebooks, in one process; then the notebooks that missed something run again.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from lib import execute
from lib.commands import Problem, provenance
from lib.commands.profiles import parameters, profile_folder, profile_name, select
from lib.paths import BUILD, PARAMS, ROOT

ANSWER = 10  # seconds for the scheduler of a cluster, which may just have been started, to listen
ROUNDS = 3  # of training: runs that depend on results are asked for only once these are there
QUIET = ("-W", "ignore::UserWarning:multiprocessing.resource_tracker")  # which tells of tidying up after processes that are stopped
MORE_TO_SHOW = 1.5  # times as long does a notebook take with its rows as without


@dataclass
class Pass:
    """What the notebooks gave the last time each was run: {name: Result}, {name: {key: request}}.

    `tried`: keys of the runs that this command set out to train.
    """

    results: dict = field(default_factory=dict)
    asked: dict = field(default_factory=dict)
    tried: set = field(default_factory=set)

    def requests(self):
        """Every run asked for, once, with the first notebook that asked: {key: request}."""
        return {key: request for runs in reversed(self.asked.values()) for key, request in runs.items()}

    def missing(self):
        """The requests that no row answers: {key: request}."""
        return {key: request for key, request in self.requests().items() if not request["known"]}

    def failed(self):
        """The requests whose row tells of a failed run: {key: request}."""
        return {key: request for key, request in self.requests().items() if request.get("status") == "failed"}

    def failures(self):
        """A sentence a notebook and reason, about runs that failed."""
        found = {}
        for name, runs in self.asked.items():
            for request in runs.values():
                if request.get("status") == "failed":
                    found.setdefault((name, request.get("reason") or "no reason is recorded"), []).append(request)
        return [f"{name}: {number(len(requests), 'run')} failed, and count as not measured: {reason}. --retry-failed trains them again."
                for (name, reason), requests in found.items()]

    def counts(self):
        """How many rows there are of which kind: {source: count}; "failed" and "missing" beside the sources."""
        kinds = [self._kind(key, request) for key, request in self.requests().items()]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}

    def seeds(self):
        """The seeds of the rows asked for, by kind: {"attack": [0, 1], ...}."""
        runs = [request["run"] for request in self.requests().values() if isinstance(request["run"], dict)]
        found = {kind: {run[f"{kind}_seed"] for run in runs if f"{kind}_seed" in run} for kind in ("attack", "init", "noise")}
        return {kind: sorted(seeds) for kind, seeds in found.items() if seeds}

    def _kind(self, key, request):
        if not request["known"]:
            return "missing"
        if request.get("status") == "failed":
            return "failed"
        return "fresh" if key in self.tried else request.get("source") or "known"


@dataclass(frozen=True)
class Study:
    """What one command works on: notebooks with their parameters, and the settings they share."""

    choices: list
    values: dict
    settings: dict
    out: Path
    jobs: int

    def run(self, names, seen, *, folder):
        """Run these notebooks read-only, and put what they gave into `seen`."""
        with tempfile.TemporaryDirectory(prefix="asked-") as asked:
            tasks = [execute.Task(
                source=choice.source, output=folder / f"{choice.name}.ipynb", parameters=self.values[choice.name],
                environment={**self.settings, "STUDY_MODE": "read-only", "STUDY_ASKED": f"{asked}/{choice.name}"},
            ) for choice in self.choices if choice.name in names]
            for result in execute.run_all(tasks, jobs=self.jobs, report=say):
                seen.results[result.name] = result
                seen.asked[result.name] = read_asked(Path(asked, result.name))


def say(line):
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def read_asked(path):
    """The requests a notebook wrote down: {key: request}; a last line cut short by a kill is left out."""
    if not path.exists():
        return {}
    requests = {}
    for line in path.read_text("utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            request = json.loads(line)
            requests[request["key"]] = request
    return requests


@contextlib.contextmanager
def stoppable():
    """End the children whenever the work is broken off: Ctrl-C, a termination, an error."""
    def leave(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except BaseException:
        execute.end_children()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare(options):
    """The study of a command line; everything that can be wrong in it is told here."""
    choices = select(options)
    values = {choice.name: parameters(choice) for choice in choices}
    if getattr(options, "cluster", None) and not options.read_only:
        check_cluster(options)
    out = getattr(options, "out", None) or BUILD / profile_name(options.profile)
    folders = [str(profile_folder(options.profile)), str(Path.cwd())]
    settings = {"STUDY_DEVICE": options.device or os.environ.get("STUDY_DEVICE") or "auto", "STUDY_FOLDERS": os.pathsep.join(folders)}
    if options.store:
        settings["STUDY_STORE"] = str(options.store)
    if options.data:
        settings["DATA_ROOT"] = str(options.data)
    if getattr(options, "fresh", False):
        shutil.rmtree(out / "store-fresh", ignore_errors=True)
        settings |= {"STUDY_STORE": str(out / "store-fresh"), "STUDY_PUBLISHED": "0"}
    if options.device == "cuda" and not has_cuda():
        raise Problem("--device cuda: torch sees no CUDA device here (try --device cpu, or leave it out)", 2)
    return Study(choices, values, settings, out, options.jobs or min(execute.cores(), 8))


def check_cluster(options):
    """Raise Problem unless something listens at the address of --cluster, or soon does: told before the notebooks run."""
    if options.device:
        raise Problem("--device is for training here: with --cluster each worker takes CUDA if it has any, or its own $STUDY_DEVICE", 2)
    host, _, port = options.cluster.partition("://")[2].rpartition(":")
    deadline = time.monotonic() + ANSWER
    while True:
        try:
            return socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise Problem(f"--cluster {options.cluster}: no Dask scheduler answers there ({error.strerror or error}); start one "
                              "(README, Many machines), or correct the address") from None
        time.sleep(0.5)


def worker(action, payload, *, settings=None, jobs=1, **how):
    """Run `lib.commands.worker` in a process of its own (this one never imports torch): what it returned.

    Raises Problem if it fails; what it prints goes to the terminal.
    """
    with tempfile.TemporaryDirectory(prefix="work-") as folder:
        given, answer = Path(folder, "given.json"), Path(folder, "answer.json")
        given.write_text(json.dumps({"payload": payload, **how}), "utf-8")
        shared = {**execute.thread_settings(jobs), "STUDY_ASKED": None, **(settings or {})}
        child = execute.start([sys.executable, *QUIET, "-m", "lib.commands.worker", action, str(given), str(answer)],
                              environment=execute.child_environment(**shared), cwd=ROOT)
        if child.wait() < 0:
            why = " (out of memory?)" if child.returncode == -9 else ""
            raise Problem(f"{action} was killed by signal {-child.returncode}{why}; what was finished is kept: start again")
        if child.returncode or not answer.exists():
            raise Problem(f"{action} ended with exit code {child.returncode}: its message stands above")
        return json.loads(answer.read_text("utf-8"))


def has_cuda():
    """Whether torch sees a CUDA device, asked in another process."""
    return worker("cuda", None)


# ---------------------------------------------------------------- report

def report(options):
    """Run the notebooks of a profile, train what is missing, write the page; returns the exit code."""
    if options.compare:
        from lib.commands.compare import compare
        return compare(options)
    started = time.monotonic()
    with stoppable():
        study, seen = prepare(options), Pass()
        names = [choice.name for choice in study.choices]
        say(f"{number(len(names), 'notebook')}, with what is known")
        study.run(names, seen, folder=study.out / "notebooks")
        trouble = train_missing(study, seen, options, started)
        verdicts, answer = judge(study, seen)
        path = write_page(study, seen, options, {"verdicts": verdicts, "answer": answer, "seconds": time.monotonic() - started})
    failed = [result for result in seen.results.values() if result.error]
    for result in failed:
        print(f"{result.name} · {result.error}", file=sys.stderr)
    counts = seen.counts()
    bad = {kind: counts.pop(kind, 0) for kind in ("missing", "failed")}
    say(f"{shown(path)}  {time.monotonic() - started:.0f} s  {number(sum(counts.values()), 'row')} measured, "
        f"{bad['missing']} not measured" + (f", {bad['failed']} failed" if bad["failed"] else ""))
    for line in seen.failures():
        print(line, file=sys.stderr)
    return 1 if failed or trouble or bad["failed"] or verdicts is None else 0


def number(count, noun):
    """`1 row`, `2 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(path):
    """A path as the user would type it: relative where it lies below the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def train_missing(study, seen, options, started):
    """Train what the notebooks missed and run them again, in at most three rounds; True if it failed."""
    for turn in range(ROUNDS):
        wanted = {key: request for key, request in seen.missing().items() if key not in seen.tried}
        if options.retry_failed and turn == 0:
            wanted |= seen.failed()
        if not wanted or not may_train(options, wanted):
            return False
        again = [name for name, runs in seen.asked.items() if wanted.keys() & runs.keys()]
        left = time_left(options.budget, started, time_to_show(study, seen, again))
        if left is not None and left <= 0:
            say(f"the budget is used up: {number(len(wanted), 'row')} left for the next time")
            return False
        before, seen.tried = seen.tried, seen.tried | wanted.keys()
        made, failed = train(study, options, list(wanted.values()), left, before)
        if made:
            say(f"{number(len(again), 'notebook')} again, with the new rows")
            study.run(again, seen, folder=study.out / "notebooks")
        if failed or not made:
            return failed
    return False


def train(study, options, requests, seconds, before):
    """Train what is missing of the requests in these seconds: (how many rows were made, whether it failed).

    before: keys of the rows that this command made already. Their times do not count, so that the same command from an
    empty store groups its runs the same way.
    """
    until = None if seconds is None else time.monotonic() + seconds
    say(f"{number(len(requests), 'row')} to train")
    try:
        made = worker("train", requests, settings={**study.settings, "STUDY_MODE": "train"}, jobs=options.jobs or 1,
                      until=until, processes=options.jobs, retry_failed=options.retry_failed, untimed=sorted(before),
                      cluster=options.cluster)
    except Problem as problem:
        say(f"training: {problem}")
        return len(requests), True  # rows are written one by one: those before the failure are there
    return made, False


def may_train(options, wanted):
    """Whether this command trains at all; a paper's full scale on a CPU has to be asked for."""
    if options.read_only:
        return False
    paper = (PARAMS / options.profile) == PARAMS / "paper"
    if paper and not options.train and not options.cluster and (options.device == "cpu" or not has_cuda()):
        one = len(wanted) == 1
        say(f"{number(len(wanted), 'row')} of the profile paper {'is' if one else 'are'} not trained, as there is no "
            f"GPU: --train trains {'it' if one else 'them'}")
        return False
    return True


def time_to_show(study, seen, again):
    """Seconds until notebooks that run again, with more to show, are on the page; the verdicts take as long as the slowest notebook."""
    seconds = [seen.results[name].seconds for name in again]
    notebooks = max(max(seconds), sum(seconds) / study.jobs)
    return MORE_TO_SHOW * notebooks + max(result.seconds for result in seen.results.values())


def time_left(budget, started, reserve):
    """Seconds of the budget left for training, when the notebooks run once more; None without a budget."""
    return None if budget is None else budget - (time.monotonic() - started) - reserve


def judge(study, seen):
    """The table of verdicts, as a DataFrame (None if it cannot be made), and the answer in sentences."""
    import pandas as pd

    requests = {name: list(runs.values()) for name, runs in seen.asked.items()}
    try:
        found = worker("verdicts", requests, settings={**study.settings, "STUDY_MODE": "read-only"})
    except Problem as problem:
        say(f"the page has no verdicts: {problem}")
        return None, []
    return pd.DataFrame(found["table"]), found["answer"]


def write_page(study, seen, options, more):
    """The page of all notebooks that were run, with how it was made and the rest of its context."""
    from lib import report as page

    notebooks = [(choice.name, seen.results[choice.name].output, seen.results[choice.name].error)
                 for choice in study.choices]
    command = shlex.join(["python3", "build.py", *sys.argv[1:]])
    context = {**provenance.describe(), "command": command, "rows": seen.counts(), "seeds": seen.seeds(), "notes": seen.failures(), **more}
    study.out.mkdir(parents=True, exist_ok=True)
    return Path(page.build(notebooks, out=study.out / "report.html", profile=profile_name(options.profile),
                           context=context))
