"""The trainings of section 6.2 (figures 4, 8 and 11) as lists of runs, and their arms by name.

An instance is a draw: the seed of the attack, which also seeds the noise; initial weights and
batches are the same in all draws. In world C nothing depends on the attack, so the clean runs of an
arm are asked for once, with flipped labels at the largest share, and serve every attack and share.
An arm without noise has one clean run for all draws.

The paper's noise is an absolute standard deviation on the sum of clipped gradients, and arms are
named by it; `multiples` takes the same numbers as multiples of the clipping norm.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lib import privacy
from lib.attacks import Attack
from lib.attacks.label_flip import LabelFlip
from lib.attacks.slab import Slab
from lib.defences import Defence
from lib.defences.alibi import ALIBI
from lib.defences.dpsgd import DPSGD
from lib.defences.lpmst import LPMST
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.defences.quantile_clipping import QuantileClipping
from lib.study.runs import Run
from lib.training import Training

VANILLA = "vanilla"
FLIPS, SLAB = "flipped labels", "slab"
ATTACKS: Mapping[str, type] = {FLIPS: LabelFlip, SLAB: Slab}
LARGEST = 0.4  # share of the poisons at which the paper states its numbers
COUNTS = 20  # batch size over the noise on the number of unclipped gradients
EARLY = 10  # geometric checkpoints of the vanilla model, for stopping it early

Arms = Mapping[str, Defence]


def base(dataset: str, *, train_size: int | None, epochs: float, batch_size: int, lr: float,
         precision: str = "fast", test_size: int | None = None) -> Run:
    """Softmax regression by Adam, measured at each epoch; undefended and attacked by flips."""
    training = Training("adam", lr, momentum=0.0, epochs=float(epochs), batch_size=batch_size,
                        every=1.0)
    return Run(dataset=dataset, train_size=train_size, test_size=test_size, model="linear",
               attack=LabelFlip(LARGEST), defence=DPSGD(0.0, clip=False), training=training,
               precision=precision)


# ---------------------------------------------------------------- arms

def named(*defences: DPSGD) -> Arms:
    """Arms by their names."""
    return {name(one): one for one in defences}


def name(defence: DPSGD) -> str:
    """"vanilla", "C 4", "C 4, noise 0.1" (standard deviation on the sum) or "epsilon 1"."""
    if not defence.clip:
        return VANILLA
    if defence.noise_multiplier is None:
        return f"epsilon {defence.epsilon:g}"
    deviation = float(f"{defence.noise_multiplier * defence.max_grad_norm:.6g}")
    return f"C {defence.max_grad_norm:g}" + (f", noise {deviation:g}" if deviation else "")


def vanilla() -> Arms:
    """The model without a defence."""
    return named(DPSGD(0.0, clip=False))


def clipped(norms: Iterable[float]) -> Arms:
    """Clipping alone, at each norm."""
    return named(*(DPSGD(0.0, max_grad_norm=float(norm)) for norm in norms))


def absolute(norm: float, noise: Iterable[float]) -> Arms:
    """Clipping at one norm with the paper's noise: standard deviations on the sum."""
    return named(*(DPSGD(float(one) / norm, max_grad_norm=float(norm)) for one in noise))


def multiples(norm: float, noise: Iterable[float]) -> Arms:
    """The same numbers read as noise multipliers, which the paper's words suggest."""
    return named(*(DPSGD(float(one), max_grad_norm=float(norm)) for one in noise))


def private(epsilons: Iterable[float], norm: float) -> Arms:
    """Per-sample DP with a proper epsilon (delta 1e-5, add-remove)."""
    return named(*(DPSGD(None, epsilon=float(one), max_grad_norm=float(norm))
                   for one in epsilons))


def quantiles(quantile: float, *, epsilon: float, n: int, batch_size: int, epochs: float) -> Arms:
    """Clipping at a quantile of the gradient norms: without noise, and at most at `epsilon` on `n`
    records (delta 1e-5, Poisson batches, add-remove), the noisy count charged."""
    quiet = QuantileClipping(0.0, quantile=float(quantile), count_noise=0.0)
    count = batch_size / COUNTS
    z = noise_beside(count, epsilon=float(epsilon), sample_rate=batch_size / n,
                     steps=max(1, round(epochs * n / batch_size)))
    own = replace(quiet, noise_multiplier=z, count_noise=count)
    return {quantile_name(one): one for one in (quiet, own)}


def noise_beside(count_noise: float, *, epsilon: float, sample_rate: float, steps: int,
                 delta: float = 1e-5) -> float:
    """The noise multiplier of the gradients that leaves room for the count, to 3 decimals upwards:
    both noises together give at most `epsilon`.

    ValueError where the count alone costs as much.
    """
    whole = privacy.dpsgd_noise_multiplier(epsilon, sample_rate, steps, delta)
    room = whole**-2 - (2 * count_noise) ** -2
    if room <= 0:
        raise ValueError(f"count noise {count_noise:g} at epsilon {epsilon:g}: expected above "
                         f"{whole / 2:.3g}; take larger batches or a larger epsilon")
    return math.ceil(1000 * room**-0.5) / 1000


def quantile_name(defence: QuantileClipping) -> str:
    """"quantile 0.5", or "quantile 0.5, z 1.2" with its noise multiplier."""
    noise = defence.noise_multiplier
    return f"quantile {defence.quantile:g}" + (f", z {noise:g}" if noise else "")


# ---------------------------------------------------------------- runs

