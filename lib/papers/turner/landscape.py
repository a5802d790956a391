"""What makes hardened poisons work (chapter 4): the runs and rows of notebook 33.

Each method of hardening stands beside the same images stamped only (world T of the first method),
which is the baseline of the thesis: it depends on no method, and is trained once. Poisons
are a share of one class. A method is told by its row's settings, not by a label.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib.attacks.clean_label import CleanLabel
from lib.attacks.hardening import Hardening
from lib.attacks.hardening.gan import GAN
from lib.attacks.hardening.pgd import PGD, WEAK
from lib.papers.turner import dirty, hardenings, victims
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.verdicts import contrasts, judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

ATTACK = "clean_label"
SHOWN = 0.06  # of the target class, at which methods are compared
BOUND, TAU = 300, 0.2  # of T13
BASELINE, ROBUST, STANDARD, BLACK = "no hardening", "adversarial", "standard", "black box"
NOISE = "noise"
METHOD, SHARE, DEVIATION = "poisons are made by", "share of the class", "standard deviation"
POISONS, CLASS = dirty.POISONS, dirty.CLASS

Methods = Mapping[str, Hardening]  # by `of_gradient` and the like


# ---------------------------------------------------------------- names

def of_gradient(surrogate: str, bound: float, norm: str = "l2") -> str:
    """The name of PGD on a surrogate: `ROBUST`, `STANDARD` or `BLACK`."""
    return f"{surrogate}, {norm} {bound:.0f}"


def of_noise(deviation: float) -> str:
    """The name of Gaussian noise of this standard deviation, for pixels from 0 to 255."""
    return f"{NOISE} {deviation:.3g}"


WHITE_BOX, BLACK_BOX = of_gradient(ROBUST, BOUND), of_gradient(BLACK, BOUND)
LATENT, BLENDED = f"GAN, tau {TAU:g}", f"pixels, tau {TAU:g}"


def name(values: Mapping[str, Any]) -> str:
    """The method of a row, from its columns."""
    if values["world"] == "T":
        return BASELINE
    kind = values["attack.hardening.name"]
    if kind == "noise":
        return of_noise(255 * values["attack.hardening.std"])
    if kind in ("gan", "pixels"):
        word = "GAN" if kind == "gan" else kind
        return f"{word}, tau {values['attack.hardening.tau']:g}"
    return of_gradient(_surrogate(values), 255 * values["attack.hardening.eps"],
                       values["attack.hardening.norm"])


def _surrogate(values: Mapping[str, Any]) -> str:
    """What the surrogate is: of the attacker's own images, else by how it is trained."""
    if values["attack.hardening.data"] == "disjoint":
        return BLACK
    transforms = map(str, values["attack.hardening.training.transforms"])
    robust = any(each.split()[0] == "adversarial" for each in transforms)
    return ROBUST if robust else STANDARD


# ---------------------------------------------------------------- runs

def methods(surrogate: PGD, gan: GAN | None, *, other: PGD, bounds: Iterable[float] = (300, 600),
            steps: int = 100) -> Methods:
    """The methods of figures 4.2, 4.4, 4.5 and A.2, the robust surrogate's first.

    gan: None leaves it out. other: the black box's surrogate. steps: of PGD.
    """
    bounds, plain = list(bounds), hardenings.standard(surrogate)
    pair = {of_gradient(kind, bound): hardenings.ascent("l2", bound, surrogate=own, steps=steps)
            for bound in bounds for kind, own in ((ROBUST, surrogate), (STANDARD, plain))}
    found: dict[str, Hardening] = dict(pair)
    found[of_gradient(BLACK, bounds[0])] = hardenings.ascent(
        "l2", bounds[0], surrogate=other, steps=steps)
    found[BLENDED] = hardenings.blended(TAU)
    return found | ({} if gan is None else {LATENT: replace(gan, tau=TAU)})


