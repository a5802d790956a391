"""Rows of adaptive gradient matching as `lib.study.run` returns them, made up."""

import functools
import math
import zlib

import numpy as np
import pandas as pd

from lib.papers.borgnia import practice, victims
from lib.papers.borgnia.matching import FOUR, TWO
from lib.study.table import table

VICTIM = victims.small(batch_norm=True)
BREW = {"iterations": 100, "restarts": 1}


@functools.cache
def asked(trials=4):
    """The table of all runs of both figures, without results."""
    return table(practice.mixed(VICTIM, trials=trials, **BREW)
                 + practice.augmented(VICTIM, trials=trials, **BREW))


def made_up(hit, *, trials=4, natural=0.0):
    """Rows as `study.run` returns them. hit(arm, scale, trial): 0 or 1."""
    frame = asked(trials)
    lines = []
    for _, row in frame.iterrows():
        own = practice.added(row["training.transforms"])
        arm, scale = practice.arm_of(own), practice.scale_of(own)
        success = hit(arm, scale, row["attack_seed"]) if row["world"] == "P" else natural
        lines.append({"status": "ok", "success": float(success), "accuracy": 0.7,
                      "probability": 0.1 + 0.8 * success, "epsilon": math.inf})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


MANY = 24  # trials


def rate(shares):
    """A share of the trials is hit, each arm's own; those with a smaller share are among them."""
    def hit(arm, scale, trial):
        place = np.random.RandomState(zlib.crc32(arm.encode())).permutation(MANY)[trial]
        return float(place < MANY * shares(arm, scale))
    return hit


def by_scale(arm, scale):
    return {0.0: 0.9, 8.0: 0.5, 16.0: 0.1}[scale]


def by_both(arm, scale):
    """Falls with the noise and, where there is some, with the width."""
    drop = {TWO: 0.1, FOUR: 0.3}.get(arm, 0.0) if scale else 0.0
    return {0.0: 0.95, 8.0: 0.7, 16.0: 0.35}[scale] - drop
