"""Other ways to lose accuracy than DP-SGD's: which of them lose the backdoor with it?"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from lib.defences import Defence
from lib.defences.dpsgd import DPSGD
from lib.defences.output_noise import OutputNoise
from lib.papers.ours import envelopes
from lib.papers.ours.matched import matched
from lib.papers.ours.trainings import PLAIN, paths
from lib.study.runs import Run
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

USUAL_BATCH, SMALL_BATCH, LARGE_BATCH = 512, 64, 4096
DECAYS = (0.001, 0.01)
NOISE = (1.0, 2.0, 4.0)  # noise multipliers
SCALES = {"logits": (0.5, 1.0, 2.0, 4.0, 8.0), "weights": (0.003, 0.01, 0.03, 0.1)}


def runs(base: Run, pairs: Sequence[Sequence[int]], *, rate: float, rates: Sequence[float],
         clip_rates: Sequence[float], small_rates: Sequence[float], large_rates: Sequence[float],
         smaller: str, epochs: float) -> list[Run]:
    """The alternatives: small and large batches, weight decay, a smaller network (plain and with
    DP-SGD at noise 2), gradient noise without clipping, clipping without noise, and noise on the
    trained model (of plain SGD at `rate`).
    """
    def of(defence: Defence, rates: Iterable[float], model: str = base.model, **more: Any
           ) -> list[Run]:
        return paths(base.with_(model=model), product([defence], rates), pairs,
                     **{"epochs": epochs, "batch_size": USUAL_BATCH} | more)
    return [
        *of(PLAIN, small_rates, batch_size=SMALL_BATCH),
        *of(PLAIN, large_rates, batch_size=LARGE_BATCH),
        *(one for decay in DECAYS for one in of(PLAIN, [rate], weight_decay=decay)),
        *of(PLAIN, rates, smaller), *of(DPSGD(2.0), rates, smaller),
        *(one for z in NOISE for one in of(DPSGD(z, clip=False), rates)),
        *of(DPSGD(0.0), clip_rates),
        *(one for on, scales in SCALES.items() for scale in scales
          for one in of(OutputNoise(scale, on), [rate])),
    ]


def arm(line: "Series", *, model: str) -> str:
    """What a training does differently from plain SGD with the usual network and batch."""
    if line["defence.name"] == "output_noise":
        return f"noise on {line['defence.on']}"
    network = "" if line["model"] == model else ", smaller network"
    if line["defence.clip"]:
        return ("DP-SGD" if line["noise_multiplier"] else "clip only") + network
    if line["noise_multiplier"]:
        return "gradient noise, no clipping"
    if line["training.weight_decay"]:
        return "weight decay"
    if line["training.batch_size"] != USUAL_BATCH:
        return "small batch" if line["training.batch_size"] < USUAL_BATCH else "large batch"
    return envelopes.PLAIN + network


def against_stopping(frame: "DataFrame", path: "DataFrame", *, model: str) -> "DataFrame":
    """Each attacked row at the end of its training beside plain SGD when it first was as accurate.

    `path`: recorded paths of plain SGD at one rate. Returns `matched` with `arm` and `setting` (a
    number for each way to train), last weights only.
    """
    import pandas as pd

    ends = frame[frame["world"].eq("P") & frame["weights"].eq("last") & frame["status"].eq("ok")]
    ends = ends.assign(noise_multiplier=ends["noise_multiplier"].fillna(0.0))
    found = matched(ends, path, metric="lift").reset_index(drop=True)
    names = ends.apply(arm, axis=1, model=model).reset_index(drop=True)
    number = rows.setting_number(ends).reset_index(drop=True)
    return pd.concat([found, names.rename("arm"), number.rename("setting")], axis=1)


def nearest(found: "DataFrame", *, accuracy: float) -> "DataFrame":
    """Of `against_stopping`, each way at the setting whose mean accuracy is nearest to `accuracy`,
    with `way` in words: the ones that leave most first. Lift has no part in the choice.
    """
    import pandas as pd

    ways = []
    for name, group in found.groupby("arm"):
        away = (group.groupby("setting")["accuracy"].mean() - accuracy).abs()
        one = group[group["setting"].eq(away.idxmin())] if away.notna().any() else group[:0]
        text = f"{name}\n{100 * one['accuracy'].mean():.0f}% accurate" if len(one) else str(name)
        ways.append(one.assign(way=text))
    if not ways:
        return found.assign(way="")
    ways.sort(key=lambda one: -one["difference"].mean() if len(one) else 0.0)
    return pd.concat(ways)


def span(found: "DataFrame") -> str:
    """In words: from where to where DP-SGD's own settings reach. `found`: of `against_stopping`."""
    private = found[found["arm"].eq(envelopes.PRIVATE)]
    means = private.groupby("setting")[["accuracy", "difference"]].mean().dropna()
    if means.empty:
        return ""
    low, high = (100 * means.loc[at] for at in (means["difference"].idxmin(),
                                                means["difference"].idxmax()))
    return (f"DP-SGD's {len(means)} settings reach from {_signed(low)} to {_signed(high)}"
            " against plain SGD stopped as accurate.")


def _signed(means: "Series") -> str:
    """A mean difference in points with its accuracy, in words."""
    return (f"{means['difference']:+.0f}".replace("-", "\N{MINUS SIGN}")
            + f" points (at {means['accuracy']:.0f}%)")


def by_setting(frame: "DataFrame", names: Mapping[str, str], *, reference: "DataFrame"
               ) -> "DataFrame":
    """Mean accuracy and lift for each value of some columns (name: heading), and how far they are
    from those of the reference, data set by data set, with 95% t intervals."""
    import pandas as pd

    both, heads = ["accuracy", "lift"], ["accuracy, %", "lift, points"]
    first = reference[reference["status"].eq("ok")].groupby("dataset")[both].mean()
    lines = []
    for values, group in frame[frame["status"].eq("ok")].groupby(list(names), dropna=False):
        means = group.groupby("dataset")[both].mean()
        lines.append(dict(zip(names.values(), values, strict=True))
                     | dict(zip(heads, 100 * means.mean(), strict=True))
                     | {f"{name}, difference": judgement.points((means - first)[name].to_numpy())
                        for name in both})
    return pd.DataFrame(lines, columns=[*names.values(), *heads,
                                        *(f"{name}, difference" for name in both)])
