"""What the first screen says and shows, and the way from one chapter to the next."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from lib.page.outputs import inline_svg
from lib.page.text import typeset

if TYPE_CHECKING:
    from lib.page.sections import Section


class Sentence(NamedTuple):
    """A sentence of the answer, and the intervals and conditions behind its disclosure."""

    text: str
    note: str


class Turn(NamedTuple):
    """A chapter as the links at the end of its neighbours name it."""

    anchor: str
    title: str


def answer_of(given: Sequence[str | Sequence[str]] | None) -> list[Sentence]:
    """The answer as sentences with their notes; a plain string has no note."""
    return [Sentence(typeset(item), "") if isinstance(item, str)
            else Sentence(typeset(item[0]), typeset(item[1] or ""))
            for item in given or ()]


def headline_of(given: Mapping[str, str] | None, ids: Collection[str]) -> str:
    """The one figure of the first screen as HTML; "" without one.

    Raises ValueError if it has no drawing, caption or description, or links to nothing.
    """
    if not given:
        return ""
    lacking = [name for name in ("svg", "caption", "alt") if not given.get(name)]
    if lacking:
        raise ValueError(f"the headline figure lacks {lacking}: expected svg, caption and alt")
    href = given.get("href") or ""
    if href.startswith("#") and href[1:] not in ids:
        href = ""  # the profile leaves that notebook out
    more = f' <a href="{escape(href)}">Where it comes from</a>' if href else ""
    finding = given.get("finding") or ""
    said = f'<p class="said">{escape(finding)}</p>' if finding else ""
    picture = inline_svg(given["svg"], label=given["alt"], prefix="headline")
    return (f'<figure id="headline"><div class="picture">{picture}</div>'
            f'<figcaption>{said}<p class="small">{escape(given["caption"])}{more}</p></figcaption>'
            "</figure>")


def turns(sections: "Sequence[Section]", *, verdicts: bool, notes: bool
          ) -> dict[str, tuple[Turn | None, Turn | None]]:
    """The chapters before and after each, by its anchor, in the order of the page."""
    order = [Turn("overview", "The answer")]
    order += [Turn("verdicts", "All verdicts")] if verdicts else []
    order += [Turn("notes", "Notes on this build")] if notes else []
    order += [Turn(section.anchor, f"{section.number} {section.title}") for section in sections]
    order += [Turn("provenance", "Provenance")]
    before: list[Turn | None] = [None, *order[:-1]]
    after: list[Turn | None] = [*order[1:], None]
    return {turn.anchor: around
            for turn, around in zip(order, zip(before, after, strict=True), strict=True)}
