"""The verdicts of one notebook as lines of text: what its verdict cell prints."""

import textwrap
from typing import TYPE_CHECKING

from lib.verdicts.claim import Frames
from lib.verdicts.evaluation import ClaimResult, evaluate
from lib.verdicts.listing import line
from lib.verdicts.verdict import LEVEL

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTH = 98  # columns
INDENT = " " * 6


def show(notebook: str, rows: "DataFrame | Frames") -> None:
    """Judge the claims of a notebook on its rows, and print a few lines a claim.

    `rows`: the notebook's rows, or rows by notebook as `evaluate` takes them. Holm's correction
    runs over the paper: published rows stand in for its other notebooks, so that a notebook says
    what the page says.
    """
    print("\n".join(lines(notebook, rows)))


def lines(notebook: str, rows: "DataFrame | Frames") -> list[str]:
    """What `show` prints, of at most 98 columns each."""
    import pandas as pd

    from lib import papers

    frames = {notebook: rows} if isinstance(rows, pd.DataFrame) else dict(rows)
    about = {one.paper for one in papers.claims() if one.notebook == notebook}
    if not about:
        raise ValueError(f"notebook {notebook!r}: no claim names it")
    results = evaluate(frames, of=about)
    wider = {one.claim.paper for one in results if _may_be_said(one)}
    if wider:
        results = [one for one in results if one.claim.paper not in wider]
        results += evaluate(_with_published(frames, wider), of=wider)
    own = [one for one in results if one.claim.notebook == notebook]
    return [text for one in own for text in _claim(one, papers.targets())]


def _may_be_said(one: ClaimResult) -> bool:
    """Whether a verdict would be said but for Holm's correction: then the family matters."""
    return any(v is not None and v.p < LEVEL and v.fewest >= one.claim.planned
               for v in (one.direction, one.size, *one.frozen))


def _with_published(frames: Frames, of: set[str]) -> dict[str, "DataFrame"]:
    """The rows given, and the published ones of the other notebooks of these papers."""
    from lib import papers, study

    found = dict(frames)
    for one in papers.claims():
        if one.paper in of and one.notebook not in found:
            found[one.notebook] = study.published(one.notebook)
    return found


def _claim(result: ClaimResult, targets: tuple) -> list[str]:
    """The verdicts, the number with its reason, and what a reader must know before them."""
    one = {name: str(value) for name, value in line(result, targets).items()}
    text = [f"{one['id']:<6}{_words(one)}"]
    if one["measured"]:
        number = " ".join(part for part in (one["measured"], one["interval"]) if part)
        text += _wrapped(f"{one['what']}: {number}, {_counted(result)}")
    text += _wrapped(one["reason"]) if one["reason"] else []
    text += _wrapped(result.note) if result.note and result.claim.paper == "ours" else []
    if one["as first frozen"]:
        text += _wrapped(f"as first frozen: {one['as first frozen']}")
    return text + (_wrapped(one["marks"]) if one["marks"] else [])


def _counted(result: ClaimResult) -> str:
    """The instances, of how many planned ones; what is arithmetic needs none."""
    n, planned = result.shown.n, result.claim.planned
    if result.shown.outcome == "arithmetic" or not planned:
        return f"n {n}"
    return f"n {n} of {planned} planned" if n <= planned else f"n {n}, {planned} planned"


def _words(one: dict[str, str]) -> str:
    direction, size = one["direction"], one["size"]
    if "–" in (direction, size):
        return size if direction == "–" else direction
    return f"direction {direction}, size {size}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
