"""Transforms of batches, and what sampling does with appended records."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import models, parts, training
from lib.defences import opacus_engine
from lib.defences.dpsgd import DPSGD
from lib.defences.smoothing import Smoothing
from lib.study import Run, from_dict
from lib.training import Member, Rule, Schedule, Training, generator
from lib.training.steps import coefficients
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip
from lib.training.transforms.self_mixup import SelfMixup

SHAPE = (2, 20, 22)
BOTH = (Flip(), Crop(3))


@dataclass(frozen=True)
class Mixup:
    """Every image and label half mixed with another of its batch."""

    mixes: ClassVar[str] = "batch"

    def draw(self, count, shape, random):
        return {"other": torch.randperm(count, generator=random)}

    def apply(self, x, labels, draws):
        places = torch.arange(len(x))[:, None]
        return (x + x[places, draws["other"]]) / 2, (labels + labels[places, draws["other"]]) / 2


@dataclass(frozen=True)
class Unknown(Mixup):
    mixes: ClassVar[str] = "some"


@dataclass(frozen=True)
class Public(Mixup):
    mixes: ClassVar[str] = "public"


VERSION = 1


def problem(count=24, classes=4):
    random = torch.Generator().manual_seed(2)
    pool = torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    return pool, torch.randint(classes, (count,), generator=random)


def convolution():
    return models.build("cnn", SHAPE, 4)


def grouped():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(1440, 4)
    )


def normalised():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(1440, 4)
    )


def by_hand(image, chosen, draws, place):
    """One image after both transforms, as one would write it for one image."""
    if draws[0]["mirrored"][place]:
        image = image.flip(-1)
    row, column = draws[1]["corner"][place].tolist()
    return F.pad(image, (3, 3, 3, 3))[:, row : row + SHAPE[1], column : column + SHAPE[2]]


def drawn(one, sizes):
    """Each step's draws of a member, from its own stream."""
    random = generator("transforms", one.batch_seed)
    return [[transform.draw(count, SHAPE, random) for transform in BOTH] for count in sizes]


def loop(build, pool, one, schedule, bound):
    """Plain PyTorch on transformed batches, samples one by one where they are clipped."""
    module = training.initialise(build, one.init_seed)
    optimizer = torch.optim.SGD(module.parameters(), one.lr, momentum=0.9)
    chosen = [
        next(own)
        for own in [training.member_batches(one, schedule.sampling, pool.device)]
        for _ in range(schedule.steps)
    ]
    for places, draws in zip(chosen, drawn(one, map(len, chosen))):
        x = torch.stack(
            [
                by_hand(pool[place] / 255, place, draws, number)
                for number, place in enumerate(places)
            ]
        )
        optimizer.zero_grad()
        if bound is None:
            F.cross_entropy(module(x), one.labels[places], reduction="sum").backward()
        else:
            for image, label in zip(x, one.labels[places]):
                found = torch.autograd.grad(
                    F.cross_entropy(module(image[None]), label[None]), list(module.parameters())
                )
                norm = torch.cat([part.flatten() for part in found]).norm().item()
                for parameter, part in zip(module.parameters(), found):
                    part = part * min(1.0, bound / norm)
                    parameter.grad = part if parameter.grad is None else parameter.grad + part
        for parameter in module.parameters():
            parameter.grad /= one.batch_size if schedule.sampling == "poisson" else len(places)
        optimizer.step()
    return training.flatten(module)


def member(labels, seed=0, **changes):
    return Member(
        torch.arange(len(labels)), labels, 6, 0.05, init_seed=seed, batch_seed=seed, **changes
    )


@pytest.mark.parametrize("how", ["poisson", "shuffle"])
@pytest.mark.parametrize(
    "build,bound",
    [(convolution, None), (convolution, 0.3), (grouped, None), (grouped, 0.3), (normalised, None)],
)
def test_training_equals_a_loop_on_transformed_images(monkeypatch, build, bound, how):
    from lib.training import sizes

    monkeypatch.setattr(
        sizes, "samples_at_once", lambda *_, **__: 4
    )  # batches are cut after the transforms
    pool, labels = problem()
    group = [
        member(labels, seed, **({} if bound is None else {"clipping_norm": bound}))
        for seed in range(2)
    ]
    schedule = Schedule(3, Rule("sgd", 0.9), how, transforms=BOTH)
    trained = training.fit(build, pool, group, schedule)
    for model, one in enumerate(group):
        torch.testing.assert_close(
            trained.state(model), loop(build, pool, one, schedule, bound), rtol=1e-3, atol=1e-5
        )


