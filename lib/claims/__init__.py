"""What the five papers state, frozen before the rows that test it, and the check of each claim.

    from lib import claims
    results = claims.evaluate({"11_dpsgd": frame})      # rows by notebook; what is missing is "not measured"
    claims.table(results)                               # one line a claim
    claims.targets_table({"11_dpsgd": frame})           # one line a figure, table and claim
"""

import math
from dataclasses import dataclass, replace

from lib.claims import instahide, matched, overview, published, razmi, shaping, turner
from lib.claims.answer import answer
from lib.claims.registry import NOTEBOOKS, PAPERS, Claim, Number, Part, Published, Target, find
from lib.claims.rows import Measurement, unmeasured
from lib.claims.verdict import NOT_MEASURED, OUTCOMES, Verdict, holm, verdict, worst

__all__ = ["CLAIMS", "NOTEBOOKS", "OUTCOMES", "PAPERS", "TARGETS", "Claim", "ClaimResult", "Number", "Part", "Published",
           "Target", "Verdict", "answer", "claim", "compare", "evaluate", "find", "holm", "table", "targets_table", "verdict"]

_MODULES = (razmi, instahide, turner, overview, shaping)
TARGETS: tuple[Target, ...] = tuple(target for module in _MODULES for target in module.TARGETS)
CLAIMS: tuple[Claim, ...] = tuple(one for module in (matched, *_MODULES) for one in module.CLAIMS)
_HERE = ("direction", "size", "measured", "interval", "n", "setup",
         "reason", "as first frozen", "beside")  # what a run of one's own adds to the table


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its two verdicts (None: none is claimed), other metrics beside, its set-up.

    `frozen`: of an amended claim, the verdicts on direction and size of the version frozen first,
    which Holm's correction takes as a family of its own.
    """

    claim: Claim
    direction: Verdict | None
    size: Verdict | None
    beside: tuple[tuple[str, Verdict | None, Verdict | None], ...] = ()
    setup: str = ""
    rows: int = 0
    note: str = ""
    frozen: tuple[Verdict | None, Verdict | None] = (None, None)

    @property
    def shown(self) -> Verdict:
        """The verdict whose numbers are printed: that on size if it was measured, else that on direction."""
        if self.size is not None and self.size.n:
            return self.size
        return self.direction or self.size or NOT_MEASURED


def claim(name: str) -> Claim:
    """The claim with this id ("R3")."""
    for one in CLAIMS:
        if one.id == name:
            return one
    raise ValueError(f"claim {name!r}: expected one of {', '.join(one.id for one in CLAIMS)}")


def evaluate(frames: dict) -> list[ClaimResult]:
    """Judge every claim on the rows of its notebook, with Holm's correction within each paper.

    `frames`: rows (as `lib.study.run` returns them) by notebook name; "NAME/curves" may hold the recorded
    paths (as `lib.study.curves`), which are looked up otherwise.
    """
    results = [ClaimResult(one, **vars(_measure(one, frames)), frozen=_first_frozen(one, frames))
               for one in CLAIMS]
    for paper in PAPERS:
        places = [i for i, result in enumerate(results) if result.claim.paper == paper]
        for i, corrected in zip(places, _corrected([results[i] for i in places])):
            results[i] = corrected
    by_id = {result.claim.id: result for result in results}
    return [_joined(result, [by_id[name] for name in result.claim.split]) if result.claim.split else result
            for result in results]


def _measure(one: Claim, frames: dict) -> Measurement:
    frame = frames.get(one.notebook)
    if one.measure is None or frame is None or not len(frame):
        return unmeasured(one)
    return find(one.measure)(frames, one)


def _first_frozen(one: Claim, frames: dict) -> tuple[Verdict | None, Verdict | None]:
    """The verdicts of an amended claim's first version on the same rows; else (None, None)."""
    old = one.amended
    if old is None:
        return None, None
    found = _measure(replace(one, direction=old.direction, size=old.size, measure=old.measure,
                             notebook=old.notebook or one.notebook), frames)
    return found.direction, found.size


