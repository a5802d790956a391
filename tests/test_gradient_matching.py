"""Gradient matching: the objective and its gradient, brews at once and in turn, and the attack."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lib import study
from lib.attacks import brewing, gradient_matching
from lib.attacks.brewing import Job, Matching, Settings, brew
from lib.attacks.gradient_matching import GradientMatching
from lib.defences.dpsgd import DPSGD
from lib.lab import Surrogate
from lib.study import Run, inputs
from lib.training import Training
from lib.training.steps import closed_form, factors
from lib.training.transforms.crop import Crop
from lib.training.transforms.cutmix import CutMix
from lib.training.transforms.cutout import Cutout
from lib.training.transforms.flip import Flip
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.maxup import MaxUp
from lib.training.transforms.mixup import Mixup

CPU = torch.device("cpu")
LEARN = Training("sgd", 0.05, momentum=0.9, epochs=6.0, batch_size=50, sampling="shuffle")
BREW = GradientMatching(base=4, label=9, fraction=0.05, eps=32 / 255, iterations=40, restarts=1,
                        lr=0.03, transforms=(), model="mlp", training=LEARN)
RUN = Run(dataset="strokes", train_size=1000, test_size=400, model="mlp", attack=BREW,
          defence=DPSGD(0.0, clip=False), training=LEARN, init_seed=5)
SHORT = RUN.with_(attack__iterations=4, attack__fraction=0.01, train_size=400,
                  attack__training=Training(epochs=0.5, batch_size=50))


@pytest.fixture(scope="module", autouse=True)
def _own_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brews")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_STORE", str(folder / "store"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("STUDY_PUBLISHED", "0")
        yield


def surrogate(build, *, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    module = build().to(dtype).eval()
    values = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return Surrogate(module, values, lambda images: images.to(dtype) / 255)


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(36, 5))


class Normalised(nn.Module):
    """Smooth, so that finite differences converge, with a frozen weight and both normalisations."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(),
                                  nn.BatchNorm2d(4), nn.Flatten())
        self.last = nn.Linear(144, 5)
        self.body[3].running_mean.fill_(0.1)
        self.body[0].bias.requires_grad_(False)

    def forward(self, x):
        return self.last(self.body(x) * 2)


def job(seed=0, poisons=6, **more):
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (poisons + 1, 1, 8, 8), generator=random, dtype=torch.uint8)
    return Job(images[1:], 3, images[:1], seed, **more)


# ---------------------------------------------------------------- the objective

def plain_objective(network, one, x, labels):
    """By a plain module and autograd, one brew."""
    module, trained = network.module, [w for w in network.module.parameters() if w.requires_grad]
    target = F.cross_entropy(module(one.target.to(x) / 255), torch.tensor([one.label]))
    wanted = torch.autograd.grad(target, trained)
    found = torch.autograd.grad(F.cross_entropy(module(x), labels), trained, create_graph=True)
    both = [torch.cat([part.flatten() for part in parts]) for parts in (found, wanted)]
    return 1 - F.cosine_similarity(*both, dim=0)


@pytest.mark.parametrize("build", [convolutional, Normalised])
def test_the_objective_and_its_gradient_are_those_of_a_plain_module(build):
    network, one = surrogate(build, dtype=torch.float64), job()
    labels, soft = torch.full((6,), 3), torch.rand(6, 5, dtype=torch.float64).softmax(1)
    for targets in (labels, soft):
        x = (one.images.double() / 255).requires_grad_()
        loss = Matching(network, [one], CPU)(x[None], targets[None])
        slope = torch.autograd.grad(loss.sum(), x)[0]
        exact = plain_objective(network, one, x, targets)
        assert loss.item() == pytest.approx(exact.item(), abs=1e-12)
        assert torch.allclose(slope, torch.autograd.grad(exact, x)[0], atol=1e-12)


def test_the_gradient_agrees_with_finite_differences():
    network, one = surrogate(Normalised, dtype=torch.float64), job()
    objective, labels = Matching(network, [one], CPU), torch.full((1, 6), 3)
    x = (one.images.double() / 255)[None].requires_grad_()
    slope = torch.autograd.grad(objective(x, labels).sum(), x)[0]
    random = torch.Generator().manual_seed(1)
    for _ in range(3):
        way = torch.randn(x.shape, generator=random, dtype=torch.float64) * 1e-5
        ends = [objective(x.detach() + sign * way, labels).item() for sign in (1, -1)]
        assert (ends[0] - ends[1]) / 2 == pytest.approx((slope * way).sum().item(), rel=1e-5)


