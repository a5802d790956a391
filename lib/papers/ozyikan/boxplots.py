"""Specifications of the box plots of figures 3 to 7, as `lib.figures.boxes` takes them: quartiles
over single models, what their ensemble does, and the number that the paper plots.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.papers.ozyikan.certified import CERTIFIED, NOISE, PRINTED, SHARE, TRUTH

if TYPE_CHECKING:
    from pandas import DataFrame

AXIS = "poisoned share of all training images"


class Reading(NamedTuple):
    """What is counted: columns of the ensemble's value and of a further mark, in words."""

    value: str
    mark: str
    mark_label: str
    ylabel: str


READINGS = {
    "accuracy": Reading("accuracy", CERTIFIED, "certified at all", "correct\n[% of clean images]"),
    "truth": Reading(TRUTH, "facts.certified_triggered", "certified at all",
                     "true label\n[% of triggered images]"),
    "success": Reading("success", PRINTED, "as RAB's script prints it",
                       "called target\n[% of triggered images]"),
}


def panel(frame: "DataFrame", kind: str, *, by: str = NOISE, words: str = "noise {:g}",
          **more: Any) -> dict[str, Any]:
    """One panel over the poisoned share, a series for each value of `by`. kind: of `READINGS`."""
    reading = READINGS[kind]
    own = frame[frame["world"].eq("P")].sort_values([by, SHARE])
    return dict(
        frame=own.assign(series=[words.format(value) for value in own[by]]), series="series",
        x=SHARE, xlabel=AXIS, **dict(zip(("low", "middle", "high"), _quartiles(kind), strict=True)),
        ensemble=reading.value, mark=reading.mark, mark_label=reading.mark_label,
        ylabel=reading.ylabel) | more


def drawn(frame: "DataFrame", kinds: Iterable[str], *, by: str = NOISE) -> "DataFrame":
    """The columns that such panels draw, and no others."""
    from lib import study

    columns = [column for kind in kinds for column in (
        READINGS[kind].value, READINGS[kind].mark, *_quartiles(kind))]
    return study.tidy([frame[frame["world"].eq("P")].round(4)], only=[
        "dataset", "attack.target", SHARE, by, *columns])


def _quartiles(kind: str) -> list[str]:
    return [f"facts.models_{kind}_{place}" for place in ("q1", "median", "q3")]
