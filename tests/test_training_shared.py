"""Models that share their batches against the general path, a loop over samples, and themselves
alone.
"""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import training
from lib.training import Member, Rule, Schedule, modules, sizes
from lib.training.fit import _form, _groups
from lib.training.steps import coefficients, direct, shared
from lib.training.transforms import flip

COUNT, FEATURES, CLASSES = 60, 12, 4


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, CLASSES))


def deep():
    return nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 9), nn.ReLU(), nn.Linear(9, 7),
                         nn.Tanh(), nn.Linear(7, CLASSES))


BUILDS = {"linear": linear, "deep": deep}


def problem(models=5, *, swapped=0, flipped=False, kind="classes", **changes):
    """A pool and members that differ in one appended record, and perhaps in more rows and labels.
    """
    random = torch.Generator().manual_seed(0)
    pool = torch.randint(256, (COUNT + 40, 3, 2, 2), generator=random, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (len(pool),), generator=random)
    members = []
    for model in range(models):
        rows = torch.cat([torch.arange(COUNT), torch.tensor([COUNT + model])])
        rows[5 : 5 + swapped] = COUNT + torch.arange(swapped) + model
        own = labels[rows]
        if flipped:
            own[model * 3 : model * 3 + 10] = model % CLASSES
        if kind == "soft":
            own = 0.9 * F.one_hot(own, CLASSES) + 0.1 / CLASSES
        members.append(Member(rows, own, 16, 0.5, records=COUNT, **changes))
    return pool, members


def sums_of(group, indices, present, models):
    one = isinstance(group, shared.Shared)
    return group.gradient_sums(*(each[None] if one else each.expand(models, -1)
                                 for each in (indices, present))).clone()


def weights(build, models):
    return torch.stack([modules.flatten(training.initialise(build, seed))
                        for seed in range(models)])


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("bound", [0.05, 1.0, math.inf])
@pytest.mark.parametrize("changes", [
    {}, {"swapped": 12}, {"flipped": True}, {"swapped": 3, "flipped": True, "kind": "soft"}])
def test_sums_equal_a_loop_over_samples_and_the_general_path(name, bound, changes):
    build = BUILDS[name]
    pool, members = problem(**changes, clipping_norm=bound)
    schedule, states, bounds = Schedule(1), weights(build, 5), torch.full((5,), bound)
    assert shared.applies(build(), pool, members, schedule)
    indices = torch.tensor([60, 3, 5, 6, 59, 17, 2, 0, 0])
    present = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 0, 0])
    ours, general = (sums_of(made(build(), states, pool, members, schedule, bounds), indices,
                             present, 5) for made in (shared.Shared, direct.Direct))
    torch.testing.assert_close(ours, general, rtol=1e-5, atol=1e-6)
    for model, member in enumerate(members):
        expected = torch.zeros_like(ours[model])
        module = training.initialise(build, model)
        for place in indices[:7]:
            logits = module(pool[member.rows[place]][None] / 255)
            loss = F.cross_entropy(logits, member.labels[place][None])
            flat = torch.cat([part.flatten()
                              for part in torch.autograd.grad(loss, module.parameters())])
            expected += flat * min(1.0, bound / flat.norm().item())
        torch.testing.assert_close(ours[model], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", [3, 60])  # of a shared record, and of each model's own
@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30])
def test_a_record_without_a_finite_gradient_counts_for_nothing(place, value):
    pool, members = problem(clipping_norm=1.0)
    pool = pool / 255
    rows = [place] if place < COUNT else range(COUNT, COUNT + 5)
    pool[rows, 0] = value
    schedule, states, bounds = Schedule(1), weights(deep, 5), torch.ones(5)
    step = shared.Shared(deep(), states, pool, members, schedule, bounds)
    with_it = sums_of(step, torch.tensor([1, place, 9]), torch.ones(3), 5)
    without = sums_of(step, torch.tensor([1, 9]), torch.ones(2), 5)
    torch.testing.assert_close(with_it, without, rtol=1e-5, atol=1e-6)


PRIVATE = {"clipping_norm": 0.5, "noise": 0.3}


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("how", ["poisson", "shuffle"])
@pytest.mark.parametrize("rule,changes", [
    (Rule("sgd", 0.9, False, 1e-3), {}), (Rule("sgd"), PRIVATE), (Rule("adam"), {"lr": 0.01}),
    (Rule("adam"), PRIVATE | {"lr": 0.01}), (Rule("rmsprop"), {"lr": 0.01})])
