"""Measuring D1a: both arms as they are tuned for clean accuracy, anew in each tuning draw.

A draw is a held-out tenth of the private images with seeds of its own, on clean data. It chooses a
learning rate for each arm. Then DP-SGD at the end of its training stands beside plain SGD when it
first was as accurate, instance by instance, and draws are averaged. The frozen interval is over
instances alone; beside it stand each draw, where a near-tie between two rates shows, and an
interval that takes the draws as drawn anew.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lib import goals
from lib.papers.ours import envelopes
from lib.papers.ours.envelopes import POINT
from lib.papers.ours.matched import LEVEL, matched
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Beside, Claim, Frames, Measurement, Part
from lib.verdicts.verdict import Verdict, verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

RATE, DRAW, ARM = "training.lr", "draw", "arm"
DRAWS = 3  # at least, by the frozen protocol
METRICS = {"lift": "lift", "effect": "backdoor effect", "trigger_auc": "trigger AUC"}
# what the attacked rows share with the tuning rows
SAME = (*rows.PLACE, "precision", "training.optimizer", "training.epochs", "training.batch_size",
        "training.schedule", "training.momentum", "training.weight_decay")
WIDEST = math.sqrt(10) * 1.1  # step of a grid of rates: half a decade, as 0.003 and 0.01 are


def arms(frame: "DataFrame") -> "Series":
    """The arm of each row: "plain SGD", "clip only", "label noise", or "DP-SGD z" by its noise."""
    def name(row: "Series") -> str:
        if row["defence.name"] != "dpsgd":
            return str(row["defence.name"]).replace("_", " ")
        noise = row["defence.noise_multiplier"]
        if row["defence.clip"] and noise:
            return f"{envelopes.PRIVATE} {noise:g}"
        return "clip only" if row["defence.clip"] else envelopes.PLAIN
    return frame.apply(name, axis=1) if len(frame) else frame["key"].astype(str)


def accuracies(frame: "DataFrame") -> "DataFrame":
    """Clean accuracy on the held-out tenth: a line an arm and draw, a column a learning rate."""
    held = frame[frame["status"].eq("ok") & frame["split"].str.startswith("tune")
                 & frame["weights"].eq("last")]
    held = held.assign(**{ARM: arms(held), DRAW: held["split"]})
    return held.pivot_table(index=[ARM, DRAW], columns=RATE, values="accuracy", sort=False)


def chosen(found: "DataFrame") -> "DataFrame":
    """The best rate of each arm and draw, and what speaks against it.

    `found`: of `accuracies`. Columns arm, draw, training.lr, and `problem`: "" or that the rate is
    at an end of its grid, or that the grid is coarser than half a decade.
    """
    import pandas as pd

    lines = []
    for (arm, draw), line in found.iterrows():
        known = line.dropna().sort_index()
        best, rates = known.idxmax(), list(known.index)
        coarse = any(b / a > WIDEST for a, b in itertools.pairwise(rates))
        at_end = best in (rates[0], rates[-1])
        problem = "at an end of the grid" if at_end else "coarse grid" if coarse else ""
        lines.append((arm, draw, best, problem))
    return pd.DataFrame(lines, columns=[ARM, DRAW, RATE, "problem"])


def differences(attacked: "DataFrame", curves: "DataFrame", choices: "DataFrame", *,
                metric: str = "lift") -> "DataFrame":
    """`matched` for each draw's rates: one line an instance, noise level and draw.

    `attacked`, `curves`: rows of world P and their paths, of one training but for the rate.
    """
    import pandas as pd

    attacked, found = attacked.assign(**{ARM: arms(attacked)}), []
    plain = choices[choices[ARM].eq(envelopes.PLAIN)].set_index(DRAW)[RATE]
    for _, choice in choices[choices[ARM].str.startswith(envelopes.PRIVATE)].iterrows():
        if choice[DRAW] not in plain.index:
            continue
        of = {arm: attacked[attacked[ARM].eq(arm) & attacked[RATE].eq(rate)]
              for arm, rate in ((choice[ARM], choice[RATE]),
                                (envelopes.PLAIN, plain[choice[DRAW]]))}
        reference = curves[curves["key"].isin(of[envelopes.PLAIN]["key"])]
        found.append(matched(of[choice[ARM]], reference, metric=metric).assign(
            **{DRAW: choice[DRAW], RATE: choice[RATE], "plain rate": plain[choice[DRAW]]}))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(
        columns=[*rows.PAIR, LEVEL, "difference", "missing", DRAW, RATE, "plain rate"])


def held_out(tuning: "DataFrame") -> "DataFrame":
    """Of tuning rows: one line an arm and draw, with the accuracy at each rate and the rate
    `chosen`."""
    found = accuracies(tuning)
    return found.reset_index().merge(chosen(found), on=[ARM, DRAW]).drop(
        columns="problem").rename(columns={RATE: "chosen"})


def problems(choices: "DataFrame") -> str:
    """In words: which draws chose a rate at an end of a grid, or from a coarse one."""
    lines = choices.loc[choices["problem"].ne(""), [ARM, DRAW, "problem"]]
    return lines.to_string(index=False) if len(lines) else "none"


def by_noise(attacked: "DataFrame") -> "DataFrame":
    """The rows of DP-SGD, with `series`: noise multiplier and epsilon in words."""
    private = attacked[envelopes.families(attacked).eq(envelopes.PRIVATE)]
    return private.assign(series=[
        f"{envelopes.PRIVATE}, noise {noise:g} (ε {epsilon:.2g})"
        for noise, epsilon in zip(private[LEVEL], private["epsilon"], strict=True)])


def spread(ends: "DataFrame") -> str:
    """In words: between which lifts the learning rate moves the noise level that it moves most, of
    the rates within a point of that level's best accuracy. `ends`: of `by_noise`."""
    most, words = -math.inf, ""
    for name, group in ends.groupby("series", sort=False):
        means = group.groupby(RATE)[["accuracy", "lift"]].mean()
        lift = means.loc[means["accuracy"] >= means["accuracy"].max() - POINT, "lift"]
        if lift.max() - lift.min() > most:
            most = lift.max() - lift.min()
            words = (f"{name}: within a point of the best accuracy, rate {lift.idxmin():g} leaves"
                     f" {100 * lift.min():.1f} points of lift and rate {lift.idxmax():g} leaves"
                     f" {100 * lift.max():.1f}.")
    return words


