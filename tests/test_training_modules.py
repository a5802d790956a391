"""Modules that the closed forms do not fit, against a loop over samples and the module itself."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from lib import training
from lib.training import Member, Rule, Schedule
from lib.training.steps import closed_form

IMAGE, VECTOR, CLASSES = (2, 6, 6), (12,), 3


class Standardised(nn.Conv2d):
    """A weight-standardised convolution, common in work on DP-SGD."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-3)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Residual(nn.Sequential):
    def forward(self, x):
        return x[:, :CLASSES] + super().forward(x)


def dense(first=None, *, middle=nn.ReLU):
    return nn.Sequential(first or nn.Linear(12, 8), middle(), nn.Linear(8, CLASSES))


def convolution(first=None):
    first = first or nn.Conv2d(2, 4, 3)
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES))


def hooked(register, place=0):
    module = dense()
    layer = module if place is None else module[place]
    getattr(layer, register)(
        lambda _, x: x[0] * 3 if register == "register_forward_pre_hook" else None
    )
    return module


def hooked_after():
    module = dense()
    module[0].register_forward_hook(lambda layer, x, out: out * 2 + 1)
    return module


def frozen():
    module = dense()
    module[0].weight.requires_grad_(False)
    module[2].bias.requires_grad_(False)
    return module


def twice():
    shared = nn.Linear(12, 12)
    return nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(12, CLASSES))


def tied():
    module = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12), nn.Linear(12, CLASSES))
    module[2].weight = module[0].weight
    return module


def own_function():
    module = dense()
    module[0].forward = lambda x, layer=module[0]: F.linear(x, layer.weight, -layer.bias)
    return module


def extra():
    module = dense()
    module[1].register_parameter("unused", nn.Parameter(torch.ones(2)))
    return module


def named():
    return nn.Sequential(
        OrderedDict(first=nn.Linear(12, 8), relu=nn.ReLU(), last=nn.Linear(8, CLASSES))
    )


MODULES = {
    "a Conv2d with its own forward": (IMAGE, lambda: convolution(Standardised(2, 4, 3))),
    "a Linear with its own forward": (VECTOR, lambda: dense(Doubled(12, 8))),
    "a Sequential with its own forward": (VECTOR, lambda: Residual(*dense())),
    "a forward hook": (VECTOR, hooked_after),
    "a forward pre-hook": (VECTOR, lambda: hooked("register_forward_pre_hook")),
    "a pre-hook of the whole": (VECTOR, lambda: hooked("register_forward_pre_hook", None)),
    "frozen parameters": (VECTOR, frozen),
    "named children": (VECTOR, named),
    "a layer used twice": (VECTOR, twice),
    "a weight used twice": (VECTOR, tied),
    "old weight_norm": (VECTOR, lambda: dense(nn.utils.weight_norm(nn.Linear(12, 8)))),
    "weight_norm": (IMAGE, lambda: convolution(parametrizations.weight_norm(nn.Conv2d(2, 4, 3)))),
    "old spectral_norm": (VECTOR, lambda: dense(nn.utils.spectral_norm(nn.Linear(12, 8)))),
    "spectral_norm": (
        IMAGE,
        lambda: convolution(parametrizations.spectral_norm(nn.Conv2d(2, 4, 3))),
    ),
    "Linear before Flatten": (
        IMAGE,
        lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Flatten(), nn.Linear(48, CLASSES)),
    ),
    "Flatten(2)": (
        IMAGE,
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.Flatten(2), nn.Linear(16, 2), nn.Flatten(), nn.Linear(8, CLASSES)
        ),
    ),
    "Linear on the pixels' rows": (
        (3, 4),
        lambda: nn.Sequential(nn.Linear(4, 2), nn.Flatten(), nn.Linear(6, CLASSES)),
    ),
    "a parameter that nothing uses": (VECTOR, lambda: extra()),
    "no bias": (VECTOR, lambda: dense(nn.Linear(12, 8, bias=False))),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")


def problem(name, count=10):
    shape, build = MODULES[name]
    random = torch.Generator().manual_seed(3)
    pool = torch.rand(count, *shape, generator=random)
    return build, pool, torch.randint(CLASSES, (count,), generator=random)


