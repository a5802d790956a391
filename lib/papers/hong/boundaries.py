"""Figure 10 of Hong et al.: the decision boundary on two moons, with and without DP, measured.

The paper reads two things from one map each: the DP model's boundary is more complex, "i.e., it
overfits", and its area of uncertain decisions is narrower. Here they are numbers, over draws of
initialisation, batches and noise: the length of the boundary, training minus test accuracy, and the
share of the plane where the model is unsure.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lib.data.records import ORIGIN, SIDES, coordinates
from lib.papers.hong import bases
from lib.study import Run
from lib.training import Training
from lib.verdicts import judgement

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame

VANILLA, CLIPPED, DP = "vanilla", "clipping alone", "DP"
STOPPED = "vanilla, stopped as accurate as DP"
EXTENT = (ORIGIN[0], ORIGIN[0] + SIDES[0], ORIGIN[1], ORIGIN[1] + SIDES[1])  # of a map
UNSURE = 0.75  # a decision below this confidence is uncertain: the white of the paper's maps
MEASURES = {  # name: (column, whether differences are relative)
    "length of the boundary, in per cent": ("length", True),
    "training minus test accuracy": ("gap", False),
    f"share of the plane below confidence {UNSURE}": ("unsure", False),
    "test accuracy": ("accuracy", False),
}
READINGS = {  # the measures that the paper reads from its two maps, and what it says
    "length of the boundary, in per cent": "paper: more complex",
    "training minus test accuracy": "paper: overfits",
    f"share of the plane below confidence {UNSURE}": "paper: narrower",
}


def runs(rates: Mapping[str, float], draws: int, *, max_grad_norm: float, noise: float,
         points: int, stops: int, **settings: Any) -> list[Run]:
    """Every arm's training on two moons, each draw with seeds of its own.

    rates: learning rates of the arms, by name. points: measurements along a training, each with a
    map; stops: those of the vanilla training, so that it can be stopped. settings: further ones of
    `Training`, with its epochs. Raises ValueError for another arm.
    """
    defences = {VANILLA: bases.defence(None), CLIPPED: bases.defence(max_grad_norm),
                DP: bases.defence(max_grad_norm, noise)}
    if unknown := rates.keys() - defences.keys():
        raise ValueError(f"arms {', '.join(unknown)}: expected {', '.join(defences)}")
    start = Run(dataset="moons", model="mlp-256-256", attack=bases.no_attack(),
                training=Training(**settings), precision="fast", maps=True)
    every = {arm: settings["epochs"] / (stops if arm == VANILLA else points) for arm in rates}
    return [start.with_(defence=defences[arm], training__lr=rate, training__every=every[arm],
                        init_seed=draw, noise_seed=draw)
            for arm, rate in rates.items() for draw in range(draws)]


def named(frame: "DataFrame") -> "DataFrame":
    """The rows with `series`, the name of their arm, and `draw`."""
    import numpy as np

    noisy = frame["defence.noise_multiplier"].gt(0)
    clip = frame["defence.clip"].astype(bool)
    return frame.assign(series=np.where(~clip, VANILLA, np.where(noisy, DP, CLIPPED)),
                        draw=frame["init_seed"])


def points(frame: "DataFrame") -> "DataFrame":
    """One line per run and point of its path: series, draw, epoch, map, accuracy and `MEASURES`."""
    from lib import study
    from lib.study import maps

    found = named(maps.along(frame))[["key", "series", "draw", "epoch", "map"]]
    paths = study.curves(frame)[["key", "epoch", "accuracy", "accuracy_clean"]]
    found = found.merge(paths, on=["key", "epoch"], validate="one_to_one")
    return found.assign(
        gap=found["accuracy_clean"].astype(float) - found["accuracy"].astype(float),
        length=[length(one) for one in found["map"]], unsure=[unsure(one) for one in found["map"]])


def ends(along: "DataFrame") -> "DataFrame":
    """The last point of each run, and of vanilla also the moment when it was first as accurate as
    DP at its end, between two points of its path.

    A draw has no such line where vanilla is never as accurate, or is so at its first point.
    """
    import pandas as pd

    last = along.sort_values("epoch").groupby(["series", "draw"], sort=False).tail(1)
    goal = last[last["series"].eq(DP)].set_index("draw")["accuracy"].astype(float)
    plain = along[along["series"].eq(VANILLA) & along["draw"].isin(goal.index)]
    stopped = [_stopped(path, goal[draw]) for draw, path in plain.groupby("draw")]
    return pd.concat([last, *stopped], ignore_index=True)


def _stopped(path: "DataFrame", accuracy: float) -> "DataFrame":
    """The line of a path at the moment when it first had this accuracy, if there is one."""
    path = path.sort_values("epoch")
    first = int(path["accuracy"].ge(accuracy - 1e-9).to_numpy().argmax())
    if not first:  # never, or at the first point already: nothing is extrapolated
        return path.iloc[:0]
    names = ["epoch", *(column for column, _ in MEASURES.values())]
    low, high = path.iloc[first - 1], path.iloc[first]
    part = (accuracy - low["accuracy"]) / (high["accuracy"] - low["accuracy"])
    return path.iloc[first:first + 1].assign(series=STOPPED, **{
        name: low[name] + part * (high[name] - low[name]) for name in names})


def differences(final: "DataFrame", than: str = VANILLA, *, own: str = DP) -> "DataFrame":
    """`own` minus another arm, draw by draw: columns draw, measure, difference.

    A relative difference is own / other - 1. final: of `ends`.
    """
    import pandas as pd

    sides = {name: final[final["series"].eq(name)].set_index("draw") for name in (own, than)}
    found = []
    for measure, (column, relative) in MEASURES.items():
        mine, other = (sides[name][column].astype(float) for name in (own, than))
        apart = mine / other - 1 if relative else mine - other
        found.append(apart.dropna().rename("difference").rename_axis("draw").reset_index().assign(
            measure=measure))
    return pd.concat(found, ignore_index=True)


def contrasts(final: "DataFrame") -> "DataFrame":
    """One line per measure, one column per other training: DP minus it, over the draws.

    final: of `ends`.
    """
    import pandas as pd

    found = {f"minus {than}": differences(final, than).groupby("measure")["difference"].apply(
        judgement.points) for than in (VANILLA, STOPPED, CLIPPED)}
    return pd.DataFrame(found, index=list(MEASURES)).rename_axis("measure")


def table(final: "DataFrame") -> "DataFrame":
    """One line per arm: means over draws with their 95% t intervals. final: of `ends`."""
    import pandas as pd

    lines = []
    for name in (VANILLA, STOPPED, CLIPPED, DP):
        group = final[final["series"].eq(name)]
        if len(group):
            lines.append({
                "model": name, "draws": len(group),
                "test accuracy, %": judgement.points(group["accuracy"], sign="", bounds=(0, 1)),
                "training minus test, points": judgement.points(group["gap"]),
                "boundary's length": _number(group["length"]),
                f"plane below confidence {UNSURE}, %": judgement.points(
                    group["unsure"], sign="", bounds=(0, 1))})
    return pd.DataFrame(lines, columns=None if lines else ["model", "draws", "test accuracy, %"])


def _number(values: "DataFrame") -> str:
    found = judgement.estimate(values.astype(float))
    text = f"{found.mean:.1f}"
    return text if found.low != found.low else f"{text} [{found.low:.1f}, {found.high:.1f}]"


def readings(apart: "DataFrame") -> str:
    """The paper's two readings in numbers, DP minus vanilla. apart: of `differences`."""
    words = {name: judgement.points(group["difference"])
             for name, group in apart.groupby("measure", sort=False)}
    if len(words) < len(MEASURES):
        return ""
    longer, gap, unsure_area, accuracy = (words[name] for name in MEASURES)
    return (f"DP minus vanilla: length of the boundary {longer}%, training minus test accuracy"
            f" {gap} points, uncertain share of the plane {unsure_area} points, test accuracy"
            f" {accuracy} points.")


