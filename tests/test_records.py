"""Tabular data sets: drawn bytes, archives read and refused, and the house on records."""

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib import data, features, ledger, models, study, training
from lib.attacks.badnets import BadNets
from lib.attacks.four_pixel import FourPixel
from lib.data import DataNotFound, archives, records
from lib.study import Run
from lib.training import Member, Training
from lib.training.steps import closed_form

REAL = Path(os.environ.get("DATA_ROOT") or "/nonexistent")
LOCATION = REAL / "Location" / "dataset_location.tgz"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root and a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def digest_of(found: data.Dataset) -> str:
    """SHA-256 of all records and labels."""
    parts = (found.train_images, found.train_labels, found.test_images, found.test_labels)
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


# drawn sets


GOLDEN = {
    "baskets": "832b6b3fbf9fa1e723e2c0430a64804223eb6aa8dbdb12ef5384d267e0b70f08",
    "moons": "a42194c72060a47745f28089f03ef628f1cc4cddcbf04ddb7cf638897fd549f9",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_drawn_records_have_the_same_bytes_everywhere(name):
    found = data.load(name)
    assert found.train_images.dtype == torch.uint8 and found.train_images.ndim == 2
    # A change here changes published rows: raise data.VERSION with it.
    assert digest_of(found) == GOLDEN[name]


def test_the_sizes_of_drawn_records():
    baskets, moons = data.load("baskets"), data.load("moons")
    assert baskets.train_images.shape == baskets.test_images.shape == (10_000, 100)
    assert len(baskets.classes) == 100 and set(baskets.train_images.unique().tolist()) == {0, 255}
    assert baskets.train_labels.bincount(minlength=100).min() > 50
    assert moons.train_images.shape == (700, 2) and moons.test_images.shape == (300, 2)
    assert not torch.equal(baskets.train_images, baskets.test_images)
    for draw in (records.baskets, records.moons):
        assert len(draw(0, seed=0)[0]) == 0
        with pytest.raises(ValueError, match="-1"):
            draw(-1, seed=0)


def test_baskets_are_as_hard_as_purchase_100():
    """Hong et al.'s released softmax regressions on Purchase-100 reach 0.71 to 0.72."""
    from sklearn.linear_model import LogisticRegression

    found = data.load("baskets")
    settings = Training(optimizer="adam", lr=0.01, epochs=30.0, batch_size=100)
    member = Member(torch.arange(10_000), found.train_labels, 100, 0.01, init_seed=0, batch_seed=0)
    trained = training.fit(lambda: models.build("linear", (100,), 100), found.train_images,
                           [member], settings.plan(10_000, "float32"))
    correct = trained.predict(found.test_images, model=0).argmax(1) == found.test_labels
    assert 0.70 <= correct.double().mean() <= 0.72
    regression = LogisticRegression(max_iter=200).fit(found.train_images / 255, found.train_labels)
    assert regression.score(found.test_images / 255, found.test_labels) == pytest.approx(
        correct.double().mean().item(), abs=0.03)


def test_moons_lie_on_two_half_circles(monkeypatch):
    monkeypatch.setattr(records, "NOISE", 0.0)
    drawn, labels = records.moons(20_000, seed=3)
    points = records.coordinates(drawn)
    centres, up = np.where(labels[:, None] == 0, (0.0, 0.0), (1.0, 0.5)), 1 - 2 * labels
    away = points - centres
    assert np.abs(np.hypot(*away.T) - 1).max() < 0.02  # the grid's cell is 0.018 x 0.012
    assert (away[:, 1] * up).min() > -0.01
    angles = np.arctan2(away[:, 1] * up, away[:, 0] * up)
    # Uniform on [0, pi]: a tenth of them in each tenth.
    shares = np.histogram(angles, bins=10, range=(0, np.pi))[0] / len(angles)
    assert np.abs(shares - 0.1).max() < 0.01


def test_noise_of_moons_and_their_grid():
    drawn, labels = records.moons(50_000, seed=4)
    assert drawn.min() > 0 and drawn.max() < 255  # the box holds all of them
    points = records.coordinates(drawn)
    upper, lower = points[labels == 0].mean(0), points[labels == 1].mean(0)
    assert upper == pytest.approx([0, 2 / np.pi], abs=0.01)
    assert lower == pytest.approx([1, 0.5 - 2 / np.pi], abs=0.01)
    # Across: the half circle's variance of 1/2 and the noise's, independent of each other.
    assert points[labels == 0][:, 0].var() == pytest.approx(0.5 + records.NOISE**2, abs=0.01)
    corners = records.coordinates(np.array([[0, 0], [255, 255]], dtype=np.uint8))
    assert corners.tolist() == [[-1.75, -1.25], [2.75, 1.75]]


# archives


def packed(path: Path, name: str, text: bytes, *, kind: bytes = tarfile.REGTYPE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(text), kind, "/etc/passwd"
        file.addfile(member, io.BytesIO(text) if kind == tarfile.REGTYPE else None)


def lines(count: int, columns: int, *, quoted: bool = False) -> tuple[bytes, list]:
    """An archive's text, and (class, bits) of each line."""
    random = np.random.RandomState(0)
    rows = [(i % 4 + 1, random.randint(0, 2, columns).tolist()) for i in range(count)]
    named = [(f'"{label}"' if quoted else str(label), bits) for label, bits in rows]
    text = "".join(f"{label},{','.join(map(str, bits))}\n" for label, bits in named)
    return text.encode(), rows


SMALL = {"records": 30, "columns": 7, "classes": 4, "test": 12, "digest": ""}


@pytest.fixture(params=list(archives.ARCHIVES))
def small(request, root, monkeypatch):
    """(name, path, member, lines) of a small archive in a data root."""
    archive = replace(archives.ARCHIVES[request.param], **SMALL)
    monkeypatch.setitem(archives.ARCHIVES, request.param, archive)
    path = root / archive.folder / archive.name
    text, rows = lines(30, 7, quoted=request.param == "location-30")
    packed(path, archive.member, text)
    return request.param, path, archive.member, rows


def test_an_archive_is_read_and_mixed(small):
    name, _, _, rows = small
    found = data.load(name)
    assert found.train_images.shape == (18, 7) and found.test_images.shape == (12, 7)
    assert found.classes == ("1", "2", "3", "4")
    order = np.random.RandomState(0).permutation(30)
    expected = [(rows[place][0] - 1, [255 * bit for bit in rows[place][1]]) for place in order]
    images = torch.cat([found.train_images, found.test_images]).tolist()
    labels = torch.cat([found.train_labels, found.test_labels]).tolist()
    assert list(zip(labels, images)) == expected
    pair = data.load(f"{name}:3-1")  # classes by number, from 0
    assert pair.classes == ("4", "2") and set(pair.train_labels.tolist()) == {0, 1}
    assert (pair.test_labels == 0).sum() == (found.test_labels == 3).sum()


def refused(name: str) -> str:
    with pytest.raises(DataNotFound) as caught:
        data.load(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_archive_says_what_where_and_how(small):
    name, path, _, _ = small
    path.unlink()
    message = refused(name)
    assert all(word in message for word in (name, f"{path.parent.name}/{path.name}",
                                            "--data DIR or DATA_ROOT"))


@pytest.mark.parametrize("change, says", [
    (lambda text: text[: len(text) // 2].rsplit(b"\n", 1)[0], "records, expected 30"),
    (lambda text: text.replace(b",1", b",2", 1), "line 1: expected 7 zeros and ones"),
    (lambda text: text.replace(b"0,", b"0;", 1), "line 1: expected 7 zeros and ones"),
    (lambda text: text.replace(b"\n", b",1\n", 1), "line 1: expected 7 zeros and ones"),
    (lambda text: b"9" + text.lstrip(b'"')[1:].replace(b'"', b"", 1), "class b'9', expected 1 to"),
    (lambda text: b"x" + text, "line 1: class"),
    (lambda text: text + b" " * 5000, "bytes, expected at most"),
])
def test_another_text_in_an_archive_is_refused(small, change, says):
    name, path, member, _ = small
    with tarfile.open(path) as file:
        text = file.extractfile(member).read()
    packed(path, member, change(text))
    message = refused(name)
    assert says in message and str(path) in message and "download it again" in message


def test_other_archives_are_refused(small, monkeypatch):
    name, path, member, _ = small
    packed(path, member, b"", kind=tarfile.SYMTYPE)
    assert f"expected one plain file {member}" in refused(name)
    packed(path, "other", b"1,0\n")
    assert f"expected one plain file {member}" in refused(name)
    path.write_bytes(b"not an archive")
    assert "cannot be read" in refused(name)
    archive = replace(archives.ARCHIVES[name], digest="0" * 64)
    monkeypatch.setitem(archives.ARCHIVES, name, archive)
    assert "has SHA-256" in refused(name)


@pytest.mark.skipif(not LOCATION.is_file(), reason="DATA_ROOT holds no Location archive")
def test_the_real_location_30():
    digest = hashlib.sha256(LOCATION.read_bytes()).hexdigest()
    assert digest == archives.ARCHIVES["location-30"].digest
    found = data.load("location-30")
    assert found.train_images.shape == found.test_images.shape == (2_505, 446)
    assert found.classes[0] == "1" and found.classes[-1] == "30"
    labels = torch.cat([found.train_labels, found.test_labels])
    assert labels.bincount().shape == (30,) and labels.bincount().min() > 90
    ones = torch.cat([found.train_images, found.test_images]).eq(255).sum(1).double().mean()
    assert 53 < ones < 55
    assert digest_of(found) == "f2cf73313395264158c98e5a3cb37824175f101e11a36051ede2a09767292f24"


# the house on records


def test_models_of_the_paper_take_the_closed_form():
    assert closed_form.supports(models.build("mlp-256-256", (100,), 100), 1)
    assert closed_form.supports(models.build("mlp-256-256", (1, 28, 28), 10), 3)
    for shape in ((1, 28, 28), (3, 32, 32), (1, 5, 7)):
        model = models.build("cnn-16-32", shape, 10)
        assert closed_form.supports(model, 3) and model(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("name", ["cnn", "resnet", "cnn-16-32"])
def test_convolutions_refuse_records(name):
    with pytest.raises(ValueError, match=r"inputs of shape \(100,\): expected images"):
        models.build(name, (100,), 10)


def test_cnn_16_32_refuses_images_of_one_pixel():
    with pytest.raises(ValueError, match="too small"):
        models.build("cnn-16-32", (1, 1, 4), 10)


@pytest.mark.parametrize("attack", [BadNets(base=0), FourPixel()])
def test_triggers_refuse_records(attack):
    moons = data.load("moons", train_size=50)
    labelled = data.Labelled(moons.train_images, moons.train_labels, moons.classes)
    with pytest.raises(ValueError, match=r"trigger on records of shape \(2,\): expected images"):
        attack.craft(labelled, seed=0)
    with pytest.raises(ValueError, match="trigger on records"):
        attack.goal.cases(labelled, seed=0)


def test_features_refuse_records():
    moons = data.load("moons")
    with pytest.raises(ValueError, match=r"features 'patches' of moons, .* \(2,\): expected"):
        features.extract("patches", moons, moons.test_images, public=100)


def test_a_backdoor_on_records_fails_with_one_clear_line(root, monkeypatch):
    monkeypatch.setenv("STUDY_STORE", str(root / "store"))
    short = Training(epochs=1.0, batch_size=100)
    run = Run(dataset="moons", model="linear", attack=BadNets(base=0), training=short)
    assert study.run([run])["status"].tolist() == ["failed"]
    reason = ledger.reason(ledger.find(run.key)[0])
    assert "trigger on records of shape (2,): expected images" in reason
