"""O1 to O12 where frames hold more than the figures' rows, or less: what must not decide, and what
an exact verdict is made of.
"""

import math

import pandas as pd
import pytest
from claim_frames import beside, outcomes, result
from test_ozyikan_smoothing import (
    FACTS,
    PARTITION,
    SMOOTHING,
    dpa,
    falls,
    private,
    rab,
    rises,
    row,
    table,
    twins,
)

from lib import papers, verdicts
from lib.papers.ozyikan import certified, partitions

NUMBERS = [f"O{number}" for number in range(1, 13)]


def frame_of(name):
    """Rows on which every claim has a verdict."""
    if papers.claim(name).notebook == "40_smoothing":
        return table(rab(of=falls), rab(of=falls, models=100), private(-0.05))
    return table(dpa(of=lambda k, share: {"accuracy": 0.6 - k / 5000}), rab(pair=False, models=100),
                 twins(PARTITION, [0] * 4, 50))


def unmeasured(name):
    return tuple("not measured" if parts else None
                 for parts in (papers.claim(name).direction, papers.claim(name).size))


# ---------------------------------------------------------------- wiring

def test_every_claim_and_figure_names_a_function():
    assert all(callable(papers.claim(name).measure) for name in NUMBERS)
    figures = [
        target for target in papers.targets() if target.paper == "ozyikan" and not target.status
    ]
    assert len(figures) == 6 and all(callable(target.select) for target in figures)


def test_the_targets_table_counts_the_rows_of_each_figure():
    frames = {
        "40_smoothing": table(rab(of=falls), rab(of=falls, models=100), private(-0.05)),
        "41_partition": table(dpa(), rab(pair=False, models=100))
    }
    lines = verdicts.targets_table(frames).set_index("id")["measured by"]
    assert [lines[f"ozyikan-{name}"] for name in ("F3", "F4", "F5", "F6", "F7L", "F7R")] == [
        "36 rows", "36 rows", "36 rows", "48 rows", "36 rows", "72 rows"
    ]


# ---------------------------------------------------------------- frames that hold less

ARITHMETIC = ("O9", "O10", "O11", "O12")


@pytest.mark.parametrize("name", NUMBERS)
def test_nothing_is_measured_without_rows(name):
    frame = frame_of(name)
    holds = "arithmetic" if name in ARITHMETIC else "holds"
    assert outcomes(name, frame) == (holds, "holds" if name == "O4" else None)
    for empty in (pd.DataFrame(), frame.iloc[:0], frame.assign(status="not measured"),
                  frame.assign(status="failed"), frame.assign(split="tune")):
        assert outcomes(name, empty) == unmeasured(name)
    assert papers.claim(name).measure({}, papers.claim(name)).rows == 0
    assert outcomes(name, frame.assign(**{"defence.name": "dpsgd"})) == unmeasured(name)


@pytest.mark.parametrize("name", NUMBERS)
def test_frames_of_before_the_facts(name):
    frame = frame_of(name).drop(columns=[f"facts.{fact}" for fact in FACTS])
    found = result(
        name, frame.drop(columns=["attack.images", "defence.space", "defence.twin"],
                         errors="ignore"))
    accuracies = {"O7": "inconclusive", "O8": "holds"}  # what needs no fact is measured
    assert found.direction.outcome == accuracies.get(name, "not measured")


def test_rows_that_were_not_measured_are_left_out():
    frame = frame_of("O1")
    frame.loc[frame["attack_seed"] == 3,
              ["status", "accuracy", "facts.certified_any"]] = ["not measured", math.nan, math.nan]
    found = result("O1", frame).direction
    assert (found.outcome, found.n) == ("holds", 3)


@pytest.mark.parametrize("name", ["O1", "O2", "O3", "O4", "O5", "O6", "O7", "O8"])
def test_neither_verdict_stands_without_the_clean_twins(name):
    frame = frame_of(name)
    assert outcomes(name, frame[frame["world"] == "P"])[0] == "inconclusive"
    failing = table(rab(of=rises), rab(of=rises, models=100), private(0.05),
                    dpa(of=lambda k, share: {"accuracy": 0.3 + k / 5000}),
                    rab(pair=False, models=100, of=lambda *_: {"accuracy": 0.2}))
    assert outcomes(name, failing[failing["world"] == "P"])[0] == "inconclusive"


# ---------------------------------------------------------------- rows that must not decide

def test_a_number_of_poisoned_images_is_no_share():
    few = [
        row(SMOOTHING, number, share=share, **{"attack.images": 2}, noise=noise, models=5000,
            **rises(noise, share))
        for share in (0.02, 0.1)
        for noise in (0.5, 2.0)
        for number in range(4)
    ]
    frame = table(rab(of=falls), few)
    assert outcomes("O1", frame) == ("holds", None) and "1000 models" in result("O1", frame).note
    tested = table(dpa(), twins(PARTITION, [0] * 4, 50)).assign(**{"attack.fraction": 0.05})
    counted = tested["defence.twin"].eq(True)
    tested["attack.images"] = tested["attack.images"].astype(float).mask(counted, 4.0)
    assert tested.loc[counted, "facts.certified_count"].gt(0).all() and outcomes(
        "O10", tested) == ("arithmetic", None)


def test_other_norms_and_noise_on_pixels_are_other_attacks():
    weak = [one | {"attack.norm": 0.1} for one in rab(of=rises, shares=(0.02,))]
    pixels = rab(of=rises, space="pixels", models=5000)
    assert outcomes("O1", table(rab(of=falls), weak, pixels)) == ("holds", None)
    assert result("O1", table(rab(of=falls), weak, pixels)).rows == 36


def test_clean_rows_certify_everything_and_do_not_count():
    clean = [
        one | {"attack.fraction": 0.1, "attack.stamp": False, "attack.relabel": False}
        for one in dpa(shares=(), certified_count=4000, budget=0.0)
    ]
    assert {one["world"]
            for one in clean} == {"C"}
    assert outcomes("O10", table(dpa(), clean)) == ("arithmetic", None)


def test_one_instance_does_not_decide_where_another_set_up_has_several():
    larger = [
        one | {"features": "patches", "train_size": None, "public": 0}
        for one in dpa(pairs=1, of=lambda k, share: {"accuracy": 0.4 + k / 5000})
    ]
    frame = table(larger, dpa(of=lambda k, share: {"accuracy": 0.6 - k / 5000}))
    assert outcomes("O7", frame) == ("holds", None) and result("O7", frame).direction.n == 4
    assert [line[0].outcome for line in beside("O7", frame).values()] == ["inconclusive"]


def test_the_noise_that_figure_5_prints_stands_beside():
    guessing = rab(models=100, noises=(5.0,), of=lambda noise, share: {"accuracy": 0.5}, clean=0.5)
    frame = table(rab(of=falls), rab(of=falls, models=100), guessing)
    assert outcomes("O5", frame) == ("holds", None) and "noise 0.5, 1, 2" in result("O5",
                                                                                    frame).note
    assert beside("O5", frame)["noise 5"][0].outcome == "inconclusive"
    # nothing else says which noise counts
    assert outcomes("O5", table(rab(of=falls, models=100), guessing)) == ("inconclusive", None)


# ---------------------------------------------------------------- values

def test_classes_of_a_restricted_data_set_name_the_attack():
    found = certified.prepared(
        table(rab(pairs=2, shares=(0.1, ), noises=(0.5, )), dpa(pairs=1, ks=(50, ),
                                                                shares=(0.1, ))))
    assert found["dataset"].unique().tolist() == ["cifar10-jpeg, two classes", "cifar10-jpeg"]
    assert found[["attack.base",
                  "attack.target"]].drop_duplicates().to_numpy().tolist() == [["2", "0"],
                                                                              ["5", "1"],
                                                                              ["any", "0"]]
    assert (found["accuracy"] - found[certified.MARGIN]).round(6).unique().tolist() == [0.5, 0.1]


