"""Does mixing lower attack success at no price? Each mixing against each attack, from rows.

A mixing lowers an attack where the 95% interval of the difference to the same training without it
lies below 0, and has no price where that of the accuracy lies above -1 point. Nothing is said where
there are no rows, and "undecided" where an interval holds both answers.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from lib.papers.borgnia import beyond
from lib.papers.borgnia.beyond import ARM, CLEAN
from lib.papers.borgnia.patching import NONE
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from lib.metrics import Interval

PRICE = 0.01  # of accuracy
FREE, PAID = "less attack at no price", "less attack, at a price"
OPEN, MORE = "less attack, price undecided", "more attack"
UNDECIDED, ABSENT = "undecided", "not measured"


class Field(NamedTuple):
    """Rows of one attack (with the columns of `beyond`), which attack it is, and the measure of
    what it gains."""

    attack: str
    found: "DataFrame"
    measure: str


def table(fields: Iterable[Field], arms: Iterable[str]) -> "DataFrame":
    """A line an attack and mixing: instances, what the attack gains without it, what it changes in
    that and in accuracy (points, 95% t intervals over instances), and what follows."""
    import pandas as pd

    arms = [arm for arm in arms if arm != NONE]
    return pd.DataFrame([_line(field, arm) for field in fields for arm in arms])


def _line(field: Field, arm: str) -> dict[str, object]:
    gained, accuracy = changes(field, arm)
    alone = beyond.values(field.found, beyond.without(arm), field.measure)
    return {"attack": field.attack, "set-up": _setup(field.found), "mixing": arm,
            "instances": gained.n, "measure": field.measure,
            "without mixing": _level(alone, field.measure),
            "change, points": judgement.in_points(gained),
            "accuracy, points": judgement.in_points(accuracy), "it brings": says(gained, accuracy)}


def changes(field: Field, arm: str) -> "tuple[Interval, Interval]":
    """What a mixing changes in the attack's measure and in accuracy, with intervals."""
    gained, accuracy = (beyond.difference(field.found, arm, column).to_numpy()
                        for column in (field.measure, CLEAN))
    return (judgement.estimate(gained, bounds=rows.difference(field.measure)),
            judgement.estimate(accuracy, bounds=(-1.0, 1.0)))


def says(gained: "Interval", accuracy: "Interval") -> str:
    """In words what a mixing does, from the two intervals."""
    if not gained.n:
        return ABSENT
    if gained.low > 0:
        return MORE
    if not gained.high < 0:
        return UNDECIDED
    if accuracy.low > -PRICE:
        return FREE
    return PAID if accuracy.high < -PRICE else OPEN


def recommended(lines: "DataFrame") -> "DataFrame":
    """Of `table`: a line a mixing, with the attacks by what it brings."""
    import pandas as pd

    kinds = (FREE, PAID, OPEN, MORE, UNDECIDED, ABSENT)
    return pd.DataFrame([
        {"mixing": arm, **{kind: "; ".join(own.loc[own["it brings"].eq(kind), "attack"])
                           for kind in kinds}}
        for arm, own in lines.groupby("mixing", sort=False)])


def prices(found: "DataFrame", measures: Iterable[str]) -> "DataFrame":
    """A line an arm: instances, clean accuracy and measures, and what its mixing changes in them,
    in points with 95% t intervals over instances; and what is guaranteed."""
    import pandas as pd

    return pd.DataFrame([
        {"arm": arm, "instances": len(beyond.values(found, arm, CLEAN)),
         **{f"{column}, %": _level(beyond.values(found, arm, column), column)
            for column in (CLEAN, *measures)},
         **{f"{column}, change": _change(found, arm, column) for column in (CLEAN, *measures)},
         "guarantee": _guarantee(found[found[ARM].eq(arm)])}
        for arm in dict.fromkeys(found[ARM])],
        columns=None if len(found) else ["arm", "instances"])


def _level(values: "Series", column: str) -> str:
    """Mean and interval of a measure, in per cent."""
    return judgement.points(values.to_numpy(), sign="", bounds=_range(column))


def _range(column: str) -> tuple[float, float]:
    return (0.0, 1.0) if column == CLEAN else rows.bounds(column) or rows.DIFFERENCE


def _change(found: "DataFrame", arm: str, column: str) -> str:
    own, (low, high) = beyond.without(arm), _range(column)
    return "" if own == arm else judgement.points(
        beyond.difference(found, arm, column).to_numpy(), bounds=(low - high, high - low))


def _setup(found: "DataFrame") -> str:
    """Data, their number and network of the rows."""
    sizes = found["train_size"].astype(float).map(lambda n: "all" if n != n else f"{n:.0f}")
    return "; ".join(dict.fromkeys(found["dataset"] + ", " + sizes + ", " + found["model"]))


def _guarantee(own: "DataFrame") -> str:
    epsilon = own["epsilon"].astype(float).max()
    if not epsilon < float("inf"):
        return "none"
    unit = "a label" if own["adjacency"].iloc[0] == "label" else "a record"
    return f"ε {epsilon:.3g} of {unit}"


def contrasts(field: Field, arms: Iterable[str]) -> "DataFrame":
    """For `figures.contrasts`: each mixing minus the same without it, a line an instance."""
    import pandas as pd

    lines = [(arm, unit, value) for arm in arms if arm != NONE
             for unit, value in beyond.difference(field.found, arm, field.measure).items()]
    return pd.DataFrame(lines, columns=["than", "instance", "difference"])


def finding(lines: "DataFrame") -> str:
    """Of `table`, in words: which mixing lowers which attack at no price; "" without rows."""
    known = lines[lines["it brings"].ne(ABSENT)]
    if known.empty:
        return ""
    free = [f"{line['mixing']} against {line['attack']} ({line['change, points']} points)"
            for _, line in known[known["it brings"].eq(FREE)].iterrows()]
    return (f"Of {len(known)} measured combinations of mixing and attack, {len(free)} lower the"
            f" attack at no price in accuracy{': ' + '; '.join(free) if free else ''}.")
