"""R6 to R8 on made-up rows of `12_pate`: where they hold, fail, cannot be decided and are not
measured.
"""

import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import PATE, alibi, beside, counts, outcomes, pate, plain, result, run, sgd, table

from lib import papers, verdicts
from lib.papers.razmi import pate as measured
from lib.papers.razmi import roles
from lib.verdicts import contrasts, judgement, rows

# ---------------------------------------------------------------- what all claims share


def test_a_share_is_the_ratio_of_means_with_its_spread():
    values, reference = np.array([0.1, 0.3, 0.2, 0.4]), np.array([0.5, 1.0, 0.4, 0.9])
    found = contrasts.share(values, reference)
    assert found.mean() == pytest.approx(values.mean() / reference.mean())
    # proportional: no spread
    assert contrasts.share(0.3 * reference, reference) == pytest.approx(np.full(4, 0.3))
    draws = np.random.RandomState(0).normal((0.3, 0.8), (0.05, 0.1), size=(4000, 20, 2))
    ratios = draws[..., 0].mean(axis=1) / draws[..., 1].mean(axis=1)
    claimed = np.mean([contrasts.share(one[:, 0], one[:, 1]).std(ddof=1)
                       for one in draws[:200]]) / np.sqrt(20)
    assert claimed == pytest.approx(ratios.std(), rel=0.05)
    assert np.isnan(contrasts.share(values, -reference)).all() and not len(contrasts.share([], []))
    assert np.isnan(contrasts.share([0.1, np.nan], [0.5, 0.5])).tolist() == [False, True]


def test_nothing_holds_without_the_positive_control():
    part = papers.claim("R12").part("retained")
    values = [0.01, 0.012, 0.009, 0.011]
    assert [
        judgement.guarded(part, values, passed=passed).outcome for passed in (True, False, None)
    ] == ["holds", "inconclusive", "inconclusive"]
    assert "control failed" in judgement.guarded(part, values, passed=False).reason
    assert judgement.every(True, None, False) is False and judgement.every(
        True, None) is None and judgement.every(True, True) is True


def test_rows_are_paired_by_attack_not_by_order():
    own = table(alibi(1.0, accuracy=0.6, lift=0.2, wobble=0)).iloc[::-1]
    other = table(plain(wobble=0), plain(
        wobble=0, init_seed=9)).assign(lift=lambda frame: 0.01 * frame["attack.base"])
    # pair 0 has no undefended row
    both = contrasts.paired(own, other.drop(index=0).drop(index=8), "lift")
    assert len(both) == 7 and both["other"].tolist() == pytest.approx(
        [0.01 * i for i in range(1, 8)])


def test_twins_may_have_come_out_otherwise():
    """Twins differ in what they were trained beside and in what the defence reports, not in what
    they are.
    """
    frame = table(pate(accuracy=0.6, lift=0.5, group_size=8, alone=False),
                  pate(accuracy=0.6, lift=0.1, world="L", group_size=3, answered=9.0))
    frame["loss_poison"] = np.arange(16.0)
    found = rows.prepared(frame)
    assert len(found) == 8 and found["effect"].mean() == pytest.approx(0.4, abs=0.01)
    assert found[rows.SEPARATION].tolist() == pytest.approx(
        found["lift"].tolist()) and found["natural"].isna().all()


def test_an_attack_on_all_classes_has_its_target_for_a_name():
    frame = pd.DataFrame({
        "attack.base": [None] * 4, "attack.target": [1, 2, 1, 2], "attack_seed": [0, 1, 2, 3],
        "lift": [0.1, 0.2, 0.3, 0.4]
    })
    assert rows.per_unit(frame, "lift").tolist() == pytest.approx([0.2, 0.3])


def test_a_setting_is_chosen_by_instances_then_by_accuracy():
    few, good, bad = (plain(pairs=3, accuracy=0.9, **{"training.lr": 0.3}),
                      plain(accuracy=0.7, **{"training.lr": 0.01}), plain(accuracy=0.6, lift=0.1))
    found = roles.plain(table(bad, few, good))
    assert len(found) == 8 and set(found["training.lr"]) == {0.01}


