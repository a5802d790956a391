"""What a measure is called on an axis, in which unit, and which side is better: the only list."""

import math
from typing import NamedTuple

LINE = 34  # letters of an axis label: more would be longer than a panel is high

TESTED, ATTACKED = "% of test images", "% of base-class test images"
STAMPED, TRIGGERED = "% of stamped queries", "% of attacked test images"
POINTS, AUC = "points", "0.5: no effect"


class Measure(NamedTuple):
    """Name and unit of a measure; better: "lower", "higher", or "" where neither is."""

    name: str
    unit: str = ""
    better: str = ""


MEASURES = {
    "accuracy": Measure("clean accuracy", TESTED, "higher"),
    "best_accuracy": Measure("clean accuracy, best epoch", TESTED, "higher"),
    "success": Measure("attack success", ATTACKED, "lower"),
    "turned": Measure("turned to the target", "% of other images", "lower"),
    "floor": Measure("called target without trigger", ATTACKED, "lower"),
    "base_recall": Measure("base-class recall", ATTACKED, "higher"),
    "natural": Measure("natural part", ATTACKED),
    "collateral": Measure("collateral part", POINTS, "lower"),
    "lift": Measure("lift", POINTS, "lower"),
    "effect": Measure("backdoor effect", POINTS, "lower"),
    "difference": Measure("lift minus plain SGD stopped as accurate", POINTS, "lower"),
    "trigger_auc": Measure("trigger AUC", AUC, "lower"),
    "auc_clean": Measure("trigger AUC of the clean twin", AUC),
    "loss": Measure("loss", "nats an image", "lower"),
    "facts.answered": Measure("answered queries", "number", "higher"),
    "facts.triggered_answered": Measure("answered stamped queries", "number"),
    "facts.target_answered": Measure("target label, if answered", STAMPED, "lower"),
    "facts.target_unanswered": Measure("target ahead, if unanswered", STAMPED),
    "facts.student_target_answered": Measure("student says target, if answered", STAMPED, "lower"),
    "facts.student_target_unanswered": Measure("student says target, if unanswered", STAMPED,
                                               "lower"),
    "facts.label_accuracy": Measure("true labels", "% of kept clean queries", "higher"),
    "facts.certified_1": Measure("certified against one teacher", "% of queries", "higher"),
    "facts.certified_median": Measure("teachers that cannot flip a query", "median number",
                                      "higher"),
    "facts.k1_records": Measure("records with k = 1", "% of the later stages"),
    "facts.k1_poisons": Measure("poisons with k = 1", "% of the later stages"),
    "facts.kept_labels_poisons": Measure("poisons with the target label", "% of poisons", "lower"),
    "facts.certified_any": Measure("certified at all", TESTED, "higher"),
    "facts.certified_attack": Measure("certified against this attack", TESTED, "higher"),
    "facts.certified_triggered": Measure("certified at all, triggered", TRIGGERED, "higher"),
    "facts.truth": Measure("true label, triggered", TRIGGERED, "higher"),
    "facts.printed": Measure("printed by RAB's script", "% of all test images, triggered"),
}
DIFFERENCES = ("difference", "effect")  # of two lifts
_QUARTILES = {"q1": "first quartile", "median": "median", "q3": "third quartile"}
_AXES = {
    "noise_multiplier": "noise multiplier z",
    "max_grad_norm": "clipping norm C",
    "epsilon": "ε",
    # Of the base class alone: a figure of the four-pixel attack, a share of all training images,
    # says so itself.
    "fraction": "poisoned share of the base class",
    "epoch": "epoch", "step": "step",
    "threshold": "threshold [votes]",
    "selection_noise": "selection noise [votes]",
    "result_noise": "result noise [votes]",
    "answered": "answered queries",
    "noise": "smoothing noise σ",
    "partitions": "partitions k",
}


def measure(column: str) -> Measure:
    """Name, unit and better side of a column; one that is not listed has its name alone.

    facts.models_MEASURE_q1, _median and _q3 are MEASURE's over an ensemble's models.
    """
    name, _, part = str(column).removeprefix("facts.models_").rpartition("_")
    found = MEASURES.get(name) or MEASURES.get(f"facts.{name}")
    if str(column).startswith("facts.models_") and part in _QUARTILES and found:
        return found._replace(name=f"{found.name}, {_QUARTILES[part]} of the models")
    return MEASURES.get(column, Measure(str(column).replace("_", " ")))


def measure_label(column: str, *, lines: int = 2) -> str:
    """The label of a vertical axis: "lift [points] (lower is better)", in two lines if long.

    lines: 1 for a horizontal axis, which has the room.
    """
    name, unit, better = measure(column)
    side, unit = f" ({better} is better)" if better else "", f"[{unit}]" if unit else ""
    whole = f"{name} {unit}".rstrip() + side
    if lines == 1 or len(whole) <= LINE or not unit:
        return whole
    return f"{name}{side}\n{unit}" if len(name + side) <= LINE + 8 else f"{name}\n{unit}{side}"


def axis_label(column: str) -> str:
    """The axis label of a setting, from the last part of its dotted name."""
    last = str(column).rsplit(".", 1)[-1]
    return _AXES.get(last, last.replace("_", " "))


def limits(column: str) -> tuple[float, float]:
    """What a measure can be, in the unit of its axis."""
    unit = measure(column).unit
    if unit.startswith("%"):
        return 0.0, 100.0
    if unit == POINTS:
        return (-200.0, 200.0) if column in DIFFERENCES else (-100.0, 100.0)
    return (0.0, 1.0) if unit == AUC else (-math.inf, math.inf)


def factor(column: str) -> float:
    """100 for the measures that are shown in per cent or points, else 1."""
    unit = measure(column).unit
    return 100.0 if unit.startswith("%") or unit == POINTS else 1.0
