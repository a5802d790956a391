"""How conspicuous poisons are, and the panels that show them beside their originals."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from lib import data, features, figures
from lib.attacks.conspicuousness import conspicuousness
from lib.papers.turner import panels


def images(count=3, channels=3, side=32, seed=0):
    random = np.random.RandomState(seed)
    shape = (count, channels, side, side)
    return torch.from_numpy(random.randint(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_measures_are_those_of_their_definitions(channels):
    originals = images(channels=channels)
    poisons = panels.one_corner(32)(originals, seed=0)
    found = conspicuousness(poisons, originals)
    assert list(found.columns) == ["psnr", "ssim", "l2", "linf"] and len(found) == 3
    for row, one, other in zip(found.itertuples(), poisons.numpy(), originals.numpy()):
        moved = (one.astype(float) - other) / 255
        assert row.psnr == pytest.approx(peak_signal_noise_ratio(other, one))
        assert row.l2 == pytest.approx(math.sqrt(mean_squared_error(other, one) * one.size) / 255)
        assert row.linf == pytest.approx(abs(moved).max()) and row.linf <= 32 / 255 + 1e-9
        assert 0.9 < row.ssim < 0.9999  # although the stamp is in a corner


def window():
    """The Gaussian of Wang et al. (2004): 11 x 11, of standard deviation 1.5."""
    line = np.exp(-np.arange(-5, 6) ** 2 / (2 * 1.5**2))
    return np.outer(line, line) / line.sum() ** 2


def similarity(one, other):
    """Structural similarity of two grey images, window by window, a window around each pixel."""
    weights, values = window(), []
    one, other = (np.pad(image, 5, mode="symmetric") for image in (one, other))
    for row in range(one.shape[0] - 10):
        for column in range(one.shape[1] - 10):
            a, b = (image[row:row + 11, column:column + 11].astype(float) for image in (one, other))
            means = [(weights * part).sum() for part in (a, b)]
            both = [(weights * x * y).sum() - p * q for x, y, p, q in (
                (a, a, means[0], means[0]), (b, b, means[1], means[1]), (a, b, *means))]
            small, large = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * means[0] * means[1] + small) * (2 * both[2] + large) / (
                (means[0] ** 2 + means[1] ** 2 + small) * (both[0] + both[1] + large)))
    return np.mean(values)


def test_similarity_equals_the_published_formula():
    originals = images(1, 1, side=16)
    noise = torch.from_numpy(np.random.RandomState(1).normal(0, 20, originals.shape))
    poisons = (originals + noise).clamp(0, 255).to(torch.uint8)
    found = conspicuousness(poisons, originals)["ssim"].item()
    assert found == pytest.approx(similarity(*poisons[0].numpy(), *originals[0].numpy()), abs=1e-6)


def test_no_change_is_not_seen_and_more_is_seen_more():
    originals = images()
    same = conspicuousness(originals, originals)
    assert np.isinf(same["psnr"]).all() and (same["ssim"] == 1).all() and (same["l2"] == 0).all()
    table = panels.compared(originals, panels.amplitudes(originals))
    assert list(table.index) == [f"amplitude {level}" for level in (16, 32, 64, 255)]
    assert table["psnr"].is_monotonic_decreasing and table["l2"].is_monotonic_increasing
    assert table["ssim"].is_monotonic_decreasing and table["linf"].is_monotonic_increasing


def test_the_unit_of_features_is_two_unrelated_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = data.load("strokes", train_size=400)

    def encode(shown):
        return features.extract("patches:16", whole, shown, public=300)
    one, other = whole.train_images[:150], whole.train_images[150:300]
    found = conspicuousness(one, other, encode=encode)["features"]
    assert np.sqrt((found**2).mean()) == pytest.approx(1, abs=0.15)
    stamped = panels.one_corner(32)(one, seed=0)
    assert 0 < conspicuousness(stamped, one, encode=encode)["features"].median() < 0.5


@pytest.mark.parametrize(("one", "other", "says"), [
    (images(2), images(3), "expected uint8 images"),
    (images(2).float(), images(2), "expected uint8 images"),
    (images(2, side=8), images(2, side=8), "of at least 11x11 pixels"),
    (images(0), images(0), "expected one or more"),
])
def test_what_cannot_be_compared_is_refused(one, other, says):
    with pytest.raises(ValueError, match=says):
        conspicuousness(one, other)


# ---- panels

def test_poisons_stand_beside_their_originals():
    originals = images(2)
    poisons = panels.amplitudes(originals, (16, 64), corners=4)
    shown, titles = panels.beside(originals, poisons)
    assert titles == ["original", "amplitude 16", "amplitude 64"] * 2
    assert torch.equal(shown[3], originals[1])
    assert torch.equal(shown[5], panels.four_corners(64)(originals[1:], seed=0)[0])
    figures.image_grid(shown, titles, columns=panels.columns(poisons))


def test_differences_are_magnified_on_grey():
    originals = torch.full((2, 3, 12, 12), 100, dtype=torch.uint8)
    shown, titles = panels.beside(originals, panels.amplitudes(originals, (10,)), magnified=5)
    assert titles[:4] == ["original", "amplitude 10", "difference x 5", ""] and len(shown) == 8
    assert (shown[2] == 128).all()
    assert shown[3, 0, -3:, -3:].tolist() == [[78, 78, 178], [78, 178, 78], [178, 78, 178]]
    assert (shown[3, :, :-3] == 128).all()


def test_stamps_of_each_kind():
    assert list(panels.stamps(images())) == ["one corner", "four corners", "red x"]
    assert list(panels.stamps(images(channels=1))) == ["one corner", "four corners"]
    with pytest.raises(ValueError, match="corners 2: expected 1 or 4"):
        panels.amplitudes(images(), corners=2)
    with pytest.raises(ValueError, match="poisons 'x' .* expected images in pairs"):
        panels.beside(images(2), {"x": images(3)})


def test_mislabelled_poisons_say_what_they_show():
    shown, titles = panels.mislabelled("strokes-colour", 2, count=5)
    assert len(shown) == len(titles) == 5
    assert all(title.endswith(" as 2") and not title.startswith("2") for title in titles)
    assert (shown[:, :, -3:, -3:] == torch.tensor(
        [[0, 0, 255], [0, 255, 0], [255, 0, 255]], dtype=torch.uint8)).all()


def test_features_of_an_imagenet_network(tmp_path, monkeypatch):
    pytest.importorskip("timm", reason="timm is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shown = data.load("strokes-colour", train_size=3).train_images
    encode = panels.imagenet("strokes-colour", public=4)
    try:
        table = panels.compared(shown, panels.stamps(shown), encode=encode)
    except data.DataNotFound as error:
        pytest.skip(str(error))
    assert list(table.columns) == ["psnr", "ssim", "l2", "linf", "features"]
    assert (table["features"] > 0).all()
