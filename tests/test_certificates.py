"""RAB and DPA: what the certificates say, and that they are sound where it can be tried out."""

import importlib
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib import models, training
from lib.attacks import Poisoned, clean
from lib.attacks.four_pixel import FourPixel
from lib.defences import certificates, partition, smoothing
from lib.defences.certificates import Certified, Examples
from lib.defences.partition import Partition, Voters, certificate, images_withstood
from lib.defences.smoothing import Smoothed, Smoothing, ceiling, radius, vote_radius
from lib.study import Run, fit, measure
from lib.study import inputs as of_run
from lib.training import Training

SHUFFLED = Training("sgd", 0.1, epochs=3.0, batch_size=16, sampling="shuffle")
TINY = Run(train_size=300, test_size=60, model="linear", attack=FourPixel(fraction=0.05),
           training=SHUFFLED)


# ---------------------------------------------------------------- RAB's radius

@pytest.mark.parametrize("count,times", [(1000, 1.565), (100, 0.893), (50, 0.635)])
def test_the_ceiling_of_the_published_radius(count, times):
    assert ceiling(count, 2.0, 0.999) == pytest.approx(2 * times, abs=2e-3)


def test_the_union_over_ten_classes_certifies_less():
    assert ceiling(1000, 1.0, 0.999, correction="union") == pytest.approx(1.473, abs=5e-4)
    assert ceiling(1000, 1.0, 0.999) > ceiling(1000, 1.0, 0.999,
                                               correction="union", classes=2) > ceiling(
                                                   1000, 1.0, 0.999, correction="union")


def test_radius_by_hand():
    from scipy.stats import norm
    shift = math.sqrt(math.log(1000) / 2000)
    expected = 0.25 * (norm.ppf(0.9 - shift) - norm.ppf(0.05 + shift))
    found = radius([0.9, 0.55, 0.5], [0.05, 0.45, 0.5], 1000, 0.5, 0.999)
    assert found[0] == pytest.approx(expected) and found[1] == 0.0 and found[2] == 0.0


@given(st.floats(0.5, 1.0), st.floats(0.0, 0.5), st.integers(1, 3000),
       st.sampled_from(("none", "union")))
def test_radius_is_never_beyond_its_ceiling_and_grows_with_certainty(top, share, count, correction):
    runner_up = share * (1 - top) * 2 if share < 0.5 else 1 - top
    runner_up = min(runner_up, 1 - top)
    found = radius(top, runner_up, count, 1.0, 0.99, correction=correction)
    assert 0 <= found <= ceiling(count, 1.0, 0.99, correction=correction) + 1e-12
    assert radius(top, runner_up, 2 * count, 1.0, 0.99, correction=correction) >= found
    assert radius(top, runner_up, count, 1.0, 0.999, correction=correction) <= found


@pytest.mark.parametrize("change", [
    dict(models=0),
    dict(noise=-1.0),
    dict(confidence=1.0),
    dict(correction="bonferroni"),
    dict(mean_top=1.4),
    dict(mean_runner_up=0.7)
])
def test_radius_names_what_is_out_of_range(change):
    values = dict(mean_top=0.6, mean_runner_up=0.3, models=100, noise=1.0, confidence=0.99,
                  correction="none") | change
    with pytest.raises(ValueError, match=str(next(iter(change.values())))):
        radius(values["mean_top"], values["mean_runner_up"], values["models"], values["noise"],
               values["confidence"], correction=values["correction"])


def test_vote_radius_by_clopper_pearson():
    from scipy.stats import binomtest, norm
    low = binomtest(98, 100).proportion_ci(1 - 0.001 / 10).low  # both sides of alpha / 10
    high = binomtest(2, 100).proportion_ci(1 - 0.001 / 10).high
    found = vote_radius(np.array([[98, 2] + [0] * 8, [50, 50] + [0] * 8, [100] + [0] * 9]), 1.0,
                        0.999)
    assert found[0] == pytest.approx(
        0.5 * (norm.ppf(low) - norm.ppf(high))) and found[1] == 0.0 and found[2] > found[0]


