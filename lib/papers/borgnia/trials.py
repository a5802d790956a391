"""Tables 2 to 6 from rows: success by arm over trials, beside the published rates.

A trial of a targeted attack is one target, hit or not, so that rates have Clopper-Pearson
intervals; a trial of a backdoor is a pair of classes with a share of images hit, with t intervals.
Defences and attackers are compared trial by trial. Published rates have Wilson intervals from the
trials that their fractions imply.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lib import goals
from lib.papers.borgnia import matching, targets, transfer
from lib.papers.borgnia.matching import AUGMENTATIONS
from lib.papers.borgnia.patching import (
    CLUSTERING,
    CUTMIX,
    FILTERS,
    MIXUP,
    NEIGHBOURS,
    NONE,
    SPECTRAL,
)
from lib.papers.borgnia.table1 import ARM, HERE, NATURAL, PAPER
from lib.papers.borgnia.targets import MATCHED, SUBSTITUTE
from lib.verdicts import contrasts, judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from lib.verdicts.claim import Part, Published
    from lib.verdicts.verdict import Verdict

AWARE, KIND, CONSTRAINT = "aware", "attack", "constraints"
UNAWARE, ADAPTIVE = "unaware attacker", "adaptive attacker"
CLIPPED = "batch clipping, noise 0.01"  # the paper's DP-SGD
FAMILIES = ("no defence", "augmentations", "filters", "batch clipping")
PRINTED = {"none": NONE, "SS": SPECTRAL, "AC": CLUSTERING, "DP-SGD 0.01": CLIPPED, "mixup": MIXUP,
           "CutMix": CUTMIX, "deepKNN": NEIGHBOURS}  # other arms are printed by their names
BRIEF = {"FC": transfer.COLLISION, "CP": transfer.POLYTOPE, "HTBD": transfer.HIDDEN,
         "CLBD": transfer.CLEAN_LABEL}
LINE = (ARM, "rule", "share", "low", "high", "n")


# ---------------------------------------------------------------- rows

def matched(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of gradient matching, each run once: with its arm, whether the attacker is
    `aware` of the augmentations, and the natural rate of its clean twin."""
    found = _attacked(frame, [MATCHED])
    lines = [row for _, row in found.iterrows()]
    return found.assign(**{ARM: [matching.name(row) for row in lines],
                           AWARE: [matching.aware(row) for row in lines]})


def main(frame: "DataFrame", published: "Published") -> "DataFrame":
    """`matched` rows of the set-up nearest to the published one, without table 3's substitute."""
    found = matched(frame)
    return rows.nearest(found[found["dataset"].ne(SUBSTITUTE)], published)


def transferred(frame: "DataFrame", kinds: Iterable[str]) -> "DataFrame":
    """The attacked rows of tables 4 and 6, with their arm, kind of attack and constraints.

    kinds: keys of `transfer.ATTACKS`.
    """
    from lib.papers.borgnia import patching

    kinds = list(kinds)
    found = _attacked(frame, [one for one, kind in transfer.NAMES.items() if kind in kinds])
    lines = [row for _, row in found.iterrows()]
    return found.assign(**{ARM: [patching.name(row) for row in lines],
                           KIND: found["attack.name"].map(transfer.NAMES),
                           CONSTRAINT: [transfer.constraint(row) for row in lines]})


def _attacked(frame: "DataFrame", names: Sequence[str]) -> "DataFrame":
    own = frame[frame["attack.name"].isin(names)].drop_duplicates("key")
    known = rows.measured(own, world=None).reset_index(drop=True)
    found = goals.parts(known) if len(known) else known.assign(natural=math.nan)
    return found.assign(**{rows.EXCESS: found["success"] - found["natural"]})


def at(found: "DataFrame", arm: str, *, aware: bool = False) -> "DataFrame":
    """The rows of one arm. aware: those of the adaptive attacker, who without augmentations is the
    unaware one."""
    own = found[found[ARM].eq(arm)]
    return own[own[AWARE].eq(aware)] if AWARE in own and arm in AUGMENTATIONS and arm != NONE \
        else own


def values(found: "DataFrame", arm: str, column: str, *, aware: bool = False) -> "Series":
    """One value a trial."""
    return rows.per_unit(at(found, arm, aware=aware), column)


def difference(found: "DataFrame", arm: str, column: str, *, than: str = NONE, aware: bool = False
               ) -> "Series":
    """An arm's value minus that of another arm in the same trial, with the same attacker."""
    return _minus(at(found, arm, aware=aware), at(found, than, aware=aware), column)


