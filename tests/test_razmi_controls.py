"""What notebooks 12 and 16 compare: their headlines beside a plain reading of the published rows,
the runs that they ask for, and their tables.
"""

import json

import numpy as np
import pandas as pd
import pytest

from lib import papers
from lib.attacks.badnets import BadNets
from lib.defences.pate import PATE
from lib.papers.razmi import bagging, figure2, figure5, label_methods, labelled, priors
from lib.paths import RESULTS
from lib.study import Run


def attacked(name, fraction):
    """The attacked rows of a notebook at one poisoned share, as they lie in its file."""
    rows = [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text().splitlines()]
    return [row for row in rows if row["run"]["attack"]["stamp"] and row["run"]["attack"]["relabel"]
            and row["run"]["attack"]["fraction"] == fraction]


def by_pair(rows, value=lambda row: row["metrics"]["lift"], **defence):
    """{pair: value} of the rows with these settings of the defence; no pair twice."""
    found = {}
    for row in rows:
        run = row["run"]
        if all(run["defence"].get(name) == wanted for name, wanted in defence.items()):
            pair = f"{run['attack']['base']} to {run['attack']['target']}"
            assert pair not in found
            found[pair] = value(row)
    return found


def read_at(curve, accuracy):
    """Lift on the straight line between the points where a path first was as accurate."""
    best, before = -1.0, None
    for point in curve:
        if point["accuracy"] <= best:
            continue
        best = point["accuracy"]
        if best >= accuracy:
            share = (accuracy - before["accuracy"]) / (best - before["accuracy"])
            return before["lift"] + share * (point["lift"] - before["lift"])
        before = point
    raise AssertionError("never as accurate")


def shown(notebook, by):
    """{comparison: {pair: difference}} of a headline's data."""
    data = papers.drawn(notebook).data
    return {name: dict(zip(group["pair"], group["difference"], strict=True))
            for name, group in data.groupby(by)}


def test_pate_is_held_against_plain_sgd_and_its_own_parts():
    rows = attacked("12_pate", 0.1)
    quiet = dict(name="pate", selection_noise=0.0, result_noise=0.0, threshold=None, labels="votes")
    own = by_pair(rows, lambda row: row["metrics"], **quiet, voters=None, pool="stamped")
    plain = [row for row in rows if row["run"]["training"]["checkpoints"]]
    curves = by_pair(plain, lambda row: row["curve"], name="dpsgd")
    others = {"plain SGD, trained to the end": by_pair(plain, name="dpsgd"),
              "plain SGD when it was as accurate": {
                  pair: read_at(curves[pair], one["accuracy"]) for pair, one in own.items()},
              "a student of one of its teachers": by_pair(rows, **quiet, voters=1),
              "a student that never saw a stamped image": by_pair(rows, **quiet, pool="clean")}
    found = shown("12_pate", "than")
    assert found.keys() == others.keys() and len(own) == 10
    for name, other in others.items():
        assert found[name] == pytest.approx({p: own[p]["lift"] - other[p] for p in own}), name


def test_the_prior_is_held_against_randomised_response():
    rows = attacked("16_label_dp", 0.5)
    settings = dict(name="lpmst", epsilon=1.0, temperature=0.1, split=[0.4, 0.6], prior="model",
                    top=None, as_released=False, warm_start=True)
    own, other = (by_pair(rows, lambda row: row["metrics"], **one)
                  for one in (settings, dict(name="label_noise")))
    found = shown("16_label_dp", priors.MEASURE)
    assert len(own) == 3
    for metric, text in priors.MEASURES.items():
        assert found[text] == pytest.approx({p: own[p][metric] - other[p][metric] for p in own})
    success, floor, lift = (found[text] for text in priors.MEASURES.values())
    assert success == pytest.approx({pair: floor[pair] + lift[pair] for pair in success})


# ---------------------------------------------------------------- runs

BASE = Run(attack=BadNets(fraction=0.5))
METHODS = label_methods.Methods(
    BASE, {"LP-2ST": [(1.0, 0.001), (4.0, 0.003)], "ALIBI": [(1.0, 0.01)]}, 20, 0.1, [0.4, 0.6])


@pytest.mark.parametrize(("epsilon", "rate"), [(0.5, 0.001), (1.0, 0.001), (8.0, 0.003),
                                               (None, 0.003)])
def test_methods_train_at_the_rate_of_the_nearest_epsilon(epsilon, rate):
    two_stage, response = METHODS.lp2st(epsilon), METHODS.randomised_response(epsilon)
    assert (two_stage.training.lr, response.training.lr) == (rate, rate)
    assert METHODS.alibi(epsilon).training.lr == 0.01
    assert (two_stage.defence.epsilon, two_stage.defence.split) == (epsilon, (0.4, 0.6))


def test_controls_differ_from_each_other():
    runs = priors.controls(METHODS, 1.0)
    assert len({one.key for one in runs.values()}) == len(runs) == 8


def test_selection_noise_is_swept_over_a_threshold():
    start = BASE.with_(defence=PATE(10))
    swept = figure2.sweep(start, "defence.selection_noise", [0.0, 5.0], [[0, 8], [1, 9]])
    assert [one.defence.selection_noise for one in swept] == [0.0, 0.0, 5.0, 5.0]
    assert {one.defence.threshold for one in swept} == {0.0}
    kept = figure2.sweep(start.with_(defence__threshold=6.0), "defence.selection_noise", [5.0],
                         [[0, 8]])
    assert kept[0].defence.threshold == 6.0
    assert figure2.sweep(start, "defence.teachers", [5], [[0, 8]])[0].defence.threshold is None


# ---------------------------------------------------------------- tables

def test_the_oracle_gains_only_where_pairs_disagree():
    def row(pair, split, success):
        return {"attack.base": pair, "attack.target": 9, "attack_seed": pair, "accuracy": 0.5,
                "success": success, "defence.temperature": 0.1, "defence.split": split,
                "key": f"{pair}{split}", "weights": "last"}

    wide, narrow = (0.8, 0.2), (1.0,)
    frame = pd.DataFrame([row(0, wide, 0.2), row(0, narrow, 0.4), row(1, wide, 0.2),
                          row(1, narrow, 0.4), row(2, wide, 0.6), row(2, narrow, 0.5)])
    found = figure5.chosen_on_the_attack([frame, frame]).set_index("pair")
    assert np.allclose(found["optimism"], [0, 0, 0.1])
    assert found.loc["2 to 9", "best on this pair"] == "temperature 0.1, split 100/0"
    assert figure5.chosen_on_the_attack([frame.assign(accuracy=np.nan)]).empty


def test_differences_are_paired_and_in_points():
    def frame(name, lifts):
        return pd.DataFrame({bagging.CONTROL: name, "attack.base": range(3), "attack.target": 9,
                             "attack_seed": range(3), "lift": lifts})

    own, other = frame("own", [0.1, 0.5, 0.9]), frame("other", [0.2, 0.65, 1.0])
    assert labelled.minus(own, other, "lift") .startswith("−11.7 [−18.")
    assert labelled.minus(own, other.iloc[:0], "lift") == "–"
    assert bagging.minus(own, other).tolist() == pytest.approx([-0.1, -0.15, -0.1])
