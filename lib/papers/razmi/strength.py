"""Measuring R12: weak attacks at epsilon 1 (figure 4; rows of `14_attack_strength`)."""

import functools
import itertools
from typing import TYPE_CHECKING

from lib.papers import razmi
from lib.papers.razmi import budget, roles
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict, not_testable

if TYPE_CHECKING:
    from pandas import DataFrame

NAMED_EPSILON = 1.0
# of the claim; PATE at epsilon 1 is said to be inaccurate
METHODS = (budget.DPSGD, budget.ALIBI, budget.LP2ST)


def strength_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 4: every method at epsilon 1, any share of the base class."""
    attacked = rows.nearest(rows.measured(frame), razmi.HEAD)
    if attacked.empty:
        return attacked
    return rows.together(
        roles.at_epsilon(group, NAMED_EPSILON) for group in budget.private(attacked).values()
    )


def weak_attack(frames: Frames, claim: Claim) -> Measurement:
    """R12: each of the three methods beside the undefended rows of the same attacks, a tenth of the
    base class poisoned.
    """
    return judgement.measure(frames, claim, _weak, fraction=rows.HEADLINE_FRACTION)


def _weak(attacked: "DataFrame", claim: Claim) -> Found | None:
    plain, private = roles.plain(attacked), budget.private(attacked)
    found = {
        name: rows.one_setting(roles.at_epsilon(private[name], NAMED_EPSILON)) for name in METHODS
    }
    if plain.empty or all(group.empty for group in found.values()):
        return None
    passed = judgement.control(attacked, claim.control)

    @functools.cache
    def both(name: str, column: str) -> "DataFrame":
        return contrasts.paired(found[name], plain, column)

    def one(part: Part, name: str, column: str) -> Verdict:
        if found[name].empty:
            return NOT_MEASURED
        metric = contrasts.metric(part, column)
        values = contrasts.compare(part, both(name, metric))
        return judgement.guarded(part, values, passed=passed, column=metric)

    why = rows.other_features(plain.iloc[0], claim.setup)

    def judge(part: Part, column: str) -> Verdict:
        if part.name == "accuracy" and why:
            return not_testable(why, essential=True)
        return worst({name: one(part, name, column) for name in found})

    beside = [
        judgement.line_beside(
            claim, lambda part, column, name=name: one(part, name, column), f"lift, {name}"
        )
        for name in found
    ]
    return Found(judge, rows.together(found.values()), tuple(itertools.chain(*beside)))
