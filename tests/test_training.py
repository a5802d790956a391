"""The trainer of many models against slow oracles: Opacus, torch.optim, a loop over samples, itself
alone.
"""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import models, training
from lib.defences import opacus_engine
from lib.training import Member, Rule, Schedule, batches, generator
from lib.training.fit import start
from lib.training.steps import closed_form, coefficients, per_sample

SHAPES = {"cnn": (1, 28, 28), "head": (30,), "linear": (2, 5)}


def problem(name, count=64, classes=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    pool = torch.rand(count, *SHAPES[name], generator=random)
    labels = torch.randint(classes, (count,), generator=random)
    return lambda: models.build(name, SHAPES[name], classes), pool, labels


def member(labels, **changes):
    return Member(**(dict(rows=torch.arange(len(labels)), labels=labels, batch_size=16, lr=0.1)
                     | changes))


def per_sample_sum(module, x, labels, bound):
    """The definition: a loop over samples, one backward pass each, clipped over all parameters
    together.
    """
    total = None
    for sample, label in zip(x, labels):
        loss = F.cross_entropy(module(sample[None]), label[None])
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, module.parameters())])
        clipped = flat * min(1.0, bound / flat.norm().item())
        total = clipped if total is None else total + clipped
    return total


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bound", [0.05, 1.0, 1e6])
def test_clipped_sums_equal_a_loop_over_samples(name, bound):
    build, pool, labels = problem(name, 12)
    modules = [training.initialise(build, seed) for seed in range(3)]
    flat = torch.stack([nn.utils.parameters_to_vector(m.parameters()).detach() for m in modules])
    x, y = pool.expand(3, *pool.shape).clone(), labels.expand(3, -1)
    x[1], y = x[1].flip(0), torch.stack([labels, labels.flip(0), labels])
    parameters = training.unflatten(modules[0], flat)
    for sums in (closed_form.gradient_sums, per_sample.sums):
        got = sums(modules[0], parameters, x, y, torch.ones(3, 12), torch.full((3,), bound))
        for model, module in enumerate(modules):
            ours = torch.cat([part[model].flatten() for part in got])
            torch.testing.assert_close(ours, per_sample_sum(module, x[model], y[model], bound),
                                       rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_absent_samples_count_for_nothing(name):
    build, pool, labels = problem(name, 6)
    module = training.initialise(build, 0)
    parameters = training.unflatten(
        module,
        nn.utils.parameters_to_vector(module.parameters()).detach()[None])
    present = torch.tensor([[1.0, 1, 1, 1, 0, 0]])
    for bound in (torch.tensor([0.1]), None):
        with_absent = closed_form.gradient_sums(module, parameters, pool[None], labels[None],
                                                present, bound)
        without = closed_form.gradient_sums(module, parameters, pool[None, :4], labels[None, :4],
                                            present[:, :4], bound)
        for a, b in zip(with_absent, without):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn", "head"])
@pytest.mark.parametrize("ghost", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
def test_private_training_equals_opacus(name, ghost, optimizer):
    build, pool, labels = problem(name)
    one = member(labels, clipping_norm=0.5, noise=0.35, lr=0.01)
    schedule = Schedule(6, Rule(optimizer, 0.9 if optimizer == "sgd" else 0.0))
    ours = training.fit(build, pool, [one], schedule).parameters
    theirs = opacus_engine.fitter(ghost=ghost)(build, pool, [one], schedule).parameters
    # Opacus draws its noise layer by layer from the same generator: the same numbers in the same
    # order. RMSProp and Adam divide by the square root of tiny second moments, which magnifies the
    # last bits.
    loose = 3e-4 if optimizer != "sgd" else 2e-5
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=loose)


@pytest.mark.parametrize("rule", [
    Rule("sgd"),
    Rule("sgd", 0.9),
    Rule("sgd", 0.9, True, 1e-2),
    Rule("rmsprop", 0.0, False, 1e-3),
    Rule("rmsprop", 0.5),
    Rule("adam", 0.0, False, 1e-3)
])
def test_plain_training_equals_torch_optim(rule):
    build, pool, labels = problem("head")
    one, schedule = member(labels), Schedule(20, rule, decay=((0.5, 0.1),))
    ours = training.fit(build, pool, [one], schedule).parameters[0]
    module = training.initialise(build, 0)
    optimizer = opacus_engine.torch_optimizer(module, one.lr, schedule)
    batches = training.member_batches(one, "poisson", pool.device)
    for number in range(schedule.steps):
        optimizer.param_groups[0]["lr"] = one.lr * (0.1 if number >= 10 else 1.0)
        chosen = next(batches)
        optimizer.zero_grad()
        (F.cross_entropy(module(pool[chosen]), labels[chosen], reduction="sum") / 16).backward()
        optimizer.step()
    torch.testing.assert_close(ours, nn.utils.parameters_to_vector(module.parameters()), rtol=1e-4,
                               atol=1e-5)


def test_noise_is_on_the_sum_and_is_divided_by_the_expected_batch_size():
    build, pool, labels = problem("head", 400)
    lr, z, bound, expected = 1.0, 3.0, 0.7, 50
    # Clipped to almost nothing, a step is the noise alone.
    one = member(labels, batch_size=expected, clipping_norm=1e-12, noise=z * bound, lr=lr)
    start = nn.utils.parameters_to_vector(training.initialise(build, 0).parameters())
    moved = training.fit(build, pool, [one], Schedule(1)).parameters[0] - start
    assert moved.std().item() == pytest.approx(lr * z * bound / expected, rel=0.05)
    assert abs(moved.mean().item()) < 0.05 * moved.std().item()


def test_fast_precision_never_exceeds_the_clipping_norm():
    build, pool, labels = problem("head", 64)
    module = training.initialise(build, 0)
    one = member(labels, batch_size=64, clipping_norm=0.2)
    step = training.Step(module,
                         nn.utils.parameters_to_vector(module.parameters()).detach()[None], pool,
                         [one], Schedule(1, precision="fast"))
    assert step.group.bounds.item() < 0.2 * (1 - 2**-8)
    alone = step.group.gradient_sums(torch.tensor([[3]]), torch.ones(1, 1))
    assert alone.norm().item() <= 0.2


@pytest.mark.parametrize("name,private", [("head", True), ("head", False), ("cnn", True),
                                          ("cnn", False)])
def test_a_run_alone_and_in_a_group_agree(name, private):
    build, pool, labels = problem(name)
    settings = dict(clipping_norm=1.0, noise=0.5) if private else {}
    group = [
        member(labels, init_seed=seed, batch_seed=seed, noise_seed=seed, lr=0.02 * (seed + 1),
               **settings) for seed in range(3)
    ]
    schedule = Schedule(100 if name == "head" else 30, Rule("sgd", 0.9))
    together = training.fit(build, pool, group, schedule)
    for model, one in enumerate(group):
        alone = training.fit(build, pool, [one], schedule)
        torch.testing.assert_close(together.parameters[model], alone.parameters[0], rtol=0,
                                   atol=1e-3)


def test_members_that_are_one_training_are_trained_once(monkeypatch):
    build, pool, labels = problem("head")
    one = member(labels, clipping_norm=1.0, noise_seed=1)
    others = [dataclasses.replace(one, noise_seed=2),  # without noise its seed does not matter
              dataclasses.replace(one, batch_seed=5), dataclasses.replace(one, lr=0.2),
              dataclasses.replace(one, noise=0.5),
              dataclasses.replace(one, labels=labels.flip(0))]
    trained = []
    whole = training.fit.__globals__["_fit_group"]
    monkeypatch.setitem(training.fit.__globals__, "_fit_group",
                        lambda *given, **how: trained.extend(given[3]) or whole(*given, **how))
    found = training.fit(build, pool, [one, one, *others], Schedule(3, snapshots=(1,)))
    assert len(trained) == 5
    assert len({tuple(each.tolist()) for each in found.parameters}) == 5
    for same in (1, 2):
        assert torch.equal(found.parameters[same], found.parameters[0])
        assert torch.equal(found.snapshots[1][same], found.snapshots[1][0])
    monkeypatch.undo()
    for place, other in enumerate(others, start=2):
        alone = training.fit(build, pool, [other], Schedule(3)).parameters[0]
        torch.testing.assert_close(found.parameters[place], alone, rtol=0, atol=1e-6)


def test_draws_are_the_same_bit_for_bit_whatever_the_group():
    random = [generator("batches", 5) for _ in range(2)]
    first, second = (batches.poisson(100, 0.3, r) for r in random)
    for _ in range(5):
        assert torch.equal(next(first), next(second))
    assert not torch.equal(torch.rand(9, generator=generator("noise", 5)),
                           torch.rand(9, generator=generator("batches", 5)))


def test_poisson_batches_are_independent_with_the_right_rate():
    drawn = batches.poisson(1000, 0.1, generator("batches", 1))
    sizes = torch.tensor([len(next(drawn)) for _ in range(300)], dtype=torch.float64)
    assert sizes.mean().item() == pytest.approx(100, abs=4 * math.sqrt(90 / 300))
    assert sizes.var().item() == pytest.approx(90, rel=0.35)  # a fixed size would have variance 0


def test_batches_of_a_member_are_what_the_accountants_assume():
    one = member(torch.zeros(1000, dtype=torch.long), batch_size=100)
    sizes = {}
    for how in ("poisson", "shuffle"):
        batches = training.member_batches(one, how, torch.device("cpu"))
        sizes[how] = torch.tensor([len(next(batches)) for _ in range(300)], dtype=torch.float64)
    assert sizes["poisson"].mean().item() == pytest.approx(100, abs=4 * math.sqrt(90 / 300))
    assert sizes["poisson"].var().item() == pytest.approx(90, rel=0.35)
    assert sizes["shuffle"].eq(100).all()


def test_shuffled_batches_visit_every_record_once_an_epoch():
    drawn = batches.shuffled(10, 4, generator("batches", 1))
    assert sorted(torch.cat([next(drawn) for _ in range(3)]).tolist()) == list(range(10))


def test_an_empty_poisson_batch_is_a_step_of_noise_alone():
    build, pool, labels = problem("head", 40)
    tiny = member(labels, batch_size=0.01, clipping_norm=1.0, noise=1.0)
    assert torch.isfinite(training.fit(build, pool, [tiny], Schedule(3)).parameters).all()


def test_soft_labels_train_as_hard_ones_do():
    build, pool, labels = problem("head")
    hard = training.fit(build, pool, [member(labels, clipping_norm=1.0)], Schedule(10))
    soft = training.fit(build, pool, [member(F.one_hot(labels, 4).float(), clipping_norm=1.0)],
                        Schedule(10))
    torch.testing.assert_close(hard.parameters, soft.parameters, rtol=1e-4, atol=1e-5)


def test_snapshots_are_the_model_at_that_step():
    build, pool, labels = problem("head")
    long = training.fit(build, pool, [member(labels)], Schedule(20, snapshots=(5, 20)))
    short = training.fit(build, pool, [member(labels)], Schedule(5))
    assert torch.equal(long.snapshots[5], short.parameters)
    assert torch.equal(long.snapshots[20], long.parameters)


def test_layers_without_a_closed_form_take_the_slow_path():
    def build():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(),
                             nn.Linear(4 * 26 * 26, 4))
    _, pool, labels = problem("cnn", 16)
    one = member(labels, batch_size=8, clipping_norm=0.5, noise=0.1)
    ours = training.fit(build, pool, [one], Schedule(2)).parameters
    theirs = opacus_engine.fitter(ghost=False)(build, pool, [one], Schedule(2)).parameters
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["head", "cnn"])
def test_a_record_without_a_finite_gradient_counts_for_nothing(name):
    build, pool, labels = problem(name, 8)
    broken = pool.clone()
    broken[3] = math.inf
    module = training.initialise(build, 0)
    parameters = training.unflatten(
        module,
        nn.utils.parameters_to_vector(module.parameters()).detach()[None])
    present = torch.ones(1, 8)
    without = present.clone()
    without[0, 3] = 0
    for sums in (closed_form.gradient_sums, per_sample.sums):
        got = sums(module, parameters, broken[None], labels[None], present, torch.tensor([1.0]))
        expected = sums(module, parameters, pool[None], labels[None], without, torch.tensor([1.0]))
        for a, b in zip(got, expected):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_slack_covers_factors_rounded_to_bfloat16():
    random = torch.Generator().manual_seed(0)
    for _ in range(50):
        error, activation = torch.randn(30, generator=random), torch.randn(40, generator=random)
        scale = training.slack("fast") / (error.norm() * activation.norm())
        rounded = torch.outer((error * scale).bfloat16().double(), activation.bfloat16().double())
        assert rounded.norm().item() <= 1.0
    worst = 1 + 2**-8 - 2**-12  # a mantissa just below half a step is rounded up by nearly 2^-8
    assert (torch.tensor(worst).bfloat16().item() / worst) ** 2 * training.slack("fast") <= 1.0


