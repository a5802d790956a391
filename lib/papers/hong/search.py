"""When a searched attack counts as a success: the paper's rule, and two that a bound can speak of.

The paper counts a target if *any* poison has it misclassified at *any* epoch while the relative
accuracy drop stays small. That is the best of a thousand looks (20 poisons, 50 epochs), so the same
rule is applied to clean re-trainings, as many as there are poisons: its *natural* rate. A guarantee
of DP speaks of one poison chosen beforehand, at the end of the training. Here *misclassified* is
narrower than in the paper: the target gets the label that the attacker wants.
"""

import functools
import math
from typing import TYPE_CHECKING

from lib import ledger
from lib.papers.hong.bases import CASES
from lib.papers.hong.targeted import PLAIN, VANILLA, Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy import ndarray
    from pandas import DataFrame, Series

PAPER, CHOSEN, MEAN = "any poison, any epoch", "one poison, last epoch", "mean poison, last epoch"
RULES = (PAPER, CHOSEN, MEAN)
LARGEST_RAD = 0.05  # of the paper's rule, against the clean re-training at the same epoch
CASE, BASE, AGAIN, ARM, RATE, MULTI = "case", "base", "again", "arm", "rate", "multi"
SEED = "seed"  # of the base
TARGET, TRIES, ACCURACY, NEEDED = "target", "poisons tried", "clean accuracy", "poisons needed"
MODELS = {"linear": "softmax regression", "mlp-256-256": "MLP", "cnn-16-32": "CNN"}
NOISE, SAMPLED, STEPS = "noise multiplier", "sample rate", "steps"  # of the re-training, if private


def natural(rule: str) -> str:
    """The column of a rule's natural rate."""
    return f"{rule}, natural"


# ---------------------------------------------------------------- the rules

def judged(attacked: "DataFrame", clean: "DataFrame") -> "dict[str, float]":
    """One target by every rule: columns of `outcomes`.

    attacked, clean: `study.tries` of a run and of its clean twin. Without a usable poison there is
    no success to speak of: NaN, and 0 `poisons tried`. Of the clean re-trainings as many count as
    there were poisons. `poisons needed`: the fewest with which the paper's rule is met, NaN if it
    never is. Raises ValueError if the two were not measured at the same points.
    """
    names = [*RULES, *map(natural, RULES)]
    reference = _wide(clean, "accuracy")
    found = {ACCURACY: float(reference[:, -1].mean()), NEEDED: math.nan, TRIES: 0.0}
    if attacked.empty:
        return found | dict.fromkeys(names, math.nan)
    hits, drop = _wide(attacked, "success"), _drop(_wide(attacked, "accuracy"), reference[0])
    looks, none = _wide(clean, "success")[: len(hits)], _drop(reference, reference[0])[: len(hits)]
    met = _met(hits, drop)
    poisons = attacked.drop_duplicates("try").sort_values("try")["poisons"].to_numpy()
    return (found | _by_rules(hits, met) | {natural(rule): value for rule, value in
                                            _by_rules(looks, _met(looks, none)).items()}
            | {TRIES: float(len(hits)), NEEDED: float(poisons[met].min()) if met.any()
               else math.nan})


def _wide(tries: "DataFrame", column: str) -> "ndarray":
    """Values by try and point."""
    return tries.sort_values(["try", "epoch"])[column].to_numpy(float).reshape(
        tries["try"].nunique(), -1)


def _drop(accuracy: "ndarray", reference: "ndarray") -> "ndarray":
    """The relative accuracy drop at each point."""
    if accuracy.shape[1] != len(reference):
        raise ValueError(f"{accuracy.shape[1]} points of a poisoned re-training, {len(reference)} "
                         "of its clean twin: expected as many; train both with one `every`")
    return 1 - accuracy / reference


def _met(hits: "ndarray", drop: "ndarray") -> "ndarray":
    """Whether each try meets the paper's rule at any of its points."""
    import numpy as np

    return np.asarray(((hits > 0.5) & (drop <= LARGEST_RAD)).any(1))


def _by_rules(hits: "ndarray", met: "ndarray") -> "dict[str, float]":
    return {PAPER: float(met.any()), CHOSEN: float(hits[0, -1]), MEAN: float(hits[:, -1].mean())}


# ---------------------------------------------------------------- a line a target

def outcomes(frame: "DataFrame") -> "DataFrame":
    """One line per target, model, setting and kind of search: what `judged` finds, and how it was
    trained. A run without its clean twin is left out.

    frame: rows of `study.run`. `arm`: the setting's name; where base and re-training differ, both;
    a smaller learning rate is named. `multi`: growing numbers of poisons, not one at a time.
    """
    import pandas as pd

    rows = _measured(frame)
    clean = rows[rows["world"].eq("C")].set_index("twin")["key"]
    rows = rows[rows["world"].eq("P") & rows["twin"].isin(clean.index)].reset_index(drop=True)
    names = [CASE, BASE, SEED, AGAIN, RATE, MULTI, TARGET]
    judgements = [_of_pair(key, clean[twin]) for key, twin in zip(rows["key"], rows["twin"])]
    found = pd.DataFrame(judgements, columns=[ACCURACY, NEEDED, TRIES, *RULES,
                                              *map(natural, RULES), NOISE, SAMPLED, STEPS])
    told = pd.DataFrame({
        CASE: [f"{MODELS.get(model, model)}, {data}" for model, data in
               zip(rows["model"], rows["dataset"])],
        BASE: [_start(key).name for key in rows["key"]],
        SEED: rows["init_seed"].astype(int),  # base and re-training have the same
        AGAIN: [_setting(line).name if _epsilon(line) is None else f"ε {_epsilon(line):g}"
                for _, line in rows.iterrows()],
        RATE: rows["training.lr"].astype(float), MULTI: rows["attack.counts"].map(len) > 0,
        TARGET: rows["attack.target"].astype(int)}, columns=names)
    return _with_arms(pd.concat([told, found], axis=1))


