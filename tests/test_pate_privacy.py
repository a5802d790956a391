"""PATE's epsilon and the vote-gap certificate against published values, exact divergences, other
accountants and brute force.
"""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from signatures import untyped

from lib.defences.partition import certificate
from lib.privacy import (
    answer_probability,
    gnmax_rdp,
    pate_epsilon,
    released_pate_epsilon,
    released_selection_noise,
)
from lib.privacy.pate import selection_rdp

DELTA = 1e-5
FLAT = [25] * 10  # no cost is data-dependent here
checked = settings(deadline=None, database=None, derandomize=True)


def row(*counts, classes=10):
    """One query: the counts listed, the other classes empty."""
    return list(counts) + [0] * (classes - len(counts))


def epsilon(votes, threshold, selection_noise, result_noise, delta=DELTA, **options):
    return pate_epsilon(votes, threshold=threshold, selection_noise=selection_noise,
                        result_noise=result_noise, delta=delta, **options)


def exact_gaussian_epsilon(mu, delta):
    """Balle and Wang 2018, Theorem 8."""

    def excess(epsilon):
        return stats.norm.cdf(mu / 2 - epsilon / mu
                              ) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu) - delta

    return optimize.brentq(excess, 0, mu * (mu + 12), xtol=1e-12)


# ---- data-independent: one promise, whatever the votes

# queries, answered, selection noise, result noise, delta: exact, and by Renyi orders (of flat
# votes)
TOTALS = [
    (640, 286, 150, 40, 1e-5, 2.5426, 2.7579),  # MNIST
    (8500, 3098, 200, 40, 1e-6, 11.138, 11.837),  # SVHN
    (1500, 524, 200, 40, 1e-5, 3.5430, 3.8365),  # Adult
    (12000, 10762, 500, 100, 1e-8, 9.01245, 9.481),  # Glyph
    (100, 100, 150, 40, 1e-5, 1.3829, 1.5070),
    (1000, 1000, 150, 40, 1e-5, 5.0860, 5.4888),
    (10000, 10000, 120, 50, 1e-5, 16.31, 17.42),  # Razmi et al., MNIST
    (10000, 10000, 100, 25, 1e-5, 40.25, 42.54),  # and CIFAR-10
    (10000, 10000, 175, 175, 1e-5, 4.3253, 4.6728),
]


@pytest.mark.parametrize("queries, answered, s1, s2, delta, exact, renyi", TOTALS)
def test_totals_match_published_values(queries, answered, s1, s2, delta, exact, renyi):
    votes = np.tile(FLAT, (queries, 1))
    found = epsilon(votes, 200, s1, s2, delta, answered=answered)
    assert found == pytest.approx(exact, rel=3e-4)  # five digits or fewer were published
    assert found == pytest.approx(
        exact_gaussian_epsilon(math.sqrt(queries / s1**2 + 2 * answered / s2**2), delta), abs=1e-8)
    # flat votes have nothing data-dependent: the looser conversion of the same costs
    by_renyi = epsilon(votes, 200, s1, s2, delta, answered=answered, data_dependent=True)
    assert by_renyi == pytest.approx(renyi, rel=3e-4)
    assert by_renyi > found


def test_without_selection_step():
    votes = np.tile(FLAT, (10000, 1))
    found = epsilon(votes, None, None, 175)
    assert found == pytest.approx(3.4262, abs=5e-5)
    assert found == epsilon(votes, None, 0, 175)  # a noise that is not used costs nothing
    assert epsilon(votes, None, None, 175, data_dependent=True) == pytest.approx(3.7083, abs=5e-5)
    assert found < epsilon(votes, 0, 175, 175)


def test_selection_is_paid_by_every_query_and_results_by_the_answered():
    votes = np.tile(FLAT, (500, 1))
    none = epsilon(votes, 100, 20, 5, answered=0)
    assert none == pytest.approx(exact_gaussian_epsilon(math.sqrt(500) / 20, DELTA), abs=1e-8)
    one = epsilon(votes, 100, 20, 5, answered=1)
    assert one == pytest.approx(exact_gaussian_epsilon(math.sqrt(500 / 400 + 2 / 25), DELTA),
                                abs=1e-8)
    mask = np.zeros(500, bool)
    mask[[3, 7]] = True
    assert epsilon(votes, 100, 20, 5, answered=mask) == epsilon(votes, 100, 20, 5, answered=2)
    assert epsilon(votes, 100, 20, 5) == epsilon(votes, 100, 20, 5, answered=500)
    assert epsilon(votes, 100, 20, 5, answered=torch.from_numpy(mask)) == epsilon(
        votes, 100, 20, 5, answered=mask.tolist())


