"""Train what is missing of a list of requests: in groups, on one process or several, each row written as it comes."""

import itertools
import json
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from statistics import median

from lib import ledger
from lib.study.runs import Run, from_dict, part_name

GROUP_SECONDS = 120  # what a kill may cost
FIRST_GROUP = 8  # runs of a shape that was never timed


def missing(requests: list[dict], *, retry_failed: bool = False) -> list[Run]:
    """The runs among `requests` that no row answers, each once; a failed row is an answer unless retried."""
    found: dict[str, Run] = {}
    for request in requests:
        row = ledger.find(request["key"])[0]
        if row is None or (retry_failed and row["status"] == "failed"):
            found.setdefault(request["key"], from_dict(request["run"]))
    return list(found.values())


def train(requests: list[dict], *, budget: float | None = None, jobs: int | None = 1, retry_failed: bool = False,
          report: Callable[[str], None] = print) -> int:
    """Train what is missing of `requests` ({"notebook", "key", "run"}), a line on `report` for each finished group.

    budget: seconds; no group is started that would not end in time by what was measured so far. jobs: processes,
    each with its share of the threads; None: two on a CPU, since small models use one core better than two
    threads do, and one on a GPU. Returns how many rows were made.
    """
    jobs = jobs or _usual_jobs()
    todo = missing(requests, retry_failed=retry_failed)
    sweep = Sweep(todo, budget, alone={request["key"] for request in requests if request.get("alone")})
    with _submitter(jobs) as submit:
        running: dict[Future, list[Run]] = {}
        while True:
            for batch in itertools.islice(sweep.batches(), jobs - len(running)):
                running[submit(batch)] = batch
            if not running:
                break
            done = wait(running, return_when=FIRST_COMPLETED).done
            for future in sorted(done, key=lambda future: future.exception() is not None):  # good rows first
                report(sweep.finish(running.pop(future), _rows_of(future)))
    if sweep.left():
        report(f"budget: {sweep.left()} of {len(todo)} runs left for another time")
    return sweep.done


def _rows_of(future: Future) -> list[dict]:
    try:
        return future.result()
    except BrokenExecutor:
        raise RuntimeError("a training process was killed (out of memory?); what was finished is kept: "
                           "start again, with fewer --jobs if it happens again") from None


class Sweep:
    """The queue of groups, how fast each goes, and how many runs are done."""

    def __init__(self, todo: list[Run], budget: float | None, *, alone: Collection[str] = ()):
        self.total, self.done, self.started = len(todo), 0, time.monotonic()
        self.budget, self.speeds, self.queue = budget, {}, dict(groups(todo, alone=alone))

    def batches(self) -> Iterator[list[Run]]:
        """What to train next: of each group about two minutes of work that the budget still holds."""
        for name in list(self.queue):
            while group := self.queue[name]:
                batch = _batch(group, self.speed(name), self._seconds_left())
                if not batch:
                    break
                self.queue[name] = group[len(batch):]
                yield batch

    def speed(self, name: tuple) -> float | None:
        """Seconds a run of this group: as measured in this sweep, else as known from rows, else None."""
        return self.speeds.get(name) or estimate_one(self.queue[name][0])

    def finish(self, batch: list[Run], rows: list[dict]) -> str:
        """Write the rows of a batch; returns the line about it."""
        for row in rows:
            ledger.write(row)
        if rows[0]["status"] == "ok":  # a failure takes no time at all
            self.speeds[_group_name(batch[0])] = rows[0]["provenance"]["seconds"]
        self.done += len(batch)
        elapsed = time.monotonic() - self.started
        return _line(rows, self.done, self.total, elapsed / self.done * (self.total - self.done))

    def left(self) -> int:
        return self.total - self.done

    def _seconds_left(self) -> float | None:
        return None if self.budget is None else self.budget - (time.monotonic() - self.started)


def _usual_jobs() -> int:
    from lib.execute import cores
    from lib.study.measure import device
    return 1 if device().type == "cuda" else min(2, cores())