def test_tables_by_setting_have_no_gaps():
    frame = table(alibi(1.0, accuracy=0.5, lift=0.3), alibi(2.0, accuracy=0.6, lift=0.4),
                  alibi(4.0, accuracy=0.7, lift=0.5, pairs=5))
    accuracy, lift = rows.by_setting(frame, "accuracy", "lift")
    assert accuracy.shape == lift.shape == (8, 2) and list(accuracy.columns) == list(lift.columns)
    assert rows.setting_line(frame, accuracy.columns[1])["defence.epsilon"] == 2.0


# ---------------------------------------------------------------- R6

def teachers(effects, *, undefended=0.8, **more):
    """Students of 25, 100 and 400 teachers with these (accuracy, lift)."""
    return table(
        plain(lift=undefended, **more),
        *(pate(accuracy=accuracy, lift=lift, teachers=number, **more)
          for number, (accuracy, lift) in zip((25, 100, 400), effects)))


FALLS = ((0.65, 0.6), (0.6, 0.4), (0.5, 0.1))


def test_r6():
    assert outcomes("R6", teachers(FALLS)) == ("holds", None)
    assert outcomes("R6", teachers(FALLS[::-1]))[0] != "holds"
    swapped = teachers(((0.5, 0.4), (0.6, 0.5), (0.65, 0.7)))
    assert outcomes("R6", swapped)[0] == "fails"
    # both are claimed
    more_accurate = result("R6", teachers(((0.5, 0.6), (0.6, 0.4), (0.65, 0.1)))).direction
    assert more_accurate.outcome == "fails" and "accuracy" in more_accurate.decided_by


def test_r6_needs_the_backdoor_at_the_start_of_the_sweep():
    gone = teachers(((0.5, 0.02), (0.6, 0.03), (0.65, 0.04)))
    assert outcomes("R6", gone)[0] == "inconclusive" and "control failed" in result(
        "R6", gone).direction.reason
    assert outcomes("R6", teachers(((0.5, 0.4), (0.6, 0.5), (0.65, 0.7)),
                                   undefended=0.1))[0] == "inconclusive"
    no_plain = teachers(FALLS)
    assert outcomes("R6", no_plain[no_plain["defence.name"] == "pate"])[0] == "inconclusive"


def test_r6_is_not_measured_without_a_sweep():
    assert outcomes("R6", table(plain(), pate(accuracy=0.6, lift=0.3))) == ("not measured", None)
    assert outcomes("R6", table(plain(), sgd(1.0, accuracy=0.6,
                                             lift=0.3))) == ("not measured", None)
    assert outcomes("R6", teachers(FALLS, status="failed")) == ("not measured", None)


@pytest.mark.parametrize(
    "control", [{"pool": "clean"}, {"labels": "truth"}, {"as_released": True}, {"voters": 1}])
def test_controls_are_no_students_of_the_paper(control):
    assert outcomes("R6", teachers(FALLS, **control)) == ("not measured", None)


def test_r6_shows_bagging_beside():
    alone = [run(pair, PATE, accuracy=0.3, lift=0.7, teachers=400, voters=1) for pair in range(8)]
    frame = pd.concat([teachers(FALLS), table(alone)], ignore_index=True)
    name = "lift, all teachers against the first alone, 50% of the base class"
    assert beside("R6", frame)[name][0].outcome == "holds" and outcomes("R6",
                                                                        frame) == ("holds", None)
    assert name not in beside("R6", teachers(FALLS))
    tenth = result("R6", frame.assign(**{"attack.fraction": 0.1}))  # no sweep is needed
    assert tenth.direction.outcome == "not measured" and "10%" in tenth.beside[-1][
        0] and tenth.beside[-1][1].outcome == "holds"
    frame.loc[frame["defence.voters"] == 1, "lift"] = 0.3
    frame.loc[frame["defence.teachers"].eq(400) & frame["defence.voters"].isna(),
              "lift"] = [0.5 + 0.001 * i for i in range(8)]
    assert beside("R6", frame)[name][0].outcome == "fails"


