"""Benchmark of brewing poisons by gradient matching."""

import torch
import torch.nn.functional as F
from torch import nn

from lib import models, training
from lib.attacks import brewing
from lib.bench.contender import Side
from lib.lab import Surrogate
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip


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
