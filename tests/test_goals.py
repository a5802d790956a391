"""Goals: who counts, how success is scored, and what twins in other worlds add."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from lib import goals, metrics
from lib.attacks.badnets import BadNets
from lib.data import Labelled
from lib.goals import Predictions, parts
from lib.goals.availability import Availability
from lib.goals.backdoor import Backdoor
from lib.goals.single_target import SingleTarget

CLASSES = tuple("0123456789")


def images(count=60, seed=0):
    random = np.random.RandomState(seed)
    pixels = torch.from_numpy(random.randint(0, 256, (count, 1, 28, 28)).astype(np.uint8))
    return Labelled(pixels, torch.arange(count) % 10, CLASSES)


def logits(count, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).randn(count, 10))


# ---- one model

@pytest.mark.parametrize("base", [7, None])
def test_a_backdoor_counts_stamped_images_of_the_attacked_classes(base):
    test, attack = images(), BadNets(base, 1)
    goal = attack.goal
    found = goal.cases(test, seed=3)
    expected = (test.labels == 7 if base else test.labels != 1).nonzero().flatten()
    assert torch.equal(found.rows, expected) and found.wanted == 1
    assert torch.equal(found.images, attack.trigger(test.images[expected], seed=3))
    assert torch.equal(goal.everyone(test, seed=3).images[expected], found.images)
    clean, shown = logits(60), logits(len(expected), 1)
    own = metrics.attack(clean, shown, test.labels, target=1, base=base).as_dict()
    assert goal.score(Predictions(clean, shown, test.labels), found) == own
    assert tuple(own) == goal.columns


def test_attacks_of_other_strength_or_world_share_their_cases():
    goal = BadNets(7, 1, 0.5).goal
    assert goal == BadNets(7, 1, 0.1).world("L").goal and hash(goal) == hash(BadNets(7, 1).goal)
    assert goal != BadNets(7, 1, size=5).goal and goal != BadNets(7, 2).goal


def test_single_targets_are_scored_by_hand():
    test, goal = images(), SingleTarget((5, 17, 28), 1)
    found = goal.cases(test, seed=0)
    assert torch.equal(found.images, test.images[[5, 17, 28]])
    shown = torch.tensor([[0.0, 3.0, 1.0], [2.0, 1.0, 0.0], [0.0, math.inf, 0.0]])
    shown = torch.cat([shown, torch.full((3, 7), -9.0)], 1)
    score = goal.score(Predictions(logits(60), shown, test.labels), found)
    sure = [torch.softmax(row.double(), 0)[1].item() for row in shown[:2]]
    assert score["success"] == pytest.approx(1 / 3)  # the last row is not a prediction
    assert score["probability"] == pytest.approx(sum(sure) / 3) and math.isnan(score["margin"])
    score = goal.score(Predictions(logits(60), shown[:2], test.labels), found)
    assert score["margin"] == pytest.approx((2.0 - 1.0) / 2) and set(score) == set(goal.columns)


def test_single_targets_may_be_stamped():
    test, patch = images(), BadNets(7, 1).trigger
    found = SingleTarget((5, 17), 1, patch).cases(test, seed=2)
    assert torch.equal(found.images, patch(test.images[[5, 17]], seed=2))


@pytest.mark.parametrize("make,says", [
    (lambda: SingleTarget((), 1), "targets []"), (lambda: SingleTarget((3, 3), 1), "only once"),
    (lambda: SingleTarget((60,), 1).cases(images(), seed=0), "places from 0 to 59"),
    (lambda: SingleTarget((11,), 1).cases(images(), seed=0), "target 11 is of class 1"),
    (lambda: SingleTarget((5,), 10).cases(images(), seed=0), "classes, 0 to 9"),
    (lambda: Availability((60,)).cases(images(), seed=0), "places from 0 to 59"),
    (lambda: Availability(tuple(range(60))).cases(images(), seed=0), "expected fewer than")])
def test_goals_out_of_range_are_refused(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_availability_counts_all_images_but_the_donors():
    test, goal = images(), Availability(tuple(range(30)))
    found = goal.cases(test, seed=0)
    assert len(found.images) == 0 and found.rows.tolist() == list(range(30, 60))
    right = torch.eye(10)[test.labels].double()
    right[:45] = 0.0  # calls class 0 where it knows nothing
    score = goal.score(Predictions(right, right[:0], test.labels), found)
    hits = (test.labels[30:45] == 0).sum().item() + 15
    assert score["accuracy"] == pytest.approx(hits / 30) and score["tested"] == 30
    assert set(score) == set(goal.columns)


# ---- twins

def table():
    """Two backdoors in four worlds; the second one's L world is missing."""
    rows = []
    for base, skip in ((0, ""), (1, "L")):
        for world, floor, success in (("C", 0.1, 0.2), ("T", 0.1, 0.3), ("L", 0.3, 0.35),
                                      ("P", 0.4, 0.9)):
            if world not in skip:
                rows.append({
                    "key": f"{base}{world}", "twin": f"{base}P", "goal": "backdoor",
                    "weights": "last", "world": world, "attack.base": base, "unknown": world,
                    "floor": floor + base / 100, "success": success,
                    "lift": success - floor - base / 100,
                    "trigger_auc": {"C": 0.6}.get(world, 0.9),
                    "target_recall": {"C": 0.9}.get(world, 0.7)})
    return pd.DataFrame(rows)


