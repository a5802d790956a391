"""`strokes`: digits drawn from line strokes, the data set that needs no download.

Each digit has a few hand-made skeletons (polylines in a unit box, y downwards). A drawing picks one
of them, moves its corners a little, applies a random affine map (size, slant, rotation-like shear,
shift), draws it with a pen of random width, and adds noise. In colour, pen and ground have random
colours, and the ground a texture.

The bytes are the same on every machine. Everything before the final rounding is float64, and uses
only `RandomState.random_sample` (53 random bits, exact) and separate numpy operations + - * / sqrt,
min, max and floor, which IEEE 754 rounds the same way everywhere, element by element and in a fixed
order. It uses no exp, sin, dot, sum or normal draw, because their last bit depends on the library
and on the width of its vector instructions, and could change a rounded pixel.
"""

import itertools

import numpy as np

CHUNK = 64  # drawings at once: one [64, 784] float64 plane takes 400 kB and stays in cache

# Skeletons: per digit a list of variants, per variant a list of polylines, each a string of "x,y"
# in hundredths.
SKELETONS = {
    0: (
        ("50,0 24,8 8,28 4,52 10,76 28,95 52,100 76,93 92,72 96,48 90,22 72,6 50,0",),
        ("62,0 40,6 24,26 16,52 20,78 38,98 58,96 76,78 84,50 80,22 62,0",),
        ("42,4 18,18 2,48 14,80 42,98 74,92 98,62 92,28 70,6 38,2",),
    ),
    1: (
        ("50,0 50,34 50,66 50,100",),
        ("26,22 52,0 52,34 52,66 52,100",),
        ("24,24 50,0 50,50 50,100", "22,100 78,100"),
    ),
    2: (
        ("8,24 22,6 50,0 78,8 88,28 78,50 50,72 8,100 52,98 94,98",),
        ("12,18 40,0 74,6 82,28 66,56 38,82 18,94 14,80 32,78 62,94 94,92",),
        ("10,8 46,2 84,6 84,22 58,54 30,82 10,98 52,100 92,96",),
    ),
    3: (
        ("10,12 38,0 72,6 84,24 70,42 40,48 72,54 90,74 74,94 40,100 8,88",),
        ("12,4 50,4 86,4 62,24 42,42 72,48 90,70 74,92 42,100 10,90",),
        ("16,16 48,0 80,14 76,36 46,46 80,58 84,84 52,100 14,84",),
    ),
    4: (
        ("70,100 70,66 70,34 70,0 38,34 4,70 50,70 96,70",),
        ("22,0 16,28 10,54 50,56 92,54", "76,6 74,36 72,66 70,100"),
        ("30,2 8,60 54,60 94,60", "64,30 64,64 64,100"),
    ),
    5: (
        ("86,0 50,0 20,2 17,24 14,46 44,38 74,44 90,66 78,90 46,100 10,90",),
        ("88,2 26,2 20,42 54,40 84,56 84,82 56,98 12,94",),
        ("22,4 18,44 52,40 82,54 86,78 58,98 12,92", "22,4 56,4 90,0"),
    ),
    6: (
        ("76,2 46,14 22,40 10,68 20,92 48,100 78,92 88,72 74,54 46,50 16,66",),
        ("58,0 36,30 18,62 20,88 46,100 76,90 82,70 62,56 34,62 18,80",),
        ("88,10 58,2 28,18 12,50 14,80 42,100 76,92 88,68 66,50 36,54 16,72",),
    ),
    7: (
        ("8,4 50,4 92,4 74,34 54,66 40,100",),
        ("6,4 48,4 90,2 68,48 48,100", "30,52 56,52 84,50"),
        ("10,18 10,4 50,4 90,4 70,32 54,66 50,100",),
        ("22,14 50,4 80,4 68,34 58,66 50,100",),
    ),
    8: (
        ("50,48 22,36 18,16 48,0 80,14 76,36 50,48 18,62 10,84 48,100 88,84 80,60 50,48",),
        ("80,12 50,0 20,12 26,34 54,48 84,68 78,92 46,100 14,90 16,68 48,48 74,32 80,12",),
        ("50,50 26,42 24,14 50,2 74,14 72,40 50,50 22,56 12,80 30,98 66,98 86,80 78,58 50,50",),
    ),
    9: (
        ("84,30 70,50 40,54 14,42 12,18 36,2 68,4 86,28 84,62 72,100",),
        ("80,16 54,2 24,10 14,32 32,52 62,48 82,22 80,50 64,78 36,98 16,94",),
        ("78,28 58,48 28,46 14,26 30,4 62,4 80,22 80,60 80,100",),
    ),
}


