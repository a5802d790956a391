"""Poison Frogs, and attacks that search: crafted images, tries, and their rows."""

import math
from dataclasses import replace

import pytest
import torch

from lib import study
from lib.attacks import feature_collision
from lib.attacks.feature_collision import FeatureCollision, collide, features
from lib.defences import members
from lib.defences.dpsgd import DPSGD
from lib.study import Run, inputs, measure, start
from lib.training import Training

PLAIN = DPSGD(0.0, clip=False)
CLEAN = FeatureCollision(append=False, pool=30)
BASE = Run(dataset="strokes", train_size=1000, test_size=400, model="mlp", attack=CLEAN,
           defence=PLAIN, training=Training("sgd", 0.05, epochs=4.0, batch_size=100))
FROG = FeatureCollision(candidates=4, pool=30, iterations=200)
AGAIN = BASE.with_(start=BASE, attack=FROG,
                   training=Training("sgd", 0.05, epochs=2.0, batch_size=100, every=1.0))


@pytest.fixture(scope="module", autouse=True)
def _own_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frogs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_STORE", str(folder / "store"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("STUDY_PUBLISHED", "0")
        yield


def lab():
    return inputs.lab(AGAIN, start=start.load(BASE).weights)


def made():
    return FROG._made(lab())


def test_poisons_reach_the_target_and_stay_near_their_donors():
    own, found = lab(), made()
    target = FROG.goal.cases(own.given_test(), seed=0).images
    wanted = features(own.given_start(), target)
    before = (features(own.given_start(), found["donors"]) - wanted).norm(dim=1)
    after = (features(own.given_start(), found["poisons"]) - wanted).norm(dim=1)
    assert torch.allclose(after, found["distance"], atol=1e-4)
    assert (after < 0.5 * before).all()
    labels = own.given_test().labels
    assert (labels[found["place"]] == FROG.label).all() and labels[labels == 3].numel() > 0


def test_collision_minimises_its_objective():
    """Linear features have a closed form without the box: x = d + A'(AA' + beta)^-1 A (t - d)."""
    random = torch.Generator().manual_seed(0)
    mix = torch.randn(3, 12, generator=random) * 0.1
    donors = torch.randint(100, 150, (5, 12), generator=random, dtype=torch.uint8)
    wanted = torch.randint(100, 150, (1, 12), generator=random).float() / 255 @ mix.T
    similarity = 4.0
    found = collide(lambda x: x / 255 @ mix.T, donors, wanted, iterations=3000,
                    similarity=similarity)
    beta, d = similarity * (3 / 12)**2, donors.float() / 255
    gap = (wanted - d @ mix.T).T
    exact = d + (mix.T @ torch.linalg.solve(mix @ mix.T + beta * torch.eye(3), gap)).T
    assert (found.float() / 255 - exact).abs().max() < 1.01 / 255


def test_a_watermark_moves_the_start_towards_the_target():
    own, marked = lab(), FeatureCollision(candidates=4, pool=30, iterations=1, watermark=0.5)
    found = marked._made(own)
    target = FROG.goal.cases(own.given_test(), seed=0).images.float()
    between = 0.5 * found["donors"].float() + 0.5 * target
    assert (found["poisons"].float() - between).abs().mean() < 2.0


def test_a_bound_holds_for_every_pixel_also_with_a_watermark():
    for eps, watermark in ((8 / 255, 0.3), (8.7 / 255, 0.0)):
        found = replace(FROG, eps=eps, watermark=watermark, iterations=20)._made(lab())
        moved = (found["poisons"].int() - found["donors"].int()).abs()
        assert 1 <= moved.max() <= 8
    assert "eps" not in FROG._crafting() and replace(FROG, eps=0.1)._crafting()["eps"] == 0.1


def test_a_network_with_one_layer_collides_in_its_logits():
    run = BASE.with_(model="linear")
    network = inputs.lab(run.with_(start=run), start=start.load(run).weights).given_start()
    images = inputs.private_and_test(run)[1].images[:5]
    assert features(network, images).shape == (5, 10)
    predicted = study.fit(run)[0].predict(images)
    assert torch.allclose(features(network, images), predicted, atol=1e-3)


def test_tries_are_in_the_order_of_their_change():
    data = inputs.private_and_test(AGAIN)[0]
    sets = FROG.tries(data, seed=0, lab=lab())
    changes = [each.facts["change"] for each in sets]
    assert len(sets) == 4 and changes == sorted(changes)
    for each in sets:
        assert len(each.rows) == len(data.labels) + 1 and each.mask.sum() == 1
        assert each.labels[-1] == FROG.label and each.records("nominal") == len(data.labels)


def test_growing_numbers_of_poisons_contain_each_other():
    data = inputs.private_and_test(AGAIN)[0]
    many = FeatureCollision(candidates=4, pool=30, iterations=200, counts=(1, 3, 4))
    sets = many.tries(data, seed=0, lab=lab())
    assert [int(each.mask.sum()) for each in sets] == [1, 3, 4]
    assert torch.equal(sets[2].stamped[:3], sets[1].stamped)


def test_the_other_worlds():
    data = inputs.private_and_test(AGAIN)[0]
    kept = FROG.world("T").tries(data, seed=0, lab=lab())
    test = lab().given_test()
    assert all(bool((each.stamped == test.images[int(each.facts["donor"])]).all()) for each in kept)
    assert [len(each.rows) for each in FROG.world("C").tries(data, seed=0, lab=lab())] == [1000] * 4
    assert [FROG.world(name).in_world for name in FROG.worlds] == ["P", "T", "C"]


