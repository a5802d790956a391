"""`--cluster`: the workers of a Dask cluster train, this process writes the rows, and what goes
wrong is one line.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch
from distributed import LocalCluster, get_worker

from lib import data, ledger, paths, processes, study, training
from lib.attacks.badnets import BadNets
from lib.commands import Problem, options, prepare, rounds
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.study import Run, cluster, grid, measure
from lib.training import Training

TINY = Run(train_size=300, test_size=100, model="mlp", attack=BadNets(7, 1, 0.5), training=Training(
    epochs=1.0, batch_size=50))
HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A cluster of two processes with one thread each, and no data sets but the drawn ones."""
    data.load("strokes")  # drawn once, not in both at a time
    nowhere = {
        "DATA_ROOT": str(tmp_path_factory.mktemp("no-data")), "PYTHONPATH": str(paths.ROOT),
        **dict.fromkeys(processes.THREAD_SETTINGS, "1")
    }
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0",
                      memory_limit=0, host=HERE, env=nowhere) as found:
        yield found


def inside(**how):
    """A cluster in this process: cheap, for errors that come before any training."""
    return LocalCluster(processes=False, protocol="tcp://", host=HERE, dashboard_address=":0",
                        memory_limit=0, **how)


def train(runs, where, **how):
    """Train these runs on a cluster: what was said."""
    said = []
    study.train([{"notebook": "", "key": run.key, "run": run.to_dict()} for run in runs],
                cluster=where.scheduler_address, report=said.append, **how)
    return said


def refused(runs, where, **how):
    """The one line in which a cluster is refused."""
    with pytest.raises(study.ClusterProblem) as raised:
        train(runs, where, **how)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def no_port():
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind((HERE, 0))
        return f"tcp://{HERE}:{free.getsockname()[1]}"


def rows_on_disk(store):
    return sorted(path.stem for path in store.glob("rows/*/*.json"))


# ---- the same table

def test_two_workers_make_the_table_of_one_machine(two, store, monkeypatch, tmp_path):
    runs = [
        run for epochs in (1.0, 2.0)
        for run in grid(TINY, defence=[DPSGD(1.0), LabelNoise(0.2)], training=[
            Training(epochs=epochs, batch_size=50, checkpoints=2)
        ], init_seed=[0, 1])
    ]
    said = train(runs, two)
    assert len(said) == 4 and said[-1].startswith("[8/8]")
    there = {run.key: ledger.find(run.key)[0] for run in runs}
    threads = torch.get_num_threads()
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "here"))
    try:
        torch.set_num_threads(1)
        study.train([{"notebook": "", "key": run.key, "run": run.to_dict()} for run in runs],
                    report=lambda line: None)
    finally:
        torch.set_num_threads(threads)
    for run in runs:
        here = ledger.find(run.key)[0]
        for name in ("key", "status", "run", "metrics", "curve", "privacy", "facts"):
            assert there[run.key][name] == here[name], name
        assert there[run.key]["provenance"]["threads"] == 1 and there[
            run.key]["provenance"]["group_size"] == here["provenance"]["group_size"] == 2


def test_what_is_known_needs_no_cluster(store):
    study.run([TINY])
    assert study.train([{"key": TINY.key, "run": TINY.to_dict()}], cluster=no_port()) == 0


def test_a_failing_run_is_a_row_there_too(two, store):
    bad = TINY.with_(attack__fraction=0.001)  # no image
    train([bad, TINY], two)
    assert "no image" in ledger.find(bad.key)[0]["error"] and ledger.find(
        TINY.key)[0]["status"] == "ok"


def test_a_budget_stops_whole_and_says_what_is_left(two, store):
    assert "1 of 1 runs left" in train([TINY], two, budget=1e-9)[-1] and rows_on_disk(store) == []


# ---- workers that end

DEFENCE = '''\
import os
import time
from dataclasses import dataclass
from pathlib import Path

from lib.defences import members
from lib.privacy import Guarantee

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Mine:
    """Plain training.

    The first that comes says who it is, and waits for ever, or until it is let go.
    """

    ends: bool = False

    def group(self, run):
        return "mine", run.model, run.training, run.precision, self

    def train(self, runs, poisoned):
        if self.ends:
            os._exit(9)
        if not (HERE / "first").exists():
            (HERE / "part").write_text(str(os.getpid()))
            (HERE / "part").rename(HERE / "first")
            while not (HERE / "go").exists():
                time.sleep(0.05)
        group = members.fit(runs, poisoned, [{} for _ in runs])
        nothing = Guarantee.none("no noise")
        return [members.trained(group, place, nothing) for place in range(len(runs))]
'''


