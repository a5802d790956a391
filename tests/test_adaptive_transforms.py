"""Transforms that look at the network: adversarial training and MaxUp, against plain loops."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import models, parts, training
from lib.defences.dpsgd import DPSGD
from lib.study import Run, from_dict
from lib.study.runs import versions
from lib.training import Member, Rule, Schedule, Training, fit, generator
from lib.training.draws import Ahead, Stepwise
from lib.training.steps import alone, coefficients, direct, shared
from lib.training.steps.per_input import InputLosses
from lib.training.transforms import Adaptive, crop
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.cutout import Cutout
from lib.training.transforms.flip import Flip
from lib.training.transforms.maxup import MaxUp
from lib.training.transforms.mixup import Mixup

SHAPE = (2, 20, 22)
LINF, L2 = Adversarial(steps=3), Adversarial("l2", 1.0, 0.4, 3, random_start=False)
WORST, STACKED = MaxUp(3, (Cutout(9), Flip())), MaxUp(3, (Cutout(9),), worst=False)


def problem(count=24, classes=4):
    random = torch.Generator().manual_seed(2)
    pool = torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    return pool, torch.randint(classes, (count,), generator=random)


def convolution():
    return models.build("cnn", SHAPE, 4)


def grouped():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(1440, 4))


def normalised():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(1440, 4))


def member(labels, seed=0, **changes):
    return Member(torch.arange(len(labels)), labels, 6, 0.05, init_seed=seed, batch_seed=seed,
                  **changes)


def loss_of(module, image, label):
    return F.cross_entropy(module(image[None]), label[None])


def adversarial(transform, module, image, label, draws, place):
    """One image's perturbation, step by step."""
    ball = transform.radius
    start = draws["start"][place] if transform.random_start else 0 * image
    x = (image + start).clamp(0, 1)
    for _ in range(transform.steps):
        x = x.detach().requires_grad_()
        slope, = torch.autograd.grad(loss_of(module, x, label), x)
        if transform.norm == "linf":
            change = (x + transform.step * slope.sign() - image).clamp(-ball, ball)
        else:
            change = x + transform.step * slope / slope.norm() - image
            change = change * min(1.0, ball / change.norm().item())
        x = (image + change).clamp(0, 1)
    return x.detach()


def blanked(image, box):
    top, bottom, left, right = box.tolist()
    image = image.clone()
    image[:, top:bottom, left:right] = 0
    return image


def worst_view(transform, module, image, label, draws, place):
    views = []
    for trial in range(transform.trials):
        view = blanked(image, draws["0.box"][place, trial])
        views.append(view.flip(-1) if draws["1.mirrored"][place, trial] else view)
    return views[max(range(len(views)),
                     key=lambda at: loss_of(module, views[at], label).item())]


def stacked(transform, module, image, label, draws, place):
    for trial in range(transform.trials):
        image = blanked(image, draws["0.box"][place, trial])
    return image


def loop(build, pool, one, transform, by_hand, *, steps, bound):
    """Plain PyTorch, image by image; the network looks at them in evaluation mode."""
    module, random = training.initialise(build, one.init_seed), generator("transforms", 0)
    optimizer = torch.optim.SGD(module.parameters(), one.lr, momentum=0.9)
    batches = training.member_batches(one, "shuffle", pool.device)
    for _ in range(steps):
        places = next(batches)
        draws = transform.draw(len(places), SHAPE, random)
        module.eval()
        x = torch.stack([by_hand(transform, module, pool[place] / 255, one.labels[place], draws, at)
                         for at, place in enumerate(places)])
        module.train()
        optimizer.zero_grad()
        if bound is None:
            F.cross_entropy(module(x), one.labels[places]).backward()
        else:
            total = [torch.zeros_like(parameter) for parameter in module.parameters()]
            for image, label in zip(x, one.labels[places]):
                found = torch.autograd.grad(loss_of(module, image, label),
                                            list(module.parameters()))
                norm = torch.cat([part.flatten() for part in found]).norm().item()
                for part, own in zip(total, found):
                    part += own * min(1.0, bound / norm) / len(places)
            for parameter, part in zip(module.parameters(), total):
                parameter.grad = part
        optimizer.step()
    return training.flatten(module)


