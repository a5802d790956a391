"""The papers: every claim and target once, found by folder and by file.

All claims judged together.
"""

import math
import sys
from collections import Counter
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from test_razmi_dpsgd import FLAT, NOISES, NORMS, figure_1, result

from lib import papers, study, verdicts
from lib.paths import RESULTS
from lib.verdicts.claim import Claim, Number, Target, above

# ---------------------------------------------------------------- what is there

FIGURES = {
    "razmi": (
        "T1 T2 T3 T4 T5 T6 T7 F1a F1b F1c F1d F2a F2b F2c F2d F2e F3a F3b F3c F3d F3e F3f F4 F5a"
        " F5b F5c F6 F7"
    ),
    "borgnia": "T1 T2 T3 T4 T5 T6 F1 F2 F3 F4a F4b F5",
    "turner": (
        "F1.1 F1.2 F1.3 F2.1 F3.1 F3.2 F3.3 F3.4 F3.5 F3.6 F3.7 F3.8 F3.9 F3.10 F3.11 F3.12 F3.13"
        " F3.14 F4.1 F4.2 F4.3 F4.4 F4.5 F5.1 F5.2 A.1 A.2 A.3.1 A.3.2 A.3.3 text"
    ),
    "ozyikan": "F1 F2 F3 F4 F5 F6 F7L F7R Alg1",
    "hong": "F1 F2 F3 F4a F4b F4c F4d F4e F4f F5 F6a F6b F6c F7 F8 F9 F10 F11 F12 T1 T2 T3 T4",
}
STATED = {
    "razmi": [f"R{i}" for i in range(1, 16)],
    "borgnia": [f"I{i}" for i in range(1, 15)] + ["I11a", "I11b", "I11c"],
    "turner": [f"T{i}" for i in range(1, 17)],
    "ozyikan": [f"O{i}" for i in range(1, 13)],
    "hong": [f"G{i}" for i in range(1, 17)],
    "ours": ["D1a", "D1b", "D2"],
}


@pytest.mark.parametrize("paper", FIGURES)
def test_every_figure_and_table_is_there_once(paper):
    found = Counter(target.id for target in papers.targets() if target.paper == paper)
    assert found == Counter(f"{paper}-{name}" for name in FIGURES[paper].split())


@pytest.mark.parametrize("paper", STATED)
def test_every_claim_is_there_once(paper):
    assert Counter(one.id for one in papers.claims() if one.paper == paper) == Counter(
        STATED[paper]
    )


def test_claims_are_complete():
    ids = {target.id for target in papers.targets()}
    names = {one.id for one in papers.claims()}
    for one in papers.claims():
        assert set(one.targets) <= ids and set(one.split) <= names, one.id
        assert one.paper == "ours" or one.targets or one.id == "R1", one.id
        assert one.direction or one.size or one.split, one.id
        assert one.positive_control and one.notebook in verdicts.NOTEBOOKS, one.id
        assert all(math.isfinite(part.threshold) for part in one.direction + one.size), one.id
        assert one.measure is None or callable(one.measure), one.id


def test_targets_are_complete():
    for target in papers.targets():
        assert (
            target.notebook in verdicts.NOTEBOOKS
            and target.title
            and target.kind in ("figure", "table", "text")
        )
        assert target.status or target.grid or target.data or target.published, target.id
        for number in target.published:  # a rate with its n must be a count over it
            assert (
                number.n is None
                or number.n > 100
                or number.unit != "%"
                or number.hits is not None
                or "T1" in target.id
            ), number


def test_published_trials_are_those_that_give_the_fractions():
    table = next(target for target in papers.targets() if target.id == "borgnia-T2")
    assert [number.hits for number in table.published] == [9, 8, 12, 13, 15, 12, 1, 11, 1, 4]
    assert Number("MaxUp", 5.26, 20).hits is None  # no count of 20 gives it


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: Target("razmi-F9", "photo", "x", "10_setup"), "photo"),
        (lambda: Claim("X", "razmi", "x", "x", "x", "99_none", ()), "99_none"),
        (lambda: above("x", "x", 0, basis="ours"), "reason"),
        (
            lambda: Claim(
                "X",
                "razmi",
                "x",
                "x",
                "x",
                "10_setup",
                (),
                (above("a", "x", 0), above("a", "x", 1)),
            ),
            "name",
        ),
        (lambda: papers.claim("R99"), "R99"),
        (lambda: papers.claim("R1").part("colour"), "colour"),
    ],
)
def test_wrong_entries_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()


# ---------------------------------------------------------------- found by folder and by file

