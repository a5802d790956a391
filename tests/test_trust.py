"""What is not trusted: pickles, archives, names of files and classes, command lines.

And the versions that were tested.
"""

import ast
import hashlib
import io
import os
import pickle
import subprocess
import tarfile
import warnings

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import versions
from nbformat import v4
from PIL import Image
from test_build import call, project  # noqa: F401  a checkout whose study only pretends
from test_page import Page

import build
from lib import data, figures, paths
from lib.data import DataNotFound
from lib.figures import display
from lib.page import build as build_page

ROOT = paths.ROOT
SOURCES = [
    ROOT / "build.py", *sorted((ROOT / "lib").rglob("*.py")), *sorted(
        (ROOT / "notebooks").glob("*.py"))
]

# ---------------------------------------------------------------- what the code may not call

RUN_WHAT_THEY_READ = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"
}
NEVER = {
    "eval", "exec", "compile", "os.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "runpy.run_path", "yaml.unsafe_load", "yaml.unsafe_load_all",
    "yaml.full_load", "yaml.full_load_all", "pandas.read_pickle", "torch.jit.load", "torch.hub.load"
}
ALLOWED = {
    (
        "lib/plugins.py",
        "exec_module",
    ): "runs the file of a user's own model, attack or defence, named by that user",
    ("lib/data/files.py", "extractall"): 'its filter admits less than "data": no links',
}


def risks(source):
    """What a text of Python could run that a file, a name or a user supplied: [(line, what)]."""
    tree = ast.parse(source)
    names, used = imported(tree), [(node.lineno, name.partition(".")[0])
                                   for node in ast.walk(tree)
                                   for name in modules(node)]
    unpack = {"extractall", "unpack_archive"
              } | ({"extract"} if {"tarfile", "zipfile"} & {name for _, name in used} else set())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [(line, name) for line, name in used if name in RUN_WHAT_THEY_READ]
    return found + [(call.lineno, what) for call in calls for what in of_call(call, names, unpack)]


