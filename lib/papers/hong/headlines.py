"""The headline figures of the gradient-shaping notebooks, from published rows."""

import itertools
from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.hong import (
    anatomy,
    anatomy_figures,
    boundaries,
    damage,
    rad,
    resistance,
    search,
    stopped,
)
from lib.papers.hong.indiscriminate import FLIPS, SLAB
from lib.papers.hong.targeted import VANILLA
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame

CLIP, PRIVATE = "C 4", "epsilon 3"
SMALL_NORM, SOME_NOISE = 0.1, 0.8  # of the headline of 52
COSTS = ("C 8", "C 0.1", *(f"C 4, noise {noise}" for noise in ("0.1", "0.4", "1", "4")))  # of 53


def indiscriminate(published: "DataFrame") -> Headline:
    """Notebook 51: clipping and a proper epsilon, against the vanilla model at its end, and stopped
    as accurate."""
    found = rad.usual(rad.compared(published))
    found = found[found["dataset"].eq(found["dataset"].mode().iloc[0])] if len(found) else found
    ends = damage.differences(found, [CLIP, PRIVATE], reading=rad.OWN)
    twins = stopped.differences(published, [CLIP, PRIVATE])
    data = _rows({"to the end": ends, "stopped": twins})
    draws = data["draw"].nunique()
    figure = figures.contrasts(
        data, by="than", better="lower", dots="draws", sides=("the defence helps", "it harms"),
        xlabel="relative accuracy drop, minus that of the vanilla model")
    return Headline(
        "indiscriminate-headline", figure, data,
        "Relative accuracy drop (last epoch, against the same defence on clean data) of clipping"
        " at norm 4 and of DP-SGD at epsilon 3, minus that of the vanilla model trained to the end,"
        " or stopped about when it was as accurate on clean data (mean over half to twice that"
        " time, in brackets the means at single moments): 40% poisons, dress and coat,"
        f" {draws} draws (dots), mean and 95% t interval over them alone; delta 1e-5, add-remove,"
        " Poisson batches, PLD.",
        "Forest plot: for each attack and defence, the difference in relative accuracy drop to the"
        " vanilla model, trained to the end and stopped early, beside a line at zero.",
        stopped.finding(twins))


def _rows(parts: "dict[str, DataFrame]") -> "DataFrame":
    """A line an attack, arm, reference and draw, in the order of the figure."""
    import pandas as pd

    names = {CLIP: "clipping at 4", PRIVATE: "DP at ε 3"}
    lines = []
    for kind, arm, (name, part) in itertools.product((FLIPS, SLAB), names, parts.items()):
        own = part[part[rad.KIND].eq(kind) & part[rad.ARM].eq(arm)]
        single = f" ({stopped.span(own)})" if "moments" in own else ""
        than = f"{kind}: {names[arm]} minus\nvanilla {name}{single}"
        lines += [(than, draw, value) for draw, value in zip(
            own[rad.DRAW], own["difference"], strict=True)]
    return pd.DataFrame(lines, columns=["than", "draw", "difference"])


def gradient_anatomy(published: "DataFrame") -> Headline:
    """Notebook 50: the ratio of gradient norms of harmless copies and of blends."""
    named = anatomy.named(rows.undefended(rows.measured(published)))
    found = anatomy_figures.orders(anatomy.epochs(named))
    data = anatomy_figures.chosen(found, (0.0, 0.4, 1.0))
    counts = " and ".join(f"{group['draw'].nunique()} draws ({name})"
                          for name, group in data.groupby("scenario", sort=False))
    return Headline(
        "anatomy-headline",
        figures.contrasts(data, by="probe", value=anatomy_figures.ORDERS, better="lower",
                          unit="times", xlabel="mean gradient, appended over clean",
                          sides=("shorter", "longer than the clean mean"), dots="draws"),
        data[["probe", "draw", anatomy_figures.ORDERS]],
        "Norm of the mean gradient of the appended images over that of the clean records, last"
        " layer, mean over the epochs: harmless copies, and blends with"
        f" another class that keep their label. {counts}, geometric mean and 95% t interval of the"
        " logarithm.",
        "Forest plot: the ratio of gradient norms for harmless copies and for two strengths of"
        " blends, from scratch and while re-training, beside a line at equal norms.",
        anatomy_figures.finding(found))


def decision_boundaries(published: "DataFrame") -> Headline:
    """Notebook 54: what DP does to a boundary on two moons, draw by draw, in the paper's terms."""
    moons = published[published["dataset"].eq("moons")]
    apart = boundaries.differences(boundaries.ends(boundaries.points(moons)))
    asked = {name: f"{name}\n({said})" for name, said in boundaries.READINGS.items()}
    shown = apart[apart["measure"].isin(asked)]  # in the order of the readings
    shown = shown.assign(measure=shown["measure"].map(asked))
    figure = figures.contrasts(
        shown, by="measure", better="lower", dots="draws", unit="points",
        xlabel="DP minus vanilla, same draw", sides=("less with DP", "more with DP"))
    draws = shown["draw"].nunique()
    return Headline(
        "boundaries-headline", figure, shown,
        f"What DP changes on two moons, {draws} draws of initial weights, batches and noise (dots),"
        " mean and 95% t interval; in brackets what the paper reads from one map. Shaded:"
        " more with DP. The length is in per cent of the vanilla boundary's.",
        "Forest plot: DP minus vanilla for the length of the boundary, for training minus test"
        " accuracy, and for the uncertain share of the plane, each with its interval, beside zero.",
        boundaries.readings(apart))


