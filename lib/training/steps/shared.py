"""Groups whose models draw the same batches of mostly the same records.

Re-trainings that differ in a few records draw the same batches, if their seeds and their numbers of
rows are equal. A batch is then drawn once for the group, and the records that all models share are
gathered once. On those, the first layers of all models are one matrix product, [batch, features] x
[features, models * outputs], and so is their gradient. Records in which the models differ are
columns of their own in each model's batch. Sums run over the same samples as in `direct`, in
another order. Labels may differ between models everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.training import sizes
from lib.training.batches import as_input, pad_rows
from lib.training.losses import losses
from lib.training.modules import unflatten
from lib.training.schedule import Member, Schedule
from lib.training.steps import closed_form, coefficients, factors

MAX_OWN = 0.5  # share of rows in which models may differ
ONE_BY_ONE = 128  # outputs of the first layer from which a CPU multiplies for each model in turn
LEAST = {"cpu": 2, "cuda": 16}  # models, to be worth a group apart from other batches


def applies(module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule, *,
            ahead: bool = False) -> bool:
    """Whether these members are trained together on shared batches.

    ahead: a batch then has room for as many differing records as there are, so few are allowed.
    """
    return (len(members) >= LEAST.get(pool.device.type, LEAST["cuda"])
            and possible(module, pool, schedule)
            and len({batches(member) for member in members}) == 1
            and not any(member.input_noise or member.overlaid for member in members)
            and int(differing(members).sum()) <= MAX_OWN * (
                members[0].batch_size if ahead else len(members[0].rows)))


def possible(module: nn.Module, pool: Tensor, schedule: Schedule) -> bool:
    """Whether members of this module and schedule can share batches at all.

    Not in an exact schedule, where the bits of a model must not depend on its group.
    """
    linear = coefficients.first_linear(module, pool.dim() - 1) is not None
    return linear and not schedule.transforms and not schedule.exact


def batches(member: Member) -> tuple:
    """What determines a member's batches: members with equal values draw the same places."""
    return member.batch_seed, len(member.rows), member.batch_size, member.records


def differing(members: Sequence[Member]) -> Tensor:
    """Which places among the rows do not hold the same record for all members [rows], boolean."""
    first = members[0].rows
    found = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    for member in members[1:]:
        found |= member.rows != first
    return found


@dataclass
class Inputs:
    """Inputs of a batch in which the shared records come first, then those of each model.

    common: [shared, features]. own: [models, rest, features].
    """

    common: Tensor
    own: Tensor

    def outputs(self, weight: Tensor) -> Tensor:
        """Products with weights [models, outputs, features]: [batch, models, outputs]."""
        shared = _products(self.common, weight)
        if not self.own.shape[1]:
            return shared
        apart = factors.product(self.own, weight.transpose(1, 2))
        return torch.cat([shared, apart.transpose(0, 1)])

    def add_gradient(self, errors: Tensor, out: Tensor, *, beta: int) -> None:
        """out = beta out + the sum of errors [batch, models, outputs] times inputs [models,
        outputs, features]."""
        shared, apart = errors.permute(1, 2, 0).tensor_split([len(self.common)], 2)
        if _one_by_one(out):
            add_product(out, shared, self.common.expand(len(out), -1, -1), beta=beta)
        else:
            found = (errors[: len(self.common)].flatten(1).T @ self.common).view(out.shape)
            _add(out, found, beta=beta)
        if self.own.shape[1]:
            add_product(out, apart, self.own, beta=1)

    def squared_norms(self) -> Tensor:
        """Of every input [batch, 1] or, if models have records of their own, [batch, models]."""
        shared = _squared_norms(self.common)[:, None]
        if not self.own.shape[1]:
            return shared
        return torch.cat([shared.expand(-1, len(self.own)), _squared_norms(self.own).T])

    def finite(self) -> "Inputs":
        """The same with 0 for inputs that are not finite."""
        return Inputs(*(x.where(_squared_norms(x).isfinite()[..., None], 0.0)
                        for x in (self.common, self.own)))


