"""Why LP-2ST's attack success is what it is: its prior beside other priors, and beside none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib import study
from lib.papers.razmi import labelled, roles
from lib.papers.razmi.label_dp import NAMED_EPSILON, SPLIT, TEMPERATURE
from lib.papers.razmi.label_methods import Methods
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.verdicts import rows

if TYPE_CHECKING:
    from pandas import DataFrame

CONTROL, METHOD, MEASURE = "control", "method", "measure"
OWN, NONE = "LP-2ST", "randomised response"
PUBLISHED = {TEMPERATURE: 0.1, SPLIT: (0.4, 0.6)}  # the paper's table 6
MEASURES = {"success": "stamped images called target (attack success)",
            "floor": "the same images without the trigger called target",
            "lift": "what the trigger adds (lift)"}
PAIRED = {"accuracy": "accuracy", "success": "attack success", "floor": "target without trigger",
          "lift": "lift"}
COLUMNS = {
    "facts.k1_records": "records with k = 1", "facts.k1_poisons": "poisons with k = 1",
    "facts.kept_labels_poisons": "poisons trained as target",
    "facts.restored_labels_poisons": "poisons trained as base",
    "facts.label_accuracy": "labels right", "accuracy": "accuracy",
    "floor": "target without trigger", "success": "attack success", "lift": "lift"}


def controls(methods: Methods, epsilon: float) -> dict[str, Run]:
    """LP-2ST and what it is held against, by name, without their attack instances."""
    lp2st = methods.lp2st
    return {
        OWN: lp2st(epsilon), "as released": lp2st(epsilon, as_released=True),
        "k = 1 throughout": lp2st(epsilon, top=1),
        "prior knows the truth": lp2st(epsilon, prior="truth"),
        "warm start off": lp2st(epsilon, warm_start=False),
        "stage 1 alone (100/0)": lp2st(epsilon, split=(1.0,)),
        NONE: methods.randomised_response(epsilon), "ALIBI": methods.alibi(epsilon)}


def table(compared: "DataFrame") -> "DataFrame":
    """One line a control: its labels, its accuracy, its attack success and lift with intervals."""
    return study.means(compared, by=CONTROL, columns=COLUMNS)


def differences(own: "DataFrame", other: "DataFrame") -> "DataFrame":
    """Attack success and its two parts, own minus other: a line an attack instance and measure."""
    import pandas as pd

    return pd.concat([
        (rows.per_unit(own, name) - rows.per_unit(other, name)).rename("difference").rename_axis(
            "pair").reset_index().assign(**{MEASURE: text}) for name, text in MEASURES.items()],
        ignore_index=True)


def by_control(compared: "DataFrame", plain: "DataFrame") -> "DataFrame":
    """One line a control: LP-2ST minus it, and it minus plain SGD as accurate; in points, mean and
    95% interval. plain: undefended rows with a recorded path."""
    import pandas as pd

    of = dict(list(compared.groupby(CONTROL, sort=False)))
    apart = labelled.in_points(labelled.against_plain(compared, plain, column=CONTROL),
                               column=CONTROL)
    return pd.DataFrame([{"control": name} | {
        f"LP-2ST minus it: {text}": labelled.minus(of[OWN], other, metric) if name != OWN else "–"
        for metric, text in PAIRED.items()}
        | {"it minus plain SGD as accurate: lift": apart[name]} for name, other in of.items()])


# ---------------------------------------------------------------- training worlds


def in_worlds(start: Run, pairs: Sequence[Sequence[int]], *, true_labels: int) -> list[Run]:
    """Every pair attacked (P), only relabelled (L) and clean (C); the first `true_labels` of them
    stamped under their true labels too (T)."""
    return [world for one in instances(start, pairs) for world in worlds(
        one, "PLTC" if one.attack_seed < true_labels else "PLC")]


def by_world(frame: "DataFrame", *, pairs: int) -> "DataFrame":
    """Means of the first pairs by method and training world, and the paired difference of attack
    success from world T in points."""
    import pandas as pd

    first = frame[frame["attack_seed"] < pairs]
    truth = {name: group[group["world"].eq("T")] for name, group in first.groupby(METHOD)}
    return pd.DataFrame([{
        METHOD: name, "world": world, "accuracy": group["accuracy"].mean(),
        "target without trigger": group["floor"].mean(),
        "target with trigger": group["success"].mean(),
        "minus world T [points]": "–" if world == "T" else labelled.minus(
            group, truth[name], "success")}
        for (name, world), group in first.groupby([METHOD, "world"], sort=False)])


def at_equal_accuracy(tenth: "DataFrame", compared: "DataFrame", plain: "DataFrame"
                      ) -> "DataFrame":
    """Lift minus that of plain SGD when it first was as accurate: a line a pair and method.

    tenth: attacked rows by method, the undefended ones among them; compared: of `controls`, beside
    plain. `setting`: the method, the poisoned share, its mean accuracy.
    """
    import pandas as pd

    defended = tenth[METHOD].ne("undefended")
    without = compared[compared[CONTROL].isin((OWN, "ALIBI", NONE))]
    groups = ((tenth[defended], tenth[~defended], METHOD), (without, plain, CONTROL))
    return pd.concat([labelled.against_plain(
        own, other, column=column, also=f"{own['attack.fraction'].iloc[0]:.0%} poisoned, ")
        for own, other, column in groups], ignore_index=True)


def matched_finding(apart: "DataFrame") -> str:
    """In words: each setting's lift minus that of plain SGD as accurate. apart: of
    `labelled.against_plain`."""
    known = apart.dropna(subset=["difference"]).groupby("setting", sort=False).filter(
        lambda group: len(group) > 1)
    words = [f"{name.replace(chr(10), ', ')}: {value}"
             for name, value in labelled.in_points(known, column="setting").items()]
    return f"Points of lift above plain SGD as accurate: {'; '.join(words)}." if words else ""


def parts_finding(attacked: "DataFrame") -> str:
    """In words: attack success and lift of each method, means over its pairs."""
    means = attacked.groupby(METHOD, sort=False)[["success", "lift"]].mean().dropna()
    words = [f"{name} {100 * line['success']:.0f}% and {100 * line['lift']:.0f} points"
             for name, line in means.iterrows()]
    return f"Attack success and the lift in it: {', '.join(words)}." if words else ""


# ---------------------------------------------------------------- the same from published rows


def published(frame: "DataFrame") -> "tuple[DataFrame, DataFrame]":
    """(LP-2ST as the paper sets it, plain randomised response), both at the named epsilon and at
    the published share of poisoned images."""
    attacked = rows.measured(frame, fraction=rows.FIGURE_FRACTION)
    own = roles.at_epsilon(roles.two_stage(attacked), NAMED_EPSILON)
    own = own[own["defence.warm_start"].eq(True) & own[TEMPERATURE].eq(PUBLISHED[TEMPERATURE])
              & own[SPLIT].map(lambda split: tuple(split) == PUBLISHED[SPLIT])]
    other = roles.at_epsilon(attacked[attacked["defence.name"].eq("label_noise")], NAMED_EPSILON)
    return own, other
