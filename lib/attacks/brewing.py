"""Brewing: change images within a bound until training on them moves a target to a wanted label.

For a network with weights w, a target t with the wanted label y, and poisons x + d with their own
correct labels (Geiping et al. 2021, arXiv 2009.02276, equations 3 and 4):

    B(d) = 1 - <g_t, g_p> / (|g_t| |g_p|),  g_t = grad_w L(t, y),  g_p = grad_w mean L(x + d)

over all trainable parameters, with the network in evaluation mode. B falls by signed Adam: Adam on
the sign of its gradient in d, with a rate that is a tenth from 3/8, 5/8 and 7/8 of the iterations
on. After each step d is projected to |d| <= eps and to images in [0, 1]. Poisons pass through
differentiable transforms first, those of `lib.training.transforms`: a shift is a crop by whole
pixels, not a resampled grid. One that looks at the network, such as MaxUp, looks at the attacker's.

Several brews are computed at once where the network has a closed form and that is faster: always on
a GPU, and without convolutions on a CPU. Elsewhere there is one brew for each thread.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lib.data import Labelled
from lib.lab import Lab, Surrogate, surrogate_seed
from lib.training import Training, generator, spread
from lib.training import modules as networks_of
from lib.training.draws import TRANSFORM_NUMBERS, block_steps
from lib.training.losses import losses
from lib.training.sizes import sample_numbers
from lib.training.steps import closed_form
from lib.training.transforms import PROGRESS, Adaptive, Transform, softens
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

SURROGATE = Training("sgd", 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, epochs=20.0,
                     batch_size=128, sampling="shuffle", schedule="step",
                     transforms=(Flip(), Crop()))
DECAYS = (3 / 8, 5 / 8, 7 / 8)  # of the iterations; from there on the rate is a tenth
LAST = 1 / 8  # of the iterations, whose mean loss says how good a restart is
MOST_ON_CPU = 8  # brews computed at once
COPIES = 6  # of a step's numbers that its gradient's gradient keeps in memory


@dataclass(frozen=True)
class Settings:
    """eps: largest change of a pixel in [0, 1]. lr: of signed Adam, in the same unit. batch_size:
    poisons whose mean gradient is matched; of more, each batch is matched by itself. transforms: of
    the poisons, with new draws in every iteration."""

    eps: float
    iterations: int
    lr: float
    batch_size: int
    transforms: tuple[Transform, ...]


@dataclass(frozen=True, eq=False)
class Job:
    """One brew. images: uint8 [poisons, channels, height, width], of class `label`, which is also
    the wanted label of the target, uint8 [1, channels, height, width]."""

    images: Tensor
    label: int
    target: Tensor
    seed: int
    restart: int = 0

    def random(self, stream: str, device: torch.device) -> torch.Generator:
        """A generator of this brew alone."""
        return generator(f"brewing {stream} {self.restart}", self.seed, device)


@dataclass(frozen=True, eq=False)
class Brew:
    """poisons: uint8 [poisons, ...]. path: the objective in every iteration [iterations], before
    its step and under its transforms."""

    poisons: Tensor
    path: Tensor

    @property
    def loss(self) -> float:
        """The mean objective over the last eighth of the iterations, where steps are smallest."""
        return self.path[-max(1, int(LAST * len(self.path))):].mean().item()


def surrogates(lab: Lab, data: Labelled, model: str, settings: Training, count: int
               ) -> list[Surrogate]:
    """Networks that the attacker trains on the clean data, with seeds that no victim uses."""
    return [lab.surrogate(model, settings, data, seed=surrogate_seed(number))
            for number in range(count)]


def brew(jobs: Sequence[Job], networks: Sequence[Surrogate], settings: Settings, *,
         device: torch.device) -> list[Brew]:
    """Brew all jobs, which have equally many poisons, against all networks."""
    groups = _groups(jobs, networks, settings, device)
    made = spread(lambda group: _brewed(group, networks, settings, device), groups, device=device)
    return list(itertools.chain.from_iterable(made))


def _groups(jobs: Sequence[Job], networks: Sequence[Surrogate], settings: Settings,
            device: torch.device) -> list[Sequence[Job]]:
    """The jobs that are computed at once."""
    width = 1
    if all(_stacks(network, jobs[0].images, device) for network in networks):
        width = _width(jobs[0].images[:settings.batch_size], networks, device, len(jobs))
    return [jobs[start:start + width] for start in range(0, len(jobs), width)]


def _stacks(network: Surrogate, images: Tensor, device: torch.device) -> bool:
    """Whether several brews against this network are faster together."""
    inputs = network.encode(images[:1].to(device).float())
    convolutions = any(isinstance(layer, nn.Conv2d) for layer in network.module.modules())
    together = device.type == "cuda" or not convolutions
    return together and closed_form.supports(network.module, inputs.dim() - 1)


def _width(images: Tensor, networks: Sequence[Surrogate], device: torch.device, jobs: int) -> int:
    """Number of brews to compute at once: on a CPU some for each thread, on a GPU what fits."""
    if device.type == "cpu":
        return min(MOST_ON_CPU, -(-jobs // torch.get_num_threads()))
    shapes = [tuple(network.encode(images[:1].to(device).float()).shape[1:])
              for network in networks]
    numbers = sum(sample_numbers(network.module, shape)
                  for network, shape in zip(networks, shapes))
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, free // 2 // (4 * COPIES * numbers * len(images)))


# ---------------------------------------------------------------- one group

def _brewed(jobs: Sequence[Job], networks: Sequence[Surrogate], settings: Settings,
            device: torch.device) -> list[Brew]:
    """Brew a group."""
    base = torch.stack([job.images for job in jobs]).to(device).float() / 255
    objectives = [Matching(network, jobs, device) for network in networks]
    labels = torch.tensor([job.label for job in jobs], device=device)
    batches = torch.arange(base.shape[1], device=device).split(settings.batch_size)
    streams = [draws(jobs, settings, len(places), place, base.shape[2:], device)
               for place, places in enumerate(batches)]
    change = nn.Parameter(start(jobs, base, settings.eps))
    optimizer, paths = torch.optim.Adam([change], settings.lr), []
    for number in range(settings.iterations):
        optimizer.param_groups[0]["lr"] = settings.lr * factor(number, settings.iterations)
        change.grad, loss = torch.empty_like(change), torch.zeros(len(jobs), device=device)
        for places, drawn in zip(batches, streams):
            found, slope = _slope(objectives, base[:, places] + change.detach()[:, places],
                                  labels, settings.transforms, next(drawn))
            change.grad[:, places] = slope.sign()
            loss += found / len(batches)
        optimizer.step()
        with torch.no_grad():
            change.copy_(projected(change, base, settings.eps))
        paths.append(loss)
    poisons = as_bytes(base, change.detach(), settings.eps).cpu()
    return [Brew(*each) for each in zip(poisons, torch.stack(paths, 1).cpu())]


def factor(number: int, iterations: int) -> float:
    """The factor on the rate in iteration `number` from 0."""
    return 0.1 ** sum(number >= int(share * iterations) for share in DECAYS)


def projected(change: Tensor, base: Tensor, eps: float) -> Tensor:
    """The nearest change within eps that leaves `base` in [0, 1]."""
    return (base + change.clamp(-eps, eps)).clamp(0, 1) - base


def as_bytes(base: Tensor, change: Tensor, eps: float) -> Tensor:
    """The changed images as uint8; rounding does not leave the bound."""
    most = int(255 * eps + 1e-6)
    return (255 * base + (255 * change).round().clamp(-most, most)).round().to(torch.uint8)


def start(jobs: Sequence[Job], base: Tensor, eps: float) -> Tensor:
    """Normal changes of deviation eps, cut at eps."""
    drawn = [torch.randn(images.shape, generator=job.random("start", base.device),
                         device=base.device) for job, images in zip(jobs, base)]
    return projected(eps * torch.stack(drawn), base, eps)


def draws(jobs: Sequence[Job], settings: Settings, count: int, batch: int,
           shape: tuple[int, ...], device: torch.device) -> Iterator[list[dict[str, Tensor]]]:
    """The draws of each transform [jobs, count, ...] for one batch, in every iteration.

    They are drawn in blocks whose length depends on nothing but the batch, because on a GPU a call
    costs more than what it computes.
    """
    randoms = [job.random(f"transforms {batch}", device) for job in jobs]
    probe, chosen = generator("probe", 0, device), settings.transforms
    numbers = sum(values.numel() for each in chosen
                  for values in each.draw(1, shape, probe).values())
    steps = block_steps(TRANSFORM_NUMBERS, numbers * count)
    while True:
        block = [_block(transform, steps, count, shape, randoms) for transform in chosen]
        for step in range(steps):
            yield [{name: values[:, step] for name, values in own.items()} for own in block]


def _block(transform: Transform, steps: int, count: int, shape: tuple[int, ...],
           randoms: Sequence[torch.Generator]) -> dict[str, Tensor]:
    """One transform's draws [jobs, steps, count, ...]."""
    found = []
    for random in randoms:
        if transform.mixes == "batch":  # draws may name places in a batch: one batch at a time
            each = [transform.draw(count, shape, random) for _ in range(steps)]
            found.append({name: torch.stack([own[name] for own in each]) for name in each[0]})
        else:
            drawn = transform.draw(steps * count, shape, random)
            found.append({name: values.unflatten(0, (steps, count))
                          for name, values in drawn.items()})
    return {name: torch.stack([own[name] for own in found]) for name in found[0]}