def references(paths: "DataFrame", choices: "DataFrame") -> dict[str, "DataFrame"]:
    """Plain SGD's recorded paths at each rate that a draw chose for it, by name."""
    rates = sorted(set(choices.loc[choices[ARM].eq(envelopes.PLAIN), RATE]))
    return {f"{envelopes.PLAIN}, rate {rate:g}": paths[paths[RATE].eq(rate)] for rate in rates}


def other_paths(frames: Iterable["DataFrame"], favourites: Mapping[str, float]
                ) -> dict[str, "DataFrame"]:
    """The recorded paths of arms without noise in the gradient, each at its favourite rate."""
    from lib import study

    found = {}
    for frame in frames:
        last = frame[frame["weights"].eq("last")]
        for name, group in last.groupby(arms(last), sort=False):
            if name in favourites:
                at = group[group[RATE].eq(favourites[name])]
                found[f"{name}, rate {favourites[name]:g}"] = study.curves(at)
    return found


def by_draw(found: "DataFrame") -> "DataFrame":
    """One line a noise level and draw: the rates, and the difference in points with its interval.

    `found`: of `differences`.
    """
    import pandas as pd

    return pd.DataFrame(
        [{"noise": level, "draw": draw, "rate of DP-SGD": group[RATE].iloc[0],
          "rate of plain SGD": group["plain rate"].iloc[0],
          "difference in lift": judgement.points(rows.per_unit(group, "difference").to_numpy())}
         for (level, draw), group in found.groupby([LEVEL, DRAW])],
        columns=["noise", "draw", "rate of DP-SGD", "rate of plain SGD", "difference in lift"])


def measure(frames: Frames, claim: Claim) -> Measurement:
    """D1a: the mean difference over a pair's draws at each noise level.

    Beside it each draw by itself, and an interval that takes the draws as drawn anew, as well as
    trigger AUC and backdoor effect. Not measured where the protocol is not kept.
    """
    whole = frames[claim.notebook]
    choices, attacked = compared(whole)
    choices = of_families(choices)
    if choices.empty or attacked.empty:
        return judgement.unmeasured(claim)
    problem = _problem(choices)
    if problem:
        return replace(judgement.unmeasured(claim), note=problem)
    passed = control(attacked, choices, claim.control)
    rows_of, curves = _with_effect(frames, claim.notebook, attacked)
    tables = {name: differences(rows_of, curves, choices, metric=name) for name in METRICS}

    def judge(part: Part, metric: str) -> Verdict:
        return judgement.decide(part, rows.per_unit(_at(tables[metric], part), "difference"),
                                passed=passed, column=metric)

    beside = [(f"{name}, {part.name}", judge(part, metric), None)
              for metric, name in METRICS.items() for part in claim.direction]
    beside += _draws_beside(tables["lift"], claim, passed)
    return Measurement(judgement.combined(claim.direction, judge, "lift"), None, tuple(beside),
                       envelopes.described(attacked), attacked["key"].nunique(),
                       "; ".join(filter(None, (_anew(beside), _rates(choices),
                                               _left_out(tables["lift"])))))


def control(attacked: "DataFrame", choices: "DataFrame", least: float) -> bool | None:
    """Whether the undefended backdoor was there, at the rates that plain SGD was tuned to."""
    tuned_to = choices.loc[choices[ARM].eq(envelopes.PLAIN), RATE]
    plain = attacked[arms(attacked).eq(envelopes.PLAIN) & attacked[RATE].isin(tuned_to)]
    return judgement.shows(plain, least)


def control_of(whole: "DataFrame", least: float) -> bool | None:
    """The same for rows of which nothing was chosen yet; without tuning the most accurate rate."""
    choices, attacked = compared(whole)
    if len(choices):
        return control(attacked, choices, least)
    plain = attacked[envelopes.families(attacked).eq(envelopes.PLAIN)]
    return envelopes.control(plain, least)


