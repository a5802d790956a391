"""Frozen public features, on which the papers train private heads.

An extractor is fitted on the public images alone, or not at all, so features cost no privacy. It
never sees poison, because the first `public` training images are always clean. A trigger is stamped
on the image before its features are computed.

| name | what | numbers per image |
|---|---|---|
| patches, patches:FILTERS | whitened 6x6 patches, k-means, quadrants | 8 FILTERS; 2,048 |
| resnet-public, resnet-public:EPOCHS | a small ResNet trained on the public images | 512 |
| imagenet-resnet50 | torchvision's ResNet-50, ImageNet weights V1, at 224x224 | 2,048 |
| imagenet-lite0, imagenet-lite0:SIDE | EfficientNet-Lite0, ImageNet, at SIDE x SIDE; 160 | 1,280 |
| timm:NAME | any pretrained network of timm, such as timm:resnet18.a1_in1k | its own |

Patches: k-means with a soft threshold, averaged over quadrants (Coates and Ng 2011).

All features are standardised with the public images' mean and standard deviation, then scaled by
one constant, so that their mean squared L2 norm over the public images is NORM. The fitted
extractor and the features of each set of images are both cached.
"""

import functools
import hashlib
import re
from collections.abc import Callable

import torch

from lib import paths
from lib.data import Dataset, cache, restriction
from lib.features import backbones, chunks, imagenet, lite0, patches, public_resnet

VERSION = 1  # raise it when any extractor's numbers change

Encoder = Callable[[torch.Tensor], torch.Tensor]  # from images to features [n, d]

NORM = 256.0  # mean squared L2 norm of a public image's features
FITTED = {"patches": patches, "resnet-public": public_resnet}  # on the public images
NAMES = ("patches, patches:FILTERS, resnet-public, resnet-public:EPOCHS, imagenet-resnet50,"
         " imagenet-lite0, imagenet-lite0:SIDE or timm:NAME")
# Never flipped: a mirrored digit is not a digit.
DIGITS = ("strokes", "strokes-colour", "mnist", "strokes-jpeg", "strokes-colour-jpeg", "mnist-jpeg")


def extract(name: str, dataset: Dataset, images: torch.Tensor, *, public: int) -> torch.Tensor:
    """Features float32 [n, d] on the CPU, of uint8 images [n, channels, height, width].

    name: from the table above. dataset, public: the extractor is fitted on the first `public`
    training images. The computation runs on the device of `images`. Shows progress in a terminal;
    an extraction that was killed resumes. Raises ValueError for an unknown name, a wrong type of
    images, or a `public` outside 1 to the number of training images; DataNotFound for unavailable
    pretrained weights.
    """
    _check(dataset, images, public)
    encode = encoder(name, dataset, public=public, device=images.device)
    key = _sha(_fit_key(name, dataset, public), cache.checksum({"images": images}))
    return chunks.keep(name, _place(name, key), encode, images,
                       lambda features: {"features": features})["features"]


def encoder(name: str, dataset: Dataset, *, public: int, device: torch.device) -> Encoder:
    """A function from images on `device` (0 to 255, uint8 or, if noisy, float) to features.

    These features are not cached.
    """
    fitted = _fitted(name, dataset, public, device)
    raw = _raw(name, fitted, dataset.train_images.shape[1:], device)
    return lambda images: (raw(images) - fitted["mean"]) * fitted["scale"]


def differentiable(name: str, dataset: Dataset, *, public: int, device: torch.device) -> Encoder:
    """The differentiable form of `encoder`, for an attacker who optimises pixels.

    From float images (0 to 255) to features, both on `device`; processes the whole batch at once.
    """
    kept = {key: value.to(device) for key, value in _fitted(name, dataset, public, device).items()}
    network = _network(name, kept, dataset.train_images.shape[1:], device)
    return lambda images: (network(images) - kept["mean"]) * kept["scale"]


def _network(name: str, fitted: dict[str, torch.Tensor], shape: torch.Size,
             device: torch.device) -> Encoder:
    """A differentiable function to features before standardisation, [n, d] on `device`."""
    kind, setting = _named(name)
    if kind == "timm":
        return backbones.network(str(setting), device)
    if kind == "imagenet-lite0":
        return lite0.network(int(setting), device)
    return {**FITTED, "imagenet-resnet50": imagenet}[kind].network(fitted, shape, device)


