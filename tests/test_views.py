"""Views of a record for frozen features: how they are made, that a visit uses one of them, and that
a record is all of its views under DP-SGD.
"""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import attacks, features, models, study, training
from lib.attacks.badnets import BadNets
from lib.defences import members
from lib.defences.dpsgd import DPSGD
from lib.study import Run, inputs
from lib.training import Member, Rule, Schedule, Training, generator
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip
from lib.training.transforms.view import Bank, View

COUNT, VIEWS, WIDTH = 40, 4, 12


# ---------------------------------------------------------------- views of images

def pictures(count=9):
    random = torch.Generator().manual_seed(3)
    return torch.randint(256, (count, 3, 8, 8), generator=random, dtype=torch.uint8)


def test_views_are_crops_and_their_mirrors():
    images, view = pictures(), View(crops=2, padding=2)
    found = view.views(images)
    assert len(found) == view.count == 4 and {one.shape for one in found} == {images.shape}
    assert torch.equal(found[1], found[0].flip(-1)) and torch.equal(found[3], found[2].flip(-1))
    padded = F.pad(images, (2,) * 4)
    places = set()
    for image, around, one in zip(images, padded, found[0], strict=True):
        at = [(row, column) for row in range(5) for column in range(5)
              if torch.equal(around[:, row:row + 8, column:column + 8], one)]
        assert at and one.dtype == image.dtype
        places.add(at[0])
    assert len(places) > 3  # each image has a place of its own
    assert len(View(crops=3, flip=False).views(images)) == 3


def test_views_of_an_image_depend_on_no_other_image():
    images = pictures()
    whole = View().views(images)
    for part in (images[:4], images[[7, 2]], images[5:6]):
        for one, own in zip(whole, View().views(part), strict=True):
            chosen = [int((images == image).flatten(1).all(1).nonzero()) for image in part]
            assert torch.equal(one[chosen], own)
    assert all(not len(one) for one in View().views(images[:0]))


def test_places_of_crops_are_uniform():
    from lib.training.transforms.view import corners_of

    images = torch.arange(4000).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    corners = corners_of(images.contiguous(), 2, 5)
    counts = torch.bincount(corners.flatten(), minlength=5) / corners.numel()
    assert corners.shape == (4000, 2, 2) and counts.sub(0.2).abs().max() < 0.02


# ---------------------------------------------------------------- trainings

def build():
    return models.build("head", (WIDTH,), 4)


def problem(views=VIEWS, **changes):
    """A pool of banks, and a member on some of its records."""
    random = torch.Generator().manual_seed(0)
    bank = torch.randn(COUNT, views, WIDTH, generator=random)
    labels = torch.randint(4, (COUNT,), generator=random)
    rows = torch.randperm(COUNT, generator=random)[:30]
    settings = {"init_seed": 1, "batch_seed": 2, "noise_seed": 3} | changes
    return bank, Member(views * rows, labels[rows], 10, 0.1, **settings)


