"""Cross-entropy for the kinds of labels that a member can have."""

import torch
import torch.nn.functional as F
from torch import Tensor

LABELS = ("targets", "evidence")


def losses(logits: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Loss of every sample [samples], from logits [samples, classes].

    kind "targets": labels are classes int64 [samples] or probabilities [samples, classes]. kind
    "evidence": labels are log-likelihoods [samples, classes] of what was observed; the target is
    the posterior with the model's own, detached prediction as prior (Malek et al. 2021, algorithm
    2).
    """
    if kind == "evidence":
        labels = torch.softmax(logits.detach() + labels, dim=-1)
    return F.cross_entropy(logits, labels, reduction="none")


def smoothed(labels: Tensor, share: float, classes: int) -> Tensor:
    """Labels as probabilities [n, classes] of which a share is spread evenly over the classes.

    The loss is then that of `F.cross_entropy` with `label_smoothing`, which mixing of records and
    clipping leave as it is.
    """
    exact = labels if labels.is_floating_point() else F.one_hot(labels, classes).float()
    return exact * (1 - share) + share / classes


def check_smoothing(share: float, kind: str = "targets") -> None:
    """Raise ValueError for a label smoothing out of range, or of labels that are no targets."""
    if not 0 <= share < 1:
        raise ValueError(f"label_smoothing {share}: expected 0 or more and below 1")
    if share and kind != "targets":
        raise ValueError(f"label_smoothing {share} with labels as {kind}, which weigh classes "
                         "themselves: expected 0")
