"""The rows on disk: one JSON file a run in the local store, JSON Lines for the published ones.

A row is written to a temporary file, flushed to the disk and renamed, so that a reader sees a whole
row or none. Unreadable files are named and passed over, never deleted.
"""

import json
import math
import os
import uuid
import warnings
from pathlib import Path

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


def _published_file(path: Path) -> dict[str, dict]:
    changed = path.stat().st_mtime_ns
    if path not in _published or _published[path][0] != changed:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [
            _parse(line, f"{path.name} line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
        _published[path] = changed, {row["key"]: row for row in rows if row}
    return _published[path][1]


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
    sorted by key. Returns how many each file holds, and how many rows that it held before are gone:
    {notebook: (rows, removed)}. A notebook without any such row keeps its file. ValueError for a
    row that names a file of this machine by its whole path.
    """
    wanted: dict[str, set] = {}
    for request in requests:
        wanted.setdefault(request["notebook"], set()).add(request["key"])
    paths.RESULTS.mkdir(parents=True, exist_ok=True)
    found = {
        notebook: [row
                   for key in sorted(keys)
                   if (row := find(key)[0]) and row["status"] == "ok"]
        for notebook, keys in sorted(wanted.items())
    }
    for rows in found.values():
        _refuse_private(rows)
    counts = {}
    for notebook, rows in found.items():
        path = paths.RESULTS / f"{notebook}.jsonl"
        before = _published_file(path).keys() if path.exists() else set()
        counts[notebook] = (len(rows), len(before - {row["key"]
                                                     for row in rows})) if rows else (0, 0)
        if rows:
            write_atomically(
                path, "".join(json.dumps(_rounded(row), sort_keys=True) + "\n" for row in rows))
    return counts


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


def _rounded(value):
    """Measured floats to seven digits: beyond that lies noise, and the files are read by people."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: item if key == "run" else _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
