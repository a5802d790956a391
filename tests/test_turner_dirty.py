"""Turner's thesis, the mislabelled attack: victims, runs, rows, claims T1, T3 and T11, figures."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import outcomes, result

from lib import figures, study, verdicts
from lib.attacks.clean_label import CleanLabel
from lib.papers.borgnia import patching
from lib.papers.turner import dirty, dirty_figures, hardenings, learning, victims
from lib.study import columns, measure, ranked
from lib.study.table import table
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

NOTEBOOK, LANDSCAPE = "30_dirty_label", "33_landscape"
VICTIM = victims.small()


# ---- victims

def test_the_target_classes_follow_from_the_rule():
    assert victims.PAIRS == ((2, 4), (3, 5), (7, 0)) and victims.TARGET_CLASSES == (4, 5, 0)
    assert sorted(victims.RANKED) == sorted(patching.PAIRS)
    assert victims.RANKED[3] == (9, 6)  # frog
    assert [victims.class_name("cifar10-jpeg", one) for one in victims.TARGET_CLASSES] == [
        "deer", "dog", "airplane"]
    assert victims.class_name("mnist", 4) == "4"


def test_shares_are_counts_of_a_class():
    assert victims.counts(victims.SHARES, victims.records(VICTIM)) == [15, 60, 250]
    assert victims.counts(victims.ALL_SHARES, victims.records(victims.full())) == [
        20, 75, 300, 1250, 5000]
    with pytest.raises(ValueError, match="share 0.0004 of a class of 1000 images: 0 poisons; exp"):
        victims.counts([0.0004], 10_000)
    with pytest.raises(ValueError, match="share 1.5 of a class"):
        victims.counts([1.5], 10_000)


def test_digits_are_not_mirrored():
    for dataset in ("mnist", "fashion-mnist-jpeg"):
        assert victims.augmentation(dataset) == (Crop(2),)
    assert victims.small(augmented=True).training.transforms == (Crop(2), Flip())
    assert victims.full(augmented=True).train_size is None
    assert victims.drawn().dataset == "strokes" and victims.drawn().training.transforms == ()


def test_trusted_images_are_no_private_ones():
    own = victims.trusting(VICTIM)
    assert (own.public, own.train_size, victims.records(own)) == (1024, 11024, 10_000)
    assert victims.records(victims.trusting(victims.full())) == 48_976


# ---- runs

def test_numbers_of_poisons_are_the_theses_shares_and_its_75():
    assert dirty.poisons(VICTIM) == [4, 15, 60, 75, 250, 1000]
    assert dirty.poisons(victims.full()) == [20, 75, 300, 1250, 5000]
    assert dirty.poisons(victims.drawn(), [0.25]) == [15]
    assert dirty.hidden(VICTIM) == 20 and dirty.hidden(victims.full()) == 100


def test_runs_have_their_clean_twins_which_targets_of_a_seed_share():
    runs = dirty.attacked(VICTIM, [15, 75], seeds=2)
    assert len(runs) == len({run.key for run in runs}) == 2 * 3 * 2
    attacks = [run for run in runs if run.attack.in_world == "P"]
    assert {run.twin for run in runs} == {run.key for run in attacks}
    assert {(run.attack.target, run.attack.poisons) for run in attacks} == {
        (target, count) for target in (4, 5, 0) for count in (15, 75)}
    assert all(run.attack.base is None and run.attack.size == 3 for run in runs)
    clean = [run for run in runs if run.attack.in_world == "C"]
    assert len({measure.identity(run) for run in clean}) == 2


def test_the_filter_stands_beside_no_defence_on_the_same_images():
    plain = dirty.attacked(VICTIM, [20], names="P")
    runs = dirty.filtered(plain)
    assert len(runs) == 6 and {run.public for run in runs} == {1024}
    none, own = runs[:2]
    assert own.with_(defence=none.defence) == none
    assert own.defence.training.transforms == (Crop(2), Flip()) and own.defence.share == 0.006
    assert dirty.detector(victims.drawn(), inspected=5).inspected == 5


# ---- rows

@functools.cache
def asked(targets, counts):
    """The table of runs without results."""
    chosen = tuple(target for _, target in victims.RANKED)[:targets]
    plain = dirty.attacked(VICTIM, counts, targets=chosen)
    return table(plain + dirty.filtered(dirty.attacked(VICTIM, [20], targets=chosen, names="P")))


LIFTS = {4: 0.2, 15: 0.82, 20: 0.85, 60: 0.88, 75: 0.9, 250: 0.92, 1000: 0.94}


def made_up(*, targets=10, counts=(4, 15, 60, 75, 250, 1000), found=8, accuracy=0.5, **lifts):
    """Rows as `study.run` returns them; found: poisons of 20 among the 60 inspected records."""
    frame, lines, random = asked(targets, counts), [], np.random.RandomState(0)
    changed = LIFTS | {int(name[1:]): value for name, value in lifts.items()}
    for _, row in frame.iterrows():
        lift, hits = changed[row["attack.poisons"]], found + random.randint(2)
        lift = lift * (row["world"] == "P") + 0.005 * random.randn()
        values = {"status": "ok", "floor": 0.03, "lift": lift, "success": 0.03 + lift,
                  "accuracy": 0.7 + 0.01 * random.randn(), "trigger_auc": 0.5 + lift / 2,
                  "epsilon": math.inf}
        if row["defence.name"] == dirty.FILTER:
            values |= {"facts.removed": 60.0, "facts.records": 10_000.0, "facts.poisons": 20.0,
                       "facts.found": float(hits), "facts.expected": 0.12, "facts.auc": 0.9,
                       "facts.recall": hits / 20, "facts.precision": hits / 60,
                       "facts.enrichment": hits / 0.12,
                       "facts.detector_accuracy": accuracy + 0.01 * random.randn()}
        lines.append(values)
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def test_rows_say_how_many_poisons_and_of_what():
    found = dirty.prepared(made_up(targets=3))
    assert set(found["world"]) == {"P"} and set(found["target class"]) == {
        "deer", "dog", "airplane"}
    main = dirty.undefended(found)
    assert len(main) == 6 * 3 and main["natural"].eq(0.03).all()
    assert sorted(set(main[dirty.SHARE])) == [0.0004, 0.0015, 0.006, 0.0075, 0.025, 0.1]
    assert set(dirty.at_share(main, 75 / 50_000)[dirty.POISONS]) == {15}
    assert set(dirty.at(main, 75)[dirty.SHARE]) == {0.0075}
    assert len(dirty.ranked(found)) == 3 and dirty.ranked(found)[dirty.FOUND].between(40, 45).all()


# ---- claims

def test_the_theses_numbers_hold_its_claims():
    frame = made_up()
    assert outcomes("T1", frame) == outcomes("T3", frame) == ("holds", "holds")
    got = result("T1", frame)
    assert got.setup.startswith("substitute") and got.direction.n == 10
    share = {name: (own, size) for name, own, size in got.beside}["at 0.15% of the set"]
    assert share[0].outcome == "holds" and share[1].measured == pytest.approx(0.85, abs=0.02)
    assert result("T3", frame).size.measured == pytest.approx(42, abs=3)


@pytest.mark.parametrize("claim,changes,expected", [
    ("T1", dict(n75=0.6), ("holds", "fails")),
    ("T1", dict(n75=-0.01), ("fails", "fails")),
    ("T1", dict(n75=0.6, n1000=0.1), ("holds", "inconclusive")),
    ("T1", dict(counts=(15, 1000)), ("not measured", "not measured")),
    ("T3", dict(found=2), ("holds", "fails")),
    ("T3", dict(found=2, accuracy=0.05), ("inconclusive", "inconclusive")),
    ("T3", dict(accuracy=0.05), ("inconclusive", "inconclusive"))])
def test_each_part_can_fail(claim, changes, expected):
    assert outcomes(claim, made_up(**changes)) == expected


def test_three_targets_decide_nothing():
    found = {one.claim.id: one for one in verdicts.evaluate(
        {NOTEBOOK: made_up(targets=3)}, of=["turner"])}
    for name in ("T1", "T3"):
        assert found[name].size.outcome == "inconclusive"
        assert "3 of 10 planned" in found[name].size.reason


@pytest.mark.parametrize("rows", ["none", "other attack", "shares", "not measured"])
def test_without_rows_nothing_is_measured(rows):
    frame = made_up(targets=3)
    if rows == "none":
        frame = frame.iloc[:0]
    elif rows == "other attack":
        frame = frame.assign(**{"attack.name": "random_patch"})
    elif rows == "shares":
        frame = frame.assign(**{"attack.poisons": math.nan})
    else:
        frame = frame.assign(status="not measured")
    assert outcomes("T1", frame) == outcomes("T3", frame) == ("not measured", "not measured")
    found = dirty.prepared(frame)
    assert found.empty and dirty.table(found).empty and dirty.finding(found) == ""
    assert dirty.inspection(dirty.ranked(found)).empty and dirty.removal(found).empty
    assert dirty.inspection_finding(dirty.ranked(found)) == dirty.removal_finding(
        dirty.removal(found)) == ""
    assert figures.panels(dirty_figures.by_number(dirty.undefended(found))).axes
    shown = dirty_figures.headline(frame)
    assert shown.finding == "" and shown.figure.axes and shown.data.empty


# ---- T11

def learnt(*, clean=0.02, poison=0.015, bare=2.0, success=0.8, pairs=10):
    """Rows of the label-consistent attack and their losses at two epochs."""
    attack = CleanLabel(None, 4, 0.06, hardening=hardenings.ascent("l2", 300))
    runs = [learning.followed(VICTIM.with_(attack=attack, attack_seed=number,
                                           attack__target=target))
            for number, (_, target) in enumerate(victims.RANKED[:pairs])]
    frame = table([run.in_world(world) for run in runs for world in "PC"])
    random = np.random.RandomState(0)
    frame = frame.assign(status="ok", floor=0.03, success=success, lift=success - 0.03,
                         accuracy=0.7, trigger_auc=0.9, epsilon=math.inf)
    points = frame.loc[frame.index.repeat(2)].assign(
        epoch=[1.0, 12.0] * len(frame), step=[1.0, 12.0] * len(frame))
    factors = {"clean": clean, "poison": poison, "bare": bare}
    last = points["epoch"].eq(12.0)
    for name in columns.LOSSES:
        _, kind, at = name.split("_")
        values = factors[kind] * (1 + 0.05 * random.rand(len(points))) * int(at) / 50
        points[name] = np.where(last, values, 2.3)
    return frame, points


def test_poisons_that_are_learnt_by_their_trigger():
    followed = learning.followed(VICTIM, every=0.5)
    assert (followed.losses, followed.training.every) == (True, 0.5)
    assert VICTIM.training.label_smoothing == 0.1 and followed.training.label_smoothing == 0.0
    frame, points = learnt()
    of = {f"{LANDSCAPE}/losses": points}
    assert outcomes("T11", frame, **of) == ("holds", "holds")
    got = result("T11", frame, **of)
    assert got.direction.measured == pytest.approx(-0.005, abs=0.001)
    assert learning.finding(learning.medians(points)).startswith(
        "Median cross-entropy at the end, in nats: clean records 0.02")
    paths = learning.paths(points, smoothed=1)
    assert len(paths) == 3 * 2 and figures.bands(
        paths, x="epoch", series=learning.SAMPLES, xlabel="epoch", ylabel="loss").axes
    ends = paths[paths["epoch"].eq(12)].set_index(learning.SAMPLES)
    assert ends.at["poisons without the trigger", "median"] == pytest.approx(2.05, abs=0.03)
    assert (ends["low"] < ends["median"]).all() and (ends["median"] < ends["high"]).all()


@pytest.mark.parametrize("changes,expected", [
    (dict(poison=0.025), ("fails", "holds")), (dict(poison=0.04), ("fails", "fails")),
    (dict(bare=0.05), ("holds", "fails")), (dict(success=0.3), ("inconclusive", "inconclusive"))])
def test_each_part_of_the_losses_can_fail(changes, expected):
    frame, points = learnt(**changes)
    assert outcomes("T11", frame, **{f"{LANDSCAPE}/losses": points}) == expected


def test_losses_of_other_attacks_or_without_rows_are_not_measured():
    frame, points = learnt(pairs=2)
    for own in (frame.iloc[:0], frame.assign(losses=False),
                frame.assign(**{"attack.name": "badnets"})):
        assert outcomes("T11", own) == ("not measured", "not measured")
    assert learning.paths(points.iloc[:0]).empty
    assert learning.finding(learning.medians(points.iloc[:0])) == ""


def test_moving_averages_are_of_three_points():
    _, points = learnt(pairs=1)
    own = points[points["world"].eq("P")].iloc[[0] * 4].assign(
        epoch=[1.0, 2.0, 3.0, 4.0], loss_poison_50=[1.0, 4.0, 1.0, 7.0])
    found = learning.paths(own).set_index([learning.SAMPLES, "epoch"])["median"]["poisons"]
    assert found.tolist() == pytest.approx([2.5, 2.0, 4.0, 4.0])


# ---- figures

def test_figures_tables_and_findings():
    found = dirty.prepared(made_up(targets=3))
    main = dirty.undefended(found)
    lines = dirty.table(main)
    assert lines["poisons"].tolist() == [4, 15, 60, 75, 250, 1000] and lines["targets"].eq(3).all()
    assert dirty.finding(main).startswith("With 75 poisons the attack succeeds on 9")
    assert "0.15%" in dirty.finding(main)
    assert len(figures.panels(dirty_figures.by_number(main)).axes) == 2
    assert len(dirty.inspection(dirty.ranked(found))) == 3
    assert "Among the 60 least likely of 10,000 records are 4" in dirty.inspection_finding(
        dirty.ranked(found)) and "chance finds 0.6" in dirty.inspection_finding(
            dirty.ranked(found))
    removal = dirty.removal(found)
    assert len(removal) == 3 * 3 and dirty.removal_finding(removal).startswith("Training without")
    shown = dirty_figures.headline(made_up(targets=3))
    assert len(shown.data) == 6 * 3 and any(letter.isdigit() for letter in shown.finding)


def test_pictures(store, monkeypatch):
    from lib import data

    assert dirty_figures.pictured("strokes-colour", target=4).axes
    run, = dirty.attacked(victims.drawn(train_size=200).with_(model="mlp"), [4], targets=[1],
                          names="P")
    runs = dirty.filtered([run], images=100)
    frame = study.run(runs)
    assert frame["status"].eq("ok").all()
    assert len(dirty_figures.least_likely(runs, frame).axes[0].texts) == 20
    least = ranked.least(dirty.prepared(frame))
    assert "least likely records" in dirty_figures.least_finding(least)
    lines = dirty_figures.least_table(least, 5)
    assert lines["rank"].tolist() == [1, 2, 3, 4, 5] and list(lines)[1:] == ["target 1"]
    assert lines["target 1"].str.contains("poison").sum() == least["poison"][:5].sum()
    assert dirty_figures.least_table(least.iloc[:0]).empty

    def missing(*_, **__):
        raise data.DataNotFound("not here")
    monkeypatch.setattr(measure, "poisoned", missing)
    said, = dirty_figures.least_likely(runs, frame).axes[0].texts
    assert said.get_text() == dirty_figures.NO_DATA
    said, = dirty_figures.least_likely(runs, frame.iloc[:0]).axes[0].texts
    assert said.get_text() == "not measured" and dirty_figures.least_finding(
        ranked.least(frame.iloc[:0])) == ""


def test_distributions_are_drawn():
    lines = pd.DataFrame({"records are": ["poisons"] * 2 + ["the rest"] * 2,
                          "low": [-1.0, -0.5] * 2, "high": [-0.5, 0.0] * 2,
                          "share": [0.9, 0.1, 0.2, 0.8]})
    figure = figures.histograms(lines, series="records are", xlabel="p", ylabel="share")
    steps = [patch.get_data() for patch in figure.axes[0].patches]
    assert [list(one.values) for one in steps] == [[90, 10], [20, 80]]
    assert list(steps[0].edges) == [-1, -0.5, 0]
    empty = figures.histograms(lines.iloc[:0], series="records are", xlabel="p", ylabel="share")
    assert empty.axes[0].texts[0].get_text() == "not measured"
