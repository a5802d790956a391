"""Measuring T8 to T10: faint triggers, four corners, augmentation, over target classes.

Figures 3.9 and 3.13 show one class each; here every measured class counts, as in
`consistent_claims`. Corners are compared at amplitude 32, the thesis's choice, at every share from
6% on; each must meet a part.
"""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib.papers.turner import subtle
from lib.papers.turner.consistent import COMPARED, WHOLE
from lib.papers.turner.consistent_claims import SUCCEEDS, judged
from lib.papers.turner.subtle import FOUR, FULL, ONE, at
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LEVELS = (16, 32, 64)  # of figure 3.9
FEW = 0.015  # share of the class up to which faint triggers fail
BESIDE = ("lift",)


def faint_triggers_work(frames: Frames, claim: Claim) -> Measurement:
    """T8: each amplitude against the next fainter one at 6%; success from 6% on and up to 1.5%."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        if part.name == "order":
            return {f"{more} minus {less}": subtle.difference(
                at(found, amplitude=more, share=COMPARED),
                at(found, amplitude=less, share=COMPARED), column)
                    for less, more in itertools.pairwise(LEVELS)}
        limits = (COMPARED, WHOLE) if part.name == "many" else (0.0, FEW)
        return {f"{level} at {share:.1%}": rows.per_unit(own, column) for level in LEVELS
                for share in subtle.share_of(at(found, amplitude=level), *limits)
                for own in [at(found, amplitude=level, share=share)]}
    full = at(found, amplitude=FULL, share=COMPARED)
    return judged(found, claim, statistic, beside=BESIDE,
                  passed=judgement.shows(full, SUCCEEDS, column="success"))


def four_corners_survive(frames: Frames, claim: Claim) -> Measurement:
    """T9: four corners and one, with augmentation."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        if part.name == "corners":
            return _corners(found, column, augmented=True)
        corners = FOUR if part.name == "four" else ONE
        own = at(found, corners=corners, augmented=True)
        return {f"{share:.1%}": rows.per_unit(
            at(found, corners=corners, augmented=True, share=share), column)
                for share in subtle.share_of(own, COMPARED if corners == FOUR else 0.0)}
    plain = at(found, share=COMPARED)
    return judged(found, claim, statistic, beside=BESIDE,
                  passed=judgement.shows(plain, SUCCEEDS, column="success"))


def corners_do_not_matter(frames: Frames, claim: Claim) -> Measurement:
    """T10: four corners minus one, without augmentation."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        return _corners(found, column, augmented=False)
    passed = judgement.every(*(judgement.shows(
        at(found, corners=corners, share=COMPARED), SUCCEEDS, column="success")
                               for corners in (ONE, FOUR)))
    return judged(found, claim, statistic, beside=BESIDE, passed=passed)


def _corners(found: "DataFrame", column: str, *, augmented: bool) -> "dict[str, Series]":
    """Four corners minus one, by share."""
    four, one = (at(found, corners=corners, augmented=augmented) for corners in (FOUR, ONE))
    return {f"{share:.1%}": subtle.difference(
        at(four, corners=FOUR, augmented=augmented, share=share),
        at(one, augmented=augmented, share=share), column)
            for share in subtle.share_of(four, COMPARED)}


def _nearest(frames: Frames, claim: Claim) -> "DataFrame":
    return rows.nearest(subtle.prepared(frames[claim.notebook]), claim.setup)
