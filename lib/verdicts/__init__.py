"""What the papers state, frozen before the rows that test it, and the check of each claim.

    from lib import verdicts
    results = verdicts.evaluate({"11_dpsgd": frame})  # rows by notebook; the rest: "not measured"
    verdicts.table(results)                           # one line a claim
    verdicts.targets_table({"11_dpsgd": frame})       # one line a figure, table and claim
    verdicts.show("11_dpsgd", frame)                  # the verdicts of one notebook, as text

The machinery is here. The claims, and how each is measured, lie in `lib.papers`, which whoever
evaluates collects.
"""

from typing import TYPE_CHECKING

from lib.verdicts.claim import (
    NOTEBOOKS,
    Claim,
    Frames,
    Measurement,
    Number,
    Part,
    Published,
    Target,
)
from lib.verdicts.evaluation import ClaimResult, evaluate
from lib.verdicts.listing import compare, table, targets_table
from lib.verdicts.shown import show
from lib.verdicts.verdict import OUTCOMES, Verdict

if TYPE_CHECKING:
    from lib.papers.ours.answer import Answer

__all__ = [
    "NOTEBOOKS",
    "OUTCOMES",
    "Claim",
    "ClaimResult",
    "Measurement",
    "Number",
    "Part",
    "Published",
    "Target",
    "Verdict",
    "answer",
    "compare",
    "evaluate",
    "show",
    "table",
    "targets_table",
]


def answer(frames: Frames) -> "list[Answer]":
    """The report's question answered in three sentences with notes, from the rows by notebook."""
    from lib.papers.ours.answer import answer as answered

    return answered(frames)
