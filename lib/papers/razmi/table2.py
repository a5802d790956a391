"""Table 2 of Razmi et al.: which settings of each method stop the attack, and at what price."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib import goals
from lib.defences.dpsgd import DPSGD
from lib.metrics import twins
from lib.papers.razmi import arms
from lib.papers.razmi.arms import UNDEFENDED, Arm
from lib.study import recipes
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.training import Training
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

METHODS = ("DP-SGD", "PATE", "ALIBI", "LP-2ST")  # in the order of the paper's table
ABOVE = "above natural"
CRITERIA = {"success": "attack success", ABOVE: ABOVE, "lift": "lift"}
CLEAN = "success, never attacked"  # stamped images that the clean twin calls target
RANGES = {CLEAN: (0.0, 1.0), "success": (0.0, 1.0), ABOVE: (-1.0, 1.0), "lift": (-1.0, 1.0)}
# epsilon and learning rate of the trainings that are timed; neither changes the time
TIMED = {UNDEFENDED: (None, 0.01), "DP-SGD": (2.0, 0.03)}
TIMED_EPSILON = 1.0  # of the label-private methods
TIMED_SEEDS = 1000  # training seeds of their own, for which no teachers are known


def dp_sgd(levels: Iterable[Sequence[float]], *, epochs: float) -> list[Arm]:
    """DP-SGD at [noise multiplier, learning rate], ..."""
    return [{"defence": DPSGD(z), "training": Training("sgd", rate, epochs=float(epochs),
                                                       batch_size=512)} for z, rate in levels]


def noise_free_pate(thresholds: Iterable[float], teachers: int, **trainings: Mapping[str, Any]
                    ) -> list[Arm]:
    """PATE without noise: without a threshold, then at each. trainings: of teacher and student."""
    return [arms.pate(teachers, threshold=votes, teacher=trainings["teacher"],
                      student=trainings["student"]) for votes in (None, *thresholds)]


def label_private(rates: arms.Rates, epsilons: Iterable[float], **settings: Any) -> list[Arm]:
    """Each method of `rates` at each epsilon. settings: as `arms.at_epsilon` takes them."""
    budgets = list(epsilons)
    return [arms.at_epsilon({name: rates[name]}, epsilon, **settings)[name]
            for name in rates for epsilon in budgets]


def scan(base: Run, settings: Iterable[Arm], pairs: Sequence[Sequence[int]]) -> list[Run]:
    """Every setting on every pair, attacked (P) and clean (C)."""
    return [world for arm in settings for one in instances(base.with_(**arm), pairs)
            for world in worlds(one, "PC")]


def judged(frame: "DataFrame") -> "DataFrame":
    """The attacked rows that have a clean twin, with `method`, `setting`, `pair`, the parts of
    attack success, what is above the natural part, and the clean twin's own rate."""
    found = arms.named(goals.parts(frame))
    clean = twins.of(frame, found, "C", ["success"])["success"]
    return found.assign(method=found["series"], setting=[_setting(row) for _, row in
                                                         found.iterrows()],
                        **{ABOVE: found["success"] - found["natural"], CLEAN: clean})


def _setting(row: "Series") -> str:
    """A row's setting in words, as each method counts it."""
    if row["series"] == "DP-SGD":
        return f"noise {row['defence.noise_multiplier']:g}"
    if row["series"] == "PATE":
        votes = row["defence.threshold"]
        return "no threshold" if votes != votes or votes is None else f"threshold {votes:g}"
    return "" if row["series"] == UNDEFENDED else f"ε {row['defence.epsilon']:g}"


def summary(found: "DataFrame") -> "DataFrame":
    """One line a method and setting: epsilon, accuracy and the three criteria as means.

    found: of `judged`.
    """
    means = found.groupby(["method", "setting"], sort=False)[
        ["epsilon", "accuracy", *CRITERIA, CLEAN]].mean()
    return means.reset_index()


def table(found: "DataFrame") -> "DataFrame":
    """`summary` for a reader: criteria in points with their 95% t intervals, each made for the
    range of its column."""
    lines = summary(found)
    groups = dict(iter(found.groupby(["method", "setting"])))
    keys = list(zip(lines["method"], lines["setting"], strict=True))
    texts = {heading: [judgement.points(
        rows.per_unit(groups[key], column), sign="", bounds=RANGES[column]) for key in keys]
             for column, heading in {CLEAN: CLEAN, **CRITERIA}.items()}
    return lines[["method", "setting", "epsilon", "accuracy"]].assign(**texts)


def weakest(found: "DataFrame", allowed: float) -> "DataFrame":
    """Table 2: for each method and criterion the most accurate setting whose mean meets it, with
    its accuracy; a dash where none does."""
    import pandas as pd

    lines = summary(found)
    return pd.DataFrame([{"method": method} | {
        f"{heading} at most {allowed:.0%}": _most_accurate(
            lines[lines["method"].eq(method) & lines[column].le(allowed)])
        for column, heading in CRITERIA.items()} for method in METHODS])


def _most_accurate(good: "DataFrame") -> str:
    if good.empty:
        return "–"
    best = good.sort_values("accuracy").iloc[-1]
    return f"{best['setting']}: {best['accuracy']:.1%}"


def finding(found: "DataFrame", allowed: float) -> str:
    """In words: how many settings meet the criterion by lift, and the most accurate of them."""
    lines = summary(found)
    lines = lines[lines["method"].ne(UNDEFENDED)].dropna(subset="lift")
    good = lines[lines["lift"].le(allowed)]
    if lines.empty:
        return ""
    count = (f"{len(good)} of {len(lines)} settings leave a mean lift of at most"
             f" {100 * allowed:g} point{'' if allowed == 0.01 else 's'}")
    if good.empty:
        return f"{count}."
    best = good.sort_values("accuracy").iloc[-1]
    return (f"{count}; the most accurate is {best['method']}, {best['setting']},"
            f" {best['accuracy']:.1%}.")


def timed(base: Run, rates: arms.Rates, pate: Arm, pairs: Sequence[Sequence[int]], *, epochs: float,
          lp2st: Mapping[str, Any]) -> list[Run]:
    """One training of each method for every pair, with seeds of its own: for `run(alone=True)`."""
    known = {name: recipes.arm(name, epsilon, lr=rate, epochs=epochs)
             for name, (epsilon, rate) in TIMED.items()}
    known |= {name: recipes.arm(name, TIMED_EPSILON, lr=tried[0][1], epochs=epochs,
                                **(lp2st if name == "LP-2ST" else {}))
              for name, tried in rates.items()}
    return [one.with_(init_seed=TIMED_SEEDS + one.attack_seed)
            for arm in [*known.values(), pate] for one in instances(base.with_(**arm), pairs)]


def times(frame: "DataFrame") -> "DataFrame":
    """Mean seconds of a training by method, and as a multiple of the undefended one's."""
    found = arms.named(frame).groupby("series", sort=False)["seconds"].mean().reset_index()
    return found.rename(columns={"series": "method"}).assign(
        **{"times undefended": found["seconds"] / found["seconds"].iloc[0]})


def strictest(found: "DataFrame") -> "DataFrame":
    """Of each method the rows of the setting with the least mean attack success.

    found: of `judged`.
    """
    import pandas as pd

    lines = summary(found)
    best = [lines.loc[group["success"].idxmin()] for _, group in
            lines[lines["method"].isin(METHODS)].groupby("method")]
    return pd.concat([found[found["method"].eq(one["method"]) & found["setting"].eq(
        one["setting"])] for one in best])
