"""Notebook 21's headline, and a look at a brew that is small enough to make on the spot."""

from typing import TYPE_CHECKING, NamedTuple

from lib import figures
from lib.papers import Headline, claim
from lib.papers.borgnia import trials
from lib.papers.borgnia.matching import AUGMENTATIONS
from lib.papers.borgnia.patching import NONE

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

SIDES = ("the defence helps", "it harms")
GAINS = ("knowing it harms the attacker", "it helps")
POISONS, ITERATIONS = 4, 60  # of the small brew


class Look(NamedTuple):
    """A small brew. images: uint8 [3 x poisons, ...], originals, poisons, and their differences
    about grey; their titles; the objective by iteration; what it found, in words."""

    images: "Tensor"
    titles: list[str]
    path: "DataFrame"
    finding: str


def look(dataset: str, *, eps: float, seed: int = 0) -> Look:
    """Brew a few poisons of generated digits against a small network, in about a second."""
    import pandas as pd
    import torch

    made = _small(dataset, eps=eps, seed=seed)
    moved = made.poisons.float() - made.originals.float()
    shown = torch.cat([made.originals, made.poisons, (128 + moved).clamp(0, 255).byte()])
    sizes = [f"l2 {each.norm() / 255:.2f}, linf {each.abs().max():.0f}/255" for each in moved]
    titles = ["original"] * POISONS + sizes + ["difference"] * POISONS
    path = pd.DataFrame({"iteration": range(1, len(made.path) + 1), "objective": made.path})
    return Look(shown, titles, path, f"The objective falls from {made.path[0]:.2f} to"
                                     f" {made.path[-1]:.2f} in {len(made.path)} iterations.")


def _small(dataset: str, *, eps: float, seed: int):
    import torch

    from lib import data
    from lib.attacks.gradient_matching import GradientMatching
    from lib.data import Labelled
    from lib.lab import Lab
    from lib.training import Training

    known = data.load(dataset, train_size=400, test_size=100)
    own, test = (Labelled(*part, known.classes) for part in (
        (known.train_images, known.train_labels), (known.test_images, known.test_labels)))
    attack = GradientMatching(base=0, label=8, fraction=POISONS / 400, eps=eps, restarts=1,
                              iterations=ITERATIONS, transforms=(), model="mlp",
                              training=Training(lr=0.01, epochs=8.0, batch_size=20))
    lab = Lab(torch.device("cpu"), lambda images: images / 255, {"dataset": known.digest},
              test=test)
    return attack.brewed(own, seed=seed, lab=lab)


def headline(published: "DataFrame") -> Headline:
    """Notebook 21: what each augmentation changes against an attacker who knows it."""
    found = trials.main(published, claim("I7").setup)
    arms = [arm for arm in AUGMENTATIONS if arm != NONE]
    shown = trials.against_none(found, arms, aware=True)
    return Headline(
        "matching-headline",
        figures.contrasts(shown, by="than", better="lower", sides=SIDES, dots="trials",
                          xlabel="targets hit, minus without a defence"),
        shown,
        "What each augmentation changes in the success of gradient matching by an attacker who"
        " knows it, against no defence and the same target, mean and 95% t interval over"
        f" {shown['trial'].nunique()} targets (dots).",
        "Forest plot: for each augmentation the share of targets hit minus that without a defence,"
        " beside a line at zero.",
        trials.finding_of(shown))


HEADLINES = {"21_mixing_targeted": headline}