def gradients(module, loss):
    """One flat gradient; frozen and unused parameters have 0."""
    moved = [p for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, moved, materialize_grads=True)
    known = {id(p): g for p, g in zip(moved, found)}
    return torch.cat([known.get(id(p), torch.zeros_like(p)).flatten() for p in module.parameters()])


def loop(module, x, labels, bound):
    """The definition: a loop over samples; spectral norms iterate once before it, as in a step."""
    module.train()
    module(x)
    module.eval()
    total = 0
    for sample, label in zip(x, labels):
        flat = gradients(module, F.cross_entropy(module(sample[None]), label[None]))
        total = total + flat * min(1.0, bound / flat.norm().item())
    return total


@pytest.mark.parametrize("bound", [0.1, 1e6, None])
@pytest.mark.parametrize("name", MODULES)
def test_sums_equal_a_loop_over_samples(name, bound):
    build, pool, labels = problem(name)
    clip = {} if bound is None else {"clipping_norm": bound}
    members = [
        Member(torch.arange(10), labels, 10, 0.1, init_seed=seed, **clip) for seed in range(2)
    ]
    states = torch.stack([training.flatten(training.initialise(build, seed)) for seed in range(2)])
    step = training.Step(training.initialise(build, 0), states, pool, members, Schedule(1))
    indices, present = torch.arange(10).expand(2, -1), torch.ones(2, 10)
    present[1, 7:] = 0
    sums = step.group.gradient_sums(indices, present)
    for model, count in enumerate((10, 7)):
        module = training.initialise(build, model)
        expected = loop(module, pool[:count], labels[:count], bound or 1e9)
        torch.testing.assert_close(sums[model], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_training_and_predictions_are_those_of_the_module(name):
    build, pool, labels = problem(name)
    members = [
        Member(torch.arange(10), labels, 5, 0.1, init_seed=seed, batch_seed=seed, steps=steps)
        for seed, steps in enumerate((4, 2))
    ]
    rule = Rule("sgd", 0.9, weight_decay=0.1)
    trained = training.fit(build, pool, members, Schedule(4, rule, "shuffle", snapshots=(2,)))
    for model, (member, steps) in enumerate(zip(members, (4, 2))):
        module = training.initialise(build, model)
        before = training.initialise(build, model)(pool)
        moved = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(moved, 0.1, momentum=0.9, weight_decay=0.1)
        batches = training.member_batches(member, "shuffle", pool.device)
        for number in range(steps):
            chosen = next(batches)
            optimizer.zero_grad()
            F.cross_entropy(module(pool[chosen]), labels[chosen]).backward()
            for parameter in moved:
                parameter.grad = (
                    torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                )
            optimizer.step()
            if number == 1:
                torch.testing.assert_close(
                    trained.predict(pool, model=model, step=2),
                    module.eval()(pool),
                    rtol=1e-4,
                    atol=1e-5,
                )
                module.train()
        torch.testing.assert_close(
            trained.predict(pool, model=model), module.eval()(pool), rtol=1e-4, atol=1e-5
        )
        assert (before - module(pool)).abs().max() > 1e-3


@pytest.mark.parametrize("name", MODULES)
def test_none_of_them_takes_a_closed_form(name):
    shape, build = MODULES[name]
    assert not closed_form.supports(build(), len(shape))


@pytest.mark.parametrize(
    "module,dimensions",
    [
        (dense(), 1),
        (convolution(), 3),
        (nn.Sequential(nn.Flatten(), *dense()), 3),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), *convolution()), 3),
    ],
)
def test_plain_layers_keep_their_closed_form(module, dimensions):
    assert closed_form.supports(module, dimensions)
    hook = nn.modules.module.register_module_forward_hook(lambda layer, x, out: None)
    assert not closed_form.supports(module, dimensions)
    hook.remove()
    assert closed_form.supports(module, dimensions)


@pytest.mark.parametrize(
    "module,dimensions",
    [
        (dense(), 3),
        (dense(), 2),
        (convolution(), 1),
        (nn.Sequential(nn.Conv2d(2, CLASSES, 6)), 3),
        (nn.Sequential(nn.Linear(12, 4), nn.AvgPool2d(2)), 1),
    ],
)
def test_closed_forms_need_the_inputs_they_are_for(module, dimensions):
    assert not closed_form.supports(module, dimensions)


