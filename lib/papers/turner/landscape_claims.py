"""Measuring T11: whether poisons are learnt as well as clean images, and by their trigger alone.

Medians are over records, at the end of a training; values are one a target class. Ratios are of
means over target classes (`contrasts.share`).
"""

from lib import study
from lib.papers.turner import learning
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.verdict import Verdict

SUCCEEDS = 0.5  # attack success that makes the positive control pass
LABEL_CONSISTENT = "clean_label"


def poisons_are_learnt(frames: Frames, claim: Claim) -> Measurement:
    """T11: final median losses of poisons, of clean records, and of poisons without the trigger.

    `frames` may hold what `study.training_losses` returns as "NAME/losses".
    """
    frame = frames[claim.notebook]
    own = learning.prepared(frame[frame["attack.name"].eq(LABEL_CONSISTENT)])
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
