"""An attack, a defence, a transform: one file each, found by its name."""

import importlib
import sys

import pytest

from lib import parts, study
from lib.attacks.badnets import BadNets
from lib.study import Run
from lib.training import Training

ATTACK = """
from dataclasses import dataclass
from lib.attacks import share_of
from lib.attacks.dirty_label import DirtyLabel

VERSION = 3


@dataclass(frozen=True)
class Stripe(DirtyLabel):
    fraction: float = 0.5

    def trigger(self, images, *, seed):
        stamped = images.clone()
        stamped[:, :, 0, :] = 255
        return stamped

    def victims(self, labels, *, seed):
        pool = self.candidates(labels, seed=seed)
        return pool[: share_of(self.fraction, len(pool))]


Attack = Stripe
"""
DEFENCE = """
from dataclasses import dataclass
import torch
from lib.defences import members
from lib.privacy import Guarantee

VERSION = 1


@dataclass(frozen=True)
class Half:
    def group(self, run):
        return ("half", run.model, run.training, run.precision)

    def train(self, runs, poisoned):
        first = [{"records": torch.arange(len(data.rows) // 2)} for data in poisoned]
        group = members.fit(runs, poisoned, first)
        return [members.trained(group, i, Guarantee.none("no noise")) for i in range(len(runs))]


Defence = Half
"""
TRANSFORM = """
from dataclasses import dataclass
from typing import ClassVar

VERSION = 2


@dataclass(frozen=True)
class Dim:
    mixes: ClassVar[str] = "none"
    factor: float = 0.5

    def draw(self, count, shape, random):
        return {}

    def apply(self, x, labels, draws):
        return x * self.factor, labels


Transform = Dim
"""
FILES = {
    "attack": ("stripe", ATTACK), "defence": ("half", DEFENCE), "transform": ("dim", TRANSFORM)
}
TINY = Run(train_size=200, test_size=80, model="mlp", attack=BadNets(7, 1, 0.5),
           training=Training(epochs=1.0, batch_size=50))


@pytest.fixture
def added(tmp_path, monkeypatch):
    """One file more in each folder, as if it lay beside the others."""
    for kind, (name, text) in FILES.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        package = importlib.import_module(parts.KINDS[kind].package)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    parts.names.cache_clear()
    yield
    parts.names.cache_clear()
    for kind, (name, _) in FILES.items():
        sys.modules.pop(f"{parts.KINDS[kind].package}.{name}", None)


def test_one_file_is_enough(added, store):
    one = TINY.with_(attack={"name": "stripe"}, defence={"name": "half"},
                     training__transforms=({"name": "dim", "factor": 0.9},))
    assert [parts.version(one.attack), parts.version(one.training.transforms[0])] == [3, 2]
    assert study.from_dict(one.to_dict()) == one
    frame = study.run(study.worlds(one, "PLTC"))
    assert (frame["status"] == "ok").all() and frame["world"].tolist() == list("PLTC")
    assert frame["attack.name"].unique() == ["stripe"] and frame["twin"].nunique() == 1


def test_names_are_those_of_the_files(added):
    assert {"badnets", "four_pixel", "stripe"} <= set(parts.names("attack"))
    assert "half" in parts.names("defence")
    assert {"crop", "dim", "flip"} <= set(parts.names("transform"))


@pytest.mark.parametrize("kind", FILES)
def test_an_unknown_name_is_told_with_the_known_ones(kind):
    with pytest.raises(ValueError, match=f"{kind} 'nobody': expected one of .*my_file.py:Name"):
        parts.build(kind, {"name": "nobody"})


def test_two_dataclasses_in_one_field_would_share_a_key(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass, field\nfrom lib.attacks.badnets import BadNets\n"
        "@dataclass(frozen=True)\nclass Left:\n    margin: int = 1\n"
        "@dataclass(frozen=True)\nclass Right:\n    margin: int = 1\n"
        "@dataclass(frozen=True)\nclass Mine(BadNets):\n"
        "    shape: Left | Right = field(default_factory=lambda: Left(3))\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="two runs could have the same key"):
        TINY.with_(attack={"name": "mine.py:Mine"})
