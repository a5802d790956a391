"""Accounting against published values, exact formulas, other accountants and brute force."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats
from signatures import untyped

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
from lib.privacy import dpsgd as account
from lib.privacy.mixture import INTERVAL, fine_interval, group_loss, loss_spread, rounding

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
    (20.0, 0.01, 1000, 0.0454, 0.1108, None),  # 0.0456 at an interval of 1e-4
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
    # PRV's upper value is above the truth by its own error, 0.01
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
    """Nearly full batches take the PLD path; sampling at 0.999999 hides next to nothing."""
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
    assert untyped(dpsgd_epsilon) == (
        "(noise_multiplier, sample_rate, steps, delta, *, adjacency='add-remove', accountant='pld')"
    )
    assert untyped(dpsgd_attack_success_cap) == (
        "(clean_rate, noise_multiplier, sample_rate, steps, k, *, adjacency='add-remove')"
    )


# ---- narrow losses, tiny deltas, extreme inputs


def exact_delta(z, q, steps, epsilon, above, below):
    """delta(epsilon) of composed mixtures, by inversion of the moment generating function.

    delta = E[(1 - e^(epsilon - L))+] is the integral of E[e^(s (L - epsilon))] / (s (s + 1))
    / (2 pi i) along Re s = c > 0; at the saddle point even tiny values keep their digits.
    """
    x = np.linspace(-14 * z - below, 14 * z + above, 1001)
    up, down = np.arange(above + 1), np.arange(below + 1)

    def tilt(counts, sign):
        weights = stats.binom.pmf(counts, len(counts) - 1, q)
        grown = np.expm1((sign * x[:, None] - counts / 2) * counts / z**2)
        return np.log1p(grown @ weights)  # the weights sum to 1

    loss = tilt(up, 1) - tilt(down, -1)
    log_mass = stats.norm.logpdf(x, 0, z) + math.log(x[1] - x[0]) + tilt(up, 1)

    def height(log_s):
        s = math.exp(log_s)
        moment = special.logsumexp(log_mass + s * loss)
        return steps * moment - s * epsilon - math.log(s * (1 + s))

    c = math.exp(optimize.minimize_scalar(height, bounds=(-15, 35), method="bounded").x)
    mass = log_mass + c * loss
    moment = special.logsumexp(mass)
    mass = np.exp(mass - moment)
    mean = mass @ loss
    scale = math.sqrt(steps * (mass @ (loss - mean) ** 2) + c**-2)
    bulk = math.sqrt(steps) * q * min((above + below) / z, 1.0)
    end = max(14 / scale, min(14 / bulk, 4000 / scale))
    t = np.linspace(0, end, 1 + min(6000, max(600, math.ceil(20 * end * scale))))
    waves = [np.exp(1j * np.outer(some, loss - mean)) @ mass for some in np.array_split(t, 20)]
    turned = np.exp(steps * np.log(np.concatenate(waves)) + 1j * t * (steps * mean - epsilon))
    s = c + 1j * t
    area = integrate.trapezoid((turned / (s * (s + 1))).real, t) / math.pi
    return math.exp(steps * moment - c * epsilon) * area


def assert_tight(epsilon, z, q, steps, delta, sides, slack):
    """`epsilon` is an upper bound, and one smaller by `slack` is none."""
    largest = max(exact_delta(z, q, steps, epsilon, *side) for side in sides)
    assert largest <= delta * (1 + 1e-6)
    assert max(exact_delta(z, q, steps, epsilon * (1 - slack), *side) for side in sides) > delta


SIDES = {"add-remove": ((1, 0), (0, 1)), "replace-one": ((1, 1),)}
NARROW = [
    (15.5, 1e-4, 10_000, 1e-7),
    (545.0, 0.01, 1000, 1e-5),
    (20.0, 0.01, 1000, 1e-5),
    (2.0, 1e-4, 1000, 1e-5),
    (1e4, 0.5, 100, 1e-5),
    (10.0, 0.01, 100_000, 1e-4),
    (8.0, 0.0128, 3906, 1e-5),
]


def test_the_oracle_is_exact_for_the_gaussian_mechanism():
    for z, steps, epsilon in ((5.0, 100, 9.9973), (20.0, 1000, 3.0), (1.0, 1, 4.377178)):
        expected = exact_gaussian_delta(math.sqrt(steps) / z, epsilon)
        found = exact_delta(z, 1 - 1e-12, steps, epsilon, 1, 0)
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("adjacency", SIDES)
@pytest.mark.parametrize("z, q, steps, delta", NARROW)
def test_small_epsilons_are_tight_upper_bounds(z, q, steps, delta, adjacency):
    found = dpsgd_epsilon(z, q, steps, delta, adjacency=adjacency)
    assert_tight(found, z, q, steps, delta, SIDES[adjacency], 1e-3)


@pytest.mark.parametrize("adjacency", SIDES)
@pytest.mark.parametrize(
    "z, q, steps, slack",
    [(4.0, 0.01, 10_000, 0.05), (30.0, 0.001, 10**6, 0.08), (20.0, 0.01, 1000, 0.02)],
)
def test_rounding_never_makes_a_tiny_delta_cheaper(z, q, steps, slack, adjacency):
    """Composed by floats alone, a million steps lose or invent 6e-11 of delta."""
    found = dpsgd_epsilon(z, q, steps, 1e-12, adjacency=adjacency)
    assert_tight(found, z, q, steps, 1e-12, SIDES[adjacency], slack)


def test_rounding_is_charged_where_it_counts():
    assert rounding(10_000, 1e-5) == 0.0
    assert 1e-10 < rounding(10**6, 1e-8) < 1e-9


@pytest.mark.parametrize("k, both", [(1, True), (5, False), (5, True)])
def test_caps_of_narrow_losses_are_tight_upper_bounds(k, both):
    z, q, steps, delta = 60.0, 1e-3, 3000, 1e-6
    sides = ((k, k),) if both else ((k, 0), (0, k))
    losses = [group_loss(z, q, steps, *side) for side in sides]
    epsilon = max(loss.get_epsilon_for_delta(delta) for loss in losses)
    assert_tight(epsilon, z, q, steps, delta, sides, 1.5e-3)


@settings(checked, max_examples=6)
@given(z=st.floats(1, 500), q=st.floats(1e-6, 1e-2), steps=st.integers(1, 20_000))
def test_a_finer_interval_never_costs_more(z, q, steps):
    found = dpsgd_epsilon(z, q, steps, DELTA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account, "_interval", lambda *_: INTERVAL)
        assert found <= account._pld_epsilon(z, q, steps, DELTA, "add-remove") * (1 + 1e-6)


def test_the_interval_is_halved_within_its_limits():
    def interval(z, q, steps, width=1.0, grid=10**9):
        return fine_interval(*loss_spread(z, q, 1), width, steps, grid=grid)

    assert interval(8.0, 0.0128, 1) == INTERVAL  # the narrowest loss of the published rows
    for z, q in ((20.0, 0.01), (100.0, 0.01), (15.0, 1e-3)):
        found = interval(z, q, 1)
        assert 10 <= q / z / found <= 20
        assert math.log2(INTERVAL / found).is_integer()
    assert interval(1000.0, 0.001, 1, grid=10_000) == INTERVAL  # 10,000 points of 1e-4 are 1
    assert interval(1000.0, 0.001, 10**6) > interval(1000.0, 0.001, 1)


def published():
    """(z, q, steps, delta, adjacency, epsilon) of the rows that were accounted by PLD; of the last
    stage where there are two, whose sum is no single mechanism's."""
    folder = Path(__file__).parents[1] / "notebooks" / "results"
    lines = [line for file in folder.glob("*.jsonl") for line in file.open(encoding="utf-8")]
    rows = [json.loads(line)["privacy"] for line in lines]
    rows = [row.get("given_start") or row for row in rows]
    rows = [row for row in rows if row["accountant"] == "pld"]
    names = ("noise_multiplier", "sample_rate", "steps", "delta", "adjacency", "epsilon")
    return sorted({tuple(row[name] for name in names) for row in rows})


