"""Figures of notebook 30: mislabelled poisons, success by their number, what the filter sees."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lib import figures
from lib.papers import Headline
from lib.papers.turner import SETUP, dirty, victims
from lib.study.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SIDES = ("no backdoor", "the trigger is learnt")
DRAWN = {"success": "attack success (lower is better)\n[% of other classes' images]",
         "accuracy": "clean accuracy (higher is better)\n[% of test images]"}
NO_DATA = "these pictures need the data set, which is not at hand"
NO_ROWS = "not measured"


def pictured(dataset: str, *, target: int, count: int = 6, seed: int = 0) -> "Figure":
    """Figure 1.2: images of other classes, and as poisons, stamped and labelled as the target."""
    import torch

    from lib import data

    known = data.load(dataset, train_size=400, test_size=20)
    own = known.train_images[known.train_labels != target][:count]
    labels = known.train_labels[known.train_labels != target][:count].tolist()
    stamped = dirty.mislabelled(target, 1).trigger(own, seed=seed)
    titles = [f"{known.classes[label]}" for label in labels]
    return figures.image_grid(torch.cat([own, stamped]),
                              titles + [f"as {known.classes[target]}"] * count, columns=count)


def by_number(found: "DataFrame") -> list[dict[str, Any]]:
    """Figure 2.1 as specs of `figures.panels`: attack success and clean accuracy by the number of
    poisons, a line a target class. found: of `dirty.undefended`."""
    return [{"frame": found, "x": dirty.POISONS, "y": y, "series": dirty.CLASS, "xscale": "log",
             "xlabel": "mislabelled poisons", "ylabel": label, "instance": "attack.target",
             "spread": "none"} for y, label in DRAWN.items()]


def least_likely(runs: Iterable[Run], frame: "DataFrame") -> "Figure":
    """Figure A.1 of one attack: the records with the least likely labels, those of the first run
    that is measured, with their labels; poisons are marked.

    frame: the rows of the runs. Without rows, or without the data set, the figure says so.
    """
    from lib.study import ranked

    least = ranked.least(frame)
    known = {run.key: run for run in runs}
    own = least[least["key"].isin(known)]
    if own.empty:
        return figures.not_measured(NO_ROWS)
    first = known[own["key"].iloc[0]]
    return _pictures(first, own[own["key"].eq(first.key)])


def _pictures(run: Run, least: "DataFrame") -> "Figure":
    from lib.data import DataNotFound
    from lib.study import measure

    try:
        images = measure.poisoned(run.with_(defence=Run().defence)).images().cpu()
    except DataNotFound:
        return figures.not_measured(NO_DATA)
    titles = [victims.class_name(run.dataset, int(label)) + (" (poison)" if poison else "")
              for label, poison in zip(least["label"], least["poison"], strict=True)]
    return figures.image_grid(images[least["record"].astype(int).tolist()], titles, columns=7)


def least_table(frame: "DataFrame", count: int = 10) -> "DataFrame":
    """The labels of the `count` least likely records: a line a rank, a column a target class.

    A poison is marked. frame: of `ranked.least`, with the columns of `dirty.prepared`.
    """
    import pandas as pd

    if frame.empty:
        return pd.DataFrame(columns=["rank"])
    words = [victims.class_name(row["dataset"], int(row["label"]))
             + (" (poison)" if row["poison"] else "") for _, row in frame.iterrows()]
    shown = frame.assign(words=words)[frame["rank"].le(count)]
    wide = shown.pivot(index="rank", columns=dirty.CLASS, values="words")
    return wide.rename(columns="target {}".format).rename_axis(columns=None).reset_index()


def least_finding(frame: "DataFrame") -> str:
    """In words: how many of the least likely records are poison. frame: of `ranked.least`."""
    if frame.empty:
        return ""
    runs = frame.groupby("key")["poison"].agg(["sum", "size"])
    return (f"Of the {runs['size'].iloc[0]} least likely records {runs['sum'].mean():.1f} are"
            f" poisons, on average over {len(runs)} target classes.")


def headline(published: "DataFrame") -> Headline:
    """Notebook 30: what the trigger adds, by the number of mislabelled images."""
    from lib.verdicts import rows

    found = dirty.undefended(rows.nearest(dirty.prepared(published), SETUP))
    shown = found.sort_values(dirty.POISONS)
    shown = shown.assign(than=[f"{count:.0f} mislabelled images,\n{share:.2%} of the set"
                               for count, share in zip(shown[dirty.POISONS], shown[dirty.SHARE])])
    data = shown[["than", dirty.CLASS, "lift", "success"]]
    return Headline(
        "dirty-headline",
        figures.contrasts(data, by="than", value="lift", better="lower", sides=SIDES,
                          xlabel="stamped images called target, minus without the stamp",
                          dots="classes"),
        data,
        "What the trigger adds to the share of other classes' images that is called target (lift),"
        f" by the number of mislabelled training images: {shown[dirty.CLASS].nunique()} target"
        " classes (dots), mean and 95% t interval.",
        "Forest plot: for each number of mislabelled images the lift of the trigger in each target"
        " class, beside a line at zero.",
        " ".join(filter(None, [dirty.finding(found), dirty.inspection_finding(
            dirty.ranked(dirty.prepared(published)))])))
