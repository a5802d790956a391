"""The page: executed notebooks, the verdicts and their provenance in one self-contained HTML file.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from lib.page.claims import claim_anchors, findings, verdict_table
from lib.page.firstscreen import answer_of, headline_of, turns
from lib.page.limits import NOTEBOOK_LIMIT, SIZE_LIMIT, too_large
from lib.page.scoreboard import badge, records_of, scoreboard
from lib.page.scrub import PathScrubber
from lib.page.sections import Section, read_section
from lib.page.styles import share_styles, share_symbols, without_quotes
from lib.page.text import duration

QUESTION = ("Does differential privacy stop backdoor and poisoning attacks, "
            "when, and at what price?")

__all__ = ["NOTEBOOK_LIMIT", "SIZE_LIMIT", "Section", "build"]


def build(notebooks: Sequence[tuple[str, Path | None, str | None]], *, out: Path | str,
          profile: str, context: Mapping[str, Any]) -> Path:
    """Write the report and return its path.

    notebooks: list of (name, path of the executed .ipynb or None, error text or None), in the
    order of the page. A notebook with an error, or without a readable file, gets a red placeholder
    in its place.
    out: the .html file, or a folder that gets `report.html`.
    profile: name of the parameter folder that was run.
    context: all keys optional; what is missing is said to be "not recorded".
      title, question: text for the first screen; answer: list of (sentence, note)
        pairs or of sentences; headline: mapping with svg, caption, alt, finding and href (the
        route to where it comes from) of the one figure
      verdicts: DataFrame with columns id, paper, claim, published, direction, size, measured,
        what (measured), interval, n, setup, notebook, figure (id of the figure to link to),
        figures (ids of those that get the verdict below them); a second set of columns with a
        common ending ("direction here", ...) holds this run's own verdicts
      commit, dirty, date, device, threads, seconds, command: of this build
      versions: {package: version}; rows: {source: count} (published, store, fresh, missing, failed)
      seeds: {kind: list of numbers}
      repository: address of the code, to link notebooks at the commit
      notes: list of sentences shown in "Notes on this build"
      pairs: the outputs of a cell stand side by side where there is room

    Paths of the home folder and of the checkout are replaced, and each replacement is flagged on
    the page and as a warning. Raises ValueError if one is left, or if a notebook's name is given
    twice.
    """
    names = [name for name, _, _ in notebooks]
    if len(set(names)) < len(names):
        raise ValueError(f"notebook names {names} are not unique: give each notebook once")
    scrubber = PathScrubber()
    taken: set[str] = set(PAGE_IDS)
    records = records_of(context.get("verdicts"), scrubber)
    claim_anchors(records, taken)
    found = findings(records)
    sections = [
        read_section(name, path, error, position=position, names=names, taken=taken,
                     scrubber=scrubber, context=context, findings=found)
        for position, (name, path, error) in enumerate(notebooks)
    ]
    page, bodies = _page(sections, profile, context, scrubber=scrubber, ids=taken, records=records)
    left = scrubber.find(page)
    if left:
        raise ValueError(f"the page would show the path {left[0]!r}: remove it from the context "
                         "or from the notebook that prints it")
    _warn(sections, page, bodies)
    return _write(page, Path(out))


PAGE_IDS = ("top", "main", "contents", "overview", "question", "headline", "scoreboard",
            "verdicts", "verdict-title", "notes", "notes-title", "provenance", "provenance-title",
            "theme", "filters", "shown", "verdict-table")


def _page(sections, profile, context, *, scrubber, ids, records):
    """The page, and the notebooks' parts of it as they stand there."""
    import jinja2

    here = files("lib.page")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    clean = scrubber.clean_tree({k: v for k, v in context.items() if k != "verdicts"})
    headline = headline_of(clean.get("headline"), ids)
    drawn, rules = share_styles([*(section.body for section in sections), headline])
    drawn, symbols = share_symbols(drawn)
    *bodies, headline = map(without_quotes, drawn)
    titles = _titles() if records else {}
    return template.render(
        context=clean,
        profile=profile,
        question=clean.get("question") or QUESTION,
        answer=answer_of(clean.get("answer")),
        headline=headline,
        sections=list(zip(sections, bodies)),
        turns=turns(sections, verdicts=bool(records),
                    notes=bool(clean.get("notes") or any(s.flags for s in sections))),
        scoreboard=scoreboard(records, titles),
        verdicts=verdict_table(records, profile=profile, ids=ids, titles=titles),
        style=(here / "style.css").read_text(encoding="utf-8") + rules,
        symbols=symbols,
        script=(here / "script.js").read_text(encoding="utf-8"),
        flags=[(section, flag) for section in sections for flag in section.flags],
        duration=duration,
        badge=badge,
    ), bodies


def _titles():
    """Authors and title of each paper, by its name in the verdicts."""
    from lib import papers

    return {name: paper.title for name, paper in papers.papers().items()}


def _warn(sections, page, bodies):
    for section in sections:
        for flag in section.flags:
            warnings.warn(f"report, {section.name}: {flag}", stacklevel=3)
    names = [section.name for section in sections]
    for problem in too_large(page, dict(zip(names, bodies, strict=True))):
        warnings.warn(problem, stacklevel=3)


def _write(page, out) -> Path:
    if out.suffix != ".html":
        out = out / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    # A reader never finds half a page: write beside it, then replace.
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, out)
    return out
