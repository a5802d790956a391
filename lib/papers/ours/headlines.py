"""The headline figures of our own notebooks, from published rows."""

import math
from typing import TYPE_CHECKING

from lib import figures, goals
from lib.papers import Headline
from lib.papers.ours import envelopes, matched, set_ups, tuned
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SHOWN_NOISE = 1.0  # the DP-SGD of notebook 11's headline: the least private level that is tuned
FOUND_HERE = "(rule found here)"  # set-ups on which notebook 64 fits its rule
FASTER = 3  # times its learning rate, to the next value of the grid


def dpsgd(published: "DataFrame") -> Headline:
    """Notebook 11: the lift of one tuned DP-SGD minus that of five others, pair by pair."""
    from lib import study

    choices, attacked = tuned.compared(published)
    choices = tuned.of_families(choices)
    arms, rates = tuned.arms(attacked), tuned.favourites(choices)
    own = f"{envelopes.PRIVATE} {SHOWN_NOISE:g}"
    at_noise, plain = attacked[arms.eq(own)], attacked[arms.eq(envelopes.PLAIN)]
    private = at_noise[at_noise[tuned.RATE].eq(rates[own])]
    faster = at_noise[(at_noise[tuned.RATE] / rates[own] - FASTER).abs().lt(0.5)]
    undefended = plain[plain[tuned.RATE].eq(rates[envelopes.PLAIN])]
    as_tuned = tuned.differences(attacked, study.curves(plain), choices)
    as_tuned = as_tuned[as_tuned[matched.LEVEL].eq(SHOWN_NOISE)]
    values = {
        "plain SGD to the end\n(no defence)": _minus(private, undefended),
        "plain SGD stopped early,\nboth tuned for accuracy": rows.per_unit(as_tuned, "difference"),
        f"DP-SGD at the same ε,\n{FASTER} times the learning rate": _minus(private, faster),
        "clipping alone (no noise),\nstopped early": _clipped(published, private),
        "plain SGD stopped early,\nboth set to leave least": _least(published),
    }
    data = _long(values)
    epsilon = private["epsilon"].mean()
    figure = figures.contrasts(
        data, by="than", better="lower", sides=("DP-SGD leaves less", "more"),
        xlabel=f"what the trigger adds (lift): DP-SGD at ε {epsilon:.2g} minus the training at the"
               " left")
    first, *_, last = (judgement.points(one) for one in values.values())
    return Headline(
        "dpsgd-headline", figure, data,
        f"What DP-SGD at epsilon {epsilon:.2g} leaves of a backdoor, minus what each other training"
        f" leaves: {private['attack.base'].nunique()} pairs of classes (dots), mean and 95% t"
        " interval. Stopped early: when first as accurate as DP-SGD. Last row: DP-SGD at any noise"
        " tried, over the last five points of accuracy that both reach; settings chosen by what"
        " they leave on other pairs."
        f" {private['dataset'].iloc[0]}, {private['features'].iloc[0]},"
        f" {private['attack.fraction'].iloc[0]:.0%} of the base class poisoned; delta 1e-5,"
        " add-remove, Poisson batches, PLD.",
        "Forest plot: the paired difference in lift between DP-SGD and five other trainings, each"
        " with its interval, beside a line at zero.",
        f"DP-SGD at epsilon {epsilon:.2g} changes the lift by {first} points against plain SGD"
        f" without a defence, and DP-SGD at any noise changes it by {last} against plain SGD"
        " stopped as accurate, both set to leave least.")


def _minus(own: "DataFrame", other: "DataFrame") -> "Series":
    return (rows.per_unit(own, "lift") - rows.per_unit(other, "lift")).dropna()


def _clipped(published: "DataFrame", private: "DataFrame") -> "Series":
    """DP-SGD minus clipping alone at its tuned rate, when that was as accurate."""
    from lib import study

    choices, attacked = tuned.compared(published)
    clipped = attacked[tuned.arms(attacked).eq("clip only")]
    rate = tuned.favourites(choices).get("clip only")
    path = study.curves(clipped[clipped[tuned.RATE].eq(rate)])
    return rows.per_unit(matched.matched(private, path, metric="lift"), "difference")


def _least(published: "DataFrame") -> "Series":
    """The mean difference between the envelopes of D1b, over the last five points of accuracy."""
    from lib import study

    attacked = envelopes.attacked(published)
    found = envelopes.apart(study.curves(attacked[envelopes.named(attacked)]))
    top = found[envelopes.LEVEL].max() - envelopes.UPPER[-1]
    return envelopes.means(found[found[envelopes.LEVEL].ge(top - 1e-9)])


