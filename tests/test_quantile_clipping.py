"""Clipping at a quantile: the norm follows it, the noise follows the norm, the count is charged."""

import dataclasses
import math

import dp_accounting.pld as pld
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm as normal
from torch import nn

from lib import privacy, study, training
from lib.attacks.badnets import BadNets
from lib.defences import opacus_engine
from lib.defences.quantile_clipping import QuantileClipping
from lib.study import Run
from lib.training import Member, Quantile, Rule, Schedule, Training, sizes
from lib.training.fit import _form
from lib.training.norms import LEAST
from lib.training.transforms import crop

COUNT, CLASSES = 80, 3


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))


def convolution():
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, CLASSES))


def slow():  # without a closed form
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, CLASSES))


BUILDS = {"linear": (linear, (6,)), "convolution": (convolution, (1, 2, 3)), "slow": (slow, (6,))}


def problem(shape=(6,), **changes):
    random = torch.Generator().manual_seed(0)
    pool = torch.randn(COUNT, *shape, generator=random) * torch.linspace(0.1, 4, COUNT).view(
        -1, *[1] * len(shape))
    labels = torch.randint(CLASSES, (COUNT,), generator=random)
    usual = {"lr": 0.1, "clipping_norm": 1.0, "noise": 0.8, "follows": Quantile(0.6, 0.3, 2.0)}
    return pool, Member(torch.arange(COUNT), labels, 20, **(usual | changes))


def norms_by_hand(module, pool, labels):
    found = []
    for sample, label in zip(pool, labels):
        loss = F.cross_entropy(module(sample[None]), label[None])
        parts = torch.autograd.grad(loss, module.parameters())
        found.append(torch.cat([part.flatten() for part in parts]).norm())
    return torch.stack(found)


# ---- the norm

