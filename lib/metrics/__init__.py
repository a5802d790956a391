"""Accuracy and attack success of one model, and the intervals around them.

Comparisons with twins in other worlds are in `lib.goals`.
"""

from .intervals import (
    Interval,
    clopper_pearson,
    mean_interval,
    paired_interval,
    prediction_interval,
    wilson,
)
from .success import AttackResult, attack, clean_part

VERSION = 1  # part of every row's key: raise it when a measured number changes

__all__ = [
    "VERSION",
    "AttackResult",
    "Interval",
    "attack",
    "clean_part",
    "clopper_pearson",
    "mean_interval",
    "paired_interval",
    "prediction_interval",
    "wilson",
]
