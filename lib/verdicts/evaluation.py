"""Every claim judged on the rows of its notebook, with Holm's correction within each paper."""

from dataclasses import dataclass, replace

from lib.verdicts.claim import Beside, Claim, Frames, Measurement, Verdicts
from lib.verdicts.judgement import unmeasured
from lib.verdicts.verdict import NOT_MEASURED, Verdict, holm, worst


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


def evaluate(frames: Frames) -> list[ClaimResult]:
    """Judge every claim on the rows of its notebook, with Holm's correction within each paper.

    `frames`: rows (as `lib.study.run` returns them) by notebook name; "NAME/curves" may hold the
    recorded paths (as `lib.study.curves`), which are looked up otherwise.
    """
    from lib import papers

    results = [
        ClaimResult(one, **vars(_measure(one, frames)), frozen=_first_frozen(one, frames))
        for one in papers.claims()
    ]
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


def _measure(one: Claim, frames: Frames) -> Measurement:
    frame = frames.get(one.notebook)
    if one.measure is None or frame is None or not len(frame):
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
    """A compound claim: all of its parts must hold (each was corrected already)."""
    verdicts = {part.claim.id: part.direction for part in parts if part.direction is not None}
    return replace(
        result,
        direction=worst(verdicts),
        rows=sum(part.rows for part in parts),
        setup=next((part.setup for part in parts if part.setup), ""),
    )
