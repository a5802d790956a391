"""Data sets: the drawn digits' bytes, files read and refused, the cache, the splits."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib import data
from lib.data import DataNotFound, files

REAL = Path(os.environ.get("DATA_ROOT") or "/nonexistent")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root and a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def offline(monkeypatch):
    """Every connection fails at once."""

    def refused(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.getaddrinfo", refused)


def picture(colour=(200, 30, 90), size=(32, 32), mode="RGB", kind="JPEG") -> bytes:
    written = io.BytesIO()
    Image.new(mode, size, colour).save(written, kind)
    return written.getvalue()


def write_class_folders(folder: Path, classes, count: int, **kwargs) -> None:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            kwargs.setdefault("mode", "RGB")
            colour = (20 * number, 8 * i, 100) if kwargs["mode"] == "RGB" else 20 * number
            (folder / name / f"{i:04}.jpg").write_bytes(picture(colour, **kwargs))


def write_idx(path: Path, values: np.ndarray) -> None:
    """The idx format of MNIST: type, dimensions, sizes as big-endian integers, bytes."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(
        size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def write_mnist(folder: Path) -> np.ndarray:
    folder.mkdir(parents=True)
    images = np.random.RandomState(3).randint(0, 256, (7, 28, 28), dtype=np.uint8)
    for part, n in (("train", 7), ("t10k", 4)):
        write_idx(folder / f"{part}-images-idx3-ubyte", images[:n])
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(n))
    return images


