"""The headline figures of Razmi et al.'s notebooks, from published rows."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline, razmi
from lib.papers.razmi import (
    all_methods,
    arms,
    bagging,
    figure4,
    figure7,
    labelled,
    perfect,
    priors,
    setups,
    strength,
    table2,
)
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

BUDGET_SHARE = 0.1  # poisoned share of the base class in notebook 13's headline


def setup(published: "DataFrame") -> Headline:
    """Notebook 10: what is called target with a trigger, and by models that never saw one."""
    weak, strong = rows.HEADLINE_FRACTION, rows.FIGURE_FRACTION
    found = rows.nearest(rows.measured(published, world=None), razmi.HEAD)
    found = found[found["attack.fraction"].isin([weak, strong]) & found["world"].isin(["P", "L"])]
    found = found.sort_values(["attack.fraction", "world"], ascending=[True, False])
    data = found.assign(pair=rows.unit(found), model=[
        f"{share:.0%} of the class: {'attacked' if world == 'P' else 'wrong labels, no trigger'}"
        for share, world in zip(found["attack.fraction"], found["world"], strict=True)])
    at = {share: setups.blind_share(found, share) for share in (weak, strong)}
    return Headline(
        "setup-headline",
        figures.contrasts(data, by="model", value="success", better="lower", unit="%",
                          xlabel="stamped images called target",
                          sides=("none", "more of the class is called target")),
        data[["model", "pair", "success"]],
        f"Attack success with {weak:.0%} and {strong:.0%} of the base class relabelled, and the"
        " same count for models that saw the same wrong labels and no trigger:"
        f" {data['pair'].nunique()} pairs of classes (dots), mean and 95% t interval."
        f" {data['dataset'].iloc[0]}, {data['features'].iloc[0]}, no defence.",
        "Forest plot: stamped images called target by attacked models and by models that never saw"
        " the trigger, for two poisoned shares.",
        f"Models that never saw the trigger call {at[strong]}% of the stamped images target with"
        f" {strong:.0%} of the class relabelled, and {at[weak]}% with {weak:.0%}.")


def attack_strength(published: "DataFrame") -> Headline:
    """Notebook 14: the lift of three methods at epsilon 1 and of none, weak and strong attack."""
    weak, strong = rows.HEADLINE_FRACTION, rows.FIGURE_FRACTION
    attacked = arms.named(rows.measured(published))
    attacked = attacked[attacked["attack.fraction"].isin([weak, strong])]
    data = arms.of(attacked, (arms.UNDEFENDED, *strength.METHODS)).sort_values(
        "attack.fraction", kind="stable")
    data = data.assign(attack=[f"{share:.0%} poisoned, {_method(name)}" for share, name in zip(
        data["attack.fraction"], data["series"], strict=True)])
    grown = figure4.growth(attacked, weak, strong)
    own, plain = ({share: judgement.level(group, "lift")
                   for share, group in arms.of(data, [name]).groupby("attack.fraction")}
                  for name in ("DP-SGD", arms.UNDEFENDED))
    more = judgement.points(grown.loc[grown["series"].eq("DP-SGD"), "difference"], sign="")
    return Headline(
        "strength-headline",
        figures.contrasts(data, by="attack", value="lift", better="lower",
                          xlabel="lift: what the trigger itself does",
                          sides=("nothing left", "the trigger works")),
        data[["attack", "pair", "lift"]],
        f"Lift at epsilon 1 (label-DP for LP-2ST and ALIBI) and without a defence, {weak:.0%} and"
        f" {strong:.0%} of the base class poisoned: {_pairs(data, weak)} and"
        f" {_pairs(data, strong)} pairs of classes (dots), mean and 95% t interval.",
        "Forest plot: the lift that each method leaves, for a weak and for a strong attack, beside"
        " a line at zero.",
        f"With {weak:.0%} of the base class poisoned DP-SGD leaves {own[weak]} points of lift of"
        f" {plain[weak]}; on the pairs measured at both shares, {strong:.0%} leaves {more} more.")


def perfect_defence(published: "DataFrame") -> Headline:
    """Notebook 15: attack success beside the paper's 1%, with and without an attack, for the
    setting of each method that leaves least."""
    found = table2.judged(rows.measured(published, world=None))
    found = table2.strictest(found[found[table2.CLEAN].notna()])
    data = _with_and_without(found)
    clean = {name: judgement.points(group[table2.CLEAN], sign="", bounds=(0, 1))
             for name, group in found.groupby("method")}
    return Headline(
        "perfect-headline",
        figures.contrasts(data, by="model", value="success", better="lower", unit="%",
                          at=100 * perfect.STOPPED, xlabel="stamped images called target",
                          sides=("met", "the paper's criterion is missed")),
        data.assign(model=data["model"].str.replace("\n", ", ")),
        f"Attack success beside the {perfect.STOPPED:.0%} that the paper asks for (line), and the"
        " same count for models of the same defence that were never attacked: of each method the"
        " setting with the least attack success."
        f" {rows.HEADLINE_FRACTION:.0%} of the base class poisoned, {found['pair'].nunique()} pairs"
        " (dots), mean and 95% t interval.",
        "Forest plot: for four methods, stamped images called target by attacked models and by"
        " models that were never attacked, beside the criterion.",
        "Models that were never attacked call this share of the stamped images target, %: "
        + ", ".join(f"{name} {text}" for name, text in clean.items()) + ".")


def _with_and_without(found: "DataFrame") -> "DataFrame":
    """Two rows a run: what the attacked model and its clean twin call target."""
    long = found.melt(id_vars=["method", "setting", "pair"], value_vars=[table2.CLEAN, "success"],
                      var_name="of", value_name="called")
    named = long["method"] + " " + long["setting"] + long["of"].map(
        {table2.CLEAN: "\nnever attacked", "success": "\nattacked"})
    return long.assign(model=named).sort_values(
        ["method", "of", "pair"], ascending=[True, False, True]).rename(
        columns={"called": "success"})[["model", "pair", "success"]]


def training_dynamics(published: "DataFrame") -> Headline:
    """Notebook 17: early loss of backdoored samples minus that of clean ones, by method and
    epsilon."""
    from lib import study

    attacked = figure7.named(rows.measured(published, fraction=rows.FIGURE_FRACTION))
    found = figure7.gaps(study.curves(attacked))
    data = figure7.against(found, figure7.OTHERS)
    return Headline(
        "dynamics-headline",
        figures.contrasts(data, by="training", unit="nats an image", better="lower",
                          xlabel="loss of backdoored minus loss of clean samples",
                          sides=("backdoored are easier", "harder")),
        data[["training", "pair", "difference"]],
        f"Mean cross-entropy on backdoored samples minus that on untouched samples of the other"
        f" classes, epochs 1 to 10: {data['pair'].nunique()} pairs of classes (dots), mean and 95%"
        f" t interval. {rows.FIGURE_FRACTION:.0%} of the base class poisoned;"
        f" {attacked['dataset'].iloc[0]}, {attacked['features'].iloc[0]}.",
        "Forest plot: the gap between both losses for three methods, without noise and at epsilon"
        " 1, beside a line at zero.",
        figure7.finding(found, figure7.OTHERS))


def _method(name: str) -> str:
    return "no defence" if name == arms.UNDEFENDED else name


def _pairs(frame: "DataFrame", share: float) -> int:
    return frame.loc[frame["attack.fraction"].eq(share), "pair"].nunique()


def budget(published: "DataFrame") -> Headline:
    """Notebook 13: the lift of every defence minus that of plain SGD stopped as accurate."""
    tenth = all_methods.named(all_methods.at_share(published, BUDGET_SHARE))
    apart = all_methods.differences(tenth)
    means = apart.groupby("arm", sort=False)[["accuracy", "difference"]].mean()
    labels = {arm: f"{arm}\n{100 * line['accuracy']:.0f}% accurate" for arm, line in
              means.sort_values("difference", ascending=False).iterrows()}
    ordered = apart.assign(order=apart["arm"].map(list(labels).index)).sort_values(
        "order", kind="stable")
    data = ordered.assign(setting=ordered["arm"].map(labels))[[
        "setting", "attack.base", "attack.target", "difference"]]
    plain = tenth[tenth["series"].eq(all_methods.UNDEFENDED)].iloc[0]
    return Headline(
        "budget-headline", figures.contrasts(
            data, by="setting", better="lower",
            xlabel="lift of the defence, minus lift of plain SGD stopped as accurate",
            sides=("less is left", "more is left")), data,
        f"What each defence leaves of a backdoor, minus what one path of plain SGD (its tuned rate,"
        f" {plain['training.lr']:g}) leaves when it first is as accurate:"
        f" {apart['attack.base'].nunique()} pairs of classes, mean and 95% t interval."
        f" {plain['dataset']}, {plain['features']}, {plain['attack.fraction']:.0%} of the base"
        " class poisoned. Other learning rates can turn a sign (notebook 11).",
        "Forest plot: for each defence and setting the paired difference in lift from plain SGD"
        " stopped at the same accuracy, with its interval, beside a line at zero.",
        all_methods.finding(apart))


def pate(published: "DataFrame") -> Headline:
    """Notebook 12: the lift of PATE's student minus that of four others, pair by pair."""
    own, others = bagging.published(published)
    apart = {"plain SGD, trained to the end": bagging.minus(own, others[bagging.UNDEFENDED]),
             "plain SGD when it was as accurate": bagging.minus_plain(
                 own, others[bagging.UNDEFENDED]),
             "a student of one of its teachers": bagging.minus(own, others[bagging.SINGLE]),
             "a student that never saw a stamped image": bagging.minus(
                 own, others[bagging.CLEAN])}
    data = bagging.long(apart)
    lift, plain = (judgement.level(frame, "lift")
                   for frame in (own, others[bagging.UNDEFENDED]))
    at = judgement.points(apart["plain SGD when it was as accurate"].to_numpy())
    return Headline(
        "pate-headline", figures.contrasts(
            data, by="than", better="lower", xlabel="lift of PATE's student, minus lift of the row",
            sides=("PATE leaves less", "more")), data,
        f"What PATE's student ({100 * own['accuracy'].mean():.0f}% accurate) leaves of a backdoor,"
        f" minus what each other model leaves: {own['attack.base'].nunique()} pairs of classes"
        f" (dots), mean and 95% t interval. {own['defence.teachers'].iloc[0]:g} teachers, no noise"
        f" and so no guarantee; {_setting(own)}.",
        "Forest plot: the paired difference in lift between PATE's student and four other models,"
        " each with its interval, beside a line at zero.",
        f"PATE's student keeps {lift} points of lift where plain SGD keeps {plain}; minus plain SGD"
        f" when it was as accurate: {at}.")


