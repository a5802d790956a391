"""Mixing beyond its paper: arms, rows, what composes, what is recommended, figures."""

import functools
import math

import numpy as np
import pandas as pd
import pytest

from lib import figures
from lib.attacks.random_patch import RandomPatch
from lib.defences.label_noise import LabelNoise
from lib.metrics import Interval
from lib.papers.borgnia import (
    advice_on_mixing,
    beyond,
    composition,
    practice,
    practice_figures,
    victims,
)
from lib.papers.borgnia.advice_on_mixing import Field
from lib.papers.borgnia.beyond import CLEAN, MIXES, NOISY
from lib.papers.borgnia.matching import CUTOUT, FOUR, MAXUP, TWO
from lib.papers.borgnia.patching import CUTMIX, NONE, PAIRS
from lib.papers.borgnia.practice import PUBLIC, VIEWS
from lib.privacy import dpsgd_epsilon
from lib.study.table import table
from lib.training import Training
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.mixup import Mixup
from lib.training.transforms.public_mixup import PublicMixup
from lib.training.transforms.self_mixup import SelfMixup

VICTIM = victims.small(batch_norm=True)
CHANGES = {"model": "convnet-small", "training__batch_size": 500, "training__epochs": 10.0}
PRIVATE = beyond.private(VICTIM, 8.0, public=1000, changes=CHANGES)
LABELLED = beyond.randomised(VICTIM, 2.0)


# ---- arms

def test_every_mixing_comes_after_the_victims_own_augmentations():
    arms = beyond.mixing(VICTIM)
    assert list(arms) == [NONE, TWO, FOUR, CUTMIX, CUTOUT, MAXUP, NOISY] and arms[NONE] == VICTIM
    assert arms[TWO].training.transforms == (*VICTIM.training.transforms, Mixup())
    assert arms[NOISY].training.transforms == (
        *arms[MAXUP].training.transforms, Laplace(16 / 255))


def test_private_arms_share_records_and_epsilon():
    assert list(PRIVATE) == ["DP-SGD, ε 8", f"DP-SGD, ε 8 + {VIEWS}", f"DP-SGD, ε 8 + {PUBLIC}"]
    alone, views, public = PRIVATE.values()
    assert {(run.public, run.train_size) for run in PRIVATE.values()} == {(1000, 11000)}
    assert views.training.transforms == (SelfMixup(),)
    assert public.training.transforms == (Crop(), Flip(), PublicMixup())
    found = [run.defence.calibrated(run, 10_000).guarantee(run, 10_000)
             for run in PRIVATE.values()]
    assert len(set(found)) == 1 and 7.99 < found[0].epsilon <= 8 and alone.model == "convnet-small"
    z = found[0].noise_multiplier
    assert found[0].epsilon == dpsgd_epsilon(z, 500 / 10_000, 200, 1e-5)


def test_label_dp_arms_have_one_epsilon():
    assert list(LABELLED) == [name + more for name in ("label noise", "ALIBI", "LP-2ST")
                              for more in ("", f" + {TWO}")]
    noise, _, alibi, _, two_stage, _ = (run.defence for run in LABELLED.values())
    assert noise.guarantee(10).epsilon == pytest.approx(2.0)
    assert alibi.guarantee().epsilon == two_stage.guarantee().epsilon == 2.0
    assert {run.training.label_smoothing for run in LABELLED.values()} == {0.0}
    for epsilon in (0.5, 4.0):
        own = LabelNoise(beyond.flip(epsilon, 7)).guarantee(7).epsilon
        assert own == pytest.approx(epsilon)


def test_runs_have_their_worlds():
    runs = beyond.backdoor(beyond.mixing(VICTIM, [NONE, TWO]), pairs=PAIRS[:3])
    assert len({run.key for run in runs}) == 2 * 3 * 4
    assert {run.attack.fraction for run in runs} == {0.1}
    attacked = {run.key for run in runs if run.attack.in_world == "P"}
    assert {run.twin for run in runs} == attacked
    flips = beyond.flips(beyond.mixing(VICTIM, [NONE]), draws=3)
    assert [run.attack.in_world for run in flips] == ["P", "C"] * 3
    assert {run.attack.fraction for run in flips} == {0.4}


@pytest.mark.parametrize("arms", [beyond.mixing(VICTIM), PRIVATE, LABELLED],
                         ids=["mixing", "private", "labels"])
def test_an_arm_has_one_name_in_runs_and_in_rows(arms):
    frame = table(list(arms.values()))
    assert [beyond.name(row) for _, row in frame.iterrows()] == list(arms)
    assert [beyond.without(name) for name in PRIVATE] == ["DP-SGD, ε 8"] * 3


# ---- made rows

LIFT = {NONE: 0.6, TWO: 0.1, FOUR: 0.7, CUTMIX: 0.2, CUTOUT: 0.6}
ACCURACY = {NONE: 0.70, TWO: 0.71, FOUR: 0.69, CUTMIX: 0.66, CUTOUT: 0.70}


@functools.cache
def asked(kind):
    arms = beyond.mixing(VICTIM, LIFT)
    return table(beyond.flips(arms) if kind == "flips" else
                 beyond.backdoor(arms if kind == "patch" else LABELLED))


