"""The methods of figure 3: what is trained and chosen, how rows are named, what their differences
say; and DP-SGD's models of equal accuracy."""

import math

import pandas as pd
import pytest
from test_envelopes import BASE, made, rising

from lib.attacks.badnets import BadNets
from lib.papers.ours import set_ups, trainings
from lib.papers.razmi import all_methods, candidates, figure3
from lib.papers.razmi.candidates import ANY, Choice
from lib.study.table import table

METHODS = candidates.Methods(precision="fast", teachers=10, split=(0.4, 0.6))
SETUP = {"dataset": "strokes", "train_size": 700, "test_size": 200, "public": 100,
         "features": "none", "model": "mlp", "epochs": 1, "teacher_epochs": 1,
         "undefended": {"optimizer": "sgd", "lr": 0.1, "epochs": 1, "checkpoints": 4},
         "rates": {"DP-SGD": [0.1, 0.3], "LP-2ST": [0.03], "PATE": [0.1]}}
CHOICES = {("strokes", "DP-SGD"): {1.0: Choice(0.1, None)},
           ("strokes", "LP-2ST"): {1.0: Choice(0.03, 0.5), 4.0: Choice(0.01, 0.1)},
           ("strokes", "PATE"): {ANY: Choice(0.1, None)}}


def measured(runs, **columns):
    return table(list(runs)).assign(status="ok", **columns)


def tuned(accuracies):
    return measured(METHODS.tried([SETUP], epsilons=[1.0], temperatures=[0.1, 0.5]),
                    accuracy=accuracies)


def test_the_most_accurate_candidate_is_chosen():
    found = candidates.chosen(tuned([0.6, 0.7, 0.8, 0.9, 0.5]))
    assert found == {("strokes", "DP-SGD"): {1.0: Choice(0.3, None)},
                     ("strokes", "LP-2ST"): {1.0: Choice(0.03, 0.5)},
                     ("strokes", "PATE"): {ANY: Choice(0.1, None)}}
    assert candidates.known(found, SETUP) == {"DP-SGD", "LP-2ST", "PATE"}
    assert candidates.known(found, SETUP | {"dataset": "mnist"}) == set()
    shown = candidates.table(tuned([0.6, 0.7, 0.8, 0.9, 0.5]))
    assert shown["of those tried"].tolist() == ["highest", "only one", "only one"]
    assert shown["next best"].tolist()[:2] == [0.6, 0.8]


def test_a_choice_among_some_of_the_candidates_is_none():
    assert set(candidates.chosen(tuned([0.6, math.nan, 0.8, 0.9, math.nan]))) == {
        ("strokes", "LP-2ST")}


def test_figure_3_varies_epsilon_and_names_its_rows():
    settings = [*figure3.budgets(METHODS, SETUP, CHOICES, epsilons=[1.0, 4.0]),
                *figure3.votes(METHODS, SETUP, CHOICES, threshold=6, noise=[5.0, 3.0],
                               factors=[2.0], queries=[20]), METHODS.undefended(SETUP)]
    runs = candidates.attacked(settings, [(7, 1), (3, 5)], fraction=0.5)
    frame = figure3.named(measured(runs))
    assert frame.groupby("series", sort=False).size().to_dict() == {
        "DP-SGD": 6, "LP-2ST": 6, "PATE (noise)": 4, "PATE (queries)": 2, "undefended": 2}
    assert {run.attack.fraction for run in runs} == {0.5}
    lpmst = [run for run in settings if run.defence.__class__.__name__ == "LPMST"]
    assert [(run.training.lr, run.defence.temperature) for run in lpmst] == [
        (0.03, 0.5), (0.01, 0.1), (0.01, 0.1)]  # the nearer choice; without noise the largest
    pate = [run.defence for run in settings if run.defence.__class__.__name__ == "PATE"]
    assert [(one.selection_noise, one.result_noise, one.queries) for one in pate] == [
        (0.0, 0.0, None), (10.0, 6.0, None), (5.0, 3.0, 20)]
    assert not figure3.votes(METHODS, SETUP, {}, threshold=6, noise=[5.0, 3.0], factors=[],
                             queries=[])


def test_the_corner_of_figure_3():
    runs = [*figure3.budgets(METHODS, SETUP, CHOICES, epsilons=[1.0]), METHODS.undefended(SETUP)]
    frame = figure3.named(measured(
        runs, epsilon=[1.0, math.inf, 1.0, math.inf, math.inf],
        accuracy=[0.8, 0.94, 0.9, 0.95, 0.96], success=[0.1, 0.7, 0.3, 0.6, 0.9],
        lift=[0.0, 0.6, 0.2, 0.5, 0.8]))
    assert figure3.corner(frame) == (
        "Of 4 settings 2 are within 5 points of the undefended model's accuracy (96%). The one with"
        " the least attack success is LP-2ST without noise: 95% accurate, attack success 60%, lift"
        " 50 points.")
    assert figure3.corner(frame.assign(accuracy=math.nan)) == ""


