"""Paired differences that notebooks 40 and 41 draw: a line an attack instance and comparison, with
`what` is compared and the `difference`, a share.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib.papers.ozyikan import certified, partitions
from lib.papers.ozyikan.certified import CERTIFIED, NOISE, SHARE, TRUTH
from lib.verdicts import contrasts, judgement

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def changes(frame: "DataFrame") -> "DataFrame":
    """What more poison and more noise do to RAB's accuracies, pair by pair: a line a pair and
    comparison, with `what` and `difference`. frame: rows of `certified.prepared`.
    """
    swept = certified.most_models(certified.plain(frame[frame["world"].eq("P")]), SHARE,
                                  but=(NOISE,))
    if swept is None:
        return _long({})
    (few, many), (low, high) = (certified.ends(swept, axis) for axis in (SHARE, NOISE))
    least = swept[swept[NOISE].eq(low)]
    shares, noises = f"{many:.0%} minus {few:.0%} poison", f"noise {high:g} minus {low:g}"
    return _long({
        f"clean images certified at all,\n{shares}": certified.change(
            least, SHARE, CERTIFIED, (few, many)),
        f"triggered images by true label,\n{shares}": certified.change(
            least, SHARE, TRUTH, (few, many)),
        f"clean accuracy, median model,\n{noises}": certified.change(
            swept, NOISE, certified.MEDIAN, (low, high)),
        f"clean accuracy, their average,\n{noises}": certified.change(
            swept, NOISE, "accuracy", (low, high))})


def less_dpa(rab: "DataFrame", dpa: "DataFrame", column: str) -> "DataFrame":
    """`column` of RAB at its least noise minus that of DPA against the same attacks, at the largest
    shared share of poison, by DPA's number of parts."""
    rab, dpa = (frame[frame["world"].eq("P")] for frame in (rab, dpa))
    rab = rab[rab[NOISE].eq(rab[NOISE].min())]
    share = max({*rab[SHARE]} & {*dpa[SHARE]}, default=None)
    rab, dpa = (frame[frame[SHARE].eq(share)] for frame in (rab, dpa))
    both = {f"DPA, {k:g} parts": contrasts.paired(rab, group, column)
            for k, group in dpa.groupby(partitions.PARTS)}
    return _long({name: one["own"] - one["other"] for name, one in both.items()})


def _long(found: Mapping[str, "Series"]) -> "DataFrame":
    import pandas as pd

    lines = [
        values.dropna().rename("difference").rename_axis("pair").reset_index().assign(what=name)
        for name, values in found.items()]
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame(
        columns=["pair", "difference", "what"])


def finding(found: "DataFrame") -> str:
    """The differences in words, in points."""
    lines = [f"{' '.join(name.split())}: {judgement.points(group['difference'])} points"
             for name, group in found.groupby("what", sort=False)]
    return f"{'; '.join(lines)}." if lines else ""
