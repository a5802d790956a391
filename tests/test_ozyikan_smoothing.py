"""O1 to O12 on made-up rows of `40_smoothing` and `41_partition`: where they hold, fail, cannot be
decided and are not measured.
"""

import math
import zlib

import numpy as np
import pandas as pd
import pytest
from claim_frames import beside, outcomes, result, twin_of

from lib import verdicts
from lib.papers.ozyikan import certified, partitions

PAIRS = ("0-2", "1-5", "4-7", "3-8")
SHARES = (0.02, 0.05, 0.1)
RUN = {
    "status": "ok", "source": "store", "train_size": 6000, "test_size": 2000, "public": 2000,
    "features": "patches:64", "model": "linear", "precision": "fast", "split": "test",
    "attack.name": "four_pixel", "attack.base": None, "attack.norm": 1.0, "attack.images": None,
    "training.lr": 0.01, "training.epochs": 3.0
}
SMOOTHING = {
    "defence.name": "smoothing", "defence.models": 1000, "defence.noise": 0.5,
    "defence.space": "inputs", "defence.noise_multiplier": 0.0, "defence.max_grad_norm": None,
    "defence.confidence": 0.999, "defence.twin": False
}
PARTITION = {
    "defence.name": "partition", "defence.partitions": 50, "defence.by": "content",
    "defence.models": 1, "defence.noise": 0.0, "defence.twin": False
}
FACTS = {
    "certified_any": 0.4, "certified_count": 0, "truth": 0.5, "printed": 0.5,
    "models_accuracy_q1": 0.7, "models_accuracy_median": 0.75, "models_accuracy_q3": 0.8,
    "radius_max": 0.7, "radius_ceiling": 0.78, "budget": 20.0, "flips_certified": math.nan,
    "flips_other": math.nan, "flips_confirmed": math.nan
}


# what varies between instances; counts and bounds do not
WOBBLE = ("certified_any", "truth", "printed", "models_accuracy_median", "models_accuracy_q1",
          "models_accuracy_q3")


def row(defence, number, *, share=0.02, dataset="cifar10-jpeg", pair=True, accuracy=0.8,
        success=0.4, wobble=0.004, **more):
    """One row.

    `more` names columns, else facts, else fields of the defence without their prefix.
    """
    facts = {name: more.pop(name) for name in list(more) if name in FACTS}
    values = RUN | defence | {
        "dataset": f"{dataset}:{PAIRS[number]}" if pair else dataset,
        "attack.target": 0 if pair else number, "attack.fraction": share, "attack_seed": number,
        "init_seed": number, "noise_seed": number, "world": "P" if share else "C",
        "attack.stamp": True, "attack.relabel": True
    }
    values |= {name if name in RUN else f"defence.{name}": value for name, value in more.items()}
    random = np.random.RandomState(zlib.crc32(repr(sorted(values.items(), key=str)).encode()))
    noisy = {
        f"facts.{name}": value +
        wobble * random.randn() if name in WOBBLE and wobble else value
        for name, value in (FACTS | facts).items()
    }
    return values | twin_of(values) | noisy | {
        "key": repr(values), "accuracy": accuracy + wobble * random.randn(), "success": success,
        "floor": 0.1, "lift": success - 0.1, "trigger_auc": 0.7
    }


def rab(*, shares=SHARES, noises=(0.5, 1.0, 2.0), clean=0.8, pairs=4, of=lambda noise, share: {},
        **more):
    """RAB at every noise and share, `of(noise, share)` giving what came out, with clean twins of
    this accuracy.
    """
    return [
        row(SMOOTHING, number, share=share, noise=noise,
            **of(noise, share) | ({"accuracy": clean} if share == 0 else {}) | more)
        for noise in noises
        for share in (*shares, 0.0)
        for number in range(pairs)
    ]


def dpa(*, ks=(50, 250, 500), shares=SHARES, pairs=4, of=lambda k, share: {}, **more):
    return [
        row(
            PARTITION, number, share=share, partitions=k, pair=False,
            **{"radius_ceiling": k // 2, "radius_max": k // 4 - number * (k > 50),
               "budget": 400 * share / 0.02}
            | of(k, share) | more)
        for k in ks
        for share in (*shares, 0.0)
        for number in range(pairs)
    ]


def table(*groups):
    return pd.DataFrame([one for group in groups for one in group])


