"""Choosing rows for a claim: by their role (undefended, a sweep over noise), never by exact numbers.

Frames are what `lib.study.run` returns: one line a run, the run's fields with dotted names.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from lib.claims.registry import Claim, Part, Published
from lib.claims.verdict import NOT_MEASURED, TRIALS, Verdict, signs, verdict, worst

PLACE = ("dataset", "train_size", "public", "features", "model")  # what makes a set-up
PAIR = ["attack.base", "attack.target"]
SEEDS = ["attack_seed", "init_seed", "noise_seed"]
FULL = 50000  # training images of the smaller of MNIST and CIFAR-10
FIGURE_FRACTION = 0.5  # Razmi et al. relabel half of the base class
HEADLINE_FRACTION = 0.1  # where attack success cannot come from relabelling alone
SEPARATION = "2 AUC - 1"  # the trigger AUC on a scale on which no backdoor is 0
EXCESS = "success - natural"  # attack success above that of the clean twin on images without the trigger
OUTCOMES = ("group_size", "alone", "accountant")  # columns that say how a run came out, not what it was
SETTING = "setting number"  # of a prepared frame
BESIDE = ("success", "effect", SEPARATION)  # metrics shown beside lift


@dataclass(frozen=True)
class Measurement:
    """What a measuring function returns: a verdict on direction and on size (None: none is claimed).

    `beside`: the same on other metrics, (name, direction, size), shown and not decisive. `rows`: runs used.
    """

    direction: Verdict | None
    size: Verdict | None
    beside: tuple[tuple[str, Verdict | None, Verdict | None], ...] = ()
    setup: str = ""
    rows: int = 0
    note: str = ""


@dataclass(frozen=True)
class Found:
    """What a claim's own module makes of the rows at one poisoned share: the judge of a part, and the rows used.

    `judge(part, column) -> Verdict` on lift or another metric; `beside`: further verdicts, `note`: in words.
    """

    judge: Callable
    frame: object
    beside: tuple[tuple[str, Verdict | None, Verdict | None], ...] = ()
    note: str = ""


def measured(frame, *, world: str | None = "P", fraction: float | None = None):
    """The rows with a result, on the test set, of one training world and one poisoned share (None: any)."""
    keep = frame["status"] == "ok"
    if "split" in frame:
        keep &= frame["split"] == "test"
    if world is not None:
        keep &= frame["world"] == world
    if fraction is not None:
        keep &= (frame["attack.fraction"] - fraction).abs() < 1e-9
    return frame[keep]


def undefended(frame):
    """Plain training: no clipping and no noise (the defence `dpsgd` with both switched off)."""
    return frame[(frame["defence.name"] == "dpsgd") & (optional(frame, "defence.clip") == False)  # noqa: E712 (a column)
                 & (optional(frame, "defence.noise_multiplier") == 0)]


def clipped(frame):
    """DP-SGD rows that clip, with the noise multiplier given as a setting (0: clipping alone)."""
    return frame[(frame["defence.name"] == "dpsgd") & (optional(frame, "defence.clip") == True)  # noqa: E712
                 & optional(frame, "defence.noise_multiplier").notna()]


def prepared(frame):
    """The poisoned rows on the test set, with `effect`, `natural` (from their twins), `SEPARATION`, `EXCESS` and `SETTING`."""
    found = with_twins(measured(frame, world=None)).reset_index(drop=True)
    return found.assign(**{SEPARATION: 2 * found["trigger_auc"] - 1, EXCESS: found["success"] - found["natural"], SETTING: setting_number(found)})


def with_twins(frame):
    """`lib.metrics.parts`, where twins may have been trained in other company and may have come out otherwise."""
    from lib import metrics
    return metrics.parts(frame, ignore=[name for name in frame.columns if name in OUTCOMES or name.startswith(("facts.", "loss_"))])


def optional(frame, name: str):
    """A column of the frame; NaN throughout where no row's defence has it."""
    import pandas as pd
    return frame[name] if name in frame else pd.Series(float("nan"), index=frame.index)


def unit(frame):
    """The attack instance of each row: the pair of classes; the attack seed where there is one pair only.

    Seeds within a pair are averaged, not counted: they share the pair, which varies most.
    """
    base, target = (frame[name].map(str) for name in PAIR)  # no base (all to one) is a name too
    pairs = base + " to " + target
    return pairs if pairs.nunique() > 1 else frame["attack_seed"].astype(str)


