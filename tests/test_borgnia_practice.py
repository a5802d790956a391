"""Figures 4b and 5 of DP-InstaHide: their runs, their rows, claims I12 to I14."""

import math
import zlib

import numpy as np
import pandas as pd
import pytest
from matching_frames import BREW, MANY, VICTIM, asked, by_both, by_scale, made_up, rate
from scipy.stats import spearmanr, t

from lib import papers, verdicts
from lib.papers.borgnia import matching, practice, practice_claims, predictors
from lib.papers.borgnia.matching import CUTOUT, FOUR, MAXUP, RELEASED, TWO
from lib.papers.borgnia.patching import CUTMIX, NONE
from lib.papers.borgnia.practice import EPSILON, SCALE, WIDTH
from lib.privacy import instahide_epsilon
from lib.study.table import table
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.mixup import Mixup

NOTEBOOK, OTHER = "23_instahide_practice", "21_mixing_targeted"


def outcomes(name, frame, **frames):
    one = papers.claim(name)
    got = one.measure({one.notebook: frame} | frames, one)
    return got.direction and got.direction.outcome, got.size and got.size.outcome


# ---- runs

def test_noise_comes_after_the_augmentation_and_the_attacker_knows_both():
    runs = practice.augmented(VICTIM, [MAXUP], [0, 8], trials=2, **BREW)
    assert len(runs) == 2 * 2 * 2
    quiet, loud = (one for one in runs if one.attack_seed == 0 and one.attack.in_world == "P")
    assert loud.training.transforms == (*quiet.training.transforms, Laplace(8 / 255))
    for one in (quiet, loud):
        added = one.training.transforms[2:]
        assert one.attack.transforms[2:] == one.attack.training.transforms[2:] == added
    mixed = practice.mixed(VICTIM, [1, 4], [16], trials=1, **BREW)
    assert [one.training.transforms[2:] for one in mixed[::2]] == [
        (Laplace(16 / 255),), (Mixup(4), Laplace(16 / 255))]


def test_figures_share_their_runs_with_each_other_and_with_table_2():
    four = {one.key for one in practice.mixed(VICTIM, **BREW)}
    five = {one.key for one in practice.augmented(VICTIM, **BREW)}
    assert len(four) == 9 * 8 and len(five) == 15 * 8 and len(four & five) == 6 * 8
    unaware = matching.runs(VICTIM, {NONE: ()}, trials=4, **BREW)
    adaptive = matching.runs(VICTIM, {TWO: (Mixup(),)}, trials=4, adaptive=True, **BREW)
    assert {one.key for one in unaware + adaptive} <= four


# ---- rows

def test_rows_have_their_arm_noise_width_and_printed_epsilon():
    found = practice.nearest(made_up(rate(by_scale), natural=0.0))
    arms = set(zip(found[practice.ARM], found[SCALE]))
    assert arms == {(arm, scale) for arm in (NONE, *practice.FIVE) for scale in (0.0, 8.0, 16.0)}
    line = practice.at(found, FOUR, 8).iloc[0]
    assert line[WIDTH] == 4 and line[EPSILON] == instahide_epsilon(10_000, 10_000, 4, 8 / 255)
    assert practice.at(found, TWO, 0)[EPSILON].eq(math.inf).all()
    assert practice.at(found, MAXUP, 8)[EPSILON].isna().all()
    assert found["natural"].eq(0).all() and found["excess"].equals(found["success"])
    assert set(practice.mixups(found)[practice.ARM]) == {NONE, TWO, FOUR}
    assert {RELEASED, MAXUP, CUTOUT, CUTMIX} <= set(practice._known().values())
    assert practice.arm_of(["mixup 3 equal 1.0"]) == "3-way mixup"


