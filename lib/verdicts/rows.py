"""Choosing rows for a claim: by their role (undefended, a sweep over noise), never by exact
numbers.

Frames are what `lib.study.run` returns: one line a run, the run's fields with dotted names. A
setting is chosen by how many attack instances it was measured on and by clean accuracy, never by
attack success.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib import goals
from lib.study import columns
from lib.verdicts.claim import Claim, Published

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from lib.metrics import Bounds

PLACE = ("dataset", "train_size", "public", "features", "model")  # what makes a set-up
PAIR = ["attack.base", "attack.target"]
SEEDS = ["attack_seed", "init_seed", "noise_seed"]
FULL = 50000  # training images of the smaller of MNIST and CIFAR-10
FIGURE_FRACTION = 0.5  # Razmi et al. relabel half of the base class
HEADLINE_FRACTION = 0.1  # where attack success cannot come from relabelling alone
SEPARATION = "2 AUC - 1"  # the trigger AUC on a scale on which no backdoor is 0
# attack success above that of the clean twin on images without the trigger
EXCESS = "success - natural"
SETTING = "setting number"  # of a prepared frame
BESIDE = ("success", "effect", SEPARATION)  # metrics shown beside lift
DIFFERENCE = (-2.0, 2.0)  # the range of a difference of two lifts


def bounds(column: str) -> "Bounds | None":
    """The least and the largest value of a metric; None where it has no such ends."""
    return (-1.0, 1.0) if column in (SEPARATION, EXCESS) else columns.bounds(column)


def difference(column: str) -> "Bounds":
    """The range of a difference of two values of a metric; of an unknown one, of two lifts."""
    low, high = bounds(column) or (-1.0, 1.0)
    return low - high, high - low


def measured(
    frame: "DataFrame", *, world: str | None = "P", fraction: float | None = None
) -> "DataFrame":
    """The rows with a result, on the test set, of one training world and one poisoned share (None:
    any).
    """
    keep = frame["status"] == "ok"
    for name, wanted in (("split", "test"), ("weights", "last")):
        if name in frame:
            keep &= frame[name] == wanted
    if world is not None:
        keep &= frame["world"] == world
    if fraction is not None:
        keep &= (frame["attack.fraction"] - fraction).abs() < 1e-9
    return frame[keep]


def undefended(frame: "DataFrame") -> "DataFrame":
    """Plain training: no clipping and no noise (the defence `dpsgd` with both switched off)."""
    return frame[
        (frame["defence.name"] == "dpsgd")
        & (optional(frame, "defence.clip") == False)  # noqa: E712 (a column)
        & (optional(frame, "defence.noise_multiplier") == 0)
    ]


def clipped(frame: "DataFrame") -> "DataFrame":
    """DP-SGD rows that clip, with the noise multiplier given as a setting (0: clipping alone)."""
    return frame[
        (frame["defence.name"] == "dpsgd")
        & (optional(frame, "defence.clip") == True)  # noqa: E712
        & optional(frame, "defence.noise_multiplier").notna()
    ]


def prepared(frame: "DataFrame") -> "DataFrame":
    """The poisoned rows on the test set, with `effect`, `natural` (from their twins), `SEPARATION`,
    `EXCESS` and `SETTING`.
    """
    found = goals.parts(measured(frame, world=None)).reset_index(drop=True)
    return found.assign(
        **{
            SEPARATION: 2 * found["trigger_auc"] - 1,
            EXCESS: found["success"] - found["natural"],
            SETTING: setting_number(found),
        }
    )


def optional(frame: "DataFrame", name: str) -> "Series":
    """A column of the frame; NaN throughout where no row's defence has it."""
    import pandas as pd

    return frame[name] if name in frame else pd.Series(float("nan"), index=frame.index)


def unit(frame: "DataFrame") -> "Series":
    """The attack instance of each row: the pair of classes.

    The attack seed where there is one pair only.

    Seeds within a pair are averaged, not counted: they share the pair, which varies most.
    """
    # no base (all to one) is a name too; an empty column of numbers would stay one of numbers
    base, target = (frame[name].map(str).astype(object) for name in PAIR)
    pairs = base + " to " + target
    return pairs if pairs.nunique() > 1 else frame["attack_seed"].astype(str)


def per_unit(frame: "DataFrame", column: str) -> "Series":
    """Mean of `column` per attack instance, as a Series."""
    return frame[column].astype(float).groupby(unit(frame)).mean()


def settings(frame: "DataFrame", *, but: tuple[str, ...] = ()) -> list[str]:
    """Columns that fix how a row was made, but its instance, its seeds, its world and `but`."""
    free = {
        *but,
        *PAIR,
        "attack.stamp",
        "attack.relabel",
        "training.checkpoints",
        "defence.epsilon",
    }
    return [
        name
        for name in frame.columns
        if name not in free
        and (
            name in (*PLACE, "precision", "start")
            or name.startswith(("training.", "defence.", "attack."))
        )
    ]