def per_unit(frame, column: str):
    """Mean of `column` per attack instance, as a Series."""
    return frame[column].astype(float).groupby(unit(frame)).mean()


def settings(frame, *, but: tuple[str, ...] = ()) -> list[str]:
    """Columns that fix how a row was made, apart from its instance, its seeds, its world and `but`."""
    free = {*but, *PAIR, "attack.stamp", "attack.relabel", "training.checkpoints", "defence.epsilon"}
    return [name for name in frame.columns if name not in free
            and (name in (*PLACE, "precision") or name.startswith(("training.", "defence.", "attack.")))]


def setting_number(frame):
    """A number for each row, equal for rows that were made alike; the epsilon asked for counts as well."""
    names = settings(frame) + [name for name in ("defence.epsilon",) if name in frame]
    return frame.groupby(names, dropna=False, sort=False).ngroup()


def sweep(frame, axis: str, *, but: tuple[str, ...] = ()):
    """The longest run of rows that differ in `axis` (and `but`) alone, and in instances and seeds; empty without any."""
    if frame.empty:
        return frame
    groups = frame.groupby(settings(frame, but=(axis, *but)), dropna=False, sort=False)
    return max((group for _, group in groups), key=lambda group: (group[axis].nunique(), len(group)))


def curve(frame, axis: str, column: str):
    """Table of means: one line an instance that has every value of `axis`, one column a value, ascending."""
    means = frame[column].astype(float).groupby([unit(frame).rename("unit"), frame[axis]]).mean()
    return means.dropna().unstack().dropna()


# ---------------------------------------------------------------- the set-up

def differences(line, published: Published) -> list[str]:
    """In words, where a row's set-up differs from the published one."""
    words = [f"{name} {line[column]} for {allowed[0]}" for name, column, allowed in (
        ("data", "dataset", published.datasets), ("features", "features", published.features),
        ("model", "model", published.models)) if allowed and line[column] not in allowed]
    size, public = line["train_size"], line["public"]
    if size is not None and size == size and size < FULL:
        words.append(f"first {int(size)} training images")
    return words + ([f"{int(public)} images kept for the public part"] if public != published.public else [])


def setup_label(line, published: Published) -> str:
    """"as published", "substitute: what differs", or "effect only: ..." for drawn data."""
    words = differences(line, published)
    if not words:
        return "as published"
    kind = "effect only" if str(line["dataset"]).startswith("strokes") else "substitute"
    return f"{kind}: {', '.join(words)}"


def places(frame) -> list:
    """One frame for each set-up (data, sizes, features, model); drawn data only where there is nothing else."""
    if frame.empty:
        return []
    found = [group for _, group in frame.groupby(list(PLACE), dropna=False, sort=False)]
    real = [group for group in found if not str(group["dataset"].iloc[0]).startswith("strokes")]
    return real or found


def nearest(frame, published: Published):
    """The set-up nearest to the published one (ties: the most rows); the empty frame without any."""
    found = places(frame)
    if not found:
        return frame
    return min(found, key=lambda group: (len(differences(group.iloc[0], published)), -len(group)))


def other_features(line, published: Published) -> str:
    """Why a distance of accuracy says nothing about the published one; "" on its features."""
    if not published.features or line["features"] in published.features:
        return ""
    return (f"on features {line['features']} for {published.features[0]}: the accuracy that a "
            "method costs depends on them")


# ---------------------------------------------------------------- from values to verdicts

def control(frame, least: float, *, column: str = "lift") -> bool | None:
    """Whether the undefended effect was there: its interval lies above `least`. None where it was not measured.

    Undefended rows, else clipping alone; rows of any optimiser in this set-up.
    """
    plain = undefended(frame)
    if plain.empty:
        plain = clipped(frame)
        plain = plain[optional(plain, "defence.noise_multiplier") == 0]
    return shows(plain, least, column=column)


def shows(frame, least: float, *, column: str = "lift") -> bool | None:
    """Whether the interval of `column` over instances (one instance: its value) lies above `least`; None without rows."""
    if frame.empty:
        return None
    values = per_unit(frame, column).to_numpy()
    result = estimate(values)
    return bool((result.low if len(values) > 1 else result.mean) > least)


