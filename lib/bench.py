"""Benchmarks of this trainer against the alternatives, side by side in one process.

Each side first finds its fastest number of threads and precision. The sides then alternate for
`ROUNDS` rounds, and their medians are compared. No ratio is printed if other processes were busy,
because it would mean nothing. On a GPU, times end when the device is done, and beside them stand
the kernels that a step launches and a floor: what arithmetic and memory traffic alone would take.
"""

import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import flop_registry

from lib import models, training
from lib.attacks import brewing
from lib.defences import opacus_engine
from lib.lab import Surrogate
from lib.processes import cores
from lib.training import Member, Rule, Schedule
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

ROUNDS = 5
MAX_OTHERS = 0.15  # CPUs that other processes may use on average


@dataclass(frozen=True)
class Side:
    """One contender: `train(schedule)` returns parameters [models, parameters], or what else tells
    two results apart.

    steps: per round. required: how many times as long as ours this side must take at least. models:
    how many of the benchmark's models it trains, None for all; a loop takes as long for each, so
    the first few are enough.
    """

    name: str
    train: Callable[[Schedule], torch.Tensor]
    steps: int
    required: float | None = None
    models: int | None = None


@dataclass(frozen=True)
class Speed:
    """What a GPU can do by its data sheet: floating-point operations a second in float32 and in
    TF32 (dense), and bytes a second from memory."""

    float32: float
    fast: float
    bytes: float


SPEEDS = {"H100": Speed(67e12, 495e12, 3.35e12), "H200": Speed(67e12, 495e12, 4.8e12),
          "A100": Speed(19.5e12, 156e12, 2.0e12)}
# Passes over a model's numbers in one step: weights read twice and written, sums written, read and
# divided, momentum read and written.
PASSES = 8


@dataclass(frozen=True)
class Timing:
    """Milliseconds per model and step, wall and CPU time, with the setting used."""

    wall: float
    cpu: float
    threads: int
    precision: str


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
        return training.fit(build, pool, members, _shuffled(schedule)).parameters

    def loop(schedule, layout=torch.contiguous_format):
        return _plain(build, pool, members, _shuffled(schedule), layout)

    return [Side("this trainer", ours, 8), Side("loop of plain PyTorch", loop, 8, 2.0),
            Side("loop, channels-last", lambda schedule: loop(schedule, torch.channels_last),
                 8, 1.2)], len(members)


def _shuffled(schedule: Schedule) -> Schedule:
    return replace(schedule, sampling="shuffle")


def _exact(schedule: Schedule) -> Schedule:
    return replace(schedule, sampling="shuffle", exact=True)


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
        return _plain(build, pool, members[:few], _shuffled(schedule), layout)

    sides = [Side("this trainer, exact", ours, steps),
             Side("loop of plain PyTorch", loop, steps, required, few)]
    if pool.dim() == 4:
        sides.append(Side("loop, channels-last",
                          lambda schedule: loop(schedule, torch.channels_last), steps, None, few))
    return sides, len(members)


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
        return training.fit(build, pool, members[:ours], _shuffled(schedule)).parameters

    def loop(schedule):
        # The obvious loop: make a noisy copy of the data, train on it, repeat.
        return torch.cat([_plain(build, training.gather(pool, [member], len(pool))[0], [member],
                                 _shuffled(schedule)) for member in members[:few]])

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
        schedule = replace(_shuffled(schedule), rule=rule)
        return training.fit(build, pool, members[:ours], schedule).parameters

    def loop(schedule):
        return _plain(build, ready, members[:few], replace(_shuffled(schedule), rule=rule))

    return [Side("this trainer", trainer, steps, None, ours),
            Side("loop of plain PyTorch", loop, steps, required, few)], len(members)