def test_published_epsilons_stand():
    rows = published()
    assert len(rows) >= 32
    for z, q, steps, delta, adjacency, _ in rows:
        # With less noise the grid would not fit, see `dpsgd_epsilon`.
        assert account._interval(z, q, steps, adjacency) == INTERVAL or z < 0.35
        assert rounding(steps, delta) == 0.0
    for z, q, steps, delta, adjacency, epsilon in (*rows[::12], min(rows, key=lambda row: row[-1])):
        found = dpsgd_epsilon(z, q, steps, delta, adjacency=adjacency)
        assert found == pytest.approx(epsilon, rel=2e-6)  # rows hold seven digits


adjacencies = st.sampled_from(list(SIDES))


@settings(checked, max_examples=4)
@given(
    z=st.floats(2, 300), log_q=st.floats(-6, -1.5), steps=st.integers(1, 5000),
    log_delta=st.floats(-9, -3), factor=st.floats(1.01, 3), adjacency=adjacencies,
)  # fmt: skip
def test_epsilon_is_monotone(z, log_q, steps, log_delta, factor, adjacency):
    q, delta = 10.0**log_q, 10.0**log_delta
    base = dpsgd_epsilon(z, q, steps, delta, adjacency=adjacency)
    more = base * (1 + 1e-6) + 1e-12
    assert dpsgd_epsilon(z * factor, q, steps, delta, adjacency=adjacency) <= more
    assert dpsgd_epsilon(z, q / factor, steps, delta, adjacency=adjacency) <= more
    assert dpsgd_epsilon(z, q, max(1, int(steps / factor)), delta, adjacency=adjacency) <= more
    assert dpsgd_epsilon(z, q, steps, delta * factor, adjacency=adjacency) <= more


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