@pytest.mark.parametrize("worst", [True, False])
def test_maxup_shows_the_attackers_network_its_worst_views(worst):
    """By hand: each image's losses with either box, and the objective of the worse ones."""
    network, one = surrogate(convolutional, dtype=torch.float64), job()
    transform = MaxUp(2, (Cutout(4),), worst=worst, after=0.5)  # the brew is past `after`
    drawn = {name: values[None] for name, values in transform.draw(
        6, (1, 8, 8), torch.Generator().manual_seed(3)).items()}
    x, labels = (one.images.double() / 255)[None], torch.full((1, 6), 3)
    views = [Cutout(4).apply(x, labels, {name.removeprefix("0."): values[:, :, trial]
                                         for name, values in drawn.items()})[0][0]
             for trial in range(2)]
    with torch.no_grad():
        first, second = (F.cross_entropy(network.module(view), labels[0], reduction="none")
                         for view in views)
    assert 0 < (first > second).sum() < 6
    shown = (torch.where((first >= second).view(-1, 1, 1, 1), *views) if worst
             else torch.minimum(*views))
    loss, _ = brewing._slope([Matching(network, [one], CPU)], x.clone(), labels[:, 0],
                             (transform,), [drawn])
    assert loss.item() == pytest.approx(plain_objective(network, one, shown, labels[0]).item())


# ---------------------------------------------------------------- brewing

SETTINGS = Settings(16 / 255, 12, 0.02, 512, (Flip(), Crop(1)))


@pytest.mark.parametrize("transforms", [(), (Flip(), Crop(1)), (Mixup(3),), (CutMix(), Laplace()),
                                        (MaxUp(3, (Cutout(3),)),)])
def test_brews_at_once_are_those_in_turn(transforms, monkeypatch):
    network, jobs = surrogate(convolutional), [job(seed, restart=seed % 2) for seed in range(4)]
    settings = Settings(16 / 255, 6, 0.02, 4, transforms)  # batches of 4 and of 2
    alone = brew(jobs, [network], settings, device=CPU)
    monkeypatch.setattr(brewing, "_stacks", lambda *given: True)
    together = brew(jobs, [network], settings, device=CPU)
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one.path, other.path, atol=1e-4)
        # The sign of a gradient near 0 may differ: a pixel here and there moves by a step.
        assert (one.poisons != other.poisons).double().mean() < 0.02
    assert len({brew.path[-1].item() for brew in alone}) == 4


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Brews at once, convolutions as products of patches, one call for all products."""
    before = closed_form.forward
    monkeypatch.setattr(brewing, "_stacks", lambda *given: True)
    monkeypatch.setattr(factors, "one_by_one", lambda a, b: False)
    monkeypatch.setattr(closed_form, "forward", lambda *given, **how: before(
        *given, **how | {"batched": True}))


def test_brews_on_a_gpus_path_are_those_in_turn(request):
    network, jobs = surrogate(convolutional), [job(seed) for seed in range(3)]
    alone = brew(jobs, [network], SETTINGS, device=CPU)
    request.getfixturevalue("as_on_a_gpu")
    for one, other in zip(alone, brew(jobs, [network], SETTINGS, device=CPU), strict=True):
        assert torch.allclose(one.path, other.path, atol=1e-4)


class Calls(TorchDispatchMode):
    """Count the operator calls inside the block."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_calls_do_not_grow_with_the_number_of_brews(as_on_a_gpu):
    network, counts = surrogate(convolutional), []
    for many in (2, 16):
        jobs = [job(seed) for seed in range(many)]
        objective = Matching(network, jobs, CPU)
        stream = brewing.draws(jobs, SETTINGS, 6, 0, (1, 8, 8), CPU)
        next(stream)  # draws a whole block
        with Calls() as calls:
            brewing._slope([objective], torch.rand(many, 6, 1, 8, 8), torch.full((many,), 3),
                           SETTINGS.transforms, next(stream))
        counts.append(calls.count)
    assert counts[0] == counts[1], counts


@pytest.mark.gpu
@pytest.mark.parametrize("build", [convolutional, Normalised])
def test_a_gpu_has_the_same_objective(build):
    gpu, jobs = torch.device("cuda"), [job(seed) for seed in range(3)]
    labels, found = torch.full((3,), 3), []
    x = torch.rand(3, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for device in (CPU, gpu):
        own = surrogate(build)
        values = {name: value.to(device) for name, value in own.parameters.items()}
        network = Surrogate(own.module.to(device), values, lambda images: images / 255)
        made = brew(jobs, [network], SETTINGS, device=device)
        assert all(one.path[-1] < one.path[0] for one in made)
        alone = [Matching(network, [one], device) for one in jobs]
        found.append([brewing._slope([objective], x[place:place + 1].to(device),
                                     labels[:1].to(device), (), ())
                      for place, objective in enumerate(alone)])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one[0], other[0].cpu(), atol=1e-4)
        assert torch.allclose(one[1], other[1].cpu(), rtol=1e-2, atol=1e-5)


