"""Turner's thesis, label-consistent attacks: runs, rows, claims T2, T4 to T7 and T14, figures."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import outcomes

from lib import figures, verdicts
from lib.attacks.hardening.gan import GAN
from lib.attacks.hardening.pgd import PGD
from lib.papers.turner import consistent, consistent_figures, dirty, victims
from lib.papers.turner.consistent import ARM, BASELINE, CHOSEN, LATENT, MISLABELLED
from lib.study import measure
from lib.study.table import table

NOTEBOOK = "31_label_consistent"
VICTIM = victims.small()
ARMS = ("l2 300", "l2 600", "l2 1200", "GAN 0", "GAN 0.1", "GAN 0.2")


# ---- runs

def test_arms_are_the_theses_strengths():
    assert consistent.ARMS == ("l2 300", "l2 600", "l2 1200", "linf 8", "linf 16", "linf 32",
                               "GAN 0", "GAN 0.1", "GAN 0.2", "GAN 0.3")
    ascent = consistent.hardening(CHOSEN, 4)
    assert isinstance(ascent, PGD) and ascent.ball.radius == pytest.approx(300)
    assert ascent.ball.norm == "l2" and ascent.data == "both"
    latent = consistent.hardening(LATENT, 4)
    assert isinstance(latent, GAN) and (latent.tau, latent.other, latent.dim) == (0.2, 2, 32)
    assert consistent.attacker("full").gan.dim == 128
    for wrong in ("l2", "l1 300", "GAN x", "noise 5"):
        with pytest.raises(ValueError, match=f"attack '{wrong}': expected a method and its stren"):
            consistent.hardening(wrong, 4)
    with pytest.raises(ValueError, match="attacker 'huge': expected one of small, drawn"):
        consistent.attacker("huge")


def test_every_arm_is_attacked_and_the_chosen_one_has_its_other_worlds():
    own, others = consistent.attacked(VICTIM), consistent.controls(VICTIM)
    assert len(own) == 10 * 3 * 3 and {run.attack.in_world for run in own} == {"P"}
    worlds = [run.attack.in_world for run in others]
    assert [worlds.count(name) for name in "THC"] == [9, 9, 3]
    keys = {run.key for run in own}
    assert {run.twin for run in others} <= keys and len(keys) == 90
    assert len({measure.identity(run) for run in others if run.attack.in_world == "C"}) == 3
    first = others[0].attack
    assert (first.stamp, first.harden, first.pattern, first.stamping) == (True, False, "gu", "add")


def test_runs_of_notebook_30_are_asked_for_as_it_asks():
    theirs = dirty.attacked(VICTIM, [15, 60, 250], names="P")
    ours = consistent.mislabelled(VICTIM)
    assert {run.key for run in ours} == {run.key for run in theirs}
    assert [(run.attack_seed, run.init_seed, run.noise_seed) for run in ours[:3]] == [
        (run.attack_seed, run.init_seed, run.noise_seed)
        for run in consistent.attacked(VICTIM, [CHOSEN], shares=[0.06])]


def test_the_filter_inspects_attacks_beside_public_images():
    runs = consistent.suspected(VICTIM, [BASELINE, CHOSEN, MISLABELLED], targets=[0])
    assert [run.attack.in_world for run in runs] == ["T", "P", "P"]
    assert {run.public for run in runs} == {1024} and runs[2].attack.poisons == 60
    assert {run.defence.share for run in runs} == {0.006}


def test_the_check_has_the_theses_batch_and_epochs():
    runs = consistent.checked(VICTIM, [CHOSEN], targets=[4, 5])
    assert [run.attack.in_world for run in runs] == ["P", "C"]
    assert (runs[0].training.batch_size, runs[0].training.epochs) == (50, 100)
    usual = consistent.attacked(VICTIM, [CHOSEN], targets=[4, 5], shares=[0.06])
    frame = table(runs + usual).assign(status="ok", floor=0.0, success=0.5, lift=0.5, accuracy=0.6,
                                       trigger_auc=0.5, target_recall=0.7)
    found = consistent.prepared(frame)
    assert len(found) == 3 and set(consistent.undefended(found)["training.epochs"]) == {12}
    lines = consistent_figures.recipes(found)
    assert lines["epochs"].tolist() == [100, 12] and set(lines["target class"]) == {"deer"}


# ---- rows

@functools.cache
def asked(targets, shares, arms):
    """The table of runs without results."""
    chosen = tuple(target for _, target in victims.RANKED)[:targets]
    own = dict(targets=chosen, shares=shares)
    return table(consistent.attacked(VICTIM, arms, **own) + consistent.controls(VICTIM, **own)
                 + consistent.mislabelled(VICTIM, **own))


SUCCESS = {"l2 300": 0.4, "l2 600": 0.6, "l2 1200": 0.8, "GAN 0": 0.15, "GAN 0.1": 0.17,
           "GAN 0.2": 0.38, BASELINE: 0.12, MISLABELLED: 0.95}
GROWTH = {0.015: 0.7, 0.06: 1.0, 0.25: 1.1, 1.0: 1.5}
CHANGE = {0.015: 0.0, 0.06: 0.0, 0.25: -0.002, 1.0: -0.07}


def made_up(*, targets=10, shares=(0.06, 0.25), arms=ARMS, changes=None, cost=None, hits=0,
            robust=0.33, growth=None):
    """Rows as `study.run` returns them. changes: success by arm at 6%; hits: classes in which
    stamping only succeeds at 25%."""
    frame, lines, random = asked(targets, shares, arms), [], np.random.RandomState(0)
    known, costs = SUCCESS | (changes or {}), CHANGE | (cost or {})
    grown = GROWTH | (growth or {})
    for _, row in frame.iterrows():
        arm = consistent.arm(row)
        wrong = arm == MISLABELLED
        share = row["attack.poisons"] / 1000 if wrong else row["attack.fraction"]
        success = min(1.0, known[arm] * (1 if wrong else grown[share]))
        if arm == BASELINE and share == 0.25 and row["attack_seed"] < hits:
            success = 0.7
        if row["world"] in "HC":
            success = 0.03
        poisoned = row["world"] == "P" and not wrong
        success = float(np.clip(success + 0.005 * random.randn(), 0, 1))
        lines.append({
            "status": "ok", "floor": 0.03, "lift": success - 0.03, "success": success,
            "accuracy": 0.66 + costs[share] * poisoned + 0.001 * random.randn(),
            "trigger_auc": 0.5, "target_recall": 0.7 - 0.05 * poisoned, "epsilon": math.inf,
            "facts.poisons": math.nan if wrong else 1000 * share,
            "facts.surrogate_accuracy": 0.6, "facts.surrogate_robust": robust})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def test_rows_are_named_and_stand_against_their_clean_training():
    found = consistent.undefended(consistent.prepared(made_up(targets=3)))
    assert set(found[ARM]) == {*ARMS, BASELINE, MISLABELLED}
    assert set(found[consistent.CLASS]) == {"deer", "dog", "airplane"}
    assert found["natural"].eq(0.03).all()
    assert set(found[consistent.POISONS]) == {60, 250}
    lost = found.set_index(ARM)["lost_recall"]
    assert lost[CHOSEN].round(6).eq(0.05).all() and lost[BASELINE].round(6).eq(0).all()
    effects = consistent.values(found, 0.06, CHOSEN, "effect")
    assert len(effects) == 3 and effects.mean() == pytest.approx(0.37, abs=0.02)
    # the hardened-only twin is there for the chosen arm alone; stamping only has the clean one
    assert consistent.values(found, 0.06, LATENT, "effect").isna().all()
    assert consistent.values(found, 0.06, BASELINE, "effect").mean() == pytest.approx(
        0.09, abs=0.02)
    assert consistent.shares(found) == [0.06, 0.25]


def test_a_filtered_row_is_no_row_of_the_figures():
    runs = consistent.suspected(VICTIM, [BASELINE], targets=[0])
    frame = table(runs).assign(status="ok", floor=0.0, success=0.1, lift=0.1, accuracy=0.6,
                               trigger_auc=0.5)
    found = consistent.prepared(frame)
    assert len(found) == 1 and found["natural"].isna().all()
    assert consistent.undefended(found).empty and len(dirty.ranked(found)) == 1


# ---- claims

@pytest.mark.parametrize("claim", ["T2", "T4", "T5", "T6", "T7"])
def test_what_the_thesis_shows_holds(claim):
    direction, size = outcomes(claim, made_up())
    assert direction == "holds" and size in ("holds", None)


def test_the_cost_of_a_whole_class_holds():
    frame = made_up(shares=(0.25, 1.0), arms=(CHOSEN,))
    assert outcomes("T14", frame) == ("holds", "holds")


@pytest.mark.parametrize("claim,settings,expected", [
    ("T2", dict(hits=4), ("holds", "fails")),
    ("T2", dict(changes={BASELINE: 0.9, MISLABELLED: 0.85}), ("fails", "fails")),
    ("T2", dict(changes={MISLABELLED: 0.5}), ("inconclusive", "inconclusive")),
    ("T4", dict(changes={"GAN 0.2": 0.2}), ("holds", "fails")),
    ("T4", dict(changes={"GAN 0.2": 0.1}), ("fails", "fails")),
    ("T4", dict(changes={"GAN 0.1": 0.35}), ("holds", "fails")),
    ("T5", dict(changes={"l2 1200": 0.5}), ("fails", None)),
    ("T5", dict(changes={"l2 300": 0.05}), ("fails", None)),
    ("T6", dict(changes={BASELINE: 0.6}), ("fails", "fails")),
    ("T6", dict(changes={MISLABELLED: 0.5}), ("inconclusive", "inconclusive")),
    ("T7", dict(changes={LATENT: 0.6}), ("fails", None)),
    ("T7", dict(arms=(CHOSEN,)), ("not measured", None))])
def test_each_part_can_fail(claim, settings, expected):
    assert outcomes(claim, made_up(**settings)) == expected


@pytest.mark.parametrize("settings,expected", [
    (dict(cost={1.0: 0.02}), ("fails", "fails")), (dict(cost={1.0: -0.01}), ("holds", "fails")),
    (dict(cost={1.0: -0.2}), ("holds", "fails")), (dict(cost={0.25: -0.05}), ("holds", "fails")),
    (dict(changes={CHOSEN: 0.2}), ("inconclusive", "inconclusive"))])
def test_each_part_of_the_cost_can_fail(settings, expected):
    assert outcomes("T14", made_up(shares=(0.25, 1.0), arms=(CHOSEN,), **settings)) == expected


def test_three_targets_decide_nothing():
    found = {one.claim.id: one for one in verdicts.evaluate(
        {NOTEBOOK: made_up(targets=3)}, of=["turner"])}
    for name in ("T2", "T4", "T5", "T6", "T7"):
        assert found[name].direction.outcome == "inconclusive"
        assert "3 of 10 planned" in found[name].direction.reason


@pytest.mark.parametrize("rows", ["none", "other attack", "not measured"])
def test_without_rows_nothing_is_measured(rows):
    frame = made_up(targets=3)
    if rows == "none":
        frame = frame.iloc[:0]
    elif rows == "other attack":
        frame = frame.assign(**{"attack.name": "random_patch"})
    else:
        frame = frame.assign(status="not measured")
    for name in ("T2", "T4", "T5", "T6", "T7", "T14"):
        assert set(outcomes(name, frame)) <= {"not measured", None}
    found = consistent.undefended(consistent.prepared(frame))
    assert found.empty and consistent_figures.table(found).empty
    assert consistent_figures.costs(found).empty and consistent_figures.finding(found) == ""
    assert consistent_figures.surrogate_finding(found) == ""
    assert consistent_figures.poisons_finding(found) == ""
    assert figures.panels([consistent_figures.strengths(found, ARMS)]).axes
    shown = consistent_figures.headline(frame)
    assert shown.finding == "" and shown.figure.axes and shown.data.empty


# ---- figures

def test_figures_tables_and_findings():
    frame = made_up(targets=3)
    found = consistent.undefended(consistent.prepared(frame))
    lines = consistent_figures.table(found)
    assert lines["attack"].iloc[0] == MISLABELLED and len(lines) == 8 * 2
    own = lines[lines["attack"].eq(CHOSEN) & lines["of the class"].eq("6.0%")].iloc[0]
    assert own["poisons"] == "60" and own["classes"] == 3 and own["effect, %"].startswith("3")
    assert own["lost recall, %"] == "5.0" and own["natural, %"] == "3.0"
    specs = [consistent_figures.of_arm(found, BASELINE), consistent_figures.strengths(
        found, ("GAN 0", LATENT)), consistent_figures.of_class(found, "deer")]
    assert len(figures.panels(specs).axes) == 3
    gains = consistent_figures.gains(found, ARMS)
    assert len(gains) == 6 * 3
    assert consistent_figures.gains_finding(gains).startswith("Points more than stamping only: l2")
    assert "stamped only 12" in consistent_figures.finding(found)
    assert consistent_figures.poisons_finding(found) == (
        "Of the target class, 6.0% are 60 images, 25.0% are 250 images.")
    assert len(consistent_figures.costs(found)) == 3 * 2
    shown = consistent_figures.headline(frame)
    assert len(shown.data) == 6 * 3 and "after PGD within linf 8" in shown.finding


@pytest.mark.parametrize("robust,weak", [(0.2, True), (0.33, False)])
def test_a_weak_surrogate_is_called_weak(robust, weak):
    found = consistent.prepared(made_up(targets=3, robust=robust))
    assert consistent_figures.surrogate_finding(found).startswith("Weak surrogate") == weak


def test_pictures(store, monkeypatch):
    from lib import data

    run, networks = consistent_figures.pictured("drawn", VICTIM, consistent.SMALL)
    assert networks is consistent.DRAWN and run.dataset == "strokes"
    assert consistent_figures.pictured("victim", VICTIM, networks) == (VICTIM, networks)
    with pytest.raises(ValueError, match="pictured 'mine': expected drawn or victim"):
        consistent_figures.pictured("mine", VICTIM, networks)
    run = run.with_(train_size=300, test_size=60)
    small = consistent.Attacker(networks.surrogate, GAN(dim=4, iterations=2, steps=3, step=0.5))
    settings = dict(target=4, networks=small, count=2)
    originals, made = consistent_figures.crafted(run, [BASELINE, CHOSEN, LATENT], amplitude=32,
                                                 **settings)
    assert originals.shape == made[LATENT].shape == (2, 1, 28, 28)
    moved = (made[BASELINE].float() - originals).flatten(1).abs()
    assert (moved > 0).sum(1).le(9).all() and moved.max() <= 32
    plain = consistent_figures.crafted(run, [CHOSEN], **settings)[1][CHOSEN]
    assert (plain.float() - originals).flatten(1).norm(dim=1).le(300 + 1e-3).all()
    assert len(consistent_figures.beside(run, [CHOSEN, LATENT], **settings).axes[0].texts) == 6
    assert len(consistent_figures.strip(run, target=4, networks=small, steps=3, count=1
                                        ).axes[0].texts) == 4
    first, _, second = [one.get_text() for one in consistent_figures.adversarial(
        run, target=4, networks=small, count=4).axes[0].texts]
    assert first.startswith("called ") and second.startswith("called ")
    lines = consistent_figures.conspicuous(run, [CHOSEN], **settings)
    assert lines["poison"].tolist() == [CHOSEN] and lines["l2"].iloc[0] <= 300 / 255 + 1e-6

    said = consistent_figures.visible_finding(lines, [CHOSEN, LATENT])
    assert said.startswith("Median l2 distance (pixels in [0, 1]) and SSIM: l2 300 1.1")
    assert consistent_figures.visible_finding(lines, [LATENT]) == ""

    def missing(*_, **__):
        raise data.DataNotFound("not here")
    monkeypatch.setattr(consistent_figures, "crafted", missing)
    for figure in (consistent_figures.beside(run, [CHOSEN], **settings),
                   consistent_figures.adversarial(run, target=4, networks=small)):
        said, = figure.axes[0].texts
        assert said.get_text() == consistent_figures.NO_DATA
    assert consistent_figures.conspicuous(run, [CHOSEN], **settings).empty
