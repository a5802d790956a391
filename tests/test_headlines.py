"""The headline figures: each notebook has one, drawn from its published rows or formulas alone."""

import pytest

from lib import papers, study
from lib.paths import NOTEBOOKS, RESULTS

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_headline_shows_and_says_what_was_found(name):
    drawn = papers.drawn(name)
    assert not drawn.data.empty and any(letter.isdigit() for letter in drawn.finding)
    assert drawn.caption.endswith(("Published rows.", "Computed: no training is in it."))
    assert drawn.alt and drawn.id
    assert drawn.figure.axes


def test_without_published_rows_it_says_so(monkeypatch):
    monkeypatch.setenv("STUDY_PUBLISHED", "0")
    assert study.published("11_dpsgd").empty
    drawn = papers.drawn("11_dpsgd")
    assert "missing" in drawn.caption and not drawn.finding
    assert [text.get_text() for text in drawn.figure.axes[0].texts] == ["not measured"]


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="'12': expected one of .*11_dpsgd"):
        papers.drawn("12")


def test_published_rows_are_read_and_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_ASKED", str(tmp_path / "asked"))
    rows = study.published("00_start_here")
    lines = (RESULTS / "00_start_here.jsonl").read_text("utf-8").splitlines()
    assert len(rows) == len(lines) and rows["status"].eq("ok").all()
    assert not (tmp_path / "asked").exists()
