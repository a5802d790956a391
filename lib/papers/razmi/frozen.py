"""Claims as first frozen (`amendments`), judged on today's rows.

The sizes, thresholds and positive controls are those of the first version. Where it left open which
setting counts, today's rule stands. Attack success includes natural confusion, so these verdicts
are shown and not argued from. Distances of accuracy were judged on any features then, and are here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.papers.razmi import budget, dpsgd, dynamics, label_dp, pate, roles, strength
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict, not_testable

if TYPE_CHECKING:
    from pandas import DataFrame

NEARLY_ALL, HALF = 0.9, 0.5  # attack success of the positive controls
BOTH = ("accuracy", "success")


def _measure(
    frames: Frames, claim: Claim, build: Callable, fraction: float = rows.FIGURE_FRACTION
) -> Measurement:
    return judgement.measure(frames, claim, build, fraction=fraction, metric="success", beside=())


def _column(part: Part) -> str:
    return contrasts.metric(part, "success")


# ---------------------------------------------------------------- PATE: R6 to R8


def teachers(frames: Frames, claim: Claim) -> Measurement:
    """R6: accuracy and attack success with the most teachers minus those with the fewest."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        swept = pate.sweep(attacked, pate.TEACHERS)
        if swept is None:
            return None
        passed = _at_start(swept, pate.TEACHERS, NEARLY_ALL)

        def judge(part: Part, _: object) -> Verdict:
            return worst(
                {
                    name: _change(part, rows.curve(swept, pate.TEACHERS, name), -1, passed, name)
                    for name in BOTH
                }
            )

        return Found(judge, swept)

    return _measure(frames, claim, build)


def threshold(frames: Frames, claim: Claim) -> Measurement:
    """R7: accuracy and attack success at 90% of the votes minus those at threshold 0."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        swept = pate.sweep(attacked, pate.THRESHOLD)
        if swept is None:
            return None
        passed = _at_start(swept, pate.THRESHOLD, HALF)
        named = pate.VOTES * float(swept[pate.TEACHERS].iloc[0])

        def judge(part: Part, _: object) -> Verdict:
            column = _column(part)
            table = rows.curve(swept, pate.THRESHOLD, column)
            places = [i for i, value in enumerate(table.columns) if abs(value - named) < 1e-6]
            return _change(part, table, places[0], passed, column) if places else NOT_MEASURED

        return Found(judge, swept)

    return _measure(frames, claim, build)


def result_noise(frames: Frames, claim: Claim) -> Measurement:
    """R8: rank correlations of accuracy and attack success with the noise; epsilon."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        swept = pate.sweep(attacked, pate.RESULT, fewest=dpsgd.FEWEST)
        if swept is None:
            return None
        passed = _at_start(swept, pate.RESULT, HALF)

        def judge(part: Part, _: object) -> Verdict:
            if part.name == "epsilon":
                return pate.epsilon_at_named_noise(part, swept)
            return _trends(part, swept, pate.RESULT, passed)

        return Found(judge, swept)

    return _measure(frames, claim, build)


def _at_start(swept: "DataFrame", axis: str, least: float) -> bool | None:
    """The control: attack success at the smallest value of the axis."""
    return judgement.shows(swept[swept[axis] == swept[axis].min()], least, column="success")


def _change(
    part: Part, table: "DataFrame", place: int, passed: bool | None, column: str
) -> Verdict:
    """A column of `rows.curve` minus its first one."""
    if table.shape[1] < 2:
        return NOT_MEASURED
    values = table.iloc[:, place] - table.iloc[:, 0]
    return judgement.guarded(part, values, passed=passed, column=column)


def _trends(part: Part, swept: "DataFrame", axis: str, passed: bool | None) -> Verdict:
    curves = {name: rows.curve(swept, axis, name) for name in BOTH}
    return worst(
        {
            name: judgement.guarded(part, contrasts.trend(table), passed=passed)
            for name, table in curves.items()
        }
    )


# ---------------------------------------------------------------- R9, R12: beside the undefended


