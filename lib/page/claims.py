"""The verdict table: a line or two a claim, the rest behind a disclosure; findings below figures.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

from lib.page.scoreboard import (
    VERDICTS,
    Record,
    Verdict,
    badge,
    endings_of,
    headline_word,
    shown,
    verdicts_of,
)
from lib.page.text import format_value, rounded, section_anchor, typeset

_JUDGED = ("direction", "size", "measured", "interval", "n", "setup", "what", "planned", "reason",
           "as first frozen", "beside")
_CLAIM = ("id", "paper", "claim", "published", "marks", "notebook", "figure", "figures")
_NEEDED = re.compile(r";\s*(?:about )?(\d+) would decide")
_SENTENCE = re.compile(r"(?<=[a-z\d)%][.?]) (?=[A-Z])")


class Side(NamedTuple):
    """A verdict with its number: on the published rows, or on those of a profile."""

    label: str
    verdicts: tuple[tuple[str, Verdict], ...]
    number: str
    interval: str
    what: str


class Row(NamedTuple):
    """A claim; `more`: (name, text) pairs that stand behind the disclosure."""

    id: str
    anchor: str
    claim: str
    marked: bool
    href: str
    word: str
    sides: tuple[Side, ...]
    more: tuple[tuple[str, str], ...]
    extra: tuple[str, ...]


class Group(NamedTuple):
    """The claims of a paper that one notebook is about, with the set-up they share."""

    paper: str
    anchor: str
    title: str
    notebook: str
    href: str
    setup: str
    rows: tuple[Row, ...]


class VerdictTable(NamedTuple):
    """What the template needs."""

    caption: str
    labels: tuple[str, ...]
    extra: tuple[str, ...]
    groups: tuple[Group, ...]
    tally: tuple[tuple[Verdict, int], ...]


def claim_anchors(records: Sequence[Record], taken: set[str]) -> None:
    """Reserve the claims' ids (R2) and those of their papers before any notebook has them."""
    for record in records:
        taken.update((str(record.get("id")), f"verdicts-{record['paper']}"))


def verdict_table(records: Sequence[Record], *, profile: str, ids: Collection[str],
                  titles: Mapping[str, str]) -> VerdictTable | None:
    """The table of the claims of `records_of`; None without any. `ids`: anchors to link to.

    Columns with a common ending ("direction here", "measured here", ...) become columns of their
    own. Raises ValueError if a needed column is missing.
    """
    if not records:
        return None
    endings = _endings(records)
    known = {*_CLAIM, *(name + ending for name in _JUDGED for ending in endings)}
    extra = tuple(name for name in records[0] if name not in known)
    groups, papers = [], set()
    for (paper, notebook), found in groupby(records, key=_group_key):
        found = list(found)
        setup = _common(found, endings)
        rows = tuple(_row(record, endings, ids, extra, setup=setup) for record in found)
        anchor = section_anchor(notebook)
        groups.append(Group(paper, "" if paper in papers else f"verdicts-{paper}",
                            titles.get(paper, "").partition(": ")[0] or paper.capitalize(),
                            notebook, f"#{anchor}" if anchor in ids else "", setup, rows))
        papers.add(paper)
    words = [headline_word(record, endings[0]) for record in records]
    tally = tuple((v, words.count(v.word)) for v in VERDICTS if v.word in words)
    return VerdictTable(_caption(len(records), endings, profile),
                        tuple(ending.replace("_", " ") for ending in endings),
                        tuple(name.replace("_", " ").capitalize() for name in extra),
                        tuple(groups), tally)


def findings(records: Sequence[Record]) -> dict[str, str]:
    """What stands below a figure, by its id: HTML with each measured claim about it and the verdict
    on the rows shown.

    A figure shows the rows of this run: where these have verdicts of their own ("direction here"),
    it is these. Of two profiles each figure would need its own: none.
    """
    endings = endings_of(list(records[0])) if records and "figures" in records[0] else []
    if not endings or endings[0]:
        return {}
    lines: dict[str, list[str]] = {}
    for record in records:
        side = _side(record, endings[-1])
        if headline_word(record, endings[-1]) == "not measured":
            continue
        for anchor in dict.fromkeys(name for target in record["figures"]
                                    for name in (str(target), whole(target))):
            lines.setdefault(anchor, []).append(_finding(record, side))
    return {
        anchor: f'<ul class="findings">{"".join(items)}</ul>' for anchor, items in lines.items()
    }


