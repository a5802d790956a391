"""Build the runs of a comparison from one run: attack instances, and their training worlds."""

from collections.abc import Iterable, Sequence

from lib.study.runs import Run


def instances(start: Run, pairs: Iterable[Sequence[int | None]], *, seeds: int | None = 3
              ) -> list[Run]:
    """One run for each pair of classes (base, target), each with its own trigger and poisoned rows;
    base None: all classes but the target.

    seeds: number of training seeds, given to the pairs in turn; runs with equal seeds share a clean
    twin. None: a different seed for every pair.
    """
    def instance(number: int, base: int | None, target: int | None) -> Run:
        seed = number if seeds is None else number % seeds
        return start.with_(attack__base=base, attack__target=target, attack_seed=number,
                           init_seed=seed, noise_seed=seed)
    return [instance(number, base, target) for number, (base, target) in enumerate(pairs)]


def worlds(start: Run, names: Iterable[str] = "PLC") -> list[Run]:
    """The same run in the named training worlds of its attack."""
    return [start.in_world(name) for name in names]
