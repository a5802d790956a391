"""The page: one file, labelled, escaped, complete, without a trace of the machine."""

import base64
import re
import warnings
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import matplotlib
import nbformat
import pandas as pd
import pytest
from nbformat import v4

from lib.figures import display
from lib.page import SIZE_LIMIT
from lib.page import build as build_page
from lib.page.outputs import inline_svg
from lib.page.packed import unpacked
from lib.page.scrub import PathScrubber
from lib.page.styles import share_styles
from lib.paths import ROOT

NASTY = "<script>alert(1)</script>"
VOID = {"meta", "link", "img", "br", "hr", "input", "col", "td", "th", "tr"}  # or may stay open


class Page(HTMLParser):
    """Collects the elements of a page and checks that they are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, *tags):
        return [attrs for tag, attrs in self.elements if tag in tags]


def drawing(text="label"):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 2))
    axes = figure.add_subplot()
    axes.plot([0, 1], marker="o")
    axes.set_title(text)
    return display.svg(figure, alt=text)


def figure_output(id="11-noise", svg=None, csv="class,accuracy\n<script>,0.5\n"):
    data = {"image/svg+xml": svg or drawing(NASTY), "text/plain": "x", "text/csv": csv}
    return v4.new_output("display_data", data=data, metadata={
        "figure": {"id": id, "caption": f"Caption {NASTY}", "alt": f'Alt "{NASTY}"'}})


def table_output():
    html = "<table><caption>c</caption><tr><td>&lt;b&gt;</td><td onclick='x'>1</td></tr></table>"
    return v4.new_output("display_data", data={"text/html": html, "text/csv": "a\n1\n"},
                         metadata={"table": {"id": "11-table", "caption": "The table"}})


def write(folder, name="11_dpsgd", *, markdown="text", outputs=(), executed=True):
    cells = [
        v4.new_markdown_cell(
            f"# Noise {NASTY} lowers it\nSee [setup](10_setup.ipynb).\n\n## The claim\n\n{markdown}"
        ),
        v4.new_code_cell("delta = 1e-5  # x\nlevels = [0, 1]", metadata={"tags": ["parameters"]},
                         execution_count=1),
        v4.new_code_cell("show(figure)", outputs=list(outputs),
                         execution_count=2 if executed else None),
    ]
    if not executed:
        cells[1].execution_count = None
    notebook = v4.new_notebook(cells=cells, metadata={"papermill": {
        "parameters": {"levels": [0, 2.5]}, "duration": 61.0}})
    path = Path(folder) / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return (name, path, None)


VERDICTS = pd.DataFrame([{
    "id": f"C{i}", "paper": "razmi", "claim": f"Claim {NASTY}", "published": 0.98,
    "direction": word, "size": "–", "measured": float("nan"), "interval": None, "n": 0,
    "setup": "as published", "notebook": "11_dpsgd", "figure": "11-noise",
    "direction here": "holds", "size here": "fails", "measured here": "98%"
} for i, word in enumerate(["holds", "fails", "inconclusive", "not measured", "not testable here"])
                         ])


def build(folder, notebooks, **context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = build_page(notebooks, out=Path(folder) / "out", profile="quick", context=context)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    trace = f"KeyError\n  File {ROOT}/lib/study.py\n  File {Path.home()}/x.py\n\x1b[31m{NASTY}"
    notebooks = [
        ("10_setup", None, trace),
        write(
            folder, outputs=[
                figure_output(),
                figure_output(),
                table_output(),
                v4.new_output("stream", name="stdout", text=NASTY)
            ], markdown=
            f"Text {NASTY} <b onclick='x'>b</b> ![p](https://example.org/p.png) $e^\\epsilon$ "
            "and $e^\\epsilon$ and $\\nosuchthing{x}$, $5 and $6. <a href='javascript:x()'>link</a>"
        ),
        write(folder, "12_pate", outputs=[figure_output("12-a")]),
        ("13_privacy_budget", folder / "missing.ipynb", None),
    ]
    return build(folder, notebooks, verdicts=VERDICTS, commit="a" * 40, dirty=True, seconds=75,
                 versions={"torch": "2.11"}, rows={"fresh": 3, "missing": 1}, threads=1)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_one_self_contained_file(page, text):
    assert len(text.encode()) < SIZE_LIMIT
    for tag, attrs in page.elements:
        for name in ("src", "srcset", "data", "poster", "xlink:href"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
        assert tag not in ("iframe", "object", "embed", "base")
    assert all(attrs["href"] == "data:," for attrs in page.all("link"))
    assert "@import" not in text and "url(http" not in text and "fetch(" not in text


def test_structure_for_assistive_technology(page, text):
    assert len(page.all("h1")) == 1
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(attrs.get("scope") for attrs in page.all("th") if attrs.get("role"))
    assert 'class="skip" href="#main"' in text


def test_ids_are_unique_and_links_arrive(page, text):
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs[name][1:] for _, attrs in page.elements for name in ("href", "xlink:href")
               if attrs.get(name, "").startswith("#")]
    used = re.findall(r"url\(#([^)]+)\)", text)
    assert used and set(targets) | set(used) <= set(ids)
    for attrs in page.elements:
        label = attrs[1].get("aria-labelledby")
        assert label is None or label in ids


def pictures(page):
    """The drawings, without the hidden one of their common shapes."""
    return [attrs for attrs in page.all("svg") if "aria-hidden" not in attrs]


def test_every_picture_is_described(page):
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures(page))
    assert all(attrs.get("alt") for attrs in page.all("img"))
    assert sum(attrs.get("aria-label") == f'Alt "{NASTY}"' for attrs in page.all("svg")) == 3


def test_nothing_in_a_notebook_runs(page, text):
    assert len(page.all("script")) == 1  # the page's own
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert "javascript:" not in text and "alert(1)" in text  # shown as text
    assert "<script>" in "".join(page.text)


def test_figures_are_numbered_and_carry_their_data(page, text):
    for number in ("Figure 11.1.", "Figure 11.2.", "Table 11.1.", "Figure 12.1."):
        assert f"<b>{number}</b>" in text
    assert [attrs["id"] for attrs in page.all("figure")] == ["11-noise", "11-noise-2", "12-a"]
    files = {attrs["download"]: attrs["href"] for attrs in page.all("a") if "download" in attrs}
    decoded = unpacked(files["11-noise.csv.gz"].split("base64,")[1])
    assert decoded == "class,accuracy\n<script>,0.5\n"
    parameters = base64.b64decode(files["11_dpsgd.yaml"].split("base64,")[1]).decode()
    import yaml

    assert yaml.safe_load(parameters) == {"delta": 1e-5, "levels": [0, 2.5]}


def test_a_repeated_figure_id_is_flagged(text):
    assert "The figure id &#39;11-noise&#39; is used before" in text


def test_missing_notebooks_leave_a_placeholder(page, text):
    assert text.count('class="placeholder"') == 2
    words = "".join(page.text)
    assert "File lib/study.py" in words and "File ~/x.py" in words and "\x1b" not in words
    assert "missing.ipynb" in words and words.count("(not run)") == 2


def test_links_between_notebooks_stay_on_the_page(text):
    assert '<a href="#nb-10_setup">setup</a>' in text


def test_code_is_folded_and_headings_are_numbered(text):
    assert "<summary>Code, 1 line</summary>" in text
    assert "<summary>Parameters and their defaults</summary>" in text
    assert re.search(r'<h3 id="11_dpsgd-the-claim"><span class="number">11.1 </span>The claim</h3>',
                     text)


def test_formulas_need_no_network(page, text):
    formulas = [
        attrs["aria-label"] for attrs in pictures(page) if "Alt" not in attrs["aria-label"]
    ]
    assert formulas == [r"e^\epsilon"] * 2
    assert r'<code class="flag">$\nosuchthing{x}$</code>' in text and "$5 and $6" in text
    assert "currentColor" in text and "mathjax" not in text.lower()


def test_pictures_from_the_network_are_left_out_and_flagged(text):
    assert "[picture left out]" in text and "is not embedded and was left out" in text


def test_verdicts_come_first_in_words(page, text):
    assert text.index('id="verdicts"') < text.index('id="nb-10_setup"')
    words = " ".join("".join(page.text).split())
    for word in ("holds", "fails", "inconclusive", "not measured", "not testable here"):
        assert f"{word} 1" in words
    assert text.count('role="row"') == 1 + 1 + len(VERDICTS)  # headings, the group's, claims
    assert "Verdict here" in words and 'href="#11-noise"' in text
    assert not any("hidden" in attrs for attrs in page.all("tr"))  # all rows without JavaScript


def test_marks_and_first_versions_stand_with_the_verdict(tmp_path):
    frame = VERDICTS.assign(marks=["amended, then: x", *[""] * 4], reason="because", beside="",
                            **{"as first frozen": ["fails; 2%", *[""] * 4]})
    words = " ".join("".join(Page(build(tmp_path, [], verdicts=frame)).text).split())
    assert words.count("⚑amended, then: x") == 1 and words.count("As first frozenfails; 2%") == 1
    assert words.count("Whybecause") == len(frame) and "Marks" not in words


@pytest.mark.parametrize("word, mark", [("more", "▲"), ("less", "▼"), ("depends", "◆")])
def test_signs_are_verdicts_too(tmp_path, word, mark):
    text = build(tmp_path, [], verdicts=VERDICTS.assign(direction=word))
    assert mark in text and f"{word} {len(VERDICTS)}" in " ".join("".join(Page(text).text).split())


def test_every_outcome_has_its_badge():
    from lib.page.scoreboard import VERDICTS as KNOWN
    from lib.verdicts import OUTCOMES

    assert {verdict.word for verdict in KNOWN} >= set(OUTCOMES)


def test_an_unknown_verdict_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="'maybe'"):
        build(tmp_path, [], verdicts=VERDICTS.assign(direction="maybe"))


def test_provenance_says_what_is_not_recorded(text, tmp_path):
    assert "aaaaaaaaaaaa" in text and "with local changes" in text and "1 min 15 s" in text
    assert "3 fresh, 1 missing" in text and "torch 2.11" in text
    assert build(tmp_path, []).count("not recorded") >= 5


def test_paths_of_the_machine_are_replaced_and_flagged(tmp_path):
    outputs = [
        v4.new_output("stream", name="stdout",
                      text=f"read {ROOT}/lib/data.py, {Path.home()}/d, /home/ann/x"),
        figure_output(csv=f"file\n{ROOT}/a\n")
    ]
    text = build(tmp_path, [write(tmp_path, outputs=outputs)], command=f"python3 {ROOT}/build.py")
    assert PathScrubber().find(text) == []
    files = [
        unpacked(data)
        for data in re.findall(r"application/gzip;base64,([^\"]+)", text)
    ]
    assert files == ["file\na\n"]
    assert "Cell 3 showed a path of the machine" in text and "read lib/data.py, ~/d, ~/x" in text
    with pytest.warns(UserWarning, match="Cell 3"):
        build_page([write(tmp_path, outputs=outputs)], out=tmp_path, profile="quick", context={})


def test_scrubber_knows_paths_from_words():
    scrub = PathScrubber(root="/srv/tree", home="/root")
    assert scrub.clean(
        "/srv/tree/lib/a.py /srv/tree. file:///srv/tree/x") == "lib/a.py [checkout]. file://x"
    assert scrub.clean("the square/root, /roots, /root: 'C:\\Users\\ann\\x'"
                       ) == "the square/root, /roots, ~: '~\\x'"
    assert scrub.find("data:image/png;base64,AA/root/AA==") == []
    assert PathScrubber(root="/a", home="/").clean("/b/c") == "/b/c"


def test_unexecuted_and_failed_cells_are_flagged(tmp_path):
    error = v4.new_output("error", ename="KeyError", evalue="7", traceback=["KeyError: 7"])
    text = build(tmp_path, [write(tmp_path, executed=False, outputs=[error])])
    assert (
        "No cell of this notebook was executed." in text and "A cell ended with KeyError: 7" in text
    )


def test_notebook_names_are_unique(tmp_path):
    with pytest.raises(ValueError, match="not unique"):
        build(tmp_path, [("a", None, None), ("a", None, None)])


def test_same_page_each_time(tmp_path):
    notebooks = [write(tmp_path, outputs=[figure_output()], markdown="$x$")]
    assert build(tmp_path, notebooks) == build(tmp_path, notebooks)


def test_svg_ids_never_meet():
    first, second = (inline_svg(drawing(), label="l", prefix=prefix) for prefix in ("a", "b"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    assert set(re.findall(r"#([a-z]-[\d.]+)", first)) == ids[0]


def test_svg_is_only_a_drawing():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg"'
        ' onload="x()"><script>x()</script><style>*{}</style>'
        '<image href="http://example.org/a.png"/><foreignObject><p>x</p></foreignObject>'
        "<text>&lt;b&gt;</text></svg>"
    )
    clean = inline_svg(svg, label='"', prefix="a")
    assert clean.count("<") == 5 and "x()" not in clean and "example" not in clean
    with pytest.raises(ValueError, match="not well formed"):
        inline_svg("<svg>", label="l", prefix="a")


def test_colours_are_readable():
    style = (ROOT / "lib/page/style.css").read_text()
    themes = re.findall(r"--page: (#\w+);(.*?)\}", style, flags=re.DOTALL)
    assert len(themes) == 4
    for page, rest in themes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", rest))
        for name in ("ink", "soft", "link", "good", "bad", "open", "key", "text"):
            for ground in (page, colours["panel"]):
                assert contrast(colours[name], ground) >= 4.5, (name, ground)


def contrast(one, other):
    """WCAG contrast of two colours."""
    light, dark = sorted((matplotlib.colors.to_rgb(colour) for colour in (one, other)),
                         key=luminance, reverse=True)
    return (luminance(light) + 0.05) / (luminance(dark) + 0.05)


def luminance(colour):
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_script_is_short():
    script = (ROOT / "lib/page/script.js").read_text()
    assert len(script.splitlines()) <= 200


def test_the_answer_stands_first_and_as_text(tmp_path):
    text = build(tmp_path, [], answer=[f"DP {NASTY} lowers it.", "Second."], verdicts=VERDICTS)
    assert "<li>DP &lt;script&gt;alert(1)&lt;/script&gt; lowers it.</li>" in text and text.index(
        "Second.") < text.index('id="verdicts"')
    assert "<ol" not in build(tmp_path, [])


def test_a_figure_has_the_verdicts_of_this_run_below_it(tmp_path):
    frame = VERDICTS.assign(figures=[["11-noisea", "11-noiseb"], [], [], [], []])
    frame.loc[0, ["direction", "direction here", "size here", "measured here"]] = [
        "fails", "holds", "–", "98%"
    ]
    figure = figure_output("11-noise")
    text = build(tmp_path, [write(tmp_path, outputs=[figure])],
                 verdicts=frame.assign(figures=[["11-noise1a", "11-noise1b"], [], [], [], []]))
    assert 'class="findings"' not in text  # of another figure
    figure.metadata["figure"]["id"] = "11-noise1"
    text = build(tmp_path, [write(tmp_path, outputs=[figure])],
                 verdicts=frame.assign(figures=[["11-noise1a", "11-noise1b"], [], [], [], []]))
    below = re.findall(r'<ul class="findings">.*?</ul>', text)
    assert len(below) == 1 and below[0].count("<li>") == 1
    assert "holds" in below[0] and "98%" in below[0] and "fails" not in below[
        0] and NASTY not in below[0]


def test_styles_of_drawings_are_shared_and_nothing_else():
    svg = (
        '<svg style="--natural: 9px"><path style="fill: red"/><text x="1" style="fill:'
        ' red">style="a"</text></svg>'
    )
    (one, other), rules = share_styles(
        [f'<p style="x">{svg}</p>', svg.replace("red", "&quot;a&quot;")])
    assert (
        one
        == '<p style="x"><svg style="--natural: 9px"><path class="d0"/><text x="1"'
        ' class="d0">style="a"</text></svg></p>'
    )
    assert 'class="d1"' in other and rules.splitlines() == [
        ".d0 { fill: red }", ".d1 { fill: 'a' }"
    ]
