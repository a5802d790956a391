"""The page: executed notebooks, the verdicts and their provenance in one self-contained HTML file.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from lib.page.scoreboard import badge, findings, verdict_table
from lib.page.scrub import PathScrubber
from lib.page.sections import Section, read_section
from lib.page.styles import share_styles, share_symbols
from lib.page.text import duration

SIZE_LIMIT = 3_000_000  # bytes; beyond it the page is slow to open on a phone
QUESTION = ("Does differential privacy stop backdoor and poisoning attacks, "
            "when, and at what price?")

__all__ = ["SIZE_LIMIT", "Section", "build"]


def build(notebooks: Sequence[tuple[str, Path | None, str | None]], *, out: Path | str,
          profile: str, context: Mapping[str, Any]) -> Path:
    """Write the report and return its path.

    notebooks: list of (name, path of the executed .ipynb or None, error text or None), in the
    order of the page. A notebook with an error, or without a readable file, gets a red placeholder
    in its place.
    out: the .html file, or a folder that gets `report.html`.
    profile: name of the parameter folder that was run.
    context: all keys optional; what is missing is said to be "not recorded".
      title, question: text for the first screen; answer: list of sentences
      verdicts: DataFrame with columns id, paper, claim, published, direction, size, measured,
        interval, n, setup, notebook, figure (id of the figure to link to), figures (ids of those
        that get the verdict below them); a second set of columns with a common ending
        ("direction here", ...) holds this run's own verdicts
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
    found = findings(context.get("verdicts"), scrubber=scrubber)
    sections = [
        read_section(name, path, error, position=position, names=names, taken=taken,
                     scrubber=scrubber, context=context, findings=found)
        for position, (name, path, error) in enumerate(notebooks)
    ]
    page = _page(sections, profile, context, scrubber=scrubber, ids=taken)
    left = scrubber.find(page)
    if left:
        raise ValueError(f"the page would show the path {left[0]!r}: remove it from the context "
                         "or from the notebook that prints it")
    _warn(sections, page)
    return _write(page, Path(out))


PAGE_IDS = ("top", "main", "contents", "verdicts", "notes", "provenance", "theme", "filters",
            "shown", "verdict-table")


def _page(sections, profile, context, *, scrubber, ids):
    import jinja2

    here = files("lib.page")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    clean = scrubber.clean_tree({k: v for k, v in context.items() if k != "verdicts"})
    bodies, drawn = share_styles([section.body for section in sections])
    bodies, symbols = share_symbols(bodies)
    return template.render(
        context=clean,
        profile=profile,
        question=clean.get("question") or QUESTION,
        sections=list(zip(sections, bodies)),
        symbols=symbols,
        verdicts=verdict_table(context.get("verdicts"), profile=profile, scrubber=scrubber,
                               ids=ids),
        style=(here / "style.css").read_text(encoding="utf-8") + drawn,
        script=(here / "script.js").read_text(encoding="utf-8"),
        flags=[(section, flag) for section in sections for flag in section.flags],
        duration=duration,
        badge=badge,
    )


def _warn(sections, page):
    for section in sections:
        for flag in section.flags:
            warnings.warn(f"report, {section.name}: {flag}", stacklevel=3)
    size = len(page.encode())
    if size > SIZE_LIMIT:
        largest = max(sections, key=lambda section: len(section.body), default=None)
        warnings.warn(f"the report has {size / 1e6:.1f} MB, more than {SIZE_LIMIT / 1e6:.0f} MB; "
                      f"the largest section is {largest.name if largest else 'none'}", stacklevel=3)


def _write(page, out) -> Path:
    if out.suffix != ".html":
        out = out / "report.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    # A reader never finds half a page: write beside it, then replace.
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, out)
    return out
