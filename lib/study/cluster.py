"""Groups of runs trained by the workers of a Dask cluster: their rows come back, and this process
alone writes them.

A worker needs the code of this checkout, its packages and the data sets, each where its own machine
has them. `distributed` is imported only where a cluster is used.
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

ANSWER = 10  # seconds for the scheduler to answer
PATIENCE = 300  # seconds without any worker: a batch system may still be starting them


class ClusterProblem(RuntimeError):
    """What is wrong with a cluster, in one line."""


class GroupLost(ClusterProblem):
    """What became of a group that ended every worker that tried it; other groups may go on."""


@contextmanager
def on_cluster(address: str, first: Run, *, report: Callable[[str], None],
               until: float | None = None) -> Iterator[tuple[Callable, Callable]]:
    """(submit, places): a function that sends a group and returns the future of its rows, and one
    that counts how many groups the workers take at once.

    first: a run whose key must be the same on every worker. until: when (`time.monotonic`) to stop
    waiting for workers. Whatever ends the block, groups that have not come back are cancelled.
    """
    client = _connected(address)
    try:
        workers = Workers(client, address, first, report, until)
        yield workers.submit, workers.places
    finally:
        with suppress(OSError):  # a scheduler that is gone cannot be told
            client.close(timeout=2)


def _connected(address: str) -> "Client":
    """A client of the scheduler, or a ClusterProblem soon: Dask by itself waits for ever where
    something else listens.
    """
    from distributed import Client
    # what it tells in tracebacks is told here in one line
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    answer: Future = Future()

    def connect() -> None:
        try:
            answer.set_result(Client(address, timeout=ANSWER, set_as_default=False))
        except Exception as error:  # noqa: BLE001  raised below
            answer.set_exception(error)
    threading.Thread(target=connect, daemon=True).start()
    try:
        return answer.result(timeout=ANSWER + 2)
    except OSError:  # a timeout is one
        raise ClusterProblem(
            f"no Dask scheduler answers at {address}: start one there (README, Many machines), or"
            " correct the address"
        ) from None


class Workers:
    """Who is there, what each said of itself, and what is sent to them."""

    def __init__(self, client: "Client", address: str, first: Run, report: Callable[[str], None],
                 until: float | None) -> None:
        self.client: Any = client  # its methods are typed for asyncio too, which is not used here
        self.address, self.first, self.report, self.until = address, first, report, until
        self.executor = client.get_executor(pure=False)
        self.known: dict[str, dict] = {}
        self.told: set[str] = set()

    def submit(self, batch: list[Run]) -> Future:
        """Send a group to whichever worker is free.

        If that one is killed, the scheduler sends it to another.
        """
        answer: Future = Future()
        resources = {"GPU": 1} if any(one["gpus"] for one in self.known.values()) else None
        sent = self.executor.submit(train_there, [one.to_dict() for one in batch],
                                    resources=resources)
        sent.add_done_callback(lambda done: _pass_on(done, answer, batch))
        return answer

    def places(self) -> int:
        """How many groups may be with the workers: one each.

        Looks up who came and went, and waits while nobody is there.
        """
        since = time.monotonic()
        limit = min(since + PATIENCE, since + PATIENCE if self.until is None else self.until)
        while not (fit := self._fit()):
            if time.monotonic() > limit:
                raise ClusterProblem(
                    f"no worker at {self.address}: start some (README, Many machines); what was"
                    " finished is kept"
                )
            self._tell(f"no worker at {self.address} yet: waiting")
            time.sleep(1)
        return len(fit)

    def _fit(self) -> list[str]:
        """Workers that get groups: those that offer a GPU, else all.

        ClusterProblem names one that would train two at a time.
        """
        self._meet()
        fit = {address: one for address, one in self.known.items() if one["gpus"]} or self.known
        for address, one in fit.items():
            at_once = min(one["threads"], one["gpus"] or one["threads"])
            if at_once > 1:
                raise ClusterProblem(
                    f"worker {address} would train {at_once} groups in one process, which would"
                    " share its threads and caches: start it with --nthreads 1 (and --nworkers N"
                    " for more of them)"
                )
        return list(fit)

    def _meet(self) -> None:
        """Let workers that are new introduce themselves, and forget those that left."""
        try:
            if self.client.status != "running":
                raise OSError
            there = self.client.nthreads()
            new = sorted(there.keys() - self.known.keys())
            said = self.client.run(introduce, self.first.to_dict(), workers=new,
                                   on_error="return") if new else {}
        except (OSError, CancelledError):
            raise ClusterProblem(
                f"the scheduler at {self.address} is gone; what was finished is kept: start again"
            ) from None
        self.known = {address: one for address, one in self.known.items() if address in there}
        for address, one in said.items():
            if not isinstance(one, OSError):  # left meanwhile
                self.known[address] = self._admitted(address, one)

    def _admitted(self, address: str, one) -> dict:
        """What a worker said of itself, if its code is that of this process.

        Else a ClusterProblem.
        """
        if isinstance(one, Exception):
            raise ClusterProblem(
                f"worker {address} cannot import this code ({first_line(one)}): start it with the"
                " Python of this checkout's environment"
            )
        if one["error"]:
            raise ClusterProblem(f"worker {address} cannot read the first run: {one['error']}")
        here = versions()
        other = ", ".join(
            f"{name} {found} (here {here[name]})" for name, found in one["versions"].items()
            if found != here[name])
        if one["key"] != self.first.key:
            raise ClusterProblem(
                f"worker {address} has other code: the key of the first run is {one['key'][:12]}"
                f" there and {self.first.key[:12]} here{other and '; '}{other}; bring both to the"
                " same commit"
            )
        if other:
            self._tell(f"a worker has {other}: its rows count, with small differences")
        return one

    def _tell(self, line: str) -> None:
        """Report a line, once."""
        if line not in self.told:
            self.told.add(line)
            self.report(line)


def _pass_on(done: Future, answer: Future, batch: list[Run]) -> None:
    """Give the rows of a group, or what became of it, to the future that the sweep waits for."""
    from distributed import KilledWorker
    try:
        rows = done.result()
        if {row["key"] for row in rows} != {one.key for one in batch}:
            raise ClusterProblem(
                "a worker sent rows under other keys than were asked for, so it has other code:"
                " none of them is kept; bring it to the same commit"
            )
        answer.set_result(rows)
    except KilledWorker as error:
        answer.set_exception(
            GroupLost(
                f"{error.allowed_failures + 1} workers ended while they trained it, the last at "
                f"{error.last_worker.address} (out of memory?)"))
    except CancelledError:
        answer.set_exception(
            ClusterProblem(
                "the scheduler is gone or dropped a group; what was finished is kept: start again"))
    except ClusterProblem as problem:
        answer.set_exception(problem)
    except Exception as error:  # noqa: BLE001  of Dask: what a training raises is in its row
        answer.set_exception(
            ClusterProblem(
                f"a group did not come back ({type(error).__name__}: {first_line(error)}):"
                " scheduler and workers need this checkout's environment"
            )
        )


# ---------------------------------------------------------------- on a worker

def introduce(run: dict, dask_worker: "Worker") -> dict:
    """What a worker is, and the key that its code gives to a run."""
    state = dask_worker.state
    found = {
        "threads": state.nthreads, "gpus": int(state.total_resources.get("GPU", 0)), "key": "",
        "error": ""
    }
    try:
        return found | {"versions": versions(), "key": from_dict(run).key}
    except Exception as error:  # noqa: BLE001  told in one line where the sweep was started
        return found | {"error": f"{type(error).__name__}: {first_line(error, 500)}"}


def versions() -> dict[str, str]:
    """Major and minor version of what the bits of a result depend on."""
    import torch
    return {
        name: ".".join(version.split(".")[:2])
        for name, version in (("python", platform.python_version()), ("torch", torch.__version__))
    }


def train_there(batch: list[dict]) -> list[dict]:
    """The rows of a group.

    What is wrong with this worker (no data, no memory, a full disk) is one line that names it.
    """
    from distributed import get_worker

    from lib.study import measure
    try:
        return measure.train_rows([from_dict(values) for values in batch])
    except (ValueError, *measure.FAULTS) as error:
        raise ClusterProblem(
            f"worker {get_worker().address}: {type(error).__name__}: {first_line(error, 500)}"
        ) from None
