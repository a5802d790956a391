"""Train many models of one shape at once.

Each model has its own rows, labels, seeds, learning rate, batches, clipping norm and noise. Each
draws from its own generators, so that it draws the same numbers bit for bit alone and in a group.

The private step (Abadi et al. 2016, algorithm 1, with Poisson sampling): clip each sample's
gradient over all parameters together, sum the clipped gradients, add one draw of Gaussian noise to
the sum, divide by the expected batch size.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from lib.training import averages, batches, draws, losses, memory, modules, sizes, transforms
from lib.training.ensemble import Ensemble
from lib.training.modules import initialise
from lib.training.norms import Following
from lib.training.optimizers import Optimizer
from lib.training.schedule import Member, Schedule, check
from lib.training.steps import alone, clipped_means, coefficients, direct, recorded, shared
from lib.training.workers import spread


def fit(build: Callable[[], nn.Module], pool: Tensor, members: Sequence[Member],
        schedule: Schedule, *, ahead: bool | None = None, record: bool = False) -> Ensemble:
    """Train one model per member on its rows of `pool` [n, ...], in groups that fit memory.

    Members that are one training, such as clean twins of different attacks, are trained once.
    ahead: whether to draw whole blocks of steps, with other numbers (see `draws`); by default on a
    GPU. record: replay steps as a CUDA graph where that is possible, see `steps.recorded`.
    `build()` returns a new module, initialised from torch's global generator. Raises ValueError for
    a member or a schedule out of range, and for a module that cannot be trained here.
    """
    check(members, schedule)
    memory.reuse()
    members, found = _distinct(members)
    module = initialise(build, 0).to(pool.device)
    modules.check(module, clipped=any(member.private for member in members))
    modules.check_averages(module, schedule.averages)
    modules.check_starts(module, [member.start for member in members if member.start is not None])
    modules.check_buffers(module, [member.micro_batches for member in members])
    transforms.check_inputs(schedule.transforms, tuple(pool.shape[1:]))
    _check_versions(pool, members, schedule)
    if schedule.label_smoothing:
        members = _smoothed(members, schedule.label_smoothing, sizes.outputs(module, pool))
    numbers = len(modules.flatten(module))
    wanted = itertools.product(("last", *schedule.averages), ("end", *schedule.snapshots))
    result = {kept: torch.empty(len(members), numbers, device=pool.device) for kept in wanted}
    norms = torch.empty(len(members), device=pool.device)
    ahead = pool.device.type == "cuda" if ahead is None else ahead
    groups = _groups(module, pool, members, schedule, ahead=ahead)

    def train(places):
        return _fit_group(build, module, pool, [members[place] for place in places], schedule,
                          ahead=ahead, record=record)

    with products(schedule.precision):
        trained = spread(train, groups, device=pool.device, alone=schedule.exact)
        for places, (states, norms[places]) in zip(groups, trained):
            for kept, values in states.items():
                result[kept][places] = values
    if len(found) > len(members):
        result, norms = {kept: values[found] for kept, values in result.items()}, norms[found]
    own = [_ensemble(module, result, weights) for weights in schedule.averages]
    return _ensemble(module, result, "last", dict(zip(schedule.averages, own)), norms=norms,
                     trainings=found)


def _check_versions(pool: Tensor, members: Sequence[Member], schedule: Schedule) -> None:
    """Raise ValueError unless the pool can hold the versions of records that a transform takes."""
    for transform in schedule.transforms:
        if not isinstance(transform, transforms.Versioned):
            continue
        count = transform.versions
        whole = len(pool) % count == 0 and all(
            bool((member.rows % count == 0).all()) for member in members)
        if not whole or any(member.input_noise for member in members):
            raise ValueError(f"a pool of {len(pool)} inputs and {count} versions of each record: "
                             "expected all versions of a record one after the other, rows that "
                             "name the first ones, and no input_noise")


def _smoothed(members: Sequence[Member], share: float, classes: int) -> list[Member]:
    """The members with smoothed labels."""
    return [replace(member, labels=losses.smoothed(member.labels, share, classes))
            for member in members]


def _distinct(members: Sequence[Member]) -> tuple[list[Member], list[int]]:
    """The members without those that repeat another's training, and where each is among them."""
    places: dict[tuple, int] = {}
    kept, found = [], []
    for member in members:
        place = places.setdefault(member.training, len(kept))
        if place == len(kept):
            kept.append(member)
        found.append(place)
    return kept, found


