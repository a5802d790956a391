"""The notebooks as they are committed, their parameter files, the published rows behind them, the
README that maps them.

nbval checks that a notebook's outputs come out again. Here: that the files are whole, in step with
each other and free of this machine's traces, and that defaults and published rows ask for each
other. Nothing trains.
"""

import ast
import csv
import io
import json
import math
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import tokenize
from pathlib import Path

import jupytext
import nbformat
import pytest

from lib import papers, processes
from lib.commands import execution, options, profiles
from lib.commands.notebooks import PICTURES, SIZE_LIMIT, cleaned
from lib.commands.passes import read_asked
from lib.commands.variables import published_only
from lib.paths import NOTEBOOKS, PARAMS, RESULTS, ROOT
from lib.verdicts.claim import NOTEBOOKS as PLANNED

SOURCES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))
NAMES = [source.stem for source in SOURCES]
SETTINGS = sorted(PARAMS.glob("*/*.yaml"))
README = (ROOT / "README.md").read_text("utf-8")
LONGEST_CELL, TYPICAL_CELL, CODE_IN_A_ROW = 25, 12, 1  # lines of at most 100 columns, cells
MOST_PARAMETERS = 12  # in the cell that papermill knows; the rest is in the set-up cell above it
OPENING = """\
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("{}")"""
PARAMETER_CELLS = (["parameters"], ["setup"])  # their tags
# folders of somebody's machine
PRIVATE = re.compile(r"/(?:home|Users|root|tmp|mnt|var)/\w|\b[A-Z]:\\+Users\b")

each_notebook = pytest.mark.parametrize("source", SOURCES, ids=NAMES)


def read(source):
    """The cells of a notebook's .py file."""
    return jupytext.read(source)


def pair(source):
    """The committed .ipynb of a notebook."""
    path = source.with_suffix(".ipynb")
    assert path.exists(), f"{path.name} is missing: `python3 build.py notebooks` writes it"
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook):
    """What a notebook displays under an id, figures and tables: {id: output}.

    An id twice is an error.
    """
    found = {}
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        for kind in ("figure", "table"):
            name = output.get("metadata", {}).get(kind, {}).get("id")
            assert name not in found, f"the id {name} is used twice"
            found |= {name: output} if name else {}
    return found


def traces_of_this_machine(text):
    """Paths of this machine and of others, and this machine's name, where a text holds them."""
    here = [str(ROOT), str(Path.home()), tempfile.gettempdir()]
    found = [path for path in here if len(path) > 1 and path + "/" in text]
    name = platform.node()
    # a name of letters alone may be a word of the text
    if not name.isalpha() and len(name) > 3 and name in text:
        found.append(name)
    return found + PRIVATE.findall(text)


def test_traces_are_found():
    for text in (f"{Path.home()}/x", "at /home/someone/data", r"C:\Users\me", r"C:\\Users\\me",
                 "/tmp/abc"):
        assert traces_of_this_machine(text), text
    assert not traces_of_this_machine("https://example.org/home and imagefolder:/path/to/images")


# ---------------------------------------------------------------- the text of a notebook

@each_notebook
def test_opens_with_title_finding_headline_and_few_parameters(source):
    cells = read(source).cells
    assert re.match(r"# \S[^\n]*\n\*(?!\*)([^\n*]|\n(?!\n))+[.?!]\*(\n|$)", cells[0].source), \
        "expected `# Title`, then `*Finding.*`"
    titles = [
        line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()
        if line.startswith("# ")
    ]
    assert len(titles) == 1
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert code[0].source == OPENING.format(source.stem), "the first code shows the headline"
    tags = [cell.metadata.get("tags", []) for cell in code]
    first = tags.index(["parameters"])
    assert [place for place, one in enumerate(tags) if one in PARAMETER_CELLS] == list(
        range(1, first + 1)) and first <= 2, "after the headline: set-up, if any, and parameters"
    assert len(ast.parse(code[first].source).body) <= MOST_PARAMETERS


