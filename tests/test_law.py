"""What a setting says beforehand about the trigger that is left: candidates and concordance."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from test_envelopes import BASE, made, rising

from lib import papers, privacy
from lib.defences.dpsgd import DPSGD
from lib.papers.ours import envelopes, law, trainings
from lib.training import averages


@pytest.mark.parametrize("weights", ["last", "tail", "ema"])
def test_shares_are_those_of_the_trainers_averages(weights):
    random, length, decay = np.random.RandomState(0), 37, 0.9
    updates = torch.from_numpy(random.randn(length, 3))
    iterates = updates.cumsum(0)
    for step in (1, 2, 5, 18, 37):
        mean = averages.averages(("tail", "ema"), torch.zeros(1, 3, dtype=torch.float64), [length],
                                 range(1, length + 1), decay=decay)
        for number in range(step):
            for one in mean.values():
                one.add(iterates[number][None], number + 1)
        found = iterates[step - 1] if weights == "last" else mean[weights].mean[0]
        share = torch.from_numpy(law.shares(step, weights, decay).copy())
        assert torch.allclose(found, share @ updates[:step], atol=1e-12)
    with pytest.raises(ValueError, match="weights 'mean': expected last"):
        law.shares(3, "mean", 0.9)


def test_noise_is_that_of_a_random_walk():
    random, length = np.random.RandomState(1), 40
    for schedule in ("constant", "step", "linear"):
        for weights in ("last", "tail", "ema"):
            progress, noise, last = law.unit_path(schedule, length, (10, 40), weights, 0.95)[1]
            plan = law.Schedule(length, decay=law.SCHEDULES[schedule][1])
            rates = np.array([plan.factor(step, length) for step in range(length)])
            walks = rates * random.randn(20000, length)
            share = law.shares(length, weights, 0.95)
            assert (walks @ share).std() == pytest.approx(noise, rel=0.03)
            assert progress == pytest.approx(rates @ share) and last == pytest.approx(rates[-1])


def paths(lifts, accuracies=(0.3, 0.5, 0.7)):
    """One path a setting (its rate is its place) and instance; lifts: [settings, instances]."""
    lines = []
    for setting, row in enumerate(lifts):
        for instance, lift in enumerate(row):
            for step, accuracy in enumerate(accuracies, 1):
                lines.append({
                    "key": f"{setting} {instance}", "weights": "last", "step": 10 * step,
                    "accuracy": accuracy, "lift": lift, "attack.base": instance,
                    "attack.target": 9, "attack_seed": instance, "training.lr": 0.1 * (setting + 1),
                    "training.momentum": 0.9, "training.schedule": "constant",
                    "training.batch_size": 100, "training.ema_decay": 0.99,
                    "defence.name": "dpsgd", "defence.clip": True, "defence.max_grad_norm": 1.0,
                    "noise_multiplier": 2.0, "defence.noise_multiplier": 2.0})
    return pd.DataFrame(lines)


def test_candidates_are_reckoned_from_the_setting():
    found = law.candidates(paths([[0.1]]), records=1000).iloc[-1]
    assert math.exp(found["progress"]) == pytest.approx(30 * 0.1 / 0.1)
    assert math.exp(found["noise"]) == pytest.approx(math.sqrt(30) * 2 / 100)
    assert math.exp(found["last noise"]) == pytest.approx(2 / 100)
    assert math.exp(found["epsilon"]) == pytest.approx(privacy.dpsgd_epsilon(2.0, 0.1, 30, 1e-5))


def test_paths_get_their_candidates_as_columns():
    curves = paths([[0.1]]).assign(epsilon=9.0)  # that of the whole training
    found = law.with_candidates(curves, records=1000)
    assert found["progress"].tolist() == pytest.approx([10, 20, 30])
    assert found["epsilon"].iloc[0] < found["epsilon"].iloc[-1] < 9


def test_concordance_counts_differences_in_lift():
    found = law.at_equal_accuracy(paths([[0.1, 0.1], [0.2, 0.4], [0.3, 0.2]]), records=1000)
    assert set(found[envelopes.LEVEL]) == {0.5, 0.7}  # from half of the largest on
    got = law.concordance(found, found["rate"])
    # the first instance is in order; of the second 0.1 and 0.3 are, 0.2 is not
    assert got.tolist() == pytest.approx([1.0, (0.3 + 0.1) / (0.3 + 0.1 + 0.2)])
    assert law.concordance(found, -found["rate"]).tolist() == pytest.approx([0.0, 1 / 3])
    assert law.concordance(found, found["steps"]).tolist() == pytest.approx([0.5, 0.5])  # all tied
    alone = law.at_equal_accuracy(paths([[0.1]]), records=1000)
    assert law.concordance(alone, alone["rate"]).isna().all()


def test_the_weight_of_the_noise_is_found():
    random = np.random.RandomState(2)
    n = 300
    found = pd.DataFrame({"progress": random.randn(n), "noise": random.randn(n),
                          envelopes.LEVEL: np.repeat([0.5, 0.6, 0.7], n // 3),
                          envelopes.UNIT: np.tile(["a", "b"], n // 2)})
    found["lift"] = found["progress"] + 2 * found["noise"]
    assert math.isnan(law.fitted([found.iloc[:1]]))  # nothing to put in order
    assert law.fitted([found, found], [-1.0, 0.0, 1.0, 2.0, 4.0]) == 2.0
    assert law.concordance(found, law.score(found, 2.0)).tolist() == pytest.approx([1.0, 1.0])


def both(lift):
    """Rows and paths of the two set-ups that test the rule; lift(rate) at the end."""
    imagenet = BASE
    mnist = BASE.with_(dataset="mnist", features="none", model="cnn", train_size=60000)
    frames = {}
    for name, base, pairs in (("11_dpsgd", imagenet, ((0, 5), (1, 2))),
                              ("64_why", mnist, ((7, 1), (3, 5)))):
        settings = [(defence, rate) for defence in (trainings.PLAIN, DPSGD(1.0), DPSGD(4.0))
                    for rate in (0.01, 0.1)]
        runs = trainings.paths(base, settings, pairs, epochs=30.0)
        frames[name], frames[f"{name}/curves"] = made(
            runs, lambda run: rising(0.8, lift(run) + 0.01 * run.attack_seed))
    return frames


def judged(frames):
    one = papers.claim("D2")
    return one.measure(frames, one)


def test_the_law_is_judged_on_the_set_ups_that_test_it():
    def by_rate(run):
        return 0.6 if not run.defence.clip else 5 * run.training.lr
    frames = both(by_rate)
    got = judged(frames)  # every difference in order, for each instance: no spread, no interval
    assert got.direction.outcome == "inconclusive" and "no spread" in got.direction.reason
    assert got.direction.measured == pytest.approx(1.0) and got.direction.n == 2
    beside = {name: one for name, one, _ in got.beside}
    assert beside["progress on mnist"].measured == pytest.approx(1.0, abs=0.01)
    assert beside["epsilon on imagenet"].measured == pytest.approx(0.5, abs=0.2)
    against = judged(both(lambda run: 0.6 if not run.defence.clip else 0.05 / run.training.lr))
    assert against.direction.measured < 0.1
    nothing = judged(both(lambda run: 0.1 if not run.defence.clip else 0.01 / run.training.lr))
    assert nothing.direction.outcome == "inconclusive"  # no backdoor: the control failed
    assert judged({"11_dpsgd": frames["11_dpsgd"]}).direction.outcome == "not measured"


def test_class_and_trigger_are_learnt_at_checkpoints():
    curves = paths([[0.4, 0.1]]).assign(epoch=lambda frame: frame["step"] / 10)
    curves["base_recall"] = [0.5, 0.8, 0.8] * 2
    curves["lift"] = [0.0, 0.1, 0.4, 0.1, 0.1, 0.1]
    found = law.when_learnt(curves)
    assert found["class"].tolist() == [2.0, 2.0] and found["trigger"].tolist() == [3.0, 1.0]
    assert found["lift at the end"].tolist() == [0.4, 0.1]


def test_the_most_accurate_rate_is_that_of_the_ends():
    curves = paths([[0.1], [0.1]])
    curves.loc[curves["key"].eq("1 0") & curves["step"].eq(10), "accuracy"] = 0.9  # on the way
    curves.loc[curves["key"].eq("0 0") & curves["step"].eq(30), "accuracy"] = 0.8
    assert law.most_accurate_rate(curves) == 0.1
    assert math.isnan(law.most_accurate_rate(curves.iloc[:0]))
