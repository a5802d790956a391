"""Turner's thesis, JPEG and the stamp: runs, rows and tables of mislabelled poisons."""

import functools
import math

import numpy as np
import pandas as pd
import pytest

from lib.attacks.badnets import BadNets
from lib.papers.turner import dirty, jpeg, subtle_figures, victims
from lib.papers.turner.jpeg import AMPLITUDE, COMPRESSED, DATA, SAVED
from lib.study import measure
from lib.study.table import table

TARGETS, LEVELS = (4, 5, 0), (16, 255)
SETTINGS = dict(poisons=60, targets=TARGETS)
GREY = victims.small().with_(dataset="mnist", model="cnn", training__epochs=6.0)


# ---- runs

def test_only_the_stamp_sets_poisons_apart():
    runs = jpeg.stamped(victims.small(), LEVELS, **SETTINGS)
    poisoned = [run for run in runs if run.attack.in_world == "P"]
    assert {(run.attack.amplitude, run.attack.jpeg) for run in poisoned} == {
        (16, None), (16, 75), (255, None), (255, 75)}
    assert all(isinstance(run.attack, BadNets) and run.attack.poisons == 60
               and run.attack.position == "bottom-right" for run in poisoned)
    assert len(poisoned) == 4 * 3 and len(runs) == 5 * 3


def test_the_full_amplitude_is_the_attack_of_notebook_30():
    theirs = {run.key for run in dirty.attacked(victims.small(), [60], targets=TARGETS)}
    ours = {run.key for run in jpeg.stamped(victims.small(), [255], qualities=[None],
                                            **SETTINGS)}
    assert ours == theirs


def test_controls_are_compressed_or_not():
    runs = jpeg.controls(GREY, LEVELS, **SETTINGS)
    assert {run.dataset for run in runs} == {"mnist", "mnist-jpeg"}
    saved = [run for run in runs if run.attack.jpeg is not None]
    assert len(saved) == 2 * 3 and {run.dataset for run in saved} == {"mnist-jpeg"}
    assert len({measure.identity(run) for run in runs if run.attack.in_world == "C"}) == 2 * 3
    assert len(runs) == 3 * (2 + 1) + 3 * (4 + 1)


# ---- rows

@functools.cache
def asked():
    runs = (jpeg.stamped(victims.small(), LEVELS, **SETTINGS)
            + jpeg.controls(GREY, LEVELS, **SETTINGS))
    return table(list({run.key: run for run in runs}.values()))


def made_up():
    """Rows as `study.run` returns them: saving takes success from the faint stamp alone."""
    frame, lines, random = asked(), [], np.random.RandomState(0)
    for _, row in frame.iterrows():
        success = 0.6 if row["attack.amplitude"] == 16 else 0.9
        success -= 0.4 * (row["attack.jpeg"] == 75) * (row["attack.amplitude"] == 16)
        success = (success if row["world"] == "P" else 0.04) + 0.005 * random.randn()
        lines.append({"status": "ok", "floor": 0.03, "lift": success - 0.03, "success": success,
                      "accuracy": 0.7, "trigger_auc": 0.5, "target_recall": 0.7,
                      "epsilon": math.inf, "facts.poisons": 60})
    return frame.assign(**pd.DataFrame(lines, index=frame.index))


def test_rows_say_what_was_compressed():
    found = jpeg.prepared(made_up())
    assert found["world"].eq("P").all() and found["natural"].eq(0.03).all()
    assert set(found[DATA]) == {"cifar10", "mnist"}
    assert set(found[COMPRESSED]) == {
        "never compressed", "JPEG data, then stamped", "stamped, then saved as JPEG"}
    own = found[found["dataset"].eq("cifar10-jpeg")]
    assert "never compressed" not in set(own[COMPRESSED]) and set(own[AMPLITUDE]) == {16, 255}
    assert own[SAVED].eq(own[COMPRESSED].eq("stamped, then saved as JPEG")).all()


def test_what_saving_changes():
    found = jpeg.prepared(made_up())
    own = found[found["dataset"].eq("cifar10-jpeg")]
    means = subtle_figures.saved_gains(mislabelled=own).groupby("than")["difference"].mean()
    assert means["mislabelled, amplitude 16"] == pytest.approx(-0.4, abs=0.02)
    assert means["mislabelled, amplitude 255"] == pytest.approx(0, abs=0.02)
    lines = subtle_figures.compression_table(found)
    assert len(lines) == 2 * 2 + 2 * 3 and lines["classes"].eq(3).all()
    assert list(lines.columns) == [DATA, AMPLITUDE, COMPRESSED, "classes", "success, %",
                                   "natural, %", "lift, %", "accuracy, %"]


def test_without_rows_nothing_is_measured():
    found = jpeg.prepared(made_up().iloc[:0])
    assert found.empty and subtle_figures.compression_table(found).empty
    assert subtle_figures.saved_gains(mislabelled=found).empty
