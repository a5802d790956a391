"""D1 as first frozen, what replaces it, and matched accuracy."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from test_razmi_dpsgd import line

from lib import papers
from lib.papers.ours import claims as our_claims
from lib.papers.ours import matched

# ---------------------------------------------------------------- D1, and what replaces it

def headline(*, dp_lift=0.07, path_lift=0.02, pairs=6, dp_accuracy=0.5, end_lift=0.8, seed=0):
    """Ten-percent rows: DP-SGD at two noise levels, plain SGD with a recorded path, and its curves.

    With L twins.
    """
    random, lines, points = np.random.RandomState(seed), [], []
    for pair in range(pairs):
        for world in "PL":
            own = 1.0 if world == "P" else 0.0
            common = {"fraction": 0.1, "world": world}
            lines += [
                line(pair, accuracy=dp_accuracy + 0.01 * random.randn(),
                     success=0.1 + own * dp_lift + 0.005 * random.randn(), noise=noise, **common)
                for noise in (2.0, 4.0)
            ]
            end = line(pair, accuracy=0.7, success=0.1 + own * end_lift + 0.005 * random.randn(),
                       clip=False, checkpoints=20, **common)
            lines.append(end)
            for step, accuracy in enumerate((0.2, 0.4, 0.35, 0.6, 0.7), start=1):
                lift = own * path_lift if accuracy < 0.65 else own * end_lift
                points.append(
                    end | {
                        "step": step, "epoch": step /
                        10, "accuracy": accuracy, "floor": 0.1, "success": 0.1 +
                        lift, "lift": lift, "trigger_auc": 0.5 + lift
                    })
    return tuple(pd.DataFrame(found).assign(**{"attack.target": lambda frame: frame[
        "attack.base"].map(dict(our_claims.FIRST_PAIRS))}) for found in (lines, points))


def first(frame, curves):
    """D1 as first frozen: the amended version that D1a keeps."""
    old = our_claims.FROZEN_D1
    one = dataclasses.replace(papers.claim("D1a"), direction=old.direction, measure=old.measure)
    return old.measure({"11_dpsgd": frame, "11_dpsgd/curves": curves}, one)


def d1(**changes):
    return first(*headline(**changes))


def test_d1_holds_and_fails():
    got = d1()
    assert (
        got.direction.outcome == "holds"
        and got.size is None
        and got.direction.measured == pytest.approx(0.05, abs=0.01)
    )
    assert got.direction.n == 6 and got.setup.startswith("own: cifar10-jpeg")
    assert d1(dp_lift=0.02, path_lift=0.07).direction.outcome == "fails"
    # the control
    assert d1(dp_lift=0.02, path_lift=0.07, end_lift=0.3).direction.outcome == "inconclusive"


def test_d1_is_judged_at_the_headline_fraction():
    frame, curves = headline()
    other, other_curves = headline(dp_lift=0.0, path_lift=0.3)
    half = [
        table.assign(**{"attack.fraction": 0.5}, key=table["key"] + "half")
        for table in (other, other_curves)
    ]
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
    frame.loc[weak, ["success", "lift"]] *= 0.01
    got = first(frame, curves)
    beside = {name: one for name, one, _ in got.beside}
    assert (
        beside["every noise level"].outcome == "fails"
        and "noise 2" in beside["every noise level"].decided_by
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
    assert (
        beyond.direction.outcome == "not measured" and beyond.note == "12 of 12 runs below the path"
    )


def test_the_path_is_read_where_an_accuracy_is_first_reached():
    path = pd.DataFrame({
        "step": [3, 1, 2, 5, 4], "accuracy": [0.3, 0.2, 0.4, 0.6, 0.4],
        "lift": [9.0, 0.0, 1.0, 3.0, 9.0]
    })
    accuracy, lift = matched.first_reached(path, "lift")
    # the points at step 3 and 4 came later
    assert list(accuracy) == [0.2, 0.4, 0.6] and list(lift) == [0.0, 1.0, 3.0]
    with pytest.raises(ValueError, match="step 3"):
        matched.first_reached(path.assign(step=[3, 3, 1, 2, 4]), "lift")


def test_the_second_pairs_are_a_derangement_that_shares_nothing_with_the_first():
    for pairs in (our_claims.FIRST_PAIRS, our_claims.SECOND_PAIRS):
        assert (
            sorted(base for base, _ in pairs)
            == sorted(target for _, target in pairs)
            == list(range(10))
        )
        assert all(base != target for base, target in pairs)
    assert not set(our_claims.FIRST_PAIRS) & set(our_claims.SECOND_PAIRS)
    assert (
        our_claims.second_pairs() == our_claims.SECOND_PAIRS
        and our_claims.second_pairs(1) != our_claims.SECOND_PAIRS
    )
    for name in ("D1a", "D1b"):
        one = papers.claim(name)
        assert all(f"{base}-{target}" in one.statement for base, target in our_claims.SECOND_PAIRS)
        assert (
            one.measure is not None
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