@each_notebook
def test_code_comes_in_small_pieces_with_text_between(source):
    cells = read(source).cells
    lines = [
        len(cell.source.splitlines())
        for cell in cells
        if cell.cell_type == "code" and cell.metadata.get("tags") not in PARAMETER_CELLS
    ]
    assert max(lines) <= LONGEST_CELL and statistics.median(lines) <= TYPICAL_CELL
    kinds = "".join("c" if cell.cell_type == "code" else "." for cell in cells)
    assert "c" * (
        CODE_IN_A_ROW +
        1) not in kinds, f"more than {CODE_IN_A_ROW} code cells without text between: {kinds}"
    assert kinds.endswith("."), "the last word is text"


@each_notebook
def test_nothing_is_left_to_fill_in(source):
    for path in (source, source.with_suffix(".ipynb")):
        assert not re.search(r"\b(FINDING|TODO|FIXME|XXX)\b", path.read_text("utf-8")), path.name


@each_notebook
def test_every_parameter_is_explained_and_used(source):
    code = code_cells(read(source))
    cells = [cell for cell in code if cell.metadata.get("tags") in PARAMETER_CELLS]
    text = "\n".join(cell.source for cell in cells)
    names = profiles.declared(read(source))  # refuses what is not a literal
    assert names and len(names) == len(
        ast.parse(text).body), "cells of parameters hold assignments alone"
    # Below a comment of its own line, or on the line of one: {where an explained name may stand}.
    explained = {token.start[0] + token.line.lstrip().startswith("#")
                 for token in tokenize.generate_tokens(io.StringIO(text).readline)
                 if token.type == tokenize.COMMENT}
    bare = [text.splitlines()[node.lineno - 1] for node in ast.parse(text).body
            if node.lineno not in explained]
    assert not bare, "without a comment on its line or above it"
    later = ast.parse("\n".join(cell.source for cell in code[code.index(cells[-1]) + 1:]))
    read_later = {
        node.id
        for node in ast.walk(later)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert not names.keys() - read_later, "declared, and read by nothing"


# ---------------------------------------------------------------- the .ipynb beside it

def test_jupytext_leaves_the_pairs_as_they_are(tmp_path):
    """What `jupytext --sync` would write into a fresh clone."""
    shutil.copy(NOTEBOOKS / "jupytext.toml", tmp_path)
    before = {}
    for source in SOURCES:
        for path in (source, source.with_suffix(".ipynb")):
            shutil.copy(path, tmp_path)
            before[tmp_path / path.name] = path.read_bytes()
    done = subprocess.run([sys.executable, "-m", "jupytext", "--sync", *map(str, sorted(
        path for path in before if path.suffix == ".py"))], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path, was in before.items() if path.read_bytes() != was] == []



@each_notebook
def test_the_pair_holds_the_same_cells(source):
    written, text = ([(cell.cell_type, cell.source, cell.metadata.get("tags", []))
                      for cell in one.cells]
                     for one in (pair(source), read(source)))
    assert written == text, "`python3 build.py notebooks` writes the .ipynb anew"


@each_notebook
def test_outputs_are_whole_and_say_nothing_of_the_machine(source):
    notebook, path = pair(source), source.with_suffix(".ipynb")
    assert path.stat().st_size < SIZE_LIMIT
    # nbval passes over a cell that was never run, also one whose outputs it is asked to check.
    assert [cell.execution_count for cell in code_cells(notebook)] == list(
        range(1,
              len(code_cells(notebook)) + 1))
    kinds = {output.output_type for cell in code_cells(notebook) for output in cell.outputs}
    assert "error" not in kinds
    assert not any(
        output.get("name") == "stderr" for cell in code_cells(notebook) for output in cell.outputs)
    assert not traces_of_this_machine(path.read_text("utf-8"))
    assert notebook == cleaned(
        nbformat.from_dict(notebook)), "not as `build.py notebooks` writes it"


def test_every_figure_says_what_it_finds():
    claimed = {name for one in papers.claims() for name in (*one.targets, *one.figures)}
    for source in SOURCES:
        for name, output in shown(pair(source)).items():
            details = output.metadata.get("figure", {})
            assert not details or details.get("finding") or any(
                about == name or re.fullmatch(re.escape(name) + "[a-z]", about)
                for about in claimed), f"{name}: figures.show(..., finding=) of the rows at hand"


def test_ids_are_unique_and_pictures_are_those_of_the_notebooks():
    found = {}
    for source in SOURCES:
        ids = shown(pair(source))
        assert ids, f"{source.stem} shows nothing"
        assert not found.keys() & ids.keys(), f"{source.stem} repeats ids of another notebook"
        found |= ids
    for name, path in PICTURES.items():
        assert path.read_text("utf-8") == found[name].data["image/svg+xml"] + "\n", path.name


# ---------------------------------------------------------------- params/


@pytest.mark.parametrize("path", SETTINGS,
                         ids=[f"{path.parent.name}-{path.stem}" for path in SETTINGS])
def test_parameter_files_fit_their_notebooks(path):
    source = NOTEBOOKS / f"{path.stem}.py"
    assert source in SOURCES
    defaults = profiles.declared(read(source))
    values = defaults | profiles.parameters(profiles.Choice(source, path))
    sets = datasets(values)
    if path.parent.name in ("smoke", "quick"):
        assert all(name.startswith("strokes")
                   for name in sets), f"{path.parent.name} needs no data set: {sets}"
    if isinstance(values.get("pairs"), dict):
        assert set(sets) <= values["pairs"].keys(), "a data set without its pairs of classes"
    # The paper's own lengths may differ; elsewhere a published row must not be missed by an
    # oversight.
    own = {} if path.parent.name == "paper" else {
        setup["dataset"]: setup for setup in defaults.get("setups", [])
    }
    assert all(own.get(setup["dataset"], setup) == setup
               for setup in values.get("setups", [])), "published, with other settings"


def datasets(value):
    """The data sets that parameters name, at any depth."""
    if isinstance(value, list):
        return [name for item in value for name in datasets(item)]
    if not isinstance(value, dict):
        return []
    return [
        name for key, item in value.items()
        for name in ([item] if key == "dataset" else datasets(item))
    ]


def test_every_profile_has_its_notebooks():
    for profile in ("smoke", "quick"):
        assert [path.stem for path in SETTINGS if path.parent.name == profile] == NAMES
    assert {path.parent.name for path in SETTINGS} == {"smoke", "quick", "laptop", "paper"}


# ---------------------------------------------------------------- published rows

def rows_of(name):
    """The published rows of a notebook, read strictly: no NaN, no infinity.

    None where another's file holds them all.
    """
    def refuse(literal):
        raise ValueError(f"{literal} is not JSON")

    path = RESULTS / f"{name}.jsonl"
    return [
        json.loads(line, parse_constant=refuse) for line in path.read_text("utf-8").splitlines()
    ] if path.exists() else []


def test_results_belong_to_notebooks():
    assert RESULTS.is_dir(), "no published rows: `python3 build.py export PROFILE` writes them"
    files, pictures = {path.name
                       for path in RESULTS.iterdir()}, {path.name for path in PICTURES.values()}
    assert pictures < files <= pictures | {f"{name}.jsonl" for name in NAMES}


@each_notebook
def test_published_rows_are_whole_and_of_this_version(source):
    from lib.study import from_dict

    rows = rows_of(source.stem)
    keys = [row["key"] for row in rows]
    assert keys == sorted(set(keys))
    stale = [row["key"] for row in rows if from_dict(row["run"]).key != row["key"]]
    assert (
        not stale
    ), f"{len(stale)} of {len(rows)} rows are of another version of the run, or of a part it uses"
    for row in rows:
        assert row["status"] == "ok" and "error" not in row
        assert all(value is None or not isinstance(value, float) or math.isfinite(value)
                   for value in row["metrics"].values())
        assert row["provenance"].keys() == {
            "commit", "dirty", "device", "threads", "versions", "started", "group_seconds",
            "group_size", "seconds"
        }
        assert row["provenance"]["dirty"] is False and re.fullmatch(r"[0-9a-f]{40}",
                                                                    row["provenance"]["commit"])
    assert not traces_of_this_machine(json.dumps(rows))


def test_twins_come_from_one_kind_of_device():
    # Random streams differ between CPUs and GPUs, so that bases of one seed would not be one.
    kinds = {}
    for name in NAMES:
        for row in rows_of(name):
            kind = row["provenance"]["device"].partition(" ")[0]
            kinds.setdefault(row["twin"], set()).add("CPU" if kind == "CPU" else "GPU")
    mixed = [twin for twin, found in kinds.items() if len(found) > 1]
    assert not mixed, f"{len(mixed)} of {len(kinds)} twins"


@pytest.fixture(scope="module")
def by_defaults(tmp_path_factory):
    """Every notebook run with its defaults on the published rows alone: {name: (result, requests by
    key)}.
    """
    folder = tmp_path_factory.mktemp("defaults")
    tasks = [
        execution.Task(
            source, folder / f"{source.stem}.ipynb", {},
            {**published_only(folder / "empty"), "STUDY_ASKED": str(folder / source.stem)})
        for source in SOURCES
    ]
    results = execution.run_all(tasks, jobs=min(processes.cores(), len(tasks)),
                                report=lambda line: None)
    return {result.name: (result, read_asked(folder / result.name)) for result in results}


@pytest.mark.slow
@each_notebook
def test_defaults_ask_for_published_rows_and_for_all_of_them(source, by_defaults):
    result, asked = by_defaults[source.stem]
    assert result.error is None
    unpublished = [
        key for key, request in asked.items()
        if request["source"] != "published" or request["status"] != "ok"
    ]
    assert not unpublished, f"{len(unpublished)} of {len(asked)} rows asked for are not published"
    # A row that two notebooks ask for lies in the file of the first.
    unasked = {row["key"] for row in rows_of(source.stem)} - asked.keys()
    assert not unasked, f"{len(unasked)} published rows are asked for by nothing"


@pytest.mark.slow
@each_notebook
def test_committed_figures_and_tables_are_of_these_rows(source, by_defaults):
    result, _ = by_defaults[source.stem]
    fresh, committed = shown(nbformat.read(result.output, as_version=4)), shown(pair(source))
    assert fresh.keys() == committed.keys()
    for name, output in fresh.items():
        assert output.metadata == committed[name].metadata
        assert same_table(output.data.get("text/csv"),
                          committed[name].data.get("text/csv")), f"{name}: other data"


def same_table(one, other):
    """Whether two CSV texts hold the same words, and the same numbers to four digits."""
    if one is None or other is None:
        return one is other
    first, second = ([cell
                      for line in csv.reader(io.StringIO(text))
                      for cell in (*line, "\n")]
                     for text in (one, other))
    return len(first) == len(second) and all(same_cell(*cells) for cells in zip(first, second))


def same_cell(one, other):
    try:
        return one == other or math.isclose(float(one), float(other), rel_tol=1e-4, abs_tol=1e-6)
    except ValueError:
        return False


def test_tables_are_compared_number_by_number():
    assert same_table("a,b\n1,.5\n", "a,b\n1,.500001\n") and same_table(None, None)
    for other in ("a,b\n1,.51\n", "a,c\n1,.5\n", "a,b\n1,.5\n2,.5\n", "a,b\n1\n.5\n", None):
        assert not same_table("a,b\n1,.5\n", other)


# ---------------------------------------------------------------- README

def test_readme_maps_every_notebook():
    named = set(re.findall(r"`(\d\d_\w+)`", README))
    assert named == set(PLANNED), "the notebooks and those to come, by name"
    linked = set(re.findall(r"\]\(notebooks/(\d\d_\w+)\.ipynb\)", README))
    assert linked == set(NAMES), "a link for each notebook that there is"


def test_readme_leads_to_files_that_are_there():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", README) if "://" not in link]
    missing = [link for link in links if not (ROOT / link).exists()]
    assert links and not missing
    assert "<!-- headline -->" not in README, "the finding is missing"


def test_readme_commands_are_commands():
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", README, re.S | re.M)
    lines = [line for block in blocks
             for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", README)
    commands = [
        shlex.split(line, comments=True)[2:]
        for line in lines
        if line.startswith("python3 build.py ")
    ]
    assert ["report"] in commands and ["test"] in commands
    for command in commands:
        if "--help" not in command:  # prints the page and leaves
            options.parse(command)
