"""Long extractions: chunks that fit in memory, a progress line, and parts saved on the way, so that
a killed extraction resumes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lib.data import cache

if TYPE_CHECKING:
    from tqdm import tqdm

PART = 4096  # images per saved part
PROGRESS_STEP = 256  # images on a CPU per update of the progress line; chunk sizes divide both
PROGRESS_DELAY = 5.0  # seconds before the progress line appears


def encode(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Features float32 [n, d] on the CPU, of images [n, channels, height, width] on any device."""
    if not len(images):
        return encode(network, images.new_zeros(1, *images.shape[1:]))[:0]
    chunk = 16 if images.device.type == "cpu" else 512
    with torch.inference_mode():
        return torch.cat([network(some).cpu() for some in images.split(chunk)])


def keep(name: str, path: Path, extract: Callable[[Tensor], Tensor], images: Tensor,
         finish: Callable[[Tensor], dict[str, Tensor]]) -> dict[str, Tensor]:
    """`finish` of the features of all images, read from `path`, or computed and saved there.

    Features are saved beside it in parts of PART images, which are removed at the end.
    """
    found = cache.keep(path, lambda: finish(_extracted(name, path, extract, images)))
    for start in range(0, len(images), PART):
        _part(path, start).unlink(missing_ok=True)
    return found


def _extracted(name: str, path: Path, extract: Callable[[Tensor], Tensor], images: Tensor
               ) -> Tensor:
    if len(images) <= PART:  # a single part needs no file of its own
        with _progress(name, len(images)) as bar:
            return _shown(bar, extract, images)
    parts = []
    with _progress(name, len(images)) as bar:
        for start in range(0, len(images), PART):
            some = images[start : start + PART]
            parts.append(cache.keep(
                _part(path, start),
                lambda some=some: {"features": _shown(bar, extract, some)})["features"])
            bar.update(start + len(some) - bar.n)  # count parts read from disk too
    return torch.cat(parts)


def _shown(bar: "tqdm", extract: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Extract some images at a time, and update the progress line."""
    found = []
    for some in images.split(PROGRESS_STEP if images.device.type == "cpu" else PART):
        found.append(extract(some))
        bar.update(len(some))
    return torch.cat(found)


def _progress(name: str, images: int) -> "tqdm":
    """A progress line on stderr if that is a terminal, to keep notebook outputs and logs clean."""
    from tqdm import tqdm  # features of a network alone need it

    return tqdm(desc=f"features {name}", total=images, unit=" images", delay=PROGRESS_DELAY,
                disable=None, leave=False)


def _part(path: Path, start: int) -> Path:
    return path.with_name(f"{path.stem}-from-{start}{path.suffix}")
