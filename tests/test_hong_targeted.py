"""The targeted attacks of Hong et al.: rules of success, arms, twins, the bound, claims G10 to G14.
"""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from lib import papers, privacy
from lib.papers.hong import bases, frogs, headlines, resistance, search, targeted
from lib.papers.hong.search import ACCURACY, ARM, CASE, CHOSEN, MEAN, MULTI, NEEDED, PAPER, TARGET
from lib.papers.hong.targeted import PLAIN, VANILLA, Setting
from lib.study import run

LR, CNN = "softmax regression, location-30", "CNN, cifar10-jpeg"


# ---- runs

def test_settings_are_read_as_they_are_named():
    for one in targeted.settings():
        assert Setting.named(one.name) == one
    assert Setting.named("C 4, noise 0.1") == Setting(4.0, 0.1)
    for wrong in ("4", "C", "C 4 noise 1", "Vanilla"):
        with pytest.raises(ValueError, match=f"setting '{wrong}': expected 'vanilla', or as"):
            Setting.named(wrong)


def test_runs_of_the_notebooks():
    runs = targeted.figures({"location": ["vanilla", "C 4"]}, targets=2, counts=(1, 2))
    assert [(one.attack.in_world, one.attack.target) for one in runs] == [
        ("P", 0), ("C", 0), ("P", 1), ("C", 1)] * 2
    plain, private = targeted.anatomies("location")
    assert plain.anatomy and private.anatomy and plain.start == private.start
    assert plain.attack.counts == (1,) and private.defence.noise_multiplier == 0.1 / 4


# ---- the rules

def tries(success, accuracy, poisons=None):
    """As `study.tries` of one run: lists by try and point."""
    lines = [(place, point + 1.0, hit, right, (poisons or [1] * len(success))[place])
             for place, (hits, rights) in enumerate(zip(success, accuracy))
             for point, (hit, right) in enumerate(zip(hits, rights))]
    return pd.DataFrame(lines, columns=["try", "epoch", "success", "accuracy", "poisons"])


def test_the_rules_by_hand():
    clean = tries([[0, 0, 0], [0, 1, 0], [1, 1, 1]], [[0.8] * 3] * 3)
    # the first try hits at an epoch that costs too much, the second at one that does not
    attacked = tries([[1, 0, 0], [0, 1, 1]], [[0.7, 0.8, 0.8], [0.8, 0.77, 0.8]], [2, 5])
    found = search.judged(attacked, clean)
    assert (found[PAPER], found[CHOSEN], found[MEAN], found[NEEDED]) == (1, 0, 0.5, 5)
    # as many clean re-trainings as poisons: the third does not count
    assert found[search.natural(PAPER)] == 1 and found[search.natural(MEAN)] == 0
    assert found[ACCURACY] == pytest.approx(0.8) and found[search.TRIES] == 2
    first = search.judged(attacked[attacked["try"].eq(0)], clean)
    assert (first[PAPER], first[search.natural(PAPER)]) == (0, 0) and math.isnan(first[NEEDED])


def test_the_rules_beside_a_slow_oracle():
    random = np.random.RandomState(0)
    for _ in range(50):
        hits, looks = (random.randint(0, 2, (3, 4)) * (random.rand(3, 4) < 0.3) for _ in "ab")
        right, none = (0.8 + 0.05 * random.randn(3, 4) for _ in "ab")
        found = search.judged(tries(hits, right), tries(looks, none))
        for name, these, own in ((PAPER, hits, right), (search.natural(PAPER), looks, none)):
            assert found[name] == any(
                these[i][e] and (none[0][e] - own[i][e]) / none[0][e] <= 0.05
                for i, e in itertools.product(range(3), range(4)))


def test_a_target_without_a_poison_is_no_target():
    found = search.judged(tries([], []), tries([[0, 1]], [[0.8, 0.8]]))
    assert found[search.TRIES] == 0 and math.isnan(found[PAPER]) and found[ACCURACY] == 0.8
    with pytest.raises(ValueError, match="3 points of a poisoned re-training, 2 of its clean"):
        search.judged(tries([[0, 0, 1]], [[0.8] * 3]), tries([[0, 1]], [[0.8, 0.8]]))


# ---- frames of made-up targets

