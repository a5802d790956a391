"""Figure 4 a, b, d, e of Hong et al.: RAD over the share of poisons, and its differences at 40%."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lib import privacy
from lib.papers.hong import rad, stopped
from lib.papers.hong.indiscriminate import FLIPS, LARGEST, SLAB, VANILLA
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

PLAIN = "no defence"  # what the vanilla model is called in figures


def panels(found: "DataFrame", names: Iterable[str], *, letters: str, what: str) -> list[dict]:
    """Two panels for `figures.panels`, flipped labels and slab: the vanilla model and these arms.

    found: of `rad.compared`. letters: of the panels in the paper. what: tells the arms' kind.
    """
    names = [VANILLA, *names]
    return [{"frame": series(found, kind, names), "x": rad.SHARE, "y": rad.RELEASED,
             "series": "series", "instance": rad.DRAW, "spread": "none", "xscale": "log",
             "xlabel": "poisons for each clean record", "title": f"4{letter}: {kind}, {what}",
             "ylabel": "RAD as released (lower is better)"}
            for kind, letter in zip((FLIPS, SLAB), letters, strict=True)]


def series(found: "DataFrame", kind: str, names: Sequence[str]) -> "DataFrame":
    """The rows of these arms under one attack, with `series`."""
    own = found[found[rad.KIND].eq(kind) & found[rad.ARM].isin(list(names))]
    order = {name: place for place, name in enumerate(names)}
    own = own.assign(series=own[rad.ARM].replace(VANILLA, PLAIN))
    return own.sort_values(rad.ARM, key=lambda column: column.map(order), kind="stable")


def differences(found: "DataFrame", names: Iterable[str], *, reading: str = rad.RELEASED
                ) -> "DataFrame":
    """RAD of each arm minus RAD of the vanilla model in the same draw, at the largest share: a line
    an attack, arm and draw, with `than`, its row of a figure."""
    import pandas as pd

    lines = []
    for kind in (FLIPS, SLAB):
        table = rad.by_draw(rad.at(found, kind), reading)
        for name in (name for name in names if name in table and VANILLA in table):
            apart = (table[name] - table[VANILLA]).dropna()
            lines += [(kind, name, draw, value, f"{kind}, {name}") for draw, value in apart.items()]
    return pd.DataFrame(lines, columns=[rad.KIND, rad.ARM, rad.DRAW, "difference", "than"])


def readings(found: "DataFrame", names: Iterable[str]) -> "DataFrame":
    """At the largest share: clean accuracy, accuracy and the three readings of RAD, with intervals,
    a line an attack and arm."""
    import pandas as pd

    lines = []
    for kind in (FLIPS, SLAB):
        at = rad.at(found, kind)
        for name in names:
            own = at[at[rad.ARM].eq(name)]
            if len(own):
                lines.append({rad.KIND: kind, rad.ARM: name, "draws": own[rad.DRAW].nunique(),
                              rad.CLEAN: own[rad.CLEAN].mean(), "accuracy": own["accuracy"].mean(),
                              **{one: judgement.points(own[one].to_numpy(), sign="")
                                 for one in rad.READINGS}})
    return pd.DataFrame(lines, columns=[rad.KIND, rad.ARM, "draws", rad.CLEAN, "accuracy",
                                        *rad.READINGS])


def followed(found: "DataFrame", twins: "DataFrame", names: Sequence[str], draws: int
             ) -> "DataFrame":
    """At the largest share, in the first draws: the last clipping norm, clean accuracy, RAD as
    released and against the own twin, the latter also minus that of the vanilla model stopped as
    accurate (in brackets at single moments), and epsilon; a line an attack and arm.

    found: of `rad.compared`. twins: of `stopped.differences`.
    """
    import pandas as pd

    lines = []
    for kind in (FLIPS, SLAB):
        at = rad.at(found, kind)
        for name in names:
            own = at[at[rad.ARM].eq(name) & at[rad.DRAW].lt(draws)]
            apart = twins[twins[rad.KIND].eq(kind) & twins[rad.ARM].eq(name)
                          & twins[rad.DRAW].lt(draws)].dropna(subset="difference")
            if len(own):
                lines.append((kind, name, _norm(own), own[rad.CLEAN].mean(),
                              *(judgement.points(own[one].to_numpy(), sign="")
                                for one in (rad.RELEASED, rad.OWN)),
                              f"{judgement.points(apart['difference'].to_numpy())}"
                              f" ({stopped.span(apart)})" if len(apart) else None,
                              own["epsilon"].mean()))
    return pd.DataFrame(lines, columns=[rad.KIND, rad.ARM, "last norm", rad.CLEAN, rad.RELEASED,
                                        rad.OWN, "minus the stopped model", "epsilon"])


def _norm(own: "DataFrame") -> float:
    """The clipping norm of an arm at the end; NaN without one."""
    last = rows.optional(own, "facts.final_norm").astype(float)
    fixed = own["defence.max_grad_norm"].astype(float).where(
        rows.optional(own, "defence.clip").eq(True))
    return last.fillna(fixed).mean()


def finding(found: "DataFrame", norm: str = "C 4") -> str:
    """In words: what clipping changes at the largest share, in both readings."""
    said = []
    for kind in (FLIPS, SLAB):
        parts = []
        for reading in (rad.RELEASED, rad.STATED):
            apart = differences(found, [norm], reading=reading)
            own = apart[apart[rad.KIND].eq(kind)]["difference"]
            parts += [f"{judgement.points(own.to_numpy())} points of {reading}"] if len(own) else []
        if parts:
            said.append(f"Under {LARGEST:.0%} {kind}, {norm} changes {' and '.join(parts)}.")
    return " ".join(said)


def conventions(noise: Iterable[float], *, norm: float, n: int, batch_size: int, epochs: float
                ) -> "DataFrame":
    """What the paper's noise values mean in both readings: standard deviation on the sum, multiple
    of the clipping norm, and epsilon at delta 1e-5 (Poisson batches, add-remove, RDP)."""
    import pandas as pd

    steps, rate = max(1, round(epochs * n / batch_size)), batch_size / n
    lines = []
    for value in noise:
        for reading, z in (("as released: standard deviation", value / norm),
                           ("as worded: noise multiplier", value)):
            lines.append({"noise in the paper": value, "read as": reading, "z": z,
                          "standard deviation": z * norm,
                          "epsilon, at most": epsilon(z, rate, steps)})
    return pd.DataFrame(lines)


def epsilon(z: float, rate: float, steps: int) -> float:
    """Epsilon at delta 1e-5 by RDP, which takes no time and says enough of numbers like these."""
    return privacy.dpsgd_epsilon(z, rate, steps, 1e-5, accountant="rdp")


def of_pairs(frame: "DataFrame", names: Sequence[str], *, reading: str = rad.OWN) -> "DataFrame":
    """Class pairs as instances: RAD of an arm minus that of the vanilla model, and the vanilla
    model's own, a line a pair and comparison."""
    import pandas as pd

    found, lines = rad.usual(rad.compared(frame)), []
    for kind in (FLIPS, SLAB):
        table = rad.at(found, kind).pivot_table(index="dataset", columns=rad.ARM, values=reading,
                                                sort=False)
        for name in (name for name in names if {name, VANILLA} <= set(table.columns)):
            values = table[name] - (table[VANILLA] if name != VANILLA else 0)
            what = f"{kind}, {name}" + (" minus vanilla" if name != VANILLA else "")
            lines += [(pair, what, value) for pair, value in values.dropna().items()]
    return pd.DataFrame(lines, columns=["pair", "than", "difference"])