def test_certified_probabilities_cover_the_truth():
    """The union bound fails at most as often as it says: the corrected radius of a known mean is
    rarely above the true one.
    """
    from scipy.stats import norm
    random, chances, alpha = np.random.RandomState(0), np.array([0.5, 0.3, 0.2]), 0.05
    draws = random.dirichlet(20 * chances, size=(4000, 50)).mean(1)
    ordered = np.sort(draws, 1)
    found = radius(ordered[:, -1], ordered[:, -2], 50, 1.0, 1 - alpha, correction="union",
                   classes=3)
    true = 0.5 * (norm.ppf(0.5) - norm.ppf(0.3))
    assert (found > true).mean() <= alpha
    votes = random.multinomial(50, chances, size=4000)
    assert (vote_radius(votes, 1.0, 1 - alpha) > true).mean() <= alpha


def test_the_theorem_on_a_model_whose_smoothed_prediction_is_known():
    """q(c) of the learner "sign of the mean training input" is a normal probability: corollary 1
    with equality.
    """
    from scipy.stats import norm
    n, sigma, mean = 25, 0.5, 0.3
    top = norm.cdf(mean * math.sqrt(n) / sigma)
    within = sigma / 2 * (norm.ppf(top) - norm.ppf(1 - top))  # no sampling: the bound itself
    shift = within / math.sqrt(n)  # the same pattern on each of n inputs has this norm
    assert norm.cdf((mean - 0.999 * shift) * math.sqrt(n) / sigma) > 0.5 > norm.cdf(
        (mean - 1.001 * shift) * math.sqrt(n) / sigma)


# ---------------------------------------------------------------- RAB

def test_every_model_has_noise_of_its_own_on_the_training_inputs():
    pool = torch.zeros(40, 6)
    one, two = (training.Member(torch.arange(40), torch.zeros(40, dtype=torch.long), 10, 0.1,
                                input_noise=0.7, input_seed=seed) for seed in (1, 2))
    copies = training.gather(pool, [one, two, one], 40)
    assert torch.equal(copies[0], copies[2]) and not torch.equal(copies[0], copies[1])
    assert copies.std().item() == pytest.approx(0.7, rel=0.1)
    assert torch.equal(training.gather(pool, [one], 64)[0, 40:], torch.zeros(24, 6))


def test_members_and_twins_draw_apart():
    run, labels = Run(init_seed=1, noise_seed=1), torch.zeros(4, dtype=torch.long)
    members = [
        Smoothing(3, 0.5).member(run, torch.arange(4), labels, prefix, number)
        for prefix in ("", "twin ")
        for number in range(3)
    ]
    assert len({one.init_seed for one in members}) == len({one.noise_seed for one in members}) == 6
    assert len(training.gather(torch.zeros(4, 3), members, 4).unique(dim=0)) == 6


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_a_noisy_member_trains_as_on_a_pool_that_holds_its_noisy_copy(model):
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.rand(60, 1, 28, 28, generator=random), torch.randint(
        10, (60, ), generator=random)
    noisy = [
        training.Member(torch.arange(60), labels, 20, 0.05, init_seed=seed, batch_seed=seed,
                        input_noise=0.3, input_seed=seed) for seed in range(3)
    ]
    plain = [
        training.Member(torch.arange(60), labels, 20, 0.05, init_seed=seed, batch_seed=seed)
        for seed in range(3)
    ]
    schedule = training.Schedule(6, training.Rule("sgd", 0.9), "shuffle")

    def build():
        return models.build(model, (1, 28, 28), 10)
    together = training.fit(build, pool, noisy, schedule).parameters
    for seed in range(3):
        alone = training.fit(build,
                             training.gather(pool, [noisy[seed]], 60)[0], [plain[seed]],
                             schedule).parameters[0]
        assert torch.allclose(together[seed], alone, atol=1e-5)


def smoothed(**changes):
    run = TINY.with_(defence=Smoothing(6, 0.3), **changes)
    return Smoothed(run.defence, run, measure.poisoned(run), "")


def test_test_noise_is_fixed_by_the_parameters():
    one = smoothed()
    noise = [one.test_noise(number, (1, 28, 28), "cpu") for number in range(6)]
    assert torch.equal(noise[0], one.test_noise(0, (1, 28, 28),
                                                "cpu")) and not torch.equal(noise[0], noise[1])
    one.group.parameters[0, 0] += 1e-3
    assert not torch.equal(noise[0], one.test_noise(0, (1, 28, 28), "cpu"))
    assert torch.stack(noise).std().item() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("model", ["linear", "cnn"])
