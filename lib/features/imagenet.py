"""Features of a ResNet-50 trained on ImageNet, as in Razmi et al.: images at 224x224, the 2,048
numbers before `fc`.

The weights are torchvision's IMAGENET1K_V1, which `pretrained=True` loaded when the paper was
written; the newer V2 was trained differently and scores differently. Meant for a GPU: on one CPU
core an image takes about 0.1 s.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from lib import paths
from lib.data import DataNotFound, cache, files

WEIGHTS = "resnet50-0676ba61.pth"  # torchvision's name; the digits are the start of its SHA-256
SHA256 = "0676ba61"
URL = f"https://download.pytorch.org/models/{WEIGHTS}"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]
SIDE = 224


def network(state: dict[str, torch.Tensor], shape: torch.Size, device: torch.device) -> Callable:
    """A differentiable function from images [n, *shape] on `device` to features [n, 2048] there.

    state: a state_dict of torchvision's resnet50; if it has no weights (an extractor keeps mean and
    scale alone), the ImageNet weights are used. Raises DataNotFound if these are not in a data root
    and cannot be downloaded.
    """
    import torchvision

    resnet = torchvision.models.resnet50()
    resnet.load_state_dict(state if "conv1.weight" in state else weights())
    resnet.fc = torch.nn.Identity()
    resnet.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    return lambda images: resnet(_prepared(images))


def _prepared(images: torch.Tensor) -> torch.Tensor:
    """Colour, 224x224 by bilinear interpolation, ImageNet's mean and deviation."""
    pixels = images.float().div(255.0).expand(-1, 3, -1, -1)
    large = functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    mean, deviation = (torch.tensor(v, device=images.device)[:, None, None]
                       for v in (MEAN, DEVIATION))
    return ((large - mean) / deviation).contiguous(memory_format=torch.channels_last)


def weights() -> dict[str, torch.Tensor]:
    """The ImageNet weights, from a data root, else downloaded into the cache; checks SHA-256."""
    places = [root / WEIGHTS for root in paths.data_roots()]
    path = next((place for place in places if place.is_file()), None) or _downloaded()
    if not files.sha256(path).startswith(SHA256):
        raise DataNotFound(
            f"{path} is damaged: its SHA-256 should begin with {SHA256}; fetch {URL} again")
    return torch.load(path, map_location="cpu", weights_only=True)


def _downloaded() -> Path:
    path = paths.cache_dir() / "data" / WEIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with files.timeout(30.0):
            torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256)
    except Exception as error:  # no network, no such host, a proxy's error page
        what = f"{WEIGHTS} is missing and could not be downloaded ({cache.one_line(error)})"
        raise files.not_found("weights for features imagenet-resnet50", what) from error
    return path
