"""Table 1 from rows: each pair's accuracy and success by arm, beside the published means.

The attack changes no label, so that its world L is the clean one: `blind`, what a model calls
target that never saw the patch in training, is the clean twin's success on the same patched images,
and `effect` is what patching test images adds beyond it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lib.metrics import twins
from lib.papers.borgnia import SETUP, patching, targets
from lib.papers.borgnia.patching import ALL, CUTMIX, MIXUP, NONE, SPECTRAL, TENTH
from lib.verdicts import contrasts, judgement, published, rows
from lib.verdicts.claim import Number

if TYPE_CHECKING:
    from pandas import DataFrame, Series

ARM, SHARE, CLEAN = "arm", "patched", "clean accuracy"
TABLE = next(target for target in targets.TARGETS if target.id == "borgnia-T1")
PRINTED = {"none": NONE, "CutMix": CUTMIX, "mixup": MIXUP, "SS": SPECTRAL,
           "AC": patching.CLUSTERING}
RUNS = 20  # behind each published mean
PAPER, HERE, NATURAL = "published", "measured here", "without poison"
FACTS = {"removed": "records dropped", "facts.removed_of_target": "of the target class",
         "facts.removed_of_others": "of the other classes", "facts.recall": "recall",
         "facts.precision": "precision"}


# ---------------------------------------------------------------- rows

def prepared(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of the patch, with arm, patched share, `natural` and the other columns of
    `rows.prepared`, and of the clean twin: `blind`, `effect`, `clean accuracy`."""
    own = targets.patched(frame)
    measured = rows.measured(own, world=None).reset_index(drop=True)
    found = rows.prepared(own)
    clean = twins.of(measured, found, "C", ("accuracy", "success", "lift"))
    names = [patching.name(row) for _, row in found.iterrows()]
    return found.assign(**{
        ARM: names, SHARE: found["attack.fraction"].astype(float), CLEAN: clean["accuracy"],
        "blind": clean["success"], "effect": found["lift"] - clean["lift"]})


def nearest(frame: "DataFrame") -> "DataFrame":
    """`prepared` rows of the set-up nearest to the published one."""
    return rows.nearest(prepared(frame), SETUP)


def at(found: "DataFrame", share: float, arm: str | None = None) -> "DataFrame":
    """The rows at one patched share, of one arm or of all. found: of `prepared`."""
    near = (found[SHARE] - share).abs() < 1e-9
    return found[near & (found[ARM].eq(arm) | (arm is None))]


def values(found: "DataFrame", share: float, arm: str, column: str) -> "Series":
    """One value a pair. found: of `prepared`."""
    return rows.per_unit(at(found, share, arm), column)


def difference(found: "DataFrame", share: float, arm: str, column: str, *, than: str = NONE
               ) -> "Series":
    """An arm's value minus that of another arm in the same pair."""
    both = contrasts.paired(at(found, share, arm), at(found, share, than), column)
    return both["own"] - both["other"]


# ---------------------------------------------------------------- published means

def printed() -> "DataFrame":
    """Table 1 as printed: a line an arm and patched share, with accuracy, success, and the widest
    interval that the success can have."""
    import pandas as pd

    numbers = {number.what: number.value / 100 for number in TABLE.published}
    lines = []
    for (name, arm), (label, share) in _cells():
        if (success := numbers.get(f"{name} {label}")) is not None:
            low, high = widest(success, RUNS)
            lines.append((arm, share, numbers[f"{name} {label} accuracy"], success, low, high,
                          RUNS))
    return pd.DataFrame(lines, columns=[ARM, SHARE, "accuracy", "success", "low", "high", "n"])


def _cells() -> list[tuple[tuple[str, str], tuple[str, float]]]:
    return [(names, share) for share in (("10%", TENTH), ("100%", ALL))
            for names in PRINTED.items()]


