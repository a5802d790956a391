"""On a CUDA device: what a step computes there equals the CPU and Opacus, whatever the group."""

import dataclasses

import pytest
import torch
from test_draws import SHAPES, members, problem

from lib import models, training
from lib.defences import opacus_engine
from lib.training import Rule, Schedule, draws
from lib.training.fit import _form
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.cutout import Cutout
from lib.training.transforms.maxup import MaxUp

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda")


def step(name, group, schedule, device):
    build, pool = problem(name)
    states = torch.stack([training.flatten(training.initialise(build, one.init_seed))
                          for one in group])
    return training.Step(build().to(device), states.to(device), pool.to(device), group, schedule,
                         ahead=True)


@pytest.mark.parametrize("changes", [{}, {"batch_seed": 0}, {"clipping_norm": float("inf")}])
@pytest.mark.parametrize("name", SHAPES)
def test_gradient_sums_equal_the_cpus(name, changes):
    group, schedule = members(models=20, **changes), Schedule(1)
    host, device = (step(name, group, schedule, where) for where in ("cpu", GPU))
    indices, present = host.draws.batch(0)
    expected = host.group.gradient_sums(indices, present)
    found = device.group.gradient_sums(indices.to(GPU), present.to(GPU)).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name,rule", [("head", Rule("sgd", 0.9)), ("head", Rule("adam")),
                                       ("cnn", Rule("sgd", 0.9))])


def test_a_training_equals_opacus_on_the_same_batches(name, rule, monkeypatch):
    build, pool = problem(name)
    pool, one, schedule = pool.to(GPU), members(models=1, noise=0.0)[0], Schedule(3, rule)
    found = training.fit(build, pool, [one], schedule).parameters
    ahead = draws.Ahead([one], [one], schedule, build(), SHAPES[name], GPU)
    batches = [index[0][present[0].bool()] for index, present in map(ahead.batch, range(3))]
    monkeypatch.setattr(training, "member_batches", lambda *_: iter(batches))
    theirs = opacus_engine.fitter(ghost=False)(build, pool, [one], schedule).parameters
    torch.testing.assert_close(found, theirs.to(GPU), rtol=0, atol=1e-4)


def drawn(group, schedule, build):
    """Indices and noise of three steps, both with models first."""
    ahead, found = draws.Ahead(group, group, schedule, build(), (30,), GPU), []
    numbers = sum(parameter.numel() for parameter in build().parameters())
    for number in range(3):
        indices, _ = ahead.batch(number)
        sums = torch.zeros(len(group), numbers, device=GPU)
        ahead.add_noise(sums, None)
        found.append((indices, sums))
    return [torch.stack(each, 1) for each in zip(*found)]


def test_draws_are_the_same_alone_and_in_a_group():
    group, schedule, (build, _) = members(models=5), Schedule(1), problem("head")
    together = drawn(group, schedule, build)
    for model, one in enumerate(group):
        for both, own in zip(together, drawn([one], schedule, build), strict=True):
            assert torch.equal(both[model], own[0])


def test_an_exact_group_has_the_bits_of_each_model_alone():
    build, pool = problem("head")
    group = members(models=3, noise=0.0, clipping_norm=float("inf"))
    schedule = Schedule(20, Rule("sgd", 0.9), sampling="shuffle", exact=True)
    together = training.fit(build, pool.to(GPU), group, schedule).parameters
    for model, one in enumerate(group):
        alone = training.fit(build, pool.to(GPU), [one], schedule).parameters[0]
        assert torch.equal(together[model], alone)


@pytest.mark.parametrize("form,changes", [
    ("direct", {}), ("shared", {"batch_seed": 0}), ("direct", {"clipping_norm": float("inf")})])


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_a_recorded_step_is_the_same_training(name, form, changes):
    build, pool = problem(name)
    pool, group = pool.to(GPU), members(models=20, **changes)
    if name == "cnn":
        form = "direct"
    schedule = Schedule(30, Rule("sgd", 0.9))
    assert _form(build(), pool, group, schedule, ahead=True) == form
    found, expected = (training.fit(build, pool, group, schedule, record=record).parameters
                       for record in (True, False))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_recorded_step_looks_at_the_network_as_it_is():
    build, pool = problem("cnn")
    pool, group = pool.to(GPU), members(models=3)
    schedule = Schedule(8, Rule("sgd", 0.9), transforms=(
        Adversarial(steps=2), MaxUp(2, (Cutout(9),), after=0.25)))
    found, expected = (training.fit(build, pool, group, schedule, record=record).parameters
                       for record in (True, False))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["convnet-small", "convnet-small-bn"])
def test_a_deep_network_is_rounded_and_recorded_within_its_tolerance(name):
    random = torch.Generator().manual_seed(0)
    pool = torch.randint(256, (256, 3, 32, 32), generator=random, dtype=torch.uint8).to(GPU)
    one = training.Member(torch.arange(256), torch.randint(10, (256,), generator=random), 64, 0.01)

    def build():
        return models.build(name, (3, 32, 32), 10)
    start = training.flatten(training.initialise(build, 0)).to(GPU)
    plain, fast, recorded = (
        training.fit(build, pool, [one], Schedule(3, Rule("sgd", 0.9), "shuffle",
                                                  precision=precision), record=record).state(0)
        for precision, record in (("float32", False), ("fast", False), ("fast", True)))
    assert (plain - fast).norm() < 0.1 * (plain - start).norm()
    torch.testing.assert_close(recorded, fast, rtol=0, atol=1e-3)


def test_groups_fit_memory():
    build, pool = problem("cnn")
    group = [dataclasses.replace(one, batch_size=100) for one in members(models=300)]
    torch.cuda.reset_peak_memory_stats()
    training.fit(build, pool.to(GPU), group, Schedule(2))
    assert torch.cuda.max_memory_allocated() < torch.cuda.get_device_properties(0).total_memory
