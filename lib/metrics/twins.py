"""The parts of an attack success that need the same run in other training worlds."""

_RESULTS = frozenset(
    "key status source world accuracy floor success lift trigger_auc base_recall loss population "
    "tested test_size_used collapsed epsilon delta accountant seconds group_size natural collateral effect blind auc_clean "
    "loss_poison loss_base loss_clean"
    .split()
)  # columns that say how a run came out, not what was run
_SWITCHES = frozenset(("attack.stamp", "attack.relabel"))
_NEEDED = ("world", "floor", "success", "lift", "trigger_auc")
_TAKEN = ("floor", "success", "lift", "trigger_auc")


def parts(frame, *, ignore=()):
    """Return the P rows with the parts that need their twins in the worlds C and L.

    frame: the table of `study.run`. A twin is the row of another world that agrees on every
    column of the run but attack.stamp and attack.relabel (nan agrees with nan); results are
    no columns of the run, nor are those named in `ignore`. Added columns: natural S_C(x),
    collateral S_P(x) - S_C(x), effect = lift - (S_L(x') - S_L(x)), blind S_L(x'),
    auc_clean (the trigger AUC of the clean twin); nan where the twin is missing, failed or not measured. Order and
    index of the P rows are kept. natural + collateral + lift = success.
    """
    missing = [name for name in _NEEDED if name not in frame.columns]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}: expected study.run's")
    other = _RESULTS | _SWITCHES | set(ignore)
    keys = _keys(frame, [name for name in frame.columns if name not in other and not name.startswith("facts.")])
    found = frame[frame["world"] == "P"].copy()
    clean, relabelled = (_twins(frame, keys, world) for world in "CL")
    found["natural"] = clean["floor"]
    found["collateral"] = found["floor"] - clean["floor"]
    found["effect"] = found["lift"] - relabelled["lift"]
    found["blind"] = relabelled["success"]
    found["auc_clean"] = clean["trigger_auc"]
    return found


def _keys(frame, columns):
    """What was run, as one hashable value a row."""
    if not columns:
        raise ValueError("the table has no column that says what was run")
    rows = frame[columns].itertuples(index=False, name=None)
    return [tuple(_plain(value) for value in row) for row in rows]


def _twins(frame, keys, world):
    """For each P row, the results of its twin in `world`: arrays, nan without a twin."""
    import numpy

    results = frame[list(_TAKEN)].to_numpy(dtype=float)
    worlds = frame["world"].tolist()
    table = {}
    for key, of, row in zip(keys, worlds, results):
        # a run that was asked for twice has equal rows; one that was measured wins
        if of == world and (key not in table or numpy.isnan(table[key]).any()):
            table[key] = row
    nothing = numpy.full(len(_TAKEN), numpy.nan)
    matched = [table.get(key, nothing) for key, of in zip(keys, worlds) if of == "P"]
    return dict(zip(_TAKEN, numpy.reshape(matched, (-1, len(_TAKEN))).T))


def _plain(value):
    """A hashable value, equal for equal settings: nan equals nan, 1 equals 1.0."""
    import pandas

    if pandas.api.types.is_scalar(value):
        return None if pandas.isna(value) else value
    return repr(value)
