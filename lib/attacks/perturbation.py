"""Small changes of images: which are allowed, how they are stored as bytes, how large they are."""

import torch
from torch import Tensor

from lib.training.ascent import Ball


def check_bound(attack: str, norm: str, eps: float) -> None:
    """Raise ValueError for a ball, in units of [0, 1], that holds no other image than its centre.
    """
    try:
        Ball(norm, eps)
    except ValueError as error:
        raise ValueError(f"attack {attack}: {error}") from None
    if eps < 1 / 255 - 1e-9 or (norm == "linf" and eps > 1):
        most = ", and at most 1" if norm == "linf" else ""
        raise ValueError(f"attack {attack}: eps {eps:.4g}: expected 1/255, one level of a pixel, or"
                         f" more{most}; images are stored as bytes")


def stored(moved: Tensor, originals: Tensor, ball: Ball) -> Tensor:
    """Images 0 to 255 as bytes, in the ball around uint8 originals.

    Levels are rounded to the nearest; in an l2 ball this may add half a level a pixel at most.
    """
    change = ball.project(moved - originals.float())
    if ball.norm == "linf":
        whole = int(ball.radius + 1e-6)  # 255 * (8 / 255) may be just below 8
        change = change.round().clamp(-whole, whole)
    return (originals.float() + change).round().clamp(0, 255).to(torch.uint8)


def change(poisons: Tensor, originals: Tensor) -> dict[str, float]:
    """The mean l2 norm and the largest value of the change, in units of [0, 1]."""
    moved = (poisons.float() - originals.float()).flatten(1) / 255
    return {"change_l2": moved.norm(dim=1).mean().item(), "change_linf": moved.abs().max().item()}
