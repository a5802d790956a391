"""Notebook 33, Turner's chapter 4: runs, rows, claims T12 and T13, figures, and correct labels
against every defence."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import outcomes

from lib import figures, papers, privacy, verdicts
from lib.attacks.clean_label import CleanLabel
from lib.papers.borgnia.patching import CUTMIX, MIXUP, NONE
from lib.papers.borgnia.table1 import ARM
from lib.papers.turner import (
    beyond_labels,
    dirty,
    hardenings,
    landscape,
    landscape_figures,
    victims,
)
from lib.papers.turner.landscape import BASELINE, BLACK_BOX, BLENDED, LATENT, WHITE_BOX
from lib.study import measure
from lib.study.table import table

NOTEBOOK = "33_landscape"
VICTIM = victims.small()
OTHER = hardenings.black_box("resnet-20-bn")
METHODS = landscape.methods(hardenings.SMALL, hardenings.GAN_SMALL, other=OTHER)
NOISES = landscape.noises((5, 20, 80))


# ---- runs

def test_methods_are_named_by_their_settings():
    assert list(METHODS) == [WHITE_BOX, "standard, l2 300", "adversarial, l2 600",
                             "standard, l2 600", BLACK_BOX, BLENDED, LATENT]
    runs = landscape.attacked(VICTIM, METHODS | NOISES, [0.06], targets=[4])
    assert [landscape.name(row) for _, row in table(runs).iterrows()] == [
        *METHODS, "noise 5", "noise 20", "noise 80"]
    assert LATENT not in landscape.methods(hardenings.SMALL, None, other=OTHER)
    assert METHODS[BLACK_BOX].data == "disjoint" and METHODS[BLACK_BOX].model == "resnet-20-bn"
    with pytest.raises(ValueError, match="another architecture"):
        hardenings.black_box(hardenings.SMALL.model)


def test_the_first_method_has_all_worlds_and_the_baseline_is_trained_once():
    runs = landscape.compared(VICTIM, METHODS, [0.015, 0.06])
    assert len(runs) == len({run.key for run in runs}) == 2 * 3 * (4 + 6)
    stamped = [run for run in runs if run.attack.in_world == "T"]
    assert len(stamped) == 2 * 3 and len({measure.identity(run) for run in stamped}) == 6
    clean = [run for run in runs if run.attack.in_world == "C"]
    assert len({measure.identity(run) for run in clean}) == 3
    assert {(run.attack.target, run.attack_seed) for run in runs} == {(4, 0), (5, 1), (0, 2)}
    assert {run.attack.fraction for run in runs} == {0.015, 0.06}


def test_a_gan_interpolates_to_the_source_class_of_its_pair():
    runs = landscape.attacked(VICTIM, METHODS, [0.06], targets=[4, 5, 0, 6])
    found = {run.attack.target: run.attack.hardening.other for run in runs
             if landscape.name(table([run]).iloc[0]) == LATENT}
    assert found == {4: 2, 5: 3, 0: 7, 6: 9}


# ---- rows

SUCCESS = {BASELINE: 0.2, WHITE_BOX: 0.7, "standard, l2 300": 0.65, "adversarial, l2 600": 0.85,
           "standard, l2 600": 0.4, BLACK_BOX: 0.5, BLENDED: 0.25, LATENT: 0.45,
           "noise 5": 0.26, "noise 20": 0.22, "noise 80": 0.05}


@functools.cache
def asked(count):
    """The table of runs without results: hardened, noisy, and mislabelled."""
    targets = tuple(target for _, target in victims.RANKED)[:count]
    return table(landscape.compared(VICTIM, METHODS, [0.015, 0.06], targets=targets)
                 + landscape.attacked(VICTIM, NOISES, [0.06], targets=targets)
                 + dirty.attacked(VICTIM, [60], targets=targets, names="P"))


def made_up(*, targets=10, witness=0.95, without=(), **changed):
    """Rows as `study.run` returns them; changed: success by method, with _ for a space."""
    frame, random = asked(targets), np.random.RandomState(0)
    values = SUCCESS | {name.replace("_", " "): value for name, value in changed.items()}
    lines, kept = [], []
    for _, row in frame.iterrows():
        name = None if row["attack.name"] == "badnets" else landscape.name(row)
        mean = witness if name is None else 0.03 if row["world"] in "HC" else values[name]
        kept.append(name not in without)
        success = mean + 0.01 * random.randn()
        lines.append({"status": "ok", "floor": 0.02, "success": success, "lift": success - 0.02,
                      "accuracy": 0.7, "target_recall": 0.7, "trigger_auc": 0.6,
                      "epsilon": math.inf, "facts.surrogate_accuracy": 0.6,
                      "facts.surrogate_robust": 0.33 if name in (WHITE_BOX, None) else 0.1})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))[kept]


def test_rows_have_the_stamp_alone_as_baseline():
    found = landscape.prepared(made_up(targets=3))
    assert set(found[landscape.METHOD]) == set(SUCCESS)
    assert set(found["world"]) == {"P", "T"} and not found.duplicated("key").any()
    assert sorted(set(found[landscape.SHARE])) == [0.015, 0.06]
    assert sorted(set(found[landscape.POISONS])) == [15, 60]
    shown = landscape.at(found)
    assert len(shown) == 3 * len(SUCCESS)
    assert landscape.difference(shown, WHITE_BOX).mean() == pytest.approx(0.5, abs=0.03)
    deviations = shown.drop_duplicates(landscape.METHOD).set_index(landscape.METHOD)[
        landscape.DEVIATION].dropna()
    assert dict(deviations) == {BASELINE: 0, "noise 5": 5, "noise 20": 20, "noise 80": 80}


def test_rows_of_losses_and_of_the_last_part_are_no_rows_of_methods():
    frame = made_up(targets=3)
    assert landscape.prepared(frame.assign(losses=True)).empty
    assert landscape.prepared(frame.assign(public=2000)).empty
    assert beyond_labels.prepared(frame).empty and landscape.prepared(beyond()).empty


# ---- claims

def test_the_theses_shapes_hold_its_claims():
    frame = made_up()
    assert outcomes("T12", frame) == ("holds", "holds")
    assert outcomes("T13", frame) == ("holds", None)
    one = papers.claim("T13")
    got = one.measure({NOTEBOOK: frame}, one)
    assert got.setup.startswith("substitute") and got.direction.n == 10


@pytest.mark.parametrize("claim,changes,expected", [
    ("T12", dict(noise_5=0.1, noise_20=0.1), ("fails", "holds")),
    ("T12", dict(noise_80=0.5), ("fails", "fails")),
    ("T12", dict(noise_5=0.5), ("holds", "fails")),
    ("T12", dict(witness=0.3), ("inconclusive", "inconclusive")),
    ("T12", dict(without=("noise 5", "noise 20")), ("not measured", "not measured")),
    ("T12", dict(without=("noise 5", "noise 20", "noise 80")), ("not measured", "not measured")),
    ("T13", {LATENT: 0.1}, ("fails", None)),
    ("T13", {BLACK_BOX: 0.1}, ("fails", None)),
    ("T13", {BLACK_BOX: 0.8}, ("fails", None)),
    ("T13", dict(witness=0.3), ("inconclusive", None)),
    ("T13", dict(without=(LATENT,)), ("inconclusive", None)),
    ("T13", dict(without=(None,)), ("inconclusive", None))])
def test_each_part_can_fail(claim, changes, expected):
    assert outcomes(claim, made_up(**changes)) == expected


def test_the_best_deviation_is_chosen_on_other_classes():
    rows = pd.DataFrame({5.0: [0.3, 0.0, 0.0], 20.0: [0.1, 0.1, 0.1]}, index=["a", "b", "c"])
    assert list(landscape.best_elsewhere(rows)) == [0.1, 0.0, 0.0]  # b and c trust a's 0.3
    assert landscape.best_elsewhere(rows.iloc[:1]) is None


def test_three_targets_decide_nothing():
    found = {one.claim.id: one for one in verdicts.evaluate(
        {NOTEBOOK: made_up(targets=3)}, of=["turner"])}
    assert found["T12"].size.outcome == found["T13"].direction.outcome == "inconclusive"
    assert "3 of 10 planned" in found["T12"].size.reason


@pytest.mark.parametrize("rows", ["none", "other attack", "shares", "not measured"])
def test_without_rows_nothing_is_measured(rows):
    frame = made_up(targets=3)
    if rows == "none":
        frame = frame.iloc[:0]
    elif rows == "other attack":
        frame = frame.assign(**{"attack.name": "random_patch"})
    elif rows == "shares":
        frame = frame.assign(**{"attack.fraction": math.nan})
    else:
        frame = frame.assign(status="not measured")
    assert outcomes("T12", frame) == ("not measured", "not measured")
    assert outcomes("T13", frame) == ("not measured", None)
    found = landscape.prepared(frame)
    assert found.empty and landscape.table(found, [0.06]).empty
    assert landscape.changes(found).empty and landscape.surrogates(found).empty
    assert landscape.surrogates_finding(landscape.surrogates(found)) == ""
    assert landscape.finding(found, landscape_figures.BOXES) == landscape.noise_finding(
        landscape.changes(found)) == ""
    for specs in drawn(found):
        assert figures.panels(specs).axes
    shown = landscape_figures.headline(frame)
    assert shown.finding == "" and shown.figure.axes and shown.data.empty
    assert beyond_labels.prepared(frame).empty


# ---- figures and tables

def drawn(found):
    return [landscape_figures.surrogates(found, [300, 600]), landscape_figures.blended(found),
            landscape_figures.black_box(found), landscape_figures.noise(landscape.at(found)),
            landscape_figures.per_class(found)]


def test_figures_tables_and_findings():
    frame = made_up(targets=3)
    found = landscape.prepared(frame)
    assert [len(figures.panels(specs).axes) for specs in drawn(found)] == [2, 1, 1, 1, 3]
    lines = landscape.table(found, [0.015, 0.06])
    assert len(lines) == len(SUCCESS) and "6.0% of the class" in lines
    assert landscape.finding(landscape.at(found), landscape_figures.BOXES).startswith(
        "Success by adversarial, l2 300 against no hardening +")
    gap = landscape.finding(landscape.at(found), landscape_figures.robustness([300, 600]))
    assert "adversarial, l2 600 against standard, l2 600 +4" in gap
    assert "GAN, tau 0.2 against pixels, tau 0.2 +" in landscape.finding(
        landscape.at(found), landscape_figures.ORDER)
    assert landscape.noise_finding(landscape.changes(landscape.at(found))).startswith(
        "Change of success in points by the standard deviation: 5: +")
    weak = landscape.surrogates(found).set_index(landscape.METHOD)["surrogate"]
    assert weak[WHITE_BOX] == "robust" and weak[BLACK_BOX] == "weak"
    assert BLACK_BOX in landscape.surrogates_finding(landscape.surrogates(found))
    shown = landscape_figures.headline(frame)
    assert len(shown.data) == 3 * (len(SUCCESS) - 1)
    assert shown.data[landscape.METHOD].iloc[0] == "adversarial, l2 600"
    assert shown.finding.startswith("Poisons that are stamped and not hardened succeed on 2")


# ---- correct labels against every defence

def test_arms_are_every_defence_beside_plain_training_of_several_lengths():
    arms = beyond_labels.defended(beyond_labels.small(), [3, 6])
    names = [beyond_labels.name(row) for _, row in table(list(arms.values())).iterrows()]
    assert names == [NONE, CUTMIX, MIXUP, NONE, NONE, "detector", "DP-SGD", "PATE",
                     beyond_labels.VOTE, "ALIBI", "LP-2ST", "DPA"]
    assert {(arm.public, arm.train_size) for arm in arms.values()} == {(2000, 12000)}
    assert {arm.training.label_smoothing for arm in arms.values()} == {0.0}
    assert arms["DP-SGD"].training.sampling == "poisson"
    assert beyond_labels.defended(beyond_labels.small(), lr=0.5)["DP-SGD"].training.lr == 0.5
    assert arms["PATE"].defence.teacher.epochs == arms[NONE].training.epochs
    runs = beyond_labels.runs(arms, METHODS[WHITE_BOX], targets=[4, 5], shares=[0.06, 0.25])
    assert len(runs) == len({run.key for run in runs}) == 12 * 2 * 2 * 2
    assert {run.attack.in_world for run in runs} == {"P", "C"}
    assert all(isinstance(run.attack, CleanLabel) and run.attack.poisons is None for run in runs)


# accuracy without poison, lift
MEASURED = {NONE: (0.7, 0.6), CUTMIX: (0.68, 0.2), MIXUP: (0.72, 0.5), "detector": (0.69, 0.58),
            "DP-SGD": (0.5, 0.1), "PATE": (0.45, 0.02), beyond_labels.VOTE: (0.55, 0.05),
            "ALIBI": (0.4, 0.3), "LP-2ST": (0.5, 0.3), "DPA": (0.6, 0.01)}


@functools.cache
def asked_beyond():
    return table(beyond_labels.runs(beyond_labels.defended(beyond_labels.small(), [3]),
                                    METHODS[WHITE_BOX]))


def beyond(**lifts):
    """Rows of all arms; plain training of fewer epochs is less accurate and less attacked."""
    random, lines = np.random.RandomState(0), []
    frame = asked_beyond()
    for _, row in frame.iterrows():
        arm, epochs = beyond_labels.name(row), row["training.epochs"]
        accuracy, lift = MEASURED[arm]
        lift = lifts.get(arm.replace("-", "").lower().replace(" ", "_"), lift)
        if arm == NONE and epochs < 12:
            accuracy, lift = accuracy - 0.15, lift / 2
        lift = lift * (row["world"] == "P") + 0.005 * random.randn()
        kind = row["defence.name"]
        promised = {"dpsgd": (2.0, "add-remove") if arm == "DP-SGD" else (math.inf, "none"),
                    "pate": (30.0, "replace-one") if arm == "PATE" else (math.inf, "none"),
                    "alibi": (1.0, "label"), "lpmst": (1.0, "label")}.get(kind, (math.inf, "none"))
        lines.append({"status": "ok", "floor": 0.02, "success": 0.02 + lift, "lift": lift,
                      "accuracy": accuracy + 0.002 * random.randn(), "trigger_auc": 0.6,
                      "epsilon": promised[0], "adjacency": promised[1], "delta": 1e-5,
                      "facts.poisons": 250.0,
                      "facts.certified_attack": 0.0 if kind == "partition" else math.nan})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def test_each_defence_stands_beside_plain_training_as_accurate():
    found = beyond_labels.prepared(beyond())
    apart = beyond_labels.as_accurate(found)
    beside = apart.groupby(ARM)[["difference", "instead"]].first()
    assert MIXUP not in beside.index  # more accurate than all plain trainings
    assert beside.at[CUTMIX, "instead"] == "12 epochs"
    assert beside.at["ALIBI", "instead"] == "3 epochs"
    assert beside.at[CUTMIX, "difference"] == pytest.approx(-0.4, abs=0.03)
    assert beside.at["ALIBI", "difference"] == pytest.approx(0.0, abs=0.03)
    assert beyond_labels.there(found) is True
    said = beyond_labels.finding(found, apart)
    assert said.startswith("Without a defence the lift is 25%: ")
    assert "CutMix: −4" in said and "12 epochs" in said


@pytest.mark.parametrize("lift,word", [(0.3, "indistinguishable"), (0.1, "leaves less lift"),
                                       (0.5, "leaves more lift")])
def test_label_dp_may_help_or_not(lift, word):
    found = beyond_labels.prepared(beyond(alibi=lift))
    said = beyond_labels.of_labels(found, beyond_labels.as_accurate(found))
    assert said.startswith(f"ALIBI {'is ' if word[0] == 'i' else ''}{word}")


def test_without_an_attack_no_defence_is_judged():
    found = beyond_labels.prepared(beyond(no_defence=0.01))
    apart = beyond_labels.as_accurate(found)
    assert beyond_labels.there(found) is False
    assert "too little of it" in beyond_labels.finding(found, apart)
    assert beyond_labels.of_labels(found, apart) == ""
    empty = found.iloc[:0]
    assert beyond_labels.there(empty) is None
    assert beyond_labels.as_accurate(empty).empty and beyond_labels.promises(empty).empty
    assert beyond_labels.finding(empty, apart) == ""


def test_promises_say_what_they_are_worth():
    found = beyond_labels.prepared(beyond())
    said = beyond_labels.promises(found).set_index(ARM)["promise"]
    assert said.index.is_unique and len(said) == 10
    assert said["DP-SGD"] == "ε 2 (add-remove); allows a success of 100%"
    assert said["PATE"] == "ε 30 (replace-one); allows a success of 100%"
    assert said["ALIBI"] == said["LP-2ST"] == "ε 1 of one label; no label is wrong"
    assert said["DPA"] == "certified against this attack: 0% of predictions"
    assert set(said[[NONE, CUTMIX, MIXUP, "detector", beyond_labels.VOTE]]) == {"no guarantee"}


def test_caps_count_a_changed_record_by_its_adjacency():
    found = beyond_labels.prepared(beyond())
    own = found[found[ARM].eq("DP-SGD")].assign(
        epsilon=0.01, delta=0.0, blind=[0.02, 0.03, 0.04], **{"facts.poisons": 10.0})
    start = beyond_labels.cap(own.assign(**{"facts.poisons": 0.0}))  # an upper bound of the mean
    assert start > 0.03 + 4.30 * 0.01 / math.sqrt(3)
    assert beyond_labels.cap(own) == privacy.attack_success_cap(start, 0.01, 0.0, 20)
    assert beyond_labels.cap(own.assign(adjacency="replace-one")) == privacy.attack_success_cap(
        start, 0.01, 0.0, 10)
    assert beyond_labels.cap(own.iloc[:1]) == 1.0
    with pytest.raises(ValueError, match="adjacency 'label': expected add-remove"):
        beyond_labels.cap(own.assign(adjacency="label"))
