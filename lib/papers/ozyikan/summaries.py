"""The tables of notebooks 40 and 41: one line a setting, means over attack instances, under a
reader's headings.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lib.defences.smoothing import ceiling, vote_radius
from lib.papers.ozyikan.certified import (
    BUDGET,
    CEILING,
    CERTIFIED,
    CONFIRMED,
    COUNT,
    DP_NOISE,
    FLIPS,
    MEDIAN,
    NOISE,
    OTHER_FLIPS,
    PRINTED,
    RADIUS,
    SHARE,
    TRUTH,
)
from lib.papers.ozyikan.partitions import PARTS

if TYPE_CHECKING:
    from pandas import DataFrame, Series

FEWEST = 3  # instances of an interval: of two it covers nearly all there is
CONFIDENCE = 0.999  # 1 - alpha, of every certificate here
EACH, POISONS, UNION = "facts.each", "facts.poisons", "facts.certified_union"
HEADINGS = {
    SHARE: "poisoned share", NOISE: "noise", DP_NOISE: "DP noise", PARTS: "k",
    "attack.target": "target class", "attack.images": "poisoned images",
    "defence.models": "models", "training.lr": "rate",
    "floor": "target without trigger", "success": "attack success",
    CERTIFIED: "certified at all", UNION: "after correction", PRINTED: "as printed",
    TRUTH: "true label, triggered", MEDIAN: "median model", RADIUS: "largest radius",
    CEILING: "ceiling of the radius", COUNT: "predictions certified", BUDGET: "norm of all",
    EACH: "norm of one", "facts.epsilon_model": "epsilon of one model", "epsilon": "epsilon of all",
    "facts.touched": "parts touched", "facts.size_min": "smallest part",
    "facts.size_max": "largest part", "facts.certified_1": "answers certified, 1 image",
    "facts.certified_median": "median radius",
}


def means(frame: "DataFrame", by: Iterable[str], columns: Iterable[str], *,
          intervals: Iterable[str] = ("success", "lift")) -> "DataFrame":
    """Means of columns over instances; those of `intervals` with their 95% t interval, which stops
    where the measure does, from `FEWEST` instances on."""
    import pandas as pd

    by, columns = list(by), list(columns)
    lines = [dict(zip(by, level, strict=True)) | {
        name: _cell(group[name], name, name in intervals) for name in columns}
        for level, group in frame.groupby(by, sort=False)]
    return headed(pd.DataFrame(lines, columns=[*by, *columns]))


def _cell(values: "Series", name: str, with_interval: bool) -> float | str:
    from lib.figures.means import interval

    known = values.astype(float).dropna()
    if not with_interval or len(known) < FEWEST:
        return known.mean()
    found = interval(known, within=(-1 if name == "lift" else 0, 1))
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]".replace("-", "\N{MINUS SIGN}")


def headed(frame: "DataFrame") -> "DataFrame":
    """The table under a reader's headings."""
    return frame.rename(columns=HEADINGS)