def _slope(objectives: "Sequence[Matching]", x: Tensor, labels: Tensor,
           transforms: Sequence[Transform], drawn: Sequence[dict[str, Tensor]]
           ) -> tuple[Tensor, Tensor]:
    """The objective [jobs], mean over the networks, and its gradient in images x [jobs, batch, ...]
    in [0, 1], of classes `labels` [jobs]."""
    x = x.requires_grad_()
    shown, targets = x, labels[:, None].expand(x.shape[:2])
    if softens(transforms):
        targets = F.one_hot(targets, objectives[0].classes).float()
    for transform, own in zip(transforms, drawn):
        if isinstance(transform, Adaptive):
            own = _chosen(transform, objectives, shown.detach(), targets, own)
        shown, targets = transform.apply(shown, targets, own)
    loss = torch.stack([objective(shown, targets) for objective in objectives]).mean(0)
    return loss.detach(), torch.autograd.grad(loss.sum(), x)[0]


def _chosen(transform: Adaptive, objectives: "Sequence[Matching]", x: Tensor, labels: Tensor,
            drawn: dict[str, Tensor]) -> dict[str, Tensor]:
    """The draws of a transform that looks at the network: here the attacker's, at the end of their
    training; of several networks the mean loss decides."""
    return transform.choose(
        x, labels, drawn | {PROGRESS: torch.ones(x.shape[:2], device=x.device)},
        lambda images, wanted: torch.stack([each.losses(images, wanted)
                                            for each in objectives]).mean(0))


