"""Measuring D1b: the least that a family of trainings leaves of a backdoor at a clean accuracy.

A family is plain SGD, or DP-SGD at any noise. Its settings (learning rate, schedule, batch, length,
noise, which weights) each give a path of (accuracy, lift) points for every attack instance, and may
be stopped anywhere on it. At each accuracy the family takes the setting that leaves least on the
*other* instances, and its lift is read on the one at hand: the setting is not chosen by what it is
then judged by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lib.papers.ours.matched import first_reached
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

PLAIN, PRIVATE = "plain SGD", "DP-SGD"
POINT = 0.01  # a step between accuracies
HEADLINE_FRACTION = 0.1
UPPER = (0.1, 0.05)  # below the largest accuracy: where differences can be large
UNIT, SETTING, LEVEL, FAMILY = "instance", "setting", "accuracy", "family"


def families(frame: "DataFrame") -> "Series":
    """The family of each row: plain SGD, DP-SGD, or "" for others (clipping or noise alone)."""
    import pandas as pd

    noise = frame["noise_multiplier"].fillna(rows.optional(frame, "defence.noise_multiplier"))
    dpsgd, clips = frame["defence.name"].eq("dpsgd"), rows.optional(frame, "defence.clip").eq(True)
    found = pd.Series("", index=frame.index)
    found[dpsgd & ~clips & noise.eq(0)] = PLAIN
    found[dpsgd & clips & noise.gt(0)] = PRIVATE
    return found


def at_accuracies(curves: "DataFrame", *, metrics: Sequence[str] = ("lift",),
                  point: float = POINT,
                  family: "Callable[[DataFrame], Series]" = families) -> "DataFrame":
    """The metrics of each path where it first reached an accuracy.

    `curves`: recorded paths of world P (`lib.study.curves`), of any settings and weights. `family`:
    of each row, "" for one that is left out. Returns one line a family, setting (a number),
    instance and accuracy (multiples of `point` between the least and the largest of the path,
    metrics interpolated, nothing extrapolated).
    """
    import numpy as np
    import pandas as pd

    curves = curves.assign(**{FAMILY: family(curves), UNIT: rows.unit(curves),
                              SETTING: _settings(curves)})
    lines = []
    for (name, setting, unit), path in curves[curves[FAMILY] != ""].groupby(
            [FAMILY, SETTING, UNIT]):
        known = [first_reached(path, metric) for metric in metrics]
        accuracy = known[0][0]
        first, last = np.ceil(accuracy[0] / point - 1e-9), np.floor(accuracy[-1] / point + 1e-9)
        grid = np.round(np.arange(first, last + 1) * point, 6)
        found = [np.interp(grid, accuracy, values) for _, values in known]
        lines += [(name, setting, unit, *line) for line in zip(grid, *found, strict=True)]
    return pd.DataFrame(lines, columns=[FAMILY, SETTING, UNIT, LEVEL, *metrics])


def _settings(curves: "DataFrame") -> "Series":
    """A number for each way to train and to read the weights."""
    names = [*rows.settings(curves), *(name for name in ("defence.epsilon", "weights")
                                       if name in curves)]
    return curves.groupby(names, dropna=False, sort=False).ngroup()


def least(found: "DataFrame", *, metric: str = "lift") -> "DataFrame":
    """The envelope of each family: one line an instance and accuracy, with the chosen `setting`.

    `found`: of `at_accuracies`. Among the settings that all other instances reach an accuracy
    with, the one with the least mean over them; an instance that does not reach it so, or an
    accuracy that the others do not reach, has no line. Instances are those that every family has
    with all of its settings; needs two at least.
    """
    import pandas as pd

    known, lines = _complete(found), []
    for (family, level), group in found[found[UNIT].isin(known)].groupby([FAMILY, LEVEL]):
        table = group.pivot(index=UNIT, columns=SETTING, values=metric).reindex(known)
        for unit in known:
            others = table.drop(index=unit)
            whole = others.loc[:, others.notna().all()] if len(others) else others.iloc[:, :0]
            if not whole.shape[1]:
                continue
            chosen = whole.mean().idxmin()
            value = table.at[unit, chosen]
            if value == value:
                lines.append((family, unit, level, chosen, value))
    return pd.DataFrame(lines, columns=[FAMILY, UNIT, LEVEL, SETTING, metric])


def _complete(found: "DataFrame") -> list[str]:
    """The instances that every family was trained on with the most settings that any has."""
    counts = found.groupby([FAMILY, UNIT])[SETTING].nunique().unstack(FAMILY)
    return list(counts.index[(counts == counts.max()).all(axis=1)])


def differences(envelope: "DataFrame", *, metric: str = "lift", own: str = PRIVATE
                ) -> "DataFrame":
    """DP-SGD, or the family `own`, minus plain SGD: one line an instance and accuracy that both
    reach."""
    wide = envelope.pivot(index=[UNIT, LEVEL], columns=FAMILY, values=metric)
    wide = wide.reindex(columns=[own, PLAIN]).dropna()
    return (wide[own] - wide[PLAIN]).rename("difference").reset_index()


def attacked(frame: "DataFrame") -> "DataFrame":
    """The rows that D1a and D1b are judged on: a tenth of the base class, world P, with paths and
    averages; of CIFAR-10 none of the pairs that prototypes saw; of several set-ups that with the
    most rows."""
    from lib.papers.ours.claims import FIRST_PAIRS

    found = frame[frame["status"].eq("ok") & frame["split"].eq("test") & frame["world"].eq("P")
                  & frame["training.checkpoints"].gt(0)
                  & rows.optional(frame, "training.averages").map(bool)
                  & (frame["attack.fraction"] - HEADLINE_FRACTION).abs().lt(1e-9)]
    pairs = found["attack.base"].astype(str) + "-" + found["attack.target"].astype(str)
    seen = pairs.isin([f"{base}-{target}" for base, target in FIRST_PAIRS])
    found = found[~(seen & found["dataset"].astype(str).str.startswith("cifar10"))]
    return max(rows.places(found), key=len, default=found)


def measure(frames: Frames, claim: Claim) -> Measurement:
    """D1b: mean over accuracies of the difference between the envelopes, an instance at a time.

    Judged on the settings that the oracle names (`named`); beside it the upper accuracies alone,
    trigger AUC, and all settings, a falling rate included.
    """
    from lib.papers.ours import tuned

    whole = attacked(frames[claim.notebook])
    frame = whole[named(whole)] if len(whole) else whole
    if set(families(frame)) < {PLAIN, PRIVATE}:
        return judgement.unmeasured(claim)
    curves = paths_of(frames, claim.notebook, whole)
    passed = tuned.control_of(frames[claim.notebook], claim.control)
    lift = apart(curves[curves["key"].isin(frame["key"])])
    others = {f"from {100 * low:.0f}% accuracy on": lift[lift[LEVEL] >= low]
              for low in _upper(lift)}
    others["trigger AUC"] = apart(curves[curves["key"].isin(frame["key"])], metric="trigger_auc")
    if len(frame) < len(whole):
        others["all settings"] = apart(curves)

    def judge(found: "DataFrame", column: str = "lift") -> Verdict:
        part = claim.direction[0]
        decided = judgement.decide(part, means(found), passed=passed, column=column)
        return replace(decided, part=part.name)

    note = "" if lift.empty else (f"accuracies {100 * lift[LEVEL].min():.0f} to "
                                  f"{100 * lift[LEVEL].max():.0f}%")
    columns = {"trigger AUC": "trigger_auc"}
    return Measurement(judge(lift), None, tuple(
        (name, judge(one, columns.get(name, "lift")), None) for name, one in others.items()),
                       described(frame), frame["key"].nunique(), note)


def named(frame: "DataFrame") -> "Series":
    """Whether a row's setting is one that D1b's oracle names: a constant rate, and for DP-SGD noise
    1, 2 and 4, or other batches and lengths at these epsilons."""
    from lib.papers.ours.claims import LEVELS

    noise = rows.optional(frame, "defence.noise_multiplier")
    asked = rows.optional(frame, "defence.epsilon").notna()
    return frame["training.schedule"].eq("constant") & (
        families(frame).eq(PLAIN) | noise.isin(LEVELS) | asked)


def apart(curves: "DataFrame", *, metric: str = "lift") -> "DataFrame":
    """The difference between the envelopes of recorded paths: see `differences`."""
    return differences(least(at_accuracies(curves, metrics=(metric,)), metric=metric),
                       metric=metric)


def paths_of(frames: Frames, notebook: str, frame: "DataFrame") -> "DataFrame":
    """The recorded paths of the rows of `frame`, which are a notebook's."""
    curves = frames.get(f"{notebook}/curves")
    if curves is None:
        from lib import study

        return study.curves(frame)
    return curves[curves["key"].isin(frame["key"])]


