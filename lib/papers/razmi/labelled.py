"""Runs with names: their rows, how those compare with plain SGD, and the two panels of a sweep."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.papers.ours import matched
from lib.study.design import instances
from lib.study.runs import Run
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

SHARES = "accuracy, attack success\n[% of (base-class) test images]"


def on_pairs(starts: Iterable[Run], pairs: Sequence[Sequence[int]]) -> list[Run]:
    """Each run on every pair of classes."""
    return [one for start in starts for one in instances(start, pairs)]


def run_labelled(groups: Mapping[str, Iterable[Run]], *, column: str) -> "DataFrame":
    """The rows of several groups of runs, with the name of the group in `column`."""
    import pandas as pd

    from lib import study

    return pd.concat([study.run(runs).assign(**{column: name}) for name, runs in groups.items()],
                     ignore_index=True)


def panels(frame: "DataFrame", *, title: str, **axis: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two panels for `lib.figures.panels`: accuracy with attack success, as published, and lift.

    axis: x and how it is drawn.
    """
    import pandas as pd

    both = pd.concat([frame.assign(series="accuracy", success=frame["accuracy"]),
                      frame.assign(series="attack success")])
    return (axis | dict(frame=both, y="success", series="series", ylabel=SHARES,
                        title=f"{title}: accuracy, attack success"),
            axis | dict(frame=frame.assign(series="lift"), y="lift", series="series",
                        title=f"{title}: lift"))


def against_plain(frame: "DataFrame", plain: "DataFrame", *, column: str, also: str = ""
                  ) -> "DataFrame":
    """Lift of each row minus that of plain SGD when it first was as accurate: a line a row.

    plain: rows of world P with a recorded path. `column`: the names, which stay; `setting` has the
    mean accuracy below them, behind the text `also`.
    """
    import pandas as pd

    from lib import study

    paths = study.curves(plain)
    return pd.concat([_described(matched.matched(group, paths, metric="lift"), str(name), also)
                      .assign(**{column: name})
                      for name, group in frame.groupby(column, sort=False)], ignore_index=True)


def _described(apart: "DataFrame", name: str, also: str) -> "DataFrame":
    accuracy = apart["accuracy"].mean()
    known = accuracy == accuracy
    return apart.assign(setting=f"{name}\n{also}{100 * accuracy:.0f}% accurate" if known else name)


def in_points(frame: "DataFrame", values: str = "difference", *, column: str) -> dict[str, str]:
    """Mean and 95% t interval of `values` over pairs of classes, as text, by name."""
    return {str(name): judgement.points(rows.per_unit(group, values))
            for name, group in frame.groupby(column, sort=False)}


def minus(own: "DataFrame", other: "DataFrame", metric: str) -> str:
    """The paired difference of `metric`, own minus other: mean and 95% t interval as text."""
    return judgement.points(
        (rows.per_unit(own, metric) - rows.per_unit(other, metric)).to_numpy())
