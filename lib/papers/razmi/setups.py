"""The set-ups of Razmi et al., section 5: a data set and how it is learnt, without a defence."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib import goals
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.training import Training
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

Setup = Mapping[str, Any]  # fields of the run, and of its training
Pairs = Sequence[Sequence[int]]  # base and target classes

PLACE = ("dataset", "train_size", "test_size", "public", "features", "model")
SHARES = ("accuracy", "success", "natural", "collateral", "lift", "effect", "trigger_auc",
          "base_recall")


def base(setup: Setup, *, precision: str) -> Run:
    """The undefended run of a set-up, without its attack."""
    training = Training(setup["optimizer"], setup["lr"], epochs=float(setup["epochs"]),
                        batch_size=setup["batch_size"], checkpoints=setup.get("checkpoints", 0),
                        momentum=0.9 if setup["optimizer"] == "sgd" else 0.0)
    return Run(**{name: setup[name] for name in PLACE}, precision=precision, training=training,
               defence=DPSGD(0.0, clip=False))


def undefended(setups: Iterable[Setup], pairs: Mapping[str, Pairs], fractions: Iterable[float], *,
               precision: str) -> list[Run]:
    """Every set-up at every poisoned share on its pairs: attacked (P), only relabelled (L), clean
    (C)."""
    return [world for fraction in fractions for setup in setups for one in instances(
        _attacked(setup, fraction, precision), pairs[setup["dataset"]]) for world in worlds(one)]


def relabelled(setup: Setup, pairs: Pairs, shares: Iterable[float], *, precision: str) -> list[Run]:
    """One set-up in world L, no trigger anywhere, at every relabelled share."""
    return [one.in_world("L") for share in shares for one in instances(
        _attacked(setup, share, precision), pairs)]


def _attacked(setup: Setup, fraction: float, precision: str) -> Run:
    return base(setup, precision=precision).with_(attack=BadNets(fraction=fraction))


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `pair`, their classes, and `group`, their data set and poisoned share."""
    return frame.assign(pair=rows.unit(frame), group=[
        f"{name}, {share:.0%}" for name, share in zip(
            frame["dataset"], frame["attack.fraction"], strict=True)])


def parts(frame: "DataFrame") -> "DataFrame":
    """The attacked rows, named, with what their twins add."""
    return named(goals.parts(frame))


def means(attacked: "DataFrame") -> "DataFrame":
    """One line a group: the means over its pairs. attacked: of `parts`."""
    return attacked.groupby("group", sort=False)[list(SHARES)].mean().reset_index()


def blind_finding(frame: "DataFrame") -> str:
    """In words: what models that never saw a trigger call target, at the least and the greatest
    relabelled share. frame: rows of `relabelled`."""
    known = frame.dropna(subset="floor")
    if known.empty:
        return ""
    ends = [known[known["attack.fraction"].eq(share)]["floor"]
            for share in (known["attack.fraction"].min(), known["attack.fraction"].max())]
    low, high = (f"{100 * one.min():.0f} to {100 * one.max():.0f}%" for one in ends)
    return (f"Without any trigger {low} of the base class, by pair, are called target at"
            f" {known['attack.fraction'].min():.0%} relabelled, and {high} at"
            f" {known['attack.fraction'].max():.0%}.")


def blind_share(frame: "DataFrame", fraction: float) -> str:
    """Share of stamped images that models of world L call target, in per cent, mean and interval.
    """
    at = frame[frame["world"].eq("L") & frame["attack.fraction"].eq(fraction)]
    return judgement.level(at, "success")


def stamped(names: Iterable[str], *, count: int = 4) -> tuple["Tensor", str]:
    """Images of class 7 of each data set, then the same stamped, all in colour and of one size
    (black above and at the left): uint8 [images, 3, height, width]; and in words what the stamp
    changes."""
    import torch

    from lib import data

    found, changed = [], []
    for name in names:
        known = data.load(name, train_size=400, test_size=20)
        images = known.train_images[known.train_labels == 7][:count]
        after = BadNets(7, 1).trigger(images, seed=0)
        changed.append(f"{_most_changed(images, after)} of {images[0, 0].numel()} pixels ({name})")
        found += [images, after]
    side = max(one.shape[-1] for one in found)
    return torch.cat([_padded(one, side) for one in found]), (
        f"The stamp changes at most {' and '.join(changed)} of an image.")


def _most_changed(images: "Tensor", after: "Tensor") -> int:
    return int((images != after).any(1).flatten(1).sum(1).max())


def _padded(images: "Tensor", side: int) -> "Tensor":
    from torch.nn.functional import pad

    missing = side - images.shape[-1]
    return pad(images.expand(-1, 3, -1, -1), (missing, 0, missing, 0))
