"""Label-consistent attacks as the thesis runs them (chapter 3): the runs and rows of notebook 31.

The attacker hardens images of the target class, stamps them and keeps their labels. Arms are named
by how they harden: "l2 300" and "linf 8" are PGD within a bound for pixels from 0 to 255, "GAN 0.2"
is interpolation at this tau. The baseline (figure 3.2) only stamps: world T of the arm `CHOSEN`.

Poisons are shares of the target class, rounded down; rows count them. Clean twins (world C) train
without any poison, whatever the arm, so that one of each class and seed serves all arms.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lib.attacks.badnets import BadNets
from lib.attacks.clean_label import CleanLabel
from lib.attacks.hardening import Hardening
from lib.attacks.hardening.gan import GAN
from lib.attacks.hardening.pgd import PGD
from lib.metrics import twins
from lib.papers.turner import dirty, hardenings, victims
from lib.study.runs import Run
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip
from lib.verdicts import contrasts, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

ATTACK = "clean_label"
CHOSEN, LATENT = "l2 300", "GAN 0.2"  # the strengths that the thesis chose
BASELINE, MISLABELLED = "stamped only", "mislabelled"
PGD_ARMS = tuple(f"{norm} {bound}" for norm in hardenings.BOUNDS
                 for bound in hardenings.BOUNDS[norm])
GAN_ARMS = tuple(f"GAN {tau:g}" for tau in hardenings.TAUS)
ARMS = (*PGD_ARMS, *GAN_ARMS)
COMPARED = 0.06  # share of the target class at which arms are compared
WHOLE = 1.0
ARM, SHARE, POISONS, CLASS = "attack", "share of the class", "poisons", "target class"
SOURCES = {target: source for source, target in victims.RANKED}  # what a GAN interpolates towards


# ---------------------------------------------------------------- attackers

@dataclass(frozen=True)
class Attacker:
    """The networks that harden: arms set bound, tau and the other class."""

    surrogate: PGD
    gan: GAN


SMALL = Attacker(hardenings.SMALL, hardenings.GAN_SMALL)
DRAWN = Attacker(hardenings.DRAWN, hardenings.GAN_DRAWN)
# For a GPU; not tried yet. The GAN is the thesis's.
FULL = Attacker(replace(hardenings.SMALL, model="convnet-bn", training=replace(
    hardenings.SMALL.training, epochs=30.0, transforms=(Flip(), Crop(), Adversarial()))),
                GAN(data="both"))
SMOKE = Attacker(replace(hardenings.DRAWN, training=replace(hardenings.DRAWN.training, epochs=1.0)),
                 GAN(dim=4, iterations=2, steps=3, step=0.5))
ATTACKERS = {"small": SMALL, "drawn": DRAWN, "full": FULL, "smoke": SMOKE}


def attacker(name: str) -> Attacker:
    """The attacker of this name; ValueError for an unknown one."""
    if name not in ATTACKERS:
        raise ValueError(f"attacker {name!r}: expected one of {', '.join(ATTACKERS)}")
    return ATTACKERS[name]


def hardening(arm: str, target: int, networks: Attacker = SMALL) -> Hardening:
    """The method of an arm for a target class; ValueError for a name that is no arm's."""
    kind, _, text = arm.partition(" ")
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if kind not in (*hardenings.BOUNDS, "GAN") or math.isnan(strength):
        raise ValueError(f"attack {arm!r}: expected a method and its strength, such as "
                         f"{CHOSEN!r}, 'linf 8' or {LATENT!r}")
    if kind == "GAN":
        return hardenings.latent(strength, SOURCES[target], gan=networks.gan)
    return hardenings.ascent(kind, strength, surrogate=networks.surrogate)


# ---------------------------------------------------------------- runs

def poisoned(target: int, share: float, method: Hardening, **trigger: Any) -> CleanLabel:
    """Harden and stamp this share of the target class. trigger: by default the thesis's."""
    return CleanLabel(None, target, fraction=share, hardening=method,
                      **(trigger or victims.trigger()))


def seeded(victim: Run, attacks: Iterable[CleanLabel | BadNets], *, seeds: int | None = 3
           ) -> list[Run]:
    """One run for each attack, seeded as `study.instances` seeds its pairs."""
    def instance(number: int, attack: CleanLabel | BadNets) -> Run:
        seed = number if seeds is None else number % seeds
        return victim.with_(attack=attack, attack_seed=number, init_seed=seed, noise_seed=seed)
    return [instance(number, attack) for number, attack in enumerate(attacks)]


