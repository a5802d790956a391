"""Gradient sums of a group, recorded once as a CUDA graph and replayed in each step.

A replay is one launch in place of dozens, which matters where a group is small. It needs what
`draws.Ahead` and the branchless forms give: shapes that stay, and nothing that the host waits for.
When a batch is wider than all before, the sums are recorded anew.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

WARM_UP = 3  # runs before a recording, in which libraries choose kernels and allocate


class Group(Protocol):
    """A form of gradient sums, such as `direct.Direct`; `total` is where they end."""

    def gradient_sums(self, indices: Tensor, present: Tensor, resting: Sequence[int] = (),
                      draws: Sequence[dict[str, Tensor]] = ()) -> Tensor: ...


class Recorded:
    """The gradient sums of `group`, which updates nothing but its sums."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.given: list[Tensor] = []  # what the graph reads

    def gradient_sums(self, indices: Tensor, present: Tensor, resting: Sequence[int] = (),
                      draws: Sequence[dict[str, Tensor]] = ()) -> Tensor:
        """As the group's, in the same tensor each time."""
        new = [indices, present, *(values for own in draws for values in own.values())]
        if [each.shape for each in new] != [each.shape for each in self.given]:
            self._record(indices, present, draws)
        for kept, each in zip(self.given, new, strict=True):
            kept.copy_(each)
        self.graph.replay()
        return self.sums

    def _record(self, indices: Tensor, present: Tensor, draws: Sequence[dict[str, Tensor]]) -> None:
        indices, present = indices.clone(), present.clone()
        draws = [{name: values.clone() for name, values in own.items()} for own in draws]
        self.given = [indices, present, *(values for own in draws for values in own.values())]
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.group.gradient_sums(indices, present, (), draws)
        current.wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.sums = self.group.gradient_sums(indices, present, (), draws)
