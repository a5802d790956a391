"""Rows as pandas frames: one line per run, or per run and checkpoint."""

import math
from collections.abc import Iterable

import pandas as pd

from lib import attacks, ledger
from lib.defences import asks
from lib.study import columns
from lib.study.columns import bounds
from lib.study.runs import Run, from_dict

TRACES = [name for name in columns.PATH if name not in ("step", "epoch")]
BEST = "best_accuracy"  # belongs to a whole path, not to one of its points
MEASURED = [*columns.METRICS, *columns.PATH]  # columns that differ between points of a path


def table(runs: list[Run], *, like: Run | None = None) -> pd.DataFrame:
    """One line per run and measured weights; the columns are those of `lib.study.columns`.

    The weights are a run's last ones, and the averages that its training asks for. like: a template
    for the columns when `runs` is empty.
    """
    lines = [line for run in runs for line in _lines(run)]
    return pd.DataFrame(lines, columns=None if lines else list(_lines(like or Run())[0]))


def published(notebook: str) -> pd.DataFrame:
    """The published rows of a notebook, whatever the notebook at hand asks for: one line a run and
    measured weights. Without any such row it has the columns of a run, and no line.
    """
    rows = ledger.published_rows(notebook)
    found = table([from_dict(row["run"]) for row in rows.values()])
    return found[found["status"].eq("ok")]


def _lines(run: Run) -> list[dict]:
    row, source = ledger.find(run.key)
    row, averaged = row or {}, (row or {}).get("averaged", {})
    shared = {"key": run.key, "twin": run.twin, "status": row.get("status", "not measured"),
              "source": source, **flatten(run), "goal": run.attack.goal.name,
              "world": run.attack.in_world}
    measured = {"last": row} | {name: averaged.get(name, {}) for name in run.training.averages}
    return [shared | {"weights": name, "distance": _value(found.get("distance"))}
            | _metrics(run, found) | _privacy(row) | _cost(row)
            | _facts(run, row) for name, found in measured.items()]


def _metrics(run: Run, found: dict) -> dict:
    """The metrics of the run's goal in the order of `columns.METRICS`, and its best accuracy."""
    values = dict(found.get("metrics") or {})
    path = [point["accuracy"] for point in found.get("curve", [])]
    values["best_accuracy"] = max([*path, values["accuracy"]]) if path and values else None
    names = {*run.attack.goal.columns, "best_accuracy"}
    return {name: _value(values.get(name)) for name in columns.METRICS if name in names}


def _privacy(row: dict) -> dict:
    found = row.get("privacy") or {}
    no_bound = math.inf if found else math.nan
    given = found.get("given_start")
    return {"epsilon": _value(found.get("epsilon"), missing=no_bound),
            "epsilon_given_start": _value(given["epsilon"], missing=math.inf) if given
            else math.nan,
            "delta": _value(found.get("delta")), "adjacency": found.get("adjacency", ""),
            "noise_multiplier": _value(found.get("noise_multiplier")),
            "accountant": found.get("accountant") or ""}


def _cost(row: dict) -> dict:
    found = row.get("provenance", {})
    return {name: _value(found.get(name)) for name in columns.COST}


def _facts(run: Run, row: dict) -> dict:
    found = row.get("facts", {})
    names = dict.fromkeys((*asks(run.defence).facts, *attacks.facts(run.attack)))
    return {f"{columns.FACT}{name}": _value(found.get(name)) for name in names}


def flatten(run: Run) -> dict:
    """The run's plain values with dotted names; a start as its key, transforms as text."""
    values = run.to_dict()
    values["start"] = run.start.key if run.start else ""
    return _flat(values)


