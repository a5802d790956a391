"""From an interval to a verdict: thresholds, Holm, several parts, two-sided statistics, published
numbers.
"""

import dataclasses
import math

import numpy as np
import pytest

from lib.verdicts import contrasts, judgement, numerals
from lib.verdicts.claim import Claim, Number, above, below, either
from lib.verdicts.combining import best, signs, worst
from lib.verdicts.family import holm
from lib.verdicts.inference import n_to_decide
from lib.verdicts.published import compare
from lib.verdicts.verdict import NOT_MEASURED, arithmetic, exact, not_testable, verdict

# ---------------------------------------------------------------- verdicts

def judge(low, high, threshold=0.0, *, beyond="above", passed=True, n=10):
    return verdict(((low + high) / 2, low, high), threshold, beyond=beyond, control_passed=passed,
                   n=n)


@pytest.mark.parametrize("low, high, beyond, passed, outcome",
                         [(0.1, 0.3, "above", True, "holds"), (0.1, 0.3, "above", False, "holds"),
                          (-0.3, -0.1, "above", True, "fails"),
                          (-0.3, -0.1, "above", False, "inconclusive"),
                          (-0.3, -0.1, "above", None, "inconclusive"),
                          (-0.1, 0.3, "above", True, "inconclusive"),
                          (0.1, 0.3, "below", True, "fails"), (-0.3, -0.1, "below", True, "holds"),
                          (0.0, 0.3, "above", True, "inconclusive")])
def test_the_rule(low, high, beyond, passed, outcome):
    assert judge(low, high, beyond=beyond, passed=passed).outcome == outcome


def test_few_instances():
    assert verdict((0.4, math.nan, math.nan), 0, beyond="above", control_passed=True,
                   n=1).outcome == "inconclusive"
    assert verdict((math.nan, math.nan, math.nan), 0, beyond="above", control_passed=True,
                   n=0).outcome == "not measured"
    equal = verdict((0.4, 0.4, 0.4), 0, beyond="above", control_passed=True, n=3)
    assert equal.outcome == "inconclusive" and "no spread" in equal.reason
    assert math.isnan(equal.low) and math.isnan(equal.p)
    with pytest.raises(ValueError, match="n="):
        verdict((0, 0, 0), 0, beyond="above", control_passed=True)
    with pytest.raises(ValueError, match="sideways"):
        verdict((0, 0, 0), 0, beyond="sideways", control_passed=True, n=3)


def t_interval(values):
    from scipy.stats import t
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values), np.mean(values) - half, np.mean(values) + half


def test_p_is_that_of_the_t_test():
    from scipy.stats import ttest_1samp
    values = np.random.RandomState(0).normal(0.3, 1, 12)
    for beyond, side in (("above", "less"), ("below", "greater")):
        got = verdict(t_interval(values), 0.5, beyond=beyond, control_passed=True, n=12)
        against = ttest_1samp(values, 0.5, alternative=side).pvalue
        assert got.p_against == pytest.approx(min(1, 2 * against))
        assert got.p_for == pytest.approx(min(1, 2 * (1 - against)))
        assert got.p == pytest.approx(ttest_1samp(values, 0.5).pvalue)


def test_n_needed_is_the_first_that_decides():
    from scipy.stats import t
    values = np.random.RandomState(1).normal(0.2, 1, 10)
    mean, low, high = t_interval(values)
    assert low < 0 < high
    needed = verdict((mean, low, high), 0, beyond="above", control_passed=True, n=10).n_needed
    spread = np.std(values, ddof=1)
    halves = {m: t.ppf(0.975, m - 1) * spread / math.sqrt(m) for m in (needed - 1, needed)}
    assert halves[needed] < abs(mean) <= halves[needed - 1]


def test_n_needed_has_no_answer_on_the_threshold():
    assert n_to_decide((0, -1, 1), 10, 0) is None
    assert n_to_decide((1, 1, 1), 10, 0) == 2  # no spread: any two


