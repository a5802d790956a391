"""Deep networks: closed forms of their layers, and the form of a step that trains one at a time."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import models, training
from lib.bench.timing import threads_of
from lib.defences import opacus_engine
from lib.papers.borgnia import victims
from lib.study.runs import Run, from_dict
from lib.training import Member, Rule, Schedule, Training, modules, sizes
from lib.training.residual import Residual
from lib.training.steps import alone, closed_form, factors, per_sample
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

SHAPE, CLASSES = (3, 8, 8), 4


def norm(channels):
    return nn.GroupNorm(2, channels)


def projecting():
    """A unit that halves the image, after one that keeps it."""
    same = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), norm(4), nn.GELU(),
                         nn.Conv2d(4, 4, 3, padding=1), norm(4))
    body = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), norm(6), nn.ReLU(),
                         nn.Conv2d(6, 6, 3, padding=1))
    shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, stride=2), norm(6))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Residual(same), nn.ReLU(),
                         Residual(body, shortcut), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(6, CLASSES))


def plain(*, normalise=norm):
    return nn.Sequential(nn.Conv2d(3, 4, 2), nn.GELU(), nn.Conv2d(4, 8, 3, padding=1),
                         nn.MaxPool2d(2), normalise(8), nn.GELU(), nn.AvgPool2d(2),
                         nn.Conv2d(8, 32, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(32, CLASSES))


def first():
    """A unit whose shortcut is the input itself."""
    return nn.Sequential(Residual(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())),
                         nn.Flatten(), nn.Linear(192, CLASSES))


MODULES = {"plain": plain, "projecting": projecting, "first": first}


def problem(count=20, seed=0):
    random = torch.Generator().manual_seed(seed)
    pool = torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    return pool, torch.randint(CLASSES, (count,), generator=random)


def stacked(build, seeds=2):
    """Modules of several seeds as one, and their parameters; scales and shifts differ too."""
    found = [training.initialise(build, seed) for seed in range(seeds)]
    random = torch.Generator().manual_seed(5)
    flat = torch.stack([training.flatten(module) for module in found])
    return found[0], training.unflatten(
        found[0], flat + 0.1 * torch.randn(flat.shape, generator=random))


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("bound", [0.3, 1e6, None])
@pytest.mark.parametrize("name", MODULES)
def test_closed_forms_equal_every_samples_own_gradient(name, bound, batched):
    module, parameters = stacked(MODULES[name])
    pool, labels = problem()
    x, y = training.as_input(pool).view(2, 10, *SHAPE), labels.view(2, 10)
    present = torch.ones(2, 10)
    present[1, 7:] = 0
    bounds = None if bound is None else torch.tensor([bound, 2 * bound])
    given = (module, parameters, x, y, present, bounds)
    within = None if bound is None else torch.zeros(2)
    counted = None if bound is None else torch.zeros(2)
    assert closed_form.supports(module, 3)
    found = closed_form.gradient_sums(*given, branchless=batched, within=within)
    expected = per_sample.sums(*given, within=counted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)
    assert bound is None or torch.equal(within, counted)


def test_both_forms_of_a_convolutions_gradient_are_used_and_agree(monkeypatch):
    module, parameters = stacked(plain)
    pool, labels = problem(8)
    given = (module, parameters, training.as_input(pool).view(2, 4, *SHAPE), labels.view(2, 4))
    found = closed_form.parts(*given)
    assert {type(part) for part in found} >= {factors.PositionsPart, factors.ConvolutionPart}
    monkeypatch.setattr(factors, "TRAFFIC", 0)
    direct = closed_form.parts(*given)
    assert not any(isinstance(part, factors.PositionsPart) for part in direct)
    scales = torch.rand(2, 4)
    for one, other in zip(found, direct, strict=True):
        torch.testing.assert_close(one.squared_norms, other.squared_norms, rtol=1e-4, atol=1e-9)
        direction = one.sums(torch.ones(2, 4))
        for ours, theirs in zip(one.sums(scales), other.sums(scales), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.dots(*direction), other.dots(*direction), rtol=1e-4,
                                   atol=1e-6)


def test_rounding_makes_no_norm_too_short():
    """Positions that cancel: the exact gradient is small beside its factors."""
    random = torch.Generator().manual_seed(0)
    patches = 1 + 1e-3 * torch.randn(1, 50, 16, 600, generator=random)
    errors = torch.randn(1, 50, 70, 16, generator=random)
    errors -= errors.mean(3, keepdim=True)
    layer = nn.Conv2d(600, 70, 1)
    part = factors.convolution(patches, errors, layer)
    assert isinstance(part, factors.PositionsPart)
    exact = torch.bmm(errors[0].double(), patches[0].double()).square().sum((1, 2))
    exact += errors[0].double().sum(2).square().sum(1)
    assert (part.squared_norms[0] >= exact).all()


def test_rounded_factors_take_the_gradient_of_each_sample():
    patches, errors = torch.rand(1, 2, 1, 40), torch.rand(1, 2, 30, 1)
    layer = nn.Conv2d(40, 30, 1)
    with training.products("fast"):
        found = factors.convolution(patches, errors, layer)
    assert isinstance(found, factors.ConvolutionPart)
    assert isinstance(factors.convolution(patches, errors, layer), factors.PositionsPart)


@pytest.mark.parametrize("name", ["plain", "projecting"])
def test_private_training_equals_opacus(name):
    pool, labels = problem()
    one = Member(torch.arange(20), labels, 8, 0.1, clipping_norm=0.5, noise=0.1)
    ours, theirs = (fit(MODULES[name], pool, [one], Schedule(3, Rule("sgd", 0.9))).parameters
                    for fit in (training.fit, opacus_engine.fitter(ghost=False)))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_only_a_projection_of_few_channels_gives_up_channels_last():
    """On a CPU without AVX-512 it would write past its memory, and the process would die."""
    assert modules.image_layout(projecting()) == torch.contiguous_format
    built = (models.build(name, (3, 32, 32), 10) for name in models.DEEP)
    assert {modules.image_layout(module) for module in built} == {torch.channels_last}


def test_what_only_looks_like_a_known_layer_takes_the_slow_path():
    class Other(Residual):
        def forward(self, x):
            return self.body(x) - x.mean(0)
    body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    for layer in (Other(body), Residual(body, nn.Sequential(nn.Flatten())),
                  Residual(body, body), nn.GroupNorm(3, 3, affine=False), nn.BatchNorm2d(3)):
        module = nn.Sequential(layer, nn.Flatten(), nn.Linear(192, CLASSES))
        assert not closed_form.supports(module, 3) or type(layer) is nn.GroupNorm
    hooked = first()
    hooked[0].register_forward_hook(lambda layer, x, out: 2 * out)
    assert closed_form.supports(first(), 3) and not closed_form.supports(hooked, 3)


# ---------------------------------------------------------------- one at a time

@pytest.fixture
def deep(monkeypatch):
    """Take every convolutional network for a deep one."""
    monkeypatch.setattr(alone, "DEEP", 0)


def normalised():
    return plain(normalise=nn.BatchNorm2d)


def members(labels, count=2, **changes):
    return [Member(torch.arange(len(labels)), labels, 6, 0.1, init_seed=seed, batch_seed=seed,
                   **changes) for seed in range(count)]


@pytest.mark.parametrize("build", [plain, projecting, normalised])
@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_alone_equals_the_other_forms(build, sampling, monkeypatch):
    pool, labels = problem()
    schedule = Schedule(6, Rule("sgd", 0.9, weight_decay=0.01), sampling, snapshots=(3,),
                        transforms=(Crop(2), Flip()), label_smoothing=0.1, averages=("ema",))
    group = members(labels)
    together = training.fit(build, pool, group, schedule)
    monkeypatch.setattr(alone, "DEEP", 0)
    assert all(alone.applies(build(), pool, [one]) for one in group)
    found = training.fit(build, pool, group, schedule)
    torch.testing.assert_close(found.parameters, together.parameters, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.snapshots[3], together.snapshots[3], rtol=1e-3, atol=1e-4)
    both = found.predict_together(pool, models=[0, 1])
    for model, logits in enumerate(both):
        assert torch.equal(logits, found.predict(pool, model=model))
    with threads_of(1):  # as in a group; a single model uses every thread, which adds up otherwise
        own = training.fit(build, pool, group[1:], schedule)
    assert torch.equal(own.parameters[0], found.parameters[1])
    torch.testing.assert_close(found.averages["ema"].parameters,
                               together.averages["ema"].parameters, rtol=1e-3, atol=1e-4)


def test_alone_equals_plain_pytorch(deep):
    pool, labels = problem()
    one = replace(members(labels, 1)[0], steps=5)
    smoothing, rule = 0.2, Rule("sgd", 0.9, nesterov=True)
    schedule = Schedule(5, rule, "shuffle", ramp=0.25, falls=True, label_smoothing=smoothing)
    found = training.fit(normalised, pool, [one], schedule)
    module = training.initialise(normalised, 0)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9, nesterov=True)
    batches = training.member_batches(one, "shuffle", pool.device)
    for number in range(5):
        optimizer.param_groups[0]["lr"] = 0.1 * schedule.factor(number, 5)
        chosen = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(module(pool[chosen] / 255), labels[chosen],
                        label_smoothing=smoothing).backward()
        optimizer.step()
    torch.testing.assert_close(found.state(0), training.flatten(module), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.predict(pool, model=0), module.eval()(pool / 255), rtol=1e-3,
                               atol=1e-4)


@pytest.mark.parametrize("build", [plain, normalised])
def test_alone_draws_ahead_as_in_a_group(build, monkeypatch):
    """The GPU's numbers: padded batches, and noise on sums that are not clipped."""
    pool, labels = problem()
    group, schedule = members(labels, noise=0.01), Schedule(5, Rule("sgd", 0.9))
    together = training.fit(build, pool, group, schedule, ahead=True)
    monkeypatch.setattr(alone, "DEEP", 0)
    found = training.fit(build, pool, group, schedule, ahead=True)
    torch.testing.assert_close(found.parameters, together.parameters, rtol=1e-3, atol=1e-4)