@pytest.mark.parametrize("queries, answered, s1, s2", [(640, 286, 150.0, 40.0), (30, 4, 6.0, 9.0)])
def test_agrees_with_privacy_loss_distributions(queries, answered, s1, s2):
    import dp_accounting

    accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
    accountant.compose(dp_accounting.GaussianDpEvent(s1), queries)
    accountant.compose(dp_accounting.GaussianDpEvent(s2 / math.sqrt(2)), answered)
    for delta in (1e-5, 1e-3):
        found = epsilon(np.tile(FLAT, (queries, 1)), 30, s1, s2, delta, answered=answered)
        assert found == pytest.approx(accountant.get_epsilon(delta), abs=1e-3)


@checked
@given(queries=st.integers(1, 300), answered=st.integers(0, 299), s1=st.floats(0.5, 300),
       s2=st.floats(0.5, 300), delta=st.floats(1e-9, 0.1), data_dependent=st.booleans(),
       )  # fmt: skip
def test_more_queries_and_answers_cost_more_and_noise_costs_less(queries, answered, s1, s2, delta,
                                                                 data_dependent):
    answered = min(answered, queries)
    votes = np.tile(FLAT, (queries + 1, 1))
    options = {"delta": delta, "data_dependent": data_dependent}
    base = epsilon(votes[1:], 25, s1, s2, answered=answered, **options)
    assert epsilon(votes, 25, s1, s2, answered=answered, **options) >= base
    assert epsilon(votes, 25, s1, s2, answered=answered + 1, **options) >= base
    assert epsilon(votes[1:], 25, 1.1 * s1, 1.1 * s2, answered=answered, **options) <= base
    assert epsilon(votes[1:], 25, s1, s2, answered=answered,
                   **(options | {"delta": delta / 2})) >= base


def test_no_noise_is_no_guarantee():
    votes = [row(250), row(200, 50)]
    for options in ({}, {"data_dependent": True}):
        assert epsilon(votes, 100, 0, 40, **options) == math.inf
        assert epsilon(votes, 100, 150, 0, **options) == math.inf
        assert epsilon(votes, None, None, 0, **options) == math.inf
        # the selection was still made
        assert epsilon(votes, 100, 0, 0, answered=0, **options) == math.inf
        assert epsilon(votes, None, None, 0, answered=0, **options) == 0.0
        assert epsilon(np.zeros((0, 10)), 100, 0, 0, **options) == 0.0
        assert epsilon(votes, 100, math.inf, math.inf, **options) == 0.0
        assert math.isfinite(epsilon(votes, 100, 150, 0, answered=0, **options))


@pytest.mark.parametrize("tiny", [1e-3, 1e-160, 5e-324])
def test_next_to_no_noise_is_next_to_no_guarantee(tiny):
    votes = [row(250), row(200, 50)]
    assert epsilon(votes, 100, 150, tiny) > epsilon(votes, 100, 150, 1e-2) > 1e4
    assert epsilon(votes, 100, tiny, 40) > 1e5 and released(votes, 100, tiny, 40) > 1e5
    for data_dependent in (False, True):  # tied votes have no gap to be sure of
        assert epsilon([[25, 25]], 25, tiny, tiny, answered=1, data_dependent=data_dependent) > 1e5


# ---- data-dependent