def label_privacy(published: "DataFrame") -> Headline:
    """Notebook 16: LP-2ST minus plain randomised response, in attack success and its parts."""
    own, other = priors.published(published)
    data = priors.differences(own, other)
    success, floor, lift = (labelled.minus(own, other, name) for name in priors.MEASURES)
    return Headline(
        "label-headline", figures.contrasts(
            data, by=priors.MEASURE, better="lower",
            xlabel="LP-2ST minus randomised response at the same epsilon, base-class test images",
            sides=("fewer with the prior", "more")), data,
        "What the prior of LP-2ST changes at epsilon 1 (label-DP), beside labels randomised"
        f" without one: {own['attack.base'].nunique()} pairs of classes (dots), mean and 95% t"
        " interval. The first row is the sum of the others."
        f" {_setting(own)}.",
        "Forest plot: attack success, the share called target without the trigger, and lift of"
        " LP-2ST minus those of randomised response, beside a line at zero.",
        f"The prior changes what the trigger adds by {lift} points, what is called target without"
        f" it by {floor}, and so attack success by {success}.")


def _setting(frame: "DataFrame") -> str:
    first = frame.iloc[0]
    return (f"{first['dataset']}, {first['features']}, {first['attack.fraction']:.0%} of the base"
            " class poisoned")


HEADLINES = {
    "10_setup": setup,
    "12_pate": pate,
    "13_privacy_budget": budget,
    "14_attack_strength": attack_strength,
    "15_perfect_defence": perfect_defence,
    "16_label_dp": label_privacy,
    "17_training_dynamics": training_dynamics,
}
