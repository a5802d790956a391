"""From an interval to a verdict: thresholds, Holm, several parts, two-sided statistics, published
numbers.
"""

import dataclasses
import math

import numpy as np
import pytest

from lib.verdicts import judgement
from lib.verdicts.claim import Claim, Number, above, either
from lib.verdicts.published import compare
from lib.verdicts.verdict import (
    NOT_MEASURED,
    best,
    holm,
    n_to_decide,
    not_testable,
    signs,
    verdict,
    worst,
)

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
    with pytest.raises(ValueError, match="n="):
        verdict((0, 0, 0), 0, beyond="above", control_passed=True)
    with pytest.raises(ValueError, match="sideways"):
        verdict((0, 0, 0), 0, beyond="sideways", control_passed=True, n=3)


def t_interval(values):
    from scipy.stats import t
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values), np.mean(values) - half, np.mean(values) + half


def test_p_is_that_of_the_one_sided_t_test():
    from scipy.stats import ttest_1samp
    values = np.random.RandomState(0).normal(0.3, 1, 12)
    for beyond, side in (("above", "less"), ("below", "greater")):
        got = verdict(t_interval(values), 0.5, beyond=beyond, control_passed=True, n=12)
        assert got.p == pytest.approx(ttest_1samp(values, 0.5, alternative=side).pvalue)


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


def test_the_logit_scale_reads_the_spread_where_the_interval_was_made():
    from scipy.special import logit
    from scipy.stats import ttest_1samp

    from lib.metrics import mean_interval
    shares = np.array([0.93, 0.99, 0.97, 0.9, 0.95, 0.98])
    got = verdict(mean_interval(shares, scale="logit"), 0.98, beyond="above", control_passed=True,
                  scale="logit")
    on_scale = logit((1000 * shares + 0.5) / 1001)
    assert got.p == pytest.approx(
        ttest_1samp(on_scale, logit(980.5 / 1001), alternative="less").pvalue, rel=1e-6)
    full = verdict(mean_interval([1.0, 1.0, 0.999], scale="logit"), 0.95, beyond="above",
                   control_passed=True, scale="logit")
    assert full.outcome == "holds" and full.high == 1.0 and full.p > 0.95
    with pytest.raises(ValueError, match="proportion"):
        verdict((1.2, 1.1, 1.3), 0.5, beyond="above", control_passed=True, n=3, scale="logit")


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
    assert verdict((0.0, 0.0, 0.0), 0, beyond="either", control_passed=True, n=3).p == 1


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
    return dataclasses.replace(judge(-0.3, -0.1), p=p, outcome=outcome)


def test_holm_by_hand():
    # sorted 0.001 0.012 0.02 0.9 -> 4 x 0.001 = 0.004, 3 x 0.012 = 0.036, 2 x 0.02 = 0.04,
    # max(0.04, 0.9) = 0.9
    given = [with_p(0.02), with_p(0.001), with_p(0.9, "holds"), with_p(0.012), NOT_MEASURED]
    got = holm(given)
    assert [one.p_holm for one in got[:4]] == pytest.approx([0.04, 0.004, 0.9, 0.036])
    assert [one.outcome for one in got] == ["fails", "fails", "holds", "fails", "not measured"]
    # 0.03 among three: 3 x 0.024 = 0.072, then never smaller
    got = holm([with_p(0.024), with_p(0.024), with_p(0.03)])
    assert [one.p_holm for one in got] == pytest.approx([0.072, 0.072, 0.072])
    assert {one.outcome for one in got} == {"inconclusive"} and all(one.n_needed >= 2
                                                                    for one in got)
    assert holm([with_p(0.024)])[0].outcome == "fails"


def test_holms_n_is_larger_than_the_plain_one():
    barely = judge(-0.29, -0.01)
    assert barely.outcome == "fails"
    corrected = holm([barely] + [judge(0.1, 0.3)] * 9)[0]
    assert corrected.outcome == "inconclusive" and corrected.n_needed > 10


def test_worst_needs_every_part():
    good, bad, open_, far = judge(0.1, 0.3), judge(-0.3, -0.1), judge(-0.1, 0.3), judge(-0.29, 0.3)
    assert worst({"a": good, "b": good}).outcome == "holds"
    assert worst({"a": good, "b": bad}).outcome == "fails" and "b" in worst({"a": good, "b": bad
                                                                             }).reason
    got = worst({"a": good, "b": open_, "c": far})
    assert got.outcome == "inconclusive" and got.low == far.low  # the one that needs most
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


def test_a_published_number_against_our_prediction_interval():
    values = [0.90, 0.92, 0.94, 0.96, 0.93]
    inside, outside = compare(Number("a", 95.0, 20), values), compare(Number("a", 40.0, 20), values)
    assert inside.inside and not outside.inside
    assert inside.low < 0.95 < inside.high and compare(Number("a", 95.0), values).low != 0
    assert compare(Number("a", 95.0), [0.9]).inside is None