@pytest.mark.parametrize(
    "counts, log_q, costs",
    [
        (row(250), -10.019228, (1.52736e-5, 2.33318e-5, 5.32132e-5, 0.00208327)),
        (row(240, 10), -9.094431, (3.65491e-5, 5.4447e-5, 1.171e-4, 0.00351613)),
        (row(200, 50), -5.179152, (0.00125, 0.00178944, 0.00290776, 0.0191905)),
        (FLAT, -0.105361, (0.00125, 0.00625, 0.0125, 0.03125)),
    ],
)
def test_gnmax_matches_the_reference(counts, log_q, costs):
    from lib.privacy.pate import _log_other_answer

    assert _log_other_answer(np.array([counts]), 40) == pytest.approx(log_q, abs=1e-6)
    found = gnmax_rdp([counts, counts[::-1]], 40, (2, 10, 20, 50))
    assert found.shape == (2, 4)
    assert found == pytest.approx(np.array([costs, costs]), rel=5e-6)
    assert gnmax_rdp(torch.tensor([counts]), 40, [2.0])[0, 0] == found[0, 0]


@pytest.mark.parametrize("threshold, noise", [(200, 150), (300, 200)])
@pytest.mark.parametrize("largest", [250, 240, 200, 180, 150, 25])
def test_unsure_selection_costs_what_any_selection_costs(threshold, noise, largest):
    votes = [row(largest), row(360)]  # the second query has the votes that the threshold asks for
    found = selection_rdp(votes, threshold, noise, (2, 10))[0]
    assert found == pytest.approx(np.array([2, 10]) / (2 * noise**2))


@pytest.mark.parametrize(
    "counts, threshold, noise, costs",
    [
        (row(240), 100, 20, (1.14614e-12, 4.44743e-12)),
        (row(60, 60, 60, 60), 200, 30, (5.76337e-7, 9.24373e-7)),
        (row(190, 10), 180, 100, (1e-4, 5e-4)),
    ],
)
def test_sure_selection_matches_the_reference(counts, threshold, noise, costs):
    assert selection_rdp([counts], threshold, noise, (2, 10))[0] == pytest.approx(
        np.array(costs), rel=5e-6)


SYNTHETIC = np.array([row(240, 10)] * 400 + [row(200, 50)] * 160 + [row(120, 80, 50)] * 80)


def test_synthetic_end_to_end():
    assert answer_probability(SYNTHETIC, 200, 150).sum() == pytest.approx(345.8070, abs=5e-5)
    assert epsilon(SYNTHETIC, 200, 150, 40, data_dependent=True) == pytest.approx(1.19139, abs=5e-6)
    assert epsilon(SYNTHETIC, None, None, 40, data_dependent=True) == pytest.approx(
        1.66728, abs=5e-6)
    shuffled = np.random.default_rng(1).permutation(SYNTHETIC)
    assert epsilon(shuffled, 200, 150, 40, data_dependent=True) == pytest.approx(1.19139, abs=5e-6)
    assert epsilon(SYNTHETIC, 200, 150, 40) > epsilon(SYNTHETIC, 200, 150, 40, data_dependent=True)


@pytest.mark.parametrize(
    "threshold, s1, s2, expected",
    [(150, 120, 50, (13.78, 13.41, 11.84)), (180, 100, 25, (4.729, 4.732, 9.491))],
)
def test_ten_thousand_queries_of_the_papers_settings(threshold, s1, s2, expected):
    for counts, value in zip((row(200), row(190, 10), row(150, 50)), expected):
        found = epsilon(np.tile(counts, (10000, 1)), threshold, s1, s2, data_dependent=True)
        assert found == pytest.approx(value, abs=5e-3 if value > 10 else 5e-4)


def test_realised_answers_are_charged_one_by_one():
    mask = np.zeros(640, bool)
    mask[:300] = True
    orders = np.array([2.0, 16.0])

    def cost(**options):
        return epsilon(SYNTHETIC, 200, 150, 40, data_dependent=True, **options)

    dear = cost(answered=~mask)
    assert cost(answered=mask) < dear < cost(answered=np.ones(640, bool))
    assert cost(answered=0) < cost(answered=mask)
    # a number does not say which: the dearest
    assert cost(answered=340) >= dear * (1 - 1e-12) and cost(answered=300) > cost(answered=mask)
    assert cost(answered=640) == pytest.approx(cost(answered=np.ones(640, bool)), rel=1e-12)
    assert cost(answered=np.ones(640, bool)) >= cost()
    assert np.all(gnmax_rdp(SYNTHETIC[:1], 40, orders) < gnmax_rdp(SYNTHETIC[-1:], 40, orders))


