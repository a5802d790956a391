"""Accuracy and attack success of one model, and the intervals around them.

Comparisons with twins in other worlds are in `lib.goals`.
"""

from .intervals import (
    Bounds,
    Interval,
    clopper_pearson,
    mean_interval,
    on_scale,
    paired_interval,
    prediction_interval,
    wilson,
)
from .success import AttackResult, attack, clean_part

VERSION = 1  # part of every row's key: raise it when a measured number changes

__all__ = [
    "VERSION",
    "AttackResult",
    "Bounds",
    "Interval",
    "attack",
    "clean_part",
    "clopper_pearson",
    "mean_interval",
    "on_scale",
    "paired_interval",
    "prediction_interval",
    "wilson",
]
