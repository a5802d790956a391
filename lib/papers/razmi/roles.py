"""The methods of Razmi et al. by role: which rows are theirs, as the paper ran them."""

import math
from typing import TYPE_CHECKING

from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame

EPSILON = "defence.epsilon"  # as asked for; the row's `epsilon` is what was reached
NEAR = 0.05  # of a calibrated epsilon from the one that was asked for


def plain(frame: "DataFrame") -> "DataFrame":
    """The undefended rows that defended ones are held against: one setting."""
    return rows.one_setting(rows.undefended(frame))


def private_sgd(frame: "DataFrame") -> "DataFrame":
    """DP-SGD: clipped gradients, with or without noise."""
    return frame[(frame["defence.name"] == "dpsgd") & rows.optional(frame, "defence.clip").eq(True)]


def students(frame: "DataFrame", *, every_teacher: bool = True) -> "DataFrame":
    """PATE as in the paper: stamped public images, labels by votes, noise on the maximum, all
    teachers vote (else any number).
    """

    def is_(name: str, value):
        return rows.optional(frame, f"defence.{name}") == value

    found = frame[
        (frame["defence.name"] == "pate")
        & is_("pool", "stamped")
        & is_("labels", "votes")
        & is_("as_released", False)
    ]
    return found[rows.optional(found, "defence.voters").isna()] if every_teacher else found


def noise_free(frame: "DataFrame") -> "DataFrame":
    """Students of votes without any noise: bagging, no guarantee."""
    found = students(frame)
    noises = [
        rows.optional(found, f"defence.{name}_noise").astype(float).fillna(0)
        for name in ("selection", "result")
    ]
    return found[(noises[0] == 0) & (noises[1] == 0)]


def stages(frame: "DataFrame", *, as_released: bool = False) -> "DataFrame":
    """LP-MST with the model's own prior, k by the formula: any number of stages.

    `as_released`: the score of the released code.
    """
    return frame[
        (frame["defence.name"] == "lpmst")
        & (rows.optional(frame, "defence.as_released") == as_released)
        & (rows.optional(frame, "defence.prior") == "model")
        & rows.optional(frame, "defence.top").isna()
    ]


def two_stage(frame: "DataFrame", *, as_released: bool = False) -> "DataFrame":
    """LP-2ST."""
    found = stages(frame, as_released=as_released)
    return found[
        rows.optional(found, "defence.split").map(lambda shares: len(shares) == 2).astype(bool)
    ]


def alibi(frame: "DataFrame") -> "DataFrame":
    """ALIBI at any epsilon."""
    return frame[frame["defence.name"] == "alibi"]


def finite(frame: "DataFrame") -> "DataFrame":
    """The rows with a guarantee."""
    return frame[frame["epsilon"] < math.inf]


def at_epsilon(frame: "DataFrame", epsilon: float) -> "DataFrame":
    """The rows whose epsilon is the one that a claim names, within 5% (calibrated ones are not
    exact).
    """
    return frame[(frame["epsilon"] - epsilon).abs() <= NEAR * epsilon]
