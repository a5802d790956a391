"""Train what is missing of a list of requests: in groups, on one process or several, each row
written as it comes.
"""

import functools
import heapq
import itertools
import json
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from statistics import fmean

from lib import ledger, paths
from lib.parts import name_of
from lib.study.cluster import ClusterProblem, GroupLost, on_cluster
from lib.study.runs import Run, from_dict

GROUP_SECONDS = 120  # what a kill may cost
FIRST_GROUP = 8  # models of a shape that was never timed, a thread
START_SECONDS = 5.0  # until a process has imported torch and read the data
BUDGET_SHARE = 0.8  # of the time left that a group may be expected to take: some take longer
LOOK = 5.0  # seconds after which workers of a cluster that came or went are noticed


class WorkerDied(RuntimeError):
    """A process that trained was killed; the message is one line that says what to do."""


def missing(requests: list[dict], *, retry_failed: bool = False) -> list[Run]:
    """The runs among `requests` that no row answers, each once.

    A failed row is an answer unless retried.
    """
    found: dict[str, Run] = {}
    for request in requests:
        row = ledger.find(request["key"])[0]
        if row is None or (retry_failed and row["status"] == "failed"):
            found.setdefault(request["key"], from_dict(request["run"]))
    return list(found.values())


def train(requests: list[dict], *, budget: float | None = None, jobs: int | None = 1,
          retry_failed: bool = False, untimed: Collection[str] = (), cluster: str | None = None,
          report: Callable[[str], None] = print) -> int:
    """Train what is missing of `requests` ({"notebook", "key", "run"}), a line on `report` for each
    finished group.

    budget: seconds; no group is started that would not end in time by what was measured so far, and
    one that does not is given up. Without a budget nothing that is measured on the way decides what
    trains together, so that the same sweep makes the same rows bit for bit. jobs: processes, each
    with its share of the threads; None: two on a CPU, since small models use one core better than
    two threads do, and one on a GPU. untimed: keys of rows whose times do not count either, such as
    those that this command has made before. cluster: address of a Dask scheduler, whose workers
    train in place of these processes. Returns how many rows were made.
    """
    todo = missing(requests, retry_failed=retry_failed)
    if not todo:
        return 0
    jobs = jobs or _usual_jobs()
    alone = {request["key"] for request in requests if request.get("alone")}
    sweep = Sweep(todo, budget, alone=alone, untimed=untimed,
                  first=FIRST_GROUP if cluster else _first_group(jobs))
    lost, until = 0, None if budget is None else sweep.started + budget
    with on_cluster(cluster, todo[0], report=report, until=until) if cluster else _submitter(
            jobs, apart=budget is not None) as (submit, places):
        running: dict[Future, list[Run]] = {}
        while True:
            for batch in itertools.islice(sweep.batches(), max(0, places() - len(running))):
                running[submit(batch)] = batch
            if not running:
                break
            done = wait(running, timeout=sweep.patience(most=LOOK),
                        return_when=FIRST_COMPLETED).done
            if not done and sweep.patience() == 0:  # the budget is over
                break
            # good rows first
            for future in sorted(done, key=lambda future: future.exception() is not None):
                batch = running.pop(future)
                try:
                    report(sweep.finish(batch, _rows_of(future)))
                except GroupLost as problem:
                    lost += len(batch)
                    report(f"LOST: {_named(batch[0])}, {len(batch)} runs: {problem}")
    if lost:
        raise ClusterProblem(
            f"{lost} of {len(todo)} runs ended the workers that trained them; the others are kept")
    if sweep.left():
        report(f"budget: {sweep.left()} of {len(todo)} runs left for another time")
    return sweep.done


def _rows_of(future: Future) -> list[dict]:
    try:
        return future.result()
    except BrokenExecutor:
        raise WorkerDied(
            "a training process was killed (out of memory?); what was finished is kept: "
            "start again, with fewer --jobs if it happens again") from None


