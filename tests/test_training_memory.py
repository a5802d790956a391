"""Freed memory is used again."""

import subprocess
import sys

import pytest

from lib.training import memory

FAULTS = """
import ctypes, resource
from lib.training import memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def faults(size=2**26):  # above 32 MB, from where glibc maps by default
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        block = libc.malloc(size)
        libc.memset(block, 1, size)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = faults()
memory.reuse()
print(default, faults())
"""


@pytest.mark.skipif(not memory.reuse(), reason="the C library here is not glibc")
def test_freed_memory_is_not_mapped_anew():
    found = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True,
                           text=True).stdout
    default, reused = map(int, found.split())
    # Eight blocks of 64 MB against one; a fault is a page, of at least 4 kB.
    assert default > 4 * reused, found
