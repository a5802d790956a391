"""Profiles: a folder of YAML files, one per notebook, with the notebook's parameters.

Finding the files needs the standard library alone, so that build.py can report a misspelt name at
once. Reading and checking them needs jupytext and PyYAML.
"""

import ast
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.commands import Problem, execution
from lib.paths import NOTEBOOKS, PARAMS

if TYPE_CHECKING:
    from nbformat import NotebookNode

NUMBER_IN_TEXT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Choice:
    """One notebook of a build: its .py file, and its YAML file (None: run with its defaults)."""

    source: Path
    settings: Path | None = None

    @property
    def name(self) -> str:
        return self.source.stem


def select(options: Namespace) -> list[Choice]:
    """The notebooks that the options select, in order; a profile selects those it has a file for.
    """
    profile = getattr(options, "profile", None)
    choices = [Choice(path) for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))]
    if profile is not None:
        choices = _with_settings(profile_folder(profile),
                                 {choice.name: choice.source for choice in choices})
    asked = [part.strip() for part in options.only.split(",") if part.strip()]
    for part in asked:
        if not any(_named(choice, part) for choice in choices):
            where = f"the profile {profile}" if profile else "notebooks/"
            raise Problem(f"--only {part}: no such notebook; {where} has "
                          f"{', '.join(choice.name[:2] for choice in choices) or 'none'}", 2)
    chosen = [
        choice for choice in choices if not asked or any(_named(choice, part) for part in asked)
    ]
    if not chosen:
        raise Problem(f"no notebooks in {NOTEBOOKS}", 2)
    return chosen


def _named(choice, text):
    return choice.name == text or (text.isdecimal() and int(choice.name[:2]) == int(text))


def profile_folder(profile: str) -> Path:
    """The folder of a profile: a name in params/, or a path."""
    known = sorted(
        path.name for path in PARAMS.iterdir() if path.is_dir()) if PARAMS.is_dir() else []
    if profile in known:
        return PARAMS / profile
    folder = Path(profile).expanduser()
    if not folder.is_dir():
        raise Problem(f"no profile {profile!r}: expected {', '.join(known) or 'none'}, or the path "
                      "of an existing folder of your own", 2)
    return folder.resolve()


def profile_name(profile: str) -> str:
    """The name of a profile in headings and output folders."""
    return profile_folder(profile).name


def _with_settings(folder, sources):
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    for path in files:
        if path.stem not in sources:
            raise Problem(
                f"{_shown(path)}: no notebook is called {path.stem}; name the file after its "
                f"notebook, such as {next(iter(sources), '11_dpsgd')}.yaml", 2)
    if not files:
        raise Problem(
            f"{folder} has no YAML files; expected one per notebook, such as 11_dpsgd.yaml", 2)
    return [Choice(sources[path.stem], path) for path in files]


def _shown(path):
    return path.relative_to(PARAMS.parent) if path.is_relative_to(PARAMS) else path


# ---------------------------------------------------------------- parameters

def declared(notebook: "NotebookNode") -> dict[str, object]:
    """The parameters of a notebook and their defaults: {name: literal}.

    They are set in the cell tagged `parameters`, and in the one tagged `setup` before it: papermill
    puts its own cell behind `parameters`, and what a later cell sets would win.
    """
    cells = [cell for cell in notebook.cells
             if {"setup", "parameters"} & set(cell.metadata.get("tags", []))]
    found = {}
    for node in ast.parse("\n".join(cell.source for cell in cells)).body:
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        else:
            continue
        if isinstance(target, ast.Name):
            found[target.id] = _literal(node.value, target.id)
    return found


def _literal(node: ast.expr | None, name: str) -> object:
    try:
        if node is not None:
            return ast.literal_eval(node)
    except (ValueError, TypeError):
        pass
    raise Problem(f"parameter {name} must be a literal; a derived value would not change when its "
                  "inputs are overridden")


def parameters(choice: Choice) -> dict[str, Any]:
    """The parameters in a notebook's YAML file, {name: value}, checked against its defaults."""
    if choice.settings is None:
        return {}
    execution.without_address_grammar()
    import jupytext

    where = _shown(choice.settings)
    values, defaults = _read_yaml(choice.settings), declared(jupytext.read(choice.source))
    for name in values:
        if name not in defaults:
            raise Problem(f"{where}: {choice.name} has no parameter {name!r}; expected one of "
                          f"{', '.join(defaults) or 'none'}", 2)
    return {
        name: checked(value, defaults[name], f"{where}: {name}") for name, value in values.items()
    }


def _read_yaml(path):
    import yaml

    where = _shown(path)
    try:
        text = path.read_text("utf-8")
        values, repeated = yaml.safe_load(text), _repeated(yaml.compose(text, yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise Problem(
            f"{where}:{line} not valid YAML: {getattr(error, 'problem', None) or error}",
            2) from None
    if repeated:
        raise Problem(f"{where}: line {repeated.start_mark.line + 1}: {repeated.value!r} is set "
                      "twice; remove one", 2)
    values = {} if values is None else values
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise Problem(f"{where}: expected lines of `name: value`", 2)
    return values


def _repeated(node):
    """The first name that a YAML mapping repeats, None if it repeats none.

    PyYAML would silently keep the last value.
    """
    names = [name for name, _ in node.value] if node is not None and node.id == "mapping" else []
    return next((name for place, name in enumerate(names)
                 if name.value in [earlier.value for earlier in names[:place]]), None)


def checked(value: Any, default: Any, where: str) -> Any:
    """Check that a value has the type of its default; returns it, or raises Problem.

    A whole number is accepted where a float is expected. YAML reads `1e-5` as text (it wants
    1.0e-5); the error says so, also inside lists and mappings.
    """
    if isinstance(value, str) and not isinstance(default, str) and NUMBER_IN_TEXT.fullmatch(value):
        expected = "a number" if default is None else _kind(default)
        raise Problem(
            f"{where}: expected {expected}, got the text {value!r}: write {_as_yaml(value)}", 2)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if default is not None and type(value) is not type(default):
        raise Problem(f"{where}: expected {_kind(default)}, got {_kind(value)} ({value!r})", 2)
    if isinstance(value, list):
        examples = default or [None]
        return [checked(item, _example_for(item, examples), f"{where}[{place}]")
                for place, item in enumerate(value)]
    if isinstance(value, dict):
        known = default if isinstance(default, dict) else {}
        return {name: checked(item, known.get(name), f"{where}.{name}")
                for name, item in value.items()}
    return value


def _example_for(item, examples):
    """The element of a default list to compare an item with: one of its type, else the first."""
    same = [example for example in examples if type(example) is type(item)]
    return (same or examples)[0]


def _kind(value):
    names = {
        bool: "true or false", int: "a whole number", float: "a number", str: "a text",
        list: "a list", dict: "a mapping",
        type(None): "nothing"
    }
    return names.get(type(value), type(value).__name__)


def _as_yaml(text):
    """Write a number as YAML reads it: with a point and a sign in the exponent, without quotes."""
    mantissa, _, exponent = text.lower().partition("e")
    if not exponent:
        return text
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else '+' + exponent}"
