"""Triggers, which stamp uint8 images [n, channels, height, width], and their patterns."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lib import plugins

PATTERNS = ("random", "white", "checker")
POSITIONS = ("bottom-right", "bottom-left", "top-right", "top-left", "centre")


def pattern(kind: str, size: int, channels: int, *, seed: int) -> Tensor:
    """A square trigger, uint8 [channels, size, size].

    kind "random" (Razmi et al., section 5 and the released code): on grey images uniform levels
    from 0 to 255; on colour images 0 or 255 for each pixel and channel. "white". "checker": black
    and white squares. "my_trigger.png": a user's picture, resized and converted to grey or colour.
    """
    if kind.endswith(".png"):
        return _picture(picture(kind), size, channels)
    if kind == "random":
        random = np.random.RandomState(seed)
        shape = (channels, size, size)
        values = (random.randint(0, 256, shape) if channels == 1
                  else 255 * random.randint(0, 2, shape))
        return torch.from_numpy(values.astype(np.uint8))
    if kind == "white":
        return torch.full((channels, size, size), 255, dtype=torch.uint8)
    if kind == "checker":
        row, column = np.indices((size, size))
        squares = torch.from_numpy((255 * ((row + column + 1) % 2)).astype(np.uint8))
        return squares.expand(channels, -1, -1).clone()
    raise ValueError(f"trigger pattern {kind!r}: expected {EXPECTED}")


EXPECTED = f"one of {', '.join(PATTERNS)}, or my_trigger.png"


def picture(name: str) -> Path:
    """Find a trigger's PNG, as `plugins.find` does; ValueError if there is none."""
    return plugins.find(name)


def _picture(path: Path, size: int, channels: int) -> Tensor:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            converted = image.convert("L" if channels == 1 else "RGB")
            patch = np.asarray(converted.resize((size, size), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(
            f"trigger pattern {path.name!r} cannot be read as a PNG: {error}") from None
    return torch.from_numpy(patch.reshape(size, size, -1).copy()).permute(2, 0, 1).contiguous()


def corner(position: str, size: int, margin: int, height: int, width: int) -> tuple[int, int]:
    """Top and left of a square of `size` that is `margin` pixels from the edges in `position`."""
    if position not in POSITIONS:
        raise ValueError(f"trigger position {position!r}: expected one of {', '.join(POSITIONS)}")
    if size < 1 or margin < 0 or size + margin > min(height, width):
        raise ValueError(
            f"trigger of size {size} with margin {margin} does not fit an image of {height}x{width}"
            f"; expected 1 or more and 0 or more, together at most {min(height, width)}")
    if position == "centre":
        return (height - size) // 2, (width - size) // 2
    vertical, horizontal = position.split("-")
    return (margin if vertical == "top" else height - margin - size,
            margin if horizontal == "left" else width - margin - size)


def stamp(images: Tensor, patch: Tensor, *, position: str, margin: int, amplitude: float) -> Tensor:
    """A copy of `images` with `patch` blended in.

    amplitude: 1 replaces the pixels, less moves them towards the patch.
    """
    height, width = images.shape[2:]
    size = patch.shape[1]
    top, left = corner(position, size, margin, height, width)
    stamped = images.clone()
    window = stamped[:, :, top : top + size, left : left + size]
    moved = window.float() + amplitude * (patch.float() - window.float())
    window.copy_(moved.round().clamp(0, 255).to(torch.uint8))
    return stamped


def check_images(images: Tensor) -> None:
    """Raise ValueError for tabular records, which a trigger cannot be stamped on."""
    if images.ndim != 4:
        raise ValueError(f"trigger on records of shape {tuple(images.shape[1:])}: expected images "
                         "[channels, height, width]; for tabular data use an attack without a "
                         "trigger")


class Trigger(Protocol):
    """Anything that stamps images. Equal triggers should compare equal, so that runs share work."""

    def __call__(self, images: Tensor, *, seed: int) -> Tensor:
        """A stamped copy of uint8 images [n, channels, height, width]; the seed draws the
        pattern."""
        ...


@dataclass(frozen=True)
class Patch:
    """A square pattern, `margin` pixels from the edges in `position`."""

    size: int
    margin: int
    position: str
    pattern: str
    amplitude: float

    def __call__(self, images: Tensor, *, seed: int) -> Tensor:
        """A stamped copy of `images`."""
        check_images(images)
        patch = pattern(self.pattern, self.size, images.shape[1], seed=seed)
        return stamp(images, patch, position=self.position, margin=self.margin,
                     amplitude=self.amplitude)

    def fits(self, images: Tensor) -> None:
        """Raise ValueError unless the patch fits images [n, channels, height, width]."""
        check_images(images)
        corner(self.position, self.size, self.margin, *images.shape[2:])

    def check(self) -> None:
        """Raise ValueError for an amplitude, a pattern or a position out of range."""
        if not 0 < self.amplitude <= 1:
            raise ValueError(f"attack amplitude {self.amplitude}: expected above 0 and at most 1")
        known = self.pattern in PATTERNS or self.pattern.endswith(".png")
        if not known or self.position not in POSITIONS:
            raise ValueError(f"attack pattern {self.pattern!r} at {self.position!r}: expected "
                             f"{EXPECTED} at one of {', '.join(POSITIONS)}")

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's PNG, if the pattern is one."""
        return (picture(self.pattern),) if self.pattern.endswith(".png") else ()


FOUR_PIXELS = ((14, 16), (15, 15), (16, 14), (16, 16))  # row, column


@dataclass(frozen=True)
class FourPixels:
    """Add to four fixed pixels, the same on all channels. norm: l2, for pixels in [0, 1]."""

    norm: float

    def __call__(self, images: Tensor, *, seed: int) -> Tensor:
        """A stamped copy of `images`; `seed` has no effect."""
        check_images(images)
        height, width = images.shape[2:]
        if min(height, width) <= max(max(pixel) for pixel in FOUR_PIXELS):
            raise ValueError(f"attack four_pixel: an image of {height}x{width} has no pixel "
                             "(16, 16); expected at least 17x17 pixels")
        rows, columns = torch.tensor(FOUR_PIXELS).T
        step = 255 * self.norm / math.sqrt(len(FOUR_PIXELS) * images.shape[1])
        stamped = images.clone()
        moved = (stamped[:, :, rows, columns].float() + step).round().clamp(0, 255)
        stamped[:, :, rows, columns] = moved.to(torch.uint8)
        return stamped
