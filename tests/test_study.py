"""Runs, keys, grouping, the sweep and the ledger: known rows are read, missing ones trained once,
nothing half-written.
"""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib import ledger, parts, paths, privacy, study
from lib.attacks.badnets import BadNets
from lib.attacks.clean_label import CleanLabel
from lib.attacks.convex_polytope import ConvexPolytope
from lib.attacks.feature_collision import FeatureCollision
from lib.attacks.four_pixel import FourPixel
from lib.attacks.gradient_matching import GradientMatching
from lib.attacks.hardening.gan import GAN
from lib.attacks.hardening.noise import Noise
from lib.attacks.hardening.pgd import PGD
from lib.attacks.hardening.pixels import Pixels
from lib.attacks.hidden_trigger import HiddenTrigger
from lib.attacks.insertion import Insertion
from lib.attacks.interpolation import Interpolation
from lib.attacks.label_flip import LabelFlip
from lib.attacks.random_patch import RandomPatch
from lib.attacks.slab import Slab
from lib.data import DataNotFound
from lib.defences.activation_clustering import ActivationClustering
from lib.defences.alibi import ALIBI
from lib.defences.batch_clipping import BatchClipping
from lib.defences.deep_knn import DeepKNN
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.defences.label_probability import LabelProbability
from lib.defences.lpmst import LPMST
from lib.defences.micro_batches import MicroBatches
from lib.defences.output_noise import OutputNoise
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.defences.quantile_clipping import QuantileClipping
from lib.defences.smoothing import Smoothing
from lib.defences.spectral_signatures import SpectralSignatures
from lib.study import Run, from_dict, grid, inputs, measure, sweep
from lib.training import Training
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.cutmix import CutMix
from lib.training.transforms.cutout import Cutout
from lib.training.transforms.flip import Flip
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.maxup import MaxUp
from lib.training.transforms.mixup import Mixup
from lib.training.transforms.public_mixup import PublicMixup
from lib.training.transforms.self_mixup import SelfMixup
from lib.training.transforms.view import View

GOLDEN_KEYS = ['1e9d981fdd18', 'b0818cdd02b2']

TINY = Run(train_size=300, test_size=100, model="mlp", attack=BadNets(7, 1, 0.5), training=Training(
    epochs=1.0, batch_size=50))


def rows_on_disk(store):
    return sorted(path.name for path in store.glob("rows/*/*.json"))


# ---- runs and keys

def test_a_run_survives_json_and_keeps_its_key():
    for run in (TINY, TINY.with_(defence=LabelNoise(0.3)),
                TINY.with_(defence=DPSGD(None, epsilon=3.0))):
        again = from_dict(json.loads(json.dumps(run.to_dict())))
        assert again == run and again.key == run.key


def test_a_defence_that_was_not_given_what_it_asks_for_says_so():
    run = TINY.with_(public=0, defence=PATE(10))
    data = measure.poisoned(TINY)
    with pytest.raises(ValueError, match="no public records: expected"):
        run.defence.train([run], [data])
    with pytest.raises(ValueError, match="no images beside the features: expected"):
        Partition(5).assign(data)
    with pytest.raises(ValueError, match="defence dpsgd in a group of ALIBI: expected all runs"):
        ALIBI(1.0).train([TINY], [data])
    with pytest.raises(ValueError, match="epsilon 3.0 without a noise_multiplier"):
        DPSGD(None, epsilon=3.0).guarantee(TINY, 100)


def test_every_field_of_a_run_is_in_its_key():
    changes = dict(dataset="mnist", train_size=301, test_size=99, public=1, features="patches",
                   model="cnn", precision="fast", split="tune", attack_seed=1, init_seed=1,
                   noise_seed=1, attack__fraction=0.4, attack__stamp=False,
                   defence__noise_multiplier=1.0, training__lr=0.2)
    keys = {TINY.key} | {TINY.with_(**{name: value}).key for name, value in changes.items()}
    assert len(keys) == len(changes) + 1


def test_an_int_in_the_training_of_a_defence_is_the_same_run():
    whole, exact = (Run(defence=PATE(10, teacher=Training(epochs=epochs))) for epochs in (2, 2.0))
    assert whole.key == exact.key == from_dict(whole.to_dict()).key


def test_an_int_where_a_float_belongs_is_the_same_run():
    assert TINY.with_(training=Training(epochs=1, batch_size=50)).key == TINY.key
    assert Run(defence={"name": "dpsgd", "noise_multiplier": 1}).key == Run(
        defence={"name": "dpsgd", "noise_multiplier": 1.0}).key


