"""The command line: the environment, errors about wrong input, and builds of a small project."""

import ast
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import build
from lib import processes
from lib.commands import Problem, execution, options, passes, profiles, report, rounds, tests
from lib.commands.notebooks import cleaned, publish

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = (ROOT / "environment.yml").read_text("utf-8")


# ---------------------------------------------------------------- environment.yml

def test_environment_is_read_as_yaml_reads_it():
    listed = yaml.safe_load(ENVIRONMENT)["dependencies"]
    python, pip = build.read_environment(ENVIRONMENT)
    assert pip == next(entry["pip"] for entry in listed if isinstance(entry, dict))
    assert f"python{python}" in listed


def test_environment_keeps_to_the_pip_list():
    text = (
        "dependencies:\n  - python>=3.11\n  - pip\n  - pip:\n    - a>=1  # why\n    - 'b'\n  -"
        " gcc\n"
    )
    assert build.read_environment(text) == (">=3.11", ["a>=1", "b"])
    with pytest.raises(Problem, match="pip list"):
        build.read_environment("dependencies:\n  - python>=3.11\n")


def test_every_requirement_is_understood_and_met_here():
    _, pip = build.read_environment(ENVIRONMENT)
    for text in pip:
        name, ranges = build.split_requirement(text)
        assert Requirement(text).name == name and Requirement(text).specifier == SpecifierSet(
            ranges)
    assert build.missing_packages(pip) == []


def test_missing_packages_are_named():
    assert build.missing_packages(["no-such-package>=1"]) == ["no-such-package>=1 (found none)"]
    assert re.fullmatch(r"pytest>=1000 \(found [\d.]+\)",
                        build.missing_packages(["pytest>=1000"])[0])
    with pytest.raises(Problem, match="torch~=2.11"):
        build.split_requirement("torch~=2.11")


releases = st.lists(st.integers(0, 12), min_size=1,
                    max_size=3).map(lambda parts: ".".join(map(str, parts)))


@given(releases, st.sampled_from(["", "+cu128", "rc1", "a0+git12", ".dev3"]), releases,
       st.sampled_from([">=", "<", "==", "!="]))
def test_ranges_agree_with_packaging(release, suffix, bound, operator):
    if suffix.startswith("+") and operator == "==":
        suffix = ""
    expected = SpecifierSet(operator + bound, prereleases=True).contains(Version(release + suffix))
    assert build.version_admitted(release + suffix, operator + bound) == expected


# ---------------------------------------------------------------- .venv

