"""How many predictions on test images an ensemble certifies: facts and curves for a row."""

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
    """The test images of a certificate.

    clean, stamped: inputs of all test images without and with the trigger [n, ...]. labels: the
    true labels, int64 [n]. attacked: bool [n], the images whose triggered version counts. target:
    the class that the attacker wants, None if any wrong class will do.
    """

    clean: Tensor
    stamped: Tensor
    labels: Tensor
    attacked: Tensor
    target: int | None


@dataclass(frozen=True)
class Certified:
    """Predictions int64 [n], and the radius [n] within which each cannot change.

    strict: True if the attack's change must be smaller than the radius (a distance), False if it
    may equal the radius (a number of samples).
    """

    prediction: np.ndarray
    radius: np.ndarray
    strict: bool

    def withstands(self, budget: float) -> np.ndarray:
        """Whether a change of size `budget` is within the radius, bool [n]."""
        return self.radius > budget if self.strict else self.radius >= budget

    def something(self) -> np.ndarray:
        """Whether the prediction is certified against any change at all, bool [n]."""
        return self.radius > 0 if self.strict else self.radius >= 1


def quartiles(answers_clean: Tensor, answers_stamped: Tensor, tested: Examples) -> dict[str, float]:
    """Quartiles over the models: of clean accuracy, accuracy on triggered images, attack success.

    Accuracy counts true labels. answers_*: predicted classes, uint8 [models, n].
    """
    labels, attacked = tested.labels.to(torch.uint8), tested.attacked
    shares = {"accuracy": (answers_clean == labels).double().mean(1),
              "truth": (answers_stamped == labels)[:, attacked].double().mean(1)}
    if tested.target is not None:
        shares["success"] = (answers_stamped == tested.target)[:, attacked].double().mean(1)
    return {f"models_{name}_{place}": float(np.percentile(values, percent))
            for name, values in shares.items()
            for place, percent in (("q1", 25), ("median", 50), ("q3", 75))}


def facts(clean: Certified, stamped: Certified, tested: Examples, *, budget: float,
          ceiling: float) -> dict[str, float | None]:
    """How many predictions are certified; for the names see `FACTS`.

    budget: the size of this attack, in the unit of the radius. ceiling: the largest radius that the
    certificate could give.
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
    """Count predictions, on clean and triggered images, that differ from the twin's.

    flips_certified: among those certified against this attack. flips_other: among the others.
    flips_confirmed: among the certified ones, if the twin certifies its own prediction too.
    """
    found = {"flips_certified": 0, "flips_other": 0, "flips_confirmed": 0}
    counted = (np.ones(len(tested.labels), bool), tested.attacked.numpy())
    for ours, other, among in zip(own, twin, counted):
        changed, inside = (ours.prediction != other.prediction) & among, ours.withstands(budget)
        found["flips_certified"] += int((changed & inside).sum())
        found["flips_other"] += int((changed & ~inside).sum())
        found["flips_confirmed"] += int((changed & inside & other.something()).sum())
    return found


def curves(clean: Certified, stamped: Certified, tested: Examples, *, rule: str,
           radii: Sequence[float]) -> list[dict]:
    """Shares of images certified with at least each radius, for clean and for attacked, triggered
    images.

    "correct": those that are also classified correctly. "target": those that are also classified as
    the target, None if the attacker wants no class. Radius 0 includes uncertified images.
    """
    labels, attacked = tested.labels.numpy(), tested.attacked.numpy()
    everyone, lines = np.ones(len(labels), bool), []
    for images, certified, among in (("clean", clean, everyone), ("triggered", stamped, attacked)):
        inside = certified.radius[among][:, None] >= np.asarray(radii)[None]
        last = min(len(radii), int(np.count_nonzero(inside.any(0))) + 1)  # end at the first zero
        correct = (certified.prediction == labels)[among]
        called = None if tested.target is None else (certified.prediction == tested.target)[among]
        lines.append({
            "images": images, "rule": rule, "radius": [float(radius) for radius in radii[:last]],
            "correct": _shares(inside, correct)[:last], "target": _shares(inside, called)[:last]})
    return lines


def _shares(inside: np.ndarray, chosen: np.ndarray | None) -> list[float | None]:
    """For each radius, the share of images that are `inside` [n, radii] and `chosen` [n]."""
    if chosen is None:
        return [None] * inside.shape[1]
    return [round(float(share), 6) for share in (inside & chosen[:, None]).mean(0)]
