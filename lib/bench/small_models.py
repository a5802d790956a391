"""Benchmarks of many small models trained at once."""

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from lib import models, training
from lib.bench.contender import Side, plain, shuffled
from lib.defences import opacus_engine
from lib.training import Member, Rule, Schedule


def head(device: torch.device) -> tuple[list[Side], int]:
    """DP-SGD on a 2048-256-10 head, batch 512, against Opacus (hooks, ghost) and plain SGD."""
    return _sides("head", (2048,), device, noises=[1.0],
                  steps={"ours": 40, "hooks": 2, "ghost": 20, "plain": 40},
                  required={"hooks": 40.0, "ghost": 1.5, "plain": 1 / 1.5})


def cnn_sweep(device: torch.device) -> tuple[list[Side], int]:
    """Eight noise levels of the MNIST network at batch 512, against eight Opacus runs in turn."""
    noises = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    return _sides("cnn", (1, 28, 28), device, noises=noises,
                  steps={"ours": 3, "hooks": 3, "ghost": 3, "plain": 3},
                  required={"hooks": 2.5, "ghost": 2.5})


def _sides(model: str, shape: tuple, device: torch.device, *, noises: list[float], steps: dict,
           required: dict) -> tuple[list[Side], int]:
    random = torch.Generator().manual_seed(0)
    count = 4096
    pool = torch.rand(count, *shape, generator=random) if len(shape) == 1 else torch.randint(
        256, (count, *shape), generator=random, dtype=torch.uint8)
    pool = pool.to(device)
    labels = torch.randint(10, (count,), generator=random)
    members = [Member(torch.arange(count), labels, 512, 0.05, noise_seed=number, clipping_norm=1.0,
                      noise=noise) for number, noise in enumerate(noises)]

    def build():
        return models.build(model, shape, 10)

    def with_fitter(fit):
        return lambda schedule: fit(build, pool, members, schedule).parameters

    recorded = {"recorded": ("this trainer, recorded", with_fitter(
        partial(training.fit, record=True)))} if device.type == "cuda" else {}
    steps |= dict.fromkeys(recorded, steps["ours"])
    engines = {
        "ours": ("this trainer", with_fitter(training.fit)),
        "hooks": ("Opacus, hooks", with_fitter(opacus_engine.fitter(ghost=False))),
        "ghost": ("Opacus, ghost clipping", with_fitter(opacus_engine.fitter(ghost=True))),
        "plain": ("plain SGD (torch.optim)",
                  lambda schedule: plain(build, pool, members, schedule)),
    } | recorded
    return [Side(name, train, steps[key], required.get(key))
            for key, (name, train) in engines.items()], len(members)


def teachers(device: torch.device) -> tuple[list[Side], int]:
    """200 PATE teachers (MNIST network, 250 images each, batch 32), against plain PyTorch."""
    random = torch.Generator().manual_seed(0)
    pool = torch.randint(256, (200 * 250, 1, 28, 28), generator=random, dtype=torch.uint8)
    pool, labels = pool.to(device), torch.randint(10, (200 * 250,), generator=random)
    members = [Member(rows, labels[rows], 32, 0.03, init_seed=number, batch_seed=number)
               for number, rows in enumerate(torch.arange(len(pool)).split(250))]

    def build():
        return models.build("cnn", (1, 28, 28), 10)

    def ours(schedule):
        return training.fit(build, pool, members, shuffled(schedule)).parameters

    def loop(schedule, layout=torch.contiguous_format):
        return plain(build, pool, members, shuffled(schedule), layout)

    return [Side("this trainer", ours, 8), Side("loop of plain PyTorch", loop, 8, 2.0),
            Side("loop, channels-last", lambda schedule: loop(schedule, torch.channels_last),
                 8, 1.2)], len(members)


def partitions(device: torch.device) -> tuple[list[Side], int]:
    """250 DPA heads (2,048 features, 200 images each, batch 32), against plain PyTorch."""
    random = torch.Generator().manual_seed(0)
    pool = torch.randn(250 * 200, 2048, generator=random) * 0.35
    labels = torch.randint(10, (250 * 200,), generator=random)
    return _parts("head", pool.to(device), labels, size=200, steps=140, few=16, required=4.0)


def partitions_cnn(device: torch.device) -> tuple[list[Side], int]:
    """250 DPA models (MNIST network, 200 images each, batch 32), against plain PyTorch."""
    random = torch.Generator().manual_seed(0)
    pool = torch.randint(256, (250 * 200, 1, 28, 28), generator=random, dtype=torch.uint8)
    labels = torch.randint(10, (250 * 200,), generator=random)
    return _parts("cnn", pool.to(device), labels, size=200, steps=7, few=64, required=1.8)


