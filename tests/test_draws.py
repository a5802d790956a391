"""Blocks of draws: the same numbers alone and in a group, the right distributions, and a number of
operator calls that hardly grows with the number of models."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lib import models, training
from lib.defences import opacus_engine
from lib.training import Member, Quantile, Rule, Schedule, draws, sizes
from lib.training.fit import _form
from lib.training.steps import closed_form, factors, shared
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

CPU = torch.device("cpu")
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select")
SHAPES = {"head": (30,), "linear": (30,), "cnn": (1, 28, 28)}


def members(count=200, *, models=3, **changes):
    labels = torch.randint(4, (count,), generator=torch.Generator().manual_seed(1))
    one = Member(torch.arange(count), labels, 20, 0.05, clipping_norm=1.0, noise=0.5)
    return [dataclasses.replace(one, **{"init_seed": seed, "batch_seed": seed, "noise_seed": seed,
                                        **changes}) for seed in range(models)]


def problem(name, count=200):
    pool = torch.rand(count, *SHAPES[name], generator=torch.Generator().manual_seed(0))
    return lambda: models.build(name, SHAPES[name], 4), pool


def made(group, schedule, shape=(30,), numbers=50):
    return draws.Ahead(group, group, schedule, nn.Linear(numbers - 1, 1), shape, CPU)


def drawn(group, schedule, steps, shape=(30,)):
    """For each step and model: the records present, the transforms' draws for them, the noise."""
    ahead, found = made(group, schedule, shape), []
    for number in range(steps):
        indices, present = ahead.batch(number)
        transformed, sums = ahead.transformed(), torch.zeros(len(group), 50)
        ahead.add_noise(sums, None)
        kept = [own.bool() for own in present]
        found.append([(index[own].tolist(), [values[model][own].tolist() for each in transformed
                                             for values in each.values()], sums[model].tolist())
                      for model, (index, own) in enumerate(zip(indices, kept))])
    return found


@pytest.mark.parametrize("schedule", [Schedule(1), Schedule(1, sampling="shuffle")])
def test_draws_are_the_same_alone_and_in_any_group(schedule, monkeypatch):
    monkeypatch.setattr(draws, "LONGEST", 16)
    group = members()
    group[1] = dataclasses.replace(group[1], rows=torch.arange(90), labels=group[1].labels[:90],
                                   batch_size=7, noise=0.1)
    group.append(dataclasses.replace(group[0], batch_seed=9, noise=0.0))
    together = drawn(group, schedule, 40)
    for model, one in enumerate(group):
        assert [step[model] for step in together] == [step[0] for step in
                                                      drawn([one], schedule, 40)]


def test_draws_of_transforms_are_the_same_alone_and_in_any_group(monkeypatch):
    monkeypatch.setattr(draws, "LONGEST", 16)
    monkeypatch.setattr(draws, "TRANSFORM_NUMBERS", 400)  # of which a block holds a few steps
    schedule = Schedule(1, transforms=(Crop(2), Flip()))
    group = members()
    group[1] = dataclasses.replace(group[1], batch_size=60)
    together = drawn(group, schedule, 40, (1, 8, 8))
    for model, one in enumerate(group):
        alone = drawn([one], schedule, 40, (1, 8, 8))
        assert [step[model] for step in together] == [step[0] for step in alone]
    corners = [tuple(corner) for step in together for corner in step[0][1][0]]
    assert len(set(corners)) == 25


@dataclasses.dataclass(frozen=True)
class Swap:
    """Replace every image by another of its batch."""

    mixes = "batch"

    def draw(self, count, shape, random):
        return {"other": torch.randperm(count, generator=random)}

    def apply(self, x, labels, draws):
        return x, labels


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_a_transform_that_mixes_a_batch_draws_for_each_batch(sampling, monkeypatch):
    monkeypatch.setattr(draws, "LONGEST", 8)
    schedule = Schedule(1, sampling=sampling, transforms=(Swap(),))
    for step in drawn(members(), schedule, 20, (1, 8, 8)):
        for chosen, (other, ), _ in step:
            assert sorted(other) == list(range(len(chosen)))  # places of records that are there


def test_poisson_blocks_have_the_distribution_of_independent_draws():
    blocks = draws.poisson(1000, 0.1, training.generator("batches", 3))
    sizes, seen = [], torch.zeros(1000)
    for _ in range(4):
        indices, present = next(blocks)
        for index, own in zip(indices, present.bool()):
            assert len(set(index[own].tolist())) == own.sum()
            seen[index[own]] += 1
        sizes += present.sum(1).tolist()
    found = torch.tensor(sizes, dtype=torch.float64)
    assert len(found) == 4 * draws.LONGEST
    assert found.mean().item() == pytest.approx(100, abs=4 * math.sqrt(90 / len(found)))
    assert found.var().item() == pytest.approx(90, rel=0.2)
    rates = seen / len(found)
    assert rates.std().item() == pytest.approx(math.sqrt(0.09 / len(found)), rel=0.1)


