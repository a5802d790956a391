"""Figures, tables and findings of notebook 32: faint triggers, corners, augmentation, JPEG."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lib import figures
from lib.papers import Headline
from lib.papers.turner import SETUP, consistent_figures, panels, subtle
from lib.papers.turner.consistent import CHOSEN, CLASS, COMPARED, SHARE, Attacker, at
from lib.papers.turner.jpeg import AMPLITUDE, COMPRESSED, DATA, SAVED
from lib.papers.turner.subtle import AUGMENTED, CORNERS, FOUR, LOOK, ONE
from lib.study.runs import Run
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SIDES = ("one corner does better", "four corners do better")
ATTACKERS_SIDE = ("the attack loses", "it gains")


# ---------------------------------------------------------------- pictures

def faint(run: Run, levels: Iterable[float] = panels.AMPLITUDES, *, target: int,
          networks: Attacker, count: int = 3, corners: int = ONE) -> "Figure":
    """Figures 3.10 and A.3.3: hardened images under each amplitude, beside their originals."""
    from lib.data import DataNotFound

    try:
        originals, made = consistent_figures.crafted(run, [CHOSEN], target=target,
                                                     networks=networks, count=count)
    except DataNotFound:
        return figures.not_measured(consistent_figures.NO_DATA)
    shown = {"hardened": made[CHOSEN], **panels.amplitudes(made[CHOSEN], levels, corners=corners)}
    return figures.image_grid(*panels.beside(originals, shown), columns=panels.columns(shown))


def corners(run: Run, *, target: int, amplitude: float = panels.SUBTLE, count: int = 3,
            magnified: float = 4) -> "Figure":
    """Figure 3.12: images under one corner and four, with the differences below."""
    from lib.data import DataNotFound
    from lib.study import inputs

    try:
        known = inputs.private_and_test(run)[0]
    except DataNotFound:
        return figures.not_measured(consistent_figures.NO_DATA)
    own = known.images[known.labels == target][:count].cpu()
    shown = panels.stamps(own, amplitude=amplitude)
    return figures.image_grid(*panels.beside(own, shown, magnified=magnified),
                              columns=panels.columns(shown))


def corners_finding(run: Run, *, amplitude: float = panels.SUBTLE) -> str:
    """In words: how many pixels a stamp changes. Nothing without the data set."""
    from lib.data import DataNotFound
    from lib.study import inputs

    try:
        own = inputs.private_and_test(run)[0].images[:16].cpu()
    except DataNotFound:
        return ""
    moved = {name: (images.int() - own.int()).abs().amax(1).flatten(1)
             for name, images in panels.stamps(own, amplitude=amplitude).items()}
    said = [f"{name} {int((changes > 0).sum(1).max())} by up to {int(changes.max())} levels"
            for name, changes in moved.items()]
    pixels = own.shape[2] * own.shape[3]
    return f"Of {pixels:,} pixels the stamps change: {', '.join(said)}."


def conspicuous(run: Run, levels: Iterable[float] = panels.AMPLITUDES, *, target: int,
                networks: Attacker, count: int = 16, features: bool = False) -> "DataFrame":
    """How much hardened and stamped images differ from their originals, medians: a line an
    amplitude. Empty without the data set."""
    from pandas import DataFrame

    from lib.data import DataNotFound

    try:
        originals, made = consistent_figures.crafted(run, [CHOSEN], target=target,
                                                     networks=networks, count=count)
        shown = {"hardened only": made[CHOSEN], **panels.amplitudes(made[CHOSEN], levels)}
        encode = panels.imagenet(run.dataset) if features else None
        return panels.compared(originals, shown, encode=encode).reset_index()
    except DataNotFound:
        return DataFrame(columns=["poison"])


# ---------------------------------------------------------------- curves

def by_amplitude(found: "DataFrame") -> dict[str, Any]:
    """Figure 3.9: a line an amplitude, means over target classes. found: of `subtle.faint_rows`."""
    own = found.sort_values([AMPLITUDE, SHARE])
    return consistent_figures.by_share(own.assign(**{
        AMPLITUDE: [f"amplitude {level:g}" for level in own[AMPLITUDE]]}), series=AMPLITUDE)


def by_class(found: "DataFrame", title: str = "") -> dict[str, Any]:
    """Figure 3.11, and each panel of 3.14: one trigger, a line a class.
    """
    return consistent_figures.by_share(found, series=CLASS, title=title)


def by_look(found: "DataFrame") -> dict[str, Any]:
    """Figure 3.13: one corner and four, with and without augmentation."""
    return consistent_figures.by_share(found.sort_values([AUGMENTED, CORNERS, SHARE]), series=LOOK)


# ---------------------------------------------------------------- contrasts

def corner_gains(found: "DataFrame") -> "DataFrame":
    """For `figures.contrasts`: four corners minus one, by augmentation and share, a line a class.
    """
    lines = []
    for augmented, late, words in ((False, False, "not augmented"), (True, False, "augmented"),
                                   (True, True, "stamped after augmentation")):
        arms = dict(augmented=augmented, late=late)
        for share in subtle.share_of(subtle.at(found, corners=FOUR, **arms)):
            lines += _lines(f"{words}, {share:.1%}", subtle.at(found, corners=FOUR, share=share,
                                                              **arms),
                            subtle.at(found, corners=ONE, share=share, **arms))
    return _frame(lines)


def late_gains(found: "DataFrame") -> "DataFrame":
    """Stamped after augmentation minus before it, by corners, at 6%."""
    return _frame([line for corners in (ONE, FOUR) for line in _lines(
        "one corner" if corners == ONE else "four corners",
        *(subtle.at(found, corners=corners, augmented=True, late=late, share=COMPARED)
          for late in (True, False)))])


def saved_gains(**attacks: "DataFrame") -> "DataFrame":
    """Saved as JPEG minus not, by attack and amplitude.

    attacks: rows by the attack's name in words, of `subtle.saving` or `jpeg.prepared`.
    """
    return _frame([line for name, found in attacks.items()
                   for level, own in found.groupby(AMPLITUDE)
                   for line in _lines(f"{name}, amplitude {level:g}", own[own[SAVED]],
                                      own[~own[SAVED]])])


def _lines(words: str, one: "DataFrame", other: "DataFrame") -> list[tuple[str, str, float]]:
    return [(words, unit, value)
            for unit, value in subtle.difference(one, other, "success").items()]


def _frame(lines: "list[tuple[str, str, float]]") -> "DataFrame":
    import pandas as pd

    return pd.DataFrame(lines, columns=["than", "pair", "difference"])


def gains_finding(lines: "DataFrame", what: str) -> str:
    """In words: each comparison's mean difference. what: the subject of the sentence."""
    said = [f"{words} {judgement.points(own['difference'].to_numpy())}"
            for words, own in lines.groupby("than", sort=False)]
    return f"{what}, in points of success: {'; '.join(said)}." if said else ""