# ---- data-dependent costs against the divergences that they bound

GRID = np.linspace(-37, 37, 3001)  # even answers of probability 1e-100 keep their digits


def answers(votes, noise):
    """Exact distribution [classes] of GNMax, by integration over the winner's own noise."""
    density = stats.norm.pdf(GRID) * (GRID[1] - GRID[0])
    rivals = [np.delete(np.asarray(votes), label) for label in range(len(votes))]
    return np.array([
        density @ stats.norm.cdf(GRID[:, None] + (count - others) / noise).prod(axis=1)
        for count, others in zip(votes, rivals)
    ])


def decision(votes, threshold, noise, as_released):
    """Exact probabilities of answering and of silence."""
    if as_released:
        log_silent = stats.norm.logcdf((threshold - np.array(votes)) / noise).sum()
        return np.array([-np.expm1(log_silent), np.exp(log_silent)])
    return stats.norm.cdf(np.array([1, -1]) * (max(votes) - threshold) / noise)


def neighbours(votes):
    """All votes after one teacher changed its mind."""
    for source, sink in itertools.permutations(range(len(votes)), 2):
        if votes[source]:
            moved = list(votes)
            moved[source] -= 1
            moved[sink] += 1
            yield moved


def renyi(upper, lower, order):
    """The likeliest outcome by way of all others, so that divergences of 1e-25 keep their digits.
    """
    likeliest = np.argmax(upper)
    upper, lower = np.delete(upper, likeliest), np.delete(lower, likeliest)
    likely = order * np.log1p(-upper.sum()) + (1 - order) * np.log1p(-lower.sum())
    others = np.exp(order * np.log(upper) + (1 - order) * np.log(lower)).sum()
    return np.log1p(np.expm1(likely) + others) / (order - 1)


ORDERS = (1.05, 1.5, 2.0, 4.0, 8.0, 16.0)


@pytest.mark.parametrize("votes", [(20, 3, 2), (30, 0, 0), (14, 9), (12, 1, 1, 1), (25, 0),
                                   (7, 7, 6)])
@pytest.mark.parametrize("noise", [2.0, 3.0, 5.0])
def test_gnmax_cost_covers_the_exact_divergence(votes, noise):
    found = gnmax_rdp([votes], noise, ORDERS)[0]
    here = answers(votes, noise)
    assert here.sum() == pytest.approx(1, abs=1e-12)
    for moved in neighbours(votes):
        there = answers(moved, noise)
        assert there.sum() == pytest.approx(1, abs=1e-12)
        for order, bound in zip(ORDERS, found):
            assert renyi(here, there, order) <= bound * (1 + 1e-9)
    assert np.all(found <= np.array(ORDERS) / noise**2 * (1 + 1e-12))


def test_exact_divergences_test_the_theorem_and_not_only_its_fallback():
    cases = [gnmax_rdp([(25, 0)], 5.0, ORDERS), gnmax_rdp([(20, 3, 2)], 3.0, ORDERS)]
    assert [
        np.sum(cost[0] < 0.9 * np.array(ORDERS) / noise**2) for cost, noise in zip(cases, (5, 3))
    ] == [5, 5]


def test_data_dependent_costs_hold_one_way_only():
    """Why they are no guarantee: seen from the neighbour the same pair can be further apart."""
    votes, noise, order = (17, 0), 1.5, 4.0
    here, bound = answers(votes, noise), gnmax_rdp([votes], noise, [order])[0, 0]
    there = answers((16, 1), noise)
    assert 40 * renyi(here, there, order) < 40 * bound < renyi(there, here,
                                                               order) <= order / noise**2


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("votes, threshold", [((20, 3, 2), 10), ((8, 9, 8), 16), ((25, 0, 0), 14),
                                              ((13, 12, 0), 13)])
