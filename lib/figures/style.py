"""Sizes, fonts, and a colour, marker and line for each series."""

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

WIDTH = 7.6  # inches, of a figure as wide as the text; on a phone it scrolls
PANEL = (3.7, 2.9)  # inches, of one panel among several
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
# Other names of the same.
SERIES |= {"no defence": SERIES["undefended"], "PATE (noise)": SERIES["PATE"]}

# Parts of the attack success: hatches tell them apart without colour.
PARTS = {"natural": ("#b9c0c8", ""), "collateral": ("#e0a458", "\\\\\\"), "lift": ("#0072b2", "//")}

_MEASURES = {
    "accuracy": ("clean accuracy", "% of test images"), "success": ("attack success",
                                                                    "% of base-class test images"),
    "floor": ("called target without trigger",
              "% of base-class test images"), "base_recall": ("base-class recall",
                                                              "% of base-class test images"),
    "natural": ("natural part", "% of base-class test images"), "collateral": ("collateral part",
                                                                               "percentage points"),
    "lift": ("lift by the trigger", "percentage points"), "effect": ("backdoor effect",
                                                                     "percentage points"),
    "difference": ("lift minus plain SGD stopped as accurate", "percentage points"),
    "trigger_auc": ("trigger AUC", "0.5: no effect"), "auc_clean": ("trigger AUC of the clean twin",
                                                                    "0.5: no effect"),
    "loss": ("loss", "nats an image"), "facts.answered": ("answered queries", "number"),
    "facts.triggered_answered": ("answered stamped queries",
                                 "number"), "facts.target_answered": ("target label, if answered",
                                                                      "% of stamped queries"),
    "facts.target_unanswered": ("target ahead, if unanswered", "% of stamped queries"),
    "facts.student_target_answered": ("student says target, if answered", "% of stamped queries"),
    "facts.student_target_unanswered": ("student says target, if unanswered",
                                        "% of stamped queries"),
    "facts.label_accuracy": ("true labels", "% of kept clean queries"),
    "facts.certified_1": ("certified against one teacher", "% of queries"),
    "facts.certified_median": ("teachers that cannot flip a query", "median number"),
    "facts.k1_records": ("records with k = 1",
                         "% of the later stages"), "facts.k1_poisons": ("poisons with k = 1",
                                                                        "% of the later stages"),
    "facts.kept_labels_poisons": ("poisons with the target label",
                                  "% of poisons"), "facts.certified_any": ("certified at all",
                                                                           "% of test images"),
    "facts.certified_attack": ("certified against this attack", "% of test images"),
    "facts.certified_triggered": ("certified at all, triggered", "% of attacked test images"),
    "facts.truth": ("true label, triggered", "% of attacked test images"),
    "facts.printed": ("printed by RAB's script", "% of all test images, triggered"),
}
_QUARTILES = {"q1": "first quartile", "median": "median", "q3": "third quartile"}
_AXES = {
    "noise_multiplier": "noise multiplier z",
    "max_grad_norm": "clipping norm C",
    "epsilon": "ε",
    # Of the base class alone: a figure of the four-pixel attack, a share of all training images,
    # says so itself.
    "fraction": "poisoned share of the base class",
    "epoch": "epoch", "step": "step",
    "threshold": "threshold [votes]",
    "selection_noise": "selection noise [votes]",
    "result_noise": "result noise [votes]",
    "answered": "answered queries",
    "noise": "smoothing noise σ",
    "partitions": "partitions k",
}


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


def _measure(column) -> tuple[str, str]:
    """Name and unit of a measure.

    facts.models_MEASURE_q1, _median and _q3 are MEASURE's over an ensemble's models.
    """
    name, _, part = str(column).removeprefix("facts.models_").rpartition("_")
    found = _MEASURES.get(name) or _MEASURES.get(f"facts.{name}")
    if str(column).startswith("facts.models_") and part in _QUARTILES and found:
        return f"{found[0]}, {_QUARTILES[part]} of the models", found[1]
    return _MEASURES.get(column, (str(column).replace("_", " "), ""))


def measure_label(column: str) -> str:
    """The axis label of a measure, with its unit on a second line."""
    name, unit = _measure(column)
    return f"{name}\n[{unit}]" if unit else name


def axis_label(column: str) -> str:
    """The axis label of a setting, from the last part of its dotted name."""
    last = str(column).rsplit(".", 1)[-1]
    return _AXES.get(last, last.replace("_", " "))


def limits(column: str) -> tuple[float, float]:
    """What a measure can be, in the unit of its axis."""
    unit = _measure(column)[1]
    if unit.startswith("%"):
        return 0.0, 100.0
    if unit.startswith("percentage"):
        return -100.0, 100.0
    return (0.0, 1.0) if column in ("trigger_auc", "auc_clean") else (-math.inf, math.inf)


def factor(column: str) -> float:
    """100 for the measures that are shown in per cent, else 1."""
    unit = _measure(column)[1]
    return 100.0 if unit.startswith(("%", "percentage")) else 1.0