@pytest.mark.parametrize("beyond", ["above", "below"])
@pytest.mark.parametrize("threshold", [0.2, 0.8, 0.9, 0.97])
def test_a_bounded_statistic_is_judged_where_its_interval_was_made(beyond, threshold):
    """Interval and test agree: p below 0.05 just where the interval leaves the threshold out."""
    from scipy.stats import sem, t
    part = {"above": above, "below": below}[beyond]("a", "x", threshold, kind="share")
    shares = np.array([0.93, 0.99, 0.97, 0.7, 0.95, 0.98])
    got = judgement.decide(part, shares, passed=True)
    mean = shares.mean()
    reach = sem(shares) / (2 * math.sqrt(mean * (1 - mean)))
    away = (math.asin(math.sqrt(mean)) - math.asin(math.sqrt(threshold))) / reach
    assert got.p == pytest.approx(2 * t.sf(abs(away), 5), rel=1e-6)
    assert (got.outcome == "inconclusive") == (got.low <= threshold <= got.high) == (got.p >= 0.05)


def test_intervals_stay_in_the_range_of_the_statistic():
    lift = above("lift", "lift", 0, kind="lift")
    got = judgement.decide(lift, [-0.9, 0.95, 0.9], passed=True, column="lift")
    assert -1 <= got.low < got.high <= 1
    change = above("change", "lift, a minus b", 0)
    assert judgement.bounds(change, "lift") == (-2, 2)
    assert judgement.bounds(change, "accuracy") == judgement.bounds(change) == (-1, 1)
    assert judgement.bounds(above("r", "r", 0, kind="correlation"), "lift") == (-1, 1)
    assert judgement.bounds(above("r", "r", 0, kind="ratio"), "lift") is None
    assert judgement.points([1.0, 0.9, 0.8], bounds=(0, 1)).startswith("+90.0 [")
    assert judgement.points([0.5, 0.5]) == "+50.0"  # no spread, no interval


@pytest.mark.parametrize(
    "low, high, passed, outcome",
    [
        (0.1, 0.3, True, "more"),
        (-0.3, -0.1, True, "less"),
        (-0.1, 0.3, True, "inconclusive"),
        (0.0, 0.3, True, "inconclusive"),
        (0.1, 0.3, False, "inconclusive"),
        (-0.3, -0.1, None, "inconclusive"),
    ],
)
def test_a_two_sided_statistic_has_no_wrong_side(low, high, passed, outcome):
    got = judge(low, high, beyond="either", passed=passed)
    assert got.outcome == outcome and got.threshold == 0
    mirrored = judge(-high, -low, beyond="either", passed=passed)
    assert mirrored.p == pytest.approx(got.p) and mirrored.outcome == {
        "more": "less",
        "less": "more",
    }.get(outcome, outcome)


def test_a_two_sided_p_is_that_of_the_t_test():
    from scipy.stats import ttest_1samp
    for shift in (0.6, -0.6, 0.1):
        values = np.random.RandomState(0).normal(shift, 1, 12)
        got = verdict(t_interval(values), 0, beyond="either", control_passed=True, n=12)
        assert got.p == pytest.approx(ttest_1samp(values, 0).pvalue)
        assert (got.outcome == "inconclusive") == (got.p >= 0.05)  # the interval and the test agree


def test_signs_are_said_after_holm():
    barely = judge(0.005, 0.3, beyond="either")
    assert barely.outcome == "more" and 0.025 < barely.p < 0.05
    assert holm([barely])[0].outcome == "more"
    corrected = holm([barely, judge(-0.1, 0.1, beyond="either")])[0]
    assert (
        corrected.outcome == "inconclusive"
        and corrected.n_needed > 10
        and "more alone" in corrected.reason
    )


def test_two_sided_false_alarms_keep_their_rate():
    """Without a difference, about 5% of studies report a sign, over three parts together."""
    random, said = np.random.RandomState(0), 0
    for _ in range(400):
        parts = {
            str(i): verdict(
                t_interval(random.normal(0, 1, 10)), 0, beyond="either", control_passed=True, n=10
            )
            for i in range(3)
        }
        said += any(one.outcome in ("more", "less") for one in holm(list(parts.values())))
        assert signs(parts).outcome in ("inconclusive", "more", "less", "depends")
    assert said / 400 < 0.08


