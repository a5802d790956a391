"""Trigger patterns and how they are stamped on uint8 images [n, channels, height, width]."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib import plugins

PATTERNS = ("random", "white", "checker")
POSITIONS = ("bottom-right", "bottom-left", "top-right", "top-left", "centre")


def pattern(kind: str, size: int, channels: int, *, seed: int) -> Tensor:
    """A square trigger, uint8 [channels, size, size].

    "random" (Razmi et al., section 5 and the released code): grey levels 0 to 255 drawn uniformly on one channel;
    0 or 255 per pixel and channel on colour. "white"; "checker": black and white squares. "my_trigger.png": a picture of
    the user's own, brought to this size and to grey or colour.
    """
    if kind.endswith(".png"):
        return _picture(picture(kind), size, channels)
    if kind == "random":
        random = np.random.RandomState(seed)
        shape = (channels, size, size)
        values = random.randint(0, 256, shape) if channels == 1 else 255 * random.randint(0, 2, shape)
        return torch.from_numpy(values.astype(np.uint8))
    if kind == "white":
        return torch.full((channels, size, size), 255, dtype=torch.uint8)
    if kind == "checker":
        row, column = np.indices((size, size))
        return torch.from_numpy((255 * ((row + column + 1) % 2)).astype(np.uint8)).expand(channels, -1, -1).clone()
    raise ValueError(f"trigger pattern {kind!r}: expected {EXPECTED}")


EXPECTED = f"one of {', '.join(PATTERNS)}, or my_trigger.png"


def picture(name: str) -> Path:
    """Where the PNG of a trigger lies, looked for as a user's own files are; ValueError where there is none."""
    return plugins.find(name)


def _picture(path: Path, size: int, channels: int) -> Tensor:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            patch = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((size, size), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"trigger pattern {path.name!r} cannot be read as a PNG: {error}") from None
    return torch.from_numpy(patch.reshape(size, size, -1).copy()).permute(2, 0, 1).contiguous()


def corner(position: str, size: int, margin: int, height: int, width: int) -> tuple[int, int]:
    """Top and left of a square of `size` that lies `margin` pixels from the edges named by `position`."""
    if position not in POSITIONS:
        raise ValueError(f"trigger position {position!r}: expected one of {', '.join(POSITIONS)}")
    if size < 1 or margin < 0 or size + margin > min(height, width):
        raise ValueError(f"trigger of size {size} with margin {margin} does not fit an image of {height}x{width}")
    if position == "centre":
        return (height - size) // 2, (width - size) // 2
    vertical, horizontal = position.split("-")
    return (margin if vertical == "top" else height - margin - size,
            margin if horizontal == "left" else width - margin - size)


def stamp(images: Tensor, patch: Tensor, *, position: str, margin: int, amplitude: float) -> Tensor:
    """A copy of `images` with `patch` blended in: amplitude 1 replaces the pixels, less moves them towards it."""
    height, width = images.shape[2:]
    size = patch.shape[1]
    top, left = corner(position, size, margin, height, width)
    stamped = images.clone()
    window = stamped[:, :, top : top + size, left : left + size]
    moved = window.float() + amplitude * (patch.float() - window.float())
    window.copy_(moved.round().clamp(0, 255).to(torch.uint8))
    return stamped