def lines(arm, hits, *, case=LR, clean=0.5, natural=0, needed=None, multi=False, targets=25,
          **more):
    """A line per target: the first `hits` ones are hit by the paper's rule."""
    place = np.arange(targets)
    hit = (place < hits).astype(float)
    return pd.DataFrame({
        CASE: case, ARM: arm, MULTI: multi, TARGET: place, search.SEED: place, PAPER: hit,
        CHOSEN: hit * (place < 2),
        MEAN: hit / 2, search.natural(PAPER): (place < natural).astype(float),
        search.natural(CHOSEN): 0.0, search.natural(MEAN): 0.0, search.TRIES: 20.0,
        ACCURACY: clean + 0.001 * (place % 3),
        NEEDED: np.where(hit > 0, math.nan if needed is None else needed + place % 3, math.nan),
        search.NOISE: 2.0, search.SAMPLED: 0.04, search.STEPS: 500.0, **more})


def together(*parts):
    return pd.concat(parts, ignore_index=True)


def judge(name, *parts):
    claim = papers.claim(name)
    return claim.measure({"52_one_shot/outcomes": together(*parts)}, claim)


MLP = "MLP, fashion-mnist"


def test_small_norms_hold_where_both_models_show_it():
    both = [lines(VANILLA, 20, clean=0.52), lines("C 0.1", 2), lines(VANILLA, 20, case=MLP),
            lines("C 1", 1, case=MLP, clean=0.49 + 0.01 * np.random.RandomState(0).rand(25))]
    found = judge("G10", *both)
    assert found.direction.outcome == "holds" and found.direction.n == 25
    # without the MLP at that norm nothing holds, and the note says what is missing
    found = judge("G10", *both[:3], lines("C 2, noise 0.8", 0, case=MLP))
    assert found.direction.outcome == "inconclusive" and "MLP" in found.direction.reason
    assert "not re-trained at C 1 alone" in found.note and "C 2, noise 0.8" in found.note
    # an attack that is not there cannot be defended against
    found = judge("G10", lines(VANILLA, 5), lines("C 0.1", 0), *both[2:])
    assert found.direction.outcome == "inconclusive"


def test_what_clipping_and_noise_cost():
    spread = 0.01 * np.random.RandomState(0).rand(25)
    arms = [lines(VANILLA, 20, case=CNN, clean=0.6), lines("C 0.1", 5, case=CNN, clean=0.2),
            lines("C 4, noise 0.4", 5, case=CNN, clean=0.55 + spread)]
    found = judge("G11", *arms)
    assert found.direction.outcome == "holds" and found.size.outcome == "holds"
    assert judge("G11", arms[0], arms[1]).direction.outcome == "not measured"
    # re-trainings of one base are one draw of what a setting costs, however many the targets
    found = judge("G11", *(arm.assign(**{search.SEED: 0}) for arm in arms))
    assert found.direction.outcome == "inconclusive" and found.direction.n == 1


def test_many_poisons_against_norms():
    found = judge("G12", lines(VANILLA, 20), lines("C 8", 25, needed=1, multi=True),
                  lines("C 0.1", 24, needed=6, multi=True))
    assert found.direction.outcome == "holds"
    assert found.size.part == "success" and found.size.outcome == "inconclusive"
    # all 25 of 25 leave 0.9 inside of the Clopper-Pearson interval; all 40 of 40 do not
    for targets, word in ((25, "inconclusive"), (40, "holds")):
        given = dict(multi=True, targets=targets)
        found = judge("G12", lines(VANILLA, targets, targets=targets),
                      lines("C 8", targets, needed=1, **given),
                      lines("C 0.1", targets, needed=9, **given))
        assert found.size.outcome == word


def test_the_least_noise_that_stops_many_poisons():
    arms = [lines(VANILLA, 25, multi=True, needed=1, clean=0.6),
            lines("C 4, noise 0.1", 20, multi=True, needed=9, clean=0.5),
            lines("C 4, noise 0.4", 3, multi=True, needed=9, clean=0.5),
            lines("C 4, noise 1", 2, multi=True, needed=50, clean=0.2),
            lines("C 4, noise 4", 0, multi=True, clean=0.1)]
    assert frogs.least_noise(together(*arms)) == "C 4, noise 1"
    found = judge("G13", *arms)
    assert found.note == "at C 4, noise 1" and found.size.outcome == "holds"
    assert judge("G13", *arms[:2]).direction.outcome == "not measured"
    assert found.direction.part == "stopped" and found.direction.outcome == "inconclusive"
    missed = judge("G13", arms[0], lines("C 4, noise 0.4", 25, multi=True, needed=4, clean=0.5))
    assert missed.direction.outcome == "fails" and missed.direction.low > 0.8


