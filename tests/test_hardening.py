"""How images of the label-consistent attack are hardened: by noise, by pixels, by a GAN; whose
images the attacker has; artefacts that shares and worlds have in common."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lib import parts, study, training
from lib.attacks import hardening
from lib.attacks.clean_label import CleanLabel
from lib.attacks.hardening import Scene, pgd, wgan
from lib.attacks.hardening.gan import GAN, points
from lib.attacks.hardening.noise import Noise
from lib.attacks.hardening.pgd import PGD
from lib.attacks.hardening.pixels import Pixels
from lib.data import Labelled
from lib.defences.dpsgd import DPSGD
from lib.lab import Lab, Surrogate
from lib.papers.turner import hardenings
from lib.study import Run, inputs
from lib.study.runs import from_dict, versions
from lib.training import Training
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

CPU = torch.device("cpu")
SHORT = Training("sgd", 0.1, epochs=1.0, batch_size=100)
SMALL = GAN(dim=4, iterations=4, steps=6)
FAST = PGD(eps=0.1, step=0.05, steps=3, model="linear", training=SHORT)
METHODS = {"pgd": FAST, "gan": SMALL, "noise": Noise(), "pixels": Pixels()}
RUN = Run(train_size=1000, test_size=100, model="linear", attack=CleanLabel(hardening=FAST),
          defence=DPSGD(0.0, clip=False), training=SHORT)
SHAPES = [(3, 32, 32), (1, 28, 28), (1, 15, 22)]


@pytest.fixture(scope="module", autouse=True)
def _own_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hardening")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_STORE", str(folder / "store"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("STUDY_PUBLISHED", "0")
        yield


def attacked(method, **changes):
    return RUN.with_(attack=CleanLabel(hardening=method, **changes))


def scene(method=FAST, *, run=RUN, seed=0, target=4):
    return Scene(inputs.private_and_test(run)[0], target, seed, inputs.lab(attacked(method)))


def crafted(method, *, seed=0, run=RUN, **changes):
    """The images in place of their originals, the originals, the facts."""
    run = run.with_(attack=attacked(method, **changes).attack)
    data = inputs.private_and_test(run)[0]
    made = run.attack.craft(data, seed=seed, lab=inputs.lab(run))
    records = run.attack.victims(data.labels, seed=seed)
    return made.images()[records], data.images[records], made.facts


# ---------------------------------------------------------------- all methods

@pytest.mark.parametrize("name", METHODS)
def test_worlds_and_shares_of_every_method(name, monkeypatch):
    few, many = {"fraction": None, "poisons": 5}, {"fraction": None, "poisons": 70}
    attack = CleanLabel(hardening=METHODS[name], **many)
    data, own = inputs.private_and_test(RUN)[0], inputs.lab(RUN.with_(attack=attack))
    order = attack.victims(data.labels, seed=0)
    made = {world: attack.world(world).craft(data, seed=0, lab=own) for world in "PHTC"}
    hard, both = made["H"].images()[order], made["P"].images()[order]
    assert not torch.equal(hard, data.images[order]) and len(order) == 70
    assert torch.equal(both, attack.trigger(hard, seed=0))
    assert torch.equal(made["T"].images()[order], attack.trigger(data.images[order], seed=0))
    assert not made["C"].mask.any() and made["H"].labels.equal(data.labels)
    assert set(made["P"].facts) == set(attack.FACTS) == set(made["H"].facts)
    # fewer poisons are a subset, bit for bit, and nothing of it is made anew
    monkeypatch.setattr(type(attack.hardening), "hardener",
                        lambda *_: pytest.fail("hardened again"))
    less = replace(attack, **few).world("H").craft(data, seed=0, lab=own)
    assert torch.equal(less.images()[order[:5]], hard[:5]) and int(less.mask.sum()) == 5


@pytest.mark.parametrize("name", METHODS)
def test_more_poisons_cost_only_what_is_missing(name, monkeypatch):
    seen, original = [], hardening.Scene.originals
    monkeypatch.setattr(Scene, "originals", lambda self, records: (
        seen.append(len(records)), original(self, records))[1])
    total = int((inputs.private_and_test(RUN)[0].labels == 4).sum())
    first = crafted(METHODS[name], seed=1, fraction=None, poisons=3)[0]
    assert seen == [hardening.TOGETHER]
    more = crafted(METHODS[name], seed=1, fraction=1.0)[0]
    assert sum(seen) == total == len(more) and torch.equal(more[:3], first)


def test_methods_are_found_by_name_and_come_back_from_plain_values():
    assert parts.names("hardening") == ("gan", "noise", "pgd", "pixels")
    for method in METHODS.values():
        run = attacked(method)
        assert from_dict(run.to_dict()) == run and hash(run) == hash(from_dict(run.to_dict()))
        assert run.to_dict()["attack"]["hardening"]["name"] == parts.name_of(method)
    assert len({attacked(method).key for method in METHODS.values()}) == len(METHODS)
    found = versions(attacked(FAST))
    assert found["surrogate"] == 1 and "transforms" not in found
    assert "surrogate" not in versions(attacked(Noise()))


def test_rows_of_every_method_and_their_facts():
    frame = study.run([attacked(method) for method in METHODS.values()])
    assert (frame["status"] == "ok").all() and set(frame["world"]) == {"P"}
    assert frame["attack.hardening.name"].tolist() == list(METHODS)
    assert frame["facts.surrogate_robust"].notna().tolist() == [True, False, False, False]
    assert frame["facts.distance_end"].notna().tolist() == [False, True, False, False]
    gan = frame.iloc[1]
    assert gan["facts.distance_end"] < gan["facts.distance_start"]
    curve = SMALL.trained(scene(SMALL))["critic_loss"]
    shown = [gan[f"facts.{name}"] for name in points("critic_loss")]
    assert len(curve) == SMALL.iterations and len(shown) == 10
    assert (shown[0], shown[-1]) == (curve[0].item(), curve[-1].item())
    assert frame["facts.change_l2"].gt(0).all()


# ---------------------------------------------------------------- noise, pixels

@pytest.mark.parametrize("level", [5, 20, 80])
def test_noise_has_its_standard_deviation(level):
    grey = torch.full((64, 1, 28, 28), 128, dtype=torch.uint8)
    place = Scene(Labelled(grey, torch.zeros(64), ("a",)), 0, 0, Lab(CPU, lambda images: images))
    made = Noise(level / 255).hardener(place)(torch.arange(64), training.generator("noise", 0))
    moved = made["images"].float() - 128
    expected = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).mul(level)
    expected = (expected.round() + 128).clamp(0, 255) - 128
    assert moved.std().item() == pytest.approx(expected.std().item(), rel=0.02)
    assert abs(moved.mean().item() - expected.mean().item()) < 0.03 * level


def test_pixels_are_mixed_with_other_classes_of_the_attackers_own_images():
    spare = inputs.spare_images(RUN)
    known = {bytes(image.numpy().tobytes()): int(label)
             for image, label in zip(spare.images, spare.labels)}
    whole, originals, _ = crafted(Pixels(1.0), stamp=False)
    assert {known[image.numpy().tobytes()] for image in whole} <= {*range(10)} - {4}
    assert len({known[image.numpy().tobytes()] for image in whole}) > 3
    only, _, _ = crafted(Pixels(1.0, other=7), stamp=False)
    assert {known[image.numpy().tobytes()] for image in only} == {7}
    third, _, _ = crafted(Pixels(0.3), stamp=False)
    mixed = (0.7 * originals.float() + 0.3 * whole.float()).round()
    assert (third.float() - mixed).abs().max() <= 1
    assert torch.equal(crafted(Pixels(0.0), stamp=False)[0], originals)


# ---------------------------------------------------------------- whose images

def test_spare_images_are_not_the_victims():
    public = RUN.with_(public=100)
    used = {image.numpy().tobytes()
            for part in (inputs.private_and_test(public)[0], inputs.public_images(public))
            for image in part.images}
    spare = inputs.spare_images(public)
    assert len(used) == 1000 and len(spare.labels) == 11_000
    assert not used & {image.numpy().tobytes() for image in spare.images}
    tuned = RUN.with_(split="tune")  # what tuning holds out is not the attacker's either
    assert len(inputs.spare_images(tuned).labels) == 11_000


def test_copies_of_the_victims_images_are_not_spare(monkeypatch):
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).remainder(12)
    whole = Labelled(images, torch.arange(20) % 3, tuple("abc"))
    monkeypatch.setattr(inputs.data, "load", lambda name, **_: type("Set", (), {
        "train_images": whole.images, "train_labels": whole.labels, "classes": whole.classes})())
    inputs._spare.cache_clear()
    spare = inputs._spare("copies", 4)  # 12 to 15 are copies of 0 to 3
    inputs._spare.cache_clear()
    assert spare.images.flatten().tolist() == [*range(4, 12), *range(4, 8)]
    assert spare.labels.tolist() == [number % 3 for number in (*range(4, 12), *range(16, 20))]


def test_a_black_box_surrogate_sees_no_image_of_the_victim(monkeypatch):
    seen = []

    def noted(self, model, settings, data, **_):
        seen.append((model, data))
        raise StopIteration
    monkeypatch.setattr(Lab, "surrogate", noted)
    for method in (FAST, replace(FAST, data="disjoint", model="mlp", images=500)):
        with pytest.raises(StopIteration):
            method.surrogate(scene(method))
    (_, white), (model, black) = seen
    both = scene().own("both", None)
    assert len(both.labels) == 12_000 and torch.equal(both.images[:1000], white.images)
    victims = {image.numpy().tobytes() for image in inputs.private_and_test(RUN)[0].images}
    assert {image.numpy().tobytes() for image in white.images} == victims
    assert model == "mlp" and len(black.labels) == 500
    assert not victims & {image.numpy().tobytes() for image in black.images}


def test_a_surrogates_accuracies_against_a_loop():
    test = inputs.private_and_test(RUN)[1]
    network = FAST.surrogate(scene())
    clean, robust = pgd.accuracies(network, test)
    with torch.no_grad():
        right = network.logits(test.images).argmax(1) == test.labels
    assert clean == pytest.approx(right.float().mean().item())
    # the linear network's worst case in closed form is no better than what PGD finds
    weight, bias = network.parameters["1.weight"], network.parameters["1.bias"]
    worst = []
    for image, label in zip(test.images.float().flatten(1) / 255, test.labels):
        sides = (image - 8 / 255).clamp(0, 1), (image + 8 / 255).clamp(0, 1)
        away = weight - weight[label]
        moved = torch.where(away > 0, sides[1], sides[0])
        worst.append(bool(((away * moved).sum(1) + bias - bias[label]).max() <= 1e-6))
    assert sum(worst) / len(worst) <= robust < clean
    assert robust == pytest.approx(sum(worst) / len(worst), abs=0.08)


# ---------------------------------------------------------------- the GAN

@pytest.mark.parametrize("shape", SHAPES)
def test_networks_fit_images_of_any_size(shape):
    make, judge = wgan.generator(shape, 4), wgan.critic(shape, 4)
    shown = make(torch.randn(5, wgan.LATENT))
    assert shown.shape == (5, *shape) and shown.abs().max() <= 1
    assert judge(shown).flatten().shape == (5,)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in judge) == 0


def test_the_networks_of_the_thesis():
    make, judge = wgan.generator((3, 32, 32), 128), wgan.critic((3, 32, 32), 128)
    shapes = [tuple(layer.weight.shape) for layer in (*make, *judge)
              if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    assert shapes == [(8192, 128), (512, 256, 5, 5), (256, 128, 5, 5), (128, 3, 5, 5),
                      (128, 3, 5, 5), (256, 128, 5, 5), (512, 256, 5, 5), (1, 512, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_critic_step_equals_autograd(shape):
    random = torch.Generator().manual_seed(1)
    judge = training.initialise(lambda: wgan.critic(shape, 4), 0)
    for parameter in judge.parameters():
        parameter.data.mul_(2)  # so that norms are near 1, on both sides of it
    fake, real = (torch.rand(6, *shape, generator=random) * 2 - 1 for _ in range(2))
    shares = torch.rand(6, 1, 1, 1, generator=random)
    layers = [layer for layer in judge if isinstance(layer, nn.Conv2d)]
    found = wgan.critic_gradients(layers, fake, real, shares)

    mixed = (real + shares * (fake - real)).requires_grad_()
    slope, = torch.autograd.grad(judge(mixed).sum(), mixed, create_graph=True)
    norms = slope.flatten(1).norm(dim=1)
    gap = judge(real).mean() - judge(fake).mean()
    loss = 10 * (norms - 1).square().mean() - gap
    expected = torch.autograd.grad(loss, list(judge.parameters()), allow_unused=True)
    for own, by_hand in zip(found.gradients, expected, strict=True):
        by_hand = torch.zeros_like(own) if by_hand is None else by_hand
        torch.testing.assert_close(own, by_hand, rtol=1e-4, atol=1e-6)
    for own, by_hand in ((found.loss, loss), (found.gap, gap), (found.norm, norms.mean())):
        assert own.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_bfloat16_changes_a_critic_step_little():
    judge = training.initialise(lambda: wgan.critic((3, 32, 32), 8), 0)
    random = torch.Generator().manual_seed(1)
    fake, real = (torch.rand(16, 3, 32, 32, generator=random) * 2 - 1 for _ in range(2))
    shares = torch.rand(16, 1, 1, 1, generator=random)
    layers = [layer for layer in judge if isinstance(layer, nn.Conv2d)]
    exact, rounded = (wgan.critic_gradients(layers, fake, real, shares, dtype=dtype)
                      for dtype in (torch.float32, torch.bfloat16))
    own, by_hand = (torch.cat([part.flatten() for part in step.gradients])
                    for step in (rounded, exact))
    assert own.dtype == torch.float32 and not torch.equal(own, by_hand)
    assert (own - by_hand).norm() <= 0.04 * by_hand.norm()


def test_a_training_is_the_seeds_and_learns(monkeypatch):
    monkeypatch.setattr(wgan, "bfloat16", lambda device: False)
    images = torch.zeros(40, 1, 12, 12, dtype=torch.uint8)
    images[:, :, 3:9, 3:9] = 255  # one image: a generator that learns approaches it
    first, again, other = (wgan.train(images, dim=4, iterations=2, lr=5e-3, seed=seed)
                           for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["gap"], other["gap"])
    learned, away = wgan.train(images, dim=4, iterations=25, lr=5e-3, seed=0), []
    assert all(learned[name].shape == (25,) and learned[name].isfinite().all()
               for name in wgan.CURVES)
    for kept in (first, learned):
        network = wgan.load(kept, (1, 12, 12), 4, CPU)
        codes = torch.randn(30, wgan.LATENT, generator=torch.Generator().manual_seed(0))
        shown = wgan.decode(network, codes).float()
        away.append((shown - images[0].float()).abs().mean().item())
    assert away[1] < 0.6 * away[0]


def test_curves_have_at_most_a_hundred_points():
    values = torch.arange(1000.0).view(500, 2)
    found = wgan._points(values)
    assert found.shape == (100, 2) and torch.equal(found[0], values[:5].mean(0))
    assert torch.equal(wgan._points(values[:7]), values[:7])


def test_batches_are_whole_also_of_few_images():
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1)
    batches = wgan._batches(images, torch.Generator().manual_seed(0))
    for _ in range(3):
        batch = ((next(batches) + 1) * 127.5).round().flatten().int().tolist()
        assert len(batch) == wgan.BATCH and set(batch) == set(range(20))


def linear_generator():
    weight = torch.randn(64, wgan.LATENT, generator=torch.Generator().manual_seed(3)) / 11
    return lambda codes: (codes @ weight.T).view(-1, 1, 8, 8)


def test_encoding_descends_the_distance_and_keeps_the_closest():
    network, random = linear_generator(), torch.Generator().manual_seed(4)
    images = torch.randint(80, 176, (5, 1, 8, 8), generator=random, dtype=torch.uint8)
    codes, path = wgan.encode(network, images, steps=30, step=0.3,
                              random=torch.Generator().manual_seed(0))
    assert path.shape == (5, 31)
    assert (path.amin(1) < 0.5 * path[:, 0]).all()
    away = (network(codes) - wgan.scaled(images)).flatten(1).norm(dim=1) / 2
    torch.testing.assert_close(away, path.amin(1))
    z = torch.randn(5, wgan.LATENT, generator=torch.Generator().manual_seed(0))
    for step in range(30):  # by hand, an image at a time
        for place in range(5):
            one = z[place].clone().requires_grad_()
            distance = (network(one[None])[0] - wgan.scaled(images)[place]).norm()
            assert path[place, step].item() == pytest.approx(distance.item() / 2, rel=1e-3)
            distance.backward()
            z[place] = one.detach() - 0.3 * one.grad


def test_tau_0_is_the_reconstruction_and_1_the_other_image():
    own = scene(SMALL)
    records, random = torch.arange(7), lambda: training.generator("codes", 0)
    made = {tau: replace(SMALL, tau=tau).hardener(own)(records, random())
            for tau in (0.0, 0.2, 1.0)}
    assert torch.equal(made[0.0]["images"], made[0.0]["first"])
    assert torch.equal(made[0.2]["first"], made[0.0]["first"])  # codes are shared
    network = SMALL.network(own)
    near = (made[0.0]["images"].float() - own.originals(records).float()) / 255
    torch.testing.assert_close(near.flatten(1).norm(dim=1), made[0.0]["path"].amin(1), atol=0.05,
                               rtol=0.02)
    partner = hardening.others(own.data, 4, 5, 7, random())
    near = (made[1.0]["images"].float() - own.data.images[partner].float()) / 255
    torch.testing.assert_close(near.flatten(1).norm(dim=1), made[1.0]["partners"].amin(1),
                               atol=0.05, rtol=0.02)
    assert isinstance(network, nn.Sequential) and not network.training


def test_a_gan_is_trained_once_for_a_pair(monkeypatch):
    pairs, original = [], wgan.train

    def noted(images, **settings):
        pairs.append(len(images))
        return original(images, **settings)
    monkeypatch.setattr(wgan, "train", noted)
    own = replace(SMALL, iterations=1)
    labels = inputs.private_and_test(RUN)[0].labels
    for target, other in ((4, 6), (6, 4), (4, 6)):
        for tau in (0.1, 0.3):
            replace(own, other=other, tau=tau).trained(scene(own, target=target))
    assert pairs == [int(((labels == 4) | (labels == 6)).sum())]
    replace(own, data="disjoint", other=6).trained(scene(own))
    assert len(pairs) == 2 and pairs[1] > pairs[0]
    assert SMALL.other_class(scene(target=9)) == 0


# ---------------------------------------------------------------- bad input

@pytest.mark.parametrize("make,says", [
    (lambda: GAN(-0.1), "hardening gan: tau -0.1: expected 0 to 1"),
    (lambda: GAN(1.5), "hardening gan: tau 1.5"),
    (lambda: GAN(dim=0), "hardening gan: dim 0: expected 1 or more"),
    (lambda: GAN(iterations=0), "hardening gan: iterations 0"),
    (lambda: GAN(lr=0.0), "hardening gan: lr 0.0: expected above 0"),
    (lambda: GAN(steps=0), "hardening gan: steps 0"),
    (lambda: GAN(step=0.0), "hardening gan: step 0.0"),
    (lambda: CleanLabel(hardening=GAN(other=4)), "hardening gan: other 4 is the target too"),
    (lambda: crafted(replace(SMALL, other=12)), "of class 12: expected one or more"),
    (lambda: Pixels(1.01), "hardening pixels: tau 1.01"),
    (lambda: CleanLabel(hardening=Pixels(other=4)), "hardening pixels: other 4 is the target"),
    (lambda: Pixels(data="cinic"), "hardening pixels: data 'cinic': expected one of victim"),
    (lambda: PGD(images=0), "hardening pgd: images 0: expected 1 or more"),
    (lambda: PGD(precision="half"), "hardening pgd: precision 'half'"),
    (lambda: PGD(eps=0.0), "radius 0.0: expected above 0"),
    (lambda: Noise(0.0), "hardening noise: std 0.0: expected above 0"),
    (lambda: CleanLabel(hardening=Noise(), clamp=True), "clamp with hardening noise"),
    (lambda: CleanLabel(hardening={"name": "blur"}), "hardening 'blur': expected one of gan"),
    (lambda: CleanLabel(hardening=3), "hardening 3: expected a mapping such as {name: pgd}"),
    (lambda: crafted(FAST, fraction=0.001), "0 poisons of the "),
    (lambda: crafted(Pixels(), run=RUN.with_(train_size=None)),
     "the attacker has no images of its own"),
    (lambda: crafted(replace(FAST, data="disjoint"), run=RUN.with_(train_size=12_000)),
     "the attacker has no images of its own"),
    (lambda: crafted(replace(FAST, data="disjoint", images=11_001)),
     "images 11001: expected at most 11000")])
def test_bad_input_is_one_line(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_hand_made_network_is_enough_to_harden():
    weight = torch.linspace(-1, 1, 28 * 28 * 10).sin().view(10, -1)
    network = Surrogate(nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10, bias=False)),
                        {"1.weight": weight}, lambda images: images / 255)
    images = inputs.private_and_test(RUN)[0].images[:3]
    made, path = FAST.moved(network, images, 4, training.generator("hardening", 0))
    assert made.dtype == torch.uint8 and path.shape == (3, 4) and made.is_contiguous()


# ---------------------------------------------------------------- the thesis's settings

def test_the_thesiss_bounds_and_surrogates():
    bounds = [round(hardenings.ascent("l2", bound).eps, 3) for bound in hardenings.BOUNDS["l2"]]
    assert bounds == [1.176, 2.353, 4.706]
    own = hardenings.ascent("linf", 8)
    assert own.ball.radius == pytest.approx(8) and own.steps * own.step == pytest.approx(20 / 255)
    assert own.training == hardenings.SMALL.training and own.model == "convnet-small-bn"
    plain = hardenings.standard(own)
    assert plain.training.transforms == (Flip(), Crop()) and plain.eps == own.eps
    assert hardenings.standard(hardenings.DRAWN).training.transforms == ()
    black = hardenings.black_box("resnet-20", surrogate=own, images=40_000)
    assert (black.model, black.data, black.images) == ("resnet-20", "disjoint", 40_000)
    with pytest.raises(ValueError, match="expected another architecture"):
        hardenings.black_box("convnet-small-bn")
    assert hardenings.noisy(20).std == pytest.approx(20 / 255)
    assert hardenings.latent(0.3, 7).dim == 32 and hardenings.blended().data == "disjoint"
