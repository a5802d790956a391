"""Measuring G5 to G8: what clipping and noise do to the damage of both attacks, at 40%.

An instance is a draw of the attack. Where a claim speaks of the best of several settings, the
setting is chosen on the other draws, so that it is not judged by what it was chosen by. RAD is read
as the released code computes it; the other readings stand beside.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.papers.hong import rad
from lib.papers.hong.indiscriminate import FLIPS, SLAB, VANILLA
from lib.papers.hong.rad import OWN, RELEASED, STATED
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.contrasts import least_elsewhere
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

CLIP, SMALLER = "C 4", "C 2"
HELPFUL = ("C 8", "C 4", "C 2")  # the norms of which the paper says that they help
TEN_POINTS = 0.1  # which the slab attack has to cost the vanilla model: G8's positive control

# The statistic of a part from the tables (a line a draw, a column an arm) of both attacks.
Tables = dict[str, "DataFrame"]
Statistic = Callable[[Part, Tables], "Series | None"]


def slab_against_flips(frames: Frames, claim: Claim) -> Measurement:
    """G5: vanilla models under both attacks."""
    def statistic(part: Part, tables: Tables) -> "Series | None":
        return _compare(part, _of(tables[SLAB], VANILLA), _of(tables[FLIPS], VANILLA))
    return _measure(frames, claim, statistic, control=flips_hurt)


def clipping_helps(frames: Frames, claim: Claim) -> Measurement:
    """G6: flipped labels, clipped models against vanilla ones."""
    def statistic(part: Part, tables: Tables) -> "Series | None":
        table = tables[FLIPS]
        own = _of(table, CLIP) if part.name == "difference" else least_elsewhere(table, HELPFUL)
        return _compare(part, own, _of(table, VANILLA))
    return _measure(frames, claim, statistic, control=flips_hurt)


def noise_helps(frames: Frames, claim: Claim) -> Measurement:
    """G7: flipped labels, the best noise on top of clipping, against clipping alone."""
    def statistic(part: Part, tables: Tables) -> "Series | None":
        table = tables[FLIPS]
        noisy = [name for name in table.columns if str(name).startswith(f"{CLIP}, noise")]
        return _compare(part, least_elsewhere(table, noisy), _of(table, CLIP))
    return _measure(frames, claim, statistic, control=flips_hurt)


def clipping_stops_slab(frames: Frames, claim: Claim) -> Measurement:
    """G8: the slab attack, clipped models against vanilla ones."""
    def statistic(part: Part, tables: Tables) -> "Series | None":
        table = tables[SLAB]
        norms = [name for name in table.columns if _clips_alone(str(name))]
        own = _of(table, SMALLER) if part.name == "worse" else least_elsewhere(table, norms)
        return _compare(part, own, _of(table, VANILLA))
    return _measure(frames, claim, statistic, control=slab_hurts)


def _clips_alone(name: str) -> bool:
    return name.startswith("C ") and "noise" not in name


def _of(table: "DataFrame", name: str) -> "Series | None":
    return table.get(name)


def _compare(part: Part, own: "Series | None", other: "Series | None") -> "Series | None":
    """Own minus other, or own over other, for the draws that both have."""
    import pandas as pd

    if own is None or other is None:
        return None
    both = pd.DataFrame({"own": own, "other": other}).dropna()
    if part.name != "ratio":
        return both["own"] - both["other"]
    return pd.Series(contrasts.share(both["own"], both["other"]), dtype=float)


# ---------------------------------------------------------------- positive controls

def flips_hurt(found: "DataFrame") -> bool | None:
    """Whether flipped labels cost the vanilla model accuracy, against its own clean twin."""
    return _hurt(rad.at(found, FLIPS), 0.0)


def slab_hurts(found: "DataFrame") -> bool | None:
    """Whether the slab attack costs the vanilla model ten points of accuracy."""
    return _hurt(rad.at(found, SLAB), TEN_POINTS)


def _hurt(attacked: "DataFrame", least: float) -> bool | None:
    plain = attacked[attacked[rad.ARM].eq(VANILLA)]
    lost = (plain[rad.CLEAN] - plain["accuracy"]).dropna()
    if lost.empty:
        return None
    found = judgement.estimate(lost.to_numpy())
    return bool((found.mean if math.isnan(found.low) else found.low) > least)


# ---------------------------------------------------------------- machinery

def compared(frames: Frames, claim: Claim) -> "DataFrame":
    """The rows with RAD in the set-up nearest to the published one, Hong et al.'s slab attack."""
    return rows.nearest(rad.usual(rad.compared(frames[claim.notebook])), claim.setup)


def _measure(frames: Frames, claim: Claim, statistic: Statistic, *,
             control: Callable[["DataFrame"], bool | None]) -> Measurement:
    found = compared(frames, claim)
    passed = control(found)

    def judge(part: Part, column: str) -> Verdict:
        tables = {kind: rad.by_draw(rad.at(found, kind), column) for kind in (FLIPS, SLAB)}
        values = statistic(part, tables)
        return judgement.guarded(part, [] if values is None else values.to_numpy(), passed=passed)
    return judgement.assemble(claim, judge, found, metric=RELEASED, beside=(STATED, OWN))
