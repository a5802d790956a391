"""Fainter triggers, four corners and augmentation (sections 3.5 and 3.6): the runs and rows of
notebook 32.

All attacks harden as `consistent.CHOSEN`. A `Stamp` says how the trigger is put on; with `jpeg` the
attacker saves poisons, and stamped test images, as JPEG, which weakens the hardening too. What a
network learns of a stamp that is not compressed is `jpeg`'s question.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.attacks.triggers import FOUR_CORNERS
from lib.papers.turner import consistent, panels, victims
from lib.papers.turner.consistent import CHOSEN, COMPARED, SMALL, Attacker
from lib.papers.turner.jpeg import AMPLITUDE, QUALITY, SAVED
from lib.study.runs import Run
from lib.verdicts import contrasts, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

AMPLITUDES = panels.AMPLITUDES
FULL = 255  # levels: replaces the pixels
SUBTLE = panels.SUBTLE
CORNERS, AUGMENTED = "corners", "augmented"
LATE, LOOK = "stamped after augmentation", "trigger"
ONE, FOUR = 1, 4


# ---------------------------------------------------------------- runs

@dataclass(frozen=True)
class Stamp:
    """amplitude: levels of a pixel. corners: 1 or 4. jpeg: quality at which stamped images are
    saved; None for not at all. late: stamp after the augmentation."""

    amplitude: float = FULL
    corners: int = ONE
    jpeg: int | None = None
    late: bool = False

    def __post_init__(self) -> None:
        if self.corners not in (ONE, FOUR):
            raise ValueError(f"corners {self.corners}: expected 1 or 4")

    def fields(self) -> dict[str, Any]:
        """The fields of an attack."""
        position = "bottom-right" if self.corners == ONE else FOUR_CORNERS
        return victims.trigger(position=position, amplitude=float(self.amplitude)) | {
            "jpeg": self.jpeg, "after_augmentation": self.late}


def attacked(victim: Run, stamps: Iterable[Stamp], *,
             targets: Iterable[int] = victims.TARGET_CLASSES,
             shares: Iterable[float] = victims.SHARES, seeds: int | None = 3,
             networks: Attacker = SMALL, names: str = "P") -> list[Run]:
    """Each stamp at each share of each target class, in the named worlds of the attack."""
    targets, stamps = list(targets), list(stamps)
    found = [run for share in shares for stamp in stamps
             for run in consistent.seeded(victim, [consistent.poisoned(
                 one, share, consistent.hardening(CHOSEN, one, networks), **stamp.fields())
                                                   for one in targets], seeds=seeds)]
    return [run.in_world(world) for run in found for world in names]


def clean(victim: Run, *, shares: Iterable[float] = victims.SHARES, **settings: Any) -> list[Run]:
    """The clean training of each target class, which serves all stamps; without augmentation it is
    notebook 31's. settings: of `attacked`."""
    return attacked(victim, [Stamp()], shares=list(shares)[:1], names="C", **settings)


def faint(victim: Run, levels: Iterable[float] = AMPLITUDES, **settings: Any) -> list[Run]:
    """Figures 3.9 and 3.11: amplitudes in one corner. The full amplitude has the runs of notebook
    31. settings: of `attacked`."""
    return attacked(victim, [Stamp(level) for level in levels], **settings)


def cornered(victim: Run, *, amplitude: float = SUBTLE, late: bool = False, **settings: Any
             ) -> list[Run]:
    """Figures 3.13 and 3.14: one corner and four. settings: of `attacked`."""
    return attacked(victim, [Stamp(amplitude, corners, late=late) for corners in (ONE, FOUR)],
                    **settings)


def saved(victim: Run, levels: Iterable[float] = AMPLITUDES, *, quality: int = QUALITY,
          **settings: Any) -> list[Run]:
    """The amplitudes, with stamped images saved as JPEG. settings: of `attacked`."""
    return attacked(victim, [Stamp(level, jpeg=quality) for level in levels], **settings)


def parts(victim: Run, *, amplitude: float = SUBTLE, **settings: Any) -> list[Run]:
    """Stamped only and hardened only. settings: of `attacked`."""
    return attacked(victim, [Stamp(amplitude)], names="TH", **settings)


# ---------------------------------------------------------------- rows

def prepared(frame: "DataFrame") -> "DataFrame":
    """The rows of `consistent.prepared` whose poisons are hardened as `CHOSEN` and stamped, without
    a defence, with `AMPLITUDE`, `CORNERS`, `AUGMENTED`, `SAVED`, `LATE` and `LOOK`."""
    found = consistent.prepared(frame)
    found = rows.undefended(found[found[consistent.ARM].eq(CHOSEN) & found["public"].eq(0)])
    corners = rows.optional(found, "attack.position").eq(FOUR_CORNERS)
    augmented = [len(each) > 0 for each in found["training.transforms"]]
    found = found.assign(**{
        AMPLITUDE: rows.optional(found, "attack.amplitude").astype(float),
        CORNERS: corners.map({False: ONE, True: FOUR}).astype(float), AUGMENTED: augmented,
        SAVED: rows.optional(found, "attack.jpeg").notna(),
        LATE: rows.optional(found, "attack.after_augmentation").eq(True)})
    return found.assign(**{LOOK: [look(row) for _, row in found.iterrows()]})


def look(row: "Series") -> str:
    """One corner or four, and what is done to stamped images, in words."""
    said = ["one corner" if row[CORNERS] == ONE else "four corners"]
    if row[AUGMENTED]:
        said.append("stamped after augmentation" if row[LATE] else "augmented")
    return ", ".join(said + (["saved as JPEG"] if row[SAVED] else []))


def at(found: "DataFrame", *, amplitude: float = SUBTLE, corners: int = ONE,
       augmented: bool = False, saved: bool = False, late: bool = False,
       share: float | None = None) -> "DataFrame":
    """The prepared rows of one trigger and training, at one share or at all."""
    kept = found[found[AMPLITUDE].eq(amplitude) & found[CORNERS].eq(corners)
                 & found[AUGMENTED].eq(augmented) & found[SAVED].eq(saved) & found[LATE].eq(late)]
    return kept if share is None else consistent.at(kept, share)


def difference(one: "DataFrame", other: "DataFrame", column: str) -> "Series":
    """Rows minus other rows of the same target class."""
    both = contrasts.paired(one, other, column)
    return both["own"] - both["other"]


def faint_rows(found: "DataFrame") -> "DataFrame":
    """Figures 3.9 and 3.11: one corner, no augmentation, not saved again."""
    return found[found[CORNERS].eq(ONE) & ~found[AUGMENTED] & ~found[SAVED]]


def corner_rows(found: "DataFrame", amplitude: float = SUBTLE) -> "DataFrame":
    """Figures 3.13 and 3.14: one amplitude, stamped on stored images that are not saved again."""
    return found[found[AMPLITUDE].eq(amplitude) & ~found[SAVED] & ~found[LATE]]


def saving(found: "DataFrame") -> "DataFrame":
    """The rows at 6% that `saved` has beside rows that are not saved: one corner, no augmentation.
    """
    return consistent.at(found[found[CORNERS].eq(ONE) & ~found[AUGMENTED]], COMPARED)


def share_of(found: "DataFrame", least: float = 0.0, most: float = math.inf) -> list[float]:
    """The shares between two, both included, ascending."""
    known = found[consistent.SHARE]
    return sorted(set(known[known.between(least, most)]))
