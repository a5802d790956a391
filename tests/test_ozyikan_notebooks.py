"""What notebooks 40 and 41 draw, on made-up rows: the reach of a certificate, certificates on one
axis, paired differences, tables, and the runs that they ask for.
"""

import math

import pandas as pd
import pytest
from test_ozyikan_smoothing import FACTS, dpa, falls, rab, table

from lib.figures.display import svg
from lib.papers.ozyikan import common_axis, differences, headlines, reach, summaries
from lib.papers.ozyikan.rab import SetUp, ensembles
from lib.papers.ozyikan.rab import tested as runs_tested
from lib.verdicts import judgement

SIZES = {"tested": 100, "population": 50}


def measured(rows):
    return table(rows).assign(weights="last", **SIZES)


# ---------------------------------------------------------------- the reach of a certificate

def test_reach_is_the_attack_over_the_ceiling_by_noise():
    rows = rab(of=lambda noise, share: falls(noise, share) | {
        "radius_ceiling": 1.5 * noise, "radius_max": noise, "budget": 1000 * share})
    found = reach.smoothing(measured(rows), 0.02)
    assert found["noise"].tolist() == [0.5, 1.0, 2.0]
    assert found["factor"].tolist() == pytest.approx([20 / 0.75, 20 / 1.5, 20 / 3])
    assert found["predictions"].tolist() == [4 * 150] * 3 and not found["certified"].any()
    assert (found["images"] == 4000).all() and (found["poisons"] == 80).all()
    smaller = measured([*rows, *rab(of=falls, models=100)])
    assert reach.smoothing(smaller, 0.02).equals(found), "those with the most models"


def test_reach_of_votes_by_the_number_of_parts():
    found = reach.voting(measured(dpa()), 0.02)
    assert found["k"].tolist() == [50, 250, 500]
    assert found["at most"].tolist() == [25, 125, 250]
    assert found["factor"].tolist() == pytest.approx([16, 3.2, 1.6])


@pytest.mark.parametrize("draw, rows", [(headlines.rab, rab(of=falls)), (headlines.dpa, dpa())])
def test_headlines_are_drawn_of_rows_and_say_what_is_certified(draw, rows):
    found = draw(measured(rows))
    drawing = svg(found.figure, alt=found.alt)
    assert "certified against this attack" in drawing and "times" in drawing
    assert found.finding and found.caption and len(found.data) == 3


# ---------------------------------------------------------------- one axis

@pytest.mark.parametrize("radius", [0.0, 0.2, 0.5, 1.0, 1.9, 2.0, 2.1, 7.3])
@pytest.mark.parametrize("each", [0.5, 1.0, 1.3])
def test_images_stay_strictly_inside_the_radius(radius, each):
    count = common_axis._by_norm({"radius": radius, common_axis.LARGEST_NORM: each})
    inside = [number for number in range(300) if number and math.sqrt(number) * each < radius]
    assert count == max(inside, default=0)


def test_averages_and_shares_are_those_of_a_loop():
    tables = {0: {0: 0.9, 1: 0.5, 3: 0.2, 4: 0.0}, 1: {0: 0.8, 1: 0.6, 2: 0.4, 3: 0.0}}
    found = pd.DataFrame([
        {"series": "DPA, 50 parts", "attack.target": target, "attack_seed": target,
         "radius": radius, "correct": share}
        for target, own in tables.items() for radius, share in own.items()])

    def slow(count):
        return sum(max([share for radius, share in own.items() if radius >= count], default=0.0)
                   for own in tables.values()) / len(tables)

    means = common_axis.averages(found).set_index("radius")["correct"]
    assert means.to_dict() == pytest.approx({count: slow(count) for count in range(5)})
    for count in (1, 2, 3, 4, 9):
        assert common_axis.at(found, "DPA, 50 parts", count) == pytest.approx(slow(count))
    assert math.isnan(common_axis.at(found, "RAB, noise 1", 1))


# ---------------------------------------------------------------- differences and tables

def test_rab_less_dpa_is_paired_by_attack():
    one = measured(rab(pair=False, wobble=0, of=lambda noise, share: {"accuracy": 0.8 - noise}))
    other = measured(dpa(wobble=0, of=lambda k, share: {"accuracy": k / 1000}))
    found = differences.less_dpa(one, other, "accuracy").groupby("what")["difference"]
    assert found.mean().to_dict() == pytest.approx({
        f"DPA, {k} parts": 0.3 - k / 1000 for k in (50, 250, 500)})
    assert (found.count() == 4).all()
    assert differences.finding(differences.less_dpa(one, other.iloc[:0], "accuracy")) == ""


def test_intervals_need_three_instances_and_stay_within_the_measure():
    frame = measured(rab(pairs=3, noises=[0.5], shares=[0.02], wobble=0)).query("world == 'P'")
    frame = frame.assign(success=[0.0, 0.5, 1.0])
    cell = summaries.means(frame, ["defence.noise"], ["success"])["attack success"].iloc[0]
    assert cell == "0.500 [0.000, 1.000]"
    assert judgement.estimate(frame["success"]).high > 1
    two = summaries.means(frame.iloc[:2], ["defence.noise"], ["success"])
    assert two["attack success"].iloc[0] == 0.25


def test_flips_are_counted_in_words():
    assert FACTS["certified_count"] == 0
    frame = measured(rab(pairs=2, noises=[0.5], shares=[0.02], certified_count=1000,
                         flips_certified=0, flips_other=7)).query("world == 'P'")
    assert summaries.tested_finding(frame).startswith("Of 2,000 predictions") and \
        "none came out" in summaries.tested_finding(frame)
    assert summaries.tested_finding(frame.iloc[:0]) == ""


# ---------------------------------------------------------------- runs

def test_a_setup_names_its_binary_tasks_and_leaves_out_what_has_no_rate():
    training = {"optimizer": "sgd", "epochs": 1.0, "batch_size": 10, "sampling": "shuffle"}
    setup = SetUp({"dataset": "strokes", "train_size": 100}, [[1, 0], [6, 8]], training, 1.0,
                  "fast")
    runs = ensembles(setup, {0.5: 0.1}, 7, noises=[0.5, 1.0], shares=[0.1, 0.0])
    assert [(one.dataset, one.attack_seed, one.attack.target) for one in runs] == [
        ("strokes:1-0", 0, 0), ("strokes:6-8", 1, 0)] * 2
    assert {(one.defence.noise, one.training.lr) for one in runs} == {(0.5, 0.1)}
    assert {one.attack.in_world for one in runs} == {"P", "C"}
    assert runs_tested(setup, {}, [2], 0.1, runs[0].defence) == []
    targets = SetUp({"dataset": "strokes"}, [3, 4], training, 1.0, "fast").instances()
    assert [(one.dataset, one.attack.target) for one in targets] == [("strokes", 3), ("strokes", 4)]