def attacked(victim: Run, arms: Iterable[str] = ARMS, *,
             targets: Iterable[int] = victims.TARGET_CLASSES,
             shares: Iterable[float] = victims.SHARES, seeds: int | None = 3,
             networks: Attacker = SMALL) -> list[Run]:
    """Each arm at each share of each target class, hardened and stamped (world P)."""
    targets, arms = list(targets), list(arms)
    return [run for share in shares for arm in arms
            for run in seeded(victim, [poisoned(one, share, hardening(arm, one, networks))
                                       for one in targets], seeds=seeds)]


def controls(victim: Run, *, targets: Iterable[int] = victims.TARGET_CLASSES,
             shares: Iterable[float] = victims.SHARES, seeds: int | None = 3,
             networks: Attacker = SMALL) -> list[Run]:
    """The other worlds of `CHOSEN`: stamped only (T, the baseline) and hardened only (H) at each
    share, and without poison (C) once a class."""
    targets, shares = list(targets), list(shares)
    own = attacked(victim, [CHOSEN], targets=targets, shares=shares, seeds=seeds, networks=networks)
    return [run.in_world(world) for number, run in enumerate(own)
            for world in ("THC" if number < len(targets) else "TH")]


def mislabelled(victim: Run, *, targets: Iterable[int] = victims.TARGET_CLASSES,
                shares: Iterable[float] = victims.SHARES, seeds: int | None = 3) -> list[Run]:
    """The mislabelled attack with as many poisons: runs of notebook 30."""
    counts = victims.counts(shares, victims.records(victim))
    return dirty.attacked(victim, counts, targets=targets, seeds=seeds, names="P")


def lengthy(victim: Run) -> Run:
    """The victim with the thesis's batch of 50, rate and 100 epochs, to check the short recipe.

    The rate falls after a half and three quarters of the steps, in the thesis after 40 and 60%.
    """
    return victim.with_(training=replace(
        victim.training, lr=0.1, momentum=0.9, nesterov=False, weight_decay=2e-4, epochs=100.0,
        batch_size=50, schedule="step", label_smoothing=0.0))


def checked(victim: Run, arms: Iterable[str], *, targets: Iterable[int], seeds: int | None = 3,
            networks: Attacker = SMALL) -> list[Run]:
    """These arms with the thesis's batch and epochs at 6% of the first target class, and the
    clean twins."""
    own = attacked(lengthy(victim), arms, targets=list(targets)[:1], shares=[COMPARED],
                   seeds=seeds, networks=networks)
    return [run.in_world(world) for run in own for world in "PC"]


def suspected(victim: Run, arms: Iterable[str], *,
              targets: Iterable[int] = victims.TARGET_CLASSES, share: float = COMPARED,
              seeds: int | None = 3, networks: Attacker = SMALL, images: int = 1024,
              inspected: int | None = None) -> list[Run]:
    """Figure A.1: attacks that the filter of figure 3.1 inspects, beside `images` public images.

    arms: also `BASELINE` and `MISLABELLED`.
    """
    targets, known = list(targets), victims.trusting(victim, images)
    found = [run for arm in arms for run in _arm(
        known, arm, targets=targets, share=share, seeds=seeds, networks=networks)]
    return [run.with_(defence=dirty.detector(run, inspected=inspected)) for run in found]


def _arm(victim: Run, arm: str, *, targets: list[int], share: float, seeds: int | None,
         networks: Attacker) -> list[Run]:
    if arm == MISLABELLED:
        return mislabelled(victim, targets=targets, shares=[share], seeds=seeds)
    own = attacked(victim, [CHOSEN if arm == BASELINE else arm], targets=targets, shares=[share],
                   seeds=seeds, networks=networks)
    return [run.in_world("T") for run in own] if arm == BASELINE else own


# ---------------------------------------------------------------- rows

def prepared(frame: "DataFrame") -> "DataFrame":
    """The rows of world P of both attacks and of world T, with `ARM`, `SHARE`, `POISONS`, `CLASS`.

    natural, lost_recall, cost: against the clean training with the same seeds and target: its share
    of other classes' images called target without a stamp; the recall of unstamped target images
    that the attack costs; the change of accuracy. effect: lift minus that of the hardened-only
    twin, or in world T of the clean training. NaN where these were not measured.
    """
    own = frame[frame["attack.name"].isin((ATTACK, dirty.ATTACK))] if len(frame) else frame
    measured = rows.measured(own, world=None).reset_index(drop=True).copy()  # in one block
    clean = _clean(measured)
    kept = measured["world"].eq("P") | (
        measured["world"].eq("T") & measured["attack.name"].eq(ATTACK))
    recall = rows.optional(measured, "target_recall").astype(float)
    found = measured.assign(
        natural=clean["floor"], cost=measured["accuracy"].astype(float) - clean["accuracy"],
        lost_recall=clean["target_recall"] - recall,
        **{rows.EXCESS: measured["success"].astype(float) - clean["floor"]})[kept]
    hardened = twins.of(measured, found, "H", ("lift",))["lift"]
    unstamped = hardened.where(found["world"].eq("P"), clean["lift"].loc[found.index])
    return _described(found.assign(effect=found["lift"].astype(float) - unstamped))


