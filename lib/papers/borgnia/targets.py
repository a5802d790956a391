"""The figures and tables of Borgnia et al., and the notebook that makes each."""

from typing import TYPE_CHECKING

from lib.papers.borgnia import CARD, RESNET, SHAPE
from lib.verdicts.claim import Number, Target

if TYPE_CHECKING:
    from pandas import DataFrame


def patched(frame: "DataFrame") -> "DataFrame":
    """The rows of table 1: the random-place patch."""
    return frame[frame["attack.name"].eq("random_patch")]


TARGETS = (
    Target(
        "borgnia-F1",
        "figure",
        "A patched image, mixed by CutMix and by mixup",
        "20_mixing_backdoors",
        status="illustration",
    ),
    Target(
        "borgnia-T1",
        "table",
        "Accuracy and success of a random-place patch on 10% and 100% of the target class",
        "20_mixing_backdoors",
        "none, CutMix, mixup, spectral signatures, activation clustering",
        f"{RESNET}; mean of 20",
        (
            Number("none 10% accuracy", 94.3),
            Number("none 10%", 45.6),
            Number("none 100% accuracy", 85.0),
            Number("none 100%", 98.3),
            Number("CutMix 10% accuracy", 95.1),
            Number("CutMix 10%", 7.0),
            Number("CutMix 100% accuracy", 94.2),
            Number("CutMix 100%", 14.1),
            Number("mixup 10% accuracy", 94.4),
            Number("mixup 10%", 23.9),
            Number("mixup 100% accuracy", 85.3),
            Number("mixup 100%", 99.8),
            Number("SS 10% accuracy", 92.3),
            Number("SS 10%", 48.3),
            Number("AC 10% accuracy", 89.4),
            Number("AC 10%", 44.0),
        ),
        "means over 20 class pairs; the width of mixup is not said (2)",
        select=patched,
    ),
    Target(
        "borgnia-T2",
        "table",
        "Gradient matching against augmentations, unaware and adaptive attacker",
        "21_mixing_targeted",
        "five augmentations, two attackers",
        f"{RESNET}; 20 trials stated",
        (
            Number("2-way mixup", 45.00, 20),
            Number("2-way mixup, adaptive", 72.73, 11),
            Number("cutout", 60.00, 20),
            Number("cutout, adaptive", 81.25, 16),
            Number("CutMix", 75.00, 20),
            Number("CutMix, adaptive", 60.00, 20),
            Number("4-way mixup", 5.00, 20),
            Number("4-way mixup, adaptive", 55.00, 20),
            Number("MaxUp-cutout", 5.26, 19),
            Number("MaxUp-cutout, adaptive", 20.00, 20),
        ),
        "n as the fractions imply, 11 could be 22; MaxUp is 'lowest loss' in one place and 'worst"
        " case' in another",
    ),
    Target(
        "borgnia-T3",
        "table",
        "Gradient matching on ImageNet",
        "21_mixing_targeted",
        "none, 2-way, 4-way mixup",
        "ImageNet, ResNet-18; 10 trials",
        (Number("none", 90, 10), Number("2-way mixup", 50.0, 10), Number("4-way mixup", 30.0, 10)),
        "0.01% of the images; here on another data set, as transfer of the effect",
    ),
    Target(
        "borgnia-T4",
        "table",
        "Poison Frogs and convex polytope against filters and mixing",
        "21_mixing_targeted",
        "none, SS, AC, mixup, CutMix",
        "CIFAR-10 by transfer; 20 trials",
        (
            Number("FC none", 80, 20),
            Number("FC SS", 70, 20),
            Number("FC AC", 45, 20),
            Number("FC mixup", 5, 20),
            Number("FC CutMix", 5, 20),
            Number("CP none", 95, 20),
            Number("CP SS", 90, 20),
            Number("CP AC", 75, 20),
            Number("CP mixup", 70, 20),
            Number("CP CutMix", 50, 20),
        ),
        CARD,
    ),
    Target(
        "borgnia-T5",
        "table",
        "Other defences against gradient matching",
        "21_mixing_targeted",
        "SS, deepKNN, AC, batch DP-SGD 0.01, 4-way mixup",
        f"{RESNET}; 20 trials stated",
        (
            Number("SS", 95.00, 20),
            Number("deepKNN", 90.00, 20),
            Number("AC", 30.00, 20),
            Number("DP-SGD 0.01", 86.25, 80),
            Number("4-way mixup", 5.00, 20),
        ),
        "SS is listed twice; 86.25% cannot come from 20 trials: 69 of 80",
    ),
    Target(
        "borgnia-T6",
        "table",
        "Hidden-trigger and clean-label backdoors against filters and mixing",
        "20_mixing_backdoors",
        "none, SS, AC, mixup, CutMix",
        "20 trials",
        (
            Number("HTBD none", 60, 20),
            Number("HTBD SS", 65, 20),
            Number("HTBD AC", 55, 20),
            Number("HTBD mixup", 20, 20),
            Number("HTBD CutMix", 10, 20),
            Number("CLBD none", 65, 20),
            Number("CLBD SS", 60, 20),
            Number("CLBD AC", 45, 20),
            Number("CLBD mixup", 25, 20),
            Number("CLBD CutMix", 15, 20),
        ),
        CARD,
    ),
    Target(
        "borgnia-F2",
        "figure",
        "Adaptive success against validation error, all defences",
        "21_mixing_targeted",
        "defences; batch DP-SGD noise 1e-4, 1e-3, 1e-2",
        RESNET,
        notes=f"{SHAPE}; augmentations dominate",
    ),
    Target(
        "borgnia-F3",
        "figure",
        "A poisoned image, mixed, with Laplace noise",
        "23_instahide_practice",
        status="illustration",
    ),
    Target(
        "borgnia-F4a",
        "figure",
        "Theorem 2's epsilon against the width of mixup",
        "22_instahide_theory",
        "k; Laplace scales s/255; n = T = 50,000",
        "formulas",
        status="computed",
        notes=(
            f"{SHAPE}; exact; needs an l1 diameter of at most 1, "
            "which images do not have (up to 3,072), and covers no label"
        ),
    ),
    Target(
        "borgnia-F4b",
        "figure",
        "Adaptive success against the width of mixup, with Laplace noise",
        "23_instahide_practice",
        "k 1 to 6; scales s",
        RESNET,
        notes=f"{SHAPE}; follows figure 4a",
    ),
    Target(
        "borgnia-F5",
        "figure",
        "Success against error as Laplace noise grows, each augmentation",
        "23_instahide_practice",
        "scales 2, 4, 8, 16, 32 /255",
        RESNET,
        (Number("MaxUp with 16/255", 0, 20),),
        "20 trials assumed",
    ),
)
