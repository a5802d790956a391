"""The report's question answered in three sentences, each made from rows: the words follow the
numbers.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib.papers.ours import envelopes, matched, tuned
from lib.papers.ozyikan import certified
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Frames

if TYPE_CHECKING:
    from pandas import DataFrame

NEAR = 0.01  # of accuracy: rates that cost no more than this count as an alternative
UNMEASURED = "not measured: the published rows of notebook {} are missing"


def answer(frames: Frames) -> list[str]:
    """On DP-SGD, on plain SGD stopped at its accuracy, on certificates.

    `frames`: rows by notebook; without its rows a sentence says so.
    """
    return [*_private(frames), _certificates(frames)]


def _private(frames: Frames) -> list[str]:
    frame = frames.get("11_dpsgd")
    missing = ["DP-SGD: " + UNMEASURED.format("11")]
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


def _falls(dp: "DataFrame", plain: "DataFrame") -> str:
    """Attack success and clean accuracy over epsilon, as tuned."""
    levels = [group for _, group in dp.groupby(matched.LEVEL)]
    epsilons = [f"{group['epsilon'].mean():.2g}" for group in levels]
    undefended, *success = (
        judgement.estimate(rows.per_unit(group, "success").to_numpy(), bounds=(0, 1))
        for group in (plain, *levels)
    )
    accuracy = [group["accuracy"].mean() for group in levels]
    word = (
        "lowers" if max(one.mean for one in success) < undefended.mean else "does not always lower"
    )
    line = dp.iloc[0]
    return (
        f"DP-SGD {word} attack success: from {_interval(undefended)} without it to"
        f" {_listed(map(_interval, success))} at epsilon {_listed(epsilons)}, while clean accuracy"
        f" goes from {_percent(plain['accuracy'].mean())} to {_listed(map(_percent, accuracy))}%"
        f" ({line['dataset']}, features {line['features']}, {line['attack.fraction']:.0%} of the"
        f" base class poisoned, learning rates tuned for accuracy; attack success is of the"
        f" {dp['population'].iloc[0]:,.0f} stamped test images of that class, means and 95%"
        f" intervals over {rows.unit(dp).nunique()} class pairs; delta {_power(line['delta'])},"
        f" {line['adjacency']}, Poisson batches, {str(line['accountant']).upper()})."
    )


def _matched(frames: Frames, attacked: "DataFrame", choices: "DataFrame") -> str:
    """Lift under DP-SGD minus that of plain SGD at the same accuracy, as tuned and at best."""
    curves = envelopes.paths_of(frames, "11_dpsgd", attacked)
    table = tuned.differences(attacked, curves[curves["weights"].eq("last")], choices)
    table = table[table["difference"].notna()]
    found = [
        judgement.estimate(rows.per_unit(group, "difference").to_numpy(), bounds=rows.DIFFERENCE)
        for _, group in table.groupby(matched.LEVEL)
    ]
    if not found:
        return "At equal clean accuracy: " + UNMEASURED.format("11")
    more, less = sum(one.low > 0 for one in found), sum(one.high < 0 for one in found)
    draws = [group["difference"].mean() for _, group in
             table[table[matched.LEVEL].eq(table[matched.LEVEL].min())].groupby(tuned.DRAW)]
    return (
        "Beside plain SGD stopped at the same accuracy, it leaves about what the learning rates"
        f" make it leave. Where each takes the setting that leaves least, lift differs by"
        f" {_at_best(frames)} points. Both as tuned for accuracy, DP-SGD leaves less at {less} of"
        f" {len(found)} noise levels and more at {more}"
        f" ({_listed(map(judgement.in_points, found))} points), but by how much is"
        f" chance: at the first level {_points(min(draws))} to {_points(max(draws))}, by"
        " which rate of plain SGD a tuning draw chose."
        f" {_by_rate(attacked)}"
    )


def _at_best(frames: Frames) -> str:
    """The mean difference between the envelopes, with its interval, as D1b has it."""
    attacked = envelopes.attacked(frames["11_dpsgd"])
    curves = envelopes.paths_of(frames, "11_dpsgd", attacked[envelopes.named(attacked)])
    return judgement.points(envelopes.means(envelopes.apart(curves)).to_numpy())


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


def _certificates(frames: Frames) -> str:
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
        return "Certificates: " + UNMEASURED.format("40 or 41")
    both = [frame[certified.SHARE] for frame in lines.values()]
    low, high = min(one.min() for one in both), max(one.max() for one in both)
    counts = {name: int(frame[certified.COUNT].sum()) for name, frame in lines.items()}
    asked = {
        name: int((frame["tested"] + frame["population"]).sum()) for name, frame in lines.items()
    }
    what = " and ".join(
        f"{name} {'none' if not count else f'{count:,}'} of {asked[name]:,} in {len(lines[name])}"
        " ensembles"
        for name, count in counts.items()
    )
    return (
        f"Predictions that are certified against the poison itself, with {low:.0%} to {high:.0%} of"
        f" all images poisoned: {what}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _interval(one) -> str:
    return f"{_percent(one.mean)}% [{_percent(one.low)}, {_percent(one.high)}]"


def _listed(texts: Iterable[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def _power(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")
