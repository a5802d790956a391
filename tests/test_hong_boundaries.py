"""Notebook 54: the base models, decision maps and what is measured on them, figure 12's table."""

import json
import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import torch

from lib import figures, ledger, parts, paths, study
from lib.papers.hong import bases, boundaries, utility
from lib.study import from_dict, maps, measure

# ---- the base models

def test_noise_of_the_paper_is_absolute():
    plain, private = bases.base("location"), bases.base("location", max_grad_norm=4.0, noise=0.4)
    assert not plain.defence.clip and plain.defence.noise_multiplier == 0
    assert (private.defence.clip, private.defence.max_grad_norm) == (True, 4.0)
    assert private.defence.mechanism()["noise"] == pytest.approx(0.4)
    assert private.defence.noise_multiplier == pytest.approx(0.1)
    assert bases.base("baskets", max_grad_norm=2.0).defence.noise_multiplier == 0


@pytest.mark.parametrize("case", bases.CASES)
def test_bases_are_clean_and_measured_along_the_way(case):
    run = bases.base(case, init_seed=3)
    assert run.attack.in_world == "C" and run.attack.goal.name == "availability"
    assert run.init_seed == 3 and run.training.batch_size == 100
    assert len(run.training.snapshots(10_000)) == bases.POINTS
    assert from_dict(json.loads(json.dumps(run.to_dict()))).key == run.key


def test_bad_bases_say_what_was_expected():
    with pytest.raises(ValueError, match="base 'mnist': expected one of location, baskets"):
        bases.base("mnist")
    with pytest.raises(ValueError, match=r"noise 0\.1 without a clipping norm: expected"):
        bases.base("baskets", noise=0.1)


# ---- decision maps

TINY = dict(max_grad_norm=1.0, noise=1.0, points=2, stops=2, epochs=2.0, batch_size=100,
            momentum=0.9)


def test_a_map_is_kept_as_text_to_a_byte():
    values = np.random.RandomState(0).random_sample((maps.SIDE, maps.SIDE))
    values[0, :2] = np.nan, 1.0
    found = maps.unpacked(maps.packed(values))
    assert found[0, 0] == pytest.approx(0.5, abs=1 / 255) and found[0, 1] == 1
    assert np.abs(found - np.nan_to_num(values, nan=0.5)).max() <= 0.5 / 255 + 1e-12


def test_the_first_index_of_a_map_goes_up():
    class Predict:
        def __call__(self, x):
            return torch.stack([torch.zeros(len(x)), (x[:, 1].float() - 127.5) * 9], 1)

    run = boundaries.runs({"vanilla": 0.1}, 1, **TINY)[0]
    found = maps.unpacked(maps.point(run, Predict())["map"])
    assert (found[:32] < 0.5).all() and (found[32:] > 0.5).all()
    assert maps.point(run.with_(maps=False), Predict()) == {}
    across, up = boundaries.axes()
    assert len(across) == len(up) == maps.SIDE and across[0] < across[1] and up[0] < up[1]
    assert -1.75 < across[0] < across[-1] < 2.75 and -1.25 < up[0] < up[-1] < 1.75


def test_rows_keep_maps_and_publishing_keeps_them(store):
    runs = boundaries.runs({"vanilla": 0.3, "DP": 1.0}, 2, **TINY)
    frame = study.run(runs)
    along = boundaries.points(frame)
    assert along.groupby("key").size().tolist() == [2] * 4
    assert set(along["series"]) == {"vanilla", "DP"} and set(along["draw"]) == {0, 1}
    assert {one.shape for one in along["map"]} == {(64, 64)} and along["gap"].abs().le(1).all()
    # The map is the network's own.
    trained = study.fit(runs[0])[0]
    again = torch.softmax(trained.predict(maps.grid()).double(), 1)[:, 1].reshape(64, 64)
    last = along[along["key"].eq(runs[0].key)]["map"].iloc[-1]
    assert np.abs(last - again.numpy()).max() < 0.02


