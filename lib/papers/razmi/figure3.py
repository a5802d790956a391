"""Figure 3 of Razmi et al.: accuracy and attack success of four methods over epsilon."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib import privacy
from lib.papers.razmi import candidates
from lib.papers.razmi.candidates import Choices, Methods
from lib.study import recipes
from lib.study.runs import Run
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame

NEAR = 0.05  # of accuracy below the undefended model: "high accuracy" of the paper's corner
UNDEFENDED = "undefended"
# DP-SGD in the paper's figure 1c: noise multiplier, images, batch, epochs
NOISE, RECORDS, BATCH, EPOCHS, DELTA = 5.6, 50_000, 512, 50, 1e-5


def budgets(methods: Methods, setup: Mapping[str, Any], choices: Choices, *,
            epsilons: Sequence[float]) -> list[Run]:
    """DP-SGD, LP-2ST and ALIBI at each epsilon and without noise, each as tuned nearest to it."""
    known = candidates.known(choices, setup)
    return [methods.private(setup, method, epsilon, choice=recipes.tuned(
        choices[setup["dataset"], method], epsilon)) for method in ("DP-SGD", "LP-2ST", "ALIBI")
        if method in known for epsilon in [*epsilons, None]]


def votes(methods: Methods, setup: Mapping[str, Any], choices: Choices, *, threshold: float,
          noise: Sequence[float], factors: Sequence[float], queries: Sequence[int]) -> list[Run]:
    """PATE with a threshold: all public images as queries at several multiples of the noise (of
    selection, of results), then fewer queries at that noise."""
    if "PATE" not in candidates.known(choices, setup):
        return []
    rate = choices[setup["dataset"], "PATE"][candidates.ANY].rate
    def pate(factor: float, count: int | None) -> Run:
        return methods.pate(setup, rate, threshold=float(threshold), queries=count,
                            selection_noise=factor * noise[0], result_noise=factor * noise[1])

    return [*(pate(factor, None) for factor in [0.0, *factors]),
            *(pate(1.0, count) for count in queries)]


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `series`, the method; PATE's by what sets its epsilon, noise or queries."""
    asked = rows.optional(frame, "defence.queries").notna()

    def series(method: str, fewer: bool) -> str:
        if method == "PATE":
            return "PATE (queries)" if fewer else "PATE (noise)"
        return "DP-SGD" if method == "clip only" else method

    return frame.assign(series=[series(*one) for one in zip(recipes.names(frame), asked,
                                                            strict=True)])


def defended(frame: "DataFrame") -> "DataFrame":
    """Of `named`: the rows with a defence."""
    return frame[frame["series"].ne(UNDEFENDED)]


def panels(frame: "DataFrame") -> list[dict[str, Any]]:
    """The two panels that `lib.figures.panels` draws; calibrated epsilons to two digits, so that
    those that were asked for alike stand together."""
    epsilon = frame["epsilon"].map(lambda value: float(f"{value:.2g}"))
    return [dict(frame=defended(frame.assign(epsilon=epsilon)), x="epsilon", y=y, series="series",
                 xscale="log", xlabel="epsilon", title=title)
            for y, title in (("accuracy", "higher is better"), ("success", "lower is better"))]


def panel_letters(frame: "DataFrame") -> tuple[str, str]:
    """The paper's letters of the panels over epsilon, and of the plane, for this data."""
    return ("3d, 3e", "3f") if frame["features"].iloc[0] == "none" else ("3a, 3b", "3c")


def corner(frame: "DataFrame") -> str:
    """In words: of the settings nearly as accurate as the undefended model, the one with the least
    attack success. `frame`: of `named`."""
    by = ["series", "epsilon"]
    means = defended(frame).groupby(by)[["accuracy", "success", "lift"]].mean().dropna()
    full = frame.loc[frame["series"].eq(UNDEFENDED), "accuracy"].mean()
    near = means[means["accuracy"] >= full - NEAR]
    if near.empty:
        return ""
    name, epsilon = near["success"].idxmin()
    at = "without noise" if math.isinf(epsilon) else f"at epsilon {epsilon:.2g}"
    best = 100 * near.loc[(name, epsilon)]
    return (f"Of {len(means)} settings {len(near)} are within {100 * NEAR:.0f} points of the"
            f" undefended model's accuracy ({100 * full:.0f}%). The one with the least attack"
            f" success is {name} {at}: {best['accuracy']:.0f}% accurate, attack success"
            f" {best['success']:.0f}%, lift {best['lift']:.0f} points.")


def samplers() -> "DataFrame":
    """Epsilon of one training of the paper (figure 1c) under each reading of how batches are drawn.
    """
    import pandas as pd

    rate, steps = 1 / math.ceil(RECORDS / BATCH), EPOCHS * math.ceil(RECORDS / BATCH)
    poisson = {name: privacy.dpsgd_epsilon(NOISE, rate, steps, DELTA, adjacency=name)
               for name in ("add-remove", "replace-one")}
    lines = [("Poisson", name, epsilon) for name, epsilon in poisson.items()]
    lines.append(("shuffled", "zero-out", privacy.shuffled_epsilon(NOISE, EPOCHS, DELTA)))
    return pd.DataFrame(lines, columns=["batches", "adjacency", "epsilon"])
