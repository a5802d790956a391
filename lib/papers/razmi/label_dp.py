"""Measuring R9 and R14: LP-2ST and ALIBI against the backdoor (figures 3, 5 and 6; rows of
`13_privacy_budget`, `16_label_dp`).
"""

import math
from typing import TYPE_CHECKING

from lib.papers import razmi
from lib.papers.razmi import roles
from lib.papers.razmi.dpsgd import FEWEST, left_out
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict, not_testable

if TYPE_CHECKING:
    from numpy import ndarray
    from pandas import DataFrame

TEMPERATURE, SPLIT, NOISE = "defence.temperature", "defence.split", "label noise"
NAMED_EPSILON = 1.0  # of the claims


# ---------------------------------------------------------------- rows of figures 5 and 6


def temperature_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 5a."""
    return _figure(
        frame,
        lambda attacked: roles.at_epsilon(roles.two_stage(attacked), NAMED_EPSILON),
        TEMPERATURE,
    )


def split_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 5b; one stage alone (100/0) is randomised response."""
    return _figure(
        frame, lambda attacked: roles.at_epsilon(roles.stages(attacked), NAMED_EPSILON), SPLIT
    )


def epsilon_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 5c."""
    return _figure(frame, roles.two_stage, roles.EPSILON)


def noise_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 6."""
    return _figure(frame, noisy, NOISE)


def _figure(frame: "DataFrame", choose, axis: str) -> "DataFrame":
    attacked = rows.nearest(rows.measured(frame, fraction=rows.FIGURE_FRACTION), razmi.HEAD)
    found = choose(attacked) if len(attacked) else attacked
    swept = rows.sweep(found, axis, but=("training.lr",)) if len(found) else found
    return swept if len(swept) and swept[axis].nunique() > 1 else attacked.iloc[:0]


# ---------------------------------------------------------------- R9


def two_stage_at_one(frames: Frames, claim: Claim) -> Measurement:
    """R9: LP-2ST at epsilon 1 beside the undefended rows of the same attacks.

    Beside it with the released code's score.
    """
    return judgement.measure(
        frames, claim, _two_stage, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION
    )


def _two_stage(attacked: "DataFrame", claim: Claim) -> Found | None:
    formula, released = (
        rows.one_setting(
            roles.at_epsilon(roles.two_stage(attacked, as_released=old), NAMED_EPSILON)
        )
        for old in (False, True)
    )
    plain = roles.plain(attacked)
    if formula.empty or plain.empty:
        return None
    passed = judgement.control(attacked, claim.control)
    beside = (
        judgement.line_beside(
            claim, _against(released, plain, claim, passed), "lift, score as released"
        )
        if len(released)
        else ()
    )
    return Found(_against(formula, plain, claim, passed), formula, beside, candidate_words(formula))


def _against(found, plain: "DataFrame", claim: Claim, passed: bool | None):
    """A judge of rows beside the undefended ones.

    An absolute accuracy counts under the published set-up alone, its distance from the undefended
    one on the published features: what label noise costs depends on them.
    """

    def judge(part: Part, column: str) -> Verdict:
        if part.name == "accuracy-absolute":
            if rows.differences(found.iloc[0], claim.setup):
                return not_testable(f"{part.statistic}: another set-up")
            return judgement.decide(
                part, rows.per_unit(found, "accuracy"), passed=passed, column="accuracy"
            )
        why = rows.other_features(found.iloc[0], claim.setup)
        if part.name == "accuracy-distance" and why:
            return not_testable(why, essential=True)
        metric = contrasts.metric(part, column)
        values = contrasts.compare(part, contrasts.paired(found, plain, metric))
        return judgement.guarded(part, values, passed=passed, column=metric)

    return judge


def candidate_words(frame: "DataFrame") -> str:
    """How many poisons had one candidate label left, and how many train with the target's label:
    what the drop may come from.
    """
    words = (
        ("k = 1 for {:.0%} of the poisons after the first stage", "facts.k1_poisons"),
        ("{:.0%} of the poisons train with the target's label", "facts.kept_labels_poisons"),
    )
    means = [(text, rows.optional(frame, name).astype(float).mean()) for text, name in words]
    return "; ".join(text.format(mean) for text, mean in means if not math.isnan(mean))


# ---------------------------------------------------------------- R14


def noisy(frame: "DataFrame") -> "DataFrame":
    """ALIBI's rows with the standard deviation of their Laplace noise, 2 sqrt(2) / epsilon, as a
    column; 0 without noise.
    """
    found = roles.alibi(frame)
    return found.assign(
        **{NOISE: (2 * math.sqrt(2) / rows.optional(found, roles.EPSILON).astype(float)).fillna(0)}
    )


def in_proportion(frames: Frames, claim: Claim) -> Measurement:
    """R14: over ALIBI's noise, the share of the undefended lift against the share of the undefended
    accuracy.

    Their rank correlations with the noise, the slope of one on the other, and where they differ
    most: at the noise chosen on the other instances. A slope alone would also fit a curve with a
    knee.
    """
    return judgement.measure(
        frames, claim, _proportion, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION
    )


def _proportion(attacked: "DataFrame", claim: Claim) -> Found | None:
    swept, plain = rows.sweep(noisy(attacked), NOISE, but=("training.lr",)), roles.plain(attacked)
    if swept.empty or swept[NOISE].nunique() < FEWEST or plain.empty:
        return None
    passed = judgement.control(attacked, claim.control)

    def judge(part: Part, column: str) -> Verdict:
        if part.name in ("accuracy", "lift"):
            metric = contrasts.metric(part, column)
            values = contrasts.slope(rows.curve(swept, NOISE, metric))
            return judgement.guarded(part, values, passed=passed, column=metric)
        accuracy, strength = (_shares(swept, plain, name) for name in ("accuracy", column))
        if accuracy is None or strength is None or accuracy.shape != strength.shape:
            return NOT_MEASURED
        return judgement.guarded(
            part,
            apart(accuracy, strength) if part.name == "apart" else slopes(accuracy, strength),
            passed=passed,
        )

    return Found(judge, swept)


def _shares(swept: "DataFrame", plain: "DataFrame", column: str) -> "ndarray | None":
    """[instances, noise levels]: `column` over the mean of the undefended rows.

    None where these show nothing.
    """
    mean = rows.per_unit(plain, column).mean()
    return rows.curve(swept, NOISE, column).to_numpy() / mean if mean > 0 else None


def slopes(x: "ndarray", y: "ndarray") -> list[float]:
    """Least-squares slope of each line of `y` on the same line of `x`.

    NaN where x does not vary.
    """
    x, y = (one - one.mean(axis=1, keepdims=True) for one in (x, y))
    return [float(a @ b / (a @ a)) if a @ a > 0 else math.nan for a, b in zip(x, y)]


def apart(x: "ndarray", y: "ndarray") -> list[float]:
    """How far y and x differ where they do most, at a level and with a sign chosen on the other
    lines.
    """
    import numpy as np

    def read(chosen: "ndarray", judged: "ndarray") -> float:
        level = np.abs(chosen).argmax()
        return float(np.sign(chosen[level]) * judged[level])

    return left_out(y - x, read)