def gain(found: "DataFrame", arm: str, column: str = "success") -> "Series":
    """What an adaptive attacker gains over an unaware one in the same trial."""
    return _minus(at(found, arm, aware=True), at(found, arm), column)


def _minus(own: "DataFrame", other: "DataFrame", column: str) -> "Series":
    both = contrasts.paired(own, other, column)
    return (both["own"] - both["other"]).dropna()


# ---------------------------------------------------------------- verdicts

def decide(part: "Part", found: "Series", column: str, *, passed: bool | None) -> "Verdict":
    """The verdict on a part from one value a trial: of rates of hits by their exact interval."""
    if part.kind == "share" and column == "success" and found.isin((0.0, 1.0)).all():
        return judgement.by_design(part, judgement.proportion(part, found, passed=passed))
    return judgement.guarded(part, found, passed=passed, column=column)


# ---------------------------------------------------------------- published rates

def printed(table: str, *, ending: str = "", kind: str = "") -> "DataFrame":
    """The rates of a table as printed: a line an arm, with their Wilson intervals and n.

    table: as "T2". ending: ", adaptive" for the adaptive attacker's. kind: an attack of tables 4
    and 6, by its name here.
    """
    import pandas as pd

    from lib.verdicts import published

    target = next(one for one in targets.TARGETS if one.id == f"borgnia-{table}")
    lines = []
    for number in target.published:
        attack, _, rest = number.what.partition(" ")
        own, name = (BRIEF[attack], rest) if attack in BRIEF else ("", number.what)
        if own == kind and (name.partition(",")[1] != "") == bool(ending):
            arm = name.removesuffix(ending)
            found = published.compare(number, [])
            lines.append((PRINTED.get(arm, arm), found.published, found.low, found.high, number.n))
    return pd.DataFrame(lines, columns=[ARM, "share", "low", "high", "n"])


# ---------------------------------------------------------------- figures and tables

def comparison(found: "DataFrame", arms: Iterable[str], known: "DataFrame", *, aware: bool = False
               ) -> "DataFrame":
    """For `figures.proportions`: a line an arm and kind (published, measured here, without poison).

    known: of `printed`.
    """
    import pandas as pd

    known, lines = known.set_index(ARM), []
    for arm in arms:
        if arm in known.index:
            lines.append((arm, PAPER, *known.loc[arm, ["share", "low", "high", "n"]]))
        for kind, column in ((HERE, "success"), (NATURAL, "natural")):
            own = values(found, arm, column, aware=aware).dropna()
            if len(own):
                lines.append((arm, kind, *_rate(own)))
    return pd.DataFrame(lines, columns=list(LINE))


def _rate(found: "Series") -> tuple[float, float, float, int]:
    """Mean, low, high, n: exact where every trial is a hit or none, else of the t interval."""
    from lib import metrics

    if found.isin((0.0, 1.0)).all():
        return (float(found.mean()), *metrics.clopper_pearson(found.sum(), len(found)), len(found))
    mean = judgement.estimate(found.to_numpy(), bounds=(0.0, 1.0))
    low, high = (mean.mean, mean.mean) if math.isnan(mean.low) else (mean.low, mean.high)
    return mean.mean, low, high, mean.n


def table2(found: "DataFrame", arms: Sequence[str]) -> list[dict]:
    """Specs of `figures.proportions`: a panel an attacker."""
    return [{"frame": comparison(found, arms, printed("T2", ending=ending), aware=bool(ending)),
             "title": title} for title, ending in ((UNAWARE, ""), (ADAPTIVE, ", adaptive"))]


def by_kind(found: "DataFrame", table: str, arms: Sequence[str], kinds: Iterable[str]
            ) -> list[dict]:
    """Specs of `figures.proportions` for tables 4 and 6: a panel an attack and constraints."""
    return [{"frame": comparison(under(found, kind, constraint), arms, printed(table, kind=kind)),
             "title": f"{kind}, {constraint}"}
            for kind in kinds for constraint in transfer.CONSTRAINTS]


def under(found: "DataFrame", kind: str, constraint: str = transfer.BENCHMARK) -> "DataFrame":
    """The rows of one attack under one kind of constraints. found: of `transferred`."""
    return found[found[KIND].eq(kind) & found[CONSTRAINT].eq(constraint)]