@pytest.fixture
def venv(tmp_path, monkeypatch):
    """A checkout without an environment, where installing writes files instead of calling pip."""
    monkeypatch.setattr(build, "VENV", tmp_path / ".venv")
    calls = []

    def call(command, what, lock):
        calls.append(what)
        if what == "pip" and "killed" in os.environ.get("FAKE_PIP", ""):
            raise KeyboardInterrupt
        if what != "pip":
            (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
            os.symlink(sys.executable, tmp_path / ".venv" / "bin" / "python")

    monkeypatch.setattr(build, "_call", call)
    monkeypatch.setattr(build.subprocess, "check_output", lambda *_, **__: str(tmp_path))
    return tmp_path / ".venv", calls


@pytest.mark.skipif(os.name == "nt", reason="the fake environment has POSIX paths")
def test_half_made_environment_is_made_again(venv, monkeypatch, capsys):
    folder, calls = venv
    wanted = ["no-such-package>=1"]
    monkeypatch.setenv("FAKE_PIP", "killed")
    with pytest.raises(KeyboardInterrupt):
        build.make_venv(wanted)
    (folder / "half").touch()
    assert not build.venv_ready(wanted)

    monkeypatch.delenv("FAKE_PIP")
    build.make_venv(wanted)
    assert build.venv_ready(wanted) and not (folder / "half").exists()
    assert "is incomplete: making it again" in capsys.readouterr().out
    assert calls == ["making the environment", "pip"] * 2
    assert (folder.parent / "checkout.pth").read_text() == f"{ROOT}\n"


@pytest.mark.skipif(os.name == "nt", reason="the fake environment has POSIX paths")
def test_other_requirements_or_a_lost_python_are_noticed(venv):
    folder, _ = venv
    build.make_venv(["no-such-package>=1"])
    assert not build.venv_ready(["no-such-package>=2"])
    (folder / "bin" / "python").unlink()
    os.symlink("/gone/python", folder / "bin" / "python")
    assert not build.venv_ready(["no-such-package>=1"])


@pytest.mark.skipif(os.name == "nt", reason="the fake environment has POSIX paths")
def test_environment_made_by_hand_is_asked_and_kept(venv):
    folder, calls = venv
    (folder / "bin").mkdir(parents=True)
    # A link to the interpreter alone would lose its site-packages.
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    assert build.venv_ready(["pytest>=8,<10"])
    assert not build.venv_ready(["no-such-package>=1"])
    assert calls == []


def test_no_ensurepip_is_one_line(venv, monkeypatch):
    monkeypatch.setattr(build.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    with pytest.raises(Problem, match="apt install python3-venv"):
        build.make_venv(["pytest"])
    assert not build.VENV.exists()


def test_failing_pip_shows_its_last_lines(tmp_path):
    code = "import sys; print('\\n'.join(f'line {n}' for n in range(50))); sys.exit(7)"
    with open(tmp_path / "lock", "a") as lock, pytest.raises(Problem,
                                                             match="(?s)code 7.*line 49") as raised:
        build._call([sys.executable, "-c", code], "pip", lock)
    assert "line 10" not in str(raised.value) and raised.value.status == 1


def test_an_environment_that_still_lacks_something_does_not_loop(venv, monkeypatch):
    monkeypatch.setenv("BUILD_ENTERED", "1")
    monkeypatch.setattr(build, "missing_packages", lambda _: ["torch>=2.11,<3 (found none)"])
    with pytest.raises(Problem, match="torch.*delete"):
        build.enter_environment(["report"])


def old_pythons():
    found = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))
    return [path for path in found if path.parts[-3].split(".")[1] in ("8", "9", "10")]


@pytest.mark.skipif(not old_pythons(), reason="no Python older than 3.11 here")
def test_an_old_python_is_reported_in_one_line(tmp_path):
    make_project(tmp_path)
    done = subprocess.run([old_pythons()[-1], tmp_path / "build.py", "report"], capture_output=True,
                          text=True)
    assert done.returncode == 1 and not done.stdout and len(done.stderr.splitlines()) == 1
    assert "needs Python >=3.11" in done.stderr


# ---------------------------------------------------------------- options

@pytest.mark.parametrize(("arguments", "says"), [
    ([], "no command"),
    (["repot"], "invalid choice: 'repot'"),
    (["report", "--budget", "9"], "such as 90s, 9m or 1.5h, got '9'"),
    (["report", "--budget", "0m"], "got '0m'"),
    (["report", "--jobs", "two"], "whole number of at least 1, got 'two'"),
    (["report", "--device", "tpu"], "invalid choice: 'tpu'"),
    (["report", "--data", "/no/such/folder"], "'/no/such/folder' is not an existing folder"),
    (["report", "--out", __file__], "exists but is not a folder"),
    (["report", "--fresh", "--read-only"], "not allowed with"),
    (["report", "--read"], "unrecognized arguments: --read"),
    (["export"], "PROFILE"),
])
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, says):
    with pytest.raises(Problem, match=re.escape(says)) as raised:
        options.parse(arguments)
    assert raised.value.status == 2 and "\n" not in str(raised.value)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("9m", 540), ("1.5h", 5400)])
def test_durations(text, seconds):
    assert options.duration(text) == seconds


def test_pytest_gets_its_arguments_as_they_are():
    assert options.parse(["test", "-k", "x", "--help"]).arguments == ["-k", "x", "--help"]


