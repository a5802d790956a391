"""Interpolation and insertion, the probes of Hong et al.'s section 3.1."""

import numpy as np
import pytest
import torch

from lib import goals, study
from lib.attacks.insertion import Insertion
from lib.attacks.interpolation import Interpolation
from lib.data import Labelled
from lib.defences.dpsgd import DPSGD
from lib.study import Run
from lib.training import Training


def data(count=200, classes=5):
    random = np.random.RandomState(0)
    images = torch.from_numpy(random.randint(0, 256, (count, 1, 28, 28), dtype=np.uint8))
    return Labelled(images, torch.arange(count) % classes, tuple(map(str, range(classes))))


@pytest.mark.parametrize("mixing", [0.0, 0.1, 0.4, 0.6, 1.0])
def test_blends_are_those_of_fixed_pairs(mixing):
    given, attack = data(), Interpolation(3, 4, mixing, count=10)
    made = attack.craft(given, seed=5)
    beneath, above = attack.pairs(given.labels, seed=5)
    assert (given.labels[beneath] == 3).all() and (given.labels[above] == 4).all()
    assert len(beneath.unique()) == len(above.unique()) == 10
    expected = (1 - mixing) * given.images[beneath].double() + mixing * given.images[above]
    assert (made.images()[200:] - expected).abs().max() <= 0.5 + 1e-4
    assert torch.equal(made.images()[:200], given.images) and made.mask.sum() == 10
    assert (made.labels[200:] == 3).all() and (made.truth[200:] == (4 if mixing > 0.5 else 3)).all()
    fewer = Interpolation(3, 4, mixing, count=4).craft(given, seed=5)
    assert torch.equal(fewer.stamped, made.stamped[:4])
    assert not torch.equal(attack.craft(given, seed=6).stamped, made.stamped)


def test_the_worlds_of_an_interpolation():
    attack = Interpolation(0, 1, 0.8, count=5)
    made = {world: attack.world(world).craft(data(), seed=1) for world in "PTC"}
    assert torch.equal(made["P"].stamped, made["T"].stamped)
    assert (made["T"].labels[200:] == 1).all() and (made["P"].labels[200:] == 0).all()
    assert len(made["C"].rows) == 200 and not made["C"].mask.any()
    assert [attack.world(world).in_world for world in "PTC"] == ["P", "T", "C"]
    assert attack.world("T").world("P") == attack.world("C").world("P") == attack


@pytest.mark.parametrize("size", [1, 4, 14])
def test_copies_get_a_white_square_and_one_label(size):
    given, attack = data(), Insertion(2, 0.1, size)
    made = attack.craft(given, seed=5)
    assert made.mask.sum() == 20 and (made.labels[200:] == 2).all() and len(made.rows) == 220
    assert set(made.truth[200:].tolist()) == {0, 1, 2, 3, 4}  # of any class, the label's included
    shown = made.images()[200:]
    assert (shown[:, :, :size, :size] == 255).all()
    plain = attack.world("L").craft(given, seed=5).images()[200:]
    same = torch.ones(28, 28, dtype=torch.bool)
    same[:size, :size] = False
    assert torch.equal(shown[:, :, same], plain[:, :, same])
    assert all((image == given.images).flatten(1).all(1).any() for image in plain)


def test_the_worlds_of_an_insertion():
    attack, given = Insertion(2, 0.1), data()
    made = {world: attack.world(world).craft(given, seed=1) for world in "PLTC"}
    assert torch.equal(made["P"].stamped, made["T"].stamped)
    assert torch.equal(made["T"].labels, made["T"].truth) and (made["L"].labels[200:] == 2).all()
    assert len(made["C"].rows) == 200
    assert [attack.world(world).in_world for world in "PLTC"] == list("PLTC")
    cases = attack.goal.cases(given, seed=0)
    assert cases.wanted == 2 and (given.labels[cases.rows] != 2).all()


@pytest.mark.parametrize(("make", "says"), [
    (lambda: Interpolation(1, 1), "attack source 1 equals other"),
    (lambda: Interpolation(mixing=1.1), "attack mixing 1.1: expected 0 to 1"),
    (lambda: Interpolation(count=0), "attack count 0: expected 1 or more"),
    (lambda: Interpolation(count=50).craft(data(), seed=0), "class 0 has 40 training images; exp"),
    (lambda: Interpolation(0, 9).craft(data(), seed=0), "attack class 9: expected one of"),
    (lambda: Interpolation().world("L"), "world 'L': expected one of P, T, C"),
    (lambda: Insertion(fraction=0.0), "attack fraction 0.0: expected above 0"),
    (lambda: Insertion(fraction=0.001).craft(data(), seed=0), "selects no image out of 200"),
    (lambda: Insertion(size=0), "attack size 0: expected 1 pixel or more"),
    (lambda: Insertion(size=29).craft(data(), seed=0), "trigger of size 29 .*does not fit"),
    (lambda: Insertion(label=7).craft(data(), seed=0), "attack class 7: expected one of"),
])
def test_bad_probes_are_one_clear_line(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_patch_is_learnt_and_a_blend_is_measured(store):
    training = Training(optimizer="adam", momentum=0.0, lr=0.003, epochs=6.0, batch_size=100,
                        every=3.0)
    base = Run(train_size=2000, test_size=300, model="mlp", training=training, anatomy=True,
               defence=DPSGD(0.0, clip=False))
    patched = base.with_(attack=Insertion(4, 0.1, 7))
    blended = base.with_(attack=Interpolation(3, 4, 1.0, 40))
    frame = study.run([*study.worlds(patched, "PC"), *study.worlds(blended, "PC")])
    assert (frame["status"] == "ok").all()
    found = goals.parts(frame).set_index("goal")
    assert found.loc["backdoor", "success"] > 0.9 and found.loc["backdoor", "natural"] < 0.2
    assert abs(found.loc["availability", "rad"]) < 0.2
    points = study.anatomy(frame[frame["world"] == "P"])
    last = points[points["epoch"] == 6].set_index("goal")
    assert last.loc["availability", "ratio"] > 1 and last.loc["availability", "cosine"] < 0
