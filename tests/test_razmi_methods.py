"""R9 and R12 to R15 on made-up rows of `13` to `17`: where they hold, fail, cannot be decided and
are not measured.
"""

import math

import numpy as np
import pandas as pd
import pytest
from claim_frames import (
    ALIBI,
    DPSGD,
    LPMST,
    NONE,
    alibi,
    beside,
    counts,
    lpmst,
    outcomes,
    pate,
    plain,
    result,
    run,
    sgd,
    table,
)

from lib import papers, verdicts
from lib.papers.razmi import label_dp, perfect
from lib.verdicts import rows

SPLIT = label_dp.SPLIT

# ---------------------------------------------------------------- R9


def two_stage(*, accuracy=0.6, lift=0.3, undefended=0.8, **more):
    return table(plain(lift=undefended), lpmst(1.0, accuracy=accuracy, lift=lift, **more),
                 lpmst(4.0, accuracy=0.68, lift=0.75))


def test_r9():
    assert outcomes("R9", two_stage()) == ("holds", "holds")
    assert outcomes("R9", two_stage(lift=0.6)) == ("holds", "fails")
    assert outcomes("R9", two_stage(accuracy=0.4))[1] == "fails"  # the price
    assert outcomes("R9", two_stage(lift=0.9)) == ("fails", "fails")  # the two arms swapped
    assert outcomes("R9", two_stage(lift=0.05, undefended=0.1)) == ("inconclusive", "inconclusive")


def test_r9_is_a_share_of_the_undefended_lift():
    got = result("R9", two_stage(lift=0.36, accuracy=0.69))
    retained = result("R9", two_stage(lift=0.2)).size
    # .36 of .8 is the threshold
    assert got.size.outcome in ("inconclusive", "fails") and "retained" in got.size.decided_by
    assert retained.outcome == "holds"
    # natural confusion is no backdoor: a success of 56% is still a lift of 30 points
    natural = two_stage(lift=0.3)
    natural.loc[natural["defence.name"] == "lpmst", ["floor", "success"]] += 0.26
    assert outcomes("R9", natural) == ("holds", "holds")


def test_r9_absolute_accuracy_counts_as_published_only():
    published = {"dataset": "cifar10", "features": "imagenet-resnet50", "public": 0}
    frame = table(plain(accuracy=0.9, **published), lpmst(1.0, accuracy=0.74, lift=0.3,
                                                          **published))
    got = result("R9", frame)
    assert (
        got.setup == "as published"
        and got.size.outcome == "fails"
        and "accuracy-absolute" in got.size.decided_by
    )


def test_r9_takes_two_stages_at_epsilon_1_by_the_formula():
    one_stage = table(plain(), lpmst(1.0, accuracy=0.6, lift=0.3, **{SPLIT: (1.0,)}))
    assert outcomes("R9", one_stage) == ("not measured", "not measured")
    assert outcomes("R9", table(plain(), lpmst(4.0, accuracy=0.6,
                                               lift=0.3))) == ("not measured", "not measured")
    oracle = table(plain(), lpmst(1.0, accuracy=0.6, lift=0.3, prior="truth"),
                   lpmst(1.0, accuracy=0.6, lift=0.3, top=1))
    assert outcomes("R9", oracle) == ("not measured", "not measured")
    released = table(plain(), lpmst(1.0, accuracy=0.6, lift=0.6),
                     lpmst(1.0, accuracy=0.6, lift=0.1, as_released=True))
    assert outcomes("R9", released)[1] == "fails" and beside(
        "R9", released)["lift, score as released"][1].outcome == "holds"


def test_r9_prints_why():
    facts = {"facts.k1_poisons": 0.8, "facts.kept_labels_poisons": 0.25}
    assert result(
        "R9", two_stage(**facts)).note == ("k = 1 for 80% of the poisons after the first stage; "
                                           "25% of the poisons train with the target's label")
    assert result("R9", two_stage()).note == ""


# ---------------------------------------------------------------- R12


def weak(*, lifts=(0.01, 0.01, 0.01), accuracies=(0.63, 0.64, 0.62), undefended=0.75, fraction=0.1,
         **more):
    return table(
        plain(lift=undefended, fraction=fraction),
        *(make(1.0, accuracy=accuracy, lift=lift, fraction=fraction, **more)
          for make, lift, accuracy in zip((sgd, alibi, lpmst), lifts, accuracies)))


