"""What mixing leaves of a guarantee: read from the code of transforms and defences, not written
down.

DP-SGD clips the gradient of a mix, so it needs mixes of one private record each. Randomised labels
have their noise before all training, so that mixing them is post-processing of what is released,
whatever is mixed: the guarantee is of labels alone, and stays.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lib.defences import members
from lib.defences.alibi import ALIBI
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.defences.lpmst import LPMST
from lib.papers.borgnia import matching
from lib.papers.borgnia.beyond import LOUD, MIXES, NOISY, flip
from lib.papers.borgnia.patching import NONE
from lib.papers.borgnia.practice import COMPOSED
from lib.privacy import Guarantee
from lib.study.runs import Run
from lib.training import Training
from lib.training.transforms import Transform
from lib.training.transforms.laplace import Laplace

if TYPE_CHECKING:
    from pandas import DataFrame

TRANSFORMS: Mapping[str, tuple[Transform, ...]] = {
    name: own for name, own in MIXES.items() if name not in (NONE, NOISY)} | {
    f"noise {LOUD}/255 on pixels": (Laplace(LOUD / 255),), **COMPOSED}
EVIDENCE = ("ALIBI",)  # trains on log-likelihoods of labels
WORDS = {"none": "one record", "views": "views of one record",
         "public": "one private record, public ones", "batch": "several private records"}
KEEPS = "keeps "


def defences(noise_multiplier: float, epsilon: float, classes: int
             ) -> dict[str, Callable[[Run, int], Guarantee]]:
    """The defences with an epsilon that train one model, as their guarantee of a run on n records.
    """
    return {"DP-SGD": lambda run, n: DPSGD(noise_multiplier).guarantee(run, n),
            "label noise": lambda run, n: LabelNoise(flip(epsilon, classes)).guarantee(classes),
            "ALIBI": lambda run, n: ALIBI(epsilon).guarantee(),
            "LP-2ST": lambda run, n: LPMST(epsilon).guarantee()}


def facts(training: Training, *, n: int, noise_multiplier: float = 1.0, epsilon: float = 1.0,
          classes: int = 10) -> "DataFrame":
    """A line a transform: what a mix holds, and what each defence then guarantees, with Poisson
    batches. training: of the victim on n records. epsilon: of the methods of label-DP."""
    import pandas as pd

    own = defences(noise_multiplier, epsilon, classes)
    start = Run(training=replace(training, sampling="poisson"))
    return pd.DataFrame([
        {"transform": name, "a mix holds": WORDS[_mixes(transforms)],
         **{defence: _said(defence, guarantee, start, transforms, n)
            for defence, guarantee in own.items()}}
        for name, transforms in TRANSFORMS.items()])


def _mixes(transforms: tuple[Transform, ...]) -> str:
    """The kind of the transform that mixes most."""
    return max((one.mixes for one in transforms), key=list(WORDS).index)


def _said(defence: str, guarantee: Callable[[Run, int], Guarantee], start: Run,
          transforms: tuple[Transform, ...], n: int) -> str:
    kind = "evidence" if defence in EVIDENCE else "targets"
    if why := refusal(start, transforms, n, labels=kind):
        return f"refused: {why}"
    before = guarantee(start, n)
    found = guarantee(matching.augmented(start, *transforms), n)
    if not found.holds:
        return f"no guarantee: {found.note}"
    kept = found.epsilon == before.epsilon and found.adjacency == before.adjacency
    return f"{KEEPS if kept else ''}ε {found.epsilon:.3g} ({found.adjacency})"


def refusal(start: Run, transforms: tuple[Transform, ...], n: int, *, labels: str) -> str:
    """Why a training on such labels cannot have these transforms; "" where it can."""
    if labels == "targets":
        return ""
    plan = matching.augmented(start, *transforms).training.plan(n, start.precision, labels=labels)
    try:
        members.bound(plan, ())
    except ValueError as error:
        return str(error).partition(": ")[2].partition(": expected")[0]
    return ""
