"""A Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028), and encodings.

The critic D and the generator G are trained in turn, five steps of D for one of G, to minimise

    D:  mean D(G(z)) - mean D(x) + 10 mean (|grad D(m)| - 1)^2,  m = x + u (G(z) - x), u ~ U(0, 1)
    G:  -mean D(G(z)),  z ~ N(0, I) in 128 dimensions.

Networks and settings are those of the code that Turner's thesis uses (section 7.4): three 5x5
layers of stride 2, batch normalisation in the generator alone, Adam with rate 1e-4 and betas 0.5
and 0.9, batches of 64; their widths are multiples of `dim`, 128 in the thesis. Images of any size
work (32x32, 28x28).

The critic is piecewise linear, so the penalty's gradient needs no second backward pass: with
v = d penalty / d grad D(m) held constant, it is that of <v, grad D(m)>, the derivative of D along
v. One forward pass of v through the layers, with the masks of m, gives all it needs. A critic step
takes four fifths of autograd's time (see `critic_gradients`).
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.training import generator as stream
from lib.training import initialise
from lib.training.steps.alone import bfloat16

LATENT, BATCH, CRITIC_STEPS = 128, 64, 5
PENALTY, SLOPE = 10.0, 0.2
BETAS = 0.5, 0.9
POINTS = 100  # of a curve
CURVES = ("critic_loss", "generator_loss", "gap", "gradient_norm")

conv_backward: Callable[..., tuple[Tensor, Tensor, Tensor]] = torch.ops.aten.convolution_backward
masked: Callable[..., Tensor] = torch.ops.aten.leaky_relu_backward


# ---------------------------------------------------------------- networks

def sides(side: int) -> tuple[int, ...]:
    """Sides of the images between the layers, smallest first: each is half of the next, rounded up.
    """
    found = [side]
    for _ in range(3):
        found.append(-(-found[-1] // 2))
    return tuple(reversed(found))


def generator(shape: tuple[int, ...], dim: int) -> nn.Sequential:
    """From codes [n, 128] to images of `shape` in [-1, 1]."""
    heights, columns = sides(shape[1]), sides(shape[2])
    widths = (4 * dim, 2 * dim, dim, shape[0])
    smallest = (widths[0], heights[0], columns[0])
    layers: list[nn.Module] = [nn.Linear(LATENT, torch.Size(smallest).numel()),
                               nn.Unflatten(1, smallest)]
    for place, (before, after) in enumerate(itertools.pairwise(widths)):
        more = [length[place + 1] - 2 * length[place] + 1 for length in (heights, columns)]
        layers += [nn.BatchNorm2d(before), nn.ReLU(),
                   nn.ConvTranspose2d(before, after, 5, stride=2, padding=2,
                                      output_padding=(more[0], more[1]))]
    return nn.Sequential(*layers, nn.Tanh())


def critic(shape: tuple[int, ...], dim: int) -> nn.Sequential:
    """From images in [-1, 1] to scores [n, 1, 1, 1]; convolutions with leaky ReLUs between them."""
    widths = (shape[0], dim, 2 * dim, 4 * dim)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.LeakyReLU(SLOPE)]
    last = nn.Conv2d(widths[-1], 1, (sides(shape[1])[0], sides(shape[2])[0]))
    return nn.Sequential(*layers, last)


def scaled(images: Tensor) -> Tensor:
    """uint8 or float images, 0 to 255, in [-1, 1] and channels-last."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- training

@dataclass(frozen=True, eq=False)
class CriticStep:
    """gradients: of the critic's loss, in the order of its parameters. gap: mean score of real
    images minus mean score of generated ones. norm: mean |grad D(m)|. loss: the critic's."""

    gradients: list[Tensor]
    gap: Tensor
    norm: Tensor
    loss: Tensor


