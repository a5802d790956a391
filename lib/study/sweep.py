"""Train the missing runs of a list of requests, in groups, in one process or several.

Rows are written as soon as their group is finished.
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

GROUP_SECONDS = 120  # planned length of a group: the most work that a kill should lose
FIRST_GROUP = 8  # models per thread in the first group of a shape that was never timed
START_SECONDS = 5.0  # for a process to import torch and read the data
BUDGET_SHARE = 0.8  # plan a group for this share of the time left, because some groups take longer
POLL_SECONDS = 5.0  # how often to check for joined or lost workers of a cluster


class WorkerDied(RuntimeError):
    """A training process was killed; the message is one line that says what to do."""


def missing(requests: list[dict], *, retry_failed: bool = False) -> list[Run]:
    """The requested runs without a row, each once; with `retry_failed` also those that failed."""
    found: dict[str, Run] = {}
    for request in requests:
        row = ledger.find(request["key"])[0]
        if row is None or (retry_failed and row["status"] == "failed"):
            found.setdefault(request["key"], from_dict(request["run"]))
    return list(found.values())


def train(requests: list[dict], *, budget: float | None = None, jobs: int | None = 1,
          retry_failed: bool = False, untimed: Collection[str] = (), cluster: str | None = None,
          report: Callable[[str], None] = print) -> int:
    """Train the missing runs of `requests` ({"notebook", "key", "run"}); returns how many.

    report: gets a line for each finished group. budget: seconds; a group starts only if the times
    measured so far say that it will finish within the budget, and is abandoned if it does not.
    Without a budget, times measured during the sweep do not affect the grouping, so that the same
    sweep gives the same rows bit for bit. jobs: number of processes, which share the threads; None:
    one on a GPU and two on a CPU, where two processes of one thread train small models faster than
    one process of two threads. untimed: keys of rows whose times are ignored too, such as those
    from earlier rounds of this command. cluster: address of a Dask scheduler whose workers train
    instead of local processes.
    """
    todo = missing(requests, retry_failed=retry_failed)
    if not todo:
        return 0
    jobs = jobs or _usual_jobs()
    alone = {request["key"] for request in requests if request.get("alone")}
    sweep = Sweep(todo, budget, alone=alone, untimed=untimed,
                  first=FIRST_GROUP if cluster else _first_group(jobs))
    lost, until = 0, None if budget is None else sweep.started + budget
    trainers = (on_cluster(cluster, todo[0], report=report, until=until) if cluster
                else _submitter(jobs, separate=budget is not None))
    with trainers as (submit, places):
        running: dict[Future, list[Run]] = {}
        while True:
            for batch in itertools.islice(sweep.batches(), max(0, places() - len(running))):
                running[submit(batch)] = batch
            if not running:
                break
            done = wait(running, timeout=sweep.patience(most=POLL_SECONDS),
                        return_when=FIRST_COMPLETED).done
            if not done and sweep.patience() == 0:  # the budget is used up
                break
            # Keep the rows of groups that succeeded before an error ends the loop.
            for future in sorted(done, key=lambda future: future.exception() is not None):
                batch = running.pop(future)
                try:
                    report(sweep.finish(batch, _rows_of(future)))
                except GroupLost as problem:
                    lost += len(batch)
                    report(f"LOST: {_named(batch[0])}, {len(batch)} runs: {problem}")
    if lost:
        raise ClusterProblem(
            f"{lost} of {len(todo)} runs killed the workers that trained them; the rows of the "
            "others are kept")
    if sweep.left():
        report(f"budget: {sweep.left()} of {len(todo)} runs left to train next time")
    return sweep.done


def _rows_of(future: Future) -> list[dict]:
    try:
        return future.result()
    except BrokenExecutor:
        raise WorkerDied(
            "a training process was killed (out of memory?); finished rows are kept; run the "
            "command again, with fewer --jobs if it happens again") from None


class Sweep:
    """The queue of groups, the seconds per run of each shape, and the number of finished runs."""

    def __init__(self, todo: list[Run], budget: float | None, *, alone: Collection[str] = (),
                 untimed: Collection[str] = (), first: int = FIRST_GROUP) -> None:
        self.total, self.done, self.started, self.first = len(todo), 0, time.monotonic(), first
        self.budget, self.queue = budget, dict(groups(todo, alone=alone))
        known = known_seconds(untimed if budget is None else ())
        self.speeds = {shape: known[shape] for shape in map(_shape, todo) if shape in known}

    def batches(self) -> Iterator[list[Run]]:
        """What to train next: about `GROUP_SECONDS` of work from each group, within the budget."""
        for name in list(self.queue):
            while group := self.queue[name]:
                batch = _batch(group, self._count(self.seconds(group)))
                if not batch:
                    break
                self.queue[name] = group[len(batch):]
                yield batch

    def seconds(self, group: list[Run]) -> float | None:
        """Seconds per run of this group, None if its shape was never timed."""
        return self.speeds.get(_shape(group[0]))

    def _count(self, seconds: float | None) -> int:
        """How many models to train together if each takes `seconds`."""
        left = self._seconds_left()
        if seconds is None:  # with a budget, time a single model first
            return self.first if left is None else int(left > 0)
        seconds = max(seconds, 1e-3)
        count = max(1, int(GROUP_SECONDS / seconds))
        return count if left is None else min(count, int(BUDGET_SHARE * left / seconds))

    def finish(self, batch: list[Run], rows: list[dict]) -> str:
        """Write the rows of a batch; returns the line about it."""
        for row in rows:
            ledger.write(row)
        good = [row for row in rows if row["status"] == "ok"]  # failures are too quick to time
        if good and self.budget is not None:
            self.speeds[_shape(batch[0])] = good[0]["provenance"]["seconds"]
        self.done += len(batch)
        elapsed = time.monotonic() - self.started
        return _line(rows, self.done, self.total, elapsed / self.done * (self.total - self.done))

    def left(self) -> int:
        return self.total - self.done

    def patience(self, *, most: float = math.inf) -> float:
        """Seconds until the budget is used up, at most `most`; infinite without a budget."""
        if self.budget is None:
            return most
        return min(most, max(0.0, self.budget - (time.monotonic() - self.started)))

    def _seconds_left(self) -> float | None:
        """Seconds of the budget for training, less the start of processes for the first groups."""
        if self.budget is None:
            return None
        return self.patience() if self.done else self.patience() - START_SECONDS


def _usual_jobs() -> int:
    from lib.processes import cores
    from lib.study.inputs import device
    return 1 if device().type == "cuda" else min(2, cores())


def _first_group(jobs: int) -> int:
    """How many models of an untimed shape to train at once: 64 on a GPU, `FIRST_GROUP` per thread
    of a process on a CPU."""
    import torch

    from lib.study.inputs import device
    if device().type == "cuda":
        return 8 * FIRST_GROUP
    return FIRST_GROUP * (torch.get_num_threads() if jobs == 1 else _threads(jobs))


@contextmanager
def _submitter(jobs: int, *, separate: bool = False):
    """Train on this machine; yields (submit, places).

    submit(batch) starts a training and returns the future of its rows. places() is the number of
    trainings at once. Leaving the block abandons unfinished trainings. separate: use another
    process even for a single job, because a training in this process cannot be abandoned.
    """
    from lib.study.measure import train_rows
    if jobs == 1 and not separate:
        def here(batch: list[Run]) -> Future:
            future: Future = Future()
            future.set_result(train_rows(batch))
            return future
        yield here, lambda: jobs
        return
    import multiprocessing
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"),
                               initializer=_share, initargs=(jobs,))

    def there(batch: list[Run]) -> Future:
        # Plain values, because a class from a user's own file cannot be pickled.
        return pool.submit(_train_plain, [run.to_dict() for run in batch])
    try:
        yield there, lambda: jobs
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.kill()


def _train_plain(batch: list[dict]) -> list[dict]:
    from lib.study.measure import train_rows
    return train_rows([from_dict(values) for values in batch])


def _share(jobs: int) -> None:
    """Limit this process to its share of the cores: two processes that together have more threads
    than cores run fifty times slower."""
    import torch

    torch.set_num_threads(_threads(jobs))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _threads(jobs: int) -> int:
    from lib.processes import thread_settings
    return int(thread_settings(jobs)["OMP_NUM_THREADS"])


def _end_with_parent() -> None:
    """Exit when the parent process is gone (killed -9), because nobody would write the rows."""
    import multiprocessing
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("no parent process: expected to run in a process of multiprocessing")
    parent.join()
    os._exit(1)


def _batch(group: list[Run], count: int) -> list[Run]:
    """The first runs of a group that need `count` models; clean twins share one model."""
    from lib.study.measure import identity
    names: set[str] = set()
    for place, run in enumerate(group):
        name = identity(run)
        if name not in names and len(names) >= count:
            return group[:place]
        names.add(name)
    return group


def groups(runs: list[Run], *, alone: Collection[str] = ()) -> Iterator[tuple[tuple, list[Run]]]:
    """Yield (name, runs) for runs that may train together: equal data, and one group by the word of
    their defence.

    Clean twins stand next to each other. alone: keys of runs that get a group each, to time them.
    """
    from lib.study.measure import identity
    found: dict[tuple, dict[str, list[Run]]] = {}
    for run in runs:
        name = _group_name(run) + ((run.key,) if run.key in alone else ())
        found.setdefault(name, {}).setdefault(identity(run), []).append(run)
    for name, twins in found.items():
        yield name, [run for same in twins.values() for run in same]


def _group_name(run: Run) -> tuple:
    return (run.dataset, run.train_size, run.test_size, run.public, run.features, run.split,
            run.defence.group(run))


def _line(rows: list[dict], done: int, total: int, left: float) -> str:
    """The line about a finished group: count, last result, time left."""
    # Prefer the result of an attacked run to that of a clean twin in the same group.
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
    return (f"[{done}/{total}] {what}: {result}; {len(rows)} runs in "
            f"{row['provenance']['group_seconds']:.0f} s, {time_left} left")


def _named(run: Run) -> str:
    return f"{run.dataset}, {_described(run.defence)}"


def _described(defence) -> str:
    """A defence's name, with the settings that differ from its defaults."""
    values = {item.name: getattr(defence, item.name) for item in fields(defence)
              if getattr(defence, item.name) != item.default}
    changed = [f"{name} {value}" for name, value in values.items() if not is_dataclass(value)]
    return " ".join([name_of(defence), *changed])


