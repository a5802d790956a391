"""What a run survives: kills, a full disk, damaged rows, jumping clocks, two builds at once.

Each fault is a real one, on the real code.
"""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from test_build import NOTEBOOK, call, make_project, working_in

from lib import ledger, paths, study
from lib.attacks.badnets import BadNets
from lib.processes import THREAD_SETTINGS
from lib.study import Run, measure, sweep
from lib.training import Training

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

TINY = Run(train_size=300, test_size=100, model="linear", attack=BadNets(7, 1, 0.5),
           training=Training(epochs=1.0, batch_size=10))
# each a group of its own
SWEEP = [TINY.with_(training__epochs=20.0 + number) for number in range(12)]


def requests(runs):
    return [{"notebook": "11_tiny", "key": one.key, "run": one.to_dict()} for one in runs]


@pytest.fixture
def store(store, monkeypatch):
    """The local store, and one thread for each process that works on it."""
    for name in THREAD_SETTINGS:  # torch takes MKL's number before OpenMP's
        monkeypatch.setenv(name, "1")
    return store


def rows(store):
    """The rows on disk: {key: bytes}.

    Times are among the bytes, so that a row which is trained again has others.
    """
    return {path.stem: path.read_bytes() for path in store.glob("rows/*/*.json")}


def drafts(store):
    return [path.name for path in store.rglob(".tmp-*")]


