"""D1a and D1b: tuning draws, envelopes of families, and the verdicts on made-up paths."""

import math

import numpy as np
import pandas as pd
import pytest

from lib import papers, study
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.papers.ours import envelopes, tuned
from lib.papers.ours.claims import FIRST_PAIRS, LEVELS, SECOND_PAIRS
from lib.study import Run, instances
from lib.training import Training

BASE = Run(dataset="cifar10-jpeg", train_size=50000, public=10000, features="imagenet-lite0:128",
           model="head", attack=BadNets(fraction=0.1),
           training=Training("sgd", 0.03, epochs=30.0, checkpoints=4,
                             averages=("tail",)))
PLAIN = DPSGD(0.0, clip=False)
RATES = (0.01, 0.03, 0.1)
TOP = {"plain": 0.80, 1.0: 0.78, 2.0: 0.76, 4.0: 0.74}


def made(runs, path):
    """(frame, curves) as `lib.study` returns them, with `path(run) -> [(step, accuracy, lift)]`."""
    frame = study.together([study.table.table(runs)]) if runs else study.table.table([])
    lines = {run.key: path(run) for run in runs}
    frame = frame.assign(status="ok", noise_multiplier=frame.get(
        "defence.noise_multiplier", pd.Series(math.nan, index=frame.index)))
    for name, place in (("accuracy", 1), ("lift", 2)):
        frame[name] = [lines[key][-1][place] for key in frame["key"]]
    frame["trigger_auc"] = 0.5 + frame["lift"] / 2
    points = [line.to_dict() | dict(step=step, accuracy=accuracy, lift=lift,
                                    trigger_auc=0.5 + lift / 2)
              for _, line in frame.iterrows() if line["training.checkpoints"]
              for step, accuracy, lift in lines[line["key"]]]
    return frame, pd.DataFrame(points)


def rising(top, lift):
    """A path that rises to `top`, its lift in proportion to accuracy."""
    return [(step, share * top, share * lift)
            for step, share in ((10, 0.25), (20, 0.5), (40, 0.75), (80, 1.0))]


def attacked(pairs=SECOND_PAIRS, lifts=None):
    """Every arm at every rate, on these pairs; lifts: {(arm, rate): lift at the end}."""
    starts = [BASE.with_(defence=defence, training__lr=rate)
              for defence in (PLAIN, *(DPSGD(float(z)) for z in LEVELS)) for rate in RATES]
    return [one for start in starts for one in instances(start, pairs)]


def arm(run):
    return "plain" if not run.defence.clip else run.defence.noise_multiplier


def tuning(best, draws=3):
    """Clean held-out runs; best: {(arm, draw): rate}."""
    splits = ["tune", "tune-2", "tune-3"][:draws]
    runs = [BASE.with_(defence=defence, training__lr=rate, training__checkpoints=0, split=split,
                       training__averages=(),
                       attack=BadNets(stamp=False, relabel=False), init_seed=draw, noise_seed=draw)
            for draw, split in enumerate(splits)
            for defence in (PLAIN, *(DPSGD(float(z)) for z in LEVELS)) for rate in (0.003, *RATES,
                                                                                    0.3)]

    def path(run):
        wanted = best[arm(run), run.init_seed]
        return [(80, 0.8 - 0.01 * abs(math.log(run.training.lr / wanted)), 0.0)]
    return made(runs, path)[0]


def frames(lift_of, best, pairs=SECOND_PAIRS):
    rng = np.random.RandomState(0)
    shift = {run.key: 0.004 * rng.randn() for run in attacked(pairs)}
    frame, curves = made(attacked(pairs), lambda run: rising(
        TOP[arm(run)], lift_of(arm(run), run.training.lr) + shift[run.key]))
    return {"11_dpsgd": study.together([frame, tuning(best)]), "11_dpsgd/curves": curves}


BEST = {(name, draw): 0.03 for name in TOP for draw in range(3)}


def lift_of(name, rate):
    """DP-SGD: more at larger rates; plain SGD: the same at all rates."""
    return 0.6 if name == "plain" else {0.01: 0.2, 0.03: 0.3, 0.1: 0.9}[rate]


def judged(name, found):
    one = papers.claim(name)
    return one.measure(found, one)