@pytest.mark.parametrize("build,bound", [(convolution, None), (convolution, 0.3), (grouped, None),
                                         (grouped, 0.3), (normalised, None)])
@pytest.mark.parametrize("transform,by_hand", [
    (LINF, adversarial), (L2, adversarial), (WORST, worst_view), (STACKED, stacked)])
def test_training_equals_a_loop(monkeypatch, build, bound, transform, by_hand):
    from lib.training import sizes

    monkeypatch.setattr(sizes, "samples_at_once", lambda *_, **__: 4)  # chosen in two parts
    pool, labels = problem()
    changes = {} if bound is None else {"clipping_norm": bound}
    one = member(labels, **changes)
    schedule = Schedule(3, Rule("sgd", 0.9), "shuffle", transforms=(transform,))
    trained = fit(build, pool, [one], schedule)
    expected = loop(build, pool, one, transform, by_hand, steps=3, bound=bound)
    torch.testing.assert_close(trained.state(0), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("transform", [LINF, WORST])
def test_a_model_is_the_same_alone_and_in_a_group(monkeypatch, transform, ahead):
    seen, original = [], type(transform).choose

    def noted(self, x, labels, draws, losses):
        seen.append({name: values.clone() for name, values in draws.items()})
        return original(self, x, labels, draws, losses)
    monkeypatch.setattr(type(transform), "choose", noted)
    pool, labels = problem()
    group = [member(labels, seed, steps=3 + seed) for seed in range(3)]
    schedule = Schedule(4, transforms=(transform,))
    together = fit(convolution, pool, group, schedule, ahead=ahead)
    many, seen[:] = list(seen), []
    alone = fit(convolution, pool, group[1:2], schedule, ahead=ahead)
    for all_draws, own in zip(many, seen):
        for name, values in own.items():
            assert torch.equal(all_draws[name][1, :values.shape[1]], values[0])
    torch.testing.assert_close(together.state(1), alone.state(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [Stepwise, Ahead])
def test_adaptive_transforms_know_how_much_is_done(make):
    pool, labels = problem()
    group = [member(labels), member(labels, 1, steps=8)]
    schedule = Schedule(4, transforms=(Flip(), MaxUp()))
    module = training.initialise(convolution, 0)
    draws = make(group, group, schedule, module, SHAPE, pool.device)
    for number in range(3):
        indices, _ = draws.batch(number)
        plain, own = draws.transformed()
        assert set(plain) == {"mirrored"} and set(own) == {"0.box", "progress"}
        assert own["progress"].shape == indices.shape
        assert own["progress"][:, 0].tolist() == [number / 4, number / 8]


def test_maxup_starts_later():
    pool, labels = problem()
    late, never = MaxUp(views=(Cutout(15),), after=0.75), ()
    for steps, equal in ((3, True), (4, False)):
        found = [fit(convolution, pool, [member(labels, steps=4)], Schedule(
            4, snapshots=(steps,), transforms=own)) for own in ((late,), never)]
        states = [each.state(0, step=steps) for each in found]
        assert torch.allclose(*states, atol=1e-7) == equal


def test_stacked_trials_are_one_transform_after_another():
    draws = STACKED.draw(5, SHAPE, torch.Generator().manual_seed(0))
    x = torch.rand(1, 5, *SHAPE)
    labels, found = torch.zeros(1, 5), {name: values[None] for name, values in draws.items()}
    expected = x
    for trial in range(3):
        expected, _ = Cutout(9).apply(expected, labels, {"box": found["0.box"][:, :, trial]})
    given = STACKED.choose(x, labels, found, lambda *_: 1 / 0)  # asks for no loss
    assert torch.equal(STACKED.apply(x, labels, given)[0], expected)


@pytest.mark.parametrize("size,stride,padding,shape", [
    (8, 2, 3, (3, 32, 32)), (5, 2, 0, (2, 17, 20)), (7, 3, 1, (3, 22, 23)), (3, 2, 1, (4, 16, 15)),
    (3, 3, 0, (1, 9, 9)), ((3, 5), 2, (1, 2), (3, 14, 15)), (2, 3, 0, (2, 13, 14))])
def test_a_dense_first_convolution_has_the_same_losses(size, stride, padding, shape):
    first = nn.Conv2d(shape[0], 4, size, stride=stride, padding=padding)
    module = nn.Sequential(first, nn.ReLU(), nn.Flatten(),
                           nn.Linear(first(torch.zeros(1, *shape)).numel(), 5))
    values = {name: torch.stack([value.detach() + 0.1 * torch.randn_like(value) for _ in range(3)])
              for name, value in module.named_parameters()}
    x, labels = torch.rand(3, 6, *shape), torch.randint(5, (3, 6))
    own, found = InputLosses(module, dims=3, kind="targets", batched=False), []
    assert own.blocks is not None
    for blocks in (own.blocks, None):
        own.blocks, seen = blocks, x.clone().requires_grad_()
        losses = own(values, {}, seen, labels)
        found.append((losses, torch.autograd.grad(losses.sum(), seen)[0]))
    (losses, slopes), (expected, plain) = found
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slopes, plain, rtol=1e-4, atol=1e-6)
    for model in range(3):
        own_values = {name: value[model] for name, value in values.items()}
        logits = torch.func.functional_call(module, own_values, x[model])
        torch.testing.assert_close(
            losses[model], F.cross_entropy(logits, labels[model], reduction="none"),
            rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transform,precision,rounded", [
    (LINF, "fast", True), (LINF, "float32", False), (WORST, "fast", False)])