def patched(kind="patch"):
    frame, random = asked(kind), np.random.RandomState(0)
    lines = []
    for _, row in frame.iterrows():
        arm, world = beyond.name(row), row["world"]
        wobble = 0.01 * random.randn()
        lift = {"P": LIFT.get(arm, 0.3), "L": 0.05, "T": 0.02, "C": 0.0}[world] + wobble
        lines.append({"status": "ok", "accuracy": ACCURACY.get(arm, 0.6) + wobble / 5, "lift": lift,
                      "floor": 0.1, "success": 0.1 + lift, "trigger_auc": 0.5, "base_recall": 0.7,
                      "target_recall": 0.8,
                      "epsilon": math.inf, "adjacency": "none"})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def flipped():
    frame = asked("flips")
    own = [beyond.name(row) for _, row in frame.iterrows()]
    drop = {TWO: 0.05, CUTMIX: 0.3}
    accuracy = [ACCURACY[arm] * (1 - (drop.get(arm, 0.2) if world == "P" else 0))
                + 0.001 * (seed * len(arm) % 7)
                for arm, world, seed in zip(own, frame["world"], frame["attack_seed"])]
    return frame.assign(status="ok", accuracy=accuracy, epsilon=math.inf, adjacency="none")


def test_rows_of_the_patch_have_their_twins():
    found = beyond.of_patch(patched())
    own = found[found[beyond.ARM].eq(TWO)]
    assert len(own) == 10 and own["effect"].mean() == pytest.approx(0.1 - 0.05, abs=0.02)
    assert own[beyond.AGAINST_T].mean() == pytest.approx(0.1 - 0.02, abs=0.02)
    assert own[CLEAN].mean() == pytest.approx(0.71, abs=0.01)
    apart = beyond.difference(found, TWO, "effect")
    assert len(apart) == 10 and apart.mean() == pytest.approx(-0.5, abs=0.02)
    assert beyond.of_patch(patched("labels"))[beyond.ARM].nunique() == 6


def test_rows_of_flips_have_their_relative_drop():
    found = beyond.of_flips(flipped())
    assert beyond.values(found, TWO, "rad").mean() == pytest.approx(0.05, abs=0.005)
    assert len(beyond.difference(found, CUTMIX, "rad")) == 4


@pytest.mark.parametrize("kind", ["none", "not measured"])
def test_without_rows_nothing_is_measured(kind):
    frame = asked("patch") if kind == "not measured" else asked("patch").iloc[:0]
    fields = practice_figures.fields(frame)
    lines = advice_on_mixing.table(fields, MIXES)
    assert len(lines) == 3 * 6 and lines["it brings"].eq("not measured").all()
    assert advice_on_mixing.finding(lines) == ""
    assert advice_on_mixing.recommended(lines)["not measured"].str.count(";").eq(2).all()
    assert advice_on_mixing.prices(fields[0].found, ["lift"]).empty
    shown = practice_figures.headline(frame)
    assert shown.data.empty and shown.finding == ""


# ---- what is recommended

@pytest.mark.parametrize("gained,accuracy,expected", [
    ((-0.3, -0.1), (-0.005, 0.02), "less attack at no price"),
    ((-0.3, -0.1), (-0.05, -0.02), "less attack, at a price"),
    ((-0.3, -0.1), (-0.05, 0.02), "less attack, price undecided"),
    ((-0.3, -0.1), (math.nan, math.nan), "less attack, price undecided"),
    ((0.1, 0.2), (0.0, 0.02), "more attack"), ((-0.1, 0.2), (0.0, 0.02), "undecided"),
    ((math.nan, math.nan), (0.0, 0.02), "undecided")])
def test_what_two_intervals_say(gained, accuracy, expected):
    def interval(limits):
        return Interval(sum(limits) / 2, *limits, 5)

    assert advice_on_mixing.says(interval(gained), interval(accuracy)) == expected
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    assert advice_on_mixing.says(nothing, interval(accuracy)) == "not measured"


def test_the_table_follows_from_rows():
    frame = pd.concat([patched(), flipped()], ignore_index=True)
    lines = advice_on_mixing.table(practice_figures.fields(frame), MIXES)
    brings = {(line["attack"], line["mixing"]): line["it brings"] for _, line in lines.iterrows()}
    patch, flips = practice_figures.PATCH, practice_figures.FLIPS
    assert brings[patch, TWO] == "less attack at no price"
    assert brings[patch, FOUR] == "more attack" and brings[patch, CUTOUT] == "undecided"
    assert brings[patch, CUTMIX] == "less attack, at a price"
    assert brings[patch, MAXUP] == brings[practice_figures.BREWED, TWO] == "not measured"
    assert brings[flips, TWO] == "less attack at no price"
    short = advice_on_mixing.recommended(lines).set_index("mixing")
    assert short.at[TWO, "less attack at no price"] == f"{patch}; {flips}"
    said = advice_on_mixing.finding(lines)
    assert said.startswith("Of 8 measured combinations of mixing and attack, 2 lower the attack")
    shown = practice_figures.headline(frame)
    assert len(shown.data) == 4 * 10 and "over 10 pairs" in shown.caption


