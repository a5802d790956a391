"""What is trained beside the two families, and what to set for an epsilon."""

import math

import pandas as pd
import pytest
from test_envelopes import BASE, made, rising

from lib import privacy
from lib.defences.dpsgd import DPSGD
from lib.defences.output_noise import OutputNoise
from lib.papers.ours import advice, alternatives, envelopes, trainings
from lib.study import Run
from lib.verdicts import judgement

PAIRS = ((0, 5), (1, 2), (2, 6))
RATES = {"rate": 0.03, "rates": [0.01], "clip_rates": [0.1], "small_rates": [0.003],
         "large_rates": [0.3], "smaller": "linear", "epochs": 30.0}


def test_each_alternative_has_its_name():
    runs = alternatives.runs(BASE, PAIRS[:1], **RATES)
    frame, _ = made(runs, lambda run: rising(0.7, 0.3))
    last = frame[frame["weights"].eq("last")]
    names = set(last.assign(noise_multiplier=last["noise_multiplier"].fillna(0)).apply(
        alternatives.arm, axis=1, model="head"))
    assert names == {
        "small batch", "large batch", "weight decay", "plain SGD, smaller network",
        "DP-SGD, smaller network", "gradient noise, no clipping", "clip only", "noise on logits",
        "noise on weights"}
    assert len({run.key for run in runs}) == len(runs) == 1 + 1 + 2 + 2 + 3 + 1 + 9


def test_alternatives_stand_beside_plain_sgd_when_it_was_as_accurate():
    plain = trainings.paths(BASE, [(trainings.PLAIN, 0.03)], PAIRS, epochs=30.0)
    other = trainings.paths(BASE, [(OutputNoise(scale), 0.03) for scale in (1.0, 2.0)], PAIRS,
                            epochs=30.0)
    _, path = made(plain, lambda run: rising(0.8, 0.4))
    frame, _ = made(other, lambda run: rising(0.8 - 0.1 * run.defence.scale, 0.4))
    found = alternatives.against_stopping(frame, path[path["weights"].eq("last")], model="head")
    assert set(found["arm"]) == {"noise on logits"} and found["setting"].nunique() == 2
    assert found.groupby("setting")["difference"].mean().tolist() == pytest.approx(
        [0.4 - 0.35, 0.4 - 0.3])
    near = alternatives.nearest(found, accuracy=0.69)
    assert set(near["way"]) == {"noise on logits\n70% accurate"} and len(near) == 3
    assert near["difference"].tolist() == pytest.approx(3 * [0.05])
    assert alternatives.nearest(found[:0], accuracy=0.69).empty
    assert alternatives.span(found) == ""  # no DP-SGD among them
    assert alternatives.span(found.assign(arm="DP-SGD")).startswith(
        "DP-SGD's 2 settings reach from +5 points (at 70%) to +10 points (at 60%)")


def test_an_epsilon_stays_where_batch_or_length_change():
    base = Run(dataset="strokes", train_size=12000, public=2000, model="mlp")
    runs = trainings.private(base, PAIRS[:1], noise=[2.0], rates=[0.1], epochs=8, batch_size=512,
                             varied=[{"rates": [0.3], "schedule": "linear"},
                                     {"rates": [0.3], "batch_size": 2048}])
    usual, falling, large = (run.defence for run in runs)
    assert usual == falling == DPSGD(2.0) and runs[1].training.schedule == "linear"
    epsilon = privacy.dpsgd_epsilon(2.0, 512 / 10000, round(8 * 10000 / 512), 1e-5)
    assert epsilon - 0.01 <= large.epsilon <= epsilon and large.noise_multiplier is None
    assert runs[2].training.batch_size == 2048 and runs[2].training.lr == 0.3
    with pytest.raises(ValueError, match="train_size None: expected a number"):
        trainings.private(base.with_(train_size=None), PAIRS, noise=[2.0], rates=[0.1], epochs=8,
                          batch_size=512, varied=[{"rates": [0.3], "epochs": 2}])