def test_fast_rounds_within_the_layers_alone(deep, monkeypatch):
    pool, labels = problem()
    group, rule = members(labels, 1), Rule("sgd", 0.9)
    found = [training.fit(normalised, pool, group, Schedule(2, rule, precision=precision)).state(0)
             for precision in ("float32", "fast")]
    start = training.flatten(training.initialise(normalised, 0))
    moved = [state - start for state in found]
    assert found[1].dtype == torch.float32
    assert (moved[0] - moved[1]).norm() < 0.1 * moved[0].norm()
    assert torch.equal(*found) != alone.bfloat16(pool.device)
    monkeypatch.setattr(alone, "bfloat16", lambda device: False)
    same = training.fit(normalised, pool, group, Schedule(2, rule, precision="fast")).state(0)
    torch.testing.assert_close(same, found[0], rtol=1e-2, atol=1e-4)


def test_frozen_parameters_stay(deep):
    def build():
        module = plain()
        module[2].requires_grad_(False)
        return module
    pool, labels = problem()
    found = training.fit(build, pool, members(labels, 1), Schedule(3, Rule("sgd", 0.9)))
    before = training.unflatten(build(), training.flatten(training.initialise(build, 0))[None])
    after = training.unflatten(build(), found.parameters)
    kept = [name for name in before if torch.equal(before[name], after[name])]
    assert kept == ["2.weight", "2.bias"]


