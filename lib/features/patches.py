"""The single-layer features of Coates and Ng, learnt from the public images alone.

"The Importance of Encoding Versus Training with Sparse Coding and Vector Quantization" (ICML 2011),
with the spherical k-means of "Learning Feature Representations with K-means" (2012).

A patch p of D = 36 channels numbers is contrast-normalised, n = (p - mean(p)) / sqrt(var(p) + 10),
whitened, w = Z (n - m), and compared with K unit centroids, z = C w. Its code is max(0, z - a) and
max(0, -z - a), averaged over each of the four quadrants of the image, which gives 8 K numbers.

Normalisation and whitening fold into one convolution. With F = C Z and F' = F less each row's mean,
F (p - mean(p)) = F' p, because F' has no response to a constant. So z = (F' * image) / s - F m,
where s = sqrt(var(p) + 10) is one number per position, from box sums of the image and its square.

Measured on one core (EPYC, AVX-512), 256 filters, 32x32 colour: 4 s to fit, then 0.34 ms per image.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

SIDE = 6  # of a patch, pixels
CONTRAST = 10.0  # added to a patch's variance on the 0-255 scale (Coates and Ng)
WHITEN = 0.1  # added to the eigenvalues of the patches' covariance (Coates and Ng)
# a. Accuracy in five folds of the public split of CIFAR-10 (JPEG): 63.6% at 0.25, 63.2% at 0 and
# at 0.5, 62.1% at 1.5.
THRESHOLD = 0.25
SAMPLES = 200_000  # patches for whitening and k-means
ITERATIONS = 15
CHUNK = 4  # images at once on a CPU, where the responses [4, 729, 256] take 3 MB of cache


def fit(images: torch.Tensor, *, filters: int = 256, seed: int = 0) -> dict[str, torch.Tensor]:
    """Fit filters [K, channels, 6, 6] and offsets [K] to public images uint8 [n, channels, height,
    width].

    Always runs on the CPU, so that the filters do not depend on a GPU.
    """
    generator = torch.Generator().manual_seed(seed)
    patches = _normalised(_sample(images.cpu(), generator))
    centre, whiten = _whitening(patches)
    centroids = _spherical_kmeans((patches - centre) @ whiten, filters, generator)
    folded = centroids @ whiten  # [K, D]; the whitening is symmetric
    offset = folded @ centre
    folded = folded - folded.mean(1, keepdim=True)
    return {"filters": folded.reshape(filters, images.shape[1], SIDE, SIDE), "offset": offset}


def encode(fitted: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Features float32 [n, 8 K] on the CPU, unscaled: (sign, quadrant, filter) in this order."""
    code = network(fitted, images.shape[1:], images.device)
    chunk = CHUNK if images.device.type == "cpu" else 512
    coded = torch.empty(len(images), 8 * len(fitted["filters"]))
    with torch.inference_mode():
        for start in range(0, len(images), chunk):
            some = code(images[start : start + chunk])
            coded[start : start + len(some)] = some.cpu()
    return coded


def network(fitted: dict[str, torch.Tensor], shape: torch.Size, device: torch.device) -> Callable:
    """A differentiable function from images [n, *shape] on `device` to features [n, 8 K] there."""
    filters = fitted["filters"].to(device).contiguous(memory_format=torch.channels_last)
    offset, pool = fitted["offset"].to(device), _quadrants(*shape[1:]).to(device)

    def code(images: torch.Tensor) -> torch.Tensor:
        # A GPU's default for convolutions, TF32, would keep only three digits.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return _coded(images, filters, offset, pool)
    return code


def _coded(images: torch.Tensor, filters: torch.Tensor, offset: torch.Tensor,
           pool: torch.Tensor) -> torch.Tensor:
    pixels = images.float().contiguous(memory_format=torch.channels_last)
    responses = functional.conv2d(pixels, filters).permute(0, 2, 3, 1)  # channels last: a view
    z = torch.addcmul(-offset, responses, 1.0 / _contrast(pixels))  # [n, height, width, K]
    z = z.reshape(len(images), -1, len(filters))
    # pool is [4, positions]. As mean max(0, z - a) = mean max(z, a) - a, each half of the code
    # needs one pass.
    above = torch.matmul(pool, z.clamp_min(THRESHOLD)) - THRESHOLD
    below = -torch.matmul(pool, z.clamp_max(-THRESHOLD)) - THRESHOLD
    return torch.cat([above.flatten(1), below.flatten(1)], 1)


def _contrast(pixels: torch.Tensor) -> torch.Tensor:
    """sqrt(var + 10) of the patch at each position, [n, height, width, 1].

    The sums are whole numbers below 2^24 for up to 7 channels, so float32 holds them exactly.
    """
    count = pixels.shape[1] * SIDE * SIDE
    sums = torch.cat([pixels.sum(1, keepdim=True), pixels.square().sum(1, keepdim=True)], 1)
    total, squares = functional.avg_pool2d(sums, SIDE, stride=1, divisor_override=1).unbind(1)
    mean = total / count
    variance = (squares / count - mean * mean).clamp_min(0.0)
    return (variance + CONTRAST).sqrt()[..., None]


def _quadrants(height: int, width: int) -> torch.Tensor:
    """Weights [4, positions] that average each quadrant; a middle row or column belongs to both."""
    rows, columns = height - SIDE + 1, width - SIDE + 1
    pool = torch.zeros(4, rows, columns)
    high, wide = -(-rows // 2), -(-columns // 2)
    for quadrant in range(4):
        top, left = (quadrant // 2) * (rows - high), (quadrant % 2) * (columns - wide)
        pool[quadrant, top : top + high, left : left + wide] = 1.0 / (high * wide)
    return pool.flatten(1)


def _sample(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random patches float32 [SAMPLES, D]."""
    n, channels, height, width = images.shape
    which = torch.randint(n, (SAMPLES,), generator=generator)
    top = torch.randint(height - SIDE + 1, (SAMPLES,), generator=generator)
    left = torch.randint(width - SIDE + 1, (SAMPLES,), generator=generator)
    step = torch.arange(SIDE)
    rows = (top[:, None] + step)[:, None, :, None]
    columns = (left[:, None] + step)[:, None, None, :]
    picked = images[which[:, None, None, None],
                    torch.arange(channels)[None, :, None, None], rows, columns]
    return picked.reshape(SAMPLES, -1).float()


def _normalised(patches: torch.Tensor) -> torch.Tensor:
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + CONTRAST).sqrt()


def _whitening(patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean [D] and the ZCA matrix [D, D] = V (L + eps)^-1/2 V' of normalised patches."""
    centre = patches.mean(0)
    spread = (patches - centre).double()
    values, vectors = torch.linalg.eigh(spread.T @ spread / len(patches))
    return centre, ((vectors / (values.clamp_min(0) + WHITEN).sqrt()) @ vectors.T).float()


def _spherical_kmeans(points: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
    """Unit centroids [k, D] by spherical k-means (Coates and Ng 2012, section 3).

    Each point is assigned to the centroid c with the largest |<c, x>|, weighted by <c, x>. Adding
    the old centroid damps the update, and keeps a centroid without points.
    """
    centroids = functional.normalize(torch.randn(k, points.shape[1], generator=generator))
    for _ in range(ITERATIONS):
        sums = centroids.clone()
        for some in points.split(8192):
            inner = some @ centroids.T
            best = inner.abs().argmax(1, keepdim=True)
            sums.index_add_(0, best[:, 0], some * inner.gather(1, best))
        centroids = functional.normalize(sums)
    return centroids