def adversarial_epoch(device: torch.device) -> tuple[list[Side], int]:
    """An epoch of adversarial training (linf 8/255, 7 steps; MNIST network on 1,280 32x32 colour
    images, batch 128), against plain PyTorch."""
    random, shape = torch.Generator().manual_seed(0), (3, 32, 32)
    pool = torch.randint(256, (1280, *shape), generator=random, dtype=torch.uint8).to(device)
    member = Member(torch.arange(1280), torch.randint(10, (1280,), generator=random), 128, 0.05)
    attack = Adversarial()

    def build():
        return models.build("cnn", shape, 10)

    def trainer(schedule):
        schedule = replace(_shuffled(schedule), transforms=(attack,))
        return training.fit(build, pool, [member], schedule).parameters

    def loop(schedule, layout=torch.contiguous_format):
        starts = training.generator("transforms", member.batch_seed, device)
        return _plain(build, pool, [member], _shuffled(schedule), layout,
                      partial(_perturbed, attack, starts))

    return [Side("this trainer", trainer, 10), Side("loop of plain PyTorch", loop, 10, 1.5),
            Side("loop, channels-last", lambda schedule: loop(schedule, torch.channels_last), 10)
            ], 1


def _perturbed(attack: Adversarial, starts: torch.Generator, module, x, labels):
    """Projected gradient ascent in linf, as a plain training loop has it."""
    change = attack.draw(len(x), tuple(x.shape[1:]), starts)["start"]
    for _ in range(attack.steps):
        moved = (x + change).clamp(0, 1).requires_grad_()
        slope, = torch.autograd.grad(F.cross_entropy(module(moved), labels), moved)
        change = moved.detach() + attack.step * slope.sign() - x
        change = change.clamp(-attack.radius, attack.radius)
    return (x + change).clamp(0, 1)


def brewing_poisons(device: torch.device) -> tuple[list[Side], int]:
    """8 gradient-matching attacks at once (network of two convolutions, 32x32 colour, 100 poisons
    each), against one after the other in plain PyTorch.

    A step is an iteration, and a model an attack.
    """
    return _brews(device, attacks=8, poisons=100)


def _brews(device: torch.device, *, attacks: int, poisons: int) -> tuple[list[Side], int]:
    random = torch.Generator().manual_seed(0)

    def images(count):
        return torch.randint(256, (count, 3, 32, 32), generator=random, dtype=torch.uint8)
    jobs = [brewing.Job(images(poisons), number, images(1), number) for number in range(attacks)]
    module = training.initialise(lambda: models.build("cnn-16-32", (3, 32, 32), 10), 0)
    module = module.to(device).eval()
    network = Surrogate(module, dict(module.named_parameters()),
                        lambda images: images.to(device) / 255)

    def settings(schedule):
        return brewing.Settings(16 / 255, schedule.steps, 0.025, 512, (Flip(), Crop()))

    def ours(schedule):
        with training.products(schedule.precision):
            made = brewing.brew(jobs, [network], settings(schedule), device=device)
        return torch.stack([brew.path for brew in made])

    def loop(schedule):
        with training.products(schedule.precision):
            return torch.stack([_plain_brew(job, module, settings(schedule), device)
                                for job in jobs])

    required = 5.0 if device.type == "cuda" else 1.0
    return [Side("this laboratory", ours, 3),
            Side("one by one, plain PyTorch", loop, 3, required)], attacks


def _plain_brew(job: brewing.Job, module: nn.Module, settings: brewing.Settings,
                device: torch.device) -> torch.Tensor:
    """The objective in each iteration of one attack, by autograd through a plain module, with the
    same draws."""
    base, weights = job.images.to(device).float() / 255, list(module.parameters())
    labels = torch.full((len(base),), job.label, device=device)
    target = F.cross_entropy(module(job.target.to(device).float() / 255), labels[:1])
    wanted = torch.cat([part.flatten() for part in torch.autograd.grad(target, weights)])
    change = brewing.start([job], base[None], settings.eps)[0].requires_grad_()
    streams = brewing.draws([job], settings, len(base), 0, base.shape[1:], device)
    optimizer, path = torch.optim.Adam([change], settings.lr), []
    for number in range(settings.iterations):
        optimizer.param_groups[0]["lr"] = settings.lr * brewing.factor(number, settings.iterations)
        x = (base + change)[None]
        for transform, drawn in zip(settings.transforms, next(streams)):
            x, _ = transform.apply(x, labels, drawn)
        found = torch.autograd.grad(F.cross_entropy(module(x[0]), labels), weights,
                                    create_graph=True)
        loss = 1 - _cosine(torch.cat([part.flatten() for part in found]), wanted)
        change.grad = torch.autograd.grad(loss, change)[0].sign()
        optimizer.step()
        change.data = brewing.projected(change.data, base, settings.eps)
        path.append(loss.detach())
    return torch.stack(path)


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # More accurate than F.cosine_similarity, whose norms are 2e-5 too small for 500,000 numbers.
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()