def test_published_rows_keep_their_maps(store, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    run = boundaries.runs({"DP": 1.0}, 1, **TINY)[0]
    before = boundaries.points(study.run([run]))
    ledger.export([{"notebook": "54_boundaries", "key": run.key}])
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "empty"))
    monkeypatch.setenv("STUDY_MODE", "read-only")
    monkeypatch.delenv("STUDY_PUBLISHED", raising=False)
    after = boundaries.points(study.run([run]))
    assert len(after) == 2 and after["length"].tolist() == before["length"].tolist()


def test_maps_leave_old_keys_alone_and_train_nothing_twice():
    run = boundaries.runs({"vanilla": 0.3}, 1, **TINY)[0]
    plain = run.with_(maps=False)
    assert run.key != plain.key and measure.identity(run) == measure.identity(plain)
    assert "maps" not in parts.sparse(plain)


@pytest.mark.parametrize("changes, says", [
    ({"dataset": "baskets"}, r"maps on baskets, with records of shape \(100,\) in 100 classes"),
    ({"training__every": 0.0}, "maps without a path: expected training every")])
def test_maps_need_points_of_a_plane_and_a_path(changes, says):
    run = boundaries.runs({"vanilla": 0.3}, 1, **TINY)[0].with_(**changes)
    with pytest.raises(ValueError, match=says):
        measure.poisoned(run)


def test_an_unknown_arm_is_named():
    with pytest.raises(ValueError, match="arms PATE: expected vanilla, clipping alone, DP"):
        boundaries.runs({"PATE": 0.1}, 1, **TINY)


# ---- what is measured on a map

def test_lengths_of_known_boundaries():
    across, up = np.meshgrid(*boundaries.axes())
    straight = 1 / (1 + np.exp(-(up - 0.3) * 20))
    span = boundaries.axes()[0]
    assert boundaries.length(straight) == pytest.approx(span[-1] - span[0], rel=1e-3)
    circle = 1 / (1 + np.exp((np.hypot(across - 0.5, up - 0.25) - 1) * 10))
    assert boundaries.length(circle) == pytest.approx(2 * math.pi, rel=0.01)
    assert boundaries.length(np.ones((64, 64))) == 0
    two = np.maximum(circle * (across < 0), 0.0)
    assert len(boundaries.lines(two)) >= 1


def test_the_uncertain_share_of_known_maps():
    values = np.full((64, 64), 0.9)
    values[:16], values[16:32] = 0.3, 0.5
    assert boundaries.unsure(values) == pytest.approx(0.5)  # 0.3 is 70% sure of class 0
    values[:16] = 0.2
    assert boundaries.unsure(values) == pytest.approx(0.25)


def points(series, accuracies, *, draw=0, scale=1.0):
    count = len(accuracies)
    return pd.DataFrame({
        "series": series, "draw": draw, "epoch": range(1, count + 1), "accuracy": accuracies,
        "gap": 0.02 * scale, "length": [4.0 * scale] * count, "unsure": 0.05 * scale})


def test_ends_stop_vanilla_where_it_is_as_accurate():
    along = pd.concat([points("vanilla", [0.7, 0.9, 0.95]), points("DP", [0.6, 0.8, 0.9], scale=2),
                       points("vanilla", [0.5, 0.6, 0.7], draw=1),
                       points("DP", [0.5, 0.7, 0.8], draw=1, scale=3)], ignore_index=True)
    final = boundaries.ends(along)
    stopped = final[final["series"].eq(boundaries.STOPPED)]
    assert stopped[["draw", "epoch"]].to_numpy().tolist() == [[0, 2]]  # draw 1 never gets there
    early = along.assign(accuracy=along["accuracy"].mask(along["series"].eq("vanilla"), 0.95))
    assert boundaries.STOPPED not in set(boundaries.ends(early)["series"])  # nothing extrapolated
    apart = boundaries.differences(final).set_index(["measure", "draw"])["difference"]
    longer, gap, unsure, accuracy = boundaries.MEASURES
    assert apart[longer].tolist() == pytest.approx([1.0, 2.0])
    assert apart[gap].tolist() == pytest.approx([0.02, 0.04])
    assert apart[unsure].tolist() == pytest.approx([0.05, 0.10])
    assert apart[accuracy].tolist() == pytest.approx([-0.05, 0.10])
    assert list(boundaries.table(final)["model"]) == ["vanilla", boundaries.STOPPED, "DP"]
    assert "+150.0" in boundaries.readings(boundaries.differences(final))
    assert boundaries.contrasts(final).shape == (4, 3)


