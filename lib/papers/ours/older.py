"""Our first comparison of DP-SGD with plain SGD: weaker features, one learning rate an arm, each
chosen by a single tuning draw. It gave the opposite sign, and is kept to show why.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lib import goals
from lib.attacks.badnets import BadNets
from lib.defences import Defence
from lib.papers.ours import matched, tuned
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.training import Training
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame


def _training(epochs: float, batch_size: int) -> Training:
    return Training("sgd", 0.1, epochs=float(epochs), batch_size=batch_size)


def tuning(base: Run, arms: Mapping[str, Defence], rates: Sequence[float], *, epochs: float,
           batch_size: int) -> list[Run]:
    """Every arm at every rate without attack, measured on the held-out tenth of one draw."""
    clean = base.with_(attack=BadNets(stamp=False, relabel=False), split="tune",
                       training=_training(epochs, batch_size))
    return [clean.with_(defence=arm, training__lr=rate) for arm in arms.values() for rate in rates]


def trainings(base: Run, arms: Mapping[str, Defence], tuned_rows: "DataFrame",
              pairs: Sequence[Sequence[int]], *, epochs: float, batch_size: int, checkpoints: int
              ) -> list[Run]:
    """Every arm at its tuned rate, attacked (P), only relabelled (L) and clean (C).

    DP-SGD is measured at its end, the others at `checkpoints` along their way.
    """
    best = tuned.chosen(tuned.accuracies(tuned_rows)).set_index(tuned.ARM)[tuned.RATE]
    training = _training(epochs, batch_size)
    return [one for name, rate in best.items() for instance in instances(
        base.with_(defence=arms[str(name)], training=training, training__lr=rate,
                   training__checkpoints=0 if str(name).startswith("DP-SGD") else checkpoints),
        pairs) for one in worlds(instance)]


def differences(trained: "DataFrame") -> "DataFrame":
    """Lift of DP-SGD minus lift of plain SGD at the same accuracy, a line a pair and noise level.

    `trained`: rows of `trainings`.
    """
    from lib import study

    points = goals.parts(trained[trained[matched.LEVEL].gt(0)])
    paths = rows.undefended(trained[trained["training.checkpoints"].gt(0)])
    return matched.matched(points, study.curves(paths[paths["world"].eq("P")]), metric="lift")


def finding(apart: "DataFrame") -> str:
    """The differences in words, by noise level."""
    levels = [f"{judgement.points(rows.per_unit(group, 'difference'))} at noise {level:g}"
              for level, group in apart.groupby(matched.LEVEL)]
    return f"DP-SGD minus plain SGD, points of lift: {', '.join(levels)}." if levels else ""