@pytest.mark.parametrize("noise", [1.0, 2.0, 4.0])
def test_selection_cost_covers_the_exact_divergence(votes, threshold, noise, as_released):
    found = selection_rdp([votes], threshold, noise, ORDERS, as_released=as_released)[0]
    here = decision(votes, threshold, noise, as_released)
    for moved in neighbours(votes):
        there = decision(moved, threshold, noise, as_released)
        for order, bound in zip(ORDERS, found):
            assert renyi(here, there, order) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("votes", [(20, 20, 20, 20), (35, 20, 20, 5), (80, 0, 0, 0),
                                   (43, 37, 0, 0)])
def test_selection_takes_the_unlikely_decisions_probability(votes, as_released):
    from lib.privacy.pate import _log_other_decision

    for threshold, noise in ((10, 3.0), (30, 8.0), (50, 5.0), (79, 2.0)):
        found = _log_other_decision(np.array([votes]), threshold, noise, as_released)[0]
        exact = math.log(decision(votes, threshold, noise, as_released).min())
        slack = math.log(2) if as_released else 1e-9  # a union bound where an answer is unlikely
        assert exact - 1e-9 <= found <= exact + slack


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("delta", [1e-2, 1e-4])
def test_promise_covers_whole_transcripts(as_released, delta):
    """Both directions, every neighbour: two queries, each answered by a class or not at all."""
    threshold, s1, s2 = 6, 2.0, 3.0

    def transcript(votes):
        answer, silence = decision(votes, threshold, s1, as_released)
        one = np.append(answer * answers(votes, s2), silence)
        return np.outer(one, one).ravel()

    def used(upper, lower):
        return np.clip(upper - math.exp(promised) * lower, 0, None).sum()

    for votes in ((6, 2, 1), (3, 3, 3), (9, 0, 0), (5, 4, 0)):
        function = released_pate_epsilon if as_released else pate_epsilon
        promised = function([votes, votes], threshold=threshold, selection_noise=s1,
                            result_noise=s2, delta=delta)
        for moved in neighbours(votes):
            here, there = transcript(votes), transcript(moved)
            assert used(here, there) <= delta and used(there, here) <= delta


def theorem_6(log_q, noise, order):
    """In 80 digits, from the paper's own terms; None where it does not apply."""
    with mpmath.workdps(80):
        log_q, noise, order = mpmath.mpf(float(log_q)), mpmath.mpf(noise), mpmath.mpf(order)
        q, mu_2 = mpmath.exp(log_q), noise * mpmath.sqrt(-log_q)
        mu_1 = mu_2 + 1
        e_1, e_2 = mu_1 / noise**2, mu_2 / noise**2
        limit = mpmath.exp(
            (mu_2 - 1) * e_2) / (mu_1 / (mu_1 - 1) * mu_2 / (mu_2 - 1))**mu_2 if mu_2 > 1 else 0
        if not (order < mu_1 and q <= limit and q * mpmath.exp(e_2) < 1):
            return None
        a = (1 - q) / (1 - (q * mpmath.exp(e_2)) ** ((mu_2 - 1) / mu_2))
        b = mpmath.exp(e_1) / q ** (1 / (mu_1 - 1))
        bound = mpmath.log((1 - q) * a ** (order - 1) + q * b ** (order - 1)) / (order - 1)
        return min(bound, order / noise**2)


@pytest.mark.parametrize("noise", [2.0, 40.0, 1e3, 1e5, 1e7])
@pytest.mark.parametrize("log_q", [-1.2, -3.0, -30.0, -700.0, -2000.0])
def test_rounding_never_lowers_a_cost(noise, log_q):
    """Where the terms cancel (much noise) and where q leaves the range of floats."""
    from lib.privacy.pate import _likely_rdp

    orders = (1.02, 2.0, 16.5, 450.0)
    for order, found in zip(orders, _likely_rdp(np.array([log_q]), noise, np.array(orders))[0]):
        exact = theorem_6(log_q, noise, order)
        exact = order / noise**2 if exact is None else exact
        assert float(exact) * (
            1 - 1e-13) <= found <= float(exact) * (1 + 1e-9) + 1e-11 * math.exp(log_q / 4)