def test_threads_change_nothing():
    network, jobs = surrogate(convolutional), [job(seed) for seed in range(4)]
    alone = brew(jobs, [network], SETTINGS, device=CPU)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        side_by_side = brew(jobs, [network], SETTINGS, device=CPU)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, side_by_side, strict=True):
        assert torch.allclose(one.path, other.path, atol=1e-4)


def test_a_brew_is_signed_adam_within_its_bounds():
    """A slow twin: torch's Adam on signs, one image set, projected by clamping."""
    network, one = surrogate(convolutional), job()
    settings = Settings(16 / 255, 8, 0.02, 512, ())
    found = brew([one], [network], settings, device=CPU)[0]
    base, eps = one.images.float() / 255, 16 / 255
    draw = torch.randn(base.shape, generator=one.random("start", CPU))
    change = ((base + (eps * draw).clamp(-eps, eps)).clamp(0, 1) - base).requires_grad_()
    optimizer, path = torch.optim.Adam([change], 0.02), []
    for number in range(8):
        optimizer.param_groups[0]["lr"] = 0.02 * 0.1**((number >= 3) + (number >= 5)
                                                       + (number >= 7))
        loss = plain_objective(network, one, base + change, torch.full((6,), 3))
        change.grad = torch.autograd.grad(loss, change)[0].sign()
        optimizer.step()
        change.data = (base + change.data.clamp(-eps, eps)).clamp(0, 1) - base
        path.append(loss.item())
    assert found.path.tolist() == pytest.approx(path, abs=1e-4)
    assert (found.poisons.float() - one.images.float()).abs().max() <= 16
    near = (found.poisons.float() - 255 * (base + change.detach())).abs() < 1
    assert near.double().mean() > 0.98


def test_several_networks_and_batches_are_means():
    networks, one = [surrogate(convolutional, seed=seed) for seed in (0, 1)], job()
    both = brew([one], networks, SETTINGS, device=CPU)[0]
    each = [brew([one], [network], SETTINGS, device=CPU)[0] for network in networks]
    assert both.path[0].item() == pytest.approx(
        sum(own.path[0].item() for own in each) / 2, abs=1e-5)


