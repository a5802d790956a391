"""The tables and words behind the notebooks of Razmi et al., on rows whose answer is known."""

import math

import pandas as pd
import pytest

from lib import papers
from lib.papers.razmi import arms, figure4, figure7, table2
from lib.study.design import instances
from lib.study.runs import Run, from_dict
from lib.study.table import table

PAIRS = [[0, 8], [1, 9]]
RATES = {"DP-SGD": [[1.0, 0.03], [4.0, 0.1]], "LP-2ST": [[1.0, 0.001]], "ALIBI": [[1.0, 0.01]]}
LP2ST = arms.lp2st(0.5, [0.4, 0.6])


def rows(runs, **values):
    """The runs' lines as `arms.named` gives them, with these results."""
    frame = table(runs)
    return arms.named(frame.assign(status="ok", **values))


def test_arms_take_the_rate_that_was_tuned_nearest():
    found = arms.at_epsilon(RATES, 3.0, epochs=2, lp2st=LP2ST)
    assert found["DP-SGD"]["training"].lr == 0.1 and found["ALIBI"]["training"].lr == 0.01
    assert found["LP-2ST"]["defence"].split == (0.4, 0.6)
    free = arms.at_epsilon({"DP-SGD": RATES["DP-SGD"]}, None, epochs=2, lp2st=LP2ST)
    assert free["DP-SGD"]["defence"].noise_multiplier == 0 and free["DP-SGD"]["defence"].clip


def test_whole_epochs_from_yaml_keep_the_key_of_a_run_that_was_written_down():
    training = {"optimizer": "sgd", "lr": 0.1, "epochs": 2, "batch_size": 16}
    for arm in (arms.pate(10, teacher=training, student=training), arms.undefended(training)):
        asked = Run(**arm)
        assert from_dict(asked.to_dict()).key == asked.key


def test_figure4_pairs_methods_with_the_undefended_model_and_shares_with_shares():
    plain = {"undefended": arms.undefended({"optimizer": "sgd", "lr": 0.1})}
    runs = figure4.over_shares(Run(), plain | arms.at_epsilon(
        {"ALIBI": RATES["ALIBI"]}, 1.0, epochs=1, lp2st=LP2ST), [0.1, 0.5], PAIRS)
    # undefended .1: .7, .8; .5: .9, 1; ALIBI .1: .1, .3; .5: .4, .7
    frame = rows(runs, lift=[0.7, 0.8, 0.9, 1.0, 0.1, 0.3, 0.4, 0.7])
    weak = frame[frame["attack.fraction"].eq(0.1)]
    apart = figure4.differences(weak)
    assert apart["method"].tolist() == ["ALIBI"] * 2
    assert apart["difference"].tolist() == pytest.approx([-0.6, -0.5])
    grown = figure4.growth(frame, 0.1, 0.5).groupby("series")["difference"].mean()
    assert grown["ALIBI"] == pytest.approx(0.35) and grown["undefended"] == pytest.approx(0.2)
    assert figure4.lifts(frame).columns.tolist() == ["method", "10%", "50%"]
    assert figure4.finding(apart).startswith("Lift minus that without a defence, points: ALIBI −55")
    assert figure4.finding(apart.assign(difference=math.nan)) == ""


def test_dp_sgd_alone_has_no_relabelled_twin():
    runs = figure4.at_share(Run(), arms.at_epsilon(RATES, 1.0, epochs=1, lp2st=LP2ST), 0.1, PAIRS)
    worlds = rows(runs).groupby("series")["world"].agg(lambda found: "".join(sorted(set(found))))
    assert worlds.to_dict() == {"DP-SGD": "CP", "LP-2ST": "CLP", "ALIBI": "CLP"}


def test_figure7_names_clipping_alone_after_its_method():
    runs = figure7.runs(Run(), RATES, [None, 1.0], PAIRS, epochs=1, lp2st=LP2ST, checkpoints=3)
    named = figure7.named(table(runs))
    assert set(named["method"]) == set(RATES) and set(named["budget"]) == {"no noise", "ε 1"}


def test_figure7_gaps_are_those_of_the_early_epochs():
    known = [one.with_(training__checkpoints=3) for one in instances(Run(), PAIRS)]
    paths = table(known).assign(method="ALIBI", budget="ε 1", pair=["0 to 8", "1 to 9"])
    points = [{"epoch": epoch, "loss_poison": poison, "loss_clean": 2.0, "loss_base": 3.0}
              for epoch, poison in ((0.5, 9.0), (2.0, 1.0), (9.0, 1.5), (20.0, 9.0))]
    recorded = paths[["key", "method", "budget", "pair"]].merge(pd.DataFrame(points), how="cross")
    recorded["loss_poison"] += 0.1 * recorded["pair"].eq("1 to 9")
    found = figure7.gaps(recorded)
    assert figure7.against(found, "other classes")["difference"].tolist() == pytest.approx(
        [-0.75, -0.65])
    assert figure7.against(found, "base class")["difference"].tolist() == pytest.approx(
        [-1.75, -1.65])
    assert "1 of 1 intervals below zero" in figure7.finding(found, "other classes")


def test_table2_takes_the_most_accurate_setting_that_meets_a_criterion():
    found = pd.DataFrame({
        "method": "PATE", "setting": ["threshold 100", "threshold 140", "no threshold"],
        "epsilon": math.inf, "accuracy": [0.5, 0.3, 0.6], "success": [0.2, 0.005, 0.4],
        table2.ABOVE: [0.1, -0.1, 0.3], "lift": [0.004, -0.01, 0.2], table2.CLEAN: 0.1})
    line = table2.weakest(found, 0.01).set_index("method").loc["PATE"]
    assert line["lift at most 1%"] == "threshold 100: 50.0%"
    assert line["attack success at most 1%"] == "threshold 140: 30.0%"
    assert table2.weakest(found, 0.01).set_index("method").loc["ALIBI"].eq("–").all()
    assert table2.finding(found, 0.01).startswith("2 of 3 settings")
    assert set(table2.strictest(found)["setting"]) == {"threshold 140"}


@pytest.mark.parametrize("notebook", ["10_setup", "14_attack_strength", "15_perfect_defence",
                                      "17_training_dynamics"])
def test_headlines_are_drawn_from_the_published_rows(notebook):
    shown = papers.drawn(notebook)
    assert shown.finding and not shown.data.isna().any().any()