def test_r12():
    assert outcomes("R12", weak()) == ("holds", "holds")
    assert outcomes("R12", weak(lifts=(0.01, 0.2, 0.01))) == ("holds", "fails")
    assert "ALIBI" in result("R12", weak(lifts=(0.01, 0.2, 0.01))).size.decided_by
    assert outcomes("R12", weak(accuracies=(0.5, 0.64, 0.62))) == ("holds", "fails")
    # defended and undefended swapped
    assert outcomes("R12", weak(lifts=(0.8, 0.8, 0.8))) == ("fails", "fails")
    assert outcomes("R12", weak(undefended=0.4)) == ("inconclusive", "inconclusive")
    assert outcomes("R12", weak(fraction=0.5)) == ("not measured", "not measured")
    two = weak()[lambda frame: frame["defence.name"] != "lpmst"]
    assert outcomes("R12", two) == ("inconclusive", "inconclusive") and "LP-2ST" in result(
        "R12", two).size.reason


def test_r12_does_not_count_natural_confusion():
    frame = weak()
    frame[["floor", "success"]] += 0.26
    assert outcomes("R12", frame) == ("holds", "holds")
    # what an absolute attack success would have said
    assert beside("R12", frame)["success"][1].outcome == "fails"
    assert beside("R12", weak(lifts=(0.01, 0.2, 0.01)))["lift, ALIBI"][1].outcome == "fails"


def test_figure_4_counts_every_share():
    frame = pd.concat(
        [weak(), weak(fraction=0.5),
         table(sgd(4.0, accuracy=0.6, lift=0.5, fraction=0.1))], ignore_index=True)
    assert counts(frame, "F4") == [48]


# ---------------------------------------------------------------- R13

GRID = (0.5, 2.0, 8.0)
STOPPING = {
    "sgd": ((0.55, 0.002), (0.6, 0.004), (0.66, 0.3)),
    "alibi": ((0.5, 0.002), (0.63, 0.004), (0.68, 0.5)),
    "lpmst": ((0.3, 0.002), (0.45, 0.005), (0.6, 0.4))
}
SECONDS = {"sgd": 100.0, "alibi": 40.0, "lpmst": 38.0}


def perfect_defence(*, points=STOPPING, bagged=((0.53, 0.004), (0.57, 0.2)), undefended=0.75,
                    seconds=SECONDS, fraction=0.1, **more):
    makers = {"sgd": sgd, "alibi": alibi, "lpmst": lpmst}
    groups = [
        makers[name](epsilon, accuracy=accuracy, lift=lift, fraction=fraction,
                     seconds=seconds[name], alone=True, **more)
        for name, found in points.items()
        for epsilon, (accuracy, lift) in zip(GRID, found)
    ]
    groups += [
        pate(accuracy=accuracy, lift=lift, threshold=threshold, fraction=fraction, seconds=200.0,
             alone=True, **more) for (accuracy, lift), threshold in zip(bagged, (120.0, 0.0))
    ]
    return table(plain(lift=undefended, fraction=fraction, seconds=30.0, alone=False, **more),
                 *groups)


def test_r13():
    assert outcomes("R13", perfect_defence()) == ("holds", "holds")
    swapped = STOPPING | {"sgd": STOPPING["alibi"], "alibi": STOPPING["sgd"]}
    got = result("R13", perfect_defence(points=swapped))
    assert got.direction.outcome == "fails" and "alibi" in got.direction.decided_by
    assert outcomes("R13",
                    perfect_defence(points=STOPPING | {"lpmst": STOPPING["sgd"]}))[0] == "fails"
    assert outcomes("R13", perfect_defence(seconds=SECONDS | {"alibi": 70.0}))[1] == "fails"
    assert outcomes("R13", perfect_defence(undefended=0.3))[0] == "inconclusive"
    assert outcomes("R13", perfect_defence(fraction=0.5)) == ("not measured", "not measured")


def test_r13_takes_the_most_accurate_setting_that_stops_the_attack():
    note = result("R13", perfect_defence()).note
    assert "DP-SGD: epsilon 2" in note and "PATE: no guarantee, accuracy 5" in note
    never = STOPPING | {"lpmst": ((0.3, 0.2), (0.45, 0.3), (0.6, 0.4))}
    got = result("R13", perfect_defence(points=never))
    assert got.direction.outcome == "inconclusive"
    assert "no setting of LP-2ST stops the attack" in got.direction.reason
    assert "LP-2ST: no setting stops the attack" in got.note
    assert perfect.most_accurate([0.5, 0.6, 0.7], [0.0, 0.01, 0.02]) == 1 and perfect.most_accurate(
        [0.5], [0.5]) is None