def test_a_stopped_model_lies_between_two_points_of_its_path():
    vanilla = points("vanilla", [0.7, 0.9, 0.8, 0.95])
    vanilla["unsure"] = [0.4, 0.2, 0.3, 0.1]
    along = pd.concat([vanilla, points("DP", [0.85])], ignore_index=True)
    stopped = boundaries.ends(along).iloc[-1]
    assert stopped["series"] == boundaries.STOPPED
    # first at 0.85 three quarters of the way from 0.7 to 0.9
    assert [stopped[name] for name in ("epoch", "accuracy", "unsure")] == pytest.approx(
        [1.75, 0.85, 0.25])


def test_vanilla_has_more_points_but_no_more_lines_in_the_figure():
    runs = boundaries.runs({"vanilla": 0.3, "DP": 1.0}, 1, **TINY | {"stops": 8, "epochs": 8.0})
    assert [run.training.every for run in runs] == [1.0, 4.0]
    path = points("vanilla", [0.5] * 8).assign(map=[np.full((64, 64), 0.9)] * 8)
    (shown,) = boundaries.panels(path, ["vanilla"], points=2)
    assert list(shown["boundaries"]) == ["epoch 4", "epoch 8"]


# ---- figure 12

def utility_rows():
    """Three rows with known numbers."""
    shared = {"dataset": "baskets", "model": "linear", "delta": 1e-5, "init_seed": 0}
    kinds = [  # clip, C, z, best accuracy, last accuracy, epsilon
        (False, 1.0, 0.0, 0.80, 0.75, math.inf), (True, 4.0, 0.0, 0.70, 0.7, math.inf),
        (True, 4.0, 0.25, 0.60, 0.50, 500.0), (True, 4.0, 1.0, 0.20, 0.20, 1.0)]
    names = ("defence.clip", "defence.max_grad_norm", "defence.noise_multiplier", "best_accuracy",
             "accuracy", "epsilon")
    return pd.DataFrame([shared | {"key": place} | dict(zip(names, kind, strict=True))
                         for place, kind in enumerate(kinds)])


def test_figure_12_knows_vanilla_noise_and_epsilon(monkeypatch):
    spent = {2: (0.25, 0.01, 100), 3: (1.0, 1.0, 1)}  # z, sampling rate, steps
    monkeypatch.setattr(utility.ledger, "find", lambda key: ({"privacy": dict(zip(
        ("noise_multiplier", "sample_rate", "steps"), spent[key], strict=True),
        adjacency="add-remove")}, "store"))
    named = utility.named(utility_rows())
    assert named[utility.NORM].tolist() == [math.inf, 4, 4, 4]
    assert named[utility.NOISE].tolist() == [0, 0, 1.0, 4.0]
    found = utility.table(named)
    assert found["epsilon"].tolist() == ["500.0 (vacuous)", "1.0"]
    assert found["RAD, best epochs"].tolist() == ["0.250", "0.750"]
    # one Gaussian step from 1%: Phi(Phi^-1(0.01) + 1); else 1% plus the chance to be drawn at all,
    # or more tightly
    one_step, sampled = NormalDist().cdf(NormalDist().inv_cdf(0.01) + 1), 0.01 + 1 - 0.99**100
    assert found["cap for one poison, %"].iloc[1] == f"{100 * one_step:.1f}"
    assert 1 < float(found["cap for one poison, %"].iloc[0]) <= 100 * sampled
    says = utility.finding(named)
    assert "1 of 2 noisy trainings have an epsilon of at most 10" in says
    assert "cost 60.0 to 60.0 points" in says
    assert figures.panels(utility.panels(named)).axes


def test_figure_12_asks_for_each_setting_once():
    runs = utility.runs(["baskets"], norms=[4.0, 1.0], noises=[0.1, 4.0],
                        changes={"baskets": {"train_size": 100}})
    assert len(runs) == len({run.key for run in runs}) == 5  # noise 0 at C = 4 is there anyway
    assert {run.train_size for run in runs} == {100}