def whole(target: object) -> str:
    """The figure that holds a panel: F1 for F1c."""
    return re.sub(r"(?<=\d)[a-z]$", "", str(target))


def _endings(records):
    endings = endings_of(list(records[0]))
    missing = {"paper", "claim"} - set(records[0]) | (set() if endings else {"direction"})
    if missing:
        raise ValueError(f"the verdicts lack the columns {sorted(missing)}; "
                         f"they have {list(records[0])}")
    return endings


def _group_key(record):
    return format_value(record["paper"]), _text(record.get("notebook"))


def _common(records, endings):
    """The set-up that all measured claims of a group share; "" where they differ."""
    found = {_text(record.get("setup" + ending)) for record in records for ending in endings[:1]}
    found.discard("")
    return found.pop() if len(found) == 1 else ""


def _row(record, endings, ids, extra, *, setup):
    claim, *rest = _SENTENCE.split(format_value(record["claim"]), maxsplit=1)
    more = [("About", rest[0])] if rest else []
    more += [(name, typeset(text)) for name, text in _more(record, endings, setup) if text]
    candidates = (_text(record.get("figure")), whole(record.get("figure")))
    href = next((f"#{anchor}" for anchor in candidates if anchor and anchor in ids), "")
    return Row(_text(record.get("id")), _text(record.get("id")), claim,
               bool(_text(record.get("marks"))), href, headline_word(record, endings[0]),
               tuple(_side(record, ending) for ending in endings), tuple(more),
               tuple(format_value(record[name]) for name in extra))


def _more(record, endings, setup):
    """(name, text) of what stands behind the disclosure of a claim."""
    yield "Published", _text(record.get("published"))
    for ending in endings:
        own = ending.replace("_", " ")
        yield f"Why{own}", _text(record.get("reason" + ending))
        yield f"Attack instances{own}", _instances(record, ending)
        found = _text(record.get("setup" + ending))
        yield f"Set-up{own}", "" if found == setup else found
        frozen = _text(record.get("as first frozen" + ending))
        yield f"As first frozen{own}", "" if frozen == "not measured" else frozen
        yield f"Beside{own}", _text(record.get("beside" + ending))
    yield "⚑", _text(record.get("marks"))


def _instances(record, ending):
    n, planned = (_text(record.get(name + ending)) for name in ("n", "planned"))
    needed = _NEEDED.search(_text(record.get("interval" + ending)))
    texts = [f"n = {n}" if n not in ("", "0") else "",
             f"{planned} planned" if planned not in ("", "0") else "",
             f"{needed[1]} would decide" if needed else ""]
    return ", ".join(text for text in texts if text) if texts[0] else ""


def _side(record, ending) -> Side:
    number, interval, what = (_text(record.get(name + ending))
                              for name in ("measured", "interval", "what"))
    interval = _NEEDED.sub("", interval)
    return Side(ending.replace("_", " "), shown(verdicts_of(record, ending)), rounded(number),
                rounded(interval.replace("%", "") if number.endswith("%") else interval), what)


def _finding(record, side):
    badges = " ".join(
        str(badge(verdict)) + (f' <span class="small">{aspect}</span>' if aspect else "")
        for aspect, verdict in side.verdicts)
    name = escape(_text(record.get("id")))
    numbers = " ".join(text for text in (side.number, side.interval) if text)
    numbers += f", {side.what}" if numbers and side.what else ""
    claim = _SENTENCE.split(format_value(record["claim"]), maxsplit=1)[0]
    mark = " ⚑" if _text(record.get("marks")) else ""
    return (f'<li><a href="#{name}"><b>{name}</b></a> {escape(claim)} {badges}{mark} '
            f'<span class="detail">{escape(numbers)}</span></li>')


def _caption(count, endings, profile):
    text = (f"{count} claims. The direction and the size of an effect have a verdict each, where "
            "both are claimed; intervals are at 95%, over attack instances. ⚑: thresholds that "
            "were amended after some rows existed, or instances added after a look.")
    if endings[0]:
        return text + " A number differs where the two intervals do not meet."
    if len(endings) > 1:
        text += (f" \"{endings[1].strip(' _').capitalize()}\": on the rows of this run (profile "
                 f"{profile}); the others are on the published rows.")
    return text


def _text(value: Any) -> str:
    """A value as text, "" where there is none."""
    text = format_value(value)
    return "" if text == "–" else text
