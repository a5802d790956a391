"""The headline figures of Razmi et al.'s notebooks, from published rows."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.razmi import bagging, labelled, priors
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame


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
    lift, plain = (judgement.points(rows.per_unit(frame, "lift"), sign="")
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
    "12_pate": pate,
    "16_label_dp": label_privacy,
}
