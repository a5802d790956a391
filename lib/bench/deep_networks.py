"""Benchmarks of deep networks: an epoch with augmentation, and one of adversarial training."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from lib import models, training
from lib.bench.contender import Side, plain, shuffled
from lib.defences import opacus_engine
from lib.training import Member, Schedule
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip


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
        return replace(shuffled(schedule), transforms=(Crop(), Flip()))

    def ours(schedule):
        return training.fit(build, pool.to(device), [member], augmented(schedule)).parameters

    def loop(schedule, workers):
        return _torchvision(build, pool, member, augmented(schedule), workers, device)

    steps = len(pool) // 128
    return [Side("this trainer", ours, steps),
            Side("DataLoader, no workers", lambda schedule: loop(schedule, 0), steps, required),
            Side("DataLoader, 2 workers", lambda schedule: loop(schedule, 2), steps, required)], 1


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
        schedule = replace(shuffled(schedule), transforms=(attack,))
        return training.fit(build, pool, [member], schedule).parameters

    def loop(schedule, layout=torch.contiguous_format):
        starts = training.generator("transforms", member.batch_seed, device)
        return plain(build, pool, [member], shuffled(schedule), layout,
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