def test_a_model_alone_and_in_a_group_agree(name, how, rule, changes):
    pool, members = problem(swapped=4, flipped=True)
    members = [dataclasses.replace(each, init_seed=model % 2, **changes)
               for model, each in enumerate(members)]
    members[1] = dataclasses.replace(members[1], steps=40, lr=0.02)
    schedule = Schedule(100, rule, how, snapshots=(10, 50), averages=("tail", "ema"))
    together = training.fit(BUILDS[name], pool, members, schedule)
    for model in range(3):
        alone = training.fit(BUILDS[name], pool, [members[model]], schedule)
        for step in (None, 10, 50):
            for kept in ("last", "tail", "ema"):
                torch.testing.assert_close(together.state(model, step=step, weights=kept),
                                           alone.state(0, step=step, weights=kept),
                                           rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("how", ["poisson", "shuffle"])
def test_the_group_draws_what_each_model_draws_alone(monkeypatch, how):
    pool, members = problem()
    drawn, sums = [], shared.Shared.gradient_sums
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # more threads train more groups

    def spy(self, indices, present, *rest):
        drawn.append(indices[0, : int(present.sum())])
        return sums(self, indices, present, *rest)
    monkeypatch.setattr(shared.Shared, "gradient_sums", spy)
    training.fit(linear, pool, members, Schedule(30, sampling=how))
    for member in members:
        own = training.member_batches(member, how, pool.device)
        assert len(drawn) == 30 and all(torch.equal(next(own), each) for each in drawn)


@pytest.mark.parametrize("seeds", [(3, 3, 3, 3, 3), (3, 4, 3, 5, 4)])
def test_models_of_one_noise_seed_get_its_draw_bit_for_bit(seeds):
    pool, members = problem()
    # Clipped to less than the last bit of the noise, the steps are the noise alone.
    members = [dataclasses.replace(each, clipping_norm=1e-30, noise=1.0 + model, noise_seed=seed)
               for model, (each, seed) in enumerate(zip(members, seeds))]
    members[2] = dataclasses.replace(members[2], noise=0.0)
    together = training.fit(deep, pool, members, Schedule(7)).parameters
    for model, member in enumerate(members):
        alone = training.fit(deep, pool, [member], Schedule(7)).parameters[0]
        assert torch.equal(together[model], alone)


def test_a_step_in_chunks_equals_a_step_at_once(monkeypatch):
    pool, members = problem(swapped=9, clipping_norm=0.5)
    whole = training.fit(deep, pool, members, Schedule(20)).parameters
    monkeypatch.setattr(sizes, "CPU_STEP_BYTES", 1)  # eight samples at a time
    parts = training.fit(deep, pool, members, Schedule(20)).parameters
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def forms(pool, members, schedule, build=linear):
    module = build()
    groups = _groups(module, pool, members, schedule)
    assert {place for places in groups for place in places} == set(range(len(members)))
    return {tuple(places): _form(module, pool, [members[place] for place in places], schedule)
            for places in groups}


def test_members_of_a_call_are_grouped_by_the_batches_they_share(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    pool, members = problem(6)
    seeds = (1, 2, 1, 3, 2, 4)
    members = [dataclasses.replace(member, batch_seed=seed)
               for member, seed in zip(members, seeds)]
    assert forms(pool, members, Schedule(5)) == {
        (0, 2): "shared", (1, 4): "shared", (3, 5): "direct"}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # a group for each
    pool, members = problem(6)
    assert forms(pool, members, Schedule(5)) == {(0, 1, 2): "shared", (3, 4, 5): "shared"}


@pytest.mark.parametrize("change", [
    {"batch_seed": 1}, {"batch_size": 15}, {"records": 50}, {"input_noise": 0.1},
    {"rows": torch.arange(60, -1, -1)}, {"rows": torch.arange(50), "labels": torch.ones(50).long()}
])
def test_members_that_do_not_share_batches_take_the_general_path(change):
    pool, members = problem(2)
    members[1] = dataclasses.replace(members[1], **change)
    assert set(forms(pool, members, Schedule(5)).values()) == {"direct"}


def test_modules_and_schedules_that_cannot_share_take_the_general_path():
    pool, members = problem()

    def convolution():
        return nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(8, CLASSES))
    assert set(forms(pool, members, Schedule(5), convolution).values()) == {"direct"}
    for schedule in (Schedule(5, sampling="shuffle", exact=True),
                     Schedule(5, transforms=(flip.Transform(),))):
        assert set(forms(pool, members, schedule).values()) == {"direct"}


def test_the_gram_form_is_kept_where_it_is_cheaper(monkeypatch):
    monkeypatch.setattr(coefficients, "MAX_RATIO", 10)
    pool, members = problem()
    assert set(forms(pool, members, Schedule(5)).values()) == {"coefficients"}


def test_widths_follow_the_memory_of_a_model(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    pool, members = problem(40)
    monkeypatch.setattr(sizes, "MAX_SHARED", 30)
    assert list(map(len, forms(pool, members, Schedule(5)))) == [20, 20]
    monkeypatch.setattr(sizes, "MAX_SHARED", 128)
    assert list(map(len, forms(pool, members, Schedule(5)))) == [40]
    monkeypatch.setattr(sizes, "SHARED_NUMBERS", 1)
    assert list(map(len, forms(pool, members, Schedule(5)))) == [8] * 5
    monkeypatch.setattr(sizes, "CPU_SHARED_BYTES", 3 * 24 * 13 * CLASSES)
    assert list(map(len, forms(pool, members, Schedule(5)))) == [3] * 13 + [1]