@contextmanager
def _submitter(jobs: int):
    """A function that starts the training of a batch and returns its future."""
    from lib.study.measure import train_rows
    if jobs == 1:
        def here(batch: list[Run]) -> Future:
            future: Future = Future()
            future.set_result(train_rows(batch))
            return future
        yield here
        return
    import multiprocessing
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_share, initargs=(jobs,))
    try:
        # Plain values: a class from the user's own file is not known by name in the other process.
        yield lambda batch: pool.submit(_train_plain, [one.to_dict() for one in batch])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _train_plain(batch: list[dict]) -> list[dict]:
    from lib.study.measure import train_rows
    return train_rows([from_dict(values) for values in batch])


def _share(jobs: int) -> None:
    """Give this process its share of the cores: more threads than cores make two processes fifty times slower."""
    import torch

    from lib.execute import cores
    torch.set_num_threads(max(1, cores() // jobs))


def _batch(group: list[Run], seconds: float | None, left: float | None) -> list[Run]:
    """The first runs of a group that fit the time, clean twins (trained once) together."""
    from lib.study.measure import identity
    if seconds is None:
        count = 0 if left is not None and left <= 0 else FIRST_GROUP
    else:
        count = max(1, int(GROUP_SECONDS / max(seconds, 1e-3)))
        count = count if left is None else min(count, int(left / seconds))
    names: set[str] = set()
    for place, one in enumerate(group):
        name = identity(one)
        if name not in names and len(names) >= count:
            return group[:place]
        names.add(name)
    return group


def groups(runs: list[Run], *, alone: Collection[str] = ()) -> Iterator[tuple[tuple, list[Run]]]:
    """(name, runs) of what may train together: equal data, equal by the defence's word; clean twins side by side.

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
    return (one.dataset, one.train_size, one.test_size, one.public, one.features, one.split, one.defence.group(one))


def _line(rows: list[dict], done: int, total: int, left: float) -> str:
    """One line a finished group: count, last result, time left."""
    row = rows[-1]
    if row["status"] == "ok":
        result = f"accuracy {row['metrics']['accuracy']:.3f}, attack success {row['metrics']['success']:.3f}"
    else:
        result = "FAILED: " + row["error"].strip().splitlines()[-1]
    time_left = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"
    what = f"{row['run']['dataset']}, {_described(from_dict(row['run']).defence)}"
    return f"[{done}/{total}] {what}: {result}; {len(rows)} runs in {row['provenance']['group_seconds']:.0f} s, {time_left} left"


def _described(defence) -> str:
    """A defence's name with the settings that are not its defaults."""
    values = {item.name: getattr(defence, item.name) for item in fields(defence) if getattr(defence, item.name) != item.default}
    changed = [f"{name} {value}" for name, value in values.items() if not is_dataclass(value)]
    return " ".join([part_name(defence), *changed])


_seconds_by_shape: dict[str, list[float]] = {}


def estimate_one(one: Run) -> float | None:
    """Seconds that runs of this shape took (median over the known rows), or None."""
    if not _seconds_by_shape:
        _seconds_by_shape[""] = []
        for row in [*ledger.stored(), *ledger.published().values()]:
            if row["status"] == "ok":
                _seconds_by_shape.setdefault(_shape(row["run"]), []).append(row["provenance"]["seconds"])
    seconds = _seconds_by_shape.get(_shape(one.to_dict()))
    return median(seconds) if seconds else None


def _shape(values: dict) -> str:
    """What the time of a run depends on."""
    training = {name: values["training"][name] for name in ("optimizer", "epochs", "batch_size", "sampling", "checkpoints")}
    names = ("dataset", "train_size", "features", "model", "precision", "split")
    defence = [values["defence"].get(name) for name in ("name", "clip", "models", "partitions", "space", "twin")]
    return json.dumps([[values[name] for name in names], training, defence], sort_keys=True)


def estimate(runs: list) -> float | None:
    """Seconds to train `runs` (Run or plain values), clean twins once, or None where a shape was never measured."""
    from lib.study.measure import identity
    unique = {identity(one): one for one in (one if isinstance(one, Run) else from_dict(one) for one in runs)}
    seconds = [estimate_one(one) for one in unique.values()]
    return None if None in seconds else sum(seconds)
