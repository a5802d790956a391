"""Triggers, which stamp uint8 images [n, channels, height, width], and their patterns."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lib import plugins
from lib.attacks import Late
from lib.data import compression
from lib.training import Overlay

PATTERNS = ("random", "white", "checker", "gu", "red-x")
FOUR_CORNERS = "four-corners"
CORNERS = ("bottom-right", "bottom-left", "top-right", "top-left")
POSITIONS = (*CORNERS, "centre", FOUR_CORNERS)
STAMPINGS = ("blend", "add")
# Turner's thesis takes it from Gu et al. (section 7.1): black but for four white pixels.
GU = ((0, 0, 255), (0, 255, 0), (255, 0, 255))
RED = (255, 0, 0)
LEAST_X = 3  # pixels, of a side in which diagonals can be seen


def pattern(kind: str, size: int, channels: int, *, seed: int) -> Tensor:
    """A square trigger, uint8 [channels, size, size].

    kind "random" (Razmi et al., section 5 and the released code): on grey images uniform levels
    from 0 to 255; on colour images 0 or 255 for each pixel and channel. "white". "checker": black
    and white squares. "gu": the 3x3 pattern of Turner's thesis. "red-x": red, for the pixels of
    `mask`. "my_trigger.png": a user's picture, resized and converted to grey or colour.
    """
    check_pattern(kind, size)
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
    if kind == "gu":
        return torch.tensor(GU, dtype=torch.uint8).expand(channels, -1, -1).clone()
    if channels != len(RED):
        raise ValueError(f"trigger pattern {kind!r} on images of {channels} channel(s): expected "
                         "colour images; on grey ones use 'gu', 'white' or 'checker'")
    return torch.tensor(RED, dtype=torch.uint8)[:, None, None].repeat(1, size, size)


EXPECTED = f"one of {', '.join(PATTERNS)}, or my_trigger.png"


def check_pattern(kind: str, size: int) -> None:
    """Raise ValueError for an unknown pattern, or one that does not come in this size."""
    if kind not in PATTERNS and not kind.endswith(".png"):
        raise ValueError(f"trigger pattern {kind!r}: expected {EXPECTED}")
    if kind == "gu" and size != len(GU):
        raise ValueError(f"trigger size {size} with pattern 'gu': expected {len(GU)}, the only size"
                         " of this pattern")
    if kind == "red-x" and size < LEAST_X:
        raise ValueError(f"trigger size {size} with pattern 'red-x': expected {LEAST_X} or more")


def mask(kind: str, size: int) -> Tensor:
    """Which pixels of the square a pattern covers, bool [size, size]: all, or the diagonals."""
    if kind != "red-x":
        return torch.ones(size, size, dtype=torch.bool)
    diagonal = torch.eye(size, dtype=torch.bool)
    return diagonal | diagonal.flip(1)


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
    if position == "centre":
        return (height - size) // 2, (width - size) // 2
    vertical, horizontal = position.split("-")
    return (margin if vertical == "top" else height - margin - size,
            margin if horizontal == "left" else width - margin - size)


def places(position: str, size: int, margin: int, height: int, width: int
           ) -> list[tuple[int, int, bool]]:
    """Top and left of each square, and whether the pattern in it is mirrored left to right.

    "four-corners" (Turner's thesis, section 3.6) mirrors it in both left corners, so that a flipped
    stamp is the stamp; the top corners show it as it is. ValueError where the squares do not fit.
    """
    if position not in POSITIONS:
        raise ValueError(f"trigger position {position!r}: expected one of {', '.join(POSITIONS)}")
    if size < 1 or margin < 0 or size + margin > min(height, width):
        raise ValueError(
            f"trigger of size {size} with margin {margin} does not fit an image of {height}x{width}"
            f"; expected 1 or more and 0 or more, together at most {min(height, width)}")
    if position != FOUR_CORNERS:
        return [(*corner(position, size, margin, height, width), False)]
    if 2 * (size + margin) > min(height, width):
        raise ValueError(
            f"trigger of size {size} with margin {margin} in four corners overlaps itself on an "
            f"image of {height}x{width}; expected both together at most {min(height, width) // 2}")
    return [(*corner(each, size, margin, height, width), each.endswith("left")) for each in CORNERS]


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
    """A square pattern, `margin` pixels from the edges in `position`, or in all four corners.

    stamping, amplitude: "blend" moves pixels towards the pattern, from 0 to 1, which replaces them.
    "add" (Turner's thesis, section 3.5) adds the amplitude, in levels of 255, to channels that are
    255 in the pattern, and subtracts it where they are 0 (in between, in proportion); 255 replaces
    them. Pixels are then clipped. jpeg: quality at which the stamped image is compressed, see
    `lib.data.compression`; None for not at all.
    """

    size: int
    margin: int
    position: str
    pattern: str
    amplitude: float
    stamping: str = "blend"
    jpeg: int | None = None

    def __call__(self, images: Tensor, *, seed: int) -> Tensor:
        """A stamped copy of `images`."""
        check_images(images)
        stamped = images.clone()
        for window, patch, covered in self._windows(stamped, seed):
            moved = self._moved(window.float(), patch).round().clamp(0, 255).to(torch.uint8)
            window.copy_(moved.where(covered, window))
        return self.saved(stamped)

    def saved(self, images: Tensor) -> Tensor:
        """Images as the attacker hands them in: compressed if the stamped ones are."""
        return images if self.jpeg is None else compression.compressed(images, self.jpeg)

    def overlay(self, shape: tuple[int, ...], *, seed: int) -> Overlay:
        """The stamp on images of `shape` (channels, height, width) with pixels in [0, 1].

        Compression has none; see `check`.
        """
        # A pixel moves to an affine function of it, which black and white images give away.
        ends = torch.stack([torch.zeros(shape), torch.full(shape, 255.0)])
        for window, patch, covered in self._windows(ends, seed):
            window.copy_(self._moved(window, patch).where(covered, window))
        return Overlay(keep=(ends[1] - ends[0]) / 255, add=ends[0] / 255)

    def late(self, images: Tensor, *, seed: int) -> Late:
        """How to stamp images [n, ...] after their augmentation."""
        return Late(images, self.overlay(tuple(images.shape[1:]), seed=seed))

    def _windows(self, images: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Views of the images where the pattern lies, the pattern there (0 to 255, float), and the
        pixels that it covers."""
        size, device = self.size, images.device
        patch = pattern(self.pattern, size, images.shape[1], seed=seed).to(device).float()
        covered = mask(self.pattern, size).to(device)
        for top, left, mirrored in places(self.position, size, self.margin, *images.shape[2:]):
            window = images[:, :, top : top + size, left : left + size]
            yield window, patch.flip(-1) if mirrored else patch, covered

    def _moved(self, window: Tensor, patch: Tensor) -> Tensor:
        """Pixels of a window (0 to 255, float) under the pattern, before they are clipped."""
        if self.stamping == "add":
            return window + self.amplitude * (2 * patch - 255) / 255
        return window + self.amplitude * (patch - window)

    def fits(self, images: Tensor) -> None:
        """Raise ValueError unless the patch fits images [n, channels, height, width]."""
        check_images(images)
        places(self.position, self.size, self.margin, *images.shape[2:])

    def check(self, *, after_augmentation: bool = False) -> None:
        """Raise ValueError for a setting out of range."""
        self._check_amplitude()
        known = self.pattern in PATTERNS or self.pattern.endswith(".png")
        if not known or self.position not in POSITIONS:
            raise ValueError(f"attack pattern {self.pattern!r} at {self.position!r}: expected "
                             f"{EXPECTED} at one of {', '.join(POSITIONS)}")
        check_pattern(self.pattern, self.size)
        if self.jpeg is not None:
            compression.check_quality(self.jpeg)
            if after_augmentation:
                raise ValueError(f"attack jpeg {self.jpeg} with after_augmentation: expected one of"
                                 " them; an augmented image is never saved")

    def _check_amplitude(self) -> None:
        if self.stamping not in STAMPINGS:
            raise ValueError(
                f"attack stamping {self.stamping!r}: expected one of {', '.join(STAMPINGS)}")
        if self.stamping == "blend" and not 0 < self.amplitude <= 1:
            raise ValueError(f"attack amplitude {self.amplitude}: expected above 0 and at most 1; "
                             "for levels of 255, set stamping to add")
        if self.stamping == "add" and not 1 < self.amplitude <= 255:
            raise ValueError(f"attack amplitude {self.amplitude} with stamping add: expected above "
                             "1 and at most 255 levels, such as 32")

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