@torch.no_grad()
def critic_gradients(layers: list[nn.Conv2d], fake: Tensor, real: Tensor, shares: Tensor, *,
                     dtype: torch.dtype = torch.float32) -> CriticStep:
    """The gradients of the critic's loss on equally many generated and real images [n, ...].

    shares: u [n, 1, 1, 1]. dtype: of the products. bfloat16 on one core with AVX-512: 37 ms at
    `dim` 32 and n = 64 for images of 3x32x32, where autograd takes 45 ms (float32: 55, 68).
    """
    n, weights = len(real), [layer.weight.to(dtype) for layer in layers]
    x = torch.cat([fake, real, real + shares * (fake - real)]).to(dtype)
    inputs, outputs = [], []  # of the layers, before the ReLUs
    for layer, weight in zip(layers, weights):
        inputs.append(F.leaky_relu(x, SLOPE) if outputs else x)
        x = _convolved(layer, weight, inputs[-1], layer.bias)
        outputs.append(x)
    scores = x.float().flatten()
    errors = _errors(layers, weights, inputs, outputs)
    slope = conv_backward(errors[0][2 * n:], inputs[0][2 * n:], weights[0], None,
                          *_settings(layers[0]), [True, False, False])[0].float()
    norms = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    along = (2 * PENALTY / n * (norms - 1) / norms.clamp_min(1e-12) * slope).to(dtype)
    found = []
    for layer, weight, before, error, after in zip(layers, weights, inputs, errors, outputs):
        error[:n].div_(n)
        error[n:2 * n].div_(-n)
        before[2 * n:] = along
        own = conv_backward(error, before, weight, None, *_settings(layer), [False, True, False])
        found += [own[1].float(), error[:2 * n].sum((0, 2, 3), dtype=torch.float32)]
        along = masked(_convolved(layer, weight, along, None), after[2 * n:], SLOPE, False)
    gap = scores[n:2 * n].mean() - scores[:n].mean()
    return CriticStep(found, gap, norms.mean(), PENALTY * (norms - 1).square().mean() - gap)


def _errors(layers: list[nn.Conv2d], weights: list[Tensor], inputs: list[Tensor],
            outputs: list[Tensor]) -> list[Tensor]:
    """Gradients of each image's score in the layers' outputs."""
    errors = [torch.ones_like(outputs[-1])]
    for place in range(len(layers) - 1, 0, -1):
        error = conv_backward(errors[0], inputs[place], weights[place], None,
                              *_settings(layers[place]), [True, False, False])[0]
        errors.insert(0, masked(error, outputs[place - 1], SLOPE, False))
    return errors


def _convolved(layer: nn.Conv2d, weight: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, None if bias is None else bias.to(x.dtype), layer.stride,
                    layer.padding)


def _settings(layer: nn.Conv2d) -> tuple[object, ...]:
    """Stride, padding, dilation, whether transposed, output padding, groups."""
    return layer.stride, layer.padding, layer.dilation, False, (0, 0), 1


def train(images: Tensor, *, dim: int, iterations: int, lr: float, seed: int
          ) -> dict[str, Tensor]:
    """A generator of images like these uint8 [n, ...], and how its training went.

    Returns its parameters and buffers under "generator.NAME", and mean values over up to 100 equal
    parts of the training [points] under the names of `CURVES`: the critic's loss, the generator's,
    mean D(x) - mean D(G(z)), and the mean norm that the penalty draws to 1.
    """
    device, shape = images.device, tuple(images.shape[1:])
    make = initialise(lambda: generator(shape, dim), seed).to(device)
    judge = initialise(lambda: critic(shape, dim), seed).to(device)
    for module in (make, judge):
        module.to(memory_format=torch.channels_last)
    dtype = torch.bfloat16 if bfloat16(device) else torch.float32
    random = stream("wgan", seed, device)
    batches, seen = _batches(images, random), torch.empty(iterations, 4, device=device)
    moves = [torch.optim.Adam(module.parameters(), lr, betas=BETAS) for module in (make, judge)]
    for number in range(iterations):
        for _ in range(CRITIC_STEPS):
            step = _judge(make, judge, next(batches), random, dtype)
            moves[1].step()
        loss = _make(make, judge, random, device, dtype)
        moves[0].step()
        seen[number] = torch.stack([step.loss, loss, step.gap, step.norm])
    kept = {f"generator.{name}": value for name, value in make.state_dict().items()}
    return kept | dict(zip(CURVES, _points(seen).T.contiguous()))