def _long(values: dict[str, "Series"]) -> "DataFrame":
    import pandas as pd

    return pd.concat([
        series.rename("difference").rename_axis("pair").reset_index().assign(than=name)
        for name, series in values.items()], ignore_index=True)


def why(published: "DataFrame") -> Headline:
    """Notebook 64: of DP-SGD models as accurate as each other, the lift of the one that went
    furthest minus that of the one that went least far, on four set-ups."""
    from lib import study

    last = "CIFAR-10, ImageNet features"
    values = {name: set_ups.further(study.curves(_private_paths(frame)))
              for name, frame in _law_rows(published).items() if len(frame)}
    data = _long(values)
    finding = (f"On {last}, of DP-SGD models as accurate as each other, the one with the largest"
               " learning rate times steps differs in lift from the one with the smallest by"
               f" {judgement.points(values[last])} points.") if last in values else ""
    return Headline(
        "why-headline", figures.contrasts(
            data, by="than", better="lower",
            xlabel="lift of the DP-SGD model with most rate × steps, minus that with least",
            sides=("less is left", "more is left")), data,
        "DP-SGD at several noise levels and learning rates, stopped at equal clean accuracy (to a"
        " point): what the training with the largest learning rate times steps leaves of a"
        " backdoor, minus what that with the smallest leaves. Mean over accuracies; pairs of"
        " classes (dots), mean and 95% t interval. 10% of the base class poisoned.",
        "Forest plot: for four set-ups the paired difference in lift between the DP-SGD training"
        " that went furthest and the one that went least far, with its interval, beside zero.",
        finding)


def start(published: "DataFrame") -> Headline:
    """Notebook 00: what attack success is made of, without and with DP-SGD; one training each."""
    both = goals.parts(published)
    both = both.sort_values("epsilon", ascending=False, kind="stable")  # no guarantee: plain SGD
    names = [envelopes.PLAIN if math.isinf(line["epsilon"])
             else f"{envelopes.PRIVATE}, ε {line['epsilon']:.2g}" for _, line in both.iterrows()]
    data = both.assign(model=[f"{name}: {100 * accuracy:.1f}% accurate" for name, accuracy in zip(
        names, both["accuracy"], strict=True)])[["model", "natural", "collateral", "lift",
                                                 "success"]]
    first, last = both.iloc[0], both.iloc[-1]
    return Headline(
        "start-headline", figures.parts_bars(data, label="model"), data,
        f"What attack success is made of, without and with DP-SGD: one training each on"
        f" {first['dataset']}, {first['attack.fraction']:.0%} of class {first['attack.base']:g}"
        f" stamped and labelled {first['attack.target']:g}. Delta 1e-5, add-remove, Poisson"
        " batches, PLD.",
        "Two stacked bars: attack success without and with DP-SGD, each split into natural"
        " confusion, collateral and lift.",
        f"DP-SGD at epsilon {last['epsilon']:.2g} changes attack success from"
        f" {100 * first['success']:.0f} to {100 * last['success']:.0f}%, and accuracy from"
        f" {100 * first['accuracy']:.1f} to {100 * last['accuracy']:.1f}%.")


def _law_rows(published: "DataFrame") -> "dict[str, DataFrame]":
    """The rows of notebook 64's set-ups; those on ImageNet features are notebook 11's."""
    from lib import study

    of_11 = study.published("11_dpsgd")
    return {
        "CIFAR-10, ImageNet features": of_11[of_11["features"].str.startswith("imagenet-lite0")],
        f"CIFAR-10, patches\n{FOUND_HERE}": published[published["features"].eq("patches")],
        f"drawn digits\n{FOUND_HERE}": published[published["dataset"].eq("strokes")
                                  & published["model"].eq("mlp")],
        "MNIST": published[published["dataset"].eq("mnist")],
    }


def _private_paths(frame: "DataFrame") -> "DataFrame":
    """DP-SGD's attacked rows with a recorded path, last weights."""
    found = frame[frame["split"].eq("test") & frame["world"].eq("P")
                  & frame["training.checkpoints"].gt(0) & frame["weights"].eq("last")]
    return found[envelopes.families(found).eq(envelopes.PRIVATE)]


HEADLINES = {
    "00_start_here": start,
    "11_dpsgd": dpsgd,
    "64_why": why,
}