def test_d1a_takes_the_tuned_rates_of_each_draw():
    got = judged("D1a", frames(lift_of, BEST))
    assert got.direction.outcome == "less" and got.direction.n == len(SECOND_PAIRS)
    beside = {name: one for name, one, _ in got.beside}
    # plain SGD when it first was as accurate: a straight line through the origin
    for level in LEVELS:
        expected = 0.3 - 0.6 * TOP[float(level)] / TOP["plain"]
        assert beside[f"lift, noise {level}"].measured == pytest.approx(expected, abs=0.006)
    larger = BEST | {(2.0, 1): 0.1}  # one draw of three
    got = {name: one for name, one, _ in judged("D1a", frames(lift_of, larger)).beside}
    expected = 0.3 + 0.6 / 3 - 0.6 * TOP[2.0] / TOP["plain"]
    assert got["lift, noise 2"].measured == pytest.approx(expected, abs=0.006)


def test_d1a_shows_each_draw_and_what_they_add_to_the_interval():
    larger = BEST | {(2.0, 1): 0.1}
    whole = frames(lift_of, larger)
    beside = {name: one for name, one, _ in judged("D1a", whole).beside}
    first, second = (beside[f"draw {draw}, noise 2"].measured for draw in ("tune", "tune-2"))
    assert second - first == pytest.approx(0.6, abs=0.01)
    anew = beside["draws drawn anew, noise 2"]
    assert anew.outcome == "inconclusive" and anew.high - anew.low > 1
    assert beside["draws drawn anew, noise 1"].outcome == "less"
    assert anew.measured == pytest.approx(beside["lift, noise 2"].measured)
    choices, rows = tuned.compared(whole["11_dpsgd"])
    curves = whole["11_dpsgd/curves"]
    found = tuned.differences(rows, curves[curves["weights"].eq("last")], choices)
    assert len(found) == 3 * 3 * len(SECOND_PAIRS) and found["missing"].eq("").all()
    table = tuned.by_draw(found)
    assert table["rate of DP-SGD"].tolist() == [0.03] * 3 + [0.03, 0.1, 0.03] + [0.03] * 3
    # the interval by hand: two variances, two degrees of freedom
    at = found[found["noise_multiplier"].eq(2.0)]
    pairs, draws = at.groupby("attack.base")["difference"].mean(), at.groupby("draw")[
        "difference"].mean()
    half = 4.302653 * math.sqrt(pairs.var() / 10 + draws.var() / 3)
    assert tuned.over_draws(at) == pytest.approx((pairs.mean(), pairs.mean() - half,
                                                  pairs.mean() + half), abs=1e-6)


def test_d1a_keeps_to_its_protocol():
    whole = frames(lift_of, BEST)
    frame = whole["11_dpsgd"]
    two = whole | {"11_dpsgd": frame[frame["split"].ne("tune-3")]}
    got = judged("D1a", two)
    assert got.direction.outcome == "not measured" and "2 tuning draws of 3" in got.note
    # trainings of another length, or without averages, are not its rows
    for change in ({"training.epochs": 50.0}, {"training.averages": ()}):
        other = frame[frame["split"].eq("test")].copy()
        other["lift"], other["key"], other["twin"] = 0.0, other["key"] + "x", other["twin"] + "x"
        for name, value in change.items():
            other[name] = [value] * len(other)
        mixed = whole | {"11_dpsgd": pd.concat([frame, other], ignore_index=True)}
        assert judged("D1a", mixed).direction.measured == pytest.approx(
            judged("D1a", whole).direction.measured)


def test_an_arm_beside_the_two_does_not_block_d1a():
    whole = frames(lift_of, BEST)
    noise = whole["11_dpsgd"]
    noise = noise[noise["split"].ne("test") & noise["defence.noise_multiplier"].eq(1.0)]
    noise = noise.assign(**{"defence.name": "label_noise", "accuracy": noise["training.lr"]})
    both = whole | {"11_dpsgd": pd.concat([whole["11_dpsgd"], noise], ignore_index=True)}
    assert judged("D1a", both).direction.outcome == "less"


def test_d1a_says_nothing_where_an_end_of_the_grid_wins():
    at_end = BEST | {(1.0, 2): 0.3}
    got = judged("D1a", frames(lift_of, at_end))
    assert got.direction.outcome == "not measured" and "at an end of the grid" in got.note
    whole = frames(lift_of, BEST)
    one = whole["11_dpsgd"]
    coarse = one[~(one["split"].ne("test") & one["training.lr"].eq(0.03))]
    got = judged("D1a", whole | {"11_dpsgd": coarse})
    assert got.direction.outcome == "not measured" and "coarse grid" in got.note


