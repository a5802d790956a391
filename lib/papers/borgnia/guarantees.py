"""What DP-InstaHide's epsilon is: as printed, as claimed, and of the mechanism as it is run.

Figure 4a and claims I11a to I11c are formulas, so nothing here reads rows. sigma: scale of the
Laplace noise for records of unit l1 diameter, as Theorem 2 has it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib.privacy import drawn_epsilon, instahide_epsilon, mixup_epsilon
from lib.verdicts import judgement
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

RECORDS = 50_000  # n = T in figure 4a
WIDTHS = tuple(range(1, 9))
SCALES = (2, 4, 8, 16, 32)  # over 255, figure 4a and figure 5
WEAKER_NOISE = tuple(scale / 255 for scale in SCALES)
STRONGER_NOISE = (0.5, 1.0)  # beyond the figure: the theorem is stated for every sigma
PRINTED, CLAIMED, PLAIN = "Theorem 2, as printed", "claimed: 1/(kσ)", "no mixing: 1/σ"
AS_RUN, DRAWN = "mixup as run (PLD)", "mixes drawn anew (PLD)"
ANEW = {"removed": "add-remove", "replaced": "replace-one"}


def figure_4a(scales: Iterable[float] = SCALES, widths: Iterable[int] = WIDTHS, *,
              n: int = RECORDS) -> "DataFrame":
    """Epsilons at T = n: a line a noise level (over 255) and width.

    Columns: scale, sigma, k, printed (Theorem 2), bound (its right-hand side, T / (k sigma)),
    claimed (1 / (k sigma)), plain (1 / sigma: every record once, noise, no mixing).
    """
    import pandas as pd

    widths = list(widths)
    return pd.DataFrame([
        {"scale": scale, "k": k, **_formulas(scale / 255, k, n)} for scale in scales
        for k in widths])


def _formulas(sigma: float, k: int, n: int) -> dict[str, float]:
    return {"sigma": sigma, "printed": instahide_epsilon(n, n, k, sigma), "bound": n / (k * sigma),
            "claimed": 1 / (k * sigma), "plain": 1 / sigma}


def lines(found: "DataFrame", *, as_run: "DataFrame | None" = None) -> "DataFrame":
    """`figure_4a` at one noise level as series over k, with `accounts`' epsilon as run if given."""
    import pandas as pd

    columns = {PRINTED: "printed", CLAIMED: "claimed", PLAIN: "plain"}
    parts = [found.assign(series=name, epsilon=found[column]) for name, column in columns.items()]
    if as_run is not None:
        parts.insert(2, as_run.assign(series=AS_RUN, epsilon=as_run["as run"]))
    return pd.concat(parts, ignore_index=True)[["series", "k", "epsilon"]]


def panels_4a(found: "DataFrame") -> list[dict[str, Any]]:
    """`figure_4a` as panels of lines, one a noise level: the theorem and its bound."""
    named = found.assign(series=[f"{scale:g}/255" for scale in found["scale"]])
    return [{"frame": named.assign(epsilon=named[column]), "title": title} for title, column in (
        ("Theorem 2", "printed"), ("its bound T/(kσ)", "bound"))]


def panels(found: "DataFrame") -> list[dict[str, Any]]:
    """`accounts` as panels of lines, one a noise level."""
    import pandas as pd

    columns = {PRINTED: "printed", DRAWN: "replaced", AS_RUN: "as run", PLAIN: "plain"}
    return [{"title": f"noise {scale:g}/255, σ = {scale / 255:.2g}", "frame": pd.concat([
        group.assign(series=name, epsilon=group[column]) for name, column in columns.items()])}
            for scale, group in found.groupby("scale", sort=False)]


def accounts(scales: Iterable[float], widths: Iterable[int], *, n: int, batch_size: int,
             delta: float, anew: bool = True) -> "DataFrame":
    """One pass over images of unit l1 diameter at `delta`, by PLD: a line a noise level and width.

    Columns: scale, k, printed (pure), as run (permuted batches, replace-one), plain (no mixing,
    pure); with `anew` removed and replaced (each mix drawn anew: add-remove, replace-one).
    """
    import pandas as pd

    found = []
    for scale in scales:
        for k in widths:
            sigma = scale / 255
            drawn = {name: drawn_epsilon(n, n, k, sigma, delta, adjacency=adjacency)
                     for name, adjacency in ANEW.items() if anew}
            run = mixup_epsilon(k, sigma, 1, delta, n=n, batch_size=batch_size, diameter=1.0,
                                label_scale=math.inf)
            found.append({"scale": scale, "k": k, "printed": instahide_epsilon(n, n, k, sigma),
                          **drawn, "as run": run, "plain": 1 / sigma})
    return pd.DataFrame(found)