def test_draws_are_the_same_bit_for_bit_whatever_the_group(monkeypatch):
    seen = []

    def noted(self, x, labels, draws):
        seen.append((x.clone(), draws["corner"].clone()))
        return original(self, x, labels, draws)

    original = Crop.apply
    monkeypatch.setattr(Crop, "apply", noted)
    pool, labels = problem()
    group = [member(labels, seed) for seed in range(3)]
    training.fit(convolution, pool, group, Schedule(4, transforms=BOTH))
    together, seen[:] = list(seen), []
    for model, one in enumerate(group):
        training.fit(convolution, pool, [one], Schedule(4, transforms=BOTH))
        for (x, corner), (alone, own) in zip(together, seen):
            count = own.shape[1]
            assert torch.equal(corner[model, :count], own[0]) and torch.equal(
                x[model, :count], alone[0]
            )
        assert not torch.equal(seen[0][1][:, :4], seen[1][1][:, :4])
        seen.clear()


@pytest.mark.parametrize("build", [convolution, normalised])
def test_an_exact_models_bits_are_its_own(build):
    pool, labels = problem()
    schedule = Schedule(4, Rule("sgd", 0.9), "shuffle", exact=True, transforms=BOTH)
    parts = [
        Member(torch.arange(first, first + 8), labels[first : first + 8], 5, 0.1, batch_seed=first)
        for first in (0, 8, 16)
    ]
    one, other = (training.fit(build, pool, parts[:2:step], schedule) for step in (1, 2))
    assert torch.equal(one.state(0), other.state(0))
    changed = pool.clone()
    changed[8:] = 0
    assert torch.equal(one.state(0), training.fit(build, changed, parts, schedule).state(0))


def test_a_crop_and_a_flip_by_hand():
    x = torch.arange(2 * 3 * 2 * 4 * 5, dtype=torch.float32).view(2, 3, 2, 4, 5)
    labels = torch.zeros(2, 3)
    corner = torch.tensor([[[0, 0], [2, 2], [1, 3]], [[4, 0], [0, 4], [2, 1]]])
    cut, same = Crop(2).apply(x, labels, {"corner": corner})
    assert same is labels
    for model in range(2):
        for place in range(3):
            row, column = corner[model, place].tolist()
            expected = F.pad(x[model, place], (2, 2, 2, 2))[:, row : row + 4, column : column + 5]
            assert torch.equal(cut[model, place], expected)
    mirrored = torch.tensor([[True, False, True], [False, False, True]])
    flipped, _ = Flip().apply(x, labels, {"mirrored": mirrored})
    assert torch.equal(flipped[0, 0], x[0, 0].flip(-1)) and torch.equal(flipped[1, 0], x[1, 0])


def test_draws_are_golden_and_uniform():
    random = generator("transforms", 0)
    assert Flip().draw(8, SHAPE, random)["mirrored"].int().tolist() == GOLDEN_FLIPS
    assert Crop(4).draw(3, SHAPE, random)["corner"].tolist() == GOLDEN_CORNERS
    many = Crop(1).draw(9000, SHAPE, random)["corner"]
    assert (
        torch.bincount(3 * many[:, 0] + many[:, 1]).float().div(9000).sub(1 / 9).abs().max() < 0.02
    )
    assert Flip(0.2).draw(9000, SHAPE, random)["mirrored"].float().mean().item() == pytest.approx(
        0.2, abs=0.02
    )


GOLDEN_FLIPS, GOLDEN_CORNERS = [1, 1, 1, 1, 0, 1, 1, 1], [[0, 1], [0, 6], [4, 6]]


def test_coefficients_are_not_taken_with_transforms():
    pool, labels = torch.rand(8, 1, 10, 10), torch.zeros(8, dtype=torch.long)
    module, one = models.build("linear", (1, 10, 10), 2), [Member(torch.arange(8), labels, 4, 0.1)]
    assert coefficients.applies(module, pool, one, Schedule(1))
    assert not coefficients.applies(module, pool, one, Schedule(1, transforms=(Flip(),)))


def test_features_cannot_be_transformed():
    pool, labels = torch.rand(8, 30), torch.zeros(8, dtype=torch.long)
    with pytest.raises(
        ValueError, match=r"transforms flip, crop: inputs of shape \(30,\): expected images"
    ):
        training.fit(
            lambda: models.build("head", (30,), 2),
            pool,
            [Member(torch.arange(8), labels, 4, 0.1)],
            Schedule(1, transforms=BOTH),
        )


