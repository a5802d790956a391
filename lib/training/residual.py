"""Residual connections as a layer whose parts are known, so that its gradients have closed forms.
"""

from torch import Tensor, nn


class Residual(nn.Module):
    """`shortcut(x) + body(x)` (He et al. 2016); without layers, the shortcut is the identity."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Sequential() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)
