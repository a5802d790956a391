"""How much a poison differs from its original, in numbers: what people might see, and what networks
do.

These describe pictures, and are no facts of rows: attacks that change images already give the size
of the change there (`perturbation.change`).
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from pandas import DataFrame

PSNR, SSIM, L2, LINF, FEATURES = MEASURES = ("psnr", "ssim", "l2", "linf", "features")
WINDOW = 11  # pixels, the side of structural similarity's window (Wang et al. 2004)


def conspicuousness(poisons: Tensor, originals: Tensor, *,
                    encode: Callable[[Tensor], Tensor] | None = None) -> "DataFrame":
    """A row for each pair of uint8 images [n, 1 or 3, height, width], with the columns

    psnr: peak signal-to-noise ratio in dB, inf for an unchanged image. ssim: structural similarity
    with the window of Wang et al. (2004), over all pixels, 1 for an unchanged image. l2, linf:
    norms of the change, for pixels in [0, 1]. features: with `encode`, which gives features of
    `lib.features`, the distance of the features, 1 for that of two unrelated images (of the public
    ones, in the root mean square).
    """
    from pandas import DataFrame

    _check(poisons, originals)
    moved = (poisons.double() - originals.double()).flatten(1).cpu() / 255
    power = moved.square().mean(1)
    found = {PSNR: -10 * power.log10(), SSIM: _similarities(poisons, originals),
             L2: moved.norm(dim=1), LINF: moved.abs().amax(1)}
    if encode is not None:
        found[FEATURES] = _distances(encode(poisons), encode(originals))
    return DataFrame({name: values.numpy() for name, values in found.items()})


def _similarities(poisons: Tensor, originals: Tensor) -> Tensor:
    """Means over all pixels [n], images reflected at their edges.

    The library's own mean leaves out five pixels at each edge, where triggers in corners lie.
    """
    from skimage.metrics import structural_similarity

    found = []
    for one, other in zip(poisons.cpu().numpy(), originals.cpu().numpy(), strict=True):
        both = structural_similarity(
            one, other, channel_axis=0, data_range=255, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True)
        found.append(both[1].mean())  # of the map, not the library's mean
    return torch.tensor(found, dtype=torch.float64)


def _distances(ours: Tensor, theirs: Tensor) -> Tensor:
    """Features of unrelated images, of mean 0 and mean squared norm NORM, are sqrt(2 NORM) apart.
    """
    from lib import features

    return (ours.double() - theirs.double()).norm(dim=1).cpu() / math.sqrt(2 * features.NORM)


def _check(poisons: Tensor, originals: Tensor) -> None:
    for images in (poisons, originals):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape != originals.shape:
            raise ValueError(f"poisons {poisons.dtype} {tuple(poisons.shape)} and originals "
                             f"{originals.dtype} {tuple(originals.shape)}: expected uint8 images "
                             "[n, channels, height, width] in pairs")
    if np.prod(originals.shape) == 0 or min(originals.shape[2:]) < WINDOW:
        raise ValueError(f"images {tuple(originals.shape)}: expected one or more, of at least "
                         f"{WINDOW}x{WINDOW} pixels")
