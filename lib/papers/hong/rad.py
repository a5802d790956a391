"""RAD, the relative accuracy drop, in three readings, from the rows of `indiscriminate`.

"As released": the best epoch against the best epoch of the clean vanilla model, at least 0, as the
code released with the paper computes it (it also stops a training that reaches that accuracy). "As
stated": the last epoch against the last epoch of the clean vanilla model. "Against own twin": the
last epoch against the same defence on clean data, which separates what the poison does from what
the defence costs.
"""

from typing import TYPE_CHECKING

from lib.defences.quantile_clipping import QuantileClipping
from lib.papers.hong import indiscriminate
from lib.papers.hong.indiscriminate import FLIPS, LARGEST, SLAB, VANILLA
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

RELEASED, STATED, OWN = "RAD as released", "RAD as stated", "RAD against own twin"
READINGS = (RELEASED, STATED, OWN)
KIND, ARM, SHARE, DRAW, CLEAN = "attack", "arm", "share", "draw", "clean accuracy"
KINDS = {"label_flip": FLIPS, "slab": SLAB}
OTHERS = {"alibi": "ALIBI", "lpmst": "LP-2ST", "pate": "PATE", "partition": "DPA"}
TWIN = [KIND, SHARE, ARM, DRAW]  # equal in a run and in its control with true labels
QUANTILE = "quantile_clipping"
USUAL = {"attack.rho_squared": 0.8, "attack.clip_pixels": True}  # of the slab attack


def named(frame: "DataFrame") -> "DataFrame":
    """The measured rows of both attacks, with the attack's name, the arm, share and draw, and the
    best accuracy over whole epochs.

    Without those that keep their anatomy: they are trainings of other rows once more.
    """
    found = rows.measured(frame, world=None).drop_duplicates("key")
    found = found[found["attack.name"].isin(list(KINDS)) & ~found["anatomy"].astype(bool)]
    found = _best_of_whole_epochs(found)
    return found.assign(**{
        KIND: found["attack.name"].map(KINDS), ARM: arms(found), SHARE: found["attack.fraction"],
        DRAW: found["attack_seed"], "private": private_records(found)})


def _best_of_whole_epochs(frame: "DataFrame") -> "DataFrame":
    """With the best accuracy of whole epochs also for rows that are measured in between (the
    vanilla ones, so that they can be stopped): more points would give them a better best."""
    from lib import study

    early = frame["training.checkpoints"].fillna(0).gt(0)
    if not early.any():
        return frame
    points = study.curves(frame.loc[early, ["key", "weights", "accuracy"]])
    best = points[whole(points)].groupby("key")["accuracy"].max()
    return frame.assign(best_accuracy=frame["best_accuracy"].mask(early, frame["key"].map(best)))


def whole(points: "DataFrame") -> "Series":
    """Which points of paths lie at the end of an epoch."""
    epoch = points["epoch"].astype(float)
    return (epoch - epoch.round()).abs().lt(0.02) & epoch.gt(0.5)


def arms(frame: "DataFrame") -> "Series":
    """The arm of each row, by the names of `indiscriminate.name`, or the defence's."""
    return frame.apply(_arm, axis=1) if len(frame) else frame["key"].astype(str)


def _arm(row: "Series") -> str:
    if row["defence.name"] == QUANTILE:
        return indiscriminate.quantile_name(QuantileClipping(
            row["defence.noise_multiplier"], quantile=row["defence.quantile"]))
    if row["defence.name"] != "dpsgd":
        return OTHERS.get(str(row["defence.name"]), str(row["defence.name"]))
    if not row["defence.clip"]:
        return VANILLA
    if row.get("defence.epsilon") == row.get("defence.epsilon") and row.get("defence.epsilon"):
        return f"epsilon {row['defence.epsilon']:g}"
    norm = row["defence.max_grad_norm"]
    deviation = float(f"{row['defence.noise_multiplier'] * norm:.6g}")
    return f"C {norm:g}" + (f", noise {deviation:g}" if deviation else "")


def private_records(frame: "DataFrame") -> "Series":
    """How many records the victim trains on, the public ones left out; -1 for all of a set."""
    return (frame["train_size"].astype(float) - frame["public"]).fillna(-1)