def test_unaware_attackers_filters_and_other_brews_are_left_out():
    unaware = matching.runs(VICTIM, {CUTOUT: matching.AUGMENTATIONS[CUTOUT]}, trials=4, **BREW)
    noisy = matching.defended({"": VICTIM.with_(defence__noise_multiplier=1.0)}, trials=2, **BREW)
    others = practice.mixed(VICTIM, [1], [0], trials=3, iterations=250, restarts=8)
    frame = made_up(rate(by_scale))
    more = table(unaware + noisy + others).assign(status="ok", success=1.0, accuracy=0.5)
    elsewhere = others * 10  # another brew in another set-up
    wider = table(elsewhere).assign(status="ok", success=1.0, accuracy=0.5, dataset="fashion-mnist")
    known = pd.concat([frame, more, wider], ignore_index=True)
    assert len(practice.nearest(known)) == len(practice.nearest(frame)) > 60


@pytest.mark.parametrize("kind", ["none", "other attack", "not measured"])
def test_without_rows_nothing_is_measured(kind):
    frame = asked(4)
    if kind == "none":
        frame = frame.iloc[:0]
    elif kind == "other attack":
        frame = frame.assign(**{"attack.name": "badnets", "status": "ok"})
    assert practice.nearest(frame).empty
    for name in ("I12", "I13", "I14"):
        assert set(outcomes(name, frame)) <= {"not measured", None}
    assert predictors.apart(practice.mixups(practice.nearest(frame))).empty


# ---- I12