def _problem(choices: "DataFrame") -> str:
    """In words, where the frozen protocol is not kept: draws, and grids whose ends win."""
    few = [f"{arm}: {len(group)} tuning draws of {DRAWS}"
           for arm, group in choices.groupby(ARM, sort=False) if len(group) < DRAWS]
    return "; ".join(few + [f"{line[ARM]}, {line[DRAW]}: best rate {line[RATE]:g} {line['problem']}"
                            for _, line in choices[choices["problem"].ne("")].iterrows()])


def _at(found: "DataFrame", part: Part) -> "DataFrame":
    return found[found[LEVEL].eq(float(part.name.split()[-1])) & found["difference"].notna()]


def _anew(beside: list[Beside]) -> str:
    """What is left of the word where the tuning draws are a second random factor."""
    words = [found.outcome for name, found, _ in beside if name.startswith("draws drawn anew")
             and found is not None]
    if not words:
        return ""
    return f"with the tuning draws drawn anew, by noise level: {', '.join(words)}"


def _draws_beside(found: "DataFrame", claim: Claim, passed: bool | None) -> list[Beside]:
    """Each draw by itself, and the draws as a second random factor."""
    lines: list[Beside] = []
    for part in claim.direction:
        at = _at(found, part)
        lines += [(f"draw {draw}, {part.name}", judgement.decide(
            part, rows.per_unit(group, "difference"), passed=passed, column="lift"), None)
            for draw, group in at.groupby(DRAW)]
        if at[DRAW].nunique() > 1:
            lines.append((f"draws drawn anew, {part.name}", verdict(
                over_draws(at), part.threshold, beyond=part.beyond, control_passed=passed,
                n=at[DRAW].nunique(), unit=part.unit), None))
    return lines


def over_draws(found: "DataFrame") -> tuple[float, float, float]:
    """Mean and 95% interval with pairs and draws both drawn anew: the variances of both means add
    up, with the degrees of freedom of the draws (few, so that it errs to the wide side)."""
    from scipy.stats import t

    pairs, draws = rows.per_unit(found, "difference"), found.groupby(DRAW)["difference"].mean()
    half = t.ppf(0.975, len(draws) - 1) * math.sqrt(
        pairs.var() / len(pairs) + draws.var() / len(draws))
    return float(pairs.mean()), float(pairs.mean() - half), float(pairs.mean() + half)


def _with_effect(frames: Frames, notebook: str, attacked: "DataFrame"
                 ) -> tuple["DataFrame", "DataFrame"]:
    """The attacked rows and their paths, with the backdoor effect where relabelled twins are."""
    whole = frames[notebook]
    same = whole[whole["twin"].isin(attacked["twin"]) & whole["weights"].eq("last")
                 & whole["status"].eq("ok")]
    curves = envelopes.paths_of(frames, notebook, same)
    curves = goals.parts(curves[curves["weights"].eq("last")])
    return goals.parts(same), curves[curves["key"].isin(attacked["key"])]


def of_families(choices: "DataFrame") -> "DataFrame":
    """The choices of plain SGD and of DP-SGD, without those of other arms."""
    return choices[choices[ARM].astype(str).str.startswith((envelopes.PRIVATE, envelopes.PLAIN))]


def compared(whole: "DataFrame") -> tuple["DataFrame", "DataFrame"]:
    """(what each tuning draw chose, the attacked rows that were trained as in the tuning, the rate
    apart; last weights). Both of one set-up and one training; empty where it is not measured."""
    attacked = envelopes.attacked(whole)
    attacked = attacked[attacked["weights"].eq("last")]
    tuned = whole[whole["split"].astype(str).str.startswith("tune")]
    if attacked.empty or tuned.empty:
        return none_chosen(), attacked
    alike = [attacked.merge(group[list(SAME)].drop_duplicates(), on=list(SAME))
             for _, group in tuned.groupby(list(SAME), dropna=False)]
    attacked = max(alike, key=len)
    tuned = tuned.merge(attacked[list(SAME)].drop_duplicates(), on=list(SAME))
    return chosen(accuracies(tuned)), attacked


def favourites(choices: "DataFrame") -> dict[str, float]:
    """The rate that most draws chose, by arm; of several the lowest."""
    return {str(arm): float(group[RATE].mode().iloc[0])
            for arm, group in choices.groupby(ARM, sort=False)}


def none_chosen() -> "DataFrame":
    """A table of choices without any."""
    import pandas as pd

    return pd.DataFrame(columns=[ARM, DRAW, RATE, "problem"])


def _rates(choices: "DataFrame") -> str:
    """The rates that the draws chose, in words."""
    return "rates by tuning draw: " + "; ".join(
        f"{arm} {', '.join(f'{rate:g}' for rate in group[RATE])}"
        for arm, group in choices.groupby(ARM, sort=False))


def _left_out(found: "DataFrame") -> str:
    """How many comparisons have no reference, and why."""
    reasons = found.loc[found["missing"].ne(""), "missing"].value_counts()
    return "; ".join(f"{count} of {len(found)} comparisons {why}" for why, count in reasons.items())