def test_r13_is_chosen_on_the_other_instances():
    frame = perfect_defence()
    rows_of = frame[frame["defence.name"].eq("alibi")]
    own = perfect.accuracy_when_stopped(rows_of, "lift")
    moved = rows_of.copy()
    first = moved["attack.base"].eq(0) & moved["epsilon"].eq(8.0)
    moved.loc[first, "lift"] = 0.0  # a lucky run does not choose for itself
    assert perfect.accuracy_when_stopped(moved, "lift").iloc[0] == own.iloc[0]


def test_r13_times_are_of_runs_trained_alone():
    frame = perfect_defence()
    assert outcomes("R13", frame.assign(alone=False))[1] == "not measured"
    assert outcomes("R13", frame.drop(columns="alone"))[1] == "not measured"
    # marked, and yet not alone
    assert outcomes("R13", frame.assign(group_size=20.0))[1] == "not measured"
    assert outcomes("R13", frame.drop(columns="alone").assign(group_size=1.0))[1] == "holds"
    longer = frame.assign(
        **{"training.epochs": np.where(frame["defence.name"].eq("dpsgd"), 100.0, 50.0)})
    assert outcomes("R13", longer)[1] == "not measured"
    slow = table(
        alibi(0.7, accuracy=0.3, lift=0.0, fraction=0.1, seconds=900.0, alone=True,
              **{"training.epochs": 300.0}))
    assert result("R13", pd.concat([frame, slow],
                                   ignore_index=True)).size.measured == pytest.approx(0.4, rel=0.01)
    grouped = frame.assign(alone=frame["epsilon"].eq(2.0))
    grouped.loc[~grouped["alone"], "seconds"] = 1.0
    assert result("R13", grouped).size.measured == pytest.approx(0.4, rel=0.01)
    swapped = perfect_defence(seconds={"sgd": 40.0, "alibi": 100.0, "lpmst": 90.0})
    assert outcomes("R13", swapped)[1] == "fails"


def test_r13_above_natural_confusion_stands_beside():
    frame = perfect_defence()
    assert rows.EXCESS not in beside("R13", frame)  # no clean twins
    both = pd.concat([
        frame,
        perfect_defence(
            points={name: tuple((a, 0.0) for a, _ in found) for name, found in STOPPING.items()},
            bagged=((0.53, 0.0), (0.57, 0.0)), undefended=0.0, world="C")
    ], ignore_index=True)
    assert beside("R13", both)[rows.EXCESS][0].outcome == "holds"


# ---------------------------------------------------------------- R14

def label_noise(shares, *, undefended=0.8, epsilons=(None, 4.0, 2.0, 1.0, 0.5), **more):
    """ALIBI from no noise to much, with these shares of the undefended accuracy and lift."""
    return table(
        plain(lift=undefended),
        *(alibi(epsilon, accuracy=0.7 * accuracy, lift=0.8 * lift, **more)
          for epsilon, (accuracy, lift) in zip(epsilons, shares)))


PROPORTIONAL = ((1.0, 1.0), (0.9, 0.85), (0.7, 0.65), (0.5, 0.4), (0.2, 0.1))


def test_r14():
    assert outcomes("R14", label_noise(PROPORTIONAL)) == ("holds", "holds")
    # its slope alone is about one
    knee = ((1.0, 1.0), (0.97, 0.3), (0.9, 0.1), (0.6, 0.05), (0.2, 0.0))
    got = result("R14", label_noise(knee))
    assert (
        got.direction.outcome == "holds"
        and got.size.outcome == "fails"
        and "apart" in got.size.decided_by
    )
    steep = result(
        "R14",
        label_noise(((1.0, 1.0), (0.98, 0.9), (0.95, 0.85), (0.92, 0.82), (0.9, 0.76)),
                    wobble=0.001))
    assert steep.size.outcome == "fails" and "most" in steep.size.decided_by
    kept = result("R14",
                  label_noise(((1.0, 1.0), (0.9, 0.99), (0.8, 0.98), (0.78, 0.97), (0.76, 0.96))))
    assert kept.size.outcome == "fails" and "least" in kept.size.decided_by
    assert outcomes("R14", label_noise([(a, 1.2 - a) for a, _ in PROPORTIONAL]))[0] == "fails"
    assert outcomes("R14", label_noise(PROPORTIONAL,
                                       undefended=0.1)) == ("inconclusive", "inconclusive")
    assert outcomes("R14", label_noise(PROPORTIONAL[:2])) == ("not measured", "not measured")


