"""What is followed along a training beside its scores: losses on training samples by what the
attack did to them (Razmi et al., figure 7), and how far the trigger moves logits.
"""

import torch
import torch.nn.functional as F

from lib.attacks import Poisoned
from lib.defences import Predict
from lib.goals import Cases, Predictions

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


def trigger(predictions: Predictions, cases: Cases, base: int | None) -> dict[str, float | None]:
    """How far the attacker's cases lie from the same test images as they are, in logits.

    trigger_signal: mean change of the margin, which is wanted minus base logit (without a base
    class minus the largest other one). trigger_noise: standard deviation, over the classes that
    have no part in the attack, of the mean change of their logits: what the same pixels do to
    outputs that poison never taught. gap, gap_sd: mean and standard deviation of the margin before.
    None where the attacker wants no one class, or there are no cases.
    """
    names = ("trigger_signal", "trigger_noise", "gap", "gap_sd")
    if cases.wanted is None or not len(cases.rows):
        return dict.fromkeys(names)
    before, after = predictions.clean[cases.rows].double(), predictions.cases.double()
    apart = [place for place in range(before.shape[1]) if place not in (cases.wanted, base)]
    moved = (after - before).mean(0)[apart]
    gaps = _margins(before, cases.wanted, base)
    signal = (_margins(after, cases.wanted, base) - gaps).mean()
    values = (signal, moved.std(), gaps.mean(), gaps.std())
    return dict(zip(names, (value.item() for value in values), strict=True))


def _margins(logits: torch.Tensor, wanted: int, base: int | None) -> torch.Tensor:
    """Wanted logit minus base logit, or minus the largest other one [cases]."""
    if base is not None:
        return logits[:, wanted] - logits[:, base]
    others = [place for place in range(logits.shape[1]) if place != wanted]
    return logits[:, wanted] - logits[:, others].amax(1)