@pytest.mark.parametrize(("arguments", "path"), [([], False), (["-x", "-k", "lib"], False),
                                                 ([__file__], True),
                                                 ([f"{__file__}::test_durations", "-q"], True)])
def test_a_path_selects_what_pytest_runs(arguments, path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert tests.names_a_path(arguments) == path


@pytest.mark.parametrize(("given", "kept", "jobs"), [([], [], 3), (["-x", "--all"], ["-x"], 3),
                                                     (["-k", "lib"], ["-k", "lib"], 1),
                                                     (["--pdb"], ["--pdb"], 1)])
def test_notebooks_are_checked_without_what_is_for_the_tests(monkeypatch, given, kept, jobs):
    asked = []
    monkeypatch.setattr(processes, "cores", lambda: 3)
    monkeypatch.setattr(tests, "run", lambda arguments, **how: asked.append((arguments, how)) or 0)
    monkeypatch.setattr(tests, "check_notebooks", lambda arguments: asked.append(arguments) or [0])
    assert tests.test(options.parse(["test", *given, "--coverage"])) == 0
    assert asked == [([*given, str(ROOT / "tests")], {"covered": True, "jobs": jobs}), kept]


@pytest.mark.parametrize(("codes", "code"), [([0, 0], 0), ([5, 0], 0), ([5, 5], 5), ([0, 1], 1),
                                             ([5, 2, 1], 2)])
def test_one_exit_code_for_several(codes, code):
    assert tests.worst(codes) == code


@pytest.mark.parametrize("fails", [False, True])
def test_processes_share_the_files_of_the_tests(tmp_path, capfd, monkeypatch, fails):
    monkeypatch.setattr(tests, "COVERAGE", tmp_path / "coverage.json")
    folder, ran = tmp_path / "checkout" / "tests", tmp_path / "ran"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    for number in range(4):  # each waits for a second process
        (folder / f"test_{number}.py").write_text(f"""
import os, time
from pathlib import Path
from lib.privacy import checks

def test_one():
    with open({str(ran)!r}, "a") as lines:
        print({number}, os.getpid(), file=lines)
    deadline = time.monotonic() + 20
    processes = lambda: set(Path({str(ran)!r}).read_text().split()[1::2])
    while len(processes()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "TESTS_SHARED" not in os.environ and {number} != {3 if fails else 4}

def test_two():
    assert checks.count("k", {number + 1}) == {number + 1}
""")
    assert tests.run(["-q", "-p", "no:cacheprovider", str(folder)], covered=True, jobs=2) == fails
    lines = [line.split() for line in ran.read_text().splitlines()]
    assert sorted(number for number, _ in lines) == ["0", "1", "2", "3"]  # each once
    assert len({process for _, process in lines}) == 2
    said = capfd.readouterr().out
    passed = sum(int(count) for count in re.findall(r"(\d+) passed", said))
    assert passed == 8 - fails and said.count(" passed") == 2
    assert re.search(r"%\s+\d+ of +32 not run  lib/privacy/checks.py", said)


@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 1)])
def test_coverage_says_what_was_run_of_each_module(tmp_path, monkeypatch, capsys, fails, code):
    monkeypatch.setattr(tests, "COVERAGE", tmp_path / "coverage.json")
    (tmp_path / "test_one.py").write_text(
        "from lib.privacy import checks\n\ndef test():\n    assert checks.count('k', 3) =="
        f" {4 if fails else 3}\n"
    )
    assert tests.run([str(tmp_path / "test_one.py"), "-q", "-p", "no:cacheprovider"],
                     covered=True) == code
    head, *lines = capsys.readouterr().out.strip().splitlines()
    assert re.fullmatch(r"the tests ran \d+% of the lines of lib/ .*", head)
    shares = [int(line.partition("%")[0]) for line in lines]
    # modules that were never imported are there too
    assert shares == sorted(shares) and shares[0] == 0 and len(shares) > 80
    (found, ) = (re.fullmatch(r" *(\d+)% +(\d+) of +(\d+) not run  lib/privacy/checks.py", line)
                 for line in lines
                 if "privacy/checks" in line)
    assert 0 < int(found[2]) < int(found[3]) == 32 and int(
        found[1]) == 100 - -(-100 * int(found[2]) // int(found[3]))


def test_every_command_has_a_help_page(capsys):
    for command in ("report", "plan", "train", "import", "notebooks", "targets", "export", "bench"):
        with pytest.raises(SystemExit):
            options.parse([command, "--help"])
        assert f"build.py {command}" in capsys.readouterr().out


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(("value", "default", "result"),
                         [(3, 1.0, 3.0), (2.5, 1.0, 2.5), ("cifar10", "mnist", "cifar10"),
                          ("1e-5", "a text", "1e-5"), ([1, 2], [0.5], [1.0, 2.0]), ([], [1], []),
                          ({"name": "dpsgd", "noise": 2}, {"name": "none", "noise": 1.0
                                                           }, {"name": "dpsgd", "noise": 2.0}),
                          ([1, "a"], [0, "b"], [1, "a"]), (None, None, None), (0.1, None, 0.1),
                          (True, False, True), ([{"name": "x"}], [], [{"name": "x"}]),
                          (float("inf"), 1.0, float("inf")), ])
def test_values_of_the_right_type(value, default, result):
    given_back = profiles.checked(value, default, "file: key")
    assert given_back == result and repr(given_back) == repr(result)


@pytest.mark.parametrize(("value", "default", "says"), [
    ("1e-5", 1e-5, "file: key: expected a number, got the text '1e-5': write 1.0e-5"),
    ("3E4", 1.0, "write 3.0e+4"),
    ("12", 1, "write 12"),
    (["1e-5"], [1.0], r"file: key[0]: expected a number"),
    ({"delta": "1e-5"}, {"delta": 1.0}, "file: key.delta: expected a number"),
    ({"delta": "1e-5"}, {}, "file: key.delta: expected a number"),
    (1.5, 1, "expected a whole number, got a number (1.5)"),
    (True, 1, "expected a whole number, got true or false"),
    (1, True, "expected true or false"),
    (True, 1.0, "expected a number"),
    (None, 1, "got nothing"),
    ("mnist", ["mnist"], "expected a list, got a text"),
    (7, "mnist", "expected a text"),
    ([None], [1.0], "expected a number, got nothing"),
])
def test_values_of_the_wrong_type_are_one_line(value, default, says):
    with pytest.raises(Problem, match=re.escape(says)) as raised:
        profiles.checked(value, default, "file: key")
    assert raised.value.status == 2


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 17))
def test_the_suggested_spelling_is_a_number_to_yaml(value, digits):
    spelt = profiles._as_yaml(f"{value:.{digits}e}")
    assert yaml.safe_load(spelt) == float(f"{value:.{digits}e}")


