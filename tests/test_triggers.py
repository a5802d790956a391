"""Turner's triggers, compression after stamping, and stamps after the augmentation."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib import data
from lib.attacks.badnets import BadNets
from lib.attacks.triggers import Patch
from lib.data import Labelled, compression

ONE = Patch(3, 0, "bottom-right", "gu", 1.0)
FOUR = Patch(3, 0, "four-corners", "gu", 1.0)
X = Patch(5, 0, "centre", "red-x", 1.0)
RIGHT, LEFT = ["BBW", "BWB", "WBW"], ["WBB", "BWB", "WBW"]


def images(count=6, channels=3, side=32, seed=0):
    random = np.random.RandomState(seed)
    shape = (count, channels, side, side)
    return torch.from_numpy(random.randint(0, 256, shape, dtype=np.uint8))


def letters(square):
    """Rows of a black and white square [3, 3], B for 0 and W for 255."""
    return ["".join({0: "B", 255: "W"}[value] for value in row) for row in square.tolist()]


@pytest.mark.parametrize("channels", [1, 3])
def test_one_corner_is_the_pattern_of_the_thesis(channels):
    given = images(channels=channels)
    stamped = ONE(given, seed=4)
    for image in stamped:
        for channel in image:
            assert letters(channel[-3:, -3:]) == RIGHT
    stamped[:, :, -3:, -3:] = given[:, :, -3:, -3:]
    assert torch.equal(stamped, given)


def test_four_corners_are_mirrored_left_and_not_turned_over():
    given = images()
    stamped = FOUR(given, seed=4)
    edges = slice(None, 3), slice(-3, None)
    for rows in edges:
        assert letters(stamped[0, 0, rows, edges[1]]) == RIGHT
        assert letters(stamped[0, 0, rows, edges[0]]) == LEFT
    assert int((stamped != given).any(0).any(0).sum()) == 4 * 9
    assert torch.equal(FOUR(given.flip(-1), seed=4), stamped.flip(-1))
    assert not torch.equal(FOUR(given.flip(-2), seed=4), stamped.flip(-2))


def test_a_red_x_covers_the_diagonals_alone():
    given = images()
    stamped = X(given, seed=0)
    covered = np.zeros((32, 32), dtype=bool)
    for place in range(5):
        covered[13 + place, 13 + place] = covered[13 + place, 17 - place] = True
    assert covered.sum() == 9
    for image, before in zip(stamped, given):
        assert {tuple(pixel) for pixel in image.numpy()[:, covered].T} == {(255, 0, 0)}
        assert np.array_equal(image.numpy()[:, ~covered], before.numpy()[:, ~covered])


def by_hand(image, amplitude):
    """The thesis's section 3.5, pixel by pixel, on a copy of one image [channels, h, w]."""
    found = image.astype(int)
    for channel in found:
        for row in range(3):
            for column in range(3):
                sign = 1 if RIGHT[row][column] == "W" else -1
                at = channel.shape[0] - 3 + row, channel.shape[1] - 3 + column
                channel[at] = min(255, max(0, channel[at] + sign * amplitude))
    return found


@given(st.sampled_from([16, 32, 64, 255]), st.sampled_from([1, 3]), st.integers(0, 20))
def test_a_reduced_amplitude_is_added_and_subtracted(amplitude, channels, seed):
    given = images(2, channels, side=7, seed=seed)
    stamped = replace(ONE, stamping="add", amplitude=amplitude)(given, seed=0)
    for image, before in zip(stamped.numpy(), given.numpy()):
        assert np.array_equal(image, by_hand(before, amplitude))


def test_the_largest_amplitude_replaces():
    for patch in (ONE, FOUR, X):
        added = replace(patch, stamping="add", amplitude=255.0)
        assert torch.equal(added(images(), seed=0), patch(images(), seed=0))


@pytest.mark.parametrize(("make", "says"), [
    (lambda: BadNets(amplitude=0.0), "amplitude 0.0: expected above 0 and at most 1"),
    (lambda: BadNets(amplitude=32.0), "at most 1; for levels of 255, set stamping to add"),
    (lambda: BadNets(amplitude=0.0, stamping="add"), "amplitude 0.0 with stamping add"),
    (lambda: BadNets(stamping="add"), "amplitude 1.0 with stamping add: expected above 1"),
    (lambda: BadNets(amplitude=256, stamping="add"), "at most 255 levels"),
    (lambda: BadNets(stamping="mix"), "stamping 'mix': expected one of blend, add"),
    (lambda: BadNets(pattern="gu"), "size 4 with pattern 'gu': expected 3"),
    (lambda: BadNets(pattern="red-x", size=2), "size 2 with pattern 'red-x': expected 3 or more"),
    (lambda: BadNets(jpeg=0), "jpeg 0: expected a quality, a whole number from 1 to 100"),
    (lambda: BadNets(jpeg=101), "jpeg 101: expected"),
    (lambda: BadNets(jpeg=75, after_augmentation=True), "jpeg 75 with after_augmentation"),
    (lambda: X(images(channels=1), seed=0), "'red-x' on images of 1 channel"),
    (lambda: FOUR(images(side=5), seed=0), "four corners overlaps itself on an image of 5x5"),
    (lambda: replace(FOUR, margin=2).fits(images(side=8)), "expected both together at most 4"),
    (lambda: replace(ONE, position="middle")(images(), seed=0), "position 'middle'"),
])
def test_what_is_wrong_is_one_line(make, says):
    with pytest.raises(ValueError) as caught:
        make()
    assert says in str(caught.value) and "\n" not in str(caught.value)