def convnet_epoch(device: torch.device) -> tuple[list[Side], int]:
    """An epoch of the small convnet on 2,560 images with crops and flips, against a torchvision
    loop."""
    random = torch.Generator().manual_seed(0)
    pool = torch.randint(256, (2560, 3, 32, 32), generator=random, dtype=torch.uint8)
    labels = torch.randint(10, (len(pool),), generator=random)
    member, required = Member(torch.arange(len(pool)), labels, 128, 0.05), 3.0
    if device.type == "cuda":
        required = 10.0

    def build():
        return models.build("convnet-small", tuple(pool.shape[1:]), 10)

    def augmented(schedule):
        return replace(_shuffled(schedule), transforms=(Crop(), Flip()))

    def ours(schedule):
        return training.fit(build, pool.to(device), [member], augmented(schedule)).parameters

    def loop(schedule, workers):
        return _torchvision(build, pool, member, augmented(schedule), workers, device)

    steps = len(pool) // 128
    return [Side("this trainer", ours, steps),
            Side("DataLoader, no workers", lambda schedule: loop(schedule, 0), steps, required),
            Side("DataLoader, 2 workers", lambda schedule: loop(schedule, 2), steps, required)], 1


BENCHMARKS = {
    "dpsgd-head": head, "dpsgd-cnn-sweep": cnn_sweep, "teachers": teachers,
    "partitions": partitions, "partitions-cnn": partitions_cnn, "smoothing": smoothing,
    "smoothing-head": smoothing_head, "retraining": retraining, "retraining-mlp": retraining_mlp,
    "convnet-epoch": convnet_epoch, "adversarial-epoch": adversarial_epoch,
    "brewing": brewing_poisons,
}


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
                  lambda schedule: _plain(build, pool, members, schedule)),
    } | recorded
    return [Side(name, train, steps[key], required.get(key))
            for key, (name, train) in engines.items()], len(members)


def _plain(build, pool, members: list[Member], schedule: Schedule,
           layout=torch.contiguous_format, change: Callable | None = None) -> torch.Tensor:
    """Plain PyTorch, one model after another, on the same batches, without clipping or noise.

    change: from a module, its inputs and their labels to the inputs to train on.
    """
    trained = []
    with training.products(schedule.precision):
        for member in members:
            module = training.initialise(build, member.init_seed).to(pool.device)
            if member.start is not None:
                start = member.start.clone().to(pool.device)
                nn.utils.vector_to_parameters(start, module.parameters())
            module.to(memory_format=layout)
            rows, labels = member.rows.to(pool.device), member.labels.to(pool.device)
            optimizer = opacus_engine.torch_optimizer(module, member.lr, schedule)
            batches = training.member_batches(member, schedule.sampling, pool.device)
            for _ in range(schedule.steps):
                chosen = next(batches)
                optimizer.zero_grad()
                inputs = training.as_input(
                    pool[rows[chosen]]).contiguous(memory_format=layout)
                if change is not None:
                    inputs = change(module, inputs, labels[chosen])
                    optimizer.zero_grad()
                F.cross_entropy(module(inputs), labels[chosen]).backward()
                optimizer.step()
            trained.append(
                torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    return torch.stack(trained)


def _torchvision(build, pool, member: Member, schedule: Schedule, workers: int,
                 device: torch.device) -> torch.Tensor:
    """Plain PyTorch with torchvision's pictures, on the same batches, crops and flips."""
    module = training.initialise(build, member.init_seed).to(device)
    optimizer = opacus_engine.torch_optimizer(module, member.lr, schedule)
    loader = DataLoader(Pictures(pool, member.labels), batch_sampler=Places(member, schedule),
                        num_workers=workers)
    with training.products(schedule.precision):
        for inputs, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(module(inputs.to(device)), labels.to(device)).backward()
            optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])[None]


