"""The first screen, the scoreboard, the verdict table, and the way between chapters."""

import re
import warnings

import nbformat
import pandas as pd
import pytest

from lib.page import NOTEBOOK_LIMIT, SIZE_LIMIT
from lib.page import build as page_of
from lib.page.claims import claim_anchors, verdict_table
from lib.page.firstscreen import answer_of, headline_of
from lib.page.maths import formula_html
from lib.page.scoreboard import records_of, scoreboard
from lib.page.scrub import PathScrubber
from lib.page.text import rounded, typeset
from lib.paths import NOTEBOOKS
from tests.test_page import VERDICTS, Page, build, drawing, figure_output, write

TITLES = {"razmi": "Razmi, Lou: A Title", "ours": "this report"}


def claims(**changes):
    frame = pd.DataFrame([
        {"id": f"R{i}", "paper": "razmi" if i < 5 else "ours", "claim": "It does. Judged so.",
         "direction": word, "size": size, "measured": "-10.84%",
         "interval": "[-17.8%, -3.71%]; 13 would decide", "n": 10, "setup": "as published",
         "notebook": "11_dpsgd", "figure": "11-noise", "figures": ["11-noise"],
         "what": "lift", "planned": 12}
        for i, (word, size) in enumerate([("holds", "fails"), ("holds", "–"), ("–", "fails"),
                                          ("arithmetic", "–"), ("not measured", "–"),
                                          ("less", "–")])])
    return frame.assign(**changes)


def records(frame):
    return records_of(frame, PathScrubber())


def test_the_scoreboard_counts_every_claim_once():
    board = scoreboard(records(claims()), TITLES)
    counts = {line.paper: {cell.verdict.word: cell.count for cell in line.counts if cell.count}
              for line in board.lines}
    assert counts == {"razmi": {"holds": 2, "fails": 1, "arithmetic": 1, "not measured": 1},
                      "ours": {"less": 1}}
    assert board.lines[0].authors == "Razmi et al." and board.lines[0].title == "A Title"
    assert "1 of them hold in direction and fail in size" in board.note
    assert scoreboard(records(claims().rename(columns={"direction": "direction A"})), {}) is None


def test_a_count_leads_to_as_many_rows(tmp_path):
    page = Page(build(tmp_path, [], verdicts=claims()))
    rows = [(attrs["data-paper"], attrs["data-verdict"]) for attrs in page.all("tr")
            if "data-paper" in attrs]
    links = [attrs for attrs in page.all("a") if "data-route" in attrs]
    assert len(links) == 5
    for link in links:
        _, paper, word = link["data-route"].split(":")
        assert link["aria-label"].startswith(f"{rows.count((paper, word))} {word}")


def test_a_row_is_short_and_the_rest_is_behind_a_disclosure(tmp_path):
    table = verdict_table(records(claims()), profile="p", ids={"11-noise"}, titles=TITLES)
    assert [group.setup for group in table.groups] == ["as published"] * 2
    row = table.groups[0].rows[0]
    side = row.sides[0]
    assert (row.claim, side.number, side.interval) == ("It does.", "−10.8%", "[−17.8, −3.71]")
    assert side.what == "lift" and row.href == "#11-noise"
    more = dict(row.more)
    assert more["About"] == "Judged so." and "Set-up" not in more
    assert more["Attack instances"] == "n = 10, 12 planned, 13 would decide"
    words = build(tmp_path, [], verdicts=claims())
    assert re.search(r'<tr role="row" id="R0"[^>]*data-verdict="holds"', words)


def test_set_ups_that_differ_stand_with_their_claims():
    frame = claims(setup=["as published", "substitute", "", "", "", ""])
    table = verdict_table(records(frame), profile="p", ids=(), titles={})
    assert table.groups[0].setup == ""
    assert dict(table.groups[0].rows[1].more)["Set-up"] == "substitute"


def test_frames_without_the_new_columns_are_accepted(tmp_path):
    frame = claims().drop(columns=["what", "planned"])
    assert "12 planned" not in build(tmp_path, [], verdicts=frame)


def test_two_profiles_stand_side_by_side(tmp_path):
    frame = claims().rename(columns={name: f"{name} A" for name in
                                     ("direction", "size", "measured", "interval", "n", "setup")})
    frame = frame.assign(**{"direction B": "fails", "measured B": "1%", "difference": "≠ so"})
    words = build(tmp_path, [], verdicts=frame)
    for text in ("Verdict A", "Measured B", "Difference", "≠ so"):
        assert text in words
    assert 'id="scoreboard"' not in words


def test_claims_keep_their_names_on_the_page():
    taken = set()
    claim_anchors(records(claims()), taken)
    assert {"R0", "verdicts-razmi", "verdicts-ours"} <= taken


