"""Measuring I12 to I14: what predicts the success of adaptive gradient matching, and what stops it.

An instance is a trial: one target, hit or not. Shares get exact intervals: "at most 5%" takes 72
trials without a hit, and on fewer the claim can fail, but not hold.
"""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from lib.papers.borgnia import practice, predictors
from lib.papers.borgnia.matching import MAXUP
from lib.papers.borgnia.patching import NONE
from lib.papers.borgnia.practice import FIVE, SCALE
from lib.papers.borgnia.predictors import OWN, RIVAL, Limits
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import NOT_MEASURED, Verdict, verdict, without_control

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame

NOTEBOOKS = ("23_instahide_practice", "21_mixing_targeted")  # a row lies in the first that asks
HALF, LOUD = 0.5, 16  # the positive control; the noise of I13, over 255
TOLERANCE = 1 / 20  # of I14: one of the paper's trials


# ---------------------------------------------------------------- claims

def epsilon_predicts(frames: Frames, claim: Claim) -> Measurement:
    """I12: the rank correlation of printed epsilon and success; beside it that of the noise scale
    alone, and in the note what differs at equal epsilon."""
    found = practice.mixups(_found(frames, claim))
    passed = _attack_works(found)

    def judge(part: Part, column: str) -> Verdict:
        return _correlated(part, predictors.correlations(found, column)[OWN], passed)

    def rival(part: Part, column: str) -> Verdict:
        return _correlated(part, predictors.correlations(found, column)[RIVAL], passed)
    result = judgement.assemble(claim, judge, found, beside=_beside(found, "probability"))
    lines = judgement.line_beside(claim, rival, RIVAL, metric="success")
    return replace(result, beside=result.beside + lines, note=_at_equal_epsilon(found))


def noise_stops(frames: Frames, claim: Claim) -> Measurement:
    """I13: MaxUp with noise of 16/255, against MaxUp alone and against 5%."""
    found = _found(frames, claim)
    own, alone = (practice.at(found, MAXUP, scale) for scale in (LOUD, 0))
    passed = _attack_works(found)

    def judge(part: Part, column: str) -> Verdict:
        if part.name == "direction":
            both = practice.by_trial(_joined(own, alone), column, by=[SCALE])
            apart = both[LOUD] - both[0] if {LOUD, 0} <= set(both) else []
            return judgement.guarded(part, apart, passed=passed, column=column)
        if column != "success":  # no share of hits
            return NOT_MEASURED
        return _by_design(part, rows.per_unit(own, column).to_numpy(), passed)
    return judgement.assemble(claim, judge, _joined(own, alone),
                              beside=_beside(own, "probability"))


def noise_never_helps(frames: Frames, claim: Claim) -> Measurement:
    """I14: of each augmentation the change of success from each scale to the next."""
    found = _found(frames, claim)
    passed = _attack_works(found)

    def judge(part: Part, column: str) -> Verdict:
        return worst({name: _rise(part, changes, column, passed)
                      for arm in FIVE for name, changes in _changes(found, arm, column).items()})
    return judgement.assemble(claim, judge, found[found[practice.ARM].isin(FIVE)],
                              beside=_beside(found, "probability"))


# ---------------------------------------------------------------- parts

def _correlated(part: Part, found: Limits, passed: bool | None) -> Verdict:
    mean, low, high, n = found
    judged = verdict((mean, low, high), part.threshold, beyond=part.beyond, n=n,
                     control_passed=passed, unit=part.unit)
    return judged if judged.outcome != "holds" or passed else without_control(judged)


def _at_equal_epsilon(found: "DataFrame") -> str:
    said = [f"{name} {judgement.points(own['difference'].to_numpy())}"
            for name, own in predictors.apart(found).groupby("than", sort=False)]
    return f"at equal printed epsilon, in points: {'; '.join(said)}" if said else ""


def needed(threshold: float) -> int:
    """Trials without a success whose exact 95% interval lies below the threshold: 72 for 5%."""
    from lib import metrics

    return next(n for n in range(1, 100_000) if metrics.clopper_pearson(0, n)[1] < threshold)


def _by_design(part: Part, values: "ArrayLike", passed: bool | None) -> Verdict:
    found, least = judgement.proportion(part, values, passed=passed), needed(part.threshold)
    if found.outcome != "inconclusive" or found.n >= least:
        return found
    return replace(found, n_needed=max(found.n_needed or 0, least), reason=(
        f"inconclusive by design: at most {part.threshold:.0%} takes {least} trials without a"
        f" success, here are {found.n}"))


def _changes(found: "DataFrame", arm: str, column: str) -> "dict[str, ArrayLike]":
    """From each scale to the next the change of each trial; one empty change without two scales."""
    own = found[found[practice.ARM].eq(arm)]
    table = practice.by_trial(own, column, by=[SCALE])
    return {f"{arm}, {low:g} to {high:g}": table[high] - table[low]
            for low, high in pairwise(table)} or {arm: []}


def _rise(part: Part, changes: "ArrayLike", column: str, passed: bool | None) -> Verdict:
    """The verdict on a change less the tolerance."""
    moved = replace(part, threshold=part.threshold + TOLERANCE)
    found = judgement.guarded(moved, changes, passed=passed, column=column)
    return replace(found, threshold=part.threshold, bounds=None, low=found.low - TOLERANCE,
                   measured=found.measured - TOLERANCE, high=found.high - TOLERANCE)


# ---------------------------------------------------------------- machinery

def _found(frames: Frames, claim: Claim) -> "DataFrame":
    """The rows of these notebooks, each once, in the set-up nearest to the published one."""
    known = [frames[name] for name in NOTEBOOKS if name in frames and len(frames[name])]
    if not known:
        return practice.nearest(frames[claim.notebook])
    return practice.nearest(rows.together(known).drop_duplicates(["key", "weights"]))


def _joined(*frames: "DataFrame") -> "DataFrame":
    return rows.together(frames)


def _attack_works(found: "DataFrame") -> bool | None:
    """Whether more than half of the trials succeed without a defence."""
    return judgement.shows(practice.at(found, NONE, 0), HALF, column="success")


def _beside(found: "DataFrame", *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name in found and found[name].notna().any())
