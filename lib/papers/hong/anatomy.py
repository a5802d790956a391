"""The runs of figure 1: probes of feature collision and insertion, from scratch and re-training.

The paper compares single runs. Here a draw of the poison is an instance: `attack_seed` draws the
pairs or the patched images, and initial weights and batches are those of draw 0.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.attacks import Attack
from lib.attacks.interpolation import Interpolation
from lib.defences.dpsgd import DPSGD
from lib.study import Run, grid
from lib.training import Training

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SCRATCH, RETRAINED, INSERTED = "from scratch, blends", "re-training, blends", "re-training, patches"
VANILLA = "not clipped"
KEYS = ["scenario", "norm", "level", "draw"]  # of a run
MEASURES = ["ratio", "cosine", "ratio_all", "cosine_all"]


def victim(dataset: str, model: str, attack: Attack, training: Mapping[str, Any], **fields: Any
           ) -> Run:
    """An undefended training that keeps its anatomy; fields: further ones of `Run`."""
    return Run(dataset=dataset, model=model, attack=attack, training=Training(**training),
               defence=DPSGD(0.0, clip=False), anatomy=True, **fields)


def scratch(dataset: str, model: str, classes: Sequence[int], count: int,
            training: Mapping[str, Any], **fields: Any) -> Run:
    """Scenario 1: trained from scratch on two classes, with `count` blends of the two."""
    source, other = classes
    return victim(dataset, model, Interpolation(source, other, count=count), training, **fields)


def retrained(clean: Run, attack: Attack, training: Mapping[str, Any]) -> Run:
    """Scenarios 2 and 3: a clean run's network trained on, with `attack` in the same data."""
    return victim(clean.dataset, clean.model, attack, training, start=clean,
                  train_size=clean.train_size, test_size=clean.test_size, precision=clean.precision)


def blends(run: Run, mixings: Sequence[float], *, draws: int) -> list[Run]:
    """Every mixing, for every draw of the pairs."""
    return _drawn(grid(run, attack__mixing=mixings), draws)


def patches(run: Run, sizes: Sequence[int], *, draws: int) -> list[Run]:
    """Every size of the square, for every draw of the images that get it."""
    return _drawn(grid(run, attack__size=sizes), draws)


def _drawn(runs: Sequence[Run], draws: int) -> list[Run]:
    return [run.with_(attack_seed=draw, noise_seed=draw) for draw in range(draws) for run in runs]


def clipped(runs: Sequence[Run], norms: Sequence[float]) -> list[Run]:
    """The same runs with every record's gradient clipped at each norm, without noise."""
    return [run.with_(defence=DPSGD(0.0, max_grad_norm=norm)) for norm in norms for run in runs]


# ---------------------------------------------------------------- frames

def named(frame: "DataFrame") -> "DataFrame":
    """The probes' rows with `scenario`, `level` (mixing, or side of the square), `draw` and `norm`
    (the clipping norm in words). Other rows are left out."""
    probes = frame[frame["attack.name"].isin(["interpolation", "insertion"])]
    blended = probes["attack.name"].eq("interpolation")
    scenario = blended.map({True: SCRATCH, False: INSERTED}).mask(
        blended & probes["start"].ne(""), RETRAINED)
    level = _column(probes, "attack.mixing").where(blended, _column(probes, "attack.size"))
    return probes.assign(scenario=scenario, level=level.astype(float),
                         draw=probes["attack_seed"], norm=norms(probes))


def norms(frame: "DataFrame") -> "Series":
    """The clipping norm of each row, in words."""
    own = frame["defence.max_grad_norm"].map("C {:g}".format)
    return own.where(frame["defence.clip"].astype(bool), VANILLA)


def _column(frame: "DataFrame", name: str) -> "Series":
    return frame[name] if name in frame else frame["attack_seed"] * float("nan")


def epochs(frame: "DataFrame") -> "DataFrame":
    """The rows of `named`, one line a run and epoch: means over the epoch's points."""
    from lib import study

    return study.anatomy(frame, by_epoch=True)


def means(paths: "DataFrame", keys: Sequence[str] = KEYS) -> "DataFrame":
    """The paper's scalar: means over the epochs, one line a run (`keys`).

    `log ratio` is that of the mean ratio. `log odds` is that of poison's part of the gradient over
    the clean part. `balance` is the number of clean records over that of poisons: the ratio where
    both parts cancel, as they do wherever training has converged.
    """
    import numpy as np

    balance = paths["clean_records"] / paths["poison_records"]
    found = paths.assign(odds=paths["ratio_all"] / balance, balance=balance).groupby(
        list(keys), sort=False)[[*MEASURES, "odds", "balance"]].mean()
    return found.assign(**{"log ratio": np.log(found["ratio"]),
                           "log odds": np.log(found["odds"])}).reset_index()


def change(paths: "DataFrame", *, window: int = 5) -> "DataFrame":
    """Last epochs minus first epochs of ratio and absolute cosine, one line a run.

    window: epochs on either side, fewer where the two would overlap.
    """
    longest = paths.groupby(KEYS)["epoch"].transform("max")
    wide = (longest // 2).clip(lower=1, upper=window)
    paths = paths.assign(absolute=paths["cosine"].abs())
    early, late = (paths[side].groupby(KEYS, sort=False)[["ratio", "absolute"]].mean() for side in
                   (paths["epoch"] <= wide, paths["epoch"] > longest - wide))
    return (late - early).rename(columns={"absolute": "cosine"}).reset_index()
