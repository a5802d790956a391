"""The scoreboard of the first screen: per paper, how many claims have each verdict."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.page.scrub import PathScrubber
from lib.page.text import format_value

if TYPE_CHECKING:
    from markupsafe import Markup
    from pandas import DataFrame

Record = Mapping[str, Any]  # a claim: a line of the verdicts' DataFrame


class Verdict(NamedTuple):
    """A verdict in words, with a mark and a style, so that nothing hangs on colour."""

    word: str
    mark: str
    style: str


VERDICTS = (
    Verdict("holds", "✓", "holds"),
    Verdict("fails", "✗", "fails"),
    Verdict("more", "▲", "finding"),
    Verdict("less", "▼", "finding"),
    Verdict("depends", "◆", "finding"),
    Verdict("inconclusive", "≈", "inconclusive"),
    Verdict("arithmetic", "=", "arithmetic"),
    Verdict("not testable here", "∅", "unmeasured"),
    Verdict("not measured", "○", "unmeasured"),
)
ALWAYS = ("holds", "fails", "inconclusive", "arithmetic", "not testable here", "not measured")
NUMBERED = "verdicts:{}:{}"  # the route to the claims of a paper with a verdict
_WORDS = {verdict.word: verdict for verdict in VERDICTS}
_ASPECTS = ("direction", "size")


class Count(NamedTuple):
    """A cell: the verdict, how many claims have it, and the route to them ("" where none)."""

    verdict: Verdict
    count: int
    route: str


class Line(NamedTuple):
    """A paper: its key, its authors in short, its title, its counts."""

    paper: str
    authors: str
    title: str
    counts: tuple[Count, ...]


class Scoreboard(NamedTuple):
    """What the template needs: the verdicts of the columns, the lines, and what to know."""

    columns: tuple[Verdict, ...]
    lines: tuple[Line, ...]
    note: str


def records_of(frame: "DataFrame | None", scrubber: PathScrubber) -> list[dict[str, Any]]:
    """The claims as dictionaries without the machine's paths; ValueError for unknown verdicts."""
    if frame is None:
        return []
    found = [{key: scrubber.clean_tree(value) for key, value in row.items()}
             for row in frame.to_dict("records")]
    for record in found:
        for ending in endings_of(list(record)):
            verdicts_of(record, ending)
    return found


def endings_of(columns: Sequence[str]) -> list[str]:
    """The endings that tell sets of columns apart: "" and " here", or those of two profiles."""
    return [name[len("direction"):] for name in columns if name.startswith("direction")]


def scoreboard(records: Sequence[Record], titles: Mapping[str, str]) -> Scoreboard | None:
    """The counts per paper on the published rows; None of two profiles, or without claims.

    titles: "Authors: title" by the paper's key.
    """
    if not records or "direction" not in records[0]:
        return None
    papers = list(dict.fromkeys(format_value(record["paper"]) for record in records))
    words = Counter((format_value(record["paper"]), headline_word(record)) for record in records)
    columns = tuple(verdict for verdict in VERDICTS if verdict.word in ALWAYS
                    or any(words[paper, verdict.word] for paper in papers))
    lines = tuple(_line(paper, titles.get(paper, ""), columns, words) for paper in papers)
    return Scoreboard(columns, lines, _note(records))


def headline_word(record: Record, ending: str = "") -> str:
    """The verdict that counts: on the direction, or on the size if only that is claimed."""
    return next((verdict.word for _, verdict in verdicts_of(record, ending)), "not measured")


def verdicts_of(record: Record, ending: str) -> list[tuple[str, Verdict]]:
    """(aspect, verdict) of what is claimed."""
    found = []
    for aspect in _ASPECTS:
        word = format_value(record.get(aspect + ending))
        if word in _WORDS:
            found.append((aspect, _WORDS[word]))
        elif word not in ("–", ""):
            raise ValueError(f"verdict {word!r} of claim {record.get('id')!r}: expected one of "
                             f"{list(_WORDS)}, or – where nothing is claimed")
    return found


def shown(pairs: Sequence[tuple[str, Verdict]]) -> tuple[tuple[str, Verdict], ...]:
    """The aspect is named where direction and size have different verdicts."""
    if len({verdict for _, verdict in pairs}) == 1:
        return (("", pairs[0][1]),)
    return tuple(pairs)


def badge(verdict: Verdict) -> "Markup":
    """A verdict as HTML, in words and shape."""
    from markupsafe import Markup

    return Markup(
        '<span class="verdict {0.style}"><span'
        ' aria-hidden="true">{0.mark}</span>&nbsp;{0.word}</span>'
    ).format(verdict)


def _line(paper, title, columns, words):
    authors, _, rest = title.partition(": ")
    first, *others = re.split(r", ", authors)
    name = f"{first} et al." if others else first if rest else paper.capitalize()
    counts = tuple(Count(verdict, words[paper, verdict.word],
                         NUMBERED.format(paper, verdict.word) if words[paper, verdict.word] else "")
                   for verdict in columns)
    return Line(paper, name, rest or title, counts)


def _note(records):
    split = [pairs for pairs in (verdicts_of(record, "") for record in records)
             if len({verdict.word for _, verdict in pairs}) == 2]
    apart = sum(pairs[0][1].word == "holds" and pairs[1][1].word == "fails" for pairs in split)
    text = ("On the published rows. A claim with a direction and a size counts by its direction; "
            f"{len(split)} have another verdict on the size")
    return text + (f", {apart} of them hold in direction and fail in size." if apart else ".")