def test_the_trainer_chooses():
    shapes = {"cnn": (1, 28, 28), "cnn-16-32": (3, 32, 32), "head": (2048,)}
    one = members(torch.zeros(4, dtype=torch.long), 1)
    for name in ("convnet-small", "convnet-small-bn", "resnet-20", *shapes):
        for shape in [shapes[name]] if name in shapes else [(3, 32, 32), (1, 28, 28)]:
            pool, build = torch.zeros(4, *shape), models.build(name, shape, 10)
            assert alone.applies(build, pool, one) == (name not in shapes)
            assert not alone.applies(build, pool, [replace(one[0], clipping_norm=1.0), *one])


def test_a_private_step_of_a_deep_network_fits_memory():
    cpu, threads, found = torch.device("cpu"), torch.get_num_threads(), {}
    for name in ("cnn", "cnn-16-32", "convnet-small", "resnet-20", "resnet-18"):
        module = models.build(name, (3, 32, 32), 10)
        numbers = sizes.sample_numbers(module, (3, 32, 32))
        found[name] = sizes.samples_at_once(module, cpu, models=1, numbers=numbers)
        assert found[name] == 8 or 4 * numbers * found[name] <= 2**29 * threads
    assert found["cnn"] == found["cnn-16-32"] == 256 * threads
    assert found["resnet-18"] < found["resnet-20"] < found["convnet-small"]