def test_r14_reversed_noise_fails():
    assert outcomes("R14", label_noise(PROPORTIONAL,
                                       epsilons=(0.5, 1.0, 2.0, 4.0, None)))[0] == "fails"


def test_r14_by_hand():
    accuracy, lift = np.array([[1.0, 0.5, 0.0]] * 3), np.array([[1.0, 0.2, 0.0]] * 3)
    assert label_dp.slopes(accuracy, lift) == pytest.approx([1.0] * 3)
    assert label_dp.apart(accuracy, lift) == pytest.approx([0.3] * 3)
    assert math.isnan(label_dp.slopes(np.ones((1, 3)), lift[:1])[0])
    frame = label_dp.noisy(
        table(alibi(1.0, accuracy=0.5, lift=0.1), alibi(None, accuracy=0.5, lift=0.1)))
    assert sorted(frame[label_dp.NOISE].unique()) == pytest.approx([0, 2 * math.sqrt(2)])


def test_figures_5_and_6_count_their_own_rows():
    frame = pd.concat([
        label_noise(PROPORTIONAL),
        table(
            *(lpmst(1.0, accuracy=0.5, lift=0.2, temperature=t, **{SPLIT: (0.8, 0.2)})
              for t in (0.1, 0.5, 1.0)),
            *(lpmst(1.0, accuracy=0.5, lift=0.2, **{SPLIT: split})
              for split in ((0.4, 0.6), (0.6, 0.4), (0.8, 0.2), (1.0, ))),
            *(lpmst(epsilon, accuracy=0.5, lift=0.2) for epsilon in (0.5, 2.0, None)))
    ], ignore_index=True).drop_duplicates("key", ignore_index=True)
    assert counts(frame, "F5a", "F5b", "F5c", "F6") == [24, 32, 32, 40]


# ---------------------------------------------------------------- R15


def dynamics(*, free=-0.5, named=0.4, lift=0.8, methods=("dpsgd", "lpmst", "alibi"), late=None,
             **more):
    """Rows and curves: early loss of the poisoned minus the clean samples without noise and at
    epsilon 1, by method.
    """
    arms = {("dpsgd", "free"): (DPSGD, math.inf, {"noise_multiplier": 0.0}),
            ("dpsgd", "named"): (DPSGD, 1.0, {"defence.epsilon": 1.0}),
            ("lpmst", "free"): (LPMST, math.inf, {"defence.epsilon": None}),
            ("lpmst", "named"): (LPMST, 1.0, {}), ("alibi", "free"): (ALIBI, math.inf, {
                "defence.epsilon": None
            }), ("alibi", "named"): (ALIBI, 1.0, {})}
    found, points = [], []
    random = np.random.RandomState(0)
    for (method, arm), (defence, epsilon, fields) in arms.items():
        gap = {"free": free, "named": named}[arm]
        gap = gap.get(method) if isinstance(gap, dict) else gap
        for pair in range(8) if method in methods and gap is not None else ():
            row = run(pair, defence, accuracy=0.6, lift=lift if arm == "free" else 0.1,
                      epsilon=epsilon, **{"training.checkpoints": 16} | fields | more)
            found.append(row)
            for step, epoch in enumerate((0.1, 0.5, 1.0, 3.0, 10.0, 25.0, 50.0)):
                own = gap if 1 <= epoch <= 10 else -gap if late is None else late
                points.append(
                    row | {
                        "step": step, "epoch": epoch, "loss_clean": 1.0, "loss_base": 1.2,
                        "loss_poison": 1.0 + own + 0.01 * random.randn()
                    })
    return pd.DataFrame(found), pd.DataFrame(points)


def r15(**changes):
    frame, curves = dynamics(**changes)
    return result("R15", frame, **{"17_training_dynamics/curves": curves})


def test_r15():
    got = r15()
    assert got.direction.outcome == "holds" and got.size is None and got.direction.n == 8
    swapped = r15(free=0.4, named=-0.5)
    assert swapped.direction.outcome == "fails"
    one = r15(named={"dpsgd": 0.4, "lpmst": 0.4, "alibi": -0.2})
    assert (
        one.direction.outcome == "fails"
        and "epsilon 1" in one.direction.decided_by
        and one.direction.measured < 0
    )
    assert r15(free=0.4, named=-0.5, lift=0.1).direction.outcome == "inconclusive"
    assert r15(lift=0.1).direction.outcome == "inconclusive"
    missing = r15(methods=("dpsgd", "alibi"))
    assert missing.direction.outcome == "inconclusive" and "LP-2ST" in missing.direction.reason