def test_d1a_and_d1b_leave_the_pairs_of_the_prototypes_alone():
    got = judged("D1a", frames(lift_of, BEST, pairs=FIRST_PAIRS))
    assert got.direction.outcome == "not measured"
    both = {name: pd.concat([frames(lift_of, BEST)[name],
                             frames(lambda *_: 0.9, BEST, pairs=FIRST_PAIRS)[name]],
                            ignore_index=True) for name in ("11_dpsgd", "11_dpsgd/curves")}
    for name in ("D1a", "D1b"):
        assert judged(name, both).direction.measured == pytest.approx(
            judged(name, frames(lift_of, BEST)).direction.measured)


def test_d1a_needs_the_undefended_backdoor():
    weak = frames(lambda name, rate: lift_of(name, rate) / 2, BEST)
    for name in ("D1a", "D1b"):
        got = judged(name, weak).direction
        assert got.outcome == "inconclusive" and got.high < 0


def test_d1b_reads_the_setting_that_is_best_for_the_other_pairs():
    found = pd.DataFrame([("DP-SGD", setting, unit, 0.7, lift)
                          for unit, lifts in {"a": (0.1, 0.2), "b": (0.1, 0.2), "c": (0.9, 0.3)
                                              }.items()
                          for setting, lift in enumerate(lifts)],
                         columns=["family", "setting", "instance", "accuracy", "lift"])
    least = envelopes.least(found).set_index("instance")
    # for c the others choose setting 0; for a and b setting 1: (0.2 + 0.3) / 2 < (0.1 + 0.9) / 2
    assert least["lift"].to_dict() == {"a": 0.2, "b": 0.2, "c": 0.9}
    # a setting that one of the others does not reach is not chosen
    late = found["setting"].eq(1) & found["instance"].eq("a")
    partial = found.assign(accuracy=found["accuracy"].where(~late, 0.6))
    least = envelopes.least(partial).set_index("instance")
    assert least[least["accuracy"].eq(0.7)]["lift"].to_dict() == {"b": 0.1, "c": 0.9}
    # an instance that lacks a setting is left out, and takes the setting from nobody
    assert envelopes.least(found[~late]).set_index("instance")["lift"].to_dict() == {
        "b": 0.2, "c": 0.9}
    assert envelopes.least(found[found["instance"].eq("a")]).empty


def test_d1b_compares_the_least_of_both_families():
    got = judged("D1b", frames(lift_of, BEST))
    assert got.direction.outcome == "less" and got.direction.n == len(SECOND_PAIRS)
    # both envelopes are straight lines: DP-SGD's least slope is that of noise 1 at the least rate
    levels = np.arange(0.2, 0.781, 0.01)
    expected = (levels * (0.2 / TOP[1.0] - 0.6 / TOP["plain"])).mean()
    assert got.direction.measured == pytest.approx(expected, abs=0.01)
    same = judged("D1b", frames(lambda name, _: TOP[name] * 0.8, BEST))
    assert same.direction.outcome != "more" and abs(same.direction.measured) < 0.02


def test_d1b_is_judged_on_the_settings_that_its_oracle_names():
    whole = frames(lift_of, BEST)
    extra = [one for rate in RATES for one in instances(BASE.with_(
        defence=DPSGD(1.0), training__lr=rate, training__schedule="linear"), SECOND_PAIRS)]
    frame, curves = made(extra, lambda run: rising(0.79, 0.0))
    both = {"11_dpsgd": study.together([whole["11_dpsgd"], frame]),
            "11_dpsgd/curves": pd.concat([whole["11_dpsgd/curves"], curves], ignore_index=True)}
    got, alone = judged("D1b", both), judged("D1b", whole)
    assert got.direction.measured == pytest.approx(alone.direction.measured)
    beside = {name: one for name, one, _ in got.beside}
    assert beside["all settings"].measured < got.direction.measured - 0.05


def test_paths_are_read_between_their_ends_only():
    _, curves = made([BASE.with_(defence=PLAIN)], lambda run: rising(0.8, 0.4))
    found = envelopes.at_accuracies(curves)
    assert found["accuracy"].min() == 0.2 and found["accuracy"].max() == 0.8
    assert found["lift"].to_numpy() == pytest.approx(found["accuracy"].to_numpy() / 2)


def test_the_step_of_a_grid_may_be_half_a_decade():
    steps = pd.DataFrame({0.003: [0.7], 0.01: [0.8], 0.03: [0.7]},
                         index=pd.MultiIndex.from_tuples([("plain SGD", "tune")]))
    assert tuned.chosen(steps)["problem"].tolist() == [""]
    assert tuned.chosen(steps.drop(columns=0.01))["problem"].tolist() == ["at an end of the grid"]
