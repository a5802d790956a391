"""Sizes, fonts, and a colour, marker and line for each series."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

WIDTH = 7.4  # inches, 710 pixels: a figure as wide as the text; on a phone it scrolls
PANEL = (WIDTH / 2, 2.9)  # inches, of one panel among several
INK = "#1b1f24"
FAINT = "#57606a"
BETTER, WORSE = "#0072b2", "#b34700"  # the two sides of zero; the worse one is shaded

RC: dict[Any, Any] = {  # matplotlib's own type lists the names it knows
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "svg.hashsalt": "dp-backdoors",  # ids in the SVG depend on its content alone
    "font.family": "sans-serif",
    # DejaVu is what matplotlib measures with; Verdana has the same widths in a browser.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.grid": True, "grid.color": "#e4e7eb", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "lines.linewidth": 1.7, "lines.markersize": 5.5, "errorbar.capsize": 2.5,
    "legend.frameon": False, "legend.handlelength": 2.8, "figure.dpi": 100,
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "hatch.linewidth": 0.7,
    "path.simplify_threshold": 0.4,  # pixels; invisible, and halves the bytes of many thin lines
}


class Series(NamedTuple):
    """How a series is drawn: told apart by colour, by marker and by line."""

    color: str
    marker: str
    line: object  # a matplotlib line style


# Every colour has a contrast of at least 3:1 to white, and they differ in lightness as well.
_STYLES = (
    Series("#0072b2", "o", "-"),
    Series("#c44e00", "s", "--"),
    Series("#007a5a", "^", "-."),
    Series("#8f3f84", "D", (0, (1, 1.2))),
    Series("#6b5b00", "v", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
    Series("#1b1f24", "X", (0, (8, 2))),
    Series("#7b2d26", "P", (0, (4, 1, 1, 1))),
    Series("#d1467f", "<", (0, (2, 2))),
    Series("#b08400", ">", (0, (10, 2, 2, 2))),
    Series("#948ac0", "*", (0, (3, 3))),
)


def in_turn(names: Iterable[str]) -> dict[str, Series]:
    """A style for each name, in order; past the last style they begin again.

    Two names of one style are told apart where they meet, see `series_styles`.
    """
    return dict(zip(names, itertools.cycle(_STYLES)))


# The same defence looks the same in every figure. New ones go to the end.
SERIES = in_turn((
    "DP-SGD", "plain SGD", "clip only", "label noise", "PATE", "undefended", "ALIBI", "LP-2ST",
    "PATE (queries)", "randomised response",
))
# What others are compared with: in ink, drawn last and thickest, first in the legend.
SERIES["plain SGD"] = Series(INK, "s", "-")
# Other names of the same.
SERIES |= {"PATE (noise)": SERIES["PATE"],
           **dict.fromkeys(("no defence", "no noise", "threshold"), SERIES["undefended"])}
REFERENCES = frozenset({"plain SGD", "undefended", "no defence", "no noise", "threshold"})
THIN, THICK = 1.7, 3.0  # points, of a line and of a reference's
SMALL = 8.5  # points, of the smallest text

# Parts of the attack success: hatches tell them apart without colour.
PARTS = {"natural": ("#b9c0c8", ""), "collateral": ("#e0a458", "\\\\\\"), "lift": ("#0072b2", "//")}


def style() -> None:
    """Set matplotlib's defaults, for figures of your own beside those of this package."""
    import matplotlib

    matplotlib.rcParams.update(RC)


@contextmanager
def styled() -> Iterator[None]:
    """The style for the time of a block; the caller's settings come back after it."""
    import matplotlib

    with matplotlib.rc_context(RC):
        yield


def references(count: int) -> list[Series]:
    """Looks for several references in one figure: ink, told apart by their lines."""
    lines = ("-", (0, (2.5, 1)), (0, (1, 0.8)), (0, (4, 1, 1, 1)))
    return [Series(INK, "", line) for line, _ in zip(itertools.cycle(lines), range(count))]


def series_styles(names: Iterable[str]) -> dict[str, Series]:
    """A style for each name: the known ones keep theirs, the others take what is free, in order."""
    names = list(dict.fromkeys(names))
    if len(names) > len(_STYLES):
        raise ValueError(f"{len(names)} series in one figure, at most {len(_STYLES)} can be told "
                         "apart: split the figure into panels")
    known = {}
    for name in names:  # of two names with one style the first gets it
        if name in SERIES and SERIES[name] not in known.values():
            known[name] = SERIES[name]
    free = iter([look for look in _STYLES if look not in known.values()])
    return {name: known.get(name) or next(free) for name in names}
