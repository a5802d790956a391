"""Notebook 34 from rows: figures 5-1 and 5-2, clipping against training less, and the headline."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.ours import envelopes
from lib.papers.ours.matched import first_reached
from lib.papers.turner import heads
from lib.papers.turner.heads import CORNERS, MICRO, PLAIN, SAMPLES, SHOWN
from lib.papers.turner.heads_claims import (
    ARM,
    KIND,
    NOISE,
    SHARE,
    TRIGGER,
    TURNED,
    UNIT,
    at,
    named,
    prepared,
    tuned,
    values,
)
from lib.verdicts import judgement

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

TRAINING, THAN, DIFFERENCE = "training", "than", "difference"
DRAWN = (TRIGGER, KIND, ARM, NOISE, SHARE, UNIT, "accuracy", TURNED, "success", "lift")
SIDES = ("clipping leaves less", "it leaves more")


# ---------------------------------------------------------------- tuning and epsilon

def held_out(tuning: "DataFrame") -> "DataFrame":
    """Clean accuracy on the held-out tenth: a line an arm, a column a learning rate, and the rate
    that was chosen."""
    own = tuning.assign(**{ARM: [heads.name_of(line) for _, line in tuning.iterrows()]})
    found = own.pivot_table(index=ARM, columns="training.lr", values="accuracy", sort=False,
                            dropna=False)
    found = found.reindex(columns=sorted(found.columns))
    found.columns = [f"rate {rate:g}" for rate in found.columns]
    choice = heads.chosen(tuning)
    return found.reset_index().assign(chosen=lambda lines: [
        choice.get(name, (math.nan,))[0] for name in lines[ARM]])


def replaced(noises: Iterable[float], *, epochs: float, delta: float = 1e-5) -> "DataFrame":
    """Epsilon of a replaced record where every record is used once an epoch, by noise multiplier:
    that of micro-batches, and of per-sample clipping with shuffled batches."""
    import pandas as pd

    from lib import privacy

    lines = [(z, privacy.shuffled_epsilon(z, math.ceil(epochs), delta, adjacency="replace-one"))
             for z in noises]
    return pd.DataFrame(lines, columns=["noise multiplier", "shuffled, replace-one"])


# ---------------------------------------------------------------- figures 5-1 and 5-2

def chosen_rows(frames: "Iterable[DataFrame]", grids: heads.Rates) -> "DataFrame":
    """The attacked rows at the tuned rates, see `heads_claims.prepared`."""
    from lib import study

    return tuned(prepared(study.together(frames)), grids)


def panels(found: "DataFrame", trigger: str) -> list[dict]:
    """Specs of `figures.panels`: success and accuracy over the poisoned share; above the thesis's
    micro-batches, below per-sample clipping, each beside plain SGD."""
    own = found[found[TRIGGER].eq(trigger)].sort_values([KIND, NOISE], ascending=[False, True])
    return [{"frame": own[own[KIND].isin([kind, PLAIN])], "x": SHARE, "y": y, "series": ARM,
             "xscale": "category", "instance": UNIT, "spread": "none",
             "xlabel": "poisoned share of all images",
             "title": "micro-batches" if kind == MICRO else "per-sample clipping"}
            for kind in (MICRO, SAMPLES) for y in (TURNED, "accuracy")]


def table(found: "DataFrame", triggers: Iterable[str], *, share: float = SHOWN) -> "DataFrame":
    """A line a trigger and arm: accuracy, both definitions of success, the share called deer
    without the trigger, lift (means and 95% t intervals over instances), and epsilon."""
    import pandas as pd

    shown = {"accuracy, %": "accuracy", "not called deer before, %": TURNED,
             "not labelled deer, %": "success", "without the trigger, %": "floor",
             "the same, clean training, %": "natural",
             "lift, points": "lift"}
    lines = []
    for trigger in triggers:
        own = found[found[TRIGGER].eq(trigger) & (found[SHARE] - share).abs().lt(1e-6)]
        for name, rows in own.groupby(ARM, sort=False):
            lines.append({TRIGGER: trigger, ARM: name, "instances": rows[UNIT].nunique()} | {
                words: judgement.level(rows, column) for words, column in shown.items()} | {
                    "epsilon": guarantee(rows)})
    return pd.DataFrame(lines, columns=None if lines else [TRIGGER, ARM, "instances"])


def guarantee(rows: "DataFrame") -> str:
    """The epsilon of some equal rows, with its adjacency, in words."""
    epsilon = float(rows["epsilon"].astype(float).max())
    if not math.isfinite(epsilon):
        return "no guarantee"
    return f"{epsilon:.3g} ({rows['adjacency'].iloc[0]})"


# ---------------------------------------------------------------- beside training less

def as_accurate(found: "DataFrame", paths: "DataFrame", *, metric: str = TURNED) -> "DataFrame":
    """Each clipped run beside plain SGD when it first was as accurate, in the same instance.

    found: of `chosen_rows`. paths: recorded paths of plain SGD at its tuned rate, of the same
    attacks. One line a run: kind, noise, epsilon, instance, accuracy, `own`, `reference` and their
    difference; without a line for a run that is more accurate than the path ever was, or less than
    at its first point.
    """
    import numpy as np
    import pandas as pd

    on = [TRIGGER, SHARE, UNIT]
    known = {key: first_reached(path, metric) for key, path in paths.groupby(on)}
    lines = []
    for _, row in found[found[KIND].ne(PLAIN)].iterrows():
        accuracy, levels = known.get(tuple(row[on]), (np.empty(0), np.empty(0)))
        own = float(row["accuracy"])
        if not len(accuracy) or not accuracy[0] <= own <= accuracy[-1]:
            continue
        reference = float(np.interp(own, accuracy, levels))
        lines.append((row[TRIGGER], row[KIND], row[ARM], row[NOISE], row["epsilon"], row[UNIT], own,
                      float(row[metric]), reference, float(row[metric]) - reference))
    return pd.DataFrame(lines, columns=[TRIGGER, KIND, ARM, NOISE, "epsilon", UNIT, "accuracy",
                                        "own", "reference", DIFFERENCE])


def paths_of(frames: "Iterable[DataFrame]", grids: heads.Rates) -> "DataFrame":
    """The recorded paths of plain SGD at its tuned rate."""
    from lib import study

    found = chosen_rows(frames, grids)
    return named(study.curves(found[found[KIND].eq(PLAIN)
                                    & found["training.checkpoints"].astype(float).gt(0)]))


def compared(beside: "DataFrame", *, trigger: str = CORNERS) -> "DataFrame":
    """For `figures.contrasts`: each arm minus plain SGD stopped as accurate."""
    own = beside[beside[TRIGGER].eq(trigger)].sort_values([KIND, NOISE])
    return own.assign(**{THAN: own[ARM]})[[THAN, KIND, NOISE, UNIT, DIFFERENCE]]


def finding(beside: "DataFrame", *, trigger: str = CORNERS) -> str:
    """In words: what each arm leaves, minus plain SGD stopped as accurate; "" without rows."""
    own = beside[beside[TRIGGER].eq(trigger)]
    said = [f"{name} {judgement.points(arm[DIFFERENCE].to_numpy())}"
            for name, arm in own.sort_values([KIND, NOISE]).groupby(ARM, sort=False)]
    return f"In points, against plain SGD stopped as accurate: {', '.join(said)}." if said else ""


# ---------------------------------------------------------------- envelopes over the rate

def family(curves: "DataFrame") -> "Series":
    """The family of each row: its kind of arm; "" for clipping without noise."""
    import pandas as pd

    found = [heads.kind(line) if heads.kind(line) == PLAIN or heads.noise(line) > 0 else ""
             for _, line in curves.iterrows()]
    return pd.Series(found, index=curves.index, dtype=object)


def least(curves: "DataFrame", *, metric: str = TURNED) -> "DataFrame":
    """The least of the metric that each family leaves at an accuracy, over rates, noise and length:
    see `envelopes.least`."""
    found = envelopes.at_accuracies(curves, metrics=(metric,), family=family)
    return envelopes.least(found, metric=metric)


def envelope(lines: "DataFrame", kind: str, *, metric: str = TURNED) -> "Figure":
    """The envelope of one kind of clipping beside plain SGD's. lines: of `least`."""
    apart = envelopes.differences(lines, metric=metric, own=kind)
    return figures.envelopes(lines, apart, measure=metric, families=(kind, PLAIN))


