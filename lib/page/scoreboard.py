"""The verdict table of the first screen: from the claims' DataFrame to rows of cells."""

import re
from collections import Counter
from collections.abc import Collection
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from lib.page.scrub import PathScrubber
from lib.page.text import format_value, section_anchor

if TYPE_CHECKING:
    from markupsafe import Markup
    from pandas import DataFrame


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
    Verdict("arithmetic", "=", "unmeasured"),
    Verdict("not measured", "○", "unmeasured"),
    Verdict("not testable here", "∅", "unmeasured"),
)
_WORDS = {verdict.word: verdict for verdict in VERDICTS}
_ASPECTS = ("direction", "size")
_MEASURE = ("measured", "interval", "n", "setup")
_BEHIND = ("reason", "as first frozen", "beside")  # what stands below a verdict, if anything
_CLAIM = ("id", "paper", "claim", "published", "marks", "notebook", "figure", "figures")


class Cell(NamedTuple):
    """One cell: its column's label, a text, (aspect, verdict) pairs, small print, a link in it."""

    label: str
    text: str = ""
    verdicts: tuple = ()
    details: tuple = ()
    link: str = ""
    href: str = ""


class Row(NamedTuple):
    """One claim; `words` are its verdicts, for the filter."""

    paper: str
    words: str
    cells: tuple[Cell, ...]


class VerdictTable(NamedTuple):
    """What the template needs: caption, headings, rows, and (verdict, number of claims)."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    tally: tuple[tuple[Verdict, int], ...]


def verdict_table(frame: "DataFrame | None", *, profile: str, scrubber: PathScrubber,
                  ids: Collection[str]) -> VerdictTable | None:
    """The table of a DataFrame as in `page.build`; None without one. `ids`: anchors to link to.

    Columns with a common ending ("direction here", "measured here", ...) become columns of their
    own. Raises ValueError if a needed column is missing or a verdict is none of the known words.
    """
    if frame is None or len(frame) == 0:
        return None
    endings = [name[len("direction"):] for name in frame.columns if name.startswith("direction")]
    missing = {"paper", "claim"} - set(frame.columns) | (set() if endings else {"direction"})
    if missing:
        raise ValueError(f"the verdicts lack the columns {sorted(missing)}; "
                         f"they have {list(frame.columns)}")
    records = [{key: scrubber.clean_tree(value) for key, value in row.items()}
               for row in frame.to_dict("records")]
    rows = tuple(_row(record, endings, ids) for record in records)
    columns = tuple(cell.label for cell in rows[0].cells)
    return VerdictTable(_caption(len(rows), endings, profile), columns, rows, _tally(records))


def findings(frame: "DataFrame | None", *, scrubber: PathScrubber) -> dict[str, str]:
    """What stands below a figure, by its id: HTML with each measured claim about it and the verdict
    on the rows shown.

    A figure shows the rows of this run: where these have verdicts of their own ("direction here"),
    it is these.
    """
    if frame is None or len(frame) == 0 or "figures" not in frame:
        return {}
    endings = [name[len("direction"):] for name in frame.columns if name.startswith("direction")]
    if endings[0]:
        return {}  # of two profiles: each figure would need its own
    ending, lines = endings[-1], {}
    for record in frame.to_dict("records"):
        record = {key: scrubber.clean_tree(value) for key, value in record.items()}
        verdicts = [(aspect, verdict)
                    for aspect, verdict in _verdicts(record, ending)
                    if verdict.word != "not measured"]
        for anchor in dict.fromkeys(name for target in record["figures"]
                                    for name in (str(target), _whole(target))) if verdicts else ():
            lines.setdefault(anchor, []).append(
                _finding(record, verdicts, _measured(record, ending, "")))
    return {
        anchor: f'<ul class="findings">{"".join(items)}</ul>' for anchor, items in lines.items()
    }


def badge(verdict: Verdict) -> "Markup":
    """A verdict as HTML, in words and shape."""
    from markupsafe import Markup

    return Markup(
        '<span class="verdict {0.style}"><span'
        ' aria-hidden="true">{0.mark}</span>&nbsp;{0.word}</span>'
    ).format(verdict)


def _finding(record, verdicts, measured):
    badges = " ".join(
        str(badge(verdict)) + (f' <span class="small">{aspect}</span>' if aspect else "")
        for aspect, verdict in _shown(verdicts))
    numbers = ", ".join([measured.text, *measured.details])
    mark = " ".join(f'<span class="small">{escape(text)}</span>' for text in _marks(record))
    return (f"<li><b>{escape(str(record['id']))}</b> {escape(format_value(record['claim']))} "
            f"{badges} {mark} <span class=\"detail\">{escape(numbers)}</span></li>")


def _marks(record):
    """What a reader must know before the verdict (amended, optional stopping), if anything."""
    text = format_value(record.get("marks"))
    return () if text in ("–", "") else (f"⚑ {text}",)


def _behind(record, ending):
    """What stands below the verdicts: reason, the first version's verdict, what is beside."""
    found = {name: format_value(record.get(name + ending)) for name in _BEHIND}
    return tuple(text if name == "reason" else f"{name}: {text}"
                 for name, text in found.items() if text not in ("–", ""))


