"""Measuring I9 and I10: transfer attacks and benchmark backdoors, under both kinds of constraints.

The verdict is on the benchmark's constraints, which the paper says it follows; the looser ones
stand beside it. Each attack needs its own positive control.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from lib.papers.borgnia import trials
from lib.papers.borgnia.patching import CLUSTERING, CUTMIX, MIXUP, NONE, SPECTRAL
from lib.papers.borgnia.transfer import (
    BENCHMARK,
    CLEAN_LABEL,
    COLLISION,
    HIDDEN,
    LOOSER,
    POLYTOPE,
)
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import NOT_MEASURED

if TYPE_CHECKING:
    from pandas import DataFrame, Series

CHAIN = (CUTMIX, MIXUP, CLUSTERING, SPECTRAL, NONE)  # from the least success to the most
HITS, SOME = 0.60, 0.40  # undefended success of the attacks of tables 4 and 6

# Of one attack's rows: the values of a part's statistic, one a trial, by name.
Statistic = Callable[["DataFrame", Part, str], "Mapping[str, Series]"]


def mixing_stops(frames: Frames, claim: Claim) -> Measurement:
    """I9: feature collision and convex polytope. The chain is four contrasts of neighbours."""
    def collision(own: "DataFrame", part: Part, column: str) -> "Mapping[str, Series]":
        arms = {"mixed": (MIXUP, CUTMIX), "base": (NONE,)}.get(part.name, ())
        return {arm: trials.values(own, arm, column) for arm in arms}

    def polytope(own: "DataFrame", part: Part, column: str) -> "Mapping[str, Series]":
        pairs = pairwise(CHAIN) if part.name == "order" else ()
        return {f"{less} minus {more}": trials.difference(own, less, column, than=more)
                for less, more in pairs}
    return _measure(frames, claim, {COLLISION: collision, POLYTOPE: polytope}, HITS)


def mixing_halves(frames: Frames, claim: Claim) -> Measurement:
    """I10: hidden-trigger and clean-label backdoors."""
    def either(own: "DataFrame", part: Part, column: str) -> "Mapping[str, Series]":
        if part.name == "order":
            return {"": trials.difference(own, CUTMIX, column, than=MIXUP)}
        return {"": _ratio(own, column)}
    return _measure(frames, claim, {HIDDEN: either, CLEAN_LABEL: either}, SOME)


def _ratio(own: "DataFrame", column: str) -> "Series":
    """Success under mixup over success without a defence, see `contrasts.share`."""
    import pandas as pd

    both = contrasts.paired(trials.at(own, MIXUP), trials.at(own, NONE), column)
    return pd.Series(contrasts.share(both["own"], both["other"]), dtype=float)


# ---------------------------------------------------------------- machinery

def _measure(frames: Frames, claim: Claim, statistics: Mapping[str, Statistic], least: float
             ) -> Measurement:
    """least: undefended success of an attack, above which it works."""
    found = rows.nearest(trials.transferred(frames[claim.notebook], statistics), claim.setup)
    if found.empty:
        return judgement.unmeasured(claim)
    looser = judgement.line_beside(claim, _judge(found, LOOSER, statistics, least), LOOSER,
                                   metric="success")
    result = judgement.assemble(claim, _judge(found, BENCHMARK, statistics, least), found,
                                beside=(rows.EXCESS,))
    return replace(result, beside=(*result.beside, *looser))


def _judge(found: "DataFrame", constraint: str, statistics: Mapping[str, Statistic], least: float
           ) -> judgement.Judge:
    def judge(part: Part, column: str):
        verdicts = {}
        for kind, statistic in statistics.items():
            own = trials.under(found, kind, constraint)
            passed = judgement.shows(trials.at(own, NONE), least, column="success")
            verdicts |= {f"{kind} {name}".strip(): trials.decide(part, values, column,
                                                                 passed=passed)
                         for name, values in statistic(own, part, column).items()}
        return worst(verdicts) if verdicts else NOT_MEASURED
    return judge
