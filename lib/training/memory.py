"""How the C library keeps the memory that tensors leave."""

import ctypes
import functools
import sys

# Parameters of glibc's mallopt (malloc.h): when to give freed memory back, and from which size on
# to map each block anew.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 2**30  # bytes


@functools.cache
def reuse() -> bool:
    """Let tensors of up to `KEPT` bytes reuse freed memory; returns whether this system does so.

    By default glibc maps each block over 32 MB anew, and the system fills it with zeros page by
    page, which can take longer than the convolution that writes to it. Other C libraries stay as
    they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(name, KEPT) == 1 for name in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