def known_seconds(untimed: Collection[str] = ()) -> dict[str, float]:
    """Mean seconds per run of each shape on this machine's device: {shape: seconds}.

    Taken from rows of the local store, else from published rows. A process reads them once, so that
    its own rows never affect the grouping. untimed: keys of rows to ignore.
    """
    return _known_seconds(paths.store_dir(), frozenset(untimed))


@functools.cache
def _known_seconds(store: Path, untimed: frozenset[str]) -> dict[str, float]:
    from lib.study.inputs import device_name
    here, known = device_name(), {}
    # Stored rows replace published ones, which may come from a faster machine.
    for rows in (ledger.published().values(), ledger.stored()):
        found: dict[str, list[float]] = {}
        for row in rows:
            timed = row["status"] == "ok" and row["key"] not in untimed
            if timed and row["provenance"].get("device") == here:
                found.setdefault(_shape_of(row["run"]), []).append(row["provenance"]["seconds"])
        known |= {shape: fmean(seconds) for shape, seconds in found.items()}
    return known


def _shape(run: Run) -> str:
    return _shape_of(run.to_dict())


def _shape_of(values: dict) -> str:
    """The settings that the time of a run depends on, as JSON.

    Leaves out the defence's real numbers: noise, norms and shares do not change the time.
    """
    training = {name: values["training"][name]
                for name in ("optimizer", "epochs", "batch_size", "sampling", "checkpoints")}
    # Older rows lack these settings, and did not use them.
    training |= {name: values["training"].get(name, ()) for name in ("transforms", "averages")}
    training["every"] = values["training"].get("every", 0.0)
    training["anatomy"] = values.get("anatomy", False)
    if values.get("losses", False):
        training["losses"] = True
    names = ("dataset", "train_size", "test_size", "public", "features", "model", "precision",
             "split")
    defence = {name: value for name, value in values["defence"].items()
               if value is not None and not isinstance(value, float)}
    return json.dumps([[values[name] for name in names], training, defence], sort_keys=True)


def estimate(runs: list, *, jobs: int | None = 1) -> float | None:
    """Estimate the seconds to train `runs` (Run or plain values), clean twins once.

    jobs: as for `train`. None if this device never timed one of the shapes.
    """
    from lib.study.measure import identity
    jobs = jobs or _usual_jobs()
    built = (run if isinstance(run, Run) else from_dict(run) for run in runs)
    unique = {run.key: run for run in built}
    if not unique:
        return 0.0
    sweep, ends = Sweep(list(unique.values()), None), [0.0] * jobs
    for batch in sweep.batches():
        seconds = sweep.seconds(batch)
        if seconds is None:
            return None
        heapq.heapreplace(ends, ends[0] + seconds * len({identity(run) for run in batch}))
    return START_SECONDS + max(ends)
