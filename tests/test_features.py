"""Features: the folded convolution against the papers' formulas, what they may depend on, the
artefacts.
"""

import hashlib

import pytest
import torch

from lib import data, features
from lib.data import DataNotFound, Dataset
from lib.features import imagenet, patches, public_resnet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own, and fewer patches to learn from."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(patches, "SAMPLES", 4_000)
    return tmp_path


def drawn(n: int, *, colour: bool, seed: int = 5, digest: str | None = None) -> Dataset:
    images, labels = (torch.from_numpy(one)
                      for one in data.strokes(n + 40, seed=seed, colour=colour))
    images = images if colour else images[:, None]
    digest = digest or hashlib.sha256(images.numpy().tobytes()).hexdigest()
    name = "strokes-colour" if colour else "strokes"
    return Dataset(name, images[:n], labels[:n], images[n:], labels[n:], tuple("0123456789"),
                   digest)


def slow_patches(fitted: dict, whole: dict, image: torch.Tensor) -> torch.Tensor:
    """Coates and Ng 2011 patch by patch: normalise, whiten, compare, threshold, average over
    quadrants.
    """
    _, height, width = image.shape
    rows, columns = height - 5, width - 5
    codes = torch.empty(rows, columns, 2, len(whole["centroids"]))
    for i in range(rows):
        for j in range(columns):
            patch = image[:, i : i + 6, j : j + 6].double().flatten()
            patch = (patch - patch.mean()) / (patch.var(correction=0) + 10.0).sqrt()
            z = whole["centroids"].double() @ (
                whole["whiten"].double() @ (patch - whole["centre"].double()))
            codes[i, j] = torch.stack([(z - 0.25).clamp_min(0), (-z - 0.25).clamp_min(0)])
    high, wide = (rows + 1) // 2, (columns + 1) // 2
    quadrants = [
        codes[:high, :wide], codes[:high, -wide:], codes[-high:, :wide], codes[-high:, -wide:]
    ]
    # sign, quadrant, filter
    return torch.stack([quadrant.mean((0, 1)) for quadrant in quadrants], 1).flatten()


@pytest.mark.parametrize("colour", [False, True])
def test_patches_equal_the_formulas(monkeypatch, colour):
    seen = {}

    def whitening(points, real=patches._whitening):
        seen["centre"], seen["whiten"] = real(points)
        return seen["centre"], seen["whiten"]

    def kmeans(*args, real=patches._spherical_kmeans):
        seen["centroids"] = real(*args)
        return seen["centroids"]

    monkeypatch.setattr(patches, "_whitening", whitening)
    monkeypatch.setattr(patches, "_spherical_kmeans", kmeans)
    images = drawn(60, colour=colour).train_images
    fitted = patches.fit(images, filters=8)
    fast = patches.encode(fitted, images[:6])
    slow = torch.stack([slow_patches(fitted, seen, image) for image in images[:2]])
    assert fast.shape == (6, 64) and fast.dtype == torch.float32
    torch.testing.assert_close(fast[:2], slow.float(), atol=2e-4, rtol=1e-3)


def test_patches_do_not_see_contrast_or_brightness():
    """A patch and its brighter copy have the same code, as normalisation promises (but for the 10
    in the root).
    """
    image = drawn(60, colour=True).train_images
    fitted = patches.fit(image, filters=8)
    half = image // 2
    bright = half + 100
    torch.testing.assert_close(patches.encode(fitted, half), patches.encode(fitted, bright),
                               atol=1e-4, rtol=1e-3)


def test_whitening_whitens_and_centroids_have_unit_length():
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(5_000, 12, generator=generator) @ torch.randn(12, 12,
                                                                      generator=generator) * 3 + 1
    centre, whiten = patches._whitening(mixed)
    white = (mixed - centre) @ whiten
    spread = white.T @ white / len(white)
    assert (spread - torch.eye(12)).abs().max() < 0.1
    assert torch.equal(whiten, whiten.T) or torch.allclose(whiten, whiten.T, atol=1e-5)
    centroids = patches._spherical_kmeans(white, 20, generator)
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(20))


