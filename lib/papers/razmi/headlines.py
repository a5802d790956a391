"""The headline figures of Razmi et al.'s notebooks, from published rows."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.razmi import all_methods

if TYPE_CHECKING:
    from pandas import DataFrame

BUDGET_SHARE = 0.1  # poisoned share of the base class in notebook 13's headline


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


HEADLINES = {
    "13_privacy_budget": budget,
}
