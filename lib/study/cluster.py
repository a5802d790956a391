"""Train groups of runs on the workers of a Dask cluster; only this process writes their rows.

A worker needs this checkout's code, its packages and the data sets, in any place on its machine.
`distributed` is imported only if a cluster is used.
"""

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from lib.processes import first_line
from lib.study.runs import Run, from_dict

if TYPE_CHECKING:
    from distributed import Client, Worker

ANSWER_TIMEOUT = 10  # seconds to wait for the scheduler's answer
WORKER_TIMEOUT = 300  # seconds to wait for a first worker; a batch system may still be starting it


class ClusterProblem(RuntimeError):
    """One line about what is wrong with a cluster."""


class GroupLost(ClusterProblem):
    """Every worker that tried to train a group died; other groups may continue."""


@contextmanager
def on_cluster(address: str, first: Run, *, report: Callable[[str], None],
               until: float | None = None) -> Iterator[tuple[Callable, Callable]]:
    """Connect to a scheduler; yields (submit, places).

    submit(group) sends a group and returns the future of its rows. places() returns how many groups
    the workers can train at once. first: a run whose key must be the same on every worker. until:
    when to stop waiting for workers, by `time.monotonic`. Leaving the block cancels unfinished
    groups.
    """
    client = _connected(address)
    try:
        workers = Workers(client, address, first, report, until)
        yield workers.submit, workers.places
    finally:
        with suppress(OSError):  # the scheduler may have gone
            client.close(timeout=2)


def _connected(address: str) -> "Client":
    """Connect to the scheduler, or raise ClusterProblem after `ANSWER_TIMEOUT`.

    Dask itself waits for ever if something other than a scheduler listens at the address.
    """
    from distributed import Client
    # Hide Dask's tracebacks: ClusterProblem says the same in one line.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    answer: Future = Future()

    def connect() -> None:
        try:
            answer.set_result(Client(address, timeout=ANSWER_TIMEOUT, set_as_default=False))
        except Exception as error:  # noqa: BLE001  raised again below
            answer.set_exception(error)
    threading.Thread(target=connect, daemon=True).start()
    try:
        return answer.result(timeout=ANSWER_TIMEOUT + 2)
    except OSError:  # TimeoutError is an OSError
        raise ClusterProblem(
            f"no Dask scheduler answers at {address}; start one there (README, Run many), or "
            "correct the address") from None


class Workers:
    """The workers of a cluster: what each reported about itself, and the groups sent to them."""

    def __init__(self, client: "Client", address: str, first: Run, report: Callable[[str], None],
                 until: float | None) -> None:
        self.client: Any = client  # Any: Dask types its methods for asyncio too, unused here
        self.address, self.first, self.report, self.until = address, first, report, until
        self.executor = client.get_executor(pure=False)
        self.known: dict[str, dict] = {}
        self.reported: set[str] = set()

    def submit(self, batch: list[Run]) -> Future:
        """Send a group to a free worker; if that worker is killed, Dask sends it to another."""
        answer: Future = Future()
        resources = {"GPU": 1} if any(worker["gpus"] for worker in self.known.values()) else None
        sent = self.executor.submit(train_there, [run.to_dict() for run in batch],
                                    resources=resources)
        sent.add_done_callback(lambda done: _pass_on(done, answer, batch))
        return answer

    def places(self) -> int:
        """How many groups the workers can train at once: one each.

        Refreshes the list of workers, and waits for the first one.
        """
        since = time.monotonic()
        limit = since + WORKER_TIMEOUT
        limit = limit if self.until is None else min(limit, self.until)
        while not (usable := self._usable()):
            if time.monotonic() > limit:
                raise ClusterProblem(
                    f"no worker at {self.address}; start some (README, Run many) and run the "
                    "command again; finished rows are kept")
            self._report_once(f"no worker at {self.address} yet: waiting")
            time.sleep(1)
        return len(usable)

    def _usable(self) -> list[str]:
        """Addresses of the workers to use: those that offer a GPU if any do, else all.

        Raises ClusterProblem for a worker that would train several groups at once.
        """
        self._refresh()
        with_gpu = {address: worker for address, worker in self.known.items() if worker["gpus"]}
        usable = with_gpu or self.known
        for address, worker in usable.items():
            at_once = min(worker["threads"], worker["gpus"] or worker["threads"])
            if at_once > 1:
                raise ClusterProblem(
                    f"worker {address} would train {at_once} groups at once in one process, where "
                    "they would compete for threads and caches; start it with --nthreads 1, and "
                    "with --nworkers N for more workers")
        return list(usable)

    def _refresh(self) -> None:
        """Ask new workers to introduce themselves, and forget those that left."""
        try:
            if self.client.status != "running":
                raise OSError
            connected = self.client.nthreads()
            new = sorted(connected.keys() - self.known.keys())
            answers = self.client.run(introduce, self.first.to_dict(), workers=new,
                                      on_error="return") if new else {}
        except (OSError, CancelledError):
            raise ClusterProblem(
                f"lost the scheduler at {self.address}; finished rows are kept; run the command "
                "again") from None
        self.known = {address: worker for address, worker in self.known.items()
                      if address in connected}
        for address, answer in answers.items():
            if not isinstance(answer, OSError):  # an OSError: the worker left before it answered
                self.known[address] = self._admitted(address, answer)

    def _admitted(self, address: str, answer) -> dict:
        """Return what a worker reported; raises ClusterProblem if its code differs from ours."""
        if isinstance(answer, Exception):
            raise ClusterProblem(
                f"worker {address} cannot import this code ({first_line(answer)}); start it with "
                "the Python of this checkout's environment")
        if answer["error"]:
            raise ClusterProblem(f"worker {address} cannot read the first run: {answer['error']}")
        here = versions()
        different = ", ".join(
            f"{name} {found} (here {here[name]})" for name, found in answer["versions"].items()
            if found != here[name])
        if answer["key"] != self.first.key:
            raise ClusterProblem(
                f"worker {address} has different code: the key of the first run is "
                f"{answer['key'][:12]} there and {self.first.key[:12]} here"
                f"{different and '; '}{different}; check out the same commit on both")
        if different:
            self._report_once(f"a worker has {different}: its rows are used, and may differ in the "
                              "last digits")
        return answer

    def _report_once(self, line: str) -> None:
        if line not in self.reported:
            self.reported.add(line)
            self.report(line)


