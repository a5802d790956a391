"""What trains together and when: the same sweep makes the same rows, a budget is kept, an estimate
counts what was measured here.
"""

import itertools
import json
import time

import pytest

from lib import ledger, paths, study
from lib.attacks.badnets import BadNets
from lib.commands import options, rounds
from lib.commands.execution import Result
from lib.commands.passes import Pass
from lib.defences.alibi import ALIBI
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.study import Run, grid, inputs, measure, sweep
from lib.training import Training

TINY = Run(train_size=300, test_size=100, model="linear", attack=BadNets(7, 1, 0.5),
           training=Training(epochs=1.0, batch_size=50))
LONGER = TINY.with_(training__epochs=2.0)
TIMES = ("started", "seconds", "group_seconds")


def requests(runs):
    return [{"notebook": "", "key": one.key, "run": one.to_dict()} for one in runs]


def made_up(run, seconds, *, device=None):
    """A row that says how long a run took."""
    return {"key": run.key, "status": "ok", "run": run.to_dict(), "metrics": {}, "privacy": {},
            "provenance": {"device": device or inputs.device_name(), "seconds": seconds}}


def alike(number, *, base=TINY, first=100):
    """Runs of the shape of `base`."""
    return grid(base, init_seed=range(first, first + number))


def sizes(runs, **how):
    return [len(batch) for batch in sweep.Sweep(runs, how.pop("budget", None), **how).batches()]


# ---- the same rows

@pytest.mark.parametrize("jobs", [1, 2])
def test_the_same_sweep_makes_the_same_rows_bit_for_bit(store, monkeypatch, jobs):
    monkeypatch.setattr(sweep, "_first_group", lambda jobs: 4)
    runs = grid(TINY, defence=[DPSGD(1.0), DPSGD(2.0),
                               LabelNoise(0.2), ALIBI(2.0)], init_seed=range(3))
    made, true, ticks = [], time.perf_counter, itertools.count()
    for turn in ("first", "second"):
        monkeypatch.setenv("STUDY_STORE", str(store / turn))
        study.train(requests(runs), jobs=jobs, report=lambda line: None)
        rows = {row["key"]: row for row in ledger.stored()}
        assert rows.keys() == {run.key for run in runs}
        for row in rows.values():
            row["provenance"] = {
                name: value for name, value in row["provenance"].items() if name not in TIMES
            }
        made.append({key: json.dumps(row, sort_keys=True) for key, row in rows.items()})
        # The second sweep is a slow one: were groups made by its speed, they would hold other runs.
        monkeypatch.setattr(measure.time, "perf_counter", lambda: true() + 1000.0 * next(ticks))
    assert made[0] == made[1]
    assert {row["provenance"]["group_size"]
            for row in map(json.loads, made[0].values())} == {4, 2, 3}


def test_speeds_of_a_sweep_change_its_groups_only_where_time_is_short(store):
    for budget, later in ((None, 8), (1e6, 2)):
        going = sweep.Sweep(alike(20), budget)
        first = next(going.batches())
        # with a budget, one run tells how long the others take
        assert len(first) == (8 if budget is None else 1)
        going.finish(first, [
            made_up(one, 60.0) | {"metrics": {"accuracy": 1.0, "success": 0.0}} | {
                "provenance": {
                    "seconds": 60.0, "group_seconds": 60.0, "device": inputs.device_name()
                }
            } for one in first
        ])
        assert len(next(going.batches())) == later


def test_rows_of_the_same_command_do_not_decide_what_trains_together(store):
    before = alike(3)
    for one in before:
        ledger.write(made_up(one, 60.0))
    assert sizes(alike(6, first=0)) == [2, 2, 2]  # two minutes
    assert sizes(alike(6, first=0), untimed=[one.key for one in before]) == [6]


def test_a_later_round_of_a_report_does_not_count_the_rows_of_an_earlier_one(monkeypatch):
    given, known = [], set()

    class Notebooks:
        settings, jobs, out, wanted = {}, 1, paths.BUILD, ["a", "b", "c"]

        def run(self, names, seen, *, folder):
            seen.results["11"] = Result("11", None, None, 1.0)
            seen.asked["11"] = {
                key: {"notebook": "11", "key": key, "run": {}, "known": key in known}
                for key in self.wanted[:len(known) + 1]
            }

    def worker(action, asked, **how):
        given.append(how["untimed"])
        known.update(request["key"] for request in asked)
        return len(asked)

    monkeypatch.setattr(rounds, "call_worker", worker)
    notebooks, seen = Notebooks(), Pass()
    notebooks.run(["11"], seen, folder=None)
    rounds.train_missing(notebooks, seen, options.parse(["report"]), time.monotonic())
    assert given == [[], ["a"], ["a", "b"]]


