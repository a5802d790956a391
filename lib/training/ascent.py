"""Projected gradient ascent: changes of records, within a ball, that raise each record's loss.

Every step follows the steepest direction of the norm (the gradient's sign for linf, the gradient
itself at length 1 for l2), and goes back into the ball and the valid range (Madry et al. 2018,
arXiv 1706.06083). The result is the last step's, as theirs is, not the best.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NORMS = ("linf", "l2")
TINY = 1e-30  # instead of a norm of 0


@dataclass(frozen=True)
class Ball:
    """Changes of a record whose norm is at most `radius`, in the records' own unit."""

    norm: str
    radius: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm {self.norm!r}: expected one of {', '.join(NORMS)}")
        if not 0 < self.radius < math.inf:
            raise ValueError(f"radius {self.radius}: expected above 0 and finite; leave the "
                             "perturbation out for no change")

    def project(self, change: Tensor, *, dims: int = 3) -> Tensor:
        """The nearest changes in the ball. dims: trailing dimensions of a record."""
        if self.norm == "linf":
            return change.clamp(-self.radius, self.radius)
        return change * (self.radius / _norms(change, dims)).clamp_max(1.0)

    def steepest(self, gradient: Tensor, *, dims: int = 3) -> Tensor:
        """The directions of length 1 that raise the loss most; 0 for a gradient of 0."""
        if self.norm == "linf":
            return gradient.sign()
        # Scaled first, because squares of a confident network's gradients are 0 in float32.
        largest = gradient.abs().amax(tuple(range(-dims, 0)), keepdim=True)
        scaled = gradient / largest.clamp_min(TINY)
        return scaled / _norms(scaled, dims)

    def draw(self, count: int, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
        """Uniform draws from the ball [count, *shape]."""
        drawn = torch.empty(count, *shape, device=random.device)
        if self.norm == "linf":
            return drawn.uniform_(-self.radius, self.radius, generator=random)
        drawn.normal_(generator=random)
        shares = torch.rand(count, generator=random, device=random.device)
        lengths = self.radius * shares ** (1 / math.prod(shape))
        return drawn * lengths.view(-1, *[1] * len(shape)) / _norms(drawn, len(shape))


def _norms(values: Tensor, dims: int) -> Tensor:
    """Euclidean norms of records, above 0, in a shape that broadcasts over them."""
    along = tuple(range(-dims, 0))
    return torch.linalg.vector_norm(values, dim=along, keepdim=True).clamp_min(TINY)


def ascend(losses: Callable[[Tensor], Tensor], x: Tensor, ball: Ball, *, step: float, steps: int,
           start: Tensor | None = None, valid: tuple[float, float] = (0.0, 255.0),
           dims: int = 3) -> Tensor:
    """Records within `ball` of those in x, after `steps` steps of length `step` up their losses.

    losses: differentiable, from records shaped as x, [..., *record], to their losses [...]; a
    record's loss must depend on no other record. start: changes in the ball to begin with; None to
    begin at x, where the gradient of some losses is 0. valid: range of values. A value of x outside
    of it may stay, but goes no further out. dims: dimensions of a record.
    """
    low, high = x.clamp_max(valid[0]), x.clamp_min(valid[1])
    moved = x.detach() if start is None else (x + start).clamp(low, high)
    for _ in range(steps):
        moved.requires_grad_()
        gradient, = torch.autograd.grad(losses(moved).sum(), moved)
        with torch.no_grad():
            further = moved + step * ball.steepest(gradient, dims=dims)
            moved = (x + ball.project(further - x, dims=dims)).clamp(low, high)
    return moved.detach()


def check_steps(step: float, steps: int) -> None:
    """Raise ValueError for a step length or a number of steps that moves nothing."""
    if not 0 < step < math.inf:
        raise ValueError(f"step {step}: expected above 0 and finite")
    if type(steps) is not int or steps < 1:
        raise ValueError(f"steps {steps!r}: expected a whole number of at least 1")
