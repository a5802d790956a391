"""Bounds on epsilon from attacks that were carried out, and Theorem 1's bound on their cost."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lib.privacy import attack_cost_bound, audit_lower_bound, group_privacy

checked = settings(deadline=None, database=None, derandomize=True)


@pytest.mark.parametrize("counts, confidence, more, expected", [
    ((500, 500, 0, 500), 0.99, {}, 4.541916), ((500, 500, 0, 500), 0.99, {"k": 2}, 2.270958),
    ((500, 500, 0, 500), 0.95, {}, 4.905594), ((90, 100, 10, 100), 0.95, {}, 1.542152),
    ((90, 100, 10, 100), 0.95, {"delta": 1e-5}, 1.542140), ((60, 100, 40, 100), 0.95, {}, 0),
    ((250, 500, 10, 500), 0.99, {}, 2.345469), ((10, 10, 0, 10), 0.95, {}, 0.807),
    ((1000, 1000, 0, 1000), 0.99, {}, 5.238)])
def test_known_values(counts, confidence, more, expected):
    found = audit_lower_bound(*counts, confidence=confidence, **more)
    assert found == pytest.approx(expected, abs=6e-4 if expected in (0.807, 5.238) else 1e-6)


@checked
@given(hits=st.tuples(st.integers(0, 80), st.integers(0, 80)),
       delta=st.sampled_from([0.0, 1e-5, 0.01]), k=st.integers(1, 3))
def test_the_bound_is_where_the_definition_begins_to_hold(hits, delta, k):
    """Clopper-Pearson by quantiles of the beta distribution, and the definition, written out."""
    (h, f), n = hits, 80
    low = stats.beta.ppf(0.025, h, n - h + 1) if h else 0.0
    high = stats.beta.ppf(0.975, f + 1, n - f) if f < n else 1.0
    found = audit_lower_bound(h, n, f, n, confidence=0.95, delta=delta, k=k)
    for epsilon, allowed in ((found + 1e-6, True), (found - 1e-6, False)):
        if epsilon > 0:
            growth, added = math.exp(k * epsilon), group_privacy(epsilon, delta, k)[1]
            assert (low <= growth * high + added and 1 - high <= growth * (1 - low) + added
                    ) == allowed


def test_it_stays_below_a_true_epsilon_as_often_as_it_says():
    truth, trials = math.log(3), 30  # randomised response: "in" with probability 3/4 against 1/4
    ins, outs = (stats.binom.pmf(range(trials + 1), trials, p) for p in (0.75, 0.25))
    wrong = sum(p * q for h, p in enumerate(ins) if p > 1e-3
                for f, q in enumerate(outs) if q > 1e-3
                if audit_lower_bound(h, trials, f, trials, confidence=0.9) > truth)
    assert wrong < 0.1 - 0.01  # what was left out has a chance of at most 1%


@pytest.mark.parametrize("changes, said", [
    ({"hits_in": 11}, "at most trials_in"), ({"hits_out": -1}, "hits_out"),
    ({"trials_out": 0}, "trials_out"), ({"confidence": 1.0}, "confidence"), ({"k": 0}, "k is 0")])
def test_numbers_out_of_range(changes, said):
    asked = {"hits_in": 5, "trials_in": 10, "hits_out": 1, "trials_out": 10, "confidence": 0.95}
    with pytest.raises(ValueError, match=said):
        audit_lower_bound(**(asked | changes))


# ---- Theorem 1 (Ma et al.), with its sign

@pytest.mark.parametrize("epsilon, delta, k, above, below", [
    (0.1, 0, 10, 0.367879, -1.359141), (0.1, 1e-5, 10, 0.367759, -1.35947),
    (1, 1e-5, 5, 0.00672639, -2), (1, 1e-5, 10, 3.37609e-5, -2)])
def test_cost_bounds(epsilon, delta, k, above, below):
    assert attack_cost_bound(1, epsilon, delta, k, largest=2, sign="non-negative"
                             ) == pytest.approx(above, rel=1e-5)
    assert attack_cost_bound(-0.5, epsilon, delta, k, largest=2, sign="non-positive"
                             ) == pytest.approx(below, rel=1e-5)


@checked
@given(cost=st.floats(0, 1), epsilon=st.floats(1e-3, 5), delta=st.floats(1e-9, 0.1),
       k=st.integers(0, 30))
def test_a_training_without_poison_meets_its_own_bound(cost, epsilon, delta, k):
    for value, sign in ((cost, "non-negative"), (-cost, "non-positive")):
        assert attack_cost_bound(value, epsilon, delta, k, largest=1, sign=sign) <= value
        assert attack_cost_bound(value, epsilon, delta, 0, largest=1, sign=sign) == value


@checked
@given(epsilon=st.floats(1e-3, 3), delta=st.floats(0, 0.2), rate=st.floats(0, 1))
def test_the_best_randomiser_meets_one_step_exactly_or_stays_above(epsilon, delta, rate):
    """Success rates p and p' that (epsilon, delta) just allows: costs 1 - p, and -p."""
    grown = min(1.0, math.exp(epsilon) * rate + delta, 1 - math.exp(-epsilon) * (1 - rate - delta))
    grown = max(rate, grown)
    failing = attack_cost_bound(1 - rate, epsilon, delta, 1, largest=1, sign="non-negative")
    assert 1 - grown >= failing - 1e-12
    reached = attack_cost_bound(-rate, epsilon, delta, 1, largest=1, sign="non-positive")
    assert -grown >= reached - 1e-12


def test_nothing_is_left_without_a_guarantee():
    for epsilon, delta in ((math.inf, 0.0), (800.0, 0.1), (0.0, 1.0)):
        for cost, sign, least in ((1, "non-negative", 0), (-0.5, "non-positive", -2)):
            assert attack_cost_bound(cost, epsilon, delta, 3, largest=2, sign=sign) == least
    assert attack_cost_bound(0, 1.0, 0.0, 3, largest=2, sign="non-positive") == 0


@pytest.mark.parametrize("changes, said", [
    ({"cost": -1}, "cost"), ({"cost": 3}, "cost"), ({"largest": 0}, "largest"),
    ({"sign": "both"}, "sign")])
def test_costs_out_of_range(changes, said):
    asked = {"cost": 1, "epsilon": 1.0, "delta": 0.0, "k": 1, "largest": 2, "sign": "non-negative"}
    with pytest.raises(ValueError, match=said):
        attack_cost_bound(**(asked | changes))