def published(final: "DataFrame") -> list[str]:
    """The accuracies that the paper prints beside ours. final: of `ends`."""
    texts = []
    for arm, printed in ((VANILLA, 0.98), (DP, 0.97)):
        group = final[final["series"].eq(arm)]
        measured = judgement.points(group["accuracy"], sign="", bounds=(0, 1))
        texts.append(f"{arm}: published {100 * printed:.0f}% of 300, measured {measured}% "
                     f"({len(group)} draws)")
    return texts


# ---------------------------------------------------------------- one map

def lines(probabilities: "np.ndarray") -> list["np.ndarray"]:
    """The boundary of a map: polylines [points, 2] in the coordinates of the moons."""
    import contourpy
    import numpy as np

    found = contourpy.contour_generator(*axes(), probabilities, line_type="Separate").lines(0.5)
    return [np.asarray(line) for line in found]


def axes() -> tuple["np.ndarray", "np.ndarray"]:
    """The coordinates of a map's columns and rows."""
    from lib.study import maps

    places = coordinates(maps.grid().numpy())
    return places[: maps.SIDE, 0], places[:: maps.SIDE, 1]


def length(probabilities: "np.ndarray") -> float:
    """The length of a map's boundary, in units of the plane; a moon's radius is 1."""
    import numpy as np

    return float(sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines(probabilities)))


def unsure(probabilities: "np.ndarray") -> float:
    """The share of a map's points where the larger probability is below `UNSURE`."""
    import numpy as np

    return float((np.maximum(probabilities, 1 - probabilities) < UNSURE).mean())


def panels(along: "DataFrame", arms: Iterable[str], *, points: int, draw: int = 0) -> list[dict]:
    """For each arm what `lib.figures.decision_maps` draws: the last map, and the boundary at this
    many moments, at equal distances up to the end.
    """
    found = []
    for arm in arms:
        path = along[along["series"].eq(arm) & along["draw"].eq(draw)].sort_values("epoch")
        if path.empty:
            found.append({"title": arm, "map": None, "boundaries": {}})
            continue
        path = path.iloc[::-max(1, len(path) // points)][::-1][-points:]
        last = path.iloc[-1]
        found.append({"title": f"{arm}: test accuracy {100 * last['accuracy']:.0f}%",
                      "map": last["map"],
                      "boundaries": {f"epoch {round(one['epoch'])}": lines(one["map"])
                                     for _, one in path.iterrows()}})
    return found


def drawn(shown: list[dict]) -> "DataFrame":
    """The last boundary of each panel as a table: panel, line, x, y."""
    import pandas as pd

    parts = [pd.DataFrame(line[::2].round(2), columns=["x", "y"]).assign(
        panel=one["title"], line=number)
        for one in shown for number, line in enumerate([*one["boundaries"].values()][-1:][0]
                                                       if one["boundaries"] else [])]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(
        columns=["x", "y", "panel", "line"])