def _ensemble(module: nn.Module, kept: dict, weights: str,
              averages: dict[str, Ensemble] | None = None, *, norms: Tensor | None = None,
              trainings: Sequence[int] | None = None) -> Ensemble:
    """The models with these weights; `kept` is {(weights, step): states}."""
    steps = {step: states for (name, step), states in kept.items() if name == weights}
    return Ensemble(module, steps.pop("end"), steps, averages, norms=norms, trainings=trainings)


def _groups(module: nn.Module, pool: Tensor, members: Sequence[Member],
            schedule: Schedule, *, ahead: bool = False) -> list[list[int]]:
    """Places of the members that train together: those that share their batches, and the others.

    In an exact schedule, all shapes follow from a member alone: the members of a group have the
    same padded number of rows and the same batch size, all such groups have the same width, and the
    last one is filled up by repeating its last member.
    """
    groups, others = [], list(range(len(members)))
    if shared.possible(module, pool, schedule):
        together, others = _sharing(module, pool, members, schedule, ahead=ahead)
        for places in together:
            groups += _cut(module, pool, members, schedule, places, ahead=ahead)
    alike: dict[tuple, list[int]] = {}
    for place in others:
        member = members[place]
        shape = (schedule.rows([member]), member.shuffled_batch) if schedule.exact else ()
        alike.setdefault(shape, []).append(place)
    for places in alike.values():
        groups += _cut(module, pool, members, schedule, places, ahead=ahead)
    return groups


def _sharing(module: nn.Module, pool: Tensor, members: Sequence[Member],
             schedule: Schedule, *, ahead: bool) -> tuple[list[list[int]], list[int]]:
    """Places of the members that share batches, a list for each batch sequence; and the others."""
    by_batches: dict[tuple, list[int]] = {}
    for place, member in enumerate(members):
        by_batches.setdefault(shared.batches(member), []).append(place)
    together, others = [], []
    for places in by_batches.values():
        group = [members[place] for place in places]
        if _form(module, pool, group, schedule, ahead=ahead) == "shared":
            together.append(places)
        else:
            others += places
    return together, sorted(others)


def _cut(module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule,
         places: list[int], *, ahead: bool) -> list[list[int]]:
    """Groups of these places that fit memory."""
    alike = [members[place] for place in places]
    form = _form(module, pool, alike, schedule, ahead=ahead)
    width = 1 if alone.applies(module, pool, alike) else sizes.models_at_once(
        module, pool, alike, schedule, shared=form == "shared")
    groups = [places[start : start + width] for start in range(0, len(places), width)]
    if schedule.exact:
        groups[-1] = groups[-1] + groups[-1][-1:] * (width - len(groups[-1]))
    return groups


def _form(module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule, *,
          ahead: bool = False) -> str:
    """How a step of these members is computed: a module of `lib.training.steps`."""
    if coefficients.applies(module, pool, members, schedule):
        return "coefficients"
    return "shared" if shared.applies(module, pool, members, schedule, ahead=ahead) else "direct"