def setting_number(frame: "DataFrame") -> "Series":
    """A number for each row, equal for rows that were made alike.

    The epsilon asked for counts as well.
    """
    names = settings(frame) + [name for name in ("defence.epsilon",) if name in frame]
    return frame.groupby(names, dropna=False, sort=False).ngroup()


def sweep(frame: "DataFrame", axis: str, *, but: tuple[str, ...] = ()) -> "DataFrame":
    """The longest run of rows that differ in `axis` (and `but`) alone, and in instances and seeds.

    Empty without any.
    """
    if frame.empty:
        return frame
    groups = frame.groupby(settings(frame, but=(axis, *but)), dropna=False, sort=False)
    return max(
        (group for _, group in groups), key=lambda group: (group[axis].nunique(), len(group))
    )


def curve(frame: "DataFrame", axis: str, column: str) -> "DataFrame":
    """Table of means: one line an instance that has every value of `axis`, one column a value,
    ascending.
    """
    means = frame[column].astype(float).groupby([unit(frame).rename("unit"), frame[axis]]).mean()
    return means.dropna().unstack().dropna()


# ---------------------------------------------------------------- the set-up


def differences(line: "Series", published: Published) -> list[str]:
    """In words, where a row's set-up differs from the published one."""
    words = [
        f"{name} {line[column]} for {allowed[0]}"
        for name, column, allowed in (
            ("data", "dataset", published.datasets),
            ("features", "features", published.features),
            ("model", "model", published.models),
        )
        if allowed and line[column] not in allowed
    ]
    size, public = line["train_size"], line["public"]
    if size is not None and size == size and size < (published.train_size or FULL):
        words.append(f"first {int(size)} training images")
    return words + (
        [f"{int(public)} images kept for the public part"] if public != published.public else []
    )


def setup_label(line: "Series", published: Published) -> str:
    """ "as published", "substitute: what differs", or "effect only: ..." for drawn data."""
    words = differences(line, published)
    if not words:
        return "as published"
    kind = "effect only" if str(line["dataset"]).startswith("strokes") else "substitute"
    return f"{kind}: {', '.join(words)}"


def places(frame: "DataFrame") -> list:
    """One frame for each set-up (data, sizes, features, model).

    Drawn data only where there is nothing else.
    """
    if frame.empty:
        return []
    found = [group for _, group in frame.groupby(list(PLACE), dropna=False, sort=False)]
    real = [group for group in found if not str(group["dataset"].iloc[0]).startswith("strokes")]
    return real or found


def nearest(frame: "DataFrame", published: Published) -> "DataFrame":
    """The set-up nearest to the published one (ties: the most rows).

    The empty frame without any.
    """
    found = places(frame)
    if not found:
        return frame
    return min(found, key=lambda group: (len(differences(group.iloc[0], published)), -len(group)))


def other_features(line: "Series", published: Published) -> str:
    """Why a distance of accuracy says nothing about the published one; "" on its features."""
    if not published.features or line["features"] in published.features:
        return ""
    return (
        f"what a method costs in accuracy depends on the features: {line['features']}, not "
        f"{published.features[0]}"
    )


def attacked(frame: "DataFrame", claim: Claim, fraction: float) -> "DataFrame":
    """The rows at one poisoned share, in the set-up nearest to the published one."""
    return nearest(measured(frame, fraction=fraction), claim.setup)


# ---------------------------------------------------------------- settings


def together(groups: Iterable["DataFrame"]) -> "DataFrame":
    """The rows of several groups as one frame; a frame without rows where none has any."""
    import pandas as pd

    groups = list(groups)
    return pd.concat([group for group in groups if len(group)] or groups[:1])


def one_setting(frame: "DataFrame") -> "DataFrame":
    """The setting measured on the most instances; among those the most accurate on average."""
    if frame.empty:
        return frame
    groups = (group for _, group in frame.groupby(setting(frame), sort=False))
    return max(
        groups, key=lambda group: (unit(group).nunique(), group["accuracy"].astype(float).mean())
    )


def setting(frame: "DataFrame") -> "Series":
    """The number of each row's setting: how it was made, apart from its instance, its seeds and its
    world.
    """
    if SETTING in frame:
        return frame[SETTING]
    return setting_number(frame)


def by_setting(frame: "DataFrame", *columns: str) -> list:
    """A table for each column: one line an instance, one column a setting, in the same order.

    No gaps.

    Instances without any row are not in it, and settings that some instance lacks are left out.
    """
    means = frame[list(columns)].astype(float).groupby([unit(frame), setting(frame)]).mean()
    tables = [means[name].unstack().dropna(how="all") for name in columns]
    whole = [set(table.columns[table.notna().all()]) for table in tables]
    keep = sorted(set.intersection(*whole))
    return [table[keep] for table in tables]


def setting_line(frame: "DataFrame", number: int) -> "Series":
    """The first row of a setting that `by_setting` numbered."""
    return frame[setting(frame) == number].iloc[0]