def test_declared_parameters_are_those_that_papermill_finds(tmp_path):
    from papermill import inspect_notebook

    make_project(tmp_path)
    notebook = jupytext.read(tmp_path / "notebooks" / "11_good.py")
    jupytext.write(notebook, tmp_path / "draft.ipynb")
    found = inspect_notebook(str(tmp_path / "draft.ipynb"))
    assert profiles.declared(notebook) == {
        name: ast.literal_eval(one["default"]) for name, one in found.items()
    }


def test_a_derived_parameter_is_refused():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "n = 3\nm = 2 * n", metadata={"tags": ["parameters"]})])
    with pytest.raises(Problem, match="m must be a literal"):
        profiles.declared(notebook)


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize(("cores", "jobs", "own", "threads"), [(8, 1, "", "8"), (8, 3, "", "2"),
                                                               (2, 8, "", "1"), (8, 1, "2", "2"),
                                                               (2, 2, "16", "1"),
                                                               (4, 1, "nonsense", "4")])
def test_processes_share_the_cores(monkeypatch, cores, jobs, own, threads):
    monkeypatch.setattr(processes, "cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    assert set(processes.thread_settings(jobs).values()) == {threads}
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} <= processes.thread_settings(jobs).keys()


# ---------------------------------------------------------------- a small project
# Its study only pretends.

