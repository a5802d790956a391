"""Measuring R6 to R8: PATE against the backdoor (Razmi et al., figure 2; rows of `12_pate`).

Judged on lift; beside it on attack success as published, on the backdoor effect and on the trigger
AUC, and again where a tenth of the base class is poisoned. A student is held against the student at
the other end of the sweep, so the control asks for the backdoor there as well: what bagging alone
has removed, neither a threshold nor noise can remove.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lib.papers import razmi
from lib.papers.razmi import roles
from lib.papers.razmi.dpsgd import FEWEST, left_out
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict, not_testable

if TYPE_CHECKING:
    from pandas import DataFrame, Series

TEACHERS, QUERIES, THRESHOLD = "defence.teachers", "defence.queries", "defence.threshold"
SELECTION, RESULT = "defence.selection_noise", "defence.result_noise"
# share of the queries that the judged threshold keeps, and how far off it may be
KEPT, KEPT_RANGE = 0.5, (0.25, 0.75)
VOTES, VOTES_OFF = 0.9, 0.05  # the paper's threshold on CIFAR-10: 180 of 200 votes
# where the paper gives epsilon 4; the noise within a tenth
PUBLISHED_QUERIES, PUBLISHED_NOISE, NOISE_OFF = 10000, 175, 1.1
CLASSES = 10


# ---------------------------------------------------------------- rows of figure 2


def teacher_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 2a."""
    return _figure(frame, TEACHERS)


def query_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 2b."""
    return _figure(frame, QUERIES)


def threshold_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 2c."""
    return _figure(frame, THRESHOLD)


def selection_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 2d."""
    return _figure(frame, SELECTION)


def result_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 2e."""
    return _figure(frame, RESULT)


def _figure(frame: "DataFrame", axis: str) -> "DataFrame":
    attacked = rows.nearest(rows.measured(frame, fraction=rows.FIGURE_FRACTION), razmi.PATE)
    swept = sweep(attacked, axis) if len(attacked) else None
    return attacked.iloc[:0] if swept is None else swept


def sweep(attacked: "DataFrame", axis: str, *, fewest: int = 2) -> "DataFrame | None":
    """The students' longest sweep over `axis`; None with fewer than `fewest` values.

    Noise-free for the threshold alone.
    """
    found = roles.noise_free(attacked) if axis == THRESHOLD else roles.students(attacked)
    if found.empty:
        return None
    if axis == QUERIES:  # not given: the whole public pool
        found = found.assign(
            **{axis: found[axis].astype(float).fillna(rows.optional(found, "facts.queries"))}
        )
    elif axis != TEACHERS:  # no selection step keeps all that a threshold of 0 keeps
        found = found.assign(**{axis: found[axis].astype(float).fillna(0)})
    found = rows.sweep(found, axis)
    return found if found[axis].nunique() >= fewest else None


def _ends(swept: "DataFrame", axis: str, column: str):
    """`own` at the largest value of the axis and `other` at the smallest, an instance a line."""
    table = rows.curve(swept, axis, column)
    return (
        table.set_axis(["other", *range(1, table.shape[1] - 1), "own"], axis=1)
        if table.shape[1] > 1
        else None
    )


# ---------------------------------------------------------------- R6


def more_teachers(frames: Frames, claim: Claim) -> Measurement:
    """R6: accuracy and lift with the most teachers minus those with the fewest, one value an
    instance.

    Beside it what bagging itself does: the student of all teachers minus that of the first of them
    alone.
    """
    shares, frame = (
        (rows.FIGURE_FRACTION, rows.HEADLINE_FRACTION),
        rows.prepared(frames[claim.notebook]),
    )
    found = judgement.measure(frames, claim, _teachers, fraction=shares[0], also=shares[1])
    lines = [
        line
        for share in shares
        for line in _bagging(rows.attacked(frame, claim, share), claim, share)
    ]
    return replace(found, beside=(*found.beside, *lines))