def noises(deviations: Iterable[float] = hardenings.DEVIATIONS) -> Methods:
    """The methods of figure 4.3."""
    return {of_noise(each): hardenings.noisy(each) for each in deviations}


def consistent(target: int, share: float, method: Hardening) -> CleanLabel:
    """Harden and stamp this share of the target class, which keeps its labels."""
    return CleanLabel(None, target, share, hardening=method, **victims.trigger())


def attacked(victim: Run, known: Methods, shares: Iterable[float], *,
             targets: Iterable[int] = victims.TARGET_CLASSES, seeds: int | None = 3,
             names: str = "P") -> list[Run]:
    """The victim with each share poisoned by each method for each target class, in the named
    worlds. A GAN interpolates to the source class of the target's pair."""
    targets = list(targets)
    return [world for share in shares for method in known.values()
            for one in instances(victim.with_(attack=consistent(targets[0], share, method)),
                                 [(None, target) for target in targets], seeds=seeds)
            for world in worlds(_partnered(one), names)]


def _partnered(run: Run) -> Run:
    own = run.attack
    if not isinstance(own, CleanLabel) or not isinstance(own.hardening, GAN):
        return run
    source = {target: source for source, target in victims.RANKED}[own.target]
    return run.with_(attack=replace(own, hardening=replace(own.hardening, other=source)))


def compared(victim: Run, known: Methods, shares: Iterable[float], **how: Any) -> list[Run]:
    """Figures 4.2, 4.4, 4.5 and A.2: every method in world P, the first in all worlds: its T is the
    baseline. how: of `attacked`."""
    shares, first = list(shares), dict(list(known.items())[:1])
    others = {each: method for each, method in known.items() if each not in first}
    return attacked(victim, first, shares, names="PHTC", **how) + attacked(
        victim, others, shares, **how)


# ---------------------------------------------------------------- rows

def prepared(frame: "DataFrame") -> "DataFrame":
    """Undefended rows of the clean-label attack, without public images: P, and T as the baseline,
    with `rows.prepared`'s columns of P, and `METHOD`, `SHARE`, `CLASS`, `DEVIATION`; `POISONS` is
    the share of a tenth of the records.

    Rows that keep their losses are left out.
    """
    import pandas as pd

    own = _own(frame)
    attacked, stamped = rows.prepared(own), rows.measured(own, world="T")
    found = pd.concat([attacked, stamped], ignore_index=True) if len(stamped) else attacked
    shares = found["attack.fraction"].astype(float)
    kinds = [name(row) for _, row in found.iterrows()]
    return found.assign(**{
        METHOD: kinds, SHARE: shares, CLASS: _classes(found),
        POISONS: (shares * dirty.records(found) / victims.CLASSES).round(),
        DEVIATION: [_deviation(kind) for kind in kinds]})


def _own(frame: "DataFrame") -> "DataFrame":
    if frame.empty:
        return frame
    own = rows.undefended(frame[frame["attack.name"].eq(ATTACK)])
    kept = rows.optional(own, "attack.fraction").notna() & ~own["losses"].astype(bool)
    return own[kept & own["public"].eq(0)]


def _classes(found: "DataFrame") -> list[str]:
    return [victims.class_name(row["dataset"], int(row["attack.target"]))
            for _, row in found.iterrows()]


def _deviation(kind: str) -> float:
    """The standard deviation in a method's name; 0 for the baseline, nan for other methods."""
    word, _, number = kind.rpartition(" ")
    return 0.0 if kind == BASELINE else float(number) if word == NOISE else math.nan


def at(found: "DataFrame", share: float = SHOWN) -> "DataFrame":
    """Of prepared rows, those with this share of the class poisoned."""
    return found[(found[SHARE] - share).abs().lt(1e-9)]


def of(found: "DataFrame", method: str) -> "DataFrame":
    """The prepared rows of one method."""
    return found[found[METHOD].eq(method)]


