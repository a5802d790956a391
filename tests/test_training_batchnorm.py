"""Batch normalisation: allowed where no member clips, and then what plain PyTorch does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import training
from lib.training import Member, Rule, Schedule


def build():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


def problem(count=40):
    random = torch.Generator().manual_seed(1)
    pool = torch.randint(256, (count, 1, 8, 8), generator=random, dtype=torch.uint8)
    return pool, torch.randint(3, (count,), generator=random)


def members(labels, steps=(6, 4), size=12.0):
    return [
        Member(
            torch.arange(len(labels)),
            labels,
            size,
            0.05,
            init_seed=seed,
            batch_seed=seed,
            steps=own,
        )
        for seed, own in enumerate(steps)
    ]


def plain(pool, one, how, steps, kept=()):
    """A loop of plain PyTorch: the module after `steps`, and its iterates."""
    module = training.initialise(build, one.init_seed)
    optimizer = torch.optim.SGD(module.parameters(), one.lr, momentum=0.9, weight_decay=0.01)
    batches, iterates = training.member_batches(one, how, pool.device), [training.flatten(module)]
    for _ in range(steps):
        chosen = next(batches)
        optimizer.zero_grad()
        if len(chosen):
            total = F.cross_entropy(module(pool[chosen] / 255), one.labels[chosen], reduction="sum")
            (total / (one.batch_size if how == "poisson" else len(chosen))).backward()
        optimizer.step()
        iterates.append(training.flatten(module))
    return module, iterates


@pytest.mark.parametrize("how", ["poisson", "shuffle"])
def test_training_equals_plain_pytorch(how):
    pool, labels = problem()
    group, rule = members(labels), Rule("sgd", 0.9, weight_decay=0.01)
    schedule = Schedule(6, rule, how, snapshots=(3, 6), averages=("tail", "ema"))
    trained = training.fit(build, pool, group, schedule)
    for model, (one, steps) in enumerate(zip(group, (6, 4))):
        for step, after in ((3, 3), (6, steps), (None, steps)):
            module, iterates = plain(pool, one, how, after)
            torch.testing.assert_close(
                trained.state(model, step=step), iterates[-1], rtol=1e-4, atol=1e-5
            )
            torch.testing.assert_close(
                trained.predict(pool, model=model, step=step),
                module.eval()(pool / 255),
                rtol=1e-3,
                atol=1e-4,
            )
        tail = torch.stack(iterates[steps // 2 + 1 :]).mean(0)
        found = trained.state(model, weights="tail")
        counted = found - tail  # numbers of batches are counted, and never read
        assert counted.abs().sort().values[:-2].max() < 1e-5


def test_statistics_are_a_models_own_and_of_the_records_that_are_present():
    pool, labels = problem()
    small, large = (Member(torch.arange(len(labels)), labels, size, 0.05) for size in (4, 16))
    together = training.fit(build, pool, [small, large], Schedule(3, sampling="shuffle"))
    for model, one in enumerate((small, large)):
        alone = training.fit(build, pool, [one], Schedule(3, sampling="shuffle"))
        torch.testing.assert_close(together.state(model), alone.state(0), rtol=1e-5, atol=1e-6)


def test_an_empty_batch_moves_no_statistics():
    pool, labels = problem()
    trained = training.fit(build, pool, members(labels, (2,), size=1e-9), Schedule(2, Rule("sgd")))
    assert torch.equal(trained.state(0), training.flatten(training.initialise(build, 0)))


def test_statistics_go_on_from_a_state():
    pool, labels = problem()
    one = members(labels, (None,))[0]
    start = training.fit(build, pool, [one], Schedule(3)).state(0)
    again = training.fit(
        build, pool, [Member(one.rows, labels, 12, 0.05, start=start)], Schedule(1)
    )
    running = again.module.state_dict().keys()
    assert len(start) == sum(value.numel() for value in again.module.state_dict().values())
    counts = training.modules.unflatten_buffers(again.module, again.parameters)[
        "1.num_batches_tracked"
    ]
    assert "1.running_mean" in running and counts.tolist() == [4]
    with pytest.raises(ValueError, match="26 buffers"):
        training.fit(
            build, pool, [Member(one.rows, labels, 12, 0.05, start=start[:-1])], Schedule(1)
        )


def test_clipping_refuses_it():
    pool, labels = problem()
    clipped = Member(torch.arange(40), labels, 12, 0.05, clipping_norm=1.0)
    for group in ([clipped], [members(labels)[0], clipped]):
        with pytest.raises(ValueError, match="'1' mixes the samples of a batch.*GroupNorm"):
            training.fit(build, pool, group, Schedule(1))


def test_noise_without_clipping_leaves_the_statistics_alone():
    pool, labels = problem()
    noisy = Member(torch.arange(40), labels, 12, 1e-9, noise=1.0)
    clean = Member(torch.arange(40), labels, 12, 1e-9)
    found = [training.fit(build, pool, [one], Schedule(1)).parameters for one in (noisy, clean)]
    buffers = [training.modules.unflatten_buffers(build(), one)["1.running_mean"] for one in found]
    torch.testing.assert_close(*buffers, rtol=1e-5, atol=1e-6)