def _measured(frame: "DataFrame") -> "DataFrame":
    """The searches among the rows; those of figure 7 hold one poison, and are not among them."""
    rows = frame[frame["attack.name"].eq("feature_collision") & frame["status"].eq("ok")
                 & frame["weights"].eq("last")]
    return rows[~rows["anatomy"].astype(bool)].drop_duplicates("key")


@functools.cache  # rows with a result never change, and several claims ask for the same ones
def _of_pair(key: str, twin: str) -> "dict[str, float]":
    import pandas as pd

    from lib import study

    attacked, clean = (study.tries(pd.DataFrame({"key": [one]})) for one in (key, twin))
    given = ((ledger.find(key)[0] or {}).get("privacy") or {}).get("given_start") or {}
    known = {NOISE: "noise_multiplier", SAMPLED: "sample_rate", STEPS: "steps"}
    return judged(attacked, clean) | {
        name: math.nan if given.get(field) is None else float(given[field])
        for name, field in known.items()}


@functools.cache
def _start(key: str) -> Setting:
    """The setting of the base that a run starts from, from its row."""
    row = ledger.find(key)[0] or {}
    defence = ((row.get("run") or {}).get("start") or {}).get("defence")
    return PLAIN if defence is None else _setting(
        {f"defence.{name}": value for name, value in defence.items()})


def _setting(line: "Series | dict") -> Setting:
    """The paper's setting of a row: absolute noise from noise multiplier and norm."""
    if not line["defence.clip"]:
        return PLAIN
    norm, times = (float(line[f"defence.{name}"] or 0) for name in
                   ("max_grad_norm", "noise_multiplier"))
    return Setting(norm, round(norm * times, 9))


def _epsilon(line: "Series") -> float | None:
    value = line.get("defence.epsilon")
    return None if value is None or math.isnan(value) else float(value)


def _with_arms(found: "DataFrame") -> "DataFrame":
    usual = found.groupby(CASE)[RATE].transform("max")
    return found.assign(**{ARM: [_arm(line, slower=line[RATE] < most) for (_, line), most in
                                 zip(found.iterrows(), usual)]})


def _arm(line: "Series", *, slower: bool) -> str:
    if slower:
        return f"rate {line[RATE]:g}"
    if line[BASE] == line[AGAIN] or line[AGAIN].startswith("ε"):
        return line[AGAIN]
    return f"{line[BASE]}, then {line[AGAIN]}"


def of(found: "DataFrame", case: str | None = None, *, multi: bool = False) -> "DataFrame":
    """The lines of one model (None: all) and one kind of search."""
    kept = found[found[MULTI].eq(multi)]
    return kept if case is None else kept[kept[CASE].eq(case)]


def case_name(case: str) -> str:
    """How the lines name a case, a key of `bases.CASES`."""
    own = CASES[case]
    return f"{MODELS.get(own.model, own.model)}, {own.dataset}"


def table(found: "DataFrame", column: str) -> "DataFrame":
    """`column` by target and arm."""
    return found.pivot_table(index=TARGET, columns=ARM, values=column, sort=False)


def rad(found: "DataFrame") -> "DataFrame":
    """What a setting itself costs, by target and arm: the relative drop of the clean re-training's
    accuracy below the vanilla one's."""
    clean = table(found, ACCURACY)
    if VANILLA not in clean:
        return clean * math.nan
    return 1 - clean.div(clean[VANILLA], axis=0)


def paired(found: "DataFrame", arm: str, other: str, column: str = PAPER) -> "Series | None":
    """One arm minus another, target by target; None if either is missing."""
    wide = table(found, column)
    if arm not in wide or other not in wide:
        return None
    return (wide[arm] - wide[other]).dropna()


def usable(found: "DataFrame") -> "DataFrame":
    """The lines of targets that could be attacked at all: the denominators."""
    return found[found[TRIES] > 0]


def shares(found: "DataFrame", columns: "Sequence[str]" = RULES) -> "DataFrame":
    """For each arm and column: hits, n (targets with a usable poison), and the 95% Clopper-Pearson
    interval; a line each. `columns` of yes or no."""
    import pandas as pd

    from lib import metrics

    lines = []
    for (case, multi, arm), group in usable(found).groupby([CASE, MULTI, ARM], sort=False):
        for column in columns:
            hits, n = int(group[column].sum()), len(group)
            low, high = metrics.clopper_pearson(hits, n)
            lines.append((case, multi, arm, column, hits, n, hits / n, low, high))
    return pd.DataFrame(lines, columns=[CASE, MULTI, ARM, "rule", "hits", "n", "share", "low",
                                        "high"])