class Shared:
    """As `direct.Direct`, for members that `applies` to: `coordinates` are the weights.

    Takes one batch for all models, indices and present [1, batch].
    """

    repeatable = True  # see `direct.Direct`

    def __init__(self, module: nn.Module, states: Tensor, pool: Tensor, members: Sequence[Member],
                 schedule: Schedule, bounds: Tensor, *, ahead: bool = False) -> None:
        self.branchless = ahead
        self.module, self.pool, self.kind = module, pool, schedule.labels
        self.first, self.rest = coefficients.layers(module, pool.dim() - 1)
        self.coordinates = states.contiguous()
        self.bounds = bounds if any(member.private for member in members) else None
        self.within: Tensor | None = None  # [models], to count the records within the bounds
        own = differing(members)
        self.differing = own.to(pool.device) if own.any() else None
        self.most = int(own.sum())
        self.rows = torch.stack([member.rows for member in members]).to(pool.device)
        labels = pad_rows([member.labels for member in members], len(own)).to(pool.device)
        # [1 or models, rows, ...]: once for all models if they agree
        self.labels = labels[:1] if bool((labels == labels[:1]).all()) else labels
        self.total = torch.empty_like(self.coordinates)
        self.views = list(unflatten(module, self.total).values())
        numbers = sizes.sample_numbers(module, tuple(pool.shape[1:])) - pool[0].numel()
        self.chunk = sizes.samples_at_once(module, pool.device, models=len(members),
                                           numbers=numbers)

    def numbers(self) -> Tensor:
        """The group's weights [models, parameters]."""
        return self.coordinates

    def states(self, values: Tensor) -> Tensor:
        """The weights from values of `numbers`, or from averages of them."""
        return values

    def gradient_sums(self, indices: Tensor, present: Tensor, resting: Sequence[int] = (),
                      draws: Sequence[dict[str, Tensor]] = ()) -> Tensor:
        """Sums of gradients over the batch [models, parameters], clipped if a member clips."""
        first = self.first.weight.numel() + self.first.bias.numel()
        parameters = unflatten(self.rest, self.coordinates[:, first:])
        chunks = zip(indices[0].split(self.chunk), present[0].split(self.chunk))
        for number, (index, there) in enumerate(chunks):
            self._add_sums(parameters, index, there, beta=min(number, 1))
        return self.total

    def _add_sums(self, parameters: dict[str, Tensor], index: Tensor, present: Tensor, *,
                  beta: int) -> None:
        """total = beta total + the sums over this part of the batch."""
        first, bias, *_ = unflatten(self.module, self.coordinates).values()
        x, labels, present = self._records(index, present)
        tapes: list[closed_form.Tape] = []
        z = x.outputs(first).add_(bias).requires_grad_()  # [batch, models, outputs]
        logits = closed_form.forward(self.rest, parameters, z.transpose(0, 1), tapes=tapes)
        total = losses(logits.transpose(0, 1).flatten(0, 1), labels.flatten(0, 1), self.kind).sum()
        error, *errors = torch.autograd.grad(total, [z, *(tape.outputs for tape in tapes)])
        parts = [factors.LinearPart(tape.inputs, error) for tape, error in zip(tapes, errors)]
        scales = present[:, None]  # [batch, models], or for all models alike [batch, 1]
        if self.bounds is not None:
            squares = _squared_norms(error) * (x.squared_norms() + 1.0)
            norms = sum((part.squared_norms.T for part in parts), squares).sqrt()
            scales = scales * (self.bounds / norms.clamp_min(1e-30)).clamp_max(1.0)
            if self.within is not None:
                self.within.add_((present[:, None] * (norms <= self.bounds)).sum(0))
            finite = norms.isfinite()
            if self.branchless or not finite.all():
                x, error = x.finite(), error.where(finite[:, :, None], 0.0)
                parts = [part.without(finite.T) for part in parts]
                scales = scales.where(finite, 0.0)
        scaled, (weight, bias, *others) = error * scales[:, :, None], self.views
        x.add_gradient(scaled, weight, beta=beta)
        _add(bias, scaled.sum(0), beta=beta)
        for part, weight, bias in zip(parts, others[::2], others[1::2]):
            scaled = part.errors * scales.T[:, :, None]
            add_product(weight, scaled.transpose(1, 2), part.inputs, beta=beta)
            _add(bias, scaled.sum(1), beta=beta)

    def _records(self, index: Tensor, present: Tensor) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs, labels [batch, models, ...] and present of the records at these places; shared
        ones first."""
        count = len(index)
        if self.differing is not None and self.branchless:
            index, present = self._with_own(index, present, self.differing[index])
        elif self.differing is not None:
            apart = self.differing[index]
            order = apart.to(torch.uint8).argsort(stable=True)
            index, present, count = index[order], present[order], count - int(apart.sum())
        common = self.pool.index_select(0, self.rows[0, index[:count]])
        places = self.rows.index_select(1, index[count:])
        own = self.pool.index_select(0, places.flatten()).unflatten(0, places.shape)
        inputs = Inputs(as_input(common).flatten(1), as_input(own).flatten(2))
        labels = self.labels.index_select(1, index).transpose(0, 1)
        return inputs, labels.expand(-1, len(self.rows), *labels.shape[2:]), present


    def _with_own(self, index: Tensor, present: Tensor, differ: Tensor) -> tuple[Tensor, Tensor]:
        """The places, absent where models differ, and again those places alone: as many as there
        can be, so that shapes do not depend on the batch."""
        apart = differ.to(present.dtype) * present
        there, own = apart.topk(min(self.most, len(index)))
        return torch.cat([index, index[own]]), torch.cat([present - apart, there])


def _one_by_one(weight: Tensor) -> bool:
    """Whether a product for each model [models, outputs, features] is as fast as a joint one.

    Joint products need a copy of the weights in one block, which costs more for larger layers.
    """
    return weight.device.type == "cpu" and weight.shape[1] >= ONE_BY_ONE


def _products(x: Tensor, weight: Tensor) -> Tensor:
    """Products of x [batch, features] with weights [models, outputs, features]."""
    if not _one_by_one(weight):
        return (x @ weight.flatten(0, 1).T).unflatten(1, weight.shape[:2])
    found = x.new_empty(len(x), *weight.shape[:2])
    for model, own in enumerate(weight):
        torch.mm(x, own.T, out=found[:, model])
    return found


def add_product(out: Tensor, a: Tensor, b: Tensor, *, beta: int) -> None:
    """out = beta out + a b, batched over models; where `factors.product` goes one by one, in
    place."""
    if not factors.one_by_one(a, b):
        _add(out, torch.bmm(a, b), beta=beta)
        return
    for own, left, right in zip(out, a, b):
        own.addmm_(left, right, beta=beta)


def _add(out: Tensor, part: Tensor, *, beta: int) -> None:
    out.add_(part) if beta else out.copy_(part)


def _squared_norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1).square_()
