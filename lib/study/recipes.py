"""The methods of Razmi et al., table 4: the defence and training for a method's name and epsilon.
"""

import math
from typing import TYPE_CHECKING, Any, TypeVar

from lib.defences.alibi import ALIBI
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.defences.lpmst import LPMST
from lib.training import Training

if TYPE_CHECKING:
    import pandas

Choice = TypeVar("Choice")

NAMES = {"pate": "PATE", "lpmst": "LP-2ST", "alibi": "ALIBI", "label_noise": "label noise"}
LABEL_BATCH = 128  # records, for the label-private methods
DPSGD_BATCH = 512  # records, expected size of a Poisson batch


def arm(method: str, epsilon: float | None, *, lr: float, epochs: float,
        batch_size: int | None = None, **settings: Any) -> dict[str, Any]:
    """The changes that `Run.with_` needs for one method: {"defence", "training"}.

    method: "undefended", "DP-SGD", "LP-2ST", "ALIBI", or "randomised response" (applied once to
    every label). epsilon: None for no privacy, that is, clipping without noise for DP-SGD and true
    labels for the label-private methods. settings: further fields of the defence. Raises ValueError
    for an unknown method.
    """
    label = Training("sgd", lr, epochs=float(epochs), batch_size=batch_size or LABEL_BATCH,
                     sampling="shuffle")
    poisson = Training("sgd", lr, epochs=float(epochs), batch_size=batch_size or DPSGD_BATCH)
    if method == "undefended":
        return {"defence": DPSGD(0.0, clip=False, **settings), "training": poisson}
    if method == "DP-SGD":
        noise = {"noise_multiplier": 0.0}
        if epsilon is not None:
            noise = {"noise_multiplier": None, "epsilon": float(epsilon)}
        return {"defence": DPSGD(**noise, **settings), "training": poisson}
    if method == "LP-2ST":
        return {"defence": LPMST(epsilon, **settings), "training": label}
    if method == "ALIBI":
        return {"defence": ALIBI(epsilon, **settings), "training": label}
    if method == "randomised response":
        return {"defence": LabelNoise(_flip(epsilon), **settings), "training": label}
    raise ValueError(
        f"method {method!r}: expected undefended, DP-SGD, LP-2ST, ALIBI or randomised response")


def tuned(choices: dict[float, Choice], epsilon: float | None) -> Choice:
    """The choice that was tuned at the nearest epsilon, by ratio; for None, at the largest.

    choices: {epsilon at which it was tuned: choice}.
    """
    if epsilon is None:
        return choices[max(choices)]
    return choices[min(sorted(choices), key=lambda known: round(abs(math.log(known / epsilon)), 9))]


def _flip(epsilon: float | None) -> float:
    return 0.0 if epsilon is None else flip_share(epsilon)


def flip_share(epsilon: float, classes: int = 10) -> float:
    """The share of labels that `LabelNoise` redraws to give this label-DP epsilon."""
    return classes / (math.exp(epsilon) + classes - 1)


def names(frame: "pandas.DataFrame") -> list[str]:
    """The method of each row of a `lib.study.run` table, as a figure names it.

    DP-SGD without noise is "clip only", without clipping too it is "undefended".
    """
    def name(row: "pandas.Series") -> str:
        found = str(row["defence.name"])
        if found != "dpsgd":
            return NAMES.get(found, found)
        # A row that is not measured has no noise multiplier, unless the run sets one.
        if row.get("defence.noise_multiplier") == 0:
            return "clip only" if row["defence.clip"] else "undefended"
        return "DP-SGD"
    return [name(row) for _, row in frame.iterrows()]
