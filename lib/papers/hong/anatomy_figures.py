"""What notebook 50 draws of the rows of `anatomy.named`: figure 1, single records, clipped sums."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.papers.hong import anatomy
from lib.verdicts import judgement, numerals

if TYPE_CHECKING:
    from pandas import DataFrame, Series
    from torch import Tensor

HARMLESS = "harmless copies"  # blends of mixing 0: copies of clean images, with their label
ORDERS = "log10 ratio"
DRAWN = (50, 95)  # quantiles
MOST = 6  # points of a drawn path
SHORT = {anatomy.SCRATCH: "scratch", anatomy.RETRAINED: "re-trained", anatomy.INSERTED: "patches"}


def labelled(frame: "DataFrame") -> "DataFrame":
    """With `series` (the strength of the probe in words) and the ratio's order of magnitude."""
    import numpy as np

    found = frame.sort_values("level", kind="stable")
    series = [_strength(scenario, level)
              for scenario, level in zip(found["scenario"], found["level"], strict=True)]
    return found.assign(series=series, **{ORDERS: np.log10(found["ratio"].astype(float))})


def _strength(scenario: str, level: float) -> str:
    if scenario == anatomy.INSERTED:
        return f"{level:.0f} × {level:.0f} pixels"
    return f"mixing {level:g}" if level else HARMLESS


def pictures(images: "Tensor", labels: "Tensor", classes: Sequence[int], mixings: Sequence[float],
             sizes: Sequence[int]) -> tuple["Tensor", list[str]]:
    """Figure 2: one pair at every mixing, then one image with every patch; with their titles."""
    import torch

    from lib.attacks.insertion import Insertion
    from lib.attacks.interpolation import Interpolation

    beneath, above = (images[labels == name][:1] for name in classes)
    blends = [Interpolation(mixing=mixing).blend(beneath, above) for mixing in mixings]
    patched = [Insertion(size=size).trigger(beneath, seed=0) for size in sizes]
    titles = [f"mixing {mixing:g}" for mixing in mixings] + [f"patch {size}" for size in sizes]
    return torch.cat([*blends, *patched]), titles


def covered(sizes: Sequence[int], images: "Tensor") -> str:
    """What share of an image the smallest and the largest patch cover."""
    pixels = images[0, 0].numel()
    least, most = (100 * size**2 / pixels for size in (min(sizes), max(sizes)))
    return f"The patches cover {least:.1f} to {most:.0f}% of an image."


def toy_finding() -> str:
    """Where the three descents of the sketch end, by the loss of clean data there."""
    from lib.figures import sketches

    ends = "; ".join(f"{value:.2f} {name}" for name, value in sketches.final_losses().items())
    return f"Loss of the clean data at the end, on the toy: {ends}."


# ---------------------------------------------------------------- ratios, draw by draw

def orders(paths: "DataFrame") -> "DataFrame":
    """Mean ratio of each vanilla run as an order of magnitude, one line a run; `probe` names it."""
    plain = paths[paths["norm"].eq(anatomy.VANILLA)]
    found = labelled(anatomy.means(plain))
    probe = found["scenario"].map(SHORT) + ", " + found["series"]
    places = found["scenario"].map(list(SHORT).index)
    return found.assign(probe=probe, place=places).sort_values(
        ["place", "level", "draw"], kind="stable").drop(columns="place")


def chosen(found: "DataFrame", mixings: Sequence[float]) -> "DataFrame":
    """The blends of these mixings."""
    blended = found["scenario"].ne(anatomy.INSERTED)
    return found[blended & found["level"].isin(mixings)]


def finding(found: "DataFrame") -> str:
    """What the ratio of harmless copies is, beside that of the strongest blends."""
    texts = []
    for scenario, group in chosen(found, (0.0, 1.0)).groupby("scenario", sort=False):
        known = {level: times(one[ORDERS]) for level, one in group.groupby("level")}
        if set(known) == {0.0, 1.0}:
            texts.append(f"{SHORT[scenario]}, {known[0.0]} for harmless copies and {known[1.0]} for"
                         " images of the other class")
    return f"Mean gradient of the probe over that of clean records: {'; '.join(texts)}." \
        if texts else ""


def shrinking(change: "DataFrame") -> str:
    """By how much ratio and absolute cosine of each patch change; `anatomy.change` of all paths."""
    texts = []
    for level, group in change[change["scenario"].eq(anatomy.INSERTED)].groupby("level"):
        found = judgement.estimate(group["ratio"])
        text = f"{_strength(anatomy.INSERTED, level)}, ratio {found.mean:+.1f}"
        if found.low == found.low:
            text += f" [{found.low:.1f}, {found.high:.1f}]"
        texts.append(f"{text} and cosine {group['cosine'].mean():+.2f}")
    whole = f"Last epochs minus first ones (the cosine without its sign): {'; '.join(texts)}."
    return whole.replace("-", numerals.MINUS) if texts else ""


def times(values: "Series") -> str:
    """Geometric mean of ratios and its interval, from their orders of magnitude."""
    found = judgement.estimate(values)
    text = f"{10**found.mean:.3g} times"
    if found.low == found.low:
        text += f" [{10**found.low:.3g}, {10**found.high:.3g}]"
    return text


def table(found: "DataFrame") -> "DataFrame":
    """One line a scenario and probe: ratio and cosine, and the ratio where all gradients cancel."""
    import pandas as pd

    lines = [{"scenario": scenario, "probe": series, "ratio": times(group[ORDERS]),
              "where all cancel": group["balance"].mean(), "cosine": signed(group["cosine"]),
              "draws": group["draw"].nunique()}
             for (scenario, series), group in found.groupby(["scenario", "series"], sort=False)]
    return pd.DataFrame(lines, columns=["scenario", "probe", "ratio", "where all cancel", "cosine",
                                        "draws"])


