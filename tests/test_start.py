"""Runs that start from runs, poisons that are appended, scores that are kept, the laboratory."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from lib import attacks, ledger, privacy, study
from lib.attacks.badnets import BadNets
from lib.attacks.four_pixel import FourPixel
from lib.data import Labelled
from lib.defences import teachers
from lib.defences.dpsgd import DPSGD
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.defences.smoothing import Smoothing
from lib.goals.availability import Availability
from lib.goals.single_target import SingleTarget
from lib.study import Run, from_dict, inputs, measure, scores, start
from lib.training import Member, Training, member_batches

TRAINING = Training(epochs=2.0, batch_size=50)
TINY = Run(train_size=300, test_size=100, model="mlp", attack=BadNets(7, 1, 0.5),
           training=TRAINING)
BASE = TINY.in_world("C")
PLAIN = DPSGD(0.0, clip=False)


# ---- runs that start from runs

def test_the_key_of_a_start_is_part_of_the_key():
    one = TINY.with_(start=BASE)
    assert len({TINY.key, one.key, TINY.with_(start=BASE.with_(init_seed=1)).key}) == 3
    assert from_dict(one.to_dict()) == one and one.twin != one.in_world("C").key


def test_a_run_goes_on_from_the_last_weights_of_its_start(store):
    one = TINY.with_(start=BASE, training__epochs=0.01, training__lr=1e-9)
    again, first = study.fit(one)[0], study.fit(BASE)[0]
    test = inputs.shared(TINY)[1]
    assert torch.allclose(again.predict(test), first.predict(test), atol=1e-5)
    frame = study.run([one, BASE, TINY.with_(training__epochs=0.01, training__lr=1e-9)])
    assert (frame["status"] == "ok").all()
    assert frame["accuracy"][0] == frame["accuracy"][1] != frame["accuracy"][2]
    assert frame["start"][0] == BASE.key and frame["start"][1] == ""


@pytest.mark.parametrize("changes,says", [
    ({"model": "linear"}, "run start of model 'mlp': expected 'linear'"),
    ({"defence": PATE(5), "public": 50}, "it trains from scratch"),
    ({"start": BASE.with_(attack=BadNets(7, 1, 1e-9, relabel=True))}, "cannot be trained"),
    ({"start": BASE.with_(defence=Partition(3), training__sampling="shuffle")}, "an ensemble"),
    ({"start": BASE.with_(dataset="strokes-colour")}, "another architecture"),
    ({"start": BASE.with_(features="patches:8", public=50)}, "run start on features 'patches:8'"),
    ({"split": "tune"}, "run start with split 'test'")])
def test_a_start_that_cannot_be_used_is_told_in_a_line(store, changes, says):
    one = TINY.with_(**{"start": BASE, **changes})
    row = measure.train_rows([one])[0]
    assert row["status"] == "failed" and says in ledger.reason(row)


def test_epsilons_of_both_trainings_compose(store):
    noisy = DPSGD(1.0)
    first, second = BASE.with_(defence=noisy), TINY.with_(defence=noisy)
    alone = privacy.dpsgd_epsilon(1.0, 50 / 300, 12, 1e-5)
    frame = study.run([second.with_(start=first), second.with_(start=BASE), second])
    assert frame["epsilon"].tolist() == pytest.approx([2 * alone, math.inf, alone])
    assert frame["delta"][0] == pytest.approx(2e-5)
    given = frame["epsilon_given_start"]
    assert given[:2].tolist() == pytest.approx([alone, alone]) and math.isnan(given[2])
    assert frame["adjacency"].tolist() == ["add-remove", "none", "add-remove"]


def test_epsilons_of_a_chain_compose_to_its_first_link(store):
    noisy = DPSGD(1.0)
    alone = privacy.dpsgd_epsilon(1.0, 50 / 300, 12, 1e-5)
    private = BASE.with_(defence=noisy)
    three = TINY.with_(defence=noisy, start=private.with_(start=private))
    on_sand = TINY.with_(defence=noisy, start=private.with_(start=BASE))
    frame = study.run([three, on_sand])
    assert frame["epsilon"].tolist() == pytest.approx([3 * alone, math.inf])
    assert frame["epsilon_given_start"].tolist() == pytest.approx([alone, alone])


def test_stages_draw_noise_and_labels_of_their_own(store):
    """The same draws in two stages would cancel: one release minus the other shows the data."""
    one = TINY.with_(model="linear", defence=DPSGD(200.0), training__epochs=1 / 6,
                     training__momentum=0.0)
    first, second = study.fit(one)[0].weights, study.fit(one.with_(start=one))[0].weights
    initial = study.fit(one.with_(defence=DPSGD(0.0, max_grad_norm=1e-9)))[0].weights
    updates = torch.stack([first - initial, second - first])
    assert abs(torch.corrcoef(updates)[0, 1].item()) < 0.05
    assert updates.norm(dim=1).min() > 10 and one.with_(start=one).twin
    again = start.with_own_seeds(one.with_(start=one))
    other = start.with_own_seeds(one.with_(start=one, noise_seed=1))
    assert len({one.noise_seed, again.noise_seed, other.noise_seed}) == 3
    assert start.with_own_seeds(one) == one


@pytest.mark.parametrize("n,rows,batch,epochs,uses", [
    (91, 93, 30, 3.0, 4), (91, 91, 30, 3.0, 3), (100, 200, 50, 2.5, 3), (300, 330, 50, 2.0, 2)])
def test_a_record_of_shuffled_batches_is_paid_for_as_often_as_it_is_used(n, rows, batch, epochs,
                                                                         uses):
    one = TINY.with_(training=Training(epochs=epochs, batch_size=batch, sampling="shuffle"))
    made = DPSGD(2.0).guarantee(one, n, rows=rows)
    assert made.epsilon == privacy.shuffled_epsilon(2.0, uses, 1e-5)
    assert ("no bound links" in made.note) == (rows > n)
    member = Member(torch.arange(rows), torch.zeros(rows), batch, 0.1, records=n)
    batches = member_batches(member, "shuffle", torch.device("cpu"))
    drawn = torch.cat([next(batches) for _ in range(one.training.steps(n))])
    assert torch.bincount(drawn, minlength=rows).max() <= uses


def test_what_a_start_guarantees_comes_back_from_the_disk(store):
    one = BASE.with_(defence=DPSGD(1.0))
    made, kept = start.load(one), start.load(one)
    assert torch.equal(made.weights, kept.weights) and made.privacy == kept.privacy
    assert not start.load(BASE).privacy.holds


# ---- poisons that are appended

@dataclass(frozen=True)
class Copies:
    """`count` copies of the first image, with label 3, behind the clean records."""

    worlds: ClassVar[tuple[str, ...]] = ("P", "C")
    goal: ClassVar[Availability] = Availability()
    count: int = 30
    poisoned: bool = True

    @property
    def in_world(self):
        return "P" if self.poisoned else "C"

    def world(self, name):
        return replace(self, poisoned=name == "P")

    def craft(self, data, *, seed, lab):
        n = self.count if self.poisoned else 0
        images, labels = data.images[:1].expand(n, -1, -1, -1), torch.full((n,), 3)
        return attacks.appended(data, images, labels, truth=data.labels[:1].expand(n))


def appended_run(tmp_path, monkeypatch, **changes):
    text = Path(__file__).read_text("utf-8")
    (tmp_path / "mine.py").write_text(text[: text.index("TRAINING =")] + text[
        text.index("@dataclass(frozen=True)\nclass Copies"): text.index("def appended_run")])
    monkeypatch.chdir(tmp_path)
    return TINY.with_(**{"attack": {"name": "mine.py:Copies"}, "defence": DPSGD(1.0), **changes})


def test_appended_poisons_leave_the_mechanism_as_it_is(store, tmp_path, monkeypatch):
    """The same sample rate, steps and expected batch in every world: a bound links P to C."""
    one = appended_run(tmp_path, monkeypatch)
    rows = {r["key"]: r for r in measure.train_rows([one, one.in_world("C")])}
    dirty, clean = rows[one.key], rows[one.in_world("C").key]
    assert dirty["status"] == clean["status"] == "ok"
    assert dirty["privacy"] == clean["privacy"] and dirty["privacy"]["steps"] == 12
    poisoned = measure.poisoned(one)
    assert len(poisoned.rows) == 330 and int(poisoned.mask.sum()) == 30
    assert poisoned.labels[300:].eq(3).all() and poisoned.truth[300:].ne(3).any()
    assert poisoned.images()[300:].eq(poisoned.clean[0]).all()


def test_the_released_convention_lets_the_set_grow(store, tmp_path, monkeypatch):
    one = appended_run(tmp_path, monkeypatch, training__appended="grown")
    row = measure.train_rows([one])[0]
    assert row["privacy"]["sample_rate"] == pytest.approx(50 / 330)
    assert row["privacy"]["steps"] == round(2 * 330 / 50)
    assert "no bound links" in row["privacy"]["note"]


@pytest.mark.parametrize("defence,changes", [
    (Partition(5, twin=True), {"training__sampling": "shuffle"}),
    (PATE(5, teacher=Training("sgd", 0.1, epochs=1.0, batch_size=10, sampling="shuffle")),
     {"public": 100})])
def test_ensembles_take_appended_records(store, tmp_path, monkeypatch, defence, changes):
    one = appended_run(tmp_path, monkeypatch, defence=defence, **changes)
    rows = measure.train_rows([one.in_world("C")]) + measure.train_rows([one])
    assert [ledger.reason(row) for row in rows] == ["", ""]
    if isinstance(defence, Partition):  # 30 insertions, and no certified prediction differs
        assert rows[1]["facts"]["budget"] == 30.0 and rows[0]["facts"]["budget"] == 0.0
        assert rows[1]["facts"]["flips_certified"] == 0 and rows[1]["facts"]["printed"] is None
    else:
        assert rows[1]["facts"]["target_answered"] is None


def test_an_appended_record_changes_one_teacher():
    before = teachers._blocks(20, 20, 3)
    after = teachers._blocks(21, 20, 3)
    assert [torch.equal(a, b) for a, b in zip(before, after)] == [False, True, True]
    assert torch.cat(teachers._blocks(24, 20, 3)).sort().values.tolist() == list(range(24))


@pytest.mark.parametrize("defence,says", [
    (Smoothing(3, 0.5), "expected an attack that replaces records"),
    (Partition(5, by="index"), "expected by 'content'")])
def test_certificates_that_know_no_insertion_refuse_it(store, tmp_path, monkeypatch, defence, says):
    one = appended_run(tmp_path, monkeypatch, defence=defence, training__sampling="shuffle")
    row = measure.train_rows([one])[0]
    assert row["status"] == "failed" and says in ledger.reason(row)


def test_availability_is_measured_against_the_twin(store, tmp_path, monkeypatch):
    from lib.goals import parts

    one = appended_run(tmp_path, monkeypatch, defence=PLAIN, training__checkpoints=4)
    frame = study.run(study.worlds(one, "PC"))
    found = parts(frame)
    accuracy = frame.set_index("world")["accuracy"]
    assert found["rad"].iloc[0] == pytest.approx(1 - accuracy["P"] / accuracy["C"])
    assert found["rad_best"].iloc[0] >= 0 and "success" not in frame
    path = parts(study.curves(frame))
    assert path["rad"].iloc[-1] == found["rad"].iloc[0] and "rad_best" not in path


def test_appended_parts_must_fit():
    data = Labelled(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4), tuple("0123"))
    with pytest.raises(ValueError, match="expected the same number of each"):
        attacks.appended(data, data.images[:2], torch.zeros(3), truth=torch.zeros(2))


# ---- scores of single images

def test_scores_are_kept_beside_the_row_where_they_are_asked_for(store):
    one = TINY.with_(scores=True)
    row = measure.train_rows([one])[0]
    found = scores.load(one)
    assert found["clean"].shape == (100, 10) and len(found["cases"]) == len(found["rows"])
    accuracy = (found["clean"].argmax(1) == found["labels"]).double().mean().item()
    assert accuracy == pytest.approx(row["metrics"]["accuracy"])
    success = (found["cases"].argmax(1) == 1).double().mean().item()
    assert success == pytest.approx(row["metrics"]["success"])
    assert measure.identity(one) == measure.identity(TINY) and one.key != TINY.key
    for other, says in ((TINY, "keeps no scores"), (one.with_(init_seed=1),
                                                    "on the machine that trained it")):
        with pytest.raises(ValueError, match=says):
            scores.load(other)


def test_single_targets_are_measured(store, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom lib.attacks.badnets import BadNets\n"
        "from lib.goals.single_target import SingleTarget\n"
        "@dataclass(frozen=True)\nclass Mine(BadNets):\n"
        "    @property\n    def goal(self):\n"
        "        return SingleTarget((0, 2, 3), self.target, self.trigger)\n")
    monkeypatch.chdir(tmp_path)
    labels = inputs.private_and_test(TINY)[1].labels[[0, 2, 3]].tolist()
    target = next(name for name in range(10) if name not in labels and name != 7)
    one = TINY.with_(attack={"name": "mine.py:Mine", "target": target})
    frame = study.run(study.worlds(one, "PC"))
    assert frame["status"].tolist() == ["ok", "ok"] and frame["goal"].unique() == ["single_target"]
    assert frame["population"].tolist() == [3, 3] and frame["probability"].between(0, 1).all()


# ---- the laboratory

@pytest.mark.parametrize("features", ["none", "patches:8", "resnet-public:1"])
def test_the_encoder_is_the_victims_and_has_gradients(store, features):
    one = Run(dataset="strokes-colour", train_size=300, test_size=40, public=200, features=features,
              model="mlp")
    images = inputs.public_images(one).images[:3]
    lab = inputs.lab(one)
    found = lab.encode(images)
    expected = inputs.encoded(one, images)
    expected = expected.float() / 255 if features == "none" else expected
    assert torch.allclose(found.cpu(), expected, atol=2e-3)
    moving = images.double().float().requires_grad_()
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    slope = (torch.autograd.grad(lab.encode(moving).sum(), moving)[0] * direction).sum().item()
    step = 0.05
    ends = [lab.encode(images.float() + sign * step * direction).double().sum().item()
            for sign in (1, -1)]
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.1, abs=0.1)


def test_a_surrogate_learns_and_has_gradients_at_the_images(store):
    one = TINY.with_(public=100)
    lab, data = inputs.lab(one), inputs.private_and_test(one)[0]
    made = lab.surrogate("mlp", Training(epochs=20.0, batch_size=50), data, seed=3)
    logits = made.logits(data.images)
    assert (logits.argmax(1).cpu() == data.labels).double().mean() > 0.8
    moving = data.images[:2].float().requires_grad_()
    assert torch.autograd.grad(made.logits(moving)[:, 1].sum(), moving)[0].abs().sum() > 0
    assert made.hidden(data.images[:2]).shape == (2, 64)
    again = lab.surrogate("mlp", Training(epochs=20.0, batch_size=50), data, seed=3)
    assert torch.equal(again.logits(data.images), logits)


def test_what_a_laboratory_makes_is_made_once_for_all_that_share_it(store):
    calls = []

    def make():
        calls.append(1)
        return {"poison": torch.ones(2)}
    key = {"attack": "brewed", "fraction": 0.1, "seed": 0}
    for one in (TINY, TINY.with_(defence=DPSGD(1.0), init_seed=4), TINY.in_world("C")):
        assert inputs.lab(one).cached(key, make)["poison"].tolist() == [1.0, 1.0]
    assert len(calls) == 1
    inputs.lab(TINY.with_(train_size=200)).cached(key, make)
    inputs.lab(TINY).cached(key | {"seed": 1}, make)
    assert len(calls) == 3


def test_laboratories_of_other_attacks_and_records_are_apart(store):
    key, one = {"what": "poison"}, TINY.with_(public=50)
    labs = [inputs.lab(one), inputs.lab(one, records="public"),
            inputs.lab(one.with_(attack=FourPixel()))]
    for number, lab in enumerate(labs):
        made = lab.cached(key, lambda number=number: {"it": torch.tensor([number])})
        assert made["it"].item() == number
    assert torch.equal(labs[0].test.images, inputs.private_and_test(one)[1].images)


def test_a_picture_edited_meanwhile_is_stamped_anew(store, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for level in (0, 255):
        Image.new("L", (4, 4), level).save("mine.png")
        one = TINY.with_(attack=BadNets(7, 1, 0.5, pattern="mine.png"))
        assert inputs.cases(one)[0].images[0, 0, 24, 24] == level


def test_a_surrogate_follows_its_network(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings, data = Training(epochs=1.0, batch_size=50), inputs.private_and_test(TINY)[0]
    found = []
    for layer in ("ReLU", "Tanh"):
        (tmp_path / "net.py").write_text(
            "from torch import nn\ndef build(shape, classes):\n    return nn.Sequential("
            f"nn.Flatten(), nn.Linear(784, 8), nn.{layer}(), nn.Linear(8, classes))\n")
        made = inputs.lab(TINY).surrogate("net.py:build", settings, data, seed=0)
        found.append(made.parameters["1.weight"])
    assert not torch.equal(*found)


@pytest.mark.parametrize("goal", [SingleTarget((0,), 1), Availability()])
def test_every_goal_shows_every_image(goal):
    test = Labelled(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.full((4,), 2), tuple("0123"))
    assert goal.everyone(test, seed=0).rows.tolist() == [0, 1, 2, 3] and goal.base is None


def test_starts_are_trained_together_as_they_are_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "together"))
    bases = [TINY.with_(defence=DPSGD(noise)) for noise in (0.5, 1.0)]
    start.prepare(TINY.with_(start=base) for base in bases)
    together = [start.load(base) for base in bases]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "alone"))
    for base, found in zip(bases, together, strict=True):
        alone = start.load(base)
        assert torch.allclose(alone.weights, found.weights, atol=1e-3)
        assert alone.privacy == found.privacy