@pytest.fixture
def mine(tmp_path):
    """A user's own defence in a file, and the folder where it records who waits."""
    (tmp_path / "mine.py").write_text(DEFENCE)
    yield TINY.with_(defence={"name": f"{tmp_path / 'mine.py'}:Mine"}), tmp_path
    (tmp_path / "go").touch()


def who_waits(folder):
    """The process in which the training waits, once it does."""
    deadline = time.monotonic() + 60
    while not (folder / "first").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int((folder / "first").read_text())


def test_a_worker_killed_in_the_middle_is_retried(two, store, mine):
    waits, folder = mine
    runs = [waits, TINY, TINY.with_(defence=DPSGD(1.0))]
    said = []
    sweep = threading.Thread(target=lambda: said.extend(train(runs, two)))
    sweep.start()
    os.kill(who_waits(folder), signal.SIGKILL)
    sweep.join(60)
    assert not sweep.is_alive() and said[-1].startswith("[3/3]")
    assert all(ledger.find(run.key)[0]["status"] == "ok" for run in runs)


def test_a_group_that_kills_its_workers_is_reported_others_continue(two, store, mine, monkeypatch):
    monkeypatch.setattr(two.scheduler, "allowed_failures", 0)
    ends, runs = mine[0].with_(defence__ends=True), grid(
        TINY, training=[Training(epochs=float(n), batch_size=50) for n in (1, 2, 3)])
    said = []
    with pytest.raises(
            study.ClusterProblem,
            match="^1 of 4 runs killed the workers that trained them; the rows of the others"):
        study.train([{"key": run.key, "run": run.to_dict()} for run in (ends, *runs)],
                    cluster=two.scheduler_address, report=said.append)
    lost, = (line for line in said if line.startswith("LOST"))
    assert re.search(
        r"strokes, .*Mine ends True, 1 runs: 1 workers died while training it, the last at"
        r" tcp://\S+ \(out of memory\?\)$",
        lost,
    )
    assert rows_on_disk(store) == sorted(run.key for run in runs)


