"""The clean models of figure 12, which the targeted attacks of figures 5 to 7 start from.

What the paper calls noise is an absolute deviation on the summed clipped gradient (the released
script divides it by C before it calls TF-Privacy), so the noise multiplier is z = noise / C.
"""

from dataclasses import dataclass
from typing import Any

from lib.attacks.label_flip import LabelFlip
from lib.defences.dpsgd import DPSGD
from lib.study import Run
from lib.training import Training

POINTS = 10  # measurements along a base's training


@dataclass(frozen=True)
class Case:
    """One model of figure 12. `paper`: the data and settings it stands for."""

    dataset: str
    model: str
    optimizer: str
    lr: float
    epochs: float
    paper: str
    train_size: int | None = None


PURCHASE_LR = "Purchase-100, softmax regression: Adam 0.04, with DP 0.08 (released code)"
CASES = {
    "location": Case("location-30", "linear", "adam", 0.01, 100.0, PURCHASE_LR),
    "baskets": Case("baskets", "linear", "adam", 0.01, 100.0, PURCHASE_LR),
    "purchase": Case("purchase-100", "linear", "adam", 0.01, 100.0, PURCHASE_LR, 10_000),
    "location-mlp": Case("location-30", "mlp-256-256", "sgd", 0.04, 100.0,
                         "Purchase-100, MLP: 0.001, with DP 0.002 (released code)"),
    "fashion-mlp": Case("fashion-mnist", "mlp-256-256", "sgd", 0.04, 20.0,
                        "Fashion-MNIST, MLP: SGD 0.08, 100 epochs"),
    "cifar-cnn": Case("cifar10-jpeg", "cnn-16-32", "sgd", 0.02, 20.0,
                      "CIFAR-10, CNN: SGD 0.02, 100 epochs"),
    "strokes": Case("strokes", "linear", "adam", 0.01, 10.0, "none: generated digits, for a quick "
                    "look", 600),
}
NORMS = (8.0, 4.0, 2.0, 1.0, 0.1)  # clipping norms, without noise
NOISES = (0.001, 0.01, 0.1, 0.4, 0.8, 1.0, 2.0, 4.0)  # absolute deviations at NOISE_NORM
NOISE_NORM = 4.0


def base(case: str, *, max_grad_norm: float | None = None, noise: float = 0.0,
         **changes: Any) -> Run:
    """The clean training of one case; vanilla without a clipping norm.

    case: a key of `CASES`. noise: the paper's absolute deviation. changes: as `Run.with_` takes
    them. Raises ValueError for an unknown case, and for noise that no clipping norm bounds.
    """
    if case not in CASES:
        raise ValueError(f"base {case!r}: expected one of {', '.join(CASES)}")
    chosen = CASES[case]
    training = Training(
        optimizer=chosen.optimizer, lr=chosen.lr, momentum=0.0, epochs=chosen.epochs,
        batch_size=100, every=chosen.epochs / POINTS)
    run = Run(dataset=chosen.dataset, train_size=chosen.train_size, model=chosen.model,
              attack=no_attack(), defence=defence(max_grad_norm, noise), training=training,
              precision="fast")
    return run.with_(**changes)


def defence(max_grad_norm: float | None, noise: float = 0.0) -> DPSGD:
    """Plain training without a clipping norm, else DP with z = noise / C.

    Raises ValueError for noise below 0, and for noise without a clipping norm.
    """
    if max_grad_norm is None:
        if noise:
            raise ValueError(f"noise {noise} without a clipping norm: expected max_grad_norm too, "
                             "because the noise multiplier is noise / max_grad_norm")
        return DPSGD(noise_multiplier=0.0, clip=False)
    return DPSGD(noise_multiplier=noise / max_grad_norm, max_grad_norm=max_grad_norm)


def no_attack() -> LabelFlip:
    """Nothing is poisoned, and every test record counts."""
    return LabelFlip(fraction=0.0)