def test_the_prediction_is_the_mean_over_noisy_models(model):
    one, inputs = smoothed(model=model), of_run.shared(TINY)[1]
    mean = torch.zeros(len(inputs), 10, dtype=torch.float64)
    for number in range(6):
        noisy = training.as_input(inputs) + one.test_noise(number, (1, 28, 28), "cpu")
        mean += torch.softmax(one.group.predict(noisy, model=number), 1) / 6
    assert torch.allclose(one.answers(inputs)[0], mean, atol=1e-5)
    assert torch.equal(one.predict(inputs).argmax(1), mean.argmax(1))
    counts = sum((one.answers(inputs)[1] == name).sum(0) for name in range(10))
    assert counts.eq(6).all()


def test_the_twin_has_the_labels_without_the_patterns():
    data = TINY.attack.craft(of_run.private_and_test(TINY)[0], seed=0)
    twin = smoothing.unstamped(data)
    relabelled = TINY.with_(attack__stamp=False).attack.craft(
        of_run.private_and_test(TINY)[0], seed=0)
    assert torch.equal(twin.images(), relabelled.images()) and torch.equal(
        twin.labels, relabelled.labels)


def test_the_norm_of_the_patterns_is_the_realised_one():
    data = TINY.attack.craft(of_run.private_and_test(TINY)[0], seed=0)
    norms = smoothing.pattern_norms(data)
    assert len(norms) == 15 and norms.max() <= 1.01
    bright = Poisoned(
        torch.full((3, 1, 28, 28), 255, dtype=torch.uint8),
        FourPixel().trigger(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8), seed=0),
        torch.tensor([0, 3, 2]), torch.zeros(3, dtype=torch.long),
        torch.tensor([False, True, False]), 10, torch.zeros(3, dtype=torch.long))
    assert smoothing.pattern_norms(bright).tolist() == [0.0]  # white stays white


def test_every_record_is_in_every_model():
    from lib import privacy
    run = TINY.with_(training=Training("sgd", 0.1, epochs=2.0, batch_size=30))
    all_, one = Smoothing(4, 0.3, noise_multiplier=1.0, max_grad_norm=1.0).guarantee(run, 300)
    assert (all_.epsilon, one) == (privacy.dpsgd_epsilon(
        1.0, 0.1, 80, 1e-5), privacy.dpsgd_epsilon(1.0, 0.1, 20, 1e-5))
    assert all_.steps == 80 and not Smoothing(4, 0.3).guarantee(run, 300)[0].holds


def test_dp_inside_costs_every_model():
    from lib import privacy
    poisson = Training("sgd", 0.1, epochs=2.0, batch_size=30)
    run = TINY.with_(defence=Smoothing(4, 0.3, noise_multiplier=1.0, max_grad_norm=1.0),
                     training=poisson)
    trained, _ = fit(run)
    assert trained.facts["epsilon_model"] == privacy.dpsgd_epsilon(1.0, 0.1, 20, 1e-5)
    assert trained.privacy.epsilon == privacy.dpsgd_epsilon(1.0, 0.1, 80,
                                                            1e-5) > trained.facts["epsilon_model"]
    assert fit(TINY.with_(defence=Smoothing(2, 0.3)))[0].privacy.holds is False
    with pytest.raises(ValueError, match="poisson"):
        fit(run.with_(training=SHUFFLED))


@pytest.mark.slow
def test_noise_on_pixels_below_features():
    base = TINY.with_(dataset="strokes-colour", train_size=400, public=200, features="patches:8",
                      defence=Smoothing(3, 1e-4, space="pixels"))
    row = measure.train_rows([base])[0]
    assert row["status"] == "ok", row.get("error")
    assert row["facts"]["each_max"] <= 1.01  # pixels, not features
    features = base.with_(defence=Smoothing(3, 1e-4))
    other = measure.train_rows([features])[0]
    assert other["facts"]["each_max"] > 1.01 or other["facts"]["each"] != row["facts"]["each"]
    # hardly any noise: the same model
    assert row["metrics"]["accuracy"] == pytest.approx(other["metrics"]["accuracy"], abs=0.05)


