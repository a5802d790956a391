"""What is put on some records after a batch's transforms: a stamp that crops and flips do not move.

A trigger usually lies on the stored image, and moves with it. As an overlay it stands at its own
place in every view of the image, as if each view had been stamped. It draws no random numbers, and
a record's overlay depends on this record alone: sensitivity and epsilon stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Overlay:
    """Pixels x in [0, 1] become keep x + add, clipped to [0, 1]; both float [channels, height,
    width], 1 and 0 where pixels stay as they are."""

    keep: Tensor
    add: Tensor

    def touched(self) -> Tensor:
        """Which pixels change, bool [channels, height, width]."""
        return (self.keep != 1) | (self.add != 0)


@dataclass(frozen=True, eq=False)
class Overlaid:
    """The overlay of one member, and which of its rows have it, bool [rows]."""

    overlay: Overlay
    rows: Tensor


class Overlays:
    """The overlays of a group, None for members without one: [models, ...] at once.

    longest: rows of the member that has most.
    """

    def __init__(self, overlaid: Sequence[Overlaid | None], longest: int, device: torch.device
                 ) -> None:
        shape = next(each.overlay.keep.shape for each in overlaid if each is not None)
        nothing = Overlaid(Overlay(torch.ones(shape), torch.zeros(shape)), torch.zeros(0) > 0)
        known = [nothing if each is None else each for each in overlaid]
        # [models, 1, channels, height, width], for all records of a batch
        self.keep, self.add, self.touched = (
            torch.stack([part.to(device) for part in parts])[:, None] for parts in zip(
                *((each.overlay.keep, each.overlay.add, each.overlay.touched()) for each in known)))
        self.rows = torch.zeros(len(known), longest, dtype=torch.bool, device=device)
        for own, each in zip(self.rows, known):
            own[: len(each.rows)] = each.rows

    def __call__(self, x: Tensor, index: Tensor) -> Tensor:
        """Inputs [models, batch, channels, height, width] of the records at places `index` [models,
        batch] among their model's rows, with the overlays on."""
        chosen = self.rows.gather(1, index)[:, :, None, None, None] & self.touched
        return (x * self.keep + self.add).clamp(0, 1).where(chosen, x)
