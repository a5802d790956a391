"""From one run to the runs of a comparison: attack instances, and the training worlds of each."""

from collections.abc import Iterable, Sequence

from lib.study.runs import Run


def instances(start: Run, pairs: Iterable[Sequence[int]], *, seeds: int | None = 3) -> list[Run]:
    """One run a pair of classes (base, target), each with a trigger and poisoned rows of its own.

    seeds: so many training seeds serve all pairs in turn, and runs of equal seed share one clean
    twin; None: one each.
    """
    def one(number: int, base: int, target: int) -> Run:
        seed = number if seeds is None else number % seeds
        return start.with_(attack__base=base, attack__target=target, attack_seed=number,
                           init_seed=seed, noise_seed=seed)
    return [one(number, base, target) for number, (base, target) in enumerate(pairs)]


def worlds(start: Run, names: Iterable[str] = "PLC") -> list[Run]:
    """The same run in several training worlds of its attack, by their names."""
    return [start.in_world(name) for name in names]
