"""Small golden values of what rows are made from.

One changes: raise that module's VERSION, or old rows would lie.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib import metrics, models, training
from lib.attacks import (
    brewing,
    clean,
    clean_label,
    convex_polytope,
    four_pixel,
    gradient_matching,
    hardening,
    hidden_trigger,
    insertion,
    interpolation,
)
from lib.attacks.hardening import gan, noise, pgd, pixels, wgan
from lib.data import Labelled
from lib.defences import (
    alibi,
    batch_clipping,
    dpsgd,
    label_noise,
    label_probability,
    lpmst,
    micro_batches,
    partition,
    pate,
    quantile_clipping,
    smoothing,
    teachers,
)
from lib.lab import Lab, Surrogate
from lib.study import Run
from lib.training import Member, Rule, Schedule, Training, generator
from lib.training.transforms import adversarial, maxup, public_mixup, view
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip
from lib.training.transforms.mixup import Mixup


def fitted(rule, **member):
    random = torch.Generator().manual_seed(0)
    pool, labels = torch.rand(40, 6, generator=random), torch.randint(3, (40,), generator=random)
    one = Member(torch.arange(40), labels, 10, 0.1, init_seed=1, batch_seed=2, noise_seed=3,
                 **member)
    return training.fit(lambda: models.build("linear", (6, ), 3), pool, [one],
                        Schedule(5, rule))


@pytest.mark.parametrize("rule,member,expected", [
    (Rule("sgd", 0.9), {}, [0.183793, -0.229173, -0.157258]),
    (Rule("sgd", 0.9), {"clipping_norm": 0.5, "noise": 0.5}, [0.210039, -0.278351, -0.109977]),
    (Rule("rmsprop"), {"clipping_norm": 0.5}, [1.125055, -0.424109, -0.801844])])


def test_trainer_version_1(rule, member, expected):
    assert training.VERSION == 1
    assert fitted(rule, **member).parameters[0, :3].tolist() == pytest.approx(expected, abs=2e-5)


def test_models_version_1():
    counts = {
        name: sum(p.numel()
                  for p in models.build(name, (1, 28, 28), 10).parameters())
        for name in models.MODELS
    }
    assert (models.VERSION, counts) == (1, {
        "cnn": 26010, "head": 203530, "mlp": 50890, "linear": 7850, "resnet": 466426,
        "mlp-256-256": 269322, "cnn-16-32": 406922, **DEEP,
        **{f"{name}-bn": count for name, count in DEEP.items()}
    })


def test_adversarial_version_2():
    own, x = adversarial.Adversarial("l2", 0.5, 0.2, 2), torch.full((1, 2, 1, 2, 2), 0.5)
    draws = {name: values[None] for name, values in own.draw(
        2, (1, 2, 2), generator("transforms", 0)).items()}
    made = own.choose(x, x, draws, lambda seen, _: seen[:, :, 0, 0, 0])["images"]
    assert adversarial.VERSION == 2
    assert made[0, 0].flatten().tolist() == pytest.approx(GOLDEN_PERTURBED, abs=1e-6)


def test_maxup_version_1():
    own, x = maxup.MaxUp(3), torch.rand(1, 2, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    draws = {name: values[None] for name, values in own.draw(
        2, (1, 20, 20), generator("transforms", 0)).items()}
    found = own.choose(x, x, draws, lambda seen, _: seen.flatten(2).sum(2))["0.box"]
    assert (maxup.VERSION, found[0].tolist()) == (1, GOLDEN_BOXES)


def test_public_mixup_version_1():
    own = public_mixup.PublicMixup(3).with_public(torch.zeros(11, 1, 2, 2), torch.zeros(11))
    found = own.draw(3, (1, 2, 2), generator("transforms", 0))["public"].tolist()
    assert (public_mixup.VERSION, found) == (1, [[5, 7], [0, 5], [4, 9]])


DEEP = {"convnet": 1973762, "convnet-small": 279242, "resnet-18": 11177610, "resnet-20": 272970}


def test_label_noise_version_1():
    noisy = label_noise.LabelNoise(0.5).randomise(torch.zeros(12, dtype=torch.long), 10, seed=0)
    assert (label_noise.VERSION, noisy.tolist()) == (1, GOLDEN_LABELS)


GOLDEN_LABELS = [0, 3, 8, 0, 0, 0, 0, 0, 0, 8, 0, 5]


def test_label_probability_version_1():
    labels = torch.arange(8) % 2
    own, data = label_probability.LabelProbability(0.25), clean(torch.zeros(8, 2), labels, 2)
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).repeat(4, 1) * torch.arange(8)[:, None]
    logs = label_probability._answers(logits, labels)[1]
    assert label_probability.VERSION == 1 and label_probability.detector_seed(3) == 34755885
    assert own.least_likely(data, logs).nonzero().flatten().tolist() == [5, 7]
    found = label_probability.ranked(data, logs)
    assert [line["log10"] for line in found["least"][:3]] == [-6.0801, -4.3430, -2.6068]


def test_dpsgd_version_1():
    mechanism = dpsgd.DPSGD(2.0, max_grad_norm=1.5).mechanism()
    assert (dpsgd.VERSION, mechanism) == (1, {"clipping_norm": 1.5, "noise": 3.0})


def test_batch_clipping_version_1():
    mechanism = batch_clipping.BatchClipping(0.02, 0.5).mechanism()
    assert (batch_clipping.VERSION, mechanism) == (1, {"mean_norm": 0.5, "noise": 0.01})


def test_micro_batches_version_1():
    mechanism = micro_batches.MicroBatches(2.0, 0.5, 5).mechanism()
    assert (micro_batches.VERSION, mechanism) == (1, {"mean_norm": 0.5, "micro_batches": 5,
                                                      "noise": 1.0})
    found = fitted(Rule("sgd", 0.9), **mechanism | {"noise": 0.1})
    assert found.parameters[0, :3].tolist() == pytest.approx(GOLDEN_MEANS, abs=2e-5)


def test_view_version_1():
    images = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    assert view.VERSION == 1 and view.corners_of(images, 2, 5).tolist() == GOLDEN_CORNERS
    drawn = view.View().bank().draw(6, (8, ), generator("transforms", 0))["version"]
    assert drawn.tolist() == GOLDEN_VIEWS


GOLDEN_MEANS = [0.190931, -0.249704, -0.121615]
GOLDEN_CORNERS = [[[1, 4], [2, 0]], [[1, 2], [2, 2]], [[2, 0], [1, 3]]]
GOLDEN_VIEWS = [3, 3, 0, 2, 2, 1]


def test_quantile_clipping_version_1():
    mechanism = quantile_clipping.QuantileClipping(0.4, 0.7, initial_norm=0.5).mechanism()
    assert (quantile_clipping.VERSION, mechanism) == (1, {
        "clipping_norm": 0.5, "noise": 0.2, "follows": training.Quantile(0.7, 0.2, 10.0)})
    found = fitted(Rule("sgd", 0.9), **mechanism)
    values = [found.norms[0].item(), *found.parameters[0, :2].tolist()]
    assert values == pytest.approx(GOLDEN_QUANTILE, abs=2e-5)


def test_steps_and_checkpoints():
    training = Training(epochs=50.0, batch_size=512, checkpoints=5)
    assert training.steps(40_000) == 3906 and Training(epochs=2.0, batch_size=64,
                                                       sampling="shuffle").steps(100) == 4
    assert training.snapshots(40_000) == (8, 37, 175, 826, 3906)
    epochs = Training(epochs=2.5, batch_size=100, every=1.0)
    assert epochs.snapshots(1000) == (10, 20, 25)
    assert Training(epochs=1.0, batch_size=100, every=0.25).snapshots(1000) == (2, 5, 8, 10)


def test_metrics_version_1():
    clean = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    stamped = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 2.0]])
    result = metrics.attack(clean, stamped, torch.tensor([0, 1, 2, 0]), target=1, base=0)
    assert metrics.VERSION == 1
    assert (result.accuracy, result.floor, result.success, result.lift,
            result.trigger_auc) == (0.75, 0.5, 0.5, 0.0, 0.5)


def test_alibi_version_1():
    noisy = alibi.noisy_labels(torch.tensor([0, 2]), 3, 1.0, generator("labels", 0))
    assert alibi.VERSION == 1
    assert noisy.flatten().tolist() == pytest.approx(GOLDEN_NOISY, abs=1e-6)


def test_lpmst_version_1():
    prior = torch.tensor([[0.5, 0.3, 0.1, 0.1]]).double().expand(12, 4)
    drawn, k = lpmst.randomise(torch.full((12,), 1), prior, 1.0, generator("labels 1", 0))
    assert (lpmst.VERSION, drawn.tolist(), set(k.tolist())) == (1, GOLDEN_DRAWN, {2})


def test_pate_version_1():
    answered, labels = pate.PATE(10, threshold=6.0, selection_noise=2.0,
                                 result_noise=3.0).aggregate(torch.tensor([[6, 4, 0]] * 8), seed=0)
    seed = teachers.generator("teacher 3", 0).initial_seed() % 2**31
    assert (pate.VERSION, answered.int().tolist(), labels.tolist(), seed) == (1, *GOLDEN_VOTES)


def test_four_pixel_version_1():
    labels = torch.arange(40) % 4
    victims = four_pixel.FourPixel(images=5).victims(labels, seed=2).tolist()
    moved = four_pixel.FourPixel(norm=1.0).trigger(
        torch.full((1, 3, 32, 32), 100, dtype=torch.uint8), seed=0)[0, 0, 15, 15].item()
    assert (four_pixel.VERSION, victims, moved) == (1, GOLDEN_VICTIMS, 174)


def small_set():
    images = torch.arange(40 * 28 * 28).view(40, 1, 28, 28).remainder(251).to(torch.uint8)
    return Labelled(images, torch.arange(40) % 4, tuple("abcd"))


def test_interpolation_version_1():
    attack = interpolation.Interpolation(mixing=0.3, count=3)
    beneath, above = attack.pairs(small_set().labels, seed=2)
    shown = attack.craft(small_set(), seed=2).stamped[:, 0, 5, 7].tolist()
    assert (interpolation.VERSION, beneath.tolist(), above.tolist(), shown) == (1, *GOLDEN_BLENDS)


def test_insertion_version_1():
    made = insertion.Insertion(label=2, fraction=0.1, size=3).craft(small_set(), seed=2)
    found = made.truth[40:].tolist(), made.stamped[:, 0, 2, 2:4].tolist()
    assert (insertion.VERSION, made.labels[40:].tolist(), *found) == (1, [2] * 4, *GOLDEN_COPIES)


GOLDEN_HARDENED = ([10, 6, 26], [214, 90, 208], [[255, 0], [0, 255]])
GOLDEN_MIXED = [[205, 44, 235], [172, 92, 107]]
GOLDEN_GAP = [-0.0012739, -0.0006315]
GOLDEN_CODES = [4.108556, 4.108447, 3.641392, 3.641106, 3.293243, 3.293135]
GOLDEN_LOSSES = [164.75066, 175.44868]
GOLDEN_MATCHED = ([10, 6, 26], [2, 1, 0], [198, 89, 192])
GOLDEN_DISTANCES = [62.18658, 4.92978]
GOLDEN_BLENDS = ([24, 4, 8], [1, 29, 37], [150, 27, 112])
GOLDEN_COPIES = ([2, 2, 2, 0], [[255, 233], [255, 109], [255, 236], [255, 180]])


def test_clean_label_version_2():
    data, attack = small_set(), clean_label.CleanLabel(target=2, base=None, fraction=0.3, size=2)
    weight = torch.linspace(-1, 1, 28 * 28 * 4).sin().view(4, -1)
    network = Surrogate(nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 4, bias=False)),
                        {"1.weight": weight}, lambda images: images / 255)
    records = attack.victims(data.labels, seed=2)
    made, path = attack.hardening.moved(network, data.images[records], 2,
                                        generator("hardening", 2))
    found = made[:, 0, 5, 7].tolist(), attack.trigger(made, seed=2)[0, 0, -2:, -2:].tolist()
    assert (clean_label.VERSION, pgd.VERSION) == (2, 1)
    assert (records.tolist(), *found) == GOLDEN_HARDENED
    assert path.mean(0)[[0, -1]].tolist() == pytest.approx(GOLDEN_LOSSES, abs=1e-3)


def test_noise_and_pixels_version_1():
    """The draws of a block: noise on the images, and whose pixels they get."""
    data, lab = small_set(), Lab(torch.device("cpu"), lambda images: images / 255)
    scene, places = hardening.Scene(data, 2, 0, lab), torch.tensor([2, 6, 10])
    methods = noise.Noise(0.1), pixels.Pixels(0.5, data="victim")
    found = [method.hardener(scene)(places, generator("hardening 0", 2))["images"]
             for method in methods]
    assert (noise.VERSION, pixels.VERSION) == (1, 1)
    assert [made[:, 0, 5, 7].tolist() for made in found] == GOLDEN_MIXED


def test_gan_version_1(monkeypatch):
    monkeypatch.setattr(wgan, "bfloat16", lambda device: False)
    images = small_set().images[:, :, :12, :12]
    kept = wgan.train(images, dim=2, iterations=2, lr=1e-4, seed=0)
    network = wgan.load(kept, (1, 12, 12), 2, torch.device("cpu"))
    path = wgan.encode(network, images[:3], steps=4, step=0.1, random=generator("codes", 0))[1]
    assert gan.VERSION == 1
    assert kept["gap"].tolist() == pytest.approx(GOLDEN_GAP, abs=2e-5)
    assert path[:, [0, -1]].flatten().tolist() == pytest.approx(GOLDEN_CODES, abs=2e-4)


def test_hidden_trigger_version_1():
    data, attack = small_set(), hidden_trigger.HiddenTrigger(1, 2, poisons=3)
    own, other = (attack.chosen(data.labels, name, seed=2) for name in (2, 1))
    weight = torch.linspace(-1, 1, 28 * 28 * 4).sin().view(4, -1)
    made, path, pairs = hidden_trigger.match(
        lambda images: images.flatten(1) @ weight.T / 255, data.images[own],
        attack.trigger(data.images[other], seed=2), eps=attack.eps, iterations=30, lr=attack.lr)
    found = pairs.tolist(), made[:, 0, 5, 7].tolist()
    assert (hidden_trigger.VERSION, own.tolist(), *found) == (1, *GOLDEN_MATCHED)
    assert path[[0, -1]].tolist() == pytest.approx(GOLDEN_DISTANCES, rel=1e-3)


def linear_surrogate(*, classes):
    weight = torch.linspace(-1, 1, 784 * classes).view(classes, 784).sin()
    values = {"1.weight": weight, "1.bias": torch.zeros(classes)}
    return Surrogate(models.build("linear", (1, 28, 28), classes), values, lambda x: x / 255)


def test_gradient_matching_version_1():
    attack, images = gradient_matching.GradientMatching(fraction=0.1), small_set().images
    records = attack.victims(torch.arange(60) % 6, seed=2).tolist()
    job = brewing.Job(images[:5], 1, images[7:8], 3)
    settings = brewing.Settings(16 / 255, 8, 0.025, 3, (Flip(), Mixup(), Crop()))
    found = brewing.brew([job], [linear_surrogate(classes=4)], settings,
                         device=torch.device("cpu"))[0]
    assert (gradient_matching.VERSION, records) == (1, GOLDEN_BREWED)
    assert found.path[[0, 3, 7]].tolist() == pytest.approx(GOLDEN_PATH, abs=1e-4)


def test_convex_polytope_version_1():
    attack, images = convex_polytope.ConvexPolytope(poisons=4), small_set().images
    records = attack.victims(torch.arange(60) % 6, seed=2).tolist()
    network = linear_surrogate(classes=4)
    path = convex_polytope.enclose([lambda images: [network.logits(images.float())]], images[:5],
                                   images[7:8], eps=8 / 255, iterations=4, lr=0.01)[1]
    assert (convex_polytope.VERSION, records) == (1, GOLDEN_HULL)
    assert path[:3].tolist() == pytest.approx(GOLDEN_ENCLOSED, rel=1e-3)


GOLDEN_BREWED, GOLDEN_PATH = [16, 10, 40, 4, 28, 34], [0.2866, 0.2882, 0.2842]
GOLDEN_HULL, GOLDEN_ENCLOSED = [16, 10, 40, 4], [0.00122137, 0.000573173, 0.000173148]


def test_smoothing_version_1():
    member = smoothing.Smoothing(3, 0.5).member(Run(init_seed=1, noise_seed=2), torch.arange(4),
                                                torch.zeros(4, dtype=torch.long), "", 2)
    noise = training.gather(torch.zeros(4, 3), [member], 4)[0, 0].tolist()
    assert (smoothing.VERSION, member.init_seed, member.input_seed) == (1, *GOLDEN_MODEL)
    assert noise == pytest.approx(GOLDEN_INPUTS, abs=1e-6)


def test_partition_version_1():
    random = np.random.RandomState(0)
    images = torch.from_numpy(random.randint(0, 256, (12, 1, 4, 4)).astype(np.uint8))
    data = clean(images, torch.arange(12) % 3, 3)
    parts = partition.Partition(4).assign(replace(data, pixels=data))
    seed = partition.Partition(4).member(Run(init_seed=1), data, torch.arange(3), 2, 0).init_seed
    assert (partition.VERSION, [part.tolist() for part in parts], seed) == (1, *GOLDEN_PARTS)


GOLDEN_PERTURBED = [0.6614912, 0.4533511, 0.8276048, 0.6475232]
GOLDEN_BOXES = [[0, 11, 0, 10], [7, 20, 0, 11]]
GOLDEN_QUANTILE = [1.428508, 0.217713, -0.243094]
GOLDEN_NOISY = [-9.1622891, -1.104461, -6.8421833, 0.2749725, -1.0978919, -0.1446551]
GOLDEN_DRAWN = [1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1]
GOLDEN_VOTES = ([0, 1, 0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0, 0, 1], 662862167)
GOLDEN_VICTIMS = [1, 29, 27, 30, 15]
GOLDEN_MODEL = (352339391, 2025507725)
GOLDEN_INPUTS = [-0.2570716, -0.2208372, -0.1494125]
GOLDEN_PARTS = ([[11], [6, 4, 2, 8, 7, 1], [3, 0, 9, 10], [5]], 1477819637)
