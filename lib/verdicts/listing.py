"""Verdicts as tables: one line a claim, one line a figure, two profiles side by side."""

import math
from typing import TYPE_CHECKING

from lib.verdicts import numerals
from lib.verdicts.claim import Claim, Frames, Target
from lib.verdicts.evaluation import ClaimResult, evaluate
from lib.verdicts.published import with_intervals
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

FORMULA = "computed"  # what measures a claim about formulas, and their figure


def table(published: list[ClaimResult], profile: list[ClaimResult] | None = None) -> "DataFrame":
    """One line a claim: id, paper, claim, published, direction, size, what, measured, interval,
    n, planned, setup, reason, as first frozen, beside, marks, notebook, figure (the first one),
    figures.

    "what": of what "measured" is the number. "planned": attack instances stated beforehand.
    "reason": why a verdict is not simply its interval, never empty where it is inconclusive. "as
    first frozen": the verdict of an amended claim's first version. "beside": what a claim's own
    comparison leaves out. "marks": see `ClaimResult.marks`.

    `profile`: results on the rows of one's own run; their verdicts stand beside in columns
    "... here".
    """
    import pandas as pd

    from lib import papers

    targets = papers.targets()
    frame = pd.DataFrame([line(result, targets) for result in published])
    if profile is None:
        return frame
    here = pd.DataFrame(
        [_judged(result) for result in profile],
        index=pd.Index([result.claim.id for result in profile], name="id"),
    )
    return frame.join(here.rename(columns=lambda name: f"{name} here"), on="id")


def line(result: ClaimResult, targets: tuple[Target, ...]) -> dict[str, object]:
    """The columns of one claim: see `table`. `targets`: figures and tables of all papers."""
    one = result.claim
    numbers = [
        number for target in targets if target.id in one.targets for number in target.published
    ]  # that the papers print in its figures and tables
    return {
        "id": one.id,
        "paper": one.paper,
        "claim": one.statement,
        "published": with_intervals(one.published, numbers),
        **_judged(result),
        "marks": "; ".join(result.marks),
        "notebook": one.notebook,
        "figure": next(iter(one.targets + one.figures), ""),
        "figures": [*one.targets, *one.figures],
    }


def _judged(result: ClaimResult) -> dict[str, object]:
    """The columns that rows decide: those that a run of one's own has too."""
    shown = result.shown
    return {
        "direction": _word(result.direction),
        "size": _word(result.size),
        "what": _what(result.claim, shown),
        "measured": _measured(shown),
        "interval": _interval(shown),
        "n": shown.n,
        "planned": result.claim.planned,
        "setup": result.setup,
        "reason": _reasons(result),
        "as first frozen": _frozen_word(result),
        "beside": _beside(result),
    }


def _what(claim: Claim, shown: Verdict) -> str:
    """Of what the number is: the deciding part in words, and what of it decides."""
    if not shown.n:
        return ""
    parts = {part.name: part for part in claim.direction + claim.size}
    words = [parts[shown.part].words] if shown.part in parts else []
    return ", ".join([*words, *(name for name in shown.path if name not in parts)])


def _reasons(result: ClaimResult) -> str:
    """Why a verdict is what it is, where the interval alone does not say it: one text for both."""
    pairs = (("direction", result.direction), ("size", result.size))
    reasons = {name: v.reason for name, v in pairs if v is not None and v.reason}
    if len(reasons) == 2 and len(set(reasons.values())) == 1:
        return reasons["size"]
    if result.direction is None or result.size is None:
        return "".join(reasons.values())
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())


def _frozen_word(result: ClaimResult) -> str:
    """The first version's verdicts with their number; "" of a claim that was never amended."""
    if result.claim.amended is None:
        return ""
    direction, size = result.frozen
    shown = size if size is not None and size.n else direction or size or NOT_MEASURED
    words = _verdicts(direction, size)
    numbers = " ".join(text for text in (_measured(shown), _interval(shown)) if text)
    return f"{words}; {numbers}" if numbers else words


def _beside(result: ClaimResult) -> str:
    """The two-sided comparisons beside a claim: what its own comparison leaves out."""
    return "; ".join(
        f"{name}: {_measured(v)} {_interval(v)}, {v.outcome}"
        for name, v, _ in result.beside
        if v is not None and v.beyond == "either"
    )


