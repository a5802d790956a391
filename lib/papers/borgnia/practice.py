"""Figures 4b and 5: adaptive gradient matching against augmentations with Laplace noise on pixels.

The noise comes last, as in DP-InstaHide, and the attacker brews through the augmentation and
through noise of the same scale. Runs without noise, and those of figure 5 that are mixups, are runs
of other figures too, and are trained once.

A row's arm is what its victim adds to crops and flips, its scale that of the noise over 255. The
epsilon beside it is theorem 2's, as printed: of one pass over its records (T = n), for images of
unit l1 diameter and without labels, so no guarantee of the training.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib import goals
from lib.papers.borgnia import MATCHING, matching
from lib.papers.borgnia.matching import AUGMENTATIONS, CUTOUT, FOUR, MAXUP, TWO
from lib.papers.borgnia.patching import CUTMIX, NONE, added
from lib.privacy import instahide_epsilon
from lib.study.runs import Run
from lib.training.transforms import Transform
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.public_mixup import PublicMixup
from lib.training.transforms.self_mixup import SelfMixup
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

WIDTHS, SCALES = (1, 2, 4), (0, 8, 16)
FIVE = (TWO, FOUR, CUTOUT, CUTMIX, MAXUP)  # of figure 5
VIEWS, PUBLIC = "own views", "public images"
COMPOSED: Mapping[str, tuple[Transform, ...]] = {  # mixing that keeps DP-SGD's guarantee
    VIEWS: (SelfMixup(),), PUBLIC: (PublicMixup(),)}
TRIALS = 4
RECORDS = 50_000  # of a set that is used whole
ARM, SCALE, WIDTH, TRIAL, EPSILON = "arm", "noise", "k", "trial", "printed epsilon"
BREW = ("attack.fraction", "attack.eps", "attack.iterations", "attack.restarts",
        "attack.surrogates")


# ---------------------------------------------------------------- runs

def mixed(victim: Run, widths: Iterable[int] = WIDTHS, scales: Iterable[float] = SCALES, *,
          trials: int = TRIALS, **settings: Any) -> list[Run]:
    """Figure 4b: k-way mixup with noise, attacked by who knows both, and the clean twins.

    scales: of the noise over 255, 0 for none. settings: of `matching.attack`. Width 1 without noise
    is the undefended model, the positive control.
    """
    widths, scales = list(widths), list(scales)
    defences = {f"{k}, {scale:g}": matching.noisy(k, scale) for k in widths for scale in scales}
    return matching.runs(victim, defences, trials=trials, adaptive=True, **settings)


def augmented(victim: Run, names: Iterable[str] = FIVE, scales: Iterable[float] = SCALES, *,
              trials: int = TRIALS, **settings: Any) -> list[Run]:
    """Figure 5: each augmentation (a name of `matching.AUGMENTATIONS`) with noise of each scale."""
    scales = list(scales)
    defences = {f"{name}, {scale:g}": shaken(AUGMENTATIONS[name], scale)
                for name in names for scale in scales}
    return matching.runs(victim, defences, trials=trials, adaptive=True, **settings)


def shaken(added: Sequence[Transform], scale: float) -> tuple[Transform, ...]:
    """Transforms, and noise of this scale over 255 after them."""
    return (*added, Laplace(scale / 255)) if scale else tuple(added)


# ---------------------------------------------------------------- rows

def prepared(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of gradient matching whose attacker knows the augmentation, plain training
    alone; with arm, noise, k (NaN: no mixup), trial, printed epsilon, and natural and excess from
    the clean twins."""
    own = rows.undefended(frame[frame["attack.name"].eq("gradient_matching")])
    known = rows.measured(own, world=None).reset_index(drop=True)
    found = goals.parts(known) if len(known) else known.assign(natural=None, excess=None)
    each = [added(told) for told in found["training.transforms"]]
    aware = [_aware(row, own) for (_, row), own in zip(found.iterrows(), each, strict=True)]
    found = found.assign(**{
        ARM: [arm_of(own) for own in each], SCALE: [scale_of(own) for own in each],
        TRIAL: found["attack_seed"], "aware": aware})
    return _with_epsilon(found[found["aware"].astype(bool)])


def nearest(frame: "DataFrame") -> "DataFrame":
    """`prepared` rows of the set-up nearest to the published one, of its most common brew."""
    return _one_brew(rows.nearest(prepared(frame), MATCHING))


def mixups(found: "DataFrame") -> "DataFrame":
    """The rows of figure 4b: k-way mixup or none, at any noise. found: of `prepared`."""
    return found[found[WIDTH].notna()]


def at(found: "DataFrame", arm: str, scale: float) -> "DataFrame":
    """The rows of one arm at one scale."""
    return found[found[ARM].eq(arm) & (found[SCALE] - scale).abs().lt(1e-6)]


def by_trial(found: "DataFrame", column: str, *, by: Sequence[str]) -> "DataFrame":
    """A line a trial, a column a setting: those trials that have every setting."""
    return found.assign(**{column: found[column].astype(float)}).pivot_table(
        index=TRIAL, columns=list(by), values=column, aggfunc="mean", sort=True).dropna()


def _aware(row: "Series", own: tuple[str, ...]) -> bool:
    """Whether the attacker trains and brews with what the victim adds."""
    return own == added(row["attack.transforms"]) == added(row["attack.training.transforms"])


def scale_of(own: Iterable[str]) -> float:
    """The scale over 255 of the noise in what `added` returns, 0 without any."""
    noise = [float(one.split()[1]) for one in own if one.startswith("laplace ")]
    return round(255 * sum(noise), 6)


def arm_of(added: Iterable[str]) -> str:
    """The name of what `added` returns, without its noise."""
    own = tuple(one for one in added if not one.startswith("laplace "))
    equal = re.fullmatch(r"mixup (\d+) equal 1\.0", own[0]) if len(own) == 1 else None
    return f"{equal[1]}-way mixup" if equal else _known().get(own, ", ".join(own))


@functools.cache
def _known() -> Mapping[tuple[str, ...], str]:
    """The names of `AUGMENTATIONS`, by how rows tell their transforms."""
    from lib.study.table import flatten  # it needs pandas, which training does not

    return {tuple(flatten(Run().with_(training__transforms=own))["training.transforms"]): name
            for name, own in (*AUGMENTATIONS.items(), *COMPOSED.items())}


def _width(arm: str) -> float:
    found = re.fullmatch(r"(\d+)-way mixup", arm)
    return 1.0 if arm == NONE else float(found[1]) if found else float("nan")


def _with_epsilon(found: "DataFrame") -> "DataFrame":
    widths = [_width(arm) for arm in found[ARM]]
    sizes = found["train_size"].astype(float).fillna(RECORDS)
    return found.assign(**{WIDTH: widths, EPSILON: [
        printed(int(n), k, scale) for n, k, scale in zip(sizes, widths, found[SCALE],
                                                         strict=True)]})


@functools.cache
def printed(n: int, width: float, scale: float) -> float:
    """Theorem 2's epsilon at T = n; infinite without noise, NaN without a width."""
    if width != width:
        return width
    return instahide_epsilon(n, n, int(width), scale / 255) if scale else float("inf")


def _one_brew(found: "DataFrame") -> "DataFrame":
    """The rows whose poisons were brewed alike: the most common settings."""
    if found.empty:
        return found
    return max((group for _, group in found.groupby(list(BREW), sort=False)), key=len)
