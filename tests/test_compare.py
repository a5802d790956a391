"""Two profiles on one page: verdicts side by side, figures in pairs, what differs marked."""

import re
import warnings
from dataclasses import replace

import nbformat
import pytest
from nbformat import v4

from lib import verdicts
from lib.commands import Problem, options
from lib.commands.compare import compare, write_page
from lib.commands.execution import Result
from lib.commands.passes import Pass
from lib.page.pairs import pair


def judged(**changes):
    """All claims not measured, but for R1 with these numbers."""
    results = verdicts.evaluate({})
    verdict = verdicts.Verdict("holds", measured=0.5, low=0.4, high=0.6, n=3, unit="%")
    return [
        replace(one, direction=replace(verdict, **changes), size=None)
        if one.claim.id == "R1" else one for one in results
    ]


@pytest.mark.parametrize("changes, says",
                         [(dict(low=0.61, high=0.8), "≠ beyond the intervals"),
                          (dict(low=0.1, high=0.39), "≠ beyond the intervals"),
                          (dict(low=0.55, high=0.8), "within the intervals"),
                          (dict(low=float("nan"), high=float("nan")), "not known: no interval"),
                          (dict(n=0), "measured in one only")])
def test_numbers_differ_where_their_intervals_do_not_meet(changes, says):
    frame = verdicts.compare(judged(), judged(**changes), names=("small", "large"))
    assert frame["id"].tolist() == ["R1"] and frame["difference"].tolist() == [says]
    assert frame["measured small"].tolist() == ["50.0%"] and frame["direction large"].tolist() == [
        "holds"
    ]


def test_what_neither_has_measured_is_left_out():
    assert verdicts.compare(verdicts.evaluate({}), verdicts.evaluate({}), names=("a", "b")).empty


def figure(id="f"):
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><path d="M 0 0"/></svg>'
    return v4.new_output(
        "display_data", data={"image/svg+xml": svg, "text/csv": "a\n1\n"},
        metadata={"figure": {"id": id, "caption": "What it shows.", "alt": "A line."}})


def write(folder, outputs, *, number):
    folder.mkdir(exist_ok=True)
    cells = [
        v4.new_markdown_cell("# The title"),
        v4.new_code_cell(f"number = {number}\nshared = 1", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("show()", outputs=outputs, execution_count=1)
    ]
    nbformat.write(v4.new_notebook(cells=cells), folder / "11_dpsgd.ipynb")
    return folder / "11_dpsgd.ipynb"


def test_figures_stand_in_pairs_and_a_missing_one_is_said(tmp_path):
    both = [
        write(tmp_path / "a", [figure("f"), figure("g")], number=1),
        write(tmp_path / "b", [figure("f")], number=2)
    ]
    made = nbformat.read(pair("11_dpsgd", both, names=("a", "b"), folder=tmp_path), as_version=4)
    assert made.cells[0].source.startswith(
        "# The title\n\n| parameter | a | b |") and "| number | `1` | `2` |" in made.cells[0].source
    assert "shared" not in made.cells[0].source
    shown = [[
        output.get("metadata", {}).get("figure", {}).get("id") or output.text
        for output in cell.outputs
    ]
             for cell in made.cells[1:]]
    assert shown == [["f-a", "f-b"], ["g-a", "Not in profile b."]]


def test_the_page_of_two_profiles(tmp_path):
    passes = [Pass(), Pass()]
    for seen, name, outputs in zip(passes, "ab", ([figure()], [figure()])):
        seen.results["11_dpsgd"] = Result("11_dpsgd", write(tmp_path / name, outputs, number=1),
                                          None, 1.0)
    passes[1].results["12_pate"] = Result("12_pate", None, "cell 2 · ValueError: two", 1.0)
    table = verdicts.compare(judged(), judged(low=0.7, high=0.8),
                             names=("a", "b")).to_dict("records")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = write_page(passes, ["a", "b"], table, out=tmp_path / "out",
                          folder=tmp_path / "work").read_text()
    assert "Code, 0 lines" not in text
    assert (
        "class=pairs" in text
        and "≠ beyond the intervals" in text
        and "cell 2 · ValueError: two" in text
    )
    assert [re.search(f"Profile {name}. What it shows.", text) is not None
            for name in "ab"] == [True, True]
    assert "Verdict a" in text and "Verdict b" in text


@pytest.mark.parametrize(
    "more", [["--fresh"], ["--budget", "9m"], ["--retry-failed"], ["--cluster", "tcp://here:8786"]])
def test_nothing_is_trained_for_a_comparison(more):
    with pytest.raises(Problem, match=f"--compare with {more[0]}: "):
        options.parse(["report", "--compare", "smoke", "quick", *more])
    with pytest.raises(Problem, match="laptop --compare smoke quick"):
        options.parse(["report", "laptop", "--compare", "smoke", "quick"])


def test_two_profiles_of_one_name_are_refused(tmp_path):
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "11_dpsgd.yaml").write_text("")
    with pytest.raises(Problem, match="both profiles are called smoke"):
        compare(options.parse(["report", "--compare", "smoke", str(tmp_path / "smoke")]))
