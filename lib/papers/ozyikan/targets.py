"""The figures and tables of Ozyikan et al., and the notebook that makes each."""

from lib.papers.ozyikan import RAB, SHAPE, certified, partitions
from lib.verdicts.claim import Target

BINARY = "the released code is binary and small, the text says ten classes and a subset: both"

TARGETS = (
    Target(
        "ozyikan-F1",
        "figure",
        "The poisoning problem, sketched",
        "40_smoothing",
        status="illustration",
    ),
    Target(
        "ozyikan-F2",
        "figure",
        "An image with and without the four-pixel trigger",
        "40_smoothing",
        status="illustration",
    ),
    Target(
        "ozyikan-F3",
        "figure",
        "Certified accuracy on clean test images against the share of poison",
        "40_smoothing",
        "2, 5, 10%; sigma 0.5, 1, 2; N 1000",
        RAB,
        notes=f"{SHAPE}; the radius is not stated (0 and a grid); {BINARY}",
        select=certified.share_rows,
    ),
    Target(
        "ozyikan-F4",
        "figure",
        "The same on triggered test images",
        "40_smoothing",
        "2, 5, 10%; sigma 0.5, 1, 2; N 1000",
        RAB,
        notes=(
            f"{SHAPE}; rises with the poison: what RAB's training script prints has labels set to"
            " the target, so it is an attack success rate"
        ),
        select=certified.share_rows,
    ),
    Target(
        "ozyikan-F5",
        "figure",
        "Both with 100 models",
        "40_smoothing",
        "N 100; sigma printed as 5",
        RAB,
        notes=f"{SHAPE}; sigma 5 or 0.5: both are run",
        select=certified.few_rows,
    ),
    Target(
        "ozyikan-F6",
        "figure",
        "RAB on models trained with DP-SGD",
        "40_smoothing",
        "noise 0.5, 1, 2 (caption) or 0.5, 2, 5 (text); C 1; sigma 0.5",
        RAB,
        notes=SHAPE,
        select=certified.private_rows,
    ),
    Target(
        "ozyikan-F7L",
        "figure",
        "DPA against the share of poison",
        "41_partition",
        "k 50, 250, 500",
        "CIFAR-10",
        notes=(
            f"{SHAPE}; no certificate can hold at 2% (2,000 insertions and deletions against k/2),"
            " so this must be plain accuracy; the text contradicts itself on which k is low"
        ),
        select=partitions.part_rows,
    ),
    Target(
        "ozyikan-F7R",
        "figure",
        "RAB against DPA",
        "41_partition",
        "2, 5, 10%",
        "CIFAR-10",
        notes=f"{SHAPE}; the certificates differ: l2 of the pattern, number of samples",
        select=partitions.contrast_rows,
    ),
    Target("ozyikan-Alg1", "text", "DP-SGD in pseudo-code", "40_smoothing", status="documentation"),
)