def test_a_batch_larger_than_its_width_is_not_cut():
    group = members(models=1, batch_size=2)
    ahead = made(group, Schedule(1))
    ahead.own[0].width = 1
    largest = max(int(ahead.batch(number)[1].sum()) for number in range(100))
    assert largest > 1 and ahead.indices.shape[2] >= largest


def test_shuffled_blocks_visit_every_record_once_an_epoch():
    blocks = draws.shuffled(10, 4, training.generator("batches", 1))
    indices, present = next(blocks)
    assert indices.shape[1] == 4 and len(indices) % 3 == 0
    for epoch, own in zip(indices.split(3), present.split(3)):
        assert sorted(epoch[own.bool()].tolist()) == list(range(10))
    assert len({tuple(index.tolist()) for index in indices[::3]}) > 10


def test_the_noise_has_its_deviation_and_its_own_seed():
    group = members(models=4, noise=2.0)
    group[2] = dataclasses.replace(group[2], noise_seed=1, noise=6.0)  # the draw of the second
    group[3] = dataclasses.replace(group[3], noise=0.0)
    ahead, found = made(group, Schedule(1), numbers=1000), []
    for number in range(300):
        ahead.batch(number)
        sums = torch.zeros(4, 1000)
        ahead.add_noise(sums, None)
        found.append(sums)
    noise = torch.stack(found, 1)  # [models, steps, numbers]
    assert noise[0].std().item() == pytest.approx(2.0, rel=0.01)
    assert torch.equal(noise[3], torch.zeros_like(noise[3]))
    torch.testing.assert_close(noise[2], 3 * noise[1])
    flat = noise[:2].flatten(1)
    assert abs(torch.corrcoef(flat)[0, 1].item()) < 0.01
    assert abs((noise[0, 1:] * noise[0, :-1]).mean().item()) < 0.05  # steps are independent


def test_noise_grows_with_a_members_norm():
    group = members(models=2)
    ahead, again = made(group, Schedule(1)), made(group, Schedule(1))
    plain, grown = torch.zeros(2, 50), torch.zeros(2, 50)
    for each in (ahead, again):
        each.batch(0)
    ahead.add_noise(plain, None)
    again.add_noise(grown, torch.tensor([[1.0], [3.0]]))
    torch.testing.assert_close(grown, plain * torch.tensor([[1.0], [3.0]]))


# ---------------------------------------------------------------- training with blocks

@pytest.mark.parametrize("name,rule", [("head", Rule("sgd", 0.9)), ("head", Rule("adam")),
                                       ("linear", Rule("sgd")), ("cnn", Rule("sgd", 0.9))])
def test_a_step_is_that_of_opacus_on_the_same_batches(name, rule, monkeypatch):
    build, pool = problem(name)
    one = members(models=1, noise=0.0)[0]
    schedule = Schedule(3, rule)
    found = training.fit(build, pool, [one], schedule, ahead=True).parameters
    ahead = draws.Ahead([one], [one], schedule, build(), SHAPES[name], CPU)
    batches = [index[0][present[0].bool()] for index, present in map(ahead.batch, range(3))]
    monkeypatch.setattr(training, "member_batches", lambda *_: iter(batches))
    theirs = opacus_engine.fitter(ghost=False)(build, pool, [one], schedule).parameters
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_a_model_alone_and_in_a_group_agree(name):
    build, pool = problem(name)
    group = members()
    group[1] = dataclasses.replace(group[1], batch_size=30, steps=5)
    schedule = Schedule(12, Rule("sgd", 0.9), snapshots=(6,), averages=("tail", "ema"))
    together = training.fit(build, pool, group, schedule, ahead=True)
    for model, one in enumerate(group):
        alone = training.fit(build, pool, [one], schedule, ahead=True)
        for both in ((together, alone), (together.averages["tail"], alone.averages["tail"])):
            torch.testing.assert_close(both[0].parameters[model], both[1].parameters[0], rtol=0,
                                       atol=1e-5)


@pytest.mark.parametrize("clip", [1.0, math.inf])
def test_shared_batches_with_room_for_differing_records(clip):
    build, pool = problem("head")
    labels = torch.randint(4, (200,), generator=torch.Generator().manual_seed(1))
    rows = [torch.cat([torch.arange(150), torch.tensor([150 + last])]) for last in range(3)]
    group = [Member(own, labels[own], 40, 0.05, clipping_norm=clip) for own in rows]
    schedule = Schedule(9)
    assert _form(build(), pool, group, schedule, ahead=True) == "shared"
    together = training.fit(build, pool, group, schedule, ahead=True)
    for model, one in enumerate(group):
        alone = training.fit(build, pool, [one], schedule, ahead=True).parameters[0]
        torch.testing.assert_close(together.parameters[model], alone, rtol=0, atol=1e-5)
    assert not torch.equal(together.parameters[0], together.parameters[1])