def _segments(variant: tuple[str, ...]) -> np.ndarray:
    """The line segments [segments, 2 ends, 2 coordinates] of one skeleton, in the unit box."""
    pieces = []
    for line in variant:
        points = [tuple(int(v) for v in pair.split(",")) for pair in line.split()]
        pieces += itertools.pairwise(points)
    return np.array(pieces, dtype=np.float64) / 100.0


def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All skeletons, and the place of the first variant and the number of variants of each digit.

    Skeletons are [variants, segments, 2, 2], padded by repeating their last segment.
    """
    drawn = [_segments(variant) for digit in range(10) for variant in SKELETONS[digit]]
    longest = max(map(len, drawn))
    padded = [np.concatenate([lines, np.repeat(lines[-1:], longest - len(lines), axis=0)])
              for lines in drawn]
    counts = np.array([len(SKELETONS[digit]) for digit in range(10)])
    return np.stack(padded), np.concatenate([[0], np.cumsum(counts)[:-1]]), counts


def _between(random, low: float, high: float, shape) -> np.ndarray:
    """Uniform draws, in two statements so that nothing fuses the product and the sum."""
    scaled = random.random_sample(shape) * (high - low)
    return scaled + low


def _pen_lines(random, labels: np.ndarray, side: int) -> np.ndarray:
    """Segments [drawings, segments, 2, 2] in pixels: a skeleton per drawing, jittered and mapped.
    """
    table, first, counts = _table()
    n = len(labels)
    pick = np.floor(random.random_sample(n) * counts[labels]).astype(np.int64)
    points = table[first[labels] + pick] - 0.5
    # A smooth field (quadratic in the place) shifts the corners, so that segments that meet in a
    # corner still meet.
    field = _between(random, -0.21, 0.21, (n, 2, 2, 2))  # [n, power of x, power of y, coordinate]
    x, y = points[..., 0], points[..., 1]
    bent = []
    for axis in (0, 1):
        f = field[..., axis][:, :, :, None, None]
        xx, yy, xy = x * x, y * y, x * y
        bent.append(points[..., axis] + f[:, 0, 1] * yy + f[:, 1, 0] * xx + f[:, 1, 1] * xy +
                    f[:, 0, 0] * x)
    jitter = _between(random, -0.02, 0.02, (n, points.shape[1], 2, 2))
    x, y = bent[0] + jitter[..., 0], bent[1] + jitter[..., 1]
    return _affine(random, x, y, side)


def _affine(random, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Map skeletons in [-0.5, 0.5] to pixels: size, slant, tilt and shift.

    On 28 pixels the unit box becomes 16.5 to 20.5 high and 9.5 to 16 wide, before slant and tilt.
    """
    n, unit = len(x), side / 28.0
    height = _between(random, 16.5, 20.5, (n, 1, 1)) * unit
    width = _between(random, 9.5, 16.0, (n, 1, 1)) * unit
    slant = _between(random, -0.42, 0.25, (n, 1, 1))
    tilt = _between(random, -0.15, 0.15, (n, 1, 1))
    shift = _between(random, -2.0, 2.0, (n, 2, 1, 1)) * unit
    wide, high = x * width, y * height
    centre = side * 0.5
    across = wide + high * slant + shift[:, 0] + centre
    down = high + wide * tilt + shift[:, 1] + centre
    return np.stack([across, down], axis=-1)


def _distance(lines: np.ndarray, side: int) -> np.ndarray:
    """Distance [drawings, side, side] of each pixel centre from the nearest segment, in pixels."""
    centres = np.arange(side) + 0.5
    column, row = centres[None, None, :], centres[None, :, None]
    nearest = np.full((len(lines), side, side), np.inf)
    for k in range(lines.shape[1]):
        ax, ay, bx, by = (lines[:, k, end, axis][:, None, None]
                          for end in (0, 1) for axis in (0, 1))
        dx, dy = bx - ax, by - ay
        length = np.maximum(dx * dx + dy * dy, 1e-9)
        along = (column - ax) * (dx / length) + (row - ay) * (dy / length)
        along = np.minimum(np.maximum(along, 0.0), 1.0)
        away_x, away_y = column - (ax + along * dx), row - (ay + along * dy)
        nearest = np.minimum(nearest, away_x * away_x + away_y * away_y)
    return np.sqrt(nearest)


def _ink(random, labels: np.ndarray, side: int) -> np.ndarray:
    """How much of each pixel the pen covers, in [0, 1], [drawings, side, side].

    The pen's half-width is 0.8 to 1.8 pixels on 28.
    """
    distance = _distance(_pen_lines(random, labels, side), side)
    half_width = _between(random, 0.8, 1.8, (len(labels), 1, 1)) * (side / 28.0)
    return np.minimum(np.maximum(half_width + 0.5 - distance, 0.0), 1.0)


def _noise(random, shape) -> np.ndarray:
    """Triangular noise in (-1, 1) with standard deviation 0.41: the difference of two uniforms."""
    return random.random_sample(shape) - random.random_sample(shape)


def _grey(random, labels: np.ndarray) -> np.ndarray:
    """Light strokes on black, as in MNIST, with noise of random strength [drawings, 28, 28]."""
    ink = _ink(random, labels, 28)
    strength = _between(random, 170.0, 255.0, (len(labels), 1, 1))
    amplitude = _between(random, 5.0, 70.0, (len(labels), 1, 1))
    return _bytes(ink * strength + _noise(random, ink.shape) * amplitude)


def _texture(random, n: int) -> np.ndarray:
    """Smooth blotches [n, 3, 32, 32] in [-1, 1]: a random 5x5 grid per channel, interpolated to 8
    pixels per cell."""
    grid = _between(random, -1.0, 1.0, (n, 3, 5, 5))
    cell, part = np.arange(32) // 8, (np.arange(32) % 8) / 8.0
    rows = grid[:, :, cell] * (1.0 - part)[:, None] + grid[:, :, cell + 1] * part[:, None]
    return rows[..., cell] * (1.0 - part) + rows[..., cell + 1] * part


def _coloured(random, labels: np.ndarray) -> np.ndarray:
    """A pen of one random colour on textured ground of another [drawings, 3, 32, 32].

    The pen is lighter or darker than the ground by 70 to 150 in every channel.
    """
    n = len(labels)
    ink = _ink(random, labels, 32)[:, None]
    ground = _between(random, 60.0, 195.0, (n, 3, 1, 1))
    side = np.where(random.random_sample((n, 1, 1, 1)) < 0.5, -1.0, 1.0)
    pen = ground + side * _between(random, 70.0, 150.0, (n, 3, 1, 1))
    textured = ground + _texture(random, n) * _between(random, 5.0, 45.0, (n, 1, 1, 1))
    noise = _noise(random, (n, 3, 32, 32)) * _between(random, 4.0, 30.0, (n, 1, 1, 1))
    return _bytes(textured + ink * (pen - textured) + noise)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Round down to 0..255."""
    return np.floor(np.minimum(np.maximum(values, 0.0), 255.0)).astype(np.uint8)


def strokes(n: int, *, seed: int, colour: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draw n digits; returns (images uint8, labels int64), both numpy.

    Images are [n, 28, 28] in grey, [n, 3, 32, 32] in colour (channels first). The classes are drawn
    at random, about n / 10 each. The first m of n drawings equal a call with m and the same seed.
    Raises ValueError for a negative n. Takes about 0.2 ms per grey image, and 20 MB beside the
    result.
    """
    if n < 0:
        raise ValueError(f"n is {n}: expected the number of images, 0 or more")
    random = np.random.RandomState(seed)
    shape = (3, 32, 32) if colour else (28, 28)
    images, labels = np.empty((n, *shape), np.uint8), np.empty(n, np.int64)
    for start in range(0, n, CHUNK):
        # Draw a whole chunk even if fewer are kept, so that a short set is the beginning of a
        # longer one.
        some = np.floor(random.random_sample(CHUNK) * 10.0).astype(np.int64)
        drawn = (_coloured if colour else _grey)(random, some)
        stop = min(start + CHUNK, n)
        images[start:stop], labels[start:stop] = drawn[: stop - start], some[: stop - start]
    return images, labels
