"""Certificates on one axis: how many training images may be poisoned in place.

RAB withstands r images while sqrt(r) times the largest norm of one is below its radius. DPA
withstands half of its radius: an image changed in place is one deletion and one insertion. Parts by
place, and smoothed models inside of them, lose one vote an image. RAB and smoothed models compare
with the same labels without the pattern, the others with clean data.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lib import privacy
from lib.metrics import mean_interval
from lib.papers.ozyikan.certified import NOISE, SHARE
from lib.papers.ozyikan.partitions import PARTS

if TYPE_CHECKING:
    from pandas import DataFrame

    from lib.training import Training

RAB, DPA, PLACE, BOTH = "RAB, noise {:g}", "DPA, {:g} parts", "parts by place", "DPA over RAB"
LARGEST_NORM, INSTANCE = "facts.each_max", ["attack.target", "attack_seed"]


def in_images(rab: "DataFrame", dpa: "DataFrame", place: "DataFrame", both: "DataFrame", *,
              share: float) -> "DataFrame":
    """Certified shares of clean test images by the number of images: a line an instance, guarantee
    (`series`) and `radius`, now a number of images."""
    import pandas as pd

    rab, dpa = (frame[frame[SHARE].eq(share)] for frame in (rab, dpa))
    parts = [_counted(group, RAB.format(noise), "nominal", _by_norm)
             for noise, group in rab.groupby(NOISE)]
    parts += [_counted(group, DPA.format(k), "votes", lambda line: line["radius"] // 2)
              for k, group in dpa.groupby(PARTS)]
    parts += [_counted(place, PLACE, "votes", lambda line: line["radius"]),
              _counted(both, BOTH, "together", lambda line: line["radius"])]
    return pd.concat(parts).groupby(["series", *INSTANCE, "radius"], as_index=False, sort=False)[
        "correct"].max()


def _counted(frame: "DataFrame", name: str, rule: str, count: Callable[[Any], float]
             ) -> "DataFrame":
    from lib import study

    found = study.certified(frame[frame["world"].eq("P")])
    found = found[found["rule"].eq(rule) & found["images"].eq("clean")]
    images = [count(line) for line in found.to_dict("records")]
    return found.assign(series=name, radius=images)[["series", *INSTANCE, "radius", "correct"]]


def _by_norm(line: dict[str, Any]) -> float:
    """The most images of the largest norm that stay strictly inside the radius."""
    return max(0, math.ceil((line["radius"] / line[LARGEST_NORM]) ** 2) - 1)


def averages(found: "DataFrame") -> "DataFrame":
    """Means over instances at every number of images: a line a guarantee and number. found: of
    `in_images`."""
    import pandas as pd

    lines = []
    for name, group in found.groupby("series", sort=False):
        table = group.pivot_table(index="radius", columns=INSTANCE, values="correct")
        # between two numbers it is what the larger one certifies, past the last one nothing
        mean = table.bfill().fillna(0.0).mean(axis=1)
        lines.append(mean.rename("correct").reset_index().assign(series=name))
    return pd.concat(lines, ignore_index=True) if lines else found


def at(found: "DataFrame", name: str, count: int) -> float:
    """The share that a guarantee certifies against so many images, mean over instances."""
    own = found[found["series"].eq(name)]
    known = own[own["radius"] >= count].groupby(INSTANCE)["correct"].max()
    number = own.groupby(INSTANCE).ngroups
    return known.sum() / number if number else math.nan


def guarantees(by_norm: dict[float, "DataFrame"], counts: Iterable[int]) -> "DataFrame":
    """What each guarantee certifies against a number of images: a line a guarantee, for those that
    depend on the trigger's norm a line a norm. by_norm: frames of `in_images`."""
    import pandas as pd

    counts, first = list(counts), next(iter(by_norm))
    lines = [
        {"guarantee": name, "trigger": f"norm {norm:g}" if _smoothed(name) else "any",
         "compared with": "same labels" if _smoothed(name) else "clean data",
         "holds": "up to alpha, over the noise" if _smoothed(name) else "always"}
        | {f"{count} images": at(found, name, count) for count in counts}
        for norm, found in by_norm.items() for name in dict.fromkeys(found["series"])
        if norm == first or _smoothed(name)]
    return pd.DataFrame(lines)


def _smoothed(name: str) -> bool:
    return name.startswith("RAB") or name == BOTH


def finding(found: "DataFrame", counts: Iterable[int]) -> str:
    """In words: the best guarantee against clean data, and RAB's, for numbers of images."""
    names = list(dict.fromkeys(found["series"]))
    rab = [name for name in names if name.startswith("RAB")]
    others = [name for name in names if not _smoothed(name)]
    if not (rab and others):
        return ""
    lines = [f"against {count} poisoned image{'s' * (count > 1)} votes certify up to"
             f" {_best(found, others, count)} of the clean test images, RAB"
             f" {_best(found, rab, count)}" for count in counts]
    return f"{'; '.join(lines)}.".replace("a", "A", 1)


def _best(found: "DataFrame", names: Iterable[str], count: int) -> str:
    return f"{100 * max(at(found, name, count) for name in names):.0f}%"


def caps(frame: "DataFrame", counts: Iterable[int], training: "Training", records: int
         ) -> "DataFrame":
    """DP-SGD by noise multiplier: what it measures, and the cap on its attack success for a number
    of images in place (twice as many adjacent steps under add-remove).

    The cap starts from the upper end of the 95% interval of the triggered rate of models trained on
    clean data; without it there is no cap. records: private training images.
    """
    import pandas as pd

    rate, steps = training.batch_size / records, training.steps(records)
    counts, lines = list(counts), []
    for noise, group in frame.groupby("defence.noise_multiplier"):
        own, clean = (group[group["world"].eq(world)] for world in "PC")
        natural = mean_interval(clean["success"].astype(float), bounds=(0, 1))
        lines.append({
            "noise multiplier": noise, "epsilon": group["epsilon"].max(),
            "accuracy": own["accuracy"].mean(), "attack success": own["success"].mean(),
            "clean training": natural.mean} | {
                f"cap, {count} images": math.nan if math.isnan(natural.high)
                else privacy.dpsgd_attack_success_cap(
                    min(1.0, natural.high), group["noise_multiplier"].iloc[0], rate, steps,
                    2 * count) for count in counts})
    return pd.DataFrame(lines)