def compare(
    first: list[ClaimResult], second: list[ClaimResult], *, names: tuple[str, str]
) -> "DataFrame":
    """One line a claim that either profile has measured: verdict, number, interval and n of both,
    and the difference in words.

    Two numbers differ where their 95% intervals do not meet; without two intervals nothing is said
    to differ. Claims about formulas are the same in every profile, and left out.
    """
    import pandas as pd

    lines = []
    for one, other in zip(first, second, strict=True):
        shown = one.shown, other.shown
        if any(verdict.n for verdict in shown) and not one.claim.formula:
            line = {
                "id": one.claim.id,
                "paper": one.claim.paper,
                "claim": one.claim.statement,
                "difference": _difference(*shown),
            }
            for name, result in zip(names, (one, other)):
                line |= {f"{key} {name}": value for key, value in _judged(result).items()}
            lines.append(
                line | {"notebook": one.claim.notebook, "figures": list(one.claim.targets)}
            )
    return pd.DataFrame(lines)


def _difference(one: Verdict, other: Verdict) -> str:
    if not (one.n and other.n):
        return "measured in one only"
    if any(math.isnan(value) for value in (one.low, other.low)):
        return "not known: no interval"
    return (
        "≠ beyond the intervals"
        if one.high < other.low or other.high < one.low
        else "within the intervals"
    )


def _word(one: Verdict | None) -> str:
    return "–" if one is None else one.outcome


def _measured(one: Verdict) -> str:
    return numerals.number(one.measured, one.unit, *_known(one.low, one.high))


def _interval(one: Verdict) -> str:
    return numerals.interval(one.low, one.high, one.unit, *_known(one.measured))


def _known(*values: float) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def targets_table(frames: Frames) -> "DataFrame":
    """One line a figure, table and claim: id, kind, paper, title, notebook, measured by, verdict,
    setup, marks.

    "measured by" counts the rows with a result: of the target itself where its rows can be told
    apart, else of its notebook.
    """
    import pandas as pd

    from lib import papers

    results = evaluate(frames)
    lines = [_target_line(target, frames, results) for target in papers.targets()]
    lines += [
        {
            "id": result.claim.id,
            "kind": "claim",
            "paper": result.claim.paper,
            "title": result.claim.statement,
            "notebook": result.claim.notebook,
            "measured by": FORMULA if result.claim.formula else _count(result.rows),
            "verdict": _verdicts(result.direction, result.size),
            "setup": result.setup,
            "marks": _all_marks(result),
        }
        for result in results
    ]
    return pd.DataFrame(lines)


def _target_line(target: Target, frames: Frames, results: list[ClaimResult]) -> dict[str, object]:
    about = [result for result in results if target.id in result.claim.targets]
    return {
        "id": target.id,
        "kind": target.kind,
        "paper": target.paper,
        "title": target.title,
        "notebook": target.notebook,
        "measured by": target.status
        or _count(_rows(target, frames.get(target.notebook)), own=target.select is not None),
        "verdict": "; ".join(
            f"{one.claim.id} {_verdicts(one.direction, one.size)}" for one in about
        ),
        "setup": next((result.setup for result in about if result.setup), ""),
        "marks": "; ".join(
            f"{result.claim.id} {word}" for result in about if (word := _short_marks(result))
        ),
    }


def _all_marks(result: ClaimResult) -> str:
    """The marks of a claim in full.

    The first version's verdict leads, as a terminal cuts the rest.
    """
    frozen = _frozen_word(result)
    return "; ".join([*([f"as first frozen: {frozen}"] if frozen else []), *result.marks])


def _short_marks(result: ClaimResult) -> str:
    """The marks in a word each, for a figure that several claims are about."""
    return ", ".join(mark.partition(",")[0].partition(":")[0] for mark in result.marks)


def _rows(target: Target, frame: "DataFrame | None") -> int:
    if frame is None or not len(frame):
        return 0
    return (
        int((frame["status"] == "ok").sum()) if target.select is None else len(target.select(frame))
    )


def _count(rows: int, *, own: bool = True) -> str:
    if not rows:
        return "not measured"
    return f"{rows} rows" if own else f"{rows} rows of the notebook"


def _verdicts(of_direction: Verdict | None, of_size: Verdict | None) -> str:
    """One word where direction and size agree (or only one is claimed), else both."""
    direction, size = _word(of_direction), _word(of_size)
    if "–" in (direction, size) or direction == size:
        return size if direction == "–" else direction
    return f"{direction} (direction), {size} (size)"