def test_tuning_never_sees_the_test_set_nor_an_attack():
    runs = trainings.tuning(BASE, [DPSGD(1.0)], [0.1, 0.3], draws=3, epochs=30, batch_size=512)
    assert [run.split for run in runs] == ["tune"] * 2 + ["tune-2"] * 2 + ["tune-3"] * 2
    assert all(run.attack.in_world == "C" for run in runs)
    assert [run.init_seed for run in runs] == [run.noise_seed for run in runs] == [0, 0, 1, 1, 2, 2]


def private_rows(lifts, accuracies):
    """DP-SGD's ends at two epsilons: {rate: (accuracy, lift by pair)}."""
    runs = trainings.paths(BASE, [(DPSGD(z), rate) for z in (1.0, 2.0) for rate in lifts], PAIRS,
                           epochs=30.0)
    frame, _ = made(runs, lambda run: [(80, accuracies[run.training.lr],
                                        lifts[run.training.lr][run.attack.base])])
    return frame.assign(epsilon=frame["noise_multiplier"].map({1.0: 3.6937, 2.0: 1.2857}))


def test_advice_is_chosen_on_the_other_pairs():
    frame = private_rows({0.1: (0.3, 0.3, 0.3), 0.03: (0.1, 0.1, 0.9), 0.01: (0.0, 0.0, 0.0)},
                         {0.1: 0.80, 0.03: 0.795, 0.01: 0.7})
    found = advice.ends(frame[frame["weights"].eq("last")])
    assert set(found["level"]) == {3.69, 1.28}
    picked = advice.chosen(found)
    safe = picked[picked["rule"].eq(advice.SAFE) & picked["level"].eq(3.69)].set_index("instance")
    # without the third pair 0.03 leaves least, with it 0.1 does; 0.01 costs more than a point
    assert safe["lift"].to_dict() == {"0 to 5": 0.3, "1 to 2": 0.3, "2 to 6": 0.9}
    best = picked[picked["rule"].eq(advice.ACCURATE)]
    assert (best["accuracy"] == 0.80).all() and (best["lift"] == 0.3).all()
    # a setting of the same epsilon, by calibration, stands beside those of the noise itself
    asked = frame[frame["noise_multiplier"].eq(1.0)].assign(**{
        "defence.epsilon": 3.69, "defence.noise_multiplier": math.nan, "epsilon": 3.6892,
        "noise_multiplier": 5.1})
    assert set(advice.ends(asked)["level"]) == {3.69}
    table = advice.table(picked)
    assert table["epsilon"].tolist() == [1.28, 1.28, 3.69, 3.69]
    assert table["setting (most often)"].str.startswith("rate 0.1, batch 512, 30 epochs").any()


def test_tables_by_setting_have_intervals():
    frame = pd.DataFrame({"status": "ok", "dataset": ["a", "b"] * 2, "norm": [1.0, 1.0, None, None],
                          "accuracy": [0.8, 0.9, 0.7, 0.7], "lift": [0.1, 0.3, 0.0, 0.0]})
    table = alternatives.by_setting(frame, {"norm": "clipping norm"},
                                    reference=frame[frame["norm"].isna()])
    assert table["lift, points"].tolist() == pytest.approx([20, 0])
    assert table["lift, difference"].tolist() == ["+20.0 [−102.5, 134.7]", "+0.0"]
    assert table["clipping norm"].isna().tolist() == [False, True]
    assert judgement.points([math.nan]) == "–"


def test_families_leave_out_halves_of_dpsgd():
    runs = trainings.paths(BASE, [(DPSGD(2.0, clip=False), 0.1), (DPSGD(0.0), 0.1),
                                  (trainings.PLAIN, 0.1), (DPSGD(2.0), 0.1)], PAIRS[:1], epochs=30)
    frame, _ = made(runs, lambda run: rising(0.7, 0.3))
    last = frame[frame["weights"].eq("last")]
    assert envelopes.families(last).tolist() == ["", "", "plain SGD", "DP-SGD"]
