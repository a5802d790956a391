"""Accounting against published values, exact formulas, other accountants and brute force."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from lib.privacy import (
    Guarantee,
    attack_success_cap,
    dpsgd_attack_success_cap,
    dpsgd_epsilon,
    dpsgd_noise_multiplier,
    epsilon_table,
    group_privacy,
    shuffled_epsilon,
)
from lib.privacy.mixture import group_loss

DELTA = 1e-5
# derandomised: the same examples every time, and none kept on disk
checked = settings(deadline=None, database=None, derandomize=True)
REPLACE = {"adjacency": "replace-one"}

# noise multiplier, sample rate, steps: epsilon at delta 1e-5 by PLD, by RDP, by PRV
SETTINGS = [
    (1.0, 0.01, 1000, 1.8282, 2.1014, 1.8384),
    (4.0, 0.01, 10000, 0.9470, 1.0355, 0.9569),
    (2.0, 0.01, 1000, 0.6220, 0.6862, 0.6321),
    (5.6, 1 / 98, 4900, 0.4502, 0.4950, 0.4601),
    (5.6, 1 / 79, 3950, 0.5065, 0.5565, 0.5165),
    (20.0, 0.01, 1000, 0.0456, 0.1108, None),
]


def exact_gaussian_delta(mu, epsilon):
    """delta(epsilon) of N(mu, 1) against N(0, 1), Balle and Wang 2018, Theorem 8."""
    phi = stats.norm.cdf
    return phi(mu / 2 - epsilon / mu) - math.exp(epsilon) * phi(-mu / 2 - epsilon / mu)


def exact_gaussian_epsilon(mu, delta):
    def excess(epsilon):
        return exact_gaussian_delta(mu, epsilon) - delta

    return optimize.brentq(excess, 0, mu * (mu + 12), xtol=1e-12)


# ---- epsilon


@pytest.mark.parametrize("z, q, steps, pld, rdp, prv", SETTINGS)
def test_epsilon_matches_published_values(z, q, steps, pld, rdp, prv):
    found = dpsgd_epsilon(z, q, steps, DELTA)
    assert found == pytest.approx(pld, rel=2e-4, abs=6e-5)
    assert dpsgd_epsilon(z, q, steps, DELTA, accountant="rdp") == pytest.approx(rdp, rel=5e-4)
    assert found <= dpsgd_epsilon(z, q, steps, DELTA, accountant="rdp")
    upper = dpsgd_epsilon(z, q, steps, DELTA, accountant="prv")
    # PRV's upper value lies its own error (.01) above the truth
    assert found - 1e-3 <= upper <= found + 0.03
    if prv is not None:
        assert upper == pytest.approx(prv, abs=2e-3)


@pytest.mark.parametrize(
    "z, q, steps, expected",
    [
        (1.0, 0.01, 1000, 2.8434),
        (5.6, 1 / 98, 4900, 0.9471),
        (1.1, 256 / 60000, 14040, 4.2175),
    ],
)
def test_replace_one_matches_reference_and_costs_more(z, q, steps, expected):
    found = dpsgd_epsilon(z, q, steps, DELTA, **REPLACE)
    assert found == pytest.approx(expected, rel=1e-4)
    assert found > dpsgd_epsilon(z, q, steps, DELTA)


@pytest.mark.parametrize(
    "z, expected",
    [(0.5, 9.997256), (1, 4.377178), (2, 1.993091), (4, 0.926342), (5, 0.725522), (10, 0.340669)],
)
def test_one_full_batch_step_is_the_gaussian_mechanism(z, expected):
    assert dpsgd_epsilon(z, 1, 1, DELTA) == pytest.approx(expected, abs=2e-6)
    assert dpsgd_epsilon(z, 1.0, 1, DELTA) == pytest.approx(
        exact_gaussian_epsilon(1 / z, DELTA), abs=1e-8
    )


@pytest.mark.parametrize("z, steps", [(5, 100), (20, 1000), (1, 10)])
def test_full_batch_composes_exactly(z, steps):
    mu = math.sqrt(steps) / z
    assert dpsgd_epsilon(z, 1, steps, DELTA) == pytest.approx(exact_gaussian_epsilon(mu, DELTA))
    # a replaced record moves the sum twice as far
    doubled = exact_gaussian_epsilon(2 * mu, DELTA)
    assert dpsgd_epsilon(z, 1, steps, DELTA, **REPLACE) == pytest.approx(doubled)


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8, 1e-10])
def test_discretised_composition_never_reports_less_than_the_truth(delta):
    """Nearly full batches take the PLD path; sampling at .999999 hides next to nothing."""
    truth = exact_gaussian_epsilon(math.sqrt(100) / 5, delta)
    found = dpsgd_epsilon(5.0, 0.999999, 100, delta)
    assert truth - 1e-3 <= found <= truth + 1e-9  # the sampled mechanism is a little better
    assert dpsgd_epsilon(5.0, 1.0, 100, delta, accountant="rdp") > truth


@pytest.mark.parametrize("z, q", [(0.7, 0.2), (2.0, 0.5)])
def test_one_step_covers_the_hockey_stick_by_integration(z, q):
    x = np.linspace(-14 * z - 1, 14 * z + 2, 200_001)
    one, zero = stats.norm.pdf(x, 1, z), stats.norm.pdf(x, 0, z)
    mixed = q * one + (1 - q) * zero
    for delta in (1e-5, 1e-3):
        epsilon = dpsgd_epsilon(z, q, 1, delta)
        for upper, lower in ((mixed, zero), (zero, mixed)):
            used = np.trapezoid(np.clip(upper - math.exp(epsilon) * lower, 0, None), x)
            assert used <= delta * (1 + 1e-6)
        used = np.trapezoid(np.clip(mixed - math.exp(epsilon - 1e-3) * zero, 0, None), x)
        assert used > delta  # and it is tight


def test_epsilon_rises_with_steps_rate_and_falls_with_noise_and_delta():
    base = dpsgd_epsilon(2, 0.02, 200, DELTA)
    assert dpsgd_epsilon(2, 0.02, 300, DELTA) > base
    assert dpsgd_epsilon(2, 0.03, 200, DELTA) > base
    assert dpsgd_epsilon(2.2, 0.02, 200, DELTA) < base
    assert dpsgd_epsilon(2, 0.02, 200, 1e-4) < base
    assert dpsgd_epsilon(2, 1, 200, DELTA) > dpsgd_epsilon(2, 0.5, 200, DELTA) > base


def test_large_epsilons():
    assert dpsgd_epsilon(1.0, 0.04, 10000, DELTA) == pytest.approx(34.840, abs=2e-3)
    assert dpsgd_epsilon(2 / 3, 0.04, 10000, DELTA) == pytest.approx(94.930, abs=5e-3)


def test_tiny_noise_gives_a_huge_finite_bound_that_sampling_only_lowers():
    bound = {z: dpsgd_epsilon(z, 0.01, 100, DELTA, **REPLACE) for z in (1e-7, 1e-4, 0.01)}
    assert math.inf > bound[1e-7] > bound[1e-4] > bound[0.01]
    assert bound[0.01] < dpsgd_epsilon(0.01, 1, 100, DELTA, **REPLACE)
    assert math.inf > dpsgd_epsilon(1e-7, 0.01, 100, DELTA) > dpsgd_epsilon(1e-4, 0.01, 100, DELTA)


def test_limits():
    assert dpsgd_epsilon(0, 0.01, 10, DELTA) == math.inf
    assert dpsgd_epsilon(0, 0.01, 0, DELTA) == 0.0
    assert dpsgd_epsilon(math.inf, 0.01, 10, DELTA) == 0.0
    for accountant in ("rdp", "prv"):
        assert dpsgd_epsilon(0, 0.01, 10, DELTA, accountant=accountant) == math.inf
        with pytest.raises(ValueError, match="replace-one"):
            dpsgd_epsilon(1, 0.01, 10, DELTA, accountant=accountant, **REPLACE)


def test_prv_says_so_where_it_cannot_answer():
    with pytest.raises(RuntimeError, match="pld"):
        dpsgd_epsilon(1 / 3, 0.04, 10000, DELTA, accountant="prv")


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": -1},
        {"noise_multiplier": math.nan},
        {"noise_multiplier": "1e-5"},
        {"sample_rate": 0},
        {"sample_rate": 1.5},
        {"sample_rate": -0.1},
        {"steps": -3},
        {"steps": 2.5},
        {"steps": True},
        {"delta": 0},
        {"delta": 1},
        {"delta": math.nan},
        {"adjacency": "substitute"},
        {"accountant": "gdp"},
    ],
)
def test_out_of_range_names_the_value(change):
    (name, value), *_ = change.items()
    setting = {"noise_multiplier": 1.0, "sample_rate": 0.01, "steps": 10, "delta": DELTA} | change
    with pytest.raises(ValueError) as error:
        dpsgd_epsilon(**setting)
    assert name in str(error.value) and repr(value) in str(error.value).replace("0.0", "0")


def test_signatures_stand():
    assert str(inspect.signature(dpsgd_epsilon)).startswith(
        "(noise_multiplier, sample_rate, steps, delta, *, adjacency='add-remove', accountant='pld')"
    )
    assert str(inspect.signature(dpsgd_attack_success_cap)).startswith(
        "(clean_rate, noise_multiplier, sample_rate, steps, k, *, adjacency='add-remove')"
    )


# ---- calibration


@pytest.mark.parametrize(
    "epsilon, pld, rdp",
    [(0.5, 5.0963, 5.5505), (1, 2.7788, 3.0017), (2, 1.6035, 1.7095), (4, 1.0329, 1.0833)],
)
def test_calibrated_noise(epsilon, pld, rdp):
    setting = (1 / 98, 4900, DELTA)
    for accountant, expected in (("pld", pld), ("rdp", rdp)):
        z = dpsgd_noise_multiplier(epsilon, *setting, accountant=accountant)
        assert z == pytest.approx(expected, rel=2e-3)
        reached = dpsgd_epsilon(z, *setting, accountant=accountant)
        assert epsilon - 1e-3 <= reached <= epsilon


@pytest.mark.parametrize(
    "epsilon, expected",
    [(0.1, 30.749566), (0.5, 7.031827), (1, 3.730632), (2, 1.993812), (4, 1.081162), (8, 0.600229)],
)
def test_calibrated_gaussian_mechanism(epsilon, expected):
    z = dpsgd_noise_multiplier(epsilon, 1, 1, DELTA)
    assert z == pytest.approx(expected, rel=2e-2 if epsilon < 0.2 else 3e-3)
    assert epsilon - 1e-3 <= exact_gaussian_epsilon(1 / z, DELTA) <= epsilon + 1e-9


@settings(checked, max_examples=6)
@given(
    epsilon=st.floats(0.05, 3.0),
    sample_rate=st.sampled_from([0.01, 0.03, 1.0]),
    steps=st.integers(300, 3000),
    adjacency=st.sampled_from(["add-remove", "replace-one"]),
)
def test_calibration_lands_on_the_safe_side(epsilon, sample_rate, steps, adjacency):
    z = dpsgd_noise_multiplier(epsilon, sample_rate, steps, DELTA, adjacency=adjacency)
    reached = dpsgd_epsilon(z, sample_rate, steps, DELTA, adjacency=adjacency)
    assert epsilon - 1e-3 <= reached <= epsilon


def test_calibration_limits():
    assert dpsgd_noise_multiplier(math.inf, 0.01, 100, DELTA) == 0.0
    with pytest.raises(ValueError, match="rdp"):
        dpsgd_noise_multiplier(0.02, 0.01, 100, DELTA, accountant="rdp")
    for epsilon in (0, -1, 1e6, math.nan):
        with pytest.raises(ValueError, match="epsilon is"):
            dpsgd_noise_multiplier(epsilon, 0.01, 100, DELTA)


def test_shuffled_batches_get_no_amplification():
    for z, epochs, expected in ((5.6, 50, 5.7476), (1.1, 60, 54.045), (1, 400, 284.39)):
        assert shuffled_epsilon(z, epochs, DELTA) == pytest.approx(expected, abs=5e-3)
    assert shuffled_epsilon(5.6, 50, DELTA) > 10 * dpsgd_epsilon(5.6, 1 / 98, 4900, DELTA)
    replaced = shuffled_epsilon(5.6, 50, DELTA, **REPLACE)
    assert replaced == pytest.approx(exact_gaussian_epsilon(2 * math.sqrt(50) / 5.6, DELTA))
    assert shuffled_epsilon(0, 1, DELTA) == math.inf and shuffled_epsilon(1, 0, DELTA) == 0.0
    with pytest.raises(ValueError, match="epochs"):
        shuffled_epsilon(1, -1, DELTA)


# ---- groups and caps from one (epsilon, delta)


@pytest.mark.parametrize(
    "epsilon, k, expected",
    [(0.1, 10, 1.634e-4), (0.1, 50, 0.01402), (0.5, 10, 0.002272), (1, 5, 8.579e-4), (1, 10, 0.1282)],
)
def test_group_privacy_values(epsilon, k, expected):
    assert group_privacy(epsilon, DELTA, k) == (k * epsilon, pytest.approx(expected, rel=5e-4))


@checked
@given(epsilon=st.floats(0, 3), delta=st.floats(0, 1e-3), k=st.integers(1, 6))
def test_group_privacy_iterates_the_definition(epsilon, delta, k):
    total = min(1.0, sum(math.exp(i * epsilon) * delta for i in range(k)))
    assert group_privacy(epsilon, delta, k)[1] == pytest.approx(total, rel=1e-9, abs=1e-300)


def test_group_privacy_limits():
    assert group_privacy(1, DELTA, 0) == (0.0, 0.0)
    assert group_privacy(1, DELTA, 1) == (1.0, DELTA)
    assert group_privacy(0, DELTA, 3) == (0.0, pytest.approx(3e-5))
    assert group_privacy(0.1, DELTA, 100_000) == (pytest.approx(10_000), 1.0)
    assert group_privacy(math.inf, DELTA, 2) == (math.inf, 1.0)
    for bad in ((-1, DELTA, 1), (1, 2, 1), (1, DELTA, 1.5), (1, DELTA, -1)):
        with pytest.raises(ValueError):
            group_privacy(*bad)


@pytest.mark.parametrize("k, expected", [(1, 0.01649), (5, 0.12182), (8, 0.54598)])
def test_cap_of_a_pure_guarantee(k, expected):
    assert attack_success_cap(0.01, 0.5, 0, k) == pytest.approx(expected, abs=1e-5)


def test_cap_of_one_step_by_hand():
    assert attack_success_cap(0.01, 0.5, 0.002, 1) == pytest.approx(0.01 * math.exp(0.5) + 0.002)
    assert attack_success_cap(0.9, 1.0, 0.02, 1) == pytest.approx(1 - math.exp(-1) * (0.1 - 0.02))  # what is left keeps its share


@pytest.mark.parametrize("epsilon, largest", [(0.1, 39), (0.25, 15), (0.5, 7), (1, 3), (2, 1)])
def test_largest_group_that_a_pure_guarantee_holds_back(epsilon, largest):
    assert attack_success_cap(0.01, epsilon, 0, largest) < 0.5
    # only the plain product passes .5 at the next one: the complement form may hold it back
    assert 0.01 * math.exp(epsilon * (largest + 1)) > 0.5


rates = st.floats(0, 1)


@checked
@given(rate=rates, epsilon=st.floats(0, 900), delta=st.floats(0, 0.1), k=st.integers(0, 5))
def test_cap_is_the_one_step_bound_iterated_k_times(rate, epsilon, delta, k):
    expected = rate
    for _ in range(k):
        grown = expected * math.exp(min(epsilon, 600)) + delta
        left = 1 - math.exp(-epsilon) * (1 - expected - delta)
        expected = min(1.0, grown, left)
    assert attack_success_cap(rate, epsilon, delta, k) == pytest.approx(expected, abs=1e-9)


@checked
@given(
    rate=rates, epsilon=st.floats(0, 20), delta=st.floats(0, 0.1), k=st.integers(0, 60),
    more=st.floats(0, 0.5),
)  # fmt: skip
def test_cap_is_monotone_and_at_least_the_clean_rate(rate, epsilon, delta, k, more):
    cap = attack_success_cap(rate, epsilon, delta, k)
    assert rate <= cap <= 1
    assert attack_success_cap(rate, epsilon, delta, k + 1) >= cap
    assert attack_success_cap(rate, epsilon + more, delta, k) >= cap - 1e-12
    assert attack_success_cap(rate, epsilon, min(1, delta + more), k) >= cap - 1e-12
    assert attack_success_cap(min(1, rate + more), epsilon, delta, k) >= cap - 1e-12


def test_cap_limits():
    assert attack_success_cap(0.01, math.inf, 0, 1) == 1.0
    assert attack_success_cap(0.01, math.inf, 0, 0) == 0.01
    assert attack_success_cap(0.0, 3.0, 0.0, 50) == 0.0
    assert attack_success_cap(0.2, 0.0, 0.0, 10**6) == 0.2
    for bad in ((-0.1, 1, 0, 1), (1.1, 1, 0, 1), (0.1, -1, 0, 1), (0.1, 1, -1, 1), (0.1, 1, 0, 0.5)):
        with pytest.raises(ValueError):
            attack_success_cap(*bad)


# ---- caps from the whole profile of DP-SGD

PAPER = (5.6, 1 / 98, 4900)


def group_epsilon(z, q, steps, k, delta):
    losses = (group_loss(z, q, steps, *side) for side in ((k, 0), (0, k)))
    return max(loss.get_epsilon_for_delta(delta) for loss in losses)


@pytest.mark.parametrize("k, expected", [(1, 0.4502), (2, 0.9602), (5, 2.6567), (10, 5.9053)])
def test_group_profile_matches_the_reference(k, expected):
    assert group_epsilon(*PAPER, k, DELTA) == pytest.approx(expected, abs=1e-4)


def test_group_profile_matches_the_librarys_mixture_and_replacement():
    from dp_accounting.pld import privacy_loss_distribution as library

    k, (z, q, steps) = 3, (5.0, 0.02, 300)
    counts = np.arange(k + 1)
    weights = stats.binom.pmf(counts, k, q)
    oracle = library.from_mixture_gaussian_mechanism(z, counts, weights).self_compose(steps)
    ours = [group_loss(z, q, steps, *side) for side in ((k, 0), (0, k))]
    for epsilon in (0.0, 0.5, 1.0, 3.0):
        expected = oracle.get_delta_for_epsilon(epsilon)
        found = max(loss.get_delta_for_epsilon(epsilon) for loss in ours)
        assert expected - 1e-9 <= found <= expected + 1e-6
    one = group_loss(1.0, 0.01, 1000, 1, 1).get_epsilon_for_delta(DELTA)
    assert one == pytest.approx(dpsgd_epsilon(1.0, 0.01, 1000, DELTA, **REPLACE), abs=1e-4)


def exact_one_step_cap(rate, z, above, below, q):
    """Neyman and Pearson by hand: the ratio rises with x, so the best test is a threshold."""

    def tail(x, counts, weights, sign):
        return float(np.sum(weights * stats.norm.sf(x, sign * counts, z)))

    up, down = np.arange(above + 1), np.arange(below + 1)
    up_weights, down_weights = stats.binom.pmf(up, above, q), stats.binom.pmf(down, below, q)
    span = 15 * z + above + below
    x = optimize.brentq(lambda x: tail(x, down, down_weights, -1) - rate, -span, span)
    return tail(x, up, up_weights, 1)


@pytest.mark.parametrize("z, q, k", [(1.0, 0.3, 1), (0.6, 0.05, 4), (3.0, 0.9, 3), (0.3, 0.5, 2)])
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.6])
def test_one_step_cap_is_the_best_tests_power(z, q, k, rate):
    best = max(exact_one_step_cap(rate, z, k, 0, q), exact_one_step_cap(rate, z, 0, k, q))
    found = dpsgd_attack_success_cap(rate, z, q, 1, k)
    assert best - 1e-9 <= found <= best + 5e-3
    best = exact_one_step_cap(rate, z, k, k, q)
    found = dpsgd_attack_success_cap(rate, z, q, 1, k, **REPLACE)
    assert best - 1e-9 <= found <= best + 5e-3


@pytest.mark.parametrize("z, q, steps, above, below", [(1.5, 0.1, 20, 3, 0), (2.0, 0.1, 30, 2, 2)])
def test_cap_holds_against_simulated_likelihood_ratio_attack(z, q, steps, above, below):
    """The attacker who sees every noisy sum and tests best stays just under the cap."""
    rate, runs, generator = 0.05, 100_000, np.random.default_rng(5)

    def log_mixture(x, means, weights):
        return np.log(sum(w * np.exp((x - m / 2) * m / z**2) for m, w in zip(means, weights)))

    def evidence(poisoned):
        total = np.zeros(runs)
        for _ in range(steps):
            pushed, size = (1, above) if poisoned else (-1, below)
            x = generator.normal(pushed * generator.binomial(size, q, runs), z)
            for sign, size in ((1, above), (-1, below)):
                weights = stats.binom.pmf(np.arange(size + 1), size, q)
                total += sign * log_mixture(x, sign * np.arange(size + 1), weights)
        return total

    power = float(np.mean(evidence(True) > np.quantile(evidence(False), 1 - rate)))
    adjacency = "replace-one" if below else "add-remove"
    cap = dpsgd_attack_success_cap(rate, z, q, steps, above, adjacency=adjacency)
    assert power - 0.006 <= cap <= power + 0.012


@pytest.mark.parametrize("z, q, steps, k", [(5.6, 1 / 98, 500, 4), (0.5, 0.3, 10, 3), (0.3, 0.9, 3, 4)])
def test_no_split_of_k_is_worse_than_k_insertions(z, q, steps, k):
    epsilons = np.array([0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0])

    def profile(above, below):
        loss = group_loss(z, q, steps, above, below)
        return np.array([loss.get_delta_for_epsilon(float(e)) for e in epsilons])

    pure = np.maximum(profile(k, 0), profile(0, k))
    for removed in range(1, k):
        assert np.all(profile(k - removed, removed) <= pure + 1e-6)


def test_cap_at_the_papers_setting():
    cap = dpsgd_attack_success_cap(0.01, *PAPER, 10)
    assert cap == pytest.approx(0.15, abs=0.002)
    # the central limit agrees; the iterated single point is far above
    mu = math.sqrt(4900 * math.expm1(5.6**-2)) / 98
    assert cap == pytest.approx(stats.norm.cdf(stats.norm.ppf(0.01) + 10 * mu), abs=0.003)
    epsilon = dpsgd_epsilon(*PAPER, DELTA)
    assert attack_success_cap(0.01, epsilon, DELTA, 10) > 4 * cap


def test_full_batch_cap_is_exact_and_close_to_nearly_full_batches():
    for adjacency, means in (("add-remove", 2), ("replace-one", 4)):
        exact = stats.norm.cdf(stats.norm.ppf(0.02) + means * math.sqrt(9) / 10)
        found = dpsgd_attack_success_cap(0.02, 10.0, 1, 9, 2, adjacency=adjacency)
        assert found == pytest.approx(exact, abs=1e-9)
        nearly = dpsgd_attack_success_cap(0.02, 10.0, 0.99999, 9, 2, adjacency=adjacency)
        assert nearly == pytest.approx(exact, abs=1e-3)


def test_cap_is_monotone_in_k_noise_and_adjacency():
    caps = [dpsgd_attack_success_cap(0.01, 5.6, 0.01, 1000, k) for k in (0, 1, 3, 8, 40, 400)]
    assert caps[0] == 0.01 and caps == sorted(caps) and caps[-1] == 1.0
    assert dpsgd_attack_success_cap(0.01, 4.0, 0.01, 1000, 3) > caps[2]
    replaced = dpsgd_attack_success_cap(0.01, 5.6, 0.01, 1000, 3, **REPLACE)
    twice = dpsgd_attack_success_cap(0.01, 5.6, 0.01, 1000, 6)
    assert caps[2] < replaced <= twice + 1e-6


def test_cap_limits_of_dpsgd():
    # never sampled means never learnt, whatever the noise
    assert dpsgd_attack_success_cap(0.1, 0, 0.001, 10, 3) == pytest.approx(0.1 + 1 - 0.999**30)
    assert dpsgd_attack_success_cap(0.1, 0, 0.5, 100, 3) == 1.0
    assert dpsgd_attack_success_cap(0.1, 1, 0.5, 0, 3) == 0.1
    assert dpsgd_attack_success_cap(0.1, math.inf, 0.5, 10, 3) == 0.1
    assert dpsgd_attack_success_cap(0.0, 1.0, 0.1, 10, 3) == 0.0
    assert dpsgd_attack_success_cap(1.0, 1.0, 0.1, 10, 3) == 1.0
    for change in ((-0.1, 1, 0.1, 1, 1), (0.1, -1, 0.1, 1, 1), (0.1, 1, 0, 1, 1), (0.1, 1, 0.1, 1, 1.5)):
        with pytest.raises(ValueError):
            dpsgd_attack_success_cap(*change)


def test_caps_start_from_the_upper_bound_of_the_measured_clean_rate():
    import pandas as pd
    from lib.metrics import mean_interval
    from lib.privacy import measured_caps

    clean = [0.05, 0.08, 0.11, 0.06]
    frame = pd.DataFrame(
        [
            {"world": world, "noise_multiplier": 2.0, "success": value + 0.3 * (world == "P")}
            for world in "CP"
            for value in clean
        ]
    )
    line = measured_caps(frame, n=9000, batch_size=100, epochs=2.0, poisons=(1, 4)).iloc[0]
    high = mean_interval(pd.Series(clean)).high
    assert line["its upper bound"] == pytest.approx(high) and high > line[
        "triggered rate, clean training"
    ] == pytest.approx(0.075)
    for k in (1, 4):
        assert line[f"cap, k = {k}"] == dpsgd_attack_success_cap(
            high, 2.0, 1 / 90, 180, k, **REPLACE
        )
    alone = measured_caps(
        frame.iloc[[0, 4]], n=9000, batch_size=100, epochs=2.0, poisons=(1,)
    ).iloc[0]
    assert math.isnan(alone["its upper bound"]) and math.isnan(
        alone["cap, k = 1"]
    )  # one instance bounds nothing
    wide = measured_caps(
        frame.assign(success=[0, 1] * 4), n=9000, batch_size=100, epochs=2.0, poisons=(1,)
    ).iloc[0]
    assert wide["its upper bound"] == 1.0 == wide["cap, k = 1"]


def test_table_of_epsilons_holds_what_its_columns_say():
    line = epsilon_table([2.0], n=9000, batch_size=100, epochs=2.0, tuning_runs=3, poisons=(1, 4), clean_rate=0.02).iloc[0]
    assert line["add-remove"] == dpsgd_epsilon(2.0, 1 / 90, 180, DELTA)
    assert line["replace-one"] == dpsgd_epsilon(2.0, 1 / 90, 180, DELTA, **REPLACE)
    assert line["shuffled"] == shuffled_epsilon(2.0, 2, DELTA)
    assert line["tuning included"] == dpsgd_epsilon(2.0, 100 / 8100, 4 * 180, DELTA)  # the run and three more
    for k in (1, 4):
        # an image changed in place is a removal and an insertion
        one_way, both = (dpsgd_attack_success_cap(0.02, 2.0, 1 / 90, 180, k, **how) for how in ({}, REPLACE))
        assert line[f"cap, k = {k}"] == both > one_way > 0.02


# ---- the printed statement


def test_guarantee_prints_its_conditions():
    made = Guarantee(
        0.450162, 1e-5, sampler="poisson", accountant="pld",
        noise_multiplier=5.6, max_grad_norm=1.2, sample_rate=1 / 98, steps=4900,
    )  # fmt: skip
    assert str(made) == (
        "epsilon 0.4502 at delta 1e-5 (add-remove, Poisson, PLD; z 5.6, C 1.2, q 0.0102, T 4900)"
    )
    assert made.holds and made.as_dict()["steps"] == 4900
    assert Guarantee(**made.as_dict()) == made
    assert str(Guarantee(0.12341, 1e-5)).startswith("epsilon 0.1235 ")  # never rounded down


def test_no_guarantee_is_said_in_words():
    assert str(Guarantee.none("plain SGD")) == "no guarantee: plain SGD"
    assert not Guarantee.none("plain SGD").holds
    assert str(Guarantee(math.inf, 1e-5, noise_multiplier=0.0)).startswith("no guarantee: no noise")
    for change in ({"epsilon": -1.0}, {"delta": 2.0}, {"adjacency": "user"}):
        with pytest.raises(ValueError):
            Guarantee(**({"epsilon": 1.0} | change))
