"""Notebooks as people start them: papermill on one, from any folder, and a folder of parameter
files of one's own.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lib.paths import NOTEBOOKS, PARAMS, ROOT

pytestmark = pytest.mark.slow


def call(*command, cwd, **more):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=580,
        env=environment
        | {"STUDY_MODE": "read-only", "STUDY_STORE": str(cwd / "store"), "PYTHONPATH": str(ROOT)}
        | more)


def test_papermill_runs_a_notebook_from_any_folder(tmp_path):
    done = call("-m", "papermill", NOTEBOOKS / "14_attack_strength.ipynb", "out.ipynb", "-f",
                PARAMS / "quick" / "14_attack_strength.yaml", "-p", "epochs", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    ran = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    injected = next(
        cell for cell in ran.cells if "injected-parameters" in cell.metadata.get("tags", []))
    assert "epochs = 3" in injected.source and 'dataset = "strokes"' in injected.source
    assert any("image/svg+xml" in output.get("data", {})
               for cell in ran.cells
               for output in cell.get("outputs", []))
    # nothing else is left in the user's folder
    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]


def test_a_folder_of_ones_own_is_a_profile(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "14_attack_strength.yaml").write_text(
        (PARAMS / "quick" / "14_attack_strength.yaml").read_text().replace(
            "epochs: 8\n", "epochs: 3\n", 1))
    done = call(ROOT / "build.py", "report", "mine", "--read-only", "--out", "page", "--store",
                "store", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "page/report.html" in done.stdout and "profile <strong>mine</strong>" in Path(
        tmp_path, "page", "report.html").read_text("utf-8")
    (mine / "14_attack_strength.yaml").write_text("epoch: 3\n")
    done = call(ROOT / "build.py", "report", "mine", "--read-only", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "epoch" in done.stderr


@pytest.mark.parametrize("profile", ["smoke", "laptop", "paper"])
def test_every_notebook_runs_through_where_nothing_is_known(tmp_path, profile):
    done = call(ROOT / "build.py", "plan", profile, "--store", "store", cwd=tmp_path,
                STUDY_PUBLISHED="0")
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr
