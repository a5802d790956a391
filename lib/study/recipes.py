"""The methods of Razmi et al. (table 4) as one axis: from a name and an epsilon to a defence and
how it is trained.
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
BATCH = 128  # of the label-private methods; DP-SGD takes Poisson batches of 512


def arm(method: str, epsilon: float | None, *, lr: float, epochs: float,
        batch_size: int | None = None, **settings: Any) -> dict[str, Any]:
    """What `Run.with_` needs for one method: {"defence", "training"}.

    method: "undefended", "DP-SGD", "LP-2ST", "ALIBI", or "randomised response" (every label once).
    epsilon: null for none, which is clipping alone for DP-SGD and untouched labels for the
    label-private methods. settings: further fields of the defence. Raises ValueError for another
    method.
    """
    label = Training("sgd", lr, epochs=float(epochs), batch_size=batch_size or BATCH,
                     sampling="shuffle")
    poisson = Training("sgd", lr, epochs=float(epochs), batch_size=batch_size or 512)
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
    """Of choices by the epsilon at which they were made, that of the nearest one by ratio (null: of
    the largest).
    """
    if epsilon is None:
        return choices[max(choices)]
    return choices[min(sorted(choices), key=lambda known: round(abs(math.log(known / epsilon)), 9))]


def _flip(epsilon: float | None) -> float:
    return 0.0 if epsilon is None else flip_share(epsilon)


def flip_share(epsilon: float, classes: int = 10) -> float:
    """The share of labels that `LabelNoise` redraws for this epsilon of label differential privacy.
    """
    return classes / (math.exp(epsilon) + classes - 1)


def names(frame: "pandas.DataFrame") -> list[str]:
    """The method of each row of `lib.study.run`'s table: undefended and clip only are not DP-SGD.
    """
    def name(row: "pandas.Series") -> str:
        found = str(row["defence.name"])
        if found != "dpsgd":
            return NAMES.get(found, found)
        # a row that is not measured has no noise multiplier yet, unless it was set
        if row.get("defence.noise_multiplier") == 0:
            return "clip only" if row["defence.clip"] else "undefended"
        return "DP-SGD"
    return [name(row) for _, row in frame.iterrows()]