def all_whole(store, runs):
    """Whether these runs, and no others, have a readable row each."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {row["key"] for row in ledger.stored() if row["status"] == "ok"
                } == {one.key for one in runs} == rows(store).keys()


def wait_until(true, seconds=15):
    """Wait until a function returns something true; returns that, or what it returned last."""
    deadline = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


# ---------------------------------------------------------------- the training process of a build

@contextmanager
def training(folder, runs, *, jobs=1, **how):
    """The process in which a build trains these runs, started."""
    given = folder / "given.json"
    given.write_text(
        json.dumps({
            "payload": requests(runs), "until": None, "processes": jobs, "retry_failed": False,
            "untimed": [], "cluster": None
        }))
    command = [
        sys.executable, "-m", "lib.commands.worker", "train",
        str(given),
        str(folder / "answer.json")
    ]
    with subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, start_new_session=True, **how) as process:
        try:
            yield process
        finally:
            process.kill()


def helpers_of(pid):
    """The processes that train for this one."""
    return [
        one for one, (_, parent, command) in processes().items()
        if parent == str(pid) and b"spawn_main" in command
    ]


def alive(pids):
    """Those of these processes that have not ended."""
    return [pid for pid in pids if processes().get(pid, "Z")[0] != "Z"]


def processes():
    """{pid: (state, parent, command line)} of this machine."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            found[int(folder.name)] = state, parent, (folder / "cmdline").read_bytes()
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_killed_processes_of_a_training_leave_what_is_done_and_nothing_else(store, tmp_path):
    # the whole process, its helpers are left without a parent
    with training(tmp_path, SWEEP, jobs=2) as process:
        for _ in range(2):
            process.stdout.readline()
        helpers = helpers_of(process.pid)
        process.kill()
    assert len(helpers) == 2 and wait_until(lambda: not alive(helpers))
    first = rows(store)
    assert 2 <= len(first) < 12

    with training(tmp_path, SWEEP, jobs=2) as process:  # one of its helpers
        process.stdout.readline()
        os.kill(helpers_of(process.pid)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1 and not alive(helpers_of(process.pid))
    assert (
        said
        == "train: a training process was killed (out of memory?); finished rows are kept; run the"
        " command again, with fewer --jobs if it happens again\n"
    )
    second = rows(store)
    assert first.items() <= second.items() and len(second) > len(first)

    study.train(requests(SWEEP))
    assert second.items() <= rows(store).items() and all_whole(store, SWEEP) and not drafts(store)


def test_two_trainings_on_one_store(store, tmp_path):
    (tmp_path / "other").mkdir()
    with training(tmp_path, SWEEP) as one, training(tmp_path / "other", SWEEP) as other:
        answers = [process.communicate(timeout=120) for process in (one, other)]
        assert [process.returncode for process in (one, other)] == [0, 0], answers
    assert all_whole(store, SWEEP) and not drafts(store)
    assert all(err == "" for _, err in answers)


# ---------------------------------------------------------------- disks and files

@pytest.fixture
def small_disk(tmp_path, store):
    """The store on a disk with room for a few rows: whether it is one, or files may only not become
    larger than a row.
    """
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(store)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    yield mounted
    if mounted:
        subprocess.run(["umount", str(store)], check=True)


def no_large_files():
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(store, small_disk, tmp_path):
    study.train(requests(SWEEP[:2]))
    before = rows(store)
    with training(tmp_path, SWEEP,
                  **({} if small_disk else {"preexec_fn": no_large_files})) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.fullmatch(
        r"train: no space left to write .*\.json: free some space .*\n",
        said), said
    assert before.items() <= rows(store).items() and 2 <= len(rows(store)) < 12
    assert all_whole(store, [one for one in SWEEP if one.key in rows(store)]) and not drafts(store)
    if small_disk:
        subprocess.run(["mount", "-o", "remount,size=1m", str(store)], check=True)
    study.train(requests(SWEEP))
    assert before.items() <= rows(store).items() and all_whole(store, SWEEP)


@pytest.mark.parametrize(
    "damage",
    ["empty", "truncated", "binary", "not an object", "another's", "without a result", "deep"])
def test_a_damaged_row_is_named_trained_again_and_replaced(store, damage):
    good, other = TINY, TINY.with_(init_seed=1)
    study.run([good, other])
    places = {one.key: store / "rows" / one.key[:2] / f"{one.key}.json" for one in (good, other)}
    path, whole = places[good.key], json.loads(places[good.key].read_text())
    content = {
        "empty": b"", "truncated": path.read_bytes()[:200], "binary": b"\xff\xfe\x00\x80" * 50,
        "not an object": b"null", "another's": places[other.key].read_bytes(),
        "deep": b"[" * 100_000, "without a result": json.dumps(
            {name: whole[name] for name in ("key", "status", "run")}).encode()
    }[damage]
    path.write_bytes(content)
    untouched = places[other.key].read_bytes()
    with pytest.warns(UserWarning, match=f"unreadable row {path.name}"):
        assert ledger.find(good.key) == (None, "")
    with pytest.warns(UserWarning, match=path.name):
        assert [row["key"] for row in ledger.stored()] == [other.key]
    assert path.read_bytes() == content  # a reader names it, and never deletes it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert study.run([good, other])["status"].tolist() == ["ok", "ok"]
    again = json.loads(path.read_text())
    assert again["run"] == whole["run"] and again["metrics"]["loss"] == pytest.approx(
        whole["metrics"]["loss"], abs=1e-3)
    assert places[other.key].read_bytes() == untouched and all_whole(store, [good, other])


# ---------------------------------------------------------------- clocks

def test_a_clock_that_jumps_by_days_changes_nothing(store, monkeypatch):
    jumps, true = itertools.cycle([86400.0, -86400.0, 0.0]), time.time

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(seconds=next(jumps))
    monkeypatch.setattr(time, "time", lambda: true() + next(jumps))
    monkeypatch.setattr(measure, "datetime", Jumping)
    under_way, said = sweep.Sweep(SWEEP[:4], 100.0), []
    assert study.train(requests(SWEEP[:4]), report=said.append) == 4
    assert 40 < under_way.patience() <= 100
    assert all(re.search(r" \d+ s left$", line) for line in said)
    for row in ledger.stored():
        assert row["status"] == "ok" and 0 < row["provenance"]["seconds"] <= row["provenance"][
            "group_seconds"] < 60


# ---------------------------------------------------------------- builds

TINY_NOTEBOOK = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A real one

# %% tags=["parameters"]
epochs = 20  # of the shortest run

# %%
from lib.study import Run, run
from lib.attacks.badnets import BadNets
from lib.training import Training

base = Run(train_size=300, test_size=100, model="linear", attack=BadNets(7, 1, 0.5))
frame = run([base.with_(training=Training(epochs=float(epochs + number), batch_size=10))
             for number in range(12)])
print((frame["status"] == "ok").sum(), "measured")
"""


def started(project, *arguments, **more):
    """A build under way.

    Ctrl-C reaches it as at a terminal, also where the tests run in the background.
    """
    return subprocess.Popen(
        [sys.executable, "build.py", "report", *arguments], cwd=project, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **more},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def read_until(process, pattern):
    for line in process.stdout:
        if re.match(pattern, line):
            return
    raise AssertionError(f"it ended before it said {pattern!r}")


@pytest.mark.slow
def test_a_build_continues_after_ctrl_c_and_after_a_kill(store, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(paths.ROOT / "lib", project / "lib",
                    ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("build.py", "environment.yml", "notebooks/jupytext.toml"):
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copy(paths.ROOT / name, project / name)
    (project / "notebooks" / "11_tiny.py").write_text(TINY_NOTEBOOK)
    (project / "params" / "quick").mkdir(parents=True)
    (project / "params" / "quick" / "11_tiny.yaml").write_text("")
    before = {}
    for number, jobs, code, says in ((signal.SIGINT, "2", 130, "\nbuild.py: stopped\n"),
                                     (signal.SIGKILL, "1", -9, "")):
        with started(project, "--jobs", jobs) as process:
            read_until(process, r"\[2/\d+\] strokes")
            process.send_signal(number)
            assert process.wait(5) == code and process.stderr.read() == says
        assert wait_until(lambda: not working_in(project))
        assert before.items() <= rows(store).items() and len(before) + 2 <= len(rows(store)) < 12
        before = rows(store)
    done = call(project, "report", "--jobs", "1")
    assert done.returncode == 0 and "12 rows measured, 0 not measured" in done.stdout, (
        done.stdout + done.stderr
    )
    assert "12 measured" in (project / "build/quick/report.html").read_text("utf-8")
    assert len(rows(store)) == 12 and before.items() <= rows(store).items() and not drafts(store)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_build_that_is_stopped_while_notebooks_run_leaves_no_process(
        store, tmp_path, number, code):
    project, running = make_project(tmp_path / "project"), tmp_path / "running"
    slow = (f"import os, pathlib, time\npathlib.Path({str(running)!r}).touch()\n"
            "time.sleep(float(os.environ.get('FAKE_SECONDS', 0)))\nrows =")
    (project / "notebooks/11_good.py").write_text(NOTEBOOK.replace("rows =", slow, 1))
    with started(project, FAKE_SECONDS="60") as process:
        assert wait_until(running.exists, 30)
        process.send_signal(number)
        assert process.wait(5) == code
    assert wait_until(lambda: not working_in(project))
    assert not (project / "build/quick/report.html").exists()
    if number == signal.SIGKILL:
        done = call(project, "report", "--read-only")
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_kernel_that_is_killed_takes_no_other_notebook_along(store, tmp_path):
    project = make_project(tmp_path)
    (project / "notebooks/12_bad.py").write_text(
        NOTEBOOK.replace("print(", "os.kill(os.getpid(), 9); print("))
    done = call(project, "report", "both", "--read-only")
    assert done.returncode == 1 and re.fullmatch(r"12_bad · .*(died|killed|dead).*\n", done.stderr,
                                                 re.IGNORECASE), done.stdout + done.stderr
    page = (project / "build/both/report.html").read_text("utf-8")
    assert "A notebook: it works" in page and "DeadKernelError" in page


def test_a_killed_training_is_reported_and_known_rows_are_shown(store, tmp_path):
    project = make_project(tmp_path)
    code = (project / "lib" / "study.py").read_text()
    (project / "lib" / "study.py").write_text(
        code.replace("    time.sleep(", "    os.kill(os.getpid(), 9)\n    time.sleep(", 1))
    done = call(project, "report")
    assert done.returncode == 1 and done.stderr == "", done.stdout + done.stderr
    assert "training: train was killed by signal 9" in done.stdout
    assert "it works" in (project / "build/quick/report.html").read_text("utf-8")


# ---------------------------------------------------------------- a soak

SOAK = '''
import json, os, random, signal, sys, time, warnings
from pathlib import Path
from lib import ledger, study
from lib.study import measure, sweep
from test_faults import TINY, requests, rows

warnings.simplefilter("error")  # an unreadable row
kills, folder = int(sys.argv[1]), Path(sys.argv[2])
runs = [TINY.with_(training__epochs=3.0 + 3 * number / (2 * kills), init_seed=seed)
        for number in range(2 * kills) for seed in range(2)]
asked = requests(runs)
# imports and data, once for all attempts, which are forks of this process
measure.train_rows([TINY])


def attempt(store):
    """Continue a sweep in this store, in a separate process."""
    os.environ["STUDY_STORE"] = str(store)
    child = os.fork()
    if child:
        return child
    try:
        study.train(asked, report=lambda line: None)
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


began = time.monotonic()
assert end(attempt(folder / "whole")) == 0
mean = (time.monotonic() - began) / kills
draw, store, found = random.Random(0), folder / "killed", {"kills": 0, "wrote": 0, "lost": 0}
before = {}
for _ in range(kills):
    child = attempt(store)
    time.sleep(draw.uniform(0, 2 * mean))
    os.kill(child, signal.SIGKILL)
    found["kills"] += end(child) == -signal.SIGKILL
    after = rows(store)
    wrote = len(after) > len(before)
    mean *= 0.8 if wrote else 1.25  # so that about half of the attempts write, on any machine
    found["wrote"] += wrote
    found["lost"] += sum(after.get(key) != text for key, text in before.items())
    before = after
found["done"] = len(before)
assert end(attempt(store)) == 0
after = rows(store)
found["lost"] += sum(after.get(key) != text for key, text in before.items())
found["drafts"] = len(list(store.rglob(".tmp-*")))
os.environ["STUDY_STORE"] = str(store)
found["rows"] = len(ledger.stored())
found["runs"], found["files"] = len(runs), len(after)
whole = rows(folder / "whole")
pairs = [(json.loads(after[one.key]), json.loads(whole[one.key])) for one in runs]
found["not whole"] = sum(row["status"] != "ok" or row["key"] != other["key"]
                         or row["run"] != other["run"] for row, other in pairs)
found["apart"] = {name: max(abs(row["metrics"][name] - other["metrics"][name])
                            for row, other in pairs)
                  for name in ("loss", "accuracy", "success")}
print(json.dumps(found))
'''


@pytest.mark.slow
@pytest.mark.parametrize("kills", [
    8, pytest.param(int(os.environ.get("SOAK_KILLS", 50)), marks=pytest.mark.thorough)])
def test_a_soak_of_kills_loses_nothing_and_leaves_nothing_bad(tmp_path, kills):
    # 100 kills take about a minute.
    # One thread: those of more would not be there in a fork, which would wait for them for ever.
    environment = {
        **os.environ, **dict.fromkeys(THREAD_SETTINGS, "1"), "STUDY_PUBLISHED": "0",
        "STUDY_MODE": "train", "PYTHONPATH": os.pathsep.join(
            [str(paths.ROOT), str(Path(__file__).parent)])
    }
    done = subprocess.run([sys.executable, "-c", SOAK,
                           str(kills), str(tmp_path)], capture_output=True, text=True,
                          env=environment, cwd=paths.ROOT, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["lost"] == found["not whole"] == 0 and found["rows"] == found["files"] == found[
        "runs"] == 4 * kills, found
    # they came in the middle of the sweep
    assert found["kills"] >= 0.8 * kills and found["wrote"] >= 0.2 * kills, found
    # A group that a kill cut is trained again in part, so that its sums are added in another order:
    # weights agree to 0.001.
    assert found["apart"]["loss"] < 1e-3 and found["apart"]["accuracy"] <= 0.011 and found["apart"][
        "success"] <= 0.11, found
    if kills > 50:
        print(found)
