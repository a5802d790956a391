"""Measuring G10 to G14: the targeted attacks, by the paper's rule of success, over targets.

An instance is a target that could be attacked at all. Beside the paper's rule stand those that no
search flatters, and the paper's with the natural rate taken off. RAD is what a setting costs on
clean data: of the clean re-trainings, against the vanilla one.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.papers.hong import search
from lib.papers.hong.bases import NOISE_NORM
from lib.papers.hong.search import CHOSEN, MEAN, NEEDED, PAPER
from lib.papers.hong.targeted import TABLE_NOISE, VANILLA, Setting
from lib.verdicts import contrasts, judgement
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

NOTEBOOKS = ("52_one_shot", "53_multi_poison")  # a row that both use lies in the file of the first
DATA = ("purchase-100", "location-30", "baskets", "fashion-mnist", "cifar10-jpeg")
LR, MLP, CNN = "softmax regression", "MLP", "CNN"
SMALL = {LR: "C 0.1", MLP: "C 1"}  # the norms of the paper's numbers
LARGE = "C 8"
SOME_NOISE = Setting(NOISE_NORM, 0.4).name  # the paper does not state C for the CNN
PRIVATE_BASE = f"{Setting(NOISE_NORM, TABLE_NOISE).name}, then {VANILLA}"
THIRD, NEARLY_ALL, STOPPED = 1 / 3, 0.9, 0.1  # shares of targets
EXCESS = "above natural"  # the paper's rule, minus its natural rate
BESIDE = (EXCESS, CHOSEN, MEAN)

Statistic = Callable[[Part, str], "Series | None"]


# ---------------------------------------------------------------- claims

def small_norms(frames: Frames, claim: Claim) -> Measurement:
    """G10: the paper's small norm against vanilla, softmax regression and MLP."""
    found = outcomes(frames)

    def one(model: str, part: Part, column: str) -> Verdict:
        lines = one_shot(found, model)
        own = {"rad": lambda: search.rad(lines).get(SMALL[model])}.get(
            part.name, lambda: _against(part, lines, SMALL[model], VANILLA, column))()
        return _judge(part, own, passed=succeeds(lines, THIRD))

    def judge(part: Part, column: str) -> Verdict:
        return worst({model: one(model, part, column) for model in SMALL})
    return _measurement(claim, judge, one_shot(found, LR), note=_mlp_note(found))


def clipping_costs(frames: Frames, claim: Claim) -> Measurement:
    """G11: what clipping alone and noise cost the CNN, a value for each base."""
    found = outcomes(frames)
    lines = one_shot(found, CNN)
    lost = _by_base(_nearest(search.of(found), CNN))  # a clean training needs no poison
    clip, noise = lost.get(SMALL[LR]), lost.get(SOME_NOISE)

    def statistic(part: Part, _: str) -> "Series | None":
        if part.name != "difference":
            return {"clip": clip, "noise": noise}[part.name]
        return None if clip is None or noise is None else (noise - clip).dropna()
    return _measured(claim, lines, statistic, succeeds(lines, THIRD), beside=())


def many_poisons(frames: Frames, claim: Claim) -> Measurement:
    """G12: growing numbers of poisons against clipping norms."""
    found = outcomes(frames)
    lines, passed = several(found, LR), succeeds(one_shot(found, LR), THIRD)
    small, large = (search.table(lines, NEEDED).get(name) for name in (SMALL[LR], LARGE))
    norms = [name for name in lines[search.ARM].unique()
             if name.startswith("C ") and "noise" not in name and "then" not in name]

    def judge(part: Part, column: str) -> Verdict:
        if part.name == "success":
            table = search.table(search.usable(lines), column)
            return worst({name: judgement.proportion(part, table[name], passed=passed)
                          for name in norms}) if norms else NOT_MEASURED
        return _judge(part, _growth(part, small, large), passed=passed)
    return _measurement(claim, judge, lines, beside=())


def noise_that_stops(frames: Frames, claim: Claim) -> Measurement:
    """G13: what is left at the paper's noise, and what the least noise costs that leaves a tenth of
    the targets, or fewer."""
    lines = several(outcomes(frames), LR)
    name = least_noise(lines)
    lost = search.rad(lines).get(name) if name else None
    left = search.table(search.usable(lines), PAPER).get(SOME_NOISE)
    passed = succeeds(lines, NEARLY_ALL)

    def judge(part: Part, _: str) -> Verdict:
        if part.name == "stopped":
            return NOT_MEASURED if left is None else judgement.proportion(part, left, passed=passed)
        return _judge(part, lost, passed=passed)
    note = f"at {name}" if name else "no noise here leaves a tenth of the targets or fewer"
    return _measurement(claim, judge, lines, beside=(), note=note)


def private_base(frames: Frames, claim: Claim) -> Measurement:
    """G14: a DP base and a vanilla base, both re-trained without DP."""
    found = outcomes(frames)
    lines, more = one_shot(found, LR), several(found, LR)

    def statistic(part: Part, column: str) -> "Series | None":
        if part.name == "poisons":
            table = search.table(more, NEEDED)
            return _growth(part, table.get(PRIVATE_BASE), table.get(VANILLA))
        return _against(part, lines, PRIVATE_BASE, VANILLA, column)
    return _measured(claim, lines, statistic, succeeds(lines, THIRD))


# ---------------------------------------------------------------- parts

