"""Clipping and noise on the batch's mean gradient: by hand, alone and in a group, no guarantee."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from lib import models, study, training
from lib.defences.batch_clipping import BatchClipping
from lib.study import Run
from lib.training import Member, Rule, Schedule
from lib.training.steps import coefficients

COUNT = 60


def build():
    return models.build("head", (30,), 4)


def problem(**changes):
    random = torch.Generator().manual_seed(0)
    pool = torch.rand(COUNT, 30, generator=random)
    labels = torch.randint(4, (COUNT,), generator=random)
    return pool, Member(torch.arange(COUNT), labels, 20, 0.1, **changes)


def by_hand(pool, one, schedule, bound):
    module = training.initialise(build, one.init_seed)
    batches = training.member_batches(one, schedule.sampling, pool.device)
    for _ in range(schedule.steps):
        places = next(batches)
        loss = F.cross_entropy(module(pool[places]), one.labels[places], reduction="sum")
        size = one.batch_size if schedule.sampling == "poisson" else len(places)
        found = torch.autograd.grad(loss / size, list(module.parameters()))
        norm = torch.cat([part.flatten() for part in found]).norm()
        with torch.no_grad():
            for parameter, part in zip(module.parameters(), found):
                parameter -= one.lr * part * min(1.0, bound / norm.item())
    return training.flatten(module)


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
@pytest.mark.parametrize("bound", [0.05, 1e9])
def test_the_mean_gradient_is_clipped(bound, sampling):
    pool, one = problem(mean_norm=bound)
    schedule = Schedule(7, Rule("sgd"), sampling)
    for ahead in (False, True):
        found = training.fit(build, pool, [one], schedule, ahead=ahead).parameters[0]
        if not ahead:
            torch.testing.assert_close(found, by_hand(pool, one, schedule, bound), rtol=1e-4,
                                       atol=1e-6)
        moved = found - training.flatten(training.initialise(build, 0))
        assert moved.norm() <= 7 * 0.1 * bound * 1.0001


@pytest.mark.parametrize("ahead", [False, True])
def test_noise_is_on_the_mean_whatever_the_batch(ahead):
    pool, one = problem(mean_norm=1e-9, noise=0.3)
    group = [dataclasses.replace(one, noise_seed=seed, batch_size=size)
             for seed, size in enumerate((5, 50))]
    start = training.flatten(training.initialise(build, 0))
    moved = training.fit(build, pool, group, Schedule(1, Rule("sgd")), ahead=ahead).parameters
    for model in range(2):
        assert (moved[model] - start).std().item() == pytest.approx(0.1 * 0.3, rel=0.05)


def test_members_with_and_without_it_train_together():
    pool, one = problem(noise=0.2, clipping_norm=0.7)
    group = [one, dataclasses.replace(one, clipping_norm=math.inf, mean_norm=0.1, noise=0.0),
             dataclasses.replace(one, clipping_norm=math.inf, noise=0.0)]
    schedule = Schedule(5, Rule("sgd", 0.9))
    together = training.fit(build, pool, group, schedule).parameters
    for model, each in enumerate(group):
        alone = training.fit(build, pool, [each], schedule).parameters[0]
        torch.testing.assert_close(together[model], alone, rtol=0, atol=1e-5)


def test_norms_are_those_of_the_weights_not_of_other_coordinates():
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.rand(10, 30, generator=random), torch.arange(10) % 4
    one = Member(torch.arange(10), labels, 5, 0.1, mean_norm=1.0)
    assert not coefficients.applies(build(), pool, [one], Schedule(1, sampling="shuffle"))
    plain = dataclasses.replace(one, mean_norm=math.inf)
    assert coefficients.applies(build(), pool, [plain], Schedule(1, sampling="shuffle"))


def test_a_run_has_no_guarantee_and_says_why():
    run = Run(dataset="strokes", train_size=600, test_size=200, public=100, model="linear",
              defence=BatchClipping(0.01), training=training.Training(epochs=1.0, batch_size=50))
    frame = study.run([run, run.with_(defence__noise=0.5)])
    assert (frame["status"] == "ok").all() and (frame["epsilon"] == math.inf).all()
    assert "twice the norm" in run.defence.guarantee(run, 200).note
    assert frame["accuracy"].nunique() == 2


@pytest.mark.parametrize("changes", [{"noise": -1.0}, {"noise": math.inf}, {"max_grad_norm": 0.0},
                                     {"max_grad_norm": math.inf}])
def test_settings_out_of_range_are_one_line(changes):
    with pytest.raises(ValueError, match="batch_clipping: .* expected") as problem:
        BatchClipping(**changes)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_member_with_a_wrong_bound_is_refused(value):
    pool, one = problem(mean_norm=value)
    with pytest.raises(ValueError, match="mean_norm"):
        training.fit(build, pool, [one], Schedule(1))
