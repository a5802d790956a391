"""Figures 5 and 6 of Razmi et al.: LP-2ST over temperature, split, epsilon; ALIBI over its noise.

And what it adds to a report to choose settings on the very attack that it reports.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lib.papers.razmi import labelled
from lib.papers.razmi.label_dp import NOISE, SPLIT, TEMPERATURE
from lib.papers.razmi.priors import PAIRED
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame

FIRST = "first stage"  # LP-2ST's share of records in it


def with_first_stage(frame: "DataFrame") -> "DataFrame":
    """The rows with the share of the records that LP-2ST's first stage has."""
    return frame.assign(**{FIRST: [split[0] for split in frame[SPLIT]]})


def panels(over_temperature: "DataFrame", over_split: "DataFrame", over_epsilon: "DataFrame"
           ) -> list[dict[str, Any]]:
    """Two panels for each of figures 5a to 5c, for `lib.figures.panels`."""
    return [
        *labelled.panels(over_temperature, title="5a", x=TEMPERATURE, xscale="log",
                         xlabel="temperature of the prior"),
        *labelled.panels(with_first_stage(over_split), title="5b", x=FIRST,
                         xlabel="share of the first stage"),
        *labelled.panels(over_epsilon, title="5c", x="epsilon", xscale="log",
                         xlabel="epsilon (label)")]


def noise_panels(frame: "DataFrame") -> tuple[dict[str, Any], dict[str, Any]]:
    """Figure 6: two panels over ALIBI's noise. frame: of `label_dp.noisy`."""
    pure = frame.drop(columns="delta")  # 0 throughout
    return labelled.panels(pure, title="6", x=NOISE, second_axis="epsilon",
                           xlabel="standard deviation of the label noise")


def chosen_on_the_attack(frames: Iterable["DataFrame"]) -> "DataFrame":
    """One line a pair: LP-2ST's best setting on it and on the other pairs, and both scores here.

    The score is accuracy minus attack success. `optimism`: what the choice on this pair adds.
    """
    import pandas as pd

    from lib import study

    tried = study.together(frames).dropna(subset=["accuracy", "success"])
    names = [f"temperature {temperature:g}, split {_percent(split)}" for temperature, split in zip(
        tried[TEMPERATURE], tried[SPLIT], strict=True)]
    tried = tried.assign(score=tried["accuracy"] - tried["success"], pair=rows.unit(tried),
                         setting=names)
    scores = tried.pivot_table(index="pair", columns="setting", values="score")
    return pd.DataFrame([_choice(scores, pair) for pair in scores.index] if len(scores) > 1 else [],
                        columns=["pair", "best on this pair", "score", "best on the others",
                                 "its score here", "optimism"])


def _choice(scores: "DataFrame", pair: object) -> dict[str, object]:
    here, elsewhere = scores.loc[pair], scores.drop(index=pair).mean().idxmax()
    return {"pair": pair, "best on this pair": here.idxmax(), "score": here.max(),
            "best on the others": elsewhere, "its score here": here[elsewhere],
            "optimism": here.max() - here[elsewhere]}


def _percent(split: Sequence[float]) -> str:
    return "/".join(f"{100 * share:.0f}" for share in (split if len(split) > 1 else (*split, 0)))


def sharpened(frame: "DataFrame") -> "DataFrame":
    """One line: the sharpest prior minus the flattest, in points, paired over the attacks.

    frame: LP-2ST over the temperature.
    """
    import pandas as pd

    known = frame.dropna(subset=["accuracy"])
    low, high = known[TEMPERATURE].min(), known[TEMPERATURE].max()
    least, most = known[known[TEMPERATURE].eq(low)], known[known[TEMPERATURE].eq(high)]
    return pd.DataFrame([{"temperature": f"{low:g} minus {high:g}"} | {
        text: labelled.minus(least, most, name) for name, text in PAIRED.items()}]
        if low < high else [], columns=["temperature", *PAIRED.values()])
