"""Measuring T1 and T3: the mislabelled attack with 75 poisons, and the filter that finds them.

The unit of replication is the target class; intervals are t intervals over targets. T1 is judged at
75 poisons, as it is stated; beside it stands the same share of the set, 0.15%, where the set is
smaller than the thesis's. T3 counts poisons among the least likely 0.6% of the records (300 of
50,000), in poisons of 100, which on the published set-up is the printed count.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from lib.papers.turner import dirty
from lib.papers.turner.victims import CLASSES
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

MOST = 0.1  # share of the set that is poison in the positive control: 5,000 of 50,000
ENRICHED = "facts.enrichment"


def few_poisons_suffice(frames: Frames, claim: Claim) -> Measurement:
    """T1: lift and success at 75 poisons; beside them the same share of the set."""
    frame = dirty.undefended(dirty.prepared(frames[claim.notebook]))
    found = rows.nearest(frame, claim.setup)
    own = dirty.at(found, dirty.PRINTED)
    passed = judgement.shows(dirty.at_share(found, MOST), claim.control, column="lift")

    def of(some: "DataFrame"):
        def judge(part: Part, column: str) -> Verdict:
            return judgement.decide(part, rows.per_unit(some, _column(part, column)).to_numpy(),
                                    passed=passed, column=_column(part, column))
        return judge
    result = judgement.assemble(claim, of(own), own, beside=(rows.EXCESS,))
    share = dirty.at_share(found, dirty.PRINTED / dirty.RECORDS)
    if own.empty or set(share["key"]) <= set(own["key"]):
        return result
    return replace(result, beside=result.beside + judgement.line_beside(
        claim, of(share), "at 0.15% of the set", metric="success"))


def _column(part: Part, column: str) -> str:
    """The direction is about lift; beside, both parts are about the metric that is named."""
    return "lift" if part.name == "lift" and column == "success" else column


def filter_finds_them(frames: Frames, claim: Claim) -> Measurement:
    """T3: poisons among the inspected records, in chance's number of them, and of 100."""
    frame = dirty.ranked(dirty.prepared(frames[claim.notebook]))
    found = rows.nearest(frame, claim.setup)
    passed = judgement.shows(found, 1 / CLASSES, column="facts.detector_accuracy")

    def judge(part: Part, column: str) -> Verdict:
        name = ENRICHED if part.name == "enrichment" else dirty.FOUND
        return judgement.guarded(part, rows.per_unit(found, name).to_numpy(), passed=passed)
    return judgement.assemble(claim, judge, found, beside=())
