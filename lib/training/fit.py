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

import torch
from torch import Tensor, nn

from lib.training import averages, batches, modules, sizes, transforms
from lib.training.ensemble import Ensemble
from lib.training.modules import initialise
from lib.training.norms import Following
from lib.training.optimizers import Optimizer
from lib.training.schedule import Member, Schedule, check
from lib.training.steps import coefficients, direct, shared
from lib.training.workers import spread


def fit(build: Callable[[], nn.Module], pool: Tensor, members: Sequence[Member],
        schedule: Schedule) -> Ensemble:
    """Train one model per member on its rows of `pool` [n, ...], in groups that fit memory.

    Members that are one training, such as clean twins of different attacks, are trained once.
    `build()` returns a new module, initialised from torch's global generator. Raises ValueError for
    a member or a schedule out of range, and for a module that cannot be trained here.
    """
    check(members, schedule)
    members, found = _distinct(members)
    module = initialise(build, 0).to(pool.device)
    modules.check(module, clipped=any(member.private for member in members))
    modules.check_averages(module, schedule.averages)
    modules.check_starts(module, [member.start for member in members if member.start is not None])
    transforms.check_inputs(schedule.transforms, tuple(pool.shape[1:]))
    numbers = len(modules.flatten(module))
    wanted = itertools.product(("last", *schedule.averages), ("end", *schedule.snapshots))
    result = {kept: torch.empty(len(members), numbers, device=pool.device) for kept in wanted}
    norms = torch.empty(len(members), device=pool.device)
    groups = _groups(module, pool, members, schedule)

    def train(places):
        return _fit_group(build, module, pool, [members[place] for place in places], schedule)

    with products(schedule.precision):
        trained = spread(train, groups, device=pool.device, alone=schedule.exact)
        for places, (states, norms[places]) in zip(groups, trained):
            for kept, values in states.items():
                result[kept][places] = values
    if len(found) > len(members):
        result, norms = {kept: values[found] for kept, values in result.items()}, norms[found]
    own = [_ensemble(module, result, weights) for weights in schedule.averages]
    return _ensemble(module, result, "last", dict(zip(schedule.averages, own)), norms=norms)


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
              averages: dict[str, Ensemble] | None = None, *, norms: Tensor | None = None
              ) -> Ensemble:
    """The models with these weights; `kept` is {(weights, step): states}."""
    steps = {step: states for (name, step), states in kept.items() if name == weights}
    return Ensemble(module, steps.pop("end"), steps, averages, norms=norms)


def _groups(module: nn.Module, pool: Tensor, members: Sequence[Member],
            schedule: Schedule) -> list[list[int]]:
    """Places of the members that train together: those that share their batches, and the others.

    In an exact schedule, all shapes follow from a member alone: the members of a group have the
    same padded number of rows and the same batch size, all such groups have the same width, and the
    last one is filled up by repeating its last member.
    """
    groups, others = [], list(range(len(members)))
    if shared.possible(module, pool, schedule):
        together, others = _sharing(module, pool, members, schedule)
        for places in together:
            groups += _cut(module, pool, members, schedule, places)
    alike: dict[tuple, list[int]] = {}
    for place in others:
        member = members[place]
        shape = (schedule.rows([member]), member.shuffled_batch) if schedule.exact else ()
        alike.setdefault(shape, []).append(place)
    for places in alike.values():
        groups += _cut(module, pool, members, schedule, places)
    return groups


def _sharing(module: nn.Module, pool: Tensor, members: Sequence[Member],
             schedule: Schedule) -> tuple[list[list[int]], list[int]]:
    """Places of the members that share batches, a list for each batch sequence; and the others."""
    by_batches: dict[tuple, list[int]] = {}
    for place, member in enumerate(members):
        by_batches.setdefault(shared.batches(member), []).append(place)
    together, others = [], []
    for places in by_batches.values():
        group = [members[place] for place in places]
        if _form(module, pool, group, schedule) == "shared":
            together.append(places)
        else:
            others += places
    return together, sorted(others)


def _cut(module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule,
         places: list[int]) -> list[list[int]]:
    """Groups of these places that fit memory."""
    alike = [members[place] for place in places]
    form = _form(module, pool, alike, schedule)
    width = sizes.models_at_once(module, pool, alike, schedule, shared=form == "shared")
    groups = [places[start : start + width] for start in range(0, len(places), width)]
    if schedule.exact:
        groups[-1] = groups[-1] + groups[-1][-1:] * (width - len(groups[-1]))
    return groups