NOTEBOOK = '''\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A notebook: it works

# %% tags=["parameters"]
number = 1  # what is asked for
rate = 1e-5  # not used

# %%
import os

from lib import study

rows = study.run([number, number + 1])
print(rows, os.environ["OMP_NUM_THREADS"], os.environ["STUDY_NOTEBOOK"])

# %%
if None not in rows:  # asked for only when the first rows are there
    study.run([100])
'''

STUDY = '''\
"""Pretends to train: a row is a file that holds twice its number."""

import json
import os
import time

from lib import ledger
from lib.paths import store_dir


def run(numbers):
    rows = []
    for number in numbers:
        path = store_dir() / str(number)
        known = path.exists()
        failed = known and path.read_text() == "failed"
        request = {"notebook": os.environ.get("STUDY_NOTEBOOK"), "key": str(number),
                   "run": number, "known": known,
                   "status": "failed" if failed else "ok"}
        if "STUDY_ASKED" in os.environ:
            with open(os.environ["STUDY_ASKED"], "a") as asked:
                asked.write(json.dumps(request) + "\\n")
        rows.append(int(path.read_text()) if known and not failed else None)
    return rows


def train(requests, *, budget=None, jobs=1, retry_failed=False, untimed=(), cluster=None,
          report=print):
    assert os.environ["STUDY_MODE"] == "train"
    report(f"train {sorted(request['run'] for request in requests)} budget {budget is not None}")
    store_dir().mkdir(parents=True, exist_ok=True)
    time.sleep(float(os.environ.get("FAKE_SECONDS", 0)))
    for request in requests:
        (store_dir() / request["key"]).write_text(str(2 * request["run"]))
    return len(requests)


def estimate(runs, *, jobs=1):
    return 60.0 * len(runs)


def from_dict(run):
    return run
'''

VERDICTS = '''\
"""A claim whose verdict is the number of rows that are known."""

import pandas as pd


def evaluate(frames):
    return sum(row is not None for frame in frames.values() for row in frame)


def table(published, here):
    return pd.DataFrame([{"id": "R1", "paper": "razmi", "claim": f"{here} rows of this run",
                          "direction": "holds",
                          "n": None if here else float("nan")}])


def answer(frames):
    return [(f"{len(frames)} files of published rows.", "A note.")]


def targets_table(frames):
    return pd.DataFrame([{"id": "R1", "title": "x" * 80, "verdict": None}])
'''

PAPERS = '''\
"""Headline figures that are empty, and no paper."""

from collections import namedtuple

from matplotlib.figure import Figure

Headline = namedtuple("Headline", "id figure data caption alt finding")


def drawn(notebook):
    return Headline("first", Figure((1, 1)), None, f"Of {notebook}.", "Nothing.", "")


def papers():
    return {}
'''


def make_project(folder):
    """A checkout with the real command line, two notebooks, a profile, and a study that pretends.
    """
    shutil.copytree(ROOT / "lib", folder / "lib", ignore=shutil.ignore_patterns(
        "study*", "ledger*", "verdicts*", "papers", "__pycache__"))
    for name in ("build.py", "environment.yml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "lib" / "study.py").write_text(STUDY)
    (folder / "lib" / "verdicts.py").write_text(VERDICTS)
    (folder / "lib" / "papers.py").write_text(PAPERS)
    (folder / "lib" /
     "ledger.py").write_text("def export(requests):\n    return {'11_good': (len(requests), 0)}\n")
    for name, text in {
            "notebooks/11_good.py": NOTEBOOK,
            "params/quick/11_good.yaml": "number: 5\n", "notebooks/12_bad.py": NOTEBOOK.replace(
                "print(", "raise ValueError('two\\nlines'); print("), "params/bad/12_bad.yaml": "",
            "params/both/11_good.yaml": "", "params/both/12_bad.yaml": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(ROOT / "notebooks" / "jupytext.toml", folder / "notebooks")
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "store"))
    return make_project(tmp_path)