def test_versions_are_part_of_the_key(monkeypatch):
    from lib import training
    before = TINY.key
    monkeypatch.setattr(training, "VERSION", training.VERSION + 1)
    assert TINY.with_().key != before


@pytest.mark.parametrize(
    "values,match",
    [({"defence": {"name": "dpsdg"}}, "dpsdg"), ({"defence": {"noise_multiplier": 1.0}}, "name"),
     ({"attack": {"name": "badnet"}}, "badnet"),
     ({"defence": {"name": "dpsgd", "noise": 1.0}}, "unknown key 'noise'"),
     ({"epochs": 3}, "unknown key 'epochs'"), ({"training": {"lr": "1e-3"}}, "1.0e-5"),
     ({"defence": {"name": "dpsgd", "delta": "1e-5"}}, "delta"), ({"train_size": 2.5}, "2.5"),
     ({"precision": "bf8"}, "bf8"), ({"split": "train"}, "train"),
     ({"training": {"epochs": 0}}, "epochs"), ({"training": {"sampling": "cyclic"}}, "cyclic"),
     ({"defence": {"name": "dpsgd", "noise_multiplier": -1.0}}, "-1.0"),
     ({"defence": {"name": "dpsgd", "noise_multiplier": None, "epsilon": -3.0}}, "-3.0"),
     ({"defence": {"name": "dpsgd", "delta": 2.0}}, "2.0"),
     ({"defence": {"name": "label_noise", "flip": 1.5}}, "1.5"), ({"public": -1}, "-1")])
def test_bad_values_are_named(values, match):
    with pytest.raises(ValueError, match=match) as error:
        from_dict(values)
    assert "\n" not in str(error.value)


def test_a_field_at_its_default_is_left_out_of_the_key():
    """A field that a part gets later, at its default, changes no key: as if it had been there."""
    assert parts.sparse(Run()) == {}
    one = Run(attack=BadNets(fraction=0.3), defence=DPSGD(2.0), training=Training(lr=0.5), public=5)
    assert parts.sparse(one) == {"attack": {"name": "badnets", "fraction": 0.3}, "public": 5,
                                 "defence": {"name": "dpsgd", "noise_multiplier": 2.0},
                                 "training": {"lr": 0.5}}
    # not the default, which has settings of its own
    teacher = parts.sparse(PATE(teacher=Training()))
    assert teacher == {"name": "pate", "teacher": {}} and parts.sparse(PATE()) == {"name": "pate"}


def test_golden_keys():
    """If this fails, published rows are lost: a default, a name or the way of hashing changed."""
    runs = [
        Run(),
        Run(dataset="mnist", attack=FourPixel(images=3), defence=LabelNoise(), init_seed=2)
    ]
    assert [one.key[:12] for one in runs] == GOLDEN_KEYS


def test_golden_defaults():
    """If this fails, give the field its old default back: old keys leave it out and mean that.

    A new field is added here; nothing that stands here ever changes.
    """
    made = [Run(), BadNets(), FourPixel(), DPSGD(), LabelNoise(), ALIBI(), LPMST(), PATE(),
            Partition(), Smoothing(), OutputNoise(1.0), Training(), Flip(), Crop(),
            FeatureCollision(), LabelFlip(), Slab(), Interpolation(), Insertion(),
            QuantileClipping(), BatchClipping(), Mixup(), CutMix(), Cutout(), Laplace(),
            SelfMixup(), Adversarial(), MaxUp(), CleanLabel(), HiddenTrigger(),
            GradientMatching(), ConvexPolytope(), PublicMixup(),
            RandomPatch(), SpectralSignatures(), ActivationClustering(), DeepKNN(), PGD(), GAN(),
            Noise(), Pixels(), LabelProbability(), MicroBatches(), View()]
    found = {type(one).__name__: json.loads(json.dumps(parts.plain(one))) for one in made}
    assert found == json.loads((pathlib.Path(__file__).parent / "defaults.json").read_text())


def test_a_row_names_its_twin():
    worlds = study.worlds(TINY, "PLTC")
    assert len({one.key for one in worlds}) == 4 and {one.twin for one in worlds} == {TINY.key}
    assert TINY.with_(init_seed=1).twin != TINY.twin


# ---- training and reading back

def test_missing_rows_are_trained_once_and_known_ones_read(store, capsys):
    runs = [TINY, TINY.with_(attack__stamp=False), TINY, TINY.with_(defence=DPSGD(1.0))]
    first = study.run(runs)
    assert (first["status"] == "ok").all() and len(rows_on_disk(store)) == 3
    assert first["key"][0] == first["key"][2]
    assert "[3/3]" in capsys.readouterr().out
    second = study.run(runs)
    assert capsys.readouterr().out == ""
    assert first.drop(columns="source").equals(second.drop(columns="source"))