def attack(kind: str, share: float, slab: Mapping[str, Any] | None = None) -> Attack:
    """An attack by its name in `ATTACKS`; slab: further fields of the slab attack."""
    return ATTACKS[kind](float(share), **(slab or {} if kind == SLAB else {}))


def grid(start: Run, arms: Arms, *, shares: Iterable[float], draws: int,
         kinds: Iterable[str] = (FLIPS, SLAB), slab: Mapping[str, Any] | None = None
         ) -> list[Run]:
    """Every arm under each attack, at each share, in each draw: world P."""
    shares = list(shares)
    return [drawn(_of(start, name, defence).with_(attack=attack(kind, share, slab)), draw)
            for kind in kinds for share in shares for name, defence in arms.items()
            for draw in range(draws)]


def clean(start: Run, arms: Arms, *, draws: int) -> list[Run]:
    """The clean run of every arm: one for each draw if it has noise, else one for all."""
    cleaned = start.with_(attack=LabelFlip(LARGEST)).in_world("C")
    return [drawn(_of(cleaned, name, defence), draw) for name, defence in arms.items()
            for draw in range(draws if noisy(defence) else 1)]


def pairs(start: Run, arms: Arms, names: Iterable[Sequence[int]], *,
          slab: Mapping[str, Any] | None = None) -> list[Run]:
    """Every arm on each pair of classes, clean and under each attack at the largest share; the
    pair's number is its draw."""
    family = start.dataset.partition(":")[0]
    found = []
    for draw, (first, second) in enumerate(names):
        here = start.with_(dataset=f"{family}:{first}-{second}")
        for name, defence in arms.items():
            own = _of(here, name, defence)
            found += [drawn(own.with_(attack=attack(kind, LARGEST, slab)), draw)
                      for kind in ATTACKS]
            found.append(drawn(own.with_(attack=LabelFlip(LARGEST)).in_world("C"), draw))
    return found


def anatomies(start: Run, arms: Arms, *, draws: int, slab: Mapping[str, Any] | None = None
              ) -> list[Run]:
    """Figures 4c and 4f: every arm under each attack at the largest share, each epoch with how the
    gradients of poison and of clean records compare."""
    runs = grid(start, arms, shares=[LARGEST], draws=draws, slab=slab)
    return [run.with_(anatomy=True, training__checkpoints=0) for run in runs]


def variants(start: Run, settings: Iterable[Mapping[str, Any]], *, draws: int,
             slab: Mapping[str, Any] | None = None) -> list[Run]:
    """The slab attack on the vanilla model at the largest share with other settings (`rho_squared`,
    `clip_pixels`)."""
    own = _of(start, VANILLA, vanilla()[VANILLA])
    return [drawn(own.with_(attack=attack(SLAB, LARGEST, {**(slab or {}), **one})), draw)
            for one in settings for draw in range(draws)]


def others(start: Run, *, epsilon: float, partitions: int, teachers: int, queries: int,
           result_noise: float, public: int) -> dict[str, Run]:
    """Defences that were made for other attacks, by name, at the end of their training.

    epsilon: of ALIBI and LP-2ST, which protect labels alone. PATE has `public` further records, of
    which it asks about `queries`, and its student small batches. partitions: models of DPA.
    """
    end = start.with_(training__every=0.0)
    shuffled = replace(end.training, sampling="shuffle")
    pate = PATE(teachers, queries=queries, result_noise=float(result_noise), pool="clean",
                teacher=replace(shuffled, batch_size=min(end.training.batch_size, 20)))
    size = None if start.train_size is None else start.train_size + public
    return {"ALIBI": end.with_(defence=ALIBI(float(epsilon))),
            "LP-2ST": end.with_(defence=LPMST(float(epsilon))),
            "PATE": end.with_(defence=pate, public=public, train_size=size,
                              training__batch_size=min(end.training.batch_size, 20)),
            "DPA": end.with_(defence=Partition(partitions, twin=True), training=shuffled)}


def against_others(runs: Mapping[str, Run], *, shares: Iterable[float], draws: int,
                   slab: Mapping[str, Any] | None = None) -> list[Run]:
    """Each of `others` under both attacks and in the world that its guarantee compares with: T for
    labels alone, else C; and clean."""
    found = [drawn(run.with_(attack=attack(kind, share, slab)), draw)
             for kind in ATTACKS for share in shares for run in runs.values()
             for draw in range(draws)]
    controls = [one.in_world("T") for one in found if isinstance(one.defence, ALIBI | LPMST)]
    cleaned = [drawn(run.with_(attack=LabelFlip(LARGEST)).in_world("C"), draw)
               for run in runs.values() for draw in range(draws if noisy(run.defence) else 1)]
    return [*found, *controls, *cleaned]


def drawn(run: Run, draw: int) -> Run:
    """The run in one draw of its attack and of its noise."""
    return replace(run, attack_seed=draw, init_seed=0, noise_seed=draw)


def noisy(defence: Defence) -> bool:
    """Whether a defence draws random numbers of its own."""
    silent = isinstance(defence, DPSGD | QuantileClipping) and defence.noise_multiplier == 0
    return not (silent or isinstance(defence, Partition))


def _of(start: Run, name: str, defence: Defence) -> Run:
    """The run of an arm; the vanilla model is also measured early, so that it can be stopped."""
    run = replace(start, defence=defence)
    return run.with_(training__checkpoints=EARLY) if name == VANILLA else run