def rates(specs: Iterable[Mapping]) -> "DataFrame":
    """The numbers of `figures.proportions` as a table: a line a panel and arm, in per cent."""
    import pandas as pd

    lines = []
    for spec in specs:
        for arm, own in spec["frame"].groupby(ARM, sort=False):
            line = {"panel": spec.get("title", ""), ARM: arm}
            for _, one in own.iterrows():
                line[f"{one['rule']}, %"] = _written(one)
            lines.append(line)
    return pd.DataFrame(lines, columns=None if lines else ["panel", ARM])


def _written(one: "Series") -> str:
    hits = one["share"] * one["n"]
    whole = f" ({hits:.0f}/{one['n']:.0f})" if abs(hits - round(hits)) < 0.02 else ""
    return f"{100 * one['share']:.0f} [{100 * one['low']:.0f}, {100 * one['high']:.0f}]{whole}"


def against_none(found: "DataFrame", arms: Iterable[str], *, aware: bool = False) -> "DataFrame":
    """For `figures.contrasts`: each arm minus no defence in the same trial."""
    return _contrasts((arm, difference(found, arm, "success", aware=aware))
                      for arm in arms if arm != NONE)


def gains(found: "DataFrame", arms: Iterable[str]) -> "DataFrame":
    """For `figures.contrasts`: the adaptive attacker minus the unaware one in the same trial."""
    return _contrasts((arm, gain(found, arm)) for arm in arms if arm != NONE)


def _contrasts(differences: "Iterable[tuple[str, Series]]") -> "DataFrame":
    import pandas as pd

    lines = [(name, trial, value) for name, own in differences for trial, value in own.items()]
    return pd.DataFrame(lines, columns=["than", "trial", "difference"])


def finding(found: "DataFrame", arms: Iterable[str], *, aware: bool = False) -> str:
    """In words: hits and trials of each arm."""
    counts = [f"{arm} {own.sum():g} of {len(own)}" for arm in arms
              if len(own := values(found, arm, "success", aware=aware).dropna())]
    return f"{ADAPTIVE if aware else UNAWARE}: {'; '.join(counts)}.".capitalize() if counts else ""


def finding_by_kind(found: "DataFrame", arms: Sequence[str]) -> str:
    """In words: mean success of each attack in each arm, in per cent. found: of `transferred`."""
    said = []
    for kind, constraint in found[[KIND, CONSTRAINT]].drop_duplicates().itertuples(index=False):
        own = under(found, kind, constraint)
        rates = [f"{arm} {100 * mean:.0f}%" for arm in arms
                 if (mean := values(own, arm, "success").mean()) == mean]
        said.append(f"{kind}, {constraint}: {', '.join(rates)}")
    return f"{'; '.join(said)}.".capitalize() if said else ""


def finding_of(apart: "DataFrame") -> str:
    """In words: each paired difference of `against_none` or `gains`, in points."""
    said = [f"{name} {judgement.points(own['difference'].to_numpy())}"
            for name, own in apart.groupby("than", sort=False)]
    return f"In points: {'; '.join(said)}." if said else ""


# ---------------------------------------------------------------- figure 2, and the brew

def trade(found: "DataFrame") -> "DataFrame":
    """For `figures.tradeoff`: figure 2's rows, with family and arm. Augmentations face the adaptive
    attacker, filters and noise the unaware one: the paper has no other."""
    kept = found[found[ARM].map(_family).notna()]
    adaptive = kept[ARM].isin(AUGMENTATIONS) & kept[ARM].ne(NONE)
    kept = kept[kept[AWARE] | ~adaptive]
    return kept.assign(family=kept[ARM].map(_family), instance=rows.unit(kept)
                       if len(kept) else [])


def _family(arm: str) -> str | None:
    if arm == NONE:
        return FAMILIES[0]
    return (FAMILIES[1] if arm in AUGMENTATIONS else FAMILIES[2] if arm in FILTERS
            else FAMILIES[3] if arm.startswith(FAMILIES[3]) else None)


def brews(found: "DataFrame") -> "DataFrame":
    """What the attackers reach: a line an attacker, means over trials of the objective before and
    after, and of the change of a poison (l2 as a mean, linf as the largest, in [0, 1])."""
    import pandas as pd

    lines = []
    for (aware, arm), own in found.groupby([AWARE, ARM], sort=False):
        if arm != NONE and not aware:
            continue  # the poisons are those made without a defence
        facts = own[[f"facts.{name}" for name in ("loss_start", "loss_end", "change_l2",
                                                  "change_linf")]].astype(float)
        lines.append((f"aware of {arm}" if aware else UNAWARE, rows.unit(own).nunique(),
                      *facts.mean()))
    return pd.DataFrame(lines, columns=["attacker", "trials", "objective at the start",
                                        "objective at the end", "l2", "linf"])
