"""Turner's thesis, faint triggers, corners, augmentation and JPEG: runs, rows, claims T8 to T10."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import outcomes

from lib import figures, verdicts
from lib.attacks.triggers import FOUR_CORNERS
from lib.papers.turner import consistent, subtle, subtle_figures, victims
from lib.papers.turner.subtle import AMPLITUDE, CORNERS, FOUR, LOOK, ONE, SAVED, Stamp
from lib.study.table import table

NOTEBOOK = "32_subtle_triggers"
PLAIN, AUGMENTED = victims.small(), victims.small(augmented=True)
SHARES = (0.015, 0.06)


# ---- runs

def test_the_full_amplitude_has_the_runs_of_notebook_31():
    ours = subtle.faint(PLAIN, [255], names="P")
    theirs = consistent.attacked(PLAIN, [consistent.CHOSEN])
    assert [run.key for run in ours] == [run.key for run in theirs]


def test_clean_trainings_are_those_of_notebook_31_once_a_class():
    theirs = {run.key for run in consistent.controls(PLAIN) if run.attack.in_world == "C"}
    assert {run.key for run in subtle.clean(PLAIN)} == theirs and len(theirs) == 3
    assert len(subtle.faint(PLAIN)) == 4 * 3 * 3
    four = subtle.cornered(AUGMENTED, late=True, shares=[0.06])
    assert {run.attack.position for run in four} == {"bottom-right", FOUR_CORNERS}
    assert all(run.attack.after_augmentation and run.attack.amplitude == 32 for run in four)
    assert {run.attack.in_world for run in four} == {"P"}
    assert {run.attack.in_world for run in subtle.parts(PLAIN, shares=[0.06])} == {"T", "H"}


def test_other_numbers_of_corners_are_refused():
    with pytest.raises(ValueError, match="corners 2: expected 1 or 4"):
        Stamp(32, 2)


# ---- rows

@functools.cache
def asked(targets, shares):
    """The table of runs without results."""
    own = dict(targets=tuple(target for _, target in victims.RANKED)[:targets])
    every = own | dict(shares=shares)
    runs = (subtle.faint(PLAIN, **every) + subtle.cornered(PLAIN, **every)
            + subtle.cornered(AUGMENTED, **every)
            + subtle.clean(PLAIN, **every) + subtle.clean(AUGMENTED, **every))
    if targets <= 3:
        few = own | dict(shares=[0.06])
        runs += (subtle.cornered(AUGMENTED, late=True, **few) + subtle.saved(PLAIN, **few)
                 + subtle.parts(PLAIN, **few))
    return table(list({run.key: run for run in runs}.values()))


SUCCESS = {(16, ONE, False): 0.6, (32, ONE, False): 0.75, (64, ONE, False): 0.85,
           (255, ONE, False): 0.9, (32, FOUR, False): 0.78, (32, ONE, True): 0.1,
           (32, FOUR, True): 0.9}


def made_up(*, targets=10, shares=SHARES, changes=None, few=0.05, robust=0.33):
    """Rows as `study.run` returns them; few: success at 1.5%. Four corners keep 0.9 there."""
    frame, lines, random = asked(targets, shares), [], np.random.RandomState(0)
    known = SUCCESS | (changes or {})
    for _, row in frame.iterrows():
        corners = FOUR if row["attack.position"] == FOUR_CORNERS else ONE
        augmented = len(row["training.transforms"]) > 0
        success = known.get((row["attack.amplitude"], corners, augmented), 0.0)
        success -= 0.3 * (row["attack.jpeg"] == 75) * (row["attack.amplitude"] < 64)
        success = 0.9 if row["attack.after_augmentation"] else success
        if row["attack.fraction"] < 0.06 and not augmented:
            success = few
        success = success if row["world"] == "P" else 0.04
        success = float(np.clip(success + 0.005 * random.randn(), 0, 1))
        lines.append({
            "status": "ok", "floor": 0.03, "lift": success - 0.03, "success": success,
            "accuracy": 0.7, "trigger_auc": 0.5, "target_recall": 0.7, "epsilon": math.inf,
            "facts.poisons": 1000 * row["attack.fraction"], "facts.surrogate_accuracy": 0.6,
            "facts.surrogate_robust": robust})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def test_rows_say_how_they_were_stamped():
    own = subtle.prepared(made_up(targets=3))
    assert own["world"].eq("P").all() and set(own[LOOK]) == {
        "one corner", "four corners", "one corner, augmented", "four corners, augmented",
        "one corner, stamped after augmentation", "four corners, stamped after augmentation",
        "one corner, saved as JPEG"}
    assert own["natural"].eq(0.03).all()  # of the clean training, whatever the trigger
    assert set(subtle.faint_rows(own)[AMPLITUDE]) == {16, 32, 64, 255}
    corners = subtle.corner_rows(own)
    assert set(corners[CORNERS]) == {1, 4} and not corners[SAVED].any()
    assert subtle.share_of(corners) == [0.015, 0.06] and subtle.share_of(corners, 0.06) == [0.06]
    effects = subtle.at(own, share=0.06)["effect"]  # the other stamps have no hardened-only twin
    assert effects.notna().all() and subtle.at(own, amplitude=64)["effect"].isna().all()


# ---- claims

@pytest.mark.parametrize("claim,expected", [
    ("T8", ("holds", "holds")), ("T9", ("holds", "holds")), ("T10", (None, "holds"))])
def test_what_the_thesis_shows_holds(claim, expected):
    assert outcomes(claim, made_up()) == expected


@pytest.mark.parametrize("claim,settings,expected", [
    ("T8", dict(few=0.3), ("holds", "fails")),
    ("T8", dict(changes={(16, ONE, False): 0.3}), ("holds", "fails")),
    ("T8", dict(changes={(16, ONE, False): 0.8}), ("fails", "holds")),
    ("T8", dict(changes={(255, ONE, False): 0.3}), ("inconclusive", "inconclusive")),
    ("T9", dict(changes={(32, FOUR, True): 0.05}), ("fails", "fails")),
    ("T9", dict(changes={(32, ONE, True): 0.4}), ("holds", "fails")),
    ("T9", dict(changes={(32, FOUR, True): 0.6}), ("holds", "fails")),
    ("T9", dict(changes={(32, ONE, False): 0.3}), ("inconclusive", "inconclusive")),
    ("T10", dict(changes={(32, FOUR, False): 0.95}), (None, "fails")),
    ("T10", dict(changes={(32, FOUR, False): 0.6}), (None, "fails")),
    ("T10", dict(changes={(32, FOUR, False): 0.42, (32, ONE, False): 0.4}),
     (None, "inconclusive"))])
def test_each_part_can_fail(claim, settings, expected):
    assert outcomes(claim, made_up(**settings)) == expected


def test_three_targets_decide_nothing():
    found = {one.claim.id: one for one in verdicts.evaluate(
        {NOTEBOOK: made_up(targets=3)}, of=["turner"])}
    for name in ("T8", "T9", "T10"):
        assert found[name].size.outcome == "inconclusive"
        assert "3 of 10 planned" in found[name].size.reason
        assert found[name].setup.startswith("substitute: data cifar10-jpeg")


@pytest.mark.parametrize("rows", ["none", "other attack", "not measured"])
def test_without_rows_nothing_is_measured(rows):
    frame = made_up(targets=3)
    if rows == "none":
        frame = frame.iloc[:0]
    elif rows == "other attack":
        frame = frame.assign(**{"attack.name": "random_patch"})
    else:
        frame = frame.assign(status="not measured")
    for name in ("T8", "T9", "T10"):
        assert set(outcomes(name, frame)) <= {"not measured", None}
    found = subtle.prepared(frame)
    assert found.empty and subtle_figures.table(found).empty
    saved = subtle_figures.saved_gains(hardened=subtle.saving(found))
    assert subtle_figures.finding(found) == "" and saved.empty
    assert subtle_figures.gains_finding(saved, "Saving") == ""
    assert figures.panels([subtle_figures.by_amplitude(found), subtle_figures.by_look(found),
                           subtle_figures.by_class(found)]).axes
    shown = subtle_figures.headline(frame)
    assert shown.finding == "" and shown.figure.axes and shown.data.empty


# ---- figures

def test_figures_tables_and_findings():
    frame = made_up(targets=3)
    own = subtle.prepared(frame)
    specs = [subtle_figures.by_amplitude(subtle.faint_rows(own)),
             subtle_figures.by_look(subtle.corner_rows(own)),
             subtle_figures.by_class(subtle.at(own), "amplitude 32")]
    assert all(figures.panels([spec]).axes for spec in specs)
    gains = subtle_figures.corner_gains(own)
    assert set(gains["than"]) == {
        "not augmented, 1.5%", "not augmented, 6.0%", "augmented, 1.5%", "augmented, 6.0%",
        "stamped after augmentation, 6.0%"}
    assert len(gains) == 5 * 3
    assert len(subtle_figures.late_gains(own)) == 2 * 3
    saved = subtle_figures.saved_gains(hardened=subtle.saving(own))
    means = saved.groupby("than")["difference"].mean()
    assert means["hardened, amplitude 16"] == pytest.approx(-0.3, abs=0.02)
    assert means["hardened, amplitude 255"] == pytest.approx(0, abs=0.02)
    said = subtle_figures.gains_finding(saved, "Saving as JPEG changes")
    assert said.startswith("Saving as JPEG changes, in points of success: hardened, amplitude 16 −")
    lines = subtle_figures.table(own)
    assert lines["classes"].eq(3).all() and {"success, %", "lift, %", "lost recall, %"} < set(
        lines.columns)
    assert subtle_figures.finding(own).startswith("Success with 6% of the class poisoned: ampl")
    shown = subtle_figures.headline(frame)
    assert len(shown.data) == 5 * 3 and "after PGD within linf 8" in shown.finding


def test_pictures(store, monkeypatch):
    from lib import data
    from lib.papers.turner import consistent_figures

    run = victims.drawn(train_size=300, test_size=60)
    settings = dict(target=4, networks=consistent.DRAWN, count=2)
    assert len(subtle_figures.faint(run, [32, 255], **settings).axes[0].texts) == 2 * 4
    assert len(subtle_figures.corners(run, target=4, count=2).axes[0].texts) == 2 * 3 * 2
    lines = subtle_figures.conspicuous(run, [32, 255], **settings)
    assert lines["poison"].tolist() == ["hardened only", "amplitude 32", "amplitude 255"]
    assert lines["l2"].is_monotonic_increasing and lines["psnr"].is_monotonic_decreasing

    assert subtle_figures.corners_finding(run).startswith(
        "Of 784 pixels the stamps change: one corner 9 by up to 32 levels, four corners ")

    def missing(*_, **__):
        raise data.DataNotFound("not here")
    monkeypatch.setattr(consistent_figures, "crafted", missing)
    said, = subtle_figures.faint(run, **settings).axes[0].texts
    assert said.get_text() == consistent_figures.NO_DATA
    assert subtle_figures.conspicuous(run, **settings).empty