def test_copies_do_not_stay(monkeypatch):
    """Memory holds the noisy copies of one group at a time, whatever N is."""
    from lib.training import sizes
    step = importlib.import_module("lib.training.fit")
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.rand(200, 50, generator=random), torch.randint(
        10, (200, ), generator=random)
    monkeypatch.setattr(sizes, "CPU_COPY_BYTES", 2 * 4 * 200 * 50)
    seen = []
    original = step._fit_group
    monkeypatch.setattr(
        step, "_fit_group", lambda build, module, pool, members, schedule, **how:
        (seen.append(len(members)), original(build, module, pool, members, schedule, **how))[1])
    members = [
        training.Member(torch.arange(200), labels, 50, 0.1, input_noise=0.1, input_seed=number)
        for number in range(9)
    ]
    training.fit(lambda: models.build("linear", (50, ), 10), pool, members,
                 training.Schedule(2, sampling="shuffle"))
    assert max(seen) == 2 and sum(seen) == 9


# ---------------------------------------------------------------- DPA

def voters(run, data, parts=None, **more):
    return Voters(run.defence, run, data,
                  run.defence.assign(data) if parts is None else parts, **more)


@pytest.mark.parametrize("model,precision", [("mlp", "float32"), ("linear", "fast"),
                                             ("cnn", "float32")])
def test_a_part_trained_by_itself_is_bit_equal(model, precision):
    run = TINY.with_(model=model, precision=precision, defence=Partition(12))
    data = measure.poisoned(run)
    parts = run.defence.assign(data)
    together = voters(run, data, parts)
    for only in ([0], [5], [11], [7, 2, 9]):
        few = voters(run, data, parts, only=only)
        for place, number in enumerate(few.numbers):
            assert torch.equal(few.group.parameters[place], together.group.parameters[number])
    inputs = of_run.shared(run)[1]
    alone = torch.stack(
        [voters(run, data, parts, only=[number]).answers(inputs)[number] for number in range(12)])
    assert torch.equal(alone, together.answers(inputs))


def test_bits_do_not_depend_on_the_number_of_threads():
    run = TINY.with_(model="mlp", defence=Partition(12))
    data, before = measure.poisoned(run), torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(voters(run, data).group.parameters)
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_the_part_of_an_image_is_its_content():
    run = TINY.with_(defence=Partition(7))
    data = measure.poisoned(run)
    before = partition.untouched(data)
    parts, clean_parts = run.defence.assign(data), run.defence.assign(before)
    assert sorted(torch.cat(parts).tolist()) == list(range(300))
    home = {place: number for number, part in enumerate(clean_parts) for place in part.tolist()}
    stamped = set(data.mask.nonzero().flatten().tolist())
    assert all(home[place] == number
               for number, part in enumerate(parts)
               for place in part.tolist()
               if place not in stamped)
    assert run.defence.spent(data, before) == 2 * len(stamped) == 30
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    shuffled = Poisoned(
        data.clean, data.stamped, data.rows[order],
        data.labels[order], data.mask[order], 10, data.truth[order], pixels=Poisoned(
            data.pixels.clean, data.pixels.stamped, data.pixels.rows[order],
            data.pixels.labels[order], data.pixels.mask[order], 10, data.pixels.truth[order]))
    images = [
        sorted(partition.contents(one)[place]
               for place in part.tolist())
        for one in (data, shuffled)
        for part in run.defence.assign(one)
    ]
    assert images[:7] == images[7:]  # parts are sets: the order of the data set says nothing


def test_an_image_changed_in_place_is_two_changes_by_content_and_one_by_index():
    images, labels = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1), torch.arange(8) % 3
    before = clean(images, labels, 3)
    after = Poisoned(images, images[:2] + 100, torch.tensor([0, 8, 2, 3, 9, 5, 6, 7]), labels,
                     torch.zeros(8, dtype=torch.bool), 3, labels)
    old, new = (Poisoned(**{**vars(one), "pixels": one}) for one in (before, after))
    assert [Partition(4, by=by).spent(new, old) for by in ("content", "index")] == [4, 2]
    assert [Partition(4, by=by).spent(old, old) for by in ("content", "index")] == [0, 0]


def test_a_changed_label_stays_in_its_part():
    run = TINY.with_(attack__stamp=False, defence=Partition(7))
    data = measure.poisoned(run)
    before = partition.untouched(data)
    assert [sorted(part.tolist()) for part in run.defence.assign(data)] == [
        sorted(part.tolist()) for part in run.defence.assign(before)
    ]
    assert run.defence.spent(data, before) == 30
    assert partition.touched(data, run.defence.assign(data), before,
                             run.defence.assign(before)) <= 15


