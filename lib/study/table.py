"""Rows as pandas frames: one line a run, or one line a run and checkpoint."""

import math
from collections.abc import Iterable

import pandas as pd

from lib import ledger
from lib.attacks import world_of
from lib.study.runs import Run

LOSSES = ("loss_poison", "loss_base", "loss_clean")
METRICS = ("accuracy", "floor", "success", "lift", "trigger_auc", "base_recall", "loss", "population", "tested", "collapsed")


def table(runs: list[Run], *, like: Run | None = None) -> pd.DataFrame:
    """One line a run: key, status ("ok", "failed", "not measured"), source, the run with dotted names, world, metrics, epsilon, delta,
    adjacency, accountant, seconds, group_size (runs trained together), and the facts that a defence adds ("facts.answered").
    like: whose columns the table has where there are no runs.
    """
    return pd.DataFrame([_line(run) for run in runs], columns=None if runs else list(_line(like or Run())))


def _line(run: Run) -> dict:
    row, source = ledger.find(run.key)
    line = {"key": run.key, "status": row["status"] if row else "not measured", "source": source, **flatten(run.to_dict()),
            "world": world_of(run.attack)}
    measured = row["metrics"] if row else {}
    privacy = row["privacy"] if row else {}
    return line | {name: _value(measured.get(name)) for name in METRICS} | {
        "epsilon": _value(privacy.get("epsilon"), missing=math.inf if privacy else math.nan), "delta": _value(privacy.get("delta")),
        "adjacency": privacy.get("adjacency", ""), "noise_multiplier": _value(privacy.get("noise_multiplier")),
        "accountant": privacy.get("accountant") or "", "seconds": _value(row["provenance"]["seconds"] if row else None),
        "group_size": _value(row["provenance"]["group_size"] if row else None)} | {
        f"facts.{name}": _value((row or {}).get("facts", {}).get(name)) for name in getattr(run.defence, "FACTS", ())}


def flatten(values: dict, prefix: str = "") -> dict:
    """Nested plain values with dotted names."""
    flat = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _value(value, *, missing: float = math.nan):
    return missing if value is None else value


def curves(frame: pd.DataFrame) -> pd.DataFrame:
    """One line a run and checkpoint: the run's columns, with step, epoch, the metrics at that point and the losses on
    training samples (NaN in rows older than these losses).
    """
    run_columns = [name for name in frame.columns if name not in METRICS]
    lines = []
    for _, line in frame.iterrows():
        row = ledger.find(line["key"])[0]
        for point in (row or {}).get("curve", []):
            lines.append({name: line[name] for name in run_columns} | {name: _value(point.get(name)) for name in ("step", "epoch", *METRICS, *LOSSES)})
    return pd.DataFrame(lines, columns=[*run_columns, "step", "epoch", *METRICS, *LOSSES])


def certified(frame: pd.DataFrame) -> pd.DataFrame:
    """One line a run, kind of images ("clean", "triggered"), rule of the certificate and radius: the run's columns, and the shares of
    the images that are certified with at least that radius and correct, or called the target.
    """
    run_columns = [name for name in frame.columns if name not in METRICS]
    lines = []
    for _, line in frame.iterrows():
        own = {name: line[name] for name in run_columns}
        for curve in (ledger.find(line["key"])[0] or {}).get("certified", []):
            lines += [own | {"images": curve["images"], "rule": curve["rule"], "radius": radius, "correct": correct, "called target": target}
                      for radius, correct, target in zip(curve["radius"], curve["correct"], curve["target"])]
    return pd.DataFrame(lines, columns=[*run_columns, "images", "rule", "radius", "correct", "called target"])


def together(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several frames, each run once."""
    return pd.concat(list(frames), ignore_index=True).drop_duplicates("key", ignore_index=True)


def tidy(frames: Iterable[pd.DataFrame], *, only: Iterable[str] | None = None) -> pd.DataFrame:
    """The rows of several frames for a reader: without keys, and without columns that hold one value throughout.

    only: these columns alone, where a figure needs few of many.
    """
    frame = pd.concat(list(frames), ignore_index=True).drop(columns=["key", "source"], errors="ignore")
    frame = frame if only is None else frame[[name for name in only if name in frame.columns]]
    varying = [name for name in frame.columns if frame[name].astype(str).nunique() > 1]
    return frame[varying]


def means(frame: pd.DataFrame, *, by: str | list[str], columns: dict[str, str], intervals: Iterable[str] = ("lift", "success")) -> pd.DataFrame:
    """One line a value of `by`: means of `columns` (name -> heading), those in `intervals` with their 95% t interval as text.

    The unit is the row, so a group should hold one row an attack instance.
    """
    from lib import metrics

    def cell(name, values):
        if name not in intervals or values.notna().sum() < 2:
            return values.mean()
        found = metrics.mean_interval(values.dropna())
        return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]".replace("-", "\N{MINUS SIGN}")
    if frame.empty:
        return pd.DataFrame(columns=[*([by] if isinstance(by, str) else by), *columns.values()])
    found = frame.groupby(by, sort=False).apply(lambda group: pd.Series({heading: cell(name, group[name]) for name, heading in columns.items()}),
                                                include_groups=False)
    return found.reset_index()


def best(frame: pd.DataFrame, *, by: str, choose: str, on: str) -> dict:
    """For each value of `by` the value of `choose` with the highest mean of `on`.

    A value of `by` with a row that was not measured is left out: a choice among half of the candidates is none.
    """
    found = {}
    for name, group in frame.groupby(by, sort=False):
        if group[on].notna().all():
            found[name] = group.groupby(choose)[on].mean().idxmax()
    return found
