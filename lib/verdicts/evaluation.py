"""Every claim judged on the rows of its notebook: on the planned number of attack instances, and
with Holm's correction within each paper.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from lib.verdicts.claim import Beside, Claim, Frames, Measurement, Verdicts
from lib.verdicts.combining import worst
from lib.verdicts.family import holm
from lib.verdicts.judgement import unmeasured
from lib.verdicts.verdict import DECIDED, NOT_MEASURED, Verdict


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its two verdicts (None: none is claimed), other metrics beside, its set-up.

    `frozen`: of an amended claim, the verdicts on direction and size of the version frozen first,
    which Holm's correction takes as a family of its own.
    """

    claim: Claim
    direction: Verdict | None
    size: Verdict | None
    beside: tuple[Beside, ...] = ()
    setup: str = ""
    rows: int = 0
    note: str = ""
    frozen: Verdicts = (None, None)

    @property
    def shown(self) -> Verdict:
        """The verdict whose numbers are printed: that on size if it was measured, else that on
        direction.
        """
        if self.size is not None and self.size.n:
            return self.size
        return self.direction or self.size or NOT_MEASURED

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader must know before the verdict: of the claim, and of the rows at hand."""
        more = max((v.fewest for v in (self.direction, self.size) if v is not None), default=0)
        planned = self.claim.planned
        if self.claim.looked or not 0 < planned < more:
            return self.claim.marks
        return *self.claim.marks, f"more than planned: {more} instances, {planned} were stated"


def evaluate(frames: Frames, *, of: Collection[str] | None = None) -> list[ClaimResult]:
    """Judge every claim on the rows of its notebook, with Holm's correction within each paper.

    `frames`: rows (as `lib.study.run` returns them) by notebook name; "NAME/curves" may hold the
    recorded paths (as `lib.study.curves`), which are looked up otherwise. `of`: the papers whose
    claims are judged; None: all.
    """
    from lib import papers

    claims = [one for one in papers.claims() if of is None or one.paper in of]
    results = [_result(one, frames) for one in claims]
    for paper in dict.fromkeys(result.claim.paper for result in results):
        places = [i for i, result in enumerate(results) if result.claim.paper == paper]
        for i, corrected in zip(places, _corrected([results[i] for i in places])):
            results[i] = corrected
    by_id = {result.claim.id: result for result in results}
    return [
        _joined(result, [by_id[name] for name in result.claim.split])
        if result.claim.split
        else result
        for result in results
    ]


def _result(one: Claim, frames: Frames) -> ClaimResult:
    found = _measure(one, frames)
    found = replace(found, direction=_planned(one, found.direction), size=_planned(one, found.size))
    direction, size = _first_frozen(one, frames)
    return ClaimResult(one, **vars(found), frozen=(_planned(one, direction), _planned(one, size)))


def _planned(one: Claim, found: Verdict | None) -> Verdict | None:
    """Nothing is decided on fewer instances than were stated beforehand."""
    if found is None or found.outcome not in (*DECIDED, "inconclusive"):
        return found
    if not found.n or found.fewest >= one.planned:
        return found
    few = f"{found.fewest} of {one.planned} planned instances"
    unless_width = found.reason and not found.reason.startswith("too wide")
    return replace(found, outcome="inconclusive", n_needed=None,
                   reason=f"{few}; {found.reason}" if unless_width else few)


def _measure(one: Claim, frames: Frames) -> Measurement:
    frame = frames.get(one.notebook)
    if one.measure is None or (not one.formula and (frame is None or not len(frame))):
        return unmeasured(one)
    return one.measure(frames, one)


def _first_frozen(one: Claim, frames: Frames) -> Verdicts:
    """The verdicts of an amended claim's first version on the same rows; else (None, None)."""
    old = one.amended
    if old is None:
        return None, None
    found = _measure(
        replace(
            one,
            direction=old.direction,
            size=old.size,
            measure=old.measure,
            notebook=old.notebook or one.notebook,
        ),
        frames,
    )
    return found.direction, found.size


def _corrected(results: list[ClaimResult]) -> list[ClaimResult]:
    """Holm within a paper: the claims' own verdicts are one family.

    Those beside them and those of first versions are two more.
    """
    own = iter(_family([v for result in results for v in (result.direction, result.size)]))
    other = iter(_family([v for result in results for _, *pair in result.beside for v in pair]))
    first = iter(_family([v for result in results for v in result.frozen]))
    return [
        replace(
            result,
            direction=next(own),
            size=next(own),
            frozen=(next(first), next(first)),
            beside=tuple((name, next(other), next(other)) for name, *_ in result.beside),
        )
        for result in results
    ]


def _family(verdicts: list[Verdict | None]) -> list[Verdict | None]:
    known = iter(holm([one for one in verdicts if one is not None]))
    return [None if one is None else next(known) for one in verdicts]


def _joined(result: ClaimResult, parts: list[ClaimResult]) -> ClaimResult:
    """A compound claim: all of its parts must hold.

    Each was corrected already, and the whole is not counted in the family again.
    """
    verdicts = {part.claim.id: part.direction for part in parts if part.direction is not None}
    return replace(
        result,
        direction=worst(verdicts, corrected=True),
        rows=sum(part.rows for part in parts),
        setup=next((part.setup for part in parts if part.setup), ""),
    )