def test_a_private_base():
    found = judge("G14", lines(VANILLA, 20), lines(frogs.PRIVATE_BASE, 4),
                  lines(VANILLA, 25, multi=True, needed=2),
                  lines(frogs.PRIVATE_BASE, 25, multi=True, needed=6))
    assert found.direction.outcome == "holds" and found.size.outcome == "holds"


def test_nothing_is_measured_without_rows():
    for name in ("G10", "G11", "G12", "G13", "G14"):
        assert judge(name, lines(VANILLA, 0).head(0)).size.outcome == "not measured"


# ---- twins, the bound, tables

def test_a_twin_is_at_least_as_accurate():
    found = together(lines(VANILLA, 20, clean=0.5), lines("C 1", 10, clean=0.55),
                     lines("rate 0.01", 5, clean=0.6), lines("rate 0.001", 0, clean=0.4))
    apart = resistance.twins(found)
    assert set(apart["than"]) == {"C 1"} and set(apart["instead"]) == {"rate 0.01"}
    assert apart["difference"].mean() == pytest.approx(0.2)
    assert "0 of 1 DP settings" in resistance.twins_finding(apart)
    assert resistance.twins_finding(resistance.twins(found.head(0))) == ""


def test_the_bound_is_that_of_one_poison():
    found = resistance.caps(together(lines(VANILLA, 20), lines("ε 1", 8)))
    capped = found.dropna(subset="cap")
    assert capped["rule"].tolist() == ["attack"] and CHOSEN in capped["row"].iloc[0]
    high = found.loc[found["row"].str.endswith(CHOSEN) & found["rule"].eq("natural"), "high"]
    assert capped["cap"].item() == privacy.dpsgd_attack_success_cap(
        high.item(), 2.0, 0.04, 500, k=1)
    assert "allowed" in resistance.caps_finding(found)


def test_shares_count_targets_that_can_be_attacked():
    some = lines("C 1", 10)
    some.loc[20:, search.TRIES] = 0
    (line,) = search.shares(some, [PAPER]).to_dict("records")
    assert (line["hits"], line["n"]) == (10, 20) and line["low"] < 0.5 < line["high"]
    assert resistance.table(some)["targets"].tolist() == ["20 of 25"]


def test_poisons_needed_beside_vanilla():
    found = together(lines(VANILLA, 25, needed=1, multi=True),
                     lines("C 1", 10, needed=1, multi=True))
    apart = resistance.needed(found)
    assert len(apart) == 10 and apart["difference"].abs().max() < 1e-12
    told = resistance.scenarios(found, [VANILLA, "C 1"])
    assert told["targets (many)"].tolist() == [25, 25]
    assert told["one-shot, %"].tolist() == ["–", "–"]


# ---- on real rows

def test_rows_become_lines_with_arms(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_STORE", str(tmp_path))
    frame = run([*targeted.figures({"strokes": ["vanilla", "C 1"]}, targets=1),
                 *targeted.proper("strokes", [3.0], targets=1),
                 *targeted.slower("strokes", [0.001], targets=1),
                 *targeted.table_three("strokes", targets=1)])
    found = search.outcomes(frame).set_index(ARM)
    assert found.index.tolist() == [
        "vanilla", "C 1", "ε 3", "rate 0.001", "vanilla, then C 4, noise 0.01",
        "C 4, noise 0.01, then vanilla", "C 4, noise 0.01"]
    assert set(found[CASE]) == {search.case_name("strokes")} and (found[search.TRIES] > 0).all()
    assert found.at["ε 3", search.NOISE] > 0 and found.at["ε 3", search.STEPS] == 24
    assert search.outcomes(frame.head(0)).empty
    assert headlines.one_shot(frame).figure and bases.CASES["strokes"].model == "linear"
    assert PLAIN.name == VANILLA