def test_empty_parts_vote_for_class_0():
    run = TINY.with_(train_size=40, model="linear", attack=FourPixel(images=2),
                     defence=Partition(30))
    data = measure.poisoned(run)
    sizes = [len(part) for part in run.defence.assign(data)]
    assert 0 in sizes
    given = voters(run, data).answers(of_run.shared(run)[1])
    assert (given[[number for number, size in enumerate(sizes) if not size]] == 0).all()


def change(data, random, insertions, deletions):
    """The set with random noise images of random labels inserted and random records deleted:
    `insertions` + `deletions` samples.
    """
    kept = torch.from_numpy(
        np.sort(random.choice(len(data.rows),
                              len(data.rows) - deletions, replace=False)))
    images = torch.from_numpy(
        random.randint(0, 256, (insertions, *data.clean.shape[1:])).astype(np.uint8))
    labels = torch.from_numpy(random.randint(0, 10, insertions))
    pool = torch.cat([data.images()[kept], images])
    changed = clean(pool, torch.cat([data.labels[kept], labels]), 10)
    return Poisoned(changed.clean, changed.stamped, changed.rows, changed.labels, changed.mask, 10,
                    changed.truth, pixels=changed)


@pytest.mark.slow
def test_no_certified_prediction_flips_under_any_of_many_changes():
    """DPA's theorem by experiment: worst-case labels for the parts that are hit, everything trained
    again.
    """
    run = TINY.with_(model="linear", attack=FourPixel(fraction=0.0), training=SHUFFLED,
                     defence=Partition(15))
    data, inputs = measure.poisoned(run), of_run.shared(run)[1]
    own, random, flipped = voters(run, data).certified(inputs), np.random.RandomState(0), 0
    for _ in range(30):
        insertions = int(random.randint(0, 5))
        deletions = int(random.randint(0 if insertions else 1, 4))
        other = voters(run, change(data, random, insertions, deletions)).certified(inputs)
        flips = own.prediction != other.prediction
        assert not (flips & own.withstands(insertions + deletions)).any()
        flipped += int(flips.sum())
    assert flipped > 0  # the same changes flip predictions that are not certified


@given(st.data())
def test_the_certificate_is_the_worst_case_of_changed_votes(draw):
    classes = draw.draw(st.integers(2, 3))
    votes = np.array(
        draw.draw(st.lists(st.integers(0, 4), min_size=classes, max_size=classes).filter(any)))
    prediction, radius_ = (int(value[0]) for value in certificate(votes[None]))
    ballots = [name for name, count in enumerate(votes) for _ in range(count)]
    worst = next(
        (changed for changed in range(len(ballots) + 1)
         for chosen in itertools.combinations(range(len(ballots)), changed)
         for new in itertools.product(range(classes), repeat=changed) if np.bincount(
             [dict(zip(chosen, new)).get(place, name)
              for place, name in enumerate(ballots)], minlength=classes).argmax() != prediction),
        None)
    assert worst is None or radius_ == worst - 1


# ---------------------------------------------------------------- both together

@given(st.data())
def test_images_withstood_is_the_cheapest_way(draw):
    count = draw.draw(st.integers(1, 5))
    answers = np.array(draw.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))[:,
                                                                                               None]
    radii = np.array(draw.draw(st.lists(st.floats(0, 2.5), min_size=count, max_size=count)))[:,
                                                                                             None]
    found = int(images_withstood(answers, radii, 1.0, 3)[0])
    winner = np.bincount(answers[:, 0], minlength=3).argmax()
    costs = np.maximum(1, np.ceil(radii[:, 0] ** 2 - 1e-9))
    cheapest = min(
        sum(costs[place]
            for place in range(count)
            if new[place] != answers[place, 0])
        for new in itertools.product(range(3), repeat=count)
        if np.bincount(new, minlength=3).argmax() != winner)
    assert found == cheapest - 1


def test_a_part_inside_its_radius_keeps_its_vote_for_several_images():
    answers = np.array([[0], [0], [0], [1]])
    # DPA: floor((3 - 1) / 2), ties to 0
    assert images_withstood(answers, np.zeros((4, 1)), 0.1, 2).tolist() == [1]
    assert images_withstood(answers, np.full((4, 1), 0.3), 0.1, 2).tolist() == [2 * 9 - 1]


