"""The headline figures of notebooks 40 and 41, from published rows."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.ozyikan import reach

if TYPE_CHECKING:
    from pandas import DataFrame

SHARE = 0.02  # the smallest poisoned share: what is out of reach there is so at any larger one
ALT = ("Three bars, one for each {}, that end left of a thick line; the line marks what the attack"
       " spends.")


def rab(published: "DataFrame") -> Headline:
    """Notebook 40: the largest radius that RAB can certify, beside the norm of the poison."""
    found = reach.smoothing(published, SHARE)
    found = found.assign(note=[f"{_count(value)} certified" for value in found["certified"]])
    figure = figures.reaches(found, attack=f"all patterns, {SHARE:.0%} poisoned",
                              unit="l2 norm between features")
    first, last = found.iloc[0], found.iloc[-1]
    return Headline(
        "smoothing-headline", figure, found.drop(columns=["label", "note"]),
        f"The largest radius that RAB can certify at each smoothing noise (light; dark: what a test"
        f" image got), and the l2 norm of all patterns together (line; grey: range over pairs of"
        f" classes). {first['models']:g} models, {first['poisons']:g} poisons among"
        f" {first['images']:g} images, frozen features of CIFAR-10.",
        ALT.format("smoothing noise"),
        f"The patterns of {SHARE:.0%} poison have {first['factor']:.0f} times the largest norm that"
        f" RAB can certify at noise {first['noise']:g}, and {last['factor']:.1f} times at noise"
        f" {last['noise']:g}; {_count(found['certified'].sum())} of"
        f" {found['predictions'].sum():,.0f} predictions are certified against them.")


def dpa(published: "DataFrame") -> Headline:
    """Notebook 41: the largest radius that DPA can certify, beside the images that are changed."""
    found = reach.voting(published, SHARE)
    found = found.assign(note=[f"{value:.0%} withstand 1" for value in found["certified at all"]])
    figure = figures.reaches(found, attack=f"{SHARE:.0%} poisoned in place",
                              unit="training images inserted or deleted")
    last = found.iloc[-1]
    return Headline(
        "partition-headline", figure, found.drop(columns=["label", "note"]),
        f"The largest radius that votes of k parts can certify (light: k/2; dark: what a test image"
        f" got), and what the attack changes (line): {last['poisons']:g} of {last['images']:g}"
        f" images in place, each one deletion and one insertion. Beside it the share of clean test"
        f" images that are correct and withstand one.",
        ALT.format("number of parts"),
        f"{SHARE:.0%} poison is {last['attack']:.0f} changes, {last['factor']:.1f} times what"
        f" {last['k']:g} parts can certify at most; the surest test image withstands"
        f" {last['reached']:.0f}. Against a single change {last['certified at all']:.0%} of the"
        f" test images are certified and correct.")


def _count(value: float) -> str:
    return f"{value:,.0f}" if value else "none"


HEADLINES = {"40_smoothing": rab, "41_partition": dpa}