def _whole(target):
    """The figure that holds a panel: F1 for F1c."""
    return re.sub(r"(?<=\d)[a-z]$", "", str(target))


def _caption(count, endings, profile):
    text = (f"{count} claims. The direction and the size of an effect have a verdict each, where "
            "both are claimed; intervals are at 95%, over n attack instances. ⚑: thresholds that "
            "were amended after some rows existed, or instances added after a look.")
    if endings[0]:
        return text + " A number differs where the two intervals do not meet."
    if len(endings) > 1:
        text += (f" The columns \"{endings[1].strip(' _')}\" are on the rows of this run (profile "
                 f"{profile}), the others on the published rows.")
    return text


def _tally(records):
    """How many claims have each verdict: on the direction, or on the size if only that is claimed.
    """
    found = [_verdicts(record, "") for record in records]
    counts = Counter(pairs[0][1] for pairs in found if pairs)
    return tuple((verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict])


def _row(record, endings, ids):
    words = {verdict.word for ending in endings for _, verdict in _verdicts(record, ending)}
    cells = [_claim(record, ids)]
    if "published" in record:
        cells.append(Cell("Published", format_value(record["published"]) or "–"))
    for ending in endings:
        label = ending.replace("_", " ")
        marks = () if ending else _marks(record)
        cells.append(Cell("Verdict" + label, verdicts=_shown(_verdicts(record, ending)),
                          details=marks + _behind(record, ending)))
        cells.append(_measured(record, ending, "Measured" + label))
    behind = (*_ASPECTS, *_MEASURE, *_BEHIND)
    known = {*_CLAIM, *(name + ending for name in behind for ending in endings)}
    cells += [Cell(str(name).replace("_", " ").capitalize(), format_value(value))
              for name, value in record.items() if name not in known]
    return Row(format_value(record["paper"]), "|".join(sorted(words)), tuple(cells))


def _verdicts(record, ending):
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


def _shown(pairs):
    """The aspect is named where direction and size have different verdicts."""
    if len({verdict for _, verdict in pairs}) == 1:
        return (("", pairs[0][1]),)
    return tuple(pairs)


def _claim(record, ids):
    about = _join(record.get("paper"), record.get("id"), between=" · ")
    figure = str(record.get("figure"))  # a panel's id (F1c) leads to the figure that holds it (F1)
    candidates = (figure, _whole(figure),
                  section_anchor(str(record.get("notebook"))))
    href = next((f"#{anchor}" for anchor in candidates if anchor in ids), "")
    return Cell("Claim", format_value(record["claim"]), details=(about,),
                link=_join(record.get("notebook")), href=href)


def _measured(record, ending, label):
    value, interval, n, setup = (_join(record.get(name + ending)) for name in _MEASURE)
    precision = _join(interval, f"n\u00a0=\u00a0{n}" if n not in ("", "0") else None)
    return Cell(label, value or "–", details=tuple(text for text in (precision, setup) if text))


def _join(*values, between=", "):
    """The values that are there, as text."""
    texts = [format_value(value) for value in values]
    return between.join(text for text in texts if text not in ("–", ""))