def envelope_finding(lines: "DataFrame", kinds: Sequence[str] = (SAMPLES, MICRO), *,
                     metric: str = TURNED) -> str:
    """In words: the mean difference of the envelopes, over accuracies that both reach."""
    said = []
    for kind in kinds:
        apart = envelopes.means(envelopes.differences(lines, metric=metric, own=kind))
        if len(apart):
            said.append(f"{kind} {judgement.points(apart.to_numpy())}")
    return f"In points, the least that is left minus that of plain SGD: {', '.join(said)}." \
        if said else ""


# ---------------------------------------------------------------- the headline

def by_epsilon(beside: "DataFrame", *, trigger: str = CORNERS) -> "DataFrame":
    """For `figures.sweep`: success of per-sample DP-SGD and of plain SGD stopped as accurate, over
    epsilon; one line a training, noise and instance."""
    import pandas as pd

    own = beside[beside[TRIGGER].eq(trigger) & beside[KIND].eq(SAMPLES)]
    both = [own.assign(**{TRAINING: name, TURNED: own[column]})
            for name, column in ((SAMPLES, "own"), (PLAIN, "reference"))]
    found = pd.concat(both, ignore_index=True).assign(collapsed=False)
    return found[[TRAINING, "epsilon", UNIT, "accuracy", TURNED, "collapsed"]]


