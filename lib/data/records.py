"""Drawn sets of tabular records: `baskets`, and the two `moons`.

`baskets` stands in for Purchase-100 where its archive is missing: 100 classes, 100 bits, and a
softmax regression that is about as accurate as Hong et al.'s (their released runs: 0.72).
`moons` is scikit-learn's `make_moons` (Hong et al., figure 10), made again from exact arithmetic.

The bytes are the same on every machine, by the rules of `lib.data.drawn`: float64, draws from
`RandomState.random_sample` alone, and no function whose last bit depends on a library.
"""

import numpy as np

CLASSES, BITS = 100, 100  # of baskets
SPREAD = 0.588  # width of the interval of the bits' means; tuned, see `baskets`
MEANS_SEED = [0, 1]  # of the class means that all baskets share, a stream of its own

GRID = 255.0  # the largest byte
ORIGIN, SIDES = (-1.75, -1.25), (4.5, 3.0)  # of the box that the bytes of moons span
NOISE = 0.16  # standard deviation of the noise on a moon's points


def baskets(n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n records of 100 bits in 100 classes; returns (uint8 [n, 100], labels int64 [n]).

    Bits are 0 or 255. A class is drawn at random, then every bit independently, with the class's
    mean for that bit. Means are uniform on 0.5 +- SPREAD / 2, drawn once for all seeds. With 10,000
    training records, softmax regression (Adam, learning rate 0.01, 30 epochs) classifies 70 to 72%
    of the test records. Raises ValueError for a negative n.
    """
    _check(n)
    centred = np.random.RandomState(MEANS_SEED).random_sample((CLASSES, BITS)) - 0.5
    spread = centred * SPREAD
    means = spread + 0.5
    random = np.random.RandomState(seed)
    labels = np.floor(random.random_sample(n) * CLASSES).astype(np.int64)
    bits = random.random_sample((n, BITS)) < means[labels]
    return bits.astype(np.uint8) * np.uint8(255), labels


def moons(n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n points of two interleaved half circles; returns (uint8 [n, 2], labels int64 [n]).

    Class 0 is the upper moon, (cos t, sin t) for t uniform in [0, pi], class 1 the lower one,
    (1 - cos t, 0.5 - sin t); both coordinates get noise of standard deviation 0.16. They are
    rounded onto a grid of 256 x 256 bytes: bytes (a, b) are the point (4.5 a / 255 - 1.75,
    3 b / 255 - 1.25), see `coordinates`. Points outside of that box move to its edge. Raises
    ValueError for a negative n.
    """
    _check(n)
    random = np.random.RandomState(seed)
    labels = np.floor(random.random_sample(n) * 2.0).astype(np.int64)
    across, up = _half_circle(random, n)
    lower = labels == 1
    x, y = np.where(lower, 1.0 - across, across), np.where(lower, 0.5 - up, up)
    points = np.stack([x, y], axis=1)
    noise = _nearly_normal(random, (n, 2)) * NOISE
    return _on_grid(points + noise), labels


def coordinates(records: np.ndarray) -> np.ndarray:
    """The points float64 [n, 2] that bytes [n, 2] of `moons` stand for."""
    return records.astype(np.float64) / GRID * np.array(SIDES) + np.array(ORIGIN)


def _on_grid(points: np.ndarray) -> np.ndarray:
    """The nearest bytes uint8 [n, 2]."""
    moved = points - np.array(ORIGIN)
    scaled = moved * GRID / np.array(SIDES)
    shifted = scaled + 0.5
    return np.floor(np.minimum(np.maximum(shifted, 0.0), GRID)).astype(np.uint8)


def _half_circle(random: np.random.RandomState, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(cos t, sin t) for n uniform angles t in [0, pi]: uniform points of the half disc, projected.

    Draws points of a rectangle until enough lie in the half disc, because cos and sin may differ in
    their last bit from machine to machine.
    """
    found, kept = np.empty((0, 2)), 0
    while kept < n:
        drawn = random.random_sample((2 * n, 2))
        points = np.stack([drawn[:, 0] * 2.0 - 1.0, drawn[:, 1]], axis=1)
        squared = points[:, 0] * points[:, 0] + points[:, 1] * points[:, 1]
        inside = (squared <= 1.0) & (squared > 1e-4)
        length = np.sqrt(squared[inside])
        found = np.concatenate([found, points[inside] / length[:, None]])
        kept = len(found)
    return found[:n, 0], found[:n, 1]


def _nearly_normal(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """The sum of twelve uniforms minus 6: mean 0, variance 1, never beyond 6."""
    total = np.full(shape, -6.0)
    for _ in range(12):
        total = total + random.random_sample(shape)
    return total


def _check(n: int) -> None:
    if n < 0:
        raise ValueError(f"n is {n}: expected the number of records, 0 or more")
