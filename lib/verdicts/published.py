"""What the papers print: with its own interval, and beside our own runs."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.verdicts.claim import Number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TRIALS = re.compile(r"(?P<value>\d*\.?\d+)(?: \((?:n (?P<n>\d+)|(?P<hits>\d+)/(?P<of>\d+))\))?")


def with_intervals(text: str, numbers: Iterable[Number] = ()) -> str:
    """A published text with the 95% interval (Wilson) behind each rate whose trials are known.

    They stand beside it, "98.1 (n 1000)" or "45.00 (9/20)", or `numbers` (those of the claim's
    figures and tables) tell them.
    """
    from lib import metrics

    known: dict[float, set] = {}
    for number in numbers:
        if number.hits is not None:
            known.setdefault(float(number.value), set()).add((number.hits, number.n))

    def behind(match) -> str:
        trials = _trials(match, known)
        if trials is None:
            return match[0]
        low, high = metrics.wilson(*trials)
        return f"{match[0]} [{100 * low:.3g}, {100 * high:.3g}]"

    return TRIALS.sub(behind, text)


def _trials(match, known: dict) -> tuple[int, int] | None:
    """(hits, trials) of a printed rate.

    None where they are not known, or more than one number of the paper may be meant.
    """
    if match["of"]:
        return int(match["hits"]), int(match["of"])
    if match["n"]:
        return round(float(match["value"]) / 100 * int(match["n"])), int(match["n"])
    found = known.get(float(match["value"]), set())
    return next(iter(found)) if len(found) == 1 else None


@dataclass(frozen=True)
class Comparison:
    """A published number, its own 95% interval (NaN without its n) and the range in which one more
    of our runs would fall.

    Fractions where the number is in percent, else its own unit. `inside`: whether the published
    number lies in our prediction interval; None with fewer than two runs.
    """

    published: float
    low: float
    high: float
    predicted_low: float
    predicted_high: float
    inside: bool | None


def compare(number: Number, values: "ArrayLike") -> Comparison:
    """Compare a published number with our values, one an attack instance, in its unit (fractions
    for percent).

    One published run is one draw, so it is held against the prediction interval for a single new
    instance, not against the interval of our mean.
    """
    from lib import metrics

    value = number.value / 100 if number.unit == "%" else number.value
    own = (math.nan, math.nan)
    if number.hits is not None and number.n is not None:
        own = metrics.wilson(number.hits, number.n)
    ours = metrics.prediction_interval(values, scale="logit" if number.unit == "%" else "identity")
    known = not math.isnan(ours.low)
    return Comparison(
        value, *own, ours.low, ours.high, bool(ours.low <= value <= ours.high) if known else None
    )
