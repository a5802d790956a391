"""Figure 4.1: training losses of clean records, of poisons, and of poisons without their trigger.

Rows hold the median and the quartiles over records at each point (`Run.losses`); here they are
means over target classes. The thesis draws "all" samples beside poisons; clean ones stand here, as
99.4% of all are. It smooths over three points, 3,000 of 100,000 steps.
"""

from typing import TYPE_CHECKING

from lib.papers.turner import victims
from lib.study.runs import Run
from lib.verdicts import contrasts, judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = {"clean": "clean records", "poison": "poisons", "bare": "poisons without the trigger"}
SAMPLES = "records are"
QUARTILES = {25: "low", 50: "median", 75: "high"}
SMOOTHED = 3  # points


def followed(run: Run, *, every: float = 1.0) -> Run:
    """The run with its losses kept every so many epochs, and with hard labels as in the thesis:
    smoothed by 0.1, even a record that is learnt perfectly would keep a loss of 0.1."""
    return run.with_(losses=True, training__every=every, training__label_smoothing=0.0)


def prepared(frame: "DataFrame") -> "DataFrame":
    """The attacked, undefended rows that keep their losses, with `rows.prepared`'s columns; of
    several settings the one measured on the most target classes."""
    if frame.empty or "losses" not in frame:
        return frame.iloc[:0]
    found = rows.prepared(frame[frame["losses"].astype(bool)])
    return rows.one_setting(rows.undefended(found))


def paths(frame: "DataFrame", *, smoothed: int = SMOOTHED) -> "DataFrame":
    """A line a kind of record and epoch: low, median and high, means over target classes of the
    quartiles over records, each a moving average of `smoothed` points.

    frame: of `study.training_losses`.
    """
    import pandas as pd

    lines = []
    for kind, name in KINDS.items():
        columns = {f"loss_{kind}_{at}": said for at, said in QUARTILES.items()}
        for (unit, _), own in frame.groupby([rows.unit(frame), "key"], sort=False):
            some = own.sort_values("epoch")[["epoch", *columns]].rename(columns=columns)
            means = some[list(columns.values())].rolling(smoothed, min_periods=1, center=True)
            lines.append(some.assign(unit=unit, **means.mean(), **{SAMPLES: name}))
    if not lines:
        return pd.DataFrame(columns=[SAMPLES, "epoch", *QUARTILES.values()])
    units = pd.concat(lines).groupby([SAMPLES, "epoch", "unit"], sort=False).mean()
    return units.groupby([SAMPLES, "epoch"], sort=False).mean().reset_index()


def ends(frame: "DataFrame") -> "DataFrame":
    """The last point of each run. frame: of `study.training_losses`."""
    return frame.sort_values("epoch", kind="stable").drop_duplicates("key", keep="last")


def medians(frame: "DataFrame") -> "DataFrame":
    """Medians over records at the end: a line a target class, a column a kind (`KINDS`)."""
    import pandas as pd

    last = ends(frame)
    return pd.DataFrame({kind: rows.per_unit(last, f"loss_{kind}_50") for kind in KINDS})


def ratio(found: "DataFrame", over: str, under: str) -> "list[float]":
    """How many times one kind's median is another's, a value a target class (see
    `contrasts.share`: a ratio of means, which no small median decides). found: of `medians`."""
    return list(contrasts.share(found[over], found[under]))


def finding(found: "DataFrame") -> str:
    """In words: the medians at the end. found: of `medians`."""
    known = found.dropna()
    if known.empty:
        return ""
    said = [f"{name} {judgement.estimate(known[kind].to_numpy(), bounds=None).mean:.3g}"
            for kind, name in KINDS.items()]
    return f"Median cross-entropy at the end, in nats: {', '.join(said)}."


def shares(victim: Run) -> list[int]:
    """Poisons of figure 4.1, 6% of the target class."""
    return victims.counts([0.06], victims.records(victim))
