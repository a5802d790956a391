"""Measurements along a training: losses and accuracies on attacked and on untouched training
samples (Razmi et al., figure 7; Hong et al., figure 11), and how far the trigger moves logits.
"""

import torch
import torch.nn.functional as F

from lib.attacks import Poisoned, joined
from lib.defences import Predict
from lib.goals import Cases, Predictions

MAX_SAMPLES = 2000  # of each kind; enough to know their mean loss to a few per cent


def losses(predict: Predict, data: Poisoned, base: int | None) -> dict[str, float | None]:
    """Mean cross-entropy and accuracy of the first `MAX_SAMPLES` training samples of each kind.

    loss_poison: attacked samples, with the labels that the attack gave them. loss_base: untouched
    samples of the base class. loss_clean: untouched samples of the other classes; without a base
    class, of all. accuracy_poison, accuracy_clean: the share of the same samples that the model
    gives their labels in the training set. None if there are no such samples.
    """
    of_base = data.truth == base if base is not None else torch.zeros_like(data.mask)
    kinds = {"poison": data.mask, "base": of_base & ~data.mask, "clean": ~of_base & ~data.mask}
    found = {name: _fit(predict, data, kind.nonzero().flatten()[:MAX_SAMPLES])
             for name, kind in kinds.items()}
    accuracies = {f"accuracy_{name}": found[name][1] for name in ("poison", "clean")}
    return {f"loss_{name}": loss for name, (loss, _) in found.items()} | accuracies


def _fit(predict: Predict, data: Poisoned, records: torch.Tensor
         ) -> tuple[float | None, float | None]:
    """Mean cross-entropy and accuracy of a model on these records."""
    if not len(records):
        return None, None
    logits, labels = predict(inputs_at(data, data.rows[records])), data.labels[records].cpu()
    accuracy = (logits.argmax(1).cpu() == labels).double().mean().item()
    return F.cross_entropy(logits, labels).item(), accuracy


def inputs_at(data: Poisoned, rows: torch.Tensor) -> torch.Tensor:
    """The training inputs at these places of the pool [rows, ...], without copying the pool."""
    own, made = rows[rows < len(data.clean)], rows[rows >= len(data.clean)] - len(data.clean)
    if not len(made):
        return data.clean[own]
    both = joined(data.clean[own], data.stamped[made])
    found = torch.empty_like(both)
    found[rows < len(data.clean)], found[rows >= len(data.clean)] = both.split(
        [len(own), len(made)])
    return found


def trigger(predictions: Predictions, cases: Cases, base: int | None) -> dict[str, float | None]:
    """How far the attack moves the logits of its cases, compared with the unchanged test images.

    trigger_signal: mean change of the margin, the wanted minus the base logit (without a base
    class, minus the largest other logit). trigger_noise: standard deviation, over the classes not
    involved in the attack, of the mean change of their logits: the effect of the same pixels on
    outputs that no poison trained. gap, gap_sd: mean and standard deviation of the margin on the
    unchanged images. None if the attacker has no single wanted class, or if there are no cases.
    """
    names = ("trigger_signal", "trigger_noise", "gap", "gap_sd")
    if cases.wanted is None or not len(cases.rows):
        return dict.fromkeys(names)
    before, after = predictions.clean[cases.rows].double(), predictions.cases.double()
    uninvolved = [place for place in range(before.shape[1]) if place not in (cases.wanted, base)]
    moved = (after - before).mean(0)[uninvolved]
    gaps = _margins(before, cases.wanted, base)
    signal = (_margins(after, cases.wanted, base) - gaps).mean()
    values = (signal, moved.std(), gaps.mean(), gaps.std())
    return dict(zip(names, (value.item() for value in values), strict=True))


def _margins(logits: torch.Tensor, wanted: int, base: int | None) -> torch.Tensor:
    """Wanted logit minus base logit, or minus the largest other logit [cases]."""
    if base is not None:
        return logits[:, wanted] - logits[:, base]
    others = [place for place in range(logits.shape[1]) if place != wanted]
    return logits[:, wanted] - logits[:, others].amax(1)
