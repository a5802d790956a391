"""The random-place patch: what is stamped, where, in which worlds; against a loop over images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib import goals, parts, study
from lib.attacks import random_patch
from lib.attacks.random_patch import RandomPatch, pasted, pattern
from lib.data import Labelled
from lib.study import Run
from lib.training import Training


def data(count=200, channels=3, side=12, seed=0):
    random = np.random.RandomState(seed)
    images = torch.from_numpy(random.randint(1, 255, (count, channels, side, side), dtype=np.uint8))
    return Labelled(images, torch.arange(count) % 10, tuple("abcdefghij"))


@given(st.floats(0.05, 1), st.integers(0, 9), st.integers(0, 50))
def test_a_share_of_the_target_class_is_stamped_and_no_label_changes(fraction, target, seed):
    given_ = data()
    poisoned = RandomPatch(None, target, fraction).craft(given_, seed=seed)
    assert int(poisoned.mask.sum()) == int(fraction * 20 + 1e-9) == len(poisoned.stamped)
    assert (given_.labels[poisoned.mask] == target).all()
    assert torch.equal(poisoned.labels, given_.labels) and torch.equal(poisoned.truth,
                                                                       given_.labels)
    changed = (poisoned.images() != given_.images).flatten(1).any(1)
    assert torch.equal(changed, poisoned.mask)  # no pixel of the images is 0 or 255


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_has_the_whole_pattern_once_at_a_place_of_its_own(channels):
    images, patch = data(80, channels).images, pattern(4, channels, seed=5)
    assert set(patch.unique().tolist()) == {0, 255}
    places = []
    for image, stamped in zip(images, pasted(images, 4, seed=5, stream=3), strict=True):
        rows, columns = (stamped != image).any(0).nonzero().T
        top, left = rows.min().item(), columns.min().item()
        assert torch.equal(stamped[:, top:top + 4, left:left + 4], patch)
        beside = stamped.clone()
        beside[:, top:top + 4, left:left + 4] = image[:, top:top + 4, left:left + 4]
        assert torch.equal(beside, image)
        places.append((top, left))
    for axis in zip(*places, strict=True):  # every place, up to the edges
        assert (min(axis), max(axis)) == (0, 8) and len(set(axis)) == 9


def test_places_are_uniform():
    stamped = pasted(torch.ones(9000, 1, 4, 6, dtype=torch.uint8), 2, seed=0, stream=2)
    top = (stamped != 1).any(1).any(2).int().argmax(1)
    left = (stamped != 1).any(1).any(1).int().argmax(1)
    counts = torch.bincount(top * 5 + left, minlength=15)
    assert ((counts - 600).abs() < 5 * 600**0.5).all()


def test_a_whole_image_can_be_the_patch():
    images = data(5, side=4).images
    assert torch.equal(pasted(images, 4, seed=1, stream=2), pattern(4, 3, seed=1).expand(5, -1, -1,
                                                                                        -1))


@given(st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, 99))
def test_a_smaller_fraction_stamps_a_subset_at_the_same_places(one, other, seed):
    small, large = sorted((one, other))
    few, many = (RandomPatch(7, 1, fraction).craft(data(), seed=seed) for fraction in (small,
                                                                                     large))
    assert not (few.mask & ~many.mask).any()
    assert torch.equal(few.images()[few.mask], many.images()[few.mask])


def test_a_seed_draws_pattern_images_and_places():
    assert not torch.equal(pattern(4, 3, seed=0), pattern(4, 3, seed=1))
    one, again, other = (RandomPatch(7, 1, 0.5).craft(data(), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.images(), again.images()) and torch.equal(one.mask, again.mask)
    assert not torch.equal(one.mask, other.mask)
    images = data(50).images
    assert not torch.equal(pasted(images, 4, seed=0, stream=random_patch.TRAIN_PLACES),
                           pasted(images, 4, seed=0, stream=random_patch.TEST_PLACES))


def test_worlds():
    attack, given_ = RandomPatch(), data()
    assert attack.worlds == ("P", "C") and attack.in_world == "P"
    clean = attack.world("C")
    assert clean.in_world == "C" and clean.world("P") == attack
    assert torch.equal(clean.craft(given_, seed=0).images(), given_.images)
    with pytest.raises(ValueError, match="world 'T': expected one of P, C"):
        attack.world("T")


def test_success_is_counted_on_the_victim_class():
    given_, attack = data(), RandomPatch(7, 1)
    found = attack.goal.cases(given_, seed=2)
    assert found.wanted == 1 and (given_.labels[found.rows] == 7).all() and len(found.rows) == 20
    assert torch.equal(found.images, attack.trigger(given_.images[found.rows], seed=2))
    assert len(RandomPatch(None, 1).goal.cases(given_, seed=2).rows) == 180


def test_the_callers_data_are_left_alone():
    given_ = data()
    images, labels = given_.images.clone(), given_.labels.clone()
    RandomPatch(7, 1, 1.0).craft(given_, seed=0)
    assert torch.equal(given_.images, images) and torch.equal(given_.labels, labels)


@pytest.mark.parametrize("changes,match", [
    (dict(fraction=0.0), "fraction 0.0: expected above 0 and at most 1"),
    (dict(fraction=1.5), "fraction 1.5"), (dict(fraction=-0.1), "fraction -0.1"),
    (dict(base=1), "base 1 is the target too"), (dict(size=0), "size 0: expected 1 pixel")])
def test_attacks_out_of_range_are_refused(changes, match):
    with pytest.raises(ValueError, match=match) as problem:
        RandomPatch(**changes)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("attack,match", [
    (RandomPatch(7, 11), "class 11"), (RandomPatch(7, 1, 0.01), "selects none of the 20 images"),
    (RandomPatch(7, 1, size=13), "13x13 pixels is larger than an image of 12x12")])
def test_attacks_that_do_not_fit_the_data_are_refused(attack, match):
    with pytest.raises(ValueError, match=match) as problem:
        attack.craft(data(), seed=0)
    assert "\n" not in str(problem.value)
    if attack.size > 12:
        with pytest.raises(ValueError, match=match):
            attack.goal.cases(data(), seed=0)


def test_it_is_an_attack_by_name_and_trains(store):
    run = Run(train_size=400, test_size=200, model="mlp", training=Training(epochs=6.0,
                                                                            batch_size=50),
              attack=parts.build("attack", {"name": "random_patch", "fraction": 1.0, "size": 6}))
    frame = study.run(study.worlds(run, "PC"))
    found = goals.parts(frame).iloc[0]
    assert (frame["status"] == "ok").all() and list(frame["world"]) == ["P", "C"]
    assert found["natural"] == frame["floor"][1]


def test_golden_values_of_this_version():
    """If this fails, raise VERSION: rows made before would mean another attack."""
    made = RandomPatch(7, 1, 0.2).craft(data(), seed=1)
    assert random_patch.VERSION == 1
    assert made.mask.nonzero().flatten().tolist() == GOLDEN_CHOSEN
    assert pattern(4, 1, seed=1).flatten().tolist()[:8] == GOLDEN_PATTERN
    shown = made.stamped[:, 0].eq(0) | made.stamped[:, 0].eq(255)
    assert [tuple(one.nonzero().min(0).values.tolist()) for one in shown] == GOLDEN_CORNERS


GOLDEN_CHOSEN = [131, 161, 171, 191]
GOLDEN_PATTERN = [255, 255, 0, 0, 255, 255, 255, 255]
GOLDEN_CORNERS = [(7, 8), (3, 0), (3, 7), (6, 0)]
