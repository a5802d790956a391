"""The four methods of Razmi et al. by role, their settings, and each row beside the undefended row of the same attack.

A setting is chosen by how many attack instances it was measured on and by clean accuracy, never by attack success;
where a paper's own choice is the best of several, it is made on the other instances and judged on this one.
"""

import math

from lib.claims import rows
from lib.claims.registry import Part

EPSILON = "defence.epsilon"  # as asked for; the row's `epsilon` is what was reached
NEAR = 0.05  # of a calibrated epsilon from the one that was asked for


# ---------------------------------------------------------------- roles

def plain(frame):
    """The undefended rows that defended ones are held against: one setting."""
    return one_setting(rows.undefended(frame))


def private_sgd(frame):
    """DP-SGD: clipped gradients, with or without noise."""
    return frame[(frame["defence.name"] == "dpsgd") & (rows.optional(frame, "defence.clip") == True)]  # noqa: E712 (a column)


def students(frame, *, every_teacher: bool = True):
    """PATE as in the paper: stamped public images, labels by votes, noise on the maximum, all teachers vote (else any number)."""
    def is_(name, value):
        return rows.optional(frame, f"defence.{name}") == value
    found = frame[(frame["defence.name"] == "pate") & is_("pool", "stamped") & is_("labels", "votes") & is_("as_released", False)]
    return found[rows.optional(found, "defence.voters").isna()] if every_teacher else found


def noise_free(frame):
    """Students of votes without any noise: bagging, no guarantee."""
    found = students(frame)
    noises = [rows.optional(found, f"defence.{name}_noise").astype(float).fillna(0) for name in ("selection", "result")]
    return found[(noises[0] == 0) & (noises[1] == 0)]


def stages(frame, *, as_released: bool = False):
    """LP-MST with the model's own prior, k by the formula: any number of stages; `as_released`: the score of the released code."""
    return frame[(frame["defence.name"] == "lpmst") & (rows.optional(frame, "defence.as_released") == as_released)
                 & (rows.optional(frame, "defence.prior") == "model") & rows.optional(frame, "defence.top").isna()]


def two_stage(frame, *, as_released: bool = False):
    """LP-2ST."""
    found = stages(frame, as_released=as_released)
    return found[rows.optional(found, "defence.split").map(lambda shares: len(shares) == 2).astype(bool)]


def alibi(frame):
    """ALIBI at any epsilon."""
    return frame[frame["defence.name"] == "alibi"]


def finite(frame):
    """The rows with a guarantee."""
    return frame[frame["epsilon"] < math.inf]


def at_epsilon(frame, epsilon: float):
    """The rows whose epsilon is the one that a claim names, within 5% (calibrated ones are not exact)."""
    return frame[(frame["epsilon"] - epsilon).abs() <= NEAR * epsilon]


def together(groups):
    """The rows of several groups as one frame; a frame without rows where none has any."""
    import pandas as pd
    groups = list(groups)
    return pd.concat([group for group in groups if len(group)] or groups[:1])


# ---------------------------------------------------------------- settings

def one_setting(frame):
    """The setting measured on the most instances; among those the most accurate on average."""
    if frame.empty:
        return frame
    groups = (group for _, group in frame.groupby(setting(frame), sort=False))
    return max(groups, key=lambda group: (rows.unit(group).nunique(), group["accuracy"].astype(float).mean()))


def setting(frame):
    """The number of each row's setting: how it was made, apart from its instance, its seeds and its world."""
    if rows.SETTING in frame:
        return frame[rows.SETTING]
    return rows.setting_number(frame)


def by_setting(frame, *columns: str) -> list:
    """A table for each column: one line an instance, one column a setting, in the same order; no gaps.

    Instances without any row are not in it, and settings that some instance lacks are left out.
    """
    means = frame[list(columns)].astype(float).groupby([rows.unit(frame), setting(frame)]).mean()
    tables = [means[name].unstack().dropna(how="all") for name in columns]
    whole = [set(table.columns[table.notna().all()]) for table in tables]
    keep = sorted(set.intersection(*whole))
    return [table[keep] for table in tables]


def setting_line(frame, number: int):
    """The first row of a setting that `by_setting` numbered."""
    return frame[setting(frame) == number].iloc[0]


# ---------------------------------------------------------------- beside the undefended

def paired(frame, other, column: str):
    """`own` and `other`: means of `column` for each attack (pair and attack seed) that both frames have, averaged an instance."""
    on = [*rows.PAIR, "attack_seed"]
    own, beside = (one[[*on, column]].groupby(on, dropna=False).mean().astype(float) for one in (frame, other))
    both = own.rename(columns={column: "own"}).join(beside.rename(columns={column: "other"}), how="inner").reset_index()
    return both.groupby(rows.unit(both))[["own", "other"]].mean()


def compare(part: Part, both):
    """The statistic of a part, one value an instance, from the table of `paired`: the share retained, else the difference."""
    return share(both["own"], both["other"]) if part.name == "retained" else both["own"] - both["other"]


def metric(part: Part, column: str) -> str:
    """What a part is about: accuracy where its name says so, else `column` (lift, or a metric beside it)."""
    return "accuracy" if part.name.startswith("accuracy") else column


def share(values, reference):
    """One value an instance; their mean is mean(values) / mean(reference), their spread that of this ratio.

    By the delta method the ratio R of two means varies like the mean of R + (value - R reference) / mean(reference).
    A ratio for each instance would let the one with the smallest reference decide. NaN where the reference is not above 0.
    """
    import numpy as np
    values, reference = (np.asarray(one, dtype=float) for one in (values, reference))
    known = ~(np.isnan(values) | np.isnan(reference))
    mean = reference[known].mean() if known.any() else math.nan
    if not mean > 0:
        return np.full(len(values), math.nan)
    ratio = values[known].mean() / mean
    return ratio + (values - ratio * reference) / mean


def trend(table) -> list[float]:
    """Spearman's correlation of a curve's values with its axis, per line of `rows.curve`; a flat curve counts 0."""
    from scipy.stats import spearmanr
    return [0.0 if line.nunique() < 2 else float(spearmanr(table.columns, line).statistic) for _, line in table.iterrows()]
