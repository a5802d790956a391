"""D1, the report's own headline: DP-SGD against plain SGD stopped at the same clean accuracy.

An underfitted model shows little of anything, a backdoor included. So a noisy model's backdoor is compared
with that of the plain model at the moment when it was as accurate, pair by pair.
"""

import math

from lib.claims import rows
from lib.claims.registry import Claim, above
from lib.claims.rows import Measurement
from lib.claims.verdict import NOT_MEASURED, Verdict, worst

NOISE, LEVEL = "defence.noise_multiplier", "noise_multiplier"  # asked for, and used (calibrated from epsilon)
HEADLINE_FRACTION = 0.1
NAMES = {"lift": "lift", "effect": "backdoor effect", "trigger_auc": "trigger AUC"}
PATH = [*rows.PAIR, "attack_seed", "init_seed"]

CLAIMS = (
    Claim("D1", "ours", "At every noise level DP-SGD leaves more of the backdoor than plain SGD stopped at the same clean "
          "accuracy.", "this report", "", "11_dpsgd", (),
          (above("difference", "lift under DP-SGD minus lift of plain SGD at the same accuracy", 0,
                 basis="ours", why="the sign is the claim; a mean over levels could hide two opposite signs"),), basis="ours",
          positive_control="the undefended lift at 10% of the base class is over one half", measure="matched:difference",
          control=0.5, figures=("dpsgd-matched", "dpsgd-differences"), notes="backdoor effect and trigger AUC beside it; no size is claimed"),
)


def matched(dp_rows, path_curves, *, metric: str):
    """Each DP-SGD row beside plain SGD at the same clean accuracy.

    `dp_rows`: rows of world P. `path_curves`: recorded paths of plain SGD in world P, one line a checkpoint
    (`step`, `accuracy`, `metric`), of one setting; a row's path is the one with its pair and its attack and
    initialisation seeds. Returns a frame, one line a row: the pair, seeds, noise multiplier, `accuracy`,
    `dp`, `reference`, `difference` and `missing` ("" or why there is no reference: "no path", "below the
    path", "above the path"). Nothing is extrapolated.
    """
    import pandas as pd
    paths = {key: first_reached(group, metric) for key, group in path_curves.groupby(PATH, dropna=False)}
    lines = []
    for _, row in dp_rows.iterrows():
        reference, missing = _read(paths.get(tuple(row[name] for name in PATH)), float(row["accuracy"]))
        lines.append({**{name: row[name] for name in (*PATH, "noise_seed", LEVEL)}, "accuracy": float(row["accuracy"]),
                      "dp": float(row[metric]), "reference": reference, "difference": float(row[metric]) - reference,
                      "missing": missing})
    return pd.DataFrame(lines, columns=[*PATH, "noise_seed", LEVEL, "accuracy", "dp", "reference", "difference", "missing"])


def first_reached(path, metric: str):
    """(accuracy, metric) of the points of one path at which an accuracy was reached first, both ascending in accuracy.

    Accuracy wobbles along a path. Stopping at an accuracy means stopping when it is first reached, so only
    points above every earlier one count; between two of them the metric is interpolated in accuracy.
    """
    path = path.sort_values("step")
    if path["step"].duplicated().any():
        raise ValueError(f"two points at step {path.loc[path['step'].duplicated(), 'step'].iloc[0]}: expected the path of one run; "
                         "pass the curves of one setting")
    accuracy = path["accuracy"].astype(float)
    record = accuracy > accuracy.cummax().shift(fill_value=-math.inf)
    return accuracy[record].to_numpy(), path.loc[record, metric].astype(float).to_numpy()


def _read(path, accuracy: float) -> tuple[float, str]:
    """(the metric of the path at `accuracy`, why it is missing)."""
    import numpy as np
    if path is None or not len(path[0]):
        return math.nan, "no path"
    if accuracy < path[0][0]:
        return math.nan, "below the path"
    if accuracy > path[0][-1]:
        return math.nan, "above the path"
    return float(np.interp(accuracy, *path)), ""


def difference(frames: dict, claim: Claim) -> Measurement:
    """D1: the paired difference of lift, one value a pair; every noise level must show it. Levels and other metrics beside."""
    frame = frames[claim.notebook]
    dp, plain = compared(frame)
    if dp.empty or plain.empty:
        return rows.unmeasured(claim)
    curves = frames.get(f"{claim.notebook}/curves")
    if curves is None:
        from lib import study
        curves = study.curves(frame)
    passed = rows.control(plain, claim.control)
    found = {metric: _pairs(frame, curves, dp, plain, metric) for metric in NAMES}
    part, table = claim.part("difference"), found["lift"]
    levels = {metric: {f"{NAMES[metric]}, noise {level:g}": _judge(part, group, passed) for level, group in pairs.groupby(LEVEL)}
              for metric, pairs in found.items()}
    beside = [(name, one, None) for metric in NAMES for name, one in levels[metric].items()]
    left_out = table.loc[table["missing"] != "", "missing"].value_counts()
    note = "; ".join(f"{count} of {len(table)} runs {why}" for why, count in left_out.items())
    return Measurement(worst(levels["lift"]), None, tuple(beside), _setup(dp.iloc[0]), len(dp) + len(plain), note)


def compared(frame):
    """(the longest sweep of DP-SGD over noise, plain SGD with a recorded path) in one set-up at the headline fraction."""
    attacked = rows.measured(frame)
    if attacked.empty:
        return attacked, attacked
    fractions = attacked["attack.fraction"].unique()
    fraction = min(fractions, key=lambda value: abs(value - HEADLINE_FRACTION))
    attacked = rows.nearest(rows.measured(frame, fraction=fraction), rows.Published(""))
    noisy = attacked[(attacked["defence.name"] == "dpsgd") & (attacked["defence.clip"] == True) & (attacked[LEVEL] > 0)]  # noqa: E712
    plain = rows.undefended(attacked)
    plain = plain[plain["training.checkpoints"] > 0]
    # each noise level is tuned by itself, so that its learning rate is its own
    return rows.sweep(noisy, LEVEL, but=(NOISE, "training.lr")), rows.sweep(plain, "key")


def _pairs(frame, curves, dp, plain, metric: str):
    """`matched` on one metric; the effect needs the relabelled-only twins of the rows and of the paths."""
    if metric == "effect":
        twins = rows.with_twins(frame)
        dp = twins[twins["key"].isin(dp["key"])]
        curves = rows.with_twins(curves)
    return matched(dp, curves[curves["key"].isin(plain["key"])], metric=metric)


def _judge(part, table, passed: bool | None) -> Verdict:
    table = table[table["difference"].notna()]
    return rows.decide(part, rows.per_unit(table, "difference"), passed=passed) if len(table) else NOT_MEASURED


def _setup(line) -> str:
    return (f"own: {line['dataset']}, features {line['features']}, {line['model']}, "
            f"{line['attack.fraction']:.0%} of the base class")
