"""Benchmarks of the trainer against the alternatives, side by side in one run.

Each side runs at its own best number of threads and precision, found first; then the sides
alternate for some rounds, and medians are compared. No ratio is printed while another process is
busy: it would say nothing.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from lib import models, training
from lib.defences import opacus_engine
from lib.processes import cores
from lib.training import Member, Rule, Schedule

ROUNDS = 5
BUSY = 0.15  # CPUs that other processes may use


@dataclass(frozen=True)
class Side:
    """One contender: `train(schedule) -> parameters` [models, parameters]; steps a round.

    models: how many it trains, where it is not all of the benchmark's (the first ones: a loop takes
    as long for each).
    """

    name: str
    train: Callable[[Schedule], torch.Tensor]
    steps: int
    required: float | None = None  # how many times as long as ours this side must take at least
    models: int | None = None


@dataclass(frozen=True)
class Timing:
    """Median milliseconds a model and step: wall and CPU, with the setting used."""

    wall: float
    cpu: float
    threads: int
    precision: str


def head() -> tuple[list[Side], int]:
    """DP-SGD on a 2048-256-10 head, batch 512: against Opacus's hooks and ghost clipping, and plain
    SGD.
    """
    return _sides("head", (2048, ), noises=[1.0],
                  steps={"ours": 40, "hooks": 2, "ghost": 20,
                         "plain": 40}, required={"hooks": 40.0, "ghost": 1.5, "plain": 1 / 1.5})


def cnn_sweep() -> tuple[list[Side], int]:
    """Eight noise levels of the MNIST network at batch 512: against eight Opacus runs in turn."""
    noises = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    return _sides("cnn", (1, 28, 28), noises=noises,
                  steps={"ours": 3, "hooks": 3, "ghost": 3,
                         "plain": 3}, required={"hooks": 2.5, "ghost": 2.5})


def teachers() -> tuple[list[Side], int]:
    """200 PATE teachers, the MNIST network on 250 images each, batch 32: against a loop of plain
    PyTorch trainings, plain and channels-last.
    """
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.randint(256, (200 * 250, 1, 28, 28),
                                 generator=random, dtype=torch.uint8), torch.randint(
                                     10, (200 * 250, ), generator=random)
    members = [
        Member(rows, labels[rows], 32, 0.03, init_seed=number, batch_seed=number)
        for number, rows in enumerate(torch.arange(len(pool)).split(250))
    ]

    def build():
        return models.build("cnn", (1, 28, 28), 10)

    return [
        Side("this trainer",
             lambda schedule: training.fit(build, pool, members, _shuffled(schedule)).parameters,
             8),
        Side("loop of plain PyTorch",
             lambda schedule: _plain(build, pool, members, _shuffled(schedule)), 8, 2.0),
        Side(
            "loop, channels-last",
            lambda schedule: _plain(build, pool, members, _shuffled(schedule), torch.channels_last),
            8, 1.2)
    ], len(members)


def _shuffled(schedule: Schedule) -> Schedule:
    return replace(schedule, sampling="shuffle")


def _exact(schedule: Schedule) -> Schedule:
    return replace(schedule, sampling="shuffle", exact=True)


def partitions() -> tuple[list[Side], int]:
    """250 DPA heads on 2,048 features, 200 images each, batch 32, 20 epochs: against a loop of
    plain PyTorch trainings.
    """
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.randn(250 * 200, 2048, generator=random) * 0.35, torch.randint(
        10, (250 * 200, ), generator=random)
    return _parts("head", pool, labels, size=200, steps=140, few=16, required=4.0)


def partitions_cnn() -> tuple[list[Side], int]:
    """250 DPA networks of MNIST's kind, 200 images each, batch 32: against a loop of plain PyTorch
    trainings, plain and channels-last.
    """
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.randint(256, (250 * 200, 1, 28, 28),
                                 generator=random, dtype=torch.uint8), torch.randint(
                                     10, (250 * 200, ), generator=random)
    return _parts("cnn", pool, labels, size=200, steps=7, few=64, required=1.8)


def _parts(model: str, pool, labels, *, size: int, steps: int, few: int,
           required: float) -> tuple[list[Side], int]:
    members = [
        Member(rows, labels[rows], 32, 0.03, init_seed=number, batch_seed=number)
        for number, rows in enumerate(torch.arange(len(pool)).split(size))
    ]

    def build():
        return models.build(model, tuple(pool.shape[1:]), 10)

    sides = [
        Side("this trainer, exact",
             lambda schedule: training.fit(build, pool, members, _exact(schedule)).parameters,
             steps),
        Side("loop of plain PyTorch",
             lambda schedule: _plain(build, pool, members[:few], _shuffled(schedule)), steps,
             required, few)
    ]
    if pool.dim() == 4:
        sides.append(
            Side(
                "loop, channels-last", lambda schedule: _plain(
                    build, pool, members[:few], _shuffled(schedule), torch.channels_last), steps,
                None, few))
    return sides, len(members)


def smoothing() -> tuple[list[Side], int]:
    """100 RAB models, linear on 10,000 x 2,048 features, 5 epochs of batches of 256: against a loop
    of plain PyTorch; the noisy copies alone.
    """
    return _smoothed("linear", steps=200, ours=32, few=8)


def smoothing_head() -> tuple[list[Side], int]:
    """100 RAB models, two-layer heads on 10,000 x 2,048 features, 5 epochs of batches of 256:
    against a loop of plain PyTorch; the noisy copies alone.
    """
    return _smoothed("head", steps=200, ours=4, few=2)


def _smoothed(model: str, *, steps: int, ours: int, few: int) -> tuple[list[Side], int]:
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.randn(10_000, 2048, generator=random) * 0.35, torch.randint(
        10, (10_000, ), generator=random)
    members = [
        Member(torch.arange(len(pool)), labels, 256, 0.01, init_seed=number, batch_seed=number,
               input_noise=0.5, input_seed=number) for number in range(100)
    ]

    def build():
        return models.build(model, (2048,), 10)

    def loop(schedule):
        # What one would write: a noisy copy of the data, a training, the next.
        return torch.cat([
            _plain(build,
                   training.gather(pool, [one], len(pool))[0], [one], _shuffled(schedule))
            for one in members[:few]
        ])

    def copies(schedule):
        return torch.stack([training.gather(pool, [one], len(pool))[0, 0] for one in members[:few]])

    return [
        Side(
            "this trainer", lambda schedule: training.fit(build, pool, members[:ours],
                                                          _shuffled(schedule)).parameters, steps,
            None, ours),
        Side("loop of plain PyTorch", loop, steps, None, few),
        Side("the noisy copies alone", copies, steps, None, few)
    ], len(members)


BENCHMARKS = {
    "dpsgd-head": head, "dpsgd-cnn-sweep": cnn_sweep, "teachers": teachers,
    "partitions": partitions, "partitions-cnn": partitions_cnn, "smoothing": smoothing,
    "smoothing-head": smoothing_head
}


def _sides(model: str, shape: tuple, *, noises: list[float], steps: dict,
           required: dict) -> tuple[list[Side], int]:
    random = torch.Generator().manual_seed(0)
    count = 4096
    pool = torch.rand(count, *shape, generator=random) if len(shape) == 1 else torch.randint(
        256, (count, *shape), generator=random, dtype=torch.uint8)
    labels = torch.randint(10, (count,), generator=random)
    members = [
        Member(torch.arange(count), labels, 512, 0.05, noise_seed=number, clipping_norm=1.0,
               noise=noise) for number, noise in enumerate(noises)
    ]

    def build():
        return models.build(model, shape, 10)

    engines = {
        "ours": lambda schedule: training.fit(build, pool, members, schedule).parameters,
        "hooks": lambda schedule: opacus_engine.fitter(ghost=False)
        (build, pool, members, schedule).parameters,
        "ghost": lambda schedule: opacus_engine.fitter(ghost=True)
        (build, pool, members, schedule).parameters,
        "plain": lambda schedule: _plain(build, pool, members, schedule)
    }
    names = {
        "ours": "this trainer", "hooks": "Opacus, hooks", "ghost": "Opacus, ghost clipping",
        "plain": "plain SGD (torch.optim)"
    }
    return [Side(names[key], engines[key], steps[key], required.get(key))
            for key in engines], len(members)


def _plain(build, pool, members: list[Member], schedule: Schedule,
           layout=torch.contiguous_format) -> torch.Tensor:
    """Plain PyTorch, one model after the other, on the same batches: no clipping, no noise."""
    trained = []
    with training.products(schedule.precision):
        for member in members:
            module = training.initialise(build, member.init_seed).to(memory_format=layout)
            optimiser = opacus_engine.torch_optimiser(module, member.lr, schedule)
            batches = training.member_batches(member, schedule.sampling, pool.device)
            for _ in range(schedule.steps):
                chosen = next(batches)
                optimiser.zero_grad()
                inputs = training.as_input(
                    pool[member.rows[chosen]]).contiguous(memory_format=layout)
                F.cross_entropy(module(inputs), member.labels[chosen]).backward()
                optimiser.step()
            trained.append(
                torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    return torch.stack(trained)


@contextmanager
def _threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _time(side: Side, threads: int, precision: str, models: int) -> Timing:
    schedule = Schedule(side.steps, Rule("sgd", 0.9), precision=precision)
    with _threads(threads):
        wall, cpu = time.perf_counter(), time.process_time()
        side.train(schedule)
        scale = 1000 / side.steps / (side.models or models)
        return Timing((time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale,
                      threads, precision)


def _best_setting(side: Side, models: int) -> tuple[int, str]:
    """Number of threads and precision at which this side is fastest (second of two tries each)."""
    settings = [(threads, precision)
                for threads in sorted({1, cores()})
                for precision in ("float32", "fast")]
    for setting in settings:
        _time(side, *setting, models)
    return min(settings, key=lambda setting: _time(side, *setting, models).wall)


def _difference(sides: list[Side]) -> float:
    """Largest difference between our parameters and those of the first alternative after three
    steps from the same seeds (float32).
    """
    schedule = Schedule(3, Rule("sgd", 0.9))
    ours, theirs = (side.train(schedule) for side in sides[:2])
    both = min(len(ours), len(theirs))
    return float((ours[:both] - theirs[:both]).abs().max())


class Load:
    """CPU use of other processes while it is open, in CPUs (NaN where the system does not tell)."""

    def __enter__(self) -> "Load":
        self.wall, self.busy, self.own = time.perf_counter(), _system_busy(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, own = time.perf_counter() - self.wall, time.process_time() - self.own
        others = (_system_busy() - self.busy - own) / wall
        self.others = others if math.isnan(others) else max(0.0, others)


def _system_busy() -> float:
    try:
        fields = [
            int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        ]
    except (OSError, ValueError):
        return math.nan
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def measure(name: str) -> dict:
    """Run one benchmark.

    Plain values: sides with medians and settings, ratios (None if not quiet), load, difference.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark {name!r}: expected one of {', '.join(BENCHMARKS)}")
    sides, models = BENCHMARKS[name]()
    difference = _difference(sides)
    with Load() as load:
        settings = {side.name: _best_setting(side, models) for side in sides}
        rounds = [{side.name: _time(side, *settings[side.name], models)
                   for side in sides}
                  for _ in range(ROUNDS)]
    quiet = load.others <= BUSY
    ours = sides[0].name
    results = []
    for side in sides:
        pairwise = [one[side.name].wall / one[ours].wall for one in rounds]
        results.append({
            "side": side.name, "threads": settings[side.name][0],
            "precision": settings[side.name][1], "wall_ms": statistics.median(
                one[side.name].wall for one in rounds), "cpu_ms": statistics.median(
                    one[side.name].cpu for one in rounds),
            "times_ours": statistics.median(pairwise) if quiet else None, "required": side.required
        })
    return {
        "benchmark": name, "about": str(BENCHMARKS[name].__doc__).splitlines()[0], "models": models,
        "rounds": ROUNDS, "quiet": quiet, "others_cpus": load.others, "difference": difference,
        "sides": results
    }


def _show(result: dict) -> str:
    lines = [
        f"{result['benchmark']}: {result['about']}",
        f"  largest difference to {result['sides'][1]['side']} after 3 steps:"
        f" {result['difference']:.1e}; other processes used {result['others_cpus']:.2f} CPUs"
        + ("" if result["quiet"] else ": NOT QUIET, no ratios"),
    ]
    for side in result["sides"]:
        ratio = "" if side["times_ours"] is None else f"{side['times_ours']:8.2f} x ours"
        wanted = "" if side["required"] is None else f"  (at least {side['required']:.2f} wanted)"
        lines.append(
            f"  {side['side']:<26}{side['wall_ms']:9.2f} ms wall {side['cpu_ms']:9.2f} ms CPU "
            f" {side['threads']} threads, {side['precision']:<8}{ratio}{wanted}"
        )
    return "\n".join(lines)


def main(name: str | None = None, *, as_json: bool = False) -> int:
    """Run one benchmark or all, print, and return 0; ValueError for an unknown name."""
    for one in [name] if name else BENCHMARKS:
        result = measure(one)
        print(json.dumps(result) if as_json else _show(result), flush=True)
    return 0