def one_line(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


# strokes


GOLDEN = {
    False: "b07dc1d1c1e2da959682e8ea0e235b5801fec602f46032734b06d281559e618b",
    True: "dca0bad66ac4ab70cc07cca38b00e3932f146b969a362b7597771a962d74b3f7",
}


@pytest.mark.parametrize("colour", [False, True])
def test_strokes_has_the_same_bytes_everywhere(colour):
    images, labels = data.strokes(200, seed=7, colour=colour)
    assert images.shape == ((200, 3, 32, 32) if colour else (200, 28, 28))
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    # A change here changes published rows: raise data.VERSION with it.
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == GOLDEN[colour]


def test_strokes_begins_alike_and_differs_by_seed():
    long, short = data.strokes(150, seed=2), data.strokes(70, seed=2)
    assert np.array_equal(long[0][:70], short[0]) and np.array_equal(long[1][:70], short[1])
    assert not np.array_equal(data.strokes(70, seed=3)[0], short[0])
    assert len(data.strokes(0, seed=0)[0]) == 0
    with pytest.raises(ValueError, match="-1"):
        data.strokes(-1, seed=0)


def test_strokes_are_digits():
    images, labels = data.strokes(1500, seed=11)
    assert np.bincount(labels, minlength=10).min() > 100
    # The nearest class mean already tells most digits apart, on drawings it has not seen; noise
    # would give 10%.
    flat = images.reshape(1500, -1) / 255.0
    means = np.stack([flat[:1000][labels[:1000] == digit].mean(0) for digit in range(10)])
    nearest = ((flat[1000:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == labels[1000:]).mean() > 0.5


def test_strokes_stay_inside_the_picture():
    images, _ = data.strokes(500, seed=4)
    bright = images > 150
    assert bright.any((1, 2)).all()
    border = np.ones((28, 28), bool)
    border[1:-1, 1:-1] = False
    assert bright[:, border].any(1).mean() < 0.1


# load


def test_load_strokes_is_cached_and_cut(root, monkeypatch):
    monkeypatch.setattr(data, "STROKES_TRAIN", 90)
    monkeypatch.setattr(data, "STROKES_TEST", 40)
    whole = data.load("strokes")
    assert whole.train_images.shape == (90, 1, 28, 28) and whole.test_labels.shape == (40,)
    assert whole.train_images.dtype == torch.uint8 and whole.train_labels.dtype == torch.int64
    assert not torch.equal(whole.train_images[:40], whole.test_images)
    monkeypatch.setattr(data, "strokes", None)  # the second time nothing is drawn
    some = data.load("strokes", train_size=30, test_size=5)
    assert torch.equal(some.train_images, whole.train_images[:30]) and len(some.test_images) == 5
    assert some.digest == whole.digest and len(some.classes) == 10


def test_load_strokes_draws_as_many_as_asked(root, monkeypatch):
    monkeypatch.setattr(data, "STROKES_TRAIN", 20)
    monkeypatch.setattr(data, "STROKES_TEST", 10)
    few, many = data.load("strokes-colour"), data.load("strokes-colour", train_size=50)
    assert many.train_images.shape == (50, 3, 32, 32)
    assert torch.equal(many.train_images[:20], few.train_images) and few.digest != many.digest


@pytest.mark.parametrize(
    "damage", [lambda b: b[:len(b) // 2], lambda b: b[:-9] + b"!" + b[-8:], lambda b: b""])
def test_a_damaged_cache_file_is_made_again(root, monkeypatch, damage):
    monkeypatch.setattr(data, "STROKES_TRAIN", 20)
    monkeypatch.setattr(data, "STROKES_TEST", 10)
    good = data.load("strokes")
    (kept,) = (root.parent / "cache").rglob("strokes*.safetensors")
    kept.write_bytes(damage(kept.read_bytes()))
    with pytest.warns(UserWarning, match="damaged.*made again") as warned:
        again = data.load("strokes")
    assert "\n" not in str(warned[0].message)
    assert torch.equal(again.train_images, good.train_images) and again.digest == good.digest
    data.load("strokes")  # whole again: a warning would be an error here
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.parametrize(
    "sizes", [{"train_size": 0}, {"test_size": -3}, {"train_size": 1.5}, {"test_size": True}])
def test_sizes_are_checked(root, sizes):
    write_mnist(root / "MNIST" / "raw")
    with pytest.raises(ValueError, match=next(iter(sizes))):
        data.load("mnist", **sizes)


def test_a_size_the_set_does_not_have(root):
    write_mnist(root / "MNIST" / "raw")
    with pytest.raises(ValueError, match="train_size is 8: .* 1 to 7, for mnist"):
        data.load("mnist", train_size=8)


def test_two_classes_of_a_set(root):
    whole, pair = data.load("strokes"), data.load("strokes:7-2")
    assert pair.classes == ("7", "2") and pair.digest != whole.digest
    for part in ("train", "test"):
        images, labels = getattr(whole, f"{part}_images"), getattr(whole, f"{part}_labels")
        kept = (labels == 7) | (labels == 2)
        assert torch.equal(getattr(pair, f"{part}_images"), images[kept])
        assert torch.equal(getattr(pair, f"{part}_labels"), (labels[kept] == 2).long())
    assert len(data.load("strokes:7-2", train_size=50).train_labels) == 50
    assert data.load("strokes:1-2-3").classes == ("1", "2", "3")


def test_the_classes_of_a_name():
    assert data.restriction("mnist:1-0") == ("mnist",
                                             (1, 0)) and data.restriction("mnist") == ("mnist",
                                                                                       None)
    assert data.restriction("imagefolder:0-1") == ("imagefolder:0-1", None)
    assert data.restriction("imagefolder:pets:0-1") == ("imagefolder:pets", (0, 1))
    for name in ("strokes:3-3", "strokes:0-10"):
        with pytest.raises(ValueError, match=name):
            data.load(name)


def test_unknown_name():
    with pytest.raises(ValueError, match="'nmist' is unknown"):
        data.load("nmist")


@given(n=st.integers(0, 300), share=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_split_partitions_the_rows(n, share):
    public = int(n * share)
    first, rest = data.split(n, public=public)
    assert first.dtype == rest.dtype == torch.int64
    assert torch.equal(torch.cat([first, rest]), torch.arange(n)) and len(first) == public


def test_split_out_of_range():
    for public in (-1, 11):
        with pytest.raises(ValueError, match=f"public is {public}"):
            data.split(10, public=public)


# torchvision's files


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_files(root, monkeypatch, name, folder):
    images = write_mnist(root / folder / "raw")
    found = data.load(name)
    assert torch.equal(found.train_images[:, 0], torch.from_numpy(images))
    assert found.train_labels.tolist() == list(
        range(7)) and found.test_images.shape == (4, 1, 28, 28)
    assert len(found.classes) == 10
    # the folder itself is as good as the one around it
    monkeypatch.setenv("DATA_ROOT", str(root / folder))
    assert data.load(name).digest == found.digest


def test_missing_set_says_what_where_and_how(root, offline):
    for name in ("mnist", "cifar10"):
        with pytest.raises(DataNotFound) as caught:
            data.load(name)
        message = one_line(caught)
        assert name in message and str(root) in message and "--data DIR or DATA_ROOT" in message
    assert not list((root.parent / "cache").rglob(".download*"))


def test_damaged_idx_file(root):
    write_mnist(root / "MNIST" / "raw")
    (root / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\10\3short")
    with pytest.raises(DataNotFound) as caught:
        data.load("mnist")
    assert "damaged" in one_line(caught) and "MNIST" in one_line(caught)


def test_original_cifar10_is_checked_before_it_is_unpickled(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch /tmp/no'\ntR.")
    with pytest.raises(DataNotFound) as caught:
        data.load("cifar10")
    assert "cifar10" in one_line(caught)


# folders of images


@pytest.fixture
def small_cifar(root, monkeypatch):
    monkeypatch.setattr(files, "CIFAR_COUNTS", {"train": 4, "test": 2})
    write_class_folders(root / "cifar10-jpeg" / "train", files.CIFAR_CLASSES, 4)
    write_class_folders(root / "cifar10-jpeg" / "test", files.CIFAR_CLASSES, 2)
    return root / "cifar10-jpeg"


def packed(folder: Path, *, inside: str) -> Path:
    archive = folder.parent / "cifar10-jpeg.tar.xz"
    with tarfile.open(archive, "w:xz") as file:
        file.add(folder, arcname=inside)
    return archive


@pytest.mark.parametrize("inside", [".", "cifar10-jpeg"])
def test_cifar10_jpeg_archive_equals_its_folder(small_cifar, inside):
    as_folder = data.load("cifar10-jpeg")
    archive = packed(small_cifar, inside=inside)
    as_archive = data.load("cifar10-jpeg")
    assert as_archive.digest == as_folder.digest
    assert as_folder.train_images.shape == (40, 3, 32,
                                            32) and as_folder.test_images.shape == (20, 3, 32, 32)
    assert as_folder.classes == files.CIFAR_CLASSES and as_folder.train_labels.bincount().tolist(
    ) == [4] * 10
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataNotFound, match="cannot be unpacked"):
        data.load("cifar10-jpeg")
    assert not list((small_cifar.parent.parent / "cache").rglob(".unpacked*"))


def test_cifar10_jpeg_mixes_the_classes_and_keeps_labels_with_images(small_cifar):
    found = data.load("cifar10-jpeg")
    assert len(set(found.train_labels[:20].tolist())) > 5
    # write_class_folders paints 20 times the class
    red = found.train_images[:, 0].float().mean((1, 2))
    assert (red / 20).round().long().tolist() == found.train_labels.tolist()
    names = [f"{name}/{i:04}.jpg" for name in files.CIFAR_CLASSES for i in range(4)]
    order = np.random.RandomState(0).permutation(40)
    assert found.train_labels.tolist() == [
        files.CIFAR_CLASSES.index(names[i].split("/")[0]) for i in order
    ]


def test_an_incomplete_cifar10_jpeg_is_refused(small_cifar):
    (small_cifar / "test" / "dog" / "0001.jpg").unlink()
    with pytest.raises(DataNotFound) as caught:
        data.load("cifar10-jpeg")
    assert "test/dog has 1 images, expected 2" in one_line(caught)


def test_an_archive_that_leaves_its_folder_is_refused(root):
    with tarfile.open(root / "cifar10-jpeg.tar.xz", "w:xz") as file:
        member = tarfile.TarInfo("../outside.jpg")
        file.addfile(member, io.BytesIO())
    with pytest.raises(DataNotFound, match="cannot be unpacked"):
        data.load("cifar10-jpeg")
    assert not list(root.parent.rglob("outside.jpg"))


@pytest.mark.parametrize("content, says", [(b"no image", "cannot"), (picture()[:300], "cannot"),
                                           (picture(size=(16, 32)), "16x32")])
def test_a_damaged_image_is_named(small_cifar, content, says):
    bad = small_cifar / "train" / "cat" / "0002.jpg"
    bad.write_bytes(content)
    with pytest.raises(DataNotFound) as caught:
        data.load("cifar10-jpeg")
    assert str(bad) in one_line(caught) and says in one_line(caught)


def test_image_folder_in_two_parts_resized_and_grey(root):
    write_class_folders(root / "shapes" / "train", ["b", "a"], 5, size=(40, 20), mode="L")
    write_class_folders(root / "shapes" / "test", ["b", "a"], 3, size=(40, 20), mode="L")
    found = data.load("imagefolder:shapes@28")
    assert found.train_images.shape == (10, 1, 28, 28) and found.test_images.shape == (6, 1, 28, 28)
    assert found.classes == ("a", "b")
    assert data.load(f"imagefolder:{root / 'shapes'}").train_images.shape == (10, 1, 32, 32)


def test_image_folder_splits_by_name(root):
    write_class_folders(root / "one", ["a", "b", "c"], 40)
    found = data.load("imagefolder:one")
    train, test = len(found.train_labels), len(found.test_labels)
    assert train + test == 120 and 10 <= test <= 40 and found.train_images.shape[1] == 3
    kept = {tuple(image[:, 0, 0].tolist()) for image in found.train_images}
    (root / "one" / "a" / "9999.jpg").write_bytes(picture((1, 2, 3)))
    more = data.load("imagefolder:one")
    assert more.digest != found.digest
    assert kept <= {tuple(image[:, 0, 0].tolist()) for image in more.train_images}


def test_image_folder_errors(root):
    with pytest.raises(DataNotFound, match="imagefolder:none not found"):
        data.load("imagefolder:none")
    (root / "empty").mkdir()
    with pytest.raises(DataNotFound, match="0 class folders"):
        data.load("imagefolder:empty")
    with pytest.raises(ValueError, match="imagefolder:PATH@SIDE"):
        data.load("imagefolder:@28")


# the real files


@pytest.mark.skipif(not (REAL / "MNIST").is_dir(), reason="DATA_ROOT holds no MNIST")
def test_real_mnist():
    found = data.load("mnist")
    assert found.train_images.shape == (60_000, 1, 28,
                                        28) and found.test_images.shape == (10_000, 1, 28, 28)
    assert hashlib.md5(found.train_images.numpy()
                       [:100].tobytes()).hexdigest() == "a83e11b131c54d15344245006f54af35"
    assert found.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


@pytest.mark.skipif(not (REAL / "cifar10-jpeg.tar.xz").is_file(),
                    reason="DATA_ROOT holds no cifar10-jpeg.tar.xz")
def test_real_cifar10_jpeg_counts():
    """Names only: decoding takes 15 s."""
    with tarfile.open(REAL / "cifar10-jpeg.tar.xz") as file:
        names = [name for name in file.getnames() if name.endswith(".jpg")]
    assert sum(name.startswith("train/") for name in names) == 50_000
    assert {name.split("/")[1]
            for name in names} == set(files.CIFAR_CLASSES) and len(names) == 60_000
