"""The parts of a run that are found by name: attacks, how they harden images, defences, batch
transforms.

A part is a frozen dataclass in its own file, such as `lib/attacks/NAME.py`. The file has a
`VERSION`, and its last line names the class (`Attack = BadNets`). A part in a user's own file is
called `my_file.py:Mine`; its version is the file's hash. In YAML a part is a mapping with its name:
`{name: badnets, fraction: 0.1}`.
"""

import functools
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from lib import plugins, typed


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    package: where its modules are. variable: the name that a module gives to its class. needed:
    what a part must define. example: a name for error messages.
    """

    package: str
    variable: str
    needed: tuple[str, ...]
    example: str


KINDS = {
    "attack": Kind("lib.attacks", "Attack", ("goal", "worlds", "in_world", "world", "craft"),
                   "badnets"),
    "hardening": Kind("lib.attacks.hardening", "Hardening",
                      ("FACTS", "ball", "check", "key", "hardener", "facts"), "pgd"),
    "defence": Kind("lib.defences", "Defence", ("group", "train"), "dpsgd"),
    "transform": Kind("lib.training.transforms", "Transform", ("mixes", "draw", "apply"), "flip"),
}
_own: dict[type, str] = {}  # classes from users' files, with the names under which they were loaded


@functools.cache
def names(kind: str) -> tuple[str, ...]:
    """Names of the parts of a kind: the modules of its package that define one.

    Reads the files without importing them.
    """
    found = importlib.import_module(KINDS[kind].package).__path__
    line = f"\n{KINDS[kind].variable} = "
    files = (file for folder in found for file in Path(folder).glob("*.py"))
    return tuple(sorted(file.stem for file in files if line in file.read_text(encoding="utf-8")))


def build(kind: str, values: dict) -> Any:
    """Build the part that {"name": ..., fields} describes; raises ValueError if it cannot."""
    values = dict(values)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"{kind} {values}: expected a mapping with a name, such as "
                         f"{{name: {KINDS[kind].example}}}")
    return typed.build(_class(kind, name), values, f"{kind} {name}")


def name_of(part: object) -> str:
    """The name of a part in YAML and in rows."""
    cls = type(part)
    return _own.get(cls) or cls.__module__.rpartition(".")[2]


def check_counts(kind: str, part: object, *names: str) -> None:
    """Raise ValueError for a field of the part that is below 1."""
    for name in names:
        if getattr(part, name) < 1:
            raise ValueError(f"{kind} {name_of(part)}: {name} {getattr(part, name)}: expected 1 or "
                             "more")


def check_positive(kind: str, part: object, *names: str) -> None:
    """Raise ValueError for a field of the part that is not above 0, such as nan."""
    for name in names:
        if not getattr(part, name) > 0:
            raise ValueError(f"{kind} {name_of(part)}: {name} {getattr(part, name)}: expected "
                             "above 0")


def version(part: object) -> int | str | list:
    """The version of a part's module, or the hash of a user's file.

    If the part reads files or holds further parts, a list of this version, the files' hashes and
    the versions of these parts.
    """
    name = name_of(part)
    module = importlib.import_module(type(part).__module__) if ".py:" not in name else None
    own = plugins.digest(name) if module is None else module.VERSION
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(part)]
    held = [version(inner) for inner in _held(part)]
    return [own, *files, *held] if files or held else own


def _held(part: Any) -> list[object]:
    """The parts among a part's own fields, such as the views of a transform."""
    values = [getattr(part, item.name) for item in fields(part)]
    each = [one for value in values for one in (value if isinstance(value, tuple) else (value,))]
    return [one for one in each if is_dataclass(one) and _is_part(one)]


def _is_part(value: object) -> bool:
    """Whether a value's class is a part: the one that its module names, or a user's own."""
    cls = type(value)
    kinds = (kind for kind in KINDS.values() if cls.__module__.startswith(f"{kind.package}."))
    module = sys.modules.get(cls.__module__)
    return cls in _own or any(vars(module).get(kind.variable) is cls for kind in kinds)


def plain(value: object) -> Any:
    """Turn dataclasses into plain values with every field; parts with their names."""
    return _plain(value, leave_out=lambda item, held: False)


def sparse(value: object) -> Any:
    """`plain` without the fields at their defaults.

    Keys are made of this, so that a new field changes no key. A nested dataclass is left out if it
    equals the field's default; otherwise its fields are compared with the defaults of its class.
    """
    return _plain(value, leave_out=at_default)


def _plain(value: Any, *, leave_out: Callable[[Field, object], bool]) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        held = {item.name: _plain(getattr(value, item.name), leave_out=leave_out)
                for item in fields(value) if not leave_out(item, getattr(value, item.name))}
        return {"name": name_of(value), **held} if _is_part(value) else held
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, leave_out=leave_out) for item in value)
    return value


def at_default(item: Field, held: object) -> bool:
    """Whether a field holds its default."""
    if item.default_factory is not MISSING:
        return held == item.default_factory()
    return item.default is not MISSING and held == item.default


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON of plain values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _files(part: object) -> Iterable[Path]:
    return getattr(part, "files", ())  # most parts read no file


def _params(cls: Any) -> Any:
    return cls.__dataclass_params__  # Any: the standard library does not type it


def _class(kind: str, name: str) -> type:
    if ".py:" in name:
        cls = plugins.load(name)
        _check_own(kind, name, cls)
        _own[cls] = name
        return cls
    if name not in names(kind):
        raise ValueError(f"{kind} {name!r}: expected one of {', '.join(names(kind))}, or "
                         "my_file.py:Name")
    module = importlib.import_module(f"{KINDS[kind].package}.{name}")
    return getattr(module, KINDS[kind].variable)


def _check_own(kind: str, name: str, cls: Any) -> None:
    """Raise ValueError unless a user's part is a frozen dataclass with everything that is needed.
    """
    frozen = isinstance(cls, type) and is_dataclass(cls) and _params(cls).frozen
    if not frozen:
        raise ValueError(f"{kind} {name}: expected a class with @dataclass(frozen=True) above it, "
                         f"got {cls!r}")
    known = {*dir(cls), *(item.name for item in fields(cls))}
    missing = [part for part in KINDS[kind].needed if part not in known]
    if missing:
        base = (" (lib.attacks.dirty_label.DirtyLabel defines most of them)" if kind == "attack"
                else "")
        raise ValueError(f"{kind} {name} has no {', '.join(missing)}: a custom {kind} must define "
                         f"{', '.join(KINDS[kind].needed)}{base}; see the example in "
                         "notebooks/00_start_here")
