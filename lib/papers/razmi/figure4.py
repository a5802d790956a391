"""Figure 4 of Razmi et al.: attacks of several strengths at one epsilon, and one of them closely.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lib import goals
from lib.attacks.badnets import BadNets
from lib.papers.razmi import arms
from lib.papers.razmi.arms import Arm
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.verdicts import contrasts, judgement

if TYPE_CHECKING:
    from pandas import DataFrame

# DP-SGD has no relabelled twins here; the others are measured in all three worlds
WORLDS = {"DP-SGD": "PC"}
COLUMNS = {
    "accuracy": "accuracy", "natural": "natural", "collateral": "collateral", "lift": "lift",
    "effect": "backdoor effect", "success": "attack success", "blind": "blind"}


def over_shares(base: Run, methods: Mapping[str, Arm], shares: Sequence[float],
                pairs: Sequence[Sequence[int]]) -> list[Run]:
    """Every method at every poisoned share of the base class, on every pair of classes."""
    return [one for arm in methods.values() for share in shares for one in instances(
        base.with_(attack=BadNets(fraction=share), **arm), pairs)]


def at_share(base: Run, methods: Mapping[str, Arm], share: float,
             pairs: Sequence[Sequence[int]]) -> list[Run]:
    """Every method at one share, attacked (P), only relabelled (L, but for DP-SGD), clean (C)."""
    return [world for name, arm in methods.items() for one in instances(
        base.with_(attack=BadNets(fraction=share), **arm), pairs)
        for world in worlds(one, WORLDS.get(name, "PLC"))]


def lifts(frame: "DataFrame") -> "DataFrame":
    """One line a method, one column a poisoned share: lift in points, with its 95% t interval.

    frame: attacked rows that are `arms.named`.
    """
    import pandas as pd

    lines = [{"method": name} | {
        f"{share:.0%}": judgement.level(at, "lift")
        for share, at in group.groupby("attack.fraction")}
        for name, group in frame.groupby("series", sort=False)]
    return pd.DataFrame(lines, columns=["method", *sorted(
        {name for line in lines for name in line if name != "method"}, key=_percent)])


def _percent(name: str) -> float:
    return float(name.rstrip("%"))


def differences(frame: "DataFrame", column: str = "lift") -> "DataFrame":
    """Each method minus the undefended model, a line a pair: columns method, pair, difference.

    frame: attacked rows that are `arms.named`.
    """
    import pandas as pd

    plain, found = arms.of(frame, [arms.UNDEFENDED]), []
    for name, group in frame[frame["series"].ne(arms.UNDEFENDED)].groupby("series", sort=False):
        both = contrasts.paired(group, plain, column)
        found.append((both["own"] - both["other"]).rename("difference").rename_axis(
            "pair").reset_index().assign(method=name))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(
        columns=["pair", "difference", "method"])


def finding(apart: "DataFrame") -> str:
    """The differences in words, by method. apart: of `differences`."""
    known = apart.dropna(subset="difference")
    parts = [f"{name} {judgement.points(group['difference'])}"
             for name, group in known.groupby("method", sort=False)]
    return f"Lift minus that without a defence, points: {', '.join(parts)}." if parts else ""


def table(attacked: "DataFrame") -> "DataFrame":
    """One line a method: the means of attack success and its parts, accuracy beside the undefended
    model's, and the pairs whose attack success is below their blind reference.

    attacked: rows of `at_share` that are `arms.named`, with `lib.goals.parts`.
    """
    from lib import study

    shown = study.means(attacked, by="series", columns=COLUMNS,
                        intervals=("lift", "effect", "success"))
    changes = differences(attacked, "accuracy").groupby("method")["difference"]
    cost = {str(name): judgement.points(values) for name, values in changes}
    shown.insert(2, "accuracy minus undefended, points", shown["series"].map(cost))
    below = {name: _below_blind(group) for name, group in attacked.groupby("series")}
    return shown.assign(**{"below blind": shown["series"].map(below)}).rename(
        columns={"series": "method"})


def _below_blind(group: "DataFrame") -> str | None:
    known = group[group["blind"].notna()]
    return f"{(known['success'] < known['blind']).sum()} of {len(known)}" if len(known) else None


def growth(frame: "DataFrame", low: float, high: float) -> "DataFrame":
    """Lift at the higher share minus lift at the lower one, on the pairs that both have: columns
    series, pair, difference. frame: attacked rows that are `arms.named`."""
    import pandas as pd

    found = []
    for name, group in frame.groupby("series", sort=False):
        at = [group[(group["attack.fraction"] - share).abs().lt(1e-9)] for share in (low, high)]
        both = contrasts.paired(at[1], at[0], "lift")
        found.append((both["own"] - both["other"]).rename("difference").rename_axis(
            "pair").reset_index().assign(series=name))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(
        columns=["pair", "difference", "series"])


def parts(frame: "DataFrame") -> "DataFrame":
    """The attacked rows, named, with what their twins add."""
    return arms.named(goals.parts(frame))
