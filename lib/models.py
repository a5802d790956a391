"""The networks of the papers' tables, each a plain `torch.nn` module.

A network is built from the shape of one input and the number of classes. Those whose name ends in
"-bn" have batch normalisation, which mixes samples: per-sample clipping would bound nothing, and is
refused. Their twins without the ending have group normalisation instead.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from lib.training.residual import Residual

VERSION = 1
GROUPS = 8  # of a group normalisation


def cnn(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """The MNIST network of TF-Privacy's tutorial (Razmi et al., table 3): 26,010 parameters on
    28x28 grey.

    TensorFlow's "same" padding of the first convolution is 3 on each side for an even input.
    """
    _check_images("cnn", shape)
    convolutions = [
        nn.Conv2d(shape[0], 16, 8, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(2, stride=1),
        nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(), nn.MaxPool2d(2, stride=1), nn.Flatten(),
    ]
    width = _width(shape)
    return nn.Sequential(*convolutions, nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, classes))


def _check_images(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise ValueError(f"model {name}: inputs of shape {tuple(shape)}: expected images (channels,"
                         " height, width); for records or features use linear, mlp or mlp-256-256")


def _width(shape: tuple[int, ...]) -> int:
    """Number of outputs of `cnn`'s convolutions for one input of this shape."""
    side = [((n + 6 - 8) // 2 + 1 - 1 - 4) // 2 + 1 - 1 for n in shape[1:]]
    if min(side) < 1:
        raise ValueError(f"model cnn: inputs of shape {tuple(shape)} are too small; expected images"
                         " of at least 20x20 pixels")
    return 32 * side[0] * side[1]


def head(shape: tuple[int, ...], classes: int, *, hidden: int = 256) -> nn.Sequential:
    """The two-layer head on frozen features (Razmi et al., table 3): features-256-ReLU-classes."""
    inputs = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(),
                         nn.Linear(hidden, classes))


def mlp(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """One hidden layer of 64 on the pixels, the small substitute in the quick profile."""
    return head(shape, classes, hidden=64)


def linear(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Softmax regression (Hong et al., table 4)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), classes))


def mlp_256_256(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Two hidden layers of 256 (Hong et al., released code; their table 4 shows one of the two)."""
    inputs = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256),
                         nn.ReLU(), nn.Linear(256, classes))


def cnn_16_32(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """The CNN of Hong et al. (table 4): two 3x3 convolutions of 16 and 32 filters that keep the
    size, max-pooling, and a layer of 64.

    Without dropout, as in the released code; the table's "p: 0.5" seems to mean it.
    """
    _check_images("cnn-16-32", shape)
    channels, height, width = shape
    if min(height, width) < 2:
        raise ValueError(f"model cnn-16-32: inputs of shape {tuple(shape)} are too small; expected "
                         "images of at least 2x2 pixels")
    pooled = 32 * (height // 2) * (width // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(pooled, 64), nn.ReLU(),
        nn.Linear(64, classes))


class Unit(nn.Module):
    """A pre-activation residual unit (He et al. 2016): two 3x3 convolutions, each after a
    normalisation and a ReLU, added to the unit's input.
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.GroupNorm(GROUPS, before), nn.GroupNorm(GROUPS, width)
        self.down = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.same = nn.Conv2d(width, width, 3, padding=1, bias=False)
        projected = stride > 1 or before != width
        self.shortcut = (nn.Conv2d(before, width, 1, stride=stride, bias=False) if projected
                         else nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ready = self.first(x).relu()
        kept = self.shortcut(x if isinstance(self.shortcut, nn.Identity) else ready)
        return kept + self.same(self.second(self.down(ready)).relu())


def resnet(shape: tuple[int, ...], classes: int, *, units: int = 5) -> nn.Sequential:
    """Pre-activation ResNet-32 of widths 16, 16, 32, 64 (RAB's released code; Turner, section 3),
    with group normalisation.

    The papers' batch normalisation would mix samples, and the models of a group. Meant for a GPU.
    """
    _check_images("resnet", shape)
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)]
    for before, width, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [Unit(before, width, stride), *(Unit(width, width, 1) for _ in range(units - 1))]
    return nn.Sequential(*layers, nn.GroupNorm(GROUPS, 64), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(64, classes))


Norm = Callable[[int], nn.Module]  # from a number of channels to its normalisation


def group_norm(channels: int) -> nn.Module:
    """Normalise groups of channels within each sample."""
    return nn.GroupNorm(GROUPS, channels)


def convnet(shape: tuple[int, ...], classes: int, *, norm: Norm = group_norm,
            widths: Sequence[int] = (64, 256, 256)) -> nn.Sequential:
    """A convolutional network of the kind of airbench (Jordan 2024, arXiv 2404.00498), for a GPU.

    A 2x2 convolution; three blocks that halve the image, of two 3x3 convolutions each; the mean
    over positions. Without airbench's whitening of the first layer, which depends on the data.
    """
    stem = nn.Conv2d(shape[0], 24, 2)
    return _blocks("convnet", shape, classes, stem, norm, widths)


