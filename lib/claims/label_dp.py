"""Measuring R9 and R14: LP-2ST and ALIBI against the backdoor (figures 3, 5 and 6; rows of `13_privacy_budget`, `16_label_dp`)."""

import math

from lib.claims import methods, razmi, rows
from lib.claims.dpsgd import FEWEST, left_out
from lib.claims.registry import Claim
from lib.claims.rows import Found, Measurement
from lib.claims.verdict import NOT_MEASURED, Verdict, not_testable

TEMPERATURE, SPLIT, NOISE = "defence.temperature", "defence.split", "label noise"
NAMED_EPSILON = 1.0  # of the claims


# ---------------------------------------------------------------- rows of figures 5 and 6

def temperature_rows(frame):
    """Rows of figure 5a."""
    return _figure(frame, lambda attacked: methods.at_epsilon(methods.two_stage(attacked), NAMED_EPSILON), TEMPERATURE)


def split_rows(frame):
    """Rows of figure 5b; one stage alone (100/0) is randomised response."""
    return _figure(frame, lambda attacked: methods.at_epsilon(methods.stages(attacked), NAMED_EPSILON), SPLIT)


def epsilon_rows(frame):
    """Rows of figure 5c."""
    return _figure(frame, methods.two_stage, methods.EPSILON)


def noise_rows(frame):
    """Rows of figure 6."""
    return _figure(frame, noisy, NOISE)


def _figure(frame, choose, axis: str):
    attacked = rows.nearest(rows.measured(frame, fraction=rows.FIGURE_FRACTION), razmi.HEAD)
    found = choose(attacked) if len(attacked) else attacked
    swept = rows.sweep(found, axis, but=("training.lr",)) if len(found) else found
    return swept if len(swept) and swept[axis].nunique() > 1 else attacked.iloc[:0]


# ---------------------------------------------------------------- R9

def two_stage_at_one(frames: dict, claim: Claim) -> Measurement:
    """R9: LP-2ST at epsilon 1 beside the undefended rows of the same attacks; beside it with the released code's score."""
    return rows.measure(frames, claim, _two_stage, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION)


def _two_stage(attacked, claim: Claim) -> Found | None:
    formula, released = (methods.one_setting(methods.at_epsilon(methods.two_stage(attacked, as_released=old), NAMED_EPSILON))
                         for old in (False, True))
    plain = methods.plain(attacked)
    if formula.empty or plain.empty:
        return None
    passed = rows.control(attacked, claim.control)
    beside = rows.line_beside(claim, _against(released, plain, claim, passed), "lift, score as released") if len(released) else ()
    return Found(_against(formula, plain, claim, passed), formula, beside, candidate_words(formula))


def _against(found, plain, claim: Claim, passed: bool | None):
    """A judge of rows beside the undefended ones.

    An absolute accuracy counts under the published set-up alone, its distance from the undefended
    one on the published features: what label noise costs depends on them.
    """
    def judge(part, column) -> Verdict:
        if part.name == "accuracy-absolute":
            if rows.differences(found.iloc[0], claim.setup):
                return not_testable(f"{part.statistic}: another set-up")
            return rows.decide(part, rows.per_unit(found, "accuracy"), passed=passed, scale="logit")
        why = rows.other_features(found.iloc[0], claim.setup)
        if part.name == "accuracy-distance" and why:
            return not_testable(f"{part.statistic} {why}", essential=True)
        return rows.guarded(part, methods.compare(part, methods.paired(found, plain, methods.metric(part, column))), passed=passed)
    return judge


def candidate_words(frame) -> str:
    """How many poisons had one candidate label left, and how many train with the target's label: what the drop may come from."""
    words = (("k = 1 for {:.0%} of the poisons after the first stage", "facts.k1_poisons"),
             ("{:.0%} of the poisons train with the target's label", "facts.kept_labels_poisons"))
    means = [(text, rows.optional(frame, name).astype(float).mean()) for text, name in words]
    return "; ".join(text.format(mean) for text, mean in means if not math.isnan(mean))


# ---------------------------------------------------------------- R14

def noisy(frame):
    """ALIBI's rows with the standard deviation of their Laplace noise, 2 sqrt(2) / epsilon, as a column; 0 without noise."""
    found = methods.alibi(frame)
    return found.assign(**{NOISE: (2 * math.sqrt(2) / rows.optional(found, methods.EPSILON).astype(float)).fillna(0)})


def in_proportion(frames: dict, claim: Claim) -> Measurement:
    """R14: over ALIBI's noise, the share of the undefended lift against the share of the undefended accuracy.

    Their rank correlations with the noise, the slope of one on the other, and where they differ most: at the noise
    chosen on the other instances. A slope alone would also fit a curve with a knee.
    """
    return rows.measure(frames, claim, _proportion, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION)


def _proportion(attacked, claim: Claim) -> Found | None:
    swept, plain = rows.sweep(noisy(attacked), NOISE, but=("training.lr",)), methods.plain(attacked)
    if swept.empty or swept[NOISE].nunique() < FEWEST or plain.empty:
        return None
    passed = rows.control(attacked, claim.control)

    def judge(part, column) -> Verdict:
        if part.name in ("accuracy", "lift"):
            return rows.guarded(part, methods.trend(rows.curve(swept, NOISE, methods.metric(part, column))), passed=passed)
        accuracy, strength = (_shares(swept, plain, name) for name in ("accuracy", column))
        if accuracy is None or strength is None or accuracy.shape != strength.shape:
            return NOT_MEASURED
        return rows.guarded(part, apart(accuracy, strength) if part.name == "apart" else slopes(accuracy, strength), passed=passed)
    return Found(judge, swept)


def _shares(swept, plain, column: str):
    """[instances, noise levels]: `column` over the mean of the undefended rows; None where these show nothing."""
    mean = rows.per_unit(plain, column).mean()
    return rows.curve(swept, NOISE, column).to_numpy() / mean if mean > 0 else None


def slopes(x, y) -> list[float]:
    """Least-squares slope of each line of `y` on the same line of `x`; NaN where x does not vary."""
    x, y = (one - one.mean(axis=1, keepdims=True) for one in (x, y))
    return [float(a @ b / (a @ a)) if a @ a > 0 else math.nan for a, b in zip(x, y)]


def apart(x, y) -> list[float]:
    """How far y and x differ where they do most, at a level and with a sign chosen on the other lines."""
    import numpy as np

    def read(chosen, judged):
        level = np.abs(chosen).argmax()
        return float(np.sign(chosen[level]) * judged[level])
    return left_out(y - x, read)
