"""Measuring D1a: both arms as they are tuned for clean accuracy, anew in each tuning draw.

A draw is a held-out tenth of the private images with seeds of its own, on clean data. It chooses a
learning rate for each arm. Then DP-SGD at the end of its training stands beside plain SGD when it
first was as accurate, instance by instance, and draws are averaged: a near-tie between two rates
shows as a spread over draws, not as a choice that nobody sees.
"""

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lib.papers.ours import envelopes
from lib.papers.ours.matched import LEVEL, matched
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

RATE, DRAW, ARM = "training.lr", "draw", "arm"
WIDEST = math.sqrt(10) * 1.1  # step of a grid of rates: half a decade, as .003 and .01 are


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
    """D1a: the mean difference over a pair's draws at each noise level."""
    choices, attacked = compared(frames[claim.notebook])
    if choices.empty or attacked.empty:
        return judgement.unmeasured(claim)
    curves = _last(envelopes.paths_of(frames, claim.notebook, attacked))
    plain_rates = choices.loc[choices[ARM].eq(envelopes.PLAIN), RATE]
    plain = attacked[arms(attacked).eq(envelopes.PLAIN) & attacked[RATE].isin(plain_rates)]
    passed = judgement.shows(plain, claim.control)
    tables = {name: differences(attacked, curves, choices, metric=name)
              for name in ("lift", "trigger_auc")}

    def judge(part, metric: str) -> Verdict:
        found = tables[metric]
        at = found[found[LEVEL].eq(float(part.name.split()[-1])) & found["difference"].notna()]
        return judgement.decide(part, rows.per_unit(at, "difference"), passed=passed)

    direction = judgement.combined(claim.direction, judge, "lift")
    beside = [(f"{name}, {part.name}", judge(part, metric), None)
              for metric, name in (("lift", "lift"), ("trigger_auc", "trigger AUC"))
              for part in claim.direction]
    note = "; ".join(f"{line[ARM]}, {line[DRAW]}: best rate {line[RATE]:g} {line['problem']}"
                     for _, line in choices[choices["problem"].ne("")].iterrows())
    if note:  # the protocol asks for grids whose ends do not win
        return replace(judgement.unmeasured(claim), note=note)
    return Measurement(direction, None, tuple(beside), envelopes.described(attacked),
                       attacked["key"].nunique(), _near_ties(choices))


def compared(whole: "DataFrame") -> tuple["DataFrame", "DataFrame"]:
    """(what each tuning draw chose, the attacked rows that were trained as in the tuning, the rate
    apart; last weights). Both of one set-up; empty where it is not measured."""
    attacked = envelopes.attacked(whole)
    tuned = whole[whole["split"].astype(str).str.startswith("tune")]
    for name in rows.PLACE:
        tuned = tuned[tuned[name].isin(attacked[name])]
    if tuned.empty:
        return none_chosen(), attacked
    same = ("training.epochs", "training.batch_size", "training.schedule", "training.momentum",
            "training.weight_decay", "precision")
    attacked = attacked[attacked["weights"].eq("last")]
    for name in same:
        attacked = attacked[attacked[name].isin(tuned[name])]
        tuned = tuned[tuned[name].isin(attacked[name])]
    return chosen(accuracies(tuned)), attacked


def favourites(choices: "DataFrame") -> dict[str, float]:
    """The rate that most draws chose, by arm; of several the lowest."""
    return {str(arm): float(group[RATE].mode().iloc[0])
            for arm, group in choices.groupby(ARM, sort=False)}


def none_chosen() -> "DataFrame":
    """A table of choices without any."""
    import pandas as pd

    return pd.DataFrame(columns=[ARM, DRAW, RATE, "problem"])


def _last(curves: "DataFrame") -> "DataFrame":
    return curves[curves["weights"].eq("last")]


def _near_ties(choices: "DataFrame") -> str:
    """The rates that the draws chose, in words."""
    used = choices[choices[ARM].str.startswith((envelopes.PRIVATE, envelopes.PLAIN))]
    return "rates by tuning draw: " + "; ".join(
        f"{arm} {', '.join(f'{rate:g}' for rate in group[RATE])}"
        for arm, group in used.groupby(ARM, sort=False))
