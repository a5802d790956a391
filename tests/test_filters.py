"""Filters: what they drop against numpy and scikit-learn, the second training, facts and refusals.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib import models, parts, study, training
from lib.attacks import clean
from lib.attacks.badnets import BadNets
from lib.attacks.feature_collision import FeatureCollision
from lib.attacks.label_flip import LabelFlip
from lib.attacks.random_patch import RandomPatch
from lib.defences import activation_clustering, deep_knn, filtering, spectral_signatures
from lib.defences.activation_clustering import ActivationClustering, two_means
from lib.defences.deep_knn import DeepKNN
from lib.defences.dpsgd import DPSGD
from lib.defences.filtering import Seen
from lib.defences.spectral_signatures import SpectralSignatures
from lib.study import Run, measure
from lib.training import Training
from lib.training.transforms.mixup import Mixup

NOTHING = [SpectralSignatures(poisons=0), SpectralSignatures(factor=0.0),
           SpectralSignatures(percentile=100.0), ActivationClustering(largest=0.0),
           DeepKNN(neighbours=0)]
SOME = [SpectralSignatures(poisons=4), ActivationClustering(), DeepKNN(neighbours=5)]
RUN = Run(train_size=300, test_size=100, model="mlp", attack=RandomPatch(7, 1, 0.5),
          defence=DPSGD(0.0, clip=False), training=Training(epochs=2.0, batch_size=50))


def seen(n=120, width=8, classes=3, seed=0, target=1):
    """Features around a centre for each class, some of them apart from the others."""
    random = np.random.RandomState(seed)
    labels = torch.from_numpy(random.randint(0, classes, n))
    x = random.randn(n, width) + 2 * np.eye(classes, width)[labels]
    x[random.rand(n) < 0.2] += 3 * random.randn(width)
    return Seen(torch.from_numpy(x), labels, 0, target)


# ---- what they drop

@pytest.mark.parametrize("n,width", [(60, 8), (20, 40)])
def test_scores_are_those_of_numpys_singular_vector(n, width):
    x = np.random.RandomState(0).randn(n, width) + 5
    vector = np.linalg.svd(x - x.mean(0))[2][0]
    found = spectral_signatures.scores(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, ((x - x.mean(0)) @ vector) ** 2, rtol=1e-9, atol=1e-12)


def by_numpy(given, count=None, percentile=None):
    found = np.zeros(len(given.labels), bool)
    for name in range(3):
        rows = np.flatnonzero(given.labels.numpy() == name)
        x = given.features.numpy()[rows]
        values = ((x - x.mean(0)) @ np.linalg.svd(x - x.mean(0))[2][0]) ** 2
        found[rows] = (values > np.percentile(values, percentile) if percentile is not None
                       else values >= np.sort(values)[-count])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_spectral_signatures_drop_the_largest_scores_of_every_class(seed):
    given = seen(seed=seed)
    found = SpectralSignatures(poisons=6).suspects(given)
    np.testing.assert_array_equal(found, by_numpy(given, count=9))
    found = SpectralSignatures(percentile=85.0).suspects(given)
    np.testing.assert_array_equal(found, by_numpy(given, percentile=85))
    alone = SpectralSignatures(percentile=85.0, classes="target").suspects(given)
    assert torch.equal(alone, found & (given.labels == 1))


def test_a_filter_of_the_target_needs_one():
    with pytest.raises(ValueError, match="an attack without one: expected classes"):
        SpectralSignatures(classes="target").suspects(seen(target=None))


def inertia(x, second):
    return sum(((x[side] - x[side].mean(0)) ** 2).sum() for side in (second, ~second)
               if side.any())


@pytest.mark.parametrize("seed", range(4))
def test_two_means_are_those_of_scikit_learn(seed):
    from sklearn.cluster import KMeans

    random = np.random.RandomState(seed)
    x = np.concatenate([random.randn(70, 5), random.randn(30, 5) + 1.5])
    found = two_means(torch.from_numpy(x), training.generator("x", seed), 20).numpy()
    known = KMeans(2, n_init=20, random_state=seed).fit(x)
    assert inertia(x, found) == pytest.approx(known.inertia_, rel=1e-9)
    assert (found == (known.labels_ == 1)).mean() in (0.0, 1.0)


def test_the_smaller_cluster_of_each_class_goes():
    given = seen(n=300)
    found = ActivationClustering().suspects(given)
    for name in range(3):
        own = given.labels == name
        assert 0 < found[own].double().mean() <= 0.5
    shares = [found[given.labels == name].double().mean().item() for name in range(3)]
    middle = sorted(shares)[1]  # classes with a larger one keep it
    fewer = ActivationClustering(largest=middle).suspects(given)
    assert [bool(fewer[given.labels == name].any()) for name in range(3)] == [
        share <= middle for share in shares]


def test_equal_records_are_one_cluster():
    given = Seen(torch.ones(40, 3), torch.zeros(40, dtype=torch.long), 0, None)
    assert not ActivationClustering().suspects(given).any()
    assert not ActivationClustering(components=2, whiten=True).suspects(given).any()


def test_whitened_components_are_independent_components_up_to_rotation():
    """Chen et al. cluster independent components: the distances are the same."""
    from sklearn.decomposition import PCA, FastICA

    x = np.random.RandomState(0).randn(80, 6) ** 3 @ np.random.RandomState(1).randn(6, 6)
    reduced = ActivationClustering(components=4, whiten=True)._reduced(torch.from_numpy(x))
    known = PCA(4, whiten=True).fit_transform(x) * np.sqrt(80 / 79)
    independent = FastICA(4, whiten="unit-variance", random_state=0).fit_transform(x)
    for other in (known, independent):
        torch.testing.assert_close(torch.cdist(reduced, reduced),
                                   torch.cdist(*[torch.from_numpy(other)] * 2), rtol=1e-5,
                                   atol=1e-6)
    plain = ActivationClustering(components=4)._reduced(torch.from_numpy(x))
    np.testing.assert_allclose(plain.abs().numpy(), np.abs(PCA(4).fit_transform(x)), atol=1e-8)


@pytest.mark.parametrize("neighbours", [1, 4, 15])
def test_neighbours_are_those_of_scikit_learn(neighbours, monkeypatch):
    from sklearn.neighbors import NearestNeighbors

    monkeypatch.setattr(deep_knn, "DISTANCES", 1000)  # several chunks
    given = seen()
    x, labels = given.features.numpy(), given.labels.tolist()
    nearest = NearestNeighbors(n_neighbors=neighbours).fit(x).kneighbors(return_distance=False)
    expected = []
    for own, places in zip(labels, nearest, strict=True):
        counts = Counter(labels[place] for place in places)
        expected.append(max(counts.values()) > counts[own])
    found = DeepKNN(neighbours).suspects(given)
    assert found.tolist() == expected and 0 < sum(expected) < len(expected)


def test_too_many_neighbours_are_refused():
    with pytest.raises(ValueError, match="neighbours 120: expected at most the 119 other records"):
        DeepKNN(120).suspects(seen())


# ---- features

def with_norm(shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(),
                         nn.Flatten(), nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, classes),
                         nn.Softplus())


@pytest.mark.parametrize("name", ["cnn", "mlp", "linear", "mlp-256-256", "resnet"])
def test_features_are_the_inputs_of_the_last_linear_layer(name):
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (6, 3, 20, 20), generator=random).to(torch.uint8)
    module = models.build(name, (3, 20, 20), 4)
    check_features(module, images)


def test_features_with_buffers_and_layers_after_the_last_linear_one():
    images = torch.randint(256, (6, 3, 20, 20), dtype=torch.uint8)
    module = with_norm((3, 20, 20), 4)
    module(images / 255)  # moves the averages of the normalisation
    check_features(module, images)


def check_features(module, images):
    flat = training.flatten(module)
    group = training.Ensemble(module, torch.stack([flat + 1, flat]), {})
    found = filtering.penultimate(group).predict(images, model=1)
    kept = []
    last = [layer for layer in module if isinstance(layer, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
    with torch.no_grad():
        module.eval()(images / 255)
    hook.remove()
    torch.testing.assert_close(found, kept[0], rtol=1e-4, atol=1e-5)


def test_a_network_without_a_last_linear_layer_is_refused():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    group = training.Ensemble(module, training.flatten(module)[None], {})
    with pytest.raises(ValueError, match="model Sequential: a filter reads the inputs of the last"):
        filtering.penultimate(group)


# ---- the second training

def trained(run):
    data = measure.poisoned(run)
    return measure.trained([run], [data])[0], data


@pytest.mark.parametrize("attack", [RandomPatch(7, 1, 0.5), LabelFlip(0.3)])
@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_a_filter_that_drops_nothing_ends_with_the_undefended_model(attack, sampling):
    run = RUN.with_(attack=attack, training__sampling=sampling, training__checkpoints=3)
    plain, _ = trained(run)
    for nothing in NOTHING:
        found, _ = trained(run.with_(defence=nothing))
        assert torch.equal(found.weights, plain.weights) and found.facts["removed"] == 0
        assert found.states.keys() == plain.states.keys()


@pytest.mark.parametrize("defence", SOME)
def test_the_second_training_is_that_of_the_records_left(defence):
    run = RUN.with_(defence=defence)
    found, data = trained(run)
    first = measure.trained([RUN], [data])[0]
    bodies = filtering.penultimate(training.Ensemble(first.module, first.weights[None], {}))
    drop = defence.suspects(Seen(bodies.predict(data.images(), model=0), data.labels, 0, 1))
    left = filtering.without(data, drop)
    n = len(left.rows)
    assert 0 < found.facts["removed"] == 300 - n
    own = training.Member(left.rows, left.labels, 50, run.training.lr)
    again = training.fit(lambda: models.build("mlp", (1, 28, 28), 10),
                         torch.cat([left.clean, left.stamped]), [own],
                         run.training.plan(n, "float32"))
    torch.testing.assert_close(found.weights, again.parameters[0], rtol=0, atol=0)
    assert found.privacy.epsilon == float("inf") and not found.privacy.holds
    assert "without noise" in found.privacy.note


def test_the_mask_only_measures():
    run = RUN.with_(defence=SOME[0])
    data = measure.poisoned(run)
    blind = replace(data, mask=torch.zeros_like(data.mask))
    seeing, blindly = (measure.trained([run], [given])[0] for given in (data, blind))
    assert torch.equal(seeing.weights, blindly.weights)
    assert seeing.facts["recall"] is not None and blindly.facts["recall"] is None


@pytest.mark.parametrize("defences", [
    [SpectralSignatures(poisons=2), SpectralSignatures(poisons=10),
     SpectralSignatures(percentile=70.0, classes="target")],
    [DeepKNN(3), DeepKNN(20), DeepKNN(0)],
    [ActivationClustering(), ActivationClustering(components=5, whiten=True),
     ActivationClustering(largest=0.3)]])
def test_runs_of_a_group_are_as_alone(defences):
    runs = [RUN.with_(defence=one, attack_seed=seed, init_seed=seed, noise_seed=seed,
                      training__checkpoints=3) for seed, one in enumerate(defences)]
    sets = [measure.poisoned(run) for run in runs]
    assert len({one.defence.group(one) for one in runs}) == 1
    together = measure.trained(runs, sets)
    for run, data, found in zip(runs, sets, together):
        alone = measure.trained([run], [data])[0]
        assert alone.facts == found.facts
        torch.testing.assert_close(alone.weights, found.weights, rtol=0, atol=1e-4)
        assert alone.states.keys() == found.states.keys()
        for step, state in alone.states.items():
            torch.testing.assert_close(state, found.states[step], rtol=0, atol=1e-4)


@pytest.mark.parametrize("run", [
    RUN.with_(attack=BadNets(7, 1, 0.5)),
    RUN.with_(attack=LabelFlip(0.3)),
    RUN.with_(features="patches:8", model="head", public=60),
    RUN.with_(training__transforms=(Mixup(),))],
    ids=["relabelled", "appended", "features", "mixup"])
def test_rows_of_every_kind_of_poison(run, store):
    runs = [one.with_(defence=defence) for one in study.worlds(run, "PC")
            for defence in SOME]
    frame = study.run(runs)
    assert frame["status"].eq("ok").all() and frame["epsilon"].eq(float("inf")).all()
    attacked, twin = frame[frame["world"].eq("P")], frame[frame["world"].eq("C")]
    assert attacked["facts.removed"].gt(0).all() and attacked["facts.poisons"].gt(0).all()
    assert attacked["facts.recall"].between(0, 1).all() and twin["facts.recall"].isna().all()
    assert twin["facts.poisons"].eq(0).all() and twin["facts.precision"].eq(0).all()


def test_a_retraining_starts_again_from_its_start(store):
    """Each try of an attack that searches is filtered on its own."""
    base = RUN.with_(attack=FeatureCollision(append=False, candidates=2, pool=10))
    frog = FeatureCollision(candidates=2, pool=10, iterations=20, reach=100.0)
    run = base.with_(start=base, attack=frog, defence=NOTHING[0])
    one, plain = (study.tries(study.run([each])) for each in (
        run, run.with_(defence=RUN.defence)))
    assert len(one) == 2 and one.iloc[:, 1:].equals(plain.iloc[:, 1:])
    row = study.run([run.with_(defence=SOME[0])])
    assert row["status"][0] == "ok" and row["success"].notna().all()


def test_facts_by_hand():
    labels = torch.tensor([0] * 4 + [1] * 4 + [2] * 2)
    data = replace(clean(torch.zeros(10, 2), labels, 3),
                   mask=torch.tensor([0, 0, 0, 0, 1, 1, 1, 0, 0, 0]).bool())
    drop = torch.tensor([1, 0, 0, 0, 1, 1, 0, 0, 0, 0]).bool()
    assert filtering.facts(data, drop, 1) == {
        "removed": 3, "poisons": 3, "precision": 2 / 3, "recall": 2 / 3,
        "removed_of_target": 0.5, "removed_of_others": 0.125, "removed_of_class_min": 0.0,
        "removed_of_class_max": 0.5}
    nothing = filtering.facts(data, drop & False, None)
    assert nothing["precision"] is None and nothing["removed_of_target"] is None
    assert set(nothing) == set(filtering.FACTS)


# ---- refusals

def test_a_filter_that_would_empty_a_class_fails_in_one_line(store, capsys):
    runs = [RUN.with_(defence=SpectralSignatures(poisons=count)) for count in (5, 100)]
    frame = study.run(runs)
    assert frame["status"].tolist() == ["ok", "failed"]
    with pytest.raises(ValueError, match="defence spectral_signatures: it would drop all [0-9]+ "
                                         "records of class 0: expected to keep some") as problem:
        trained(runs[1])
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("name,changes,match", [
    ("spectral_signatures", {"poisons": -1}, "poisons -1: expected 0 or more"),
    ("spectral_signatures", {"factor": -0.5}, "factor -0.5"),
    ("spectral_signatures", {"percentile": 101.0}, "percentile 101.0: expected 0 to 100"),
    ("spectral_signatures", {"classes": "one"}, "classes 'one': expected all or target"),
    ("activation_clustering", {"largest": 0.6}, "largest 0.6: expected 0 to 0.5"),
    ("activation_clustering", {"components": -1}, "components -1"),
    ("activation_clustering", {"whiten": True}, "whiten with components 0"),
    ("activation_clustering", {"restarts": 0}, "restarts 0: expected 1 or more"),
    ("deep_knn", {"neighbours": -1}, "neighbours -1: expected 0 or more")])
def test_settings_out_of_range_are_refused(name, changes, match):
    with pytest.raises(ValueError, match=match) as problem:
        parts.build("defence", {"name": name, **changes})
    assert "\n" not in str(problem.value)


def test_golden_values_of_these_versions():
    """If this fails, raise the VERSION of that filter: rows made before would mean another one."""
    given = seen(n=60)
    found = [one.suspects(given).nonzero().flatten().tolist()[:6] for one in SOME]
    versions = [module.VERSION for module in (spectral_signatures, activation_clustering,
                                              deep_knn)]
    assert (versions, found) == ([1, 1, 1], GOLDEN)


GOLDEN = [[5, 7, 8, 12, 13, 17], [7, 8, 12, 13, 17, 32], [4, 7, 13, 25, 27, 37]]
