"""What to set: at one epsilon, the setting that is most accurate, and the one that leaves least of
the backdoor for a point of accuracy.

Both are chosen on the other attack instances and read on the one at hand, so neither is flattered
by the choice. Trainings count at their end, with the whole of their epsilon spent.
"""

import math
from typing import TYPE_CHECKING

from lib.papers.ours import envelopes
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

TOLERANCE = 0.01  # of accuracy
ACCURATE, SAFE = "most accurate", "least backdoor"


def ends(frame: "DataFrame") -> "DataFrame":
    """DP-SGD's attacked rows with `level` (epsilon, rounded down to two digits), `setting` in words
    and `instance`; each of a run's measured weights is a row."""
    found = frame[envelopes.families(frame).eq(envelopes.PRIVATE) & frame["world"].eq("P")
                  & frame["status"].eq("ok")]
    # the epsilon that was asked for, else the one that the noise has, as `same_epsilon` rounds it
    asked = rows.optional(found, "defence.epsilon")
    level = asked.fillna((100 * found["epsilon"] + 1e-6).map(math.floor) / 100).astype(float)
    return found.assign(level=level, setting=found.apply(words, axis=1), instance=rows.unit(found))


def words(line: "Series") -> str:
    """Rate, schedule, batch, length and weights of a row."""
    schedule = "" if line["training.schedule"] == "constant" else f" {line['training.schedule']}"
    return (f"rate {line['training.lr']:g}{schedule}, batch {line['training.batch_size']}, "
            f"{line['training.epochs']:g} epochs, {line['weights']} weights")


def chosen(found: "DataFrame", *, tolerance: float = TOLERANCE) -> "DataFrame":
    """One line a level, instance and rule, with the chosen `setting`, its accuracy and lift.

    `found`: of `ends`. Settings that an instance lacks are left out; needs two instances.
    """
    import pandas as pd

    lines = []
    for level, group in found.groupby("level"):
        tables = {name: group.pivot_table(index="instance", columns="setting", values=name)
                  .dropna(axis=1) for name in ("accuracy", "lift")}
        for unit in tables["accuracy"].index if len(tables["accuracy"]) > 1 else ():
            accuracy, lift = (table.drop(index=unit).mean() for table in tables.values())
            near = accuracy[accuracy >= accuracy.max() - tolerance].index
            for rule, setting in ((ACCURATE, accuracy.idxmax()), (SAFE, lift[near].idxmin())):
                lines.append((level, unit, rule, setting, tables["accuracy"].at[unit, setting],
                              tables["lift"].at[unit, setting]))
    return pd.DataFrame(lines, columns=["level", "instance", "rule", "setting", "accuracy", "lift"])


def table(picked: "DataFrame") -> "DataFrame":
    """One line an epsilon and rule: the setting chosen most often, mean accuracy and lift, and what
    the second rule changes, with 95% t intervals over instances."""
    import pandas as pd

    lines = []
    for (level, rule), group in picked.groupby(["level", "rule"], sort=False):
        of = {name: group.set_index("instance")[name] for name in ("accuracy", "lift")}
        at_level = picked["level"].eq(level) & picked["rule"].eq(ACCURATE)
        first = picked[at_level].set_index("instance")
        lines.append({
            "epsilon": level, "rule": rule, "setting (most often)": group["setting"].mode().iloc[0],
            "accuracy, %": 100 * of["accuracy"].mean(), "lift, points": 100 * of["lift"].mean(),
            "lift against the first": "" if rule == ACCURATE else judgement.points(
                (of["lift"] - first["lift"]).to_numpy())})
    return pd.DataFrame(lines)