def test_correlations_are_spearmans_with_a_jackknife_interval():
    frame = made_up(lambda *which: zlib.crc32(repr(which).encode()) // 7 % 2, trials=4)
    found = practice.mixups(practice.nearest(frame))
    table = practice.by_trial(found, "success", by=[WIDTH, SCALE])
    assert table.shape == (4, 9)
    epsilons = [practice.printed(10_000, k, scale) for k, scale in table]

    def own(part):
        return spearmanr(epsilons, part.mean()).statistic

    left = np.array([own(table.drop(index=one)) for one in table.index])
    half = t.ppf(0.975, 3) * math.sqrt(3 / 4 * ((left - left.mean()) ** 2).sum())
    mean, low, high, n = predictors.correlations(found, "success")[predictors.OWN]
    assert mean == pytest.approx(own(table)) and n == 4
    assert (low, high) == pytest.approx((max(-1, mean - half), min(1, mean + half)))
    plain = predictors.correlations(found, "success")
    assert plain[predictors.AHEAD][0] == pytest.approx(mean - plain[predictors.RIVAL][0])
    assert plain[predictors.RIVAL][0] == pytest.approx(
        spearmanr([-scale for _, scale in table], table.mean()).statistic)


def test_two_trials_have_no_interval_and_one_setting_no_correlation():
    frame = made_up(rate(by_scale), trials=2)
    found = practice.mixups(practice.nearest(frame))
    mean, low, high, n = predictors.correlations(found, "success")[predictors.OWN]
    assert not math.isnan(mean) and math.isnan(low) and math.isnan(high) and n == 2
    alone = predictors.correlations(practice.at(found, NONE, 0), "success")
    assert all(math.isnan(one[0]) for one in alone.values())


def test_success_that_follows_epsilon():
    assert outcomes("I12", made_up(rate(by_both), trials=MANY)) == ("holds", "holds")
    against = made_up(rate(lambda arm, scale: 1 - by_both(arm, scale) if (arm, scale) != (NONE, 0)
                           else 1), trials=MANY)
    assert outcomes("I12", against) == ("fails", "fails")


def test_success_that_follows_noise_alone_also_follows_epsilon():
    """Both order the settings much alike: the rival's correlation has to stand beside."""
    frame = made_up(rate(by_scale), trials=MANY)
    got = papers.claim("I12").measure({NOTEBOOK: frame}, papers.claim("I12"))
    beside = {name: size for name, _, size in got.beside}
    assert got.direction.outcome == "holds" and beside[predictors.RIVAL].outcome == "holds"
    assert beside[predictors.RIVAL].measured > got.size.measured > 0.7
    assert "k 2, 8/255 minus k 1, 16/255 +37.5 [" in got.note


def test_pairs_have_equal_epsilon_and_other_noise():
    found = practice.mixups(practice.nearest(made_up(rate(by_scale))))
    pairs = predictors.pairs(found)
    assert ((2, 8), (1, 16)) in [(one, other) for one, other, _ in pairs]
    for (k, low), (width, high), epsilon in pairs:
        both = [practice.printed(10_000, k, low), practice.printed(10_000, width, high)]
        assert low < high and max(both) == epsilon <= 2 * min(both)
    apart = predictors.apart(found)
    assert apart.groupby("than").size().eq(4).all() and len(apart) == 4 * len(pairs)


def test_without_the_positive_control_nothing_is_decided():
    weak = made_up(rate(lambda arm, scale: by_scale(arm, scale) / 2), trials=MANY)
    for name in ("I12", "I13", "I14"):
        assert set(outcomes(name, weak)) <= {"inconclusive", None}


# ---- I13

def test_at_most_five_per_cent_takes_72_trials():
    from lib import metrics

    assert practice_claims.needed(0.05) == 72
    assert metrics.clopper_pearson(0, 71)[1] > 0.05 > metrics.clopper_pearson(0, 72)[1]


def test_few_trials_cannot_show_that_nothing_is_left():
    frame = made_up(rate(by_scale))
    frame.loc[frame["attack_seed"].ge(0) & frame["world"].eq("P")
              & frame["training.transforms"].map(len).eq(4), "success"] = 0.0
    got = papers.claim("I13").measure({NOTEBOOK: frame}, papers.claim("I13"))
    assert got.size.outcome == "inconclusive" and got.size.n_needed == 72
    assert got.size.reason.startswith("inconclusive by design: at most 5% takes 72 trials")


@pytest.mark.parametrize("left,expected", [(0.0, "holds"), (0.5, "fails")])
def test_enough_trials_decide(left, expected):
    part = papers.claim("I13").part("level")
    values = np.arange(80) < 80 * left
    assert practice_claims._by_design(part, values, True).outcome == expected
    assert practice_claims._by_design(part, values, None).outcome == "inconclusive"


def test_noise_is_compared_with_none_trial_by_trial():
    assert outcomes("I13", made_up(rate(by_scale), trials=MANY))[0] == "holds"
    even = made_up(rate(lambda arm, scale: 0.9 if scale == 0 or arm == MAXUP else 0.5), trials=MANY)
    assert outcomes("I13", even) == ("inconclusive", "fails")


# ---- I14

def test_success_that_falls_or_rises_along_the_scale():
    assert outcomes("I14", made_up(rate(by_scale), trials=MANY)) == ("holds", None)

    def rises(arm, scale):
        return scale / 20 if arm == CUTMIX else by_scale(arm, scale)

    frame = made_up(rate(rises), trials=MANY)
    assert outcomes("I14", frame) == ("fails", None)
    got = papers.claim("I14").measure({NOTEBOOK: frame}, papers.claim("I14")).direction
    assert got.decided_by.startswith("rise, CutMix") and got.threshold == 0
    assert got.measured == pytest.approx(0.4 - 0.05, abs=0.05)


def test_a_missing_augmentation_blocks_the_claim():
    frame = made_up(rate(by_scale), trials=MANY)
    told = frame["training.transforms"].map(lambda own: any("cutmix" in one for one in own))
    assert outcomes("I14", frame[~told]) == ("inconclusive", None)


def test_rows_of_the_tables_notebook_count_too():
    frame = made_up(rate(by_both), trials=MANY)
    first = frame["training.transforms"].map(len).eq(2) | frame["attack_seed"].lt(6)
    both = {OTHER: frame[first]}
    assert outcomes("I12", frame[~first], **both) == outcomes("I12", frame) == ("holds", "holds")


def test_planned_trials_and_holm():
    results = verdicts.evaluate({NOTEBOOK: made_up(rate(by_scale), trials=3)}, of=["borgnia"])
    found = {one.claim.id: one for one in results}
    assert "3 of 4 planned" in found["I12"].direction.reason