def test_operations_are_those_of_products():
    pool = torch.zeros(2, 3, 8, 8)
    expected = 2 * (49 * 4 * 12 + 49 * 8 * 36 + 1 * 32 * 72 + 32 * 4)
    assert sizes.operations(plain(), pool) == expected


# ---------------------------------------------------------------- the networks

@pytest.mark.parametrize("name", ["convnet-small", "convnet", "resnet-18", "resnet-20"])
def test_networks_and_their_twins(name):
    for shape in ((3, 32, 32), (1, 28, 28)):
        found = [models.build(own, shape, 10) for own in (name, f"{name}-bn")]
        counts = [sum(value.numel() for value in module.parameters()) for module in found]
        assert counts[0] == counts[1] and closed_form.supports(found[0], len(shape))
        with torch.no_grad():
            assert all(module.eval()(torch.zeros(1, *shape)).shape == (1, 10) for module in found)
    with pytest.raises(ValueError, match=f"model {name}: inputs of shape \\(20,\\).*images"):
        models.build(name, (20,), 10)


def test_clipping_refuses_the_twin_with_batch_normalisation():
    pool, labels = torch.zeros(4, 3, 32, 32), torch.zeros(4, dtype=torch.long)
    one = Member(torch.arange(4), labels, 2, 0.1, clipping_norm=1.0)
    with pytest.raises(ValueError, match="mixes the samples.*GroupNorm"):
        training.fit(lambda: models.build("convnet-small-bn", (3, 32, 32), 10), pool, [one],
                     Schedule(1))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_victims_are_runs_of_deep_networks(batch_norm):
    for run in (victims.small(batch_norm=batch_norm), victims.full(batch_norm=batch_norm)):
        assert run.dataset == "cifar10-jpeg" and run.model.endswith("-bn") == batch_norm
        again = from_dict(run.to_dict())
        assert again == run and again.key == run.key
    assert victims.small().train_size == 10_000 and victims.full().train_size is None
    plain = Run()
    assert plain.with_(training__label_smoothing=0.0).key == plain.key
    assert plain.with_(training__label_smoothing=0.1).key != plain.key


# ---------------------------------------------------------------- settings

def test_one_cycle_rises_and_falls_to_nothing():
    plan = Training(schedule="one-cycle", epochs=4, batch_size=10).plan(100, "float32")
    rates = [plan.factor(step, 40) for step in range(41)]
    assert rates[:11] == pytest.approx([(step + 1) / 10 for step in range(10)] + [1.0])
    assert rates[10:] == pytest.approx([(40 - step) / 30 for step in range(10, 41)])
    whole = Schedule(8, ramp=1.0, falls=True)  # nothing left to fall in
    assert whole.factor(6, 8) == 7 / 8 and whole.factor(7, 8) == 1.0


def test_smoothed_labels_give_torchs_loss():
    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 4, generator=random), torch.tensor([0, 1, 2, 3, 1, 1])
    soft = training.losses.smoothed(labels, 0.3, 4)
    torch.testing.assert_close(F.cross_entropy(logits, soft),
                               F.cross_entropy(logits, labels, label_smoothing=0.3))
    again = training.losses.smoothed(soft, 0.3, 4)
    torch.testing.assert_close(F.cross_entropy(logits, again),
                               F.cross_entropy(logits, soft, label_smoothing=0.3))


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_smoothing_out_of_range_is_one_line(share):
    with pytest.raises(ValueError, match="label_smoothing .*: expected 0 or more and below 1"):
        Training(label_smoothing=share)


def test_smoothing_is_for_targets_alone():
    pool, labels = problem()
    with pytest.raises(ValueError, match="labels as evidence"):
        training.fit(plain, pool, members(F.one_hot(labels, CLASSES).float(), 1),
                     Schedule(1, labels="evidence", label_smoothing=0.1))
    with pytest.raises(ValueError, match="label smoothing"):
        opacus_engine.fitter(ghost=True)(plain, pool, members(labels, 1, clipping_norm=1.0),
                                         Schedule(1, label_smoothing=0.1))
