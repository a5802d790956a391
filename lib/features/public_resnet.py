"""Features of a small ResNet trained on the public images, for use without pretrained weights.

Four basic blocks (He et al. 2016) of 32 to 256 channels with batch normalisation, and stride 2 from
the second on. The 512 features are the mean and the maximum of each of the last map's 256 channels.
Trained with AdamW, a triangular schedule, random crops, and flips unless the images are digits.
Everything is seeded.

This module has its own short training loop, because it trains one model with running statistics and
augmentation on public data: no privacy, no poison. Meant for a GPU; on one CPU core an epoch of
10,000 32x32 colour images takes about half a minute.
"""

import torch
from torch import nn
from torch.nn import functional

EPOCHS = 30
WIDTHS = (32, 64, 128, 256)
PAD = 4  # pixels of padding for the random crops
BATCH = 128
# AdamW, because SGD at 0.02 to 0.1 learned far less in a few hundred steps.
PEAK, DECAY, SMOOTHING = 0.004, 0.05, 0.1


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        same = inside == outside and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


class Trunk(nn.Module):
    """Map uint8 images [n, channels, height, width] to features [n, 512].

    Normalises with the mean and the deviation of the public pixels.
    """

    pixel_mean: torch.Tensor
    pixel_deviation: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("pixel_deviation", torch.ones(1, channels, 1, 1))
        self.stem = nn.Conv2d(channels, WIDTHS[0], 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(WIDTHS[0])
        inside = (WIDTHS[0], *WIDTHS[:-1])
        self.blocks = nn.Sequential(*(Block(a, b, 1 if i == 0 else 2)
                                      for i, (a, b) in enumerate(zip(inside, WIDTHS))))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images.float() - self.pixel_mean) / self.pixel_deviation
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.blocks(functional.relu(self.stem_norm(self.stem(x))))
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def fit(images: torch.Tensor, labels: torch.Tensor, *, classes: int, epochs: int, flips: bool,
        seed: int = 0) -> dict[str, torch.Tensor]:
    """Train on public images uint8 [n, channels, height, width] and labels int64 [n], on their
    device.

    Returns the trunk's tensors; the classifier is dropped. The result depends on the device in the
    last bits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk, head = Trunk(images.shape[1]), nn.Linear(2 * WIDTHS[-1], classes)
    pixels = images.float()
    trunk.pixel_mean.copy_(pixels.mean((0, 2, 3), keepdim=True))
    trunk.pixel_deviation.copy_(pixels.std((0, 2, 3), keepdim=True).clamp_min(1.0))
    model = nn.Sequential(trunk, head).to(images.device).to(memory_format=torch.channels_last)
    model.train()
    _train(model, images, labels, epochs=epochs, flips=flips,
           generator=torch.Generator().manual_seed(seed))
    return {name: tensor.detach().cpu().clone() for name, tensor in trunk.state_dict().items()}


def encode(fitted: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Features float32 [n, 512] on the CPU, unscaled, with the running statistics of the training.
    """
    trunk = network(fitted, images.shape[1:], images.device)
    chunk = 64 if images.device.type == "cpu" else 4096
    with torch.inference_mode():
        return torch.cat(
            [torch.empty(0, 2 * WIDTHS[-1]), *(trunk(some).cpu() for some in images.split(chunk))])


def network(fitted: dict[str, torch.Tensor], shape: torch.Size, device: torch.device) -> Trunk:
    """The trunk, differentiable with respect to images [n, *shape] on `device`."""
    trunk = Trunk(shape[0])
    trunk.load_state_dict({name: fitted[name] for name in trunk.state_dict()})
    return trunk.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _train(model, images, labels, *, epochs: int, flips: bool, generator: torch.Generator) -> None:
    batch = min(BATCH, len(images))
    # Drop the last, incomplete batch of an epoch: statistics of a few images are poor.
    steps = len(images) // batch
    optimizer = torch.optim.AdamW(model.parameters(), PEAK, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _triangle(step, epochs * steps))
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in order[: steps * batch].split(batch):
            rows = rows.to(images.device)
            some = _augmented(images[rows], flips, generator)
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(some), labels[rows],
                                     label_smoothing=SMOOTHING).backward()
            optimizer.step()
            schedule.step()


def _triangle(step: int, steps: int) -> float:
    """The learning rate relative to its peak: up in the first fifth of the steps, then down to
    almost 0."""
    rising = max(1, steps // 5)
    return min((step + 1) / rising, max(steps - step, 0) / max(1, steps - rising), 1.0)


def _augmented(images: torch.Tensor, flips: bool, generator: torch.Generator) -> torch.Tensor:
    """A random crop of each padded image, and a mirror image of half of them."""
    n, _, height, width = images.shape
    draws = torch.randint(2 * PAD + 1, (2, n, 1), generator=generator)
    mirrored = torch.randint(2, (n, 1), generator=generator).bool() & flips
    rows, columns = draws[0] + torch.arange(height), draws[1] + torch.arange(width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    at = torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]
    padded = functional.pad(images, (PAD,) * 4).permute(0, 2, 3, 1)
    return padded[tuple(index.to(images.device) for index in at)].permute(0, 3, 1, 2)
