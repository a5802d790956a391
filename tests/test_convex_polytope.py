"""Convex polytope: the coefficients, the objective, and the attack in each of its settings."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from lib import study
from lib.attacks.convex_polytope import (
    ConvexPolytope,
    _apart,
    coefficients,
    enclose,
    inputs_of_layers,
)
from lib.defences.dpsgd import DPSGD
from lib.lab import Surrogate
from lib.study import Run, inputs, measure, start
from lib.training import Training

LEARN = Training("sgd", 0.05, epochs=3.0, batch_size=100)
HULL = ConvexPolytope(base=4, label=9, poisons=20, eps=32 / 255, iterations=60, network="start")
BASE = Run(dataset="strokes", train_size=1000, test_size=400, model="mlp",
           attack=HULL.world("C"), defence=DPSGD(0.0, clip=False), training=LEARN)
AGAIN = BASE.with_(start=BASE, attack=HULL)
PATCHES = BASE.with_(features="patches", public=100, model="linear", attack=HULL,
                     attack__network="features", attack__iterations=30)


@pytest.fixture(scope="module", autouse=True)
def _own_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hulls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_STORE", str(folder / "store"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("STUDY_PUBLISHED", "0")
        yield


# ---------------------------------------------------------------- coefficients and objective

@pytest.mark.parametrize("points,width", [(1, 3), (5, 3), (8, 2), (25, 64), (25, 600)])
def test_coefficients_are_scipys(points, width):
    random = torch.Generator().manual_seed(points)
    space = torch.randn(points, width, generator=random) + 0.5
    wanted = 0.3 * torch.randn(width, generator=random)
    found = coefficients(space, wanted)
    assert (found >= 0).all() and found.sum().item() == pytest.approx(1.0)
    p, t = space.double().numpy(), wanted.double().numpy()
    exact = minimize(lambda c: ((c @ p - t)**2).sum(), np.full(points, 1 / points),
                     jac=lambda c: 2 * (c @ p - t) @ p.T, bounds=[(0, 1)] * points,
                     constraints={"type": "eq", "fun": lambda c: c.sum() - 1,
                                  "jac": lambda c: np.ones(points)},
                     method="SLSQP", options={"ftol": 1e-14, "maxiter": 1000}).fun
    assert ((found.numpy() @ p - t)**2).sum() == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_a_target_inside_is_reached():
    space = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    assert coefficients(space, torch.tensor([1.0, 2.0])).tolist() == pytest.approx([0.25, 0.25, .5])
    assert coefficients(space, space[1]).tolist() == pytest.approx([0.0, 1.0, 0.0])


def test_the_gradient_agrees_with_finite_differences():
    random = torch.Generator().manual_seed(0)
    space = torch.randn(6, 9, generator=random, dtype=torch.float64) + 0.5
    wanted = torch.randn(9, generator=random, dtype=torch.float64)
    moving = space.clone().requires_grad_()
    slope = torch.autograd.grad(_apart(moving, wanted), moving)[0]
    way = 1e-5 * torch.randn(space.shape, generator=random, dtype=torch.float64)
    ends = [_apart(space + sign * way, wanted).item() for sign in (1, -1)]
    assert (ends[0] - ends[1]) / 2 == pytest.approx((slope * way).sum().item(), rel=1e-4)


def test_linear_features_are_enclosed_within_the_bound():
    random = torch.Generator().manual_seed(0)
    mix = 0.1 * torch.randn(40, 3, generator=random)
    base = torch.randint(90, 166, (6, 40), generator=random, dtype=torch.uint8)
    target = torch.randint(90, 166, (1, 40), generator=random, dtype=torch.uint8)
    poisons, path = enclose([lambda images: [images @ mix / 255 if images.is_floating_point()
                                             else images.float() @ mix / 255]],
                            base, target, eps=20 / 255, iterations=80, lr=0.005)
    assert path[-1] < 1e-4 < path[0] and len(path) == 80
    assert (poisons.float() - base.float()).abs().max() <= 20


def test_the_inputs_of_layers():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5), nn.ReLU(),
                           nn.Linear(5, 3)).eval()
    network = Surrogate(module, dict(module.named_parameters()), lambda images: images / 255)
    images = 255 * torch.rand(4, 1, 8, 8)
    found = inputs_of_layers(network, images, 3)
    assert [own.shape for own in found] == [(4, 64), (4, 72), (4, 5)]
    assert torch.equal(found[-1], network.hidden(images))
    assert torch.equal(found[0], images.flatten(1) / 255)
    assert not any(layer._forward_pre_hooks for layer in module)
    with pytest.raises(ValueError, match="4 layers of a network with 3"):
        inputs_of_layers(network, images, 4)


# ---------------------------------------------------------------- the attack

def lab(run):
    return inputs.lab(run, start=None if run.start is None else start.load(run.start).weights)


def test_poisons_replace_images_of_the_wanted_class():
    data = inputs.private_and_test(AGAIN)[0]
    found = HULL.craft(data, seed=0, lab=lab(AGAIN))
    own = HULL.crafted(data, seed=0, lab=lab(AGAIN))
    assert torch.equal(found.labels, data.labels) and (data.labels[own.records] == 9).all()
    assert int(found.mask.sum()) == found.facts["poisons"] == 20
    assert torch.equal(found.images()[own.records], own.poisons)
    assert (own.poisons.float() - own.originals.float()).abs().max() <= 32
    assert own.path[-1] < 0.2 * own.path[0] and set(found.facts) == set(HULL.FACTS)
    assert len(HULL.world("C").craft(data, seed=0, lab=lab(AGAIN)).stamped) == 0


def test_features_of_the_start_enclose_the_target():
    data, own = inputs.private_and_test(AGAIN)[0], lab(AGAIN)
    made = HULL.crafted(data, seed=0, lab=own)
    target = HULL.goal.cases(own.given_test(), seed=0).images
    ends = [_apart(own.given_start().hidden(images), own.given_start().hidden(target)[0]).item()
            for images in (made.originals, made.poisons)]
    assert ends[1] < 0.2 * ends[0] and ends[0] == pytest.approx(made.path[0].item(), rel=1e-3)


def test_from_scratch_several_networks_and_layers_enclose_the_target():
    run = BASE.with_(attack=HULL, attack__network="surrogates", attack__model="mlp",
                     attack__training=LEARN, attack__layers=2, attack__surrogates=2,
                     attack__iterations=15)
    own = measure.poisoned(run)
    assert own.facts["loss_end"] < own.facts["loss_start"]


def test_positive_control():
    """A new linear layer on known features: the target gets the wanted label, its twin does not."""
    run = PATCHES.with_(training=Training("sgd", 0.05, momentum=0.9, epochs=6.0, batch_size=50))
    frame = study.run([run, run.in_world("C")])
    assert frame["success"].tolist() == [1.0, 0.0]
    assert frame["facts.loss_end"][0] < 0.2 * frame["facts.loss_start"][0]


def test_retraining_from_a_known_start_moves_the_targets():
    runs = [AGAIN.with_(attack__target=target, attack_seed=target) for target in range(2)]
    frame = study.run([run.in_world(world) for world in "PC" for run in runs])
    attacked, clean = (frame[frame["world"] == world].reset_index() for world in "PC")
    assert (attacked["margin"] > clean["margin"]).all()


@pytest.mark.parametrize("make,says", [
    (lambda: ConvexPolytope(base=4), "a target of class 4, the wanted label"),
    (lambda: ConvexPolytope(eps=0.0), "radius 0.0: expected above 0"),
    (lambda: ConvexPolytope(poisons=0), "poisons 0: expected 1 or more"),
    (lambda: ConvexPolytope(lr=0.0), "lr 0.0"),
    (lambda: ConvexPolytope(network="victim"), "network 'victim': expected one of surrogates"),
    (lambda: ConvexPolytope(network="features", layers=2), "2 layers of public features"),
    (lambda: measure.poisoned(AGAIN.with_(attack__poisons=900)), "900 poisons of the"),
    (lambda: measure.poisoned(BASE.with_(attack=HULL)), "expected a run with a start"),
    (lambda: measure.poisoned(BASE.with_(attack=HULL, attack__network="features")),
     "network 'features' of a run on pixels"),
    (lambda: ConvexPolytope().world("T"), "world 'T'")])
def test_bad_input(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)