def _form(module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule) -> str:
    """How a step of these members is computed: a module of `lib.training.steps`."""
    if coefficients.applies(module, pool, members, schedule):
        return "coefficients"
    return "shared" if shared.applies(module, pool, members, schedule) else "direct"


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
               members: Sequence[Member], schedule: Schedule
               ) -> tuple[dict[tuple[str, int | str], Tensor], Tensor]:
    """Train a group; returns {(weights, step): states}, with "end" for the last step, and the
    clipping norms at the end [models]."""
    states = torch.stack([start(build, member).to(pool.device) for member in members])
    noise = [batches.generator("noise", member.noise_seed, pool.device) for member in members]
    # A copy of the module, because groups run side by side.
    step = Step(modules.duplicate(module), states, pool, members, schedule)
    drawn = [batches.member_batches(member, schedule.sampling, pool.device)
             for member in step.drawing]
    means = averages.averages(schedule.averages, step.group.numbers(), step.steps,
                              schedule.snapshots, decay=schedule.ema_decay)
    longest, wanted, kept = max(step.steps), set(schedule.snapshots), {}
    for number in range(longest):
        step([next(batch) for batch in drawn], noise, number)
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
    their batches.
    """

    def __init__(self, module: nn.Module, states: Tensor, pool: Tensor, members: Sequence[Member],
                 schedule: Schedule) -> None:
        device, self.drawing = pool.device, members
        self.schedule, self.poisson = schedule, schedule.sampling == "poisson"
        self.steps = [schedule.steps if member.steps is None else member.steps
                      for member in members]
        self.given = torch.tensor([member.clipping_norm for member in members], device=device)
        self.following: Following | None = None
        form = _form(module, pool, members, schedule)
        if form == "coefficients":
            self.group = coefficients.Coefficients(module, states, pool, members, schedule)
        else:
            bounds = torch.tensor([member.clipping_norm * slack(schedule.precision)
                                   for member in members], device=device)
            if form == "shared":
                self.drawing = members[:1]
            make = shared.Shared if form == "shared" else direct.Direct
            self.group = make(module, states, pool, members, schedule, bounds)
            if any(member.follows for member in members):
                self.following = self._follow(members, bounds)
                self.group.within = self.following.within
        self.sizes = [parameter.numel() for parameter in module.parameters()]
        self.trained = [parameter.requires_grad for parameter in module.parameters()]
        self.optimizer = Optimizer(self.group.coordinates, schedule.rule, self._frozen())
        self.rates = torch.tensor([member.lr for member in members], device=device)
        self.expected = torch.tensor([member.batch_size for member in members], device=device)
        self.shares = self._shares(members).to(device)
        self.shape = tuple(pool.shape[1:])
        self.randoms = [batches.generator("transforms", member.batch_seed, device)
                        for member in members]
        self.noisy = _by_noise(members, device)
        self.draw = states.new_zeros(sum(self.sizes))
        # Draw per parameter, as Opacus does; a frozen parameter gets no noise. On a GPU, where each
        # call costs, draw for all at once.
        whole = device.type == "cuda" and all(self.trained)
        self.parts = [self.draw] if whole else list(
            itertools.compress(self.draw.split(self.sizes), self.trained))
        # In an exact schedule, a batch has the same length alone and in a group.
        self.longest = members[0].shuffled_batch if schedule.exact else None

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

    def __call__(self, drawn: list[Tensor], noise: list[torch.Generator], number: int) -> None:
        indices, present = batches.pad(drawn, longest=self.longest)
        resting = [model for model, steps in enumerate(self.steps) if number >= steps]
        width, chosen = indices.shape[1], self.schedule.transforms
        draws = batches.draws(chosen, drawn, self.shape, self.randoms, width) if chosen else ()
        sums = self.group.gradient_sums(indices, present, resting, draws)
        self._add_noise(sums, noise)
        # Divide Poisson batches by their expected size, because the actual size depends on the
        # data; the size of shuffled batches does not.
        expected = self.expected if self.poisson else present.sum(1) * self.shares
        sums.div_(expected.view(-1, 1))
        if self.following is not None:
            self.following.update(present.sum(1), expected, number)
        self.optimizer.step(sums, self._rates(number))

    def _add_noise(self, sums: Tensor, noise: list[torch.Generator]) -> None:
        """Add each model's noise; models of one noise seed share one draw, each at its scale."""
        growth = None if self.following is None else self.following.growth[:, None]
        for first, models, scales in self.noisy:
            scales = scales if growth is None else scales * growth[models]
            for part in self.parts:
                part.normal_(generator=noise[first])
            noisy = sums[models].addcmul_(self.draw, scales)
            if not isinstance(models, slice):  # `noisy` is a copy, not a view
                sums[models] = noisy

    def norms(self) -> Tensor:
        """The members' clipping norms [models], as they are now."""
        return self.given if self.following is None else self.following.norms

    def _frozen(self) -> list[slice]:
        """Columns of the parameters that are not trained."""
        ends = list(itertools.accumulate(self.sizes))
        return [slice(end - size, end)
                for end, size, trained in zip(ends, self.sizes, self.trained) if not trained]

    def _rates(self, number: int) -> Tensor:
        factors = {steps: self.schedule.factor(number, steps) for steps in set(self.steps)}
        if len(set(factors.values())) == 1:
            return self.rates * factors[self.steps[0]]
        return self.rates * torch.tensor([factors[steps] for steps in self.steps],
                                         device=self.rates.device)


def _by_noise(members: Sequence[Member], device: torch.device
              ) -> list[tuple[int, slice | Tensor, Tensor]]:
    """The noisy members of each noise seed: the first, all of them, and their scales [models, 1].
    """
    seeds: dict[int, list[int]] = {}
    for model, member in enumerate(members):
        if member.noise:
            seeds.setdefault(member.noise_seed, []).append(model)
    found = []
    for models in seeds.values():
        first, last = models[0], models[-1]
        one_after_another = last - first + 1 == len(models)
        index = (slice(first, last + 1) if one_after_another
                 else torch.tensor(models, device=device))
        scales = torch.tensor([[members[model].noise] for model in models], device=device)
        found.append((first, index, scales))
    return found