def test_inplace_layers_take_the_slow_path_and_dropout_is_refused():
    def inplace():
        return nn.Sequential(nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(inplace=True),
                             nn.Linear(8, 4))

    def plain():
        return nn.Sequential(nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(
            8, 4))
    _, pool, labels = problem("head")
    one = member(labels, clipping_norm=0.5)
    torch.testing.assert_close(
        training.fit(inplace, pool, [one], Schedule(5)).parameters,
        training.fit(plain, pool, [one], Schedule(5)).parameters)
    with pytest.raises(ValueError, match="RReLU. draws random numbers"):
        training.fit(lambda: nn.Sequential(nn.Linear(30, 4), nn.RReLU()), pool, [one], Schedule(1))
    with pytest.raises(ValueError, match="dropout"):
        training.fit(lambda: nn.Sequential(nn.Linear(30, 8), nn.Dropout(0.5), nn.Linear(8, 4)),
                     pool, [one], Schedule(1))


def test_a_step_in_chunks_equals_a_step_at_once(monkeypatch):
    from lib.training import sizes
    build, pool, labels = problem("head")
    one = member(labels, clipping_norm=0.5, noise=0.1)
    at_once = training.fit(build, pool, [one, one], Schedule(5)).parameters
    monkeypatch.setattr(sizes, "CPU_STEP_BYTES", 1)  # eight samples at a time
    monkeypatch.setattr(sizes, "CACHE_NUMBERS", 1)  # one model at a time
    in_chunks = training.fit(build, pool, [one, one], Schedule(5)).parameters
    torch.testing.assert_close(at_once, in_chunks, rtol=1e-4, atol=1e-6)
    module = training.initialise(build, 0)
    assert sizes.models_at_once(module, pool, [one], Schedule(5)) == 1
    assert sizes.samples_at_once(module, pool.device, models=1, numbers=100) == 8


