"""Figures, tables and findings of notebook 31: poisons, and success by how they were hardened."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib import figures
from lib.attacks.hardening.pgd import WEAK
from lib.papers import Headline
from lib.papers.turner import SETUP, consistent, dirty, panels, victims
from lib.papers.turner.consistent import (
    ARM,
    BASELINE,
    CHOSEN,
    CLASS,
    COMPARED,
    GAN_ARMS,
    LATENT,
    MISLABELLED,
    PGD_ARMS,
    POISONS,
    SHARE,
    Attacker,
)
from lib.study.runs import Run
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from torch import Tensor

SIDES = ("hardening does not help", "it helps the attack")
SUCCESS = "attack success (lower is better)\n[% of other classes' images]"
WHOSE = {"drawn": "generated digits", "victim": "the victim's data"}  # pictures
NO_DATA = "these pictures need the data set, which is not at hand"
MAGNIFIED = 4
ORDER = (MISLABELLED, BASELINE, *PGD_ARMS, *GAN_ARMS)
TABLE = (ARM, "of the class", "poisons", "classes", "success, %", "natural, %", "lift, %",
         "effect, %", "lost recall, %")


# ---------------------------------------------------------------- pictures

def pictured(name: str, victim: Run, networks: Attacker) -> tuple[Run, Attacker]:
    """What is hardened for the pictures named in `WHOSE`; digits are hardened within seconds."""
    if name not in WHOSE:
        raise ValueError(f"pictured {name!r}: expected {' or '.join(WHOSE)}")
    if name == "victim":
        return victim, networks
    return victims.drawn(train_size=2000, test_size=500), consistent.DRAWN


def crafted(run: Run, arms: Iterable[str], *, target: int, networks: Attacker, count: int = 1,
            amplitude: float = 0) -> "tuple[Tensor, dict[str, Tensor]]":
    """The first images of the target class that an attack takes, uint8 [count, ...], and what each
    arm makes of them; fewer if the class is smaller. Networks that no run trained are trained.

    amplitude: of the trigger, in levels; 0 for none. `BASELINE` is an arm too. Raises DataNotFound.
    """
    from lib.study import inputs

    known, lab = inputs.private_and_test(run)[0], inputs.lab(run)
    made = {}
    for arm in arms:
        method = consistent.hardening(CHOSEN if arm == BASELINE else arm, target, networks)
        attack = consistent.poisoned(target, COMPARED, method)
        attack = replace(attack, fraction=None,
                         poisons=min(count, len(attack.order(known.labels, seed=0))))
        originals = known.images[attack.victims(known.labels, seed=0)].cpu()
        images = originals if arm == BASELINE else attack.hardened(
            known, seed=0, lab=lab)["images"]
        made[arm] = panels.one_corner(amplitude)(images, seed=0) if amplitude else images
    return originals, made


def beside(run: Run, arms: Iterable[str], *, magnified: float = 0, **settings: Any) -> "Figure":
    """Figures 1.3, 3.4, A.3.1 and A.3.2: originals, and in columns what each arm makes of them.

    settings: of `crafted`. Without the data set, the figure says so.
    """
    from lib.data import DataNotFound

    try:
        originals, made = crafted(run, arms, **settings)
    except DataNotFound:
        return figures.not_measured(NO_DATA)
    return figures.image_grid(*panels.beside(originals, made, magnified=magnified),
                              columns=panels.columns(made))


def strip(run: Run, *, target: int, networks: Attacker, steps: int = 6, count: int = 2
          ) -> "Figure":
    """Figure 3.3: from an image of the target class to one of another, in a GAN's latent space."""
    taus = [number / (steps - 1) for number in range(steps)]
    return beside(run, [f"GAN {tau:g}" for tau in taus], target=target, networks=networks,
                  count=count)


def adversarial(run: Run, *, target: int, networks: Attacker, arm: str = "linf 16",
                count: int = 64) -> "Figure":
    """Figure 1.1, our own example: an image, the change of `arm`, and both together, with what the
    surrogate calls them.

    Of `count` images the one whose loss rises most, of those that are called something else only
    after the change, if there are any.
    """
    from lib.data import DataNotFound

    try:
        shown, titles = _adversarial(run, arm, target=target, networks=networks, count=count)
    except DataNotFound:
        return figures.not_measured(NO_DATA)
    return figures.image_grid(shown, titles, columns=3)