def test_unusable_poisons_are_no_tries():
    none = FeatureCollision(candidates=4, pool=30, iterations=1, reach=1e-6)
    run = AGAIN.with_(attack=none)
    assert measure.attempts(run) == []
    with pytest.raises(ValueError, match="no usable poison"):
        measure.poisoned(run)
    line = study.run([run]).iloc[0]
    assert line["status"] == "ok" and math.isnan(line["success"])
    assert study.tries(study.run([run])).empty


def test_a_row_keeps_every_try():
    runs = [AGAIN, AGAIN.in_world("C"), AGAIN.with_(attack__target=1, defence=DPSGD(1.0))]
    frame = study.run(runs)
    found = study.tries(frame)
    assert (found.groupby(["key", "try"], sort=False).size() == 2).all()
    assert found.groupby("key", sort=False)["try"].nunique().tolist() == [4, 4, 4]
    last = found[found["last"]].groupby("key", sort=False)["accuracy"].mean()
    assert last.tolist() == pytest.approx(frame["accuracy"].tolist(), abs=1e-4)
    # Clean re-trainings without noise differ too, so that a search has as many looks at them.
    clean = found[found["key"] == runs[1].key]
    assert clean.groupby("epoch")["accuracy"].nunique().gt(1).all()
    assert frame["epsilon_given_start"].iloc[2] < math.inf == frame["epsilon"].iloc[2]


def test_tries_have_noise_of_their_own():
    noisy = AGAIN.with_(defence=DPSGD(1.0)).in_world("C")
    seeds = [attempt.run.noise_seed for attempt in measure.attempts(noisy)]
    assert len(set(seeds)) == 4
    assert study.tries(study.run([noisy]))["accuracy"].nunique() > 2


def test_clean_tries_have_batches_of_their_own():
    attacked, clean = ([attempt.run.init_seed for attempt in measure.attempts(run)]
                       for run in (AGAIN, AGAIN.in_world("C")))
    assert len(set(attacked)) == 1 and len(set(clean)) == len(clean) == 4
    assert clean[0] == attacked[0]  # where accuracies are compared epoch by epoch


def test_clean_twins_of_all_targets_are_one_training():
    twins = [AGAIN.with_(attack__target=target).in_world("C") for target in range(3)]
    assert len({measure.identity(each) for each in twins}) == 1
    more = AGAIN.with_(attack__candidates=5).in_world("C")
    assert measure.identity(more) != measure.identity(twins[0])


@pytest.mark.parametrize("make,says", [
    (lambda: FeatureCollision(candidates=200), "candidates 200 of a pool of 100"),
    (lambda: FeatureCollision(counts=(1, 30)), "30 poisons of 20 candidates"),
    (lambda: FeatureCollision(counts=(3, 2)), "growing numbers"),
    (lambda: FeatureCollision(reach=0.0), "reach 0.0"),
    (lambda: FeatureCollision(watermark=1.0), "watermark 1.0"),
    (lambda: FeatureCollision().world("L"), "world 'L'"),
    (lambda: measure.attempts(AGAIN.with_(attack__pool=300)), "300 donors"),
    (lambda: measure.attempts(AGAIN.with_(attack__target=300)), "test images of class 3"),
    (lambda: FeatureCollision(base=4), "a target of class 4, the wanted label"),
    (lambda: measure.attempts(BASE.with_(attack=FROG)), "expected a run with a start"),
    (lambda: measure.attempts(AGAIN.with_(model="linear")), "run start of model 'mlp'")])
def test_bad_input(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_donors_leave_the_accuracy():
    run = AGAIN.with_(attack__pool=30)
    line = study.run([run]).iloc[0]
    assert line["tested"] == 400 - 30


def test_version():
    assert feature_collision.VERSION == 2


@pytest.mark.parametrize("model", ["mlp", "cnn", "linear"])
def test_models_predict_together_as_they_do_alone(model):
    run = BASE.with_(model=model, training__epochs=0.5)
    made = [measure.trained([run.with_(init_seed=seed)])[0] for seed in (0,)]
    group = measure.trained([run.with_(init_seed=seed) for seed in range(3)])
    images = inputs.private_and_test(run)[1].images[:50]
    alone = [each.predict(images) for each in (*group, *made)]
    shared = list(members.together([each.predict for each in (*group, *made)], images))
    for one, other in zip(alone, shared, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_one_training_answers_once(monkeypatch):
    first, *others = (AGAIN.with_(attack__target=target, noise_seed=target).in_world("C")
                      for target in range(3))
    alone = [measure.train_rows([each])[0] for each in (first, *others)]
    asked, together = [], members.together
    monkeypatch.setattr(members, "together", lambda predicts, images: asked.append(
        (len(images), len(predicts))) or together(predicts, images))
    rows = measure.train_rows([first, *others])
    test = len(inputs.private_and_test(first)[1].labels)
    assert sum(models for images, models in asked if images == test) == 4 * 2  # end and one point
    for one, other in zip(alone, rows, strict=True):
        assert one["tries"]["path"] == other["tries"]["path"]
        assert one["metrics"] == pytest.approx(other["metrics"], abs=1e-5)


def test_what_a_filter_removed_is_the_mean_over_tries():
    from lib.study import measure

    tries = [{"removed": 2.0, "recall": 0.5}, {"removed": 4.0, "recall": None}]
    assert measure._mean_facts(tries) == {"removed": 3.0, "recall": None}
    assert measure._mean_facts([]) == {}