def passes(noises: Iterable[tuple[float, float]], widths: Iterable[int], *, epochs: int, n: int,
           batch_size: int, delta: float) -> "DataFrame":
    """Epsilon at `delta` of all passes of mixup as run, images alone: a line a setting.

    noises: (noise over 255, l1 diameter). Columns: noise, diameter, pure (whatever the width), and
    one for each width.
    """
    import pandas as pd

    found = []
    for scale, diameter in noises:
        by_width = {f"k = {k}": mixup_epsilon(
            k, scale / 255, epochs, delta, n=n, batch_size=batch_size, diameter=diameter,
            label_scale=math.inf) for k in widths}
        found.append({"noise": f"{scale:g}/255", "l1 diameter": f"{diameter:,.0f}",
                      "pure": epochs * diameter * 255 / scale, **by_width})
    return pd.DataFrame(found)


def steps(scale: float, k: int, *, n: int, pixels: int, epochs: int, batch_size: int, delta: float,
          label_scale: float) -> "DataFrame":
    """From the printed epsilon to that of the training, one correction a line.

    scale: of the noise on pixels in [0, 1], over 255. label_scale: what noise on every entry of the
    mixed labels would cost. Columns: what is accounted, adjacency, delta, epsilon.
    """
    import pandas as pd

    noise, draws = scale / 255, "remove one; T is public"

    def run(width: int, label_noise: float, *, passes: int, at: float) -> float:
        return mixup_epsilon(width, noise, passes, at, n=n, batch_size=batch_size,
                             diameter=float(pixels), label_scale=label_noise)

    lines = [
        ("as printed: unit diameter, one pass, no labels", draws, 0.0,
         instahide_epsilon(n, n, k, noise)),
        (f"diameter of the images, {pixels:,}", draws, 0.0,
         instahide_epsilon(n, n, k, noise / pixels)),
        (f"and {epochs} passes", draws, 0.0, instahide_epsilon(n, epochs * n, k, noise / pixels)),
        ("as run, images alone, pure", "replace-one", 0.0,
         run(k, math.inf, passes=epochs, at=0.0)),
        ("as run, images alone, PLD", "replace-one", delta,
         run(k, math.inf, passes=epochs, at=delta)),
        ("as run, with its labels", "replace-one", delta, run(k, 0.0, passes=epochs, at=delta)),
        (f"with Laplace noise of {label_scale:g} on the labels", "replace-one", delta,
         run(k, label_scale, passes=epochs, at=delta)),
        ("noise once on every image and label, then mixed at will", "replace-one", 0.0,
         run(1, label_scale, passes=1, at=0.0)),
    ]
    return pd.DataFrame(lines, columns=["what is accounted", "adjacency", "delta", "epsilon"])


def labels(scales: Iterable[float], *, epochs: int, k: int, n: int, batch_size: int, delta: float,
           classes: int) -> "DataFrame":
    """What noise on labels costs, images withheld: a line a Laplace scale b on mixed labels.

    Columns: noise b, its deviation on a mixed label's entry, epsilon of all passes; beside it the
    epsilon of a label randomised once before the training with the odds that b gives one pass, and
    how often it then stays true.
    """
    import pandas as pd

    found = []
    for b in scales:
        epsilon = mixup_epsilon(k, math.inf, epochs, delta, n=n, batch_size=batch_size,
                                diameter=0.0, label_scale=b)
        once = 2 / b
        found.append({"noise b": b, "deviation": math.sqrt(2) * b, "label epsilon": epsilon,
                      "randomised once": once,
                      "stays true": 1 / (1 + (classes - 1) * math.exp(-once))})
    return pd.DataFrame(found)


# ---------------------------------------------------------------- where I11c stops holding

def crossing(width: int, *, n: int = RECORDS) -> float:
    """The sigma from which Theorem 2's epsilon is more than 1 / width of its value at width 1."""
    from scipy.optimize import brentq

    return float(brentq(lambda sigma: _own(sigma, width, n), 0.02, 20))


def crossings(widths: Iterable[int] = WIDTHS[1:], *, n: int = RECORDS) -> "DataFrame":
    """`crossing` by width, with the epsilon there: a line a width."""
    import pandas as pd

    found = [(k, crossing(k, n=n)) for k in widths]
    return pd.DataFrame([
        {"k": k, "sigma": sigma, "over 255": 255 * sigma,
         "epsilon": instahide_epsilon(n, n, k, sigma)} for k, sigma in found])


