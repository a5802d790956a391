"""Build typed dataclasses from plain values (YAML, a row).

Types are checked, because YAML reads `1e-5` as a string. An int becomes a float where a float is
declared, so that equal runs have equal keys.
"""

import functools
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar, Protocol, TypeVar

# The type hints of a class, cached because they take longer than the rest of building a run.
hints = functools.cache(typing.get_type_hints)
PLAIN = frozenset({bool, int, float, str, types.NoneType})
builders: dict[object, Callable] = {}  # {Protocol: function that builds such a part from a mapping}


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Made = TypeVar("Made", bound=Dataclass)


def build(cls: type[Made], values: dict, where: str) -> Made:
    """Build a dataclass from plain values.

    Raises ValueError for an unknown or missing key, or a wrong type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where} {values!r}: expected a mapping of names to values")
    known = {item.name for item in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected one of "
                         f"{', '.join(sorted(known))}")
    missing = [item.name for item in fields(cls) if item.name not in values
               and item.default is MISSING and item.default_factory is MISSING]
    if missing:
        raise ValueError(f"{where}: no {missing[0]!r}; expected a value, as it has no default")
    return cls(**{name: typed(value, hints(cls)[name], f"{where} {name}")
                  for name, value in values.items()})


def check(part: Dataclass, where: str) -> None:
    """Raise ValueError for a field of a wrong type; convert ints to declared floats in place.

    Dataclasses in it (a defence's training, say) are checked too.
    """
    for item in fields(part):
        value, hint = getattr(part, item.name), hints(type(part))[item.name]
        if type(value) in _plain(hint):
            continue
        found = typed(value, hint, f"{where} {item.name}")
        if found is not value:
            object.__setattr__(part, item.name, found)
        if is_dataclass(found) and not isinstance(found, type):
            check(found, f"{where} {item.name}")


@functools.cache  # reading thousands of rows checks a hundred values each
def _plain(hint: Any) -> frozenset[type]:
    """The types whose values need no further look under this hint."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return PLAIN.intersection(kind for kind in allowed if isinstance(kind, type))


def typed(value: Any, hint: Any, where: str) -> Any:
    """Return `value` if it has the declared type, an int as a declared float; else ValueError."""
    value = value.item() if hasattr(value, "item") else value  # numpy's numbers become plain ones
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(typed(item, typing.get_args(hint)[0], where) for item in value)
    if hint in builders:
        return builders[hint](value) if isinstance(value, dict) else value
    if isinstance(value, dict) and isinstance(allowed[0], type) and is_dataclass(allowed[0]):
        return build(allowed[0], value, where)
    several = [kind for kind in allowed if is_dataclass(kind)]
    if several and type(value) is not type(None) and (len(several) > 1
                                                      or type(value) is not several[0]):
        raise ValueError(f"{where} {value!r}: expected plain values, one type of dataclass or a "
                         "named part; otherwise two runs could have the same key")
    if object in allowed or any(map(is_dataclass, allowed)) or type(value) in allowed:
        return value
    if type(value) is int and float in allowed:
        return float(value)
    names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
    number = isinstance(value, str) and float in allowed
    more = "; in YAML write 1.0e-5, since 1e-5 is a string" if number else ""
    raise ValueError(f"{where} {value!r}: expected {names}{more}")
