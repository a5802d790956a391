"""Tables of what a noise multiplier means: epsilon by sampler, adjacency and tuning, and the cap on
attack success.
"""

import functools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .bounds import dpsgd_attack_success_cap
from .dpsgd import dpsgd_epsilon, shuffled_epsilon

if TYPE_CHECKING:
    from pandas import DataFrame

DELTA = 1e-5


def epsilon_table(noise_multipliers: Iterable[float], *, n: int, batch_size: float, epochs: int,
                  tuning_runs: int, poisons: Iterable[int] = (),
                  clean_rate: float = 0.01) -> "DataFrame":
    """Epsilons at delta 1e-5 (PLD) and caps for DP-SGD on `n` records, one line per noise
    multiplier.

    Columns: add-remove and replace-one with Poisson batches; shuffled batches (zero-out, no
    amplification); add-remove including `tuning_runs` further trainings on nine tenths of the
    records, charged in full (sequential composition, each at the larger of the two sampling rates);
    for each k of `poisons` the largest attack success, starting from `clean_rate`, that k records
    replaced in place can reach (replace-one). Returns a DataFrame. Multipliers must be above 0.
    """
    import pandas

    rate, steps = batch_size / n, max(1, round(epochs * n / batch_size))
    tuning_rate = min(1.0, batch_size / (n - n // 10))
    lines = []
    for z in noise_multipliers:
        line = {"noise multiplier": z,
                "add-remove": dpsgd_epsilon(z, rate, steps, DELTA),
                "replace-one": dpsgd_epsilon(z, rate, steps, DELTA, adjacency="replace-one"),
                "shuffled": shuffled_epsilon(z, math.ceil(epochs), DELTA),
                "tuning included": dpsgd_epsilon(z, tuning_rate, (1 + tuning_runs) * steps, DELTA)}
        cap = functools.partial(
            dpsgd_attack_success_cap, clean_rate, z, rate, steps, adjacency="replace-one")
        lines.append(line | {f"cap, k = {k}": cap(k=k) for k in poisons})
    return pandas.DataFrame(lines)


def measured_caps(frame: "DataFrame", *, n: int, batch_size: float, epochs: int,
                  poisons: Iterable[int]) -> "DataFrame":
    """Caps on attack success from measured clean rates, one line per noise multiplier of DP-SGD.

    frame: rows in training worlds P and C (`world`, `noise_multiplier`, `success`), one an attack
    instance. The clean rate is the upper end of the 95% t interval of the triggered rate in
    world C, by the same algorithm; NaN with one instance or with equal ones, whose spread is not
    known, and so are its caps. k of `poisons`: images poisoned in place (replace-one, Poisson).
    Returns a DataFrame.
    """
    import pandas

    rate, steps = batch_size / n, max(1, round(epochs * n / batch_size))
    lines = []
    for z, group in frame.groupby("noise_multiplier"):
        clean = group[group["world"] == "C"]["success"].astype(float)
        high = _upper(clean)
        caps = {f"cap, k = {k}": math.nan if math.isnan(high) else dpsgd_attack_success_cap(
            high, z, rate, steps, k, adjacency="replace-one") for k in poisons}
        measured = group[group["world"] == "P"]["success"].astype(float).mean()
        lines.append({"noise multiplier": z, "measured attack success": measured,
                      "triggered rate, clean training": clean.mean(),
                      "its upper bound": high} | caps)
    return pandas.DataFrame(lines)


def _upper(values) -> float:
    from lib.metrics import mean_interval
    found = mean_interval(values, bounds=(0, 1))
    return found.high if found.low < found.high else math.nan
