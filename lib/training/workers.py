"""Groups of models side by side on the cores of a CPU, each with one thread.

The products of small models are too short for two threads to share: they spend more on meeting than
they save, and where another process wants the cores too, they wait for each other for whole time
slices.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def spread(
    work: Callable, parts: Sequence, *, device: torch.device, alone: bool = False
) -> Iterator:
    """`work(part)` for every part, in order; on a CPU as many parts at once as torch has threads.

    A single part gets all threads, unless `alone`: then its bits are those it has beside others.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or (len(parts) == 1 and not alone):
        yield from map(work, parts)
        return
    torch.set_num_threads(1)  # a new thread takes over the number that holds when it starts
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, parts)
    finally:
        torch.set_num_threads(threads)
