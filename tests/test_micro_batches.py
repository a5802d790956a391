"""Clipping and noise on the means of micro-batches: by hand, alone and in a group, its sensitivity
under replacement, its guarantee.
"""

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import models, privacy, study, training
from lib.defences.micro_batches import MicroBatches
from lib.study import Run
from lib.training import Member, Rule, Schedule
from lib.training.steps import clipped_means
from lib.training.transforms.mixup import Mixup

COUNT, PARTS = 62, 4
LAST = Schedule(9, Rule("sgd", 0.9), "shuffle")  # batches of 20, and one of 2 for four parts


def build():
    return models.build("head", (30,), 4)


def problem(**changes):
    random = torch.Generator().manual_seed(0)
    pool = torch.rand(COUNT, 30, generator=random)
    labels = torch.randint(4, (COUNT,), generator=random)
    settings = {"mean_norm": 0.4, "micro_batches": PARTS} | changes
    return pool, Member(torch.arange(COUNT), labels, 20, 0.1, **settings)


def clipped_mean(module, x, labels, bound):
    """The clipped gradient of the mean loss, flat; 0 without records."""
    if not len(x):
        return torch.zeros(sum(each.numel() for each in module.parameters()))
    found = torch.autograd.grad(F.cross_entropy(module(x), labels), list(module.parameters()))
    flat = torch.cat([each.flatten() for each in found])
    return flat * min(1.0, bound / flat.norm().item())


