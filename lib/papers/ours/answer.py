"""The report's question answered in three sentences, each with a note of intervals and conditions.

Both are made from rows: the words follow the numbers.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from lib.papers.ours import envelopes, matched, tuned
from lib.papers.ozyikan import certified
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Frames

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from lib.metrics import Interval

SAME = 0.02  # of lift: an interval around 0 within these bounds is "about the same"
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
        judgement.estimate(rows.per_unit(group, "success").to_numpy()) for group in (plain, *levels)
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
    over_all, at_top = _at_best(frames)
    best = judgement.estimate(over_all)
    apart = f"{abs(100 * best.mean):.1f} points"
    return Answer(
        f"Stopping plain SGD early {_as_good(best)}: at equal accuracy, each with the settings that"
        f" leave least, what the trigger adds differs by {apart}.",
        f"DP-SGD minus plain SGD, lift, each with the settings that leave least:"
        f" {judgement.points(over_all)} points over all accuracies that both reach,"
        f" {judgement.points(at_top)} over the last five points of them."
        f" {_as_tuned(table)} {_by_rate(attacked)}")


def _as_good(best: "Interval") -> str:
    """What stopping early does, by the interval of DP-SGD minus plain SGD."""
    if best.low > 0 or best.high < 0:
        return "does more" if best.low > 0 else "does less"
    if max(best.high, -best.low) > SAME:
        return "is indistinguishable from it"
    return "does about the same without any guarantee"


def _as_tuned(table: "DataFrame") -> str:
    """The differences as both were tuned, and what the choice of a rate makes of them."""
    found = [judgement.estimate(rows.per_unit(group, "difference").to_numpy())
             for _, group in table.groupby(matched.LEVEL)]
    more, less = sum(one.low > 0 for one in found), sum(one.high < 0 for one in found)
    draws = [group["difference"].mean() for _, group in
             table[table[matched.LEVEL].eq(table[matched.LEVEL].min())].groupby(tuned.DRAW)]
    return (
        f"Both as tuned for accuracy, DP-SGD leaves less at {less} of {len(found)} noise levels and"
        f" more at {more} ({_listed(map(judgement.in_points, found))} points). The size is luck: at"
        f" the first level {_points(min(draws))} to {_points(max(draws))}, by which rate of plain"
        " SGD a tuning draw chose.")


def _at_best(frames: Frames) -> tuple["Series", "Series"]:
    """The mean difference between the envelopes, one value an instance: over all accuracies, as
    D1b has it, and over the last five points."""
    attacked = envelopes.attacked(frames["11_dpsgd"])
    curves = envelopes.paths_of(frames, "11_dpsgd", attacked[envelopes.named(attacked)])
    found = envelopes.apart(curves)
    top = found[envelopes.LEVEL].ge(found[envelopes.LEVEL].max() - envelopes.UPPER[-1] - 1e-9)
    return envelopes.means(found), envelopes.means(found[top])


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
    total, certain = f"{sum(asked.values()):,}", sum(counts.values())
    said = (f"Of {total} predictions {_some(certain)} are certified" if certain else
            f"Certificates do not reach this attack: of {total} predictions none is certified")
    return Answer(
        f"{said} against the poison itself.",
        f"With {low:.0%} to {high:.0%} of all images poisoned: {each}. Test images count once for"
        " each ensemble that they are put to.")


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