NEW = """from lib.verdicts.claim import Claim, Measurement, Target, above
from lib.verdicts.verdict import NOT_MEASURED, verdict


def share_of_rows(frames, claim):
    found = verdict((0.4, 0.3, 0.5), claim.size[0].threshold, beyond="above",
                    control_passed=True, n=9)
    return Measurement(None, found, setup="as published", rows=len(frames[claim.notebook]))


def every_row(frame):
    return frame


TARGETS = (Target("PAPER-F99", "figure", "x", "11_dpsgd", select=every_row),)
CLAIMS = (Claim("Z10", "PAPER", "x", "x", "x", "11_dpsgd", ("PAPER-F99",), (),
                (above("share", "x", 0.2),), planned=9, measure=share_of_rows),
          Claim("Z9", "PAPER", "y", "x", "x", "11_dpsgd", (), (above("share", "x", 0.2),)))
"""


@pytest.fixture
def imports_undone():
    papers.claims()  # what is imported before stays
    known = set(sys.modules)
    yield
    for name in sorted(set(sys.modules) - known, reverse=True):  # modules before their package
        if name.startswith("lib.papers."):
            package, _, module = name.rpartition(".")
            delattr(sys.modules[package], module)
            del sys.modules[name]


def add(folder, monkeypatch, *, to="razmi", name="new", text=NEW):
    """Write a module of claims into a folder, which becomes a place where a paper's modules lie."""
    (folder / f"{name}.py").write_text(text.replace("PAPER", to), "utf-8")
    package = import_module(f"lib.papers.{to}")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])


def test_a_new_claim_is_one_file(tmp_path, monkeypatch, imports_undone):
    before = [one.id for one in papers.claims()]
    add(tmp_path, monkeypatch)
    place = before.index("R15") + 1
    assert [one.id for one in papers.claims()] == [*before[:place], "Z9", "Z10", *before[place:]]
    frames = {"11_dpsgd": figure_1(pairs=3)}
    table = verdicts.table(verdicts.evaluate(frames)).set_index("id")
    assert table.loc["Z10", ["paper", "size", "measured", "n"]].tolist() == [
        "razmi",
        "holds",
        "0.40",
        9,
    ]
    assert table.loc["Z9", "direction"] == "not measured" and table.loc["Z9", "n"] == 0
    lines = verdicts.targets_table(frames).set_index("id")
    assert lines.loc["Z10", "measured by"] == f"{len(frames['11_dpsgd'])} rows"
    assert lines.loc["razmi-F99", ["measured by", "verdict"]].tolist() == [
        lines.loc["Z10", "measured by"],
        "Z10 holds",
    ]


def test_a_new_paper_is_one_folder(tmp_path, monkeypatch, imports_undone):
    folder = tmp_path / "doe"
    folder.mkdir()
    (folder / "__init__.py").write_text("", "utf-8")
    (folder / "claims.py").write_text(NEW.replace("PAPER", "doe"), "utf-8")
    monkeypatch.setattr(papers, "__path__", [*papers.__path__, str(tmp_path)])
    with pytest.raises(
        ValueError, match=r"lib/papers/doe: PAPER None; expected PAPER = Paper\(title"
    ):
        papers.claims()
    import_module("lib.papers.doe").PAPER = papers.Paper("Doe: A paper", order=3)
    assert list(papers.papers()) == ["ours", "razmi", "borgnia", "doe", "turner", "ozyikan", "hong"]
    assert [one.id for one in papers.claims() if one.paper == "doe"] == ["Z9", "Z10"]
    assert [one.id for one in papers.targets() if one.paper == "doe"] == ["doe-F99"]


@pytest.mark.parametrize(
    "text, word",
    [
        (
            NEW.replace('"PAPER"', '"nobody"'),
            "Z10: paper 'nobody'; expected 'hong', the folder it lies in",
        ),
        (NEW.replace('"Z9"', '"R1"'), "R1: defined in razmi and in hong"),
        (NEW.replace('"Z9"', '"Z10"'), "Z10: defined in hong and in hong"),
    ],
)
def test_claims_in_the_wrong_place_are_named(text, word, tmp_path, monkeypatch, imports_undone):
    add(tmp_path, monkeypatch, to="hong", text=text)
    with pytest.raises(ValueError, match=word):
        papers.claims()


def test_targets_in_the_wrong_place_are_named(tmp_path, monkeypatch, imports_undone):
    add(tmp_path, monkeypatch, text=NEW.replace('"PAPER-F99", "figure"', '"hong-F99", "figure"'))
    with pytest.raises(ValueError, match="hong-F99: paper 'hong'; expected 'razmi'"):
        papers.targets()


def test_the_table_keeps_its_order():
    """Papers in their order, ids in natural order: R2 before R10, I11 before I11a."""
    stated = [
        "D1a",
        "D1b",
        "D2",
        *STATED["razmi"],
        *(f"I{i}" for i in range(1, 12)),
        "I11a",
        "I11b",
        "I11c",
        "I12",
        "I13",
        "I14",
        *STATED["turner"],
        *STATED["ozyikan"],
        *STATED["hong"],
    ]
    assert [one.id for one in papers.claims()] == stated
    places = list(dict.fromkeys(one.paper for one in papers.targets()))
    assert places == ["razmi", "borgnia", "turner", "ozyikan", "hong"]


