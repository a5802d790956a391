"""Measuring T2, T4 to T7 and T14: hardening against stamping alone, over target classes.

Success counts images that are not *labelled* target, as in the thesis's chapter 3. The unit of
replication is the target class. Figures 3.5 and 3.6, which T4 and T5 quote, show one class each;
here every measured class counts, as one class decides nothing. Contrasts are paired, at 6% of the
class unless a claim says otherwise; where a part speaks of several shares, each must meet it.

Shares of classes are counts: over all ten classes nothing is estimated, fewer are a sample.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lib.papers.turner import consistent
from lib.papers.turner.consistent import (
    BASELINE,
    CHOSEN,
    COMPARED,
    LATENT,
    MISLABELLED,
    SHARE,
    WHOLE,
)
from lib.papers.turner.victims import CLASSES
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

WITNESSED = 0.8  # success of the mislabelled attack with as many poisons
SUCCEEDS = 0.5
QUARTER, LEAST = 0.25, 0.015  # shares of the target class
BESIDE = ("lift", "effect")

# The values of a part's statistic on a metric, one a target class, by setting.
Statistic = Callable[[Part, str], "Mapping[str, Series]"]


# ---------------------------------------------------------------- claims

def correct_labels_fail(frames: Frames, claim: Claim) -> Measurement:
    """T2: stamped only, against as many mislabelled poisons, at a quarter of the class."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        if part.name == "classes":
            return {"": consistent.values(found, QUARTER, BASELINE, column) > SUCCEEDS}
        return {"": consistent.difference(found, QUARTER, BASELINE, MISLABELLED, column)}
    return judged(found, claim, statistic, passed=witness(found, QUARTER), counts=("classes",))


def latent_interpolation_helps(frames: Frames, claim: Claim) -> Measurement:
    """T4: tau 0.2 and tau 0.1 against tau 0, the reconstruction."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        arm = "GAN 0.1" if part.name.startswith("one") else LATENT
        return {"": consistent.difference(found, COMPARED, arm, "GAN 0", column)}
    return judged(found, claim, statistic, passed=witness(found, COMPARED))


def larger_is_better(frames: Frames, claim: Claim) -> Measurement:
    """T5: each bound in l2 against the next smaller one, and the smallest against stamping only."""
    found = _nearest(frames, claim)
    pairs = {"large": ("l2 1200", "l2 600"), "middle": ("l2 600", CHOSEN),
             "small": (CHOSEN, BASELINE)}

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        return {"": consistent.difference(found, COMPARED, *pairs[part.name], column)}
    return judged(found, claim, statistic, passed=witness(found, COMPARED))


def hardening_beats_stamping(frames: Frames, claim: Claim) -> Measurement:
    """T6: PGD in l2 300 against stamping only, at each share from 1.5% to 25%."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        gains = {f"{share:.1%}": consistent.difference(found, share, CHOSEN, BASELINE, column)
                 for share in consistent.shares(found) if LEAST <= share < WHOLE}
        return {at: gain > 0 for at, gain in gains.items()} if part.name == "classes" else gains
    return judged(found, claim, statistic, passed=witness(found, COMPARED), counts=("classes",))


def adversarial_beats_latent(frames: Frames, claim: Claim) -> Measurement:
    """T7: PGD in l2 300 against the GAN at tau 0.2."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        return {"": consistent.difference(found, COMPARED, CHOSEN, LATENT, column)}
    return judged(found, claim, statistic, passed=witness(found, COMPARED))


def accuracy_suffers_at_all(frames: Frames, claim: Claim) -> Measurement:
    """T14: accuracy of PGD in l2 300 minus that of the clean training, up to and at 100%."""
    found = _nearest(frames, claim)

    def statistic(part: Part, column: str) -> "Mapping[str, Series]":
        some = [share for share in consistent.shares(found) if share < WHOLE]
        return {f"{share:.1%}": consistent.values(found, share, CHOSEN, "cost").dropna()
                for share in (some if part.name == "small" else [WHOLE])}
    own = consistent.at(found, WHOLE, CHOSEN)
    return judged(found, claim, statistic, beside=(), about_accuracy=True,
                  passed=judgement.shows(own, SUCCEEDS, column="success"))


def witness(found: "DataFrame", share: float) -> bool | None:
    """Whether the mislabelled attack with as many poisons succeeds; None where not measured."""
    return judgement.shows(consistent.at(found, share, MISLABELLED), WITNESSED, column="success")


# ---------------------------------------------------------------- machinery

def _nearest(frames: Frames, claim: Claim) -> "DataFrame":
    found = consistent.undefended(consistent.prepared(frames[claim.notebook]))
    return rows.nearest(found, claim.setup)


def judged(found: "DataFrame", claim: Claim, statistic: Statistic, *, passed: bool | None,
           counts: tuple[str, ...] = (), beside: tuple[str, ...] = BESIDE,
           about_accuracy: bool = False) -> Measurement:
    """Judge each part on its worst setting; "holds" needs the positive control.

    counts: parts whose values say yes or no of a class.
    """
    if found.empty or found[SHARE].isna().all():
        return judgement.unmeasured(claim)

    def judge(part: Part, column: str) -> Verdict:
        metric = "accuracy" if about_accuracy else column

        def one(values: "Series") -> Verdict:
            return (count(part, values, passed=passed) if part.name in counts else
                    judgement.guarded(part, values, passed=passed, column=metric))
        return worst({at: one(values) for at, values in statistic(part, column).items()})
    known = tuple(name for name in beside if found[name].notna().any())
    return judgement.assemble(claim, judge, found, beside=known)


def count(part: Part, yes: "Series", *, passed: bool | None) -> Verdict:
    """The verdict on the share of classes of which something is true."""
    if yes.empty:
        return NOT_MEASURED
    if len(yes) == CLASSES:
        return judgement.exact(part, float(yes.mean()), n=len(yes), passed=bool(passed))
    return judgement.by_design(part, judgement.proportion(part, yes.astype(float), passed=passed))
