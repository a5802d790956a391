"""The rows on disk: one JSON file per run in the local store, JSON Lines for published rows.

A row is written to a temporary file, flushed to the disk and renamed, so that a reader sees a whole
row or none. Unreadable files are skipped with a warning that names them, and never deleted.

A published row stores its paths ("curve", of the last weights and of each average) by column:
{"step": [5, 8], "accuracy": [0.1, 0.2], "tested": 100} means two points. A list has one value per
point; any other value, null included, holds for every point. "step" is always a list, so its length
is the number of points. Floats of a path keep six significant digits (a relative error within
5e-6), all other floats of a row seven. Points stay a list of points, as in the local store and in
rows published earlier, if they lack "step", differ in their names, or have a list or mapping as a
value. Reading turns columns back into points, so no other module sees them. Lines that are already
published are not repacked.
"""

import json
import math
import os
import uuid
import warnings
from pathlib import Path
from typing import Any

from lib import paths


def write(row: dict) -> Path:
    """Write one row to the local store.

    Raises OSError (for a full disk, say), and then leaves no partial file.
    """
    path = _place(row["key"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(_plain(row), sort_keys=True, allow_nan=False))
    return path


def _plain(value):
    """Replace infinite and undefined numbers by None, because JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step."""
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as for a full disk
            error.filename = str(path)
        raise


def _place(key: str) -> Path:
    return paths.store_dir() / "rows" / key[:2] / f"{key}.json"


def find(key: str) -> tuple[dict | None, str]:
    """The row of a run and its source, "store" or "published"; (None, "") if there is no row."""
    row, public = _read(_place(key)), published().get(key)
    if row is not None and (row["status"] == "ok" or public is None):
        return row, "store"
    return (public, "published") if public is not None else (None, "")


def reason(row: dict) -> str:
    """Why a failed run failed, in one line; "" for other runs."""
    return (row["error"].strip().splitlines() or [""])[-1] if row["status"] == "failed" else ""


def _read(path: Path) -> dict | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        warnings.warn(f"unreadable row {path.name}: {error}; skipped", stacklevel=2)
        return None
    return _parse(text, path.name, key=path.stem)


def _parse(text: str, name: str, *, key: str | None = None) -> dict | None:
    try:
        row = json.loads(text)
        if not isinstance(row, dict) or not {"key", "status", "run"} <= row.keys():
            raise ValueError("not a row")
        if row["status"] == "ok" and not {"metrics", "privacy", "provenance"} <= row.keys():
            raise ValueError("a row without metrics, privacy or provenance")
        if key not in (None, row["key"]):
            raise ValueError("the row of another run")
        for holder in _with_path(row):
            holder["curve"] = _points(holder["curve"])
        return row
    except (ValueError, RecursionError) as error:
        warnings.warn(f"unreadable row {name}: {error}; skipped", stacklevel=2)
        return None


_published: dict[Path, tuple[int, dict]] = {}
_together: tuple[list, dict] = [], {}  # the files as they were when all of them were read


def published() -> dict[str, dict]:
    """All published rows by key; none if $STUDY_PUBLISHED is 0. Not to be changed."""
    global _together
    if os.environ.get("STUDY_PUBLISHED") == "0":
        return {}
    files = _files()
    if files != _together[0]:
        rows = [_published_file(Path(path)) for path, _ in files]
        _together = files, {key: row for own in rows for key, row in own.items()}
    return _together[1]


def _files() -> list[tuple[str, int]]:
    """The published files, sorted, and when each was changed; fast, because `find` asks often."""
    if not paths.RESULTS.is_dir():
        return []
    with os.scandir(paths.RESULTS) as found:
        return sorted((one.path, one.stat().st_mtime_ns) for one in found
                      if one.name.endswith(".jsonl"))


def published_rows(notebook: str) -> dict[str, dict]:
    """The published rows of one notebook by key; none where $STUDY_PUBLISHED is 0."""
    path = paths.RESULTS / f"{notebook}.jsonl"
    if os.environ.get("STUDY_PUBLISHED") == "0" or not path.exists():
        return {}
    return _published_file(path)


def _published_file(path: Path) -> dict[str, dict]:
    changed = path.stat().st_mtime_ns
    if path not in _published or _published[path][0] != changed:
        _published[path] = changed, {key: row for key, (row, _) in _lines(path).items()}
    return _published[path][1]


def _lines(path: Path) -> dict[str, tuple[dict, str]]:
    """The readable rows of a published file by key, each with its line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [(_parse(line, f"{path.name} line {number}"), line)
            for number, line in enumerate(lines, 1) if line.strip()]
    return {row["key"]: (row, line) for row, line in rows if row}


def stored() -> list[dict]:
    """Every readable row of the local store."""
    folder = paths.store_dir() / "rows"
    rows = (_read(path) for path in sorted(folder.glob("*/*.json"))
            if not path.name.startswith(".tmp-"))
    return [row for row in rows if row]


def export(requests: list[dict]) -> dict[str, int]:
    """Write the rows of `requests` ({"notebook", "key", ...}) to notebooks/results/, one file per
    notebook.

    A notebook's file then holds exactly the successful rows among its requests, sorted by key;
    lines whose row has not changed stay the same byte for byte. A notebook without any such row
    keeps its file. Returns {notebook: (rows in the file, rows removed from it)}. Raises ValueError
    for a row that names a file by its absolute path.
    """
    wanted: dict[str, set] = {}
    for request in requests:
        wanted.setdefault(request["notebook"], set()).add(request["key"])
    paths.RESULTS.mkdir(parents=True, exist_ok=True)
    found = {notebook: [(row, source) for row, source in map(find, sorted(keys))
                        if row and row["status"] == "ok"]
             for notebook, keys in sorted(wanted.items())}
    for rows in found.values():
        _refuse_private([row for row, _ in rows])
    counts = {}
    for notebook, rows in found.items():
        path = paths.RESULTS / f"{notebook}.jsonl"
        before = {key: line for key, (_, line) in _lines(path).items()} if path.exists() else {}
        gone = before.keys() - {row["key"] for row, _ in rows}
        counts[notebook] = (len(rows), len(gone)) if rows else (0, 0)
        if rows:
            lines = (_line(row, source, before.get(row["key"])) for row, source in rows)
            write_atomically(path, "".join(f"{line}\n" for line in lines))
    return counts


def _line(row: dict, source: str, before: str | None) -> str:
    """The published line of a row: the file's earlier line if it holds the same row, packed or not,
    or if the row is published only; else the packed row.
    """
    packed = json.dumps(_packed(row), sort_keys=True)
    same = {packed, json.dumps(_rounded(row), sort_keys=True)}
    return before if before is not None and (source == "published" or before in same) else packed


def _refuse_private(rows: list[dict]) -> None:
    """Raise ValueError for rows whose run names a file by a path of this machine."""
    for row in rows:
        for text in _texts(row["run"]):
            name = text.partition("imagefolder:")[2] or text
            if Path(name).is_absolute() or name.startswith("~"):
                raise ValueError(
                    f"cannot publish a row of {text!r}, a path of this machine; expected a path "
                    "relative to the checkout or a data root")


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


def _rounded(value: Any, digits: int = 7) -> Any:
    """Round measured floats to significant digits, since the rest is noise and people read the
    files."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: item if key == "run" else _rounded(item, digits)
                for key, item in value.items()}
    return [_rounded(item, digits) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- paths by column

PATH_DIGITS = 6


def _packed(row: dict) -> dict:
    """A row as it is published: rounded, with its paths by column where possible."""
    made = _rounded(row)
    for holder, given in zip(_with_path(made), _with_path(row), strict=True):
        if _regular(given["curve"]):
            holder["curve"] = _columns(_rounded(given["curve"], PATH_DIGITS))
    return made


def _with_path(row: dict) -> list[dict]:
    """The parts of a row that hold a path: the row itself, and each of its averaged weights."""
    averaged = row.get("averaged", {})
    found = [row, *averaged.values()] if isinstance(averaged, dict) else [averaged]
    if not all(isinstance(holder, dict) for holder in found):
        raise ValueError("averaged weights are not a mapping")
    return [holder for holder in found if "curve" in holder]


def _regular(points: list[dict]) -> bool:
    """Whether these points can be stored by column: same names, "step" included, plain values."""
    return bool(points) and "step" in points[0] and all(
        point.keys() == points[0].keys()
        and not any(isinstance(value, (list, dict)) for value in point.values())
        for point in points)


def _columns(points: list[dict]) -> dict:
    """Points by column; a column whose values are all the same becomes a single value."""
    columns = {name: [point[name] for point in points] for name in points[0]}
    alike = {name for name, values in columns.items() if len(set(map(json.dumps, values))) == 1}
    return {name: values[0] if name in alike and name != "step" else values
            for name, values in columns.items()}


def _points(path: list | dict) -> list:
    """A path as points; ValueError for columns without steps or of unequal length."""
    if isinstance(path, list):
        return path
    steps = path.get("step") if isinstance(path, dict) else None
    if not isinstance(steps, list):
        raise ValueError("a path by column without a list of steps")
    columns = {name: values if isinstance(values, list) else [values] * len(steps)
               for name, values in path.items()}
    if any(len(values) != len(steps) for values in columns.values()):
        raise ValueError("a path by column with columns of unequal length")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values())]
