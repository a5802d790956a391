"""Clean-label attacks against every defence: a section of notebook 33 that no paper has.

No label is wrong, so a guarantee about labels says nothing here. Each defence stands beside plain
training of several lengths, in accuracy without poison as in what the trigger does (lift).

All arms train one small network from scratch, without batch normalisation, which DP-SGD could not
bound. Frozen features are no place for this attack: on `patches:32` of 4,000 images a head gains 5
points of lift from 2.5% of *mislabelled* poisons, and under 1 point from a quarter of the target
class hardened through the features at l2 600.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib import privacy
from lib.attacks.hardening import Hardening
from lib.defences.alibi import ALIBI as RandomisedLabels
from lib.defences.dpsgd import DPSGD
from lib.defences.lpmst import LPMST
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.metrics import twins
from lib.papers.borgnia import patching, table1
from lib.papers.borgnia import victims as networks
from lib.papers.borgnia.patching import CUTMIX, MIXUP, NONE, Arms
from lib.papers.borgnia.table1 import ARM, CLEAN, SHARE
from lib.papers.turner import dirty, landscape, victims
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

DP_SGD, DETECTOR, TEACHERS, VOTE = "DP-SGD", "detector", "PATE", "teachers without noise"
ALIBI, TWO_STAGES, PARTS = "ALIBI", "LP-2ST", "DPA"
LABELLED = (ALIBI, TWO_STAGES)
NAMES = {"label_probability": DETECTOR, "alibi": ALIBI, "lpmst": TWO_STAGES, "partition": PARTS}
SHARES = (0.25,)  # of the target class, of those that the thesis has
LEAST = 0.05  # lift without a defence, below which there is nothing to defend against


# ---------------------------------------------------------------- arms

def small() -> Run:
    """The small network with group normalisation, without augmentation and smoothed labels, whose
    likelihoods ALIBI could not use."""
    return networks.small().with_(training__transforms=(), training__label_smoothing=0.0)


def defended(victim: Run, epochs: Iterable[float] = (), *, trusted: int = 2000,
             inspected: int | None = None, epsilon: float = 2.0, batch_size: int = 512,
             lr: float | None = None, label_epsilon: float = 1.0, teachers: int = 50,
             noise: float = 10.0, parts: int = 50) -> Arms:
    """Every defence, beside plain training of the victim's length and of `epochs`.

    trusted: further images that the attacker does not reach: the detector learns from them, and
    PATE asks about them. epsilon, batch_size, lr: of DP-SGD (lr: None for the victim's). noise:
    standard deviation in votes of PATE's answers; beside it stand the same votes without noise.
    """
    own = victims.trusting(victim, trusted)
    steady = own.training
    few = replace(steady, batch_size=min(32, steady.batch_size))
    vote = PATE(teachers, pool="clean", teacher=few)
    private = replace(steady, sampling="poisson", batch_size=batch_size,
                      lr=steady.lr if lr is None else lr)
    return {
        **patching.mixing(own, (CUTMIX, MIXUP)), **patching.shorter(own, epochs),
        DETECTOR: own.with_(defence=dirty.detector(own, inspected=inspected)),
        DP_SGD: own.with_(defence=DPSGD(None, epsilon=epsilon), training=private),
        TEACHERS: own.with_(defence=replace(vote, result_noise=noise)),
        VOTE: own.with_(defence=vote),
        ALIBI: own.with_(defence=RandomisedLabels(label_epsilon)),
        TWO_STAGES: own.with_(defence=LPMST(label_epsilon)),
        PARTS: own.with_(defence=Partition(parts), training=few)}


# ---------------------------------------------------------------- attacks and runs

def runs(arms: Arms, method: Hardening, *, targets: Iterable[int] = victims.TARGET_CLASSES,
         shares: Iterable[float] = SHARES, seeds: int | None = 3) -> list[Run]:
    """Every arm on each target class at each share of it: attacked (P) and clean (C).

    A share, for PATE sees the public records under the same attack, of which there are fewer.
    """
    targets = list(targets)
    return [world for share in shares for arm in arms.values()
            for one in instances(arm.with_(attack=landscape.consistent(targets[0], share, method)),
                                 [(None, target) for target in targets], seeds=seeds)
            for world in worlds(one, "PC")]


# ---------------------------------------------------------------- rows

def name(row: Mapping[str, Any]) -> str:
    """The arm of a row."""
    kind = str(row["defence.name"])
    if kind == "pate":
        return TEACHERS if row["defence.result_noise"] > 0 else VOTE
    if kind == "dpsgd" and row["defence.clip"]:
        return DP_SGD
    return NAMES.get(kind) or patching.name(row)


def prepared(frame: "DataFrame") -> "DataFrame":
    """The attacked rows beside public images, which all arms here have: arm, share, the columns of
    `rows.prepared`, and of the clean twin `clean accuracy` and `blind` (its success)."""
    own = frame[frame["attack.name"].eq(landscape.ATTACK)] if len(frame) else frame
    kept = rows.optional(own, "attack.fraction").notna() & ~own["losses"].astype(bool)
    own = own[kept & own["public"].gt(0)] if len(own) else own
    measured = rows.measured(own, world=None).reset_index(drop=True)
    found = rows.prepared(own)
    clean = twins.of(measured, found, "C", ("accuracy", "success"))
    return found.assign(**{
        ARM: [name(row) for _, row in found.iterrows()],
        SHARE: found["attack.fraction"].astype(float), CLEAN: clean["accuracy"],
        "blind": clean["success"]})


def whole(found: "DataFrame") -> "DataFrame":
    """Of prepared rows, all but the shorter plain trainings: the rows of an arm with the most
    epochs."""
    longest = found.groupby(ARM)["training.epochs"].transform("max")
    return found[found["training.epochs"].eq(longest)]


def as_accurate(found: "DataFrame") -> "DataFrame":
    """For `figures.contrasts`: each defence's lift minus that of plain training which is at least
    as accurate without poison. See `table1.as_accurate`."""
    arms = [one for one in dict.fromkeys(found[ARM]) if one != NONE]
    return table1.as_accurate(found, found[found[ARM].eq(NONE)], arms,
                              sorted(set(found[SHARE])), column="lift")


# ---------------------------------------------------------------- what is promised

def promises(found: "DataFrame") -> "DataFrame":
    """A line an arm and share: accuracy without poison, success and lift in per cent (means,
    95% t intervals over target classes), epsilon with its adjacency, the largest success that it
    allows, and the share of predictions that a certificate covers against this attack."""
    import pandas as pd

    lines = []
    for (share, arm), own in whole(found).groupby([SHARE, ARM], sort=False):
        lines.append({
            SHARE: f"{share:.0%}", ARM: arm, "targets": rows.unit(own).nunique(),
            **{f"{column}, %": judgement.level(own, column)
               for column in (CLEAN, "success", "lift")},
            "promise": promise(own)})
    return pd.DataFrame(lines, columns=None if lines else [SHARE, ARM])


def promise(own: "DataFrame") -> str:
    """In words: what the defence of these rows, of one arm and share, guarantees here."""
    line = own.iloc[0]
    if line["defence.name"] == "partition":
        covered = own["facts.certified_attack"].astype(float).mean()
        return f"certified against this attack: {covered:.0%} of predictions"
    epsilon = own["epsilon"].astype(float).max()
    if not math.isfinite(epsilon):
        return "no guarantee"
    if line["adjacency"] == "label":
        return f"ε {epsilon:.3g} of one label; no label is wrong"
    return f"ε {epsilon:.3g} ({line['adjacency']}); allows a success of {cap(own):.0%}"


def cap(own: "DataFrame") -> float:
    """The largest attack success that the guarantee of these rows allows.

    A record changed in place is two steps under add-remove and one under replace-one. From the
    upper end of the clean twins' success; 1 where that has no interval. ValueError for another
    adjacency, about which nothing is known.
    """
    line = own.iloc[0]
    if line["adjacency"] not in ("add-remove", "replace-one"):
        raise ValueError(f"adjacency {line['adjacency']!r}: expected add-remove or replace-one")
    high = judgement.estimate(rows.per_unit(own, "blind").to_numpy(), bounds=(0.0, 1.0)).high
    if math.isnan(high):
        return 1.0
    changed = int(own["facts.poisons"].astype(float).max())
    return privacy.attack_success_cap(
        float(high), float(own["epsilon"].astype(float).max()),
        float(own["delta"].astype(float).max()),
        changed * (2 if line["adjacency"] == "add-remove" else 1))


# ---------------------------------------------------------------- findings

def there(found: "DataFrame") -> bool | None:
    """The positive control: whether the attack moves the undefended model at any share, its lift
    above `LEAST` at 95%. None where that is not measured."""
    shown = [judgement.shows(one, LEAST, column="lift")
             for _, one in _undefended(found).groupby(SHARE)]
    return any(shown) if shown else None


def _undefended(found: "DataFrame") -> "DataFrame":
    own = whole(found)
    return own[own[ARM].eq(NONE)]


def finding(found: "DataFrame", apart: "DataFrame") -> str:
    """In words: what the attack does without a defence, and each defence against plain training as
    accurate. found: of `prepared`; apart: of `as_accurate`."""
    lifts = [f"{share:.0%}: {judgement.level(some, 'lift')}%"
             for share, some in _undefended(found).groupby(SHARE, sort=False)]
    if not lifts:
        return ""
    said = table1.as_accurate_finding(apart) if there(found) else (
        "There is too little of it to tell a defence by.")
    return f"Without a defence the lift is {', '.join(lifts)}. {said}"


def of_labels(found: "DataFrame", apart: "DataFrame") -> str:
    """In words: whether label-DP helps although no label is wrong; "" without an attack that it
    could help against. found: of `prepared`; apart: of `as_accurate`."""
    said = []
    for arm in LABELLED if there(found) else ():
        own = apart[apart[ARM].eq(arm)].groupby("pair")["difference"].mean()
        if len(own) > 1:
            change = judgement.estimate(own.to_numpy(), bounds=rows.DIFFERENCE)
            word = ("leaves less lift than" if change.high < 0 else
                    "leaves more lift than" if change.low > 0 else
                    "is indistinguishable at 95% from")
            said.append(f"{arm} {word} plain training as accurate"
                        f" ({judgement.in_points(change)} points)")
    return f"{'; '.join(said)}." if said else ""
