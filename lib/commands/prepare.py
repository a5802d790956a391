"""Turn a command line into a `Study`, and report everything that is wrong with it."""

import shutil
import socket
import time
from argparse import Namespace

from lib import processes
from lib.commands import Problem
from lib.commands.calls import has_cuda
from lib.commands.passes import Study
from lib.commands.profiles import parameters, profile_name, select
from lib.commands.variables import chosen, store_of_its_own
from lib.paths import BUILD

SCHEDULER_TIMEOUT = 10  # seconds; a cluster's scheduler may still be starting


def prepare(options: Namespace) -> Study:
    """The study of a command line, of `report`, `plan` or `export`."""
    choices = select(options)
    values = {choice.name: parameters(choice) for choice in choices}
    given = vars(options)
    if given.get("cluster") and not options.read_only:
        check_cluster(options)
    out = given.get("out") or BUILD / profile_name(options.profile)
    settings = chosen(options)
    if given.get("fresh"):
        shutil.rmtree(out / "store-fresh", ignore_errors=True)
        settings |= store_of_its_own(out)
    if options.device == "cuda" and not has_cuda():
        raise Problem("--device cuda: torch sees no CUDA device; use --device cpu, or leave "
                      "--device out", 2)
    return Study(choices, values, settings, out, options.jobs or min(processes.cores(), 8))


def check_cluster(options: Namespace) -> None:
    """Raise Problem unless a scheduler accepts connections within `SCHEDULER_TIMEOUT`.

    Call this before the notebooks run, so that a wrong address costs no time.
    """
    if options.device:
        raise Problem("--device with --cluster: each worker chooses its own device ($STUDY_DEVICE, "
                      "else CUDA if it has any); leave --device out", 2)
    host, _, port = options.cluster.partition("://")[2].rpartition(":")
    deadline = time.monotonic() + SCHEDULER_TIMEOUT
    while True:
        try:
            place = (host.strip("[]"), int(port))
            return socket.create_connection(place, timeout=SCHEDULER_TIMEOUT).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise Problem(f"--cluster {options.cluster}: no Dask scheduler answers there "
                              f"({error.strerror or error}); start one (README, Run many), "
                              "or correct the address") from None
        time.sleep(0.5)