@settings(checked, max_examples=4)
@given(
    log_epsilon=st.floats(-3, 0.5), log_q=st.floats(-8, 0), log_steps=st.floats(0, 5),
    log_delta=st.floats(-10, -0.31), adjacency=adjacencies,
)  # fmt: skip
def test_calibration_answers_or_refuses(log_epsilon, log_q, log_steps, log_delta, adjacency):
    setting = (10.0**log_q, round(10.0**log_steps), 10.0**log_delta)
    epsilon = 10.0**log_epsilon
    chance = -math.expm1(setting[1] * math.log1p(-setting[0])) if setting[0] < 1 else 1.0
    if setting[2] >= chance:
        with pytest.raises(ValueError, match="chance"):
            dpsgd_noise_multiplier(epsilon, *setting, adjacency=adjacency)
    else:
        z = dpsgd_noise_multiplier(epsilon, *setting, adjacency=adjacency)
        assert epsilon - 1e-3 <= dpsgd_epsilon(z, *setting, adjacency=adjacency) <= epsilon


@pytest.mark.parametrize("q, steps, delta", [(1e-6, 5, 1e-5), (1e-5, 1, 1e-5), (0.1, 1, 0.5)])
def test_a_delta_above_the_chance_of_use_is_refused(q, steps, delta):
    for adjacency in SIDES:
        with pytest.raises(ValueError, match="smaller delta"):
            dpsgd_noise_multiplier(1.0, q, steps, delta, adjacency=adjacency)
        assert dpsgd_epsilon(0.1, q, steps, delta, adjacency=adjacency) == 0.0


def test_a_delta_just_below_the_chance_of_use_is_answered():
    z = dpsgd_noise_multiplier(1.0, 1e-5, 1, 0.999e-5)
    assert 1.0 - 1e-3 <= dpsgd_epsilon(z, 1e-5, 1, 0.999e-5) <= 1.0


def test_small_epsilons_need_less_noise_than_a_coarse_grid_asks_for():
    assert dpsgd_noise_multiplier(0.001, 0.01, 1000, DELTA) == pytest.approx(545, rel=0.01)


