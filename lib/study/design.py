"""From one run to the runs of a comparison: attack instances, and the training worlds of each."""

from collections.abc import Iterable, Sequence

from lib.study.runs import Run


def instances(start: Run, pairs: Iterable[Sequence[int]], *, seeds: int | None = 3) -> list[Run]:
    """One run a pair of classes (base, target), each with a trigger and poisoned rows of its own.

    seeds: so many training seeds serve all pairs in turn, and runs of equal seed share one clean twin; None: one each.
    """
    return [start.with_(attack__base=base, attack__target=target, attack_seed=number, init_seed=number if seeds is None else number % seeds,
                        noise_seed=number if seeds is None else number % seeds) for number, (base, target) in enumerate(pairs)]


def worlds(start: Run, names: str = "PLC") -> list[Run]:
    """The attacked run and its twins: P as it is, L relabelled only, T stamped only, C clean."""
    switches = {"P": (True, True), "L": (False, True), "T": (True, False), "C": (False, False)}
    return [start.with_(attack__stamp=switches[name][0], attack__relabel=switches[name][1]) for name in names]
