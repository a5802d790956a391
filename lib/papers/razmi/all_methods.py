"""Every method of figure 3 at a smaller poisoned share, beside plain SGD stopped as accurate."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.defences.dpsgd import DPSGD
from lib.papers.ours import matched
from lib.papers.razmi import candidates
from lib.papers.razmi.candidates import Choices, Methods
from lib.papers.razmi.figure3 import UNDEFENDED
from lib.study import recipes
from lib.study.design import worlds
from lib.study.runs import Run
from lib.training import Training
from lib.verdicts import judgement, rows
from lib.verdicts.family import holm
from lib.verdicts.verdict import Verdict, verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

WORLDS = "PLC"  # of the undefended model and DP-SGD; the others have no use for L
MORE, LESS = "more", "less"
COLUMNS = ["setting", "accuracy, %", "lift", "plain SGD's", "difference [95% interval]", "is left",
           "difference in AUC"]


def noisy(methods: Methods, setup: Mapping[str, Any], levels: Sequence[Sequence[float]], *,
          epochs: float) -> list[Run]:
    """DP-SGD; levels: noise multiplier and learning rate."""
    return [methods.start(setup, defence=DPSGD(noise), training=Training(
        "sgd", rate, epochs=float(epochs), batch_size=512)) for noise, rate in levels]


def label_private(methods: Methods, setup: Mapping[str, Any], choices: Choices, *,
                  epsilons: Sequence[float]) -> list[Run]:
    """LP-2ST and ALIBI at each epsilon."""
    known = candidates.known(choices, setup)
    return [methods.private(setup, method, epsilon, choice=recipes.tuned(
        choices[setup["dataset"], method], epsilon)) for method in ("LP-2ST", "ALIBI")
        if method in known for epsilon in epsilons]


def votes(methods: Methods, setup: Mapping[str, Any], choices: Choices, *, threshold: float,
          noise: Sequence[float], queries: int) -> list[Run]:
    """PATE as bagging, with a threshold, and with a threshold and noise (of selection, of results).
    """
    if "PATE" not in candidates.known(choices, setup):
        return []
    rate = choices[setup["dataset"], "PATE"][candidates.ANY].rate
    private = dict(selection_noise=noise[0], result_noise=noise[1], queries=queries)
    return [methods.pate(setup, rate, **settings) for settings in (
        {}, {"threshold": float(threshold)}, {"threshold": float(threshold)} | private)]


def with_twins(attacked: Sequence[Run]) -> list[Run]:
    """Each attacked run beside its clean twin; DP-SGD and plain SGD with that of labels alone."""
    return [one for run in attacked for one in worlds(
        run, WORLDS if isinstance(run.defence, DPSGD) else WORLDS.replace("L", ""))]


def at_share(frame: "DataFrame", fraction: float) -> "DataFrame":
    """The attacked rows and twins at one poisoned share, of a notebook's whole rows."""
    return frame[frame["split"].eq("test") & (frame["attack.fraction"] - fraction).abs().lt(1e-9)]


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `series`, the method, `level`, its setting, and `arm`, both in words."""
    methods = recipes.names(frame)
    levels = [_level(method, row) for method, (_, row) in zip(methods, frame.iterrows(),
                                                              strict=True)]
    arms = [", ".join(filter(None, both)) for both in zip(methods, levels, strict=True)]
    return frame.assign(series=methods, level=levels, arm=arms)


def _level(method: str, row: "Series") -> str:
    noise, epsilon = _set(row, "defence.noise_multiplier"), _set(row, "defence.epsilon")
    if method in (UNDEFENDED, "clip only"):
        return ""
    if method == "PATE":
        threshold = _set(row, "defence.threshold")
        voted = f"threshold {threshold:g}" if threshold else "no threshold"
        return f"{voted} and noise" if _set(row, "defence.result_noise") else voted
    if method == "DP-SGD":
        return f"ε {epsilon:g}" if epsilon else f"noise {noise:g}"
    return f"label ε {epsilon:g}"


def _set(row: "Series", name: str) -> float:
    """A setting of a row; 0 where it is not set."""
    value = row.get(name)
    return 0.0 if value is None or value != value else float(value)


def defended(frame: "DataFrame") -> "DataFrame":
    """Of `named`: the rows with a defence."""
    return frame[frame["series"].ne(UNDEFENDED)]


def path(frame: "DataFrame") -> "DataFrame":
    """Of `named`: the recorded paths of the attacked undefended model."""
    from lib import study

    return study.curves(frame[frame["series"].eq(UNDEFENDED) & frame["world"].eq("P")])


def table(frame: "DataFrame") -> "DataFrame":
    """One line a setting: accuracy, lift and attack success in per cent, with 95% t intervals over
    pairs, trigger AUC, and epsilon with its adjacency in words. `frame`: attacked rows of `named`.
    """
    import pandas as pd

    lines = []
    for arm, group in frame.groupby("arm", sort=False):
        lines.append({"setting": arm, "accuracy, %": 100 * group["accuracy"].mean(),
                      "lift, points": judgement.level(group, "lift"),
                      "attack success, %": judgement.level(group, "success"),
                      "trigger AUC": group["trigger_auc"].mean(), "epsilon": _epsilon(group)})
    return pd.DataFrame(lines)


def _epsilon(group: "DataFrame") -> str:
    epsilon = group["epsilon"].mean()
    if epsilon != epsilon:
        return "–"
    return "no guarantee" if math.isinf(epsilon) else f"{epsilon:.3g}, {group['adjacency'].iloc[0]}"


def least(frame: "DataFrame") -> str:
    """In words: the lift without a defence, and the most accurate setting with a guarantee."""
    means = frame.groupby("arm")[["accuracy", "lift", "epsilon"]].mean()
    private = means[means["epsilon"] < math.inf]
    if private.empty or UNDEFENDED not in means.index:
        return ""
    plain, best = (100 * means.loc[name] for name in (UNDEFENDED, private["accuracy"].idxmax()))
    return (f"Without a defence: {plain['accuracy']:.0f}% accurate, {plain['lift']:.0f} points of"
            f" lift. The most accurate setting with a guarantee, {best.name}, keeps"
            f" {best['accuracy']:.0f}% and {best['lift']:.0f} points.")


def confused(frame: "DataFrame") -> str:
    """In words: the setting whose attack success holds most that needs no trigger."""
    means = frame.groupby("arm")[["natural", "collateral", "success"]].mean().dropna()
    if means.empty:
        return ""
    without = means["natural"] + means["collateral"]
    name = without.idxmax()
    return (f"Most is confused without any trigger by {name}: {100 * without[name]:.1f} points of"
            f" its attack success of {100 * means.at[name, 'success']:.1f}%.")


def plane(frame: "DataFrame") -> "DataFrame":
    """The defended rows with `series`, which says what the number is that `setting` holds."""
    def place(row: "Series") -> tuple[str, float]:
        if row["epsilon"] < math.inf:
            return f"{row['series']} (by {row['adjacency']} ε)", float(f"{row['epsilon']:.2g}")
        return f"{row['series']} without noise (by threshold)", _set(row, "defence.threshold")

    places = [place(row) for _, row in frame.iterrows()]
    return frame.assign(series=[name for name, _ in places], setting=[at for _, at in places])


def differences(frame: "DataFrame", *, metric: str = "lift") -> "DataFrame":
    """`matched` for every defence: one line a setting and pair, with `series`, `level`, `arm`.

    `frame`: of `named`, the recorded undefended rows among them.
    """
    points = defended(frame[frame["world"].eq("P")])
    found = matched.matched(points, path(frame), metric=metric)
    return found.assign(**{name: points[name].to_numpy() for name in ("series", "level", "arm")})


def judged(apart: "DataFrame") -> dict[str, tuple[Verdict, Verdict]]:
    """By setting whether more or less of the backdoor is left than by stopping early: alone, and
    after Holm's correction over all settings. `apart`: of `differences`."""
    alone = {str(arm): _sign(rows.per_unit(group, "difference"))
             for arm, group in apart.groupby("arm", sort=False)}
    return {arm: (alone[arm], one) for arm, one in zip(alone, holm(list(alone.values())),
                                                       strict=True)}