# ---------------------------------------------------------------- amended claims, and looks

AMENDED = {f"R{i}" for i in range(6, 16)} | {"R2", "D1a", "G7", "G13"}


def test_amended_claims_and_those_looked_at_say_so():
    assert {one.id for one in papers.claims() if one.amended} == AMENDED
    assert {one.id for one in papers.claims() if one.looked} == {f"O{i}" for i in range(1, 7)}
    for one in papers.claims():
        if one.amended:
            old = one.amended
            assert old.direction and old.on and old.change and old.known and callable(old.measure)
            assert (old.direction, old.size) != (one.direction, one.size) or one.id == "R15"
    table = verdicts.table(verdicts.evaluate({})).set_index("id")
    assert (
        table.loc["R12", "marks"].startswith("amended, 2026-11-21")
        and table.loc["R12", "as first frozen"] == "not measured"
    )
    assert table.loc["D1a", "marks"].startswith("replaces D1") and table.loc[
        "O6", "marks"
    ].startswith("optional stopping")
    assert table.loc["R3", "marks"] == table.loc["R3", "as first frozen"] == ""
    targets = verdicts.targets_table({}).set_index("id")
    assert (
        targets.loc["razmi-F4", "marks"] == "R12 amended"
        and targets.loc["ozyikan-F6", "marks"] == "O6 optional stopping"
    )
    assert "as first frozen: not measured" in targets.loc["R12", "marks"]


# ---------------------------------------------------------------- all claims together


def test_nothing_but_formulas_is_measured_without_rows():
    results = verdicts.evaluate({})
    assert len(results) == len(papers.claims())
    assert [one.claim.id for one in results if one.claim.formula] == ["I11", "I11a", "I11b", "I11c"]
    for one in results:
        words = {v.outcome for v in (one.direction, one.size) if v is not None}
        assert (words != {"not measured"}) == one.claim.formula, one.claim.id
    table = verdicts.targets_table({})
    assert len(table) == len(papers.targets()) + len(papers.claims()) and table["id"].is_unique
    assert not table["measured by"].str.contains("rows").any()


def test_holm_runs_over_the_paper():
    frames = {"11_dpsgd": figure_1(), "10_setup": figure_1()}
    corrected = [
        one.direction.p_holm
        for one in verdicts.evaluate(frames)
        if one.claim.id in ("R2", "R3", "R4", "R5")
    ]
    assert not any(math.isnan(p) for p in corrected)
    # one barely failing claim among several: alone it fails, in the family it does not
    frame = figure_1(
        success_at=lambda name, noise: 0.9 - 0.09 * noise, success_at_norm=lambda name, norm: 0.4)
    slow = (frame["training.lr"] == 0.01) & (frame["defence.noise_multiplier"] == 5.6)
    spread = np.random.RandomState(0).randn(8)
    # t = -2.6 on 7 degrees of freedom: p = .035, two-sided
    spread = 0.03 * (spread - spread.mean()) / spread.std(ddof=1)
    frame.loc[slow & (frame["defence.max_grad_norm"] == 2.0), "success"] = 0.4
    frame.loc[slow & (frame["defence.max_grad_norm"] == 0.1), "success"] = (
        0.4 - 2.6 * 0.03 / math.sqrt(8) + spread
    )
    assert result("R5", frame).direction.outcome == "fails"
    got = next(
        one for one in verdicts.evaluate({"11_dpsgd": frame}) if one.claim.id == "R5"
    ).direction
    assert (
        got.outcome == "inconclusive"
        and "Holm" in got.reason
        and got.p < 0.05 <= got.p_holm
    )


def test_tables():
    published, profile = (
        verdicts.evaluate({"11_dpsgd": figure_1()}),
        verdicts.evaluate({"11_dpsgd": figure_1(**FLAT)}),
    )
    table = verdicts.table(published, profile).set_index("id")
    assert list(verdicts.table(published).columns) == [
        "id",
        "paper",
        "claim",
        "published",
        "direction",
        "size",
        "what",
        "measured",
        "interval",
        "n",
        "planned",
        "setup",
        "reason",
        "as first frozen",
        "beside",
        "marks",
        "notebook",
        "figure",
        "figures",
    ]
    assert table.loc["R2", "direction"] == "holds" and table.loc["R2", "direction here"] == "fails"
    assert (
        table.loc["R3", "size"] == "–"
        and table.loc["R3", "measured"].endswith(" points")
        and table.loc["R2", "n"] == 8
    )
    assert set(table["direction"]) <= {*verdicts.OUTCOMES, "–"}
    assert set(table["size here"]) <= {*verdicts.OUTCOMES, "–"}