@contextmanager
def products(precision: str) -> Iterator[None]:
    """If `precision` is "fast", allow rounded factors in matrix products inside the block."""
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    # On CPUs, "medium" makes torch use oneDNN, whose float32 kernels are twice as fast.
    torch.set_float32_matmul_precision("medium" if precision == "fast" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "fast"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def slack(precision: str) -> float:
    """Factor on clipping norms: bfloat16 can lengthen a gradient by up to (1 + 2^-8)^2."""
    return 1 - 2**-7 if precision == "fast" else 1.0


def _fit_group(build: Callable[[], nn.Module], module: nn.Module, pool: Tensor,
               members: Sequence[Member], schedule: Schedule, *, ahead: bool, record: bool
               ) -> tuple[dict[tuple[str, int | str], Tensor], Tensor]:
    """Train a group; returns {(weights, step): states}, with "end" for the last step, and the
    clipping norms at the end [models]."""
    states = torch.stack([start(build, member).to(pool.device) for member in members])
    # A copy of the module, because groups run side by side.
    step = Step(modules.duplicate(module), states, pool, members, schedule, ahead=ahead)
    if record:
        step.record()
    means = averages.averages(schedule.averages, step.group.numbers(), step.steps,
                              schedule.snapshots, decay=schedule.ema_decay)
    longest, wanted, kept = max(step.steps), set(schedule.snapshots), {}
    for number in range(longest):
        step(number)
        for mean in means.values():
            mean.add(step.group.numbers(), number + 1)
        if number + 1 in wanted:
            kept |= _states(step, means, number + 1)
    final = _states(step, means, "end")
    late = {(weights, after): states for after in wanted if after > longest
            for (weights, _), states in final.items()}
    return kept | final | late, step.norms()


def _states(step: "Step", means: dict, name: int | str) -> dict[tuple[str, int | str], Tensor]:
    """The group's current weights and their averages: {(weights, name of the step): states}."""
    values = {"last": step.group.numbers()}
    values |= {weights: mean.mean for weights, mean in means.items()}
    return {(weights, name): step.group.states(value).clone() for weights, value in values.items()}


def start(build: Callable[[], nn.Module], member: Member) -> Tensor:
    """The member's initial weights and buffers [parameters and buffers]."""
    if member.start is not None:
        return member.start.clone()
    return modules.flatten(initialise(build, member.init_seed))


class Step:
    """One update of a group: gradient sums, noise, division, optimizer.

    group: the models' weights, as they are (`direct`, `shared`) or in coefficients of the inputs
    (`coefficients`). drawing: the members that draw batches; the first draws for all if they share
    their batches. ahead: see `draws`; then a step takes as many calls for many models as for one,
    and none that waits for a GPU.
    """

    def __init__(self, module: nn.Module, states: Tensor, pool: Tensor, members: Sequence[Member],
                 schedule: Schedule, *, ahead: bool = False) -> None:
        device = pool.device
        self.schedule, self.poisson = schedule, schedule.sampling == "poisson"
        self.steps = [schedule.steps if member.steps is None else member.steps
                      for member in members]
        self.given = torch.tensor([member.clipping_norm for member in members], device=device)
        self.following: Following | None = None
        form = _form(module, pool, members, schedule, ahead=ahead)
        self.drawing = members[:1] if form == "shared" else members
        make = draws.Ahead if ahead else draws.Stepwise
        self.draws: draws.Draws = make(members, self.drawing, schedule, module,
                                       tuple(pool.shape[1:]), device)
        self.group = self._group(form, module, states, pool, members, ahead=ahead)
        self.sums: Callable[..., Tensor] = self.group.gradient_sums
        self.optimizer = Optimizer(self.group.coordinates, schedule.rule, _frozen(module))
        self.rates = self._rates(members, device)
        self.expected = torch.tensor([member.batch_size for member in members], device=device)
        self.shares = self._shares(members).to(device)
        bounds = torch.tensor([member.mean_norm for member in members], device=device)
        self.micro_batches = members[0].micro_batches
        if self.micro_batches > 1:
            self.sums = clipped_means.ClippedMeans(self.group.gradient_sums, self.micro_batches,
                                                   bounds)
            self.expected = torch.full_like(self.expected, self.micro_batches)
        clips = self.micro_batches == 1 and bounds.isfinite().any()
        self.mean_bounds = bounds if clips else None

    def _group(self, form: str, module: nn.Module, states: Tensor, pool: Tensor,
               members: Sequence[Member], *, ahead: bool
               ) -> "coefficients.Coefficients | direct.Direct | shared.Shared":
        if form == "coefficients":
            return coefficients.Coefficients(module, states, pool, members, self.schedule,
                                             ahead=ahead)
        precision = self.schedule.precision
        bounds = torch.tensor([member.clipping_norm * slack(precision) for member in members],
                              device=pool.device)
        make = shared.Shared if form == "shared" else direct.Direct
        group = make(module, states, pool, members, self.schedule, bounds, ahead=ahead)
        if any(member.follows for member in members):
            self.following = self._follow(members, bounds)
            group.within = self.following.within
        return group

    def _follow(self, members: Sequence[Member], bounds: Tensor) -> Following:
        """The norms of members that follow a quantile; changes `bounds` with them."""
        counting = [batches.generator("count", member.noise_seed, bounds.device)
                    for member in members]
        return Following(members, bounds, self.steps, counting,
                         slack=slack(self.schedule.precision))

    @staticmethod
    def _shares(members: Sequence[Member]) -> Tensor:
        """Nominal records per row of each member, the weight of a record in a shuffled batch."""
        return torch.tensor([member.nominal / len(member.rows) for member in members])

    def _rates(self, members: Sequence[Member], device: torch.device) -> Tensor:
        """Each member's learning rate in each step [steps, models]."""
        longest = max(self.steps)
        factors = {steps: torch.tensor([self.schedule.factor(number, steps)
                                        for number in range(longest)])
                   for steps in set(self.steps)}
        rates = torch.tensor([member.lr for member in members])
        return (rates * torch.stack([factors[steps] for steps in self.steps], 1)).to(device)

    def __call__(self, number: int) -> None:
        indices, present = self.draws.batch(number)
        resting = [model for model, steps in enumerate(self.steps) if number >= steps]
        sums = self.sums(indices, present, resting, self.draws.transformed())
        growth = None if self.following is None else self.following.growth[:, None]
        # Divide Poisson batches by their expected size, because the actual size depends on the
        # data; the size of shuffled batches does not. Means of micro-batches are divided already.
        given = self.poisson or self.micro_batches > 1
        expected = self.expected if given else present.sum(1) * self.shares
        if self.mean_bounds is not None:
            growth = _clip_means(sums, self.mean_bounds * expected, expected)
        self.draws.add_noise(sums, growth)
        sums.div_(expected.view(-1, 1))
        if self.following is not None:
            self.following.update(present.sum(1), expected, number)
        self.optimizer.step(sums, self.rates[number])

    def record(self) -> None:
        """Replay the gradient sums from now on, if they update nothing else, and shapes stay.
        Those of micro-batches, several a step, are not.

        Raises ValueError if the group's steps are not drawn ahead.
        """
        if not isinstance(self.draws, draws.Ahead):
            raise ValueError("a step drawn for each model in turn cannot be recorded: expected "
                             "ahead=True")
        if self.following is None and self.group.repeatable and self.micro_batches == 1:
            self.sums = recorded.Recorded(self.group).gradient_sums

    def norms(self) -> Tensor:
        """The members' clipping norms [models], as they are now."""
        return self.given if self.following is None else self.following.norms


def _clip_means(sums: Tensor, bounds: Tensor, expected: Tensor) -> Tensor:
    """Clip each model's sum of gradients to its bound, in place; returns the factors on the models'
    noise [models, 1], which is on the mean where that is clipped."""
    norms = torch.linalg.vector_norm(sums, dim=1).clamp_min(1e-30)
    sums.mul_((bounds / norms).clamp_max(1.0)[:, None])
    return torch.where(bounds.isfinite(), expected, 1.0)[:, None]


def _frozen(module: nn.Module) -> list[slice]:
    """Columns of the parameters that are not trained."""
    parameters = list(module.parameters())
    ends = itertools.accumulate(parameter.numel() for parameter in parameters)
    return [slice(end - parameter.numel(), end)
            for end, parameter in zip(ends, parameters) if not parameter.requires_grad]
