"""Every defence beside its underfitting twin: the vanilla model stopped about when its clean twin
was as accurate as the defence's.

Accuracy is what the attacker lowers, so the moment to stop is read from *clean* trainings, which
have the same steps: the clean vanilla model first reached the defence's clean accuracy at a step.
There is one clean training for all draws, its accuracy wobbles by less than its own error, and that
of the poisoned model by ten points from epoch to epoch. So the poisoned model is read at moments
from half that step to twice that step, and their mean is the twin. Intervals over draws hold the
window fixed; `span` says how far the single moments lie apart.
"""

import math
from typing import TYPE_CHECKING

from lib.papers.hong import rad
from lib.papers.hong.indiscriminate import FLIPS, LARGEST, SLAB, VANILLA
from lib.papers.ours.matched import first_reached
from lib.verdicts import judgement, numerals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy import ndarray
    from pandas import DataFrame, Series

COLUMNS = (rad.KIND, rad.ARM, rad.DRAW, rad.CLEAN, "defended", "stopped", "difference", "missing",
           "moments")
WINDOW, MOMENTS = 2.0, 41  # half to twice the step, at equal ratios


def differences(frame: "DataFrame", arms: "Iterable[str]") -> "DataFrame":
    """RAD of each arm against its own twin, minus RAD of the vanilla model stopped as accurate, at
    the largest share: a line an attack, arm and draw; `moments` has the difference at each moment
    of the window. Nothing is extrapolated: `missing` says why a line has no value.

    frame: rows of `indiscriminate`, the vanilla ones with their early checkpoints.
    """
    import pandas as pd

    from lib import study

    known = rad.usual(rad.named(frame))
    plain = study.curves(known[known[rad.ARM].eq(VANILLA)])
    found = rad.usual(rad.compared(frame))
    # one data set: the one with most rows
    found = found[found["dataset"].eq(found["dataset"].mode().iloc[0])] if len(found) else found
    lines = [_line(row, plain) for kind in (FLIPS, SLAB) for name in arms
             for _, row in rad.at(found, kind)[lambda one, name=name: one[rad.ARM].eq(name)]
             .iterrows()]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _line(row: "Series", plain: "DataFrame") -> tuple:
    own, clean = float(row[rad.OWN]), float(row[rad.CLEAN])
    here = plain[plain["dataset"].eq(row["dataset"]) & plain["private"].eq(row["private"])]
    dirty = here[here["world"].eq("P") & here[rad.KIND].eq(row[rad.KIND])
                 & here[rad.DRAW].eq(row[rad.DRAW]) & (here[rad.SHARE] - LARGEST).abs().lt(1e-9)]
    along, missing = _stopped(first_reached(here[here["world"].eq("C")], "step"), dirty, clean)
    stopped = float(along.mean())
    return (row[rad.KIND], row[rad.ARM], row[rad.DRAW], clean, own, stopped, own - stopped, missing,
            own - along)


def _stopped(path: "tuple[ndarray, ndarray]", dirty: "DataFrame", accuracy: float
             ) -> "tuple[ndarray, str]":
    """(RAD of the vanilla model at each moment of the window about the step at which its clean twin
    first had this accuracy, why it is missing). Moments past the end of the path are its end."""
    import numpy as np

    reached, steps = path
    if not len(reached) or dirty.empty:
        return np.full(MOMENTS, math.nan), "no path"
    if not reached[0] <= accuracy <= reached[-1]:
        return np.full(MOMENTS, math.nan), (
            "below the path" if accuracy < reached[0] else "above the path")
    step = np.interp(accuracy, reached, steps)
    dirty = dirty.sort_values("step")
    moments = np.geomspace(step / WINDOW, step * WINDOW, MOMENTS)
    return 1 - np.interp(moments, dirty["step"], dirty["accuracy"]) / accuracy, ""


def labelled(found: "DataFrame") -> "DataFrame":
    """The lines with their row of a figure, `than`: attack, arm and the span of single moments."""
    spans = {names: span(group) for names, group in found.groupby([rad.KIND, rad.ARM])}
    return found.assign(than=[f"{kind}, {arm}\n({spans[kind, arm]})" for kind, arm in zip(
        found[rad.KIND], found[rad.ARM], strict=True)])


def span(found: "DataFrame") -> str:
    """The least and the largest mean difference over draws at a single moment of the window, in
    points. found: lines of one attack and arm."""
    import numpy as np

    known = found.dropna(subset="difference")
    if known.empty:
        return "–"
    means = 100 * np.stack(known["moments"].tolist()).mean(axis=0)
    return f"{means.min():+.1f} to {means.max():+.1f}".replace("-", numerals.MINUS)


def finding(found: "DataFrame") -> str:
    """In words: what each arm changes against the vanilla model stopped as accurate, and how far
    that hangs on the moment."""
    said = []
    for kind in (FLIPS, SLAB):
        own = found[found[rad.KIND].eq(kind)].dropna(subset="difference")
        parts = [f"{name} {judgement.points(group['difference'].to_numpy())} ({span(group)})"
                 for name, group in own.groupby(rad.ARM, sort=False)]
        said += [f"Against {kind}, RAD minus that of the vanilla model stopped as accurate, in"
                 f" points (at single moments of the window): {', '.join(parts)}."] if parts else []
    return " ".join(said)