def falls(noise, share):
    return {
        "certified_any": 0.5 - 2 * share, "printed": 0.5 + 3 * share, "truth": 0.6 - 3 * share,
        "success": 0.3 + 4 * share, "models_accuracy_median": 0.8 - 0.05 * noise,
        "models_accuracy_q1": 0.7 + 0.02 * noise, "models_accuracy_q3": 0.85 - 0.02 * noise,
        "accuracy": 0.8
    }


def rises(noise, share):
    return {
        "certified_any": 0.3 + 2 * share, "printed": 0.5 - 3 * share, "truth": 0.4 + 3 * share,
        "success": 0.3 - 2 * share, "models_accuracy_median": 0.7 + 0.05 * noise,
        "models_accuracy_q1": 0.7 - 0.02 * noise, "models_accuracy_q3": 0.85 + 0.02 * noise,
        "accuracy": 0.8
    }


@pytest.mark.parametrize("name", ["O1", "O2", "O3"])
def test_one_direction(name):
    assert outcomes(name, table(rab(of=falls))) == ("holds", None)
    assert outcomes(name, table(rab(of=rises))) == ("fails", None)
    # two classes: 20 points above chance are 70%
    assert outcomes(name, table(rab(of=falls, clean=0.6))) == ("inconclusive", None)
    assert outcomes(name, table(rab(of=falls, shares=()))) == ("not measured", None)


def test_every_noise_level_must_meet_o1():
    mixed = rab(of=lambda noise, share: falls(noise, share) if noise < 2 else rises(noise, share))
    found = result("O1", table(mixed))
    assert found.direction.outcome == "fails" and "noise 2" in found.direction.decided_by


def test_o4_tells_the_printed_number_from_accuracy():
    assert outcomes("O4", table(rab(of=falls))) == ("holds", "holds")
    assert outcomes("O4", table(rab(of=rises)))[0] == "fails"
    apart = rab(of=lambda noise, share: falls(noise, share) | {"success": 0.5 - share})
    assert outcomes("O4", table(apart))[1] in ("fails", "inconclusive")


def test_o5_reads_the_hundred():
    thousand = rab(of=rises)
    assert outcomes("O5", table(thousand)) == ("not measured", None)
    assert outcomes("O5", table(thousand, rab(of=falls, models=100))) == ("holds", None)
    # judged on the thousand
    assert outcomes("O1", table(thousand, rab(of=falls, models=100))) == ("fails", None)


def test_other_set_ups_stand_beside_and_cifar_comes_first():
    ten = rab(of=falls, models=100, pair=False, noises=(0.5, 1.0))
    digits = rab(of=rises, models=5000, dataset="mnist", features="none", pairs=3)
    found = result("O1", table(ten, digits, rab(of=rises)))
    assert (
        found.direction.outcome == "fails"
        and "two classes" in found.setup
        and "1000 models" in found.note
    )
    lines = beside("O1", table(ten, digits, rab(of=rises)))
    assert [
        lines[f"{words}, linear, 6000 images"][0].outcome
        for words in ("cifar10-jpeg, patches:64", "mnist, two classes, none")
    ] == ["holds", "fails"]
    assert result("O1", table(digits)).direction.n == 3  # pairs, not data sets


def private(gain):
    noises = (0.0, 0.5, 1.0, 2.0)
    return [
        row(SMOOTHING, number, share=share, models=100, noise_multiplier=z, max_grad_norm=1.0,
            certified_any=0.3 + gain * z if share else 0.3)
        for z in noises
        for share in (*SHARES, 0.0)
        for number in range(4)
    ]


def test_o6():
    assert outcomes("O6", table(private(-0.05), rab(of=falls))) == ("holds", None)
    assert outcomes("O6", table(private(0.05))) == ("fails", None)
    assert outcomes("O6", table(rab(of=falls))) == ("not measured", None)


def test_o7():
    def usual(k, share):
        return {"accuracy": 0.6 - k / 5000}
    assert outcomes("O7", table(dpa(of=usual))) == ("holds", None)
    assert outcomes("O7",
                    table(dpa(of=lambda k, share: {"accuracy": 0.5 + k / 5000}))) == ("fails", None)
    assert outcomes("O7", table(dpa(of=usual, ks=(50,)))) == ("not measured", None)