def test_rounding_stays_within_the_bound():
    base = torch.randint(256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    for eps in (16 / 255, 7.7 / 255):
        change = brewing.projected(torch.randn(base.shape), base, eps)
        made = brewing.as_bytes(base, change, eps).float()
        assert (made - 255 * base).abs().max() <= int(255 * eps) + 1e-4
        assert (made - 255 * (base + change)).abs().max() < 1.001


# ---------------------------------------------------------------- the attack

def made(run):
    return run.attack.brewed(inputs.private_and_test(run)[0], seed=run.attack_seed,
                             lab=inputs.lab(run))


def test_poisons_replace_images_of_the_wanted_class():
    data, own = inputs.private_and_test(SHORT)[0], made(SHORT)
    found = SHORT.attack.craft(data, seed=0, lab=inputs.lab(SHORT))
    assert len(own.records) == 4 == found.mask.sum() == found.facts["poisons"]
    assert torch.equal(found.labels, data.labels) and (data.labels[own.records] == 9).all()
    shown = found.images()
    assert torch.equal(shown[own.records], own.poisons)
    assert torch.equal(shown[~found.mask], data.images[~found.mask])
    moved = (own.poisons.float() - own.originals.float()).abs()
    assert moved.max() <= 32 and found.facts["change_linf"] == pytest.approx(
        moved.max().item() / 255)
    assert set(found.facts) == set(GradientMatching.FACTS)
    assert len(SHORT.attack.world("C").craft(data, seed=0, lab=inputs.lab(SHORT)).stamped) == 0


def test_the_best_restart_is_kept(monkeypatch):
    own = made(SHORT.with_(attack__restarts=3))
    assert own.paths.shape == (3, 4) and len(set(own.losses.tolist())) == 3
    assert torch.equal(own.path, own.paths[own.losses.argmin()])
    assert own.facts()["loss_end"] == own.losses.min() < own.facts()["loss_worst"]
    first = made(SHORT)  # a restart draws the same whatever their number
    assert torch.allclose(first.paths[0], own.paths[0], atol=1e-4)
    monkeypatch.setattr(brewing, "brew", None)
    assert torch.equal(made(SHORT.with_(attack__restarts=3)).poisons, own.poisons)


def test_attacks_are_brewed_together_as_alone():
    data, attacks = inputs.private_and_test(SHORT)[0], [
        gradient_matching.replace(SHORT.attack, target=target, batch_size=64)
        for target in range(3)]
    together = gradient_matching.brewed(attacks, data, seeds=[3, 4, 5], lab=inputs.lab(SHORT))
    for number, (attack, own) in enumerate(zip(attacks, together)):
        job = attack.jobs(data, seed=3 + number, lab=inputs.lab(SHORT))
        networks = brewing.surrogates(inputs.lab(SHORT), data, "mlp", attack.training, 1)
        alone = brew(job, networks, attack.settings(), device=CPU)[0]
        assert torch.allclose(own.path, alone.path, atol=1e-4)
    with pytest.raises(ValueError, match="different settings"):
        gradient_matching.brewed([SHORT.attack.adaptive(Cutout(4)), SHORT.attack.adaptive()], data,
                                 seeds=[9, 9], lab=inputs.lab(SHORT))


def test_a_group_of_runs_is_brewed_at_once(monkeypatch):
    runs = [SHORT.with_(attack__target=target, attack_seed=target, attack__batch_size=32)
            for target in range(3)]
    calls, before = [], brewing.brew
    monkeypatch.setattr(brewing, "brew", lambda jobs, *rest, **named: calls.append(len(jobs))
                        or before(jobs, *rest, **named))
    inputs.prepare([*runs, runs[0].with_(init_seed=9), runs[0].in_world("C"),
                    runs[0].with_(attack__lr=0.01)])
    assert calls == [3]
    for run in runs:
        assert made(run).path.shape == (4,)
    assert len(calls) == 1


def test_a_run_is_read_back_from_plain_values():
    run = RUN.with_(attack=BREW.adaptive(Mixup(4)), attack__restarts=2)
    assert study.from_dict(run.to_dict()) == run


def test_the_adaptive_attacker_learns_and_brews_with_the_defence():
    attack = BREW.adaptive(Mixup(4), Laplace(8 / 255))
    assert attack.training.transforms == attack.transforms == (Mixup(4), Laplace(8 / 255))
    assert attack.settings().transforms == attack.transforms
    own = made(SHORT.with_(attack=gradient_matching.replace(
        attack, iterations=20, fraction=0.02, training=SHORT.attack.training)))
    assert own.losses.min() < own.path[0]
    keys = {RUN.with_(attack=each).key for each in (attack, BREW.adaptive(Mixup(4)), BREW)}
    assert len(keys) == 3


def test_the_key_follows_the_transforms(monkeypatch):
    from lib.training.transforms import crop

    run = RUN.with_(attack__transforms=(Crop(2),))
    before, crafted = run.key, run.attack.key(0)
    monkeypatch.setattr(crop, "VERSION", 99)
    assert run.with_(init_seed=5).key != before and run.attack.key(0) != crafted


def test_a_surrogate_with_batch_normalisation_keeps_its_statistics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef build(shape, classes):\n    return nn.Sequential(nn.Conv2d(1, 4,"
        " 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))\n")
    data, lab = inputs.private_and_test(RUN)[0], inputs.lab(RUN)
    network = lab.surrogate("net.py:build", LEARN, data, seed=0)
    assert (network.parameters["1.running_mean"] != 0).all()
    assert (network.logits(data.images).argmax(1) == data.labels).double().mean() > 0.5
    own = made(RUN.with_(attack__model="net.py:build", attack__iterations=20))
    assert own.losses.min() < 0.8 * own.path[0]


def test_positive_control():
    """Undefended, targets get the wanted label that their clean twins do not get."""
    runs = [RUN.with_(attack__target=target, attack_seed=target) for target in range(3)]
    frame = study.run([run.in_world(world) for world in "PC" for run in runs])
    attacked, clean = (frame[frame["world"] == world].reset_index() for world in "PC")
    assert (attacked["facts.loss_end"] < 0.5 * attacked["facts.loss_start"]).all()
    assert (attacked["margin"] > clean["margin"]).all()
    assert ((attacked["success"] == 1) & (clean["success"] == 0)).any()


@functools.cache
def labels():
    return inputs.private_and_test(RUN)[0].labels


@pytest.mark.parametrize("make,says", [
    (lambda: GradientMatching(base=4), "a target of class 4, the wanted label"),
    (lambda: GradientMatching(eps=0.0), "radius 0.0: expected above 0"),
    (lambda: GradientMatching(restarts=0), "restarts 0: expected 1 or more"),
    (lambda: GradientMatching(iterations=0), "iterations 0"),
    (lambda: GradientMatching(lr=0.0), "lr 0.0"),
    (lambda: GradientMatching(fraction=0.0), "fraction 0.0"),
    (lambda: GradientMatching(fraction=0.5).victims(labels(), seed=0), "500 poisons (fraction 0.5"),
    (lambda: GradientMatching(fraction=1e-6).victims(labels(), seed=0), "0 poisons"),
    (lambda: made(SHORT.with_(attack__target=300)), "test images of class 4"),
    (lambda: GradientMatching().world("T"), "world 'T'")])
def test_bad_input(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)