def two_stage(frames: Frames, claim: Claim) -> Measurement:
    """R9: LP-2ST at epsilon 1, in attack success and absolute accuracy."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        own = rows.one_setting(roles.at_epsilon(roles.two_stage(attacked), label_dp.NAMED_EPSILON))
        plain = roles.plain(attacked)
        if own.empty or plain.empty:
            return None
        passed = judgement.shows(plain, NEARLY_ALL, column="success")

        def judge(part: Part, _: object) -> Verdict:
            if part.name == "accuracy" and rows.differences(own.iloc[0], claim.setup):
                return not_testable(f"{part.statistic}: another set-up", essential=True)
            return _beside(part, own, plain, passed, absolute=part.name != "direction")

        return Found(judge, own)

    return _measure(frames, claim, build)


def weak_attack(frames: Frames, claim: Claim) -> Measurement:
    """R12: attack success of at most 1%, natural confusion included, for each of three methods."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        plain, private = roles.plain(attacked), budget.private(attacked)
        named = {
            name: roles.at_epsilon(private[name], strength.NAMED_EPSILON)
            for name in strength.METHODS
        }
        found = {name: rows.one_setting(group) for name, group in named.items()}
        if plain.empty or all(group.empty for group in found.values()):
            return None
        passed = judgement.control(attacked, claim.control)

        def judge(part: Part, _: object) -> Verdict:
            return worst(
                {
                    name: _beside(part, group, plain, passed, absolute=part.name == "success")
                    for name, group in found.items()
                }
            )

        return Found(judge, rows.together(found.values()))

    return _measure(frames, claim, build, rows.HEADLINE_FRACTION)


def _beside(
    part: Part, own: "DataFrame", plain: "DataFrame", passed: bool | None, *, absolute: bool
) -> Verdict:
    """A column of the defended rows, by itself or minus that of the undefended ones."""
    if own.empty:
        return NOT_MEASURED
    column = _column(part)
    both = contrasts.paired(own, plain, column)
    values = both["own"] if absolute else both["own"] - both["other"]
    return judgement.guarded(part, values, passed=passed, column=column)


# ---------------------------------------------------------------- R10, R11: one score


def noiseless_score(frames: Frames, claim: Claim) -> Measurement:
    """R10: accuracy minus attack success of thresholded PATE, less the best other setting's."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        bagged = roles.noise_free(attacked)
        votes = rows.optional(bagged, pate.THRESHOLD).astype(float)
        return _scored(
            attacked, claim, rows.one_setting(bagged[votes > 0]), budget.private(attacked)
        )

    return _measure(frames, claim, build)


def half_score(frames: Frames, claim: Claim) -> Measurement:
    """R11: the same of DP-SGD at epsilon 0.5, against the other methods at that epsilon."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        found = {
            name: roles.at_epsilon(group, budget.NAMED_EPSILON)
            for name, group in budget.private(attacked).items()
        }
        return _scored(attacked, claim, rows.one_setting(found.pop(budget.DPSGD)), found)

    return _measure(frames, claim, build)


def _scored(attacked: "DataFrame", claim: Claim, own: "DataFrame", others: dict) -> Found | None:
    if own.empty or not any(len(group) for group in others.values()):
        return None
    passed = judgement.control(attacked, claim.control)
    names = [name for name, group in others.items() if len(group) or name in budget.REQUIRED]

    def judge(part: Part, _: object) -> Verdict:
        return worst({name: _score(part, own, others[name], passed) for name in names})

    return Found(judge, own)


def _score(part: Part, own: "DataFrame", other: "DataFrame", passed: bool | None) -> Verdict:
    gained = budget.gains(own, other, "success")
    if gained is None:
        return NOT_MEASURED
    values = dpsgd.left_out(gained.sum(axis=-1), lambda chosen, judged: judged[chosen.argmin()])
    return judgement.guarded(part, values, passed=passed)


# ---------------------------------------------------------------- R14, R15


def in_proportion(frames: Frames, claim: Claim) -> Measurement:
    """R14: rank correlations with ALIBI's noise, and the slope of attack success on accuracy."""

    def build(attacked: "DataFrame", claim: Claim) -> Found | None:
        axis = label_dp.NOISE
        swept = rows.sweep(label_dp.noisy(attacked), axis, but=("training.lr",))
        if swept.empty or swept[axis].nunique() < dpsgd.FEWEST:
            return None
        passed = judgement.control(attacked, claim.control)

        def judge(part: Part, _: object) -> Verdict:
            if part.name == "direction":
                return _trends(part, swept, axis, passed)
            curves = [rows.curve(swept, axis, name).to_numpy() for name in BOTH]
            return judgement.guarded(part, label_dp.slopes(*curves), passed=passed)

        return Found(judge, swept)

    return _measure(frames, claim, build)


def early_losses(frames: Frames, claim: Claim) -> Measurement:
    """R15: as today; the control is attack success over 90% in each method's noise-free runs."""
    return dynamics.early_losses(frames, claim, least=NEARLY_ALL, column="success")