def test_a_change_is_averaged_over_the_shares_that_have_both_ends():
    lines = [
        row(SMOOTHING, number, share=share, noise=noise, wobble=0,
            models_accuracy_median=0.9 - 0.1 * noise + share)
        for share in (0.02, 0.1)
        for noise in (0.5, 2.0)
        for number in range(2)
        if (share, noise) != (0.1, 2.0)
    ]
    found = certified.prepared(table(lines))
    assert certified.change(found, certified.NOISE, certified.MEDIAN,
                            (0.5, 2.0)).tolist() == pytest.approx([-0.15, -0.15])
    assert certified.change(found, certified.NOISE, certified.MEDIAN, (0.5, 7.0)).empty


def test_a_constant_has_no_correlation():
    frame = certified.prepared(table(rab(of=lambda noise, share: {"printed": 0.5}, wobble=0)))
    assert len(certified.correlations(frame[frame["world"] == "P"])) == 4
    assert all(math.isnan(one) for one in certified.correlations(frame[frame["world"] == "P"]))
    assert outcomes("O4", table(
        rab(of=lambda noise, share: falls(noise, share) | {"success": 0.5})))[1] == "not measured"


def test_noise_between_equal_levels_is_no_gain_of_dp():
    """The largest of an instance's steps is above 0 by chance; no single step is."""
    assert outcomes("O6", table(private(0.0)))[0] == "inconclusive"


# ---------------------------------------------------------------- exact verdicts

def test_an_exact_verdict_has_no_width_and_no_p():
    for flips, outcome in ((0, "arithmetic"), (1, "fails")):
        found = result("O9", table(twins(PARTITION, [flips, 0, 0, 0], 50))).direction
        assert (found.outcome, found.measured, found.n) == (outcome, flips, 4)
        assert math.isnan(found.p) and math.isnan(found.low) and math.isnan(found.high)
        assert found.reason
    others = table(rab(of=falls), rab(of=falls, models=100), private(-0.05))
    alone = {one.claim.id: one.direction for one in verdicts.evaluate({"40_smoothing": others})}
    both = {
        one.claim.id: one.direction for one in verdicts.evaluate(
            {"40_smoothing": others, "41_partition": table(twins(PARTITION, [1, 0, 0, 0], 50))})
    }
    assert both["O9"].outcome == "fails"  # Holm cannot take it back
    # nor does it cost the others
    assert all(both[name].p_holm == alone[name].p_holm for name in ("O1", "O2", "O3", "O5", "O6"))


def test_a_certified_flip_is_its_own_control_and_none_needs_others():
    assert outcomes("O9", table(twins(PARTITION, [1, 0, 0, 0], 0))) == ("fails", None)
    assert outcomes("O9", table(twins(PARTITION, [0] * 4, 0))) == ("inconclusive", None)
    vacuous = [one | {"facts.certified_count": 0} for one in twins(PARTITION, [0] * 4, 50)]
    # nothing was certified, so nothing was tested
    assert outcomes("O9", table(vacuous)) == ("not measured", None)


def test_rab_stands_beside_dpa_from_both_notebooks():
    rab_rows = table(twins(SMOOTHING, [0, 0, 0, 0], 50))
    found = result("O9", table(twins(PARTITION, [0] * 4, 50)), **{"40_smoothing": rab_rows})
    assert found.direction.outcome == "arithmetic" and len(
        found.beside) == 2 and "RAB: 0 of 400" in found.note
    only_rab = result("O9", table(dpa()), **{"40_smoothing": rab_rows})
    assert only_rab.direction.outcome == "not measured" and len(only_rab.beside) == 2


def test_votes_by_place_and_smoothed_parts_are_not_the_published_dpa():
    others = [
        row(PARTITION, number, share=0.1, pair=False, partitions=50, radius_max=40,
            certified_count=9, **more)
        for number in range(4)
        for more in ({"by": "index"}, {"by": "index", "models": 100, "noise": 1.0})
    ]
    assert len(partitions.votes(certified.prepared(table(dpa(), others)))) == len(
        dpa()) and outcomes("O10", table(dpa(), others)) == ("arithmetic", None)
