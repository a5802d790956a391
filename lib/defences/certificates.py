"""What the members of an ensemble answer to test images, and what its certificate is worth there:
facts and curves for a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MODELS = tuple(f"models_{name}_{quartile}" for name in ("accuracy", "truth", "success")
               for quartile in ("q1", "median", "q3"))
FACTS = ("budget", "radius_max", "radius_ceiling", "certified_any", "certified_attack",
         "certified_triggered", "certified_count", "truth", "printed", "flips_certified",
         "flips_other", "flips_confirmed", *MODELS)


@dataclass(frozen=True)
class Examples:
    """What a trained model is measured on.

    clean, stamped: inputs of all test images without and with the trigger [n, ...]. labels: the
    true ones, int64 [n].
    attacked: bool [n], the images whose triggered version counts. target: the class that the
    attacker wants, None where any wrong one will do.
    """

    clean: Tensor
    stamped: Tensor
    labels: Tensor
    attacked: Tensor
    target: int | None


@dataclass(frozen=True)
class Certified:
    """A prediction int64 [n] and the radius [n] within which it cannot change.

    strict: the change must be smaller than the radius (a distance), else it may equal it (a count
    of samples).
    """

    prediction: np.ndarray
    radius: np.ndarray
    strict: bool

    def withstands(self, budget: float) -> np.ndarray:
        """Bool [n]: whether a change of size `budget` is inside the radius."""
        return self.radius > budget if self.strict else self.radius >= budget

    def something(self) -> np.ndarray:
        """Bool [n]: whether any change at all is certified."""
        return self.radius > 0 if self.strict else self.radius >= 1


def quartiles(answers_clean: Tensor, answers_stamped: Tensor, tested: Examples) -> dict[str, float]:
    """First quartile, median and third quartile over the models of clean accuracy, of accuracy on
    triggered images by their true labels, and of attack success. answers_*: classes uint8 [models,
    n].
    """
    labels, attacked = tested.labels.to(torch.uint8), tested.attacked
    shares = {"accuracy": (answers_clean == labels).double().mean(1),
              "truth": (answers_stamped == labels)[:, attacked].double().mean(1)}
    if tested.target is not None:
        shares["success"] = (answers_stamped == tested.target)[:, attacked].double().mean(1)
    return {
        f"models_{name}_{place}": float(np.percentile(values, percent))
        for name, values in shares.items()
        for place, percent in (("q1", 25), ("median", 50), ("q3", 75))
    }


def facts(clean: Certified, stamped: Certified, tested: Examples, *, budget: float,
          ceiling: float) -> dict[str, float | None]:
    """What the certificate is worth: see `FACTS`.

    budget: what this attack spends, in the unit of the radius.
    """
    labels, attacked = tested.labels.numpy(), tested.attacked.numpy()
    right, right_stamped = clean.prediction == labels, (stamped.prediction == labels)[attacked]
    inside = clean.withstands(budget), stamped.withstands(budget)[attacked]
    wanted = None if tested.target is None else float((stamped.prediction == tested.target).mean())
    return {
        "budget": float(budget),
        "radius_max": float(clean.radius.max()),
        "radius_ceiling": float(ceiling),
        "certified_any": float((right & clean.something()).mean()),
        "certified_attack": float((right & inside[0]).mean()),
        "certified_triggered": float((right_stamped & stamped.something()[attacked]).mean()),
        "certified_count": int(inside[0].sum() + inside[1].sum()),
        "truth": float(right_stamped.mean()),
        "printed": wanted,
    }


def flips(own: tuple[Certified, Certified], twin: tuple[Certified, Certified], tested: Examples, *,
          budget: float) -> dict[str, int]:
    """Predictions on clean and triggered images that come out differently in the twin: among those
    certified against this attack, among the others, and among the certified ones those where the
    twin is as sure of its own.
    """
    found = {"flips_certified": 0, "flips_other": 0, "flips_confirmed": 0}
    for one, other, among in zip(own, twin,
                                 (np.ones(len(tested.labels), bool), tested.attacked.numpy())):
        changed, inside = (one.prediction != other.prediction) & among, one.withstands(budget)
        found["flips_certified"] += int((changed & inside).sum())
        found["flips_other"] += int((changed & ~inside).sum())
        found["flips_confirmed"] += int((changed & inside & other.something()).sum())
    return found


def curves(clean: Certified, stamped: Certified, tested: Examples, *, rule: str,
           radii: Sequence[float]) -> list[dict]:
    """Shares that are certified with at least each radius, for clean and for triggered images
    (those that are attacked): "correct" by the true label, "target" those called the target. At
    radius 0: whether certified or not. Where the attacker wants no class, target is None.
    """
    labels, attacked = tested.labels.numpy(), tested.attacked.numpy()
    everyone, lines = np.ones(len(labels), bool), []
    for images, one, among in (("clean", clean, everyone), ("triggered", stamped, attacked)):
        inside = one.radius[among][:, None] >= np.asarray(radii)[None]
        last = min(len(radii), int(np.count_nonzero(inside.any(0))) + 1)  # one zero, then no more
        correct = (one.prediction == labels)[among]
        called = None if tested.target is None else (one.prediction == tested.target)[among]
        lines.append({
            "images": images, "rule": rule, "radius": [float(radius) for radius in radii[:last]],
            "correct": _shares(inside, correct)[:last], "target": _shares(inside, called)[:last]})
    return lines


def _shares(inside: np.ndarray, chosen: np.ndarray | None) -> list[float | None]:
    """For each radius the share of images [n, radii] that are inside it and chosen [n]."""
    if chosen is None:
        return [None] * inside.shape[1]
    return [round(float(share), 6) for share in (inside & chosen[:, None]).mean(0)]
