"""Figure 1 of Razmi et al.: three optimizers over noise and over the clipping norm."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lib.defences.dpsgd import DPSGD
from lib.study.design import instances
from lib.study.runs import Run
from lib.training import Training

if TYPE_CHECKING:
    from pandas import DataFrame

# optimizer and learning rate, as published; momentum 0.9 for SGD
OPTIMIZERS = {
    "RMSProp 0.001": ("rmsprop", 0.001), "SGD 0.1": ("sgd", 0.1), "SGD 0.01": ("sgd", 0.01)}
PLAIN = "SGD 0.1"  # the undefended model's


def sweep(start: Run, pairs: Sequence[Sequence[int]], *, noise: Iterable[float],
          norms: Iterable[float], **settings: Any) -> list[Run]:
    """Every optimizer at every noise multiplier and clipping norm, on every pair of classes.

    settings: further fields of the training.
    """
    defences = [DPSGD(z, max_grad_norm=norm) for z in noise for norm in norms]
    return [one for name in OPTIMIZERS for defence in defences for one in instances(
        start.with_(training=_training(name, settings), defence=defence), pairs, seeds=None)]


def undefended(start: Run, pairs: Sequence[Sequence[int]], **settings: Any) -> list[Run]:
    """Plain SGD on every pair: the positive control."""
    return instances(start.with_(training=_training(PLAIN, settings),
                                 defence=DPSGD(0.0, clip=False)), pairs, seeds=None)


def _training(name: str, settings: dict[str, Any]) -> Training:
    optimizer, rate = OPTIMIZERS[name]
    more = {"momentum": 0.0} if optimizer == "rmsprop" else {}
    return Training(optimizer, rate, **more, **settings)


def panels(over_noise: "DataFrame", over_norm: "DataFrame"
           ) -> Callable[[str], list[dict[str, Any]]]:
    """From a metric's column to the two panels that `lib.figures.panels` draws of it."""
    axes: list[dict[str, Any]] = [
        dict(frame=named(over_noise), x="defence.noise_multiplier", xlabel="noise multiplier",
             second_axis="epsilon"),
        dict(frame=named(over_norm), x="defence.max_grad_norm", xlabel="clipping norm")]
    return lambda metric: [one | dict(y=metric, series="optimizer", xscale="log") for one in axes]


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `optimizer`, its name and rate."""
    names = {known: name for name, known in OPTIMIZERS.items()}
    return frame.assign(optimizer=[
        names[one] for one in zip(frame["training.optimizer"], frame["training.lr"], strict=True)])


def finding(over_norm: "DataFrame") -> str:
    """In words: the setting whose attack success overstates its lift most."""
    means = named(over_norm).groupby(["optimizer", "defence.max_grad_norm"])[
        ["success", "lift", "accuracy"]].mean().dropna()
    if means.empty:
        return ""
    name, norm = (means["success"] - means["lift"]).idxmax()
    found = 100 * means.loc[(name, norm)]
    return (f"{name} at clipping norm {norm:g}, {found['accuracy']:.0f}% accurate: attack success"
            f" {found['success']:.0f}%, of which {found['lift']:.0f} points are the trigger's.")
