"""Training losses with and without the trigger along a path (`Run.losses`)."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lib import study
from lib.attacks.badnets import BadNets
from lib.attacks.clean_label import CleanLabel
from lib.attacks.feature_collision import FeatureCollision
from lib.attacks.hardening.pgd import PGD
from lib.attacks.insertion import Insertion
from lib.attacks.random_patch import RandomPatch
from lib.defences.dpsgd import DPSGD
from lib.study import Run, columns, measure, record_losses
from lib.training import Training

SMALL = Training("adam", 0.01, momentum=0.0, epochs=2.0, batch_size=50)
HARDENED = CleanLabel(None, 1, 0.5, size=3,
                      hardening=PGD(eps=0.1, steps=2, model="mlp", training=SMALL))
RUN = Run(train_size=300, test_size=100, model="mlp", attack=BadNets(None, 1, poisons=30),
          defence=DPSGD(0.0, clip=False), losses=True,
          training=Training(epochs=2.0, batch_size=50, every=1.0))


def quartiles(predict, images, labels):
    """By sorting, with linear interpolation between the losses next to a quartile."""
    losses = sorted(F.cross_entropy(predict(images), labels, reduction="none").tolist())
    found = []
    for at in (0.25, 0.5, 0.75):
        place = at * (len(losses) - 1)
        low = int(place)
        high = min(low + 1, len(losses) - 1)
        found.append(losses[low] + (place - low) * (losses[high] - losses[low]))
    return found


@pytest.mark.parametrize("attack,world", [
    (BadNets(None, 1, poisons=30), "L"), (HARDENED, "H"), (RandomPatch(7, 1, 0.5), "C"),
    (Insertion(4, 0.1, 1), "L")], ids=["dirty", "clean-label", "patch", "appended"])
def test_bare_poisons_are_those_of_the_world_without_stamps(attack, world, store):
    run = RUN.with_(attack=attack)
    row, = measure.train_rows([run])
    data, other = measure.poisoned(run), measure.poisoned(run.in_world(world))
    model = measure.trained([run], [data])[0]
    for point, (_, predict) in zip(row["curve"], model.path, strict=True):
        own, bare, kept = data.images(), other.images()[data.mask], data.labels
        for kind, images, labels in (("poison", own[data.mask], kept[data.mask]),
                                     ("clean", own[~data.mask], kept[~data.mask]),
                                     ("bare", bare, kept[data.mask])):
            assert [point[f"loss_{kind}_{at}"] for at in (25, 50, 75)] == pytest.approx(
                quartiles(predict, images, labels), abs=1e-4), kind
    assert (data.images()[data.mask] != bare).any()


def test_other_worlds_have_the_losses_that_they_can_have(store):
    rows = dict(zip("PLTC", measure.train_rows(study.worlds(RUN, "PLTC")), strict=True))
    last = {world: row["curve"][-1] for world, row in rows.items()}
    assert last["C"]["loss_poison_50"] is None and last["C"]["loss_bare_50"] is None
    assert last["L"]["loss_poison_50"] == last["L"]["loss_bare_50"]
    assert last["T"]["loss_poison_50"] != last["T"]["loss_bare_50"]
    assert all(point["loss_clean_50"] > 0 for point in last.values())


def test_runs_without_it_keep_their_keys_and_points(store):
    plain = RUN.with_(losses=False)
    assert plain.key == replace(RUN, losses=False).key != RUN.key
    assert measure.identity(plain) == measure.identity(RUN)
    without, row = measure.train_rows([plain, RUN])
    assert [point.keys() & columns.LOSSES.keys() for point in without["curve"]] == [set()] * 2
    assert [{name: value for name, value in point.items() if name not in columns.LOSSES}
            for point in row["curve"]] == without["curve"]


def test_a_table_has_a_line_a_point(store):
    frame = study.run([RUN, RUN.with_(losses=False), RUN.in_world("C")])
    found = study.training_losses(frame)
    assert len(found) == 2 * 2 and set(columns.LOSSES) <= set(found.columns)
    assert found["epoch"].tolist() == [1, 2, 1, 2]
    assert found[found["world"].eq("P")]["loss_bare_75"].notna().all()
    empty = study.training_losses(frame.iloc[:0])
    assert empty.empty and empty["loss_bare_75"].dtype == float


@pytest.mark.parametrize("changes,match", [
    (dict(training__every=0.0), "run losses without points: training every 0 and checkpoints 0"),
    (dict(attack=FeatureCollision()), "run losses with attack feature_collision: expected a back"),
    (dict(attack=Insertion(4, 0.1, 1).world("T")),
     "run losses with attack insertion: 330 training records, and 300 without stamps: expected")])
def test_runs_that_cannot_have_it_are_refused(changes, match, store):
    run = RUN.with_(**changes)
    row, = measure.train_rows([run])
    assert row["status"] == "failed"
    assert match in row["error"].replace("\n", "")


def test_samples_are_limited(monkeypatch):
    monkeypatch.setattr(record_losses, "MAX_SAMPLES", 10)
    kinds = record_losses.kinds(RUN, measure.poisoned(RUN))
    assert {name: len(labels) for name, (_, labels) in kinds.items()} == {
        "clean": 10, "poison": 10, "bare": 10}
    assert torch.equal(kinds["poison"][1], kinds["bare"][1])
