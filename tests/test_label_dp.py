"""LP-MST and ALIBI: their randomisers against the definitions, and what they do with an attacked
set.
"""

import math

import numpy as np
import pytest
import torch

from lib.attacks import clean
from lib.attacks.badnets import BadNets
from lib.defences import alibi, lpmst
from lib.defences.alibi import ALIBI
from lib.defences.lpmst import LPMST, probabilities, randomise, rr_with_prior
from lib.study import Run, fit
from lib.training import Training, generator

UNIFORM, SPREAD, TIED, SHARP = [0.1] * 10, [0.5, 0.3, 0.1, 0.1], [0.4, 0.4, 0.1, 0.05,
                                                                  0.05], [0.9, 0.05, 0.05]


@pytest.mark.parametrize(
    "prior,epsilon,k,keep,other,released",
    [  # independently computed values
        (UNIFORM, 0.5, 10, 0.154828, 0.093908, 1), (UNIFORM, 1, 10, 0.231969, 0.085337, 10),
        (UNIFORM, 2, 10, 0.450853, 0.061016, 10), (UNIFORM, 4, 10, 0.858486, 0.015724, 10),
        (SPREAD, 0.5, 1, 1, 0, 1), (SPREAD, 1, 2, 0.731059, 0.268941, 2),
        (SPREAD, 2, 4, 0.711235, 0.096255, 2), (SPREAD, 4, 4, 0.947915, 0.017362, 4),
        (TIED, 0.5, 2, 0.622459, 0.377541, 1), (TIED, 1, 2, 0.731059, 0.268941, 2),
        (TIED, 2, 3, 0.786986, 0.106507, 2), (TIED, 4, 5, 0.931738, 0.017065, 5),
        (SHARP, 0.5, 1, 1, 0, 1), (SHARP, 2, 1, 1, 0, 1), (SHARP, 4, 3, 0.964663, 0.017668, 3)
    ])
def test_randomised_response_with_prior(prior, epsilon, k, keep, other, released):
    assert rr_with_prior(prior, epsilon) == pytest.approx((k, keep, other), abs=1e-6)
    assert rr_with_prior(prior, epsilon, as_released=True)[0] == released
    batch = rr_with_prior(np.array([prior, prior[::-1]]), epsilon)
    assert batch[0].tolist() == [k, k] and batch[1] == pytest.approx(
        [keep, keep], abs=1e-6) and isinstance(batch[2], np.ndarray)


def best_k(prior, epsilon):
    """The definition (algorithm 2) in plain numbers."""
    mass = np.cumsum(sorted(prior, reverse=True))
    return 1 + int(
        np.argmax([
            round(math.exp(epsilon) / (math.exp(epsilon) + k) * mass[k], 12)
            for k in range(len(prior))
        ]))


def test_k_by_the_definition_and_huge_epsilons():
    random = np.random.RandomState(0)
    for _ in range(200):
        prior, epsilon = random.dirichlet([0.5] * 6), random.uniform(0.1, 6)
        assert rr_with_prior(prior, epsilon)[0] == best_k(prior, epsilon)
    assert rr_with_prior(SPREAD, 1000.0) == (4, 1.0, 0.0)


@pytest.mark.parametrize("prior,epsilon", [([0.5, 0.6], 1.0), ([-0.1, 1.1], 1.0),
                                           ([0.5, math.nan], 1.0), (UNIFORM, 0.0),
                                           (UNIFORM, math.nan)])
def test_a_bad_prior_or_epsilon_is_named(prior, epsilon):
    with pytest.raises(ValueError, match="expected"):
        rr_with_prior(prior, epsilon)


@pytest.mark.parametrize("settings", [{}, {"top": 1}, {"top": 3}, {"as_released": True}])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0, 30.0])
def test_likelihood_ratios_never_exceed_e_to_epsilon(epsilon, settings):
    """For every prior, any two labels and any outcome: the definition of label differential
    privacy.
    """
    random = torch.Generator().manual_seed(0)
    for concentration in (0.05, 0.5, 5.0):
        prior = torch.from_numpy(np.random.RandomState(1).dirichlet([concentration] * 5))
        chances, k = probabilities(torch.arange(5), prior.expand(5, 5), epsilon, **settings)
        assert torch.allclose(chances.sum(1), torch.ones(5).double()) and len(k.unique()) == 1
        largest, smallest = chances.max(0).values, chances.min(0).values
        assert (largest <= math.exp(epsilon) * smallest * (1 + 1e-9)).all()
    drawn, _ = randomise(torch.full((20000, ), 2), prior.expand(20000, 5), epsilon, random,
                         **settings)
    assert torch.bincount(drawn, minlength=5) / 20000 == pytest.approx(
        chances[2].numpy(), abs=0.015)