def test_smoothed_models_inside_parts_by_place():
    run = TINY.with_(model="mlp", attack=FourPixel(images=3, norm=0.1), defence=Partition(
        5, by="index", models=8, noise=0.3))
    row = measure.train_rows([run])[0]
    assert row["status"] == "ok", row.get("error")
    assert row["facts"]["budget"] == 3 and {line["rule"]
                                            for line in row["certified"]} == {"votes", "together"}
    votes, together = (next(line for line in row["certified"]
                            if line["rule"] == rule and line["images"] == "clean")
                       for rule in ("votes", "together"))
    assert votes["correct"][0] == together["correct"][0] == pytest.approx(
        row["metrics"]["accuracy"], abs=1e-6)
    for wrong in (dict(models=4), dict(noise=0.5), dict(models=4, noise=0.5), dict(by="place")):
        with pytest.raises(ValueError, match="partition"):
            Partition(5, **wrong)


# ---------------------------------------------------------------- facts

def test_facts_and_curves_by_hand():
    tested = Examples(torch.zeros(4, 1), torch.zeros(4, 1), torch.tensor([0, 1, 1, 2]),
                      torch.tensor([False, True, True, True]), 0)
    clean_ = Certified(np.array([0, 1, 0, 2]), np.array([3, 1, 2, 0]), strict=False)
    stamped = Certified(np.array([0, 0, 1, 0]), np.array([9, 2, 4, 0]), strict=False)
    found = certificates.facts(clean_, stamped, tested, budget=2, ceiling=5)
    assert (found["certified_any"], found["certified_attack"],
            found["certified_count"]) == (0.5, 0.25, 4)
    assert (found["truth"], found["printed"], found["certified_triggered"]) == (pytest.approx(
        1 / 3), 0.75, pytest.approx(1 / 3))
    assert (found["radius_max"], found["radius_ceiling"], found["budget"]) == (3, 5, 2)
    lines = {
        line["images"]: line
        for line in certificates.curves(clean_, stamped, tested, rule="votes", radii=range(7))
    }
    assert lines["clean"]["radius"] == [0, 1, 2, 3, 4] and lines["clean"]["correct"] == [
        0.75, 0.5, 0.25, 0.25, 0.0
    ]
    assert lines["triggered"]["target"][:3] == pytest.approx([2 / 3, 1 / 3, 1 / 3], abs=1e-6)
    other = Certified(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]), strict=False)
    flips = certificates.flips((clean_, stamped), (other, stamped), tested, budget=2)
    assert flips == {"flips_certified": 1, "flips_other": 1, "flips_confirmed": 1}


def test_a_distance_must_be_below_the_radius():
    one = Certified(np.array([0]), np.array([0.5]), strict=True)
    assert not one.withstands(0.5).any() and one.withstands(0.49).all() and one.something().all()


def test_rows_carry_their_certificates(tmp_path, monkeypatch):
    from lib import study
    for name, value in (("STUDY_STORE", str(tmp_path)), ("STUDY_MODE", "train"), ("STUDY_PUBLISHED",
                                                                                  "0")):
        monkeypatch.setenv(name, value)
    runs = [
        TINY.with_(defence=Smoothing(5, 0.3, twin=True)),
        TINY.with_(defence=Partition(10, twin=True))
    ]
    frame = study.run(runs)
    assert frame["status"].eq("ok").all() and set(
        certificates.FACTS) <= {name[6:] for name in frame.columns if name.startswith("facts.")}
    assert frame["facts.flips_certified"].tolist()[1] == 0
    long = study.certified(frame)
    assert set(long["rule"]) == {"nominal", "union", "votes"} and set(
        long["images"]) == {"clean", "triggered"}
    for _, group in long[long["images"] == "clean"].groupby(["key", "rule"]):
        assert group["correct"].is_monotonic_decreasing
    at_zero = long[(long["radius"] == 0) & (long["rule"] != "union") &
                   (long["images"] == "clean")].groupby("key")["correct"].first()
    assert [at_zero[key] for key in frame["key"]] == pytest.approx(frame["accuracy"].tolist(),
                                                                   abs=1e-6)
    assert study.certified(study.run([], like=runs[0])).empty