def control(plain: "DataFrame", least_lift: float) -> bool | None:
    """Whether the undefended backdoor was there: at the most accurate plain setting."""
    return judgement.shows(rows.one_setting(plain), least_lift)


def means(found: "DataFrame") -> "Series":
    """Of `differences`: the mean over accuracies of each instance."""
    return found.groupby(UNIT)["difference"].mean()


def _upper(found: "DataFrame") -> list[float]:
    """Ten and five points below the largest accuracy that both families reach."""
    if found.empty:
        return []
    top = found[LEVEL].max()
    return [round(top - below, 6) for below in UPPER]


def described(frame: "DataFrame") -> str:
    """The set-up in words."""
    line = frame.iloc[0]
    return (f"own: {line['dataset']}, features {line['features']}, {line['model']}, "
            f"{line['attack.fraction']:.0%} of the base class")


def table(paths: Mapping[str, "DataFrame"]) -> "DataFrame":
    """The difference between the envelopes (DP-SGD minus plain SGD) on several set-ups: over all
    accuracies that both reach, and over the last ten and five points of them."""
    import pandas as pd

    lines = []
    for name, curves in paths.items():
        found = apart(curves)
        over = {"all": found} | {f"last {round(100 * below)} points": found[found[LEVEL] >= low]
                                 for below, low in zip(UPPER, _upper(found), strict=False)}
        top = f"{100 * found[LEVEL].max():.0f}" if len(found) else "–"
        lines.append({"set-up": name, "pairs": found[UNIT].nunique(), "both reach, %": top} | {
            f"least lift, difference: {which}": judgement.points(means(some).to_numpy())
            for which, some in over.items()})
    return pd.DataFrame(lines)
