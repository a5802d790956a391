"""Measuring R10 and R11: which method is best (Razmi et al., figure 3; rows of
`13_privacy_budget`).

The paper ranks methods by accuracy minus attack success, where a point of one buys a point of the
other. Here a method is
better only if it wins on both: clean accuracy and lift, Pareto dominance. Each contrast is paired
over attack instances. Against a method with many settings the setting that counts is chosen on the
other instances and read on this one.
"""

from typing import TYPE_CHECKING

from lib.papers import razmi
from lib.papers.razmi import roles
from lib.papers.razmi.dpsgd import left_out
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part, Published, above
from lib.verdicts.combining import best, worst
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict, not_testable

if TYPE_CHECKING:
    from numpy import ndarray
    from pandas import DataFrame

DPSGD, LP2ST, ALIBI, PATE = "DP-SGD", "LP-2ST", "ALIBI", "PATE with noise"
# PATE with noise counts where it was measured: 10,000 answers can hardly cost epsilon 0.5
REQUIRED = (DPSGD, LP2ST, ALIBI)
NAMED_EPSILON = 0.5  # of R11
SCORE = above("score", "accuracy minus lift, less that of the other method", 0, kind="number")


def private(attacked: "DataFrame") -> dict:
    """The rows with a finite epsilon, by method."""
    found = {
        DPSGD: roles.private_sgd,
        PATE: roles.students,
        LP2ST: roles.two_stage,
        ALIBI: roles.alibi,
    }
    return {name: roles.finite(choose(attacked)) for name, choose in found.items()}


# ---------------------------------------------------------------- rows of figure 3


def feature_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 3a to c: the set-up nearest to the head on features."""
    return _figure(frame, razmi.HEAD)


def image_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 3d to f: the set-up nearest to the network on MNIST's images."""
    return _figure(frame, razmi.END_TO_END)


def _figure(frame: "DataFrame", published: Published) -> "DataFrame":
    """Defended rows in the set-ups that are nearer to `published` than to the paper's other one
    (ties: the features).
    """
    attacked = rows.measured(frame, fraction=rows.FIGURE_FRACTION)
    own = [
        place
        for place in rows.places(attacked)
        if min(
            (razmi.HEAD, razmi.END_TO_END),
            key=lambda one: len(rows.differences(place.iloc[0], one)),
        )
        is published
    ]
    place = rows.nearest(rows.together(own), published) if own else attacked.iloc[:0]
    names = ("pate", "lpmst", "alibi")
    return place[
        place["defence.name"].isin(names)
        | place.index.isin(roles.finite(roles.private_sgd(place)).index)
    ]


# ---------------------------------------------------------------- R10, R11


def noiseless_pate(frames: Frames, claim: Claim) -> Measurement:
    """R10: thresholded PATE without noise against every setting of every method with a finite
    epsilon.
    """
    return judgement.measure(
        frames, claim, _noiseless, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION
    )


def _noiseless(attacked: "DataFrame", claim: Claim) -> Found | None:
    bagged = roles.noise_free(attacked)
    own = rows.one_setting(bagged[rows.optional(bagged, "defence.threshold").astype(float) > 0])
    return _against(attacked, claim, own, private(attacked))


def sgd_at_half(frames: Frames, claim: Claim) -> Measurement:
    """R11: DP-SGD at epsilon 0.5 against the other methods at that epsilon."""
    return judgement.measure(
        frames, claim, _at_half, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION
    )


def _at_half(attacked: "DataFrame", claim: Claim) -> Found | None:
    found = {
        name: roles.at_epsilon(group, NAMED_EPSILON) for name, group in private(attacked).items()
    }
    own = rows.one_setting(found.pop(DPSGD))
    result = _against(attacked, claim, own, found)
    if result is None:
        return None
    passed = judgement.control(attacked, claim.control)
    return Found(
        result.judge,
        result.frame,
        result.beside + _neighbours(private(attacked)[DPSGD], own, passed),
        result.note,
    )