def call(project, *arguments, **more):
    return subprocess.run([sys.executable, "build.py", *arguments], cwd=project,
                          capture_output=True, text=True, env={**os.environ, **more})


def test_report_trains_in_rounds_and_writes_the_page(project):
    done = call(project, "report", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train [5, 6] budget False" in done.stdout and "train [100]" in done.stdout
    assert re.search(r"build/quick/report.html  \d+ s  3 rows measured, 0 not measured\n$",
                     done.stdout)
    ran = nbformat.read(project / "build/quick/notebooks/11_good.ipynb", as_version=4)
    threads = max(1, processes.cores() // 2)
    assert f"[10, 12] {threads} 11_good" in ran.cells[3].outputs[0].text
    assert [path.name
            for path in (project / "build/quick/notebooks").iterdir()] == ["11_good.ipynb"]
    page = (project / "build/quick/report.html").read_text("utf-8")
    assert (
        "it works" in page
        and "3 rows of this run" in page
        and "0 files of published rows." in page
    )


def test_report_goes_on_after_a_notebook_that_fails(project):
    done = call(project, "report", "both", "--read-only")
    assert done.returncode == 1
    assert done.stderr == "12_bad · cell 2 · ValueError: two\n" and "train" not in done.stdout
    page = (project / "build/both/report.html").read_text("utf-8")
    assert "ValueError: two" in page and "A notebook: it works" in page
    assert "0 rows measured, 2 not measured" in done.stdout


class PretendStudy:
    """Notebooks that ask for what `wanted` says, given the rows of a store; nothing is run."""

    settings, jobs, out = {}, 1, Path("nowhere")

    def __init__(self, store, wanted):
        self.store, self.wanted, self.passes = store, wanted, []

    def run(self, names, seen, *, folder):
        self.passes.append(sorted(names))
        for name in names:
            seen.results[name] = execution.Result(name, None, None, 2.0)
            seen.asked[name] = {
                key: {
                    "notebook": name, "key": key, "run": {}, "known": key in self.store,
                    "status": self.store.get(key)
                } for key in self.wanted[name](self.store)
            }


@pytest.fixture
def pretend(monkeypatch):
    """Call `train_missing` on pretended notebooks: (study, seen, trained keys by round, whether it
    failed).
    """
    def train(store, wanted, *arguments, learns="ok"):
        trained, study, seen = [], PretendStudy(store, wanted), passes.Pass()

        def worker(action, requests, **how):
            trained.append(sorted(request["key"] for request in requests))
            if learns is None:
                raise Problem("train ended")
            store.update(dict.fromkeys(trained[-1], learns))
            return len(requests)

        monkeypatch.setattr(rounds, "call_worker", worker)
        monkeypatch.setattr(rounds, "has_cuda", lambda: False)
        study.run(list(wanted), seen, folder=None)
        failed = rounds.train_missing(study, seen, options.parse(["report", *arguments]),
                                      time.monotonic())
        return study, seen, trained, failed

    return train


def test_only_notebooks_that_missed_something_run_again(pretend):
    wanted = {
        "11": lambda rows: ["a", "b"], "12": lambda rows: ["a", "k"], "13": lambda rows: ["k"]
    }
    study, seen, rounds, failed = pretend({"k": "ok"}, wanted)
    assert rounds == [["a", "b"]] and study.passes == [["11", "12", "13"], ["11", "12"]
                                                       ] and not failed
    assert seen.counts() == {"known": 1, "fresh": 2}


def test_runs_that_depend_on_results_come_in_at_most_three_rounds(pretend):
    _, seen, rounds, _ = pretend({}, {"11": lambda rows: [str(n) for n in range(len(rows) + 1)]})
    assert rounds == [["0"], ["1"], ["2"]] and list(seen.missing()) == ["3"]


def test_failed_rows_are_trained_again_only_when_asked(pretend):
    wanted = {"11": lambda rows: ["a", "b", "c"]}
    _, seen, rounds, _ = pretend({"a": "failed", "b": "ok"}, wanted)
    assert rounds == [["c"]] and seen.counts() == {"failed": 1, "known": 1, "fresh": 1}
    _, seen, rounds, _ = pretend({"a": "failed", "b": "ok"}, wanted, "--retry-failed",
                                 learns="failed")
    assert rounds == [["a", "c"]]


@pytest.mark.parametrize(("arguments", "says"), [
    (["--read-only"], ""), (["--budget", "1s"], "budget is used up; 1 row left"),
    (["paper"], "1 row of the profile paper is not trained without a GPU; --train trains it on")
])
def test_nothing_is_trained_where_it_must_not_be(pretend, capsys, arguments, says):
    study, _, rounds, failed = pretend({}, {"11": lambda rows: ["a"]}, *arguments)
    assert rounds == [] and len(study.passes) == 1 and not failed
    assert says in capsys.readouterr().out
    if "paper" in arguments:
        assert pretend({}, {"11": lambda rows: ["a"]}, "paper", "--train")[2] == [["a"]]


def test_training_that_breaks_off_is_trouble_and_shows_what_is_there(pretend):
    study, _, rounds, failed = pretend({}, {"11": lambda rows: ["a"]}, learns=None)
    assert failed and rounds == [["a"]] and len(study.passes) == 2


def test_plan_counts_and_trains_nothing(project):
    done = call(project, "plan")
    assert re.search(r"11_good +0 +2  2.0 min\n", done.stdout), done.stdout + done.stderr
    assert not (project / "store").exists() and not (project / "build").exists()


def test_notebooks_get_outputs_without_a_trace_of_this_machine(project):
    (project / "store").mkdir()
    # a row of the user's own: not for the published notebook
    (project / "store" / "1").write_text("2")
    done = call(project, "notebooks", "--only", "11")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (project / "notebooks/11_good.ipynb").read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)
    assert notebook.cells[2].outputs[0].text.startswith("[None, None]")
    assert [cell.execution_count
            for cell in notebook.cells
            if cell.cell_type == "code"] == [1, 2, 3]
    assert "papermill" not in text and str(project) not in text
    written, source = (
        [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in one.cells]
        for one in (notebook, jupytext.read(project / "notebooks/11_good.py")))
    assert written == source


def test_outputs_with_a_path_of_this_machine_are_not_published(tmp_path):
    cell = nbformat.v4.new_code_cell(
        "1", outputs=[nbformat.v4.new_output("stream", text=f"{Path.home()}/x\n")])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "ran.ipynb")
    source = tmp_path / "11_good.py"
    source.write_text("# %%\n1\n")
    assert "show the path" in publish(source, tmp_path / "ran.ipynb")[0]
    assert not (tmp_path / "11_good.ipynb").exists()


