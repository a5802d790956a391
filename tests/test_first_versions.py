"""Claims as first frozen, on made-up rows; what is not testable on other features.

O6 against no DP.
"""

import pytest
from claim_frames import outcomes, result
from test_ozyikan_smoothing import SMOOTHING, private, rab, row
from test_ozyikan_smoothing import table as overview_table
from test_razmi_budget import budgets
from test_razmi_methods import perfect_defence

from lib import papers, verdicts
from lib.papers.ozyikan import certified


def first(name, frame):
    """(direction, size) of a claim's first version, in words."""
    one = papers.claim(name)
    found = next(result for result in verdicts.evaluate({one.amended.notebook: frame})
                 if result.claim.id == name)
    return tuple(v and v.outcome for v in found.frozen)


def test_the_scores_of_r10_and_r11_are_accuracy_minus_attack_success():
    assert first("R10", budgets()) == ("holds", None)
    worse = budgets(bagged=(0.4, 0.5))
    assert first("R10", worse) == ("fails", None) and first("R11", worse)[0] != "not measured"
    confused = budgets()
    bagged = confused["defence.name"].eq("pate") & confused["defence.result_noise"].eq(0)
    confused.loc[bagged, "success"] += (
        0.5  # natural confusion: attack success counts it, lift does not
    )
    assert first("R10", confused) == ("fails", None) and outcomes("R10", confused)[0] == "holds"


def test_r13s_first_version_allows_no_point():
    frame = perfect_defence()
    names, stopped = frame["defence.name"], frame["epsilon"].eq(2.0)
    reference = frame[names.eq("dpsgd") & stopped].set_index("attack.base")["accuracy"]
    wobble = 0.001 * (frame["attack.base"] % 2)
    chosen = names.eq("alibi") & stopped
    near = frame["attack.base"].map(reference) - 0.005 + wobble
    frame.loc[chosen, "accuracy"] = near[chosen]  # half a point less accurate than DP-SGD
    assert result("R13", frame).direction.outcome == "holds" and first("R13", frame)[0] == "fails"


@pytest.mark.parametrize("name, frame", [("R10", budgets()), ("R11", budgets())])
def test_methods_are_not_ranked_on_other_features(name, frame):
    other = frame.assign(features="patches")
    got = result(name, other)
    assert (
        outcomes(name, other) == ("not testable here",) * 2
        and "features: patches" in got.size.reason
    )
    assert first(name, other) == first(name, frame)  # what was frozen then had no such rule


def test_closed_form_times_do_not_speak_to_hooks():
    got = result("R13", perfect_defence().assign(**{"defence.engine": "ensemble"}))
    assert got.size.outcome == "not testable here" and "by hooks" in got.size.reason
    assert got.direction.outcome == "holds"


# ---------------------------------------------------------------- O6 against no DP

def inside(gain, *, lr=0.3):
    """RAB with DP-SGD at two levels and without, a hundred models, equal but for `gain` and the
    rate.
    """

    def one(number, share, rate, **more):
        made = row(SMOOTHING, number, share=share, models=100, noise=0.5, wobble=0.0, **more)
        return made | {"training.lr": rate, "training.sampling": "shuffle"}

    noisy = [
        one(
            number,
            share,
            lr,
            noise_multiplier=z,
            max_grad_norm=1.0,
            success=0.4 + gain + 0.01 * number + 0.001 * (number % 2),
        )
        for z in (1.0, 2.0)
        for share in (0.05, 0.1, 0.0)
        for number in range(4)
    ]
    return overview_table(noisy, [one(number, share, 0.03, success=0.4 + 0.01 * number)
                                  for share in (0.05, 0.1, 0.0) for number in range(4)])


def test_dp_inside_is_held_against_the_same_ensemble_without_it():
    found = certified.without_dp(certified.prepared(inside(-0.1)))
    assert set(found["noise"]) == {1.0, 2.0} and set(found["share"]) == {0.1}
    lift = found[found["metric"] == "lift"]["values"]
    assert all(values == pytest.approx([-0.1, -0.099] * 2) for values in lift)
    assert set(found["confounds"]) == {"lr 0.3 against 0.03"}
    assert set(certified.without_dp(certified.prepared(inside(0.0, lr=0.03)))["confounds"]) == {""}
    table, words = certified.without_dp_table(inside(-0.1))
    assert list(table["lift"]) == ["−10.0 [−10.0, −9.9]"] * 2 and words == "lr 0.3 against 0.03"


def test_the_contrast_stands_beside_o6_as_two_sided():
    frame = {"40_smoothing": inside(-0.1)}
    got = next(one for one in verdicts.evaluate(frame) if one.claim.id == "O6")
    beside = {name: v for name, v, _ in got.beside if v.beyond == "either"}
    assert (
        beside["lift, DP noise 1 minus no DP-SGD, 10% poison (lr 0.3 against 0.03)"].outcome
        == "less"
    )
    shown = verdicts.table(verdicts.evaluate(frame)).set_index("id").loc["O6", "beside"]
    assert "lift, DP noise 2 minus no DP-SGD" in shown and "less" in shown


def test_no_contrast_without_rows_of_either_kind():
    assert (
        certified.without_dp(certified.prepared(overview_table(private(0.0))))
        .dropna()["values"]
        .map(len)
        .sum()
        == 0
    )
    assert certified.without_dp(certified.prepared(overview_table(rab()))).empty
    assert certified.without_dp_table(overview_table(rab()))[0].empty
