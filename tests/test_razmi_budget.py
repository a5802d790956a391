"""R10 and R11 on made-up rows of `13_privacy_budget`: which method is best, as Pareto dominance
with intervals.
"""

import numpy as np
import pandas as pd
from claim_frames import alibi, beside, counts, lpmst, outcomes, pate, plain, result, sgd, table

from lib.papers.razmi import budget

OTHERS = {
    "sgd": ((0.3, 0.05), (0.5, 0.3), (0.65, 0.7)), "lpmst": ((0.2, 0.1), (0.4, 0.3), (0.6, 0.7)),
    "alibi": ((0.2, 0.08), (0.45, 0.4), (0.66, 0.75))
}


def budgets(*, bagged=(0.55, 0.02), undefended=0.8, others=OTHERS, epsilons=(0.5, 1.0, 4.0),
            noisy=((0.3, 0.1), (0.5, 0.2)), **more):
    """All methods over epsilon, and PATE with a threshold and no noise; (accuracy, lift) each."""
    makers = {"sgd": sgd, "lpmst": lpmst, "alibi": alibi}
    groups = [
        makers[name](epsilon, accuracy=accuracy, lift=lift, **more)
        for name, points in others.items()
        for epsilon, (accuracy, lift) in zip(epsilons, points)
    ]
    groups += [
        pate(accuracy=accuracy, lift=lift, threshold=120.0, result_noise=40.0 * i, epsilon=50.0 / i,
             **more) for i, (accuracy, lift) in enumerate(noisy, start=1)
    ]
    bag = pate(accuracy=bagged[0], lift=bagged[1], threshold=120.0, **more) if bagged else []
    return table(plain(lift=undefended, **more), *groups, bag)


def test_r10():
    assert outcomes("R10", budgets()) == ("holds", "holds")
    beaten = budgets(bagged=(0.4, 0.5))  # at 0.5 DP-SGD is more accurate and leaves less
    assert outcomes("R10", beaten) == ("fails", "fails")
    assert outcomes("R10", budgets(bagged=(0.55, 0.02),
                                   undefended=0.1)) == ("inconclusive", "inconclusive")
    assert outcomes("R10", budgets(bagged=None)) == ("not measured", "not measured")


def test_r10_swapping_pate_and_another_method_turns_it_round():
    swapped = OTHERS | {"alibi": ((0.2, 0.08), (0.55, 0.02), (0.66, 0.75))}
    got = result("R10", budgets(bagged=(0.45, 0.4), others=swapped))
    assert got.direction.outcome == got.size.outcome == "fails"


def test_r10_a_model_that_learnt_nothing_is_not_the_best():
    constant = outcomes("R10", budgets(bagged=(0.1, 0.0)))
    assert constant[1] == "fails" and beside(
        "R10", budgets(bagged=(0.1, 0.0)))["accuracy minus lift"][0].outcome == "fails"


def test_r10_a_trade_off_is_neither_better_nor_beaten():
    corner = budgets(bagged=(0.68, 0.5),
                     others=dict.fromkeys(OTHERS, ((0.6, 0.1), (0.62, 0.2), (0.64, 0.3))),
                     noisy=())
    assert outcomes("R10", corner) == ("holds", "fails")  # most accurate, and beats none on both


def test_r10_by_accuracy_minus_lift_counts_a_methods_best_setting():
    name = "accuracy minus lift"
    assert beside("R10", budgets())[name][0].outcome == "holds"
    one_good = OTHERS | {"alibi": ((0.2, 0.08), (0.66, 0.05), (0.66, 0.75))}
    assert beside("R10", budgets(others=one_good))[name][0].outcome == "fails"


def test_r10_needs_every_method_and_no_noise():
    without = budgets(others={name: OTHERS[name] for name in ("sgd", "alibi")})
    assert outcomes("R10", without) == ("inconclusive", "inconclusive") and "LP-2ST" in result(
        "R10", without).direction.reason
    assert outcomes("R10", budgets(noisy=())) == ("holds", "holds")
    no_threshold = budgets().assign(**{"defence.threshold": 0.0})
    assert outcomes("R10", no_threshold) == ("not measured", "not measured")


def test_the_settings_of_a_contrast_are_chosen_on_the_other_instances():
    """The worst of many equal settings beats nobody: chosen where it is judged it would."""
    random = np.random.RandomState(5)
    gained = 0.02 * random.randn(200, 12, 2)
    chosen = np.array(budget.left_out(gained, budget.nearest_to_dominating))
    assert abs(chosen.mean()) < 0.004 and gained.max(axis=2).min(axis=1).mean() < -0.005
    assert abs(np.array(budget.left_out(
        gained,
        budget.most_dominated)).mean()) < 0.004 < 0.01 < gained.min(axis=2).max(axis=1).mean()


def test_r11():
    best = OTHERS | {"sgd": ((0.6, 0.02), (0.61, 0.3), (0.65, 0.7))}
    assert outcomes("R11", budgets(others=best)) == ("holds", "holds")
    worse = OTHERS | {"sgd": ((0.15, 0.3), (0.5, 0.3), (0.65, 0.7))}
    assert outcomes("R11", budgets(others=worse)) == ("fails", "fails")
    assert outcomes("R11", budgets(others=best, undefended=0.1)) == ("inconclusive", "inconclusive")
    assert outcomes("R11", budgets(others=best,
                                   epsilons=(0.7, 1.0, 4.0))) == ("not measured", "not measured")
    assert outcomes(
        "R11", budgets(others={name: best[name]
                               for name in ("sgd", "alibi")})) == ("inconclusive", "inconclusive")
    # more accurate at 0.5, and more of the backdoor
    traded = OTHERS | {"sgd": ((0.5, 0.3), (0.55, 0.4), (0.65, 0.7))}
    assert outcomes("R11", budgets(others=traded)) == ("holds", "fails")


def test_r11_the_other_reading_stands_beside():
    name = "accuracy minus lift, DP-SGD at its own other epsilons"
    inner = {"sgd": ((0.3, 0.1), (0.5, 0.05), (0.65, 0.7))}
    frame = budgets(others=OTHERS | inner, epsilons=(0.2, 0.5, 4.0))
    assert beside("R11", frame)[name][0].outcome == "holds"
    assert beside(
        "R11",
        budgets(others=OTHERS | {"sgd": ((0.6, 0.1), (0.3, 0.2), (0.5, 0.7))},
                epsilons=(0.2, 0.5, 4.0)))[name][0].outcome == "fails"
    # no smaller epsilon to compare with
    assert beside("R11", budgets())[name][0].outcome != "holds"


def test_calibrated_epsilons_are_found():
    frame = budgets(others=OTHERS | {"sgd": ((0.6, 0.02), (0.61, 0.3), (0.65, 0.7))})
    frame.loc[frame["epsilon"] == 0.5, "epsilon"] = 0.4993
    assert outcomes("R11", frame) == ("holds", "holds")


def test_figure_3_tells_its_data_sets_apart():
    images = {"dataset": "mnist", "features": "none", "model": "cnn"}
    frame = pd.concat([budgets(), budgets(**images, noisy=())], ignore_index=True)
    assert counts(frame, "F3a", "F3c", "F3d", "F3f") == [96, 96, 80, 80]
    assert result("R10", frame).setup.startswith("substitute: data cifar10-jpeg")
    drawn = budgets(dataset="strokes", features="none", model="cnn")
    assert counts(drawn, "F3a", "F3d") == [0, 96]
