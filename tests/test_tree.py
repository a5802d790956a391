"""The tree: what may lie where, names that mean one thing, imports that go one way, tools at one
version.
"""

import ast
import re
import subprocess
from collections import Counter

import pytest
import yaml

from lib.paths import ROOT

MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
           for path in sorted((ROOT / "lib").rglob("*.py"))}
# One thing seen from several sides: the method, its accounting, its claims. Every paper has claims
# and targets, and networks that it attacks.
SHARED_NAMES = {"dpsgd", "pate", "claims", "targets", "headlines", "victims"}
LAYERS = ("commands", "page")  # each may import what follows, and all else in lib


def imported(path):
    """The modules of lib that a file imports, wherever in it: [(module, at import time)]."""
    tree = ast.parse(path.read_text("utf-8"))
    late = {id(inner) for node in ast.walk(tree) for inner in ast.walk(node) if inner is not node
            and (isinstance(node, ast.FunctionDef) or _for_types_alone(node))}
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:  # from .bounds import, in a package
                package = ".".join(["lib", path.parent.name, *filter(None, [node.module])])
            names = [module if module in MODULES else package
                     for module in (f"{package}.{alias.name}" for alias in node.names)]
        found += [(name, id(node) not in late) for name in names if name in MODULES]
    return found


def _for_types_alone(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) \
        and node.test.id == "TYPE_CHECKING"


def test_the_top_level_holds_what_is_agreed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no git, or not a checkout")
    top = {name.partition("/")[0] for name in tracked.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        "README.md", "notebooks", "lib", "params", "build.py", "tests", "environment.yml"}


def test_no_two_modules_of_one_name():
    names = Counter(name.rpartition(".")[2] for name in MODULES)
    assert {name for name, count in names.items() if count > 1} <= SHARED_NAMES


def test_imports_go_in_no_circle():
    edges = {name: {module for module, early in imported(path) if early and module != name}
             for name, path in MODULES.items()}
    left = dict(edges)
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left, "modules that import each other"


def test_what_lies_below_does_not_import_what_lies_above():
    def rank(name):
        top = name.split(".")[1]
        return LAYERS.index(top) if top in LAYERS else len(LAYERS)

    assert not {(name, module) for name, path in MODULES.items() if name != "lib"
                for module, _ in imported(path) if module != "lib" and rank(module) < rank(name)}


def test_figures_draw_tables_and_know_no_paper():
    assert not {(name, module) for name, path in MODULES.items() if name.startswith("lib.figures")
                for module, _ in imported(path)
                if module.startswith(("lib.papers", "lib.verdicts", "lib.page", "lib.commands"))}


def public_functions(body, prefix=""):
    """The functions that others call: [(name, node, whether its first parameter is the object)]."""
    found = []
    for node in body:
        name = f"{prefix}{getattr(node, 'name', '')}"
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += public_functions(node.body, f"{name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                not node.name.startswith("_") or node.name.endswith("__")):
            static = "staticmethod" in map(ast.unparse, node.decorator_list)
            found.append((name, node, bool(prefix) and not static))
    return found


def unannotated(node, *, bound):
    """Names of parameters without a type; "return" where that is missing."""
    own = [*node.args.posonlyargs, *node.args.args][bound:]
    more = [*node.args.kwonlyargs, *filter(None, [node.args.vararg, node.args.kwarg])]
    missing = [one.arg for one in [*own, *more] if one.annotation is None]
    return missing + ([] if node.returns is not None else ["return"])


@pytest.mark.parametrize(("source", "missing"), [
    ("def f(a: int, *b: int, c: int = 1, **d: int) -> None: ...", {}),
    ("def f(a, *b, c=1, **d): ...", {"f": ["a", "c", "b", "d", "return"]}),
    ("class A:\n    def f(self, a) -> int: ...\n    def _g(self, a): ...", {"A.f": ["a"]}),
    ("class A:\n    @staticmethod\n    def f(a) -> int: ...", {"A.f": ["a"]}),
    ("class A:\n    def __init__(self, a: int): ...", {"A.__init__": ["return"]}),
    ("def _f(a): ...\nclass _A:\n    def f(self, a): ...", {}),
])
def test_what_counts_as_unannotated(source, missing):
    found = {name: unannotated(node, bound=bound)
             for name, node, bound in public_functions(ast.parse(source).body)}
    assert {name: names for name, names in found.items() if names} == missing


def test_public_functions_are_typed():
    found = {f"{module}.{name}": unannotated(node, bound=bound)
             for module, path in MODULES.items()
             for name, node, bound in public_functions(ast.parse(path.read_text("utf-8")).body)}
    assert len(found) > 300
    assert {name: names for name, names in found.items() if names} == {}


def test_tools_have_one_version():
    pinned = re.findall(r"^([a-z]+)==(\S+)$", (ROOT / ".ci/tools.txt").read_text("utf-8"), re.M)
    assert {name for name, _ in pinned} == {"ruff", "basedpyright"}
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    asked = {package for hook in hooks for package in hook.get("additional_dependencies", [])}
    assert asked and asked <= {f"{name}=={version}" for name, version in pinned}
