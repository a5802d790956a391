"""The report's question answered in three sentences, each with a note of intervals and conditions.

Both are made from rows: the words follow the numbers.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from lib.papers.ours import envelopes, matched, tuned
from lib.papers.ozyikan import certified, reach
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Frames

if TYPE_CHECKING:
    from pandas import DataFrame

    from lib.metrics import Interval

SAME = 0.03  # of lift: an interval within it is "nearly as well" (a margin chosen after the rows)
NEAR = 0.01  # of accuracy: rates that cost no more than this count as an alternative
UNMEASURED = "not measured: the published rows of notebook {} are missing"


class Answer(NamedTuple):
    """A sentence for the first screen, and a note for whoever wants to know how sure it is."""

    sentence: str
    note: str = ""


def answer(frames: Frames) -> list[Answer]:
    """On DP-SGD, on plain SGD stopped at its accuracy, on certificates.

    `frames`: rows by notebook; without its rows a sentence says so.
    """
    return [*_private(frames), _certificates(frames)]


def _private(frames: Frames) -> list[Answer]:
    frame = frames.get("11_dpsgd")
    missing = [Answer(f"DP-SGD: {UNMEASURED.format('11')}.")]
    if frame is None or frame.empty:
        return missing
    choices, attacked = tuned.compared(frame)
    choices = tuned.of_families(choices)
    if choices["problem"].ne("").any():
        return missing
    rates = tuned.favourites(choices)
    arms = attacked[tuned.RATE].eq(tuned.arms(attacked).map(rates))
    plain = attacked[arms & envelopes.families(attacked).eq(envelopes.PLAIN)]
    dp = attacked[arms & envelopes.families(attacked).eq(envelopes.PRIVATE)]
    if dp.empty or plain.empty:
        return missing
    return [_falls(dp, plain), _matched(frames, attacked, choices)]


def _falls(dp: "DataFrame", plain: "DataFrame") -> Answer:
    """Attack success and clean accuracy over epsilon, as tuned."""
    levels = [group for _, group in dp.groupby(matched.LEVEL)]
    undefended, *success = (
        judgement.estimate(rows.per_unit(group, "success").to_numpy(), bounds=(0, 1))
        for group in (plain, *levels)
    )
    first, line = levels[0], dp.iloc[0]
    cost = 100 * (plain["accuracy"].mean() - first["accuracy"].mean())
    does = "lowers" if success[0].mean < undefended.mean else "does not lower"
    epsilons = [f"{group['epsilon'].mean():.2g}" for group in levels]
    accuracy = [f"{_percent(group['accuracy'].mean())}%" for group in levels]
    return Answer(
        f"DP-SGD {does} a backdoor's success: from {_percent(undefended.mean)}% without privacy to"
        f" {_percent(success[0].mean)}% at epsilon {epsilons[0]}, for {cost:.0f} points of clean"
        " accuracy.",
        f"Attack success {_interval(undefended)} without DP-SGD,"
        f" {_listed(map(_interval, success))} at epsilon {_listed(epsilons)}; clean accuracy"
        f" {_percent(plain['accuracy'].mean())}%, then {_listed(accuracy)}."
        f" {line['dataset']}, features {line['features']}, {line['attack.fraction']:.0%} of the"
        f" base class poisoned, learning rates tuned for clean accuracy. Success counts the"
        f" {dp['population'].iloc[0]:,.0f} stamped test images of that class; means and 95%"
        f" intervals over {rows.unit(dp).nunique()} class pairs. Epsilon: delta"
        f" {_power(line['delta'])}, {line['adjacency']}, Poisson batches,"
        f" {str(line['accountant']).upper()}.")


def _matched(frames: Frames, attacked: "DataFrame", choices: "DataFrame") -> Answer:
    """Lift under DP-SGD minus that of plain SGD at the same accuracy, at best and as tuned."""
    curves = envelopes.paths_of(frames, "11_dpsgd", attacked)
    table = tuned.differences(attacked, curves[curves["weights"].eq("last")], choices)
    table = table[table["difference"].notna()]
    if table.empty:
        return Answer(f"At equal clean accuracy: {UNMEASURED.format('11')}.")
    least, top = _at_best(frames)
    at_top = least[least[envelopes.LEVEL].ge(top - envelopes.UPPER[-1] - 1e-9)]
    apart = envelopes.means(envelopes.differences(at_top))
    plain, private = (
        100 * at_top.loc[at_top[envelopes.FAMILY].eq(family), "lift"].mean()
        for family in (envelopes.PLAIN, envelopes.PRIVATE))
    return Answer(
        "Stopping plain SGD early"
        f" {_as_good(judgement.estimate(apart, bounds=rows.DIFFERENCE))}, without any guarantee:"
        f" with the settings of each that leave least, the trigger adds {plain:.1f} points in place"
        f" of {private:.1f}.",
        "Those settings are chosen by what they leave on other class pairs, and compared over the"
        f" last five points of accuracy that both reach (up to {_percent(top)}%): DP-SGD minus"
        f" plain SGD {judgement.points(apart)}; over all accuracies"
        f" {judgement.points(envelopes.means(envelopes.differences(least)))}, but at most of them"
        f" neither has learnt the trigger. {_as_tuned(table)} {_by_rate(attacked)}")


def _as_good(best: "Interval") -> str:
    """What stopping early does, by DP-SGD minus plain SGD and its interval."""
    if max(best.high, -best.low) < SAME:
        return "can do nearly as well"
    if best.low > 0 or best.high < 0:
        return "can do better" if best.low > 0 else "does worse"
    return "is indistinguishable from it"


def _as_tuned(table: "DataFrame") -> str:
    """The differences as both were tuned, and what the choice of a rate makes of them."""
    found = [judgement.estimate(rows.per_unit(group, "difference").to_numpy(),
                                bounds=rows.DIFFERENCE)
             for _, group in table.groupby(matched.LEVEL)]
    draws = [group["difference"].mean() for _, group in
             table[table[matched.LEVEL].eq(table[matched.LEVEL].min())].groupby(tuned.DRAW)]
    anew = [tuned.over_draws(group) for _, group in table.groupby(matched.LEVEL)
            if group[tuned.DRAW].nunique() > 1]
    decided = sum(low > 0 or high < 0 for _, low, high in anew)
    return (
        "Both as tuned for accuracy, DP-SGD minus plain SGD is"
        f" {_listed(map(judgement.in_points, found))} points by noise level. The size is luck: at"
        f" the first level {_points(min(draws))} to {_points(max(draws))}, by which rate of plain"
        f" SGD a tuning draw chose; with the draws as a second random factor {decided} of"
        f" {len(anew)} levels are decided.")


def _at_best(frames: Frames) -> tuple["DataFrame", float]:
    """The envelopes as D1b has them, and the largest accuracy that both families reach."""
    attacked = envelopes.attacked(frames["11_dpsgd"])
    curves = envelopes.paths_of(frames, "11_dpsgd", attacked[envelopes.named(attacked)])
    least = envelopes.least(envelopes.at_accuracies(curves))
    both = envelopes.differences(least)[envelopes.LEVEL]
    return least[least[envelopes.LEVEL].isin(set(both))], float(both.max())


def _by_rate(attacked: "DataFrame") -> str:
    """What another learning rate does at the same epsilon and, to a point, the same accuracy: at
    the level where it does most, the difference in lift pair by pair."""
    private, best = attacked[envelopes.families(attacked).eq(envelopes.PRIVATE)], None
    for _, group in private.groupby(matched.LEVEL):
        means = group.groupby(tuned.RATE)[["accuracy", "lift"]].mean()
        near = means.loc[means["accuracy"] >= means["accuracy"].max() - NEAR, "lift"]
        spread = near.max() - near.min()
        if spread > 0 and (best is None or spread > best[0]):
            best = spread, near.idxmin(), near.idxmax(), group
    if best is None:
        return ""
    _, low, high, group = best
    one, other = (group[group[tuned.RATE].eq(rate)] for rate in (low, high))
    apart = matched.paired(other, one, "lift")
    return (
        f"The learning rate decides: at epsilon {group['epsilon'].mean():.2g} a rate of {high:g} in"
        f" place of {low:g} leaves {100 * other['lift'].mean():.1f} points of lift in place of"
        f" {100 * one['lift'].mean():.1f} ({judgement.in_points(apart)}), at"
        f" {100 * other['accuracy'].mean():.1f}% accuracy in place of"
        f" {100 * one['accuracy'].mean():.1f}%."
    )


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _certificates(frames: Frames) -> Answer:
    """How many predictions RAB and DPA certify against a poisoned share."""
    found = {"RAB": frames.get("40_smoothing"), "DPA": frames.get("41_partition")}
    lines = {}
    for name, defence in (("RAB", "smoothing"), ("DPA", "partition")):
        frame = certified.prepared(found[name])
        lines[name] = frame[
            (frame["world"] == "P")
            & (frame["defence.name"] == defence)
            & frame[certified.SHARE].notna()
            & frame[certified.COUNT].notna()
        ]
    if any(frame.empty for frame in lines.values()):
        return Answer(f"Certificates: {UNMEASURED.format('40 or 41')}.")
    shares = [frame[certified.SHARE] for frame in lines.values()]
    low, high = min(one.min() for one in shares), max(one.max() for one in shares)
    counts = {name: int(frame[certified.COUNT].sum()) for name, frame in lines.items()}
    asked = {
        name: int((frame["tested"] + frame["population"]).sum()) for name, frame in lines.items()
    }
    each = " and ".join(
        f"{name} {_some(counts[name])} of {asked[name]:,} in {len(lines[name])} ensembles"
        for name in lines)
    return Answer(
        _reach({name: found[name] for name in lines}, float(low)),
        f"With {low:.0%} to {high:.0%} of all images poisoned they certify: {each}. That is"
        " arithmetic, not evidence: at these settings no radius can be as large as the attack;"
        " RAB's grows with its noise.")


def _reach(frames: Frames, share: float) -> str:
    """How much larger the attack is than the largest radius that each certificate can have, at the
    setting that reaches furthest."""
    rab, dpa = (frame.loc[frame["factor"].idxmin()] for frame in (
        reach.smoothing(frames["RAB"], share), reach.voting(frames["DPA"], share)))
    do = "do not cover" if min(rab["factor"], dpa["factor"]) > 1 else "can cover"
    return (f"Certificates {do} this attack: {share:.0%} poison is {rab['factor']:.1f} times the"
            f" largest radius of RAB at noise {rab['noise']:g}, and {dpa['factor']:.1f} times that"
            f" of DPA with {dpa['k']:g} parts.")


def _some(count: int) -> str:
    return f"{count:,}" if count else "none"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _interval(one) -> str:
    return f"{_percent(one.mean)}% [{_percent(one.low)}, {_percent(one.high)}]"


def _listed(texts: Iterable[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def _power(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")