# ---------------------------------------------------------------- claims I11a to I11c

def within_bound(frames: Frames, claim: Claim) -> Measurement:
    """I11a: Theorem 2's epsilon is at most T / (k sigma)."""
    return _exact(claim, lambda sigma, k: _formulas(sigma, k, RECORDS)["bound"] - instahide_epsilon(
        RECORDS, RECORDS, k, sigma), WIDTHS)


def against_plain(frames: Frames, claim: Claim) -> Measurement:
    """I11b: it is at most 1 / (k sigma), for k of 2 and more."""
    return _exact(claim, lambda sigma, k: 1 / (k * sigma) - instahide_epsilon(
        RECORDS, RECORDS, k, sigma), WIDTHS[1:])


def against_itself(frames: Frames, claim: Claim) -> Measurement:
    """I11c: it is at most 1 / k of its own value at k = 1."""
    found = _exact(claim, lambda sigma, k: _own(sigma, k, RECORDS), WIDTHS[1:])
    where = f"holds for sigma below {crossing(2):.3f} at k 2, {crossing(8):.3f} at k 8"
    return replace(found, direction=_because(found.direction, where))


def _own(sigma: float, k: int, n: int) -> float:
    return instahide_epsilon(n, n, 1, sigma) / k - instahide_epsilon(n, n, k, sigma)


def _exact(claim: Claim, slack: Callable[[float, int], float], widths: Iterable[int]
           ) -> Measurement:
    """The least slack over the noise of figure 4a and more; how many settings have none in words.
    """
    found = [slack(sigma, k) for sigma in WEAKER_NOISE + STRONGER_NOISE for k in widths]

    def judge(part: Part, column: str) -> Verdict:
        return judgement.exact(part, min(found), n=len(found))

    negative = sum(one < 0 for one in found)
    direction, size = judgement.verdicts(claim, judge, "")
    note = f"{negative} of {len(found)} settings contradict it" if negative else ""
    return Measurement(_because(direction, note), size, setup="as published", note=note)


def _because(found: Verdict | None, words: str) -> Verdict | None:
    if found is None or not words:
        return found
    return replace(found, reason="; ".join(filter(None, (found.reason, words))))


# ---------------------------------------------------------------- sentences

def finding(found: "DataFrame") -> str:
    """Of `figure_4a`: the printed epsilon against a release without mixing, over all k >= 2."""
    mixed = found[found["k"] > 1]
    ratio = (mixed["printed"] / mixed["plain"]).min()
    at = mixed.loc[(mixed["printed"] / mixed["plain"]).idxmin()]
    return (f"In none of {len(mixed)} settings with mixing is the printed epsilon below that of the"
            f" plain Laplace release: it is at least {ratio:.1f} times as large (k {at['k']:.0f},"
            f" noise {at['scale']:g}/255), not at most 1/k of it.")


def accounts_finding(found: "DataFrame") -> str:
    """Of `accounts`: what mixing does to the epsilon of one pass as run."""
    gain = 1 - (found["as run"] / found["plain"]).min()
    lowest = (found["printed"] / found["removed"]).min()
    return (f"As run, a pass costs what the plain release costs, at most {gain:.2%} less. Mixes"
            f" drawn anew would cost at least {lowest:.3g} times less than the theorem prints, but"
            " training code permutes batches.")


# ---------------------------------------------------------------- Theorem 1 as printed

def printed_cost_bound(cost: float, epsilon: float, delta: float, k: int, *, largest: float
                       ) -> float:
    """Equation 5 as printed, for costs in [-largest, 0]: wrong, see
    `lib.privacy.attack_cost_bound`."""
    c = largest * delta / math.expm1(epsilon)
    return max(math.exp(-k * epsilon) * (cost + c) + c, -largest)


def cost_bounds(settings: Iterable[tuple[float, float, int]], *, cost: float, largest: float
                ) -> "DataFrame":
    """Equation 5 as printed and corrected, for (epsilon, delta, k): a line a setting.

    The printed bound is refuted where the training without any poison (which is within k steps of
    itself) lies below it.
    """
    import pandas as pd

    from lib.privacy import attack_cost_bound

    found = []
    for epsilon, delta, k in settings:
        printed = printed_cost_bound(cost, epsilon, delta, k, largest=largest)
        right = attack_cost_bound(cost, epsilon, delta, k, largest=largest, sign="non-positive")
        found.append({"epsilon": epsilon, "delta": delta, "k": k, "cost without poison": cost,
                      "printed bound": printed, "refuted by no poison": cost < printed,
                      "corrected bound": right})
    return pd.DataFrame(found)
