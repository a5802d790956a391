"""Saved plans: what is in them, what is refused, and rows that come home."""

import json

import pytest

from lib import ledger
from lib.attacks.badnets import BadNets
from lib.commands import Problem, elsewhere, options, worker
from lib.study import Run, grid, plans
from lib.training import Training

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BASE = Run(dataset="strokes", train_size=300, test_size=200, public=100, model="linear",
           training=Training(epochs=1.0, batch_size=50), attack=BadNets(fraction=0.2))


@pytest.fixture
def store(tmp_path, monkeypatch):
    def use(name):
        monkeypatch.setenv("STUDY_STORE", str(tmp_path / name))
        return tmp_path / name
    monkeypatch.setenv("STUDY_COMMIT", COMMIT)
    monkeypatch.setenv("STUDY_DEVICE", "cpu")
    from lib.study import measure
    measure.provenance.cache_clear()
    use("home")
    yield use
    measure.provenance.cache_clear()


def requests(runs):
    return [{"notebook": "11_dpsgd", "key": run.key, "run": json.loads(json.dumps(run.to_dict())),
             "alone": False, "known": False} for run in runs]


def saved(path, runs, *, request=None):
    """A plan of these runs; `request` replaces them, as somebody could by hand."""
    plans.save(path, requests(runs), commit=COMMIT)
    if request:
        plan = json.loads(path.read_text())
        path.write_text(json.dumps(plan | {"runs": [request]}))
    return path


def test_a_plan_holds_the_runs_in_their_order(tmp_path):
    runs = grid(BASE, init_seed=[3, 1, 2])
    path = saved(tmp_path / "runs.json", runs)
    assert [each["key"] for each in plans.load(path)] == [run.key for run in runs]
    assert json.loads(path.read_text())["commit"] == COMMIT
    assert len(path.read_text().splitlines()) == 3 + 2  # a line a run, to read and to compare


@pytest.mark.parametrize("text, said", [
    ("no json", "expected a plan"), ("[1]", "format 1"), ('{"format": 2, "runs": []}', "format 1"),
    ('{"format": 1, "runs": [{"key": "a"}]}', "format 1"),
    ('{"format": 1, "runs": [{"key": "a", "notebook": "", "run": {"datset": "x"}}]}', "datset")])
def test_what_is_no_plan_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "runs.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as problem:
        plans.load(path)
    assert "\n" not in str(problem.value)


def test_a_run_of_another_version_is_refused(tmp_path):
    (request,) = requests([BASE])
    path = saved(tmp_path / "runs.json", [BASE], request=request | {"key": "f" * 64})
    with pytest.raises(ValueError, match=f"another key here .*commit {COMMIT[:12]}"):
        plans.load(path)


@pytest.mark.parametrize("change", [
    {"attack": {"name": "evil.py:Evil"}}, {"dataset": "imagefolder:/etc"},
    {"attack": {"name": "badnets", "trigger": {"pattern": "/secret/a.png"}}},
    {"training": {"transforms": [{"name": "evil.py:Evil"}]}}])
def test_a_plan_cannot_run_code_or_read_files_unless_it_is_asked_to(tmp_path, change, monkeypatch):
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_FOLDERS", str(tmp_path))
    (request,) = requests([BASE])
    path = saved(tmp_path / "runs.json", [BASE],
                 request=request | {"run": request["run"] | change})
    with pytest.raises(ValueError, match="--own-files"):
        plans.load(path)
    assert not ran.exists()


def test_rows_trained_elsewhere_come_home(tmp_path, store, capsys):
    path = saved(tmp_path / "runs.json", grid(BASE, init_seed=[0, 1]))
    away = store("away")
    assert worker.train_plan(str(path), until=None, processes=1, own_files=False) == 0
    told = capsys.readouterr().out
    assert "2 runs in the plan, 2 to train" in told and "rows a second" in told
    assert "2 rows in" in told and "0 left" in told
    store("home")
    assert plans.bring(away) == (2, 0, [])
    assert plans.bring(away) == (0, 2, [])
    row, source = ledger.find(BASE.key)
    assert source == "store" and row["provenance"]["commit"] == COMMIT


def test_a_missing_package_is_one_line_and_no_failed_row(tmp_path, store, monkeypatch):
    path = saved(tmp_path / "runs.json", [BASE])
    away = store("away")

    def train(*given, **how):
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
    monkeypatch.setattr("lib.study.measure.attempts", train)
    with pytest.raises(Problem, match="needs the package torchvision") as problem:
        worker.train_plan(str(path), until=None, processes=1, own_files=False)
    assert "\n" not in str(problem.value) and not list(away.glob("rows/*/*"))


def changed(row, **changes):
    return {**row, **changes}


WRONG = {
    "key": (lambda row: changed(row, key="f" * 64), "expected"),
    "twin": (lambda row: changed(row, twin="f" * 64), "key"),
    "run": (lambda row: changed(row, run=row["run"] | {"init_seed": 7}), "another version"),
    "field": (lambda row: changed(row, run=row["run"] | {"colour": 7}), "colour"),
    "whole": (lambda row: {name: row[name] for name in row if name != "privacy"}, "privacy"),
    "failed": (lambda row: changed(row, status="failed"), "status"),
    "commit": (lambda row: changed(row, provenance=row["provenance"] | {"commit": "unknown"}),
               "STUDY_COMMIT"),
    "dirty": (lambda row: changed(row, provenance=row["provenance"] | {"dirty": True}),
              "changed files"),
    "finite": (lambda row: changed(row, metrics={"accuracy": float("nan")}), "NaN"),
    "numbers": (lambda row: changed(row, metrics={"accuracy": "1"}), "finite"),
}


@pytest.mark.parametrize("what", WRONG)
def test_rows_are_checked_before_they_come_home(tmp_path, store, what):
    path = saved(tmp_path / "runs.json", [BASE])
    away = store("away")
    worker.train_plan(str(path), until=None, processes=1, own_files=False)
    (file,) = away.glob("rows/*/*.json")
    change, said = WRONG[what]
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    home = store("home")
    new, known, refused = plans.bring(away)
    assert (new, known) == (0, 0) and said in refused[0] and "\n" not in refused[0]
    assert not list(home.glob("rows/*/*"))


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows in it"):
        plans.bring(tmp_path)


def test_the_commands(tmp_path, store, capsys):
    plan = saved(tmp_path / "runs.json", [BASE])
    away = tmp_path / "away"
    given = options.parse(["train", str(plan), "--budget", "2m", "--store", str(away),
                           "--device", "cpu"])
    assert elsewhere.train(given) == 0 and list(away.glob("rows/*/*.json"))
    given = options.parse(["import", str(away), "--store", str(tmp_path / "home")])
    assert elsewhere.bring(given) == 0
    assert "1 rows imported, 0 known already, 0 refused" in capsys.readouterr().out


def test_a_plan_or_a_folder_that_is_not_there_is_one_line(tmp_path):
    missing = str(tmp_path / "none")
    with pytest.raises(Problem, match="No such file .* expected a plan"):
        worker.train_plan(missing, until=None, processes=1, own_files=False)
    with pytest.raises(Problem, match="no rows in it"):
        worker.bring(missing)
