"""Tables 2 to 6 of DP-InstaHide: their runs, rows by arm, published rates, claims I5 to I10."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import outcomes

from lib import figures, papers, verdicts
from lib.papers.borgnia import matching, patching, transfer, trials, victims
from lib.papers.borgnia.matching import (
    AUGMENTATIONS,
    CUTOUT,
    FOUR,
    FOUR_DRAWN,
    MAXUP,
    RELEASED,
    TWO,
    TWO_DRAWN,
)
from lib.papers.borgnia.patching import CLUSTERING, CUTMIX, MIXUP, NEIGHBOURS, NONE, SPECTRAL
from lib.papers.borgnia.transfer import CLEAN_LABEL, COLLISION, HIDDEN, LOOSER, POLYTOPE
from lib.papers.borgnia.trials import CLIPPED
from lib.study.table import table
from lib.verdicts import judgement

TARGETED, BACKDOORS = "21_mixing_targeted", "20_mixing_backdoors"
VICTIM = victims.small(batch_norm=True)
ARMS = patching.filters(VICTIM, 100) | patching.noisy(VICTIM)
QUICK = {"iterations": 3}
SETTINGS = {"trials": 2, "records": 2500, "again": {"lr": 0.01, "epochs": 5.0}}
MANY = 60  # trials: enough to decide


# ---- runs

def test_every_transfer_attack_meets_every_arm_under_both_constraints():
    runs = transfer.runs(VICTIM, dict.fromkeys(transfer.ATTACKS, QUICK), **SETTINGS)
    assert len(runs) == len({run.key for run in runs}) == 4 * 2 * 2 * 5 * 2
    attacked = [run for run in runs if run.attack.in_world == "P"]
    assert {run.twin for run in runs} == {run.key for run in attacked}
    frame = table(attacked).assign(arm=lambda found: [
        patching.name(row) for _, row in found.iterrows()])
    assert list(frame["arm"].unique()) == [NONE, CUTMIX, MIXUP, SPECTRAL, CLUSTERING]
    assert {transfer.constraint(row) for _, row in frame.iterrows()} == set(transfer.CONSTRAINTS)
    for run in attacked:
        assert run.start.train_size == 10_000 and run.train_size == 2500
        assert run.start.attack.fraction == 0.0 and run.training.lr == 0.01
        assert run.start.training == VICTIM.training and run.start.defence == VICTIM.defence


def test_trials_have_a_network_and_an_attack_of_their_own():
    runs = transfer.runs(VICTIM, {POLYTOPE: QUICK}, **SETTINGS | {"trials": 12})
    assert len({run.start.key for run in runs}) == 12
    assert len({(run.attack.base, run.attack.label, run.attack.target) for run in runs}) == 12


@pytest.mark.parametrize("kind,tight,expected", [
    (COLLISION, True, (25, 8 / 255)), (COLLISION, False, (25, None)),
    (POLYTOPE, True, (25, 8 / 255)), (POLYTOPE, False, (25, 0.1)),
    (HIDDEN, True, (25, 8 / 255)), (HIDDEN, False, (100, 16 / 255)),
    (CLEAN_LABEL, True, (25, 8 / 255)), (CLEAN_LABEL, False, (100, 16 / 255))])
def test_constraints(kind, tight, expected):
    attack = transfer.ATTACKS[kind](0, tight=tight, iterations=3)
    eps = attack.hardening.eps if kind == CLEAN_LABEL else attack.eps
    assert (transfer.poisons(attack), eps) == expected


def test_an_unknown_attack_is_one_line():
    with pytest.raises(ValueError, match="attack 'bp': expected one of feature collision"):
        transfer.runs(VICTIM, {"bp": QUICK}, **SETTINGS)


# ---- made rows

RATES = {NONE: 0.9, TWO: 0.45, FOUR: 0.03, CUTOUT: 0.6, CUTMIX: 0.9, MAXUP: 0.03, RELEASED: 0.5,
         SPECTRAL: 0.95, NEIGHBOURS: 0.95, CLUSTERING: 0.2, CLIPPED: 0.9, "DP-SGD, z 1.28": 0.1,
         TWO_DRAWN: 0.5, FOUR_DRAWN: 0.8}
ADAPTIVE = {TWO: 0.8, FOUR: 0.6, CUTOUT: 0.9, CUTMIX: 0.5, MAXUP: 0.2, RELEASED: 0.9,
            TWO_DRAWN: 0.8, FOUR_DRAWN: 0.8}


@functools.cache
def asked(count):
    runs = [run for adaptive in (False, True) for run in matching.runs(
        VICTIM, AUGMENTATIONS, trials=count, adaptive=adaptive)]
    other = VICTIM.with_(dataset="fashion-mnist")
    return table(runs + matching.defended(ARMS, trials=count)
                 + matching.runs(other, {NONE: ()}, trials=count))


@functools.cache
def asked_transfer(count, kinds):
    return table(transfer.runs(VICTIM, dict.fromkeys(kinds, QUICK), **SETTINGS | {"trials": count}))


def filled(frame, rate, *, whole=True):
    """The frame with hits. rate: of a row; the first trials of a random order are hit."""
    random, lines, orders = np.random.RandomState(1), [], {}
    for _, row in frame.iterrows():
        name, share = rate(row) if row["world"] == "P" else ("natural", 0.0)
        own = frame["attack_seed"].max() + 1
        order = orders.setdefault((name, row["world"]), random.permutation(own))
        hit = float(order[row["attack_seed"]] < round(share * own))
        lines.append({"status": "ok", "success": hit if whole else share + 0.01 * random.randn(),
                      "accuracy": 0.7, "floor": 0.02, "lift": 0.1, "trigger_auc": 0.5,
                      "target_recall": 0.8,
                      "collapsed": 0.0, "epsilon": math.inf, "facts.loss_start": 0.9,
                      "facts.loss_end": 0.3, "facts.change_l2": 1.1, "facts.change_linf": 16 / 255})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def made_up(count=MANY, **changes):
    own, other = RATES | changes.pop("unaware", {}), ADAPTIVE | changes.pop("adaptive", {})

    def rate(row):
        name, aware = matching.name(row), matching.aware(row)
        share = 0.0 if row["dataset"] == "fashion-mnist" else (other if aware else own)[name]
        return (name, aware, row["dataset"]), share
    return filled(asked(count), rate)


def made_transfer(kinds, rates, count=MANY, *, looser=None, whole=True):
    def rate(row):
        kind, constraint = transfer.NAMES[row["attack.name"]], transfer.constraint(row)
        known = (looser or rates) if constraint == LOOSER else rates
        arm = patching.name(row)
        return (kind, constraint, arm), known[kind][arm]
    return filled(asked_transfer(count, tuple(kinds)), rate, whole=whole)


def test_rows_have_their_arms_and_attackers():
    found = trials.main(made_up(), papers.claim("I5").setup)
    assert found["key"].is_unique and set(found["dataset"]) == {"cifar10-jpeg"}
    assert set(found[trials.ARM]) == {*AUGMENTATIONS, *ARMS}
    assert trials.values(found, FOUR, "success").mean() == pytest.approx(2 / MANY)
    assert trials.values(found, FOUR, "success", aware=True).mean() == pytest.approx(0.6)
    none = trials.values(found, NONE, "success")
    assert len(none) == MANY and none.equals(trials.values(found, NONE, "success", aware=True))
    assert found["natural"].eq(0).all()
    both = trials.gain(found, TWO)
    assert len(both) == MANY and both.mean() == pytest.approx(0.35)


def test_the_papers_rates_hold_its_claims():
    frame = made_up()
    assert {name: outcomes(name, frame) for name in ("I5", "I6", "I7", "I8")} == {
        "I5": ("holds", "holds"), "I6": ("holds", None), "I7": ("holds", "holds"),
        "I8": ("holds", "holds")}
    setup = papers.claim("I5").measure({TARGETED: frame}, papers.claim("I5")).setup
    assert setup.startswith("substitute: data cifar10-jpeg")


@pytest.mark.parametrize("claim,changes,expected", [
    ("I5", dict(unaware={FOUR: 0.9}), ("fails", "fails")),
    ("I5", dict(unaware={FOUR: 0.3, TWO: 0.9}), ("holds", "fails")),
    ("I6", dict(adaptive={CUTOUT: 0.1}), ("fails", None)),
    ("I6", dict(unaware={CUTMIX: 0.1}), ("fails", None)),
    ("I7", dict(adaptive={CUTMIX: 0.0, MAXUP: 0.4}), ("fails", "inconclusive")),
    ("I7", dict(adaptive={MAXUP: 0.6, CUTMIX: 0.9}), ("inconclusive", "fails")),
    ("I8", dict(unaware={SPECTRAL: 0.5}), ("holds", "fails")),
    ("I8", dict(unaware={CLUSTERING: 0.99}), ("inconclusive", "fails")),
    ("I8", dict(unaware={CLIPPED: 0.2}), ("holds", "fails"))])
def test_each_part_can_fail(claim, changes, expected):
    assert outcomes(claim, made_up(**changes)) == expected


def test_without_its_positive_control_nothing_is_decided():
    weak = made_up(unaware={NONE: 0.3})
    for name in ("I5", "I6", "I7", "I8"):
        assert set(outcomes(name, weak)) <= {"inconclusive", None}


def test_maxup_as_released_stands_beside():
    one = papers.claim("I7")
    got = one.measure({one.notebook: made_up()}, one)
    beside = {name: (direction, size) for name, direction, size in got.beside}
    assert [found.outcome for found in beside[RELEASED]] == ["fails", "fails"]
    assert set(beside) == {RELEASED, "success - natural"}


def test_random_weights_stand_beside():
    one = papers.claim("I5")
    got = one.measure({one.notebook: made_up()}, one)
    assert [(name, direction.outcome, size.outcome) for name, direction, size in got.beside][-1] \
        == ("random weights", "fails", "fails")


def test_k_below_one_is_one_line():
    with pytest.raises(ValueError, match="k 0: expected 1 or more; 1 mixes nothing"):
        matching.noisy(0, 8)


def test_eight_trials_say_how_many_could_decide():
    one = papers.claim("I5")
    found = one.measure({one.notebook: made_up(8, unaware={NONE: 1.0, FOUR: 0.0})}, one).size
    assert found.outcome == "inconclusive" and found.n_needed == 23
    assert found.reason == ("inconclusive by design: 0 of 8 could not show it, 23 instances at"
                            " least")
    results = {each.claim.id: each for each in verdicts.evaluate(
        {TARGETED: made_up(7)}, of=["borgnia"])}
    assert "7 of 8 planned" in results["I5"].direction.reason


@pytest.mark.parametrize("threshold,beyond,n", [
    (0.05, "below", 72), (0.15, "below", 23), (0.80, "above", 17)])
def test_the_fewest_trials_are_those_of_the_exact_interval(threshold, beyond, n):
    from lib import metrics

    assert judgement.fewest_trials(threshold, beyond=beyond) == n
    for many, shown in ((n - 1, False), (n, True)):
        low, high = metrics.clopper_pearson(many if beyond == "above" else 0, many)
        assert (low > threshold if beyond == "above" else high < threshold) is shown


# ---- tables 4 and 6

FROGS = {COLLISION: {NONE: 0.9, SPECTRAL: 0.8, CLUSTERING: 0.4, MIXUP: 0.0, CUTMIX: 0.0},
         POLYTOPE: {NONE: 1.0, SPECTRAL: 0.8, CLUSTERING: 0.55, MIXUP: 0.3, CUTMIX: 0.0}}
DOORS = {HIDDEN: {NONE: 0.6, SPECTRAL: 0.6, CLUSTERING: 0.5, MIXUP: 0.2, CUTMIX: 0.1},
         CLEAN_LABEL: {NONE: 0.65, SPECTRAL: 0.6, CLUSTERING: 0.5, MIXUP: 0.25, CUTMIX: 0.15}}


def test_transfer_attacks():
    assert outcomes("I9", made_transfer(FROGS, FROGS)) == ("holds", "holds")
    worse = FROGS | {POLYTOPE: FROGS[POLYTOPE] | {CUTMIX: 0.7}}
    assert outcomes("I9", made_transfer(FROGS, worse)) == ("fails", "holds")
    one = papers.claim("I9")
    weak = {kind: {arm: 0.1 * rate for arm, rate in own.items()} for kind, own in FROGS.items()}
    got = one.measure({TARGETED: made_transfer(FROGS, weak, looser=FROGS)}, one)
    assert (got.direction.outcome, got.size.outcome) == ("inconclusive", "inconclusive")
    beside = {name: (direction, size) for name, direction, size in got.beside}
    assert [found.outcome for found in beside[LOOSER]] == ["holds", "holds"]


def test_backdoors():
    frame = made_transfer(DOORS, DOORS, 8, whole=False)
    assert outcomes("I10", frame) == ("holds", "holds")
    worse = DOORS | {HIDDEN: DOORS[HIDDEN] | {MIXUP: 0.5}}
    assert outcomes("I10", made_transfer(DOORS, worse, 8, whole=False)) == ("holds", "fails")
    weak = {kind: {arm: 0.3 * rate for arm, rate in own.items()} for kind, own in DOORS.items()}
    assert set(outcomes("I10", made_transfer(DOORS, weak, 8, whole=False))) == {"inconclusive"}


@pytest.mark.parametrize("name", ["I5", "I6", "I7", "I8", "I9", "I10"])
@pytest.mark.parametrize("rows", ["none", "not measured"])
def test_without_rows_nothing_is_measured(name, rows):
    frame = asked(2) if name != "I10" else asked_transfer(2, tuple(DOORS))
    assert set(outcomes(name, frame.iloc[:0] if rows == "none" else frame)) <= {
        "not measured", None}


# ---- published rates, figures

def test_published_rates_have_the_intervals_of_their_trials():
    from lib import metrics

    found = trials.printed("T2", ending=", adaptive").set_index("arm")
    assert list(found.index) == [TWO, CUTOUT, CUTMIX, FOUR, MAXUP]
    assert tuple(found.loc[TWO, ["low", "high"]]) == metrics.wilson(8, 11)
    assert list(trials.printed("T5")["arm"]) == [SPECTRAL, NEIGHBOURS, CLUSTERING, CLIPPED, FOUR]
    assert list(trials.printed("T3")["arm"]) == [NONE, TWO, FOUR]
    for table_name, kinds in (("T4", FROGS), ("T6", DOORS)):
        for kind in kinds:
            assert list(trials.printed(table_name, kind=kind)["arm"]) == [
                NONE, SPECTRAL, CLUSTERING, MIXUP, CUTMIX]


def test_figures_and_tables():
    found = trials.main(made_up(), papers.claim("I5").setup)
    specs = trials.table2(found, list(AUGMENTATIONS))
    assert [spec["frame"]["rule"].value_counts().to_dict() for spec in specs] == [
        {"measured here": 9, "without poison": 9, "published": 5}] * 2
    assert len(figures.proportions(specs, by="arm").axes) == 2
    lines = trials.rates(specs).set_index(["panel", "arm"])
    assert lines.at[(trials.ADAPTIVE, TWO), "published, %"] == "73 [43, 90] (8/11)"
    assert lines.at[(trials.ADAPTIVE, TWO), "measured here, %"].endswith("(48/60)")
    assert trials.finding(found, [NONE, TWO]) == (
        "Unaware attacker: no defence 54 of 60; 2-way mixup 27 of 60.")
    gains = trials.gains(found, [TWO, CUTMIX])
    assert len(gains) == 2 * MANY
    assert trials.finding_of(gains).startswith("In points: 2-way mixup +35.0 [")
    assert len(figures.contrasts(gains, by="than").axes) == 1
    apart = trials.against_none(found, [NONE, SPECTRAL])
    assert set(apart["than"]) == {SPECTRAL}
    brews = trials.brews(found).set_index("attacker")
    assert list(brews.index)[:2] == [trials.UNAWARE, f"aware of {TWO}"] and len(brews) == 9
    assert brews.at[trials.UNAWARE, "linf"] == pytest.approx(16 / 255)


def test_figure_2_has_each_arm_once():
    found = trials.trade(trials.main(made_up(), papers.claim("I5").setup))
    assert found.groupby("arm")["instance"].nunique().eq(MANY).all()
    assert found.groupby("arm")["key"].count().eq(MANY).all()
    assert list(found["family"].unique()) == ["no defence", "augmentations", "filters",
                                              "batch clipping"]
    assert len(figures.tradeoff(found, series="family", by="arm", instance="instance").axes)


def test_figures_of_backdoors_have_t_intervals():
    found = trials.transferred(made_transfer(DOORS, DOORS, 8, whole=False), DOORS)
    specs = trials.by_kind(found, "T6", list(DOORS[HIDDEN]), DOORS)
    assert [spec["title"] for spec in specs] == [
        f"{kind}, {one}" for kind in DOORS for one in transfer.CONSTRAINTS]
    one = specs[0]["frame"].set_index(["arm", "rule"]).loc[(NONE, "measured here")]
    assert one["share"] == pytest.approx(0.6, abs=0.02) and one["high"] - one["low"] < 0.05


def test_nothing_measured_leaves_the_published_rates():
    found = trials.main(asked(2), papers.claim("I5").setup)
    specs = trials.table2(found, list(AUGMENTATIONS))
    assert [set(spec["frame"]["rule"]) for spec in specs] == [{"published"}] * 2
    assert trials.finding(found, AUGMENTATIONS) == trials.finding_of(
        trials.gains(found, [TWO])) == ""
    assert trials.brews(found).empty and trials.trade(found).empty
    empty = trials.transferred(asked(2), FROGS)
    assert len(trials.by_kind(empty, "T4", list(DOORS[HIDDEN]), FROGS)[0]["frame"]) == 5


def test_targets_select_their_rows():
    select = {target.id: target.select for target in papers.targets()}
    frame = asked(2)
    parts = [len(select[f"borgnia-{name}"](frame)) for name in ("T2", "T3", "T4")]
    assert parts[0] + parts[1] == len(frame) and parts[1] == 4 and parts[2] == 0
    assert len(select["borgnia-T6"](asked_transfer(2, tuple(DOORS)))) == len(
        asked_transfer(2, tuple(DOORS)))