def _pass_on(done: Future, answer: Future, batch: list[Run]) -> None:
    """Pass a group's rows, or the reason why there are none, to the future the sweep waits for."""
    from distributed import KilledWorker
    try:
        rows = done.result()
        if {row["key"] for row in rows} != {run.key for run in batch}:
            raise ClusterProblem(
                "a worker returned rows under keys that were not requested, so its code differs; "
                "none of these rows is kept; check out the same commit there")
        answer.set_result(rows)
    except KilledWorker as error:
        answer.set_exception(GroupLost(
            f"{error.allowed_failures + 1} workers died while training it, the last at "
            f"{error.last_worker.address} (out of memory?)"))
    except CancelledError:
        answer.set_exception(ClusterProblem(
            "the scheduler is gone or dropped a group; finished rows are kept; run the command "
            "again"))
    except ClusterProblem as problem:
        answer.set_exception(problem)
    except Exception as error:  # noqa: BLE001  from Dask: errors of a training are in its row
        answer.set_exception(ClusterProblem(
            f"a group did not come back ({type(error).__name__}: {first_line(error)}); scheduler "
            "and workers need this checkout's environment"))


# ---------------------------------------------------------------- on a worker

def introduce(run: dict, dask_worker: "Worker") -> dict:
    """What a worker reports about itself, with the key that its code gives to `run`."""
    state = dask_worker.state
    found = {"threads": state.nthreads, "gpus": int(state.total_resources.get("GPU", 0)),
             "key": "", "error": ""}
    try:
        return found | {"versions": versions(), "key": from_dict(run).key}
    except Exception as error:  # noqa: BLE001  the sweep's process reports it in one line
        return found | {"error": f"{type(error).__name__}: {first_line(error, 500)}"}


def versions() -> dict[str, str]:
    """Major and minor versions of the packages that the bits of a result depend on."""
    import torch
    return {name: ".".join(version.split(".")[:2]) for name, version in (
        ("python", platform.python_version()), ("torch", torch.__version__))}


def train_there(batch: list[dict]) -> list[dict]:
    """Train a group on this worker and return its rows.

    Raises ClusterProblem, which names the worker, if it lacks data, memory or disk space.
    """
    from distributed import get_worker

    from lib.study import measure
    try:
        return measure.train_rows([from_dict(values) for values in batch])
    except (ValueError, *measure.FAULTS) as error:
        raise ClusterProblem(f"worker {get_worker().address}: {type(error).__name__}: "
                             f"{first_line(error, 500)}") from None
