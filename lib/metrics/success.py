"""Accuracy and attack success of one model, from its logits."""

import dataclasses
import math
from typing import TYPE_CHECKING

from .intervals import wilson

if TYPE_CHECKING:
    from numpy import ndarray
    from numpy.typing import ArrayLike
    from torch import Tensor

COLLAPSED_SHARE = 0.95  # of the predictions in one class


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """The results of one model on clean and on stamped test images.

    Attributes:
        accuracy: share of all clean test images classified correctly.
        loss: mean cross-entropy on clean test images, in nats; inf if the model diverged.
        floor: share of the clean population classified as the target.
        success: share of the stamped population classified as the target.
        lift: success - floor.
        trigger_auc: Pr[m(x') > m(x)] + Pr[m(x') = m(x)] / 2 over all pairs of a stamped and a
            clean population image, m = target logit minus base logit (without a base class, minus
            the largest other logit).
        base_recall: share of clean population images classified correctly.
        target_recall: share of clean images of the target class classified correctly; None if there
            is none.
        population: number of images for floor and success, none of the target class.
        tested: number of images for accuracy.
        collapsed: see `attack`.
        turned: of the population that is not classified as the target without the trigger, the
            share that is with it; None if there is no such image.
    """

    accuracy: float
    loss: float
    floor: float
    success: float
    lift: float
    trigger_auc: float
    base_recall: float
    target_recall: float | None
    population: int
    tested: int
    collapsed: bool
    turned: float | None

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of the fields, in order."""
        return tuple(item.name for item in dataclasses.fields(cls))

    def as_dict(self) -> dict:
        """The fields as plain values, in order."""
        return dataclasses.asdict(self)


def attack(clean_logits: "Tensor | ArrayLike", triggered_logits: "Tensor | ArrayLike",
           labels: "Tensor | ArrayLike", *, target: int, base: int | None = None) -> AttackResult:
    """Measure accuracy and attack success of one model.

    clean_logits: [test, classes] of the unstamped test images; labels: [test], the true
    classes. triggered_logits: the stamped images' logits, either of all test images in the
    order of `labels` or of the attacked population only, in the same order. Numpy or torch.

    Population: the images of class `base` (one-to-one), or with base=None all images but
    those of class `target` (all-to-one). For all-to-one, floor, success, trigger AUC (pairs
    within a class) and recall are means over the classes, with equal weights. `turned` counts
    images, whatever their class.

    Both definitions of attack success in Turner's thesis (section 2.1.1) are here: `success` leaves
    out the images that are labelled target, `turned` those that the model already calls so. Of the
    latter the thesis may also count images of the target class that the model gets wrong; here they
    are not stamped.

    A row with a logit that is not finite counts as wrong and as not the target; its pairs
    count one half in the AUC. collapsed: True if there is any such row; if at least 95% of
    the clean predictions are of one class, unless 90% of the labels are; or if the 95%
    Wilson interval of accuracy reaches down to 1 / classes. A collapsed model's lift is near
    0 by construction: such runs count, and figures mark them.
    """
    clean, triggered, labels = (_array(a) for a in (clean_logits, triggered_logits, labels))
    attacked = _population(clean, labels, target, base)
    triggered = _stamped(triggered, clean, attacked)
    called, called_stamped = _predictions(clean), _predictions(triggered)
    groups = [labels[attacked] == c for c in sorted(set(labels[attacked].tolist()))]
    margins = _margins(clean[attacked], target, base), _margins(triggered, target, base)
    floor = _macro(called[attacked] == target, groups)
    success = _macro(called_stamped == target, groups)
    return AttackResult(
        accuracy=float((called == labels).mean()),
        loss=_cross_entropy(clean, labels),
        floor=floor,
        success=success,
        lift=success - floor,
        trigger_auc=sum(_auc(*(m[g] for m in margins)) for g in groups) / len(groups),
        base_recall=_macro((called == labels)[attacked], groups),
        target_recall=_share(called[labels == target] == target),
        population=int(attacked.sum()),
        tested=len(labels),
        collapsed=_collapsed(called, called_stamped, labels, clean.shape[1]),
        turned=_share((called_stamped == target)[called[attacked] != target]),
    )


def _share(found: "ndarray") -> float | None:
    return float(found.mean()) if len(found) else None


def clean_part(clean_logits: "Tensor | ArrayLike", labels: "Tensor | ArrayLike"
              ) -> dict[str, float]:
    """accuracy, loss, tested and collapsed, as in `attack`, without an attack.

    clean_logits: [test, classes]; labels: [test], the true classes. Numpy or torch.
    """
    clean, labels = _array(clean_logits), _array(labels)
    _check_logits(clean, labels)
    called = _predictions(clean)
    return {
        "accuracy": float((called == labels).mean()),
        "loss": _cross_entropy(clean, labels),
        "tested": len(labels),
        "collapsed": _collapsed(called, called, labels, clean.shape[1]),
    }


def _array(values):
    import numpy

    if hasattr(values, "detach"):  # torch; float(), because numpy has no bfloat16
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return numpy.asarray(values)


def _check_logits(clean, labels):
    if clean.ndim != 2 or labels.shape != clean.shape[:1] or not len(labels):
        raise ValueError(
            f"clean_logits have shape {clean.shape} and labels {labels.shape}: expected "
            "[test, classes] and [test], with at least one image")
    classes = clean.shape[1]
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels are {labels.dtype} from {labels.min()} to {labels.max()}: "
                         f"expected whole numbers from 0 to {classes - 1}")


def _population(clean, labels, target, base):
    """Mask [test] of the attacked images, with every check on shapes and classes."""
    _check_logits(clean, labels)
    classes = clean.shape[1]
    for name, value in (("target", target), ("base", base)):
        if value is not None and value not in range(classes):
            raise ValueError(f"{name} is {value!r}: expected a class from 0 to {classes - 1}")
    if target is None or base == target:
        raise ValueError(f"target is {target!r} and base {base!r}: expected two classes")
    attacked = labels != target if base is None else labels == base
    if not attacked.any():
        raise ValueError(f"no test image can be attacked (target {target!r}, base {base!r}): "
                         "expected test images of the attacked classes")
    return attacked


def _stamped(triggered, clean, attacked):
    """Logits [population, classes] of the stamped population."""
    shapes = (clean.shape, (int(attacked.sum()), clean.shape[1]))
    if triggered.shape not in shapes:
        raise ValueError(
            f"triggered_logits have shape {triggered.shape}: expected {shapes[0]} (all test "
            f"images) or {shapes[1]} (the attacked population)")
    return triggered[attacked] if triggered.shape == clean.shape else triggered


def _predictions(logits):
    """Predicted classes [images]; -1, which equals no label, for rows that are not finite."""
    import numpy

    finite = numpy.isfinite(logits).all(axis=1)
    return numpy.where(finite, numpy.where(finite[:, None], logits, 0).argmax(axis=1), -1)


def _margins(logits, target, base):
    """Target logit minus base logit, without a base minus the largest other; nan if not finite."""
    import numpy

    logits = logits.astype(numpy.float64)
    finite = numpy.isfinite(logits).all(axis=1)
    logits = numpy.where(finite[:, None], logits, 0)
    other = logits[:, base] if base is not None else numpy.delete(logits, target, 1).max(axis=1)
    return numpy.where(finite, logits[:, target] - other, numpy.nan)


def _macro(hits, groups):
    """Mean over classes of the share of hits in each class."""
    return float(sum(hits[group].mean() for group in groups) / len(groups))


def _auc(clean, stamped):
    """Mann-Whitney: the share of pairs in which the stamped margin is larger; ties count half."""
    import numpy
    from scipy.stats import rankdata

    known, moved = clean[~numpy.isnan(clean)], stamped[~numpy.isnan(stamped)]
    won = rankdata(numpy.concatenate([moved, known]))[: len(moved)].sum()
    won -= len(moved) * (len(moved) + 1) / 2
    pairs = len(clean) * len(stamped)
    return float((won + (pairs - len(known) * len(moved)) / 2) / pairs)


def _cross_entropy(logits, labels):
    import numpy
    from scipy.special import logsumexp

    logits = logits.astype(numpy.float64)
    if not numpy.isfinite(logits).all():
        return math.inf
    return float((logsumexp(logits, axis=1) - logits[numpy.arange(len(labels)), labels]).mean())


def _collapsed(called, called_stamped, labels, classes):
    import numpy

    if (called < 0).any() or (called_stamped < 0).any():
        return True
    mostly_one = numpy.bincount(called).max() >= COLLAPSED_SHARE * len(called)
    one_sided_labels = numpy.bincount(labels).max() >= 0.9 * len(labels)
    lower, _ = wilson(int((called == labels).sum()), len(labels))
    return bool((mostly_one and not one_sided_labels) or lower <= 1 / classes)