def pairs_table(frame: "DataFrame", name: str) -> "DataFrame":
    """What a claim about one pair of classes is over these: a line a reading of RAD. What an arm
    changes, in how many pairs it does harm, and in how many the slab attack costs the vanilla model
    four times what flipped labels cost, and no more than these."""
    import pandas as pd

    found, lines = rad.usual(rad.compared(frame)), []
    for reading in rad.READINGS:
        flips, slab = (rad.at(found, kind).pivot_table(
            index="dataset", columns=rad.ARM, values=reading) for kind in (FLIPS, SLAB))
        if not {name, VANILLA} <= set(flips.columns) & set(slab.columns):
            continue
        changes = [one[name] - one[VANILLA] for one in (flips, slab)]
        both = pd.DataFrame({"flips": flips[VANILLA], "slab": slab[VANILLA]}).dropna()
        lines.append((reading, len(both), *(judgement.points(one.to_numpy()) for one in changes),
                      int(changes[1].gt(0).sum()), int(both["slab"].gt(4 * both["flips"]).sum()),
                      int(both["slab"].le(both["flips"]).sum())))
    return pd.DataFrame(lines, columns=[
        "reading", "pairs", f"{FLIPS}, {name} minus vanilla", f"{SLAB}, {name} minus vanilla",
        f"pairs where {name} is worse, slab", "slab over 4 times flips", "slab at most flips"])


def pairs_finding(lines: "DataFrame") -> str:
    """In words: means over the class pairs."""
    if lines.empty:
        return ""
    parts = [f"{name} {judgement.points(group['difference'].to_numpy())}"
             for name, group in lines.groupby("than", sort=False)]
    return f"Over {lines['pair'].nunique()} pairs of classes, in points of RAD: {'; '.join(parts)}."