class Matching:
    """1 - cosine between the targets' gradients and those of batches, for a group of brews.

    Each brew has a copy of the network's weights if the group is computed at once, so that one
    backward pass gives the gradients of all; otherwise the group is a single brew.
    """

    def __init__(self, network: Surrogate, jobs: Sequence[Job], device: torch.device) -> None:
        self.module = networks_of.duplicate(network.module).eval()  # threads use the module too
        self.encode, self.stacked = network.encode, len(jobs) > 1
        trained = [name for name, weight in self.module.named_parameters() if weight.requires_grad]
        values = {name: value.detach() for name, value in network.parameters.items()}
        self.fixed = {name: value for name, value in values.items() if name not in trained}
        self.weights = {name: values[name][None].repeat(len(jobs), *[1] * values[name].dim())
                        .requires_grad_() for name in trained}
        dtype = next(iter(self.weights.values())).dtype
        targets = torch.stack([job.target for job in jobs]).to(device, dtype) / 255
        wanted = torch.tensor([[job.label] for job in jobs], device=device)
        with torch.no_grad():
            self.classes = self._logits(targets).shape[-1]
        found = self.gradients(targets, wanted, differentiable=False)
        norms = _norms(found)
        self.wanted = [_scaled(part, 1 / norms.clamp_min(1e-30)) for part in found]

    def _logits(self, x: Tensor) -> Tensor:
        """Logits [jobs, batch, classes] of images [jobs, batch, ...] in [0, 1]."""
        inputs = self.encode(255 * x.flatten(0, 1))
        if self.stacked and isinstance(self.module, nn.Sequential):
            return closed_form.forward(self.module, self.weights, inputs.unflatten(0, x.shape[:2]),
                                       batched=x.device.type == "cuda")
        if inputs.dim() == 4 and x.device.type == "cpu":
            inputs = inputs.contiguous(memory_format=networks_of.image_layout(self.module))
        own = {name: value[0] for name, value in self.weights.items()}
        return functional_call(self.module, own | self.fixed, inputs)[None]

    def losses(self, x: Tensor, labels: Tensor) -> Tensor:
        """Every image's loss [jobs, batch]."""
        logits = self._logits(x)
        return losses(logits.flatten(0, 1), labels.flatten(0, 1), "targets").view(x.shape[:2])

    def gradients(self, x: Tensor, labels: Tensor, *, differentiable: bool) -> list[Tensor]:
        """Each brew's gradient of the mean loss in its weights, [jobs, ...] for each parameter."""
        total = self.losses(x, labels).sum() / x.shape[1]
        return list(torch.autograd.grad(total, list(self.weights.values()),
                                        create_graph=differentiable))

    def __call__(self, x: Tensor, labels: Tensor) -> Tensor:
        """The objective [jobs] for images [jobs, batch, ...] in [0, 1] with their labels."""
        found = self.gradients(x, labels, differentiable=True)
        along = torch.stack([(part * wanted).flatten(1).sum(1)
                             for part, wanted in zip(found, self.wanted)]).sum(0)
        return 1 - along / _norms(found)


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """Norms [jobs] over all parameters."""
    squares = torch.stack([part.flatten(1).square().sum(1) for part in gradients]).sum(0)
    return squares.clamp_min(1e-30).sqrt()


def _scaled(part: Tensor, factors: Tensor) -> Tensor:
    return (part * factors.view(-1, *[1] * (part.dim() - 1))).detach()
