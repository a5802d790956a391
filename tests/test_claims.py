"""The claims: every target once, verdicts on synthetic intervals, measures on frames built to hold and to fail."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from lib import claims
from lib.claims import dpsgd, matched, rows
from lib.claims.published import compare
from lib.claims.registry import Claim, Number, Published, Target, above, either
from lib.claims.verdict import (
    NOT_MEASURED,
    best,
    holm,
    n_to_decide,
    not_testable,
    signs,
    verdict,
    worst,
)

# ---------------------------------------------------------------- the registry

FIGURES = {
    "razmi": "T1 T2 T3 T4 T5 T6 T7 F1a F1b F1c F1d F2a F2b F2c F2d F2e F3a F3b F3c F3d F3e F3f F4 F5a F5b F5c F6 F7",
    "instahide": "T1 T2 T3 T4 T5 T6 F1 F2 F3 F4a F4b F5",
    "turner": "F1.1 F1.2 F1.3 F2.1 F3.1 F3.2 F3.3 F3.4 F3.5 F3.6 F3.7 F3.8 F3.9 F3.10 F3.11 F3.12 F3.13 F3.14 F4.1 F4.2 "
              "F4.3 F4.4 F4.5 F5.1 F5.2 A.1 A.2 A.3.1 A.3.2 A.3.3 text",
    "overview": "F1 F2 F3 F4 F5 F6 F7L F7R Alg1",
    "shaping": "F1 F2 F3 F4a F4b F4c F4d F4e F4f F5 F6a F6b F6c F7 F8 F9 F10 F11 F12 T1 T2 T3 T4",
}
STATED = {"razmi": [f"R{i}" for i in range(1, 16)],
          "instahide": [f"I{i}" for i in range(1, 15)] + ["I11a", "I11b", "I11c"],
          "turner": [f"T{i}" for i in range(1, 17)], "overview": [f"O{i}" for i in range(1, 13)],
          "shaping": [f"G{i}" for i in range(1, 17)], "ours": ["D1a", "D1b"]}


@pytest.mark.parametrize("paper", FIGURES)
def test_every_figure_and_table_is_there_once(paper):
    found = Counter(target.id for target in claims.TARGETS if target.paper == paper)
    assert found == Counter(f"{paper}-{name}" for name in FIGURES[paper].split())


@pytest.mark.parametrize("paper", STATED)
def test_every_claim_is_there_once(paper):
    assert Counter(one.id for one in claims.CLAIMS if one.paper == paper) == Counter(STATED[paper])


def test_claims_are_complete():
    ids = {target.id for target in claims.TARGETS}
    names = {one.id for one in claims.CLAIMS}
    for one in claims.CLAIMS:
        assert set(one.targets) <= ids and set(one.split) <= names, one.id
        assert one.paper == "ours" or one.targets or one.id == "R1", one.id
        assert one.direction or one.size or one.split, one.id
        assert one.positive_control and one.notebook in claims.NOTEBOOKS, one.id
        assert all(math.isfinite(part.threshold) for part in one.direction + one.size), one.id
        if one.measure:
            assert callable(claims.find(one.measure)), one.id


def test_targets_are_complete():
    for target in claims.TARGETS:
        assert target.notebook in claims.NOTEBOOKS and target.title and target.kind in ("figure", "table", "text")
        assert target.status or target.grid or target.data or target.published, target.id
        for number in target.published:  # a rate with its n must be a count over it
            assert number.n is None or number.n > 100 or number.unit != "%" or number.hits is not None or "T1" in target.id, number


def test_published_trials_are_those_that_give_the_fractions():
    table = next(target for target in claims.TARGETS if target.id == "instahide-T2")
    assert [number.hits for number in table.published] == [9, 8, 12, 13, 15, 12, 1, 11, 1, 4]
    assert Number("MaxUp", 5.26, 20).hits is None  # no count of 20 gives it


@pytest.mark.parametrize("make, word", [
    (lambda: Target("nobody-F1", "figure", "x", "10_setup"), "nobody"),
    (lambda: Target("razmi-F9", "photo", "x", "10_setup"), "photo"),
    (lambda: Claim("X", "razmi", "x", "x", "x", "99_none", ()), "99_none"),
    (lambda: above("x", "x", 0, basis="ours"), "reason"),
    (lambda: Claim("X", "razmi", "x", "x", "x", "10_setup", (), (above("a", "x", 0), above("a", "x", 1))), "name"),
    (lambda: claims.claim("R99"), "R99"), (lambda: claims.claim("R1").part("colour"), "colour")])
def test_wrong_entries_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()


# ---------------------------------------------------------------- verdicts

def judge(low, high, threshold=0.0, *, beyond="above", passed=True, n=10):
    return verdict(((low + high) / 2, low, high), threshold, beyond=beyond, control_passed=passed, n=n)


@pytest.mark.parametrize("low, high, beyond, passed, outcome", [
    (0.1, 0.3, "above", True, "holds"), (0.1, 0.3, "above", False, "holds"), (-0.3, -0.1, "above", True, "fails"),
    (-0.3, -0.1, "above", False, "inconclusive"), (-0.3, -0.1, "above", None, "inconclusive"),
    (-0.1, 0.3, "above", True, "inconclusive"), (0.1, 0.3, "below", True, "fails"), (-0.3, -0.1, "below", True, "holds"),
    (0.0, 0.3, "above", True, "inconclusive")])
def test_the_rule(low, high, beyond, passed, outcome):
    assert judge(low, high, beyond=beyond, passed=passed).outcome == outcome


def test_few_instances():
    assert verdict((0.4, math.nan, math.nan), 0, beyond="above", control_passed=True, n=1).outcome == "inconclusive"
    assert verdict((math.nan, math.nan, math.nan), 0, beyond="above", control_passed=True, n=0).outcome == "not measured"
    with pytest.raises(ValueError, match="n="):
        verdict((0, 0, 0), 0, beyond="above", control_passed=True)
    with pytest.raises(ValueError, match="sideways"):
        verdict((0, 0, 0), 0, beyond="sideways", control_passed=True, n=3)


def t_interval(values):
    from scipy.stats import t
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values), np.mean(values) - half, np.mean(values) + half


def test_p_is_that_of_the_one_sided_t_test():
    from scipy.stats import ttest_1samp
    values = np.random.RandomState(0).normal(0.3, 1, 12)
    for beyond, side in (("above", "less"), ("below", "greater")):
        got = verdict(t_interval(values), 0.5, beyond=beyond, control_passed=True, n=12)
        assert got.p == pytest.approx(ttest_1samp(values, 0.5, alternative=side).pvalue)


def test_n_needed_is_the_first_that_decides():
    from scipy.stats import t
    values = np.random.RandomState(1).normal(0.2, 1, 10)
    mean, low, high = t_interval(values)
    assert low < 0 < high
    needed = verdict((mean, low, high), 0, beyond="above", control_passed=True, n=10).n_needed
    spread = np.std(values, ddof=1)
    halves = {m: t.ppf(0.975, m - 1) * spread / math.sqrt(m) for m in (needed - 1, needed)}
    assert halves[needed] < abs(mean) <= halves[needed - 1]


def test_n_needed_has_no_answer_on_the_threshold():
    assert n_to_decide((0, -1, 1), 10, 0) is None
    assert n_to_decide((1, 1, 1), 10, 0) == 2  # no spread: any two


def test_the_logit_scale_reads_the_spread_where_the_interval_was_made():
    from scipy.special import logit
    from scipy.stats import ttest_1samp

    from lib.metrics import mean_interval
    shares = np.array([0.93, 0.99, 0.97, 0.9, 0.95, 0.98])
    got = verdict(mean_interval(shares, scale="logit"), 0.98, beyond="above", control_passed=True, scale="logit")
    on_scale = logit((1000 * shares + 0.5) / 1001)
    assert got.p == pytest.approx(ttest_1samp(on_scale, logit(980.5 / 1001), alternative="less").pvalue, rel=1e-6)
    full = verdict(mean_interval([1.0, 1.0, 0.999], scale="logit"), 0.95, beyond="above", control_passed=True, scale="logit")
    assert full.outcome == "holds" and full.high == 1.0 and full.p > 0.95
    with pytest.raises(ValueError, match="proportion"):
        verdict((1.2, 1.1, 1.3), 0.5, beyond="above", control_passed=True, n=3, scale="logit")


@pytest.mark.parametrize(
    "low, high, passed, outcome",
    [
        (0.1, 0.3, True, "more"),
        (-0.3, -0.1, True, "less"),
        (-0.1, 0.3, True, "inconclusive"),
        (0.0, 0.3, True, "inconclusive"),
        (0.1, 0.3, False, "inconclusive"),
        (-0.3, -0.1, None, "inconclusive"),
    ],
)
def test_a_two_sided_statistic_has_no_wrong_side(low, high, passed, outcome):
    got = judge(low, high, beyond="either", passed=passed)
    assert got.outcome == outcome and got.threshold == 0
    mirrored = judge(-high, -low, beyond="either", passed=passed)
    assert mirrored.p == pytest.approx(got.p) and mirrored.outcome == {
        "more": "less",
        "less": "more",
    }.get(outcome, outcome)


def test_a_two_sided_p_is_that_of_the_t_test():
    from scipy.stats import ttest_1samp
    for shift in (0.6, -0.6, 0.1):
        values = np.random.RandomState(0).normal(shift, 1, 12)
        got = verdict(t_interval(values), 0, beyond="either", control_passed=True, n=12)
        assert got.p == pytest.approx(ttest_1samp(values, 0).pvalue)
        assert (got.outcome == "inconclusive") == (got.p >= 0.05)  # the interval and the test agree
    assert verdict((0.0, 0.0, 0.0), 0, beyond="either", control_passed=True, n=3).p == 1


def test_signs_are_said_after_holm():
    barely = judge(0.005, 0.3, beyond="either")
    assert barely.outcome == "more" and 0.025 < barely.p < 0.05
    assert holm([barely])[0].outcome == "more"
    corrected = holm([barely, judge(-0.1, 0.1, beyond="either")])[0]
    assert (
        corrected.outcome == "inconclusive"
        and corrected.n_needed > 10
        and "more alone" in corrected.reason
    )


def test_two_sided_false_alarms_keep_their_rate():
    """Without a difference a sign is said in about 5% of studies, over three parts together."""
    random, said = np.random.RandomState(0), 0
    for _ in range(400):
        parts = {
            str(i): verdict(
                t_interval(random.normal(0, 1, 10)), 0, beyond="either", control_passed=True, n=10
            )
            for i in range(3)
        }
        said += any(one.outcome in ("more", "less") for one in holm(list(parts.values())))
        assert signs(parts).outcome in ("inconclusive", "more", "less", "depends")
    assert said / 400 < 0.08


def test_signs_of_several_parts():
    more, less, open_ = (
        judge(0.1, 0.3, beyond="either"),
        judge(-0.3, -0.1, beyond="either"),
        judge(-0.1, 0.3, beyond="either"),
    )
    assert signs({"a": more, "b": more}).outcome == "more" and signs({"a": less}).outcome == "less"
    got = signs({"a": more, "b": less, "c": open_})
    assert (
        got.outcome == "depends"
        and "a: more, b: less, c: inconclusive" in got.reason
        and got.p < 0.05
    )
    mixed = signs({"a": more, "b": open_})
    assert mixed.outcome == "inconclusive" and mixed.p > 0.05 and mixed.low == open_.low
    assert signs({"a": more, "b": NOT_MEASURED}).outcome == "inconclusive"
    assert signs({"a": NOT_MEASURED}).outcome == signs({}).outcome == "not measured"
    part = either("a", "x", why="either sign is a finding")
    assert (
        rows.combined(
            (part,), lambda part, _: rows.decide(part, [0.1, 0.2, 0.15], passed=True), "lift"
        ).outcome
        == "more"
    )
    with pytest.raises(ValueError, match="two-sided"):
        Claim("X", "ours", "x", "x", "x", "11_dpsgd", (), (part, above("b", "x", 0)))


def test_an_essential_part_that_cannot_be_tested_blocks_holds_and_not_fails():
    good, bad, missing = (
        judge(0.1, 0.3),
        judge(-0.3, -0.1),
        not_testable("features", essential=True),
    )
    got = worst({"a": good, "b": missing})
    assert (
        got.outcome == "not testable here"
        and "a alone holds" in got.reason
        and "features" in got.reason
    )
    assert worst({"a": bad, "b": missing}).outcome == "fails"
    assert worst({"a": judge(-0.1, 0.3), "b": missing}).outcome == "inconclusive"


def with_p(p, outcome="fails"):
    return dataclasses.replace(judge(-0.3, -0.1), p=p, outcome=outcome)


def test_holm_by_hand():
    # sorted .001 .012 .02 .9 -> 4 x .001 = .004, 3 x .012 = .036, 2 x .02 = .04, max(.04, .9) = .9
    given = [with_p(0.02), with_p(0.001), with_p(0.9, "holds"), with_p(0.012), NOT_MEASURED]
    got = holm(given)
    assert [one.p_holm for one in got[:4]] == pytest.approx([0.04, 0.004, 0.9, 0.036])
    assert [one.outcome for one in got] == ["fails", "fails", "holds", "fails", "not measured"]
    # .03 among three: 3 x .024 = .072, then never smaller
    got = holm([with_p(0.024), with_p(0.024), with_p(0.03)])
    assert [one.p_holm for one in got] == pytest.approx([0.072, 0.072, 0.072])
    assert {one.outcome for one in got} == {"inconclusive"} and all(one.n_needed >= 2 for one in got)
    assert holm([with_p(0.024)])[0].outcome == "fails"


def test_holms_n_is_larger_than_the_plain_one():
    barely = judge(-0.29, -0.01)
    assert barely.outcome == "fails"
    corrected = holm([barely] + [judge(0.1, 0.3)] * 9)[0]
    assert corrected.outcome == "inconclusive" and corrected.n_needed > 10


def test_worst_needs_every_part():
    good, bad, open_, far = judge(0.1, 0.3), judge(-0.3, -0.1), judge(-0.1, 0.3), judge(-0.29, 0.3)
    assert worst({"a": good, "b": good}).outcome == "holds"
    assert worst({"a": good, "b": bad}).outcome == "fails" and "b" in worst({"a": good, "b": bad}).reason
    got = worst({"a": good, "b": open_, "c": far})
    assert got.outcome == "inconclusive" and got.low == far.low  # the one that needs most
    assert worst({"a": good, "b": NOT_MEASURED}).outcome == "inconclusive"
    assert worst({"a": NOT_MEASURED, "b": NOT_MEASURED}).outcome == "not measured"
    assert worst({"a": good, "b": not_testable("x")}).outcome == "holds"
    assert worst({"b": not_testable("x")}).outcome == "not testable here"
    assert worst({"a": judge(-0.2, -0.001)} | {str(i): good for i in range(9)}).outcome == "inconclusive"  # Holm over parts


def test_best_needs_one_part_and_pays_for_the_choice():
    good, bad, barely = judge(0.1, 0.3), judge(-0.3, -0.1), judge(0.001, 0.2)
    assert best({"a": bad, "b": good}).outcome == "holds"
    assert best({"a": bad, "b": bad}).outcome == "fails"
    assert best({"a": bad, "b": judge(-0.1, 0.3)}).outcome == "inconclusive"
    assert best({"a": barely}).outcome == "holds" and best({"a": barely, "b": bad, "c": bad}).outcome == "inconclusive"
    assert best({"a": bad, "b": NOT_MEASURED}).outcome == "inconclusive"
    assert best({}).outcome == "not measured"


def test_a_published_number_against_our_prediction_interval():
    values = [0.90, 0.92, 0.94, 0.96, 0.93]
    inside, outside = compare(Number("a", 95.0, 20), values), compare(Number("a", 40.0, 20), values)
    assert inside.inside and not outside.inside
    assert inside.low < 0.95 < inside.high and compare(Number("a", 95.0), values).low != 0
    assert compare(Number("a", 95.0), [0.9]).inside is None


# ---------------------------------------------------------------- frames of 10_setup and 11_dpsgd

NOISES, NORMS = (0.0, 1.0, 2.0, 4.0, 5.6), (0.1, 0.5, 1.2, 2.0, 8.0)
SERIES = {"rmsprop": ("rmsprop", 0.001), "fast": ("sgd", 0.1), "slow": ("sgd", 0.01)}


def line(pair, *, accuracy, success, floor=0.1, optimizer="sgd", lr=0.1, noise=0.0, norm=1.2, clip=True, fraction=0.5,
         world="P", dataset="cifar10-jpeg", features="patches", model="head", checkpoints=0, **more):
    values = {"status": "ok", "dataset": dataset, "train_size": None, "public": 10000, "features": features, "model": model,
              "precision": "float32", "split": "test", "attack.name": "badnets", "attack.base": pair, "attack.target": (pair + 1) % 10,
              "attack.fraction": fraction, "attack.stamp": world in "TP", "attack.relabel": world in "LP", "defence.name": "dpsgd",
              "defence.noise_multiplier": noise, "defence.epsilon": None, "defence.max_grad_norm": norm, "defence.clip": clip,
              "training.optimizer": optimizer, "training.lr": lr, "training.momentum": 0.9, "training.epochs": 10.0,
              "training.checkpoints": checkpoints, "attack_seed": pair, "init_seed": 0, "noise_seed": 0, "world": world,
              "accuracy": accuracy, "floor": floor, "success": success, "lift": success - floor, "trigger_auc": 0.5 + success / 2,
              "noise_multiplier": noise} | more
    return values | {"key": repr(sorted(values.items(), key=str))}


def figure_1(*, pairs=8, seed=0, series=None, success_at=None, accuracy_at_norm=None, success_at_norm=None, undefended=0.97, **more):
    """Rows of figure 1: a noise sweep at C 1.2 and a clipping sweep at noise 5.6 for each series."""
    random = np.random.RandomState(seed)
    names = series or SERIES
    success_at = success_at or (lambda name, noise: {"rmsprop": 0.9, "fast": 0.7, "slow": 0.6}[name] - 0.09 * noise)
    accuracy_at_norm = accuracy_at_norm or (lambda name, norm: 0.6 - 0.05 * abs(math.log2(norm)))
    success_at_norm = success_at_norm or (lambda name, norm: 0.7 if norm < 0.2 else 0.4)
    lines = []
    for pair in range(pairs):
        def wobble():
            return 0.005 * random.randn()
        lines.append(line(pair, accuracy=0.7 + wobble(), success=undefended + wobble(), clip=False, **more))
        lines.append(line(pair, accuracy=0.71 + wobble(), success=0.1, clip=False, world="C", **more))
        for name, (optimizer, lr) in names.items():
            lines += [line(pair, accuracy=0.7 - 0.05 * noise + wobble(), success=success_at(name, noise) + wobble(),
                           optimizer=optimizer, lr=lr, noise=noise, **more) for noise in NOISES]
            lines += [line(pair, accuracy=accuracy_at_norm(name, norm) + wobble(), success=success_at_norm(name, norm) + wobble(),
                           optimizer=optimizer, lr=lr, noise=5.6, norm=norm, **more) for norm in NORMS if norm != 1.2]
    return pd.DataFrame(lines)


def result(name, frame, **frames):
    one = claims.claim(name)
    return claims.find(one.measure)({one.notebook: frame} | frames, one)


def outcomes(name, frame):
    got = result(name, frame)
    return got.direction.outcome, got.size and got.size.outcome


FLAT = {"success_at": lambda name, noise: 0.8 + 0.02 * noise}
SWAPPED = {"rmsprop": ("sgd", 0.1), "fast": ("rmsprop", 0.001), "slow": ("sgd", 0.01)}


def test_r2_holds_and_fails():
    assert outcomes("R2", figure_1()) == ("holds", "holds")
    assert outcomes("R2", figure_1(**FLAT)) == ("fails", "fails")
    one_optimiser = figure_1(success_at=lambda name, noise: 0.5 if name == "slow" else 0.9 - 0.09 * noise)
    assert outcomes("R2", one_optimiser)[1] == "fails"  # the worst optimiser decides
    assert "SGD, small rate" in result("R2", one_optimiser).size.reason
    still = figure_1().assign(accuracy=0.7)  # accuracy is part of the claim
    assert "accuracy" in result("R2", still).size.reason and outcomes("R2", still)[1] == "fails"


def test_r2_needs_its_control_its_grid_and_all_three_series():
    assert outcomes("R2", figure_1(undefended=0.2, **FLAT)) == ("inconclusive", "inconclusive")
    few = figure_1()
    few = few[few["defence.noise_multiplier"].isin((0.0, 5.6))]
    assert outcomes("R2", few) == ("not measured", "not measured")
    two = {name: SERIES[name] for name in ("rmsprop", "fast")}
    got = result("R2", figure_1(series=two))
    assert got.direction.outcome == "inconclusive" and "SGD, small rate" in got.direction.reason


def test_r3_holds_and_swapping_the_optimisers_turns_it_round():
    assert outcomes("R3", figure_1()) == ("holds", None)
    got = result("R3", figure_1(series=SWAPPED))
    assert got.direction.outcome == "fails" and "SGD, large rate" in got.direction.reason
    assert got.direction.measured > 0
    assert outcomes("R3", figure_1(series=SWAPPED, undefended=0.2))[0] == "inconclusive"


def test_r3_matches_accuracies():
    accuracy = np.array([0.7, 0.5, 0.3])
    # the same metric as a function of accuracy: no difference, however the noise levels lie
    assert dpsgd.at_equal_accuracy(accuracy, 2 * accuracy, accuracy - 0.1, 2 * (accuracy - 0.1)) == pytest.approx(0)
    assert dpsgd.at_equal_accuracy(accuracy, 2 * accuracy + 0.1, accuracy, 2 * accuracy) == pytest.approx(0.1)
    apart = dpsgd.at_equal_accuracy(accuracy, accuracy, accuracy - 0.5, accuracy)
    assert math.isnan(apart)
    near = dpsgd.at_equal_accuracy(accuracy, accuracy, accuracy - 0.41, accuracy - 0.41)  # .29 against .30: within 2 points
    assert near == pytest.approx(0.01, abs=1e-9)


def test_r4_holds_and_fails():
    assert outcomes("R4", figure_1()) == ("holds", "holds")
    monotone = figure_1(success_at=lambda *_: 0.5, accuracy_at_norm=lambda name, norm: 0.42 - 0.06 * math.log2(norm / 1.2))
    assert outcomes("R4", monotone) == ("fails", "holds")
    flat = figure_1(accuracy_at_norm=lambda name, norm: 0.42)
    assert outcomes("R4", flat)[1] == "fails" and outcomes("R4", flat)[0] != "holds"


def test_r4_is_not_fooled_by_noise():
    """The range of five noisy equal numbers is positive in every run; chosen on the others it is not."""
    curves = 0.5 + 0.01 * np.random.RandomState(3).randn(400, 8)
    assert (curves.max(axis=1) - curves.min(axis=1)).mean() > 0.02
    assert np.mean(dpsgd.left_out(curves[:60], dpsgd.spread)) < 0.005
    assert np.mean(dpsgd.left_out(curves[:60], dpsgd.turn)) < 0.002
    valley = np.array([[0.6, 0.4, 0.5]] * 3)
    assert dpsgd.left_out(valley, dpsgd.turn) == pytest.approx([0.1] * 3)
    assert dpsgd.left_out(valley, dpsgd.spread) == pytest.approx([0.2] * 3)
    assert dpsgd.left_out(valley[:1], dpsgd.turn) == []


def test_r5_holds_and_fails():
    assert outcomes("R5", figure_1()) == ("holds", None)
    assert outcomes("R5", figure_1(success_at_norm=lambda name, norm: 0.3 if norm < 0.2 else 0.6))[0] == "fails"
    only_fast = figure_1(success_at_norm=lambda name, norm: 0.7 if norm < 0.2 and name == "fast" else 0.4)
    assert outcomes("R5", only_fast)[0] != "holds"  # slow SGD decides
    noiseless = [line(pair, accuracy=0.6, success=0.9 - 0.3 * (norm < 1), lr=0.01, norm=norm)  # a longer sweep, without noise
                 for pair in range(8) for norm in (*NORMS, 4.0, 16.0)]
    assert outcomes("R5", pd.concat([figure_1(), pd.DataFrame(noiseless)], ignore_index=True))[0] == "holds"
    no_two = figure_1()
    no_two = no_two[(no_two["defence.max_grad_norm"] < 1) | (no_two["defence.max_grad_norm"] > 4) | (no_two["defence.noise_multiplier"] < 5)]
    assert outcomes("R5", no_two)[0] == "not measured"


def test_lift_stands_beside_attack_success():
    """Attack success that is natural confusion only: lift tells it from a backdoor."""
    frame = figure_1()
    sweep = frame["defence.clip"]
    frame.loc[sweep, "floor"] = frame.loc[sweep, "success"]
    frame.loc[sweep, "lift"] = 0.0
    got = result("R5", frame)
    name, direction, size = got.beside[0]
    assert got.direction.outcome == "holds" and name == "lift" and direction.outcome != "holds" and size is None


def test_profiles_with_other_numbers_are_read_by_role():
    small = {"rmsprop": ("rmsprop", 0.003), "fast": ("sgd", 1.0), "slow": ("sgd", 0.05)}
    frame = figure_1(series=small, dataset="strokes", features="none", model="cnn", train_size=4000, public=0)
    assert outcomes("R2", frame) == ("holds", "holds") and outcomes("R5", frame)[0] == "holds"
    assert result("R2", frame).setup == "effect only: data strokes for cifar10, features none for imagenet-resnet50, " \
        "model cnn for head, first 4000 training images"
    extra = pd.concat([frame, figure_1(fraction=0.1, **FLAT)], ignore_index=True)  # other rows of the notebook
    assert outcomes("R2", extra)[1] == "holds"


def test_seeds_of_a_pair_are_averaged_not_counted():
    frame = figure_1(pairs=4)
    twice = pd.concat([frame, frame.assign(attack_seed=99, key=frame["key"] + "b")], ignore_index=True)
    assert result("R3", twice).direction.n == result("R3", frame).direction.n == 4
    one_pair = pd.concat([frame[frame["attack.base"] == 0].assign(attack_seed=seed) for seed in range(5)], ignore_index=True)
    assert result("R3", one_pair).direction.n == 5


def test_failed_and_missing_rows_do_not_count():
    frame = figure_1()
    assert outcomes("R2", frame.assign(status="not measured", accuracy=np.nan, success=np.nan, lift=np.nan)) == ("not measured",) * 2
    assert outcomes("R2", frame.assign(status="failed")) == ("not measured",) * 2
    tuned = frame.assign(split="tune")
    assert outcomes("R3", tuned)[0] == "not measured"


# ---------------------------------------------------------------- R1 and the set-up

def test_r1_under_a_substitute_and_as_published():
    got = result("R1", figure_1())
    assert got.direction.outcome == got.size.outcome == "holds" and got.setup.startswith("substitute: data cifar10-jpeg")
    published = {"dataset": "cifar10", "features": "imagenet-resnet50", "model": "head", "public": 0}
    exact = result("R1", figure_1(**published))
    assert exact.setup == "as published" and exact.size.outcome == "fails"  # accuracy .70 against .90
    assert "accuracy-cifar" in exact.size.reason
    assert outcomes("R1", figure_1(undefended=0.6)) == ("holds", "fails")
    assert outcomes("R1", figure_1(undefended=0.1))[0] != "holds"


def test_r1_accuracy_distance_is_paired_with_the_clean_twin():
    frame = figure_1()
    frame.loc[frame["world"] == "C", "accuracy"] += 0.1
    got = result("R1", frame)
    assert got.size.outcome == "fails" and "accuracy-distance" in got.size.reason
    assert result("R1", frame[frame["world"] == "P"]).size.outcome == "inconclusive"  # no twin
    frame.loc[frame["world"] != "C", "accuracy"] = 0.3  # a model that learnt nothing proves nothing
    assert result("R1", frame).size.outcome == "inconclusive"


def test_setup_labels():
    published = Published("x", datasets=("cifar10",), features=("imagenet-resnet50",), models=("head",))
    base = {"dataset": "cifar10", "features": "imagenet-resnet50", "model": "head", "train_size": None, "public": 0}
    assert rows.setup_label(base, published) == "as published"
    assert rows.setup_label(base | {"train_size": 50000}, published) == "as published"
    assert rows.setup_label(base | {"public": 9}, published) == "substitute: 9 images kept for the public part"
    assert rows.setup_label(base | {"train_size": 500.0}, published) == "substitute: first 500 training images"
    assert rows.setup_label(base | {"features": "patches"}, published) == "substitute: features patches for imagenet-resnet50"
    assert rows.setup_label(base | {"dataset": "strokes-colour"}, published).startswith("effect only: data strokes-colour")


# ---------------------------------------------------------------- D1, and what replaces it

def headline(*, dp_lift=0.07, path_lift=0.02, pairs=6, dp_accuracy=0.5, end_lift=0.8, seed=0):
    """Ten-percent rows: DP-SGD at two noise levels, plain SGD with a recorded path, and its curves; with L twins."""
    random, lines, points = np.random.RandomState(seed), [], []
    for pair in range(pairs):
        for world in "PL":
            own = 1.0 if world == "P" else 0.0
            common = {"fraction": 0.1, "world": world}
            lines += [line(pair, accuracy=dp_accuracy + 0.01 * random.randn(), success=0.1 + own * dp_lift + 0.005 * random.randn(),
                           noise=noise, **common) for noise in (2.0, 4.0)]
            end = line(pair, accuracy=0.7, success=0.1 + own * end_lift + 0.005 * random.randn(), clip=False, checkpoints=20, **common)
            lines.append(end)
            for step, accuracy in enumerate((0.2, 0.4, 0.35, 0.6, 0.7), start=1):
                lift = own * path_lift if accuracy < 0.65 else own * end_lift
                points.append(end | {"step": step, "epoch": step / 10, "accuracy": accuracy, "floor": 0.1, "success": 0.1 + lift,
                                     "lift": lift, "trigger_auc": 0.5 + lift})
    return pd.DataFrame(lines), pd.DataFrame(points)


def first(frame, curves):
    """D1 as first frozen: the amended version that D1a keeps."""
    old = matched.FROZEN_D1
    one = dataclasses.replace(claims.claim("D1a"), direction=old.direction, measure=old.measure)
    return claims.find(old.measure)({"11_dpsgd": frame, "11_dpsgd/curves": curves}, one)


def d1(**changes):
    return first(*headline(**changes))


def test_d1_holds_and_fails():
    got = d1()
    assert got.direction.outcome == "holds" and got.size is None and got.direction.measured == pytest.approx(0.05, abs=0.01)
    assert got.direction.n == 6 and got.setup.startswith("own: cifar10-jpeg")
    assert d1(dp_lift=0.02, path_lift=0.07).direction.outcome == "fails"
    assert d1(dp_lift=0.02, path_lift=0.07, end_lift=0.3).direction.outcome == "inconclusive"  # the control


def test_d1_is_judged_at_the_headline_fraction():
    frame, curves = headline()
    other, other_curves = headline(dp_lift=0.0, path_lift=0.3)
    half = [table.assign(**{"attack.fraction": 0.5}, key=table["key"] + "half") for table in (other, other_curves)]
    got = first(pd.concat([frame, half[0], half[0].assign(noise_seed=1)], ignore_index=True),
                pd.concat([curves, half[1]], ignore_index=True))
    assert got.direction.outcome == "holds" and "10% of the base class" in got.setup


def test_d1_shows_the_effect_and_each_noise_beside():
    beside = {name: direction for name, direction, _ in d1().beside}
    assert set(beside) == {"every noise level"} | {
        f"{name}, noise {level}"
        for name in ("lift", "backdoor effect", "trigger AUC")
        for level in (2, 4)
    }
    assert beside["backdoor effect, noise 2"].outcome == "holds"


def test_d1_shows_opposite_signs_beside_its_mean():
    frame, curves = headline(dp_lift=0.2)
    weak = frame["defence.noise_multiplier"].eq(2.0) & frame["world"].eq("P")
    frame.loc[weak, ["success", "lift"]] = frame.loc[weak, ["success", "lift"]] * 0 + 0.0
    got = first(frame, curves)
    beside = {name: one for name, one, _ in got.beside}
    assert (
        beside["every noise level"].outcome == "fails"
        and "noise 2" in beside["every noise level"].reason
    )
    assert beside["lift, noise 4"].outcome == "holds"


def test_matched_never_extrapolates():
    frame, curves = headline()
    dp = frame[(frame["world"] == "P") & frame["defence.clip"]]
    curves = curves[curves["world"] == "P"]
    dp = dp.assign(accuracy=[0.1, 0.9] + [0.5] * (len(dp) - 2))
    dp.loc[dp.index[2], "init_seed"] = 5
    got = matched.matched(dp, curves, metric="lift")
    assert list(got["missing"][:4]) == ["below the path", "above the path", "no path", ""]
    assert got["difference"].isna().sum() == 3 and len(got) == len(dp)
    frame, curves = headline(dp_accuracy=0.1)
    beyond = first(frame, curves)
    assert beyond.direction.outcome == "not measured" and beyond.note == "12 of 12 runs below the path"


def test_the_path_is_read_where_an_accuracy_is_first_reached():
    path = pd.DataFrame({"step": [3, 1, 2, 5, 4], "accuracy": [0.3, 0.2, 0.4, 0.6, 0.4], "lift": [9.0, 0.0, 1.0, 3.0, 9.0]})
    accuracy, lift = matched.first_reached(path, "lift")
    assert list(accuracy) == [0.2, 0.4, 0.6] and list(lift) == [0.0, 1.0, 3.0]  # the points at step 3 and 4 came later
    with pytest.raises(ValueError, match="step 3"):
        matched.first_reached(path.assign(step=[3, 3, 1, 2, 4]), "lift")


def test_the_second_pairs_are_a_derangement_that_shares_nothing_with_the_first():
    for pairs in (matched.FIRST_PAIRS, matched.SECOND_PAIRS):
        assert (
            sorted(base for base, _ in pairs)
            == sorted(target for _, target in pairs)
            == list(range(10))
        )
        assert all(base != target for base, target in pairs)
    assert not set(matched.FIRST_PAIRS) & set(matched.SECOND_PAIRS)
    assert (
        matched.second_pairs() == matched.SECOND_PAIRS
        and matched.second_pairs(1) != matched.SECOND_PAIRS
    )
    for name in ("D1a", "D1b"):
        one = claims.claim(name)
        assert all(f"{base}-{target}" in one.statement for base, target in matched.SECOND_PAIRS)
        assert (
            one.measure is None
            and {part.beyond for part in one.direction} == {"either"}
            and not one.size
        )


def test_against_reads_each_path_by_itself():
    frame, curves = headline()
    dp, path = (
        frame[(frame["world"] == "P") & frame["defence.clip"]],
        curves[curves["world"] == "P"],
    )
    low = path[path["accuracy"] < 0.45]
    got = matched.against(dp, {"plain": path, "never as accurate": low}, metric="lift").set_index(
        ["noise", "minus"]
    )
    alone = matched.matched(dp, path, metric="lift")
    assert got.loc[(2.0, "plain"), "difference"] == pytest.approx(
        alone.loc[alone["noise_multiplier"] == 2, "difference"].mean()
    )
    assert (
        got.loc[(2.0, "plain"), "pairs"] == "6 of 6"
        and got.loc[(4.0, "never as accurate"), "pairs"] == "0 of 6"
    )
    assert math.isnan(got.loc[(2.0, "never as accurate"), "difference"])
    ends = frame[frame["world"].eq("P") & ~frame["defence.clip"]]
    shifted = ends.assign(lift=ends["lift"] + 0.25)
    assert matched.paired(shifted, ends, "lift").mean == pytest.approx(0.25)


# ---------------------------------------------------------------- amended claims, and looks

AMENDED = {f"R{i}" for i in range(6, 16)} | {"D1a"}


def test_amended_claims_and_those_looked_at_say_so():
    assert {one.id for one in claims.CLAIMS if one.amended} == AMENDED
    assert {one.id for one in claims.CLAIMS if one.looked} == {f"O{i}" for i in range(1, 7)}
    for one in claims.CLAIMS:
        if one.amended:
            old = one.amended
            assert (
                old.direction
                and old.on
                and old.change
                and old.known
                and callable(claims.find(old.measure))
            )
            assert (old.direction, old.size) != (one.direction, one.size) or one.id == "R15"
    table = claims.table(claims.evaluate({})).set_index("id")
    assert (
        table.loc["R12", "marks"].startswith("amended, 2026-11-21")
        and table.loc["R12", "as first frozen"] == "not measured"
    )
    assert table.loc["D1a", "marks"].startswith("replaces D1") and table.loc[
        "O6", "marks"
    ].startswith("optional stopping")
    assert table.loc["R2", "marks"] == table.loc["R2", "as first frozen"] == ""
    targets = claims.targets_table({}).set_index("id")
    assert (
        targets.loc["razmi-F4", "marks"] == "R12 amended"
        and targets.loc["overview-F6", "marks"] == "O6 optional stopping"
    )
    assert "as first frozen: not measured" in targets.loc["R12", "marks"]


# ---------------------------------------------------------------- all claims together

def test_nothing_is_measured_without_rows():
    results = claims.evaluate({})
    assert len(results) == len(claims.CLAIMS)
    for one in results:
        assert {v.outcome for v in (one.direction, one.size) if v is not None} == {"not measured"}, one.claim.id
    table = claims.targets_table({})
    assert len(table) == len(claims.TARGETS) + len(claims.CLAIMS) and table["id"].is_unique
    assert not table["measured by"].str.contains("rows").any()


def test_holm_runs_over_the_paper():
    frames = {"11_dpsgd": figure_1(), "10_setup": figure_1()}
    corrected = [one.direction.p_holm for one in claims.evaluate(frames) if one.claim.id in ("R2", "R3", "R4", "R5")]
    assert not any(math.isnan(p) for p in corrected)
    # one barely failing claim among several: alone it fails, in the family it does not
    frame = figure_1(success_at_norm=lambda name, norm: 0.4)
    slow = (frame["training.lr"] == 0.01) & (frame["defence.noise_multiplier"] == 5.6)
    spread = np.random.RandomState(0).randn(8)
    spread = 0.03 * (spread - spread.mean()) / spread.std(ddof=1)  # t = -2.6 on 7 degrees of freedom: p = .018
    frame.loc[slow & (frame["defence.max_grad_norm"] == 2.0), "success"] = 0.4
    frame.loc[slow & (frame["defence.max_grad_norm"] == 0.1), "success"] = 0.4 - 2.6 * 0.03 / math.sqrt(8) + spread
    assert result("R5", frame).direction.outcome == "fails"
    got = next(one for one in claims.evaluate({"11_dpsgd": frame}) if one.claim.id == "R5").direction
    assert got.outcome == "inconclusive" and "Holm" in got.reason and got.p < 0.025 < 0.05 <= got.p_holm


def test_tables():
    published, profile = claims.evaluate({"11_dpsgd": figure_1()}), claims.evaluate({"11_dpsgd": figure_1(**FLAT)})
    table = claims.table(published, profile).set_index("id")
    assert list(claims.table(published).columns) == [
        "id",
        "paper",
        "claim",
        "published",
        "direction",
        "size",
        "measured",
        "interval",
        "n",
        "setup",
        "reason",
        "as first frozen",
        "beside",
        "marks",
        "notebook",
        "figure",
        "figures",
    ]
    assert table.loc["R2", "direction"] == "holds" and table.loc["R2", "direction here"] == "fails"
    assert table.loc["R3", "size"] == "–" and table.loc["R3", "measured"].endswith("%") and table.loc["R2", "n"] == 8
    assert set(table["direction"]) <= {*claims.OUTCOMES, "–"}
    assert set(table["size here"]) <= {*claims.OUTCOMES, "–"}


def test_targets_table_counts_a_figures_own_rows():
    table = claims.targets_table({"11_dpsgd": figure_1(pairs=3)}).set_index("id")
    assert table.loc["razmi-F1a", "measured by"] == f"{3 * 3 * len(NOISES)} rows"
    assert table.loc["razmi-F1c", "measured by"] == f"{3 * 3 * len(NORMS)} rows"
    assert table.loc["razmi-F2a", "measured by"] == "not measured" and table.loc["razmi-T1", "measured by"] == "glossary"
    assert "R2 holds" in table.loc["razmi-F1a", "verdict"] and table.loc["R3", "setup"].startswith("substitute")
