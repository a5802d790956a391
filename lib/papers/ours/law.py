"""Why: what a setting says beforehand about the trigger that is left at a given accuracy.

Candidates are reckoned from the setting alone, for weights after `s` steps of rates r_1 .. r_s:

| name | what |
|---|---|
| progress | sum of the rates over (1 - momentum): how far the signal can have moved the weights |
| noise | standard deviation of the noise in a weight if nothing pulled it back |
| last noise | that of one step's noise at the end: rate x noise multiplier / batch |
| epsilon | of the steps so far (delta 1e-5, add-remove, Poisson, PLD) |
| rate, steps | as set |

For averaged weights progress and noise are those of the average. Two models of one attack that are
as accurate as each other, to a point, are in order if the one with the larger candidate leaves more
of the trigger. `concordance` is the share of the differences in lift that are in order: 1 always,
0.5 chance, 0 never.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lib import privacy
from lib.papers.ours import envelopes
from lib.papers.ours.trainings import DELTA
from lib.training.averages import NAMES as AVERAGES
from lib.training.schedule import Schedule
from lib.training.settings import FALLING, SCHEDULES
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    import numpy
    from pandas import DataFrame, Series

CANDIDATES = ("progress", "noise", "last noise", "epsilon", "rate", "steps")
WEIGHT = 0.0  # of the noise in the rule, as fitted on strokes and patches: progress alone
CONTROL = 0.25  # undefended lift: without a backdoor there is nothing to put in order
GRID = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # weights of the noise
LEAST_ACCURACY = 0.5  # of the largest accuracy: below it no trigger has been learnt


def candidates(curves: "DataFrame", *, records: int) -> "DataFrame":
    """Logarithms of the candidates at each point of DP-SGD's recorded paths.

    `curves`: of `lib.study.curves`, rows with clipping and noise; `records`: training records.
    """
    import numpy as np
    import pandas as pd

    found = pd.DataFrame(index=curves.index, columns=list(CANDIDATES), dtype=float)
    names = ["key", "weights"]
    for (_, weights), path in curves.groupby(names, sort=False):
        line, steps = path.iloc[0], [int(step) for step in path["step"]]
        unit = unit_path(line["training.schedule"], max(steps), tuple(steps), str(weights),
                         line["training.ema_decay"])
        rate = line["training.lr"] / (1 - line["training.momentum"])
        scale = line["noise_multiplier"] * line["defence.max_grad_norm"] / line[
            "training.batch_size"]
        z, q = line["noise_multiplier"], line["training.batch_size"] / records
        epsilons = [spent(float(z), float(q), step) for step in steps]
        found.loc[path.index] = np.log(np.column_stack([
            rate * unit[:, 0], rate * scale * unit[:, 1], rate * scale * unit[:, 2],
            epsilons, np.full(len(steps), rate), steps]))
    return found


@functools.lru_cache(maxsize=4096)
def spent(noise_multiplier: float, sample_rate: float, steps: int) -> float:
    """Epsilon at delta 1e-5 after so many steps."""
    return privacy.dpsgd_epsilon(noise_multiplier, sample_rate, steps, DELTA)


@functools.lru_cache(maxsize=256)
def unit_path(schedule: str, length: int, steps: Sequence[int], weights: str, ema_decay: float
              ) -> "numpy.ndarray":
    """(progress, noise, last noise) [steps, 3] of a training of `length` steps at rate 1 and unit
    noise, for its last or averaged weights after each of `steps`."""
    import numpy as np

    ramp, decay = SCHEDULES[schedule]
    plan = Schedule(length, decay=decay, ramp=ramp, falls=schedule in FALLING)
    rates = np.array([plan.factor(step, length) for step in range(length)])
    found = []
    for step in steps:
        share = shares(step, weights, ema_decay)
        found.append((rates[:step] @ share, math.sqrt((rates[:step]**2) @ share**2),
                      max(rates[step - 1], np.finfo(float).tiny)))
    return np.array(found)


def shares(steps: int, weights: str, ema_decay: float) -> "numpy.ndarray":
    """How much of each update is in the weights after so many steps [steps]: 1 for the last ones,
    less for late updates in an average (`lib.training.averages`)."""
    import numpy as np

    if weights == "last":
        return np.ones(steps)
    if weights not in AVERAGES:
        raise ValueError(f"weights {weights!r}: expected last or one of {', '.join(AVERAGES)}")
    if weights == "tail":
        of = np.zeros(steps)  # of each iterate in the average
        of[steps // 2:] = 1 / (steps - steps // 2)
    else:
        keep = [min(ema_decay, number / (number + 9)) for number in range(1, steps + 1)]
        after = np.append(np.cumprod(keep[:0:-1])[::-1], 1.0)
        of = (1 - np.array(keep)) * after
    return np.cumsum(of[::-1])[::-1]  # an update is in every later iterate


def with_candidates(curves: "DataFrame", *, records: int) -> "DataFrame":
    """DP-SGD's paths with the candidates as columns, not as logarithms; `epsilon` is then that of
    the steps so far."""
    import numpy as np

    private = curves[envelopes.families(curves).eq(envelopes.PRIVATE)]
    found = np.exp(candidates(private, records=records))
    return private.drop(columns=list(CANDIDATES), errors="ignore").join(found)


def at_equal_accuracy(curves: "DataFrame", *, records: int) -> "DataFrame":
    """DP-SGD's recorded points with instance, lift, candidates (logarithms) and the accuracy to a
    whole point, from half of the largest accuracy on: any training may be stopped anywhere.
    """
    private = curves[envelopes.families(curves).eq(envelopes.PRIVATE)]
    found = private[["lift"]].join(candidates(private, records=records)).assign(**{
        envelopes.UNIT: rows.unit(private), envelopes.LEVEL: private["accuracy"].round(2)})
    return found[found[envelopes.LEVEL] >= LEAST_ACCURACY * found[envelopes.LEVEL].max()]


def concordance(found: "DataFrame", values: "Series", *, outcome: str = "lift") -> "Series":
    """Per instance: the share of the differences in `outcome`, between points of one accuracy,
    in whose direction `values` differ as well (ties count a half).

    `found`: of `at_equal_accuracy`. NaN for an instance without two points at an accuracy.
    """
    import numpy as np
    import pandas as pd

    def one(group: "DataFrame") -> float:
        right = whole = 0.0
        for _, level in group.groupby(envelopes.LEVEL):
            x, y = level["_values"].to_numpy(), level[outcome].to_numpy()
            apart = y[:, None] - y[None]
            larger = np.sign(np.round(x[:, None] - x[None], 9))
            right += (np.abs(apart) * (1 + np.sign(apart) * larger) / 2).sum()
            whole += np.abs(apart).sum()
        return right / whole if whole else math.nan

    if found.empty:
        return pd.Series(dtype=float)
    return found.assign(_values=values).groupby(envelopes.UNIT).apply(one, include_groups=False)


def score(found: "DataFrame", weight: float) -> "Series":
    """log progress + weight x log noise."""
    return found["progress"] + weight * found["noise"]


def fitted(sets: Iterable["DataFrame"], grid: Sequence[float] = GRID) -> float:
    """The weight of the noise, of a grid, with the largest mean concordance over several sets; NaN
    without any."""
    sets = [found for found in sets if concordance(found, found["progress"]).notna().any()]
    if not sets:
        return math.nan
    return max(grid, key=lambda weight: sum(concordance(found, score(found, weight)).mean()
                                            for found in sets))


def table(sets: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Concordance of each candidate: one line a set-up, candidate and instance."""
    import pandas as pd

    lines = [(name, candidate, unit, value) for name, found in sets.items()
             for candidate in CANDIDATES
             for unit, value in concordance(found, found[candidate]).items()]
    return pd.DataFrame(lines, columns=["set-up", "candidate", "instance", "concordance"])