def _raw(name: str, fitted: dict[str, torch.Tensor], shape: torch.Size,
         device: torch.device) -> Encoder:
    """A function to features before standardisation, float32 [n, d] on the CPU."""
    kind = _named(name)[0]
    if kind in FITTED:
        return lambda images: FITTED[kind].encode(fitted, images)
    # Load the weights on first use: cached features do not need them.
    network = functools.cache(lambda: _network(name, fitted, shape, device))
    return lambda images: chunks.encode(network(), images)


def _fitted(name: str, dataset: Dataset, public: int, device: torch.device
           ) -> dict[str, torch.Tensor]:
    """The extractor's tensors, with `mean` [d] and `scale` [d] that bring its features to NORM."""
    if dataset.train_images.ndim != 4:
        raise ValueError(f"features {name!r} of {dataset.name}, whose records have shape "
                         f"{tuple(dataset.train_images.shape[1:])}: expected images; use features "
                         "none")
    path = _place(name, _fit_key(name, dataset, public))
    images = dataset.train_images[:public].to(device)
    if _named(name)[0] in FITTED:
        return cache.keep(path, lambda: _fit(name, dataset, images))
    # Pretrained networks need only mean and scale; their weights are not copied.
    raw = _raw(name, {}, images.shape[1:], device)
    return chunks.keep(name, path, raw, images, _standard)


def _fit_key(name: str, dataset: Dataset, public: int) -> str:
    kind, setting = _named(name)
    return _sha(f"{kind}:{setting}", str(VERSION), dataset.digest, str(public))


def _named(name: str) -> tuple[str, int | str]:
    """The kind of extractor and its setting: filters, epochs, pixels or a network's name."""
    kind, colon, setting = str(name).partition(":")
    default = {"patches": 256, "resnet-public": public_resnet.EPOCHS, "imagenet-resnet50": 0,
               "imagenet-lite0": lite0.SIDE}
    if kind in default and not colon:
        return kind, default[kind]
    if kind == "timm" and re.fullmatch(r"\w+\.\w+", setting):  # timm may change default weights
        return kind, setting
    whole = int(setting) if re.fullmatch(r"[1-9]\d{0,3}", setting) else 0
    if whole and (kind in FITTED or (kind == "imagenet-lite0" and whole in lite0.SIDES)):
        return kind, whole
    raise ValueError(f"features {name!r} are unknown: expected {NAMES} (SIDE 96 to 224 pixels;"
                     " NAME with its weights, such as resnet18.a1_in1k)")


def _check(dataset: Dataset, images: torch.Tensor, public: int) -> None:
    if not 0 < public <= len(dataset.train_images):
        raise ValueError(
            f"public is {public}: expected 1 to {len(dataset.train_images)}, the training images of"
            f" {dataset.name}; raise public, or train on pixels with features none")
    if images.dtype != torch.uint8 or images.shape[1:] != dataset.train_images.shape[1:]:
        raise ValueError(
            f"images are {images.dtype} {list(images.shape)}: expected uint8 [n, channels, height,"
            f" width] with {list(dataset.train_images.shape[1:])} as in {dataset.name}")


def _fit(name: str, dataset: Dataset, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Fit an extractor on public images, on their device; returns its tensors, `mean` and `scale`.
    """
    kind, setting = _named(name)
    if kind == "patches":
        fitted = patches.fit(images, filters=int(setting))
    else:
        labels = dataset.train_labels[:len(images)].to(images.device)
        flips = restriction(dataset.name)[0] not in DIGITS
        fitted = public_resnet.fit(images, labels, classes=len(dataset.classes),
                                   epochs=int(setting), flips=flips)
    return {**fitted, **_standard(FITTED[kind].encode(fitted, images))}


def _standard(features: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean and scale per feature; a floor keeps features that hardly vary from being blown up."""
    mean, deviation = features.mean(0), features.std(0, correction=0)
    floor = 0.01 * deviation.mean() + 1e-12
    scaled = (features - mean) / deviation.clamp_min(floor)
    unit = (NORM / scaled.square().sum(1).mean().clamp_min(1e-12)).sqrt()
    return {"mean": mean, "scale": unit / deviation.clamp_min(floor)}


def _place(name: str, key: str):
    return paths.artefact_dir() / "features" / f"{name.replace(':', '-')}-{key[:32]}.safetensors"


def _sha(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