def by_hand(pool, one, schedule):
    """A loop over steps and micro-batches, in plain PyTorch; noise a parameter at a time."""
    module = training.initialise(build, one.init_seed)
    batches = training.member_batches(one, schedule.sampling, pool.device)
    random = training.generator("noise", one.noise_seed)
    momentum = None
    for _ in range(schedule.steps):
        places = next(batches)
        cuts = [len(places) * at // PARTS for at in range(PARTS + 1)]
        total = sum(clipped_mean(module, pool[own], one.labels[own], one.mean_norm)
                    for own in (places[a:b] for a, b in itertools.pairwise(cuts)))
        if one.noise:
            total = total + torch.cat([one.noise * torch.empty(each.shape).normal_(
                generator=random).flatten() for each in module.parameters()])
        update = total / PARTS
        momentum = update if momentum is None else schedule.rule.momentum * momentum + update
        flat = training.flatten(module) - one.lr * momentum
        nn.utils.vector_to_parameters(flat, module.parameters())
    return training.flatten(module)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("bound", [0.05, 0.4, 1e9])
def test_a_step_is_that_of_a_loop_over_micro_batches(bound, noise):
    pool, one = problem(mean_norm=bound, noise=noise)
    found = training.fit(build, pool, [one], LAST, ahead=False).parameters[0]
    torch.testing.assert_close(found, by_hand(pool, one, LAST), rtol=1e-4, atol=1e-5)


def test_images_whose_gradients_autograd_sums_are_clipped_too():
    images = torch.rand(COUNT, 1, 20, 20, generator=torch.Generator().manual_seed(1))
    _, one = problem(mean_norm=0.02)
    found = training.fit(lambda: models.build("cnn", (1, 20, 20), 4), images, [one],
                         Schedule(2, Rule("sgd"), "shuffle")).parameters[0]
    moved = found - training.flatten(
        training.initialise(lambda: models.build("cnn", (1, 20, 20), 4), 0))
    assert 0 < moved.norm() <= 2 * 0.1 * 0.02 * 1.0001


@pytest.mark.parametrize("ahead", [False, True])
def test_a_model_alone_and_in_a_group_is_the_same(ahead):
    pool, one = problem(noise=0.2)
    group = [dataclasses.replace(one, batch_size=size, batch_seed=size, noise_seed=size)
             for size in (20, 13, 7)]
    together = training.fit(build, pool, group, LAST, ahead=ahead).parameters
    shared = [dataclasses.replace(one, lr=lr) for lr in (0.1, 0.2)]
    both = training.fit(build, pool, shared, LAST, ahead=ahead).parameters
    for states, members in ((together, group), (both, shared)):
        for model, each in enumerate(members):
            alone = training.fit(build, pool, [each], LAST, ahead=ahead).parameters[0]
            torch.testing.assert_close(states[model], alone, rtol=0, atol=1e-5)


def test_parts_share_out_each_models_own_records():
    indices = torch.tensor([[5, 6, 7, 8, 9], [1, 2, 3, 0, 0]])
    present = (indices > 0).float()
    draws = [{"version": indices * 10}]
    found = list(clipped_means.parts(indices, present, draws, 2))
    own = [[index[model][there[model] > 0].tolist() for index, there, _ in found]
           for model in range(2)]
    assert own == [[[5, 6], [7, 8, 9]], [[1], [2, 3]]]
    assert all(torch.equal(drawn[0]["version"], index * 10) for index, _, drawn in found)


@pytest.mark.parametrize("worst", [1e3, math.inf, math.nan])
def test_replacing_a_record_changes_a_step_by_twice_the_norm_at_most(worst):
    """Whatever it is replaced by: also by what has no finite gradient."""
    pool, one = problem(mean_norm=0.4)
    step = Schedule(1, Rule("sgd"), "shuffle")
    moved = training.fit(build, pool, [one], step).parameters[0]
    used = next(training.member_batches(one, "shuffle", pool.device))
    for record in used[:5].tolist():
        other = pool.clone()
        other[record] = -worst
        labels = one.labels.clone()
        labels[record] = (labels[record] + 1) % 4
        replaced = training.fit(build, other, [dataclasses.replace(one, labels=labels)],
                                step).parameters[0]
        assert replaced.isfinite().all()
        change = (replaced - moved).norm() * PARTS / one.lr
        assert 0 < change <= 2 * 0.4 * 1.0001


def test_removing_a_record_changes_every_micro_batch():
    """Why nothing is claimed under removal: the records after it move up, into the next batch too.
    """
    def groups(order):
        return [own[there > 0].tolist() for batch in order.split(20)
                for own, there, _ in clipped_means.parts(batch[None], torch.ones(1, len(batch)), [],
                                                         PARTS)]
    order = torch.arange(60)
    before, after = groups(order), groups(order[1:])
    assert len(before) == 3 * PARTS
    assert sum(one != other for one, other in zip(before, after, strict=True)) >= 2 * PARTS


# ---------------------------------------------------------------- the defence

TINY = Run(dataset="strokes", train_size=400, test_size=100, public=100, model="mlp",
           defence=MicroBatches(1.0, count=5),
           training=training.Training(epochs=3.0, batch_size=50, sampling="shuffle"))


def test_the_guarantee_is_of_a_replaced_record():
    found = TINY.defence.guarantee(TINY, 300)
    assert found.adjacency == "replace-one" and found.holds and "removal" in found.note
    # three uses of a Gaussian mechanism with half the noise multiplier
    expected = privacy.shuffled_epsilon(0.5, 3, 1e-5, adjacency="zero-out")
    assert found.epsilon == pytest.approx(expected, rel=1e-9)
    assert found.epsilon > privacy.shuffled_epsilon(1.0, 3, 1e-5)


def test_there_is_none_without_noise_or_where_records_are_mixed():
    assert not MicroBatches(0.0).guarantee(TINY, 300).holds
    mixed = TINY.with_(training__transforms=(Mixup(),))
    found = mixed.defence.guarantee(mixed, 300)
    assert not found.holds and "mixup" in found.note


def test_noise_levels_are_trained_together_and_differ():
    frame = study.run([TINY, TINY.with_(defence__noise_multiplier=0.0)])
    assert (frame["status"] == "ok").all() and frame["group_size"].tolist() == [2.0, 2.0]
    assert frame["epsilon"].tolist() == [TINY.defence.guarantee(TINY, 300).epsilon, math.inf]
    assert frame["adjacency"].tolist() == ["replace-one", "none"]
    assert frame["accuracy"].nunique() == 2


@pytest.mark.parametrize("changes", [
    {"noise_multiplier": -1.0}, {"noise_multiplier": math.inf}, {"max_grad_norm": 0.0},
    {"max_grad_norm": math.inf}, {"count": 1}, {"delta": 0.0}])
def test_settings_out_of_range_are_one_line(changes):
    with pytest.raises(ValueError, match="micro_batches: .* expected") as problem:
        MicroBatches(**changes)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("changes,message", [
    ({"training__sampling": "poisson"}, "expected 'shuffle'"),
    ({"training__batch_size": 4}, "a record or more in each")])
def test_batches_that_cannot_be_cut_are_refused(changes, message):
    run = TINY.with_(**changes)
    with pytest.raises(ValueError, match=message):
        run.defence.check(run)
    assert study.run([run])["status"].tolist() == ["failed"]


@pytest.mark.parametrize("changes", [
    {"micro_batches": 0}, {"mean_norm": math.inf}, {"clipping_norm": 1.0}])
def test_members_that_make_no_sense_are_refused(changes):
    pool, one = problem(**changes)
    with pytest.raises(ValueError, match="micro_batches"):
        training.fit(build, pool, [one], LAST)


def test_members_of_different_counts_and_buffers_are_refused():
    pool, one = problem()
    with pytest.raises(ValueError, match=r"micro_batches \[2, 4\]"):
        training.fit(build, pool, [one, dataclasses.replace(one, micro_batches=2)], LAST)
    normed = nn.Sequential(nn.Linear(30, 4), nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match="without buffers"):
        training.fit(lambda: normed, pool, [one], LAST)
