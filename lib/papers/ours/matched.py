"""Measuring D1: DP-SGD against plain SGD at the same clean accuracy.

An underfitted model shows little of anything, a backdoor included. So a noisy model's backdoor is
compared with that of the plain model at the moment when it was as accurate, pair by pair. The sign
of that difference turns with the learning rates, so a claim has to say how rates are chosen.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lib import goals
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part, Published
from lib.verdicts.combining import worst
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from numpy import ndarray
    from pandas import DataFrame, Series

    from lib.metrics import Interval

# asked for, and used (calibrated from epsilon)
NOISE, LEVEL = "defence.noise_multiplier", "noise_multiplier"
HEADLINE_FRACTION = 0.1
NAMES = {"lift": "lift", "effect": "backdoor effect", "trigger_auc": "trigger AUC"}
PATH = [*rows.PAIR, "attack_seed", "init_seed"]


def matched(dp_rows: "DataFrame", path_curves: "DataFrame", *, metric: str) -> "DataFrame":
    """Each DP-SGD row beside plain SGD at the same clean accuracy.

    `dp_rows`: rows of world P. `path_curves`: recorded paths of plain SGD in world P, one line a
    checkpoint (`step`, `accuracy`, `metric`), of one setting; a row's path is the one with its pair
    and its attack and initialisation seeds. Returns a frame, one line a row: the pair, seeds, noise
    multiplier, `accuracy`, `dp`, `reference`, `difference` and `missing` ("" or why there is no
    reference: "no path", "below the path", "above the path"). Nothing is extrapolated.
    """
    import pandas as pd

    paths = {
        key: first_reached(group, metric) for key, group in path_curves.groupby(PATH, dropna=False)
    }
    lines = []
    for _, row in dp_rows.iterrows():
        reference, missing = _read(
            paths.get(tuple(row[name] for name in PATH)), float(row["accuracy"])
        )
        lines.append(
            {
                **{name: row[name] for name in (*PATH, "noise_seed", LEVEL)},
                "accuracy": float(row["accuracy"]),
                "dp": float(row[metric]),
                "reference": reference,
                "difference": float(row[metric]) - reference,
                "missing": missing,
            }
        )
    return pd.DataFrame(
        lines,
        columns=[
            *PATH,
            "noise_seed",
            LEVEL,
            "accuracy",
            "dp",
            "reference",
            "difference",
            "missing",
        ],
    )


def against(dp_rows: "DataFrame", references: dict, *, metric: str) -> "DataFrame":
    """`matched` against several paths: one line a noise multiplier and path, with t interval.

    `references`: recorded paths by name. Columns: noise, minus (the path's name), accuracy,
    difference, low, high, pairs.
    """
    import pandas as pd

    lines = []
    for name, path in references.items():
        for level, group in matched(dp_rows, path, metric=metric).groupby(LEVEL):
            values = rows.per_unit(group, "difference").to_numpy()
            found = judgement.estimate(values, bounds=rows.DIFFERENCE)
            lines.append(
                {
                    "noise": level,
                    "minus": name,
                    "accuracy": group["accuracy"].mean(),
                    "difference": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "pairs": f"{found.n} of {rows.unit(group).nunique()}",
                }
            )
    columns = ["noise", "minus", "accuracy", "difference", "low", "high", "pairs"]
    frame = pd.DataFrame(lines, columns=columns)
    return frame.sort_values("noise", kind="stable", ignore_index=True)


def paired(own: "DataFrame", other: "DataFrame", column: str) -> "Interval":
    """The 95% t interval of `column` in the one frame minus the other, pair by pair."""
    return judgement.estimate(
        (rows.per_unit(own, column) - rows.per_unit(other, column)).to_numpy(),
        bounds=rows.difference(column),
    )


def first_reached(path: "DataFrame", metric: str) -> tuple["ndarray", "ndarray"]:
    """(accuracy, metric) of the points of one path at which an accuracy was reached first, both
    ascending in accuracy.

    Accuracy wobbles along a path. Stopping at an accuracy means stopping when it is first reached,
    so only points above every earlier one count; between two of them the metric is interpolated in
    accuracy.
    """
    path = path.sort_values("step")
    if path["step"].duplicated().any():
        raise ValueError(
            f"two points at step {path.loc[path['step'].duplicated(), 'step'].iloc[0]}: expected"
            " the path of one run; pass the curves of one setting"
        )
    accuracy = path["accuracy"].astype(float)
    record = accuracy > accuracy.cummax().shift(fill_value=-math.inf)
    return accuracy[record].to_numpy(), path.loc[record, metric].astype(float).to_numpy()


def _read(path: tuple["ndarray", "ndarray"] | None, accuracy: float) -> tuple[float, str]:
    """(the metric of the path at `accuracy`, why it is missing)."""
    import numpy as np

    if path is None or not len(path[0]):
        return math.nan, "no path"
    if accuracy < path[0][0]:
        return math.nan, "below the path"
    if accuracy > path[0][-1]:
        return math.nan, "above the path"
    return float(np.interp(accuracy, *path)), ""


def difference(frames: Frames, claim: Claim) -> Measurement:
    """D1 as first frozen: the paired difference of lift, a pair's mean over noise levels.

    Levels and other metrics beside it, and D1 as it then was: the level that shows it least.
    """
    frame = frames[claim.notebook]
    dp, plain = compared(frame)
    if dp.empty or plain.empty:
        return judgement.unmeasured(claim)
    curves = frames.get(f"{claim.notebook}/curves")
    if curves is None:
        from lib import study

        curves = study.curves(frame)
    if "weights" in curves:
        curves = curves[curves["weights"].eq("last")]
    passed = judgement.control(plain, claim.control)
    found = {metric: _pairs(frame, curves, dp, plain, metric) for metric in NAMES}
    part, table = claim.part("difference"), found["lift"]
    levels = {
        metric: {
            f"{NAMES[metric]}, noise {level:g}": _judge(part, group, passed, metric)
            for level, group in pairs.groupby(LEVEL)
        }
        for metric, pairs in found.items()
    }
    beside = [
        ("every noise level", worst(levels["lift"]), None),
        *((name, one, None) for metric in NAMES for name, one in levels[metric].items()),
    ]
    left_out = table.loc[table["missing"] != "", "missing"].value_counts()
    note = "; ".join(f"{count} of {len(table)} runs {why}" for why, count in left_out.items())
    return Measurement(
        replace(_judge(part, table, passed), part=part.name),
        None,
        tuple(beside),
        _setup(dp.iloc[0]),
        len(dp) + len(plain),
        note,
    )


def compared(frame: "DataFrame") -> tuple["DataFrame", "DataFrame"]:
    """(the longest sweep of DP-SGD over noise, plain SGD with a recorded path) in one set-up at the
    headline fraction.
    """
    attacked = _seen(rows.measured(frame))
    if attacked.empty:
        return attacked, attacked
    fractions = attacked["attack.fraction"].unique()
    fraction = min(fractions, key=lambda value: abs(value - HEADLINE_FRACTION))
    attacked = rows.nearest(_seen(rows.measured(frame, fraction=fraction)), Published(""))
    noisy = attacked[
        (attacked["defence.name"] == "dpsgd")
        & attacked["defence.clip"].eq(True)
        & (attacked[LEVEL] > 0)
    ]
    plain = rows.undefended(attacked)
    plain = plain[plain["training.checkpoints"] > 0]
    # each noise level is tuned by itself, so that its learning rate is its own
    return rows.sweep(noisy, LEVEL, but=(NOISE, "training.lr")), rows.sweep(plain, "key")


def _seen(attacked: "DataFrame") -> "DataFrame":
    """Of CIFAR-10 the pairs that D1 was frozen for: the others are D1a's and D1b's."""
    from lib.papers.ours.claims import FIRST_PAIRS

    pairs = attacked["attack.base"].astype(str) + "-" + attacked["attack.target"].astype(str)
    first = pairs.isin([f"{base}-{target}" for base, target in FIRST_PAIRS])
    return attacked[first | ~attacked["dataset"].astype(str).str.startswith("cifar10")]


def _pairs(
    frame: "DataFrame", curves: "DataFrame", dp: "DataFrame", plain: "DataFrame", metric: str
) -> "DataFrame":
    """`matched` on one metric.

    The effect needs the relabelled-only twins of the rows and of the paths.
    """
    if metric == "effect":
        twins = goals.parts(frame)
        dp = twins[twins["key"].isin(dp["key"])]
        curves = goals.parts(curves)
    return matched(dp, curves[curves["key"].isin(plain["key"])], metric=metric)


def _judge(
    part: Part, table: "DataFrame", passed: bool | None, metric: str = "lift"
) -> Verdict:
    table = table[table["difference"].notna()]
    if table.empty:
        return NOT_MEASURED
    values = rows.per_unit(table, "difference")
    return judgement.decide(part, values, passed=passed, column=metric)


def _setup(line: "Series") -> str:
    return (
        f"own: {line['dataset']}, features {line['features']}, {line['model']}, "
        f"{line['attack.fraction']:.0%} of the base class"
    )
