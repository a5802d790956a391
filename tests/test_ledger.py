"""Published rows: paths by column, read as points again; lines that stay as they are."""

import json
import math
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import ledger, paths

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-10**9, 10**9), FLOATS,
                   st.text(max_size=3))
NAMES = st.sampled_from(["accuracy", "epoch", "lift", "loss", "gap", "tested", "collapsed"])


@st.composite
def paths_of_points(draw):
    """Points of equal names, some columns constant; or, at times, of unlike names."""
    count = draw(st.integers(0, 5))
    if draw(st.booleans()):
        names = draw(st.sets(NAMES))
        fixed = {name: draw(VALUES) for name in names if draw(st.booleans())}
        return [{"step": draw(st.integers(1, 99)), **{name: fixed.get(name, draw(VALUES))
                                                      for name in names}} for _ in range(count)]
    values = st.one_of(VALUES, st.lists(VALUES, max_size=2), st.dictionaries(NAMES, VALUES))
    return draw(st.lists(st.dictionaries(st.one_of(st.just("step"), NAMES), values),
                         min_size=count, max_size=count))


def row(key="a", **parts):
    return {"key": key * 64, "status": "ok", "run": {"model": "cnn"}, "metrics": {}, "privacy": {},
            "provenance": {}, **parts}


def points(count=3, **more):
    return [{"step": 2 * place + 1, "accuracy": 0.1 + place / 3, "tested": 1000, "base": None,
             "collapsed": True, "gap": [None, 0.5, None][place % 3], **more}
            for place in range(count)]


def read(line):
    return ledger._parse(line, "a line")


def close(given, found):
    """Equal but for floats, which are within half a unit of their sixth digit."""
    if isinstance(given, float):
        return type(found) is float and abs(given - found) <= 5.0000001e-6 * abs(given) + 5e-324
    if isinstance(given, list):
        return len(given) == len(found) and all(map(close, given, found))
    if isinstance(given, dict):
        return given.keys() == found.keys() and all(close(given[name], found[name])
                                                    for name in given)
    return type(given) is type(found) and given == found


# ---------------------------------------------------------------- by column, and back

@given(paths_of_points(), paths_of_points())
def test_packed_paths_come_back(curve, averaged):
    given = row(curve=curve, averaged={"tail": {"curve": averaged, "distance": 1.5}})
    before = json.dumps(given)
    line = json.dumps(ledger._packed(given), sort_keys=True)
    found = read(line)
    assert json.dumps(given) == before  # packing leaves the row as it is
    assert close(curve, found["curve"]) and close(averaged, found["averaged"]["tail"]["curve"])
    assert found["averaged"]["tail"]["distance"] == 1.5
    assert json.dumps(ledger._packed(found), sort_keys=True) == line  # once is enough


def test_the_form_of_a_packed_path():
    packed = ledger._packed(row(curve=points()))["curve"]
    assert packed == {"step": [1, 3, 5], "accuracy": [0.1, 0.433333, 0.766667], "tested": 1000,
                      "base": None, "collapsed": True, "gap": [None, 0.5, None]}
    assert ledger._packed(row(curve=points(1)))["curve"]["step"] == [1]
    assert read(json.dumps(row(curve=packed)))["curve"] == [
        {"step": step, "accuracy": accuracy, "tested": 1000, "base": None, "collapsed": True,
         "gap": gap} for step, accuracy, gap in zip([1, 3, 5], packed["accuracy"], packed["gap"])]


@pytest.mark.parametrize("curve", [
    [], [{"accuracy": 0.5}], [{"step": 1, "loss": 0.5}, {"step": 2}],
    [{"step": 1, "shares": [0.5, 0.25]}], [{"step": 1, "of": {"a": 1}}]])
def test_what_columns_would_not_give_back_stays_a_list_of_points(curve):
    assert ledger._packed(row(curve=curve))["curve"] == curve


def test_numbers_that_python_considers_equal_are_distinguished():
    curve = [{"step": 1, "x": 1, "y": 0.0}, {"step": 2, "x": 1.0, "y": -0.0},
             {"step": 3, "x": True, "y": 0.0}]
    found = read(json.dumps(ledger._packed(row(curve=curve))))["curve"]
    assert [repr(point) for point in found] == [repr(point) for point in curve]


def test_rounding_is_within_half_a_unit_of_the_sixth_digit():
    value = 0.12345678
    found = ledger._packed(row(curve=[{"step": 1, "loss": value}], metrics={"loss": value}))
    assert found["curve"]["loss"] == 0.123457 and found["metrics"]["loss"] == 0.1234568
    assert abs(found["curve"]["loss"] - value) <= 5e-6 * value


# ---------------------------------------------------------------- published files

