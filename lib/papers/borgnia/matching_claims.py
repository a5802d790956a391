"""Measuring I5 to I8: gradient matching against augmentations, filters and batch-level noise.

An instance is a trial, one target. Rates of hits have Clopper-Pearson intervals; defences and
attackers are compared trial by trial, and a chain of order statements is a set of such contrasts.
Beside success stands success minus the natural rate: some targets get the wanted label unpoisoned.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lib.papers.borgnia import trials
from lib.papers.borgnia.matching import (
    CUTOUT,
    FOUR,
    FOUR_DRAWN,
    MAXUP,
    RELEASED,
    TWO,
    TWO_DRAWN,
)
from lib.papers.borgnia.patching import CLUSTERING, CUTMIX, NEIGHBOURS, NONE, SPECTRAL
from lib.papers.borgnia.trials import CLIPPED
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

WORKS = 0.5  # of undefended trials
BESIDE = (rows.EXCESS,)

# The values of a part's statistic, one a trial, by name where a part speaks of several arms.
Statistic = Callable[["DataFrame", Part, str], "Mapping[str, Series]"]


# ---------------------------------------------------------------- claims

def four_not_two(frames: Frames, claim: Claim) -> Measurement:
    """I5: four-way against two-way mixup, unaware attacker; drawn weights beside equal ones."""
    def statistic(four: str, two: str) -> Statistic:
        def values(found: "DataFrame", part: Part, column: str) -> "Mapping[str, Series]":
            if part.name == "order":
                return {"": trials.difference(found, four, column, than=two)}
            return {"": trials.values(found, four, column)}
        return values
    return _measure(frames, claim, statistic(FOUR, TWO),
                    {"random weights": statistic(FOUR_DRAWN, TWO_DRAWN)})


def adapting_helps(frames: Frames, claim: Claim) -> Measurement:
    """I6: the adaptive attacker against the unaware one, with either form of MaxUp."""
    def statistic(best: str) -> Statistic:
        arms = (TWO, FOUR, CUTOUT, best)
        return lambda found, part, column: {
            arm: trials.gain(found, arm, column)
            for arm in ((CUTMIX,) if part.name == "cutmix" else arms)}
    return _measure(frames, claim, statistic(MAXUP), {RELEASED: statistic(RELEASED)})


def maxup_is_best(frames: Frames, claim: Claim) -> Measurement:
    """I7: MaxUp with cutout against each other augmentation, adaptive attacker, in both forms."""
    def statistic(best: str) -> Statistic:
        def values(found: "DataFrame", part: Part, column: str) -> "Mapping[str, Series]":
            if part.name == "level":
                return {"": trials.values(found, best, column, aware=True)}
            return {f"than {arm}": trials.difference(found, best, column, than=arm, aware=True)
                    for arm in (TWO, FOUR, CUTOUT, CUTMIX)}
        return values
    return _measure(frames, claim, statistic(MAXUP), {RELEASED: statistic(RELEASED)})


def others_fail(frames: Frames, claim: Claim) -> Measurement:
    """I8: batch-level noise and filters, unaware attacker."""
    shares = {"dpsgd": (CLIPPED,), "filters": (SPECTRAL, NEIGHBOURS),
              "clustering-level": (CLUSTERING,)}

    def statistic(found: "DataFrame", part: Part, column: str) -> "Mapping[str, Series]":
        if part.name == "clustering":
            return {"": trials.difference(found, CLUSTERING, column)}
        return {arm: trials.values(found, arm, column) for arm in shares[part.name]}
    return _measure(frames, claim, statistic)


# ---------------------------------------------------------------- machinery

def works(found: "DataFrame") -> bool | None:
    """The positive control: undefended, the attack hits more than half of the targets."""
    return judgement.shows(trials.at(found, NONE), WORKS, column="success")


def _measure(frames: Frames, claim: Claim, statistic: Statistic,
             variants: Mapping[str, Statistic] | None = None) -> Measurement:
    """In the set-up nearest to the published one. variants: other statistics of the same parts,
    shown beside."""
    found = trials.main(frames[claim.notebook], claim.setup)
    if found.empty:
        return judgement.unmeasured(claim)
    passed = works(found)

    def judge(own: Statistic) -> judgement.Judge:
        return lambda part, column: _worst(own(found, part, column), part, column, passed=passed)
    more = [line for name, own in (variants or {}).items()
            for line in judgement.line_beside(claim, judge(own), name, metric="success")]
    result = judgement.assemble(claim, judge(statistic), found, beside=BESIDE)
    return replace(result, beside=(*result.beside, *more))


def _worst(values: "Mapping[str, Series]", part: Part, column: str, *, passed: bool | None
           ) -> Verdict:
    return worst({name: trials.decide(part, own, column, passed=passed)
                  for name, own in values.items()})