def test_published_bytes_are_the_same_each_time(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("1"),
        nbformat.v4.new_code_cell("1", metadata={"papermill": {"duration": 1}})
    ]
    texts = {
        nbformat.writes(
            cleaned(
                nbformat.v4.new_notebook(cells=[
                    nbformat.from_dict({**cell, "id": f"random{turn}{place}"})
                    for place, cell in enumerate(cells)
                ])))
        for turn in range(2)
    }
    assert len(texts) == 1 and "duration" not in texts.pop()


@pytest.mark.parametrize(
    ("arguments", "files", "says"),
    [(["report", "nope"], {}, "no profile 'nope': expected bad, both, quick"),
     (["report", "--only", "99"], {}, "--only 99: no such notebook; the profile quick has 11"),
     (["notebooks", "--only", "1"], {}, "--only 1: no such notebook; notebooks/ has 11, 12"),
     (["report"], {"params/quick/77_none.yaml": ""
                   }, "params/quick/77_none.yaml: no notebook is called 77_none"),
     (["report"], {"params/quick/11_good.yaml": "rate: 1e-5"
                   }, "params/quick/11_good.yaml: rate: expected a number, "
      "got the text '1e-5': write 1.0e-5"),
     (["report"], {"params/quick/11_good.yaml": "nubmer: 1"
                   }, "no parameter 'nubmer'; expected one of number, rate"),
     (["report"], {"params/quick/11_good.yaml": "number: [1\nb: 2"
                   }, "11_good.yaml: line 2: not valid YAML"),
     (["report"], {"params/quick/11_good.yaml": "- 1"}, "expected lines of `name: value`"),
     (["report"], {"params/quick/11_good.yaml": "number: 1\nrate: 1.0\nnumber: 2"
                   }, "11_good.yaml: line 3: 'number' is set twice"),
     (["plan", "lib"], {}, "has no YAML files"), ])