def test_transforms_are_found_by_name_and_come_back_from_plain_values():
    settings = Training(transforms=[{"name": "flip"}, {"name": "crop", "padding": 2}])
    assert settings.transforms == (Flip(0.5), Crop(2))
    assert parts.names("transform") == ("adversarial", "crop", "cutmix", "cutout", "flip",
                                        "laplace", "maxup", "mixup", "public_mixup", "self_mixup",
                                        "view")
    run = Run(training=settings)
    assert from_dict(run.to_dict()) == run and hash(run) == hash(from_dict(run.to_dict()))
    assert run.to_dict()["training"]["transforms"][1] == {"name": "crop", "padding": 2}
    assert len({run.key, Run().key, run.with_(training__transforms=(Flip(0.5), Crop(3))).key}) == 3


def test_a_transforms_version_is_in_the_key(monkeypatch):
    from lib.training.transforms import flip

    run = Run(training=Training(transforms=(Flip(),)))
    before = run.key
    monkeypatch.setattr(flip, "VERSION", flip.VERSION + 1)
    assert Run(training=Training(transforms=(Flip(),))).key != before


def test_a_transform_of_ones_own_is_a_file(tmp_path, monkeypatch):
    from lib import paths

    monkeypatch.setattr(paths, "own_folders", lambda: [tmp_path])
    (tmp_path / "dark.py").write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Dark:\n    mixes: ClassVar[str] = 'none'\n    factor: float = 0.0\n\n"
        "    def draw(self, count, shape, random):\n        return {}\n\n"
        "    def apply(self, x, labels, draws):\n        return x * self.factor, labels\n"
    )
    settings = Training(transforms=[{"name": "dark.py:Dark", "factor": 0.5}])
    run = Run(training=settings)
    assert run.to_dict()["training"]["transforms"] == ({"name": "dark.py:Dark", "factor": 0.5},)
    assert from_dict(run.to_dict()) == run and len(parts.version(settings.transforms[0])) == 64
    pool, labels = problem()
    trained = training.fit(
        convolution,
        pool,
        [member(labels)],
        Schedule(1, Rule("sgd"), transforms=settings.transforms),
    )
    half = training.fit(convolution, pool / 510, [member(labels)], Schedule(1, Rule("sgd")))
    torch.testing.assert_close(trained.parameters, half.parameters, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "value,match",
    [({"name": "swirl"}, "transform 'swirl': expected one of adversarial, crop, cutmix"),
     ({"padding": 2}, "a mapping with a name"),
     ({"name": "crop", "border": 2}, "unknown key 'border'; expected one of padding"),
     ({"name": "crop", "padding": 0}, "padding 0"),
     ({"name": "flip", "probability": 2.0}, "probability 2.0"),
     (Training(), "expected a frozen dataclass"), (3, "transform 3"), (Unknown(), "mixes 'some'")])
def test_what_is_no_transform_is_refused_in_a_line(value, match):
    with pytest.raises(ValueError, match=match) as refused:
        Training(transforms=(value,))
    assert "\n" not in str(refused.value)


# ---------------------------------------------------------------- accounting


def run_with(*own, defence):
    return Run(defence=defence, training=Training(batch_size=10, epochs=2.0, transforms=own))


@pytest.mark.parametrize("harmless", [Flip(), Crop(), SelfMixup(), Public()])
def test_what_mixes_no_private_records_keeps_the_guarantee(harmless):
    defence = DPSGD(noise_multiplier=2.0)
    plain, with_it = (
        defence.guarantee(run_with(*own, defence=defence), 100) for own in ((), (harmless,))
    )
    assert plain == with_it and plain.holds
    asked = DPSGD(noise_multiplier=None, epsilon=3.0)
    assert asked.calibrated(run_with(harmless, defence=asked), 100) == asked.calibrated(
        run_with(defence=asked), 100
    )


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_mixing_private_records_has_no_epsilon(sampling):
    defence = DPSGD(noise_multiplier=2.0)
    run = run_with(Flip(), Mixup(), defence=defence).with_(training__sampling=sampling)
    found = defence.guarantee(run, 100)
    assert not found.holds and found.epsilon == math.inf and found.adjacency == "none"
    assert "mixes private records" in found.note
    asked = DPSGD(noise_multiplier=None, epsilon=3.0)
    with pytest.raises(ValueError, match="mixes private records"):
        asked.calibrated(run_with(Mixup(), defence=asked), 100)


def test_smoothing_with_private_noise_follows():
    defence = Smoothing(3, noise_multiplier=1.0, max_grad_norm=1.0)
    assert defence.guarantee(run_with(Crop(), defence=defence), 100)[0].holds
    found, single = defence.guarantee(run_with(Mixup(), defence=defence), 100)
    assert not found.holds and single is None


