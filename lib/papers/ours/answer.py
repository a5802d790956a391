"""The report's question answered in three sentences, each made from rows: the words follow the
numbers.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib.papers.ours import matched
from lib.papers.ozyikan import certified
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Frames

if TYPE_CHECKING:
    from pandas import DataFrame

UNMEASURED = "not measured: the published rows of notebook {} are missing"
OPEN = (
    "Learning rates that these rows do not vary turn the sign in a review's re-trainings "
    "(notebook 11), and on ImageNet features a prototype finds less at DP-SGD's best rate; "
    "claims D1a and D1b will measure it."
)


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
    dp, plain = matched.compared(frame)
    if dp.empty or plain.empty:
        return missing
    return [_falls(dp, plain), _matched(frame, frames, dp, plain)]


def _falls(dp: "DataFrame", plain: "DataFrame") -> str:
    """Attack success and clean accuracy over epsilon."""
    levels = [group for _, group in dp.groupby(matched.LEVEL)]
    epsilons = [f"{group['epsilon'].mean():.2g}" for group in levels]
    undefended, *success = (
        judgement.estimate(rows.per_unit(group, "success").to_numpy()) for group in (plain, *levels)
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
        f" base class poisoned; attack success is of the {dp['population'].iloc[0]:,.0f} stamped"
        f" test images of that class, means and 95% intervals over {rows.unit(dp).nunique()} class"
        f" pairs; delta {_power(line['delta'])}, {line['adjacency']}, Poisson batches,"
        f" {str(line['accountant']).upper()})."
    )


def _matched(frame: "DataFrame", frames: Frames, dp: "DataFrame", plain: "DataFrame") -> str:
    """Lift under DP-SGD minus that of plain SGD at the same accuracy, by level."""
    curves = frames.get("11_dpsgd/curves")
    if curves is None:
        from lib import study

        curves = study.curves(frame)
    table = matched.matched(dp, curves[curves["key"].isin(plain["key"])], metric="lift")
    table = table[table["difference"].notna()]
    found = [
        judgement.estimate(rows.per_unit(group, "difference").to_numpy())
        for _, group in table.groupby(matched.LEVEL)
    ]
    if not found:
        return "At equal clean accuracy: " + UNMEASURED.format("11")
    more, less = sum(one.low > 0 for one in found), sum(one.high < 0 for one in found)
    points = _listed(
        f"{100 * one.mean:+.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]" for one in found
    ).replace("-", "\N{MINUS SIGN}")
    line, rate = dp.iloc[0], _listed(f"{value:g}" for value in sorted(set(plain["training.lr"])))
    return (
        f"Whether that is more than stopping early buys is open. On features "
        f"{line['features']}, against plain SGD at its tuned rate ({rate}) and stopped when it "
        "first was as accurate, lift under DP-SGD minus lift of plain SGD is "
        f"{points} points: more at {more} of these {len(found)} levels, less at {less}. {OPEN}"
    )


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