def _teachers(attacked: "DataFrame", claim: Claim) -> Found | None:
    swept = sweep(attacked, TEACHERS)
    if swept is None:
        return None
    passed = _passed(attacked, swept[swept[TEACHERS] == swept[TEACHERS].min()], claim)

    def judge(part: Part, column: str) -> Verdict:
        metric = contrasts.metric(part, column)
        return _compared(part, _ends(swept, TEACHERS, metric), metric, passed)

    return Found(judge, swept)


def _compared(
    part: Part, both: "DataFrame | None", metric: str, passed: bool | None
) -> Verdict:
    """The verdict on `own` beside `other`, an instance a line; None: not measured."""
    if both is None:
        return NOT_MEASURED
    return judgement.guarded(part, contrasts.compare(part, both), passed=passed, column=metric)


def _passed(attacked: "DataFrame", start, claim: Claim) -> bool | None:
    """The control: the undefended lift, and that of the students at the start of the sweep."""
    return judgement.every(
        judgement.control(attacked, claim.control), judgement.shows(start, claim.control)
    )


def _bagging(attacked: "DataFrame", claim: Claim, share: float) -> tuple:
    """Lift of the student of all teachers minus that of the first alone, on the same parts of the
    data.
    """
    found = roles.students(attacked, every_teacher=False)
    voters = (
        rows.optional(found, "defence.voters")
        .astype(float)
        .fillna(rows.optional(found, TEACHERS).astype(float))
    )
    swept = rows.sweep(found.assign(voters=voters), "voters", but=("defence.voters",))
    if swept["voters"].nunique() < 2 or swept["voters"].min() != 1:
        return ()
    passed = _passed(attacked, swept[swept["voters"] == 1], claim)
    found = _compared(claim.part("lift"), _ends(swept, "voters", "lift"), "lift", passed)
    name = f"lift, all teachers against the first alone, {share:.0%} of the base class"
    return ((name, found, None),)


# ---------------------------------------------------------------- R7


def threshold_alone(frames: Frames, claim: Claim) -> Measurement:
    """R7: students at the threshold that keeps the share of queries nearest to one half, against
    those at threshold 0.

    Beside it at 90% of the votes (the paper's 180 of 200), and at the threshold that leaves the
    least of the metric for at most the claimed loss of accuracy, chosen on the other instances.
    """
    return judgement.measure(
        frames, claim, _threshold, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION
    )


def _threshold(attacked: "DataFrame", claim: Claim) -> Found | None:
    swept = sweep(attacked, THRESHOLD)
    if swept is None:
        return None
    kept = (swept["facts.answered"] / swept["facts.queries"]).groupby(swept[THRESHOLD]).mean()
    if kept.iloc[0] < 0.999:  # ascending: nothing stands for "without a threshold"
        return None
    start = swept[swept[THRESHOLD] == kept.index[0]]
    passed = _passed(attacked, start, claim)
    place = _nearest(kept.iloc[1:], KEPT, within=KEPT_RANGE)
    by_votes = kept.index[1:].to_series() / float(swept[TEACHERS].iloc[0])
    votes = _nearest(by_votes, VOTES, within=(VOTES - VOTES_OFF, VOTES + VOTES_OFF))

    def at(threshold):
        def judge(part: Part, column: str) -> Verdict:
            metric = contrasts.metric(part, column)
            both = None if threshold is None else _against_none(swept, threshold, metric)
            return _compared(part, both, metric, passed)

        return judge

    beside = judgement.line_beside(
        claim, at(votes), f"lift, {VOTES:.0%} of the votes"
    ) + judgement.line_beside(
        claim, _chosen(swept, claim, passed), "lift, threshold chosen on the other instances"
    )
    return Found(at(place), swept, beside, _kept_words(kept, place, votes))


def _nearest(values: "Series", aim: float, *, within: tuple[float, float]) -> float | None:
    """The index of the value nearest to `aim`; None if none lies within the limits."""
    values = values[(values >= within[0]) & (values <= within[1])]
    return None if values.empty else (values - aim).abs().idxmin()


