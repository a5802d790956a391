"""Measuring R13: accuracy and time when the attack is stopped (Razmi et al., table 2; rows of
`15_perfect_defence`).

The paper takes the largest epsilon with an attack success of at most 1%, which natural confusion
alone exceeds for many pairs of classes. Here an attack is stopped where its lift is at most one
point on average. A method's most accurate setting that stops it is chosen on the other instances,
and its accuracy read on this one.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lib.papers import razmi
from lib.papers.razmi import budget, roles
from lib.papers.razmi.dpsgd import left_out
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict, not_testable

if TYPE_CHECKING:
    from numpy import ndarray
    from numpy.typing import ArrayLike
    from pandas import DataFrame, Series

HOOKS = "opacus-hooks"  # of `defence.engine`: Opacus' per-sample gradients
STOPPED = 0.01  # mean lift, or attack success above natural, at most
BAGGING = "PATE"  # without noise, as published
CONTRASTS = {
    "alibi": (budget.ALIBI, budget.DPSGD),
    "dpsgd": (budget.DPSGD, BAGGING),
    "pate": (BAGGING, budget.LP2ST),
}


def table_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of table 2."""
    attacked = rows.nearest(rows.measured(frame, fraction=rows.HEADLINE_FRACTION), razmi.HEAD)
    return rows.together(_methods(attacked).values()) if len(attacked) else attacked


def _methods(attacked: "DataFrame") -> dict:
    """The candidates: every setting with a finite epsilon, and PATE without noise at every
    threshold.
    """
    found = budget.private(attacked)
    return {name: found[name] for name in (budget.DPSGD, budget.ALIBI, budget.LP2ST)} | {
        BAGGING: roles.noise_free(attacked)
    }


def when_stopped(frames: Frames, claim: Claim) -> Measurement:
    """R13: three paired contrasts of accuracy, and the time of runs trained alone over DP-SGD's.

    Beside it "stopped" means attack success at most one point above that of the clean twin without
    the trigger.
    """
    return judgement.measure(
        frames, claim, _stopped, fraction=rows.HEADLINE_FRACTION, beside=(rows.EXCESS,)
    )


def _stopped(attacked: "DataFrame", claim: Claim) -> Found | None:
    import pandas as pd

    found = _methods(attacked)
    if all(group.empty for group in found.values()):
        return None
    passed = judgement.control(attacked, claim.control)

    def judge(part: Part, column: str) -> Verdict:
        if part.name == "time":
            return _time(part, found)
        stopped = {
            name: accuracy_when_stopped(found[name], column) for name in CONTRASTS[part.name]
        }
        never = [name for name, values in stopped.items() if len(values) and values.isna().all()]
        if never:
            return replace(NOT_MEASURED, reason=f"no setting of {never[0]} stops the attack")
        first, second = stopped.values()
        values = pd.DataFrame({"own": first, "other": second}).eval("own - other")
        judged = judgement.guarded(part, values, passed=passed, column="accuracy")
        return _of_some(judged, values) if values.isna().any() else judged

    return Found(
        judge,
        rows.together(found.values()),
        note="; ".join(f"{name}: {_words(group)}" for name, group in found.items()),
    )


def _of_some(found: Verdict, values: "Series") -> Verdict:
    """Nothing is decided on the pairs that a setting stops: they are chosen by the outcome."""
    if not found.n:
        return found
    return replace(found, outcome="inconclusive", n_needed=None, p_for=math.nan, p_against=math.nan,
                   reason=f"only {values.notna().sum()} of {len(values)} pairs have a setting that"
                          " stops the attack: chosen by the outcome")


def accuracy_when_stopped(group: "DataFrame", column: str) -> "Series":
    """Accuracy of each instance at the setting chosen on the others, as a Series.

    NaN where they find none that stops it.
    """
    import numpy as np
    import pandas as pd

    if group.empty or not group[column].notna().any():
        return pd.Series(dtype=float)
    accuracy, left = rows.by_setting(group, "accuracy", column)
    shared = accuracy.index.intersection(left.index)

    def read(chosen, judged):
        place = most_accurate(chosen[:, 0], chosen[:, 1])
        return math.nan if place is None else judged[place, 0]

    values = left_out(np.stack([accuracy.loc[shared], left.loc[shared]], axis=-1), read)
    return pd.Series(values, index=shared[: len(values)], dtype=float)


def most_accurate(accuracy: "ArrayLike", left: "ArrayLike") -> int | None:
    """The place of the most accurate setting that leaves at most one point.

    None where none does.
    """
    import numpy as np

    stopped = np.asarray(left) <= STOPPED
    return int(np.where(stopped, accuracy, -math.inf).argmax()) if stopped.any() else None


def _words(group: "DataFrame") -> str:
    """The setting that all instances together choose."""
    if group.empty:
        return "not measured"
    accuracy, left = (table.mean() for table in rows.by_setting(group, "accuracy", "lift"))
    place = most_accurate(accuracy, left) if len(accuracy) else None
    if place is None:
        return "no setting stops the attack"
    line = rows.setting_line(group, accuracy.index[place])
    kind = "no guarantee" if math.isinf(line["epsilon"]) else f"epsilon {line['epsilon']:.3g}"
    return f"{kind}, accuracy {accuracy.iloc[place]:.1%}"


def _time(part: Part, found: dict) -> Verdict:
    """Seconds of ALIBI and of LP-2ST over those of DP-SGD, trained alone for equally many epochs:
    both must meet the threshold.

    Times do not depend on the attack, so that no control is asked for. Only DP-SGD whose per-sample
    gradients come from hooks, as the paper's, can speak to its ratio.
    """
    alone = {
        name: trained_alone(found[name]) for name in (budget.DPSGD, budget.ALIBI, budget.LP2ST)
    }
    hooks = _by_hooks(alone[budget.DPSGD])
    if hooks.empty and len(alone[budget.DPSGD]):
        return not_testable("DP-SGD's time: ours clips in closed form, the paper's code by hooks")
    alone[budget.DPSGD] = hooks
    shared = set.intersection(*(set(group["training.epochs"]) for group in alone.values()))
    if not shared:
        return NOT_MEASURED
    epochs = max(
        sorted(shared),
        key=lambda value: sum(
            (group["training.epochs"] == value).sum() for group in alone.values()
        ),
    )
    alone = {name: group[group["training.epochs"] == epochs] for name, group in alone.items()}
    reference = alone.pop(budget.DPSGD)
    return worst(
        {
            name: judgement.decide(part, _ratio(group, reference), passed=True)
            for name, group in alone.items()
        }
    )


def _by_hooks(group: "DataFrame") -> "DataFrame":
    return group[rows.optional(group, "defence.engine") == HOOKS]


def trained_alone(group: "DataFrame") -> "DataFrame":
    """The rows that a notebook marks as trained alone (column `alone`), else all that were.

    Never one of a larger group.
    """
    marked, size = rows.optional(group, "alone"), rows.optional(group, "group_size")
    chosen = marked == True if marked.notna().any() else size == 1  # noqa: E712 (a column)
    return group[chosen & (size.isna() | (size == 1))]


def _ratio(group: "DataFrame", reference: "ArrayLike") -> "ndarray":
    both = contrasts.paired(group, reference, "seconds")
    return contrasts.share(both["own"], both["other"])