def test_impossible_labels_are_never_drawn():
    prior = torch.tensor([[0.05, 0.9, 0.05]]).double().expand(5000, 3)
    drawn, k = randomise(torch.zeros(5000, dtype=torch.long), prior, 1.0,
                         torch.Generator().manual_seed(0))
    assert (k == 1).all() and (drawn == 1).all()


# ---------------------------------------------------------------- ALIBI


@pytest.mark.parametrize("epsilon,expected", [(1, (0.072074, 0.320809, 0.177028, 0.430089)),
                                              (2, (0.045831, 0.454007, 0.092165, 0.407997)),
                                              (4, (0.014040, 0.688872, 0.018926, 0.278162))])
def test_posterior_values(epsilon, expected):
    got = alibi.posterior(np.array([0.2, 1.3, -0.5, 0.6]), np.array([0.1, 0.2, 0.3, 0.4]), epsilon)
    assert isinstance(got, np.ndarray) and got == pytest.approx(expected, abs=1e-6)


def test_posterior_is_that_of_the_definition():
    """Prior times the Laplace density of the noise that each class would have needed."""
    random, epsilon = torch.Generator().manual_seed(0), 1.7
    noisy, prior = 2 * torch.randn(50, 6, generator=random).double(), torch.rand(
        50, 6, generator=random).double()
    likelihood = torch.stack(
        [torch.exp(-(noisy - one).abs().sum(1) * epsilon / 2) for one in torch.eye(6)], 1)
    expected = prior * likelihood
    torch.testing.assert_close(alibi.posterior(noisy, prior / prior.sum(1, keepdim=True), epsilon),
                               expected / expected.sum(1, keepdim=True))
    torch.testing.assert_close(
        alibi.evidence(noisy, epsilon).softmax(1).double(),
        likelihood / likelihood.sum(1, keepdim=True), rtol=1e-5, atol=1e-7)


def test_laplace_noise_has_the_scale_that_epsilon_needs():
    labels = torch.zeros(40000, dtype=torch.long)
    noise = alibi.noisy_labels(labels, 4, 0.8, torch.Generator().manual_seed(0)) - torch.eye(4)[0]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(2 * math.sqrt(2) / 0.8, rel=0.01)
    # the mean size is the scale: it is Laplace, not Gaussian
    assert noise.abs().mean().item() == pytest.approx(2 / 0.8, rel=0.01)
    # How often the noisy label's largest entry is still the true one, from an independent
    # simulation.
    kept = [(alibi.noisy_labels(
        labels, 10, e,
        torch.Generator().manual_seed(1)).argmax(1) == 0).double().mean().item()
            for e in (1.0, 4.0)]
    assert kept == pytest.approx([0.163666, 0.498907], abs=0.01)


def test_posterior_refuses_what_is_none():
    with pytest.raises(ValueError, match="epsilon 0"):
        alibi.posterior(np.ones(3), np.ones(3) / 3, 0)
    with pytest.raises(ValueError, match="equal shapes"):
        alibi.posterior(np.ones(3), np.ones(4) / 4, 1.0)


# ---------------------------------------------------------------- on an attacked set

def attacked(defence, **changes):
    training = Training("sgd", 0.1, epochs=3.0, batch_size=64, sampling="shuffle")
    return Run(train_size=1200, test_size=300, public=200, model="mlp",
               attack=BadNets(fraction=0.5), defence=defence, training=training).with_(**changes)


@pytest.mark.parametrize("wrong,match", [(dict(split=(0.5, 0.4)), "sum to 1"),
                                         (dict(split=(1.5, -0.5)), "above 0"),
                                         (dict(temperature=0.0), "temperature 0.0"),
                                         (dict(epsilon=-1.0), "epsilon -1.0"),
                                         (dict(prior="mine"), "prior 'mine'"),
                                         (dict(top=0), "top 0")])
def test_bad_settings_are_named(wrong, match):
    with pytest.raises(ValueError, match=match):
        LPMST(**wrong)
    with pytest.raises(ValueError, match="epsilon"):
        ALIBI(epsilon=0.0)