def test_far_gaps_and_odd_shapes_stay_finite_and_sound():
    far = gnmax_rdp([row(10**6), row(10**6 - 1, 1)], 5.0, (2, 100))
    assert np.all(far >= 0) and np.all(far < 1e-100)
    assert np.all(gnmax_rdp([row(250)], 1e-200, (2, 3)) == np.inf)
    assert np.all(gnmax_rdp([row(250)], 0, (2, 3)) == np.inf)
    # one class: the bound that always holds
    assert gnmax_rdp([[7], [9]], 2.0, (2,)).tolist() == [[0.5], [0.5]]
    assert gnmax_rdp([[0, 0]], 2.0, (2,)).tolist() == [[0.5]]
    assert gnmax_rdp(np.zeros((0, 10)), 40, (2, 3)).shape == (0, 2)
    assert epsilon([row(250)] * 3, 100, 1e-3, 1e-3, data_dependent=True) < 1e-9 < 1e5 < epsilon(
        [row(250)] * 3, 100, 1e-3, 1e-3)


@checked
@given(votes=st.lists(st.integers(0, 40), min_size=2, max_size=5), noise=st.floats(0.3, 60),
       order=st.floats(1.01, 300))
def test_costs_lie_between_zero_and_the_data_independent_one(votes, noise, order):
    found = gnmax_rdp([votes, votes[::-1]], noise, [order])
    assert 0 <= found[0, 0] <= order / noise**2 * (1 + 1e-12)
    assert found[0, 0] == pytest.approx(found[1, 0], rel=1e-9)  # no class is special
    raised = list(votes)
    raised[int(np.argmax(votes))] += 5
    assert gnmax_rdp([raised], noise, [order])[0, 0] <= found[0, 0] * (1 + 1e-9)
    for as_released, sensitivity in ((False, 1), (True, 2)):
        cost = selection_rdp([votes],
                             sum(votes) // 2, noise, [order], as_released=as_released)[0, 0]
        assert 0 <= cost <= order * sensitivity / (2 * noise**2) * (1 + 1e-12)


# ---- answering, and the selection as released


@pytest.mark.parametrize(
    "threshold, noise, expected",
    [
        (200, 150, (0.630559, 0.605137, 0.5, 0.446965, 0.369441, 0.121673)),
        (300, 200, (0.401294, 0.382089, 0.308538, 0.274253, 0.226627, 0.084566)),
    ],
)
def test_answer_probability_matches_the_reference(threshold, noise, expected):
    most = [row(250), row(240), row(200), row(180), row(150), FLAT, row(0, 0, 0)]
    votes = np.array(most + [row(300)])
    found = answer_probability(votes, threshold, noise)
    assert found.shape == (8,)
    assert found[:6] == pytest.approx(expected, abs=6e-7)


def test_noise_on_every_count_answers_where_nobody_agrees():
    even = [[20] * 10]  # 200 teachers; the MNIST setting of Razmi et al.
    assert answer_probability(even, 150, 120)[0] == pytest.approx(0.14, abs=5e-3)
    assert answer_probability(even, 150, 120, as_released=True)[0] == pytest.approx(0.78, abs=5e-3)
    # their CIFAR-10 setting
    assert answer_probability(even, 180, 100)[0] == pytest.approx(0.0548, abs=5e-5)
    assert answer_probability(even, 180, 100, as_released=True)[0] == pytest.approx(
        0.4308, abs=5e-5)


@pytest.mark.parametrize("votes", [(120, 50, 30), (70, 70, 60), (200, 0, 0)])
def test_answer_probability_against_simulation(votes):
    draws = np.random.default_rng(2).normal(0, 60, (200_000, 3))
    for as_released, noisy in ((False, max(votes) + draws[:, 0]),
                               (True, (np.array(votes) + draws).max(axis=1))):
        found = answer_probability(torch.tensor([votes]), 130, 60, as_released=as_released)
        assert found[0] == pytest.approx(np.mean(noisy > 130), abs=4e-3)


def test_answers_without_noise_and_without_threshold():
    votes = [row(150, 50), row(149, 51), row(151, 49)]
    for as_released in (False, True):
        assert answer_probability(votes, 150, 0, as_released=as_released).tolist() == [1, 0, 1]
    assert answer_probability(votes, None, 0).tolist() == [1, 1, 1]
    assert answer_probability(votes, 150, math.inf).tolist() == [0.5] * 3
    # tiny probabilities keep their digits
    unlikely = answer_probability(votes, 200, 5, as_released=True)
    assert unlikely[0] == pytest.approx(stats.norm.sf(10), rel=1e-9)


def released(votes, threshold, selection_noise, result_noise, **options):
    setting = {
        "threshold": threshold, "selection_noise": selection_noise, "result_noise": result_noise,
        "delta": DELTA
    }
    return released_pate_epsilon(votes, **setting, **options)


def test_released_selection_costs_twice_as_much():
    votes = np.tile(row(150, 50), (300, 1))
    exact = exact_gaussian_epsilon(math.sqrt(2 * 300 / 120**2 + 2 * 40 / 50**2), DELTA)
    assert released(votes, 150, 120, 50, answered=40) == pytest.approx(exact, abs=1e-8)
    assert epsilon(votes, 150, released_selection_noise(120), 50, answered=40) == pytest.approx(
        exact, abs=1e-8)
    assert released(votes, None, None, 50) == epsilon(votes, None, None, 50)
    assert released(votes, 150, 0, 50) == math.inf
    mask = np.arange(300) < 40
    dependent = released(votes, 150, 120, 50, answered=mask, data_dependent=True)
    assert dependent > epsilon(votes, 150, 120, 50, answered=mask, data_dependent=True)
    # flat votes answer more often as released: the expected cost rises by that too
    flat = np.tile([20] * 10, (300, 1))
    expected = released(flat, 150, 120, 50, data_dependent=True)
    share = answer_probability(flat, 150, 120, as_released=True)[0]
    fewer = released(flat, 150, 120, 50, answered=math.floor(300 * share), data_dependent=True)
    assert fewer < expected < released(flat, 150, 120, 50, answered=math.ceil(300 * share),
                                       data_dependent=True)
    with pytest.raises(ValueError, match="selection_noise is -1"):
        released_selection_noise(-1)


# ---- input


@pytest.mark.parametrize(
    "change, words",
    [
        ({"votes": [1, 2, 3]}, r"votes has shape \[3\]"),
        ({"votes": [[]]}, r"votes has shape \[1, 0\]"),
        ({"votes": [[1, 2], [3]]}, "votes is a list"),
        ({"votes": "many"}, "votes "),
        ({"votes": [[250, -1]]}, "votes holds -1 .row 0, class 1"),
        ({"votes": [[250, 0], [249.5, 0.5]]}, "votes holds 249.5 .row 1, class 0"),
        ({"votes": [[math.nan, 1]]}, "votes holds nan"),
        ({"threshold": 251}, "threshold is 251: expected at most .* 250"),
        ({"threshold": -1}, "threshold is -1"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"selection_noise": -150}, "selection_noise is -150"),
        ({"selection_noise": None}, "selection_noise is None"),
        ({"selection_noise": math.nan}, "selection_noise is nan"),
        ({"result_noise": -0.1}, "result_noise is -0.1"),
        ({"result_noise": "40"}, "result_noise is '40'"),
        ({"delta": 0}, "delta is 0"),
        ({"delta": 1}, "delta is 1"),
        ({"delta": -1e-5}, "delta is -1e-05"),
        ({"answered": 3}, "answered is 3: .* 2"),
        ({"answered": -1}, "answered is -1"),
        ({"answered": 1.5}, "answered is 1.5"),
        ({"answered": True}, "answered is True"),
        ({"answered": [True]}, r"answered has shape \[1\]"),
        ({"answered": [0, 1]}, "int64: expected a mask of 2 booleans"),
    ],
)
def test_bad_input_names_the_value(change, words):
    setting = {
        "votes": [row(250), row(200, 50)], "threshold": 200, "selection_noise": 150,
        "result_noise": 40, "delta": DELTA
    }
    for function in (pate_epsilon, released_pate_epsilon):
        for data_dependent in (False, True):
            arguments = setting | {"data_dependent": data_dependent} | change
            with pytest.raises(ValueError, match=words):
                function(arguments.pop("votes"), **arguments)


