"""The rows on disk: one JSON file a run in the local store, JSON Lines for the published ones.

A row is written to a temporary file, flushed to the disk and renamed, so that a reader sees a whole
row or none. Unreadable files are named and passed over, never deleted.

A published row holds its paths ("curve", of the last weights and of each averaged ones) by column:
{"step": [5, 8], "accuracy": [0.1, 0.2], "tested": 100} is two points. A list has one value a point;
any other value, null included, is that of every point. "step" is always a list, so it says how many
points there are. Floats of a path keep six significant digits (within 5e-6 of each), all others of
a row seven. Points without "step", with unlike names, or with a list or mapping for a value stay a
list of points, as in the local store and in rows that were published earlier. Reading gives points
again, so nothing else knows. A line that is already published is not packed afterwards.
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

    Raises OSError (a full disk, say) and leaves nothing half-written.
    """
    path = _place(row["key"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(_plain(row), sort_keys=True, allow_nan=False))
    return path


def _plain(value):
    """Infinite and undefined numbers as null, which every JSON reader takes."""
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
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say which
            error.filename = str(path)
        raise


def _place(key: str) -> Path:
    return paths.store_dir() / "rows" / key[:2] / f"{key}.json"


def find(key: str) -> tuple[dict | None, str]:
    """The row of a run and where it was found: "store", "published", or (None, "")."""
    row, public = _read(_place(key)), published().get(key)
    if row is not None and (row["status"] == "ok" or public is None):
        return row, "store"
    return (public, "published") if public is not None else (None, "")


def reason(row: dict) -> str:
    """Why a failed run failed, in one line; "" for any other."""
    return (row["error"].strip().splitlines() or [""])[-1] if row["status"] == "failed" else ""


def _read(path: Path) -> dict | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        warnings.warn(f"unreadable row {path.name}: {error}; passed over", stacklevel=2)
        return None
    return _parse(text, path.name, key=path.stem)


def _parse(text: str, name: str, *, key: str | None = None) -> dict | None:
    try:
        row = json.loads(text)
        if not isinstance(row, dict) or not {"key", "status", "run"} <= row.keys():
            raise ValueError("not a row")
        if row["status"] == "ok" and not {"metrics", "privacy", "provenance"} <= row.keys():
            raise ValueError("a row without its result")
        if key not in (None, row["key"]):
            raise ValueError("the row of another run")
        for holder in _with_path(row):
            holder["curve"] = _points(holder["curve"])
        return row
    except (ValueError, RecursionError) as error:
        warnings.warn(f"unreadable row {name}: {error}; passed over", stacklevel=2)
        return None


_published: dict[Path, tuple[int, dict]] = {}


def published() -> dict[str, dict]:
    """All published rows by key; none where $STUDY_PUBLISHED is 0."""
    if os.environ.get("STUDY_PUBLISHED") == "0":
        return {}
    rows: dict[str, dict] = {}
    for path in sorted(paths.RESULTS.glob("*.jsonl")):
        rows |= _published_file(path)
    return rows


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
    rows = (_read(path)
            for path in sorted(folder.glob("*/*.json"))
            if not path.name.startswith(".tmp-"))
    return [row for row in rows if row]


def export(requests: list[dict]) -> dict[str, int]:
    """Put the rows of `requests` ({"notebook", "key", ...}) into notebooks/results/, a file a
    notebook.

    The file of a notebook then holds exactly the successful rows that were asked for and are known,
    sorted by key; lines that it held before stay byte for byte where their row is the same.
    Returns how many each file holds, and how many rows that it held before are gone:
    {notebook: (rows, removed)}. A notebook without any such row keeps its file. ValueError for a
    row that names a file of this machine by its whole path.
    """
    wanted: dict[str, set] = {}
    for request in requests:
        wanted.setdefault(request["notebook"], set()).add(request["key"])
    paths.RESULTS.mkdir(parents=True, exist_ok=True)
    found = {
        notebook: [(row, source)
                   for row, source in map(find, sorted(keys))
                   if row and row["status"] == "ok"]
        for notebook, keys in sorted(wanted.items())
    }
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
    """What is published of a row: the line that the file held before, where that says the same in
    either form, or where published files alone know the row; else the packed row.
    """
    packed = json.dumps(_packed(row), sort_keys=True)
    same = {packed, json.dumps(_rounded(row), sort_keys=True)}
    return before if before is not None and (source == "published" or before in same) else packed


def _refuse_private(rows: list[dict]) -> None:
    """What is published must mean the same on every machine."""
    for row in rows:
        for text in _texts(row["run"]):
            name = text.partition("imagefolder:")[2] or text
            if Path(name).is_absolute() or name.startswith("~"):
                raise ValueError(
                    f"a row of {text!r} is not published: its path is one of this machine; name the"
                    " file from the checkout or a data root"
                )


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


def _rounded(value: Any, digits: int = 7) -> Any:
    """Measured floats to so many digits: beyond lies noise, and the files are read by people."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: item if key == "run" else _rounded(item, digits)
                for key, item in value.items()}
    return [_rounded(item, digits) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- paths by column

PATH_DIGITS = 6


def _packed(row: dict) -> dict:
    """A row as it is published: rounded, its paths by column where they can be."""
    made = _rounded(row)
    for holder, given in zip(_with_path(made), _with_path(row), strict=True):
        if _regular(given["curve"]):
            holder["curve"] = _columns(_rounded(given["curve"], PATH_DIGITS))
    return made


def _with_path(row: dict) -> list[dict]:
    """What holds a path in a row: the row itself, and each of its averaged weights."""
    averaged = row.get("averaged", {})
    found = [row, *averaged.values()] if isinstance(averaged, dict) else [averaged]
    if not all(isinstance(holder, dict) for holder in found):
        raise ValueError("averaged weights that are no mapping")
    return [holder for holder in found if "curve" in holder]


def _regular(points: list[dict]) -> bool:
    """Whether columns give these points back: equal names, "step" among them, plain values."""
    return bool(points) and "step" in points[0] and all(
        point.keys() == points[0].keys()
        and not any(isinstance(value, (list, dict)) for value in point.values())
        for point in points)


def _columns(points: list[dict]) -> dict:
    """Points by column; one value for a column that is written alike at all points."""
    columns = {name: [point[name] for point in points] for name in points[0]}
    alike = {name for name, values in columns.items() if len(set(map(json.dumps, values))) == 1}
    return {name: values[0] if name in alike and name != "step" else values
            for name, values in columns.items()}


def _points(path: list | dict) -> list:
    """A path as points; ValueError for columns that do not fit together."""
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