def measure(frames: Frames, claim: Claim) -> Measurement:
    """D2: the concordance of the rule, and how far it is above what epsilon's order says, either
    way round, on each of the set-ups that had no part in the fit."""
    tried = {name: _tested(frames, notebook, select) for name, (notebook, select) in TESTS.items()}
    found = {name: one for name, one in tried.items() if one is not None}
    if len(found) < len(TESTS):
        return judgement.unmeasured(claim)
    values = {}
    for name, (equal, passed, _) in found.items():
        own = concordance(equal, score(equal, WEIGHT))
        values[name] = own, passed
        other = concordance(equal, equal["epsilon"])
        values[f"{name}, beyond epsilon"] = own - other.clip(lower=1 - other), passed

    def judge(part: Part, _: str) -> Verdict:
        own, passed = values[part.name]
        return judgement.decide(part, own.to_numpy(), passed=passed)

    beside = [(f"{candidate} on {name}", judgement.decide(
        claim.part(name), concordance(equal, equal[candidate]).to_numpy(), passed=passed), None)
        for name, (equal, passed, _) in found.items() for candidate in CANDIDATES]
    setup = "; ".join(envelopes.described(rows_) for _, _, rows_ in found.values())
    return Measurement(judgement.combined(claim.direction, judge, "lift"), None, tuple(beside),
                       setup, sum(rows_["key"].nunique() for _, _, rows_ in found.values()))