@pytest.mark.parametrize("orders", [[1.0], [0.5, 2], [math.inf], [[2.0]], [math.nan]])
def test_orders_must_be_above_one(orders):
    with pytest.raises(ValueError, match="orders is"):
        gnmax_rdp([row(250)], 40, orders)
    with pytest.raises(ValueError, match="orders is"):
        selection_rdp([row(250)], 200, 150, orders)


def test_signatures_stand():
    keywords = (
        "(votes, *, threshold, selection_noise, result_noise, delta, answered=None,"
        " data_dependent=False)"
    )
    assert untyped(pate_epsilon) == keywords
    assert untyped(gnmax_rdp) == "(votes, result_noise, orders)"
    assert untyped(
        answer_probability) == "(votes, threshold, selection_noise, *, as_released=False)"
    assert untyped(certificate) == "(votes)"


# ---- the certificate


@pytest.mark.parametrize("total, classes", [(1, 2), (6, 2), (7, 2), (5, 3), (6, 3), (5, 4), (4, 5)])
def test_certificate_against_every_reallocation(total, classes):
    """All vote vectors, and between any two the number of votes that differ."""
    vectors = [v for v in itertools.product(range(total + 1), repeat=classes) if sum(v) == total]
    winners = [max(range(classes), key=lambda label: (v[label], -label)) for v in vectors]
    votes, winners = np.array(vectors), np.array(winners)
    moves = np.maximum(votes[:, None] - votes[None], 0).sum(axis=2)
    flips = np.where(winners[:, None] != winners[None], moves, total + 1)
    prediction, radius = certificate(votes)
    assert np.array_equal(prediction, winners)
    assert np.array_equal(radius, flips.min(axis=1) - 1)


