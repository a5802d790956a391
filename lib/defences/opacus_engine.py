"""Train with Opacus, one model at a time: the reference for this project's trainer.

Batches, initial weights and noise come from the same seeds; only the engine differs.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import training
from lib.defences.members import Engine
from lib.training import Ensemble, Member, Schedule, as_input, generator, initialise, modules


def fitter(*, ghost: bool) -> Engine:
    """A function like `training.fit` that trains with Opacus's hooks or its ghost clipping."""
    def fit(build: Callable[[], nn.Module], pool: Tensor, members: list[Member],
            schedule: Schedule) -> Ensemble:
        training.check(members, schedule)
        if schedule.transforms or schedule.averages or schedule.label_smoothing:
            raise ValueError("the Opacus engines support neither transforms nor averages nor "
                             "label smoothing; leave them out, or use engine 'ensemble'")
        if any(member.overlaid for member in members):
            raise ValueError("the Opacus engines stamp no image after its augmentation: use engine "
                             "'ensemble'")
        if any(member.follows for member in members):
            raise ValueError("the Opacus engines keep their clipping norms; to follow a quantile, "
                             "use engine 'ensemble'")
        # The same slack as in `training.Step`, with the noise unchanged.
        slack = training.slack(schedule.precision)
        members = [replace(member, clipping_norm=member.clipping_norm * slack)
                   for member in members]
        with training.products(schedule.precision):
            trained = [_train(build, pool, member, schedule, ghost) for member in members]
        kept = {step: torch.stack([snapshots[step] for _, snapshots in trained])
                for step in schedule.snapshots}
        return Ensemble(build().to(pool.device), torch.stack([flat for flat, _ in trained]), kept)
    return fit


def _train(build: Callable[[], nn.Module], pool: Tensor, member: Member, schedule: Schedule,
           ghost: bool) -> tuple[Tensor, dict[int, Tensor]]:
    module = initialise(build, member.init_seed).to(pool.device)
    if member.start is not None:
        modules.load(module, member.start.to(pool.device))
    inner = torch_optimizer(module, member.lr, schedule)
    step = private_step(module, inner, member, ghost=ghost)
    snapshots = {}
    rows, labels = member.rows.to(pool.device), member.labels.to(pool.device)
    batches = training.member_batches(member, schedule.sampling, pool.device)
    for number in range(schedule.steps):
        inner.param_groups[0]["lr"] = member.lr * schedule.factor(number, schedule.steps)
        chosen = next(batches)
        step(as_input(pool[rows[chosen]]), labels[chosen])
        if number + 1 in schedule.snapshots:
            snapshots[number + 1] = _flat(module)
    return _flat(module), snapshots


def _flat(module: nn.Module) -> Tensor:
    return training.flatten(module).clone()


def torch_optimizer(module: nn.Module, lr: float, schedule: Schedule) -> torch.optim.Optimizer:
    """torch's own optimizer for the schedule's rule."""
    rule = schedule.rule
    if rule.name == "adam":
        return torch.optim.Adam(module.parameters(), lr=lr, weight_decay=rule.weight_decay)
    kinds = {"sgd": (torch.optim.SGD, {"nesterov": rule.nesterov}),
             "rmsprop": (torch.optim.RMSprop, {})}
    make, extra = kinds[rule.name]
    return make(module.parameters(), lr=lr, momentum=rule.momentum, weight_decay=rule.weight_decay,
                **extra)


def private_step(module: nn.Module, inner: torch.optim.Optimizer, member: Member, *, ghost: bool
                 ) -> Callable[[Tensor, Tensor], None]:
    """A function (inputs, labels) that makes one DP-SGD step with Opacus on `module`."""
    from opacus import optimizers
    from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    device = next(module.parameters()).device
    settings = dict(
        noise_multiplier=member.noise / member.clipping_norm, max_grad_norm=member.clipping_norm,
        expected_batch_size=member.batch_size, loss_reduction="mean",
        generator=generator("noise", member.noise_seed, device))
    if not math.isfinite(member.clipping_norm):
        raise ValueError(
            f"clipping norm {member.clipping_norm}: Opacus always clips; expected a finite norm")
    if ghost:
        wrapped = GradSampleModuleFastGradientClipping(module, max_grad_norm=member.clipping_norm,
                                                       use_ghost_clipping=True,
                                                       loss_reduction="mean")
        optimizer = optimizers.DPOptimizerFastGradientClipping(inner, **settings)
        criterion = DPLossFastGradientClipping(wrapped, optimizer, nn.CrossEntropyLoss(), "mean")
    else:
        wrapped = GradSampleModule(module, loss_reduction="mean")
        optimizer, criterion = optimizers.DPOptimizer(inner, **settings), F.cross_entropy

    def step(inputs: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        criterion(wrapped(inputs), labels).backward()
        optimizer.step()
    return step
