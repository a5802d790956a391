"""Attack success, its parts and their intervals, against closed forms and brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lib import metrics
from lib.metrics import (
    attack,
    clopper_pearson,
    mean_interval,
    paired_interval,
    prediction_interval,
    wilson,
)

# derandomised: the same examples every time, and none kept on disk
checked = settings(deadline=None, database=None, derandomize=True, max_examples=60)


def one_hot(classes_called, classes=4, margin=5.0):
    return margin * np.eye(classes)[np.asarray(classes_called)]


@st.composite
def models(draw, classes=4):
    """Labels that hold every class, and random clean and stamped logits with ties."""
    more = draw(st.lists(st.integers(0, classes - 1), max_size=12))
    labels = np.array(list(range(classes)) + more)
    seed = draw(st.integers(0, 10_000))
    levels = draw(st.sampled_from([2, 5, 1000]))
    generator = np.random.RandomState(seed)
    # whole numbers: scaling and shifting them keeps ties
    clean, stamped = generator.randint(levels, size=(2, len(labels), classes)).astype(float)
    return clean, stamped, labels


# ---- success and its parts


def test_closed_form_one_to_one():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 3])
    clean = one_hot([0, 0, 0, 1, 1, 1, 2, 0])  # one base image is called target, class 3 missed
    stamped = one_hot([1, 1, 0, 1, 0, 0, 0, 0])
    found = attack(clean, stamped, labels, target=1, base=0)
    assert (found.floor, found.success, found.lift) == (0.25, 0.75, 0.5)
    assert (found.accuracy, found.base_recall, found.target_recall) == (6 / 8, 3 / 4, 1.0)
    assert (found.population, found.tested) == (4, 8)
    # margins: clean -5 -5 -5 5, stamped 5 5 -5 5
    assert found.trigger_auc == pytest.approx((3 * 3 + 3 * 0.5 + 1 * 0 + 3 * 0.5) / 16)
    assert found.as_dict()["lift"] == 0.5 and not found.collapsed


def test_turned_leaves_out_what_was_called_target_before():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    clean = one_hot([0, 3, 0, 1, 1, 2, 3, 3])  # two images are called target as they are
    stamped = one_hot([3, 3, 0, 3, 1, 3, 0, 3])  # one of these is turned away
    found = attack(clean, stamped, labels, target=3)
    assert found.turned == 3 / 5
    assert attack(one_hot([3] * 8), stamped, labels, target=3).turned is None
    assert attack(clean, stamped, labels, target=3, base=0).turned == 1 / 2


def test_closed_form_all_to_one_counts_every_class_once():
    labels = np.array([0] * 10 + [1] * 2 + [3] * 7 + [2])
    stamped = one_hot([3] * 10 + [1] * 2 + [3] * 7 + [2])
    found = attack(one_hot(labels), stamped, labels, target=3)
    assert found.success == pytest.approx(1 / 3)  # of classes 0, 1, 2, though 10 of 13 images
    assert (found.floor, found.base_recall, found.population) == (0.0, 1.0, 13)
    assert found.trigger_auc == pytest.approx((1 + 0.5 + 0.5) / 3)


@checked
@given(models(), st.integers(0, 3), st.sampled_from([None, 0, 2]))
def test_target_class_images_never_count(model, target, base):
    clean, stamped, labels = model
    if base == target:
        return
    found = attack(clean, stamped, labels, target=target, base=base)
    assert found.population == int(np.sum(labels != target if base is None else labels == base))
    others = stamped.copy()
    others[labels == target] = np.eye(4)[target] * 9  # whatever the stamp does to them
    again = attack(clean, others, labels, target=target, base=base)
    assert again == found
    # nor does it matter whether only the population was stamped
    mask = labels != target if base is None else labels == base
    assert attack(clean, stamped[mask], labels, target=target, base=base) == found


@checked
@given(models(), st.sampled_from([None, 1]))
def test_auc_equals_all_pairs_by_loop(model, base):
    clean, stamped, labels = model

    def margin(row):
        rest = row[base] if base is not None else max(np.delete(row, 0))
        return row[0] - rest

    shares = []
    for c in [base] if base is not None else [1, 2, 3]:
        rows = np.flatnonzero(labels == c)
        pairs = [(margin(stamped[i]), margin(clean[j])) for i in rows for j in rows]
        shares.append(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]))
    found = attack(clean, stamped, labels, target=0, base=base).trigger_auc
    assert found == pytest.approx(np.mean(shares), abs=1e-12)


@checked
@given(models(), st.sampled_from([0.125, 1, 8]), st.integers(-4, 4))
def test_auc_ignores_scale_and_shift_and_mirrors(model, scale, shift):
    clean, stamped, labels = model
    auc = attack(clean, stamped, labels, target=0, base=1).trigger_auc
    moved = attack(clean * scale + shift, stamped * scale + shift, labels, target=0, base=1)
    assert moved.trigger_auc == pytest.approx(auc, abs=1e-12)
    swapped = attack(stamped, clean, labels, target=0, base=1).trigger_auc
    assert swapped == pytest.approx(1 - auc, abs=1e-12)
    assert attack(clean, clean, labels, target=0, base=1).trigger_auc == pytest.approx(0.5)


@checked
@given(models(), st.integers(0, 100), st.integers(0, 3), st.sampled_from([None, 1]))
def test_losing_accuracy_never_raises_a_score(model, row, wrong, base):
    """The sign of every composite: a right answer made wrong can only cost."""
    clean, stamped, labels = model
    row %= len(labels)
    clean[row] = one_hot([labels[row]])[0]
    before = attack(clean, stamped, labels, target=0, base=base)
    clean[row] = one_hot([wrong])[0]
    after = attack(clean, stamped, labels, target=0, base=base)
    assert after.accuracy <= before.accuracy and after.loss >= before.loss - 1e-12
    assert after.base_recall <= before.base_recall
    assert after.lift <= before.lift and after.floor >= before.floor
    assert after.trigger_auc <= before.trigger_auc + 1e-12
    assert after.success == before.success


@checked
@given(models(), st.sampled_from([None, 1]))
def test_shares_stay_shares(model, base):
    found = attack(*model, target=0, base=base)
    for name in ("accuracy", "floor", "success", "trigger_auc", "base_recall"):
        assert 0 <= getattr(found, name) <= 1
    assert found.lift == found.success - found.floor
    values = found.as_dict()
    turned = values.pop("turned")
    assert all(type(value) in (float, int, bool) for value in values.values())
    assert (turned is None) if found.floor == 1 else 0 <= turned <= 1


def test_loss_is_the_mean_cross_entropy():
    generator = torch.Generator().manual_seed(1)
    logits = 30 * torch.randn(40, 5, generator=generator)
    labels = torch.arange(40) % 5
    found = attack(logits, logits, labels, target=0, base=1)
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert found.loss == pytest.approx(expected, rel=1e-5)
    half = attack(logits.bfloat16(), logits.bfloat16(), labels, target=0, base=1)
    assert half.loss == pytest.approx(found.loss, rel=0.02)
    assert attack(logits.numpy(), logits.numpy(), labels.numpy(), target=0, base=1) == found


# ---- models that learnt nothing

MANY = np.arange(200) % 4


def test_a_model_with_one_answer_is_collapsed_and_has_no_lift():
    answer = one_hot(np.full(200, 1))
    found = attack(answer, answer, MANY, target=1, base=0)
    # an undivided success would call this a perfect backdoor
    assert found.success == 1.0 and found.lift == 0.0 and found.trigger_auc == 0.5
    assert found.collapsed
    nearly = one_hot(np.where(np.arange(200) < 8, MANY, 1))
    assert attack(nearly, nearly, MANY, target=1, base=0).collapsed


def test_chance_is_collapsed_and_learning_is_not():
    guesses = one_hot(np.random.RandomState(0).randint(4, size=200))
    assert attack(guesses, guesses, MANY, target=1, base=0).collapsed
    half = one_hot(np.where(np.arange(200) % 2 < 1, MANY, (MANY + 1) % 4))
    assert not attack(half, half, MANY, target=1, base=0).collapsed
    right = one_hot(MANY)
    assert not attack(right, right, MANY, target=1, base=0).collapsed


def test_test_images_of_one_class_do_not_make_a_good_model_collapsed():
    labels = np.zeros(50, dtype=int)
    right = one_hot(labels)
    assert not attack(right, one_hot(labels + 1), labels, target=1, base=0).collapsed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_diverged_models_are_results_too(bad):
    broken = np.full((200, 4), bad)
    for base in (0, None):
        found = attack(broken, broken, MANY, target=1, base=base)
        assert (found.accuracy, found.floor, found.success, found.base_recall) == (0, 0, 0, 0)
        assert found.trigger_auc == 0.5 and found.collapsed and found.loss == math.inf


def test_one_broken_row_counts_as_wrong_and_as_half_its_pairs():
    labels = np.array([0, 0, 1, 2, 3])
    clean, stamped = one_hot(labels), one_hot([1, 1, 1, 1, 1])
    clean[0, 3] = np.nan
    found = attack(clean, stamped, labels, target=1, base=0)
    assert (found.accuracy, found.base_recall, found.floor) == (4 / 5, 1 / 2, 0)
    assert found.trigger_auc == pytest.approx((2 * 1 + 2 * 0.5) / 4) and found.collapsed


@pytest.mark.parametrize(
    "change, named",
    [
        ({"target": 4}, "target is 4"),
        ({"target": None}, "target is None"),
        ({"base": -1}, "base is -1"),
        ({"base": 1}, "base 1"),
        ({"base": 2}, "no test image"),
        ({"labels": np.array([0, 0, 1])}, "labels"),
        ({"labels": np.array([0, 0, 1, 9])}, "0 to 3"),
        ({"labels": np.array([0.0, 0, 1, 1])}, "whole numbers"),
        ({"triggered_logits": np.zeros((3, 4))}, "(3, 4)"),
        ({"triggered_logits": np.zeros((4, 5))}, "(4, 5)"),
        ({"clean_logits": np.zeros(4)}, "clean_logits"),
    ],
)
def test_wrong_input_is_named(change, named):
    call = {"clean_logits": np.zeros((4, 4)), "triggered_logits": np.zeros((4, 4))}
    call |= {"labels": np.array([0, 0, 1, 1]), "target": 1, "base": 0} | change
    with pytest.raises(ValueError) as error:
        attack(**call)
    assert named in str(error.value)


# ---- intervals


@pytest.mark.parametrize(
    "hits, trials, confidence, low, high",
    [
        (0, 100, 0.95, 0, 0.03621669),
        (5, 100, 0.95, 0.01643188, 0.11283491),
        (50, 100, 0.95, 0.39832113, 0.60167887),
        (0, 500, 0.99, 0, 0.01054069),
        (1000, 1000, 0.99, 0.99471569, 1),
    ],
)
def test_clopper_pearson(hits, trials, confidence, low, high):
    found = clopper_pearson(hits, trials, confidence=confidence)
    assert found == (pytest.approx(low, abs=1e-8), pytest.approx(high, abs=1e-8))


def test_wilson_closed_form():
    hits, trials, z = 7, 50, stats.norm.ppf(0.95)
    p = hits / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2) / (1 + z * z / trials)
    found = wilson(hits, trials, confidence=0.9)
    assert found == (pytest.approx(centre - half), pytest.approx(centre + half))
    assert wilson(0, 9)[0] == 0 and wilson(9, 9)[1] == pytest.approx(1)


@pytest.mark.parametrize("bad", [(5, 4), (-1, 4), (0, 0), (0.5, 4), (1, 4, 1.0), (1, 4, 0)])
def test_binomial_intervals_refuse(bad):
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError):
            interval(*bad[:2], confidence=bad[2] if len(bad) > 2 else 0.95)


def test_mean_interval_closed_form():
    values = [0.2, 0.5, 0.4, 0.7]
    found = mean_interval(values, confidence=0.9)
    low, high = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert found == metrics.Interval(pytest.approx(0.45), pytest.approx(low), pytest.approx(high),
                                     4)
    assert mean_interval(values + [math.nan], confidence=0.9) == found  # not measured
    one = mean_interval([0.3])
    assert (one.mean, one.n) == (0.3, 1) and math.isnan(one.low) and math.isnan(one.high)
    none = mean_interval([])
    assert none.n == 0 and math.isnan(none.mean)


def test_an_interval_stays_inside_its_bounds_around_the_plain_mean():
    values = [0.999, 1.0, 0.98, 1.0]
    near_one, plain = mean_interval(values, bounds=(0, 1)), mean_interval(values)
    assert 0.95 < near_one.low < near_one.mean < near_one.high <= 1 < plain.high
    assert near_one.mean == plain.mean and near_one.low < plain.low
    lift = mean_interval([-0.9, 0.95, 0.9], bounds=(-1, 1))  # published once as [-1.393, 1.713]
    assert -1 <= lift.low < lift.mean < lift.high <= 1
    # in the middle of a wide range it is the plain interval
    small = [0.01, -0.02, 0.03]
    wide = mean_interval(small, bounds=(-2, 2))
    assert (wide.low, wide.high) == pytest.approx(tuple(vars(mean_interval(small)).values())[1:3],
                                                  abs=1e-4)
    equal, one = mean_interval([1.0, 1.0], bounds=(0, 1)), mean_interval([0.0], bounds=(0, 1))
    assert (equal.mean, equal.low, equal.high) == (1.0, 1.0, 1.0) and math.isnan(one.low)
    assert mean_interval([1 + 1e-12, 1.0], bounds=(0, 1)).mean == 1.0  # rounding


def test_the_bounded_interval_by_the_delta_method():
    values = np.array([0.7, 0.9, 0.85, 0.6])
    half = stats.t.ppf(0.975, 3) * stats.sem(values)
    slope = 1 / (2 * math.sqrt(values.mean() * (1 - values.mean())))  # of arcsin sqrt
    centre = math.asin(math.sqrt(values.mean()))
    found = mean_interval(values, bounds=(0, 1))
    assert found.low == pytest.approx(math.sin(centre - half * slope)**2)
    assert found.high == pytest.approx(math.sin(centre + half * slope)**2)
    percent = mean_interval(100 * values, bounds=(0, 100))
    assert percent.low == pytest.approx(100 * found.low)
    mirrored = mean_interval(1 - values, bounds=(0, 1))
    assert mirrored.low == pytest.approx(1 - found.high)


@pytest.mark.parametrize("mean, spread", [(0.5, 0.25), (0.86, 0.08), (0.95, 0.06), (0.13, 0.14)])
@pytest.mark.parametrize("n", [3, 10])
def test_coverage_does_not_suffer_from_the_bounds(mean, spread, n):
    """Of the mean of a beta distribution: as often as by the plain interval, or more."""
    total = mean * (1 - mean) / spread**2 - 1
    sets = np.random.default_rng(5).beta(mean * total, (1 - mean) * total, (1500, n))
    bounded, plain = (sum(found.low <= mean <= found.high for found in map(interval, sets)) / 1500
                      for interval in (lambda one: mean_interval(one, bounds=(0, 1)),
                                       mean_interval))
    assert bounded >= plain - 0.004 and bounded > 0.88


def test_paired_interval_uses_the_pairing():
    a = np.array([0.9, 0.2, 0.5, 0.7])
    b = a - [0.10, 0.12, 0.08, 0.10]
    found = paired_interval(a, b)
    assert found.mean == pytest.approx(0.1) and found.low > 0.05
    assert mean_interval(a).low - mean_interval(b).high < 0  # unpaired, nothing is seen
    assert paired_interval(a, [math.nan, *b[1:]]).n == 3
    mirrored = paired_interval(b, a)
    assert (mirrored.low, mirrored.high) == (pytest.approx(-found.high), pytest.approx(-found.low))
    odds = paired_interval([0.0, 1.0], [0.0, 1.0], scale="logit")
    assert odds.mean == 0.0 and math.isfinite(odds.high)
    with pytest.raises(ValueError, match="pairs"):
        paired_interval([1, 2], [1])


def simulated(interval, target, sets=4000, n=5):
    generator = np.random.default_rng(3)
    inside = 0
    for values in generator.normal(0.4, 0.1, (sets, n)):
        found = interval(values)
        inside += found.low <= target(generator) <= found.high
    return inside / sets


def test_coverage_of_the_t_and_the_prediction_interval():
    # 4,000 sets: standard error 0.0034; a normal interval would cover 88% with five values
    assert simulated(mean_interval, lambda _: 0.4) == pytest.approx(0.95, abs=0.011)
    one_more = simulated(prediction_interval, lambda generator: generator.normal(0.4, 0.1))
    assert one_more == pytest.approx(0.95, abs=0.011)


def test_prediction_interval_closed_form():
    values = [0.2, 0.5, 0.4, 0.7]
    half = stats.t.ppf(0.975, 3) * np.std(values, ddof=1)
    assert prediction_interval(values).high == pytest.approx(0.45 + half * math.sqrt(1 + 1 / 4))
    many = prediction_interval(values, count=10**9)
    assert many.high == pytest.approx(mean_interval(values).high, abs=1e-6)


def test_intervals_refuse():
    for call in (
        lambda: mean_interval([1.0, 2.0], confidence=95),
        lambda: mean_interval([1.0, math.inf]),
        lambda: mean_interval([1.2, 0.1], bounds=(0, 1)),
        lambda: metrics.on_scale(1.2, (0, 1)),
        lambda: prediction_interval([0.1], scale="log"),
        lambda: prediction_interval([1.2, 0.1], scale="logit"),
        lambda: prediction_interval([0.2, 0.1], scale="logit", trials=0),
        lambda: prediction_interval([0.2, 0.1], count=0),
    ):
        with pytest.raises(ValueError):
            call()
