"""Epsilon of mixed images with Laplace noise: against exact inversion, simulation, closed forms."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from lib.privacy import drawn_epsilon, instahide_epsilon, mixup_epsilon
from lib.privacy.laplace_mixing import laplace_delta, occupancies
from lib.training.transforms import build

DELTA = 1e-5
ALONE = {"label_scale": math.inf}
checked = settings(deadline=None, database=None, derandomize=True, max_examples=10)


def mixed(width, distance, epochs, *, n=5000, batch_size=128, delta=DELTA):
    return mixup_epsilon(width, 1.0, epochs, delta, n=n, batch_size=batch_size, diameter=distance,
                         **ALONE)


# ---- the slow oracle: delta by inverting the moment generating function of the loss

def exact_delta(log_moment, epsilon):
    """E[(1 - e^(eps - L))+] = 1/(2 pi i) int M(s) e^(-s eps) / (s (s + 1)) ds, on a line s > 0."""
    def on_the_axis(logarithm):
        s = math.exp(logarithm)
        return log_moment(np.array([s + 0j]))[0].real - s * epsilon - logarithm - math.log1p(s)

    at = math.exp(optimize.minimize_scalar(on_the_axis, bounds=(-8, 3), method="bounded").x)
    step = at / 40
    s = at + 1j * step * np.arange(0.5, 100_000)
    return float((np.exp(log_moment(s) - s * epsilon) / (s * (s + 1))).real.sum() * step / math.pi)


def laplace_moment(s, distance):
    """E[e^(s L)] of Laplace distributions of scale 1 at a distance, L between plus and minus it."""
    middle = (np.exp(s * distance) - np.exp(-(1 + s) * distance)) / (1 + 2 * s)
    return (np.exp(s * distance) + np.exp(-(1 + s) * distance) + middle) / 2


def drawn_moment(rate, distance, draws, *, removed):
    nodes, weights = np.polynomial.legendre.leggauss(80)
    x = (nodes + 1) / 2 * distance
    mass = np.concatenate([[math.exp(-distance) / 2, 0.5], weights * distance / 4 * np.exp(-x)])
    loss = np.log1p(rate * np.expm1(np.concatenate([[distance, -distance], 2 * x - distance])))
    if removed:
        return lambda s: draws * np.log(np.exp(np.outer(1 + s, loss)) @ mass)
    return lambda s: draws * np.log(np.exp(-np.outer(s, loss)) @ mass)


@pytest.mark.parametrize("width, scale, loose", [
    (1, 1.0, 0.01), (4, 32 / 255, 0.003)])
def test_drawn_mixes_against_exact_inversion(width, scale, loose):
    found = drawn_epsilon(50_000, 50_000, width, scale, DELTA)
    exact = max(exact_delta(drawn_moment(width / 5e4, 1 / (width * scale), 50_000, removed=side),
                            found) for side in (True, False))
    assert (1 - loose) * DELTA <= exact <= DELTA  # an upper bound, and a close one


@pytest.mark.parametrize("width, distance, epochs", [(1, 1.0, 40), (4, 1.0, 40), (4, 4.0, 10),
                                                     (2, 0.5, 7), (3, 20.0, 5)])
def test_mixup_as_run_against_exact_inversion(width, distance, epochs):
    found = mixed(width, distance, epochs, n=5000, batch_size=128)
    shares = {128: 4992 / 5000, 8: 8 / 5000}  # 39 whole batches, and one of eight records
    patterns = [(share * chance, counts) for size, share in shares.items()
                for counts, chance in occupancies(width, size).items()]

    def log_moment(s):
        return epochs * np.log(sum(
            weight * np.prod([laplace_moment(s, c * distance / width) for c in counts], axis=0)
            for weight, counts in patterns))

    exact = exact_delta(log_moment, found)
    assert 0.999 * DELTA <= exact <= DELTA * (1 + 1e-6)  # the inversion is cut


# ---- small cases, whole densities

X = np.linspace(-12, 13, 25_001)


def density(records, width, scale):
    """Density of one mix of `width` of the records (numbers), drawn without replacement."""
    means = [np.mean(some) for some in itertools.combinations(records, width)]
    return sum(np.exp(-abs(X - mean) / scale) for mean in means) / (2 * scale * len(means))


def hockey_stick(p, q, epsilon):
    excess = np.maximum(p - math.exp(epsilon) * q, 0)
    for axis in reversed(range(excess.ndim)):
        excess = np.trapezoid(excess, dx=25 / (excess.shape[axis] - 1), axis=axis)
    return float(excess)


@pytest.mark.parametrize("width, scale", [(1, 0.4), (2, 0.4), (2, 1.0), (3, 0.2)])
@pytest.mark.parametrize("rest", [(1, 1, 1, 1), (0, 0, 0, 0), (0, 0.3, 0.9, 1)])
def test_one_draw_of_few_records_keeps_its_epsilon(width, scale, rest):
    full, less, other = ((*start, *rest) for start in ((0.0,), (), (1.0,)))
    tight = 0.0
    for adjacency, pairs in (("add-remove", [(full, less), (other, less)]),
                             ("replace-one", [(full, other)])):
        for delta in (1e-4, 0.01, 0.05):
            epsilon = drawn_epsilon(5, 1, width, scale, delta, adjacency=adjacency)
            found = max(hockey_stick(*(density(records, width, scale) for records in side), epsilon)
                        for pair in pairs for side in (pair, pair[::-1]))
            assert found <= delta * (1 + 1e-3) + 1e-6
            tight = max(tight, found / delta)
    assert tight > 0.95 or rest == (0, 0.3, 0.9, 1)  # the worst case is met, not only bounded


def test_a_pass_of_two_records_keeps_its_epsilon():
    """Two records, two mixes, a hidden permutation: mixed with oneself or with the other."""
    x = np.linspace(-12, 13, 1001)

    def mixes(one, two, scale):
        def product(a, b):
            sides = (np.exp(-abs(x - mean) / scale) / (2 * scale) for mean in (a, b))
            return np.outer(*sides)
        return (product(one, two) + product((one + two) / 2, (one + two) / 2)) / 2

    for scale in (0.5, 1.0):
        for delta in (1e-3, 0.05):
            epsilon = mixup_epsilon(2, scale, 1, delta, n=2, batch_size=2, diameter=1.0, **ALONE)
            p, q = mixes(0, 1, scale), mixes(1, 1, scale)
            assert max(hockey_stick(p, q, epsilon), hockey_stick(q, p, epsilon)) <= delta + 1e-5


def test_drawn_anew_is_what_the_library_says_of_poisson_sampling():
    import dp_accounting

    for n, draws, width, scale in ((100, 20, 5, 0.5), (1000, 300, 4, 0.1)):
        accountant = dp_accounting.pld.PLDAccountant(
            dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-4)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(
            width / n, dp_accounting.LaplaceDpEvent(width * scale)), draws)
        assert drawn_epsilon(n, draws, width, scale, DELTA) == pytest.approx(
            accountant.get_epsilon(DELTA), rel=2e-3)


# ---- closed forms

def test_one_mix_is_the_laplace_mechanism():
    for distance in (0.1, 1.0, 16.0, 130.0):
        assert mixed(1, distance, 1) == pytest.approx(distance + 2 * math.log1p(-DELTA), rel=1e-4)
        assert mixed(1, distance, 1, delta=0) == distance
    for epsilon in (-3.0, -1.0, 0.0, 0.4, 1.0, 2.0):
        x = np.linspace(-30, 30, 600_001)
        p, q = np.exp(-abs(x)) / 2, np.exp(-abs(x - 1)) / 2
        by_hand = np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0), x)
        assert laplace_delta(epsilon, 1.0) == pytest.approx(by_hand, abs=1e-6)


def test_a_pass_costs_the_same_whatever_the_width():
    for width, epochs in itertools.product((1, 2, 5), (1, 3, 40)):
        assert mixed(width, 2.5, epochs, delta=0) == epochs * 2.5
        assert mixed(width, 2.5, epochs) <= mixed(1, 2.5, epochs) + 1e-9  # lumped: the worst case
    assert mixed(4, 2.5, 0) == 0


def test_labels_without_noise_are_no_guarantee():
    settings = {"n": 500, "batch_size": 50, "diameter": 1.0}
    for delta in (0.0, DELTA, 0.1):
        assert mixup_epsilon(4, 1.0, 1, delta, label_scale=0.0, **settings) == math.inf
    assert mixup_epsilon(4, math.inf, 3, 0.0, label_scale=2.0, **settings) == 3.0
    assert mixup_epsilon(4, 1.0, 3, 0.0, label_scale=2.0, **settings) == 6.0
    assert mixup_epsilon(4, 0.0, 1, DELTA, label_scale=math.inf, **settings) == math.inf
    both, one = (mixup_epsilon(4, 1.0, 9, DELTA, label_scale=scale, **settings)
                 for scale in (2.0, math.inf))
    assert both == pytest.approx(mixed(4, 2.0, 9, n=500, batch_size=50)) and both > one


def test_images_of_the_real_size():
    scale, pixels = 16 / 255, 3072
    found = mixup_epsilon(4, scale, 40, DELTA, n=50_000, batch_size=128, diameter=pixels, **ALONE)
    assert 0.9999 < found / (40 * pixels / scale) <= 1
    assert drawn_epsilon(50_000, 50_000, 4, scale / pixels, DELTA) == pytest.approx(
        6.115e8, rel=1e-3)


# ---- properties

@checked
@given(n=st.integers(20, 5000), width=st.integers(1, 6), scale=st.floats(0.1, 5.0))
def test_drawn_epsilon_is_at_most_the_theorems(n, width, scale):
    pure = instahide_epsilon(n, 20, width, scale)
    for adjacency in ("add-remove", "replace-one"):
        found = drawn_epsilon(n, 20, width, scale, DELTA, adjacency=adjacency)
        assert 0 <= found <= pure * (1 + 1e-12)
    assert found >= drawn_epsilon(n, 20, width, scale, DELTA) - 1e-9


@settings(checked, max_examples=6)
@given(width=st.integers(1, 4), distance=st.floats(0.05, 8), epochs=st.integers(1, 12))
def test_mixup_epsilon_moves_the_right_way(width, distance, epochs):
    found = mixed(width, distance, epochs)
    assert 0 < found <= epochs * distance
    assert found <= mixed(width, 1.2 * distance, epochs) * (1 + 1e-6)
    assert found <= mixed(width, distance, epochs + 1) + 1e-9
    assert found <= mixed(width, distance, epochs, delta=1e-7) + 1e-9


@given(first=st.floats(0.01, 5), second=st.floats(0.01, 5), epsilon=st.floats(0, 10))
@settings(deadline=None, database=None, derandomize=True, max_examples=20)
def test_one_dimension_is_the_worst_case(first, second, epsilon):
    """Two coordinates at distances t1, t2 against one at t1 + t2, by the density of their loss."""
    nodes, weights = np.polynomial.legendre.leggauss(300)

    def pieces(distance):
        x = (nodes + 1) / 2 * distance
        return (np.concatenate([[0.5, math.exp(-distance) / 2],
                                weights * distance / 4 * np.exp(-x)]),
                np.concatenate([[distance, -distance], distance - 2 * x]))

    (p, one), (q, other) = pieces(first), pieces(second)
    gain = np.maximum(-np.expm1(epsilon - np.add.outer(one, other)), 0)
    assert p @ gain @ q <= laplace_delta(epsilon, first + second) + 1e-4


# ---- the mechanism itself

def released(images, width, scale, seed):
    """Mixed images [places, ...] of one batch, as training makes them; and who is in which."""
    random = torch.Generator().manual_seed(seed)
    mixup, noise = build({"name": "mixup", "width": width}), build({"name": "laplace",
                                                                    "scale": scale})
    x, labels = images[None], torch.eye(len(images))[None]  # own labels: they name the records
    for transform in (mixup, noise):
        draws = transform.draw(len(images), tuple(images.shape[1:]), random)
        x, labels = transform.apply(x, labels, {key: one[None] for key, one in draws.items()})
    return x[0], labels[0]


def test_every_record_enters_with_weights_that_add_up_to_one():
    images = torch.rand(12, 1, 3, 3)
    for seed in range(5):
        _, shares = released(images, 4, 1e-6, seed)
        assert torch.allclose(shares.sum(0), torch.ones(12))
    other = images.clone()
    other[5] = 1 - other[5]
    for seed in range(5):  # so replacing one moves the release by its own l1 distance, no more
        one, two = (released(batch, 4, 1e-6, seed)[0] for batch in (images, other))
        moved = (images - other)[5].abs().sum()
        assert (one - two).abs().sum() == pytest.approx(float(moved), rel=1e-4)


def test_places_coincide_as_often_as_counted():
    images, seen = torch.rand(6, 1, 1, 1), Counter()
    for seed in range(3000):
        _, shares = released(images, 3, 1e-6, seed)
        counts = (3 * shares[:, 2]).round().int().tolist()
        seen[tuple(sorted(filter(None, counts), reverse=True))] += 1
    assert seen.keys() <= occupancies(3, 6).keys()
    for counts, chance in occupancies(3, 6).items():
        assert seen[counts] / 3000 == pytest.approx(chance, abs=4 * math.sqrt(chance / 3000))


@given(width=st.integers(1, 9), places=st.integers(1, 200))
def test_occupancies_are_a_distribution(width, places):
    found = occupancies(width, places)
    assert sum(found.values()) == pytest.approx(1)
    assert all(sum(counts) == width and len(counts) <= places for counts in found)


@pytest.mark.parametrize("call, said", [
    (lambda: mixed(0, 1.0, 1), "width"), (lambda: mixed(2, -1.0, 1), "diameter"),
    (lambda: mixed(2, 1.0, 1, batch_size=0), "batch_size"),
    (lambda: mixed(2, 1.0, 1, delta=1.0), "delta"),
    (lambda: mixup_epsilon(2, 1.0, 1, DELTA, n=9, batch_size=3, diameter=1.0, label_scale=-1),
     "label_scale"),
    (lambda: drawn_epsilon(10, 10, 11, 1.0, DELTA), "at most n"),
    (lambda: drawn_epsilon(10, 10, 2, 1.0, 0.0), "delta"),
    (lambda: drawn_epsilon(10, 10, 2, 1.0, DELTA, adjacency="zero-out"), "adjacency")])
def test_numbers_out_of_range(call, said):
    with pytest.raises(ValueError, match=said):
        call()