def test_kmeans_finds_the_directions_there_are():
    axes = torch.eye(6)[torch.arange(600) % 6] * torch.tensor(
        [1.0, -1.0]).repeat_interleave(300)[:, None] * 4
    points = axes + 0.05 * torch.randn(600, 6, generator=torch.Generator().manual_seed(0))
    centroids = patches._spherical_kmeans(points, 24, torch.Generator().manual_seed(0))
    assert (centroids.abs().max(0).values > 0.99).all()


def test_extract_has_the_promised_scale():
    dataset = drawn(300, colour=False)
    found = features.extract("patches:8", dataset, dataset.train_images, public=200)
    assert found.shape == (300, 64) and found.dtype == torch.float32 and found.device.type == "cpu"
    assert found[:200].square().sum(1).mean() == pytest.approx(features.NORM, rel=1e-3)
    assert found[:200].mean(0).abs().max() < 1e-3
    assert found[:200].std(0, correction=0).median() == pytest.approx((features.NORM / 64)**0.5,
                                                                      rel=1e-2)


def test_the_extractor_sees_the_public_images_only():
    dataset = drawn(120, colour=False)
    other = dataset.train_images.clone()
    other[80:] = 255 - other[80:]
    # With the same digest the artefact would be found again, so the changed set needs one of its
    # own.
    changed = Dataset(dataset.name, other, dataset.train_labels, *_test_parts(dataset), "other")
    first = features.extract("patches:4", dataset, dataset.test_images, public=80)
    assert torch.equal(first, features.extract("patches:4", changed, dataset.test_images,
                                               public=80))
    assert not torch.equal(first,
                           features.extract("patches:4", changed, dataset.test_images, public=100))


def _test_parts(dataset: Dataset):
    return dataset.test_images, dataset.test_labels, dataset.classes


def test_artefacts_are_used_and_damaged_ones_made_again(cache, monkeypatch):
    dataset = drawn(60, colour=False)
    first = features.extract("patches:4", dataset, dataset.test_images, public=60)
    kept = sorted(cache.rglob("patches-4-*.safetensors"))
    assert len(kept) == 2  # the extractor, and the features of one set of images
    stamped = dataset.test_images.clone()
    stamped[:, :, :4, :4] = 255
    other = features.extract("patches:4", dataset, stamped, public=60)
    assert not torch.equal(first, other) and len(list(cache.rglob("patches-4-*"))) == 3
    with monkeypatch.context() as patched:
        patched.setattr(patches, "encode", None)
        assert torch.equal(features.extract("patches:4", dataset, dataset.test_images, public=60),
                           first)
    for path in kept:
        path.write_bytes(path.read_bytes()[:-10] + bytes(10))
    with pytest.warns(UserWarning, match="made again"):
        again = features.extract("patches:4", dataset, dataset.test_images, public=60)
    assert torch.equal(again, first)


def test_features_of_an_image_do_not_depend_on_its_neighbours():
    dataset = drawn(60, colour=True)
    whole = features.extract("patches:8", dataset, dataset.train_images, public=50)
    some = features.extract("patches:8", dataset, dataset.train_images[31:38], public=50)
    torch.testing.assert_close(whole[31:38], some, atol=1e-4, rtol=1e-4)
    assert features.extract("patches:8", dataset, dataset.train_images[:0],
                            public=50).shape == (0, 64)


def ridge_accuracy(inputs: torch.Tensor, labels: torch.Tensor, *, train: int) -> float:
    """Accuracy on the rows after `train` of ridge regression on the rows before."""
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    x, y = inputs[:train], torch.nn.functional.one_hot(labels[:train], 10).double()
    weights = torch.linalg.solve(x.T @ x + 0.1 * x.square().mean() * train * torch.eye(x.shape[1]),
                                 x.T @ y)
    return ((inputs[train:] @ weights).argmax(1) == labels[train:]).double().mean().item()


def test_patches_separate_digits():
    dataset = drawn(900, colour=True)
    found = features.extract("patches:32", dataset, dataset.train_images, public=600)
    accuracy = ridge_accuracy(found, dataset.train_labels, train=600)
    # 512 of them, twice the features
    pixels = dataset.train_images.float().flatten(1)[:, ::6] / 255.0 - 0.5
    without = ridge_accuracy(pixels, dataset.train_labels, train=600)
    assert accuracy > 0.7 and accuracy > without + 0.2


