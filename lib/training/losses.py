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