def by_setup(frames: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Attacked rows of several set-ups, by name in the column `setup`."""
    import pandas as pd

    return pd.concat([frame[frame["world"].eq("P")].assign(setup=name)
                      for name, frame in frames.items()], ignore_index=True)


def at_largest(frame: "DataFrame") -> "DataFrame":
    """The rows at the largest poisoned share."""
    return frame[frame[SHARE].eq(frame[SHARE].max())]


def rates(chosen: Mapping[str, Mapping[float, float]]) -> "DataFrame":
    """Chosen learning rates: a line a set-up, a column a noise level. chosen: {name: {noise:
    rate}}."""
    import pandas as pd

    levels = sorted({noise for found in chosen.values() for noise in found})
    return pd.DataFrame([
        {"set-up": name} | {f"noise {level:g}": found.get(level) for level in levels}
        for name, found in chosen.items()])


def held_out(frame: "DataFrame", by: str) -> "DataFrame":
    """Clean accuracy on held-out images: a line a value of `by`, a column a learning rate."""
    return headed(frame.pivot_table(index=by, columns="training.lr", values="accuracy",
                                    aggfunc="mean", dropna=False).reset_index())


def single_votes(frames: Iterable["DataFrame"]) -> "DataFrame":
    """Runs of DPA, a line a run."""
    import pandas as pd

    columns = ["dataset", PARTS, SHARE, "accuracy", CERTIFIED, RADIUS, "facts.size_min",
               "facts.size_max", BUDGET, "facts.touched", "success", "lift"]
    return headed(pd.concat(list(frames), ignore_index=True)[columns]).rename(
        columns={"norm of all": "samples changed", "certified at all": "certified, 1 change"})


def defences(rab: "DataFrame", dpa: "DataFrame") -> "DataFrame":
    """Attacked rows of both, with `series`: which defence at which setting."""
    import pandas as pd

    both = pd.concat([
        rab.assign(series=[f"RAB, noise {noise:g}" for noise in rab[NOISE]]),
        dpa.assign(series=[f"DPA, {k:g} parts" for k in dpa[PARTS]])], ignore_index=True)
    return both[both["world"].eq("P")]


def budgets(frame: "DataFrame") -> "DataFrame":
    """What the attack spends, what RAB can certify and does certify; predictions: clean and
    triggered test images together."""
    return means(frame[frame["world"].eq("P")], [NOISE, SHARE],
                 [POISONS, EACH, BUDGET, CEILING, RADIUS, COUNT]).rename(
                     columns={POISONS: "poisoned images"})


def ceilings(counts: Iterable[int]) -> "DataFrame":
    """The largest radius there can be, in units of the noise, by rule and number of models."""
    import pandas as pd

    return pd.DataFrame([{
        "models": count, "as published": ceiling(count, 1.0, CONFIDENCE),
        "corrected, two classes": ceiling(count, 1.0, CONFIDENCE, correction="union", classes=2),
        "corrected, ten classes": ceiling(count, 1.0, CONFIDENCE, correction="union"),
        "votes, two classes": float(vote_radius([[count, 0]], 1.0, CONFIDENCE)[0]),
    } for count in counts])


def private(frame: "DataFrame") -> "DataFrame":
    """RAB on DP-SGD models by DP noise and poisoned share, with both epsilons (∞: no guarantee)."""
    attacked = frame[frame["world"].eq("P")]
    one = attacked["facts.epsilon_model"].where(attacked["facts.epsilon_model"].notna(), math.inf)
    return means(attacked.assign(**{"facts.epsilon_model": one}), [DP_NOISE, SHARE], [
        "facts.epsilon_model", "epsilon", "accuracy", "success", "lift", CERTIFIED])


def below_features(frame: "DataFrame") -> "DataFrame":
    """Noise on pixels below features, a line a run."""
    return headed(frame[[NOISE, "defence.models", "accuracy", "success", CERTIFIED, EACH, BUDGET,
                         RADIUS]])


def tested(frame: "DataFrame", *, budget: str = "norm of all") -> "DataFrame":
    """Guarantees held against a second ensemble without the poison: sums over instances.

    budget: what its column counts; its mean is shown.
    """
    frame = frame.assign(predictions=frame["tested"] + frame["population"], retrainings=1,
                         dataset=[name.partition(":")[0] for name in frame["dataset"]])
    counts = ["retrainings", "predictions", COUNT, FLIPS, CONFIRMED, OTHER_FLIPS]
    found = frame.groupby(["dataset", "attack.images"], as_index=False, sort=False).agg(
        {BUDGET: "mean"} | {name: _sum for name in counts if name in frame})
    return headed(found.rename(columns={
        BUDGET: budget, COUNT: "certified against it", FLIPS: "of these, flipped",
        CONFIRMED: "confirmed", OTHER_FLIPS: "others flipped"})).convert_dtypes()


def _sum(values):
    """The sum, or nothing where nothing is measured."""
    return values.sum(min_count=1)


def tested_finding(frame: "DataFrame") -> str:
    """In words: how many certified predictions flipped, and how many others."""
    if frame.empty or frame[COUNT].isna().all():
        return ""
    count, flips, others = (int(frame[name].sum()) for name in (COUNT, FLIPS, OTHER_FLIPS))
    return (f"Of {count:,} predictions certified against the poison {flips or 'none'} came out"
            f" differently without it; of the others {others:,} did.")