def test_parts_of_a_backdoor():
    """The column `unknown`, which differs between twins, changes nothing."""
    found = parts(table().sample(frac=1, random_state=1)).sort_values("attack.base")
    assert found["world"].tolist() == ["P", "P"] and found["attack.base"].tolist() == [0, 1]
    assert found["natural"].tolist() == [pytest.approx(0.1), pytest.approx(0.11)]
    assert found["collateral"].tolist() == [pytest.approx(0.3)] * 2
    assert found["effect"].iloc[0] == pytest.approx(0.5 - 0.05)
    assert found["blind"].iloc[0] == pytest.approx(0.35)
    assert math.isnan(found["effect"].iloc[1]) and math.isnan(found["blind"].iloc[1])
    assert found["auc_clean"].tolist() == [0.6, 0.6]
    assert found["lost_recall"].tolist() == [pytest.approx(0.2)] * 2
    whole = found["natural"] + found["collateral"] + found["lift"]
    assert whole.tolist() == pytest.approx(found["success"].tolist())


def test_hardened_only_takes_the_place_of_relabelled_only():
    frame = table()
    frame.loc[frame["world"] == "L", "world"] = "H"
    assert parts(frame)["effect"].equals(parts(table())["effect"])
    assert parts(frame)["blind"].equals(parts(table())["blind"])


def test_twins_are_joined_by_their_name_alone():
    frame = table()
    frame.loc[frame["world"] == "C", "twin"] = "another run"
    assert parts(frame)["natural"].isna().all() and parts(frame)["effect"].notna().any()


def test_points_of_a_path_and_averaged_weights_meet_their_own_twins():
    one = pd.concat([table().assign(step=step, weights=weights, floor=table()["floor"] + more)
                     for step, weights, more in ((1, "last", 0), (2, "last", 10),
                                                 (2, "tail", 20))], ignore_index=True)
    found = parts(one)
    assert found["natural"].round(2).tolist() == [0.1, 0.11, 10.1, 10.11, 20.1, 20.11]


def test_order_and_index_are_kept_where_goals_are_mixed():
    target = pd.DataFrame([{"twin": "t", "goal": "single_target", "weights": "last", "world": w,
                            "success": s} for w, s in (("P", 0.9), ("C", 0.25))])
    drop = pd.DataFrame([{"twin": "a", "goal": "availability", "weights": "last", "world": w,
                          "accuracy": a, "best_accuracy": b}
                         for w, a, b in (("P", 0.6, 0.85), ("C", 0.8, 0.8))])
    mixed = pd.concat([drop, table(), target], ignore_index=True)
    found = parts(mixed)
    assert found.index.tolist() == mixed.index[mixed["world"] == "P"].tolist()
    assert found["goal"].tolist() == ["availability", "backdoor", "backdoor", "single_target"]
    assert found["rad"].iloc[0] == pytest.approx(0.25) and found["rad_best"].iloc[0] == 0.0
    assert found["excess"].iloc[3] == pytest.approx(0.65)
    assert found["natural"].iloc[3] == 0.25


def test_parts_of_failed_repeated_and_absent_rows():
    frame = table()
    failed = frame[frame["key"] == "0C"].assign(floor=math.nan, lift=math.nan, trigger_auc=math.nan)
    both = parts(pd.concat([failed, frame, frame], ignore_index=True))
    assert len(both) == 4 and both["natural"].notna().all()
    only = parts(pd.concat([failed, frame[frame["key"] != "0C"]]))
    assert only["natural"].isna().tolist() == [True, False]
    empty = parts(frame.iloc[:0])
    assert len(empty) == 0 and {"natural", "collateral", "effect", "auc_clean"} <= set(empty)
    with pytest.raises(ValueError, match="world"):
        parts(frame.drop(columns="world"))


def test_golden_versions_of_the_goals():
    """If what a goal counts changes, raise its VERSION: rows made before would mean another."""
    versions = {name: goals.module(name).VERSION
                for name in ("backdoor", "single_target", "availability")}
    assert versions == {"backdoor": 1, "single_target": 1, "availability": 1}
    assert [Backdoor.name, SingleTarget.name, Availability.name] == list(versions)