def difference(found: "DataFrame", method: str, *, than: str = BASELINE, column: str = "success"
               ) -> "Series":
    """A method's value minus another's on the same images, a value a target class."""
    both = contrasts.paired(of(found, method), of(found, than), column)
    return both["own"] - both["other"]


def against(found: "DataFrame", than: str = BASELINE) -> "DataFrame":
    """For `figures.contrasts`: success by each method minus that of another one, in the order of
    the mean. found: prepared rows of one share."""
    import pandas as pd

    known = [one for one in dict.fromkeys(found[METHOD]) if one != than]
    apart = {one: difference(found, one, than=than) for one in known}
    order = sorted((one for one in known if len(apart[one])), key=lambda one: -apart[one].mean())
    lines = [(one, pair, value) for one in order for pair, value in apart[one].items()]
    return pd.DataFrame(lines, columns=[METHOD, "pair", "difference"])


# ---------------------------------------------------------------- noise

def changes(found: "DataFrame") -> "DataFrame":
    """What noise changes: a line a target class, a column a deviation, success minus that of the
    baseline. found: prepared rows of one share."""
    import pandas as pd

    known = sorted(found.loc[found[DEVIATION].gt(0), DEVIATION].unique())
    return pd.DataFrame({each: difference(found, of_noise(each)) for each in known})


def best_elsewhere(table: "DataFrame") -> "Series | None":
    """Each target class's change at the deviation that is best in the others. table: of `changes`.
    """
    least = contrasts.least_elsewhere(-table, list(table.columns))
    return None if least is None else -least


# ---------------------------------------------------------------- tables and findings

def table(found: "DataFrame", shares: Iterable[float]) -> "DataFrame":
    """Success in per cent: a line a method, a column a share of the class; means and 95% t
    intervals over target classes."""
    import pandas as pd

    lines = [{METHOD: one, **{f"{share:.3g}": judgement.level(own, "success") for share in shares
                              if len(own := at(of(found, one), share))}}
             for one in dict.fromkeys(found[METHOD])]
    named = pd.DataFrame(lines, columns=None if lines else [METHOD])
    return named.rename(columns={f"{share:.3g}": f"{share:.1%} of the class" for share in shares})


def surrogates(found: "DataFrame") -> "DataFrame":
    """How good each surrogate is: clean and robust accuracy, and of those that were trained to be
    robust, whether that is weak."""
    import pandas as pd

    lines = []
    for one, own in found.groupby(METHOD, sort=False):
        robust = rows.optional(own, "facts.surrogate_robust").astype(float).mean()
        if not math.isnan(robust):
            lines.append({METHOD: one, "accuracy": own["facts.surrogate_accuracy"].mean(),
                          "robust accuracy": robust,
                          "surrogate": STANDARD if one.startswith(STANDARD) else
                          "weak" if robust < WEAK else "robust"})
    return pd.DataFrame(lines, columns=None if lines else [METHOD])


def surrogates_finding(lines: "DataFrame") -> str:
    """In words: which methods have a weak surrogate. lines: of `surrogates`."""
    if lines.empty:
        return ""
    weak = list(lines.loc[lines["surrogate"].eq("weak"), METHOD])
    if not weak:
        return f"All robust surrogates keep {WEAK:.0%} of the images under attack."
    return f"Weak surrogates, under {WEAK:.0%} of the images under attack: {'; '.join(weak)}."


def finding(found: "DataFrame", pairs: Iterable[tuple[str, str]]) -> str:
    """In words: success by one method minus another, for each pair of them that is measured."""
    said = [f"{one} against {than} {judgement.points(apart.to_numpy())} points"
            for one, than in pairs if len(apart := difference(found, one, than=than).dropna())]
    return f"Success by {'; '.join(said)}." if said else ""


def noise_finding(table: "DataFrame") -> str:
    """In words: the change of success at each deviation. table: of `changes`."""
    said = [f"{each:g}: {judgement.points(table[each].to_numpy())}" for each in table.columns]
    return f"Change of success in points by the standard deviation: {', '.join(said)}." \
        if said else ""