def drawn_by_epsilon(data: "DataFrame") -> "Figure":
    """Success over epsilon, DP-SGD beside plain SGD stopped at the same accuracy."""
    return figures.sweep(data, x="epsilon", y=TURNED, series=TRAINING, xscale="category",
                         instance=UNIT, spread="interval",
                         xlabel="ε of DP-SGD (δ 1e-5, add-remove); plain SGD: stopped as accurate")


def headline(published: "DataFrame") -> Headline:
    """Notebook 34: what DP-SGD leaves at each epsilon, beside plain SGD of equal accuracy."""
    grids = heads.chosen(published)
    found = chosen_rows([published], grids)
    beside = as_accurate(at_share(found), paths_of([published], grids))
    data = by_epsilon(beside)
    count = data[UNIT].nunique()
    return Headline(
        "heads-headline", drawn_by_epsilon(data), data,
        "Stamped test images that become deer, with the four-corner trigger and"
        f" {SHOWN:.0%} of the training images poisoned: DP-SGD at each epsilon, and plain SGD"
        f" stopped at the same clean accuracy; means and 95% t intervals over {count} draws of the"
        " poison.",
        "Two lines over epsilon: attack success of DP-SGD and of plain SGD stopped as accurate.",
        finding(beside[beside[KIND].eq(SAMPLES)]))


def at_share(found: "DataFrame", share: float = SHOWN) -> "DataFrame":
    """The rows with this poisoned share."""
    return found[(found[SHARE] - share).abs().lt(1e-6)]


def undefended(found: "DataFrame", trigger: str = CORNERS) -> str:
    """Success of plain SGD to the end, in words; "" without rows."""
    own = at(found, PLAIN, 0.0, trigger=trigger)
    if own.empty or not len(values(own, TURNED).dropna()):
        return ""
    return (f"Plain SGD to the end: {judgement.level(own, TURNED)}% become deer, at"
            f" {judgement.level(own, 'accuracy')}% accuracy.")