def test_constant_buffers_are_a_models_own_and_allowed_under_clipping():
    class Shifted(nn.Linear):
        def __init__(self):
            super().__init__(12, CLASSES)
            self.register_buffer("shift", torch.randn(12))

        def forward(self, x):
            return super().forward(x + self.shift)

    pool, labels = torch.rand(10, 12), torch.arange(10) % CLASSES
    members = [
        Member(torch.arange(10), labels, 10, 0.1, init_seed=seed, clipping_norm=0.2)
        for seed in range(2)
    ]
    trained = training.fit(Shifted, pool, members, Schedule(1, Rule("sgd"), "shuffle"))
    for model in range(2):
        module = training.initialise(Shifted, model)
        step = 0.1 * loop(module, pool, labels, 0.2) / 10
        expected = torch.cat([training.flatten(module)[:-12] - step, module.shift])
        torch.testing.assert_close(trained.state(model), expected, rtol=1e-5, atol=1e-6)


def test_a_global_hook_is_called():
    build, pool, labels = (lambda: dense()), torch.rand(10, 12), torch.zeros(10, dtype=torch.long)
    trained = training.fit(build, pool, [Member(torch.arange(10), labels, 5, 0.1)], Schedule(1))
    hook = nn.modules.module.register_module_forward_hook(
        lambda layer, x, out: out + 1 if isinstance(layer, nn.ReLU) else None
    )
    try:
        module = training.initialise(build, 0).eval()
        nn.utils.vector_to_parameters(trained.parameters[0], module.parameters())
        torch.testing.assert_close(
            trained.predict(pool, model=0), module(pool), rtol=1e-5, atol=1e-6
        )
    finally:
        hook.remove()
    assert (trained.predict(pool, model=0) - module(pool)).abs().max() < 1e-5


def test_frozen_parameters_get_no_noise_and_no_decay():
    build, pool, labels = problem("frozen parameters")
    start = training.initialise(build, 4)
    for rule in (
        Rule("sgd", 0.9, weight_decay=0.5),
        Rule("adam", weight_decay=0.5),
        Rule("rmsprop"),
    ):
        one = Member(torch.arange(10), labels, 5, 0.1, init_seed=4, clipping_norm=1.0, noise=2.0)
        trained = training.fit(build, pool, [one], Schedule(3, rule)).parameters
        for name, value in training.unflatten(start, trained).items():
            still = torch.equal(value[0], start.get_parameter(name))
            assert still == (name in ("0.weight", "2.bias"))


def test_frozen_parameters_are_those_of_opacus():
    from lib.defences import opacus_engine

    build, pool, labels = problem("frozen parameters")
    one = Member(torch.arange(10), labels, 5, 0.1, clipping_norm=0.3, noise=0.2)
    ours = training.fit(build, pool, [one], Schedule(3, Rule("sgd", 0.9))).parameters
    theirs = opacus_engine.fitter(ghost=False)(
        build, pool, [one], Schedule(3, Rule("sgd", 0.9))
    ).parameters
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def all_frozen():
    return dense().requires_grad_(False)


def hooked_backward():
    module = dense()
    module[0].register_full_backward_hook(lambda layer, before, after: None)
    return module


def hooked_parameter():
    module = dense()
    module[0].weight.register_hook(lambda gradient: gradient * 0)
    return module


@pytest.mark.parametrize(
    "build,match",
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.ReLU()), "Sequential has no trainable weights"),
        (all_frozen, "no trainable weights"),
        (own_function, "layer '0' has a forward set on the object"),
        (hooked_backward, "layer '0' has a backward hook"),
        (hooked_parameter, "parameter '0.weight' has a hook"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(build, match):
    pool, labels = torch.rand(10, 12), torch.zeros(10, dtype=torch.long)
    with pytest.raises(ValueError, match=match) as refused:
        training.fit(build, pool, [Member(torch.arange(10), labels, 5, 0.1)], Schedule(1))
    assert "\n" not in str(refused.value)
