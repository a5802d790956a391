"""Measuring R12: weak attacks at epsilon 1 (Razmi et al., figure 4; rows of `14_attack_strength`)."""

import functools
import itertools

from lib.claims import budget, methods, razmi, rows
from lib.claims.registry import Claim
from lib.claims.rows import Found, Measurement
from lib.claims.verdict import NOT_MEASURED, Verdict, not_testable, worst

NAMED_EPSILON = 1.0
METHODS = (budget.DPSGD, budget.ALIBI, budget.LP2ST)  # of the claim; PATE at epsilon 1 is said to be inaccurate


def strength_rows(frame):
    """Rows of figure 4: every method at epsilon 1, any share of the base class."""
    attacked = rows.nearest(rows.measured(frame), razmi.HEAD)
    if attacked.empty:
        return attacked
    return methods.together(methods.at_epsilon(group, NAMED_EPSILON) for group in budget.private(attacked).values())


def weak_attack(frames: dict, claim: Claim) -> Measurement:
    """R12: each of the three methods beside the undefended rows of the same attacks, a tenth of the base class poisoned."""
    return rows.measure(frames, claim, _weak, fraction=rows.HEADLINE_FRACTION)


def _weak(attacked, claim: Claim) -> Found | None:
    plain, private = methods.plain(attacked), budget.private(attacked)
    found = {name: methods.one_setting(methods.at_epsilon(private[name], NAMED_EPSILON)) for name in METHODS}
    if plain.empty or all(group.empty for group in found.values()):
        return None
    passed = rows.control(attacked, claim.control)

    @functools.cache
    def both(name, column):
        return methods.paired(found[name], plain, column)

    def one(part, name, column) -> Verdict:
        if found[name].empty:
            return NOT_MEASURED
        return rows.guarded(part, methods.compare(part, both(name, methods.metric(part, column))), passed=passed)

    why = rows.other_features(plain.iloc[0], claim.setup)

    def judge(part, column) -> Verdict:
        if part.name == "accuracy" and why:
            return not_testable(f"{part.statistic} {why}", essential=True)
        return worst({name: one(part, name, column) for name in found})
    beside = [rows.line_beside(claim, lambda part, column, name=name: one(part, name, column), f"lift, {name}") for name in found]
    return Found(judge, methods.together(found.values()), tuple(itertools.chain(*beside)))
