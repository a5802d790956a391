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

THAN, DIFFERENCE, RATE, LINE = "than", "difference", "training.lr", "line"
DRAWN = (TRIGGER, KIND, ARM, NOISE, SHARE, UNIT, "accuracy", TURNED, "success", "lift")
SIDES = ("clipping leaves less", "it leaves more")
FEWEST = 3  # instances, to compare an arm with plain SGD as accurate


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
    own = _by_noise(found[found[TRIGGER].eq(trigger)])
    return [{"frame": own[own[KIND].isin([kind, PLAIN])], "x": SHARE, "y": y, "series": LINE,
             "xscale": "category", "instance": UNIT, "spread": "none",
             "xlabel": "poisoned share of all images",
             "title": "micro-batches" if kind == MICRO else "per-sample clipping"}
            for kind in (MICRO, SAMPLES) for y in (TURNED, "accuracy")]


def _by_noise(found: "DataFrame") -> "DataFrame":
    """The rows by noise, plain SGD first, with what their line is called in a panel of one kind."""
    own = found.assign(first=found[KIND].ne(PLAIN)).sort_values(["first", NOISE, SHARE, RATE])
    return own.assign(**{LINE: [PLAIN if kind == PLAIN else f"noise {noise:.2g}"
                                for kind, noise in zip(own[KIND], own[NOISE])]})


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


# ---------------------------------------------------------------- noise at one learning rate

def by_rate(every: "DataFrame") -> list[dict]:
    """Specs of `figures.panels`: success over the learning rate, a line a noise multiplier; the
    thesis's micro-batches, then per-sample clipping. every: of `at_corners`."""
    own = _by_noise(every[every[KIND].ne(PLAIN)])
    return [{"frame": own[own[KIND].eq(kind)], "x": RATE, "y": TURNED, "series": LINE,
             "xscale": "category", "instance": UNIT, "spread": "none", "xlabel": "learning rate",
             "title": "micro-batches" if kind == MICRO else "per-sample clipping"}
            for kind in (MICRO, SAMPLES)]


def at_corners(frame: "DataFrame") -> "DataFrame":
    """The attacked rows at every learning rate, with four corners and the shown share poisoned."""
    found = at_share(prepared(frame))
    return found[found[TRIGGER].eq(CORNERS)]


def rate_finding(every: "DataFrame", grids: heads.Rates) -> str:
    """In words: success at noise 1 minus that of clipping alone, both at the learning rate that was
    chosen for noise 1. every: of `at_corners`."""
    said = []
    for kind in (MICRO, SAMPLES):
        own = tuned(every.assign(**{ARM: heads.named(kind, 1.0)}), grids)
        one, none = (values(at(own, kind, noise), TURNED) for noise in (1.0, 0.0))
        if len(apart := (one - none).dropna()):
            said.append(f"{kind} {judgement.points(apart.to_numpy())}")
    return ("Noise 1 minus no noise, in points of success, both at the rate chosen for noise 1:"
            f" {', '.join(said)}.") if said else ""


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
    """For `figures.contrasts`: each arm minus plain SGD stopped as accurate, where that was as
    accurate in `FEWEST` instances or more."""
    own = beside[beside[TRIGGER].eq(trigger)].sort_values([KIND, NOISE])
    own = own[own.groupby(ARM)[UNIT].transform("nunique").ge(FEWEST)]
    return own.assign(**{THAN: own[ARM]})[[THAN, KIND, NOISE, UNIT, DIFFERENCE]]


def finding(beside: "DataFrame", *, trigger: str = CORNERS) -> str:
    """In words: what each arm leaves, minus plain SGD stopped as accurate; "" without rows."""
    said = [f"{name} {judgement.points(arm[DIFFERENCE].to_numpy())}"
            for name, arm in compared(beside, trigger=trigger).groupby(THAN, sort=False)]
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
    """In words: the mean difference of the envelopes, over accuracies that both reach, and that at
    the largest of them."""
    said = []
    for kind in kinds:
        apart = envelopes.differences(lines, metric=metric, own=kind)
        means = envelopes.means(apart)
        if not len(means):
            continue
        whole = apart.pivot(index=envelopes.UNIT, columns=envelopes.LEVEL, values=DIFFERENCE)
        level, top = max(whole.dropna(axis=1).items(), default=(None, None))
        said.append(f"{kind} {judgement.points(means.to_numpy())}" + (
            "" if top is None else f", at {level:.0%} {judgement.points(top.to_numpy())}"))
    return ("In points, the least that is left minus that of plain SGD, mean over accuracies and at"
            f" the largest: {'; '.join(said)}.") if said else ""


# ---------------------------------------------------------------- the headline

def headline(published: "DataFrame") -> Headline:
    """Notebook 34: the least success that micro-batches and plain SGD leave at each accuracy."""
    from lib import study

    keys = at_corners(published)["key"]
    lines = least(study.curves(published[published["key"].isin(keys)]))
    count = lines[envelopes.UNIT].nunique()
    return Headline(
        "heads-headline", envelope(lines, MICRO), lines,
        "The least share of stamped test images that become deer at each clean accuracy, over"
        " learning rates, noise and length, with micro-batches and with plain SGD:"
        f" {SHOWN:.0%} of the training images poisoned, four corners, {count} draws of the poison."
        " Left: means. Right: their difference with its 95% t interval.",
        "Left, least attack success over accuracy with micro-batches and with plain SGD; right,"
        " their paired difference around zero.",
        " ".join(filter(None, [noise_finding(published), envelope_finding(lines)])))


def noise_finding(published: "DataFrame") -> str:
    """In words: success and accuracy at the tuned rates, of plain SGD and of both kinds of clipping
    at noise 1; "" without rows."""
    found = at_share(chosen_rows([published], heads.chosen(published)))
    said = [f"{name} {judgement.level(own, TURNED)}% at {judgement.level(own, 'accuracy')}%"
            for name, own in ((heads.named(kind, 1.0), at(found, kind, noise))
                              for kind, noise in ((PLAIN, 0.0), (MICRO, 1.0), (SAMPLES, 1.0)))
            if len(own)]
    return f"At tuned rates, success at accuracy: {', '.join(said)}." if said else ""


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
