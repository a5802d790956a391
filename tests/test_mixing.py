"""Transforms that mix, cut and blur a batch: by hand on small batches, in trainings, in runs."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import training
from lib.defences.dpsgd import DPSGD
from lib.study import Run, from_dict
from lib.training import Member, Rule, Schedule, Training, generator
from lib.training.batches import pad_rows
from lib.training.transforms import inside, orders, partners
from lib.training.transforms.crop import Crop
from lib.training.transforms.cutmix import CutMix
from lib.training.transforms.cutout import Cutout
from lib.training.transforms.flip import Flip
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.mixup import Mixup
from lib.training.transforms.self_mixup import SelfMixup

SHAPE, CLASSES, SIZES = (2, 8, 10), 4, (7, 5)
MIXING = [Mixup(), Mixup(3), Mixup(2, "dirichlet", 0.5), CutMix(probability=1.0)]


def batch(transform, seed=0):
    """Two models' images, labels and draws, the second one's padded as a trainer pads them."""
    random = torch.Generator().manual_seed(seed)
    x = [torch.rand(size, *SHAPE, generator=random) for size in SIZES]
    labels = [F.one_hot(torch.randint(CLASSES, (size,), generator=random), CLASSES).float()
              for size in SIZES]
    drawn = [transform.draw(size, SHAPE, random) for size in SIZES]
    draws = {name: pad_rows([own[name] for own in drawn], max(SIZES)) for name in drawn[0]}
    return pad_rows(x, max(SIZES)), pad_rows(labels, max(SIZES)), draws


@pytest.mark.parametrize("transform", MIXING)
def test_labels_are_mixed_as_the_images_are(transform):
    x, labels, draws = batch(transform)
    mixed, soft = transform.apply(x, labels, draws)
    assert mixed.shape == x.shape and soft.shape == labels.shape
    for model, size in enumerate(SIZES):
        torch.testing.assert_close(soft[model, :size].sum(1), torch.ones(size))
        # Images that are their label tell how much of each image is in a mix.
        told = labels[..., None, None].expand(*labels.shape, *SHAPE[1:])[:, :, :2]
        shown, _ = transform.apply(told.contiguous(), labels, draws)
        torch.testing.assert_close(shown.mean((3, 4))[model, :size], soft[model, :size, :2])


def test_a_mix_of_more_records_than_a_batch_has_is_one_line():
    with pytest.raises(ValueError, match="mixes 4 records with batch_size 2: expected at most"):
        Training(batch_size=2, transforms=({"name": "mixup", "width": 4},))


@pytest.mark.parametrize("width", [2, 4])
def test_mixup_is_a_mean_over_permutations(width):
    transform = Mixup(width)
    x, labels, draws = batch(transform)
    mixed, _ = transform.apply(x, labels, draws)
    for model, size in enumerate(SIZES):
        total = x[model, :size].clone()
        for keys in draws["order"][model, :size].T:
            order = sorted(range(size), key=lambda place: -keys[place].item())
            total += x[model, order]
        torch.testing.assert_close(mixed[model, :size], total / width)


def test_dirichlet_weights_are_one_draw_a_batch_with_its_mean_and_spread():
    random = torch.Generator().manual_seed(0)
    found = torch.stack([Mixup(3, "dirichlet", 2.0).draw(4, SHAPE, random)["weights"]
                         for _ in range(4000)])
    assert (found == found[:, :1]).all() and torch.allclose(found.sum(2), torch.ones(4000, 4))
    first = found[:, 0]
    assert first.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.01)
    assert first.var(0).tolist() == pytest.approx([2 / 9 / 7] * 3, rel=0.1)  # p (1 - p) / (6 + 1)


def test_partners_are_a_permutation_of_the_records_that_are_there():
    order = pad_rows([orders(size, 1, generator("x", size)) for size in SIZES], max(SIZES))[..., 0]
    places = torch.arange(max(SIZES)).expand(2, -1)
    found = partners(places, order)
    for model, size in enumerate(SIZES):
        assert sorted(found[model, :size].tolist()) == list(range(size))


def test_cutmix_shares_are_the_areas_and_cover_the_range():
    shares = []
    for seed in range(300):
        x, labels, draws = batch(CutMix(), seed)
        area = inside(draws["box"], SHAPE[1:]).float().mean((2, 3))
        assert (area[0] == area[0, 0]).all()
        shares.append(area[0, 0].item())
        mixed, _ = CutMix().apply(x, labels, draws)
        changed = (mixed != x)[0, :, 0].float().mean((1, 2))
        assert (changed <= area[0] + 1e-6).all()
    shares = torch.tensor(shares)
    assert (shares == 0).float().mean().item() == pytest.approx(0.5, abs=0.12)
    assert shares.max() > 0.5


def test_cutout_blanks_a_square_around_any_place():
    transform = Cutout(4)
    x, labels, draws = batch(transform)
    x = x.clamp_min(0.01)
    cut, same = transform.apply(x, labels, draws)
    assert torch.equal(same, labels)
    blank = (cut == 0).all(2)
    box = draws["box"][0]
    heights, widths = box[:, 1] - box[:, 0], box[:, 3] - box[:, 2]
    assert blank[0].sum((1, 2)).tolist() == (heights * widths).tolist()
    assert heights.max() == 4 and (heights >= 2).all() and len(set(box[:, 0].tolist())) > 1
    torch.testing.assert_close(cut[0][~blank[0][:, None].expand_as(cut[0])],
                               x[0][~blank[0][:, None].expand_as(x[0])])


def test_laplace_noise_has_its_scale_and_its_tails():
    noise = Laplace(0.2).draw(500, SHAPE, torch.Generator().manual_seed(0))["noise"]
    assert noise.isfinite().all() and abs(noise.mean().item()) < 0.005
    assert noise.abs().mean().item() == pytest.approx(0.2, rel=0.02)
    assert noise.var().item() == pytest.approx(2 * 0.2**2, rel=0.04)  # twice that of its mean size
    assert (noise.abs() > 1).float().mean().item() == pytest.approx(math.exp(-5), rel=0.2)


def test_a_record_mixed_with_itself_is_a_mean_of_its_views():
    transform = SelfMixup(3, padding=2)
    x, labels, draws = batch(transform)
    mixed, same = transform.apply(x, labels, draws)
    assert torch.equal(same, labels)
    different = 0
    for model, size in enumerate(SIZES):
        for place in range(size):
            views = [{name: value[model:model + 1, place:place + 1, view]
                      for name, value in draws.items()} for view in range(3)]
            image = x[model:model + 1, place:place + 1]
            seen = [Flip().apply(Crop(2).apply(image, labels, own)[0], labels, own)[0]
                    for own in views]
            different += not torch.equal(seen[0], seen[1])
            torch.testing.assert_close(mixed[model, place], torch.cat(seen)[:, 0].mean(0))
    assert different > sum(SIZES) / 2
    # So the sensitivity of DP-SGD stays: another record changes nothing about this one.
    x[0, 1] = 0.5
    torch.testing.assert_close(transform.apply(x, labels, draws)[0][0, 0], mixed[0, 0])


# ---------------------------------------------------------------- trainings

def network():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES))


def problem(count=40):
    random = torch.Generator().manual_seed(2)
    pool = torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    return pool, torch.randint(CLASSES, (count,), generator=random)


def by_hand(pool, one, schedule):
    """Plain PyTorch on mixed batches, one model."""
    module = training.initialise(network, one.init_seed)
    optimizer = torch.optim.SGD(module.parameters(), one.lr)
    batches = training.member_batches(one, schedule.sampling, pool.device)
    random = generator("transforms", one.batch_seed)
    for _ in range(schedule.steps):
        places = next(batches)
        x = pool[places].float()[None] / 255
        labels = F.one_hot(one.labels[places], CLASSES).float()[None]
        drawn = [each.draw(len(places), SHAPE, random) for each in schedule.transforms]
        for transform, own in zip(schedule.transforms, drawn):
            x, labels = transform.apply(x, labels, {name: value[None]
                                                    for name, value in own.items()})
        optimizer.zero_grad()
        loss = F.cross_entropy(module(x[0]), labels[0], reduction="sum")
        (loss / one.batch_size).backward()
        optimizer.step()
    return training.flatten(module)


@pytest.mark.parametrize("transforms", [
    (Mixup(4), Laplace(0.1)), (CutMix(probability=1.0),), (Cutout(3),),
    (Mixup(2, "dirichlet"), Cutout(3))])
def test_training_is_that_of_a_loop_on_mixed_batches(transforms):
    pool, labels = problem()
    group = [Member(torch.arange(40), labels, 9, 0.05, init_seed=seed, batch_seed=seed)
             for seed in range(2)]
    schedule = Schedule(4, Rule("sgd"), transforms=transforms)
    found = training.fit(network, pool, group, schedule)
    for model, one in enumerate(group):
        torch.testing.assert_close(found.parameters[model], by_hand(pool, one, schedule),
                                   rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_model_alone_and_in_a_group_mixes_the_same(ahead):
    pool, labels = problem()
    group = [Member(torch.arange(40), labels, 9 + 5 * seed, 0.05, init_seed=seed, batch_seed=seed)
             for seed in range(3)]
    schedule = Schedule(5, Rule("sgd"), transforms=(Mixup(3), CutMix(), Laplace(0.1)))
    together = training.fit(network, pool, group, schedule, ahead=ahead).parameters
    for model, one in enumerate(group):
        alone = training.fit(network, pool, [one], schedule, ahead=ahead).parameters[0]
        torch.testing.assert_close(together[model], alone, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- runs

MIX = {"name": "mixup", "width": 4}
NOISE = {"name": "laplace", "scale": 0.06}


def test_a_run_names_its_transforms_and_has_no_guarantee():
    values = Run().to_dict()
    values["training"] |= {"transforms": [MIX, NOISE]}
    run = dataclasses.replace(from_dict(values), defence=DPSGD(1.0))
    assert run.training.transforms == (Mixup(4), Laplace(0.06))
    assert not run.defence.guarantee(run, 1000).holds
    alone = run.with_(training__transforms=(Laplace(0.06),))
    assert alone.defence.guarantee(alone, 1000).holds


@pytest.mark.parametrize("make, said", [
    (lambda: Mixup(1), "at least 2"), (lambda: Mixup(2, "even"), "weights"),
    (lambda: Mixup(2, "dirichlet", 0.0), "strength"), (lambda: CutMix(0.0), "strength"),
    (lambda: CutMix(1.0, 0.0), "probability"), (lambda: Cutout(0), "at least 1"),
    (lambda: Laplace(0.0), "scale")])
def test_settings_out_of_range_are_one_line(make, said):
    with pytest.raises(ValueError, match=said) as problem:
        make()
    assert "\n" not in str(problem.value)
