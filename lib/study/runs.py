"""One run as plain values: the argument, the cache key and the row of the result table."""

import functools
import hashlib
import importlib
import itertools
import json
import types
import typing
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace

from lib import plugins
from lib.attacks.dirty_label import BadNets
from lib.defences.dpsgd import DPSGD
from lib.training import Training

ATTACKS = {"badnets": "lib.attacks.dirty_label", "four_pixel": "lib.attacks.four_pixel"}


@dataclass(frozen=True)
class Run:
    """One training of one network on one attacked data set, and its measurement.

    dataset: a name of `lib.data`. train_size, test_size: first images used (None: all). public: how many of the
    first training images are public; the victim trains on the rest. features: "none" (pixels) or a name of
    `lib.features`. model: a name of `lib.models`. precision: "float32" or "fast" (`lib.training.Schedule`).
    split: "test" measures on the test set; "tune" holds out the last tenth of the private images and measures on it.
    attack_seed draws trigger and victims, init_seed the initial weights and batches, noise_seed the defence's noise.
    """

    dataset: str = "strokes"
    train_size: int | None = None
    test_size: int | None = None
    public: int = 0
    features: str = "none"
    model: str = "cnn"
    attack: object = field(default_factory=BadNets)
    defence: object = field(default_factory=lambda: DPSGD(noise_multiplier=0.0, clip=False))
    training: Training = field(default_factory=Training)
    precision: str = "float32"
    split: str = "test"
    attack_seed: int = 0
    init_seed: int = 0
    noise_seed: int = 0

    def __post_init__(self):
        for name in ("attack", "defence"):
            value = getattr(self, name)
            if isinstance(value, dict):
                object.__setattr__(self, name, _named(name, value))
        if isinstance(self.training, dict):
            object.__setattr__(self, "training", _build(Training, self.training, "training"))
        _check_types(self, "run")
        for name in ("attack", "defence", "training"):
            _check_types(getattr(self, name), name)
        for name, value, choices in (("precision", self.precision, ("float32", "fast")), ("split", self.split, ("test", "tune"))):
            if value not in choices:
                raise ValueError(f"run {name} {value!r}: expected one of {', '.join(choices)}")
        if self.public < 0:
            raise ValueError(f"run public {self.public}: expected 0 or more images")

    def to_dict(self) -> dict:
        """The run as nested plain values, with the names of its attack and defence; `from_dict` takes it back."""
        attack, defence = asdict(self.attack), _values(self.defence)
        return asdict(self) | {"attack": {"name": part_name(self.attack), **attack},
                               "defence": {"name": part_name(self.defence), **defence},
                               "training": self.training.to_dict()}

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of the run and of the versions of every part that makes its result."""
        return digest({"run": self.to_dict(), "versions": versions(self)})

    def with_(self, **changes) -> "Run":
        """A copy with fields changed; nested ones by a double underscore: `with_(attack__fraction=.5)`."""
        nested: dict[str, dict] = {}
        for name in [name for name in changes if "__" in name]:
            part, _, inner = name.partition("__")
            nested.setdefault(part, {})[inner] = changes.pop(name)
        for part, inner in nested.items():
            changes[part] = replace(changes.get(part, getattr(self, part)), **inner)
        return replace(self, **changes)


def digest(value) -> str:
    """SHA-256 of the canonical JSON of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def from_dict(values: dict) -> Run:
    """Build a run from plain values (a row, a YAML file); ValueError names an unknown key or a wrong type."""
    return _build(Run, values, "run")


def grid(base: Run, **axes: Iterable) -> list[Run]:
    """Every combination of the axes, e.g. `grid(run, defence__noise_multiplier=[0, 1], init_seed=range(3))`."""
    names, values = list(axes), [list(axis) for axis in axes.values()]
    return [base.with_(**dict(zip(names, combination))) for combination in itertools.product(*values)]


def versions(run: Run) -> dict:
    """The hand-set versions of the parts a run uses; a user's own file counts with its hash."""
    from lib import data, features, metrics, models, privacy
    from lib import training as trainer
    parts = {"data": data.VERSION, "trainer": trainer.VERSION, "metrics": metrics.VERSION,
             "training": trainer.VERSION, "privacy": privacy.VERSION,
             "attack": _part_version(run.attack), "defence": _part_version(run.defence),
             "model": plugins.digest(run.model) if ".py:" in run.model else models.VERSION}
    parts |= run.training.versions()
    for name, training in _trainings(run.defence).items():
        parts |= {f"{name} {part}": version for part, version in training.versions().items()}
    if run.features != "none":
        parts["features"] = features.VERSION
    if run.dataset.startswith("imagefolder:"):
        parts["images"] = data.load(run.dataset).digest
    return parts


