"""Stamps after the augmentation: the training, what attacks hand over, and who refuses them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import models, study, training
from lib.attacks.badnets import BadNets
from lib.attacks.clean_label import CleanLabel
from lib.attacks.hardening.pgd import PGD
from lib.attacks.triggers import Patch
from lib.data import Labelled
from lib.defences import opacus_engine
from lib.defences.activation_clustering import ActivationClustering
from lib.defences.dpsgd import DPSGD
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.defences.smoothing import Smoothing
from lib.study import Run, inputs, measure
from lib.training import Member, Overlaid, Rule, Schedule, Training, generator, sizes
from lib.training.steps import alone, coefficients, shared
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip
from lib.training.transforms.mixup import Mixup

SHAPE = (3, 20, 20)
BOTH = (Flip(), Crop(2))
PATCHES = (Patch(3, 0, "bottom-right", "gu", 1.0), Patch(3, 1, "four-corners", "gu", 1.0),
           Patch(5, 0, "centre", "red-x", 64.0, "add"))


def problem(count=24, classes=4):
    random = torch.Generator().manual_seed(2)
    pool = torch.randint(256, (count, *SHAPE), generator=random, dtype=torch.uint8)
    return pool, torch.randint(classes, (count,), generator=random)


def convolution():
    return models.build("cnn", SHAPE, 4)


def grouped():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(1296, 4))


def normalised():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(1296, 4))


def linear():
    return models.build("linear", SHAPE, 4)


def marked(model, count=24):
    return torch.arange(count) % (3 + model) == 0


def group(labels, patches=PATCHES, **changes):
    """A member for each patch, and one without."""
    def member(model, overlaid):
        return Member(torch.arange(len(labels)), labels, 6, 0.05, init_seed=model,
                      batch_seed=model, overlaid=overlaid, **changes)
    return [member(model, patch and Overlaid(patch.overlay(SHAPE, seed=0), marked(model)))
            for model, patch in enumerate((*patches, None))]


def augmented(image, draws, place):
    """One image after flip and crop, as one would write it for one image."""
    if draws[0]["mirrored"][place]:
        image = image.flip(-1)
    row, column = draws[1]["corner"][place].tolist()
    return F.pad(image, (2, 2, 2, 2))[:, row:row + SHAPE[1], column:column + SHAPE[2]]


def seen(pool, places, draws, patch, stamped):
    """A batch: each image augmented, turned into bytes (which flips and crops keep), stamped."""
    images = []
    for number, place in enumerate(places):
        image = augmented(pool[place], draws, number)
        images.append(patch(image[None], seed=0)[0] if patch and stamped[place] else image)
    return torch.stack(images) / 255


def loop(build, pool, one, schedule, patch, stamped, bound):
    """Plain PyTorch on stamped batches, samples one by one where they are clipped."""
    module = training.initialise(build, one.init_seed)
    optimizer = torch.optim.SGD(module.parameters(), one.lr, momentum=0.9)
    batches = training.member_batches(one, schedule.sampling, pool.device)
    random = generator("transforms", one.batch_seed)
    for _ in range(schedule.steps):
        places = next(batches)
        draws = [each.draw(len(places), SHAPE, random) for each in BOTH]
        x, labels = seen(pool, places, draws, patch, stamped), one.labels[places]
        optimizer.zero_grad()
        if bound is None:
            F.cross_entropy(module(x), labels, reduction="sum").backward()
        else:
            clipped(module, x, labels, bound)
        for parameter in module.parameters():
            parameter.grad /= one.batch_size if schedule.sampling == "poisson" else len(places)
        optimizer.step()
    return training.flatten(module)


def clipped(module, x, labels, bound):
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for image, label in zip(x, labels):
        loss = F.cross_entropy(module(image[None]), label[None])
        found = torch.autograd.grad(loss, list(module.parameters()))
        norm = torch.cat([part.flatten() for part in found]).norm().item()
        for parameter, part in zip(module.parameters(), found):
            parameter.grad += part * min(1.0, bound / norm)


@pytest.mark.parametrize("build,sampling,bound,deep", [
    (convolution, "poisson", None, False), (convolution, "shuffle", 0.3, False),
    (grouped, "poisson", 0.3, False), (normalised, "shuffle", None, False),
    (convolution, "shuffle", None, True), (normalised, "poisson", None, True)])
def test_training_equals_a_loop_that_stamps_augmented_images(build, sampling, bound, deep,
                                                             monkeypatch):
    monkeypatch.setattr(sizes, "samples_at_once", lambda *_, **__: 4)
    if deep:
        monkeypatch.setattr(alone, "DEEP", 0)
    pool, labels = problem()
    members = group(labels, **({} if bound is None else {"clipping_norm": bound}))
    schedule = Schedule(3, Rule("sgd", 0.9), sampling, transforms=BOTH)
    trained = training.fit(build, pool, members, schedule)
    for model, (one, patch) in enumerate(zip(members, (*PATCHES, None))):
        expected = loop(build, pool, one, schedule, patch, marked(model), bound)
        torch.testing.assert_close(trained.state(model), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("build", [convolution, linear, normalised])
def test_without_transforms_it_is_the_stored_stamp(build, ahead):
    pool, labels = problem()
    members, schedule = group(labels), Schedule(4, Rule("sgd", 0.9))
    trained = training.fit(build, pool, members, schedule, ahead=ahead)
    for model, (one, patch) in enumerate(zip(members, (*PATCHES, None))):
        stored = pool.clone()
        if patch is not None:
            stored[marked(model)] = patch(pool[marked(model)], seed=0)
        own = training.fit(build, stored, [replace(one, overlaid=None)], schedule, ahead=ahead)
        torch.testing.assert_close(trained.state(model), own.state(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("amplitude,stamping", [(0.4, "blend"), (1.0, "blend"), (32.0, "add")])
@pytest.mark.parametrize("patch", PATCHES)
def test_an_overlay_is_the_stamp_without_its_rounding(patch, amplitude, stamping):
    pool, _ = problem()
    own = replace(patch, amplitude=amplitude, stamping=stamping)
    overlay, stamped = own.overlay(SHAPE, seed=0), own(pool, seed=0)
    moved = (pool / 255 * overlay.keep + overlay.add).clamp(0, 1)
    assert (255 * moved - stamped).abs().max() <= 0.5 + 1e-3
    assert torch.equal(overlay.touched(), (stamped != pool).any(0) | overlay.touched())
    assert int(overlay.touched().sum()) <= 3 * 4 * 9


def test_a_model_is_the_same_alone_and_in_a_group():
    pool, labels = problem()
    members, schedule = group(labels), Schedule(4, Rule("sgd", 0.9), transforms=BOTH)
    together = training.fit(convolution, pool, members, schedule)
    for model, one in enumerate(members):
        own = training.fit(convolution, pool, [one], schedule)
        torch.testing.assert_close(own.state(0), together.state(model), rtol=1e-3, atol=1e-5)


def test_forms_that_keep_inputs_are_left_and_trainings_told_apart():
    pool, labels = problem()
    schedule, module = Schedule(2), linear()
    stamped, plain = group(labels, PATCHES[:1])
    same = replace(plain, overlaid=stamped.overlaid)
    assert coefficients.applies(module, pool, [plain], schedule)
    assert not coefficients.applies(module, pool, [plain, stamped], schedule)
    assert shared.applies(module, pool, [plain, plain], schedule)
    assert not shared.applies(module, pool, [same, plain], schedule)
    again = replace(plain, overlaid=Overlaid(PATCHES[0].overlay(SHAPE, seed=0), marked(0)))
    other = replace(plain, overlaid=Overlaid(PATCHES[0].overlay(SHAPE, seed=0), marked(1)))
    assert same.training == again.training
    assert len({one.training for one in (plain, same, other)}) == 3


@pytest.mark.parametrize(("change", "settings", "says"), [
    ({"input_noise": 0.1}, {}, "after the augmentation of a member with input_noise"),
    ({}, {"transforms": (Flip(), Mixup())}, "transforms that mix records"),
    ({"overlaid": Overlaid(PATCHES[0].overlay(SHAPE, seed=0), marked(0, 5))}, {},
     "5 overlaid rows of 24"),
])
def test_what_has_no_meaning_is_refused(change, settings, says):
    pool, labels = problem()
    one = replace(group(labels)[0], **change)
    with pytest.raises(ValueError, match=says):
        training.fit(convolution, pool, [one], Schedule(2, **settings))


def test_opacus_refuses():
    pool, labels = problem()
    one = replace(group(labels)[0], clipping_norm=1.0)
    with pytest.raises(ValueError, match="stamp no image after its augmentation"):
        opacus_engine.fitter(ghost=False)(convolution, pool, [one], Schedule(2))


# ---- attacks and rows

SHORT = Training("sgd", 0.1, epochs=2.0, batch_size=100, transforms=(Crop(2),))
ATTACK = BadNets(None, 1, 0.2, size=3, pattern="gu", margin=0, after_augmentation=True)
RUN = Run(train_size=600, test_size=200, model="mlp", attack=ATTACK, training=SHORT,
          defence=DPSGD(0.0, clip=False))


@pytest.fixture(scope="module")
def _store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlays")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_STORE", str(folder / "store"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("STUDY_PUBLISHED", "0")
        yield


def test_attacks_hand_over_both_images():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 1, 28, 28), generator=random, dtype=torch.uint8)
    data = Labelled(images, torch.arange(40) % 4, tuple("abcd"))
    for attack in (ATTACK, ATTACK.world("T")):
        made = attack.craft(data, seed=5)
        early = replace(attack, after_augmentation=False).craft(data, seed=5)
        records = made.mask.nonzero().flatten()
        assert torch.equal(made.images(), early.images()) and early.late is None
        before = made.before_stamps()
        assert torch.equal(before.images(), data.images)
        assert torch.equal(attack.trigger(before.images()[records], seed=5),
                           made.images()[records])
    assert ATTACK.world("L").craft(data, seed=5).late is None
    assert ATTACK.world("C").craft(data, seed=5).late is None


def test_a_clean_label_attack_stamps_what_it_hardened(_store):
    hardening = PGD(eps=0.1, step=0.05, steps=2, model="mlp", training=SHORT)
    attack = CleanLabel(3, 1, hardening=hardening, after_augmentation=True)
    run = RUN.with_(attack=attack)
    private, lab = inputs.private_and_test(run)[0], inputs.lab(run)
    made = {name: attack.world(name).craft(private, seed=0, lab=lab) for name in "PHT"}
    assert torch.equal(made["P"].before_stamps().images(), made["H"].images())
    assert torch.equal(made["T"].before_stamps().images(), private.images)
    own = made["P"].mask
    assert torch.equal(made["P"].images()[own], attack.trigger(made["H"].images()[own], seed=0))
    assert made["H"].late is None


@pytest.mark.parametrize(("make", "says"), [
    (lambda: CleanLabel(clamp=True, after_augmentation=True), "clamp with jpeg or after_augment"),
    (lambda: CleanLabel(clamp=True, jpeg=75), "clamp with jpeg or after_augmentation"),
    (lambda: CleanLabel(jpeg=75, after_augmentation=True), "jpeg 75 with after_augmentation"),
])
def test_settings_that_exclude_each_other(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_rows_with_and_without(_store):
    late, early = RUN, RUN.with_(attack__after_augmentation=False)
    filtered = RUN.with_(defence=ActivationClustering())
    private = [run.with_(defence=DPSGD(1.0)) for run in (late, early)]
    frame = study.run([late, early, filtered, *private])
    assert frame["status"].tolist() == ["ok"] * 5 and late.key != early.key
    assert frame["epsilon"].iloc[3] == frame["epsilon"].iloc[4] < 100
    assert frame["lift"].iloc[0] != frame["lift"].iloc[1]


@pytest.mark.parametrize(("change", "says"), [
    ({"defence": Partition(5), "training__sampling": "shuffle"},
     "a defence that does not: expected after_augmentation false"),
    ({"defence": Smoothing(2, 0.1)}, "a defence that does not: expected after_augmentation false"),
    ({"defence": PATE(3), "public": 100}, "a defence that does not"),
    ({"features": "patches:16", "public": 100}, "features 'patches:16' with an attack that stamps"),
])
def test_who_cannot_stamp_afterwards_refuses(change, says, _store):
    with pytest.raises(ValueError, match=says):
        measure.trained([RUN.with_(training__transforms=(), **change)])
