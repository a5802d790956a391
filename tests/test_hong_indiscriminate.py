"""Notebook 51: its runs, RAD by hand, its claims on made-up rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib import figures, study, verdicts
from lib.papers.hong import damage, fitted, indiscriminate, prototypes, rad, stopped
from lib.papers.hong.indiscriminate import FLIPS, SLAB, VANILLA
from lib.study import measure
from lib.verdicts import contrasts

BASE = indiscriminate.base("strokes:1-7", train_size=400, test_size=200, epochs=4, batch_size=40,
                           lr=0.01)
ARMS = indiscriminate.vanilla() | indiscriminate.clipped([4, 0.1]) | indiscriminate.absolute(
    4, [0.1])


# ---- runs

def test_both_conventions_of_noise():
    known = ARMS | indiscriminate.multiples(4, [0.1]) | indiscriminate.private([1], 1.0)
    assert list(known) == ["vanilla", "C 4", "C 0.1", "C 4, noise 0.1", "C 4, noise 0.4",
                           "epsilon 1"]
    deviations = {name: one.mechanism()["noise"] for name, one in known.items()
                  if one.epsilon is None}
    assert deviations["C 4, noise 0.1"] == 0.1 and deviations["C 4, noise 0.4"] == 0.4
    assert deviations["vanilla"] == 0 and not known["vanilla"].clip


def test_the_grid_holds_every_arm_share_and_draw():
    runs = indiscriminate.grid(BASE, ARMS, shares=[0.1, 0.4], draws=3)
    assert len(runs) == len({run.key for run in runs}) == 2 * 2 * 4 * 3
    assert {run.attack.fraction for run in runs} == {0.1, 0.4}
    assert {(run.attack_seed, run.init_seed, run.noise_seed) for run in runs} == {
        (draw, 0, draw) for draw in range(3)}
    early = {run.training.checkpoints > 0 for run in runs if not run.defence.clip}
    assert early == {True} and all(run.training.every == 1.0 for run in runs)


def test_clean_runs_serve_every_attack_and_share():
    clean = indiscriminate.clean(BASE, ARMS, draws=3)
    assert len(clean) == 3 + 3 and all(run.attack.in_world == "C" for run in clean)
    known = {measure.identity(run) for run in clean}
    for run in indiscriminate.grid(BASE, ARMS, shares=[0.1], draws=3):
        if run.attack_seed == 0 or indiscriminate.noisy(run.defence):
            assert measure.identity(run.in_world("C")) in known


def test_pairs_are_draws_of_their_own():
    runs = indiscriminate.pairs(BASE, indiscriminate.vanilla(), [(1, 7), (3, 5)])
    assert [(run.dataset, run.attack_seed, run.attack.in_world) for run in runs] == [
        (name, draw, world) for draw, name in enumerate(("strokes:1-7", "strokes:3-5"))
        for world in "PPC"]
    assert [type(indiscriminate.attack(kind, 0.1)).__name__ for kind in (FLIPS, SLAB)] == [
        "LabelFlip", "Slab"]
    (unclipped,) = indiscriminate.variants(BASE, [{"clip_pixels": False}], draws=1)
    assert not unclipped.attack.clip_pixels and unclipped.defence == ARMS[VANILLA]


def test_anatomies_are_runs_of_their_own_measured_by_epoch():
    runs = indiscriminate.anatomies(BASE, ARMS, draws=2)
    assert len(runs) == 2 * len(ARMS) * 2 and {run.attack.fraction for run in runs} == {0.4}
    assert all(run.anatomy and run.training.every == 1.0 and run.training.checkpoints == 0
               for run in runs)


def test_noise_of_the_quantile_leaves_room_for_its_count():
    quiet, noisy = indiscriminate.quantiles(
        0.5, epsilon=3, n=10800, batch_size=300, epochs=40).values()
    run = indiscriminate.base("fashion-mnist:3-4", train_size=10800, epochs=40, batch_size=300,
                              lr=0.01).with_(defence=noisy)
    assert 2.98 < noisy.guarantee(run, 10800).epsilon <= 3
    less = replace(noisy, noise_multiplier=noisy.noise_multiplier - 0.002)
    assert less.guarantee(run, 10800).epsilon > 3  # no more noise than it takes
    assert not quiet.guarantee(run, 10800).holds
    assert [indiscriminate.noisy(one) for one in (quiet, noisy)] == [False, True]
    with pytest.raises(ValueError, match="count noise 0.05 at epsilon 1: expected above"):
        indiscriminate.quantiles(0.5, epsilon=1, n=10, batch_size=1, epochs=40)


# ---- RAD and the claims, on made-up rows

ACCURACY = {"vanilla": 0.95, "C 8": 0.94, "C 4": 0.94, "C 2": 0.93, "C 4, noise 0.1": 0.9}


def made_up(lost, *, draws=10, kinds=("label_flip", "slab"), **more):
    """Rows as `study.run` returns them: each arm loses this much accuracy under each attack at the
    last epoch, and 0.01 less at the best; draws differ by a thousandth."""
    random, lines = np.random.RandomState(0), []
    for name, clean in ACCURACY.items():
        shared = _arm(name) | more
        lines += [shared | _row("label_flip", "C", draw, clean, clean + 0.005, name)
                  for draw in range(draws if "noise" in name else 1)]
        for kind in kinds:
            for draw in range(draws):
                last = clean - lost[kind][name] + 0.001 * random.normal()
                lines.append(shared | _row(kind, "P", draw, last, last + 0.01, name))
    return pd.DataFrame(lines)


def _arm(name):
    noise = 0.025 if "noise" in name else 0.0
    norm = 1.0 if name == "vanilla" else float(name.split()[1].strip(","))
    return {"defence.name": "dpsgd", "defence.clip": name != "vanilla", "defence.epsilon": None,
            "defence.noise_multiplier": noise, "noise_multiplier": noise,
            "defence.max_grad_norm": norm, "dataset": "fashion-mnist:3-4", "train_size": 10800,
            "public": 0, "features": "none", "model": "linear", "status": "ok", "split": "test",
            "weights": "last", "attack.fraction": 0.4, "training.checkpoints": 0, "anatomy": False}


def _row(kind, world, draw, last, best, name):
    slab_ = {"attack.rho_squared": 0.8, "attack.clip_pixels": True, "facts.kinds": 3.0,
             "facts.largest_share": 0.9 + 0.001 * draw, "facts.duality_gap": 1e-8}
    return {"key": f"{name} {kind} {world} {draw}", "attack.name": kind, "world": world,
            "attack_seed": draw, "accuracy": last, "best_accuracy": best,
            **(slab_ if kind == "slab" else {})}


FLIP_LOSS = {"vanilla": 0.04, "C 8": 0.03, "C 4": 0.01, "C 2": 0.012, "C 4, noise 0.1": 0.03}
SLAB_LOSS = {"vanilla": 0.15, "C 8": 0.16, "C 4": 0.17, "C 2": 0.2, "C 4, noise 0.1": 0.2}
LOST = {"label_flip": FLIP_LOSS, "slab": SLAB_LOSS}


def test_the_readings_of_rad_by_hand():
    frame = made_up(LOST, draws=1)
    found = rad.compared(frame).set_index([rad.KIND, rad.ARM])
    row = found.loc[(FLIPS, "C 4, noise 0.1")]
    assert row[rad.RELEASED] == pytest.approx(1 - row["best_accuracy"] / 0.955)
    assert row[rad.STATED] == pytest.approx(1 - row["accuracy"] / 0.95)
    assert row[rad.OWN] == pytest.approx(1 - row["accuracy"] / 0.9) and row[rad.CLEAN] == 0.9
    better = made_up({kind: dict.fromkeys(ACCURACY, -0.05) for kind in LOST}, draws=1)
    found = rad.compared(better)
    assert (found[rad.RELEASED] == 0).all() and (found[rad.OWN] < 0).all()
    # noise of another draw is no twin; a clean run without noise serves all draws
    some = made_up(LOST, draws=3)
    some = some[~(some["world"].eq("C") & some["attack_seed"].eq(1))]
    lost = rad.compared(some)
    assert lost[lost[rad.OWN].isna()].apply(
        lambda row: (row[rad.ARM], row[rad.DRAW]), axis=1).unique().tolist() == [
            ("C 4, noise 0.1", 1)]


def test_claims_on_rows_that_bear_them_out():
    results = {one.claim.id: one for one in verdicts.evaluate(
        {"51_indiscriminate": made_up(LOST)}, of={"hong"})}
    outcomes = {name: tuple(v and v.outcome for v in (results[name].direction, results[name].size))
                for name in ("G5", "G6", "G7", "G8", "G15")}
    assert outcomes["G5"][0] == outcomes["G6"][0] == "holds"
    assert outcomes["G7"] == ("holds", None) and outcomes["G8"] == ("holds", "holds")
    assert outcomes["G15"] == (None, "holds")
    assert results["G6"].size.outcome == "holds"  # chosen on other draws: C 4, a quarter
    assert results["G5"].setup == "as published"
    names = [name for name, *_ in results["G6"].beside]
    assert names == [rad.STATED, rad.OWN]


def test_claims_on_rows_that_speak_against_them():
    lost = {"label_flip": FLIP_LOSS | {"C 4": 0.06, "C 2": 0.06, "C 8": 0.06,
                                       "C 4, noise 0.1": -0.02},
            "slab": SLAB_LOSS | {"C 4": 0.05, "C 2": 0.05}}
    found = {one.claim.id: one for one in verdicts.evaluate(
        {"51_indiscriminate": made_up(lost)}, of={"hong"})}
    assert found["G6"].direction.outcome == found["G6"].size.outcome == "fails"
    assert found["G7"].direction.outcome == "fails" and found["G8"].direction.outcome == "fails"
    # without the attack's damage nothing is said
    weak = made_up({"label_flip": dict.fromkeys(ACCURACY, 0.0), "slab": SLAB_LOSS})
    none = {one.claim.id: one for one in verdicts.evaluate(
        {"51_indiscriminate": weak}, of={"hong"})}
    assert none["G6"].direction.outcome not in ("holds", "fails")


def test_settings_are_chosen_on_other_draws():
    table = pd.DataFrame({"C 4": [0.0, 0.5, 0.5], "C 2": [0.4, 0.4, 0.4]})
    # each draw by the mean of the two others: the first sees C 4 at 0.5 and takes C 2
    assert contrasts.least_elsewhere(table, ["C 4", "C 2", "C 1"]).tolist() == [0.4, 0.5, 0.5]
    assert contrasts.least_elsewhere(table.iloc[:1], ["C 4"]) is None


def test_the_best_epoch_is_a_whole_one_whatever_else_was_measured(monkeypatch):
    frame = made_up(LOST, draws=1)
    plain = frame["defence.clip"].eq(False)
    frame["training.checkpoints"] = np.where(plain, 10, 0)
    points = [(0.3, 0.99), (1.0, 0.7), (1.28, 0.98), (2.0, 0.8), (2.5, 0.97)]
    monkeypatch.setattr(study, "curves", lambda rows: pd.DataFrame([
        {"key": key, "epoch": epoch, "accuracy": value}
        for key in rows["key"] for epoch, value in points]))
    found = rad.named(frame)
    assert found["best_accuracy"].tolist() == frame["best_accuracy"].mask(plain, 0.8).tolist()


def test_a_stopped_model_is_read_around_where_its_clean_twin_was_as_accurate(monkeypatch):
    frame = made_up(LOST, draws=1)
    steps = np.array([1, 10, 100])
    reached = {"C": [0.7, 0.9, 0.95], "P": [0.7, 0.85, 0.8]}

    def curves(rows):
        return pd.DataFrame([
            row.to_dict() | {"step": step, "accuracy": value} for _, row in rows.iterrows()
            for step, value in zip(steps, reached[row["world"]])])
    monkeypatch.setattr(study, "curves", curves)
    found = stopped.differences(frame, ["C 4", "C 4, noise 0.1"]).set_index([rad.KIND, rad.ARM])
    row = found.loc[(FLIPS, "C 4, noise 0.1")]  # 0.9 clean: vanilla at step 10, so from 5 to 20
    along = row["defended"] - row["moments"]
    assert along[[0, 20, 40]] == pytest.approx([
        1 - (0.7 + 0.15 * 4 / 9) / 0.9, 1 - 0.85 / 0.9, 1 - (0.85 - 0.05 * 10 / 90) / 0.9])
    assert row["stopped"] == pytest.approx(along.mean())
    assert row["difference"] == pytest.approx(row["defended"] - row["stopped"])
    between = found.loc[(SLAB, "C 4")]  # 0.94 clean: step 82, so from 41 to the end of the path
    along = between["defended"] - between["moments"]
    assert along[20] == pytest.approx(1 - (0.85 - 0.05 * 72 / 90) / 0.94)
    assert along[[30, 40]] == pytest.approx([1 - 0.8 / 0.94] * 2)
    assert (found["missing"] == "").all()
    lines = found.reset_index()
    ends = 100 * row["moments"].min(), 100 * row["moments"].max()
    said = "{:+.1f} to {:+.1f}".format(*ends).replace("-", "−")
    assert stopped.span(lines[lines[rad.KIND].eq(FLIPS) & lines[rad.ARM].eq(
        "C 4, noise 0.1")]) == said
    assert f"{FLIPS}, C 4, noise 0.1\n({said})" in set(stopped.labelled(lines)["than"])
    above = stopped.differences(made_up(LOST, draws=1).assign(
        accuracy=lambda one: one["accuracy"].where(~one["world"].eq("C"), 0.99)), ["C 4"])
    assert set(above["missing"]) == {"above the path"} and above["difference"].isna().all()


def test_what_is_fitted_by_epoch():
    frame = made_up(LOST, draws=10)
    plain = frame[frame["defence.clip"].eq(False) & frame["world"].eq("P")]
    share = {"slab": (0.95, 0.8), "label_flip": (0.1, 0.9)}
    curves = pd.DataFrame([
        row.to_dict() | {"epoch": epoch, "accuracy_poison": share[row["attack.name"]][0] + wobble,
                         "accuracy_clean": share[row["attack.name"]][1]}
        for _, row in plain.iterrows() for epoch in (0.3, 1.0, 2.0)
        for wobble in [0.001 * row["attack_seed"]]])
    found = {one.claim.id: one for one in verdicts.evaluate(
        {"51_indiscriminate": frame, "51_indiscriminate/curves": curves}, of={"hong"})}["G16"]
    assert found.direction.outcome == "holds" and found.beside[0][0] == fitted.LAST
    points = fitted.paths(rad.compared(frame), curves)
    assert set(points["epoch"]) == {1.0, 2.0}
    assert fitted.gaps(points[points[rad.KIND].eq(SLAB)], fitted.MEAN)[0] == pytest.approx(0.15)
    assert "fits 95% of the poison and 80%" in fitted.finding(points)


def test_figure_8_is_drawn_from_the_data_alone(store):
    run = BASE.with_(attack=prototypes.pictured({"iterations": 6, "tries": 1})[SLAB])
    found = prototypes.components(run)
    poison = found[found["kind"].str.startswith("poison")]
    assert poison["copies"].sum() == 160 and len(poison) <= 4
    assert set(found["kind"]) <= {"clean, 1", "clean, 7", "poison, 1", "poison, 7"}
    images, titles = prototypes.picture(run)
    assert len(images) == len(poison) and titles[0].endswith(f"{poison['copies'].max()}x")
    assert figures.scatter([{"frame": found, "title": "slab"}], xlabel="x", ylabel="y").axes


def test_what_holds_for_one_pair_of_classes_is_counted_over_others():
    first = made_up(LOST, draws=1).assign(dataset="fashion-mnist:0-8")
    reverse = {"label_flip": FLIP_LOSS | {"vanilla": 0.2}, "slab": SLAB_LOSS | {"C 4": 0.1}}
    second = made_up(reverse, draws=1).assign(dataset="fashion-mnist:1-9")
    both = pd.concat([first, second.assign(key=second["key"] + " 2")], ignore_index=True)
    found = damage.pairs_table(both, "C 4").set_index("reading").loc[rad.OWN]
    assert found["pairs"] == 2 and found["pairs where C 4 is worse, slab"] == 1
    # 15 against 4 points, and 15 against 20
    assert found["slab over 4 times flips"] == 0 and found["slab at most flips"] == 1
    mild = made_up(LOST | {"label_flip": FLIP_LOSS | {"vanilla": 0.03}}, draws=1)
    assert damage.pairs_table(mild, "C 4")["slab over 4 times flips"].tolist()[1:] == [1, 1]
    assert damage.pairs_table(first.iloc[:0], "C 4").empty


def test_tables_of_the_notebook():
    found = rad.compared(made_up(LOST))
    apart = damage.differences(found, ["C 4"])
    assert len(apart) == 20 and apart["difference"].iloc[0] == pytest.approx(
        rad.by_draw(rad.at(found, FLIPS), rad.RELEASED).eval("`C 4` - vanilla").iloc[0])
    assert len(damage.readings(found, ["vanilla", "C 4"])) == 4
    noise = damage.conventions([0.1], norm=4.0, n=10800, batch_size=300, epochs=40.0)
    assert noise["z"].tolist() == [0.025, 0.1] and (noise["epsilon, at most"] > 1000).all()
    assert prototypes.table(found)["kinds, most"].tolist() == [3.0]
    assert "3 points, repeated; the most frequent one holds 90%" in prototypes.finding(found)
