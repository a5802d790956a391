"""The set-ups on which both families are trained, and DP-SGD's models of equal accuracy in them.

A set-up is a mapping, as the parameters of notebook 64 give it: a name, the data, features and
network of `Run`, `epochs`, `noise`, `rates`, `plain_rates` and `pairs`; optionally `of` (the
notebook that publishes its rows), `plain_checkpoints` and `varied` (further trainings).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.attacks.badnets import BadNets
from lib.papers.ours import envelopes, law, trainings
from lib.study.runs import Run
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SetUp = Mapping[str, Any]

RUN = ("dataset", "train_size", "test_size", "public", "features", "model")
SIGNAL = "trigger_signal"


def start(setup: SetUp, *, fraction: float) -> Run:
    """The run of a set-up that all others of it are changes of."""
    return Run(**{name: setup[name] for name in RUN}, precision="fast",
               attack=BadNets(fraction=fraction))


def both_families(setup: SetUp, *, fraction: float, batch_size: int) -> list[Run]:
    """Plain SGD and DP-SGD on every pair of a set-up, over their learning rates."""
    base, usual = start(setup, fraction=fraction), dict(epochs=setup["epochs"],
                                                        batch_size=batch_size)
    plain = trainings.paths(base, [(trainings.PLAIN, rate) for rate in setup["plain_rates"]],
                            setup["pairs"], checkpoints=setup.get("plain_checkpoints", 12), **usual)
    return plain + trainings.private(base, setup["pairs"], noise=setup["noise"],
                                     rates=setup["rates"], varied=setup.get("varied", []), **usual)


def records(setup: SetUp) -> int:
    """Private images of a set-up."""
    return setup["train_size"] - setup["public"]


def last(paths: "DataFrame", family: str) -> "DataFrame":
    """Of recorded paths those of one family, last weights."""
    found = paths[paths["weights"].eq("last")]
    return found[envelopes.families(found).eq(family)]


def plain_at(paths: "DataFrame", rate: float) -> "DataFrame":
    """Of recorded paths those of plain SGD at one learning rate, last weights."""
    found = last(paths, envelopes.PLAIN)
    return found[found["training.lr"].eq(rate)]


def signals(paths: "DataFrame", setup: SetUp) -> "DataFrame":
    """DP-SGD's paths at constant rates as they are drawn, last weights: means over pairs of
    `progress`, `epsilon` (spent so far) and what the trigger does to the margin, by `noise level`,
    `rate` and step, every other checkpoint.

    Trainings of another batch or length, whose noise follows from an epsilon, are left out.
    """
    private = last(paths, envelopes.PRIVATE)
    private = private[private["training.schedule"].eq("constant") & rows.optional(
        private, "defence.noise_multiplier").notna()]
    found = law.with_candidates(private, records=records(setup))
    found = found.assign(rate=found["training.lr"], **{"noise level": [
        f"DP-SGD, noise {z:.3g}" for z in found["noise_multiplier"]]})
    by = ["noise level", "rate"]
    means = found.groupby([*by, "step"])[["progress", "epsilon", SIGNAL]].mean().reset_index()
    return means[means.groupby(by).cumcount(ascending=False) % 2 == 0]


def signal_order(means: "DataFrame") -> str:
    """In words: how well the order of progress, and that of epsilon, is that of what the
    trigger does to the margin (Spearman's rank correlation). `means`: of `signals`."""
    if len(means) < 3:
        return ""
    ranks = means[["progress", "epsilon", SIGNAL]].rank().corr()[SIGNAL]
    return (f"Over {len(means)} checkpoints of {means.groupby(['noise level', 'rate']).ngroups}"
            f" settings the trigger's effect on the margin has a rank correlation of"
            f" {ranks['progress']:.2f} with progress and of {ranks['epsilon']:.2f} with the epsilon"
            " spent so far.")


def further(curves: "DataFrame") -> "Series":
    """By instance: at equal clean accuracy, to a point, the lift of the DP-SGD model with the most
    progress minus that of the one with the least, mean over accuracies.

    `curves`: recorded paths of DP-SGD, last weights; accuracies as in `law.at_equal_accuracy`.
    """
    found = curves.assign(**{"progress": progress(curves), envelopes.UNIT: rows.unit(curves),
                             envelopes.LEVEL: curves["accuracy"].round(2)})
    found = found[found[envelopes.LEVEL] >= law.LEAST_ACCURACY * found[envelopes.LEVEL].max()]
    by = found.groupby([envelopes.UNIT, envelopes.LEVEL])["progress"]
    both = found.loc[by.idxmax(), "lift"].to_numpy() - found.loc[by.idxmin(), "lift"].to_numpy()
    apart = by.agg(["max", "min"]).assign(difference=both)
    apart = apart[apart["max"] > apart["min"]]
    return apart.groupby(envelopes.UNIT)["difference"].mean()


def progress(curves: "DataFrame") -> "Series":
    """Sum of the learning rates so far over (1 - momentum), at each point of recorded paths."""
    import pandas as pd

    found = pd.Series(float("nan"), index=curves.index)
    for _, path in curves.groupby(["key", "weights"], sort=False):
        line, steps = path.iloc[0], tuple(int(step) for step in path["step"])
        unit = law.unit_path(line["training.schedule"], max(steps), steps, str(line["weights"]),
                             line["training.ema_decay"])
        found.loc[path.index] = unit[:, 0] * line["training.lr"] / (1 - line["training.momentum"])
    return found


def at_equal_accuracy(paths: Mapping[str, "DataFrame"], known: Mapping[str, SetUp]
                      ) -> dict[str, "DataFrame"]:
    """`law.at_equal_accuracy` of every set-up, by name."""
    return {name: law.at_equal_accuracy(paths[name], records=records(one))
            for name, one in known.items()}


def weight(equal: Mapping[str, "DataFrame"], names: Iterable[str]) -> str:
    """In words: the weight of the noise that fits best on these set-ups, and the frozen one."""
    names = [name for name in names if name in equal]
    best = law.fitted([equal[name] for name in names])
    return (f"best weight of log noise beside log progress on {', '.join(names)}: {best:g};"
            f" frozen: {law.WEIGHT:g}")


def preferred(known: Mapping[str, SetUp], names: Sequence[str]) -> str:
    """The first of these names that is known, else the first that is."""
    return next(name for name in (*names, *known) if name in known)
