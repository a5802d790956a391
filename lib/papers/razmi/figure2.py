"""Figure 2 of Razmi et al.: PATE's student over teachers, queries, threshold and the two noises."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.defences import own
from lib.defences.pate import PATE
from lib.papers.razmi import labelled
from lib.papers.razmi.pate import QUERIES, RESULT, SELECTION, TEACHERS, THRESHOLD
from lib.study.design import instances
from lib.study.runs import Run
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

XLABELS = {TEACHERS: "teachers", QUERIES: "queries", THRESHOLD: "threshold (votes)",
           SELECTION: "selection noise (votes)", RESULT: "result noise (votes)"}


def sweep(start: Run, axis: str, values: Iterable[float], pairs: Sequence[Sequence[int]]
          ) -> list[Run]:
    """One field of PATE at every value, on every pair of classes.

    axis: its column, as "defence.teachers". Selection noise needs a threshold: 0 where the run has
    none, so that the noise decides alone.
    """
    if axis == SELECTION and own(start, PATE).threshold is None:
        start = start.with_(defence__threshold=0.0)
    field = axis.replace(".", "__")
    return [one for value in values for one in instances(start.with_(**{field: value}), pairs)]


def panels(over: Mapping[str, "DataFrame"]) -> list[dict[str, Any]]:
    """Two panels an axis for `lib.figures.panels`. over: the rows of `sweep` by their axis."""
    return [spec for letter, (axis, frame) in zip("abcde", over.items(), strict=True)
            for spec in labelled.panels(
                frame, title=f"2{letter}", x=axis, xlabel=XLABELS[axis],
                xscale="log" if axis == QUERIES else "linear")]


def noise_panels(over: Mapping[str, "DataFrame"]) -> list[dict[str, Any]]:
    """Accuracy and lift over each noise, the other one fixed."""
    return [dict(frame=frame, x=axis, xlabel=XLABELS[axis], y=metric)
            for axis, frame in over.items() for metric in ("accuracy", "lift")]


def noise_finding(over: Mapping[str, "DataFrame"]) -> str:
    """In words: accuracy and lift at the largest value of each noise, minus those at the least."""
    words = []
    for axis, frame in over.items():
        known = frame.dropna(subset=["accuracy", "lift"])
        if known[axis].nunique() > 1:
            words.append(f"{XLABELS[axis]} {known[axis].min():g} to {known[axis].max():g} changes"
                         f" accuracy by {_change(known, axis, 'accuracy')} points and lift by"
                         f" {_change(known, axis, 'lift')}")
    text = "; ".join(words)
    return text and f"{text[0].upper()}{text[1:]}."


def _change(frame: "DataFrame", axis: str, metric: str) -> str:
    most, least = (frame[frame[axis].eq(end)] for end in (frame[axis].max(), frame[axis].min()))
    return judgement.points(
        (rows.per_unit(most, metric) - rows.per_unit(least, metric)).to_numpy())