def test_a_deep_networks_search_is_rounded_where_it_may_be(monkeypatch, transform, precision,
                                                           rounded):
    seen, original = [], InputLosses.__call__

    def noted(self, *arguments):
        seen.append(torch.is_autocast_enabled("cpu"))
        found = original(self, *arguments)
        assert found.dtype == torch.float32
        return found
    monkeypatch.setattr(InputLosses, "__call__", noted)
    monkeypatch.setattr(alone, "bfloat16", lambda device: True)
    monkeypatch.setattr(alone, "DEEP", 0)
    pool, labels = problem(6)
    states = [fit(convolution, pool, [member(labels)], Schedule(
        2, Rule("sgd", 0.9), "shuffle", precision=each, transforms=(transform,))).state(0)
        for each in (precision, "float32")]
    assert seen and set(seen[:len(seen) // 2]) == {rounded} and not any(seen[len(seen) // 2:])
    torch.testing.assert_close(*states, rtol=0.05, atol=0.02)


# ---------------------------------------------------------------- privacy

def losses_of(build, seed=0):
    """Every sample's loss of one network, by its group's own function."""
    pool, labels = problem()
    state = training.flatten(training.initialise(build, seed))[None]
    module = training.initialise(build, seed)
    return direct.Direct(module, state, pool, [member(labels)], Schedule(1, transforms=(LINF,)),
                         torch.tensor([math.inf]))


@pytest.mark.parametrize("build", [convolution, grouped, normalised])
@pytest.mark.parametrize("transform", [LINF, WORST])
def test_what_is_chosen_for_a_record_depends_on_no_other(build, transform):
    group = losses_of(build)
    random = torch.Generator().manual_seed(0)
    x, labels = torch.rand(1, 6, *SHAPE, generator=random), torch.arange(6)[None] % 4
    draws = {name: values[None] for name, values in transform.draw(6, SHAPE, random).items()}
    before = {name: buffer.clone() for name, buffer in group.buffers.items()}
    first = transform.choose(x, labels, draws, group._losses)
    changed = x.clone()
    changed[:, 1:] = 1 - changed[:, 1:]
    other = transform.choose(changed, labels, draws, group._losses)
    assert all(torch.equal(first[name][:, 0], other[name][:, 0]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert all(torch.equal(before[name], buffer) for name, buffer in group.buffers.items())


@pytest.mark.parametrize("build", [convolution, grouped])
@pytest.mark.parametrize("own", [(LINF,), (WORST,), (Crop(2), STACKED, L2)])
def test_a_record_changes_the_clipped_sum_by_no_more_than_the_bound(build, own):
    pool, labels = problem(8)
    one, bound = member(labels, clipping_norm=0.05), 0.05
    schedule = Schedule(1, transforms=own)
    state = training.flatten(training.initialise(build, 0))[None]
    group = direct.Direct(training.initialise(build, 0), state, pool, [one], schedule,
                          torch.tensor([bound]))
    draws = Stepwise([one], [one], schedule, group.module, SHAPE, pool.device)
    draws.drawn, draws.width, draws.number = [torch.arange(8)], 8, 0
    given = draws.transformed()
    places, present = torch.arange(8)[None], torch.ones(1, 8)
    whole = group.gradient_sums(places, present, (), given).clone()
    for record in range(8):
        without = present.clone()
        without[0, record] = 0
        rest = group.gradient_sums(places, without, (), given)
        assert (whole - rest).norm() <= bound * (1 + 1e-4)
        assert (whole - rest).norm() > 0.9 * bound  # gradients are longer than the bound


def run_with(*own, defence):
    return Run(defence=defence, training=Training(batch_size=10, epochs=2.0, transforms=own))


@pytest.mark.parametrize("transform", [LINF, WORST, STACKED])
def test_accounting_keeps_its_epsilon(transform):
    defence = DPSGD(noise_multiplier=2.0)
    plain, found = (defence.guarantee(run_with(*own, defence=defence), 100)
                    for own in ((), (transform,)))
    assert found == plain and found.holds
    mixed = defence.guarantee(run_with(Mixup(), transform, defence=defence), 100)
    assert not mixed.holds


@dataclass(frozen=True)
class Hardest:
    """Shows every record the image of the batch with the largest loss."""

    mixes: ClassVar[str] = "batch"

    def draw(self, count, shape, random):
        return {}

    def choose(self, x, labels, draws, losses):
        place = losses(x, labels).argmax(1)
        return {"images": x[torch.arange(len(x)), place][:, None].expand_as(x)}

    def apply(self, x, labels, draws):
        return draws["images"], labels


VERSION = 1


def test_an_adaptive_transform_that_mixes_has_no_epsilon():
    assert isinstance(Hardest(), Adaptive)
    defence = DPSGD(noise_multiplier=2.0)
    assert not defence.guarantee(run_with(Hardest(), defence=defence), 100).holds


# ---------------------------------------------------------------- settings

def test_no_other_form_of_a_step_is_chosen():
    pool, labels = problem()
    module = models.build("linear", SHAPE, 4)
    same = [Member(torch.arange(24), labels, 6, 0.05, init_seed=seed) for seed in range(4)]
    for transform in (LINF, WORST):
        with_it = Schedule(1, transforms=(transform,))
        assert shared.possible(module, pool, Schedule(1))
        assert not shared.possible(module, pool, with_it)
        assert coefficients.applies(module, pool, same[:1], Schedule(1))
        assert not coefficients.applies(module, pool, same[:1], with_it)


def test_views_come_back_from_plain_values_and_are_in_the_key(monkeypatch):
    run = Run(training=Training(transforms=[
        {"name": "maxup", "trials": 2, "views": [{"name": "crop", "padding": 2}]}]))
    assert run.training.transforms == (MaxUp(2, (Crop(2),)),)
    assert from_dict(run.to_dict()) == run
    assert versions(run)["transforms"] == [[1, 1]] and parts.version(LINF) == 2 and run.key
    monkeypatch.setattr(crop, "VERSION", 2)
    assert Run(training=run.training).key != run.key


@pytest.mark.parametrize("make,says", [
    (lambda: Adversarial(radius=0.0), "transform adversarial: radius 0.0: expected above 0"),
    (lambda: Adversarial("l1"), "transform adversarial: norm 'l1'"),
    (lambda: Adversarial(step=0.0), "transform adversarial: step 0.0"),
    (lambda: Adversarial(steps=0), "transform adversarial: steps 0"),
    (lambda: MaxUp(1), "transform maxup: trials 1"),
    (lambda: MaxUp(views=()), "transform maxup: no views"),
    (lambda: MaxUp(views=(Mixup(),)), "transform maxup: view mixup"),
    (lambda: MaxUp(views=(LINF,)), "transform maxup: view adversarial"),
    (lambda: MaxUp(after=1.0), "transform maxup: after 1.0"),
    (lambda: fit(lambda: models.build("head", (30,), 2), torch.rand(8, 30), [Member(
        torch.arange(8), torch.zeros(8, dtype=torch.long), 4, 0.1)],
        Schedule(1, transforms=(LINF,))), "expected images")])
def test_bad_input_is_one_line(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)