def test_a_tenth_and_other_metrics_stand_beside():
    frame = pd.concat(
        [teachers(FALLS),
         teachers(((0.65, 0.3), (0.6, 0.4), (0.5, 0.5)), fraction=0.1)], ignore_index=True)
    got = beside("R6", frame)
    assert outcomes(
        "R6", frame)[0] == "holds" and got["lift, 10% of the base class"][0].outcome == "fails"
    assert {"success", rows.SEPARATION} <= set(got) and "effect" not in got  # no relabelled twins
    twins = teachers(((0.6, 0.05), (0.6, 0.05), (0.6, 0.05)), undefended=0.0, world="L")
    assert beside("R6", pd.concat([teachers(FALLS), twins],
                                  ignore_index=True))["effect"][0].outcome == "holds"


def test_public_images_of_pate_are_as_published():
    published = {"dataset": "cifar10", "features": "imagenet-resnet50"}
    assert result("R6", teachers(FALLS, **published)).setup == "as published"
    assert result("R6", teachers(FALLS)).setup == "substitute: data cifar10-jpeg for cifar10"
    assert result("R6", teachers(FALLS,
                                 public=500)).setup.endswith("500 images kept for the public part")
    assert rows.setup_label(
        claims_line(published),
        papers.claim("R9").setup) == "substitute: 10000 images kept for the public part"


def claims_line(published):
    return teachers(FALLS, **published).iloc[0]


# ---------------------------------------------------------------- R7


def thresholds(effects, *, undefended=0.8, kept=(1.0, 0.9, 0.55, 0.0), votes=(0, 60, 120, 180),
               first=None, **more):
    """Students at four thresholds of 200 votes with these (accuracy, lift), and the shares of
    queries they keep.
    """
    groups = [
        pate(accuracy=accuracy, lift=lift,
             threshold=None if first and not number else float(number), answered=10000 * share,
             **more) for (accuracy, lift), number, share in zip(effects, votes, kept)
    ]
    return table(plain(lift=undefended), *groups)


STOPS = ((0.6, 0.6), (0.61, 0.5), (0.59, 0.1), (0.1, 0.0))


def test_r7():
    assert outcomes("R7", thresholds(STOPS)) == ("holds", "holds")
    # no selection step is threshold 0
    assert outcomes("R7", thresholds(STOPS, first=True)) == ("holds", "holds")
    weak = ((0.6, 0.6), (0.61, 0.58), (0.59, 0.5), (0.1, 0.0))
    assert outcomes("R7", thresholds(weak)) == ("holds", "fails")
    costly = result("R7", thresholds(((0.6, 0.6), (0.6, 0.5), (0.5, 0.1), (0.1, 0.0))))
    assert costly.size.outcome == "fails" and "accuracy" in costly.size.decided_by
    swapped = ((0.6, 0.4), (0.6, 0.5), (0.6, 0.7), (0.1, 0.0))
    assert outcomes("R7", thresholds(swapped)) == ("fails", "fails")


def test_r7_is_judged_where_half_of_the_queries_are_kept():
    got = result("R7", thresholds(STOPS))
    assert got.note == "threshold 120 keeps 55% of the queries; 180 votes keep 0%"
    by_votes = beside("R7", thresholds(STOPS))["lift, 90% of the votes"]
    # nothing kept
    assert by_votes[0].outcome == "holds" and by_votes[
        1].outcome == "fails" and "accuracy" in by_votes[1].decided_by
    assert result("R7", thresholds(
        STOPS, kept=(1.0, 0.74, 0.4, 0.0))).note.startswith("threshold 120 keeps 40%")
    none = thresholds(STOPS, kept=(1.0, 0.99, 0.9, 0.1))
    assert outcomes("R7", none) == ("not measured", "not measured")
    assert result("R7", none).note.startswith("180 votes keep 10%")


def test_r7_chooses_the_best_threshold_on_the_other_instances():
    # the loose threshold does it, the one at half costs too much
    early = ((0.6, 0.6), (0.6, 0.2), (0.3, 0.1), (0.1, 0.0))
    name = "lift, threshold chosen on the other instances"
    assert outcomes("R7", thresholds(early))[1] == "fails" and beside(
        "R7", thresholds(early))[name][1].outcome == "holds"
    nothing = ((0.6, 0.6), (0.6, 0.6), (0.6, 0.6), (0.1, 0.0))
    assert beside("R7", thresholds(nothing))[name][1].outcome == "fails"