def test_signs_of_several_parts():
    more, less, open_ = (
        judge(0.1, 0.3, beyond="either"),
        judge(-0.3, -0.1, beyond="either"),
        judge(-0.1, 0.3, beyond="either"),
    )
    assert signs({"a": more, "b": more}).outcome == "more" and signs({"a": less}).outcome == "less"
    got = signs({"a": more, "b": less, "c": open_})
    assert (
        got.outcome == "depends"
        and "a: more, b: less, c: inconclusive" in got.reason
        and got.p < 0.05
    )
    mixed = signs({"a": more, "b": open_})
    assert mixed.outcome == "inconclusive" and mixed.p > 0.05 and mixed.low == open_.low
    assert signs({"a": more, "b": NOT_MEASURED}).outcome == "inconclusive"
    assert signs({"a": NOT_MEASURED}).outcome == signs({}).outcome == "not measured"
    part = either("a", "x", why="either sign is a finding")
    assert (
        judgement.combined(
            (part,), lambda part, _: judgement.decide(part, [0.1, 0.2, 0.15], passed=True), "lift"
        ).outcome
        == "more"
    )
    with pytest.raises(ValueError, match="two-sided"):
        Claim("X", "ours", "x", "x", "x", "11_dpsgd", (), (part, above("b", "x", 0)))


def test_an_essential_part_that_cannot_be_tested_blocks_holds_and_not_fails():
    good, bad, missing = (
        judge(0.1, 0.3),
        judge(-0.3, -0.1),
        not_testable("features", essential=True),
    )
    got = worst({"a": good, "b": missing})
    assert (
        got.outcome == "not testable here"
        and "a alone holds" in got.reason
        and "features" in got.reason
    )
    assert worst({"a": bad, "b": missing}).outcome == "fails"
    assert worst({"a": judge(-0.1, 0.3), "b": missing}).outcome == "inconclusive"


def with_p(p, outcome="fails"):
    against = p if outcome == "fails" else 1.0
    return dataclasses.replace(judge(-0.3, -0.1), p_against=against, p_for=p, outcome=outcome)


def test_holm_by_hand():
    # sorted 0.001 0.012 0.02 0.9 -> 4 x 0.001 = 0.004, 3 x 0.012 = 0.036, 2 x 0.02 = 0.04,
    # max(0.04, 0.9) = 0.9
    given = [with_p(0.02), with_p(0.001), with_p(0.9, "holds"), with_p(0.012), NOT_MEASURED]
    got = holm(given)
    assert [one.p_holm for one in got[:4]] == pytest.approx([0.04, 0.004, 0.9, 0.036])
    # "holds" is corrected as "fails" is
    assert [one.outcome for one in got] == ["fails", "fails", "inconclusive", "fails",
                                            "not measured"]
    assert got[2].reason.startswith("holds alone (p 0.9), not after Holm's correction (p 0.9)")
    # .03 among three: 3 x .024 = .072, then never smaller
    got = holm([with_p(0.024), with_p(0.024), with_p(0.03)])
    assert [one.p_holm for one in got] == pytest.approx([0.072, 0.072, 0.072])
    assert {one.outcome for one in got} == {"inconclusive"} and all(one.n_needed >= 2
                                                                    for one in got)
    assert holm([with_p(0.024)])[0].outcome == "fails"


def test_holms_n_is_larger_than_the_plain_one():
    barely = judge(-0.29, -0.01)
    assert barely.outcome == "fails"
    corrected = holm([barely] + [judge(-0.1, 0.3)] * 9)[0]
    assert corrected.outcome == "inconclusive" and corrected.n_needed > 10


def test_worst_needs_every_part():
    good, bad, open_, far = judge(0.1, 0.3), judge(-0.3, -0.1), judge(-0.1, 0.3), judge(-0.29, 0.3)
    assert worst({"a": good, "b": good}).outcome == "holds"
    assert worst({"a": good, "b": bad}).outcome == "fails"
    assert worst({"a": good, "b": bad}).path == ("b",)
    got = worst({"a": good, "b": open_, "c": far})
    assert got.outcome == "inconclusive" and got.low == far.low  # the one that needs most
    assert got.path == ("c",) and "would decide" in got.reason
    assert worst({"a": good, "b": NOT_MEASURED}).outcome == "inconclusive"
    assert worst({"a": NOT_MEASURED, "b": NOT_MEASURED}).outcome == "not measured"
    assert worst({"a": good, "b": not_testable("x")}).outcome == "holds"
    assert worst({"b": not_testable("x")}).outcome == "not testable here"
    # Holm over parts
    assert worst({"a": judge(-0.2, -0.001)} | {str(i): good
                                               for i in range(9)}).outcome == "inconclusive"