def usual(frame: "DataFrame") -> "DataFrame":
    """Without the rows of the slab attack in other settings than Hong et al.'s."""
    kept = frame["key"].notna()
    for name, value in USUAL.items():
        held = rows.optional(frame, name)
        kept &= held.eq(value) | held.isna()
    return frame[kept]


def compared(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of `named`, with the readings of RAD and the arm's clean accuracy.

    A clean run serves all attacks and shares on its data; that of an arm without noise all draws.
    NaN without it.
    """
    known = named(frame)
    clean = known[known["world"].eq("C")]
    found = known[known["world"].eq("P")]
    vanilla = _means(clean[clean[ARM].eq(VANILLA)], ["dataset", "private"])
    own = _means(clean, ["dataset", "private", ARM, DRAW])
    shared = _means(clean, ["dataset", "private", ARM])
    base = _joined(found, vanilla, ["dataset", "private"])
    twins = _joined(found, own, ["dataset", "private", ARM, DRAW])["accuracy"].fillna(
        _joined(found, shared, ["dataset", "private", ARM])["accuracy"].where(
            ~_random(found), float("nan")))
    return found.assign(**{
        CLEAN: twins,
        RELEASED: (1 - found["best_accuracy"] / base["best_accuracy"]).clip(lower=0),
        STATED: 1 - found["accuracy"] / base["accuracy"], OWN: 1 - found["accuracy"] / twins})


def _random(frame: "DataFrame") -> "Series":
    """Whether an arm draws noise or labels of its own, so that its twin has to share the draw."""
    return frame["noise_multiplier"].gt(0) | frame["defence.name"].isin(["alibi", "lpmst", "pate"])


def _means(frame: "DataFrame", on: list[str]) -> "DataFrame":
    return frame.groupby(on)[["accuracy", "best_accuracy"]].mean().astype(float)


def _joined(frame: "DataFrame", means: "DataFrame", on: list[str]) -> "DataFrame":
    return frame[on].join(means, on=on)


def others(frame: "DataFrame") -> "DataFrame":
    """The defences made for other attacks: a line a defence, attack and share, with accuracies, RAD
    in points against the own twin and against the same records under their true labels, and what is
    guaranteed."""
    import pandas as pd

    found, lines = compared(frame), []
    truthful = named(frame)[lambda known: known["world"].eq("T")]
    found = found[found[ARM].isin(list(OTHERS.values()))]
    labels = 1 - found["accuracy"] / _joined(
        found, _means(truthful, TWIN), TWIN)["accuracy"]
    for (arm, kind, share), own in found.assign(labels=labels).groupby(
            [ARM, KIND, SHARE], sort=False):
        touched = rows.optional(own, "facts.touched").mean() if arm == "DPA" else float("nan")
        lines.append((arm, kind, share, own[DRAW].nunique(), own[CLEAN].mean(),
                      own["accuracy"].mean(), judgement.points(own[OWN].to_numpy(), sign=""),
                      judgement.points(own["labels"].to_numpy(), sign=""), _guaranteed(own),
                      touched))
    return pd.DataFrame(lines, columns=["defence", KIND, SHARE, "draws", CLEAN, "accuracy", OWN,
                                        "against true labels", "guarantee", "models reached"])


def _guaranteed(own: "DataFrame") -> str:
    """The guarantee of these rows in words."""
    epsilon = own["epsilon"].max()
    if epsilon == float("inf"):
        return "a vote of models, no epsilon"
    unit = "one label" if own["adjacency"].iloc[0] == "label" else "one private record"
    return f"epsilon {epsilon:.2g} for {unit}"


def at(found: "DataFrame", kind: str, share: float = LARGEST) -> "DataFrame":
    """The rows of one attack at one share. found: of `compared`."""
    return found[found[KIND].eq(kind) & (found[SHARE] - share).abs().lt(1e-9)]


def by_draw(found: "DataFrame", column: str) -> "DataFrame":
    """A line a draw, a column an arm: the values of one reading. found: of one attack and share."""
    return found.pivot_table(index=DRAW, columns=ARM, values=column, sort=False)