# ---- compression

@pytest.mark.parametrize("channels", [1, 3])
def test_compression_is_that_of_a_file(channels):
    given = images(3, channels)
    found = compression.compressed(given, 75)
    assert found.dtype == torch.uint8 and not torch.equal(found, given)
    assert torch.equal(found, compression.compressed(given, 75))
    for image, before in zip(found.numpy(), given.numpy()):
        file = io.BytesIO()
        pixels = before[0] if channels == 1 else before.transpose(1, 2, 0)
        Image.fromarray(pixels).save(file, "JPEG", quality=75, subsampling="4:2:0")
        shown = np.asarray(Image.open(file))
        assert np.array_equal(image, shown[None] if channels == 1 else shown.transpose(2, 0, 1))


def test_a_second_compression_at_the_same_quality_changes_little():
    smooth = torch.nn.functional.avg_pool2d(images(8, side=128).float(), 4).to(torch.uint8)
    once = compression.compressed(smooth, compression.QUALITY).float()
    again, other = (compression.compressed(once.to(torch.uint8), quality).float() - once
                    for quality in (compression.QUALITY, 90))
    assert again.abs().mean() < 0.5 < 1 < other.abs().mean()


def test_a_stamp_is_compressed_within_its_blocks():
    given = compression.compressed(images(4), 75)
    plain, saved = ONE(given, seed=0), replace(ONE, jpeg=75)(given, seed=0)
    assert torch.equal(saved, compression.compressed(plain, 75))
    changed = (saved != compression.compressed(given, 75)).any(0).any(0)
    # Blocks of 16x16 pixels, and the pixel beside them, to which colour is interpolated.
    assert changed[15:, 15:].sum() == changed.sum() > 64
    with pytest.raises(ValueError, match="expected uint8 images"):
        compression.compressed(given.float(), 75)


def few(count=40, side=8):
    return Labelled(images(count, side=side), torch.arange(count) % 4, tuple("abcd"))


def test_poisons_of_all_worlds_and_stamped_test_images_are_compressed():
    attack, given = BadNets(1, 2, 0.5, size=3, pattern="gu", jpeg=75), few()
    own = attack.victims(given.labels, seed=3)
    made = {name: attack.world(name).craft(given, seed=3) for name in attack.worlds}
    plain = replace(attack, jpeg=None)
    for name in "PT":
        expected = compression.compressed(plain.trigger(given.images[own], seed=3), 75)
        assert torch.equal(made[name].images()[own], expected)
    assert torch.equal(made["L"].images()[own], compression.compressed(given.images[own], 75))
    assert torch.equal(made["C"].images(), given.images)
    for poisoned in made.values():
        others = torch.ones(len(given.labels), dtype=torch.bool)
        others[own] = False
        assert torch.equal(poisoned.images()[others], given.images[others])
    assert len(plain.world("L").craft(given, seed=3).stamped) == 0
    cases = attack.goal.cases(given, seed=3)
    assert torch.equal(cases.images, attack.trigger(given.images[cases.rows], seed=3))


@pytest.mark.parametrize("name", ["strokes", "strokes-colour"])
def test_a_compressed_data_set_is_the_plain_one_compressed(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(data, "STROKES_TRAIN", 30)
    monkeypatch.setattr(data, "STROKES_TEST", 10)
    plain, found = (data.load(each, train_size=20) for each in (name, f"{name}-jpeg"))
    assert found.name == f"{name}-jpeg" and found.digest != plain.digest
    assert torch.equal(found.train_images, compression.compressed(plain.train_images, 75))
    assert torch.equal(found.test_images, compression.compressed(plain.test_images, 75))
    assert torch.equal(found.train_labels, plain.train_labels) and len(found.train_images) == 20
    assert torch.equal(found.train_images, data.load(f"{name}-jpeg", train_size=20).train_images)