class Place(NamedTuple):
    """A picture of a batch, where to crop it, and whether to mirror it."""

    index: int
    top: int
    left: int
    mirrored: bool


class Places:
    """A loader's batches: those of the member, each picture with what the transforms draw."""

    def __init__(self, member: Member, schedule: Schedule) -> None:
        self.member, self.schedule = member, schedule

    def __iter__(self) -> Iterator[list[Place]]:
        batches = training.member_batches(self.member, "shuffle", torch.device("cpu"))
        random = training.generator("transforms", self.member.batch_seed)
        crop, flip = self.schedule.transforms
        for batch in itertools.islice(batches, self.schedule.steps):
            corner = crop.draw(len(batch), (3, 32, 32), random)["corner"]
            mirrored = flip.draw(len(batch), (3, 32, 32), random)["mirrored"]
            yield [Place(*own) for own in zip(batch.tolist(), *corner.T.tolist(),
                                              mirrored.tolist(), strict=True)]


class Pictures(Dataset):
    """Images as pictures of PIL, as torchvision's data sets hold and transform them."""

    def __init__(self, pool: torch.Tensor, labels: torch.Tensor) -> None:
        self.pixels, self.labels = pool.permute(0, 2, 3, 1).numpy(), labels.tolist()

    def __getitem__(self, place: Place) -> tuple[torch.Tensor, int]:
        from PIL import Image
        from torchvision.transforms import functional

        padded = functional.pad(Image.fromarray(self.pixels[place.index]), [4])
        picture = functional.crop(padded, place.top, place.left, 32, 32)
        if place.mirrored:
            picture = functional.hflip(picture)
        return functional.to_tensor(picture), self.labels[place.index]


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
        _finish()
        wall, cpu = time.perf_counter(), time.process_time()
        side.train(schedule)
        _finish()
        scale = 1000 / side.steps / (side.models or models)
        return Timing((time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale,
                      threads, precision)


def _finish() -> None:
    """Wait until a GPU, if there is one in use, has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _best_setting(side: Side, models: int, device: torch.device) -> tuple[int, str]:
    """The threads and precision at which this side is fastest, after a warm-up of each setting."""
    settings = [(threads, precision)
                for threads in sorted({1, cores()} if device.type == "cpu" else {1})
                for precision in ("float32", "fast")]
    for setting in settings:
        _time(side, *setting, models)
    return min(settings, key=lambda setting: _time(side, *setting, models).wall)


def _difference(sides: list[Side]) -> float:
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


def measure(name: str, device: torch.device) -> dict:
    """Run one benchmark; returns plain values.

    Per side: settings, median times, and times relative to ours (None if other processes were
    busy); on a GPU the kernels of a step and the floor in ms a model and step (None if its speed is
    not known). Further: the load of other processes, and the difference between the results.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark {name!r}: expected one of {', '.join(BENCHMARKS)}")
    sides, models = BENCHMARKS[name](device)
    difference = _difference(sides)
    with Load() as load:
        settings = {side.name: _best_setting(side, models, device) for side in sides}
        rounds = [{side.name: _time(side, *settings[side.name], models) for side in sides}
                  for _ in range(ROUNDS)]
    quiet = load.others <= MAX_OTHERS
    ours = sides[0].name
    results = []
    for side in sides:
        threads, precision = settings[side.name]
        timings = [timing[side.name] for timing in rounds]
        ratios = [timing[side.name].wall / timing[ours].wall for timing in rounds]
        results.append({
            "side": side.name, "threads": threads, "precision": precision,
            "wall_ms": statistics.median(timing.wall for timing in timings),
            "cpu_ms": statistics.median(timing.cpu for timing in timings),
            "times_ours": statistics.median(ratios) if quiet else None, "required": side.required,
            "kernels": launches(side, precision) if device.type == "cuda" else None})
    return {"benchmark": name, "device": str(device), "floor_ms": floors(sides[0], models, device),
            "about": str(BENCHMARKS[name].__doc__).splitlines()[0], "models": models,
            "rounds": ROUNDS, "quiet": quiet, "others_cpus": load.others, "difference": difference,
            "sides": results}


class Operations(TorchDispatchMode):
    """Count the floating-point operations of products and convolutions inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None
                           ) -> Any:
        found = function(*args, **(kwargs or {}))
        counted = flop_registry.get(function._overloadpacket)
        if counted is not None:
            self.count += counted(*args, **(kwargs or {}), out_val=found)
        return found


def work(side: Side, models: int) -> tuple[float, float]:
    """Floating-point operations and bytes of memory traffic of a model and step of this side.

    Operations are those of its products and convolutions. Bytes are `PASSES` over the parameters;
    what the inputs add is left out, because models may share them.
    """
    counts = []
    for steps in (1, 2):  # the difference leaves out what comes before the first step
        with Operations() as found, _threads(1):
            trained = side.train(Schedule(steps, Rule("sgd", 0.9)))
        counts.append(found.count)
    many = side.models or models
    return (counts[1] - counts[0]) / many, 4.0 * PASSES * trained.shape[1]


def floors(side: Side, models: int, device: torch.device) -> dict[str, float] | None:
    """ms a model and step that no trainer can go below on this GPU, by precision; None elsewhere.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    speed = next((own for part, own in SPEEDS.items() if part in name), None)
    if speed is None:
        return None
    operations, traffic = work(side, models)
    return {precision: 1000 * max(operations / own, traffic / speed.bytes)
            for precision, own in (("float32", speed.float32), ("fast", speed.fast))}


def launches(side: Side, precision: str) -> float:
    """Kernels that a step of this side launches on a GPU, for all its models."""
    from torch.profiler import ProfilerActivity, profile

    counts = []
    for steps in (2, 12):
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            side.train(Schedule(steps, Rule("sgd", 0.9), precision=precision))
            _finish()
        counts.append(sum(event.count for event in found.key_averages()))
    return (counts[1] - counts[0]) / 10


def _show(result: dict) -> str:
    busy = "" if result["quiet"] else "; too busy to compare, so no ratios are shown"
    lines = [
        f"{result['benchmark']}: {result['about']}",
        f"  times per model and step; results differ from {result['sides'][1]['side']} by at "
        f"most {result['difference']:.1e} after 3 steps",
        f"  other processes used {result['others_cpus']:.2f} CPUs{busy}",
    ]
    for side in result["sides"]:
        ratio = "" if side["times_ours"] is None else f"{side['times_ours']:8.2f} x ours"
        wanted = "" if side["required"] is None else f"  (required: {side['required']:.2f} or more)"
        lines.append(
            f"  {side['side']:<26}{side['wall_ms']:9.2f} ms wall {side['cpu_ms']:9.2f} ms CPU "
            f" {side['threads']} threads, {side['precision']:<8}{ratio}{wanted}{_of_gpu(side)}")
    if result["floor_ms"]:
        lines.append("  floor, by the data sheet: " + ", ".join(
            f"{value:.4f} ms in {name}" for name, value in result["floor_ms"].items()))
    return "\n".join(lines)


def _of_gpu(side: dict) -> str:
    return "" if side["kernels"] is None else f"  {side['kernels']:.0f} kernels a step"


def main(name: str | None = None, *, as_json: bool = False, device: str = "cpu") -> int:
    """Run one benchmark or all, print the results, and return 0; ValueError for an unknown name."""
    for chosen in [name] if name else BENCHMARKS:
        result = measure(chosen, torch.device(device))
        print(json.dumps(result) if as_json else _show(result), flush=True)
    return 0