def test_r15_reads_the_early_epochs_only():
    assert r15(late=5.0).direction.measured == pytest.approx(r15(late=-5.0).direction.measured)
    frame, curves = dynamics()
    late = result("R15", frame, **{"17_training_dynamics/curves": curves[curves["epoch"] > 10]})
    assert late.direction.outcome == "not measured"
    no_losses = curves.drop(columns=["loss_poison", "loss_clean", "loss_base"])
    assert result("R15", frame,
                  **{"17_training_dynamics/curves": no_losses}).direction.outcome == "not measured"
    base = {name: direction for name, direction, _ in r15(named=0.1).beside}
    assert base["loss_base"].outcome == "fails"  # above the clean classes, below the base class


def test_r15_names_runs_that_diverged():
    frame, curves = dynamics()
    curves.loc[curves["key"].eq(frame["key"].iloc[0]) & curves["epoch"].eq(3.0),
               "loss_poison"] = math.inf
    got = result("R15", frame, **{"17_training_dynamics/curves": curves})
    assert got.note == "1 runs diverged and are left out" and got.direction.outcome == "holds"
    curves.loc[curves["key"].eq(frame["key"].iloc[1]) & curves["epoch"].eq(10.0),
               "loss_clean"] = math.nan
    assert result("R15", frame, **{"17_training_dynamics/curves": curves
                                   }).note == "2 runs diverged and are left out"


def test_r15_plain_training_stands_for_dp_sgd_without_noise():
    frame, curves = dynamics()
    for one in (frame, curves):
        free = one["defence.name"].eq("dpsgd") & one["epsilon"].eq(math.inf)
        one.loc[free, "defence.clip"] = False
    assert result("R15", frame,
                  **{"17_training_dynamics/curves": curves}).direction.outcome == "holds"
    counted = verdicts.targets_table(
        {"17_training_dynamics": frame, "17_training_dynamics/curves": curves}).set_index("id")
    assert counted.loc["razmi-F7",
                       "measured by"] == "48 rows" and counted.loc["razmi-F7",
                                                                   "verdict"] == "R15 holds"


# ---------------------------------------------------------------- all together

FIGURES = "F2a F2b F2c F2d F2e F3a F3d F4 T2 F5a F5b F5c F6 F7".split()


def test_frames_of_one_defence_alone_are_no_error():
    """A notebook under way: whatever it has so far, no claim may crash on it."""
    few = {"accuracy": 0.6, "lift": 0.1, "pairs": 2}
    frames = [
        table(group)
        for group in (plain(pairs=2), sgd(1.0, **few), alibi(1.0, **few), lpmst(1.0, **few),
                      pate(**few), plain(pairs=1),
                      [run(0, DPSGD | NONE, accuracy=0.6, lift=0.1, status="not measured")])
    ]
    frames = [
        pd.concat([frame, frame.assign(**{"attack.fraction": 0.1})], ignore_index=True)
        for frame in frames
    ]
    notebooks = sorted(
        {one.notebook for one in papers.claims() if one.id in {f"R{i}" for i in range(6, 16)}})
    for frame in frames:
        curves = frame.assign(step=1, epoch=1.0)
        for got in verdicts.evaluate(dict.fromkeys(notebooks, frame)
                                     | {f"{name}/curves": curves for name in notebooks}):
            if got.claim.formula:  # needs no frame
                continue
            for one in (got.direction, got.size):
                assert one is None or one.outcome in ("not measured", "inconclusive",
                                                      "not testable here", "arithmetic"), (
                                                          got.claim.id, one)
        assert len(counts(frame, *FIGURES)) == len(FIGURES)


def test_distances_of_accuracy_need_the_published_features():
    for name, frame in (("R9", two_stage()), ("R12", weak())):
        got = result(name, frame.assign(features="patches"))
        assert got.direction.outcome == "holds" and got.size.outcome == "not testable here"
        assert "retained alone holds" in got.size.reason and "features: patches" in got.size.reason
    assert (
        outcomes("R9", two_stage(lift=0.6).assign(features="patches"))[1] == "fails"
    )  # by what can be tested
    assert outcomes("R12", weak(lifts=(0.01, 0.2, 0.01)).assign(features="patches"))[1] == "fails"