class Sweep:
    """The queue of groups, how fast each goes, and how many runs are done."""

    def __init__(self, todo: list[Run], budget: float | None, *, alone: Collection[str] = (),
                 untimed: Collection[str] = (), first: int = FIRST_GROUP) -> None:
        self.total, self.done, self.started, self.first = len(todo), 0, time.monotonic(), first
        self.budget, self.queue = budget, dict(groups(todo, alone=alone))
        known = known_seconds(untimed if budget is None else ())
        self.speeds = {shape: known[shape] for shape in map(_shape, todo) if shape in known}

    def batches(self) -> Iterator[list[Run]]:
        """What to train next: of each group about two minutes of work that the budget still holds.
        """
        for name in list(self.queue):
            while group := self.queue[name]:
                batch = _batch(group, self._count(self.seconds(group)))
                if not batch:
                    break
                self.queue[name] = group[len(batch):]
                yield batch

    def seconds(self, group: list[Run]) -> float | None:
        """Seconds a run of this group, None if its shape was never timed."""
        return self.speeds.get(_shape(group[0]))

    def _count(self, seconds: float | None) -> int:
        """How many models to train together that take `seconds` each."""
        left = self._seconds_left()
        if seconds is None:  # with a budget, a single one tells
            return self.first if left is None else int(left > 0)
        seconds = max(seconds, 1e-3)
        count = max(1, int(GROUP_SECONDS / seconds))
        return count if left is None else min(count, int(BUDGET_SHARE * left / seconds))

    def finish(self, batch: list[Run], rows: list[dict]) -> str:
        """Write the rows of a batch; returns the line about it."""
        for row in rows:
            ledger.write(row)
        good = [row for row in rows if row["status"] == "ok"]  # a failure takes no time at all
        if good and self.budget is not None:
            self.speeds[_shape(batch[0])] = good[0]["provenance"]["seconds"]
        self.done += len(batch)
        elapsed = time.monotonic() - self.started
        return _line(rows, self.done, self.total, elapsed / self.done * (self.total - self.done))

    def left(self) -> int:
        return self.total - self.done

    def patience(self, *, most: float = math.inf) -> float:
        """Seconds until the budget is over, `most` at most; infinite without one."""
        return most if self.budget is None else min(
            most, max(0.0, self.budget - (time.monotonic() - self.started)))

    def _seconds_left(self) -> float | None:
        """Seconds of the budget for training.

        The first groups also wait for their processes to start.
        """
        if self.budget is None:
            return None
        return self.patience() if self.done else self.patience() - START_SECONDS


def _usual_jobs() -> int:
    from lib.processes import cores
    from lib.study.inputs import device
    return 1 if device().type == "cuda" else min(2, cores())


def _first_group(jobs: int) -> int:
    """Models of a shape that was never timed to train at once: what keeps each thread of a process
    busy; on a GPU 64.
    """
    import torch

    from lib.study.inputs import device
    if device().type == "cuda":
        return 8 * FIRST_GROUP
    return FIRST_GROUP * (torch.get_num_threads() if jobs == 1 else _threads(jobs))


@contextmanager
def _submitter(jobs: int, *, apart: bool = False):
    """(submit, places): a function that starts the training of a batch and returns its future, and
    how many at once.

    What is under way at the end is given up. apart: in a process of its own, also where it is the
    only one, since this one's training cannot be given up.
    """
    from lib.study.measure import train_rows
    if jobs == 1 and not apart:
        def here(batch: list[Run]) -> Future:
            future: Future = Future()
            future.set_result(train_rows(batch))
            return future
        yield here, lambda: jobs
        return
    import multiprocessing
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"),
                               initializer=_share, initargs=(jobs, ))
    try:
        # Plain values: a class from the user's own file is not known by name in the other process.
        yield lambda batch: pool.submit(_train_plain, [one.to_dict()
                                                       for one in batch]), lambda: jobs
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.kill()


def _train_plain(batch: list[dict]) -> list[dict]:
    from lib.study.measure import train_rows
    return train_rows([from_dict(values) for values in batch])


def _share(jobs: int) -> None:
    """Give this process its share of the cores: more threads than cores make two processes fifty
    times slower.
    """
    import torch

    torch.set_num_threads(_threads(jobs))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _threads(jobs: int) -> int:
    from lib.processes import thread_settings
    return int(thread_settings(jobs)["OMP_NUM_THREADS"])


def _end_with_parent() -> None:
    """End when the process that asked for the training has gone (killed -9): nobody would write the
    rows.
    """
    import multiprocessing
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("no parent process: expected to run in a process of multiprocessing")
    parent.join()
    os._exit(1)


def _batch(group: list[Run], count: int) -> list[Run]:
    """The first runs of a group that make `count` models, clean twins (trained once) together."""
    from lib.study.measure import identity
    names: set[str] = set()
    for place, one in enumerate(group):
        name = identity(one)
        if name not in names and len(names) >= count:
            return group[:place]
        names.add(name)
    return group