def _adversarial(run: Run, arm: str, *, target: int, networks: Attacker, count: int
                 ) -> "tuple[Tensor, list[str]]":
    import torch

    from lib.attacks.hardening import Scene
    from lib.study import inputs

    originals, made = crafted(run, [arm], target=target, networks=networks, count=count)
    known, lab = inputs.private_and_test(run)[0], inputs.lab(run)
    network = networks.surrogate.surrogate(Scene(known, target, 0, lab))
    before, after = (network.logits(images.to(lab.device)).detach().log_softmax(1).cpu()
                     for images in (originals, made[arm]))
    best = _clearest(before, after, target)
    moved = made[arm][best].float() - originals[best].float()
    change = (panels.GREY + MAGNIFIED * moved).round().clamp(0, 255).to(torch.uint8)
    called = [known.classes[int(found[best].argmax())] for found in (before, after)]
    return (torch.stack([originals[best], change, made[arm][best]]),
            [f"called {called[0]}", f"change x {MAGNIFIED}", f"called {called[1]}"])


def _clearest(before: "Tensor", after: "Tensor", target: int) -> int:
    """Which image shows best what a change does. before, after: log-probabilities [n, classes]."""
    right, wrong = before.argmax(1) == target, after.argmax(1) != target
    risen = (before - after)[:, target]
    for some in (right & wrong, right):
        if some.any():
            return int(risen.masked_fill(~some, -math.inf).argmax())
    return int(risen.argmax())


def conspicuous(run: Run, arms: Iterable[str], *, features: bool = False, **settings: Any
                ) -> "DataFrame":
    """How much poisons differ from their originals, medians: a line an arm (`panels.compared`).

    features: also on an ImageNet network. settings: of `crafted`. Empty without the data set.
    """
    from pandas import DataFrame

    from lib.data import DataNotFound

    try:
        originals, made = crafted(run, arms, **settings)
        encode = panels.imagenet(run.dataset) if features else None
        return panels.compared(originals, made, encode=encode).reset_index()
    except DataNotFound:
        return DataFrame(columns=["poison"])


def visible_finding(lines: "DataFrame", arms: Iterable[str]) -> str:
    """In words: how much the images of these arms differ from their originals. lines: of
    `conspicuous`."""
    known = lines.set_index("poison")
    said = [f"{arm} {known.at[arm, 'l2']:.2f} and {known.at[arm, 'ssim']:.2f}"
            for arm in arms if arm in known.index]
    return f"Median l2 distance (pixels in [0, 1]) and SSIM: {', '.join(said)}." if said else ""


# ---------------------------------------------------------------- curves

def by_share(found: "DataFrame", *, series: str = CLASS, title: str = "", y: str = "success"
             ) -> dict[str, Any]:
    """A spec of `figures.panels`: success by the poisoned share of the class. found: of
    `consistent.undefended`."""
    return {"frame": found, "x": SHARE, "y": y, "series": series, "xscale": "log",
            "xlabel": "poisoned share of the target class", "instance": "attack.target",
            "spread": "none", **({"ylabel": SUCCESS} if y == "success" else {}),
            **({"title": title} if title else {})}


def of_arm(found: "DataFrame", arm: str, *, title: str = "") -> dict[str, Any]:
    """Figures 3.2, 3.7 and 3.8: one arm, a line a class."""
    return by_share(found[found[ARM].eq(arm)], title=title or arm)


def strengths(found: "DataFrame", arms: Sequence[str], *, title: str = "") -> dict[str, Any]:
    """Figures 3.5 and 3.6: a line an arm, means over target classes, beside stamping only."""
    return by_share(in_order(found, (BASELINE, *arms)), series=ARM, title=title)


def of_class(found: "DataFrame", name: str, arms: Sequence[str] = (LATENT, CHOSEN)
             ) -> dict[str, Any]:
    """Figure A.2: one class, a line an arm."""
    return strengths(found[found[CLASS].eq(name)], arms, title=name)


def in_order(found: "DataFrame", arms: Sequence[str] = ORDER) -> "DataFrame":
    """The rows of these arms, in their order and by share."""
    own = found[found[ARM].isin(arms)]
    place = own[ARM].map({arm: number for number, arm in enumerate(arms)})
    return own.assign(place=place).sort_values(["place", SHARE], kind="stable").drop(
        columns="place")


# ---------------------------------------------------------------- tables and findings

def table(found: "DataFrame") -> "DataFrame":
    """A line an arm and share: poisons, and means with 95% t intervals over target classes."""
    import pandas as pd

    lines = []
    for (arm, share), own in in_order(found).groupby([ARM, SHARE], sort=False):
        counts = own[POISONS].dropna()
        texts = [judgement.level(own, name) for name in
                 ("success", "natural", "lift", "effect", "lost_recall")]
        poisons = "–" if counts.empty else _span(counts.min(), counts.max())
        lines.append((arm, f"{share:.1%}", poisons, rows.unit(own).nunique(), *texts))
    return pd.DataFrame(lines, columns=list(TABLE))