def outcomes(frames: Frames) -> "DataFrame":
    """The targets of both notebooks; `frames` may hold them as "NAME/outcomes"."""
    import pandas as pd

    found = [_of_notebook(frames, name) for name in NOTEBOOKS]
    known = [one for one in found if one is not None and len(one)]
    if not known:
        return pd.DataFrame(columns=[
            search.CASE, search.SEED, search.MULTI, search.ARM, search.TARGET, search.TRIES,
            search.ACCURACY, NEEDED, PAPER])
    joined = pd.concat(known, ignore_index=True)
    same = [search.CASE, search.MULTI, search.ARM, search.TARGET]
    joined = joined.drop_duplicates(same).reset_index(drop=True)
    return joined.assign(**{EXCESS: joined[PAPER] - joined[search.natural(PAPER)]})


def _of_notebook(frames: Frames, name: str) -> "DataFrame | None":
    known, rows = frames.get(f"{name}/outcomes"), frames.get(name)
    if known is not None or rows is None or not len(rows):
        return known
    return search.outcomes(rows)


def one_shot(found: "DataFrame", model: str) -> "DataFrame":
    """The usable targets of one model, one poison at a time, on the data nearest to the paper's."""
    return search.usable(_nearest(search.of(found), model))


def several(found: "DataFrame", model: str) -> "DataFrame":
    """The same for growing numbers of poisons."""
    return search.usable(_nearest(search.of(found, multi=True), model))


def _nearest(found: "DataFrame", model: str) -> "DataFrame":
    own = found[found[search.CASE].str.startswith(f"{model}, ")]
    names = [f"{model}, {data}" for data in DATA]
    there = [name for name in names if name in set(own[search.CASE])]
    first = there[0] if there else next(iter(own[search.CASE]), "")
    return own[own[search.CASE].eq(first)]


def succeeds(lines: "DataFrame", least: float) -> bool | None:
    """Whether the vanilla model is attacked on more than this share of the targets."""
    values = lines.loc[lines[search.ARM].eq(VANILLA), PAPER].dropna().to_numpy(float)
    if not len(values):
        return None
    found = judgement.estimate(values, bounds=(0.0, 1.0))
    return bool((found.mean if math.isnan(found.low) else found.low) > least)


def least_noise(lines: "DataFrame") -> str | None:
    """The name of the smallest noise that leaves a tenth of the targets or fewer."""
    left = search.usable(lines).groupby(search.ARM)[PAPER].mean()
    noisy = {name: Setting.named(name) for name in left.index
             if "noise" in name and "then" not in name and left[name] <= STOPPED}
    return min(noisy, key=lambda name: noisy[name].noise) if noisy else None


def _by_base(found: "DataFrame") -> "DataFrame":
    """`search.rad` by base and arm: targets that share a base are no draws of what it costs."""
    lost, bases = search.rad(found), found.drop_duplicates(search.TARGET).set_index(search.TARGET)
    return lost.groupby(bases[search.SEED].reindex(lost.index)).mean()


def _against(part: Part, lines: "DataFrame", arm: str, other: str, column: str
             ) -> "Series | None":
    """One arm minus another, or over it, for the targets that both have."""
    table = search.table(lines, column)
    if arm not in table or other not in table:
        return None
    both = table[[arm, other]].dropna()
    return _ratio(both[arm], both[other]) if part.name == "ratio" else both[arm] - both[other]


def _growth(part: Part, own: "Series | None", other: "Series | None") -> "Series | None":
    """Poisons needed over poisons needed, or the log of it, where both attacks succeed."""
    import numpy as np
    import pandas as pd

    if own is None or other is None:
        return None
    both = pd.DataFrame({"own": own, "other": other}).dropna()
    return np.log(both["own"] / both["other"]) if part.name == "more" else _ratio(
        both["own"], both["other"])


def _ratio(own: "Series", other: "Series") -> "Series":
    import pandas as pd

    return pd.Series(contrasts.share(own, other), dtype=float)


def _judge(part: Part, values: "Series | None", *, passed: bool | None) -> Verdict:
    return judgement.guarded(part, [] if values is None else values.to_numpy(float), passed=passed)


def _measured(claim: Claim, lines: "DataFrame", statistic: Statistic, passed: bool | None, *,
              beside: tuple[str, ...] = BESIDE, note: str = "") -> Measurement:
    return _measurement(claim, lambda part, column: _judge(part, statistic(part, column),
                                                           passed=passed),
                        lines, beside=beside, note=note)


def _measurement(claim: Claim, judge: judgement.Judge, lines: "DataFrame", *,
                 beside: tuple[str, ...] = BESIDE, note: str = "") -> Measurement:
    if lines.empty:
        return judgement.unmeasured(claim)
    direction, size = judgement.verdicts(claim, judge, PAPER)
    return Measurement(
        direction, size, tuple((name, *judgement.verdicts(claim, judge, name)) for name in beside),
        f"{lines[search.CASE].iloc[0]} (published: {claim.setup.words})", len(lines), note)


def _mlp_note(found: "DataFrame") -> str:
    """What of the MLP is not there."""
    there = set(one_shot(found, MLP)[search.ARM])
    return "" if SMALL[MLP] in there else (
        f"the MLP was not re-trained at {SMALL[MLP]} alone; its arms: "
        f"{'; '.join(sorted(there)) or 'none'}")
