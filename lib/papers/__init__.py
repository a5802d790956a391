"""The papers, a folder each: its claims and targets, and beside them how each is measured.

A folder says what the paper is (`PAPER` in its `__init__.py`). Each of its modules that defines
`CLAIMS` or `TARGETS` adds to the table, so a new claim is one file. Claims hold the functions that
measure them; a claim without one is not measured. `HEADLINES` in a folder's `headlines.py` holds,
by notebook, the function that draws its first figure from the published rows; `COMPUTED` those of
notebooks that train nothing, which need no rows.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from lib.verdicts.claim import Claim, Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True)
class Paper:
    """Authors and title; `order`: where its claims come in the table."""

    title: str
    order: int


class Headline(NamedTuple):
    """A notebook's first figure, with what `lib.figures.show` asks for.

    `id`: of the figure; the page leads there.
    """

    id: str
    figure: "Figure"
    data: "DataFrame"
    caption: str
    alt: str
    finding: str


def headline(notebook: str) -> None:
    """Show the headline figure of a notebook ("11_dpsgd"), from its published rows alone.

    It stands above the parameters, and does not change with them.
    """
    from lib import figures

    figures.show(**drawn(notebook)._asdict())


def drawn(notebook: str) -> Headline:
    """The headline figure of a notebook; one that says "not measured" where no row is published."""
    from lib import figures, study

    found, computed = _drawn_by("HEADLINES"), _drawn_by("COMPUTED")
    if notebook in computed:
        shown = computed[notebook]()
        return shown._replace(caption=f"{shown.caption} Computed: no training is in it.")
    if notebook not in found:
        known = ", ".join(sorted(found | computed))
        raise ValueError(f"headline of {notebook!r}: expected one of {known}")
    rows = study.published(notebook)
    if rows.empty:
        return Headline(f"{notebook}-headline", figures.not_measured(), rows,
                        "The published rows of this notebook are missing.", "Nothing is drawn.", "")
    shown = found[notebook](rows)
    return shown._replace(caption=f"{shown.caption} Published rows.")


def _drawn_by(name: str) -> dict[str, Callable[..., Headline]]:
    """The functions that draw headlines, by notebook: of rows (HEADLINES), of none (COMPUTED)."""
    return {notebook: draw for paper in papers() for module in _modules(paper)
            for notebook, draw in vars(module).get(name, {}).items()}


def papers() -> dict[str, Paper]:
    """Every paper by the name of its folder, in the table's order."""
    found = {name: _paper(name) for name in _names(__path__, folders=True)}
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


def claims() -> tuple[Claim, ...]:
    """The claims of all papers, paper by paper, in the natural order of ids (R2 before R10)."""
    found = {
        paper: [one for module in _modules(paper) for one in vars(module).get("CLAIMS", ())]
        for paper in papers()
    }
    _check((one.id, one.paper, paper) for paper, ours in found.items() for one in ours)
    return tuple(one for ours in found.values() for one in sorted(ours, key=_natural))


def targets() -> tuple[Target, ...]:
    """The figures, tables and results of all papers, in the order in which they are written."""
    found = {
        paper: [one for module in _modules(paper) for one in vars(module).get("TARGETS", ())]
        for paper in papers()
    }
    _check((one.id, one.paper, paper) for paper, ours in found.items() for one in ours)
    return tuple(one for ours in found.values() for one in ours)


def claim(name: str) -> Claim:
    """The claim with this id ("R3")."""
    known = {one.id: one for one in claims()}
    if name not in known:
        raise ValueError(f"claim {name!r}: expected one of {', '.join(known)}")
    return known[name]


def _paper(name: str) -> Paper:
    found = vars(import_module(f"{__name__}.{name}")).get("PAPER")
    if not isinstance(found, Paper):
        raise ValueError(
            f"lib/papers/{name}: PAPER {found!r}; expected PAPER = Paper(title, order=...) "
            "in its __init__.py"
        )
    return found


def _modules(paper: str) -> list[ModuleType]:
    """A paper's modules in the order of their names."""
    package = import_module(f"{__name__}.{paper}")
    return [import_module(f"{package.__name__}.{name}") for name in _names(package.__path__)]


def _names(path: Iterable[str], *, folders: bool = False) -> list[str]:
    return sorted(found.name for found in iter_modules(path) if found.ispkg == folders)


def _check(found: Iterable[tuple[str, str, str]]) -> None:
    """found: id, the paper that it names, the folder that it lies in."""
    seen: dict[str, str] = {}
    for name, paper, folder in found:
        if paper != folder:
            raise ValueError(f"{name}: paper {paper!r}; expected {folder!r}, the folder it lies in")
        if name in seen:
            raise ValueError(
                f"{name}: defined in {seen[name]} and in {folder}; expected one of a name"
            )
        seen[name] = folder


def _natural(one: Claim) -> list[tuple[str, int]]:
    """Sort key: numbers within an id count as numbers."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", one.id)]