def _against(attacked: "DataFrame", claim: Claim, own: "DataFrame", others: dict) -> Found | None:
    """Judge `own`, one setting, against the other methods.

    Those required must be there for the claim to hold.
    """
    if own.empty or not any(len(group) for group in others.values()):
        return None
    passed = judgement.control(attacked, claim.control)
    names = [name for name, group in others.items() if len(group) or name in REQUIRED]
    why = rows.other_features(own.iloc[0], claim.setup)

    def judge(part: Part, column: str) -> Verdict:
        if why:
            return not_testable(why)
        return worst({name: _contrast(part, own, others[name], column, passed) for name in names})

    score = worst({name: _score(own, others[name], passed) for name in names})
    used = rows.together([own, *others.values()])
    return Found(judge, used[~used.index.duplicated()], (("accuracy minus lift", score, None),))


def _contrast(
    part: Part, own: "DataFrame", other: "DataFrame", column: str, passed: bool | None
) -> Verdict:
    """One method against another: "undominated" asks for one of the two gains, "dominates" for
    both.
    """
    gained = gains(own, other, column)
    if gained is None:
        return NOT_MEASURED
    pairs = left_out(
        gained, {"undominated": nearest_to_dominating, "dominates": most_dominated}[part.name]
    )
    accuracy, removed = zip(*pairs) if pairs else ((), ())
    parts = {
        "accuracy": judgement.guarded(part, accuracy, passed=passed, column="accuracy"),
        column: judgement.guarded(part, removed, passed=passed, column=column),
    }
    return best(parts) if part.name == "undominated" else worst(parts)


def gains(own: "DataFrame", other: "DataFrame", column: str) -> "ndarray | None":
    """[instances, settings, 2]: accuracy that `own` has more, and `column` that it leaves less,
    than each setting of `other`.
    """
    import numpy as np

    if other.empty:
        return None
    tables = rows.by_setting(other, "accuracy", column)
    points = [rows.per_unit(own, name).dropna() for name in ("accuracy", column)]
    shared = (
        points[0]
        .index.intersection(points[1].index)
        .intersection(tables[0].index)
        .intersection(tables[1].index)
    )
    if not len(shared) or not tables[0].shape[1]:
        return None
    accuracy, left = (
        point.loc[shared].to_numpy()[:, None] - table.loc[shared].to_numpy()
        for point, table in zip(points, tables)
    )
    return np.stack([accuracy, -left], axis=-1)


def nearest_to_dominating(chosen: "ndarray", judged: "ndarray") -> tuple[float, float]:
    """Both gains over the setting that leaves the least room: the larger of its two gains is the
    smallest.
    """
    return tuple(judged[chosen.max(axis=1).argmin()])


def most_dominated(chosen: "ndarray", judged: "ndarray") -> tuple[float, float]:
    """Both gains over the setting that loses most clearly: the smaller of its two gains is the
    largest.
    """
    return tuple(judged[chosen.min(axis=1).argmax()])


def _score(own: "DataFrame", other: "DataFrame", passed: bool | None) -> Verdict:
    """The paper's own criterion, on lift: accuracy minus lift, less that of the other method's best
    setting.
    """
    gained = gains(own, other, "lift")
    if gained is None:
        return NOT_MEASURED
    return judgement.guarded(
        SCORE,
        left_out(gained.sum(axis=-1), lambda chosen, judged: judged[chosen.argmin()]),
        passed=passed,
    )


def _neighbours(sgd: "DataFrame", own: "DataFrame", passed: bool | None) -> tuple:
    """Beside R11, its other reading: that 0.5 is DP-SGD's best epsilon, against the next smaller
    and the next larger one.
    """
    line = own.iloc[0]
    at = {
        name: roles.at_epsilon(sgd, value)
        for name, value in (
            (
                "the next smaller epsilon",
                sgd["epsilon"][sgd["epsilon"] < line["epsilon"] * (1 - roles.NEAR)].max(),
            ),
            (
                "the next larger epsilon",
                sgd["epsilon"][sgd["epsilon"] > line["epsilon"] * (1 + roles.NEAR)].min(),
            ),
        )
    }
    found = {name: _score(own, rows.one_setting(group), passed) for name, group in at.items()}
    return (("accuracy minus lift, DP-SGD at its own other epsilons", worst(found), None),)
