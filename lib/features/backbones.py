"""Features of any pretrained network in timm, named with its weights: `resnet18.a1_in1k`.

timm downloads the weights once from the Hugging Face hub into the hub's cache ($HF_HOME); later
uses need no network. Images are resized and normalised as the network expects; the features are the
inputs of its classifier.
"""

import contextlib
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import torch
from torch import Tensor
from torch.nn import functional

from lib.data import DataNotFound, cache, files


def timm() -> Any:
    """Import timm; raises DataNotFound, in one line, if it is not installed."""
    try:
        return import_module("timm")
    except ImportError as error:
        raise DataNotFound("features imagenet-lite0 and timm:NAME need the package timm;"
                           f" run `pip install timm` ({cache.one_line(error)})") from error


def network(name: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A differentiable function from images [n, 1 or 3, height, width] (0 to 255) on `device` to
    features [n, d] there.

    name: ARCHITECTURE.WEIGHTS, from `timm.list_pretrained()`. Raises ValueError for another name,
    and DataNotFound if the weights are not in the hub's cache and cannot be downloaded.
    """
    backbone = _pretrained(name)
    backbone.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    expected = timm().data.resolve_model_data_config(backbone)
    mean, deviation = (torch.tensor(expected[what], device=device)[:, None, None] * 255.0
                       for what in ("mean", "std"))

    def code(images: Tensor) -> Tensor:
        large = (resized(images, expected["input_size"][1:]) - mean) / deviation
        # A GPU's default for convolutions, TF32, would keep only three digits.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return backbone(large.contiguous(memory_format=torch.channels_last))
    return code


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Float images [n, 3, *size] by bilinear interpolation, antialiased if they shrink."""
    shrinks = images.shape[-2] > size[0] or images.shape[-1] > size[1]
    return functional.interpolate(images.float().expand(-1, 3, -1, -1), size=tuple(size),
                                  mode="bilinear", align_corners=False, antialias=shrinks)


def _pretrained(name: str) -> Any:
    if not timm().is_model_pretrained(name):
        raise ValueError(f"features 'timm:{name}' are unknown: expected timm:ARCHITECTURE.WEIGHTS"
                         " from timm.list_pretrained(), such as timm:resnet18.a1_in1k")
    kept = _in_hub_cache(timm().get_pretrained_cfg(name))
    try:
        if kept is None:
            _reach_hub()
        with files.timeout(30.0):
            return timm().create_model(name, pretrained=True, num_classes=0,
                                       pretrained_cfg_overlay={"file": kept} if kept else None)
    except Exception as error:  # no network, no such host, a full disk, a damaged file
        raise DataNotFound(
            f"weights for features timm:{name} are not in the Hugging Face hub's cache and could"
            f" not be downloaded ({cache.one_line(error)}); run once with a network, or set HF_HOME"
            " to a folder that has them") from error


def _in_hub_cache(settings: Any) -> str | None:
    """The file of the weights if it was downloaded before, else None.

    Without this check the hub's client asks the network first, and offline it retries for half a
    minute.
    """
    from huggingface_hub import try_to_load_from_cache

    names = filter(None, (settings.hf_hub_filename, "model.safetensors", "pytorch_model.bin"))
    found = (try_to_load_from_cache(settings.hf_hub_id, name) for name in names
             if settings.hf_hub_id)
    return next((path for path in found if isinstance(path, str)), None)


def _reach_hub() -> None:
    """Fail within 10 s if there is no network."""
    from huggingface_hub import constants

    with contextlib.suppress(HTTPError):  # an error status is an answer
        urlopen(constants.ENDPOINT, timeout=10.0).close()
