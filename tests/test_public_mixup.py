"""Mixing private images with public ones: by hand, in trainings, and what DP-SGD's noise covers."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import study, training
from lib.attacks.badnets import BadNets
from lib.defences.alibi import ALIBI
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.defences.smoothing import Smoothing
from lib.study import Run, from_dict, inputs
from lib.training import Member, Rule, Schedule, Training, generator
from lib.training.batches import pad_rows
from lib.training.draws import Ahead
from lib.training.transforms.crop import Crop
from lib.training.transforms.mixup import Mixup
from lib.training.transforms.public_mixup import PublicMixup

SHAPE, CLASSES, SIZES = (2, 8, 10), 4, (7, 5)


def images(count, seed):
    random = torch.Generator().manual_seed(seed)
    return (torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8),
            torch.randint(CLASSES, (count,), generator=random))


def bound(width=3):
    return PublicMixup(width).with_public(*images(11, 5))


def network():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES))


def flat_gradient(module, x, label):
    loss = F.cross_entropy(module(x[None]), label[None])
    return torch.cat([part.flatten() for part in
                      torch.autograd.grad(loss, list(module.parameters()))])


# ---- by hand

@pytest.mark.parametrize("width", [2, 4])
def test_a_mix_is_the_mean_of_a_record_and_of_public_ones(width):
    transform, (public, known) = bound(width), images(11, 5)
    random = torch.Generator().manual_seed(0)
    x = pad_rows([torch.rand(size, *SHAPE, generator=random) for size in SIZES], max(SIZES))
    labels = torch.rand(2, max(SIZES), CLASSES, generator=random)
    drawn = [transform.draw(size, SHAPE, random) for size in SIZES]
    draws = {"public": pad_rows([own["public"] for own in drawn], max(SIZES))}
    before = x.clone(), labels.clone()
    mixed, soft = transform.apply(x, labels, draws)
    for model, size in enumerate(SIZES):
        for place in range(size):
            seen, told = x[model, place].clone(), labels[model, place].clone()
            for other in draws["public"][model, place].tolist():
                seen += public[other] / 255
                told[known[other]] += 1
            torch.testing.assert_close(mixed[model, place], seen / width)
            torch.testing.assert_close(soft[model, place], told / width)
    assert torch.equal(x, before[0]) and torch.equal(labels, before[1])


def test_every_public_record_is_drawn_alike():
    places = bound(3).draw(20_000, SHAPE, torch.Generator().manual_seed(0))["public"]
    assert places.shape == (20_000, 2)
    shares = torch.bincount(places.flatten(), minlength=11) / places.numel()
    assert shares.tolist() == pytest.approx([1 / 11] * 11, abs=0.006)


def test_mixing_waits_for_no_result():
    from test_draws import Calls

    transform = bound(3)
    draws = {"public": torch.zeros(2, 5, 2, dtype=torch.long)}
    with Calls() as seen:
        transform.apply(torch.rand(2, 5, *SHAPE), torch.rand(2, 5, CLASSES), draws)
    assert seen.count and not seen.waits


# ---- trainings

def clipped_loop(pool, one, transform, *, steps, bound):
    """Plain PyTorch, record by record; the gradient of each mix is clipped."""
    module, random = training.initialise(network, one.init_seed), generator("transforms", 0)
    public, known = images(11, 5)
    batches = training.member_batches(one, "poisson", pool.device)
    for _ in range(steps):
        places, total = next(batches), 0
        draws = transform.draw(len(places), SHAPE, random)["public"]
        for place, others in zip(places, draws):
            x = torch.cat([pool[place][None], public[others]]).float().div(255).mean(0)
            told = torch.cat([one.labels[place][None], known[others]])
            flat = flat_gradient(module, x, F.one_hot(told, CLASSES).float().mean(0))
            total = total + flat * min(1.0, bound / flat.norm().item())
        weights = training.flatten(module) - one.lr * total / one.batch_size
        nn.utils.vector_to_parameters(weights, module.parameters())
    return training.flatten(module)


def test_each_mix_is_clipped_as_one_record():
    pool, labels = images(24, 2)
    one = Member(torch.arange(24), labels, 6, 0.1, clipping_norm=0.3)
    found = training.fit(network, pool, [one], Schedule(3, Rule("sgd"), transforms=(bound(),)))
    torch.testing.assert_close(found.parameters[0],
                               clipped_loop(pool, one, bound(), steps=3, bound=0.3),
                               rtol=1e-4, atol=1e-6)


def moved(transforms, *, removed):
    """How far the clipped sum of one batch of all records moves, in clipping norms, where one
    record becomes another, or has no part in it."""
    pool, labels = images(8, 2)
    other, label = pool.clone(), labels.clone()
    other[3], label[3] = 255 - pool[3], (labels[3] + 1) % CLASSES

    def weights(pool, labels):
        one = Member(torch.arange(8), labels, 8, 1.0, clipping_norm=1e-3)
        return training.fit(network, pool, [one], Schedule(
            1, Rule("sgd", 0.0), "shuffle", transforms=transforms)).parameters[0]

    first = weights(pool, labels)
    if not removed:
        return (first - weights(other, label)).norm().item() * 8 / 1e-3
    start = training.flatten(training.initialise(network, 0))
    total = (start - first) * 8
    alone = [(start - weights_of(pool, labels, transforms, place)) for place in range(8)]
    return (total - sum(alone[:3] + alone[4:])).norm().item() / 1e-3


def weights_of(pool, labels, transforms, place):
    """The weights after one step on this record alone, with the draws that it has in the batch."""
    one = Member(torch.arange(8), labels, 8, 1.0, clipping_norm=1e-3)
    order = next(training.member_batches(one, "shuffle", pool.device)).tolist()
    draws = transforms[0].draw(8, SHAPE, generator("transforms", 0))
    own = {name: values[None, order.index(place)][None] for name, values in draws.items()}
    x = pool[place][None, None].float() / 255
    x, told = transforms[0].apply(x, F.one_hot(labels[place], CLASSES).float()[None, None], own)
    module = training.initialise(network, 0)
    flat = flat_gradient(module, x[0, 0], told[0, 0])
    return training.flatten(module) - flat * min(1.0, 1e-3 / flat.norm().item())


def test_a_record_moves_the_sum_by_one_clipped_gradient():
    assert moved((bound(),), removed=True) <= 1 + 1e-3
    assert 0.1 < moved((bound(),), removed=False) <= 2 + 1e-3


def test_a_record_among_private_partners_moves_more():
    """The same test finds what mixing a batch does: its records are in several mixes."""
    assert moved((Mixup(8),), removed=False) > 2 + 1e-3


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_a_model_alone_and_in_a_group_mixes_the_same(ahead, sampling):
    pool, labels = images(40, 2)
    group = [Member(torch.arange(40), labels, 9 + 5 * seed, 0.05, init_seed=seed, batch_seed=seed)
             for seed in range(3)]
    schedule = Schedule(5, Rule("sgd"), sampling, transforms=(Crop(1), bound()))
    together = training.fit(network, pool, group, schedule, ahead=ahead).parameters
    for model, one in enumerate(group):
        alone = training.fit(network, pool, [one], schedule, ahead=ahead).parameters[0]
        torch.testing.assert_close(together[model], alone, rtol=0, atol=1e-5)


def test_blocks_draw_the_same_bits_alone_and_in_a_group():
    _, labels = images(40, 2)
    group = [Member(torch.arange(40), labels, 9 + 5 * seed, 0.05, batch_seed=seed)
             for seed in range(3)]
    schedule = Schedule(9, transforms=(bound(),))

    def drawn(members):
        ahead = Ahead(members, members, schedule, network(), SHAPE, torch.device("cpu"))
        return [[ahead.transformed()[0]["public"][model][own.bool()].tolist()
                 for model, own in enumerate(ahead.batch(number)[1])] for number in range(9)]

    together = drawn(group)
    for model, one in enumerate(group):
        assert [step[model] for step in together] == [step[0] for step in drawn([one])]


# ---- runs

RUN = Run(dataset="strokes", train_size=120, test_size=40, public=40, model="mlp",
          attack=BadNets(0, 1, 0.5), defence=DPSGD(1.0),
          training=Training(epochs=1.0, batch_size=20, transforms=(PublicMixup(2),)))


def test_a_run_mixes_its_public_images_as_they_are_and_keeps_its_guarantee():
    made, data = study.fit(RUN)
    public, labels = data.trusted
    assert torch.equal(public, inputs.public_images(RUN).images) and len(labels) == 40
    plain = RUN.with_(training__transforms=())
    assert made.privacy == plain.defence.guarantee(plain, 80) and made.privacy.holds
    assert from_dict(RUN.to_dict()) == RUN and RUN.key != plain.key
    assert not torch.equal(made.weights, study.fit(plain)[0].weights)
    # Other defences that train on private records have them too.
    noisy = study.fit(RUN.with_(defence=LabelNoise(0.2)))[0].privacy
    assert noisy.adjacency == "label" and noisy.holds


@pytest.mark.parametrize("changes,said", [
    (dict(public=0), "public_mixup: public 0: expected 1 or more"),
    (dict(defence=ALIBI(1.0)), "labels as evidence: expected classes"),
    (dict(defence=Smoothing(2, 0.5)), "public_mixup: no public images")])
def test_what_has_no_public_images_is_one_line(changes, said):
    with pytest.raises(ValueError, match=said) as problem:
        study.fit(dataclasses.replace(RUN, **changes))
    assert "\n" not in str(problem.value)


def test_settings_out_of_range_are_one_line():
    with pytest.raises(ValueError, match="width 1: expected a whole number of at least 2"):
        PublicMixup(1)
    with pytest.raises(ValueError, match="no public images"):
        PublicMixup().with_public(*images(0, 0))
    pool, labels = images(12, 0)
    one = Member(torch.arange(12), labels, 4, 0.1)
    with pytest.raises(ValueError, match="no public images"):
        training.fit(network, pool, [one], Schedule(1, transforms=(PublicMixup(),)))