def test_batch_normalisation_is_refused_where_a_member_clips():
    _, pool, labels = problem("cnn", 16)
    with pytest.raises(ValueError, match="GroupNorm"):
        training.fit(
            lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(),
                                  nn.Linear(1352, 4)), pool,
            [member(labels, batch_size=8, clipping_norm=1.0)], Schedule(1))


@pytest.mark.parametrize("changes,match",
                         [(dict(batch_size=65), "65"), (dict(batch_size=0), "batch_size 0"),
                          (dict(lr=0.0), "lr 0"), (dict(noise=-1.0), "noise -1"),
                          (dict(clipping_norm=0.0), "norm 0"),
                          (dict(labels=torch.zeros(3, dtype=torch.long)), "3 labels")])
def test_members_out_of_range_are_refused(changes, match):
    build, pool, labels = problem("head")
    settings = {"labels": labels, "rows": torch.arange(64)} | changes
    with pytest.raises(ValueError, match=match):
        training.fit(build, pool, [member(**settings)], Schedule(1))


@pytest.mark.parametrize("schedule,match", [(Schedule(1, Rule("lion")), "lion"),
                                            (Schedule(1, sampling="cyclic"), "cyclic"),
                                            (Schedule(1, precision="fp8"), "fp8")])
def test_schedules_out_of_range_are_refused(schedule, match):
    build, pool, labels = problem("head")
    with pytest.raises(ValueError, match=match):
        training.fit(build, pool, [member(labels)], schedule)