@pytest.fixture
def results(store, tmp_path, monkeypatch):
    """An empty folder of published rows, beside an empty store."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.delenv("STUDY_PUBLISHED")
    paths.RESULTS.mkdir()
    return paths.RESULTS


def export(*keys, notebook="11_x"):
    ledger.export([{"notebook": notebook, "key": key * 64} for key in keys])
    return (paths.RESULTS / f"{notebook}.jsonl").read_text().splitlines()


def as_before(made):
    """The line of a row as it was published before paths were packed."""
    return json.dumps(ledger._rounded(made), sort_keys=True)


def test_a_file_may_hold_both_forms_and_its_old_lines_stay(results, monkeypatch):
    old, new = row("a", curve=points()), row("b", curve=points(2), averaged={
        "ema": {"curve": points(), "distance": 1 / 3}})
    (results / "11_x.jsonl").write_text(as_before(old) + "\n")
    for made in (old, new):
        ledger.write(made)
    lines = export("a", "b")
    assert lines[0] == as_before(old) and isinstance(json.loads(lines[1])["curve"], dict)
    assert isinstance(json.loads(lines[1])["averaged"]["ema"]["curve"], dict)
    assert export("a", "b") == lines
    monkeypatch.setenv("STUDY_STORE", str(results / "empty"))
    found = {key: ledger.find(key * 64) for key in "ab"}
    assert {source for _, source in found.values()} == {"published"}
    assert all(close(made["curve"], found[key][0]["curve"]) for key, made in zip("ab", (old, new)))
    assert close(new["averaged"]["ema"]["curve"], found["b"][0]["averaged"]["ema"]["curve"])
    assert export("a", "b") == lines  # nor where the published rows alone are known
    assert export("a", "b", notebook="12_y")[1] == lines[1]


def test_a_row_that_is_measured_again_is_packed(results):
    old, again = row("a", curve=points()), row("a", curve=points(), metrics={"accuracy": 0.5})
    (results / "11_x.jsonl").write_text(as_before(old) + "\n")
    ledger.write(again)
    assert export("a") == [json.dumps(ledger._packed(again), sort_keys=True)]


def test_another_file_in_the_other_form_changes_no_line(results, monkeypatch):
    """Each file keeps its own line of a row that only published files know."""
    made = row("a", curve=points(3, loss=0.12345649))
    forms = [as_before(made), json.dumps(ledger._packed(made), sort_keys=True)]
    for order in (forms, forms[::-1]):
        for name, line in zip(("11_x", "12_y"), order):
            (results / f"{name}.jsonl").write_text(line + "\n")
        assert [export("a", notebook=name) for name in ("11_x", "12_y")] == [[one] for one in order]


@pytest.mark.parametrize("curve", [
    {"step": [1, 2], "loss": [0.5]}, {"loss": [0.5, 0.25]}, {"step": 3, "loss": 0.5}, {}, "path",
    7])
def test_unreadable_packed_rows_are_named_and_passed_over(results, curve):
    lines = [json.dumps(row("a", curve=curve)), json.dumps(row("b", curve=points())),
             json.dumps(row("c", averaged={"ema": {"curve": curve}})),
             json.dumps(row("d", averaged=["ema"]))]
    (results / "11_x.jsonl").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match="unreadable row .* skipped") as said:
        assert ledger.published().keys() == {"b" * 64}
    assert [str(one.message).partition(":")[0] for one in said] == [
        f"unreadable row 11_x.jsonl line {number}" for number in (1, 3, 4)]


PUBLISHED = sorted(paths.RESULTS.glob("*.jsonl"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_exporting_what_is_published_changes_no_byte(results, path):
    """From the published rows alone, and beside a store that holds some."""
    shutil.copy(path, results)
    lines = path.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    requests = [{"notebook": path.stem, "key": one["key"]} for one in rows]
    for _ in range(2):
        assert ledger.export(requests) == {path.stem: (len(rows), 0)}
        assert (results / path.name).read_bytes() == path.read_bytes()
        for one in rows[::10]:
            ledger.write(ledger._parse(json.dumps(one), "a line"))
    for one in filter(lambda one: isinstance(one.get("curve"), list), rows):
        assert ledger.published()[one["key"]] == one  # an old line reads as before


def test_a_packed_row_takes_half_the_space():
    names = [f"metric_{number}" for number in range(18)]
    curve = [{"step": step, **{name: math.sin(step + place) for place, name in enumerate(names)}}
             for step in range(1, 13)]
    made = row(curve=curve, averaged={name: {"curve": curve} for name in ("tail", "ema")})
    assert len(json.dumps(ledger._packed(made))) < 0.6 * len(as_before(made))
