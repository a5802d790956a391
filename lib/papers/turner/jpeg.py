"""JPEG and the stamp: the runs and rows of the end of notebook 32.

CIFAR-10 was distributed as JPEG here. So what an attacker changes in a stored image is the only
part of it that was never compressed, and a network could learn that in place of the stamp. Hardened
images have such a part without a stamp: their perturbation, which compression weakens as well. So
the mislabelled attack is asked, whose poisons are stamped and nothing else. With `jpeg` the
attacker saves stamped images, in training and at test time, as JPEG again. MNIST and Fashion-MNIST,
which were not compressed, and copies of them that were, are controls.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lib.papers.turner import consistent, dirty, panels, victims
from lib.papers.turner.consistent import MISLABELLED
from lib.study.runs import Run
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LEVELS = panels.AMPLITUDES
QUALITY = 75  # that of the copy of CIFAR-10
GREY = ("mnist", "fashion-mnist")
AMPLITUDE, SAVED, DATA, COMPRESSED = "amplitude", "saved as JPEG", "data", "compressed"
COPY = "-jpeg"  # ends the name of a compressed copy of a data set


# ---------------------------------------------------------------- runs

def stamped(victim: Run, levels: Iterable[float] = LEVELS, *, poisons: int,
            qualities: Iterable[int | None] = (None, QUALITY), **settings: Any) -> list[Run]:
    """Mislabelled poisons with each amplitude of the trigger, saved as JPEG of each quality (None
    for not at all), and the clean trainings.

    settings: targets and seeds, of `dirty.attacked`.
    """
    attacks = [victims.trigger(amplitude=float(level)) | {"jpeg": quality}
               for quality in qualities for level in levels]
    found = [run for one in attacks for run in dirty.attacked(
        victim, [poisons], names="P", trigger=one, **settings)]
    return [*found, *dirty.attacked(victim, [poisons], names="C", **settings)]


def controls(victim: Run, levels: Iterable[float] = LEVELS, *, quality: int = QUALITY,
             **settings: Any) -> list[Run]:
    """On data that was never compressed: stamped; on its compressed copy: stamped, and stamped and
    saved. victim: on the first. settings: of `stamped`."""
    copy = victim.with_(dataset=f"{victim.dataset}{COPY}")
    return [*stamped(victim, levels, qualities=[None], **settings),
            *stamped(copy, levels, qualities=[None, quality], **settings)]


# ---------------------------------------------------------------- rows

def prepared(frame: "DataFrame") -> "DataFrame":
    """The rows of `consistent.prepared` with mislabelled poisons, without a defence and without
    images kept back, with `AMPLITUDE`, `SAVED`, `DATA` and `COMPRESSED`."""
    found = consistent.prepared(frame)
    found = dirty.undefended(found[found[consistent.ARM].eq(MISLABELLED)])
    found = found.assign(**{
        AMPLITUDE: rows.optional(found, "attack.amplitude").astype(float),
        SAVED: rows.optional(found, "attack.jpeg").notna(),
        DATA: found["dataset"].astype(str).str.removesuffix(COPY)})
    return found.assign(**{COMPRESSED: [compression(row) for _, row in found.iterrows()]})


def compression(row: "Series") -> str:
    """What was compressed, in words: nothing, the data, or the data and the stamped images."""
    if row[SAVED]:
        return "stamped, then saved as JPEG"
    return "JPEG data, then stamped" if str(row["dataset"]).endswith(COPY) else "never compressed"