def convnet_small(shape: tuple[int, ...], classes: int, *, norm: Norm = group_norm,
                  widths: Sequence[int] = (64, 128)) -> nn.Sequential:
    """`convnet` in a size for a CPU: the first convolution halves the image, two blocks follow."""
    stem = nn.Conv2d(shape[0], 32, 3, stride=2, padding=1)
    return _blocks("convnet-small", shape, classes, stem, norm, widths)


def _blocks(name: str, shape: tuple[int, ...], classes: int, stem: nn.Conv2d, norm: Norm,
            widths: Sequence[int]) -> nn.Sequential:
    _check_images(name, shape)
    layers: list[nn.Module] = [stem, nn.GELU()]
    for before, width in zip((stem.out_channels, *widths), widths):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.MaxPool2d(2), norm(width), nn.GELU(),
                   nn.Conv2d(width, width, 3, padding=1), norm(width), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(widths[-1], classes))


def resnet_18(shape: tuple[int, ...], classes: int, *, norm: Norm = group_norm) -> nn.Sequential:
    """ResNet-18 for small images (He et al. 2016): a 3x3 stem that keeps the size, eight units.

    Convolutions have biases, unlike the original's, for the sake of closed forms.
    """
    return _residual("resnet-18", shape, classes, norm, (64, 128, 256, 512), units=2)


def resnet_20(shape: tuple[int, ...], classes: int, *, norm: Norm = group_norm) -> nn.Sequential:
    """ResNet-20 for CIFAR-10 (He et al. 2016, section 4.2), with projections where widths change.
    """
    return _residual("resnet-20", shape, classes, norm, (16, 32, 64), units=3)


def _residual(name: str, shape: tuple[int, ...], classes: int, norm: Norm, widths: Sequence[int],
              *, units: int) -> nn.Sequential:
    _check_images(name, shape)
    width = widths[0]
    layers = [nn.Conv2d(shape[0], width, 3, padding=1), norm(width), nn.ReLU()]
    for stage, after in enumerate(widths):
        for unit in range(units):
            layers += [_unit(width, after, 2 if stage and not unit else 1, norm), nn.ReLU()]
            width = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def _unit(before: int, width: int, stride: int, norm: Norm) -> Residual:
    body = nn.Sequential(
        nn.Conv2d(before, width, 3, stride=stride, padding=1), norm(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), norm(width))
    if stride == 1 and before == width:
        return Residual(body)
    return Residual(body, nn.Sequential(nn.Conv2d(before, width, 1, stride=stride), norm(width)))


DEEP = {"convnet": convnet, "convnet-small": convnet_small, "resnet-18": resnet_18,
        "resnet-20": resnet_20}
MODELS: dict[str, Callable] = {
    "cnn": cnn, "head": head, "mlp": mlp, "linear": linear, "resnet": resnet,
    "mlp-256-256": mlp_256_256, "cnn-16-32": cnn_16_32, **DEEP,
    **{f"{name}-bn": partial(build, norm=nn.BatchNorm2d) for name, build in DEEP.items()}}


def version(name: str) -> int | str:
    """The version of a network: this module's, or the hash of a user's own file."""
    if ".py:" not in name:
        return VERSION
    from lib import plugins
    return plugins.digest(name)


def build(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build the network `name` for inputs of `shape` (without the batch) and `classes` outputs.

    name: a key of `MODELS`, or `my_file.py:function` with a function (shape, classes) -> module.
    Raises ValueError for an unknown name, and if a user's function fails or its module does not map
    an input of `shape` to `classes` numbers.
    """
    if name in MODELS:
        return MODELS[name](shape, classes)
    if ".py:" in name:
        from lib.plugins import load
        return _tried(name, load(name), shape, classes)
    raise ValueError(f"model {name!r}: expected one of {', '.join(MODELS)}, or my_file.py:function")


def _tried(name: str, function: Callable, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a user's own network and try it on two inputs."""
    try:
        module = function(shape, classes)
        if not isinstance(module, nn.Module):
            raise TypeError(f"it returned {type(module).__name__}, expected a torch.nn.Module")
        with torch.no_grad():
            found = tuple(copy.deepcopy(module).eval()(torch.zeros(2, *shape)).shape)
    except Exception as error:
        raise ValueError(f"model {name}: {type(error).__name__}: {error} (for inputs "
                         f"{tuple(shape)} and {classes} classes)") from error
    if found != (2, classes):
        raise ValueError(f"model {name}: two inputs {tuple(shape)} gave an output of shape {found}:"
                         f" expected (2, {classes}), one number per class")
    return module