def _trainings(defence) -> dict[str, Training]:
    """Trainings among a defence's own settings, by name."""
    return {item.name: value for item in fields(defence)
            if isinstance(value := getattr(defence, item.name), Training)}


def _values(defence) -> dict:
    """A defence's settings as plain values, trainings among them as they write themselves."""
    return asdict(defence) | {name: own.to_dict() for name, own in _trainings(defence).items()}


_plugin_names: dict[type, str] = {}


def part_name(part) -> str:
    """The name under which YAML and rows know an attack or a defence."""
    cls = type(part)
    if cls in _plugin_names:
        return _plugin_names[cls]
    module = cls.__module__
    return next((name for name, path in ATTACKS.items() if path == module), module.rpartition(".")[2])


def _part_version(part):
    name = part_name(part)
    version = plugins.digest(name) if ".py:" in name else importlib.import_module(type(part).__module__).VERSION
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in getattr(part, "files", ())]
    return [version, *files] if files else version


def _named(kind: str, values: dict):
    """The attack or defence that {"name": ..., parameters} describes."""
    values = dict(values)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"{kind} {values}: expected a mapping with a name, such as {{name: {'badnets' if kind == 'attack' else 'dpsgd'}}}")
    if ".py:" in name:
        cls = plugins.load(name)
        _check_own(kind, name, cls)
        _plugin_names[cls] = name
    else:
        cls = getattr(_module(kind, name), kind.capitalize())
    return _build(cls, values, f"{kind} {name}")


NEEDED = {"attack": ("poison", "trigger", "base", "target"), "defence": ("group", "train")}


def _check_own(kind: str, name: str, cls) -> None:
    """A user's own attack or defence must be a frozen dataclass with what the study calls."""
    if not (isinstance(cls, type) and is_dataclass(cls) and cls.__dataclass_params__.frozen):
        raise ValueError(f"{kind} {name}: expected a class with @dataclass(frozen=True) above it, got {cls!r}")
    known = {*dir(cls), *(item.name for item in fields(cls))}
    missing = [part for part in NEEDED[kind] if part not in known]
    if missing:
        raise ValueError(f"{kind} {name} has no {', '.join(missing)}: an attack or a defence of one's own needs {', '.join(NEEDED[kind])} "
                         "(notebooks/00_start_here shows one)")


def _module(kind: str, name: str):
    known = ATTACKS if kind == "attack" else {name: f"lib.defences.{name}" for name in defences()}
    if name not in known:
        raise ValueError(f"{kind} {name!r}: expected one of {', '.join(sorted(known))}, or my_file.py:Name")
    return importlib.import_module(known[name])


@functools.cache
def defences() -> list[str]:
    """Names of the defences: the modules of `lib.defences` that define one."""
    from pathlib import Path

    import lib.defences
    folder = Path(lib.defences.__file__).parent
    return sorted(file.stem for file in folder.glob("*.py") if "\nDefence = " in file.read_text(encoding="utf-8"))


_hints = functools.cache(typing.get_type_hints)  # of a class; they cost more than all else of a run


def _build(cls, values: dict, where: str):
    if not isinstance(values, dict):
        raise ValueError(f"{where} {values!r}: expected a mapping of names to values")
    known = {item.name for item in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected one of {', '.join(sorted(known))}")
    hints = _hints(cls)
    return cls(**{name: _typed(value, hints[name], f"{where} {name}") for name, value in values.items()})


def _check_types(part, where: str) -> None:
    """Fields must have the declared types; an int where a float is declared becomes one, so that keys agree."""
    hints = _hints(type(part))
    for item in fields(part):
        value = getattr(part, item.name)
        typed = _typed(value, hints[item.name], f"{where} {item.name}")
        if typed is not value:
            object.__setattr__(part, item.name, typed)


def _typed(value, hint, where: str):
    """`value` if it has the declared type (as a float where one is declared), else a ValueError that names it."""
    allowed, value = _allowed(hint), value.item() if hasattr(value, "item") else value  # numpy's numbers are plain ones
    if typing.get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(item, typing.get_args(hint)[0], where) for item in value)
    if isinstance(value, dict) and is_dataclass(allowed[0]):
        return _build(allowed[0], value, where)
    if allowed == (object,) or any(is_dataclass(kind) for kind in allowed) or type(value) in allowed:
        return value
    if type(value) is int and float in allowed:
        return float(value)
    names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
    hint = "; in YAML write 1.0e-5, since 1e-5 is a string" if isinstance(value, str) and float in allowed else ""
    raise ValueError(f"{where} {value!r}: expected {names}{hint}")


def _allowed(hint) -> tuple:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
