"""Gradient sums of any module by `vmap(grad)`: the slow path, and the tests' oracle."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lib.training.losses import losses
from lib.training.modules import frozen, mixes_a_batch


def sums(
    module: nn.Module,
    parameters: dict[str, Tensor],
    x: Tensor,
    labels: Tensor,
    present: Tensor,
    bounds: Tensor | None,
    *,
    kind: str = "targets",
    buffers: dict[str, Tensor] | None = None,
) -> list[Tensor]:
    """As `closed_form.gradient_sums`; the models one after the other.

    Parameters with `requires_grad=False` count for nothing, their sums are 0. buffers: name ->
    [models, ...], updated in place where the module updates its own.
    """
    one: Callable[..., list[Tensor]] = (
        _clipped if bounds is not None else _mixed if mixes_a_batch(module) else _plain
    )
    results = []
    for model in range(len(x)):
        values = {name: value[model] for name, value in parameters.items()}
        fixed = {name: value[model] for name, value in (buffers or {}).items()}
        fixed |= {name: values[name] for name in frozen(module)}
        moved = {name: value for name, value in values.items() if name not in fixed}
        bound = () if bounds is None else (bounds[model],)
        found = dict(
            zip(
                moved,
                one(module, moved, fixed, x[model], labels[model], present[model], *bound, kind),
            )
        )
        results.append(
            [found[name] if name in found else torch.zeros_like(values[name]) for name in values]
        )
    return [torch.stack(parts) for parts in zip(*results)]


def _plain(module, moved, fixed, x, labels, present, kind):
    def loss(moved):
        return (losses(functional_call(module, moved | fixed, x), labels, kind) * present).sum()

    return list(grad(loss)(moved).values())


def _mixed(module, moved, fixed, x, labels, present, kind):
    """With batch normalisation, in whose statistics are the records that are present."""
    there = present.bool()
    if not there.any():
        return [torch.zeros_like(value) for value in moved.values()]
    leaves = {name: value.detach().requires_grad_() for name, value in moved.items()}
    logits = functional_call(module, leaves | fixed, x[there])
    return list(
        torch.autograd.grad(losses(logits, labels[there], kind).sum(), list(leaves.values()))
    )


def _clipped(module, moved, fixed, x, labels, present, bound, kind):
    def loss(moved, sample, label):
        return losses(functional_call(module, moved | fixed, sample[None]), label[None], kind)[0]

    gradients = list(vmap(grad(loss), (None, 0, 0), randomness="error")(moved, x, labels).values())
    norms = (
        torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    )
    finite = norms.isfinite()  # a record without a finite gradient counts for nothing
    scales = present * (bound / norms.clamp_min(1e-30)).clamp_max(1.0).where(finite, 0.0)
    return [
        torch.tensordot(
            scales, gradient.where(finite.view(-1, *[1] * (gradient.dim() - 1)), 0.0), 1
        )
        for gradient in gradients
    ]