def test_epsilon_of_the_paper_by_sampler():
    found = figure3.samplers().set_index("adjacency")["epsilon"]
    assert found["add-remove"] == pytest.approx(0.450, abs=5e-4)
    assert found["replace-one"] > 2 * found["add-remove"]
    assert found["zero-out"] == pytest.approx(5.75, abs=5e-3)


def test_all_methods_are_named_by_what_a_row_says():
    settings = [METHODS.undefended(SETUP),
                *all_methods.noisy(METHODS, SETUP, [[2.0, 0.1]], epochs=1),
                *all_methods.label_private(METHODS, SETUP, CHOICES, epsilons=[4.0]),
                *all_methods.votes(METHODS, SETUP, CHOICES, threshold=6, noise=[5.0, 3.0],
                                   queries=20)]
    attacked = candidates.attacked(settings, [(7, 1)], fraction=0.1)
    frame = all_methods.named(table(all_methods.with_twins(attacked)))
    assert frame.groupby("arm", sort=False)["world"].agg("".join).to_dict() == {
        "undefended": "PLC", "DP-SGD, noise 2": "PLC", "LP-2ST, label ε 4": "PC",
        "PATE, no threshold": "PC", "PATE, threshold 6": "PC", "PATE, threshold 6 and noise": "PC"}
    alone = [METHODS.private(SETUP, "DP-SGD", 1.0, choice=Choice(0.1, None))]
    assert all_methods.named(table(alone))["arm"].tolist() == ["DP-SGD, ε 1"]


def test_rows_of_one_share():
    clean = BASE.with_(attack=BadNets(stamp=False, relabel=False))
    runs = candidates.attacked([clean], [(7, 1)], fraction=0.5) + candidates.attacked(
        [clean, clean.with_(split="tune")], [(7, 1)], fraction=0.1)
    frame = table(runs)
    found = all_methods.at_share(frame, 0.1)
    assert set(found["attack.fraction"]) == {0.1} and set(found["split"]) == {"test"}


def apart(**differences):
    return pd.DataFrame([
        {"arm": arm, "attack.base": pair, "attack.target": pair + 1, "difference": value}
        for arm, values in differences.items() for pair, value in enumerate(values)])


def test_what_differences_say_alone_and_together():
    clear, slight = [0.2, 0.21, 0.22, 0.2], [0.001, 0.02, 0.03, 0.035, 0.02]
    found = apart(clear=clear, slight=slight, fewer=[-value for value in clear],
                  **{f"none {i}": [-0.1, 0.1, -0.05, 0.05] for i in range(3)})
    judged = {arm: (alone.outcome, corrected.outcome)
              for arm, (alone, corrected) in all_methods.judged(found).items()}
    assert judged["clear"] == ("more", "more") and judged["fewer"] == ("less", "less")
    assert judged["none 0"] == ("inconclusive", "inconclusive")
    assert judged["slight"] == ("more", "inconclusive")
    slightly = all_methods.judged(apart(slight=slight))["slight"]
    assert slightly[0].outcome == slightly[1].outcome == "more"  # alone there is no correction
    assert all_methods.finding(found).startswith("Of 6 settings 2 leave more")
    assert "after Holm's correction 1 and 1" in all_methods.finding(found)
    assert all_methods.finding(apart(never=[math.nan, math.nan])) == ""


def test_the_model_that_went_further_at_equal_accuracy():
    pairs = ((0, 5), (1, 2))
    runs = trainings.paths(BASE, [(trainings.DPSGD(1.0), rate) for rate in (0.01, 0.1)], pairs,
                           epochs=30.0)
    _, curves = made(runs, lambda run: rising(0.8, 0.4 if run.training.lr == 0.1 else 0.3))
    curves = curves[curves["weights"].eq("last")]
    expected = []  # accuracies .4, .6 and .8: half of the largest on
    for share in (0.5, 0.75, 1.0):
        expected.append(share * 0.4 - share * 0.3)
    found = set_ups.further(curves)
    assert len(found) == 2 and found.tolist() == pytest.approx(2 * [sum(expected) / 3])
    slow = curves[curves["training.lr"].eq(0.01)]
    assert set_ups.progress(slow).tolist() == pytest.approx(
        (slow["training.lr"] / (1 - slow["training.momentum"]) * slow["step"]).tolist())
    assert set_ups.further(slow).empty  # one training at each accuracy: nothing to compare