def test_o8_needs_the_same_data():
    own, other = rab(
        pair=False, models=100,
        of=lambda noise, share: {"accuracy": 0.6}), dpa(of=lambda k, share: {"accuracy": 0.5})
    assert outcomes("O8", table(own, other)) == ("holds", None)
    assert outcomes(
        "O8", table(rab(pair=False, models=100, of=lambda noise, share: {"accuracy": 0.4}),
                    other)) == ("fails", None)
    assert outcomes("O8", table(rab(models=100), other)) == ("not measured", None)  # two classes
    assert outcomes("O8", table(own, dpa(train_size=50000))) == ("not measured", None)
    assert set(beside("O8", table(own, other))) == {"DPA of 250 parts", "DPA of 500 parts"}


def twins(defence, certified_, others, **more):
    return [
        row(defence, number, share=0.002, twin=True, flips_certified=certified_[number],
            flips_other=others, flips_confirmed=0, certified_count=100, **more)
        for number in range(4)
    ]


def test_one_certified_flip_fails_o9():
    assert outcomes("O9", table(twins(PARTITION, [0, 0, 0, 0], 50))) == ("arithmetic", None)
    assert outcomes("O9", table(twins(PARTITION, [0, 0, 1, 0], 50))) == ("fails", None)
    assert outcomes("O9",
                    table(twins(PARTITION, [0, 0, 0, 0], 50), twins(SMOOTHING, [0, 2, 0, 0],
                                                                    50))) == ("arithmetic", None)
    lines = beside("O9", table(twins(PARTITION, [0] * 4, 50), twins(SMOOTHING, [0, 2, 0, 0], 50)))
    assert {one.outcome for one, _ in lines.values()} == {"holds"}  # alpha explains 2 of 400
    wrong = twins(SMOOTHING, [0, 4, 0, 0], 50)
    lines = beside("O9", table(twins(PARTITION, [0] * 4, 50), wrong))
    assert (lines["RAB, beyond what alpha allows"][0].outcome,
            lines["RAB, confirmed by the second ensemble"][0].outcome) == ("fails", "holds")
    assert "0 of 400 certified predictions flipped, and 200 others" in result(
        "O9", table(twins(PARTITION, [0] * 4, 50))).note
    assert outcomes("O9", table(dpa())) == ("not measured", None)


def test_nothing_is_shown_where_the_poison_flips_nothing():
    assert outcomes("O9", table(twins(PARTITION, [0, 0, 0, 0], 0))) == ("inconclusive", None)


def test_exact_ones():
    assert outcomes("O10", table(dpa())) == ("arithmetic", None)
    assert outcomes("O10",
                    table(dpa(of=lambda k, share: {"radius_max": k // 2 + 1}))) == ("fails", None)
    assert outcomes("O10", table(
        dpa(of=lambda k, share: {"certified_count": 3 if share else 3000}))) == ("fails", None)
    assert outcomes("O11", table(rab())) == ("arithmetic", None)
    assert outcomes(
        "O11", table(
            rab(of=lambda noise, share: {"radius_max": 0.79} if noise == 2 else {}))) == ("fails",
                                                                                          None)
    assert outcomes("O12", table(rab())) == ("arithmetic", None)
    assert outcomes(
        "O12", table(
            rab(of=lambda noise, share: {"budget": 0.5} if share == 0.1 else {}))) == ("fails",
                                                                                       None)
    assert outcomes("O12", table(rab(shares=(0.02, 0.05)))) == ("not measured", None)


def test_rows_without_results_and_of_other_defences_are_passed_over():
    frame = table(rab(of=falls))
    frame["status"] = "not measured"
    assert all(
        outcomes(f"O{number}", frame) == ("not measured", "not measured" if number == 4 else None)
        for number in range(1, 13))
    assert outcomes("O1", frame.iloc[:0]) == ("not measured", None)
    bare = table(rab(of=falls)).drop(columns=[f"facts.{name}" for name in FACTS])
    assert outcomes("O1", bare) == ("not measured", None) and outcomes(
        "O11", bare) == ("not measured", None)
    everything = verdicts.evaluate(
        {"40_smoothing": table(rab(of=falls)), "41_partition": table(dpa())})
    assert {
        one.claim.id: one.direction.outcome for one in everything if one.claim.id in ("O1", "O10")
    } == {"O1": "holds", "O10": "arithmetic"}


def test_figures_count_their_own_rows():
    frame = table(rab(), rab(models=100, noises=(0.5, 5.0)), private(0.0), dpa())
    counts = [
        len(select(frame)) for select in (certified.share_rows, certified.few_rows,
                                          certified.private_rows, partitions.part_rows)
    ]
    assert counts == [36, 24, 48, 36]
    assert len(partitions.contrast_rows(table(rab(pair=False), dpa()))) == 72