def test_no_noise_is_plain_training_and_one_stage_is_randomised_response():
    trained, data = fit(attacked(LPMST(None, split=(1.0,))))
    plain, _ = fit(attacked(ALIBI(None)))
    assert torch.equal(trained.predict(data.clean[:50]), plain.predict(data.clean[:50]))
    assert not trained.privacy.holds and trained.facts["label_accuracy"] == pytest.approx(
        1 - data.mask.double().mean().item())
    noisy = lpmst.Labels(LPMST(1.0, split=(1.0,)), data, seed=0)
    noisy.draw(0, None)
    kept = (noisy.noisy == data.labels).double().mean().item()
    assert kept == pytest.approx(math.e / (math.e + 9), abs=0.05) and (noisy.k == 10).all()


def labelled(labels):
    """A set of which the labels alone count."""
    return clean(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), labels, 10)


def test_every_label_is_drawn_once_in_its_own_stage():
    labels = lpmst.Labels(LPMST(1.0, split=(0.3, 0.3, 0.4), filtered=False),
                          labelled(torch.arange(1000) % 10), seed=3)
    flat = torch.zeros(1000, 10)
    before = labels.noisy.clone()
    for stage in range(3):
        labels.draw(stage, lambda records: flat[: len(records)])
        changed = labels.noisy != before
        assert changed[labels.parts[stage]].double().mean() > 0.5
        others = torch.cat([part for place, part in enumerate(labels.parts) if place != stage])
        assert not changed[others].any()
        before = labels.noisy.clone()
    assert sorted(labels.kept.tolist()) == list(range(1000)) == sorted(
        torch.cat(labels.parts).tolist())


def test_stages_draw_their_labels_apart():
    labels = lpmst.Labels(LPMST(1.0, split=(0.5, 0.5), prior="uniform", filtered=False),
                          labelled(torch.zeros(1000, dtype=torch.long)), seed=3)
    for stage in range(2):
        labels.draw(stage, None)
    first, second = (labels.noisy[part] for part in labels.parts)
    # two draws of one randomiser agree in 0.232^2 + 9 x 0.0853^2 of the records, not in all
    assert (first == second).double().mean().item() == pytest.approx(0.119, abs=0.06)


def test_implausible_labels_of_earlier_stages_are_dropped():
    data = fit(attacked(LPMST(None)))[1]
    logits = torch.randn(1000, 10, generator=torch.Generator().manual_seed(1))
    labels = lpmst.Labels(LPMST(1.0, split=(0.5, 0.5), temperature=0.5), data, seed=3)
    labels.draw(0, None)
    labels.draw(1, lambda records: logits[records])
    first, second = labels.parts
    most = int(labels.k[second].double().mean())
    assert 1 <= most < 10
    expected = [
        int(record) for record in first if labels.noisy[record] in logits[record].topk(most).indices
    ]
    assert labels.kept.tolist() == expected + second.tolist()
    assert labels.facts()["dropped"] == pytest.approx(1 - (len(expected) + 500) / 1000)


def test_controls_do_what_they_say():
    trained, _ = fit(attacked(LPMST(1.0, prior="truth")))
    assert tuple(trained.facts) == LPMST.FACTS
    assert not trained.privacy.holds and trained.facts["k1_records"] == 1.0 and trained.facts[
        "k1_poisons"] == 1.0
    forced, _ = fit(attacked(LPMST(1.0, top=1, filtered=False)))
    assert forced.privacy.epsilon == 1.0 and forced.privacy.adjacency == "label" and forced.facts[
        "k1_records"] == 1.0
    uniform, _ = fit(attacked(LPMST(1.0, prior="uniform", filtered=False)))
    assert uniform.facts["k_mean"] == 10 and uniform.facts["dropped"] == 0


def test_the_prior_of_a_stage_comes_from_the_stage_before(monkeypatch):
    """Its labels are likelier than chance to be right: the model of the first stage has learnt
    something.
    """
    trained, data = fit(attacked(LPMST(4.0, split=(0.5, 0.5), temperature=1.0)))
    assert trained.facts["label_accuracy"] > 0.8 and 1 <= trained.facts["k_mean"] < 10
    cold, _ = fit(attacked(LPMST(4.0, split=(0.5, 0.5), temperature=1.0, warm_start=False)))
    assert not torch.equal(cold.predict(data.clean[:20]), trained.predict(data.clean[:20]))


def test_alibi_trains_on_the_posterior_of_its_noisy_labels():
    trained, data = fit(attacked(ALIBI(8.0)))
    accuracy = (trained.predict(data.clean).argmax(1) == data.truth).double().mean().item()
    assert (
        accuracy > 0.7 and trained.privacy.epsilon == 8.0 and trained.privacy.adjacency == "label"
    )
    none = alibi.noisy_labels(data.labels, 10, 1e9, generator("labels", 0))
    torch.testing.assert_close(none, torch.eye(10).double()[data.labels], rtol=0, atol=1e-6)