def _against_none(swept: "DataFrame", threshold: float, column: str):
    """`own` at this threshold and `other` at the smallest, an instance a line."""
    import pandas as pd

    table = rows.curve(swept, THRESHOLD, column)
    return (
        pd.DataFrame({"own": table[threshold], "other": table[table.columns[0]]})
        if threshold in table
        else None
    )


def _chosen(swept: "DataFrame", claim: Claim, passed: bool | None):
    """A judge at the threshold chosen on the other instances: least of the metric at the claimed
    cost in accuracy.
    """
    import numpy as np
    import pandas as pd

    cost = claim.part("accuracy").threshold

    def judge(part: Part, column: str) -> Verdict:
        tables = [rows.curve(swept, THRESHOLD, name) for name in ("accuracy", column)]
        if len({table.shape for table in tables}) > 1:
            return NOT_MEASURED
        which = 0 if contrasts.metric(part, column) == "accuracy" else 1

        def read(chosen, judged):
            allowed = chosen[:, 0] - chosen[0, 0] >= cost
            place = np.where(allowed, chosen[:, 1], math.inf).argmin()
            return judged[place, which], judged[0, which]

        both = pd.DataFrame(left_out(np.stack(tables, axis=-1), read), columns=["own", "other"])
        return _compared(part, both, contrasts.metric(part, column), passed)

    return judge


def _kept_words(kept, place: "DataFrame", votes) -> str:
    words = [] if place is None else [f"threshold {place:g} keeps {kept[place]:.0%} of the queries"]
    words += [] if votes is None else [f"{votes:g} votes keep {kept[votes]:.0%}"]
    return (
        "; ".join(words) or "no threshold keeps between a quarter and three quarters of the queries"
    )


# ---------------------------------------------------------------- R8


def result_noise(frames: Frames, claim: Claim) -> Measurement:
    """R8: change of accuracy and lift per level of the result noise.

    Epsilon of 10,000 answers by arithmetic.
    """
    return judgement.measure(
        frames, claim, _result, fraction=rows.FIGURE_FRACTION, also=rows.HEADLINE_FRACTION
    )


def _result(attacked: "DataFrame", claim: Claim) -> Found | None:
    swept = sweep(attacked, RESULT, fewest=FEWEST)
    if swept is None:
        return None
    passed = _passed(attacked, swept[swept[RESULT] == swept[RESULT].min()], claim)

    def judge(part: Part, column: str) -> Verdict:
        if part.name.startswith("epsilon"):
            return epsilon_at_named_noise(part, swept)
        metric = contrasts.metric(part, column)
        values = contrasts.slope(rows.curve(swept, RESULT, metric))
        return judgement.guarded(part, values, passed=passed, column=metric)

    return Found(judge, swept)


def epsilon_at_named_noise(part: Part, swept: "DataFrame") -> Verdict:
    """The cost of all queries at the noise that the paper names: of their answers, or of noisy
    selections of equal noise too.

    Arithmetic, the same for every instance: no interval, no p-value.
    """
    noise = min(
        swept[RESULT][swept[RESULT] > 0], key=lambda value: abs(math.log(value / PUBLISHED_NOISE))
    )
    queries = swept["facts.queries"].max()
    if abs(math.log(noise / PUBLISHED_NOISE)) > math.log(NOISE_OFF) or queries != PUBLISHED_QUERIES:
        return not_testable(f"{part.statistic}: {queries:g} queries, noise {noise:g}")
    value = answers_epsilon(
        int(queries),
        noise,
        float(swept["defence.delta"].iloc[0]),
        selection=part.name == "epsilon-selection",
    )
    return judgement.exact(part, value, n=1)


def answers_epsilon(queries: int, noise: float, delta: float, *, selection: bool) -> float:
    """Data-independent epsilon (replace-one) of `queries` answers with this result noise.

    With as noisy selections on request.
    """
    import numpy as np

    from lib import privacy

    nobody = np.zeros((queries, CLASSES))  # data-independent: the votes do not matter
    return privacy.pate_epsilon(
        nobody,
        threshold=0.0 if selection else None,
        selection_noise=noise,
        result_noise=noise,
        delta=delta,
    )