@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("quantile", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("first", [0.01, 30.0])
def test_the_quantile_of_a_known_distribution_is_followed(name, quantile, first):
    build, shape = BUILDS[name]
    # A rate at which the weights stay, and with them the norms.
    pool, member = problem(shape, lr=1e-9, clipping_norm=first, noise=0.0,
                           follows=Quantile(quantile, 0.1, 0.5))
    found = training.fit(build, pool, [member], Schedule(400)).norms
    norms = norms_by_hand(training.initialise(build, 0), pool, member.labels)
    low, high = (norms.quantile(quantile + by) for by in (-0.1, 0.1))
    assert low < found.item() < high


@pytest.mark.parametrize("name,form", [
    ("linear", "shared"), ("convolution", "direct"), ("slow", "direct")])
def test_a_step_counts_the_records_within_the_norm(monkeypatch, name, form):
    monkeypatch.setattr(sizes, "CPU_STEP_BYTES", 1)  # in chunks of 8
    build, shape = BUILDS[name]
    pool, member = problem(shape)
    norms = [norms_by_hand(training.initialise(build, seed), pool, member.labels)[:25]
             for seed in (0, 1)]
    bounds = [own.quantile(share).item() + 1e-4 for own, share in zip(norms, (0.25, 0.75))]
    group = [dataclasses.replace(member, clipping_norm=bound, init_seed=seed)
             for seed, bound in enumerate(bounds)]
    states = torch.stack([training.flatten(training.initialise(build, seed)) for seed in (0, 1)])
    assert _form(build(), pool, group, Schedule(1)) == form
    step = training.Step(training.initialise(build, 0), states, pool, group, Schedule(1))
    indices = torch.arange(30).expand(len(step.drawing), -1)
    step.group.gradient_sums(indices, (indices < 25).float())  # the others are absent
    assert step.following.within.tolist() == [7, 19]


def test_the_update_is_geometric_in_the_centred_count():
    pool, member = problem(follows=Quantile(0.6, 0.3, 0.0), noise=0.0)
    chosen = next(training.member_batches(member, "poisson", pool.device))
    norms = norms_by_hand(training.initialise(linear, 0), pool, member.labels)[chosen]
    within = (norms <= 1).sum().item()
    # Divided by the expected 20 records, and centred, so that the batch's size hardly matters.
    share = (within - len(chosen) / 2) / 20 + 0.5
    found = training.fit(linear, pool, [member], Schedule(1)).norms.item()
    assert len(chosen) != 20 and found == pytest.approx(math.exp(-0.3 * (share - 0.6)))


def test_the_noise_on_the_count_has_its_deviation():
    pool, member = problem(lr=1e-9, noise=0.0, follows=Quantile(0.6, 0.0625, 40.0))
    schedule = Schedule(1, sampling="shuffle")
    member = dataclasses.replace(member, batch_size=COUNT)
    group = [dataclasses.replace(member, noise_seed=seed) for seed in range(400)]
    shares = 0.6 - training.fit(linear, pool, group, schedule).norms.log() / 0.0625
    norms = norms_by_hand(training.initialise(linear, 0), pool, member.labels)
    within = (norms <= 1).float().mean().item()
    assert shares.mean().item() == pytest.approx(within, abs=0.08)  # 3 standard errors
    assert shares.std().item() == pytest.approx(40 / COUNT, rel=0.11)


def test_the_norm_stays_within_what_float32_holds():
    pool, member = problem(follows=Quantile(0.5, 20.0, 0.0), noise=0.3)
    start = torch.zeros(7 * CLASSES)
    start[-CLASSES] = 200.0  # of the first class's bias: gradients of exactly 0
    member = dataclasses.replace(member, lr=1e-9, labels=torch.zeros(COUNT).long(), start=start)
    found = training.fit(linear, torch.zeros_like(pool), [member], Schedule(30))
    assert found.norms.item() == pytest.approx(LEAST) and found.parameters.isfinite().all()


# ---- the noise on the gradients

@pytest.mark.parametrize("models", [1, 3])
def test_the_noise_follows_the_norm(models):
    """Gradients of almost 0 are all within the norm, which then falls by a known factor a step."""
    pool = torch.rand(COUNT, 500)
    member = Member(torch.arange(COUNT), torch.full((COUNT, CLASSES), 1 / CLASSES), COUNT, 1e-6,
                    clipping_norm=2.0, noise=3.0, follows=Quantile(0.5, 0.4, 0.0),
                    start=torch.zeros(501 * CLASSES))
    fixed = dataclasses.replace(member, follows=None)
    group = [member, fixed, dataclasses.replace(member, noise=6.0, noise_seed=1)][:models]
    points = tuple(range(1, 9))
    found = training.fit(lambda: nn.Sequential(nn.Linear(500, CLASSES)), pool, group,
                         Schedule(8, sampling="shuffle", snapshots=points))
    before = torch.zeros(models, 501 * CLASSES)
    for step in points:
        moved = (found.snapshots[step] - before) * COUNT / 1e-6
        before = found.snapshots[step]
        fallen = math.exp(-0.2 * (step - 1))  # exp(-rate (1 - quantile)) before each step
        expected = [3.0 * fallen, 3.0, 6.0 * fallen][:models]
        assert moved.std(1).tolist() == pytest.approx(expected, rel=0.07)
    norms = [2 * math.exp(-0.2 * 8), 2.0, 2 * math.exp(-0.2 * 8)][:models]
    assert found.norms.tolist() == pytest.approx(norms)


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("precision", ["float32", "fast"])
def test_a_model_alone_and_in_a_group_agree(name, precision):
    build, shape = BUILDS[name]
    pool, member = problem(shape)
    group = [member, dataclasses.replace(member, follows=None),
             dataclasses.replace(member, noise_seed=5, steps=30),
             dataclasses.replace(member, follows=Quantile(0.2, 0.1, 5.0), lr=0.02),
             dataclasses.replace(member, clipping_norm=math.inf, noise=0.0, follows=None)]
    schedule = Schedule(60, Rule("sgd", 0.9), precision=precision)
    together = training.fit(build, pool, group, schedule)
    for model, one in enumerate(group):
        alone = training.fit(build, pool, [one], schedule)
        torch.testing.assert_close(together.norms[model], alone.norms[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(together.parameters[model], alone.parameters[0], rtol=1e-3,
                                   atol=2e-3)
    assert together.norms[1] == 1 and together.norms[4] == math.inf
    assert len({round(norm, 6) for norm in together.norms.tolist()}) == 5


def test_a_quantile_of_rate_0_is_fixed_clipping():
    pool, member = problem(follows=Quantile(0.6, 0.0, 2.0))
    still = training.fit(linear, pool, [member], Schedule(20))
    fixed = training.fit(linear, pool, [dataclasses.replace(member, follows=None)], Schedule(20))
    assert torch.equal(still.parameters, fixed.parameters) and still.norms.item() == 1


# ---- the guarantee

def joint_epsilon(z, count_noise, q, steps, delta, *, change=0.5, bins=300):
    """Epsilon of the pair that a step releases, from its two-dimensional densities alone.

    Both coordinates are cut into bins, whose probabilities dp-accounting composes; `change`: of the
    count by a record.
    """
    def cells(shift, scale):
        edges = torch.linspace(-9, 9, bins + 1, dtype=torch.float64)
        return torch.tensor(normal.cdf((edges.numpy() - shift) / scale)).diff()
    # In units of each coordinate's noise.
    moved = torch.outer(cells(1 / z, 1.0), cells(change / count_noise, 1.0)).flatten()
    base = torch.outer(cells(0.0, 1.0), cells(0.0, 1.0)).flatten()
    mixed = (1 - q) * base + q * moved
    found = (base > 1e-18) & (mixed > 1e-18)

    def logs(masses):
        return dict(enumerate(masses[found].log().tolist()))
    lower, upper = logs(base), logs(mixed)
    return max(
        pld.privacy_loss_distribution.from_two_probability_mass_functions(
            *pair, value_discretization_interval=1e-3).self_compose(steps).get_epsilon_for_delta(
                delta)
        for pair in ((lower, upper), (upper, lower)))


@pytest.mark.parametrize("z,count_noise,steps", [(1.0, 0.4, 40), (0.8, 2.0, 100), (2.0, 0.6, 1)])
def test_the_guarantee_is_that_of_the_joint_mechanism(z, count_noise, steps):
    run = Run(train_size=1000, training=Training(batch_size=50, epochs=steps / 20))
    ours = QuantileClipping(z, count_noise=count_noise).guarantee(run, 1000)
    assert (ours.steps, ours.sample_rate, ours.sampler) == (steps, 0.05, "poisson")
    expected = joint_epsilon(z, count_noise, 0.05, steps, 1e-5)
    assert ours.epsilon == pytest.approx(expected, rel=0.02)
    free = privacy.dpsgd_epsilon(z, 0.05, steps, 1e-5)
    uncentred = joint_epsilon(z, count_noise, 0.05, steps, 1e-5, change=1.0)
    assert free < ours.epsilon < uncentred


def test_the_count_is_charged_as_in_the_paper():
    """Andrew et al., theorem 1: z of the gradients, for a whole z and the noise on the count."""
    for whole, count_noise in ((1.0, 5.0), (0.5, 1.0)):
        z = (whole**-2 - (2 * count_noise) ** -2) ** -0.5
        assert QuantileClipping(z, count_noise=count_noise).whole_multiplier == pytest.approx(whole)


RUN = Run(train_size=1000, training=Training(batch_size=50, epochs=1.0))


@pytest.mark.parametrize("defence,changes,why", [
    (QuantileClipping(0.0), {}, "no noise on the gradients"),
    (QuantileClipping(count_noise=0.0), {}, "no noise on the number of unclipped"),
    (QuantileClipping(), {"sampling": "shuffle"}, "Poisson batches only"),
])
def test_where_nothing_is_guaranteed_the_reason_is_given(defence, changes, why):
    run = RUN.with_(**{f"training__{name}": value for name, value in changes.items()})
    found = defence.guarantee(run, 1000)
    assert not found.holds and found.epsilon == math.inf and why in str(found)


def test_transforms_keep_the_guarantee_unless_they_mix_a_batch(monkeypatch):
    moved = RUN.with_(training__transforms=(crop.Transform(2),))
    assert QuantileClipping().guarantee(moved, 1000).holds
    monkeypatch.setattr(crop.Transform, "mixes", "batch")
    found = QuantileClipping().guarantee(moved, 1000)
    assert not found.holds and "mixes private records" in found.note


# ---- as a defence

TINY = Run(train_size=300, test_size=100, model="linear", attack=BadNets(7, 1, 0.5),
           training=Training(epochs=2.0, batch_size=50))


def test_a_row_has_its_final_norm_and_its_guarantee(store):
    runs = [TINY.with_(defence=QuantileClipping(quantile=quantile, initial_norm=0.1))
            for quantile in (0.2, 0.8)]
    rows = study.run(runs)
    assert (rows["status"] == "ok").all() and (rows["group_size"] == 2).all()
    low, high = rows["facts.final_norm"]
    assert 0.1 < low < high
    assert rows["epsilon"][0] == privacy.dpsgd_epsilon(runs[0].defence.whole_multiplier, 1 / 6, 12,
                                                       1e-5)
    assert rows["noise_multiplier"][0] == pytest.approx((1 + 20**-2) ** -0.5)
    alone = study.fit(runs[1])[0]
    assert alone.facts["final_norm"] == pytest.approx(high, rel=1e-4)


@pytest.mark.parametrize("settings", [
    {"noise_multiplier": -1.0}, {"noise_multiplier": math.inf}, {"count_noise": -1.0},
    {"rate": 0.0}, {"initial_norm": 0.0}, {"initial_norm": math.inf}, {"quantile": 0.0},
    {"quantile": 1.0}, {"delta": 0.0}])
def test_settings_out_of_range_are_refused_in_a_line(settings):
    (name, value), = settings.items()
    with pytest.raises(ValueError, match=rf"quantile_clipping: {name} {value}: expected") as error:
        QuantileClipping(**settings)
    assert "\n" not in str(error.value)


def test_members_that_cannot_follow_a_quantile_are_refused():
    pool, member = problem(clipping_norm=math.inf, noise=0.0)
    with pytest.raises(ValueError, match="expected a finite norm to start from"):
        training.fit(linear, pool, [member], Schedule(1))
    with pytest.raises(ValueError, match="Opacus engines keep their clipping norms"):
        opacus_engine.fitter(ghost=False)(linear, pool, [problem()[1]], Schedule(1))
    for values in ((1.5, 0.1, 1.0), (0.5, -0.1, 1.0), (0.5, 0.1, math.inf)):
        with pytest.raises(ValueError, match="expected"):
            Quantile(*values)