def test_wrong_input_is_one_line_and_nothing_is_written(tmp_path, arguments, files, says):
    make_project(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = call(tmp_path, *arguments)
    assert done.returncode == 2 and not done.stdout, done.stdout + done.stderr
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "build").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_build_that_is_stopped_leaves_no_process(project, number, code):
    child = subprocess.Popen(
        [sys.executable, "build.py", "report"], cwd=project, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, "FAKE_SECONDS": "60"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    for line in child.stdout:
        if line.startswith("train ["):
            break
    child.send_signal(number)
    assert child.wait(10) == code
    deadline = time.monotonic() + 8
    while (left := working_in(project)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left and not (project / "store" / "5").exists()


def working_in(folder):
    """Processes whose working folder is this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                found.append(process.name)
        except OSError:
            continue
    return found


def test_targets_as_text_and_as_json(project):
    done = call(project, "targets")
    assert done.stdout.splitlines() == ["id  title" + " " * 57 + "verdict",
                                        f"R1  {'x' * 59}…"], done.stderr
    assert json.loads(call(project, "targets",
                           "--json").stdout) == [{"id": "R1", "title": "x" * 80, "verdict": None}]


def test_a_full_disk_is_one_line(monkeypatch):
    from lib import commands

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere/report.html")

    monkeypatch.setattr(report, "report", full)
    with pytest.raises(Problem, match="no space left to write somewhere/report.html") as raised:
        commands.run(options.parse(["report"]))
    assert raised.value.status == 1


def test_a_request_cut_short_by_a_kill_is_left_out(tmp_path):
    whole = {"notebook": "11_good", "key": "a", "run": {}, "known": True}
    (tmp_path / "asked").write_text(json.dumps(whole) + "\n" + '{"notebook": "11_g')
    assert passes.read_asked(tmp_path / "asked") == {"a": whole}
    assert passes.read_asked(tmp_path / "none") == {}


def test_a_file_is_moved_whole(tmp_path, monkeypatch):
    made, target = tmp_path / "made", tmp_path / "new" / "target"
    made.write_text("new")
    execution.move(made, target)
    target.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="full"):
        execution.move(made, target)
    assert target.read_text() == "old" and [path.name
                                            for path in target.parent.iterdir()] == ["target"]


def test_a_notebook_publishes_no_row_that_it_reads_from_another():
    from lib.commands.passes import Pass
    seen = Pass(asked={"11_a": {"1": {"notebook": "11_a", "key": "1"}},
                       "64_b": {"1": {"notebook": "11_a", "key": "1"},
                                "2": {"notebook": "64_b", "key": "2"}}})
    assert [(request["notebook"], request["key"]) for request in seen.own()] == [
        ("11_a", "1"), ("64_b", "2")]