def _corrected(results: list[ClaimResult]) -> list[ClaimResult]:
    """Holm within a paper: the claims' own verdicts are one family.

    Those beside them and those of first versions are two more.
    """
    own = iter(_family([v for result in results for v in (result.direction, result.size)]))
    other = iter(_family([v for result in results for _, *pair in result.beside for v in pair]))
    first = iter(_family([v for result in results for v in result.frozen]))
    return [replace(result, direction=next(own), size=next(own), frozen=(next(first), next(first)),
                    beside=tuple((name, next(other), next(other)) for name, *_ in result.beside)) for result in results]


def _family(verdicts: list) -> list:
    known = iter(holm([one for one in verdicts if one is not None]))
    return [None if one is None else next(known) for one in verdicts]


def _joined(result: ClaimResult, parts: list[ClaimResult]) -> ClaimResult:
    """A compound claim: all of its parts must hold (each was corrected already)."""
    verdicts = {part.claim.id: part.direction for part in parts if part.direction is not None}
    return replace(result, direction=worst(verdicts), rows=sum(part.rows for part in parts),
                   setup=next((part.setup for part in parts if part.setup), ""))


# ---------------------------------------------------------------- tables

def table(published: list[ClaimResult], profile: list[ClaimResult] | None = None):
    """One line a claim: id, paper, claim, published, direction, size, measured, interval,
    n, setup, reason, as first frozen, beside, marks, notebook, figure (the first one), figures.

    "reason": why a verdict is not simply its interval. "as first frozen": the verdict of an
    amended claim's first version. "beside": what a claim's own comparison leaves out. "marks": see
    `Claim.marks`.

    `profile`: results on the rows of one's own run; their verdicts stand beside in columns "... here".
    """
    import pandas as pd
    frame = pd.DataFrame([_line(result) for result in published])
    if profile is None:
        return frame
    here = pd.DataFrame([_line(result) for result in profile]).set_index("id")[list(_HERE)]
    return frame.join(here.rename(columns=lambda name: f"{name} here"), on="id")


def _line(result: ClaimResult) -> dict:
    one, shown = result.claim, result.shown
    return {"id": one.id, "paper": one.paper, "claim": one.statement, "published": published.with_intervals(one.published, _numbers(one)),
            "direction": _word(result.direction), "size": _word(result.size), "measured": _number(shown.measured, shown.unit),
            "interval": _interval(shown), "n": shown.n, "setup": result.setup,
            "reason": _reasons(result), "as first frozen": _frozen_word(result),
            "beside": _beside(result),
            "marks": "; ".join(one.marks), "notebook": one.notebook,
            "figure": next(iter(one.targets + one.figures), ""), "figures": [*one.targets, *one.figures]}


def _reasons(result: ClaimResult) -> str:
    """Why a verdict is what it is, where the interval alone does not say it: one text for both."""
    pairs = (("direction", result.direction), ("size", result.size))
    reasons = {name: v.reason for name, v in pairs if v is not None and v.reason}
    if len(reasons) == 2 and len(set(reasons.values())) == 1:
        return reasons["size"]
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())


def _frozen_word(result: ClaimResult) -> str:
    """The first version's verdicts with their number; "" of a claim that was never amended."""
    if result.claim.amended is None:
        return ""
    direction, size = result.frozen
    shown = size if size is not None and size.n else direction or size or NOT_MEASURED
    words = _verdicts(replace(result, direction=direction, size=size))
    texts = _number(shown.measured, shown.unit), _interval(shown)
    numbers = " ".join(text for text in texts if text)
    return f"{words}; {numbers}" if numbers else words


def _beside(result: ClaimResult) -> str:
    """The two-sided comparisons beside a claim: what its own comparison leaves out."""
    return "; ".join(f"{name}: {_number(v.measured, v.unit)} {_interval(v)}, {v.outcome}"
                     for name, v, _ in result.beside if v is not None and v.beyond == "either")


def _numbers(one: Claim) -> list[Number]:
    """The numbers that the papers print in the figures and tables of a claim."""
    return [number for target in TARGETS if target.id in one.targets for number in target.published]


