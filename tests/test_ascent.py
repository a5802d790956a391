"""Projected gradient ascent, against a loop over single records and closed forms."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lib.training.ascent import Ball, ascend, check_steps

SHAPE = (2, 5, 6)


def by_hand(losses, image, ball, step, steps, start, valid):
    """One record's ascent, as the papers write it."""
    x = (image + start).clamp(*valid)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        gradient, = torch.autograd.grad(losses(x), x)
        if ball.norm == "linf":
            change = x + step * gradient.sign() - image
            change = change.clamp(-ball.radius, ball.radius)
        else:
            change = x + step * gradient / gradient.norm() - image
            change = change * min(1.0, ball.radius / change.norm().item())
        x = (image + change).clamp(*valid)
    return x.detach()


def network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 4))


def cross_entropies(net, labels, seen):
    """Losses of images [n, ...], or of one."""
    found = net(seen.view(-1, *SHAPE) / 255)
    return nn.functional.cross_entropy(found, labels.view(-1), reduction="none").view(labels.shape)


def images(*leading, seed=0):
    return 255 * torch.rand(*leading, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ball,step", [(Ball("linf", 20.0), 6.0), (Ball("l2", 60.0), 25.0)])
def test_many_models_ascend_as_one_record_at_a_time(ball, step):
    networks, x = [network(seed) for seed in range(2)], images(2, 3)
    start = ball.draw(6, SHAPE, torch.Generator().manual_seed(1)).unflatten(0, (2, 3))

    def losses(seen):
        return torch.stack([cross_entropies(net, torch.arange(3), own)
                            for net, own in zip(networks, seen)])
    found = ascend(losses, x, ball, step=step, steps=4, start=start)
    for model, net in enumerate(networks):
        alone = ascend(partial(cross_entropies, net, torch.arange(3)), x[model], ball, step=step,
                       steps=4, start=start[model])
        assert torch.allclose(alone, found[model], atol=1e-3)
        for place in range(3):
            one = partial(cross_entropies, net, torch.tensor(place))
            expected = by_hand(one, x[model, place], ball, step, 4, start[model, place], (0, 255))
            assert torch.allclose(found[model, place], expected, atol=1e-3)
    assert (losses(found) > losses(x)).all()
    assert (found >= 0).all() and (found <= 255).all()


@pytest.mark.parametrize("dims", [1, 3])
def test_a_linear_loss_has_a_closed_form(dims):
    shape = SHAPE if dims == 3 else (60,)
    random = torch.Generator().manual_seed(3)
    x, weight = 255 * torch.rand(7, *shape, generator=random), torch.randn(shape, generator=random)

    def losses(seen):
        return (seen * weight).flatten(1).sum(1)
    moved = ascend(losses, x, Ball("linf", 9.0), step=2.0, steps=6, dims=dims)
    assert torch.allclose(moved, (x + 9 * weight.sign()).clamp(0, 255), atol=1e-4)
    moved = ascend(losses, x, Ball("l2", 9.0), step=2.0, steps=6, valid=(-9.0, 264.0), dims=dims)
    assert torch.allclose(moved, x + 9 * weight / weight.norm(), atol=1e-3)
    assert torch.allclose((moved - x).flatten(1).norm(dim=1), torch.tensor(9.0), atol=1e-3)


def test_gradients_too_small_to_square_still_have_a_direction():
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) * 1e-25
    found = Ball("l2", 1.0).steepest(weight[None])
    assert torch.allclose(found[0], weight / 1e-25 / (weight / 1e-25).norm(), atol=1e-5)
    assert not Ball("l2", 1.0).steepest(torch.zeros(1, *SHAPE)).any()


def test_a_step_on_a_flat_loss_moves_nothing():
    x = images(2)
    for norm in ("linf", "l2"):
        found = ascend(lambda seen: 0 * seen.flatten(1).sum(1), x, Ball(norm, 5.0), step=1.0,
                       steps=2)
        assert torch.equal(found, x)


def test_values_outside_of_the_range_go_no_further_out():
    x = torch.tensor([-3.0, 0.5, 300.0]).view(1, 3, 1, 1)
    for sign, expected in ((1, [7.0, 10.5, 300.0]), (-1, [-3.0, 0.0, 290.0])):
        found = ascend(lambda seen, sign=sign: sign * seen.flatten(1).sum(1), x,
                       Ball("linf", 10.0), step=20.0, steps=2)
        assert found.flatten().tolist() == expected


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_are_uniform_in_the_ball(norm):
    ball = Ball(norm, 3.0)
    drawn = ball.draw(4000, (1, 1, 2), torch.Generator().manual_seed(0)).flatten(1)
    lengths = drawn.abs().amax(1) if norm == "linf" else drawn.norm(dim=1)
    assert lengths.max() <= 3.0 + 1e-6
    for share in (0.25, 0.5, 0.75):  # in two dimensions, areas grow with the square
        inside = (lengths <= 3.0 * math.sqrt(share)).double().mean().item()
        assert inside == pytest.approx(share, abs=0.03)
    assert drawn.mean(0).abs().max() < 0.1


@pytest.mark.parametrize("make,says", [
    (lambda: Ball("l1", 1.0), "norm 'l1': expected one of linf, l2"),
    (lambda: Ball("l2", 0.0), "radius 0.0: expected above 0"),
    (lambda: Ball("linf", math.inf), "radius inf"),
    (lambda: check_steps(0.0, 3), "step 0.0: expected above 0"),
    (lambda: check_steps(1.0, 0), "steps 0: expected a whole number of at least 1")])
def test_bad_input_is_one_line(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)