# ---------------------------------------------------------------- tables

def table(found: "DataFrame", by: Sequence[str] = (LOOK, AMPLITUDE, SHARE),
          names: Sequence[str] = ("success", "natural", "lift", "effect", "lost_recall")
          ) -> "DataFrame":
    """A line a trigger, amplitude and share: means with 95% t intervals over target classes."""
    import pandas as pd

    lines = []
    for keys, own in found.sort_values(list(by)).groupby(list(by), sort=False):
        texts = {f"{name.replace('_', ' ')}, %": judgement.level(own, name) for name in names}
        lines.append(dict(zip(by, keys)) | {"classes": rows.unit(own).nunique()} | texts)
    made = pd.DataFrame(lines, columns=None if lines else [*by, "classes"])
    return made.assign(**{SHARE: [f"{share:.1%}" for share in made[SHARE]]}) if SHARE in by else (
        made)


def compression_table(found: "DataFrame") -> "DataFrame":
    """Mislabelled poisons: a line a data set, amplitude and what was compressed. found: of
    `jpeg.prepared`."""
    return table(found, (DATA, AMPLITUDE, COMPRESSED), ("success", "natural", "lift", "accuracy"))


def finding(found: "DataFrame") -> str:
    """In words: success at each amplitude with 6% of the class poisoned, one corner."""
    own = at(subtle.faint_rows(found), COMPARED)
    said = [f"amplitude {level:g} {judgement.level(some, 'success')}%"
            for level, some in own.groupby(AMPLITUDE)]
    return f"Success with 6% of the class poisoned: {', '.join(said)}." if said else ""


def headline(published: "DataFrame") -> Headline:
    """Notebook 32: four corners against one, with and without augmentation."""
    found = rows.nearest(subtle.prepared(published), SETUP)
    lines = corner_gains(found)
    classes = lines["pair"].nunique()
    return Headline(
        "subtle-headline",
        figures.contrasts(lines, by="than", better="lower", sides=SIDES, dots="classes",
                          xlabel="success of four corners minus one"),
        lines,
        f"Success of a trigger of amplitude {subtle.SUBTLE} in four corners minus that in one, by"
        f" augmentation and poisoned share of the class: {classes} target classes (dots), mean and"
        " 95% t interval.",
        "Forest plot: for each augmentation and share, success of four corners minus one corner,"
        " beside a line at zero.",
        " ".join(filter(None, [finding(found), consistent_figures.surrogate_finding(found)])))