def test_golden_values():
    """When these change, so must features.VERSION: published rows are made from them."""
    dataset = drawn(100, colour=True)
    found = features.extract("patches:4", dataset, dataset.train_images, public=100)
    assert features.VERSION == 1 and patches.THRESHOLD == 0.25
    expected = torch.tensor([1.111, -2.136, 3.522, -1.109])
    # Room for k-means under another machine's rounding.
    torch.testing.assert_close(found[0, ::8], expected, atol=0.02, rtol=0.0)


def test_public_resnet_learns_and_is_seeded():
    dataset = drawn(400, colour=False)
    first = features.extract("resnet-public:2", dataset, dataset.test_images, public=256)
    assert first.shape == (40, 512) and torch.isfinite(first).all()
    images, labels = dataset.train_images[:128], dataset.train_labels[:128]
    fitted = [
        public_resnet.fit(images, labels, classes=10, epochs=1, flips=True, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert all(torch.equal(fitted[0][name], fitted[1][name]) for name in fitted[0])
    assert not torch.equal(fitted[0]["stem.weight"], fitted[2]["stem.weight"])


def test_public_resnet_freezes_its_statistics():
    dataset = drawn(200, colour=True)
    images, labels = dataset.train_images[:128], dataset.train_labels[:128]
    fitted = public_resnet.fit(images, labels, classes=10, epochs=1, flips=False)
    whole, one = (public_resnet.encode(fitted, dataset.test_images[:n]) for n in (8, 1))
    torch.testing.assert_close(whole[:1], one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("flips", [False, True])
def test_augmentation_moves_and_mirrors_whole_pictures(flips):
    images = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(64, 1, 1, 1)
    some = public_resnet._augmented(images, flips, torch.Generator().manual_seed(0))
    steps = (some[:, 0, :, 1:].int() - some[:, 0, :, :-1].int())[(some[:, 0, :, 1:] > 0)
                                                                 & (some[:, 0, :, :-1] > 0)]
    assert set(steps.tolist()) == ({1, -1} if flips else {1})
    assert some.shape == images.shape and len({tuple(one.flatten().tolist()) for one in some}) > 20


def test_imagenet_with_random_weights(monkeypatch):
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = torchvision.models.resnet50().state_dict()
    dataset = drawn(4, colour=True)
    found = imagenet.encode(dataset.train_images[:2], state=state)
    assert found.shape == (2, 2048) and torch.isfinite(found).all() and not torch.equal(
        found[0], found[1])
    grey = imagenet._prepared(drawn(4, colour=False).train_images)
    assert grey.shape == (4, 3, 224, 224)
    white = imagenet._prepared(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8))
    assert white[0, 0, 7, 7] == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)
    monkeypatch.setattr(imagenet, "weights", lambda: state)
    by_name = features.extract("imagenet-resnet50", dataset, dataset.test_images[:1], public=2)
    assert by_name.shape == (1, 2048)


def test_imagenet_weights_missing_or_damaged(cache, monkeypatch):
    def refused(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.getaddrinfo", refused)
    dataset = drawn(4, colour=True)
    with pytest.raises(DataNotFound) as caught:
        features.extract("imagenet-resnet50", dataset, dataset.test_images, public=4)
    assert "\n" not in str(caught.value) and "resnet50-0676ba61.pth" in str(caught.value)
    assert str(cache / "root") in str(caught.value) and "DATA_ROOT" in str(caught.value)
    (cache / "root").mkdir()
    (cache / "root" / imagenet.WEIGHTS).write_bytes(b"not the weights")
    with pytest.raises(DataNotFound, match="damaged"):
        imagenet.weights()


@pytest.mark.parametrize(
    "name",
    ["patch", "patches:0", "patches:x", "resnet-public:", "imagenet-resnet50:3", "none", None])
def test_unknown_names(name):
    dataset = drawn(4, colour=False)
    with pytest.raises(ValueError, match="unknown"):
        features.extract(name, dataset, dataset.test_images, public=2)


def test_wrong_arguments():
    dataset = drawn(4, colour=False)
    for public in (0, 5):
        with pytest.raises(ValueError, match=f"public is {public}"):
            features.extract("patches:2", dataset, dataset.test_images, public=public)
    with pytest.raises(ValueError, match="float32"):
        features.extract("patches:2", dataset, dataset.test_images.float(), public=2)
    with pytest.raises(ValueError, match="expected uint8"):
        features.extract("patches:2", dataset, dataset.test_images[:, 0], public=2)