def test_coefficients_are_the_same_training():
    build, pool = problem("head", 12)
    labels = torch.arange(12) % 4
    group = [Member(torch.arange(12), labels, 5, 0.05, init_seed=seed, batch_seed=seed)
             for seed in range(2)]
    schedule = Schedule(9, Rule("sgd", 0.9), sampling="shuffle")
    assert _form(build(), pool, group, schedule, ahead=True) == "coefficients"
    found = training.fit(build, pool, group, schedule, ahead=True).parameters
    wide = dataclasses.replace(schedule, rule=Rule("sgd", 0.9, weight_decay=1e-12))
    for place, one in enumerate(group):  # a bound that nothing reaches needs the direct form
        other = training.fit(build, pool, [dataclasses.replace(one, clipping_norm=1e9)], wide,
                             ahead=True).parameters[0]
        torch.testing.assert_close(found[place], other, rtol=0, atol=1e-5)


def test_a_record_without_a_finite_gradient_changes_nothing():
    build, pool = problem("head")
    pool[7] = math.inf
    group = members(models=2, noise=0.0)
    found = training.fit(build, pool, group, Schedule(20), ahead=True).parameters
    assert found.isfinite().all()


@pytest.mark.parametrize("clip", [0.5, None])
def test_convolutions_as_products_of_patches(clip):
    build = nn.Sequential(nn.Conv2d(3, 4, (3, 5), 2, (1, 2)), nn.ReLU(), nn.MaxPool2d(2, 1),
                          nn.Conv2d(4, 6, 3, 1, 1), nn.Tanh(), nn.Flatten(), nn.Linear(96, 4))
    random = torch.Generator().manual_seed(0)
    x = torch.rand(2, 7, 3, 9, 10, generator=random)
    labels = torch.randint(4, (2, 7), generator=random)
    parameters = {name: torch.stack([value.detach() + shift for shift in (0.0, 0.01)])
                  for name, value in build.named_parameters()}
    present = torch.ones(2, 7)
    present[1, 5:] = 0
    bounds = None if clip is None else torch.tensor([clip, 2 * clip])
    given = (build, parameters, x, labels, present, bounds)
    for grouped, batched in zip(closed_form.gradient_sums(*given),
                                closed_form.gradient_sums(*given, branchless=True), strict=True):
        torch.testing.assert_close(batched, grouped, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- operator calls

class Calls(TorchDispatchMode):
    """Count the operator calls inside the block, and those whose result the host waits for."""

    def __init__(self):
        super().__init__()
        self.count, self.waits, self.shapes = 0, [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.split(".")[0]
        self.count += not name.endswith("view") and name not in FREE
        self.waits += [name] * (name in WAITS)
        found = function(*args, **(kwargs or {}))
        self.shapes.append((name, tuple(found.shape) if isinstance(found, torch.Tensor) else None))
        return found


FREE = ("select", "slice", "t", "transpose", "expand", "unsqueeze", "squeeze", "detach", "permute",
        "split", "split_with_sizes", "alias", "as_strided", "_unsafe_view", "_reshape_alias")


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Whole batches, and products of all models in one call, which a CPU cuts to fit its cache."""
    monkeypatch.setattr(sizes, "samples_at_once", lambda *given, **how: 10_000)
    monkeypatch.setattr(factors, "one_by_one", lambda a, b: False)
    monkeypatch.setattr(shared, "_one_by_one", lambda weight: False)


def stepped(name, group, schedule):
    build, pool = problem(name)
    states = torch.stack([training.flatten(training.initialise(build, one.init_seed))
                          for one in group])
    return training.Step(build(), states, pool, group, schedule, ahead=True)


FORMS = {"head": ("direct", {}), "linear": ("direct", {}), "cnn": ("direct", {}),
         "shared": ("shared", {"batch_seed": 0}),
         "following": ("direct", {"follows": Quantile(0.5, 0.2, 1.0)}),
         "plain": ("direct", {"clipping_norm": math.inf, "noise": 0.0})}


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
@pytest.mark.parametrize("form", FORMS)
def test_calls_hardly_grow_with_the_number_of_models(form, sampling, as_on_a_gpu):
    name = form if form in SHAPES else "head"
    kind, changes = FORMS[form]
    schedule = Schedule(10_000, Rule("sgd", 0.9), sampling=sampling)
    counts = {}
    for many in (2, 64):
        group = members(models=many, **changes)
        assert _form(problem(name)[0](), problem(name)[1], group, schedule, ahead=True) == kind
        step = stepped(name, group, schedule)
        with Calls() as first:
            step(0)
        with Calls() as second:
            step(1)
        # The first step draws all blocks, whose calls are spread over their steps.
        counts[many] = second.count + (first.count - second.count) / draws.LONGEST
    assert counts[64] <= 1.2 * counts[2], counts


@pytest.mark.parametrize("form", FORMS)
def test_a_step_inside_a_block_waits_for_nothing_and_has_constant_shapes(form):
    name = form if form in SHAPES else "head"
    group = members(models=4, **FORMS[form][1])
    step = stepped(name, group, Schedule(100, Rule("sgd", 0.9)))
    step(0)
    seen = []
    for number in range(1, 4):
        with Calls() as calls:
            step(number)
        assert not calls.waits
        seen.append(calls.shapes)
    assert seen[0] == seen[1] == seen[2]