def test_certificate_values():
    prediction, radius = certificate([[200, 0, 0], [0, 0, 200], [100, 100, 0], [0, 101, 99],
                                      [99, 101, 0], [10, 7, 8], [0, 0, 0]])
    assert prediction.tolist() == [0, 2, 0, 1, 1, 0, 0]
    assert radius.tolist() == [100, 99, 0, 1, 0, 1, 0]
    prediction, radius = certificate([[5], [0]])  # a single class has no rival
    assert prediction.tolist() == [0, 0] and radius.tolist() == [5, 0]
    assert [len(part) for part in certificate(np.zeros((0, 3)))] == [0, 0]


def test_certificate_of_inserted_and_deleted_samples():
    """A hash partition of numbers, models that answer with their most frequent label: no edit
    inside the radius flips.
    """
    parts, universe = 4, [(key, label) for key in range(8) for label in (0, 1)]

    def vote(samples):
        held = [[label for key, label in samples if key % parts == part] for part in range(parts)]
        ballots = [int(2 * sum(labels) > len(labels)) for labels in held]
        return [[parts - sum(ballots), sum(ballots)]]

    random = np.random.default_rng(3)
    broken = 0
    for _ in range(25):
        present = {sample for sample in universe if random.random() < 0.5}
        prediction, radius = (int(part[0]) for part in certificate(vote(present)))
        for edits in (1, 2):
            found = [
                int(certificate(vote(present ^ set(edit)))[0][0])
                for edit in itertools.combinations(universe, edits)
            ]
            if edits <= radius:
                assert set(found) == {prediction}
            else:
                broken += set(found) != {prediction}
    assert broken > 10  # and beyond the radius they do


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.float32])
def test_certificate_keeps_the_kind_of_its_input(kind):
    votes = [[3, 200, 40], [100, 0, 100]]
    prediction, radius = certificate(torch.tensor(votes, dtype=kind))
    assert isinstance(prediction, torch.Tensor) and prediction.dtype == radius.dtype == torch.int64
    assert prediction.tolist() == [1, 0] and radius.tolist() == [80, 0]
    arrays = certificate(np.array(votes, dtype=np.uint8))  # unsigned differences must not wrap
    assert all(isinstance(part, np.ndarray) and part.dtype == np.int64 for part in arrays)
    assert arrays[0].tolist() == [1, 0] and arrays[1].tolist() == [80, 0]
    with pytest.raises(ValueError, match=r"votes has shape \[3\]: expected \[samples, classes\]"):
        certificate([1, 2, 3])
    with pytest.raises(ValueError, match="votes holds -3"):
        certificate(torch.tensor([[4, -3]]))
