"""Data and pictures of a figure in few bytes: CSV turned on its side and packed, PNG as WebP."""

import base64
import csv
import gzip
import io
import re

DIGITS = 4  # significant, of fractions: more than any figure shows
QUALITY = 95  # of WebP: no difference to see at four times the size
PNG = "data:image/png;base64,"
_FRACTION = re.compile(r"-?\d*\.\d+(?:[eE][-+]?\d+)?")


def packed(text: str) -> str:
    """The CSV as base64 of a gzip file with a line a *column*: like stands beside like.

    The page's script turns it back. Without it the file is saved as it is, still a CSV.
    """
    rows = [[_rounded(cell) for cell in row] for row in csv.reader(io.StringIO(text))]
    turned = io.StringIO()
    csv.writer(turned, lineterminator="\n").writerows(zip(*rows, strict=True))
    return base64.b64encode(gzip.compress(turned.getvalue().encode(), 9, mtime=0)).decode()


def unpacked(coded: str) -> str:
    """The CSV, a line a row: what the script does, for the tests."""
    columns = csv.reader(io.StringIO(gzip.decompress(base64.b64decode(coded)).decode()))
    turned = io.StringIO()
    csv.writer(turned, lineterminator="\n").writerows(zip(*columns, strict=True))
    return turned.getvalue()


def smaller(address: str) -> str:
    """A PNG's data address as that of a WebP, if it is one and the WebP is smaller."""
    from PIL import Image, UnidentifiedImageError

    packed_bytes = io.BytesIO()
    try:
        with Image.open(io.BytesIO(base64.b64decode(address.removeprefix(PNG)))) as image:
            image.save(packed_bytes, "WEBP", quality=QUALITY, method=6, exact=True)
    except (UnidentifiedImageError, ValueError):  # a broken picture stays as it is
        return address
    coded = "data:image/webp;base64," + base64.b64encode(packed_bytes.getvalue()).decode()
    return min(coded, address, key=len)


def _rounded(cell):
    """A fraction to a few digits; whole numbers (steps, seeds, counts) and words as they are."""
    if not _FRACTION.fullmatch(cell):
        return cell
    value = float(cell)
    return f"{value:.{DIGITS}g}" if abs(value) < 10 ** DIGITS else f"{value:.0f}"