def _span(low: float, high: float) -> str:
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def costs(found: "DataFrame", arms: Sequence[str] = (BASELINE, CHOSEN, LATENT)) -> "DataFrame":
    """What attacks cost in clean accuracy, points against the clean training: a line an arm and
    share."""
    import pandas as pd

    lines = [(arm, f"{share:.1%}", rows.unit(own).nunique(), judgement.level(own, "accuracy"),
              judgement.points(rows.per_unit(own, "cost").to_numpy(), bounds=(-1.0, 1.0)))
             for (arm, share), own in in_order(found, arms).groupby([ARM, SHARE], sort=False)]
    return pd.DataFrame(lines, columns=[ARM, "of the class", "classes", "accuracy, %",
                                        "change, points"])


def recipes(found: "DataFrame") -> "DataFrame":
    """Accuracy and success by training at 6% of the class, where several were measured: a line a
    training, class and arm. found: of `consistent.prepared`."""
    import pandas as pd

    own = dirty.undefended(consistent.at(found, COMPARED))
    long = own[own["training.batch_size"].eq(50) & own["training.epochs"].eq(100)]
    beside = own[own[ARM].isin(long[ARM]) & own["attack.target"].isin(long["attack.target"])
                 & own["attack_seed"].isin(long["attack_seed"])]
    lines = [(row["training.epochs"], row["training.batch_size"], row[CLASS], row[ARM],
              100 * row["accuracy"], 100 * row["success"], 100 * row["natural"])
             for _, row in beside.iterrows()]
    return pd.DataFrame(lines, columns=["epochs", "batch", CLASS, ARM, "accuracy, %", "success, %",
                                        "natural, %"])


def gains(found: "DataFrame", arms: Sequence[str] = (*PGD_ARMS, *GAN_ARMS), *,
          share: float = COMPARED) -> "DataFrame":
    """For `figures.contrasts`: success of each arm minus that of stamping only, a line a target
    class."""
    import pandas as pd

    lines = [(arm, unit, value) for arm in arms for unit, value in consistent.difference(
        found, share, arm, BASELINE, "success").items()]
    return pd.DataFrame(lines, columns=[ARM, "pair", "difference"])


def inspection(found: "DataFrame") -> "DataFrame":
    """What the filter of figure 3.1 finds of each arm: a line an arm and target class.

    found: of `dirty.ranked`.
    """
    lines = dirty.inspection(found)
    lines.insert(0, ARM, list(found[ARM]))
    return lines


def finding(found: "DataFrame") -> str:
    """In words: success with stamping only, hardened by PGD and by the GAN, and mislabelled."""
    said = []
    for arm in (BASELINE, CHOSEN, LATENT, MISLABELLED):
        own = consistent.at(found, COMPARED, arm)
        if len(own):
            said.append(f"{arm} {judgement.level(own, 'success')}%")
    return f"Success with 6% of the class poisoned: {', '.join(said)}." if said else ""


def gains_finding(lines: "DataFrame") -> str:
    """In words: what hardening adds. lines: of `gains`."""
    said = [f"{arm} {judgement.points(own['difference'].to_numpy())}"
            for arm, own in lines.groupby(ARM, sort=False)]
    return f"Points more than stamping only: {', '.join(said)}." if said else ""


def surrogate_finding(found: "DataFrame") -> str:
    """In words: how good the surrogate is; "weak surrogate" where it is not robust."""
    robust, clean = (rows.optional(found, f"facts.surrogate_{name}").astype(float).dropna()
                     for name in ("robust", "accuracy"))
    if robust.empty:
        return ""
    words = (f"The surrogate classifies {clean.min():.0%} of test images, and {robust.min():.0%}"
             " after PGD within linf 8.")
    return f"Weak surrogate (below {WEAK:.0%}). {words}" if robust.min() < WEAK else words


def headline(published: "DataFrame") -> Headline:
    """Notebook 31: what hardening adds to stamping correctly labelled images."""
    found = rows.nearest(consistent.undefended(consistent.prepared(published)), SETUP)
    known = set(found[ARM])
    lines = gains(found, [arm for arm in (*PGD_ARMS, *GAN_ARMS) if arm in known])
    classes = lines["pair"].nunique()
    return Headline(
        "consistent-headline",
        figures.contrasts(lines, by=ARM, better="lower", sides=SIDES, dots="classes",
                          xlabel="stamped images called target, minus stamping only"),
        lines,
        "What hardening adds to the success of stamped, correctly labelled poisons, 6% of the"
        f" target class: {classes} target classes (dots), mean and 95% t interval.",
        "Forest plot: for each way to harden poisons, success minus that of stamping only, beside a"
        " line at zero.",
        " ".join(filter(None, [finding(found), surrogate_finding(found)])))


def poisons_finding(found: "DataFrame") -> str:
    """In words: how many poisons a share is."""
    own = found[found[ARM].ne(MISLABELLED) & found[POISONS].notna()]
    said = [f"{share:.1%} are {_span(some[POISONS].min(), some[POISONS].max())} images"
            for share, some in own.groupby(SHARE) if not math.isnan(share)]
    return f"Of the target class, {', '.join(said)}." if said else ""
