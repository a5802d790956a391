"""Specifications of the box plots of figures 3 to 7, as `lib.figures.boxes` takes them: quartiles
over single models, what their ensemble does, and the number that the paper plots.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.papers.ozyikan import certified
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


def changes(frame: "DataFrame") -> "DataFrame":
    """What more poison and more noise do to RAB's accuracies, pair by pair: a line a pair and
    comparison, with `what` and `difference`. frame: rows of `certified.prepared`.
    """
    import pandas as pd

    swept = certified.most_models(certified.plain(frame[frame["world"].eq("P")]), SHARE,
                                  but=(NOISE,))
    if swept is None:
        return pd.DataFrame(columns=["what", "pair", "difference"])
    (few, many), (low, high) = (certified.ends(swept, axis) for axis in (SHARE, NOISE))
    least = swept[swept[NOISE].eq(low)]
    shares, noises = f"{many:.0%} minus {few:.0%} poison", f"noise {high:g} minus {low:g}"
    found = {
        f"clean images certified at all,\n{shares}": certified.change(
            least, SHARE, CERTIFIED, (few, many)),
        f"triggered images by true label,\n{shares}": certified.change(
            least, SHARE, TRUTH, (few, many)),
        f"clean accuracy, median model,\n{noises}": certified.change(
            swept, NOISE, certified.MEDIAN, (low, high)),
        f"clean accuracy, their average,\n{noises}": certified.change(
            swept, NOISE, "accuracy", (low, high))}
    return pd.concat([
        values.rename("difference").rename_axis("pair").reset_index().assign(what=name)
        for name, values in found.items()], ignore_index=True)


def changes_finding(found: "DataFrame") -> str:
    """The differences in words."""
    from lib.verdicts import judgement

    lines = [f"{' '.join(name.split())}: {judgement.points(group['difference'])} points"
             for name, group in found.groupby("what", sort=False)]
    return f"{'; '.join(lines)}." if lines else ""