def test_targets_table_counts_a_figures_own_rows():
    table = verdicts.targets_table({"11_dpsgd": figure_1(pairs=3)}).set_index("id")
    assert table.loc["razmi-F1a", "measured by"] == f"{3 * 3 * len(NOISES)} rows"
    assert table.loc["razmi-F1c", "measured by"] == f"{3 * 3 * len(NORMS)} rows"
    assert (
        table.loc["razmi-F2a", "measured by"] == "not measured"
        and table.loc["razmi-T1", "measured by"] == "glossary"
    )
    assert "R2 holds" in table.loc["razmi-F1a", "verdict"] and table.loc["R3", "setup"].startswith(
        "substitute"
    )


# ---------------------------------------------------------------- planned instances, and the text

def judged(frame, name):
    return next(one for one in verdicts.evaluate({"11_dpsgd": frame}) if one.claim.id == name)


def test_nothing_is_decided_on_fewer_instances_than_planned():
    for pairs, outcome, reason in ((2, "inconclusive", "2 of 3 planned instances"),
                                   (3, "holds", ""), (8, "holds", "")):
        got = judged(figure_1(pairs=pairs), "R2")
        assert (got.direction.outcome, got.direction.reason) == (outcome, reason)
        more = [mark for mark in got.marks if mark.startswith("more than planned")]
        assert bool(more) == (pairs == 8)
    assert "8 instances, 3 were stated" in more[0]
    assert {one.planned for one in papers.claims()} == {0, 3, 4, 5, 8, 10, 25}
    arithmetic = [one for one in papers.claims()
                  if one.direction and all(part.arithmetic for part in one.direction)]
    assert [one.id for one in arithmetic] == ["I11a", "I11b", "I11c", "O9", "O10", "O11", "O12"]
    assert all(one.planned == 0 for one in arithmetic)
    with pytest.raises(ValueError, match="planned -1"):
        Claim("X", "ours", "x", "x", "x", "11_dpsgd", (), planned=-1)


def test_what_every_number_is_of():
    for one in papers.claims():
        if one.measure is not None:
            for part in one.direction + one.size:
                assert len(part.words.split()) <= 8, (one.id, part.words)


def test_show_prints_the_verdicts_of_one_notebook(capsys):
    verdicts.show("11_dpsgd", figure_1())
    text = capsys.readouterr().out
    assert all(len(line) <= 98 for line in text.splitlines())
    heads = [line.split()[0] for line in text.splitlines() if not line.startswith(" ")]
    assert heads == ["D1a", "D1b", "R2", "R3", "R4", "R5"]
    assert "R2    direction holds, size holds\n      change at a step of noise, " in text
    assert "n 8, 3 planned" in text and "amended, 2026-11-27" in text
    assert "as first frozen: inconclusive; −1.0\n" in text and " -" not in text  # U+2212
    verdicts.show("11_dpsgd", {"11_dpsgd": figure_1()})
    assert capsys.readouterr().out == text
    verdicts.show("11_dpsgd", pd.DataFrame())
    assert "R2    direction not measured, size not measured\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="'99_none': no claim names it"):
        verdicts.show("99_none", pd.DataFrame())


def published():
    """The published rows by notebook, of every notebook but the largest."""
    return {path.stem: study.published(path.stem) for path in sorted(RESULTS.glob("*.jsonl"))
            if path.stem != "64_why"}


def test_published_verdicts_say_why_and_stay_in_their_range():
    results = verdicts.evaluate(published(), of={"razmi", "ozyikan"})
    lines = verdicts.table(results).set_index("id")
    for one in results:
        for found in (one.direction, one.size, *one.frozen, *(v for _, *two in one.beside
                                                              for v in two)):
            if found is None or not found.n:
                continue
            low, high = found.bounds or (-math.inf, math.inf)
            assert found.low != found.low or low <= found.low < found.high <= high, one.claim.id
            assert found.outcome != "inconclusive" or found.reason, one.claim.id
            assert len(found.reason.split()) <= 20, (one.claim.id, found.reason)
        shown = one.shown
        assert not shown.n or lines.loc[one.claim.id, "what"], one.claim.id
    inconclusive = lines["direction"].eq("inconclusive") | lines["size"].eq("inconclusive")
    assert inconclusive.any() and lines.loc[inconclusive, "reason"].ne("").all()
    for column in ("measured", "interval"):
        assert not lines[column].str.contains("-", regex=False).any()
    assert lines.loc["R12", "measured"].endswith("%") and lines.loc["R5", "measured"].endswith(
        " points")
    assert lines.loc["O9", "direction"] == "arithmetic" and lines.loc["O9", "interval"] == ""
