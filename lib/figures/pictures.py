"""Panels of small images."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib.figures.style import SMALL, WIDTH, styled

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch import Tensor


def image_grid(images: "Tensor | np.ndarray", titles: Iterable[str], *, columns: int = 8
              ) -> "Figure":
    """A Figure of images in rows, each under its title, as one embedded picture.

    images: uint8 [n, channels, height, width], channels 1 or 3, array or tensor.
    titles: n strings. Raises ValueError on another type, shape or count.
    """
    import numpy as np
    from matplotlib.figure import Figure

    images, titles = np.asarray(images), list(titles)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images {images.dtype} {images.shape}: expected uint8 "
                         "[n, 1 or 3, height, width]")
    if len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images: give one for each")
    columns = max(1, min(columns, len(images)))
    canvas, corners, step = _montage(images, columns)
    cell = min(WIDTH / columns, 1.3)  # inches
    with styled():
        figure = Figure(figsize=(cell * columns, cell * canvas.shape[0] / step[1]))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(canvas, interpolation="none", aspect="auto")
        axes.set_axis_off()
        for (row, column), title in zip(corners, titles, strict=True):
            axes.text(column, row - 0.1 * step[1], title, va="baseline", ha="left",
                      fontsize=_font(titles, cell), clip_on=False)
    return figure


def _montage(images, columns):
    """The images side by side on white; returns it, the corner of each, and the cell's size."""
    import numpy as np

    count, _, height, width = images.shape
    top, gap = max(round(0.30 * height), 4), max(round(0.08 * width), 2)
    step = (height + top, width + gap)
    rows = -(-count // columns)
    canvas = np.full((rows * step[0] + gap, columns * step[1], 3), 255, dtype=np.uint8)
    corners = []
    for index, image in enumerate(images):
        row, column = (index // columns) * step[0] + top, (index % columns) * step[1] + gap // 2
        canvas[row:row + height, column:column + width] = np.moveaxis(image, 0, 2)
        corners.append((row, column))
    return canvas, corners, step


def _font(titles, cell):
    """The largest size (points) at which the longest title fits its cell."""
    longest = max((len(line) for title in titles for line in title.split("\n")), default=1)
    return max(SMALL, min(9.5, 72 * cell / (0.62 * longest)))