def _parts(model: str, pool, labels, *, size: int, steps: int, few: int,
           required: float) -> tuple[list[Side], int]:
    members = [Member(rows, labels[rows], 32, 0.03, init_seed=number, batch_seed=number)
               for number, rows in enumerate(torch.arange(len(pool)).split(size))]

    def build():
        return models.build(model, tuple(pool.shape[1:]), 10)

    def ours(schedule):
        return training.fit(build, pool, members, _exact(schedule)).parameters

    def loop(schedule, layout=torch.contiguous_format):
        return plain(build, pool, members[:few], shuffled(schedule), layout)

    sides = [Side("this trainer, exact", ours, steps),
             Side("loop of plain PyTorch", loop, steps, required, few)]
    if pool.dim() == 4:
        sides.append(Side("loop, channels-last",
                          lambda schedule: loop(schedule, torch.channels_last), steps, None, few))
    return sides, len(members)


def _exact(schedule: Schedule) -> Schedule:
    return replace(schedule, sampling="shuffle", exact=True)


def smoothing(device: torch.device) -> tuple[list[Side], int]:
    """100 linear RAB models (10,000 x 2,048 features, batch 256), against plain PyTorch."""
    return _smoothed("linear", device, steps=200, ours=32, few=8)


def smoothing_head(device: torch.device) -> tuple[list[Side], int]:
    """100 two-layer RAB heads (10,000 x 2,048 features, batch 256), against plain PyTorch."""
    return _smoothed("head", device, steps=200, ours=4, few=2)


def _smoothed(model: str, device: torch.device, *, steps: int, ours: int, few: int
              ) -> tuple[list[Side], int]:
    random = torch.Generator().manual_seed(0)
    pool = (torch.randn(10_000, 2048, generator=random) * 0.35).to(device)
    labels = torch.randint(10, (10_000,), generator=random)
    members = [Member(torch.arange(len(pool)), labels, 256, 0.01, init_seed=number,
                      batch_seed=number, input_noise=0.5, input_seed=number)
               for number in range(100)]

    def build():
        return models.build(model, (2048,), 10)

    def trainer(schedule):
        return training.fit(build, pool, members[:ours], shuffled(schedule)).parameters

    def loop(schedule):
        # The obvious loop: make a noisy copy of the data, train on it, repeat.
        return torch.cat([plain(build, training.gather(pool, [member], len(pool))[0], [member],
                                 shuffled(schedule)) for member in members[:few]])

    def copies(schedule):
        return torch.stack([training.gather(pool, [member], len(pool))[0, 0]
                            for member in members[:few]])

    return [Side("this trainer", trainer, steps, None, ours),
            Side("loop of plain PyTorch", loop, steps, None, few),
            Side("the noisy copies alone", copies, steps, None, few)], len(members)


def retraining(device: torch.device) -> tuple[list[Side], int]:
    """100 one-shot re-trainings of softmax regression (2,505 + 1 records), against plain PyTorch.

    446 bits, 30 classes, batch 100, Adam, from common start weights: the shape of Location-30.
    """
    def build():
        return models.build("linear", (446,), 30)
    pool = 255 * torch.randint(2, (2505 + 100, 446), generator=torch.Generator().manual_seed(0),
                               dtype=torch.uint8)
    return _retrained(build, pool.to(device), 30, Rule("adam"), steps=100, ours=100, few=8,
                      required=5.0)


def retraining_mlp(device: torch.device) -> tuple[list[Side], int]:
    """100 one-shot re-trainings of a 784-256-256-10 network, batch 100, against plain PyTorch."""
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256),
                             nn.ReLU(), nn.Linear(256, 10))
    pool = torch.randint(256, (2505 + 100, 1, 28, 28), generator=torch.Generator().manual_seed(0),
                         dtype=torch.uint8)
    return _retrained(build, pool.to(device), 10, Rule("sgd"), steps=20, ours=32, few=8,
                      required=1.0)


def _retrained(build, pool, classes: int, rule: Rule, *, steps: int, ours: int, few: int,
               required: float) -> tuple[list[Side], int]:
    """Trainings on the first 2,505 records and one more each, on the same batches."""
    labels = torch.randint(classes, (len(pool),), generator=torch.Generator().manual_seed(1))
    start = training.flatten(training.initialise(build, 0))
    rows = [torch.cat([torch.arange(2505), torch.tensor([last])])
            for last in range(2505, len(pool))]
    members = [Member(own, labels[own], 100, 0.001, start=start) for own in rows]
    ready = training.as_input(pool)  # the loop converts no images

    def trainer(schedule):
        schedule = replace(shuffled(schedule), rule=rule)
        return training.fit(build, pool, members[:ours], schedule).parameters

    def loop(schedule):
        return plain(build, ready, members[:few], replace(shuffled(schedule), rule=rule))

    return [Side("this trainer", trainer, steps, None, ours),
            Side("loop of plain PyTorch", loop, steps, required, few)], len(members)