def test_ctrl_c_ends_at_once_and_nothing_stays_with_the_scheduler(two, store, mine):
    waits, folder = mine
    script = (
        f"from lib import study\nstudy.train([{{'key': {waits.key!r}, 'run':"
        f" {waits.to_dict()!r}}}], cluster={two.scheduler_address!r})\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    who_waits(folder)
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    error = child.communicate(timeout=20)[1]
    assert time.monotonic() - started < 5 and child.returncode and error.rstrip().endswith(
        "KeyboardInterrupt")
    deadline = time.monotonic() + 10
    while two.scheduler.tasks and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not two.scheduler.tasks and rows_on_disk(store) == []


def test_a_scheduler_that_ends_is_one_line(store, mine):
    waits, folder = mine
    where, said = inside(n_workers=1, threads_per_worker=1), []
    sweep = threading.Thread(target=lambda: said.append(refused([waits], where)))
    sweep.start()
    who_waits(folder)
    (folder / "go").touch()  # a thread of this process would not end by itself
    where.close()
    sweep.join(30)
    assert "scheduler" in said[0] and "run the command again" in said[0]


def test_workers_may_come_later(store):
    with inside(n_workers=0, threads_per_worker=1) as where:
        said = []

        def say(line):
            said.append(line)
            if line.endswith("yet: waiting"):
                where.scale(1)

        assert study.train([{"key": TINY.key, "run": TINY.to_dict()}],
                           cluster=where.scheduler_address, report=say) == 1
    assert len(said) == 2 and said[-1].startswith("[1/1]")


@pytest.mark.parametrize("how", [{"budget": 0.5}, {}])
def test_no_worker_is_one_line(store, monkeypatch, how):
    monkeypatch.setattr(cluster, "WORKER_TIMEOUT", 600 if how else 0.5)
    with inside(n_workers=0) as where:
        assert f"no worker at {where.scheduler_address}; start some" in refused([TINY], where,
                                                                                **how)


# ---- workers that are not fit

def test_workers_with_other_code_are_refused(two, store, monkeypatch):
    monkeypatch.setattr(training, "VERSION", training.VERSION + 1)
    assert re.match(
        r"worker tcp://\S+ has different code: the key .* check out the same commit on both$",
        refused([TINY.with_()], two))
    assert rows_on_disk(store) == []


def test_other_versions_are_reported_once(two, store, monkeypatch):
    here = cluster.versions()
    monkeypatch.setattr(cluster, "versions", lambda: here | {"torch": "1.0"})
    said = train([TINY], two)
    assert (
        said[0]
        == f"a worker has torch {here['torch']} (here 1.0): its rows are used, and may differ in "
        "the last digits"
        and len(said) == 2
    )


def test_rows_under_other_keys_are_not_kept(store, monkeypatch):
    monkeypatch.setattr(measure, "train_rows", lambda runs: [{"key": "0" * 64, "status": "ok"}])
    with inside(n_workers=1, threads_per_worker=1) as where:
        assert "under keys that were not requested" in refused([TINY], where)
        assert rows_on_disk(store) == []


def test_two_trainings_in_one_process_are_refused(store):
    with inside(n_workers=1, threads_per_worker=3) as where:
        assert re.match(
            r"worker tcp://\S+ would train 3 groups at once in one process.*--nthreads 1",
            refused([TINY], where))


def test_a_worker_with_a_gpu_takes_one_group_at_a_time(store, monkeypatch):
    with inside(n_workers=1, threads_per_worker=3, resources={"GPU": 1}) as where:
        free = []
        monkeypatch.setattr(
            measure, "train_rows", lambda runs, plain=measure.train_rows: free.append(get_worker(
            ).state.available_resources["GPU"]) or plain(runs))
        train(grid(TINY, training=[Training(epochs=float(n), batch_size=50) for n in (1, 2)]),
              where)
    assert free == [0, 0] and len(rows_on_disk(store)) == 2


def test_missing_data_name_the_worker_that_lacks_them(two, store):
    line = refused([TINY.with_(dataset="cifar10-jpeg")], two)
    assert re.match(r"worker tcp://\S+: DataNotFound: .*cifar10-jpeg",
                    line) and rows_on_disk(store) == []


# ---- the command line


@pytest.mark.parametrize("address", [
    "login1:8786", "tcp://login1", "tcp://:8786", "tcp://login1:port", "tcp://a b:1",
    "tcp://login1:0", "tcp://h:99999", "http://login1:8786", ""
])
def test_a_wrong_address_is_one_line(address):
    with pytest.raises(Problem, match="an address such as tcp://login1:8786, got") as raised:
        options.parse(["report", "--cluster", address])
    assert raised.value.status == 2 and "\n" not in str(raised.value)


@pytest.mark.parametrize("address", [
    "tcp://login1:8786", "tcp://10.0.0.1:8786", "tcp://node-3.cluster.example:1",
    "tcp://[fe80::1]:8786"
])
def test_addresses(address):
    assert options.parse(["report", "--cluster", address]).cluster == address


def test_no_scheduler_is_one_line_before_anything_runs(store, monkeypatch):
    address = no_port()
    monkeypatch.setattr(prepare, "SCHEDULER_TIMEOUT", 0.1)
    with pytest.raises(Problem,
                       match=f"^--cluster {address}: no Dask scheduler answers there") as raised:
        prepare.prepare(options.parse(["report", "smoke", "--cluster", address]))
    assert raised.value.status == 1 and "\n" not in str(raised.value)
    with pytest.raises(Problem, match="--device with --cluster"):
        prepare.prepare(options.parse(["report", "smoke", "--cluster", address, "--device", "cpu"]))
    monkeypatch.setattr(cluster, "ANSWER_TIMEOUT", 0.3)
    with socket.create_server((HERE, 0)) as other:  # accepts connections, never answers
        for wrong in (address, f"tcp://{HERE}:{other.getsockname()[1]}"):
            with pytest.raises(study.ClusterProblem,
                               match=f"^no Dask scheduler answers at {wrong}"):
                study.train([{"key": TINY.key, "run": TINY.to_dict()}], cluster=wrong)


def test_the_papers_are_trained_where_a_cluster_is_named(monkeypatch):
    monkeypatch.setattr(rounds, "has_cuda", lambda: False)
    assert rounds.may_train(options.parse(["report", "paper", "--cluster", "tcp://login1:8786"]),
                            {"a": {}})
    assert not rounds.may_train(options.parse(["report", "paper"]), {"a": {}})


def test_dask_is_imported_for_a_cluster_alone():
    script = (
        "import sys\nfrom lib import study\nfrom lib.commands import options, report, worker\nfrom"
        f" lib.study import cluster, measure\nstudy.train([{{'key': {TINY.key!r}, 'run':"
        f" {TINY.to_dict()!r}}}], budget=1e-9)\nprint([name for name in sys.modules if"
        " name.split('.')[0] in ('dask', 'distributed')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.slow
def test_a_report_trained_on_a_cluster(two, store, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(paths.PARAMS / "smoke" / "00_start_here.yaml", folder)
    done = subprocess.run([
        sys.executable, "build.py", "report",
        str(folder), "--cluster", two.scheduler_address, "--out",
        str(tmp_path / "out")
    ], cwd=paths.ROOT, capture_output=True, text=True, env=processes.child_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"[1-9]\d* rows measured, 0 not measured",
        done.stdout) and rows_on_disk(store) and (tmp_path / "out" / "report.html").exists()
