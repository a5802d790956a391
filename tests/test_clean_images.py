"""Backdoors whose poisons keep their correct labels: clean-label and hidden-trigger."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lib import study, training
from lib.attacks import clean_label, hidden_trigger
from lib.attacks.clean_label import CleanLabel
from lib.attacks.hardening import pgd
from lib.attacks.hardening.pgd import PGD
from lib.attacks.hidden_trigger import HiddenTrigger, match, paired
from lib.attacks.perturbation import change, stored
from lib.data.compression import compressed
from lib.defences.dpsgd import DPSGD
from lib.lab import Lab, surrogate_seed
from lib.study import Run, from_dict, inputs, start
from lib.study.runs import versions
from lib.training import Training
from lib.training.ascent import Ball
from lib.training.transforms.adversarial import Adversarial

SHORT = Training("sgd", 0.1, epochs=2.0, batch_size=100)
ASCENT = PGD(eps=40 / 255, step=8 / 255, steps=6, model="mlp", training=SHORT)
CLEAN = CleanLabel(hardening=ASCENT)
HIDDEN = HiddenTrigger(poisons=12, eps=40 / 255, iterations=40, lr=2 / 255, signed=True,
                       model="mlp", training=SHORT)
RUN = Run(train_size=1000, test_size=300, model="mlp", attack=CLEAN,
          defence=DPSGD(0.0, clip=False), training=SHORT)


@pytest.fixture(scope="module", autouse=True)
def _own_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_STORE", str(folder / "store"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("STUDY_PUBLISHED", "0")
        yield


def data():
    return inputs.private_and_test(RUN)[0]


def lab(attack=CLEAN):
    return inputs.lab(RUN.with_(attack=attack))


def crafted(attack, *, seed=0):
    return attack.craft(data(), seed=seed, lab=lab(attack))


def surrogate(attack):
    return lab(attack).surrogate("mlp", SHORT, data(), seed=surrogate_seed(0), precision="fast")


def changed(made):
    """(the images in place of their originals, the originals)."""
    records = made.mask.nonzero().flatten()
    return made.images()[records], data().images[records]


# ---------------------------------------------------------------- clean-label

@pytest.mark.parametrize("norm,eps", [("linf", 0.1), ("l2", 2.0)])
def test_hardening_equals_a_loop_over_images(norm, eps):
    network, images = surrogate(CLEAN), data().images[:4]
    own = PGD(norm, eps, eps / 3, 5, random_start=False)
    found, path = own.moved(network, images, 4, training.generator("hardening", 0))
    for image, made in zip(images.float(), found.float()):
        x = image.clone()
        for _ in range(5):
            x = x.detach().requires_grad_()
            loss = F.cross_entropy(network.logits(x[None]), torch.tensor([4]))
            slope, = torch.autograd.grad(loss, x)
            step = slope.sign() if norm == "linf" else slope / slope.norm()
            moved = x.detach() + 255 * eps / 3 * step - image
            if norm == "linf":
                moved = moved.clamp(-255 * eps, 255 * eps)
            else:
                moved = moved * min(1.0, 255 * eps / moved.norm().item())
            x = (image + moved).clamp(0, 255)
        assert (made - x).abs().max() <= 1.0  # bytes, within the ball
    moved = (found.float() - images.float()).flatten(1) / 255
    lengths = moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)
    assert (lengths <= eps + (0 if norm == "linf" else 0.01)).all()
    for place, shown in ((0, images), (-1, found)):
        losses = F.cross_entropy(network.logits(shown), torch.full((4,), 4), reduction="none")
        torch.testing.assert_close(path[:, place], losses, rtol=1e-4, atol=1e-6)
    assert path.shape == (4, 6) and path[:, -1].mean() > path[:, 0].mean() + 0.5


def test_a_random_start_is_the_seeds():
    own, images = PGD("linf", 0.1, 0.03, 2), data().images[:3]
    first, again, other = (
        own.moved(surrogate(CLEAN), images, 4, training.generator("hardening", seed))[0]
        for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_bytes_stay_in_the_ball():
    images = torch.tensor([0, 3, 100, 250, 255], dtype=torch.uint8).view(1, 1, 1, 5)
    for eps, whole in ((8 / 255, 8), (16 / 255, 16), (8.7 / 255, 8)):
        found = stored(images + 300.0, images, Ball("linf", 255 * eps))
        assert (found.float() - images).flatten().tolist() == [whole, whole, whole, 5, 0]
    found = stored(images - 300.0, images, Ball("l2", 5.0))
    assert torch.equal(found, (images.float() - 5 / 5**0.5).clamp(0).round().to(torch.uint8))


def test_the_worlds_of_a_clean_label_backdoor():
    made = {name: crafted(CLEAN.world(name)) for name in CLEAN.worlds}
    assert list(made) == ["P", "H", "T", "C"]
    assert [CLEAN.world(name).in_world for name in made] == list(made)
    for name, own in made.items():
        assert torch.equal(own.labels, data().labels) and torch.equal(own.truth, own.labels)
        assert bool((data().labels[own.mask] == 4).all())
        assert bool(own.mask.any()) == (name != "C")
    (both, originals), (hard, _), (stamped, _) = (changed(made[name]) for name in "PHT")
    assert torch.equal(stamped, CLEAN.trigger(originals, seed=0))
    assert torch.equal(both, CLEAN.trigger(hard, seed=0))
    assert not torch.equal(hard, originals)
    assert (hard.float() - originals.float()).abs().max() == 40
    assert len(originals) == int((data().labels == 4).sum()) // 4
    assert made["H"].facts["change_linf"] == pytest.approx(40 / 255)
    assert made["H"].facts["loss_end"] > made["H"].facts["loss_start"] + 0.5
    assert made["P"].facts["loss_end"] == made["H"].facts["loss_end"]
    assert "loss_end" not in made["T"].facts


def test_worlds_share_what_was_crafted(monkeypatch):
    crafted(CLEAN)
    monkeypatch.setattr(Lab, "surrogate", lambda *_, **__: pytest.fail("trained again"))
    crafted(CLEAN.world("H"))
    crafted(replace(CLEAN, clamp=True))


def test_fewer_poisons_are_a_subset():
    few, many = (crafted(replace(CLEAN, fraction=None, poisons=count).world("T")).mask
                 for count in (5, 9))
    assert int(few.sum()) == 5 and int(many.sum()) == 9 and bool((few & many == few).all())


def test_a_clamped_trigger_is_full_at_test_time():
    own = replace(CLEAN, clamp=True)
    shown, originals = changed(crafted(own))
    plain, _ = changed(crafted(CLEAN))
    assert (shown.float() - originals.float()).abs().max() == 40
    assert (plain.float() - originals.float()).abs().max() > 200
    square = (..., slice(-5, None), slice(-5, None))
    expected = plain.float()[square].clamp(originals[square].float() - 40,
                                           originals[square].float() + 40)
    assert torch.equal(shown[square].float(), expected)
    test = inputs.private_and_test(RUN)[1]
    cases = own.goal.cases(test, seed=0)
    assert own.goal == CLEAN.goal and bool((test.labels[cases.rows] == 3).all())
    assert torch.equal(cases.images, own.trigger(test.images[cases.rows], seed=0))


def test_every_world_with_poisons_is_compressed():
    plain = {name: crafted(CLEAN.world(name)) for name in "PHT"}
    saved = {name: crafted(replace(CLEAN, jpeg=75).world(name)) for name in "PHT"}
    for name, made in saved.items():
        assert torch.equal(changed(made)[0], compressed(changed(plain[name])[0], 75))
        assert made.facts["change_l2"] != plain[name].facts["change_l2"]
    assert torch.equal(crafted(replace(CLEAN, jpeg=75).world("C")).images(), data().images)


def test_an_l2_ball_and_a_robust_surrogate():
    robust = replace(SHORT, epochs=1.0, transforms=(Adversarial(steps=2),))
    method = replace(ASCENT, norm="l2", eps=1.5, step=0.5, training=robust, model="cnn")
    own = replace(CLEAN, hardening=method, poisons=6, fraction=None)
    made = crafted(own.world("H"))
    moved, originals = changed(made)
    assert change(moved, originals)["change_l2"] == pytest.approx(1.5, abs=0.05)
    assert made.facts["change_l2"] == pytest.approx(change(moved, originals)["change_l2"])


def test_a_row_of_each_attack():
    runs = [RUN, *(RUN.in_world(name) for name in "HTC"), RUN.with_(attack=HIDDEN)]
    frame = study.run(runs)
    assert frame["status"].tolist() == ["ok"] * 5 and frame["world"].tolist() == [*"PHTC", "P"]
    assert frame["twin"].nunique() == 2
    fours = int((data().labels == 4).sum())
    assert frame["facts.poisons"].iloc[[0, 4]].tolist() == [fours // 4, 12]
    assert frame["facts.change_linf"].iloc[4] <= 40 / 255 + 1e-6
    assert frame["population"].nunique() == 1 and frame["success"].notna().all()


def test_settings_come_back_and_count_for_the_key():
    run = RUN.with_(attack=CleanLabel())
    assert from_dict(run.to_dict()) == run
    assert versions(run)["transforms"] == [1, 1, 2]  # of the surrogate's training
    assert versions(run)["attack"] == [clean_label.VERSION, pgd.VERSION]
    assert run.key != run.with_(attack__clamp=True).key
    assert run.key != run.with_(attack__hardening={"name": "pgd", "eps": 0.1}).key
    assert (clean_label.VERSION, hidden_trigger.VERSION) == (2, 1)


# ---------------------------------------------------------------- hidden trigger

def linear(width=6):
    mix = torch.randn(28 * 28, width, generator=torch.Generator().manual_seed(0)) / 28
    return lambda images: (images.flatten(1) / 255) @ mix


@pytest.mark.parametrize("signed,lr", [(True, 0.02), (False, 0.05)])
def test_matching_equals_a_loop(signed, lr):
    features, images = linear(), data().images
    originals, sources = images[:5], images[20:25]
    found, path, pairs = match(features, originals, sources, eps=0.2, iterations=12, lr=lr,
                               signed=signed)
    wanted, x = features(sources.float()), originals.float() / 255
    for step in range(12):
        own = features(255 * x)
        partner = by_hand(own, wanted)
        assert path[step].item() == pytest.approx(
            (own - wanted[partner]).square().sum(1).mean().item(), rel=1e-4)
        for place in range(5):
            one = x[place].clone().requires_grad_()
            away = (features(255 * one[None]) - wanted[partner[place]]).square().sum()
            slope, = torch.autograd.grad(away, one)
            moved = one.detach() - lr * (slope.sign() if signed else slope)
            base = originals[place].float() / 255
            x[place] = moved.clamp(base - 0.2, base + 0.2).clamp(0, 1)
    assert (found.float() - 255 * x).abs().max() <= 1.0
    assert (found.float() - originals.float()).abs().max() <= 51
    last = features(found.float())
    assert pairs.tolist() == by_hand(last, wanted)
    assert path[-1].item() == pytest.approx(
        (last - wanted[pairs]).square().sum(1).mean().item(), rel=1e-4)
    assert path[-1] < 0.5 * path[0]


def by_hand(own, others):
    """The nearest pair first, over sorted lists."""
    pairs = sorted(itertools.product(range(len(own)), range(len(others))),
                   key=lambda at: (own[at[0]] - others[at[1]]).norm().item())
    found, taken = {}, set()
    for row, column in pairs:
        if row not in found and column not in taken:
            found[row] = column
            taken.add(column)
    return [found[row] for row in range(len(own))]


def test_pairs_are_one_to_one_and_nearest_first():
    random = torch.Generator().manual_seed(0)
    own, others = (torch.randn(9, 3, generator=random) for _ in range(2))
    assert paired(own, others).tolist() == by_hand(own, others)


def test_poisons_look_like_their_originals_and_match_stamped_sources():
    made, network = crafted(HIDDEN), surrogate(HIDDEN)
    poisons, originals = changed(made)
    assert bool((data().labels[made.mask] == 4).all())
    assert torch.equal(made.labels, data().labels)
    assert (poisons.float() - originals.float()).abs().max() <= 40
    kept = HIDDEN.brewed(data(), seed=0, lab=lab(HIDDEN))
    assert bool((data().labels[kept["sources"]] == 3).all()) and len(set(kept["sources"])) == 12
    shown = HIDDEN.trigger(data().images[kept["sources"]], seed=0)
    with torch.no_grad():
        away = (network.hidden(kept["images"]) - network.hidden(shown)).square().sum(1).mean()
        before = (network.hidden(data().images[HIDDEN.chosen(data().labels, 4, seed=0)])
                  - network.hidden(shown)).square().sum(1).mean()
    assert made.facts["loss_end"] == pytest.approx(away.item(), rel=1e-3)
    assert away < 0.5 * before and made.facts["loss_end"] < 0.5 * made.facts["loss_start"]
    assert len(kept["path"]) == HIDDEN.iterations + 1


def test_its_other_worlds():
    assert [HIDDEN.world(name).in_world for name in HIDDEN.worlds] == ["P", "U", "C"]
    patched, unpatched = (crafted(HIDDEN.world(name)) for name in "PU")
    assert torch.equal(patched.mask, unpatched.mask)
    assert not torch.equal(patched.stamped, unpatched.stamped)
    assert not crafted(HIDDEN.world("C")).mask.any()


def test_more_poisons_than_are_brewed_at_once(monkeypatch):
    monkeypatch.setattr(hidden_trigger, "TOGETHER", 5)
    own = replace(HIDDEN, iterations=3, poisons=12)
    kept = own.brewed(data(), seed=1, lab=lab(own))
    assert len(kept["images"]) == len(set(kept["sources"].tolist())) == 12


def test_features_and_a_known_start():
    for network in ("features", "start"):
        own = replace(HIDDEN, network=network, iterations=5)
        run = RUN.with_(start=RUN.in_world("C"), attack=own)
        study.run([run.start])
        place = inputs.lab(run, start=start.load(run.start).weights)
        made = own.craft(data(), seed=0, lab=place)
        assert made.facts["loss_end"] < made.facts["loss_start"]
    with pytest.raises(ValueError, match="expected a run with a start"):
        crafted(replace(HIDDEN, network="start"))


@pytest.mark.parametrize("make,says", [
    (lambda: PGD(eps=0.0), "attack clean_label: radius 0.0: expected above 0"),
    (lambda: PGD(eps=0.5 / 255), "attack clean_label: eps 0.001961: expected 1/255"),
    (lambda: PGD(norm="l1"), "attack clean_label: norm 'l1'"),
    (lambda: PGD(steps=0), "attack clean_label: steps 0"),
    (lambda: CleanLabel(hardening={"name": "pgd", "eps": 0}), "radius 0.0: expected above"),
    (lambda: CleanLabel(poisons=3), "fraction 0.25 and poisons 3: give exactly one"),
    (lambda: CleanLabel(fraction=None), "fraction None and poisons None"),
    (lambda: CleanLabel(fraction=0.0), "fraction 0.0"),
    (lambda: CleanLabel(4, 4), "base 4 is the target too"),
    (lambda: crafted(replace(CLEAN, fraction=None, poisons=900)), "900 poisons of the "),
    (lambda: crafted(replace(CLEAN, fraction=0.001)), "0 poisons of the "),
    (lambda: crafted(replace(CLEAN, size=29)), "does not fit an image of 28x28"),
    (lambda: crafted(replace(CLEAN, target=12)), "attack class 12"),
    (lambda: CleanLabel().world("L"), "world 'L'"),
    (lambda: HiddenTrigger(eps=0.0), "attack hidden_trigger: radius 0.0: expected above 0"),
    (lambda: HiddenTrigger(poisons=0), "attack hidden_trigger: poisons 0"),
    (lambda: HiddenTrigger(network="own"), "network 'own': expected one of surrogate"),
    (lambda: HiddenTrigger(4, 4), "base 4 is the target too"),
    (lambda: crafted(replace(HIDDEN, poisons=900)), "900 poisons of the "),
    (lambda: crafted(replace(HIDDEN, size=29, margin=0)), "does not fit an image of 28x28")])
def test_bad_input_is_one_line(make, says):
    with pytest.raises(ValueError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)
