"""What PATE's teachers are asked: who is answered, how well, and what the answers cost."""

from typing import TYPE_CHECKING

from lib import privacy
from lib.papers.razmi.pate import CLASSES, RESULT, SELECTION, THRESHOLD

if TYPE_CHECKING:
    from pandas import DataFrame

DELTA = 1e-5


def by_training(frame: "DataFrame") -> "DataFrame":
    """One line a row: how its teachers were trained, their answers, and the student's backdoor."""
    shown = frame.assign(**{"teachers trained by": [
        f"{name}, rate {rate:g}" for name, rate in zip(
            frame["defence.teacher.optimizer"], frame["defence.teacher.lr"], strict=True)]})
    return _renamed(shown, {
        "teachers trained by": "teachers trained by",
        "facts.label_accuracy": "accuracy of the answers",
        "facts.target_answered": "triggered queries called target", "accuracy": "accuracy",
        "floor": "target without trigger", "success": "attack success", "lift": "lift"})


def costs(frame: "DataFrame", *, teachers: int, queries: int, threshold: float) -> "DataFrame":
    """Epsilon by result noise: with every query answered, and with a selection of equal noise.

    frame: rows over the result noise. The last column depends on private votes: no guarantee.
    """
    noisy = frame[frame[RESULT].astype(float).gt(0)]
    found = noisy.groupby(RESULT, as_index=False)[["epsilon", "facts.epsilon_expected"]].mean()
    unanimous = [[teachers] + [0] * (CLASSES - 1)] * queries  # every query is answered
    found["with a selection of the same noise"] = [
        privacy.pate_epsilon(unanimous, threshold=threshold, selection_noise=noise,
                             result_noise=noise, delta=DELTA) for noise in found[RESULT]]
    return _renamed(found, {
        RESULT: "result noise", "epsilon": "every query answered, no selection",
        "with a selection of the same noise": "with a selection of the same noise",
        "facts.epsilon_expected": "average, data-dependent"})


def selections(frame: "DataFrame") -> "DataFrame":
    """Means by selection noise and by where it is added: on the maximum, or on every count."""
    shown = frame.assign(
        answered=frame["facts.answered"] / frame["facts.queries"],
        variant=frame["defence.as_released"].map({
            False: "noise on the maximum (2018)", True: "noise on every count (released)"}))
    columns = {"answered": "share answered", "facts.label_accuracy": "accuracy of the answers",
               "accuracy": "accuracy", "success": "attack success", "lift": "lift",
               "epsilon": "epsilon"}
    means = shown.groupby([SELECTION, "variant"], as_index=False)[list(columns)].mean()
    return means.rename(columns=columns | {SELECTION: "selection noise"})


def by_threshold(frame: "DataFrame") -> "DataFrame":
    """Means by threshold: who is answered, and what untouched and triggered queries are called."""
    answered, triggered = frame["facts.triggered_answered"], frame["facts.triggered"]
    shown = frame.assign(
        untouched=(frame["facts.answered"] - answered) / (frame["facts.queries"] - triggered),
        triggered=answered / triggered)
    columns = {
        "untouched": "untouched answered", "triggered": "triggered answered",
        "facts.target_answered": "answered triggered called target",
        "facts.target_unanswered": "unanswered triggered called target",
        "facts.student_target_answered": "student: answered ones",
        "facts.student_target_unanswered": "student: unanswered ones",
        "facts.certified_median": "median certificate"}
    means = shown.groupby(THRESHOLD, as_index=False)[list(columns)].mean()
    return means.rename(columns=columns | {THRESHOLD: "threshold"})


def _renamed(frame: "DataFrame", columns: dict[str, str]) -> "DataFrame":
    return frame[list(columns)].rename(columns=columns)