def widest(mean: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson interval of a mean of n shares as if each were 0 or 1.

    The paper prints no spread. Shares with this mean vary most if they are all 0 or 1, so that the
    interval of its runs is at most about as wide.
    """
    from scipy.stats import norm

    z = norm.ppf((1 + confidence) / 2)
    middle = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


# ---------------------------------------------------------------- figures and tables

def panels(found: "DataFrame", arms: Sequence[str], shares: Iterable[float] = (TENTH, ALL)
           ) -> list[dict]:
    """Specs of `figures.proportions`: success by arm, published, here, and without poison; a panel
    a patched share. found: of `prepared`."""
    return [{"frame": comparison(found, arms, share),
             "title": f"{share:.0%} of the target class patched"} for share in shares]


def comparison(found: "DataFrame", arms: Sequence[str], share: float) -> "DataFrame":
    """A line an arm and kind (published, measured here, without poison): share, low, high, n."""
    import pandas as pd

    known = printed()
    known = known[known[SHARE].eq(share)].set_index(ARM)
    lines = []
    for arm in arms:
        if arm in known.index:
            lines.append((arm, PAPER, *known.loc[arm, ["success", "low", "high", "n"]]))
        for kind, column in ((HERE, "success"), (NATURAL, "natural")):
            mean = judgement.estimate(values(found, share, arm, column).to_numpy(),
                                      bounds=(0.0, 1.0))
            if mean.n:
                lines.append((arm, kind, mean.mean, *_limits(mean), mean.n))
    return pd.DataFrame(lines, columns=[ARM, "rule", "share", "low", "high", "n"])


def _limits(mean) -> tuple[float, float]:
    """The limits of an interval; its mean where there is none."""
    return (mean.mean, mean.mean) if math.isnan(mean.low) else (mean.low, mean.high)


def table(found: "DataFrame", arms: Sequence[str], shares: Iterable[float] = (TENTH, ALL)
          ) -> "DataFrame":
    """A line a patched share and arm: accuracy and success, published and here (mean, 95% t
    interval over pairs), whether the published success lies where one more pair would, natural
    rate, lift, and epsilon."""
    import pandas as pd

    known = printed().set_index([ARM, SHARE])
    lines = []
    for share in shares:
        for arm in arms:
            own, paper = at(found, share, arm), (arm, share) in known.index
            if own.empty and not paper:
                continue
            line = {SHARE: f"{share:.0%}", ARM: arm, "pairs": rows.unit(own).nunique()}
            for name in ("accuracy", "success"):
                line[f"{name}, published"] = 100 * known.at[(arm, share), name] if paper else None
                line[f"{name}, %"] = judgement.level(own, name)
            line["inside"] = _inside(known.at[(arm, share), "success"], own) if paper else None
            # Pairs of one seed have one clean training: it counts once.
            line[f"{CLEAN}, %"] = judgement.level(own.drop_duplicates("init_seed"), CLEAN)
            line |= {f"{name}, %": judgement.level(own, name) for name in ("natural", "lift")}
            lines.append(line | {"epsilon": _epsilon(own)})
    return pd.DataFrame(lines, columns=None if lines else [SHARE, ARM, "pairs"])


def _inside(success: float, own: "DataFrame") -> str | None:
    found = published.compare(Number("success", 100 * success),
                              rows.per_unit(own, "success").to_numpy()).inside
    return None if found is None else "yes" if found else "no"


def _epsilon(own: "DataFrame") -> str | None:
    if own.empty:
        return None
    epsilon = own["epsilon"].astype(float).max()
    return f"{epsilon:.3g}" if math.isfinite(epsilon) else "no guarantee"


def against_none(found: "DataFrame", arms: Iterable[str], shares: Iterable[float] = (TENTH, ALL),
                 *, column: str = "success") -> "DataFrame":
    """For `figures.contrasts`: each arm minus the undefended model in the same pair."""
    import pandas as pd

    lines = [(f"{share:.0%}: {arm}", arm, share, pair, value)
             for share in shares for arm in arms if arm != NONE
             for pair, value in difference(found, share, arm, column).dropna().items()]
    return pd.DataFrame(lines, columns=["than", ARM, SHARE, "pair", "difference"])


def as_accurate(found: "DataFrame", undefended: "DataFrame", arms: Iterable[str],
                shares: Iterable[float] = (TENTH, ALL), *, column: str = "success"
                ) -> "DataFrame":
    """For `figures.contrasts`: each arm minus undefended training that is at least as accurate
    without poison, pair by pair.

    undefended: `prepared` rows of several lengths, see `patching.shorter`. Of these counts the one
    that is attacked least in the *other* pairs. Arms that no length matches are left out.
    """
    import pandas as pd

    arms, names = list(arms), ["than", ARM, SHARE, "pair", "difference", "instead"]
    parts = [_beside(at(found, share, arm), at(undefended, share, NONE), column).assign(**{
        "than": f"{share:.0%}: {arm}", ARM: arm, SHARE: share})
        for share in shares for arm in arms if arm != NONE]
    return pd.concat([part[names] for part in parts if len(part)] or [
        pd.DataFrame(columns=names)], ignore_index=True)


def _beside(own: "DataFrame", undefended: "DataFrame", column: str) -> "DataFrame":
    """pair, difference and `instead`, the length that attacks least over all pairs."""
    import pandas as pd

    lengths = {f"{epochs:g} epochs": one for epochs, one in undefended.groupby("training.epochs")
               if _clean(one) >= _clean(own)}
    table = pd.DataFrame({name: rows.per_unit(one, column) for name, one in lengths.items()})
    least = contrasts.least_elsewhere(table, lengths)
    if least is None:
        return pd.DataFrame()
    apart = (rows.per_unit(own, column) - least).dropna()
    return pd.DataFrame({"pair": apart.index, "difference": apart.to_numpy(),
                         "instead": table.mean().idxmin()})


def _clean(own: "DataFrame") -> float:
    """Mean clean accuracy, each clean training once; NaN without any."""
    return own.drop_duplicates("init_seed")[CLEAN].astype(float).mean()


def as_accurate_finding(apart: "DataFrame") -> str:
    """In words: each arm against training that is as accurate, and which that is."""
    said = [f"{name}: {judgement.points(own['difference'].to_numpy(float))} points"
            f" ({own['instead'].iloc[0]})" for name, own in apart.groupby("than", sort=False)]
    return f"{'; '.join(said)}." if said else "No training that is as accurate is measured yet."


def finding(found: "DataFrame", arms: Iterable[str], shares: Iterable[float] = (TENTH, ALL)
            ) -> str:
    """In words: success of the undefended model, and what each arm changes."""
    said = []
    for share in shares:
        none = at(found, share, NONE)
        changes = [f"{arm} {judgement.points(apart.to_numpy())}" for arm in arms if arm != NONE
                   and len(apart := difference(found, share, arm, "success").dropna())]
        if len(none):
            said.append(f"At {share:.0%} the undefended model calls"
                        f" {judgement.level(none, 'success')}% of the patched victims target; in"
                        f" points, {', '.join(changes) or 'nothing else is measured'}.")
    return " ".join(said)


# ---------------------------------------------------------------- filters

def dropped(found: "DataFrame") -> "DataFrame":
    """What filters drop: a line a filter and patched share, means over pairs.

    The share of the target class that goes is the recall of dropping as much of it at random.
    """
    import pandas as pd

    lines = []
    for (share, arm), own in found.groupby([SHARE, ARM], sort=False):
        removed = rows.optional(own, "facts.removed").astype(float)
        if removed.isna().all():
            continue
        own = own.assign(removed=removed)
        lines.append({SHARE: f"{share:.0%}", ARM: arm, "pairs": rows.unit(own).nunique(),
                      **{words: own[name].astype(float).mean() for name, words in FACTS.items()}})
    return pd.DataFrame(lines, columns=None if lines else [SHARE, ARM, "pairs"])


def dropped_finding(lines: "DataFrame") -> str:
    """In words: how much of the poison each filter finds, against dropping at random."""
    said = [f"{line[ARM]} drops {100 * line['recall']:.0f}% of the poison and"
            f" {100 * line['of the target class']:.0f}% of its class"
            for _, line in lines.iterrows()]
    return f"{'; '.join(said)}." if said else ""
