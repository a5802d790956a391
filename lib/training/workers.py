"""Train groups of models side by side on the cores of a CPU, each with one thread.

The matrix products of small models are too short to split between two threads: synchronisation
costs more than it saves, and if another process uses the cores too, the threads wait for each other
for whole time slices.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def spread(work: Callable, parts: Sequence, *, device: torch.device,
           alone: bool = False) -> Iterator:
    """`work(part)` for every part, in order; on a CPU as many at once as torch has threads.

    A single part uses all threads, unless `alone` asks for one thread: then its bits are the same
    as beside other parts.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or (len(parts) == 1 and not alone):
        yield from map(work, parts)
        return
    torch.set_num_threads(1)  # a new thread inherits this number
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, parts)
    finally:
        torch.set_num_threads(threads)