def _flat(values: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = _hashable(value)
    return flat


def _hashable(value):
    """Turn parts in a tuple into text, so that frames can be grouped by the column."""
    if isinstance(value, tuple) and any(isinstance(item, dict) for item in value):
        return tuple(" ".join(f"{item}" for item in part.values()) for part in value)
    return value


def _value(value, *, missing: float = math.nan):
    return missing if value is None else value


def curves(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per run, measured weights and checkpoint.

    Columns: the run's, step, epoch, the metrics at that step, and the measurements of `traces` (NaN
    in rows that predate them).
    """
    metrics = [name for name in columns.METRICS if name in frame.columns and name != BEST]
    names = ["step", "epoch", *metrics, *TRACES]
    paths = []
    for key, weights in zip(frame["key"], frame["weights"]):
        row = ledger.find(key)[0] or {}
        found = row if weights == "last" else row.get("averaged", {}).get(weights)
        paths.append(_as_measured((found or {}).get("curve", []), names))
    return _along(frame, paths, names)


def anatomy(frame: pd.DataFrame, *, by_epoch: bool = False) -> pd.DataFrame:
    """One line per run and point of its path, of the runs with `anatomy=True` and their last
    weights. Of an attack that searches, it is the path of the first try.

    Columns: the run's, step, epoch, and `lib.study.columns.ANATOMY`. by_epoch: one line per run and
    epoch instead, with means over its points (those of `Training.every`, where it is set); epoch e
    has the points after e - 1, up to e. Hong et al. average gradients over the batches of an epoch,
    which several points an epoch come close to; their scalar is the mean of the epochs' ratios.
    """
    names = ["step", "epoch", *columns.ANATOMY]
    own = frame[frame["anatomy"].astype(bool) & frame["weights"].eq("last")]
    paths = _paths(own, names)
    if by_epoch and len(own):
        paths = [_by_epoch(path, every) for path, every in zip(paths, own["training.every"])]
    # numbers also where no row is measured
    return _along(own, paths, names).astype(dict.fromkeys(names, float))


def training_losses(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per run and point of its path, of the runs with `losses=True` and their last
    weights: the run's columns, step, epoch, and `lib.study.columns.LOSSES`.
    """
    names = ["step", "epoch", *columns.LOSSES]
    own = frame[frame["losses"].astype(bool) & frame["weights"].eq("last")]
    return _along(own, _paths(own, names), names).astype(dict.fromkeys(names, float))


def _along(frame: pd.DataFrame, paths: list[list[dict]], names: list[str]) -> pd.DataFrame:
    """One line per row of the frame and point of its path: the run's columns, and these names."""
    places = [place for place, path in enumerate(paths) for _ in path]
    kept = [name for name in frame.columns if name not in (*MEASURED, *names)]
    own = frame[kept].iloc[places].reset_index(drop=True).infer_objects()
    points = pd.DataFrame([point for path in paths for point in path], columns=names)
    return pd.concat([own, points], axis=1)


def _paths(frame: pd.DataFrame, names: list[str]) -> list[list[dict]]:
    """The points of each row's path."""
    return [_as_measured((ledger.find(key)[0] or {}).get("curve", []), names)
            for key in frame["key"]]


def _as_measured(points: list[dict], names: list[str]) -> list[dict]:
    return [{name: _value(point.get(name)) for name in names} for point in points]


def _by_epoch(points: list[dict], every: float) -> list[dict]:
    """Means over the points of each epoch."""
    if not points:
        return []
    found = pd.DataFrame(points, dtype=float)
    step = found["epoch"] / found["step"]  # in epochs; points lie at whole steps
    if every:  # leave out further checkpoints, which would weigh some epochs' beginnings more
        off = (found["epoch"] / every - (found["epoch"] / every).round()).abs() * every
        found = found[(off < 0.51 * step) | found["epoch"].eq(found["epoch"].max())]
    epochs = (found["epoch"] - 0.51 * step[found.index]).apply(math.ceil).clip(lower=1)
    means = found.groupby(epochs).mean()
    return means.assign(epoch=means.index).to_dict("records")


def certified(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per run, kind of images ("clean", "triggered"), rule of the certificate and radius.

    Columns: the run's, and the shares of the images that are certified with at least that radius
    and classified correctly, or as the target.
    """
    kept = [name for name in frame.columns if name not in MEASURED]
    added = list(columns.CERTIFIED)
    lines = []
    for _, line in frame.iterrows():
        own = {name: line[name] for name in kept}
        for curve in (ledger.find(line["key"])[0] or {}).get("certified", []):
            points = zip(curve["radius"], curve["correct"], curve["target"], strict=True)
            lines += [own | dict(zip(added, (curve["images"], curve["rule"], *point), strict=True))
                      for point in points]
    return pd.DataFrame(lines, columns=[*kept, *added])


def together(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several frames, without repeats of a run and its measured weights."""
    whole = pd.concat(list(frames), ignore_index=True)
    return whole.drop_duplicates(["key", "weights"], ignore_index=True)


def tidy(frames: Iterable[pd.DataFrame], *, only: Iterable[str] | None = None) -> pd.DataFrame:
    """The rows of several frames for a reader, without keys and without constant columns.

    only: the columns to keep, for a figure that needs few of them.
    """
    frame = pd.concat(list(frames), ignore_index=True).drop(columns=["key", "twin", "source"],
                                                            errors="ignore")
    frame = frame if only is None else frame[[name for name in only if name in frame.columns]]
    varying = [name for name in frame.columns if frame[name].astype(str).nunique() > 1]
    return frame[varying]


def means(frame: pd.DataFrame, *, by: str | list[str], columns: dict[str, str],
          intervals: Iterable[str] = ("lift", "success")) -> pd.DataFrame:
    """One line per value of `by`: means of `columns` (name -> heading).

    The columns in `intervals` become text: the mean with its 95% t interval. The unit is the row,
    so a group should hold one row per attack instance.
    """
    from lib import metrics

    def cell(name, values):
        if name not in intervals or values.notna().sum() < 2:
            return values.mean()
        found = metrics.mean_interval(values.dropna(), bounds=bounds(name))
        return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]".replace(
            "-", "\N{MINUS SIGN}")
    if frame.empty:
        return pd.DataFrame(columns=[*([by] if isinstance(by, str) else by), *columns.values()])
    found = frame.groupby(by, sort=False).apply(
        lambda group: pd.Series(
            {heading: cell(name, group[name]) for name, heading in columns.items()}),
        include_groups=False)
    return found.reset_index()


def best(frame: pd.DataFrame, *, by: str, choose: str, on: str) -> dict:
    """The value of `choose` with the highest mean of `on`, for each value of `by`.

    Leaves out values of `by` for which some rows are not measured: a choice needs all candidates.
    """
    found = {}
    for name, group in frame.groupby(by, sort=False):
        if group[on].notna().all():
            found[name] = group.groupby(choose)[on].mean().idxmax()
    return found