def test_best_needs_one_part_and_pays_for_the_choice():
    good, bad, barely = judge(0.1, 0.3), judge(-0.3, -0.1), judge(0.001, 0.2)
    assert best({"a": bad, "b": good}).outcome == "holds"
    assert best({"a": bad, "b": bad}).outcome == "fails"
    assert best({"a": bad, "b": judge(-0.1, 0.3)}).outcome == "inconclusive"
    assert best({"a": barely}).outcome == "holds" and best({"a": barely, "b": bad, "c": bad
                                                            }).outcome == "inconclusive"
    assert best({"a": bad, "b": NOT_MEASURED}).outcome == "inconclusive"
    assert best({}).outcome == "not measured"


def test_each_word_of_several_parts_has_its_own_p():
    """Intersection-union for what all parts must show, Bonferroni's first step for what one may."""
    parts = {"a": judge(0.1, 0.3), "b": judge(0.05, 0.4), "c": judge(-0.3, 0.1)}
    fors, againsts = ([getattr(v, name) for v in parts.values()]
                      for name in ("p_for", "p_against"))
    whole = worst(parts)
    assert whole.p_for == max(fors) and whole.p_against == min(1, 3 * min(againsts))
    whole = best(parts)
    assert whole.p_for == min(1, 3 * min(fors)) and whole.p_against == max(againsts)
    assert worst(parts | {"d": NOT_MEASURED}).p_for == 1  # it cannot hold
    assert best(parts | {"d": NOT_MEASURED}).p_against == 1  # it cannot fail
    nested = worst({"x": worst(parts), "y": judge(0.1, 0.3)})
    assert nested.p_for == max(fors) and nested.path == ("x", "c")


def test_false_words_over_a_family_keep_their_rate():
    """With every truth on its threshold, a word is said in at most 5% of papers, in either
    direction, compound claims included."""
    random, said = np.random.RandomState(1), 0
    for _ in range(400):
        parts = [verdict(t_interval(random.normal(0, 1, 5)), 0, beyond="above",
                         control_passed=True, n=5) for _ in range(9)]
        family = [worst({"a": parts[0], "b": parts[1]}), best({"a": parts[2], "b": parts[3]}),
                  *parts[4:]]
        said += any(one.outcome in ("holds", "fails") for one in holm(family))
    assert said / 400 < 0.08


def test_what_could_not_come_out_otherwise_is_arithmetic():
    fine = exact(0.0, 0.5, beyond="below", n=4)
    assert arithmetic(fine, "a theorem").outcome == "arithmetic" and math.isnan(fine.p)
    wrong = arithmetic(exact(1.0, 0.5, beyond="below", n=4), "a theorem")
    assert wrong.outcome == "fails" and wrong.reason == "contradicts arithmetic: a theorem"
    assert exact(0.0, 0.5, beyond="below", n=4, control_passed=False).outcome == "inconclusive"
    assert exact(math.nan, 0.5, beyond="below", n=4).outcome == "not measured"
    # in no family, and it decides nothing beside measured parts
    sure, good, bad = arithmetic(fine, "x"), judge(0.1, 0.3), judge(-0.3, -0.1)
    assert holm([sure, bad])[1].p_holm == bad.p and holm([sure])[0] == sure
    assert worst({"a": sure, "b": sure}).outcome == "arithmetic"
    assert worst({"a": sure, "b": good}).outcome == "holds"
    assert worst({"a": sure, "b": bad}).p_against == bad.p_against
    assert worst({"a": wrong, "b": good}).outcome == "fails"
    assert worst({"a": sure, "b": NOT_MEASURED}).outcome == "inconclusive"
    part = below("a", "a count", 0.5, kind="number", arithmetic="a theorem")
    found = judgement.combined((part,), lambda part, _: judgement.exact(part, 0.0, n=4), "")
    assert found.outcome == "arithmetic" and found.reason == "a theorem" and found.part == "a"