def _batches(images: Tensor, random: torch.Generator) -> Iterator[Tensor]:
    """Batches of images in [-1, 1], in a new order each epoch; fewer images than a batch repeat."""
    n, device = len(images), images.device
    while True:
        repeats = -(-BATCH // n)
        order = torch.cat([torch.randperm(n, generator=random, device=device)
                           for _ in range(repeats)])
        for places in order[:len(order) // BATCH * BATCH].split(BATCH):
            yield scaled(images[places])


def _judge(make: nn.Module, judge: nn.Module, real: Tensor, random: torch.Generator,
           dtype: torch.dtype) -> CriticStep:
    """Give the critic's parameters the gradients of its loss."""
    with torch.no_grad(), _rounded(real.device, dtype):
        fake = make(_codes(len(real), random)).float()
    shares = torch.rand(len(real), 1, 1, 1, generator=random, device=real.device)
    layers = [layer for layer in judge.modules() if isinstance(layer, nn.Conv2d)]
    step = critic_gradients(layers, fake, real, shares, dtype=dtype)
    for parameter, gradient in zip(judge.parameters(), step.gradients, strict=True):
        parameter.grad = gradient
    return step


def _make(make: nn.Module, judge: nn.Module, random: torch.Generator, device: torch.device,
          dtype: torch.dtype) -> Tensor:
    """Give the generator's parameters the gradients of its loss; returns the loss."""
    with _rounded(device, dtype):
        loss = -judge(make(_codes(BATCH, random))).float().mean()
    parameters = list(make.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
        parameter.grad = gradient
    return loss.detach()


def _rounded(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def _codes(count: int, random: torch.Generator) -> Tensor:
    return torch.randn(count, LATENT, generator=random, device=random.device)


def _points(values: Tensor) -> Tensor:
    """Means over up to `POINTS` parts of the values [n, curves]."""
    return torch.stack([part.mean(0) for part in values.tensor_split(min(POINTS, len(values)))])


# ---------------------------------------------------------------- encodings

def load(kept: Mapping[str, Tensor], shape: tuple[int, ...], dim: int, device: torch.device
         ) -> nn.Sequential:
    """The generator that `train` returned, in evaluation mode: an image depends on its code alone.
    """
    found = generator(shape, dim).to(device).eval()
    found.load_state_dict({name.partition(".")[2]: value for name, value in kept.items()
                           if name.startswith("generator.")})
    return found.requires_grad_(False).to(memory_format=torch.channels_last)


def encode(network: nn.Module, images: Tensor, *, steps: int, step: float,
           random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Codes [n, 128] of uint8 images, and each image's distance before every step and at the end
    [n, steps + 1]: the l2 norm |x - G(z)| for pixels in [0, 1].

    Descends the gradient of that norm, for pixels in [-1, 1], from a random code, by `steps` steps
    of rate `step` (Ilyas et al. 2017). An image's code is the closest of all its steps'.
    """
    wanted, path = scaled(images), []
    codes = _codes(len(images), random)
    best, nearest = codes, torch.full((len(images),), torch.inf, device=images.device)
    for number in range(steps + 1):
        codes.requires_grad_()
        away = (network(codes) - wanted).flatten(1).norm(dim=1)
        closer = away.detach() < nearest
        best = torch.where(closer[:, None], codes.detach(), best)
        nearest = torch.minimum(nearest, away.detach())
        path.append(away.detach() / 2)
        if number < steps:
            slope, = torch.autograd.grad(away.sum(), codes)
            codes = codes.detach() - step * slope
    return best, torch.stack(path, 1)


@torch.no_grad()
def decode(network: nn.Module, codes: Tensor) -> Tensor:
    """uint8 images of codes [n, 128]."""
    return ((network(codes) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