def by_hand(bank, one, schedule):
    """A loop over steps and records in plain PyTorch, as Opacus does it: a gradient a record,
    clipped, summed, one draw of noise, divided by the expected batch."""
    module = training.initialise(build, one.init_seed)
    batches = training.member_batches(one, schedule.sampling, bank.device)
    views, noise = generator("transforms", one.batch_seed), generator("noise", one.noise_seed)
    count = bank.shape[1]
    for _ in range(schedule.steps):
        places = next(batches)
        chosen = torch.randint(count, (len(places),), generator=views)
        total = [torch.zeros_like(each) for each in module.parameters()]
        for place, version in zip(places.tolist(), chosen.tolist()):
            x = bank[int(one.rows[place]) // count, version]
            loss = F.cross_entropy(module(x[None]), one.labels[place][None])
            found = torch.autograd.grad(loss, list(module.parameters()))
            norm = torch.cat([each.flatten() for each in found]).norm().item()
            for kept, each in zip(total, found):
                kept += each * min(1.0, one.clipping_norm / norm)
        with torch.no_grad():
            for parameter, kept in zip(module.parameters(), total):
                drawn = torch.empty(kept.shape).normal_(generator=noise)
                parameter -= one.lr * (kept + one.noise * drawn) / one.batch_size
    return training.flatten(module)


@pytest.mark.parametrize("changes", [
    {}, {"clipping_norm": 0.5}, {"clipping_norm": 0.5, "noise": 0.4}])
def test_a_step_is_that_of_a_loop_over_one_view_of_each_record(changes):
    bank, one = problem(**changes)
    schedule = Schedule(4, Rule("sgd"), transforms=(Bank(VIEWS),))
    found = training.fit(build, bank.flatten(0, 1), [one], schedule, ahead=False).parameters[0]
    torch.testing.assert_close(found, by_hand(bank, one, schedule), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("changes", [
    {}, {"clipping_norm": 0.5, "noise": 0.4}, {"mean_norm": 0.5, "micro_batches": 3}])
def test_a_model_alone_and_in_a_group_uses_the_same_views(ahead, changes):
    bank, one = problem(**changes)
    pool = bank.flatten(0, 1)
    group = [replace(one, batch_size=size, batch_seed=size, noise_seed=size)
             for size in (10, 17, 6)]
    schedule = Schedule(5, Rule("sgd", 0.9), "shuffle", transforms=(Bank(VIEWS),))
    together = training.fit(build, pool, group, schedule, ahead=ahead).parameters
    for model, each in enumerate(group):
        alone = training.fit(build, pool, [each], schedule, ahead=ahead).parameters[0]
        torch.testing.assert_close(together[model], alone, rtol=0, atol=1e-5)


def test_views_change_neither_batches_nor_noise():
    """With all views alike, the training is that without views: no other stream moves."""
    bank, one = problem(clipping_norm=0.5, noise=0.4)
    same = bank[:, :1].expand(-1, VIEWS, -1).flatten(0, 1)
    plain = replace(one, rows=one.rows // VIEWS)
    for ahead in (False, True):
        found = training.fit(build, same, [one], Schedule(6, Rule("sgd"), transforms=(
            Bank(VIEWS),)), ahead=ahead).parameters
        expected = training.fit(build, bank[:, 0].contiguous(), [plain], Schedule(6, Rule("sgd")),
                                ahead=ahead).parameters
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_record_is_all_of_its_views():
    """Replacing every view of a record moves the sum by one clipped gradient less another one."""
    bank, one = problem(clipping_norm=0.5)
    schedule = Schedule(1, Rule("sgd"), transforms=(Bank(VIEWS),))
    before = training.fit(build, bank.flatten(0, 1), [one], schedule).parameters[0]
    used = next(training.member_batches(one, "poisson", bank.device)).tolist()
    for place in range(len(one.rows)):
        other = bank.clone()
        other[int(one.rows[place]) // VIEWS] *= -1e3
        after = training.fit(build, other.flatten(0, 1), [one], schedule).parameters[0]
        change = (after - before).norm().item() * one.batch_size / one.lr
        assert (change > 0) == (place in used) and change <= 2 * 0.5 * 1.0001


def test_a_pool_without_versions_is_refused():
    bank, one = problem()
    for pool, member in ((bank.flatten(0, 1)[:-1], one),
                         (bank.flatten(0, 1), replace(one, rows=one.rows + 1)),
                         (bank.flatten(0, 1), replace(one, input_noise=0.1))):
        with pytest.raises(ValueError, match="4 versions of each record: expected"):
            training.fit(build, pool, [member], Schedule(1, transforms=(Bank(VIEWS),)))


def test_a_training_without_views_is_refused():
    bank, one = problem()
    with pytest.raises(ValueError, match="transform view: no views of the records: expected"):
        training.fit(build, bank.flatten(0, 1), [one], Schedule(1, transforms=(View(),)))
    for other in (Flip(), Crop()):
        with pytest.raises(ValueError, match="expected view alone"):
            Training(transforms=(View(), other))


@pytest.mark.parametrize("changes", [{"crops": 0}, {"padding": 0}, {"crops": 1, "flip": False},
                                     {"crops": 2.0}])
def test_settings_out_of_range_are_one_line(changes):
    with pytest.raises(ValueError, match="transform view: .*expected") as problem:
        View(**changes)
    assert "\n" not in str(problem.value)


# ---------------------------------------------------------------- runs

TINY = Run(dataset="strokes", train_size=260, test_size=60, public=60, features="patches:4",
           model="linear", attack=BadNets(None, 4, 0.2, size=3, margin=0, pattern="checker"),
           defence=DPSGD(1.0),
           training=Training(epochs=2.0, batch_size=40, transforms=(View(flip=False),)))


def test_a_run_has_the_features_of_the_views_of_its_poisoned_images():
    data = inputs.poisoned(TINY)[0]
    private, whole = inputs.private_and_test(TINY)[0], inputs._dataset("strokes", 260, 60)
    clean, stamped = data.views
    assert clean.shape == (200, 2, 32) and stamped.shape == (len(data.stamped), 2, 32)
    for place, own in enumerate(View(flip=False).views(private.images)):
        torch.testing.assert_close(clean[:, place], features.extract(
            "patches:4", whole, own, public=60))
    images = TINY.attack.craft(private, seed=0).stamped
    for place, own in enumerate(View(flip=False).views(images)):
        torch.testing.assert_close(stamped[:, place], features.extract(
            "patches:4", whole, own, public=60))
    plain = inputs.poisoned(TINY.with_(training__transforms=()))[0]
    assert plain.views is None and torch.equal(plain.clean, data.clean)


def test_the_pool_holds_the_views_of_each_run_one_after_the_other():
    sets = [inputs.poisoned(TINY.with_(attack_seed=seed))[0] for seed in range(2)]
    pool, places = members.pooled_views(sets, View(flip=False))
    for data, rows in zip(sets, places, strict=True):
        for place in (0, 3, 77):
            record = int(data.rows[place])
            bank = data.views[0][record] if record < 200 else data.views[1][record - 200]
            assert torch.equal(pool[rows[place]:rows[place] + 2], bank)


def test_a_held_out_tenth_is_no_part_of_the_bank():
    whole = inputs.poisoned(TINY)[0].views[0]
    assert torch.equal(inputs.poisoned(TINY.with_(split="tune"))[0].views[0], whole[:180])
    other = inputs.poisoned(TINY.with_(split="tune-2"))[0].views[0]
    assert torch.equal(other, torch.cat([whole[:160], whole[180:]]))


def test_epsilon_is_that_of_the_run_without_views():
    plain = TINY.with_(training__transforms=())
    frame = study.run([TINY, plain, TINY.with_(training__checkpoints=3)])
    assert (frame["status"] == "ok").all() and frame["epsilon"].nunique() == 1
    assert math.isfinite(frame["epsilon"][0]) and frame["loss"][0] != frame["loss"][1]
    assert frame["key"].nunique() == 3 and frame["turned"].between(0, 1).all()


@pytest.mark.parametrize("changes", [
    {"features": "none", "model": "mlp"},
    {"defence": {"name": "partition", "partitions": 3},
     "training": {"sampling": "shuffle", "transforms": [{"name": "view", "flip": False}]}},
    {"defence": {"name": "pate", "teachers": 4}}])
def test_defences_and_inputs_that_cannot_use_views_say_so(changes):
    run = study.from_dict(TINY.to_dict() | changes)
    row = study.run([run])
    assert row["status"].tolist() == ["failed"]
    from lib import ledger
    assert "transform view" in ledger.find(run.key)[0]["error"]


def test_appended_records_have_views_too():
    images, made = pictures(), pictures(5) // 2
    data = attacks.Labelled(images, torch.zeros(9, dtype=torch.long), ("a", "b"))
    found = attacks.appended(data, made, torch.zeros(5).long(), truth=torch.zeros(5).long())
    banks = [torch.stack(View().views(each), 1).flatten(2).float() for each in (images, made)]
    pool, places = members.pooled_views([replace(found, views=tuple(banks))], View())
    assert pool.shape == (14 * 4, 192) and places[0].tolist() == list(range(0, 56, 4))


def test_linear_parts_see_the_view(monkeypatch):
    """Another module than a closed form takes the same views."""
    bank, one = problem(clipping_norm=0.5)
    schedule = Schedule(3, Rule("sgd"), transforms=(Bank(VIEWS),))

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build()

        def forward(self, x):
            return self.inner(x)
    pool = bank.flatten(0, 1)
    torch.testing.assert_close(training.fit(Body, pool, [one], schedule).parameters,
                               training.fit(build, pool, [one], schedule).parameters,
                               rtol=1e-4, atol=1e-5)