def test_read_only_trains_nothing_and_notes_what_was_asked(store, monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_MODE", "read-only")
    monkeypatch.setenv("STUDY_ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("STUDY_NOTEBOOK", "11_dpsgd")
    frame = study.run([TINY])
    assert frame["status"].tolist() == ["not measured"] and math.isnan(
        frame["accuracy"][0]) and rows_on_disk(store) == []
    asked = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    study.run([TINY], of="10_setup")  # which publishes it
    assert json.loads((tmp_path / "asked").read_text().splitlines()[1])["notebook"] == "10_setup"
    assert asked == [{
        "notebook": "11_dpsgd", "key": TINY.key, "run": json.loads(json.dumps(TINY.to_dict())),
        "alone": False, "known": False, "status": "", "source": "", "reason": ""
    }]


def test_an_empty_study_has_the_columns_of_any_other(store):
    assert list(study.run([]).columns) == list(study.run([TINY]).columns)


def test_clean_twins_of_different_attacks_train_once_and_are_measured_each(store):
    clean = TINY.with_(attack__stamp=False, attack__relabel=False)
    runs = [
        clean.with_(attack=BadNets(b, t, 0.5, stamp=False, relabel=False), attack_seed=b)
        for b, t in ((7, 1), (3, 5), (0, 2))
    ]
    assert len({measure.identity(run) for run in runs}) == 1
    rows = measure.train_rows(runs)
    assert rows[0]["provenance"]["group_size"] == 1
    assert len({row["metrics"]["accuracy"]
                for row in rows}) == 1 and len({row["key"] for row in rows}) == 3
    assert measure.identity(TINY) != measure.identity(TINY.with_(attack_seed=1))


def test_a_group_and_a_run_alone_give_the_same_row(store):
    runs = grid(TINY, defence=[DPSGD(0.5), DPSGD(2.0)], init_seed=[0, 1])
    together = {row["key"]: row for row in measure.train_rows(runs)}
    for run in runs:
        alone = measure.train_rows([run])[0]
        assert alone["metrics"]["accuracy"] == pytest.approx(
            together[run.key]["metrics"]["accuracy"], abs=0.011)
        assert alone["metrics"]["loss"] == pytest.approx(together[run.key]["metrics"]["loss"],
                                                         abs=1e-3)


def test_a_failing_run_becomes_a_row_and_the_others_go_on(store):
    bad = TINY.with_(attack__fraction=0.001)  # no image
    frame = study.run([bad, TINY, TINY.with_(attack__stamp=False)])  # one group
    assert frame["status"].tolist() == ["failed", "ok", "ok"]
    row, _ = ledger.find(bad.key)
    assert "no image" in row["error"]
    said = []
    assert study.train([{"key": bad.key, "run": bad.to_dict()}],
                       report=said.append) == 0 and said == []
    study.train([{"key": bad.key, "run": bad.to_dict()}], retry_failed=True, report=said.append)
    assert len(said) == 1 and "FAILED" in said[0]


def test_what_is_wrong_with_the_machine_is_no_result(store, monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(DataNotFound):
        study.run([TINY.with_(dataset="cifar10-jpeg")])
    assert rows_on_disk(store) == []


def test_a_published_row_is_not_hidden_by_a_failure_of_ones_own(store, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.delenv("STUDY_PUBLISHED")
    study.run([TINY])
    ledger.export([{"notebook": "11_dpsgd", "key": TINY.key}])
    ledger.write({"key": TINY.key, "status": "failed", "run": TINY.to_dict(), "error": "x"})
    assert ledger.find(TINY.key)[1] == "published"


def test_records_of_a_group_must_be_equally_many(store):
    few = TINY.with_(train_size=200)
    with pytest.raises(ValueError, match="expected the same number"):
        from lib.defences import members
        shared = measure.poisoned(TINY)
        fewer = type(shared)(shared.clean, shared.stamped, shared.rows[:200], shared.labels[:200],
                             shared.mask[:200], 10, shared.truth[:200])
        members.fit([TINY, few], [shared, fewer], [{}, {}])


def die(_):
    os._exit(9)


def test_a_killed_worker_is_one_line_and_keeps_what_is_done(store, monkeypatch):
    monkeypatch.setattr(sweep, "_train_plain", die)
    with pytest.raises(RuntimeError, match="run the command again") as error:
        study.train([{"key": TINY.key, "run": TINY.to_dict()}], jobs=2, report=lambda line: None)
    assert "\n" not in str(error.value)


def test_paths_are_recorded_and_end_at_the_result(store):
    frame = study.run([TINY.with_(training__checkpoints=4)])
    curve = study.curves(frame)
    assert curve["step"].is_monotonic_increasing and len(curve) >= 3
    assert curve["accuracy"].iloc[-1] == frame["accuracy"][0] and curve["epoch"].iloc[
        -1] == pytest.approx(1.0)


def test_tuning_holds_out_the_last_tenth_and_never_sees_the_test_set():
    train, held_out = inputs.private_and_test(TINY.with_(split="tune", public=100))
    whole, test = inputs.private_and_test(TINY.with_(public=100))
    assert len(train.labels) == 180 and len(held_out.labels) == 20 and len(
        whole.labels) == 200 and len(test.labels) == 100
    assert (whole.images[180:] == held_out.images).all()


def test_each_tuning_draw_holds_out_another_tenth(store):
    whole, _ = inputs.private_and_test(TINY.with_(public=100))
    for number in range(2, 11):
        one = TINY.with_(split=f"tune-{number}", public=100)
        train, held_out = inputs.private_and_test(one)
        place = slice(200 - 20 * number, 220 - 20 * number)
        assert torch.equal(whole.images[place], held_out.images)
        assert torch.equal(torch.cat([train.labels[:place.start], held_out.labels,
                                      train.labels[place.start:]]), whole.labels)
        assert [len(part) for part in inputs.shared(one)] == [180, 20]
        assert torch.equal(inputs.shared(one)[1], held_out.images)
    with pytest.raises(ValueError, match="split 'tune-11': expected one of test, tune, tune-2"):
        TINY.with_(split="tune-11")


def test_the_triggers_effect_is_followed_along_a_path(store):
    from lib.study import traces
    run = TINY.with_(training__checkpoints=3, training__averages=("tail",), train_size=1000)
    frame = study.run([run])
    curve, last = study.curves(frame), frame["weights"].eq("last")
    trained, _ = study.fit(run)
    before = trained.predict(inputs.shared(run)[1])
    cases, shown = inputs.cases(run)
    moved = (trained.predict(shown) - before[cases.rows]).numpy()
    end = curve[curve["weights"].eq("last")].iloc[-1]
    base, target = run.attack.base, run.attack.target
    margin = moved[:, target] - moved[:, base]
    assert end["trigger_signal"] == pytest.approx(margin.mean(), abs=1e-4)
    rest = np.delete(moved.mean(0), [base, target])
    assert end["trigger_noise"] == pytest.approx(rest.std(ddof=1), abs=1e-4)
    gap = (before[:, target] - before[:, base])[cases.rows].numpy()
    assert (end["gap"], end["gap_sd"]) == pytest.approx((gap.mean(), gap.std(ddof=1)), rel=1e-4)
    wide = traces.trigger(traces.Predictions(before, trained.predict(shown), torch.zeros(0)),
                          cases, None)
    other = np.delete(before[cases.rows].numpy(), target, 1).max(1)
    assert wide["gap"] == pytest.approx((before[cases.rows, target].numpy() - other).mean(),
                                        rel=1e-4)
    nobody = traces.trigger(traces.Predictions(before, before[:0], torch.zeros(0)),
                            replace(cases, wanted=None), None)
    assert set(nobody.values()) == {None}
    # averaged weights lie apart from the last ones, and the table says how far
    assert frame.loc[last, "distance"].isna().all() and (frame.loc[~last, "distance"] > 0).all()


def test_two_processes_give_the_rows_of_one(store, monkeypatch):
    runs = grid(TINY, defence=[DPSGD(0.0, clip=False), LabelNoise(0.2)], init_seed=[0, 1])
    requests = [{"key": run.key, "run": run.to_dict()} for run in runs]
    assert study.train(requests, jobs=2, report=lambda line: None) == 4
    rows = {run.key: ledger.find(run.key)[0] for run in runs}
    alone = {row["key"]: row for half in (runs[:2], runs[2:]) for row in measure.train_rows(half)}
    for key, row in rows.items():
        assert row["metrics"]["loss"] == pytest.approx(alone[key]["metrics"]["loss"], abs=1e-4)


def test_a_budget_stops_whole_and_says_what_is_left(store):
    said = []
    made = study.train([{"key": TINY.key, "run": TINY.to_dict()}], budget=1e-9, report=said.append)
    assert made == 0 and "1 of 1 runs left" in said[-1] and rows_on_disk(store) == []


def test_opacus_trains_the_same_runs(store):
    engines = ("ensemble", "opacus-hooks", "opacus-ghost")
    frame = study.run(
        TINY.with_(defence=DPSGD(1.0, engine=engine), precision=precision)
        for precision in ("float32", "fast")
        for engine in engines)
    assert (frame["status"] == "ok").all()
    for _, group in frame.groupby("precision"):
        assert group["loss"].max() - group["loss"].min() < 1e-3 and group["epsilon"].nunique() == 1


def test_calibrated_noise_reaches_the_epsilon_asked_for(store):
    frame = study.run([TINY.with_(defence=DPSGD(None, epsilon=5.0))])
    assert 5.0 - 1e-3 <= frame["epsilon"][0] <= 5.0 and frame["noise_multiplier"][0] > 0


def test_a_guarantee_follows_sampler_clipping_and_steps():
    run = TINY.with_(training=Training(epochs=3.0, batch_size=50))
    made = DPSGD(1.0).guarantee(run, 1000)
    assert (made.epsilon, made.adjacency, made.sampler, made.steps) == (privacy.dpsgd_epsilon(
        1.0, 0.05, 60, 1e-5), "add-remove", "poisson", 60)
    shuffled = DPSGD(1.0).guarantee(run.with_(training__sampling="shuffle"), 1000)
    assert (shuffled.epsilon, shuffled.adjacency, shuffled.sampler) == (privacy.shuffled_epsilon(
        1.0, 3, 1e-5), "zero-out", "shuffle")
    assert not any(one.guarantee(run, 1000).holds for one in (DPSGD(0.0), DPSGD(1.0, clip=False)))
    assert LabelNoise(0.5).guarantee(10).epsilon == pytest.approx(
        math.log(11)) and not LabelNoise(0.0).guarantee(10).holds


def test_epsilons_say_what_they_mean(store):
    runs = [
        TINY.with_(defence=DPSGD(0.0)),
        TINY.with_(defence=DPSGD(1.0, clip=False)),
        TINY.with_(defence=DPSGD(1.0)),
        TINY.with_(defence=DPSGD(1.0), training__sampling="shuffle"),
        TINY.with_(defence=LabelNoise(0.5))
    ]
    frame = study.run(runs)
    assert frame["adjacency"].tolist() == [
        "none", "none", "add-remove", frame["adjacency"][3], "label"
    ]
    assert frame["epsilon"][:2].tolist() == [math.inf, math.inf]
    assert frame["epsilon"][3] > frame["epsilon"][2]  # no amplification without Poisson sampling
    assert frame["epsilon"][4] == pytest.approx(math.log(11))


def test_averaged_weights_are_further_lines_of_the_same_run(store):
    one = TINY.with_(training__averages=("tail", "ema"), training__checkpoints=3,
                     training__lr=0.5)
    frame = study.run([one, TINY.with_(training__lr=0.5)])
    assert frame["weights"].tolist() == ["last", "tail", "ema", "last"]
    assert frame["key"].nunique() == 2 and len(rows_on_disk(store)) == 2
    last = frame[frame["weights"] == "last"]
    assert last["loss"].nunique() == 1  # measuring further weights changes nothing
    assert frame["loss"][:3].nunique() == 3 and frame["lift"].notna().all()
    curve = study.curves(frame)
    assert curve.groupby("weights")["step"].nunique().tolist() == [3, 3, 3]
    ends = curve.groupby("weights").last()["loss"]
    assert ends["tail"] == frame["loss"][1] and ends["ema"] == frame["loss"][2]


# ---- the files

def test_a_row_is_whole_or_absent(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        ledger.write({"key": "ab" * 32, "status": "ok", "run": {}})
    assert list(store.rglob("*.json")) == [] and list(store.rglob(".tmp-*")) == []


def test_unreadable_rows_are_named_and_passed_over(store):
    study.run([TINY])
    path = next(store.glob("rows/*/*.json"))
    path.write_text(path.read_text()[:50])
    with pytest.warns(UserWarning, match=path.name):
        assert ledger.find(TINY.key) == (None, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert study.run([TINY])["status"].tolist() == ["ok"]  # trained again


def test_rows_hold_no_infinity_and_no_host_name(store):
    study.run([TINY])
    text = next(store.glob("rows/*/*.json")).read_text()
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert row["privacy"]["epsilon"] is None
    assert os.uname().nodename not in text and str(paths.ROOT) not in text
    assert {
        "commit", "dirty", "device", "threads", "versions", "group_seconds", "group_size", "seconds"
    } <= row["provenance"].keys()


def test_published_rows_answer_and_export_replaces_the_file(store, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.delenv("STUDY_PUBLISHED")
    study.run([TINY])
    assert ledger.export([{"notebook": "11_dpsgd", "key": TINY.key},
                          {"notebook": "11_dpsgd", "key": "0" * 64}]) == {"11_dpsgd": (1, 0)}
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "empty"))
    row, source = ledger.find(TINY.key)
    assert source == "published" and row["key"] == TINY.key
    monkeypatch.setenv("STUDY_PUBLISHED", "0")
    assert ledger.find(TINY.key) == (None, "")


SWEEP = """
import sys
sys.path.insert(0, {root!r})
from lib import study
from tests.test_study import TINY
from lib.study import grid
from lib.training import Training
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip
runs = [run for epochs in range(1, 13)
        for run in grid(TINY, training=[Training(epochs=float(epochs), batch_size=10)])]
study.train([{{"key": run.key, "run": run.to_dict()}} for run in runs],
            report=lambda line: print(line, flush=True))
"""


def test_killed_in_the_middle_the_same_command_goes_on(store):
    script = SWEEP.format(root=str(paths.ROOT))
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                               env=environment)
    for _ in range(3):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = {path: path.stat().st_mtime_ns for path in store.glob("rows/*/*.json")}
    assert len(before) >= 3
    time.sleep(0.01)
    again = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                           env=environment, check=True)
    after = {path: path.stat().st_mtime_ns for path in store.glob("rows/*/*.json")}
    # nothing lost, nothing computed twice
    assert len(after) == 12 and before.items() <= after.items()
    assert len(again.stdout.splitlines()) == 12 - len(before)
    for path in after:
        assert json.loads(path.read_text())["status"] == "ok"


def test_a_users_own_defence_and_model(store, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom torch import nn\nfrom lib.defences"
        " import members\nfrom lib.privacy import Guarantee\n@dataclass(frozen=True)\nclass Mine:\n"
        "    keep: float = 0.9\n    def group(self, run):\n        return ('mine', run.model,"
        " run.training, run.precision, self)\n    def train(self, runs, poisoned):\n        count ="
        " [int(self.keep * len(data.rows)) for data in poisoned]\n        group = members.fit(runs,"
        " poisoned, [{'records': torch.arange(n)} for n in count])\n        return"
        " [members.trained(group, i, Guarantee.none('no noise')) for i in range(len(runs))]\ndef"
        " build(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8),"
        " nn.Tanh(), nn.Linear(8, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    run = TINY.with_(defence={"name": "mine.py:Mine", "keep": 0.5}, model="mine.py:build")
    # also where another process trains
    study.train([{"key": run.key, "run": run.to_dict()}], jobs=2)
    frame = study.run([run])
    assert frame["status"].tolist() == ["ok"] and frame["defence.name"].tolist() == ["mine.py:Mine"]
    assert from_dict(run.to_dict()).key == run.key
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# edited\n")
    assert from_dict(run.to_dict()).key != run.key


# ---- the methods of one paper on one axis

def test_one_budget_for_every_method():
    from lib.privacy import Guarantee
    from lib.study import recipes
    for epsilon in (0.7, 2.0):
        for method in ("LP-2ST", "ALIBI"):
            assert recipes.arm(method, epsilon, lr=0.1,
                               epochs=2)["defence"].guarantee().epsilon == epsilon
        noisy = recipes.arm("randomised response", epsilon, lr=0.1,
                            epochs=2)["defence"].guarantee(10)
        assert isinstance(noisy, Guarantee) and noisy.epsilon == pytest.approx(epsilon)
    private = recipes.arm("DP-SGD", 2, lr=0.1, epochs=2, batch_size=50)
    assert TINY.with_(
        **private).defence.epsilon == 2.0 and private["training"].sampling == "poisson"
    assert recipes.arm("DP-SGD", None, lr=0.1, epochs=2)["defence"] == DPSGD(0.0)
    untouched = recipes.arm("randomised response", None, lr=0.1, epochs=2)["defence"]
    assert untouched == LabelNoise(0.0) and not untouched.guarantee(10).holds
    with pytest.raises(ValueError, match="method 'SGD'"):
        recipes.arm("SGD", 1.0, lr=0.1, epochs=2)


def test_the_nearest_tuning_serves():
    from lib.study import recipes
    found = [
        recipes.tuned({1.0: "a", 4.0: "b"}, epsilon)
        for epsilon in (0.1, 1.0, 1.9, 2.0, 2.1, 4.0, 9.0, None)
    ]
    assert found == ["a", "a", "a", "a", "b", "b", "b", "b"]


def test_rows_are_named_by_their_method(store):
    from lib.study import recipes
    arms = ("undefended", "DP-SGD", "LP-2ST", "ALIBI", "randomised response")
    runs = [TINY.with_(**recipes.arm(arm, 1.0, lr=0.1, epochs=1, batch_size=50))
            for arm in arms] + [TINY.with_(defence=DPSGD(0.0))]
    assert recipes.names(study.table.table(runs)) == [
        "undefended", "DP-SGD", "LP-2ST", "ALIBI", "label noise", "clip only"
    ]


def test_instances_share_training_seeds_and_worlds_share_all_else():
    runs = study.instances(TINY, [(7, 1), (3, 5), (0, 2), (4, 9)])
    assert [one.attack_seed for one in runs] == [0, 1, 2, 3] and [one.init_seed
                                                                  for one in runs] == [0, 1, 2, 0]
    assert [one.init_seed for one in study.instances(TINY, [(7, 1), (3, 5)] * 3, seeds=None)] == [
        0, 1, 2, 3, 4, 5
    ]
    worlds = study.worlds(TINY, "PLTC")
    assert [one.attack.in_world for one in worlds] == ["P", "L", "T", "C"]
    assert all(one.with_(attack__stamp=True, attack__relabel=True) == TINY for one in worlds)


def test_losses_on_training_samples_are_recorded_along_a_path(store):
    from lib.study import traces
    run = TINY.with_(training__checkpoints=3, train_size=1000, attack__fraction=0.5)
    frame = study.curves(study.run([run]))
    assert frame[["loss_poison", "loss_base", "loss_clean"]].notna().all().all()
    trained, data = study.fit(run)
    inputs = torch.cat([data.clean, data.stamped])[data.rows]
    each = torch.nn.functional.cross_entropy(trained.predict(inputs), data.labels, reduction="none")
    found = traces.losses(trained.predict, data, 7)
    base = data.truth == 7
    for name, kind in (("loss_poison", data.mask), ("loss_base", base & ~data.mask),
                       ("loss_clean", ~base & ~data.mask)):
        assert found[name] == pytest.approx(each[kind].mean().item(), rel=1e-4) == pytest.approx(
            frame[name].iloc[-1], rel=1e-4)
    assert traces.losses(trained.predict, data, None)["loss_base"] is None


def test_runs_asked_for_alone_share_no_group(store):
    runs = grid(TINY, init_seed=range(3))
    assert set(study.run(runs[:2])["group_size"]) == {2}
    timed = grid(TINY, init_seed=range(3, 6))
    assert set(study.run(timed, alone=True)["group_size"]) == {1}


def test_means_come_with_their_interval():
    import pandas as pd

    from lib import metrics
    frame = pd.DataFrame({
        "arm": ["a", "a", "a", "b"], "lift": [0.1, 0.2, 0.6, 0.5], "accuracy": [0.5, 0.6, 0.7, 0.8]
    })
    found = study.means(frame, by="arm", columns={"accuracy": "accuracy", "lift": "the lift"})
    interval = metrics.mean_interval(frame["lift"][:3], bounds=(-1, 1))
    assert found["the lift"].tolist() == [
        f"0.300 [{interval.low:.3f}, {interval.high:.3f}]".replace("-", "\N{MINUS SIGN}"), 0.5
    ]
    assert found["accuracy"].tolist() == pytest.approx([0.6, 0.8])


def own(folder, text):
    """A user's own file."""
    (folder / "mine.py").write_text(text)


@pytest.mark.parametrize(
    "text, spec, says",
    [
        (
            "class Mine: pass",
            {"attack": {"name": "mine.py:Mine"}},
            "expected a class with @dataclass",
        ),
        (
            "def Mine(): pass",
            {"defence": {"name": "mine.py:Mine"}},
            "expected a class with @dataclass",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass Mine:\n    base: int = 1",
            {"attack": {"name": "mine.py:Mine"}},
            "frozen=True",
        ),
        (
            (
                "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Mine:\n    base:"
                " int = 1"
            ),
            {"attack": {"name": "mine.py:Mine"}},
            "has no goal, worlds, in_world, world, craft",
        ),
        (
            (
                "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Mine:\n    def"
                " train(self, runs, sets): pass"
            ),
            {"defence": {"name": "mine.py:Mine"}},
            "has no group",
        ),
    ],
)
def test_an_attack_or_a_defence_of_ones_own_that_lacks_something_is_told(
    tmp_path, monkeypatch, text, spec, says
):
    monkeypatch.chdir(tmp_path)
    own(tmp_path, text)
    with pytest.raises(ValueError, match=says):
        TINY.with_(**spec)


@pytest.mark.parametrize(
    "body, says", [("return nn.Linear(3, 2)", "mine.py:build: RuntimeError: .*mat1 and mat2"),
                   ("raise KeyError('oops')", "mine.py:build: KeyError: 'oops'"),
                   ("return 'net'", "expected a torch.nn.Module"),
                   ("return nn.Sequential(nn.Flatten(), nn.Linear(784, classes + 2))",
                    r"output of shape \(2, 12\): expected \(2, 10\)")])
def test_a_network_of_ones_own_is_tried_before_it_is_trained(tmp_path, monkeypatch, body, says):
    from lib import models

    monkeypatch.chdir(tmp_path)
    own(tmp_path, f"from torch import nn\ndef build(shape, classes):\n    {body}\n")
    with pytest.raises(ValueError, match=says):
        models.build("mine.py:build", (1, 28, 28), 10)


def test_an_attack_of_ones_own_needs_no_more_than_the_start_notebook_says(
        store, tmp_path, monkeypatch):
    import re as expressions

    from lib.paths import NOTEBOOKS
    from lib.study import run, worlds

    text = (NOTEBOOKS / "00_start_here.py").read_text("utf-8")
    examples = [
        part.replace("\n# ", "\n").replace("\n#", "\n")
        for part in expressions.findall(r"# ```python\n(.*?)# ```", text, expressions.DOTALL)
    ]
    assert len(examples) == 2
    monkeypatch.chdir(tmp_path)
    for name, example in zip(("my_attack", "my_defence"), examples):
        (tmp_path / f"{name}.py").write_text(example.removeprefix("# "))
    start = TINY.with_(attack={"name": "my_attack.py:Mine"},
                       defence={"name": "my_defence.py:Mine", "keep": 0.5})
    frame = run(worlds(start))
    assert frame["status"].tolist() == ["ok"] * 3 and frame["world"].tolist() == ["P", "L", "C"]


def test_files_of_ones_own_are_found_beside_the_parameter_files(tmp_path, monkeypatch):
    from lib import models

    own(
        tmp_path,
        "from torch import nn\ndef build(shape, classes):\n    return nn.Sequential(nn.Flatten(),"
        " nn.Linear(784, classes))\n",
    )
    with pytest.raises(ValueError, match="no file 'mine.py' in"):
        models.build("mine.py:build", (1, 28, 28), 10)
    monkeypatch.setenv("STUDY_FOLDERS", str(tmp_path))
    assert models.build("mine.py:build", (1, 28, 28), 10)[1].out_features == 10


def test_a_failed_run_is_told_each_time_and_tried_again_when_asked(store, monkeypatch, capsys):
    from lib.study import run

    bad = TINY.with_(train_size=20, public=0, training__batch_size=500)
    for retry, trained in (("0", True), ("0", False), ("1", True)):
        monkeypatch.setenv("STUDY_RETRY", retry)
        frame = run([bad])
        said = capsys.readouterr()
        assert frame["status"].tolist() == [
            "failed"
        ] and "1 of 1 runs failed: ValueError" in said.err and "STUDY_RETRY=1" in said.err
        assert ("FAILED" in said.out) == trained


def test_export_says_what_it_removes_and_publishes_no_path_of_this_machine(
        store, tmp_path, monkeypatch):
    from lib import ledger, paths

    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    rows = [{
        "key": str(n) * 64, "status": "ok", "run": {"model": "cnn"}, "metrics": {}, "privacy": {},
        "provenance": {}
    } for n in range(3)]
    for row in rows:
        ledger.write(row)
    requests = [{"notebook": "11_x", "key": row["key"]} for row in rows]
    assert ledger.export(requests) == {"11_x": (3, 0)}
    assert ledger.export(requests[:1]) == {"11_x": (1, 2)}
    before = (tmp_path / "results" / "11_x.jsonl").read_text()
    assert ledger.export([{"notebook": "11_x", "key": "9" * 64}]) == {"11_x": (0, 0)}
    for private in ("/home/ann/net.py:build", "imagefolder:/home/ann/images"):
        ledger.write(rows[0] | {"run": {"model": private}})
        with pytest.raises(ValueError, match="cannot publish"):
            ledger.export(requests[:1])
    assert (tmp_path / "results" / "11_x.jsonl").read_text() == before


@pytest.mark.parametrize("answer", ["None", "[]", "[1 for _ in runs]"])
def test_a_defence_of_ones_own_that_returns_something_else_is_told(store, tmp_path, monkeypatch,
                                                                   answer):
    from lib.study import run

    monkeypatch.chdir(tmp_path)
    own(
        tmp_path,
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Mine:\n    def"
        " group(self, run):\n        return 'mine'\n    def train(self, runs, poisoned):\n       "
        f" return {answer}\n",
    )
    start = TINY.with_(defence={"name": "mine.py:Mine"})
    run([start])
    row = ledger.find(start.key)[0]
    assert row[
        "status"] == "failed" and "expected a list of 1 lib.defences.Trained" in ledger.reason(row)
