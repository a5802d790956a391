"""Averaged weights against a loop that keeps all iterates."""

import dataclasses

import pytest
import torch
from torch import nn

from lib import models, training
from lib.study import Run
from lib.training import Member, Rule, Schedule, Training
from lib.training.steps import coefficients

STEPS, KEPT = 11, (1, 2, 5, 8, 11)


def problem(shape=(30,), count=24, classes=3):
    random = torch.Generator().manual_seed(5)
    pool = torch.randn(count, *shape, generator=random)
    name = "head" if len(shape) == 1 else "cnn"
    return (
        (lambda: models.build(name, shape, classes)),
        pool,
        torch.randint(classes, (count,), generator=random),
    )


def members(labels, rows=24, **changes):
    made = []
    for seed, steps in enumerate((None, 4, 7)):
        own = torch.arange(rows)
        made.append(
            Member(
                own, labels[own], 4, 0.1, init_seed=seed, batch_seed=seed, steps=steps, **changes
            )
        )
    return made


def by_hand(iterates, decay):
    """(tail mean, moving average) of iterates [steps + 1, numbers], from the initial weights on."""
    steps = len(iterates) - 1
    tail = iterates[steps // 2 + 1 :].double().mean(0).float()
    moving = iterates[0]
    for earlier, values in enumerate(iterates[1:]):
        now = min(decay, (1 + earlier) / (10 + earlier))
        moving = now * moving + (1 - now) * values
    return tail, moving


def compare(build, pool, group, schedule, decay):
    every = dataclasses.replace(schedule, snapshots=tuple(range(1, STEPS + 1)), averages=())
    kept = training.fit(build, pool, group, every)
    averaged = training.fit(build, pool, group, schedule)
    assert torch.equal(averaged.parameters, kept.parameters)
    for model, one in enumerate(group):
        first = training.flatten(training.initialise(build, one.init_seed))
        iterates = torch.stack(
            [first, *(kept.snapshots[step][model] for step in range(1, STEPS + 1))]
        )
        for step in (*KEPT, None):
            last = min(step or STEPS, one.steps or STEPS)
            for weights, expected in zip(("tail", "ema"), by_hand(iterates[: last + 1], decay)):
                found = averaged.state(model, step=step, weights=weights)
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)
    return averaged


@pytest.mark.parametrize("decay", [0.9999, 0.3])
@pytest.mark.parametrize("private", [False, True])
def test_averages_equal_a_loop_that_keeps_all_iterates(private, decay):
    build, pool, labels = problem()
    settings = dict(clipping_norm=1.0, noise=0.3) if private else {}
    schedule = Schedule(
        STEPS, Rule("sgd", 0.9), snapshots=KEPT, averages=("tail", "ema"), ema_decay=decay
    )
    compare(build, pool, members(labels, **settings), schedule, decay)


def test_averages_in_coefficients_are_those_of_the_weights():
    build, pool, labels = problem()
    schedule = Schedule(
        STEPS,
        Rule("sgd", 0.9, weight_decay=0.1),
        "shuffle",
        snapshots=KEPT,
        averages=("tail", "ema"),
    )
    group = members(labels, rows=9)
    assert coefficients.applies(build(), pool, group, schedule)
    compare(build, pool, group, schedule, 0.9999)


def test_predictions_are_those_of_the_averaged_weights():
    build, pool, labels = problem((1, 28, 28))
    schedule = Schedule(3, averages=("tail", "ema"), snapshots=(2,))
    trained = training.fit(build, pool, members(labels), schedule)
    for weights in ("last", "tail", "ema"):
        for step in (2, None):
            module = training.initialise(build, 0).eval()
            nn.utils.vector_to_parameters(
                trained.state(1, step=step, weights=weights), module.parameters()
            )
            torch.testing.assert_close(
                trained.predict(pool, model=1, step=step, weights=weights),
                module(pool),
                rtol=1e-4,
                atol=1e-5,
            )
    last, tail = (trained.predict(pool, model=1, weights=name) for name in ("last", "tail"))
    assert (last - tail).abs().max() > 1e-4


def test_weights_that_were_not_kept_are_refused():
    build, pool, labels = problem()
    trained = training.fit(build, pool, members(labels), Schedule(2, averages=("ema",)))
    with pytest.raises(ValueError, match="weights 'tail': expected one of last, ema"):
        trained.predict(pool, model=0, weights="tail")


@pytest.mark.parametrize(
    "settings,match",
    [
        (dict(averages=("mean",)), "averages 'mean'"),
        (dict(averages=("ema",), ema_decay=1.0), "ema_decay 1.0"),
    ],
)
def test_averages_out_of_range_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        Training(**settings)
    build, pool, labels = problem()
    with pytest.raises(ValueError, match=match):
        training.fit(build, pool, members(labels), Schedule(1, **settings))


def test_a_spectral_norm_cannot_be_averaged():
    pool, labels = torch.rand(8, 6), torch.zeros(8, dtype=torch.long)
    one = Member(torch.arange(8), labels, 4, 0.1)
    for norm in (nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm):
        with pytest.raises(ValueError, match="layer '.*' has a spectral norm"):
            training.fit(
                lambda norm=norm: nn.Sequential(norm(nn.Linear(6, 3))),
                pool,
                [one],
                Schedule(1, averages=("tail",)),
            )


def test_settings_reach_the_schedule_and_the_key():
    settings = Training(averages=("tail",), ema_decay=0.5)
    schedule = settings.plan(1000, "float32")
    assert (schedule.averages, schedule.ema_decay) == (("tail",), 0.5)
    assert Run().key != Run(training=Training(averages=("tail",))).key


def test_training_goes_on_from_a_state():
    build, pool, labels = problem()
    group = members(labels)[:1]
    plain = Rule("sgd")
    whole = training.fit(build, pool, group, Schedule(6, plain, snapshots=(2,)))
    start = training.fit(build, pool, group, Schedule(2, plain)).state(0)
    assert torch.equal(start, whole.state(0, step=2))
    again = training.fit(
        build, pool, [dataclasses.replace(group[0], start=start)], Schedule(2, plain)
    )
    assert (again.parameters - start).abs().max() > 1e-3


@pytest.mark.parametrize("length", [1, 8000])
def test_a_start_of_another_module_is_refused(length):
    build, pool, labels = problem()
    one = dataclasses.replace(members(labels)[0], start=torch.zeros(length))
    with pytest.raises(
        ValueError,
        match=(
            rf"start with weights of shape \({length},\), from another architecture: expected"
            r" \(8707,\)"
        ),
    ):
        training.fit(build, pool, [one], Schedule(1))
