"""Claims R2 and R6 to R15 as first frozen: what was amended, when, and what was known by then.

The thresholds of R6 to R15 were rewritten on 2026-11-21, in the commit that made their rows, when
some of these rows existed; the rank correlations of R2, R8 and R14 on 2026-11-27. The old parts
stay here as they were; `frozen` judges them.
"""

from lib.papers.razmi import dpsgd, frozen, perfect
from lib.verdicts.claim import Amendment, Measure, Part, above, below

ON = "2026-11-21 (666465d)"
PATE_ROWS = "66 of 82 PATE rows of notebook 12"
NONE_KNOWN = f"{PATE_ROWS}; none of this claim's own rows is known to have existed"
LIFT = "lift in place of attack success"
AGAIN = "2026-11-27"
SLOPES = (
    f"on {AGAIN}, with all rows known, rank correlations of a few levels, which may have no spread "
    "and so no interval, became changes per level"
)
ACCOUNTED = "composition of Gaussians, from the settings alone; no training is in it"


def _amended(
    change: str,
    measure: Measure,
    notebook: str,
    direction: tuple[Part, ...],
    size: tuple[Part, ...] = (),
    *,
    known: str = NONE_KNOWN,
) -> Amendment:
    return Amendment(ON, change, known, direction, size, measure, notebook)


R2 = Amendment(
    AGAIN,
    "changes per level and per step of noise in place of rank correlations, which three levels "
    "leave without a spread: no interval",
    "all rows of notebook 11",
    (
        below(
            "trend", "rank correlation with noise, worst optimizer", 0, kind="correlation"
        ),
    ),
    (
        below(
            "strong",
            "rank correlation with noise, worst optimizer",
            -0.8,
            basis="ours",
            why="our measure of 'falls with noise': a strong rank correlation",
            kind="correlation",
        ),
    ),
    dpsgd.rank_correlations,
)
R6 = _amended(
    LIFT,
    frozen.teachers,
    "12_pate",
    (below("both", "change from the fewest to the most teachers, accuracy and attack success", 0),),
    known=PATE_ROWS,
)
R7 = _amended(
    f"{LIFT}, half of it in place of half of the base class, at the threshold that keeps half of "
    "the queries in place of 180 votes",
    frozen.threshold,
    "12_pate",
    (below("direction", "attack success at T 180 minus T 0", 0),),
    (
        below(
            "success",
            "attack success at T 180 minus T 0",
            -0.50,
            basis="ours",
            why="'collapses': half of the base class",
        ),
        above(
            "accuracy",
            "accuracy at T 180 minus T 0",
            -0.05,
            basis="ours",
            why="'minimal impact': five points",
        ),
    ),
    known=f"{PATE_ROWS}, this claim's twelve among them",
)
R8 = _amended(
    f"{LIFT}; a second epsilon with selections was added; {SLOPES}",
    frozen.result_noise,
    "12_pate",
    (
        below("both", "rank correlation with the result noise", 0, kind="correlation"),
    ),
    (
        above(
            "epsilon",
            "epsilon at the largest noise, 10,000 queries",
            3,
            basis="ours",
            kind="number",
            why="'as large as 4', with room for the accountant",
            arithmetic=ACCOUNTED,
        ),
    ),
    known=PATE_ROWS,
)
R9 = _amended(
    f"{LIFT}, as a share of the undefended one; a distance of accuracy was added",
    frozen.two_stage,
    "13_privacy_budget",
    (below("direction", "attack success minus the undefended one", 0),),
    (
        below("success", "attack success at epsilon 1", 0.45, kind="share"),
        above("accuracy", "accuracy at epsilon 1", 0.75, kind="share"),
    ),
)
R10 = _amended(
    "Pareto dominance in place of accuracy minus attack success",
    frozen.noiseless_score,
    "13_privacy_budget",
    (above("contrast", "PATE's accuracy minus attack success, less the next method's", 0),),
)
R11 = _amended(
    "Pareto dominance in place of accuracy minus attack success",
    frozen.half_score,
    "13_privacy_budget",
    (above("contrast", "DP-SGD's accuracy minus attack success, less the next method's", 0),),
)
R12 = _amended(
    "a twentieth of the lift in place of an attack success of 1%",
    frozen.weak_attack,
    "14_attack_strength",
    (below("direction", "attack success minus the undefended one", 0),),
    (
        below(
            "success",
            "attack success at 10%, epsilon 1, worst of DP-SGD, ALIBI, LP-2ST",
            0.01,
            kind="share",
        ),
        above("accuracy", "accuracy minus the undefended one", -0.12),
    ),
)
R13 = _amended(
    "ALIBI may be one point less accurate than DP-SGD, in place of none",
    perfect.when_stopped,
    "15_perfect_defence",
    (
        above("alibi", "accuracy of ALIBI minus DP-SGD", 0),
        above("dpsgd", "accuracy of DP-SGD minus PATE", 0),
        above("pate", "accuracy of PATE minus LP-2ST", 0),
    ),
    (below("time", "time of label-DP over that of DP-SGD", 0.5, kind="number"),),
)
R14 = _amended(
    f"{LIFT}, both as shares; a part for curves with a knee was added; {SLOPES}",
    frozen.in_proportion,
    "16_label_dp",
    (below("direction", "rank correlation with the noise, both", 0, kind="correlation"),),
    (
        above(
            "least",
            "slope of attack success over that of accuracy",
            0.5,
            basis="ours",
            why="within a factor of two",
            kind="number",
        ),
        below(
            "most",
            "slope of attack success over that of accuracy",
            2,
            basis="ours",
            why="within a factor of two",
            kind="number",
        ),
    ),
)
R15 = _amended(
    "the positive control only: lift in place of attack success over 90%",
    frozen.early_losses,
    "17_training_dynamics",
    (
        below(
            "no noise",
            "poisoned minus clean loss, epochs 1 to 10, no noise, worst of three methods",
            0,
            kind="number",
        ),
        above("epsilon 1", "the same at epsilon 1", 0, kind="number"),
    ),
)