def test_numbers_are_set_with_a_minus_and_three_digits():
    assert typeset("-0.5 to -0.1, 0-5, 2026-11-27, cifar10-jpeg, 1e-5, (-3)") == \
        "−0.5 to −0.1, 0-5, 2026-11-27, cifar10-jpeg, 1e-5, (−3)"
    assert rounded("-0.002634 [12.345, 1234.56] 100.0% 0.10") == "−0.00263 [12.3, 1235] 100% 0.10"


def test_sentences_have_their_notes_behind_a_disclosure(tmp_path):
    assert answer_of(["Plain.", ("It is -1.", "A note.")]) == [("Plain.", ""), ("It is −1.",
                                                                              "A note.")]
    words = build(tmp_path, [], answer=[("First.", "Its interval."), "Second."])
    assert re.search(r"<li>First\.\s*<details class=\"note\">.*?Its interval\.", words)
    assert words.count('<details class="note">') == 1


def test_one_figure_on_the_first_screen(tmp_path):
    headline = {"svg": drawing(), "caption": "What it <is>.", "alt": "A line", "finding": "It -1.",
                "href": "#11-noise"}
    words = build(tmp_path, [write(tmp_path, outputs=[figure_output()])], headline=headline)
    assert words.index('id="headline"') < words.index('<section id="nb-11_dpsgd"')
    assert "What it &lt;is&gt;." in words and 'href="#11-noise">Where it comes from' in words
    assert "Where it comes from" not in build(tmp_path, [], headline=headline)
    assert 'id="headline"' not in build(tmp_path, [])
    with pytest.raises(ValueError, match="lacks"):
        headline_of({"svg": "<svg/>"}, ())


def test_a_finding_stands_below_its_figure(tmp_path):
    output = figure_output()
    output.metadata["figure"]["finding"] = "Lift <falls> to -1."
    words = build(tmp_path, [write(tmp_path, outputs=[output])], verdicts=VERDICTS.assign(
        figures=[["11-noise"]] + [[]] * 4))
    assert words.index("Lift &lt;falls&gt; to −1.") < words.index('class="findings"')
    assert '<p class="said">' not in build(tmp_path, [write(tmp_path, outputs=[figure_output()])])


def test_chapters_lead_to_one_another(tmp_path):
    books = [write(tmp_path, name) for name in ("10_setup", "11_dpsgd")]
    page = Page(build(tmp_path, books, verdicts=VERDICTS, notes=["a note"]))
    ways = {way: [attrs["href"] for attrs in page.all("a") if attrs.get("rel") == way]
            for way in ("prev", "next")}
    order = ["#overview", "#verdicts", "#notes", "#nb-10_setup", "#nb-11_dpsgd", "#provenance"]
    assert ways == {"prev": order[:-1], "next": order[1:]}


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The page of the committed notebooks and the warnings that it gave."""
    books = [(path.stem, path, None) for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        path = page_of(books, out=tmp_path_factory.mktemp("committed"), profile="p", context={})
    return path.read_text("utf-8"), [str(warning.message) for warning in found]


def test_every_formula_of_the_notebooks_is_drawn():
    found = {}
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        texts = [cell.source for cell in nbformat.read(path, as_version=4).cells
                 if cell.cell_type == "markdown"]
        for tex in re.findall(r"\$\$(.+?)\$\$", "\n".join(texts), re.S):
            found[path.stem, tex] = formula_html(tex, prefix="f", display=True)
    assert found and not [name for name, drawn in found.items() if drawn is None]


def test_the_committed_notebooks_are_within_the_limit(committed):
    words, found = committed
    assert [text for text in found if " kB" in text or " MB" in text] == []
    parts = re.findall(r'<section id="nb-.*?</section>', words, re.DOTALL)
    assert len(parts) > 10 and max(len(part.encode()) for part in parts) <= NOTEBOOK_LIMIT + 2000
    assert len(words.encode()) / len(parts) * 31 < SIZE_LIMIT  # with all that are planned


def test_the_page_renders_what_the_figures_say(committed):
    """Findings and verdicts where there are any, and nothing where there are none."""
    words, _ = committed
    silent = []
    for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for details in (output.get("metadata", {}).get("figure")
                            for output in cell.get("outputs", [])):
                if details is None:
                    continue
                figure = re.search(rf'<figure id="{details["id"]}".*?</figure>', words, re.DOTALL)
                said = '<p class="said">' in figure[0]
                assert said == bool(details.get("finding"))
                if not said and 'class="findings"' not in figure[0]:
                    silent.append(f"{path.stem}: {details['id']}")
    print("figures without a finding or a claim:", *silent, sep="\n")
