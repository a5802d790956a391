"""How a side is timed: threads, precision, the load of other processes."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.bench.contender import Side
from lib.processes import cores
from lib.training import Rule, Schedule


@dataclass(frozen=True)
class Timing:
    """Milliseconds per model and step, wall and CPU time, with the setting used."""

    wall: float
    cpu: float
    threads: int
    precision: str


@contextmanager
def threads_of(count: int) -> Iterator[None]:
    """Let torch use this many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def timed(side: Side, threads: int, precision: str, models: int) -> Timing:
    """One round of a side."""
    schedule = Schedule(side.steps, Rule("sgd", 0.9), precision=precision)
    with threads_of(threads):
        finish()
        wall, cpu = time.perf_counter(), time.process_time()
        side.train(schedule)
        finish()
        scale = 1000 / side.steps / (side.models or models)
        return Timing((time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale,
                      threads, precision)


def finish() -> None:
    """Wait until a GPU, if there is one in use, has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def best_setting(side: Side, models: int, device: torch.device) -> tuple[int, str]:
    """The threads and precision at which this side is fastest, after a warm-up of each setting."""
    settings = [(threads, precision)
                for threads in sorted({1, cores()} if device.type == "cpu" else {1})
                for precision in ("float32", "fast")]
    for setting in settings:
        timed(side, *setting, models)
    return min(settings, key=lambda setting: timed(side, *setting, models).wall)


def difference(sides: list[Side]) -> float:
    """Largest difference between our results and the first alternative's after three steps from the
    same seeds, in float32."""
    schedule = Schedule(3, Rule("sgd", 0.9))
    ours, theirs = (side.train(schedule) for side in sides[:2])
    both = min(len(ours), len(theirs))
    return float((ours[:both] - theirs[:both]).abs().max())


class Load:
    """Mean number of CPUs that other processes use inside the block; NaN if the system hides it."""

    def __enter__(self) -> "Load":
        self.wall, self.busy, self.own = time.perf_counter(), _system_busy(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, own = time.perf_counter() - self.wall, time.process_time() - self.own
        others = (_system_busy() - self.busy - own) / wall
        self.others = others if math.isnan(others) else max(0.0, others)


def _system_busy() -> float:
    try:
        first = Path("/proc/stat").read_text().splitlines()[0]
        fields = [int(field) for field in first.split()[1:9]]
    except (OSError, ValueError):
        return math.nan
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")