def test_every_inconclusive_says_why():
    for got, words in (
        (judge(-0.1, 0.3), "too wide: ±0.20 at n 10; about 40 would decide"),
        (judge(-0.3, -0.1, passed=False),
         "on the wrong side of the threshold, but the positive control failed"),
        (judge(-0.3, -0.1, passed=None),
         "on the wrong side of the threshold, but the positive control was not measured"),
        (judge(0.1, 0.3, beyond="either", passed=False),
         "above the threshold, but the positive control failed"),
        (judgement.guarded(above("a", "x", 0), [0.2, 0.3, 0.25], passed=False),
         "beyond the threshold, but the positive control failed"),
        (verdict((0.0, -1.0, 1.0), 0, beyond="above", control_passed=True, n=3),
         "too wide: ±1.0 at n 3; no number would decide"),
    ):
        assert got.outcome == "inconclusive" and got.reason.split(";")[0] == words.split(";")[0]


def test_slopes_and_steps_of_a_curve():
    import pandas as pd
    table = pd.DataFrame([[0.9, 0.5, 0.4], [0.8, 0.6, 0.1]], columns=[0.0, 1.0, 4.0])
    expected = [np.polyfit([0, 1, 2], line, 1)[0] for line in table.to_numpy()]
    assert contrasts.slope(table) == pytest.approx(expected)
    assert contrasts.trend(table) == [-1, -1]  # which has no spread: no interval
    steps = contrasts.steps(table)
    assert list(steps) == ["0 to 1", "1 to 4"]
    assert steps["1 to 4"].tolist() == pytest.approx([-0.1, -0.5])
    assert contrasts.slope(table.iloc[:, :1]) == []


@pytest.mark.parametrize("value, beside, unit, text", [
    (-0.243, (-0.266, -0.219), "points", "−24.3 points"), (0.7245, (0.4, 0.9), "%", "72.5%"),
    (-0.00218, (-0.00659, 0.00223), "points", "−0.22 points"), (3.426, (), "", "3.4"),
    (67.78, (63.7, 71.9), "", "67.8"), (0.0, (), "", "0"), (1.0, (), "%", "100%"),
    (-0.00001, (0.1, 0.2), "points", "0.0 points"), (math.nan, (), "%", "")])
def test_numbers_have_two_or_three_digits(value, beside, unit, text):
    assert numerals.number(value, unit, *beside) == text


def test_an_interval_is_printed_to_the_place_of_its_number():
    assert numerals.interval(-0.266, -0.219, "points", -0.243) == "[−26.6, −21.9]"
    assert numerals.interval(math.nan, 1.0, "%") == ""
    assert numerals.width(-0.1, 0.3, "points") == "±20.0 points"


def test_a_published_number_against_our_prediction_interval():
    values = [0.90, 0.92, 0.94, 0.96, 0.93]
    inside, outside = compare(Number("a", 95.0, 20), values), compare(Number("a", 40.0, 20), values)
    assert inside.inside and not outside.inside
    assert inside.low < 0.95 < inside.high and compare(Number("a", 95.0), values).low != 0
    assert compare(Number("a", 95.0), [0.9]).inside is None


def test_a_share_of_yes_or_no_has_an_exact_interval():
    from scipy.stats import binomtest

    from lib.verdicts.verdict import proportion

    found = proportion(25, 25, 0.1, beyond="below", control_passed=True)
    exact = binomtest(25, 25).proportion_ci(method="exact")
    assert found.outcome == "fails" and found.low == pytest.approx(exact.low)
    assert found.p_against == pytest.approx(2 * 0.1**25) and found.p_for == 1.0
    near = proportion(25, 25, 0.9, beyond="above", control_passed=True)
    assert near.outcome == "inconclusive" and near.n_needed == 36
    assert proportion(36, 36, 0.9, beyond="above", control_passed=True).outcome == "holds"
    assert proportion(0, 0, 0.9, beyond="above", control_passed=True).outcome == "not measured"
    assert proportion(0, 9, 0.9, beyond="above", control_passed=False).outcome == "inconclusive"
