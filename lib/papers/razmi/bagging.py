"""What PATE's vote does to a backdoor: its student beside controls, and beside plain SGD."""

from typing import TYPE_CHECKING

from lib import study
from lib.papers.ours import matched
from lib.papers.razmi import labelled, roles
from lib.papers.razmi.pate import THRESHOLD
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

CONTROL = "control"
ENSEMBLE, UNDEFENDED = "no noise, no threshold", "undefended"
SINGLE, CLEAN = "one of its teachers alone", "clean pool"
COLUMNS = {"accuracy": "accuracy", "floor": "target without trigger", "success": "attack success",
           "lift": "lift", "trigger_auc": "trigger AUC", "epsilon": "epsilon"}


def of_ensemble(compared: "DataFrame") -> "DataFrame":
    """The rows of the student of all teachers, without noise and threshold."""
    return compared[compared[CONTROL].eq(ENSEMBLE)]


def differences(compared: "DataFrame", plain: "DataFrame") -> "DataFrame":
    """Each control's lift minus that of plain SGD when it first was as accurate: a line a pair.

    plain: rows of world P with a recorded path.
    """
    return labelled.against_plain(compared[compared[CONTROL].ne(UNDEFENDED)], plain,
                                  column=CONTROL)


def matched_finding(apart: "DataFrame") -> str:
    """In words: the ensemble's difference from plain SGD. apart: of `differences`."""
    own = of_ensemble(apart)["difference"].dropna()
    if len(own) < 2:  # no interval, no finding
        return ""
    return ("Lift of PATE's student, without noise and threshold, minus that of plain SGD stopped"
            f" when it was as accurate: {judgement.points(own)} points.")


def table(compared: "DataFrame", apart: "DataFrame") -> "DataFrame":
    """One line a control: means, the ensemble minus it, and it minus plain SGD as accurate."""
    found = study.means(compared, by=CONTROL, columns=COLUMNS)
    of, own = dict(list(compared.groupby(CONTROL))), of_ensemble(compared)
    for metric in ("lift", "accuracy"):
        found[f"ensemble minus it: {metric} [points]"] = [
            _minus_it(own, of[name], metric) for name in found[CONTROL]]
    at = labelled.in_points(apart, column=CONTROL)
    found["it minus plain SGD as accurate: lift [points]"] = found[CONTROL].map(at).fillna("–")
    return found


def _minus_it(own: "DataFrame", other: "DataFrame", metric: str) -> str:
    same = other[CONTROL].eq(ENSEMBLE).all()
    return "–" if same else labelled.minus(own, other, metric)


def parts_finding(attacked: "DataFrame", column: str) -> str:
    """In words: how far every group's lift lies below that of the undefended model."""
    means = attacked.groupby(column, sort=False)["lift"].mean().dropna()
    if UNDEFENDED not in means or len(means) < 2:
        return ""
    plain = means.pop(UNDEFENDED)
    return (f"The undefended model has {100 * plain:.1f} points of lift; the defended ones have"
            f" {100 * means.min():.1f} to {100 * means.max():.1f}.".replace("-", "−"))


# ---------------------------------------------------------------- the same from published rows


def published(frame: "DataFrame") -> "tuple[DataFrame, dict[str, DataFrame]]":
    """(the student of all teachers, the models that it is held against by name), one share."""
    attacked = rows.measured(frame, fraction=rows.HEADLINE_FRACTION)
    quiet = attacked[
        attacked["defence.name"].eq("pate") & attacked["defence.labels"].eq("votes")
        & attacked["defence.selection_noise"].eq(0) & attacked["defence.result_noise"].eq(0)
        & attacked[THRESHOLD].isna()]
    plain = rows.undefended(attacked)
    return roles.students(quiet), {
        UNDEFENDED: plain[plain["training.checkpoints"].gt(0)],
        SINGLE: quiet[quiet["defence.voters"].eq(1)],
        CLEAN: quiet[quiet["defence.pool"].eq("clean")]}


def minus(own: "DataFrame", other: "DataFrame") -> "Series":
    """Lift of the one minus lift of the other, by pair of classes."""
    return (rows.per_unit(own, "lift") - rows.per_unit(other, "lift")).dropna()


def minus_plain(own: "DataFrame", plain: "DataFrame") -> "Series":
    """Lift minus that of plain SGD when it first was as accurate, by pair of classes."""
    return rows.per_unit(matched.matched(own, study.curves(plain), metric="lift"), "difference")


def long(values: "dict[str, Series]") -> "DataFrame":
    """A line a pair and comparison: `pair`, `difference`, and its name as `than`."""
    import pandas as pd

    return pd.concat([
        series.rename("difference").rename_axis("pair").reset_index().assign(than=name)
        for name, series in values.items()], ignore_index=True)