def one_shot(published: "DataFrame") -> Headline:
    """Notebook 52: targets hit in softmax regression by a few defences, and by training slower."""
    found = search.of(search.outcomes(_few(published)), search.case_name("location"))
    found = found[~found[search.ARM].str.contains(resistance.CROSSED)]
    (spec,) = resistance.panels(found, alone=False)
    clean = found.groupby(search.ARM)[search.ACCURACY].mean()
    lines = spec["frame"].sort_values(
        search.ARM, key=lambda names: names.map(_order), kind="stable")
    data = lines.assign(note=[f"{clean[name]:.1%} accurate" for name in lines[search.ARM]])
    data[search.ARM] = data[search.ARM].str.replace("rate ", "vanilla, rate ")
    return Headline(
        "one-shot-headline", figures.proportions([{"frame": data}], by=search.ARM), data,
        "Targets hit by the best of 20 poisons at the best of 50 epochs, and by the same rule"
        " without poison, 25 targets, 95% Clopper-Pearson intervals; softmax regression on"
        " Location-30. At"
        " the right: accuracy of the clean re-training. Rate: plain training at a smaller learning"
        " rate. Epsilon: given the base, delta 1e-5, add-remove, Poisson batches, PLD.",
        "For a few defences and two learning rates, the share of targets hit with its interval,"
        " beside the natural rate.",
        resistance.twins_finding(resistance.twins(found)))


def _order(arm: str) -> tuple[int, float]:
    """Where an arm stands: vanilla, smaller rates, DP by the paper's settings, smaller epsilons."""
    kinds = (VANILLA, resistance.SLOWER, "C ", resistance.EPSILON)
    place = next(number for number, kind in enumerate(kinds) if arm.startswith(kind))
    return place, -float(arm.split()[-1]) if place in (1, 3) else 0.0


def _few(published: "DataFrame") -> "DataFrame":
    """The rows that the headline shows: reading all of them takes seconds."""
    rows = published[published["model"].eq("linear") & published["attack.counts"].map(len).eq(0)]
    noise = rows["defence.noise_multiplier"].astype(float) * rows["defence.max_grad_norm"]
    clip = rows["defence.clip"].astype(bool)
    small = noise.eq(0) & rows["defence.max_grad_norm"].eq(SMALL_NORM)
    noisy = noise.sub(SOME_NOISE).abs().lt(1e-9)
    slow = sorted(rows["training.lr"].unique())[2:-1]  # of the smaller rates two are enough
    return rows[(~clip & ~rows["training.lr"].isin(slow)) | small | noisy
                | rows["defence.epsilon"].notna()]


def multi_poison(published: "DataFrame") -> Headline:
    """Notebook 53: how many more poisons each setting needs, softmax regression."""
    rows = published[published["model"].eq("linear") & published["attack.counts"].map(len).gt(0)]
    found = resistance.settings(search.outcomes(rows))
    found = search.of(found, search.case_name("location"), multi=True)
    dearer = resistance.needed(found)
    hit = found.groupby(search.ARM)[search.PAPER].agg(["sum", "count"])
    told = {name: f"{name}\n({hit.at[name, 'sum']:.0f} of {hit.at[name, 'count']:.0f} hit)"
            for name in COSTS if name in hit.index}
    shown = dearer[dearer["than"].isin(told)].sort_values(
        "than", key=lambda names: names.map(list(told).index), kind="stable")
    data = shown.assign(than=shown["than"].map(told))
    return Headline(
        "multi-poison-headline",
        figures.contrasts(data, by="than", better="higher", dots="targets", unit="times",
                          xlabel="poisons needed, over those of the vanilla model",
                          sides=("fewer poisons", "more poisons")), data,
        "Poisons needed to hit a target, over those that the vanilla model needs, softmax"
        " regression on Location-30: targets on which both are hit (dots), geometric mean and 95% t"
        " interval of the logarithm; in brackets the targets hit by up to 100 poisons.",
        "Forest plot: for each setting the ratio of poisons needed to those of the vanilla model.",
        resistance.needed_finding(shown))


HEADLINES = {
    "50_gradient_anatomy": gradient_anatomy,
    "51_indiscriminate": indiscriminate,
    "52_one_shot": one_shot,
    "53_multi_poison": multi_poison,
    "54_boundaries": decision_boundaries,
}
