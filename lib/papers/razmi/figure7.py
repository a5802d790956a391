"""Figure 7 of Razmi et al.: losses along the training, without noise and at one epsilon."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.papers.razmi import arms, dynamics
from lib.study.design import instances
from lib.study.runs import Run
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

FREE = "no noise"
EARLY = 2.0  # the epoch at which the table looks, beside the last one
COLUMNS = {"accuracy, %": "accuracy", "lift, points": "lift"}
OTHERS, OWN = "other classes", "base class"  # untouched samples that backdoored ones are held to
NAMES = {dynamics.CLEAN: OTHERS, dynamics.BASE: OWN}


def runs(base: Run, rates: arms.Rates, budgets: Sequence[float | None],
         pairs: Sequence[Sequence[int]], *, epochs: float, lp2st: Mapping[str, Any],
         checkpoints: int) -> list[Run]:
    """Every method at every epsilon (None: without noise), recorded along its training."""
    methods = [arms.at_epsilon({name: rates[name]}, budget, epochs=epochs, lp2st=lp2st)[name]
               for name in rates for budget in budgets]
    return [one.with_(training__checkpoints=checkpoints) for arm in methods
            for one in instances(base.with_(**arm), pairs)]


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `method`, `budget` and `pair`. DP-SGD without noise still clips."""
    found = arms.named(frame)
    asked = found["defence.epsilon"].astype(float)
    return found.assign(method=found["series"].replace("clip only", "DP-SGD"), budget=[
        FREE if one != one else f"ε {one:g}" for one in asked])


def gaps(recorded: "DataFrame") -> "DataFrame":
    """Loss of the backdoored samples minus that of untouched ones, epochs 1 to 10, as R15 takes it:
    a line a run and kind of untouched samples. Columns training, method, budget, pair, than,
    difference. recorded: the paths of rows that are `named`."""
    runs_ = recorded[["key", "method", "budget", "pair"]].drop_duplicates("key")
    found = runs_.merge(dynamics.early_gaps(recorded), on="key", how="left").melt(
        id_vars=["method", "budget", "pair"], value_vars=list(NAMES), var_name="than",
        value_name="difference")
    return found.assign(than=found["than"].map(NAMES),
                        training=found["method"] + ", " + found["budget"])


def against(found: "DataFrame", than: str) -> "DataFrame":
    """The gaps against one kind of samples: those without noise first, methods by name."""
    chosen = found[found["than"].eq(than)]
    order = chosen.assign(noise=chosen["budget"].ne(FREE)).sort_values(
        ["noise", "method", "pair"], kind="stable")
    return order.drop(columns="noise")


def words(values: "Series") -> str:
    """Mean and interval of losses, as text."""
    found = judgement.estimate(values)
    if found.n == 0:
        return "–"
    return f"{found.mean:+.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", "−")


def finding(found: "DataFrame", than: str) -> str:
    """The gaps against one kind of samples in words: between which means they lie, and how many
    intervals lie below zero, by budget."""
    known = against(found, than).dropna(subset="difference")
    parts = [_range(budget, group) for budget, group in known.groupby("budget", sort=False)]
    return f"Backdoored minus {than}, nats an image: {'; '.join(parts)}." if parts else ""


def _range(budget: str, group: "DataFrame") -> str:
    means = [judgement.estimate(one["difference"]) for _, one in group.groupby("method")]
    low, high = min(one.mean for one in means), max(one.mean for one in means)
    below = sum(one.high < 0 for one in means)
    return (f"{low:+.2f} to {high:+.2f} with {budget}, {below} of {len(means)} intervals below zero"
            ).replace("-", "−")


def table(recorded: "DataFrame") -> "DataFrame":
    """One line a training and moment: the gap, accuracy and lift there, mean and interval.

    recorded: the paths of rows that are `named`.
    """
    import pandas as pd

    lines = []
    for (method, budget), group in recorded.groupby(["method", "budget"], sort=False):
        away = (group["epoch"] - EARLY).abs()
        for at in (group[away.eq(away.min())], group[group["epoch"].eq(group["epoch"].max())]):
            gap = (at[dynamics.POISON] - at[dynamics.CLEAN]).astype(float)
            lines.append({"method": method, "budget": budget, "epoch": at["epoch"].mean(),
                          "gap to other classes": words(gap.groupby(rows.unit(at)).mean())} | {
                text: judgement.level(at, name) for text, name in COLUMNS.items()})
    return pd.DataFrame(lines, columns=["method", "budget", "epoch", "gap to other classes",
                                        *COLUMNS])