def modules(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def imported(tree):
    """What each name of the file stands for: {"np": "numpy", "load": "torch.load"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def dotted(node, names):
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{dotted(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def of_call(call, names, unpack):
    name, last = dotted(call.func, names), getattr(call.func, "attr", None)
    given = {
        keyword.arg: getattr(keyword.value, "value", keyword.value) for keyword in call.keywords
    }
    loader = dotted(call.keywords[0].value if call.keywords else call.args[-1],
                    names) if name in ("yaml.load", "yaml.load_all") else ""
    wrong = {
        name: name in NEVER,
        "shell": given.get("shell", False) is not False,
        "exec_module": last == "exec_module",
        "extractall": last in unpack and given.get("filter") != "data",
        "torch.load": name == "torch.load" and given.get("weights_only") is not True,
        "allow_pickle": given.get("allow_pickle", False) is not False,
        "yaml.load": name in ("yaml.load", "yaml.load_all") and not loader.endswith("SafeLoader"),
    }
    return [what for what, is_wrong in wrong.items() if is_wrong]


@pytest.mark.parametrize(
    "source, what",
    [("import pickle", "pickle"), ("from joblib import load", "joblib"),
     ("import torch\ntorch.load('x')", "torch.load"),
     ("from torch import load as read\nread('x', weights_only=False)", "torch.load"),
     ("import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
     ("import numpy as np\nnp.load('x', allow_pickle=chosen)", "allow_pickle"),
     ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml.load"),
     ("import yaml\nyaml.load(text, yaml.FullLoader)", "yaml.load"),
     ("import yaml\nyaml.load(text)", "yaml.load"),
     ("from yaml import unsafe_load\nunsafe_load(text)", "yaml.unsafe_load"),
     ("eval(open('x').read())", "eval"), ("exec(text)", "exec"),
     ("import subprocess as s\ns.run(text, shell=True)", "shell"),
     ("start(text, shell=chosen)", "shell"), ("import os\nos.system(text)", "os.system"),
     ("from os import popen\npopen(text)", "os.popen"), ("file.extractall(folder)", "extractall"),
     ("import tarfile\nfile.extract(member)", "extractall"),
     ("file.extractall(folder, filter='fully_trusted')", "extractall"),
     ("import shutil\nshutil.unpack_archive('x')", "extractall"),
     ("spec.loader.exec_module(module)", "exec_module"),
     ("import pandas as pd\npd.read_pickle('x')", "pandas.read_pickle")])
def test_the_scan_sees_what_it_looks_for(source, what):
    assert what in [found for _, found in risks(source)]


def test_the_scan_lets_pass_what_is_safe():
    safe = """
import subprocess, re, torch, yaml, numpy as np
torch.load(path, map_location="cpu", weights_only=True)
np.load(path); np.load(path, allow_pickle=False)
yaml.safe_load(text); yaml.load(text, Loader=yaml.CSafeLoader); yaml.load(text, yaml.SafeLoader)
subprocess.run(["git", "status"], shell=False); re.compile(text); module.eval()
features.extract(name); file.extractall(folder, filter="data")
"""
    assert risks(safe) == []


def test_the_code_runs_nothing_that_it_reads():
    found = {(path.relative_to(ROOT).as_posix(), what): line
             for path in SOURCES
             for line, what in risks(path.read_text("utf-8"))}
    assert len(SOURCES) > 80
    assert {place: line for place, line in found.items() if place not in ALLOWED} == {}
    assert set(ALLOWED) <= set(found)  # an exception that nothing needs any more goes


# ---------------------------------------------------------------- files

@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root and a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


class Evil:
    """Pickled, it is an order to make a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def cifar(root, monkeypatch):
    """A CIFAR-10 of two images a batch, with checksums of its own; the folder."""
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    content = {
        name: {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
        for name in ("data_batch_1", "data_batch_2", "test_batch")
    }
    content["batches.meta"] = {"label_names": ["cat", "dog"]}
    sums = {}
    for name, one in content.items():
        (folder / name).write_bytes(pickle.dumps(one))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list",
                        [[name, sums[name]] for name in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(
        CIFAR10, "meta",
        {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]})
    return folder


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_2", "test_batch", "batches.meta"])
def test_a_tampered_batch_of_cifar10_is_refused_before_it_is_unpickled(cifar, tmp_path, name):
    assert len(data.load("cifar10").train_labels) == 4
    mark, evil = tmp_path / "mark", pickle.dumps(Evil(tmp_path / "mark"))
    pickle.loads(evil)
    assert mark.exists()  # it does what it says when it is unpickled
    mark.rmdir()
    (cifar / name).write_bytes(evil)
    with pytest.raises(DataNotFound, match="damaged"):
        data.load("cifar10")
    assert not mark.exists()


def test_old_files_of_mnist_are_loaded_as_weights_alone(root, tmp_path):
    """Beside the raw files torchvision reads what its early versions kept: torch.save's format,
    which holds a pickle.
    """
    folder, mark = root / "MNIST" / "processed", tmp_path / "mark"
    folder.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save(Evil(mark), folder / name)
    torch.load(folder / "test.pt", weights_only=False)
    assert mark.exists()
    mark.rmdir()
    with pytest.raises(DataNotFound, match="damaged"):
        data.load("mnist")
    assert not mark.exists()


def member(name, kind=tarfile.REGTYPE, target=""):
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.mode = kind, target, 0o644
    one.size = len(PICTURE) if kind == tarfile.REGTYPE else 0
    return one


PICTURE = io.BytesIO()
Image.new("RGB", (32, 32)).save(PICTURE, "JPEG")
PICTURE = PICTURE.getvalue()


@pytest.mark.parametrize(
    "members", [[("../evil.jpg", )], [("train/../../evil.jpg", )], [("{outside}/evil.jpg", )],
                [("train/cat", tarfile.SYMTYPE, "{outside}"),
                 ("train/cat/evil.jpg", )], [("train", tarfile.SYMTYPE, "."), ("train/evil.jpg", )],
                [("train/cat/0.jpg", tarfile.SYMTYPE, "{outside}/secret.jpg")],
                [("train/cat/0.jpg", tarfile.LNKTYPE, "{outside}/secret.jpg")],
                [("train/cat/0.jpg", tarfile.LNKTYPE, "../../secret.jpg")],
                [("train/cat/0.jpg", tarfile.CHRTYPE)], [("train/cat/0.jpg", tarfile.FIFOTYPE)]])
def test_an_archive_cannot_reach_beyond_its_folder(root, tmp_path, members):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(PICTURE)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with tarfile.open(root / "cifar10-jpeg.tar.xz", "w:xz") as file:
        for name, *rest in members:
            file.addfile(
                member(*(part.format(outside=outside) if isinstance(part, str) else part
                         for part in (name, *rest))), io.BytesIO(PICTURE))
    with pytest.raises(DataNotFound, match="cifar10-jpeg.tar.xz"):
        data.load("cifar10-jpeg")
    made = {path.relative_to(tmp_path).as_posix()
            for path in tmp_path.rglob("*")} - {path.as_posix() for path in before}
    assert made == {
        "root/cifar10-jpeg.tar.xz", "cache", "cache/dp-backdoors", "cache/dp-backdoors/data"
    }


def test_an_archive_holds_no_links_even_inside_its_folder(root):
    """Nothing in a set of images needs one, and links are what the holes of tarfile's filters were
    made of.
    """
    with tarfile.open(root / "cifar10-jpeg.tar.xz", "w:xz") as file:
        file.addfile(member("train/cat/0.jpg"), io.BytesIO(PICTURE))
        file.addfile(member("train/cat/1.jpg", tarfile.SYMTYPE, "0.jpg"))
    with pytest.raises(DataNotFound, match="cannot be unpacked .*train/cat/1.jpg"):
        data.load("cifar10-jpeg")


# ---------------------------------------------------------------- the page

NASTY = "<script>alert(1)"
PICTURE_NAME = "<img src=x onerror=alert(1)>"


@pytest.fixture
def images(root):
    """A folder of images, with markup for its own name, the name of a class and those of its files.
    """
    folder = root / f"pets {NASTY}"
    for part, count in (("train", 3), ("test", 2)):
        for label in (NASTY, "cat"):
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                (folder / part / label / f"{PICTURE_NAME}{number}.jpg").write_bytes(PICTURE)
    return folder


@pytest.fixture
def shown(monkeypatch):
    """What `figures.show` and `figures.table` put into a notebook, as its outputs."""
    outputs = []
    monkeypatch.setattr(display, "_interactive", lambda: True)
    monkeypatch.setattr(
        display, "_display", lambda bundle, metadata: outputs.append(
            v4.new_output("display_data", data=bundle, metadata=metadata)))
    return outputs


def draw(found):
    """Figures and tables that show the names of the classes of a data set."""
    figures.show(
        figures.image_grid(found.test_images,
                           [found.classes[label] for label in found.test_labels]), id="01-grid",
        caption=f"Images of {found.name}: {found.classes[0]}", alt=f"Images of {found.classes[0]}")
    frame = pd.DataFrame([{
        "class": name, "natural": 0.1, "collateral": 0.1, "lift": 0.5, "success": 0.7, "blind": 0.2
    } for name in found.classes])
    figures.show(figures.parts_bars(frame, label="class"), id="01-bars",
                 caption=f"Bars for {found.classes[0]}", alt=found.classes[0], data=frame)
    figures.table(frame.rename(columns={"lift": found.classes[0]}), id="01-table",
                  caption=f"Table of {found.classes[0]}")


def test_no_name_of_a_class_or_file_is_markup_on_the_page(images, shown, tmp_path):
    found = data.load(f"imagefolder:{images.name}")
    assert found.classes[0] == NASTY
    draw(found)
    assert len(shown) == 3
    bad = images / "test" / "cat" / f"{PICTURE_NAME}0.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(DataNotFound) as raised:
        data.load(f"imagefolder:{images.name}")
    assert PICTURE_NAME in str(raised.value)
    cells = [
        v4.new_markdown_cell("# Your images"),
        v4.new_code_cell(f"dataset = {found.name!r}", metadata={"tags": ["parameters"]},
                         execution_count=1),
        v4.new_code_cell(
            "draw(found)", execution_count=2,
            outputs=[*shown,
                     v4.new_output("stream", name="stdout", text=f"{found.classes}\n")]),
        v4.new_code_cell(
            "study.run([run])", execution_count=3, outputs=[
                v4.new_output("execute_result", data={"text/plain": repr(found.classes)},
                              execution_count=3),
                v4.new_output("error", ename="DataNotFound", evalue=str(raised.value),
                              traceback=[f"DataNotFound: {raised.value}"])
            ])
    ]
    nbformat.write(
        v4.new_notebook(cells=cells,
                        metadata={"papermill": {"parameters": {"dataset": found.name}}}),
        tmp_path / "01_mine.ipynb")
    notebooks = [("01_mine", tmp_path / "01_mine.ipynb", None),
                 ("02_failed", None, f"cell 3 · DataNotFound: {raised.value}")]
    context = {"command": f"python3 build.py report 'mine {NASTY}'", "notes": [str(raised.value)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the page flags
        text = build_page(notebooks, out=tmp_path / "out", profile=f"mine {NASTY}",
                          context=context).read_text("utf-8")
    page, plain = Page(text), Page(
        build_page([], out=tmp_path / "plain", profile="mine", context={}).read_text("utf-8"))
    words = "".join(page.text)
    # all of it is there to be read
    assert words.count(NASTY) > 10 and words.count(PICTURE_NAME) >= 2
    assert len(page.all("script")) == len(plain.all("script"))
    assert all(attrs.get("src", "data:").startswith("data:") for attrs in page.all("img"))
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)


# ---------------------------------------------------------------- the shell

ORDERS = "; mkdir evil; $(mkdir evil) `mkdir evil` | mkdir evil &"


def test_no_shell_sees_a_name(project):  # noqa: F811
    subprocess.run(f"echo {ORDERS}", shell=True, cwd=project, capture_output=True)
    assert (project / "evil").exists()  # what a shell would make of it
    (project / "evil").rmdir()
    folder, store, out = (project / f"{name}{ORDERS}" for name in ("mine", "store", "out"))
    folder.mkdir()
    (folder / "11_good.yaml").write_text("number: 7\n")
    (project / "data & more").mkdir()
    done = call(project, "report", folder.name, "--store", store.name, "--out", out.name, "--data",
                "data & more", "--only", "11_good")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "report.html").exists() and (store / "7").exists()
    for arguments in ([ORDERS], ["report",
                                 ORDERS], ["report", "--only",
                                           ORDERS], ["report", "--data",
                                                     ORDERS], ["report", "--device", ORDERS]):
        done = call(project, *arguments)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(project.rglob("evil"))


# ---------------------------------------------------------------- versions

def test_the_versions_that_were_tested_are_recorded_and_in_range():
    python, requirements = build.read_environment((ROOT / "environment.yml").read_text("utf-8"))
    ranges = {"python": python} | dict(map(build.split_requirement, requirements))
    lines = [
        line for line in (ROOT / "tests" / "versions.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    recorded = dict(line.split("==") for line in lines)
    assert list(recorded) == list(ranges), f"make tests/versions.txt again: {versions.COMMAND}"
    outside = {
        name: recorded[name]
        for name in ranges
        if not build.version_admitted(recorded[name], ranges[name])
    }
    assert outside == {}, f"make tests/versions.txt again: {versions.COMMAND}"


def test_versions_are_written_as_they_are_read():
    comment, *lines = versions.lines()
    assert comment.startswith("#") and versions.COMMAND in comment
    assert f"torch=={torch.__version__.partition('+')[0]}" in [
        line.partition("+")[0] for line in lines
    ]
