"""Losses on training samples along a training, by what the attack did to them (Razmi et al., figure
7).
"""

import torch
import torch.nn.functional as F

from lib.attacks import Poisoned
from lib.defences import Predict

MOST = 2000  # samples of a kind: their mean is then known to a few per cent


def losses(predict: Predict, data: Poisoned, base: int | None) -> dict[str, float | None]:
    """Mean cross-entropy of the first samples of each kind, the attacked ones with the label that
    the attack gave them.

    loss_poison: attacked samples. loss_base: untouched ones of the base class (absent without one).
    loss_clean: untouched ones of the other classes. None where there is no such sample.
    """
    of_base = data.truth == base if base is not None else torch.zeros_like(data.mask)
    kinds = {
        "loss_poison": data.mask, "loss_base": of_base & ~data.mask,
        "loss_clean": ~of_base & ~data.mask
    }
    return {
        name: _loss(predict, data,
                    kind.nonzero().flatten()[:MOST]) for name, kind in kinds.items()
    }


def _loss(predict: Predict, data: Poisoned, records: torch.Tensor) -> float | None:
    if not len(records):
        return None
    rows, stamped = data.rows[records], data.rows[records] >= len(data.clean)
    inputs = data.clean[rows.where(~stamped, 0)]
    inputs[stamped] = data.stamped[rows[stamped] - len(data.clean)]
    return F.cross_entropy(predict(inputs), data.labels[records].cpu()).item()