def _tested(frames: Frames, notebook: str, select: Callable[["DataFrame"], "Series"]
            ) -> "tuple[DataFrame, bool | None, DataFrame] | None":
    """(points at equal accuracy, whether the undefended backdoor was there, the rows)."""
    frame = frames.get(notebook)
    if frame is None or frame.empty:
        return None
    frame = frame[frame["status"].eq("ok") & frame["split"].eq("test") & frame["world"].eq("P")
                  & frame["training.checkpoints"].gt(0) & select(frame)]
    private = frame[envelopes.families(frame).eq(envelopes.PRIVATE)]
    if private.empty:
        return None
    line = private.iloc[0]
    curves = envelopes.paths_of(frames, notebook, private)
    plain = frame[envelopes.families(frame).eq(envelopes.PLAIN) & frame["weights"].eq("last")]
    equal = at_equal_accuracy(curves, records=int(line["train_size"] - line["public"]))
    return equal, envelopes.control(plain, CONTROL), private


# The set-ups that had no part in the fit: the notebook that publishes their rows, and which.
TESTS: dict[str, tuple[str, Callable[["DataFrame"], "Series"]]] = {
    "imagenet": ("11_dpsgd", lambda frame: frame["features"].str.startswith("imagenet-lite0")),
    "mnist": ("64_why", lambda frame: frame["dataset"].eq("mnist")),
}


def when_learnt(curves: "DataFrame") -> "DataFrame":
    """Epochs until a model knows the attacked class, and until it knows the trigger: one line an
    instance.

    `curves`: recorded paths of one setting, last weights. A class is known at the first checkpoint
    with nine tenths of its recall at the end, the trigger with a half of its lift at the end.
    """
    import pandas as pd

    lines = []
    for unit, path in curves.groupby(rows.unit(curves)):
        path = path.sort_values("step")
        known = {name: path.loc[path[column] >= share * path[column].iloc[-1], "epoch"].min()
                 for name, column, share in (("class", "base_recall", 0.9), ("trigger", "lift",
                                                                             0.5))}
        lines.append({"pair": unit, **known, "lift at the end": path["lift"].iloc[-1]})
    return pd.DataFrame(lines, columns=["pair", "class", "trigger", "lift at the end"])


def most_accurate_rate(curves: "DataFrame") -> float:
    """The learning rate whose paths end most accurate on average; NaN without any."""
    ends = curves[curves["step"].eq(curves.groupby("key")["step"].transform("max"))]
    means = ends.groupby("training.lr")["accuracy"].mean()
    return float(means.idxmax()) if len(means) else math.nan
