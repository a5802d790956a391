"""Measuring I1 to I4: the random-place patch against mixing and filters, over pairs of classes.

Success is the share of a pair's patched victim images that are called target, so intervals are t
intervals over pairs; differences are paired. Lift and effect stand beside: success alone also
counts victims that are called target without a patch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.papers.borgnia import table1
from lib.papers.borgnia.patching import ALL, CLUSTERING, CUTMIX, MIXUP, NONE, SPECTRAL, TENTH
from lib.papers.borgnia.table1 import CLEAN
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame

ACCURATE = 0.5  # of a clean model, on ten classes
NEARLY_ALWAYS, OFTEN = 0.90, 0.30  # success without a defence, at 100% and at 10%
BESIDE = ("lift", "effect")

# The values of a part's statistic, one a pair, by name where a part speaks of several settings.
Statistic = Callable[["DataFrame", Part, str], "dict[str, ArrayLike]"]


# ---------------------------------------------------------------- claims

def patch_works(frames: Frames, claim: Claim) -> Measurement:
    """I1: the undefended model, and what the patch on the whole class costs."""
    def statistic(found: "DataFrame", part: Part, column: str) -> "dict[str, ArrayLike]":
        if part.name == "success":
            return {"": table1.values(found, ALL, NONE, column)}
        if part.name == "effect":  # lift and effect are differences already
            excess = rows.EXCESS if column == "success" else column
            return {"": table1.values(found, ALL, NONE, excess)}
        both = [table1.values(found, share, NONE, "accuracy") for share in (ALL, TENTH)]
        return {"": (both[0] - both[1]).dropna()}
    return _measure(frames, claim, statistic, control=_clean_is_accurate)


def cutmix_stops(frames: Frames, claim: Claim) -> Measurement:
    """I2: CutMix, at both shares, and its accuracy against the clean undefended model."""
    def statistic(found: "DataFrame", part: Part, column: str) -> "dict[str, ArrayLike]":
        if part.name == "direction":
            return {f"{share:.0%}": table1.difference(found, share, CUTMIX, column)
                    for share in (TENTH, ALL)}
        if part.name == "accuracy":
            return {f"{share:.0%}": (table1.values(found, share, CUTMIX, "accuracy")
                                     - table1.values(found, share, NONE, CLEAN)).dropna()
                    for share in (TENTH, ALL)}
        share = {"all": ALL, "tenth": TENTH}[part.name]
        return {"": table1.values(found, share, CUTMIX, column)}
    return _measure(frames, claim, statistic, control=_patch_works)


def mixup_halves(frames: Frames, claim: Claim) -> Measurement:
    """I3: mixup on the whole class, and against no defence on a tenth."""
    def statistic(found: "DataFrame", part: Part, column: str) -> "dict[str, ArrayLike]":
        if part.name == "all":
            return {"": table1.values(found, ALL, MIXUP, column)}
        if part.name == "tenth":
            return {"": table1.difference(found, TENTH, MIXUP, column)}
        both = contrasts.paired(table1.at(found, TENTH, MIXUP), table1.at(found, TENTH, NONE),
                                column)
        return {"": contrasts.share(both["own"], both["other"])}
    return _measure(frames, claim, statistic, control=_patch_works)


def filters_fail(frames: Frames, claim: Claim) -> Measurement:
    """I4: spectral signatures and activation clustering against no defence on a tenth."""
    def statistic(found: "DataFrame", part: Part, column: str) -> "dict[str, ArrayLike]":
        return {arm: table1.difference(found, TENTH, arm, column)
                for arm in (SPECTRAL, CLUSTERING)}
    return _measure(frames, claim, statistic, control=_patch_works)


# ---------------------------------------------------------------- positive controls

def _clean_is_accurate(found: "DataFrame") -> bool | None:
    return judgement.shows(table1.at(found, ALL, NONE).dropna(subset=CLEAN), ACCURATE,
                           column=CLEAN)


def _patch_works(found: "DataFrame") -> bool | None:
    return judgement.every(*(
        judgement.shows(table1.at(found, share, NONE), least, column="success")
        for share, least in ((ALL, NEARLY_ALWAYS), (TENTH, OFTEN))))


# ---------------------------------------------------------------- machinery

def _measure(frames: Frames, claim: Claim, statistic: Statistic, *,
             control: Callable[["DataFrame"], bool | None]) -> Measurement:
    """In the set-up nearest to the published one. "Holds" needs the positive control too."""
    found = rows.nearest(table1.prepared(frames[claim.notebook]), claim.setup)
    if found.empty:
        return judgement.unmeasured(claim)
    passed = control(found)

    def judge(part: Part, column: str) -> Verdict:
        metric = "accuracy" if part.name in ("cost", "drop", "accuracy") else column
        return worst({name: judgement.guarded(part, values, passed=passed, column=metric)
                      for name, values in statistic(found, part, column).items()})
    known = tuple(name for name in BESIDE if found[name].notna().any())
    return judgement.assemble(claim, judge, found, beside=known)