def test_a_value_that_jumps_over_the_target_is_answered_from_above():
    def jump(z):
        return 0.2 if z > 3.3 else 5.0

    setting = {"low": 0.99, "high": 1.0, "most": 1e7}
    found = account._search(jump, 0.01, trials=60, **setting)
    assert 3.3 < found < 3.3 * (1 + 1e-5)
    assert account._search(lambda z: 5.0, 0.01, trials=60, **setting) is None


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


@pytest.mark.parametrize("epsilon, k, expected", [(0.1, 10, 1.634e-4), (0.1, 50, 0.01402),
                                                  (0.5, 10, 0.002272), (1, 5, 8.579e-4),
                                                  (1, 10, 0.1282)],
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
    # what is left keeps its share
    assert attack_success_cap(0.9, 1.0, 0.02, 1) == pytest.approx(1 - math.exp(-1) * (0.1 - 0.02))


@pytest.mark.parametrize("epsilon, largest", [(0.1, 39), (0.25, 15), (0.5, 7), (1, 3), (2, 1)])
def test_largest_group_that_a_pure_guarantee_holds_back(epsilon, largest):
    assert attack_success_cap(0.01, epsilon, 0, largest) < 0.5
    # only the plain product passes 0.5 at the next one: the complement form may hold it back
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
    for bad in ((-0.1, 1, 0, 1), (1.1, 1, 0, 1), (0.1, -1, 0, 1), (0.1, 1, -1, 1), (0.1, 1, 0,
                                                                                    0.5)):
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


@pytest.mark.parametrize("z, q, steps, k", [(5.6, 1 / 98, 500, 4), (0.5, 0.3, 10, 3),
                                            (0.3, 0.9, 3, 4)])
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
    for change in ((-0.1, 1, 0.1, 1, 1), (0.1, -1, 0.1, 1, 1), (0.1, 1, 0, 1, 1), (0.1, 1, 0.1, 1,
                                                                                   1.5)):
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
    high = mean_interval(pd.Series(clean), bounds=(0, 1)).high
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
    line = epsilon_table([2.0], n=9000, batch_size=100, epochs=2.0, tuning_runs=3, poisons=(1, 4),
                         clean_rate=0.02).iloc[0]
    assert line["add-remove"] == dpsgd_epsilon(2.0, 1 / 90, 180, DELTA)
    assert line["replace-one"] == dpsgd_epsilon(2.0, 1 / 90, 180, DELTA, **REPLACE)
    assert line["shuffled"] == shuffled_epsilon(2.0, 2, DELTA)
    # the run and three more
    assert line["tuning included"] == dpsgd_epsilon(2.0, 100 / 8100, 4 * 180, DELTA)
    for k in (1, 4):
        # an image changed in place is a removal and an insertion
        one_way, both = (dpsgd_attack_success_cap(0.02, 2.0, 1 / 90, 180, k, **how)
                         for how in ({}, REPLACE))
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


@pytest.mark.filterwarnings("ignore:overflow")
def test_large_epsilons_fall_with_the_noise_where_the_composition_overflows():
    found = [dpsgd_epsilon(z, 100 / 2505, 2505, 1e-5) for z in (0.24, 0.25, 0.26)]
    assert found[0] > found[1] > found[2] > 100


@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_steps_that_share_a_distribution_are_composed_as_by_the_accountant(adjacency):
    import dp_accounting

    relation = dp_accounting.NeighboringRelation
    for steps in (1, 40, 300, 40):  # intervals differ, so the kept distributions must too
        interval = account._interval(1.0, 0.01, steps, adjacency)
        accountant = dp_accounting.pld.PLDAccountant(
            relation.ADD_OR_REMOVE_ONE if adjacency == "add-remove" else relation.REPLACE_ONE,
            interval)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(
            0.01, dp_accounting.GaussianDpEvent(1.0)), steps)
        assert account._composed_epsilon(1.0, 0.01, steps, 1e-5, adjacency) == (
            accountant.get_epsilon(1e-5))