def test_an_unknown_mixing_is_refused_by_accounting_too(monkeypatch):
    defence = DPSGD(noise_multiplier=2.0)
    run = run_with(Flip(), defence=defence)
    monkeypatch.setattr(Flip, "mixes", "some")
    with pytest.raises(ValueError, match="mixes 'some'"):
        defence.guarantee(run, 100)


def test_opacus_refuses_what_it_does_not_do():
    pool, labels = problem()
    one = member(labels, clipping_norm=1.0, noise=1.0)
    for changes in ({"transforms": (Flip(),)}, {"averages": ("tail",)}):
        with pytest.raises(ValueError, match="neither transforms nor averages"):
            opacus_engine.fitter(ghost=False)(convolution, pool, [one], Schedule(1, **changes))


def test_opacus_starts_from_given_weights():
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.rand(24, 30, generator=random), torch.randint(4, (24,), generator=random)
    start = training.flatten(training.initialise(lambda: models.build("head", (30,), 4), 9))
    one = member(labels, clipping_norm=1.0, noise=0.5, start=start)
    build, schedule = (lambda: models.build("head", (30,), 4)), Schedule(3)
    ours, theirs = (
        engine(build, pool, [one], schedule).parameters
        for engine in (training.fit, opacus_engine.fitter(ghost=False))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- appended records


def test_appended_records_keep_the_nominal_rate():
    labels = torch.zeros(1200, dtype=torch.long)
    grown = Member(torch.arange(1200), labels, 100, 0.1, records=1000)
    sizes = {}
    for how in ("poisson", "shuffle"):
        own = training.member_batches(grown, how, torch.device("cpu"))
        drawn = [next(own) for _ in range(300)]
        sizes[how] = torch.tensor([len(batch) for batch in drawn], dtype=torch.float64)
        seen = torch.bincount(torch.cat(drawn), minlength=1200).double() / 300
        assert seen[1000:].mean().item() == pytest.approx(0.1, abs=0.01)
        assert seen[:1000].mean().item() == pytest.approx(0.1, abs=0.005)
    assert sizes["poisson"].mean().item() == pytest.approx(120, abs=3)
    assert sizes["shuffle"].eq(120).all()


def test_nominal_records_draw_as_before():
    labels = torch.zeros(100, dtype=torch.long)
    for how in ("poisson", "shuffle"):
        one = Member(torch.arange(100), labels, 10.0, 0.1)
        own, same = (
            training.member_batches(each, how, torch.device("cpu"))
            for each in (one, dataclasses.replace(one, records=100))
        )
        assert all(torch.equal(next(own), next(same)) for _ in range(20))


@pytest.mark.parametrize("how", ["poisson", "shuffle"])
def test_sums_are_divided_by_the_nominal_batch(how):
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.rand(30, 6, generator=random), torch.randint(3, (30,), generator=random)

    def build():
        return models.build("linear", (6,), 3)

    one = Member(torch.arange(30), labels, 8, 0.1, records=20, clipping_norm=0.1)
    trained = training.fit(build, pool, [one], Schedule(1, Rule("sgd"), how)).parameters[0]
    chosen = next(training.member_batches(one, how, pool.device))
    module = training.initialise(build, 0)
    total = 0
    for x, label in zip(pool[chosen], labels[chosen]):
        flat = torch.cat(
            [
                part.flatten()
                for part in torch.autograd.grad(
                    F.cross_entropy(module(x[None]), label[None]), list(module.parameters())
                )
            ]
        )
        total = total + flat * min(1.0, 0.1 / flat.norm().item())
    assert len(chosen) != 8
    torch.testing.assert_close(
        trained, training.flatten(module) - 0.1 * total / 8, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "changes,match", [({"records": 0}, "records 0"), ({"records": 5}, "the 5 training images")]
)
def test_nominal_records_out_of_range_are_refused(changes, match):
    labels = torch.zeros(12, dtype=torch.long)
    one = Member(torch.arange(12), labels, 6, 0.1, **changes)
    with pytest.raises(ValueError, match=match):
        training.fit(lambda: models.build("linear", (6,), 3), torch.rand(12, 6), [one], Schedule(1))


def test_the_convention_for_appended_records_is_a_named_switch():
    assert Training().appended == "nominal" and Training(appended="grown").appended == "grown"
    with pytest.raises(ValueError, match="appended 'capped': expected one of nominal, grown"):
        Training(appended="capped")
    assert Run(training=Training(appended="grown")).key != Run().key
