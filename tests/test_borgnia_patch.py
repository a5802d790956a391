"""Table 1 of DP-InstaHide: its runs, its rows by arm, its published means, claims I1 to I4."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import outcomes

from lib import papers, study, verdicts
from lib.attacks.random_patch import RandomPatch
from lib.defences.dpsgd import DPSGD
from lib.papers.borgnia import patch_figures, patching, table1
from lib.papers.borgnia.patching import ALL, CLUSTERING, CUTMIX, MIXUP, NONE, SPECTRAL, TENTH
from lib.study import Run, measure
from lib.study.table import table
from lib.training import Training
from lib.training.transforms.crop import Crop
from lib.training.transforms.cutmix import CutMix
from lib.training.transforms.flip import Flip
from lib.verdicts import judgement

NOTEBOOK = "20_mixing_backdoors"
VICTIM = Run(dataset="cifar10-jpeg", train_size=10000, model="resnet",
             defence=DPSGD(0.0, clip=False), precision="fast",
             training=Training(batch_size=128, sampling="shuffle", transforms=(Crop(), Flip())))
ARMS = patching.mixing(VICTIM) | patching.filters(VICTIM, 100)


# ---- runs

def test_pairs_are_a_derangement():
    assert all(victim != target for victim, target in patching.PAIRS)
    for place in range(2):
        assert sorted(pair[place] for pair in patching.PAIRS) == list(range(10))


def test_every_arm_adds_one_thing_to_the_victim():
    assert list(ARMS) == [NONE, CUTMIX, MIXUP, *patching.FILTERS] and ARMS[NONE] == VICTIM
    assert ARMS[CUTMIX].training.transforms == (Crop(), Flip(), CutMix())
    assert ARMS[CUTMIX].defence == VICTIM.defence
    assert ARMS[SPECTRAL].training == VICTIM.training and ARMS[SPECTRAL].defence.poisons == 100
    assert ARMS["deepKNN"].defence.neighbours == 200
    assert [patching.poisons(n) for n in (10000, 50000)] == [100, 500]


def test_both_kinds_of_noise_add_as_much_to_the_mean_gradient():
    batch, single = patching.noisy(VICTIM, 0.01, private={"model": "cnn"}).items()
    assert batch[0] == "batch clipping, noise 0.01" and single[0] == "DP-SGD, z 1.28"
    assert batch[1].defence.mechanism() == {"mean_norm": 1.0, "noise": 0.01}
    own = single[1].defence.mechanism()
    assert own["noise"] / single[1].training.batch_size == pytest.approx(0.01)
    assert own["clipping_norm"] == 1.0 and single[1].model == "cnn"
    guarantee = single[1].defence.guarantee(single[1], 10000)
    assert guarantee.holds and guarantee.epsilon < 10
    assert not batch[1].defence.guarantee(batch[1], 10000).holds


def test_runs_have_their_clean_twins_and_no_filter_where_all_is_patched():
    runs = patching.runs(ARMS, pairs=patching.PAIRS[:4])
    assert len(runs) == len({run.key for run in runs}) == (6 + 3) * 4 * 2
    attacked = [run for run in runs if run.attack.in_world == "P"]
    assert {run.twin for run in runs} == {run.key for run in attacked}
    assert {(run.attack.base, run.attack.target) for run in runs} == set(patching.PAIRS[:4])
    assert {run.attack_seed for run in runs} == {0, 1, 2, 3}
    filtered = {run.attack.fraction for run in runs if run.defence != VICTIM.defence}
    assert filtered == {TENTH}
    clean = [run for run in runs if run.attack.in_world == "C"]
    assert len({measure.identity(run) for run in clean}) == 6 * 3  # arms and seeds
    assert {run.attack.size for run in patching.runs(ARMS, size=3)} == {3}


@pytest.mark.parametrize("extra", [{}, patching.noisy(VICTIM)])
def test_an_arm_has_one_name_in_runs_and_in_rows(extra):
    known = ARMS | patching.mixing(VICTIM, patching.MIXES) | extra
    frame = table(list(known.values()))
    assert [patching.name(row) for _, row in frame.iterrows()] == list(known)


@pytest.mark.parametrize("changes,name", [
    (dict(defence={"name": "dpsgd", "noise_multiplier": None, "epsilon": 3.0}), "DP-SGD, ε 3"),
    (dict(defence={"name": "dpsgd", "noise_multiplier": 0.0}), "clipping"),
    (dict(defence={"name": "spectral_signatures", "percentile": 85.0}),
     "spectral signatures, as first published"),
    (dict(defence={"name": "activation_clustering", "components": 10}),
     "activation clustering, 10 components"),
    (dict(defence={"name": "alibi"}), "alibi"),
    (dict(transforms=[{"name": "cutmix", "probability": 1.0}]), "cutmix 1.0 1.0"),
    (dict(transforms=[{"name": "mixup"}], defence={"name": "deep_knn"}), "mixup + deepKNN")])
def test_other_settings_have_other_names(changes, name):
    values = VICTIM.to_dict()
    values["training"]["transforms"] = changes.pop("transforms", [])
    run = study.from_dict(values | changes)
    (_, row), = table([run]).iterrows()
    assert patching.name(row) == name


# ---- made rows

SUCCESS = {(NONE, TENTH): 0.45, (NONE, ALL): 0.97, (CUTMIX, TENTH): 0.06, (CUTMIX, ALL): 0.13,
           (MIXUP, TENTH): 0.22, (MIXUP, ALL): 0.98, (SPECTRAL, TENTH): 0.47,
           (CLUSTERING, TENTH): 0.44, ("deepKNN", TENTH): 0.43}
ACCURACY = {(NONE, TENTH): 0.80, (NONE, ALL): 0.71, (CUTMIX, TENTH): 0.82, (CUTMIX, ALL): 0.815}


@functools.cache
def asked(pairs, names):
    """The table of runs without results."""
    arms = {name: ARMS[name] for name in names}
    return table(patching.runs(arms, pairs=patching.PAIRS[:pairs]))


def made_up(*, pairs=8, arms=ARMS, clean=0.8, spread=0.01, **changes):
    """Rows as `study.run` returns them; changes: success of cells, by name and share."""
    frame = asked(pairs, tuple(arms))
    success = SUCCESS | changes.pop("success", {})
    accuracy, random = ACCURACY | changes.pop("accuracy", {}), np.random.RandomState(0)
    lines = []
    for _, row in frame.iterrows():
        cell, wobble = (patching.name(row), row["attack.fraction"]), spread * random.randn()
        stamped = success[cell] + wobble if row["world"] == "P" else 0.03 + wobble / 10
        right = accuracy.get(cell, 0.79) if row["world"] == "P" else clean
        values = {"status": "ok", "success": stamped, "floor": 0.02, "lift": stamped - 0.02,
                  "accuracy": right + wobble / 10, "trigger_auc": 0.5, "base_recall": 0.7,
                  "target_recall": 0.8,
                  "epsilon": math.inf}
        if row["world"] == "P" and cell[0] in patching.FILTERS:
            values |= {"facts.removed": 1500.0, "facts.recall": 0.2, "facts.precision": 0.01,
                       "facts.removed_of_target": 0.15, "facts.removed_of_others": 0.15}
        lines.append(values)
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def test_rows_have_their_arms_and_their_twins():
    found = table1.prepared(made_up(spread=0.0))
    none = table1.at(found, ALL, NONE)
    assert len(none) == 8 and none["natural"].eq(0.02).all() and none["blind"].eq(0.03).all()
    assert none["lift"].to_numpy() == pytest.approx(0.95)
    assert none["effect"].to_numpy() == pytest.approx(0.94)
    assert none[table1.CLEAN].eq(0.8).all()
    apart = table1.difference(found, TENTH, CUTMIX, "success")
    assert len(apart) == 8 and apart.to_numpy() == pytest.approx(0.06 - 0.45)
    assert list(table1.against_none(found, [NONE, CUTMIX])["than"].unique()) == [
        "10%: CutMix", "100%: CutMix"]


def test_a_defence_stands_beside_undefended_training_that_is_as_accurate():
    whole = made_up(arms={NONE: ARMS[NONE], CUTMIX: ARMS[CUTMIX]}, spread=0.0)
    short = made_up(arms={NONE: ARMS[NONE]}, spread=0.0, clean=0.7, success={(NONE, ALL): 0.5})
    brief = short.assign(**{"training.epochs": 2.0}, key="brief-" + short["key"],
                         twin="brief-" + short["twin"])
    found = table1.prepared(whole)
    both = table1.prepared(pd.concat([whole, brief], ignore_index=True))
    apart = table1.as_accurate(found, both, [NONE, CUTMIX], (ALL,))
    assert apart["difference"].to_numpy() == pytest.approx([0.13 - 0.97] * 8)  # the short one is
    assert set(apart["instead"]) == {"10 epochs"}  # attacked less, and less accurate
    even = both.assign(**{table1.CLEAN: 0.8})
    apart = table1.as_accurate(found, even, [CUTMIX], (ALL,))
    assert apart["difference"].to_numpy() == pytest.approx([0.13 - 0.5] * 8)
    assert table1.as_accurate_finding(apart).endswith("(2 epochs).")
    assert table1.as_accurate(found, both.iloc[:0], [CUTMIX]).empty
    assert table1.as_accurate_finding(apart.iloc[:0]).startswith("No training")


def test_the_papers_numbers_hold_its_claims():
    frame = made_up()
    assert [outcomes(name, frame) for name in ("I1", "I2", "I3", "I4")] == [
        ("holds", "holds"), ("holds", "holds"), ("holds", "holds"), (None, "holds")]
    setup = papers.claim("I1").measure({NOTEBOOK: frame}, papers.claim("I1")).setup
    assert setup.startswith("substitute") and "10000" in setup


@pytest.mark.parametrize("claim,changes,expected", [
    ("I1", dict(accuracy={(NONE, ALL): 0.81}), ("fails", "fails")),
    ("I1", dict(success={(NONE, ALL): 0.8}), ("holds", "fails")),
    ("I2", dict(success={(CUTMIX, ALL): 0.4}), ("holds", "fails")),
    ("I2", dict(success={(CUTMIX, TENTH): 0.6}), ("fails", "fails")),
    ("I2", dict(accuracy={(CUTMIX, ALL): 0.75}), ("holds", "fails")),
    ("I3", dict(success={(MIXUP, TENTH): 0.40}), ("holds", "fails")),
    ("I3", dict(success={(MIXUP, ALL): 0.5}), ("holds", "fails")),
    ("I4", dict(success={(CLUSTERING, TENTH): 0.2}), (None, "fails")),
    ("I4", dict(success={(SPECTRAL, TENTH): 0.7}), (None, "fails"))])
def test_each_part_can_fail(claim, changes, expected):
    assert outcomes(claim, made_up(**changes)) == expected


def test_without_its_positive_control_nothing_is_decided():
    weak = made_up(success={(NONE, TENTH): 0.1, (NONE, ALL): 0.9})
    for name in ("I2", "I3", "I4"):
        assert set(outcomes(name, weak)) <= {"inconclusive", None}
    assert outcomes("I1", made_up(clean=0.3)) == ("inconclusive", "inconclusive")
    unmeasured = made_up(arms={name: run for name, run in ARMS.items() if name != NONE})
    assert outcomes("I2", unmeasured)[1] == "inconclusive"


def test_fewer_pairs_than_stated_decide_nothing():
    results = verdicts.evaluate({NOTEBOOK: made_up(pairs=7)}, of=["borgnia"])
    found = {one.claim.id: one for one in results}
    assert found["I1"].size.outcome == "inconclusive"
    assert "7 of 8 planned" in found["I1"].size.reason
    whole = verdicts.evaluate({NOTEBOOK: made_up()}, of=["borgnia"])
    assert {one.claim.id: one.size.outcome for one in whole if one.rows} == dict.fromkeys(
        ("I1", "I2", "I3", "I4"), "holds")


@pytest.mark.parametrize("rows", ["none", "other attack", "not measured"])
def test_without_rows_nothing_is_measured(rows):
    frame = made_up(pairs=2)
    if rows == "none":
        frame = frame.iloc[:0]
    elif rows == "other attack":
        frame = frame.assign(**{"attack.name": "badnets"})
    else:
        frame = frame.assign(status="not measured")
    for name in ("I1", "I2", "I3", "I4"):
        assert set(outcomes(name, frame)) <= {"not measured", None}
    found = table1.prepared(frame)
    assert found.empty and table1.finding(found, ARMS) == ""
    assert len(table1.table(found, list(ARMS))) == 8  # the published cells
    assert table1.dropped(found).empty
    assert (table1.panels(found, list(ARMS))[0]["frame"]["rule"] == table1.PAPER).all()
    target = next(one for one in papers.targets() if one.id == "borgnia-T1")
    assert len(target.select(frame)) == (0 if rows in ("none", "other attack") else len(frame))


def test_a_clean_training_that_pairs_share_counts_once():
    found = table1.at(table1.prepared(made_up()), ALL, NONE)
    seeds = [number % 2 for number in range(len(found))]
    found = found.assign(**{"init_seed": seeds, table1.CLEAN: [0.6 + 0.1 * seed for seed in seeds]})
    told = table1.table(found, [NONE], [ALL])["clean accuracy, %"].iloc[0]
    assert len(found) > 2 and told == judgement.level(found.iloc[:2], table1.CLEAN)
    assert told != judgement.level(found, table1.CLEAN)


# ---- published means, tables

def test_the_printed_table_with_the_widest_intervals():
    found = table1.printed().set_index(["arm", "patched"])
    assert len(found) == 8 and found.at[(NONE, ALL), "accuracy"] == 0.85
    assert found.at[(CLUSTERING, TENTH), "success"] == 0.44
    assert (found["low"] < found["success"]).all() and (found["success"] < found["high"]).all()
    assert table1.widest(0.45, 20) == pytest.approx(verdicts_wilson(9, 20))
    assert table1.widest(1.0, 20) == pytest.approx(verdicts_wilson(20, 20))


def verdicts_wilson(hits, n):
    from lib import metrics
    return metrics.wilson(hits, n)


def test_no_spread_of_shares_is_wider():
    """Of shares with one mean, those at 0 and 1 have the largest t interval."""
    from lib import metrics

    random = np.random.RandomState(0)
    for _ in range(50):
        shares = random.beta(*random.uniform(0.1, 5, 2), 20)
        low, high = table1.widest(shares.mean(), 20)
        found = metrics.mean_interval(shares)
        assert found.high - found.low < 1.15 * (high - low) + 0.02


def test_figures_and_tables():
    from lib import figures

    found = table1.prepared(made_up())
    lines = table1.table(found, list(ARMS)).set_index(["patched", "arm"])
    assert len(lines) == 9 and lines.at[("10%", NONE), "success, published"] == 45.6
    assert lines.at[("100%", NONE), "pairs"] == 8
    assert lines["inside"].isna().tolist() == [arm == "deepKNN" for _, arm in lines.index]
    assert lines.at[("10%", CUTMIX), "epsilon"] == "no guarantee"
    specs = table1.panels(found, list(ARMS))
    assert [len(spec["frame"]) for spec in specs] == [6 * 2 + 5, 3 * 3]
    assert len(figures.proportions(specs, by="arm").axes) == 2
    said = table1.finding(found, list(ARMS))
    assert said.startswith("At 10% the undefended model calls 4") and "CutMix −3" in said
    dropped = table1.dropped(found)
    assert list(dropped["arm"]) == list(patching.FILTERS)
    assert "spectral signatures drops 20% of the poison and 15% of its class" in (
        table1.dropped_finding(dropped))


def test_the_headline_and_the_pictures():
    import torch

    shown = patch_figures.headline(made_up())
    assert len(shown.data) == (2 + 4) * 8 and "over 8 pairs" in shown.caption
    nothing = patch_figures.headline(made_up(pairs=2).assign(status="not measured"))
    assert nothing.data.empty and nothing.finding == ""
    images, titles = patch_figures.pictured("strokes", RandomPatch(7, 1), count=3)
    assert images.shape == (12, 1, 28, 28) and images.dtype == torch.uint8
    assert titles[::3] == ["clean", "patched", "patched, CutMix", "patched, mixup"]
    clean, patched, cut, mixed = images.float().split(3)
    assert ((patched != clean).flatten(1).sum(1) <= 16).all()
    assert not torch.equal(cut, patched) and (mixed - patched).abs().mean() > 1
