"""Figure 12 of Hong et al.: clean accuracy over the clipping norm and over noise, and the epsilon
that the noise is worth.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lib import ledger, privacy
from lib.papers.hong import bases
from lib.study import Run

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MODELS = {"linear": "softmax", "mlp-256-256": "MLP", "cnn-16-32": "CNN"}
USEFUL = 10.0  # an epsilon above this is no protection in practice
NATURAL = 0.01  # success without the poison, from which the cap starts
NORM, NOISE = "clipping norm", "noise"  # columns of `named`


def runs(cases: Iterable[str], *, norms: Iterable[float] = bases.NORMS,
         noises: Iterable[float] = bases.NOISES, noise_norm: float = bases.NOISE_NORM,
         changes: Mapping[str, Mapping[str, Any]] | None = None) -> list[Run]:
    """Each case without clipping, at every clipping norm, and at every noise with one of them.

    changes: by case, as `Run.with_` takes them.
    """
    found = []
    for case in cases:
        own = (changes or {}).get(case, {})
        found.append(bases.base(case, **own))
        found += [bases.base(case, max_grad_norm=norm, **own)
                  for norm in dict.fromkeys([*norms, noise_norm])]
        found += [bases.base(case, max_grad_norm=noise_norm, noise=noise, **own)
                  for noise in noises]
    return found


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `series` (data and model), `clipping norm` (inf: none) and the paper's `noise`.
    """
    plain = ~frame["defence.clip"].astype(bool)
    series = frame["dataset"] + ", " + frame["model"].map(lambda name: MODELS.get(name, name))
    norm = frame["defence.max_grad_norm"].astype(float).mask(plain, math.inf)
    noise = frame["defence.noise_multiplier"].astype(float) * norm.where(~plain, 0.0)
    return frame.assign(**{"series": series, NORM: norm, NOISE: noise.round(6)})


def over_norms(frame: "DataFrame") -> "DataFrame":
    """The rows without noise. frame: of `named`."""
    return frame[frame[NOISE].eq(0)]


def over_noise(frame: "DataFrame", noise_norm: float = bases.NOISE_NORM) -> "DataFrame":
    """The rows at one clipping norm. frame: of `named`."""
    return frame[frame[NORM].eq(noise_norm)]


def panels(frame: "DataFrame", noise_norm: float = bases.NOISE_NORM) -> list[dict]:
    """What `figures.panels` draws: best accuracy over the clipping norm, and over noise."""
    shared = {"y": "best_accuracy", "series": "series", "xscale": "log", "instance": "init_seed",
              "spread": "none"}
    return [
        shared | {"frame": over_norms(frame), "x": NORM,
                  "xlabel": "clipping norm C, no noise (∞: not clipped)"},
        shared | {"frame": over_noise(frame, noise_norm), "x": NOISE,
                  "xlabel": f"noise, absolute deviation, at C = {noise_norm:g}"}]


def table(frame: "DataFrame") -> "DataFrame":
    """One line per model and noise: z, epsilon, what it permits, accuracy, RAD. frame: of `named`.

    The cap: the most success that one appended poison may have, from NATURAL without it, over the
    whole privacy profile of the training; one point of it, (epsilon, delta), permits far more.
    """
    import pandas as pd

    noisy = frame[frame[NOISE].gt(0)].sort_values(["series", NOISE], kind="stable")
    lines = [{
        "model": line["series"], "C": line[NORM], "noise": line[NOISE],
        "z = noise / C": line["defence.noise_multiplier"],
        "epsilon": _words(line["epsilon"]), "cap for one poison, %": _cap(line),
        "best accuracy, %": _percent(line["best_accuracy"]),
        "last accuracy, %": _percent(line["accuracy"]),
        "RAD, best epochs": _rad(line, frame)} for _, line in noisy.iterrows()]
    return pd.DataFrame(lines, columns=None if lines else ["model", "C", "noise", "epsilon"])


def _words(epsilon: float) -> str | None:
    if math.isnan(epsilon):
        return None
    return f"{epsilon:,.1f}" + ("" if epsilon <= USEFUL else " (vacuous)")


def _cap(line: "Series") -> str | None:
    if math.isnan(line["epsilon"]):
        return None
    known = (ledger.find(line["key"])[0] or {})["privacy"]
    return _percent(privacy.dpsgd_attack_success_cap(
        NATURAL, known["noise_multiplier"], known["sample_rate"], known["steps"], k=1,
        adjacency=known["adjacency"]))


def _percent(share: float) -> str | None:
    return None if math.isnan(share) else f"{100 * share:.1f}"


def _vanilla(frame: "DataFrame", series: str) -> float:
    """The best accuracy of a model without clipping; nan if it is not measured."""
    found = frame[frame["series"].eq(series) & frame[NORM].eq(math.inf)]["best_accuracy"]
    return float(found.iloc[0]) if len(found) else math.nan


def _rad(line: "Series", frame: "DataFrame") -> str | None:
    """The relative accuracy drop at the best epochs, at least 0, as the released code counts it."""
    plain = _vanilla(frame, line["series"])
    rad = (plain - line["best_accuracy"]) / plain
    return None if math.isnan(rad) else f"{max(0.0, rad):.3f}"


def finding(frame: "DataFrame") -> str:
    """How many noise levels have an epsilon of use, and what the others are. frame: of `named`."""
    noisy = frame[frame[NOISE].gt(0) & frame["epsilon"].notna()]
    if noisy.empty:
        return ""
    useful = noisy[noisy["epsilon"].le(USEFUL)]
    losses = [100 * (_vanilla(frame, line["series"]) - line["best_accuracy"])
              for _, line in useful.iterrows()]
    price = (f"; they cost {min(losses):.1f} to {max(losses):.1f} points of accuracy" if losses
             else "")
    return (f"{len(useful)} of {len(noisy)} noisy trainings have an epsilon of at most {USEFUL:g}"
            f" (the median is {noisy['epsilon'].median():,.0f}){price}.")