def test_the_cnn_is_the_papers():
    module = models.build("cnn", (1, 28, 28), 10)
    assert sum(p.numel() for p in module.parameters()) == 26_010
    assert module(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("rule", [
    Rule("sgd"),
    Rule("sgd", 0.9, weight_decay=0.01),
    Rule("sgd", 0.9, nesterov=True, weight_decay=0.01)
])
@pytest.mark.parametrize("how", ["shuffle", "poisson"])
def test_the_gram_form_is_the_same_training(monkeypatch, rule, how):
    build, pool, labels = problem("head", 40)
    random = torch.Generator().manual_seed(1)
    members = [
        Member(
            torch.randperm(40, generator=random)[:count], labels[:count], 4, 0.1, init_seed=seed,
            batch_seed=seed) for seed, count in enumerate((13, 15, 9))
    ]
    schedule = Schedule(60, rule, how, decay=((0.5, 0.3),), snapshots=(20, 60))
    assert coefficients.applies(build(), pool, members, schedule)
    by_inputs = training.fit(build, pool, members, schedule)
    monkeypatch.setattr(coefficients, "MAX_RATIO", 0.0)
    direct = training.fit(build, pool, members, schedule)
    torch.testing.assert_close(by_inputs.parameters, direct.parameters, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(by_inputs.snapshots[20], direct.snapshots[20], rtol=1e-4, atol=1e-5)
    assert (direct.parameters[0] - start(build, members[0])).abs().max() > 0.1


@pytest.mark.parametrize("change", [dict(clipping_norm=1.0), dict(noise=0.1)])
def test_the_gram_form_is_not_taken_where_it_is_wrong(change):
    build, pool, labels = problem("head", 12)
    assert coefficients.applies(build(), pool, [member(labels[:12])], Schedule(1))
    assert not coefficients.applies(build(), pool, [member(labels[:12], **change)], Schedule(1))
    assert not coefficients.applies(build(), pool, [member(labels[:12])], Schedule(1, Rule("adam")))
    build, pool, labels = problem("cnn", 12)
    assert not coefficients.applies(build(), pool, [member(labels[:12])], Schedule(1))


@pytest.mark.parametrize("name", ["cnn", "head"])
def test_evidence_is_cross_entropy_against_the_posterior(name):
    build, pool, _ = problem(name, 12)
    evidence = torch.randn(12, 4, generator=torch.Generator().manual_seed(2))
    module = training.initialise(build, 0)
    parameters = training.unflatten(
        module,
        nn.utils.parameters_to_vector(module.parameters()).detach()[None])
    logits = module(pool)
    posterior = torch.softmax(logits, 1).detach() * evidence.exp()
    loss = -(posterior / posterior.sum(1, keepdim=True) * torch.log_softmax(logits, 1)).sum()
    expected = torch.autograd.grad(loss, list(module.parameters()))
    for sums in (closed_form.gradient_sums, per_sample.sums):
        got = sums(module, parameters, pool[None], evidence[None], torch.ones(1, 12), None,
                   kind="evidence")
        for ours, theirs in zip(got, expected):
            torch.testing.assert_close(ours[0], theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule",
                         [Rule("sgd", 0.9, weight_decay=0.1),
                          Rule("adam", weight_decay=0.1)])
def test_a_member_with_fewer_steps_rests(rule):
    build, pool, labels = problem("linear", 40)
    members = [
        member(labels, steps=steps, init_seed=seed, batch_seed=seed)
        for seed, steps in enumerate((5, None, 9))
    ]
    schedule = Schedule(12, rule, decay=((0.5, 0.1),), ramp=0.3, snapshots=(6, 12))
    together = training.fit(build, pool, members, schedule)
    for model, steps in enumerate((5, 12, 9)):
        alone = training.fit(build, pool, [dataclasses.replace(members[model], steps=None)],
                             dataclasses.replace(schedule, steps=steps, snapshots=(steps, )))
        torch.testing.assert_close(together.parameters[model], alone.parameters[0], rtol=1e-5,
                                   atol=1e-6)
    torch.testing.assert_close(together.snapshots[6][0], together.parameters[0])
    assert (together.snapshots[6][1] - together.parameters[1]).abs().max() > 1e-3


def test_training_continues_from_given_weights():
    build, pool, labels = problem("head")
    half = training.fit(build, pool, [member(labels)], Schedule(5)).parameters[0]
    ended = training.fit(build, pool, [member(labels, start=half, batch_seed=7)],
                         Schedule(1)).parameters[0]
    assert 0 < (ended - half).norm() < 0.1 * half.norm()


def test_the_learning_rate_climbs_and_falls():
    schedule = Schedule(50, decay=((0.6, 0.1), (0.8, 0.1)), ramp=0.6)
    factors = [schedule.factor(step, 50) for step in (0, 14, 29, 30, 39, 40, 49, 50)]
    assert factors == pytest.approx([1 / 30, 0.5, 1.0, 0.1, 0.1, 0.01, 0.01, 0.0])


def test_a_resnet_trains_alone_as_in_a_group_and_can_be_clipped():
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.randint(256, (12, 1, 28, 28), generator=random,
                                 dtype=torch.uint8), torch.randint(3, (12, ), generator=random)
    schedule = Schedule(2, Rule("sgd", 0.9), "shuffle")

    def build():
        return models.resnet((1, 28, 28), 3, units=1)
    for private in ({}, {"clipping_norm": 0.5}):
        members = [
            Member(torch.arange(12), labels, 6, 0.1, init_seed=seed, batch_seed=seed, **private)
            for seed in range(2)
        ]
        together = training.fit(build, pool, members, schedule)
        alone = training.fit(build, pool, members[1:], schedule)
        assert torch.allclose(together.parameters[1], alone.parameters[0], atol=1e-5)
        assert together.predict(pool, model=0).shape == (12, 3)