def test_the_groups_of_a_shape_that_is_known_take_two_minutes(store):
    for seconds, expected in ((50.0, [2, 2, 1]), (500.0, [1, 1, 1, 1, 1]), (0.0, [5])):
        shape = TINY.with_(training__epochs=1.0 + seconds)
        ledger.write(made_up(shape, seconds))
        sweep._known_seconds.cache_clear()
        assert sizes(alike(5, base=shape)) == expected


# ---- a budget

def test_a_budget_starts_what_ends_in_time(store, monkeypatch):
    monkeypatch.setattr(sweep, "START_SECONDS", 10.0)
    ledger.write(made_up(TINY, 5.0))
    # 0.8 of 101 seconds; each batch is asked for at once
    assert sizes(alike(40), budget=111.0) == [16] * 2 + [8]
    assert sizes(alike(40), budget=17.0) == [1] * 40
    assert sizes(alike(40), budget=16.0) == [] == sizes(alike(3, base=LONGER), budget=9.0)
    assert sizes(alike(3, base=LONGER), budget=11.0) == [1, 1, 1]


SLOW = """
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Slow:
    def group(self, run):
        return ("slow", run.init_seed)

    def train(self, runs, poisoned):
        time.sleep(60)
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_does_not_end_in_time_is_given_up(store, monkeypatch, tmp_path, jobs):
    (tmp_path / "mine.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "START_SECONDS", 0.0)
    runs, said = grid(TINY.with_(defence={"name": "mine.py:Slow"}), init_seed=range(3)), []
    started = time.monotonic()
    assert study.train(requests(runs), budget=2.0, jobs=jobs, report=said.append) == 0
    assert time.monotonic() - started < 10 and ledger.stored() == []
    assert said == ["budget: 3 of 3 runs left to train next time"]


# ---- an estimate

def test_an_estimate_is_what_runs_of_this_shape_took_on_this_device(store):
    for one, seconds in zip(alike(3, first=0), (1.0, 1.0, 10.0)):
        ledger.write(made_up(one, seconds))
    ledger.write(made_up(alike(1, first=3)[0], 1000.0, device="another one"))
    again = [one.with_(attack_seed=1) for one in alike(3, first=0)]
    assert study.estimate(again) == pytest.approx(sweep.START_SECONDS + 12.0)
    assert study.estimate([one.to_dict() for one in again] + again) == study.estimate(again)
    assert study.estimate([*again, LONGER]) is None and study.estimate([]) == 0.0


def test_an_estimate_prefers_ones_own_rows_to_published_ones(store, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.delenv("STUDY_PUBLISHED")
    paths.RESULTS.mkdir()
    published = [made_up(TINY, 7.0), made_up(LONGER, 9.0)]
    (paths.RESULTS / "11_dpsgd.jsonl").write_text("".join(
        json.dumps(row) + "\n" for row in published))
    ledger.write(made_up(TINY.with_(init_seed=1), 2.0))
    assert study.estimate(alike(1)) == sweep.START_SECONDS + 2.0
    assert study.estimate(alike(1, base=LONGER)) == sweep.START_SECONDS + 9.0


def test_an_estimate_counts_the_processes(store):
    ledger.write(made_up(TINY, 60.0))
    # nine runs in groups of two: of five groups, one has one run
    for jobs, minutes in ((1, 9), (2, 5), (3, 4), (8, 2), (100, 2)):
        assert study.estimate(alike(9),
                              jobs=jobs) == pytest.approx(sweep.START_SECONDS + 60 * minutes)


def test_clean_twins_take_the_time_of_one(store):
    clean = TINY.with_(attack=BadNets(7, 1, 0.5, stamp=False, relabel=False))
    ledger.write(made_up(clean, 30.0))
    twins = [
        clean.with_(attack=BadNets(base, 1, 0.5, stamp=False, relabel=False), attack_seed=base)
        for base in (2, 3, 5)
    ]
    assert study.estimate(twins) == sweep.START_SECONDS + 30.0


@pytest.mark.parametrize("change", [
    dict(train_size=299),
    dict(test_size=99),
    dict(public=1),
    dict(model="mlp"),
    dict(training__epochs=3.0),
    dict(defence=DPSGD(1.0, engine="opacus-hooks")),
    dict(defence=LabelNoise(0.2))
])
def test_what_the_time_depends_on_is_in_the_shape(change):
    assert sweep._shape(TINY.with_(**change)) != sweep._shape(TINY.with_(defence=DPSGD(1.0)))
    assert sweep._shape(TINY.with_(defence=DPSGD(1.0))) == sweep._shape(
        TINY.with_(defence=DPSGD(2.0), init_seed=3, training__lr=0.2))


def test_teachers_and_partitions_are_in_the_shape():
    from lib.defences.partition import Partition
    from lib.defences.pate import PATE
    shapes = {
        sweep._shape(TINY.with_(defence=defence))
        for defence in (PATE(teachers=5), PATE(teachers=50), Partition(5), Partition(50))
    }
    assert len(shapes) == 4
