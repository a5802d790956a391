"""Holm's correction over a family of verdicts: those of one paper.

A verdict enters with its two-sided p, whichever word it could say, so that "holds" is corrected as
"fails" is: the chance of any wrong word about a paper is at most 5%. (That the side of a two-sided
test may be named after Holm's steps is proved for independent statistics, Shaffer 1980.)
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from lib.verdicts.inference import n_to_decide, p_values
from lib.verdicts.verdict import DECIDED, LEVEL, Verdict


def holm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Holm's step-down correction over one family, in the order given.

    Every verdict with a p-value counts in the family: not those that were not measured, nor what
    is arithmetic. A decided word whose corrected p is not below 0.05 becomes "inconclusive", with
    the n at which it would stand.
    """
    known = sorted((v.p, i) for i, v in enumerate(verdicts) if not math.isnan(v.p))
    out, running = list(verdicts), 0.0
    stands = 0  # how many are rejected: a later word must stand the factor of the first that is not
    for rank, (p, i) in enumerate(known):
        running = max(running, min(1.0, p * (len(known) - rank)))
        out[i] = replace(verdicts[i], p_holm=running)
        stands += running < LEVEL
        if verdicts[i].outcome in DECIDED and running >= LEVEL:
            out[i] = undecided(out[i], factor=len(known) - stands, after="Holm's correction")
    return out


def undecided(one: Verdict, *, factor: float, after: str) -> Verdict:
    """A word that does not stand a correction by `factor`, with the n at which it would."""
    needed = n_after(one, factor=factor)
    corrected = one.p_holm if not math.isnan(one.p_holm) else min(1.0, one.p * factor)
    many = "" if needed is None else f"; about {needed:,} would decide"
    return replace(
        one,
        outcome="inconclusive",
        n_needed=needed,
        reason=f"{one.outcome} alone (p {one.p:.2g}), not after {after} (p {corrected:.2g}){many}",
    )


def n_after(one: Verdict, *, factor: float) -> int | None:
    """Instances at which the interval shown would stand the correction by `factor`.

    A p of several parts is larger than that of the interval alone; its n is larger as well.
    """
    alone = min(p_values(one.limits, one.n, one.threshold, bounds=one.bounds))
    parts = max(1.0, one.p / alone) if alone > 0 else 1.0
    return n_to_decide(one.limits, one.n, one.threshold, bounds=one.bounds,
                       one_sided=LEVEL / 2 / factor / parts)