def _sign(values: "Series") -> Verdict:
    found = judgement.estimate(values, bounds=rows.DIFFERENCE)
    return verdict(found, 0, beyond="either", control_passed=True, bounds=rows.DIFFERENCE)


def readings(frame: "DataFrame") -> "DataFrame":
    """One line a setting: accuracy, its lift and plain SGD's when it first was as accurate, their
    difference and what that says; beside it the difference in trigger AUC. `frame`: of `named`."""
    import pandas as pd

    by_lift, by_auc = (differences(frame, metric=name) for name in ("lift", "trigger_auc"))
    lines, verdicts = [], judged(by_lift)
    for arm, group in by_lift.groupby("arm", sort=False):
        numbers = [100 * group[name].mean() for name in ("accuracy", "dp", "reference")]
        lines.append((arm, *numbers, _difference(group), _words(*verdicts[str(arm)]),
                      _difference(by_auc[by_auc["arm"].eq(arm)])))
    return pd.DataFrame(lines, columns=COLUMNS)


def _difference(group: "DataFrame") -> str:
    """Mean and interval, and the number of pairs where some have no reference."""
    values = rows.per_unit(group, "difference")
    found = judgement.points(values)
    return found if values.notna().all() else f"{found}, {values.notna().sum()} pairs"


def _words(alone: Verdict, corrected: Verdict) -> str:
    if alone.outcome not in (MORE, LESS):
        return "–" if alone.n == 0 else "indistinguishable"
    return alone.outcome if corrected.outcome == alone.outcome else f"{alone.outcome}, uncorrected"


def finding(apart: "DataFrame") -> str:
    """How many settings leave more, and how many less; one at a time, and corrected."""
    found = [both for both in judged(apart).values() if both[0].n]
    if not found:
        return ""
    alone, corrected = ({word: sum(one.outcome == word for one in verdicts)
                         for word in (MORE, LESS)} for verdicts in zip(*found, strict=True))
    return (f"Of {len(found)} settings {alone[MORE]} leave more of the backdoor than plain SGD"
            f" stopped as accurate and {alone[LESS]} less, each by its own 95% interval; after"
            f" Holm's correction {corrected[MORE]} and {corrected[LESS]}.")
