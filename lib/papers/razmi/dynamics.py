"""Measuring R15: losses along the training (Razmi et al., figure 7; rows and curves of
`17_training_dynamics`).
"""

from functools import partial
from typing import TYPE_CHECKING

from lib.papers import razmi
from lib.papers.razmi import roles
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

# "early": of the paper's 50 epochs; in the first one every loss is near that of guessing
FIRST, LAST = 1, 10
NAMED_EPSILON = 1.0
NOISE_FREE, NAMED = "no noise", "epsilon 1"
POISON, CLEAN, BASE = "loss_poison", "loss_clean", "loss_base"


def loss_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 7."""
    attacked = rows.nearest(rows.measured(frame, fraction=rows.FIGURE_FRACTION), razmi.HEAD)
    return _used(_arms(attacked)) if len(attacked) else attacked


def _used(arms: dict) -> "DataFrame":
    return rows.together(group for runs in arms.values() for group in runs.values())


def _arms(attacked: "DataFrame") -> dict:
    """Recorded runs by method: those without noise and those at epsilon 1, one setting each."""
    recorded = attacked[attacked["training.checkpoints"] > 0]
    sgd, free = roles.private_sgd(recorded), recorded["epsilon"].eq(float("inf"))
    # DP-SGD without noise still clips; where that was not run, plain training stands for it
    noiseless = sgd[free[sgd.index]] if free[sgd.index].any() else rows.undefended(recorded)
    found = {"DP-SGD": (noiseless, roles.at_epsilon(sgd, NAMED_EPSILON))}
    for name, choose in (("LP-2ST", roles.two_stage), ("ALIBI", roles.alibi)):
        group = choose(recorded)
        found[name] = group[free[group.index]], roles.at_epsilon(group, NAMED_EPSILON)
    return {
        name: dict(zip((NOISE_FREE, NAMED), map(rows.one_setting, pair)))
        for name, pair in found.items()
    }


def early_losses(
    frames: Frames, claim: Claim, *, least: float | None = None, column: str = "lift"
) -> Measurement:
    """R15: loss of the poisoned samples minus that of clean ones, mean over the points of epochs 1
    to 10, one value an instance.

    The losses are of the labels in the poisoned set (before any label noise). Clean: untouched
    samples of the other classes; beside it untouched ones of the base class.
    A method's control is the lift (`column`) of its own runs without noise, above `least` (None:
    what the claim asks for).
    """
    curves = frames.get(f"{claim.notebook}/curves")
    if curves is None:
        from lib import study

        curves = study.curves(frames[claim.notebook])
    shown = partial(judgement.shows, least=claim.control if least is None else least, column=column)
    return judgement.measure(
        frames,
        claim,
        partial(_early, curves=curves, shown=shown),
        fraction=rows.FIGURE_FRACTION,
        also=rows.HEADLINE_FRACTION,
        metric=CLEAN,
        beside=(BASE,),
    )


def _early(attacked: "DataFrame", claim: Claim, *, curves: "DataFrame", shown) -> Found | None:
    found = _arms(attacked)
    used = _used(found)
    if used.empty or POISON not in curves:
        return None
    gaps = early_gaps(curves[curves["key"].isin(used["key"])])
    used = used.merge(gaps, on="key", how="left")

    def judge(part: Part, column: str) -> Verdict:
        return worst(
            {
                name: _one(
                    part,
                    used[used["key"].isin(runs[part.name]["key"])],
                    column,
                    shown(runs[NOISE_FREE]),
                )
                for name, runs in found.items()
            }
        )

    diverged = int((used[CLEAN].isna() & used["key"].isin(gaps["key"])).sum())
    return Found(judge, used, note=f"{diverged} runs diverged and are left out" if diverged else "")


def early_gaps(curves: "DataFrame") -> "DataFrame":
    """Mean over the early points of each run: loss of the poisoned minus that of the named samples,
    a column each; and the key.

    NaN where a loss is not finite.
    """
    import numpy as np

    early = curves[(curves["epoch"] >= FIRST) & (curves["epoch"] <= LAST)]
    gaps = {name: early[POISON].astype(float) - early[name].astype(float) for name in (CLEAN, BASE)}
    mean = (
        early[["key"]].assign(**gaps).groupby("key").agg(lambda values: values.mean(skipna=False))
    )
    return mean.replace([np.inf, -np.inf], np.nan).reset_index()


def _one(part: Part, group: "DataFrame", column: str, passed: bool | None) -> Verdict:
    return (
        NOT_MEASURED
        if group.empty
        else judgement.guarded(part, rows.per_unit(group, column), passed=passed)
    )