def test_prices_name_the_guarantee():
    frame = beyond.of_patch(patched("labels")).assign(epsilon=2.0, adjacency="label")
    lines = advice_on_mixing.prices(frame, [beyond.AGAINST_T]).set_index("arm")
    assert lines["guarantee"].eq("ε 2 of a label").all() and len(lines) == 6
    assert lines.at["ALIBI", "lift above T, change"] == ""
    assert "[" in lines.at[f"ALIBI + {TWO}", "lift above T, change"]
    field = Field("labels", frame, beyond.AGAINST_T)
    assert len(advice_on_mixing.contrasts(field, [f"ALIBI + {TWO}"])) == 10


# ---- what composes

def test_what_composes_is_what_the_code_says():
    found = composition.facts(Training(batch_size=100, epochs=2.0), n=1000).set_index("transform")
    private = [name for name in found.index if "several" in found.at[name, "a mix holds"]]
    assert private == [TWO, FOUR, CUTMIX]
    for name in found.index:
        said = found.at[name, "DP-SGD"]
        assert said.startswith("no guarantee: transform" if name in private else "keeps ε")
        assert found.at[name, "label noise"] == found.at[name, "LP-2ST"] == "keeps ε 1 (label)"
    assert found.at[PUBLIC, "ALIBI"] == "refused: labels as evidence"
    assert found["ALIBI"].eq("keeps ε 1 (label)").sum() == len(found) - 1
    assert found.at[VIEWS, "a mix holds"] == "views of one record"
    assert found.at[PUBLIC, "a mix holds"] == "one private record, public ones"


# ---- figures

def test_figure_3_is_drawn_without_training():
    import torch

    images, titles = practice_figures.pictured("strokes", RandomPatch(7, 1), count=2)
    assert images.shape == (12, 1, 28, 28) and images.dtype == torch.uint8
    assert titles[::2] == ["clean", "patched", "k = 2", "k = 2, noise", "k = 4", "k = 4, noise"]
    clean, patched, mixed, noisy, *_ = images.float().split(2)
    assert not torch.equal(clean, patched) and (mixed - patched).abs().mean() > 1
    assert 5 < (noisy - mixed).abs().mean() < 25  # cut at black


def test_figures_of_made_rows():
    from matching_frames import by_scale, made_up, rate

    found = practice.nearest(made_up(rate(by_scale)))
    specs = practice_figures.by_width(practice.mixups(found))
    assert [spec["title"] for spec in specs] == ["noise 0/255", "noise 8/255", "noise 16/255"]
    assert all(len(spec["frame"]) == 3 * 2 for spec in specs)
    more = practice_figures.by_noise(found)
    assert [len(spec["frame"]) for spec in more] == [6, 6, 6, 6, 7]
    assert more[-1]["frame"].iloc[-1]["rule"] == "published"
    for drawn in (specs, more):
        assert len(figures.proportions(drawn, by="setting").axes) == len(drawn)
    points = practice_figures.plane(found)
    assert len(points) < len(found) and points[practice_figures.HIT].isin([0.0, 100.0]).all()
    axes = figures.by_setting(points, series="arm", along="noise",
                              measure=practice_figures.HIT).axes[0]
    assert axes.get_ylabel() == practice_figures.HIT
    assert len(practice_figures.table(found)) == 6 * 3
    assert practice_figures.finding(found).startswith("Over 4 trials the adaptive attack hits from")
    assert list(practice_figures.predicted(practice.mixups(found))["trials"]) == [4] * 3


def test_figures_without_rows():
    empty = practice.nearest(asked("patch").iloc[:0])
    assert figures.proportions(practice_figures.by_width(empty), by="setting").axes
    specs = practice_figures.by_noise(empty)
    assert [len(spec["frame"]) for spec in specs] == [0, 0, 0, 0, 1]
    assert figures.proportions(specs, by="setting").axes
    assert figures.by_setting(practice_figures.plane(empty), series="arm", along="noise",
                              measure=practice_figures.HIT).axes
    assert practice_figures.table(empty).empty and practice_figures.finding(empty) == ""
    assert practice_figures.predicted(practice.mixups(empty))["rank correlation"].isna().all()


def test_the_patch_of_notebook_20_stands_beside_the_others():
    from test_borgnia_patch import made_up

    placed = beyond.of_place(practice_figures.table1.nearest(made_up()))
    apart = beyond.difference(placed, TWO, "effect")
    assert len(apart) == 8 and apart.mean() == pytest.approx(0.22 - 0.45, abs=0.02)
    fields = practice_figures.fields(asked("patch"), made_up())
    lines = advice_on_mixing.table(fields, MIXES)
    own = lines[lines["attack"].eq(practice_figures.PLACED)].set_index("mixing")
    assert own.at[TWO, "it brings"] == "less attack at no price"
    assert own.at[TWO, "set-up"] == "cifar10-jpeg, 10000, resnet"
    assert own.at[CUTOUT, "it brings"] == "not measured"
