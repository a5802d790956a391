"""Gradient sums of any module by `vmap(grad)`: the slow path, and the oracle of the tests."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lib.training.losses import losses
from lib.training.modules import frozen, mixes_a_batch


def sums(module: nn.Module, parameters: dict[str, Tensor], x: Tensor, labels: Tensor,
         present: Tensor, bounds: Tensor | None, *, kind: str = "targets",
         buffers: dict[str, Tensor] | None = None, within: Tensor | None = None) -> list[Tensor]:
    """The same as `closed_form.gradient_sums`, one model after another.

    Parameters with `requires_grad=False` do not count towards norms, and their sums are 0. buffers:
    name -> [models, ...], updated in place if the module updates its own.
    """
    model_sums: Callable[..., list[Tensor]] = (
        _clipped if bounds is not None else _mixed if mixes_a_batch(module) else _plain)
    results = []
    for model in range(len(x)):
        values = {name: value[model] for name, value in parameters.items()}
        fixed = {name: value[model] for name, value in (buffers or {}).items()}
        fixed |= {name: values[name] for name in frozen(module)}
        moved = {name: value for name, value in values.items() if name not in fixed}
        count = None if within is None else within[model]
        bound = () if bounds is None else (bounds[model], count)
        gradients = model_sums(module, moved, fixed, x[model], labels[model], present[model],
                               *bound, kind)
        found = dict(zip(moved, gradients))
        results.append([found[name] if name in found else torch.zeros_like(values[name])
                        for name in values])
    return [torch.stack(parts) for parts in zip(*results)]


def _plain(module, moved, fixed, x, labels, present, kind):
    def loss(moved):
        return (losses(functional_call(module, moved | fixed, x), labels, kind) * present).sum()

    return list(grad(loss)(moved).values())


def _mixed(module, moved, fixed, x, labels, present, kind):
    """With batch normalisation, whose statistics are of the records that are present."""
    there = present.bool()
    if not there.any():
        return [torch.zeros_like(value) for value in moved.values()]
    leaves = {name: value.detach().requires_grad_() for name, value in moved.items()}
    logits = functional_call(module, leaves | fixed, x[there])
    total = losses(logits, labels[there], kind).sum()
    return list(torch.autograd.grad(total, list(leaves.values())))


def gradients(module: nn.Module, moved: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor,
              labels: Tensor, *, kind: str = "targets") -> dict[str, Tensor]:
    """Every sample's gradient, name -> [batch, ...], of one model's parameters `moved`.

    fixed: further parameters and buffers, without a gradient.
    """
    def loss(moved, sample, label):
        return losses(functional_call(module, moved | fixed, sample[None]), label[None], kind)[0]

    return vmap(grad(loss), (None, 0, 0), randomness="error")(moved, x, labels)


def _clipped(module, moved, fixed, x, labels, present, bound, within, kind):
    found = list(gradients(module, moved, fixed, x, labels, kind=kind).values())
    squares = [gradient.flatten(1).square().sum(1) for gradient in found]
    norms = torch.stack(squares).sum(0).sqrt()
    finite = norms.isfinite()  # leave out records without a finite gradient
    scales = present * (bound / norms.clamp_min(1e-30)).clamp_max(1.0).where(finite, 0.0)
    if within is not None:
        within.add_((present * (norms <= bound)).sum())

    def kept(gradient):
        return gradient.where(finite.view(-1, *[1] * (gradient.dim() - 1)), 0.0)
    return [torch.tensordot(scales, kept(gradient), 1) for gradient in found]
