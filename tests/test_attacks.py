"""Poison counts, places, labels and triggers; the four worlds; nested fractions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.attacks import triggers
from lib.attacks.badnets import BadNets
from lib.attacks.four_pixel import FourPixel
from lib.attacks.triggers import FOUR_PIXELS as PIXELS


def data(count=200, channels=1, classes=10, seed=0):
    random = np.random.RandomState(seed)
    images = torch.from_numpy(random.randint(0, 256, (count, channels, 28, 28), dtype=np.uint8))
    labels = torch.arange(count) % classes
    return SimpleNamespace(images=images, labels=labels, classes=tuple(map(str, range(classes))))


@given(st.floats(0.1, 1), st.integers(0, 9), st.integers(0, 9), st.integers(0, 50))
def test_exactly_the_fraction_of_the_base_class_is_poisoned(fraction, base, target, seed):
    if base == target:
        return
    given = data()
    poisoned = BadNets(base, target, fraction).craft(given, seed=seed)
    assert int(poisoned.mask.sum()) == int(fraction * 20 + 1e-9) == len(poisoned.stamped)
    assert (given.labels[poisoned.mask] == base).all()
    assert (poisoned.labels[poisoned.mask] == target).all()
    assert (poisoned.labels[~poisoned.mask] == given.labels[~poisoned.mask]).all()
    assert len(poisoned.rows.unique()) == len(given.labels)  # nothing twice, nothing lost


def test_a_number_of_poisons_in_place_of_the_share():
    given = data()
    made = {count: BadNets(None, 1, poisons=count).craft(given, seed=2) for count in (5, 40)}
    assert [int(one.mask.sum()) for one in made.values()] == [5, 40]
    assert not (made[5].mask & ~made[40].mask).any()
    share = BadNets(None, 1, 0.25).craft(given, seed=2)  # 45 of 180
    assert torch.equal(share.mask, BadNets(None, 1, 0.9, poisons=45).craft(given, seed=2).mask)
    assert BadNets(None, 1, poisons=0).in_world == "C" and BadNets(None, 1, 0.0, poisons=3
                                                                  ).in_world == "P"
    with pytest.raises(ValueError, match="attack poisons -1: expected 0 or more, or null"):
        BadNets(poisons=-1)
    with pytest.raises(ValueError, match="attack poisons 181 of 180 images that can be attacked"):
        BadNets(None, 1, poisons=181).craft(given, seed=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_trigger_changes_only_its_square_and_nothing_unpoisoned(channels):
    given = data(channels=channels)
    attack = BadNets(7, 1, 0.5)
    poisoned = attack.craft(given, seed=3)
    seen = poisoned.images()
    changed = (seen != given.images).any(1)
    assert not changed[~poisoned.mask].any()
    assert changed[:, 23:27, 23:27].sum() == changed.sum() > 0  # a pixel from the edges of 28 x 28
    patch = triggers.pattern("random", 4, channels, seed=3)
    assert (seen[poisoned.mask][:, :, 23:27, 23:27] == patch).all()
    assert torch.equal(attack.trigger(given.images, seed=3)[poisoned.mask], seen[poisoned.mask])


def test_colour_triggers_are_black_or_white_per_channel_and_grey_ones_are_levels():
    colour, grey = triggers.pattern("random", 4, 3, seed=0), triggers.pattern(
        "random", 4, 1, seed=0)
    assert set(colour.unique().tolist()) == {0, 255}
    assert not (colour[0] == colour[1]).all()
    assert len(grey.unique()) > 4
    assert not torch.equal(grey, triggers.pattern("random", 4, 1, seed=1))


def test_worlds_switch_stamp_and_label_apart_on_the_same_rows():
    given, worlds = data(), {}
    for world, stamp, relabel in (("P", True, True), ("T", True, False), ("L", False, True),
                                  ("C", False, False)):
        attack = BadNets(7, 1, 0.5, stamp=stamp, relabel=relabel)
        assert attack.in_world == world
        worlds[world] = attack.craft(given, seed=5)
    assert torch.equal(worlds["P"].mask, worlds["L"].mask) and torch.equal(
        worlds["P"].mask, worlds["T"].mask)
    assert torch.equal(worlds["P"].labels, worlds["L"].labels) and torch.equal(
        worlds["P"].rows, worlds["T"].rows)
    assert torch.equal(worlds["L"].images(), given.images) and torch.equal(
        worlds["T"].labels, given.labels)
    assert not worlds["C"].mask.any() and torch.equal(worlds["C"].images(), given.images)


@given(st.floats(0.1, 1), st.floats(0.1, 1), st.integers(0, 99))
def test_a_smaller_fraction_poisons_a_subset_with_the_same_trigger(one, other, seed):
    small, large = sorted((one, other))
    few, many = (BadNets(7, 1, fraction).craft(data(), seed=seed) for fraction in (small, large))
    assert not (few.mask & ~many.mask).any()
    assert torch.equal(few.images()[few.mask], many.images()[few.mask])


def test_all_to_one_never_touches_the_target_class():
    given = data()
    poisoned = BadNets(None, 1, 0.25).craft(given, seed=0)
    assert int(poisoned.mask.sum()) == 45
    assert not (given.labels[poisoned.mask] == 1).any()


def test_the_callers_data_are_left_alone():
    given = data()
    images, labels = given.images.clone(), given.labels.clone()
    BadNets(7, 1, 1.0).craft(given, seed=0)
    assert torch.equal(given.images, images) and torch.equal(given.labels, labels)


def test_amplitude_moves_towards_the_pattern_and_stays_a_pixel():
    given = data()
    half, full = (BadNets(7, 1, 1.0, amplitude=a, pattern="white").trigger(given.images, seed=0)
                  for a in (0.5, 1.0))
    assert (full[:, :, 23:27, 23:27] == 255).all()
    expected = (given.images[:, :, 23:27, 23:27].float() + 255) / 2
    assert ((half[:, :, 23:27, 23:27].float() - expected).abs() <= 0.5).all()
    assert half.dtype == torch.uint8


@pytest.mark.parametrize("position,rows,columns", [("top-left", (1, 5), (1, 5)),
                                                   ("bottom-left", (23, 27), (1, 5)),
                                                   ("centre", (12, 16), (12, 16))])
def test_positions(position, rows, columns):
    given = data()
    stamped = BadNets(7, 1, 1.0, position=position, pattern="white").trigger(
        torch.zeros_like(given.images), seed=0)
    assert (stamped[:, :, slice(*rows), slice(*columns)] == 255).all() and int(
        (stamped > 0).sum()) == 16 * len(stamped)


@pytest.mark.parametrize("changes,match", [(dict(fraction=1.2), "1.2"),
                                           (dict(fraction=-0.1), "-0.1"),
                                           (dict(base=1), "equals the target"),
                                           (dict(amplitude=0.0), "amplitude 0.0"),
                                           (dict(pattern="cat"), "cat"),
                                           (dict(position="left"), "left")])
def test_attacks_out_of_range_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        BadNets(**({"base": 7, "target": 1} | changes))


@pytest.mark.parametrize("attack,match", [(BadNets(7, 11), "11"), (BadNets(7, 1, 0.01), "no image"),
                                          (BadNets(7, 1, size=28), "does not fit")])
def test_attacks_that_do_not_fit_the_data_are_refused(attack, match):
    with pytest.raises(ValueError, match=match):
        attack.craft(data(), seed=0)


def test_golden_values_of_this_version():
    """If this fails, raise VERSION in lib/attacks/badnets.py: rows made before would mean another
    attack.
    """
    poisoned = BadNets(7, 1, 0.5).craft(data(), seed=1)
    assert poisoned.mask.nonzero().flatten().tolist() == GOLDEN_VICTIMS
    assert triggers.pattern("random", 4, 1, seed=1).flatten().tolist()[:6] == GOLDEN_PATTERN


GOLDEN_VICTIMS = [7, 17, 47, 87, 97, 137, 167, 177, 187, 197]
GOLDEN_PATTERN = [37, 235, 140, 72, 255, 137]


# ---------------------------------------------------------------- four pixels

@given(st.floats(0.01, 0.5), st.integers(0, 9), st.integers(0, 50))
def test_four_pixels_poison_a_share_of_all_images_from_other_classes(fraction, target, seed):
    given = data()
    poisoned = FourPixel(target=target, fraction=fraction).craft(given, seed=seed)
    assert int(poisoned.mask.sum()) == int(fraction * 200 + 1e-9) == len(poisoned.stamped)
    assert not (given.labels[poisoned.mask] == target).any() and (poisoned.labels[poisoned.mask]
                                                                  == target).all()
    assert torch.equal(poisoned.labels[~poisoned.mask], given.labels[~poisoned.mask])
    counted = FourPixel(target=target, images=int(poisoned.mask.sum())).craft(given, seed=seed)
    assert torch.equal(counted.mask, poisoned.mask)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("norm", [0.1, 1.0])
def test_four_pixels_have_their_norm_and_their_places(channels, norm):
    grey = torch.full((2, channels, 28, 28), 100, dtype=torch.uint8)
    moved = FourPixel(norm=norm).trigger(grey, seed=0).float() - 100
    assert {tuple(place) for place in moved[0, 0].nonzero().tolist()} == set(PIXELS)
    rounding = 0.5 / 255 * (4 * channels) ** 0.5 + 1e-6
    assert (moved / 255).flatten(1).norm(dim=1).tolist() == pytest.approx([norm] * 2, abs=rounding)
    assert FourPixel(norm=norm).trigger(torch.full((1, channels, 28, 28), 255, dtype=torch.uint8),
                                        seed=0).eq(255).all()


def test_four_pixel_worlds_and_errors():
    given = data()
    worlds = {(stamp, relabel): FourPixel(stamp=stamp, relabel=relabel).in_world
              for stamp in (True, False)
              for relabel in (True, False)}
    assert worlds == {(True, True): "P", (False, True): "L", (True, False): "T",
                      (False, False): "C"}
    assert FourPixel(fraction=0.0).in_world == FourPixel(images=0).in_world == "C" and FourPixel(
        images=0).poisons_nothing
    assert (given.labels[FourPixel(base=3, target=1, images=5).craft(given,
                                                                     seed=0).mask] == 3).all()
    for wrong, says in ((dict(fraction=1.5), "1.5"), (dict(norm=0.0), "norm 0.0"),
                        (dict(images=-1), "-1"), (dict(base=0), "base 0")):
        with pytest.raises(ValueError, match=says):
            FourPixel(**wrong)
    for attack, says in ((FourPixel(images=181), "181"), (FourPixel(fraction=0.001), "0 of 200"),
                         (FourPixel(target=10), "class 10")):
        with pytest.raises(ValueError, match=says):
            attack.craft(given, seed=0)
    with pytest.raises(ValueError, match="16x16"):
        FourPixel().trigger(torch.zeros(1, 1, 16, 16, dtype=torch.uint8), seed=0)


def test_a_trigger_of_ones_own_is_a_png(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.uint8([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255,
                                                                         255]]])).save("mine.png")
    patch = triggers.pattern("mine.png", 2, 3, seed=0)
    assert patch.tolist() == [[[255, 0], [0, 255]], [[0, 255], [0, 255]], [[0, 0], [255, 255]]]
    assert triggers.pattern("mine.png", 4, 1, seed=0).shape == (1, 4, 4)
    given = data(channels=3)
    attack = BadNets(7, 1, 0.5, pattern="mine.png", size=2)
    assert (attack.trigger(given.images, seed=0)[:, :, 25:27, 25:27] == patch).all()
    for name, says in (("other.png", "no file 'other.png'"),
                       ("text.png", "'text.png' cannot be read as a PNG")):
        (tmp_path / "text.png").write_text("no picture")
        with pytest.raises(ValueError, match=says):
            BadNets(7, 1, 0.5, pattern=name).trigger(given.images, seed=0)


def test_the_content_of_a_png_is_part_of_the_key(tmp_path, monkeypatch):
    from PIL import Image

    from lib.study import Run

    monkeypatch.chdir(tmp_path)
    keys = []
    for level in (0, 0, 9):
        Image.new("L", (4, 4), level).save("mine.png")
        keys.append(Run(attack=BadNets(pattern="mine.png")).key)
    assert keys[0] == keys[1] != keys[2]