def _described(found: "DataFrame") -> "DataFrame":
    """With `ARM`, `SHARE`, `POISONS` and `CLASS`."""
    wrong = found["attack.name"].eq(dirty.ATTACK)
    asked = rows.optional(found, "attack.poisons").astype(float)
    share = rows.optional(found, "attack.fraction").astype(float)
    made = rows.optional(found, "facts.poisons").astype(float)
    lines = [row for _, row in found.iterrows()]
    return found.assign(**{
        SHARE: (asked * victims.CLASSES / dirty.records(found)).where(wrong, share),
        POISONS: asked.where(wrong, made), ARM: [arm(row) for row in lines],
        CLASS: [victims.class_name(row["dataset"], int(row["attack.target"])) for row in lines]})


def _clean(found: "DataFrame") -> "DataFrame":
    """Floor, lift, accuracy and target recall of the clean training (world C) with each row's data,
    network, training, target and seeds."""
    alike = [name for name in found.columns if name in (*rows.PLACE, *rows.SEEDS, "attack.target",
                                                        "precision", "test_size", "defence.name")
             or name.startswith("training.")]
    number = found.groupby(alike, dropna=False).ngroup()
    names = ["floor", "lift", "accuracy", "target_recall"]
    values = found.reindex(columns=names).astype(float)[found["world"].eq("C")]
    means = values.groupby(number[found["world"].eq("C")]).mean()
    return means.reindex(number).set_index(found.index)


def arm(row: "Series") -> str:
    """The arm of a row."""
    if row["attack.name"] == dirty.ATTACK:
        return MISLABELLED
    if row["world"] == "T":
        return BASELINE
    kind = row["attack.hardening.name"]
    if kind == "gan":
        return f"GAN {row['attack.hardening.tau']:g}"
    if kind == "pgd":
        return f"{row['attack.hardening.norm']} {255 * row['attack.hardening.eps']:g}"
    return str(kind)


def undefended(frame: "DataFrame") -> "DataFrame":
    """Of prepared rows, those without a defence and without images kept back, with the thesis's
    one-corner trigger at its full amplitude, stamped on stored images, and for each set-up the
    training that most rows have."""
    found = dirty.undefended(frame)
    return _most_trained(found[
        rows.optional(found, "attack.amplitude").eq(255)
        & rows.optional(found, "attack.position").eq("bottom-right")
        & rows.optional(found, "attack.jpeg").isna()
        & rows.optional(found, "attack.after_augmentation").eq(False)])


def _most_trained(found: "DataFrame") -> "DataFrame":
    """Without `checked` rows and other trainings of a few rows."""
    if found.empty:
        return found
    training = [name for name in found.columns if name.startswith("training.")]
    number = found.groupby([*rows.PLACE, *training], dropna=False).ngroup()
    place = found.groupby(list(rows.PLACE), dropna=False).ngroup()
    size = number.map(number.value_counts())
    return found[size.eq(size.groupby(place).transform("max"))]


def at(found: "DataFrame", share: float, arm: str | None = None) -> "DataFrame":
    """The prepared rows at a share of the class, to less than one poison, of one arm or of all."""
    size = dirty.records(found) / victims.CLASSES
    near = ((found[SHARE] - share).abs() * size).lt(1)
    return found[near] if arm is None else found[near & found[ARM].eq(arm)]


def values(found: "DataFrame", share: float, arm: str, column: str) -> "Series":
    """One value a target class. found: of `prepared`."""
    return rows.per_unit(at(found, share, arm), column)


def difference(found: "DataFrame", share: float, arm: str, than: str, column: str) -> "Series":
    """An arm's value minus that of another arm in the same target class."""
    both = contrasts.paired(at(found, share, arm), at(found, share, than), column)
    return both["own"] - both["other"]


def shares(found: "DataFrame") -> list[float]:
    """The shares of the label-consistent arms, ascending."""
    return sorted(set(found.loc[found[ARM].ne(MISLABELLED), SHARE]))