def every(*passed: bool | None) -> bool | None:
    """Several controls as one: failed if one failed, else None if one was not measured."""
    return False if False in passed else None if None in passed else True


def estimate(values, *, scale: str = "identity"):
    """The 95% t interval over attack instances; values that are NaN are left out."""
    from lib import metrics
    return metrics.mean_interval(values, scale=scale, trials=TRIALS)


def decide(part: Part, values, *, passed: bool | None, scale: str = "identity") -> Verdict:
    """The verdict on one part of a claim, from one value an instance; not measured without a value."""
    import numpy as np
    if not np.isfinite(np.asarray(values, dtype=float)).any():
        return NOT_MEASURED
    return verdict(estimate(values, scale=scale), part.threshold, beyond=part.beyond, control_passed=passed,
                   scale=scale, unit="%" if part.percent else "")


def guarded(part: Part, values, *, passed: bool | None, scale: str = "identity") -> Verdict:
    """`decide`, where "holds" needs the positive control as well: nothing defends against an attack that was not there."""
    found = decide(part, values, passed=passed, scale=scale)
    if found.outcome != "holds" or passed:
        return found
    why = "the positive control was not measured" if passed is None else "the positive control failed"
    return replace(found, outcome="inconclusive", reason=why)


def measure(frames: dict, claim: Claim, build, *, fraction: float, also: float | None = None, metric: str = "lift",
            beside: tuple[str, ...] = BESIDE) -> Measurement:
    """Measure a claim on the rows with `fraction` of the base class poisoned, and beside it on those with `also`.

    `build(attacked, claim) -> Found | None` gets the poisoned rows of the set-up nearest to the published one.
    """
    frame = prepared(frames[claim.notebook])
    found = _at(frame, claim, build, fraction)
    if found is None:
        return unmeasured(claim)
    known = tuple(name for name in beside if name in found.frame and found.frame[name].notna().any())
    result = assemble(claim, found.judge, found.frame, metric=metric, beside=known)
    other = None if also is None else _at(frame, claim, build, also)
    more = () if other is None else line_beside(claim, other.judge, f"{metric}, {also:.0%} of the base class", metric=metric)
    return replace(result, beside=result.beside + found.beside + more, note=found.note)


def _at(frame, claim: Claim, build, fraction: float) -> Found | None:
    rows = attacked(frame, claim, fraction)
    return build(rows, claim) if len(rows) else None


def attacked(frame, claim: Claim, fraction: float):
    """The rows at one poisoned share, in the set-up nearest to the published one."""
    return nearest(measured(frame, fraction=fraction), claim.setup)


def line_beside(claim: Claim, judge, name: str, *, metric: str = "lift") -> tuple:
    """One line for `Measurement.beside`, by another judge of the same parts; none where nothing was measured."""
    both = verdicts(claim, judge, metric)
    return ((name, *both),) if any(one is not None and one.n for one in both) else ()


def verdicts(claim: Claim, judge, column: str) -> tuple:
    """The verdicts on direction and size (None: none is claimed): every part must meet its own."""
    return tuple(combined(parts, judge, column) if parts else None
                 for parts in (claim.direction, claim.size))


def combined(parts: tuple[Part, ...], judge, column: str) -> Verdict:
    """Parts as one verdict: the worst of one-sided ones, the signs of two-sided ones."""
    join = signs if parts[0].beyond == "either" else worst
    return join({part.name: judge(part, column) for part in parts})


def assemble(claim: Claim, judge, frame, *, metric: str = "success", beside: tuple[str, ...] = ("lift",)) -> Measurement:
    """Put a claim's parts together. `judge(part, column) -> Verdict` on attack success or on another metric."""
    if frame.empty:
        return unmeasured(claim)
    return Measurement(*verdicts(claim, judge, metric), tuple((name, *verdicts(claim, judge, name)) for name in beside),
                       setup_label(frame.iloc[0], claim.setup), len(frame))


def unmeasured(claim: Claim) -> Measurement:
    return Measurement(NOT_MEASURED if claim.direction else None, NOT_MEASURED if claim.size else None)
