"""Noise on a trained model: the undefended model plus draws of the right size, trained once for
many scales.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from lib import attacks, study, training
from lib.attacks.badnets import BadNets
from lib.defences import members, output_noise
from lib.defences.dpsgd import DPSGD
from lib.defences.output_noise import OutputNoise
from lib.study import Run, from_dict, grid, inputs, measure
from lib.training import Training

TINY = Run(train_size=300, test_size=100, model="mlp", attack=BadNets(7, 1, 0.5),
           training=Training(epochs=2.0, batch_size=50, checkpoints=3, averages=("tail", "ema")))
PLAIN = TINY.with_(defence=DPSGD(0.0, clip=False))
BOTH = pytest.mark.parametrize("on", output_noise.PLACES)


def noisy(scale, on="logits", **changes):
    return TINY.with_(defence=OutputNoise(scale, on), **changes)


def predictions(trained):
    """(step or "end", weights, predict) of a model, its path and its averaged weights."""
    kinds = [("last", trained), *trained.averaged.items()]
    return [(step, weights, predict) for weights, one in kinds
            for step, predict in [("end", one.predict), *one.path]]


def images():
    return inputs.shared(TINY)[1]


# ---- beside the undefended model

@BOTH
def test_scale_0_is_the_undefended_model_bit_for_bit(store, on):
    ours, plain = study.fit(noisy(0.0, on))[0], study.fit(PLAIN)[0]
    found, expected = predictions(ours), predictions(plain)
    assert len(found) == 12 and [one[:2] for one in found] == [one[:2] for one in expected]
    for (*_, ours_at), (*_, plain_at) in zip(found, expected, strict=True):
        assert torch.equal(ours_at(images()), plain_at(images()))
    assert torch.equal(ours.weights, plain.weights) and not ours.privacy.holds
    rows = [measure.train_rows([one])[0] for one in (noisy(0.0, on), PLAIN)]
    assert all(rows[0][name] == rows[1][name] for name in ("metrics", "curve", "averaged"))


def test_logits_move_by_a_normal_draw_each(store):
    ours, plain = study.fit(noisy(3.0, noise_seed=4))[0], study.fit(PLAIN)[0]
    many = images().repeat(20, 1, 1, 1)
    moved = (ours.predict(many) - plain.predict(many)) / 3.0
    drawn = moved.flatten().double().sort().values  # 20,000 of them
    steps = torch.arange(1, len(drawn) + 1) / len(drawn)
    normal = 0.5 * (1 + torch.erf(drawn / 2 ** 0.5))
    assert (normal - steps).abs().max() < 1.63 / len(drawn) ** 0.5  # Kolmogorov, 1%
    # different for every image, though the images repeat, and for every class
    apart = torch.corrcoef(torch.cat([moved[:1000], moved[1000:]], 1).T).fill_diagonal_(0)
    assert apart.abs().max() < 0.15
    assert torch.equal(ours.weights, plain.weights)


def test_weights_move_by_the_noise_and_the_predictions_with_them(store):
    """Against a module that is given the undefended weights and the difference by hand."""
    ours, plain = study.fit(noisy(0.05, "weights"))[0], study.fit(PLAIN)[0]
    noise = ours.weights - plain.weights
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)
    assert abs(noise.mean().item()) < 4 * 0.05 / len(noise) ** 0.5
    group = members.fit([PLAIN], [measure.poisoned(PLAIN)], [{}])
    for step, weights, predict in predictions(ours):
        state = group.state(0, step=None if step == "end" else step, weights=weights) + noise
        nn.utils.vector_to_parameters(state, group.module.parameters())
        expected = group.module(training.as_input(images()))
        torch.testing.assert_close(predict(images()), expected, rtol=1e-4, atol=1e-4)
    distances = {name: one.distance for name, one in plain.averaged.items()}
    assert {name: one.distance for name, one in ours.averaged.items()} == distances


def test_noise_is_proportional_to_its_scale(store):
    plain = study.fit(PLAIN)[0]
    one, four = (study.fit(noisy(scale, "weights"))[0].weights - plain.weights
                 for scale in (1.0, 4.0))
    torch.testing.assert_close(4 * one, four, rtol=1e-5, atol=1e-6)


def test_buffers_and_frozen_parameters_stay():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    module[0].weight.requires_grad_(False)
    state = training.flatten(module)
    moved = OutputNoise(1.0, "weights")._on_weights(state, module, 0) != state
    parameters = {name: part[0] for name, part in training.unflatten(module, moved[None]).items()}
    assert not parameters.pop("0.weight").any()
    assert all(part.all() for part in parameters.values())
    assert not moved[sum(one.numel() for one in module.parameters()):].any()


# ---- determinism

@BOTH
def test_the_same_inputs_get_the_same_predictions_again(store, on):
    first, again = study.fit(noisy(0.5, on))[0], study.fit(noisy(0.5, on))[0]
    other = study.fit(noisy(0.5, on, noise_seed=1))[0]
    for (*_, one), (*_, two), (*_, three) in zip(*map(predictions, (first, again, other))):
        expected = one(images())
        assert torch.equal(one(images()), expected) and torch.equal(two(images()), expected)
        assert not torch.equal(three(images()), expected)


def test_a_path_ends_at_the_result_and_its_steps_share_their_noise(store):
    ours, plain = study.fit(noisy(0.5))[0], study.fit(PLAIN)[0]
    moved = [one(images()) - two(images())
             for (*_, one), (*_, two) in zip(predictions(ours), predictions(plain), strict=True)]
    assert all(torch.allclose(one, moved[0], atol=1e-5) for one in moved)
    frame = study.run([noisy(0.5), noisy(0.05, "weights")])
    curves = study.curves(frame)
    ends = curves.groupby(["key", "weights"])["accuracy"].last()
    assert ends.to_dict() == frame.set_index(["key", "weights"])["accuracy"].to_dict()


# ---- one training, many scales

def counted(monkeypatch):
    """How many models each call of the trainer trains."""
    trained, true = [], members.fit

    def fit(runs, *more, **settings):
        trained.append(len(runs))
        return true(runs, *more, **settings)
    monkeypatch.setattr(members, "fit", fit)
    return trained


def test_runs_that_differ_in_their_noise_alone_are_trained_once(store, monkeypatch):
    runs = grid(TINY, init_seed=[0, 1], defence=[OutputNoise(0.5), OutputNoise(2.0),
                                                 OutputNoise(0.1, "weights")], noise_seed=[0, 3])
    alone = {run.key: measure.train_rows([run])[0] for run in (runs[0], runs[5], runs[11])}
    trained = counted(monkeypatch)
    rows = {row["key"]: row for row in measure.train_rows(runs)}
    assert trained == [2] and len(rows) == 12 and {row["status"] for row in rows.values()} == {"ok"}
    assert len({json.dumps(row["metrics"]) for row in rows.values()}) == 12
    for key, row in alone.items():
        for name, value in row["metrics"].items():
            assert rows[key]["metrics"][name] == pytest.approx(value, abs=1e-3), name


def test_what_is_trained_differently_is_not_shared(store, monkeypatch):
    trained = counted(monkeypatch)
    base = noisy(0.5)
    runs = [base, base.with_(training__lr=0.05), base.with_(attack__fraction=0.3),
            base.with_(attack__stamp=False), base.with_(init_seed=1), base.in_world("C"),
            base.with_(start=PLAIN)]
    assert len({base.defence.group(run) for run in runs}) == 1
    rows = measure.train_rows(runs)
    assert trained == [1, 7] and {row["status"] for row in rows} == {"ok"}


def test_clean_twins_of_other_attacks_share_their_training(store, monkeypatch):
    trained = counted(monkeypatch)
    clean = noisy(0.5).in_world("C")
    other = noisy(1.0, attack=BadNets(3, 5, 0.5)).in_world("C")
    measure.train_rows([clean, other])
    assert trained == [1]


def test_a_run_starts_from_the_noisy_weights(store):
    first = noisy(0.2, "weights")
    one = noisy(0.0, start=first, training__epochs=0.01, training__lr=1e-9)
    torch.testing.assert_close(study.fit(one)[0].weights, study.fit(first)[0].weights)


# ---- what it is asked

@pytest.mark.parametrize("wrong,says", [
    ({"scale": -1.0}, "scale -1.0: expected 0 or more"),
    ({"scale": float("nan")}, "scale nan: expected 0 or more, and finite"),
    ({"scale": float("inf")}, "scale inf"), ({"scale": "1e-1"}, "in YAML write 1.0e-5"),
    ({"scale": 1.0, "on": "labels"}, "on 'labels': expected one of logits, weights"),
    ({}, "no 'scale'; expected a value")])
def test_bad_settings_are_named(wrong, says):
    with pytest.raises(ValueError, match=f"^defence output_noise:? {says}|{says}") as error:
        from_dict({"defence": {"name": "output_noise", **wrong}})
    assert "\n" not in str(error.value) and "output_noise" in str(error.value)


def test_a_group_of_another_defence_is_refused(store):
    data = attacks.clean(torch.zeros(60, 1, 28, 28, dtype=torch.uint8), torch.arange(60) % 10, 10)
    with pytest.raises(ValueError, match="defence dpsgd in a group of OutputNoise"):
        OutputNoise(1.0).train([replace(PLAIN, train_size=60)], [data])


def test_a_run_survives_json_and_keeps_its_key():
    one = noisy(0.5, "weights")
    again = from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one and again.key == one.key != noisy(0.5).key != noisy(0.6).key


def test_output_noise_version_1():
    moved = OutputNoise(1.0)._on_logits(torch.zeros(1, 3), 7)
    weights = OutputNoise(1.0, "weights")._on_weights(torch.zeros(3), nn.Linear(2, 1), 7)
    assert output_noise.VERSION == 1
    assert [*moved[0].tolist(), *weights.tolist()] == pytest.approx(GOLDEN, abs=1e-6)


GOLDEN = [-0.501238, -0.301447, 0.120231, -1.363922, -1.365814, 0.263599]