def groups(runs: list[Run], *, alone: Collection[str] = ()) -> Iterator[tuple[tuple, list[Run]]]:
    """(name, runs) of what may train together: equal data, equal by the defence's word.

    Clean twins side by side.

    alone: keys of runs that share their group with none, so that its time is theirs.
    """
    from lib.study.measure import identity
    found: dict[tuple, dict[str, list[Run]]] = {}
    for one in runs:
        name = _group_name(one) + ((one.key,) if one.key in alone else ())
        found.setdefault(name, {}).setdefault(identity(one), []).append(one)
    for name, twins in found.items():
        yield name, [one for same in twins.values() for one in same]


def _group_name(one: Run) -> tuple:
    return (one.dataset, one.train_size, one.test_size, one.public, one.features, one.split,
            one.defence.group(one))


def _line(rows: list[dict], done: int, total: int, left: float) -> str:
    """One line a finished group: count, last result, time left."""
    # An attacked one rather than its clean twin, which the group may hold too.
    row = next((row for row in reversed(rows)
                if row["metrics"] and from_dict(row["run"]).attack.in_world != "C"), rows[-1])
    if row["status"] == "ok":
        named = {"accuracy": "accuracy", "success": "attack success"}
        result = ", ".join(f"{words} {row['metrics'][name]:.3f}" for name, words in named.items()
                           if name in row["metrics"])
    else:
        result = "FAILED: " + ledger.reason(row)
    time_left = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"
    what = _named(from_dict(row["run"]))
    return (
        f"[{done}/{total}] {what}: {result}; {len(rows)} runs in"
        f" {row['provenance']['group_seconds']:.0f} s, {time_left} left"
    )


def _named(one: Run) -> str:
    return f"{one.dataset}, {_described(one.defence)}"


def _described(defence) -> str:
    """A defence's name with the settings that are not its defaults."""
    values = {
        item.name: getattr(defence, item.name)
        for item in fields(defence)
        if getattr(defence, item.name) != item.default
    }
    changed = [f"{name} {value}" for name, value in values.items() if not is_dataclass(value)]
    return " ".join([name_of(defence), *changed])


def known_seconds(untimed: Collection[str] = ()) -> dict[str, float]:
    """Mean seconds of a run of each shape on this machine's device: by the rows of the local store,
    else by published ones.

    What this process found first stays: rows that it makes by itself never decide what trains
    together. untimed: keys of rows that do not count.
    """
    return _known_seconds(paths.store_dir(), frozenset(untimed))


@functools.cache
def _known_seconds(store: Path, untimed: frozenset[str]) -> dict[str, float]:
    from lib.study.inputs import device_name
    here, known = device_name(), {}
    # published ones may come from a faster machine
    for rows in (ledger.published().values(), ledger.stored()):
        found: dict[str, list[float]] = {}
        for row in rows:
            if row["status"] == "ok" and row["key"] not in untimed and row["provenance"].get(
                    "device") == here:
                found.setdefault(_shape_of(row["run"]), []).append(row["provenance"]["seconds"])
        known |= {shape: fmean(seconds) for shape, seconds in found.items()}
    return known


def _shape(one: Run) -> str:
    return _shape_of(one.to_dict())


def _shape_of(values: dict) -> str:
    """What the time of a run depends on.

    Of its defence all but the real numbers, which are noise, norms and shares.
    """
    training = {name: values["training"][name]
                for name in ("optimizer", "epochs", "batch_size", "sampling", "checkpoints")}
    # What older rows do not have yet was not used then.
    training |= {name: values["training"].get(name, ()) for name in ("transforms", "averages")}
    names = ("dataset", "train_size", "test_size", "public", "features", "model", "precision",
             "split")
    defence = {
        name: value
        for name, value in values["defence"].items()
        if value is not None and not isinstance(value, float)
    }
    return json.dumps([[values[name] for name in names], training, defence], sort_keys=True)


def estimate(runs: list, *, jobs: int | None = 1) -> float | None:
    """Seconds to train `runs` (Run or plain values) with `jobs` processes (as in `train`), clean
    twins once; None where a shape was never measured on this device.
    """
    from lib.study.measure import identity
    jobs = jobs or _usual_jobs()
    unique = {
        one.key: one for one in (one if isinstance(one, Run) else from_dict(one) for one in runs)
    }
    if not unique:
        return 0.0
    sweep, ends = Sweep(list(unique.values()), None), [0.0] * jobs
    for batch in sweep.batches():
        seconds = sweep.seconds(batch)
        if seconds is None:
            return None
        heapq.heapreplace(ends, ends[0] + seconds * len({identity(one) for one in batch}))
    return START_SECONDS + max(ends)