def compare(first: list[ClaimResult], second: list[ClaimResult], *, names: tuple[str, str]):
    """One line a claim that either profile has measured: verdict, number, interval and n of both, and the difference in words.

    Two numbers differ where their 95% intervals do not meet; without two intervals nothing is said to differ.
    """
    import pandas as pd
    lines = []
    for one, other in zip(first, second, strict=True):
        shown = one.shown, other.shown
        if any(verdict.n for verdict in shown):
            line = {"id": one.claim.id, "paper": one.claim.paper, "claim": one.claim.statement, "difference": _difference(*shown)}
            for name, result in zip(names, (one, other)):
                line |= {f"{key} {name}": value for key, value in _line(result).items() if key in _HERE}
            lines.append(line | {"notebook": one.claim.notebook, "figures": list(one.claim.targets)})
    return pd.DataFrame(lines)


def _difference(one: Verdict, other: Verdict) -> str:
    if not (one.n and other.n):
        return "measured in one only"
    if any(math.isnan(value) for value in (one.low, other.low)):
        return "not known: no interval"
    return "≠ beyond the intervals" if one.high < other.low or other.high < one.low else "within the intervals"


def _word(one: Verdict | None) -> str:
    return "–" if one is None else one.outcome


def _number(value: float, unit: str) -> str:
    if value != value:
        return ""
    return f"{100 * value:.1f}%" if unit == "%" else f"{value:.2f}"


def _interval(one: Verdict) -> str:
    if one.low != one.low:
        return ""
    ends = f"[{_number(one.low, one.unit)}, {_number(one.high, one.unit)}]"
    return f"{ends}; {one.n_needed} would decide" if one.n_needed else ends


def targets_table(frames: dict):
    """One line a figure, table and claim: id, kind, paper, title, notebook, measured by, verdict,
    setup, marks.

    "measured by" counts the rows with a result: of the target itself where its rows can be told apart, else
    of its notebook.
    """
    import pandas as pd
    results = evaluate(frames)
    lines = [_target_line(target, frames, results) for target in TARGETS]
    lines += [{"id": result.claim.id, "kind": "claim", "paper": result.claim.paper, "title": result.claim.statement,
               "notebook": result.claim.notebook, "measured by": _count(result.rows), "verdict": _verdicts(result),
               "setup": result.setup, "marks": _all_marks(result)} for result in results]
    return pd.DataFrame(lines)


def _target_line(target: Target, frames: dict, results: list[ClaimResult]) -> dict:
    about = [result for result in results if target.id in result.claim.targets]
    return {"id": target.id, "kind": target.kind, "paper": target.paper, "title": target.title, "notebook": target.notebook,
            "measured by": target.status or _count(_rows(target, frames.get(target.notebook)), own=bool(target.select)),
            "verdict": "; ".join(f"{result.claim.id} {_verdicts(result)}" for result in about),
            "setup": next((result.setup for result in about if result.setup), ""),
            "marks": "; ".join(f"{result.claim.id} {word}" for result in about
                               if (word := _short_marks(result)))}


def _all_marks(result: ClaimResult) -> str:
    """The marks of a claim in full; the first version's verdict leads, as a terminal cuts the rest."""
    frozen = _frozen_word(result)
    return "; ".join([*([f"as first frozen: {frozen}"] if frozen else []), *result.claim.marks])


def _short_marks(result: ClaimResult) -> str:
    """The marks in a word each, for a figure that several claims are about."""
    return ", ".join(mark.partition(",")[0].partition(":")[0] for mark in result.claim.marks)


def _rows(target: Target, frame) -> int:
    if frame is None or not len(frame):
        return 0
    return len(find(target.select)(frame)) if target.select else int((frame["status"] == "ok").sum())


def _count(rows: int, *, own: bool = True) -> str:
    if not rows:
        return "not measured"
    return f"{rows} rows" if own else f"{rows} rows of the notebook"


def _verdicts(result: ClaimResult) -> str:
    """One word where direction and size agree (or one of them is all that is claimed), else both."""
    direction, size = _word(result.direction), _word(result.size)
    if "–" in (direction, size) or direction == size:
        return size if direction == "–" else direction
    return f"{direction} (direction), {size} (size)"
