"""Measuring T11 to T13: how poisons are learnt, noise in place of hardening, weaker attackers.

The unit of replication is the target class. T11: medians are over records, at the end of a
training; ratios are of means over target classes (`contrasts.share`). T12 and T13 are judged with
6% of the class poisoned, on differences in the same target class and images. Their positive control
is the mislabelled attack with as many poisons.
"""

from typing import TYPE_CHECKING

from lib import study
from lib.papers.turner import dirty, landscape, learning
from lib.papers.turner.landscape import BASELINE, BLACK_BOX, BLENDED, LATENT, WHITE_BOX
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SUCCEEDS = 0.5  # attack success that makes the positive control of T11 pass
WITNESSED = 0.8  # the same of T12 and T13, by mislabelled poisons
ORDER = {"gan": (LATENT, BLENDED), "black": (BLACK_BOX, BASELINE), "white": (WHITE_BOX, BLACK_BOX)}


def poisons_are_learnt(frames: Frames, claim: Claim) -> Measurement:
    """T11: final median losses of poisons, of clean records, and of poisons without the trigger.

    `frames` may hold what `study.training_losses` returns as "NAME/losses".
    """
    frame = frames[claim.notebook]
    own = learning.prepared(frame[frame["attack.name"].eq(landscape.ATTACK)])
    found = rows.nearest(own, claim.setup)
    if found.empty:
        return judgement.unmeasured(claim)
    known = frames.get(f"{claim.notebook}/losses")
    points = study.training_losses(found) if known is None else known
    medians = learning.medians(points[points["key"].isin(found["key"])])
    passed = judgement.shows(found, SUCCEEDS, column="success")

    def judge(part: Part, column: str) -> Verdict:
        values = {"learnt": medians["poison"] - medians["clean"],
                  "poison": learning.ratio(medians, "poison", "clean"),
                  "without": learning.ratio(medians, "bare", "poison")}[part.name]
        return judgement.guarded(part, values, passed=passed)
    return judgement.assemble(claim, judge, found, beside=())


# ---------------------------------------------------------------- noise, pixels and black boxes

def little_noise_helps(frames: Frames, claim: Claim) -> Measurement:
    """T12: success at the best deviation and at the largest minus none, and their sum.

    The best deviation of a target class is the one that is best in the others, so that it needs two
    of them.
    """
    found, passed = compared(frames, claim)
    noisy = found[found[landscape.DEVIATION].gt(0)]

    def judge(part: Part, column: str) -> Verdict:
        values = _of_noise(part.name, landscape.changes(found))
        return judgement.guarded(part, values, passed=passed, column=column)
    return judgement.assemble(claim, judge, noisy, beside=())


def _of_noise(part: str, table: "DataFrame") -> "Series | list[float]":
    """The statistic of a part of T12, a value a target class; none without two deviations."""
    best = landscape.best_elsewhere(table) if table.shape[1] > 1 else None
    if table.shape[1] < 2 or (best is None and part != "large"):
        return []
    large = table[table.columns.max()]
    return large if part == "large" or best is None else best if part == "small" else best + large


def weaker_attackers(frames: Frames, claim: Claim) -> Measurement:
    """T13: GAN minus pixels, black box minus baseline, white box minus black box (`ORDER`)."""
    found, passed = compared(frames, claim)
    used = found[found[landscape.METHOD].isin([one for pair in ORDER.values() for one in pair])]

    def judge(part: Part, column: str) -> Verdict:
        one, than = ORDER[part.name]
        return judgement.guarded(part, landscape.difference(found, one, than=than, column=column),
                                 passed=passed, column=column)
    return judgement.assemble(claim, judge, used)


def compared(frames: Frames, claim: Claim) -> tuple["DataFrame", bool | None]:
    """The rows at 6% of the class in the set-up nearest to the published one, and whether the
    mislabelled attack succeeds there with as many poisons (None: not measured)."""
    frame = frames[claim.notebook]
    found = landscape.at(rows.nearest(landscape.prepared(frame), claim.setup))
    plain = dirty.undefended(rows.nearest(dirty.prepared(frame), claim.setup))
    if found.empty:
        return found, None
    beside = plain[plain[dirty.POISONS].isin(set(found[dirty.POISONS]))
                   & _places(plain).isin(set(_places(found)))]
    return found, judgement.shows(beside, WITNESSED, column="success")


def _places(frame: "DataFrame") -> "Series":
    """The set-up of each row as text."""
    return frame[list(rows.PLACE)].astype(str).agg(" ".join, axis=1) if len(frame) else frame["key"]
