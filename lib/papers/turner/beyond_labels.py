"""Clean-label attacks against every defence: a section of notebook 33 that no paper has.

No label is wrong, so a guarantee about labels says nothing here. Each defence stands beside plain
training of several lengths, in accuracy without poison as in what the trigger does (lift).

Two set-ups, each with an attacker who knows it. A small network trained from scratch, attacked by
PGD on a robust surrogate: mixing, and the detector. A head on frozen features, attacked by PGD
through the features on a head of the attacker's own, so that the features of a hardened image are
what is hard to learn: DP-SGD, PATE, ALIBI, LP-2ST, DPA.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib import privacy
from lib.attacks.clean_label import CleanLabel
from lib.attacks.hardening import Hardening
from lib.attacks.hardening.pgd import PGD
from lib.defences.dpsgd import DPSGD
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.metrics import twins
from lib.papers.borgnia import patching, table1
from lib.papers.borgnia.patching import CUTMIX, MIXUP, NONE, Arms
from lib.papers.borgnia.table1 import ARM, CLEAN, SHARE
from lib.papers.turner import dirty, hardenings, landscape, victims
from lib.study import recipes
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.training import Training
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

NETWORK, HEADS, PLACE = "small network", "heads on features", "set-up"
DETECTOR, TEACHERS, VOTE, PARTS = "detector", "PATE", "teachers without noise", "DPA"
ALIBI, TWO_STAGES = "ALIBI", "LP-2ST"
LABELLED = (ALIBI, TWO_STAGES)
NAMES = {"label_probability": DETECTOR, "alibi": ALIBI, "lpmst": TWO_STAGES, "partition": PARTS}
SHARES = (0.06, 0.25)  # of the target class
LEAST = 0.05  # lift without a defence, below which there is nothing to defend against
BOUND = 600  # l2, the larger one of those that the thesis uses in its text


# ---------------------------------------------------------------- arms

def of_network(victim: Run, epochs: Iterable[float] = (), *, trusted: int = 1024,
               inspected: int | None = None) -> Arms:
    """Mixing and the detector of 1,024 further images on a network from scratch, beside plain
    training of its full length and of these."""
    own = victims.trusting(victim, trusted)
    return patching.mixing(own, (CUTMIX, MIXUP)) | patching.shorter(own, epochs) | {
        DETECTOR: own.with_(defence=dirty.detector(own, inspected=inspected))}


def of_heads(base: Run, epochs: Iterable[float] = (), *, rates: Mapping[str, float],
             epsilon: float = 1.0, batch_size: int = 512, label_epsilon: float = 1.0,
             teachers: int = 50, queries: int | None = None, noise: float = 10.0, parts: int = 50
             ) -> Arms:
    """The defences with a promise on heads, beside plain training of its full length and of these.

    rates: learning rates by arm, of the teachers for `TEACHERS`. epsilon, batch_size: of DP-SGD.
    noise: standard deviation in votes of the answers of PATE; beside it stand the same votes
    without noise. Its queries are public images that the attacker does not reach.
    """
    steady = base.training
    vote = PATE(teachers, queries, pool="clean", teacher=Training(
        "sgd", rates[TEACHERS], epochs=steady.epochs, batch_size=32, sampling="shuffle"))
    private = PATE(teachers, queries, None, 0.0, noise, pool="clean", teacher=vote.teacher)
    found = {NONE: base} | patching.shorter(base, epochs)
    found["DP-SGD"] = base.with_(defence=DPSGD(None, epsilon=epsilon), training=replace(
        steady, lr=rates["DP-SGD"], sampling="poisson", batch_size=batch_size))
    found |= {TEACHERS: base.with_(defence=private), VOTE: base.with_(defence=vote)}
    for name in LABELLED:
        found[name] = base.with_(**recipes.arm(name, label_epsilon, lr=rates[name],
                                               epochs=steady.epochs))
    found[PARTS] = base.with_(defence=Partition(parts), training=replace(
        steady, lr=rates[PARTS], batch_size=32))
    return found


# ---------------------------------------------------------------- attacks and runs

def on_network(surrogate: PGD, *, bound: float = BOUND, steps: int = 100) -> PGD:
    """PGD on a robust surrogate, as in the thesis."""
    return hardenings.ascent("l2", bound, surrogate=surrogate, steps=steps)


def on_heads(base: Run, *, bound: float = BOUND, steps: int = 40) -> PGD:
    """PGD through the victim's features on a head that is trained as the victim's, by another seed,
    on the victim's records."""
    own = PGD(model=base.model, training=base.training, precision=base.precision)
    return hardenings.ascent("l2", bound, surrogate=own, steps=steps)


def attack(target: int, share: float, method: Hardening) -> CleanLabel:
    """Harden and stamp this share of the target class; the labels stay."""
    return CleanLabel(None, target, share, hardening=method, **victims.trigger())


def runs(arms: Arms, method: Hardening, *, targets: Iterable[int] = victims.TARGET_CLASSES,
         shares: Iterable[float] = SHARES, seeds: int | None = 3) -> list[Run]:
    """Every arm on each target class at each share of it: attacked (P) and clean (C)."""
    targets = list(targets)
    return [world for share in shares for arm in arms.values()
            for one in instances(arm.with_(attack=attack(targets[0], share, method)),
                                 [(None, target) for target in targets], seeds=seeds)
            for world in worlds(one, "PC")]