def test_r7_needs_its_control():
    assert outcomes("R7", thresholds(STOPS, undefended=0.1)) == ("inconclusive", "inconclusive")
    # the ensemble alone had removed it
    bagged = ((0.6, 0.05), (0.61, 0.05), (0.59, 0.01), (0.1, 0.0))
    assert outcomes("R7", thresholds(bagged)) == ("inconclusive", "inconclusive")
    noisy = thresholds(STOPS, result_noise=40.0)  # not the threshold alone
    assert outcomes("R7", noisy) == ("not measured", "not measured")


# ---------------------------------------------------------------- R8

def noises(effects, *, values=(0.0, 40.0, 100.0, 175.0), undefended=0.8, **more):
    return table(
        plain(lift=undefended),
        *(pate(accuracy=accuracy, lift=lift, result_noise=noise, **more)
          for (accuracy, lift), noise in zip(effects, values)))


DOWN = ((0.6, 0.6), (0.5, 0.4), (0.4, 0.2), (0.3, 0.05))


def test_r8():
    assert outcomes("R8", noises(DOWN)) == ("holds", "arithmetic")
    up = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (0.6, 0.7))
    assert outcomes("R8", noises(up))[0] == "fails"
    assert outcomes("R8", noises(up, undefended=0.1))[0] == "inconclusive"
    assert outcomes("R8", noises(DOWN[:2])) == ("not measured", "not measured")
    assert "accuracy" in result("R8", noises(
        ((0.5, 0.6), (0.55, 0.4), (0.6, 0.2), (0.65, 0.05)))).direction.decided_by


def test_r8_epsilon_by_two_accountings():
    assert measured.answers_epsilon(10000, 175.0, 1e-5, selection=False) == pytest.approx(
        3.4262, abs=1e-4)
    assert measured.answers_epsilon(10000, 175.0, 1e-5, selection=True) == pytest.approx(
        4.3253, abs=1e-4)
    size = result("R8", noises(DOWN)).size
    assert size.outcome == "arithmetic" and size.measured == pytest.approx(3.4262, abs=1e-4)
    assert math.isnan(size.low) and math.isnan(size.p) and "settings alone" in size.reason
    assert outcomes("R8", noises(DOWN, queries_asked=1000.0))[1] == "not testable here"
    assert outcomes("R8", noises(DOWN, values=(0.0, 10.0, 20.0, 40.0)))[1] == "not testable here"
    assert outcomes("R8", noises(DOWN, values=(0.0, 40.0, 100.0, 190.0)))[1] == "arithmetic"
    part = papers.claim("R8").part("epsilon-answers")
    one = roles.students(noises(DOWN))
    assert (
        measured.epsilon_at_named_noise(
            part.__class__(**vars(part) | {"threshold": 3.5}), one
        ).outcome
        == "fails"
    )


# ---------------------------------------------------------------- figure 2

def test_figure_2_counts_its_own_rows():
    frame = pd.concat([
        teachers(FALLS),
        thresholds(STOPS).query("`defence.name` == 'pate'"),
        noises(DOWN).query("`defence.name` == 'pate'"),
        table(
            *(pate(accuracy=0.5, lift=0.3, queries=number, queries_asked=number)
              for number in (40, 850)),
            *(pate(accuracy=0.5, lift=0.3, selection_noise=noise, threshold=50.0)
              for noise in (10.0, 40.0, 90.0)))
    ], ignore_index=True).drop_duplicates("key", ignore_index=True)
    panels = ("F2a", "F2b", "F2c", "F2d", "F2e")
    assert counts(frame, *panels) == [32, 24, 32, 24, 32]
    assert counts(table(plain()), *panels) == [0] * 5
    counted = verdicts.targets_table({"12_pate": frame}).set_index("id")
    assert counted.loc["razmi-F2c",
                       "measured by"] == "32 rows" and counted.loc["razmi-F2c",
                                                                   "verdict"] == "R7 holds"