def signed(values: "Series") -> str:
    """Mean and interval of cosines, as text."""
    found = judgement.estimate(values, bounds=(-1.0, 1.0))
    text = f"{found.mean:+.2f}"
    if found.low == found.low:
        text += f" [{found.low:+.2f}, {found.high:+.2f}]"
    return text.replace("-", numerals.MINUS)


# ---------------------------------------------------------------- beyond the paper

def strongest(frame: "DataFrame", *, patch: float | None = None) -> "DataFrame":
    """Blends of the largest mixing, and patches of one size (None: the middle one)."""
    sizes = sorted(frame.loc[frame["scenario"].eq(anatomy.INSERTED), "level"].unique())
    size = patch if patch is not None or not sizes else sizes[len(sizes) // 2]
    blended = frame["scenario"].ne(anatomy.INSERTED)
    top = frame.loc[blended, "level"].max()
    return frame[blended & frame["level"].eq(top) | ~blended & frame["level"].eq(size)]


def records(points: "DataFrame") -> "DataFrame":
    """Quantiles over single records, one line a run, point, kind and quantile: `series` ("poison,
    5%"), `norm of a record` as an order of magnitude, and `cosine of a record`."""
    import numpy as np
    import pandas as pd

    parts = []
    for kind in ("poison", "clean"):
        for at in DRAWN:
            name = "median" if at == 50 else f"{at}%"
            norm = points[f"{kind}_norm_{at}"].astype(float).clip(lower=1e-6)
            parts.append(points[["scenario", "draw", "epoch"]].assign(
                series=f"{kind}, {name}", norm=np.log10(norm),
                cosine=points[f"{kind}_cosine_{at}"].astype(float)))
    return pd.concat(parts, ignore_index=True)


def longer(points: "DataFrame") -> str:
    """How the median norms compare at the last point, and how many clean records are longer."""
    texts = []
    for scenario, group in points.groupby("scenario", sort=False):
        last = group[group["epoch"].eq(group["epoch"].max())].mean(numeric_only=True)
        texts.append(f"{last['poison_norm_50']:.2g} against {last['clean_norm_50']:.2g}"
                     f" ({last['clean_norm_95']:.2g} at 95%), {SHORT[scenario]}")
    return f"Median gradient norm of poison against clean records at the end: {'; '.join(texts)}." \
        if texts else ""


def sums(points: "DataFrame") -> "DataFrame":
    """Poison's share of the sum that the optimizer gets, and its opposition: clipped where the run
    clips."""
    plain = points["norm"].eq(anatomy.VANILLA)
    names = {"part": "share", "against": "opposition"}
    return points.assign(**{
        new: points[old].where(plain, points[f"{old}_clipped"]).astype(float)
        for new, old in names.items()})


def share_table(summed: "DataFrame") -> "DataFrame":
    """One line a scenario and clipping norm: means over all points of the path, in per cent."""
    import pandas as pd

    measures = {"poison's share of the sum, %": "part", "opposition, %": "against",
                "poison clipped, %": "poison_clipped", "clean clipped, %": "clean_clipped"}
    lines = [{"scenario": scenario, "norm": norm} | {
        text: 100 * group.groupby("draw")[name].mean().astype(float).mean()
        for text, name in measures.items()}
        for (scenario, norm), group in summed.groupby(["scenario", "norm"], sort=False)]
    return pd.DataFrame(lines, columns=["scenario", "norm", *measures])


def share_finding(summed: "DataFrame") -> str:
    """How clipping changes poison's share of the sum, scenario by scenario."""
    texts = []
    for scenario, group in summed.groupby("scenario", sort=False):
        wide = group.groupby(["draw", "norm"], sort=False)["part"].mean().unstack()
        if anatomy.VANILLA not in wide:
            continue
        texts += [f"{name} {_points(wide[name] - wide[anatomy.VANILLA])} ({SHORT[scenario]})"
                  for name in wide if name != anatomy.VANILLA]
    return f"Poison's share of the sum, minus that without clipping: {'; '.join(texts)}." \
        if texts else ""


def _points(values: "Series") -> str:
    return f"{judgement.points(values.dropna(), bounds=(-1.0, 1.0))} points"


# ---------------------------------------------------------------- panels, and their data

def windows(frame: "DataFrame", by: Sequence[str]) -> "DataFrame":
    """Means over windows of epochs, at most `MOST` a scenario; a window is called by its end.

    by: columns that tell lines apart, beside the scenario and the draw.
    """
    longest = frame.groupby("scenario")["epoch"].transform("max")
    wide = (longest / MOST).apply(math.ceil)
    ends = ((frame["epoch"] / wide).apply(math.ceil) * wide).clip(upper=longest)
    keys = ["scenario", *by, "draw", "epoch"]
    return frame.assign(epoch=ends).groupby(keys, sort=False).mean(numeric_only=True).reset_index()


def panels(frame: "DataFrame", measures: Mapping[str, str], *, series: str,
           scenarios: Sequence[str] = tuple(SHORT)) -> list[dict[str, Any]]:
    """What `figures.panels` draws: a row of panels a measure, a column a scenario, by epoch.

    measures: column and the label of its axis.
    """
    return [{"frame": frame[frame["scenario"].eq(name)], "x": "epoch", "y": column,
             "series": series, "xlabel": "epoch", "ylabel": label, "title": name,
             "instance": "draw", "spread": "none"}
            for column, label in measures.items() for name in scenarios]


def thin(frame: "DataFrame", by: Iterable[str], values: Iterable[str]) -> "DataFrame":
    """Means over the draws, for the data of a figure."""
    return frame.groupby(list(by), sort=False)[list(values)].mean().reset_index()