# ---------------------------------------------------------------- rows

def name(row: Mapping[str, Any]) -> str:
    """The arm of a row."""
    kind = str(row["defence.name"])
    if kind == "pate":
        return TEACHERS if row["defence.result_noise"] > 0 else VOTE
    if kind == "dpsgd" and row["defence.clip"]:
        return "DP-SGD"
    return NAMES.get(kind) or patching.name(row)


def prepared(frame: "DataFrame") -> "DataFrame":
    """The attacked rows with a *share* of the class poisoned, with arm, share, set-up, the columns
    of `rows.prepared`, and of the clean twin: `clean accuracy`, `blind` (its success)."""
    own = frame[frame["attack.name"].eq(landscape.ATTACK)] if len(frame) else frame
    own = own[rows.optional(own, "attack.fraction").notna() & ~own["losses"].astype(bool)]
    measured = rows.measured(own, world=None).reset_index(drop=True)
    found = rows.prepared(own)
    clean = twins.of(measured, found, "C", ("accuracy", "success"))
    return found.assign(**{
        ARM: [name(row) for _, row in found.iterrows()],
        SHARE: found["attack.fraction"].astype(float), CLEAN: clean["accuracy"],
        "blind": clean["success"],
        PLACE: [NETWORK if own == "none" else HEADS for own in found["features"]]})


def whole(found: "DataFrame") -> "DataFrame":
    """Of prepared rows of one set-up, all but the shorter plain trainings: the rows of an arm with
    the most epochs."""
    longest = found.groupby(ARM)["training.epochs"].transform("max")
    return found[found["training.epochs"].eq(longest)]


def as_accurate(found: "DataFrame") -> "DataFrame":
    """For `figures.contrasts`: each defence's lift minus that of plain training which is at least
    as accurate without poison, in both set-ups. See `table1.as_accurate`."""
    import pandas as pd

    parts = []
    for place, own in found.groupby(PLACE, sort=False):
        arms = [one for one in dict.fromkeys(own[ARM]) if one != NONE]
        apart = table1.as_accurate(own, own[own[ARM].eq(NONE)], arms,
                                   sorted(set(own[SHARE]), reverse=True), column="lift")
        parts.append(apart.assign(**{PLACE: place}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(
        columns=["than", ARM, SHARE, "pair", "difference", "instead", PLACE])


# ---------------------------------------------------------------- what is promised

def promises(found: "DataFrame") -> "DataFrame":
    """A line a set-up, arm and share: accuracy without poison, success and lift in per cent (means,
    95% t intervals over target classes), epsilon with its adjacency, the largest success that it
    allows, and the share of predictions that a certificate covers against this attack."""
    import pandas as pd

    lines = []
    for (place, share, arm), own in found.groupby([PLACE, SHARE, ARM], sort=False):
        own = whole(own)
        lines.append({
            PLACE: place, SHARE: f"{share:.0%}", ARM: arm, "targets": rows.unit(own).nunique(),
            **{f"{column}, %": judgement.level(own, column)
               for column in (CLEAN, "success", "lift")},
            "promise": promise(own)})
    return pd.DataFrame(lines, columns=None if lines else [PLACE, SHARE, ARM])


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

def there(found: "DataFrame", place: str) -> bool | None:
    """The positive control of a set-up: whether the attack moves the undefended model there at any
    share, its lift above `LEAST` at 95%. None where that is not measured."""
    own = whole(found[found[PLACE].eq(place)]) if len(found) else found
    own = own[own[ARM].eq(NONE)]
    shown = [judgement.shows(one, LEAST, column="lift") for _, one in own.groupby(SHARE)]
    return any(shown) if shown else None


def finding(found: "DataFrame", apart: "DataFrame") -> str:
    """In words, by set-up: what the attack does without a defence, and each defence against plain
    training as accurate. found: of `prepared`; apart: of `as_accurate`."""
    said = []
    for place, own in found.groupby(PLACE, sort=False):
        none = whole(own)
        none = none[none[ARM].eq(NONE)]
        lifts = [f"{share:.0%}: {judgement.level(some, 'lift')}%"
                 for share, some in none.groupby(SHARE, sort=False)]
        said.append(f"{place}: without a defence the lift is {', '.join(lifts)}.")
        if there(found, place):
            said.append(table1.as_accurate_finding(apart[apart[PLACE].eq(place)]))
        else:
            said.append("There is too little of it to tell a defence by.")
    return " ".join(filter(None, said))


def of_labels(found: "DataFrame", apart: "DataFrame") -> str:
    """In words: whether label-DP helps although no label is wrong; "" without an attack that it
    could help against. found: of `prepared`; apart: of `as_accurate`."""
    said = []
    for arm in LABELLED if there(found, HEADS) else ():
        own = apart[apart[ARM].eq(arm)].groupby("pair")["difference"].mean()
        if len(own) > 1:
            change = judgement.estimate(own.to_numpy(), bounds=rows.DIFFERENCE)
            word = ("leaves less lift than" if change.high < 0 else
                    "leaves more lift than" if change.low > 0 else
                    "is indistinguishable at 95% from")
            said.append(f"{arm} {word} plain training as accurate"
                        f" ({judgement.in_points(change)} points)")
    return f"{'; '.join(said)}." if said else ""
