"""Measuring G1 to G4 (figure 1; rows of `50_gradient_anatomy`) and G9 (figures 4c and 4f; rows of
`51_indiscriminate`): gradients of poison beside those of clean records.

An instance is a draw of the poison; its value is a mean over the epochs of the run. Where a
training has converged, the gradients of all records sum to nearly nothing: the clean part is then
minus the poison's, so the cosine is near -1 and the ratio of means near the number of clean records
over that of poisons, whatever the poison is. The notes say what that number is.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.papers.hong import anatomy
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part, Published
from lib.verdicts.combining import worst
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

NETWORK = Published(words="Fashion-MNIST, MLP", datasets=("fashion-mnist",), features=("none",),
                    models=("mlp-256-256",))
PLACES = {  # what each scenario was published for
    anatomy.SCRATCH: Published(words="Fashion-MNIST 3 and 4", datasets=("fashion-mnist:3-4",),
                               features=("none",), models=("linear",)),
    anatomy.RETRAINED: NETWORK, anatomy.INSERTED: NETWORK}
DRAWS = Published(words="Fashion-MNIST 3 and 4, linear",
                  datasets=("fashion-mnist:3-4",), features=("none",), models=("linear",))
BLENDS = (anatomy.SCRATCH, anatomy.RETRAINED)
FROM = 0.4  # the least mixing that G1 is about
TRAINED = 0.8  # accuracy of a trained model; a guess among two classes has 0.5
LEARNT = 0.5  # lift of a patch that counts as learnt
FRACTION, NORM = 0.4, 4.0  # of G9
FLIPPED, SLAB = "label_flip", "slab"
SUMMED = "ratio of what is summed"  # of gradients as a step takes them: clipped where a run clips
READ_AS = "; ratios before clipping, weights of an epoch's end, all records"


# ---------------------------------------------------------------- figure 1

def vanilla(frames: Frames, claim: Claim, *scenarios: str) -> "DataFrame":
    """The undefended poisoned rows of these scenarios, each in the set-up nearest to the paper's;
    without the harmless copies (mixing 0)."""
    named = anatomy.named(rows.undefended(rows.measured(frames[claim.notebook])))
    named = named[named["anatomy"].astype(bool) & named["level"].gt(0)]
    return rows.together(rows.nearest(named[named["scenario"].eq(name)], PLACES[name])
                         for name in scenarios)


def paths(frames: Frames, claim: Claim, frame: "DataFrame") -> "DataFrame":
    """One line a run and epoch; `frames` may hold what was measured as "NAME/anatomy", by key."""
    known = frames.get(f"{claim.notebook}/anatomy")
    return anatomy.epochs(frame) if known is None else frame.merge(known, on="key")


def collision(frames: Frames, claim: Claim) -> Measurement:
    """G1: mean ratio and cosine of the worst mixing from 0.4 on, in both scenarios."""
    frame = vanilla(frames, claim, *BLENDS)
    frame = frame[frame["level"] >= FROM - 1e-9]
    if frame.empty:
        return judgement.unmeasured(claim)
    found = anatomy.means(paths(frames, claim, frame))
    passed = _collides(frames, claim, frame)

    def judge(part: Part, _: str) -> Verdict:
        return _each(found, BLENDS, lambda group: judgement.guarded(
            part, group[part.name], passed=passed))
    return _measurement(claim, judge, frame, note=_stationary(found))


def retraining(frames: Frames, claim: Claim) -> Measurement:
    """G2: log of the mean ratio, re-training minus scratch, draw by draw, mean over the mixings
    that both have. Beside it, the same of poison's part of the gradient over the clean part, to
    which the larger data set of the re-training does not add."""
    frame = vanilla(frames, claim, *BLENDS)
    if frame["scenario"].nunique() < len(BLENDS):
        return judgement.unmeasured(claim)
    found = anatomy.means(paths(frames, claim, frame))
    passed = _trained(frame)

    def judge(part: Part, column: str) -> Verdict:
        return judgement.guarded(part, _between(found, column), passed=passed)
    return _measurement(claim, judge, frame, metric="log ratio", beside=("log odds",),
                        note=_stationary(found))


def _between(found: "DataFrame", column: str) -> "DataFrame":
    """Re-training minus scratch, a value a draw: the mean over the mixings that both have."""
    wide = found.pivot_table(index="draw", columns=["scenario", "level"], values=column)
    own, other = (wide[name] for name in (anatomy.RETRAINED, anatomy.SCRATCH))
    both = own.columns.intersection(other.columns)
    return (own[both] - other[both]).dropna().mean(axis=1)


def intensity(frames: Frames, claim: Claim) -> Measurement:
    """G3: mean cosine at the strongest mixing (1) minus that at the weakest (0.1), in both
    scenarios."""
    frame = vanilla(frames, claim, *BLENDS)
    frame = frame[frame["level"].isin([0.1, 1.0])]
    if frame.empty or frame["level"].nunique() < 2:
        return judgement.unmeasured(claim)
    found = anatomy.means(paths(frames, claim, frame))
    wide = found.pivot_table(index=["scenario", "draw"], columns="level", values="cosine")
    apart = (wide[1.0] - wide[0.1]).dropna().rename("difference").reset_index()
    passed = _trained(frame)

    def judge(part: Part, _: str) -> Verdict:
        return worst({name: judgement.guarded(
            part, apart.loc[apart["scenario"].eq(name), "difference"], passed=passed)
            for name in BLENDS})
    return _measurement(claim, judge, frame)


def insertion(frames: Frames, claim: Claim) -> Measurement:
    """G4: ratio and absolute cosine, last five epochs minus first five, of the worst size of patch
    among those that are learnt (their lift lies above one half)."""
    frame = vanilla(frames, claim, anatomy.INSERTED)
    if frame.empty:
        return judgement.unmeasured(claim)
    learnt = [size for size, group in frame.groupby("level")
              if _lies_above(group.groupby("draw")["lift"].mean(), LEARNT)]
    found = anatomy.change(paths(frames, claim, frame))
    judged = found[found["level"].isin(learnt)] if learnt else found

    def judge(part: Part, _: str) -> Verdict:
        return _each(judged, (anatomy.INSERTED,), lambda group: judgement.guarded(
            part, group[part.name], passed=bool(learnt)))
    left = sorted(set(found["level"]) - set(learnt))
    note = f"not learnt: patches of {', '.join(f'{size:g}' for size in left)} pixels a side"
    return _measurement(claim, judge, frame, note=note if left else "")


def _each(found: "DataFrame", scenarios: tuple[str, ...],
          judge: "Callable[[DataFrame], Verdict]") -> Verdict:
    """The worst verdict over scenarios and levels; a scenario without rows is not measured."""
    parts = {f"{scenario}, {level:g}": judge(group)
             for (scenario, level), group in found.groupby(["scenario", "level"])}
    missing = set(scenarios) - set(found["scenario"])
    return worst(parts | dict.fromkeys(sorted(missing), NOT_MEASURED))


def _measurement(claim: Claim, judge: judgement.Judge, frame: "DataFrame", *, metric: str = "",
                 beside: tuple[str, ...] = (), note: str = "") -> Measurement:
    direction, size = judgement.verdicts(claim, judge, metric)
    return Measurement(
        direction, size, tuple((name, *judgement.verdicts(claim, judge, name)) for name in beside),
        _setup(frame), len(frame), note)


# ---------------------------------------------------------------- controls, set-up

def _lies_above(values: "DataFrame", least: float) -> bool:
    """Whether the interval of the values lies above `least`; a single value, or equal ones, count
    as they are."""
    found = judgement.estimate(values)
    return bool((found.mean if math.isnan(found.low) else found.low) > least)


def _trained(frame: "DataFrame") -> bool:
    """Whether every scenario's models are trained, although poisoned."""
    return all(_lies_above(group.groupby("draw")["accuracy"].mean(), TRAINED)
               for _, group in frame.groupby("scenario"))


def _collides(frames: Frames, claim: Claim, frame: "DataFrame") -> bool:
    """Whether, after the first epoch, the loss of the poison is above that of clean records, in
    every scenario and at every mixing: then the network does not take the blends for their label.
    """
    curves = frames.get(f"{claim.notebook}/curves")
    if curves is None:
        from lib import study

        curves = study.curves(frame)
    early = curves[curves["epoch"] >= 1 - 1e-6].sort_values("epoch").drop_duplicates("key")
    gap = early.assign(gap=early["loss_poison"] - early["loss_clean"]).set_index("key")["gap"]
    known = frame.assign(gap=frame["key"].map(gap))
    return all(_lies_above(group["gap"].dropna(), 0)
               for _, group in known.groupby(["scenario", "level"]))


def _setup(frame: "DataFrame") -> str:
    """ "as published", or what differs in a scenario."""
    words = []
    for name, group in frame.groupby("scenario", sort=False):
        line, place = group.iloc[0], PLACES[name]
        if line["dataset"] not in place.datasets or line["model"] not in place.models:
            words.append(f"{line['dataset']}, {line['model']} for {place.words}")
    if not words:
        return "as published"
    drawn = frame["dataset"].str.startswith("strokes").all()
    kind = "effect only" if drawn else "substitute"
    return f"{kind}: {', '.join(dict.fromkeys(words))}"


def _stationary(found: "DataFrame", by: str = "scenario") -> str:
    """What the ratio of means is at a stationary point, by scenario or attack."""
    words = [f"{group['balance'].mean():.3g} ({name})"
             for name, group in found.groupby(by, sort=False)]
    return f"where training has converged, any poison has a ratio near {', '.join(words)}"


# ---------------------------------------------------------------- figures 4c and 4f

def figure4(frame: "DataFrame", *, fraction: float = FRACTION,
            paths: "DataFrame | None" = None) -> "DataFrame":
    """Ratio and cosine by epoch under flipped labels and the slab attack, one line a run and epoch.

    frame: rows of `51_indiscriminate` with anatomy=True, clipped or not, without noise. paths: what
    their epochs measured, by key, where that is known. Columns: the run's, `attack`, `norm` ("not
    clipped", "C 4"), `draw`, epoch, `lib.study.columns.ANATOMY`, and `balance`, the ratio of any
    poison where training has converged.
    """
    from lib import study

    own = rows.measured(frame)
    own = own[own["anatomy"].astype(bool) & own["attack.name"].isin([FLIPPED, SLAB])]
    own = own[(own["attack.fraction"].astype(float) - fraction).abs() < 1e-9]
    own = own[~own["defence.clip"].astype(bool) | own["defence.noise_multiplier"].eq(0)]
    own = rows.nearest(own, DRAWS)
    own = rows.together([own.iloc[:0], *(
        _most_drawn(group) for _, group in own.groupby("attack.name"))])
    own = own.assign(attack=own["attack.name"].map({FLIPPED: "flipped", SLAB: "slab"}),
                     norm=anatomy.norms(own), draw=own["attack_seed"])
    found = study.anatomy(own, by_epoch=True) if paths is None else own.merge(paths, on="key")
    # a copy is in one piece: pandas warns of adding a column to many joined ones
    return found.copy().assign(balance=found["clean_records"] / found["poison_records"])


def _most_drawn(frame: "DataFrame") -> "DataFrame":
    """One setting of an attack: the one with the most draws; ties as published, which is with
    pixels clipped."""
    settings = [name for name in frame.columns if name.startswith("attack.")]
    groups = [group for _, group in frame.groupby(settings, dropna=False, sort=False)]
    return max(groups, key=lambda group: (group["attack_seed"].nunique(), bool(
        rows.optional(group, "attack.clip_pixels").eq(True).all())))


def scalars(found: "DataFrame") -> "DataFrame":
    """Means over the epochs, one line a run: the paper's scalar, and `SUMMED`, the same of the
    gradients as they are summed, over all parameters. found: of `figure4`."""
    keys = ["attack", "norm", "draw"]
    part = found["share_clipped"].astype(float).fillna(found["share"].astype(float))
    summed = found.assign(**{SUMMED: part / (1 - part) * found["balance"]}).groupby(keys)[SUMMED]
    return anatomy.means(found, keys).merge(summed.mean().reset_index(), on=keys)


def ratio_change(found: "DataFrame", column: str = "ratio") -> "DataFrame":
    """Mean ratio at C 4 minus the vanilla one, one line an attack and draw; `difference`.

    found: of `scalars`.
    """
    wide = found.pivot_table(index=["attack", "draw"], columns="norm", values=column)
    own, plain = (wide.get(name) for name in (f"C {NORM:g}", anatomy.VANILLA))
    if own is None or plain is None:
        wide = wide.iloc[:0].assign(difference=0.0)
        return wide.reset_index()[["attack", "draw", "difference"]]
    return (own - plain).dropna().rename("difference").reset_index()


def _costs(frame: "DataFrame") -> bool | None:
    """Whether flipped labels cost the vanilla model accuracy; None without a clean vanilla model,
    of which there is one for all draws."""
    plain = rows.nearest(rows.undefended(rows.measured(frame, world=None)), DRAWS)
    flipped = plain[plain["world"].eq("P") & plain["attack.name"].eq(FLIPPED)
                    & (plain["attack.fraction"].astype(float) - FRACTION).abs().lt(1e-9)]
    clean = plain.loc[plain["world"].eq("C"), "accuracy"].mean()
    lost = (clean - flipped.groupby("attack_seed")["accuracy"].mean()).dropna()
    return _lies_above(lost, 0) if len(lost) else None


def clipping(frames: Frames, claim: Claim) -> Measurement:
    """G9: the mean ratio at C 4 minus that of the vanilla model, draw by draw, under flipped labels
    and under the slab attack. Of several settings of an attack, the one with the most draws. Beside
    it, the same of the gradients as they are summed, clipped where the model clips."""
    by_epoch = figure4(frames[claim.notebook], paths=frames.get(f"{claim.notebook}/anatomy"))
    if by_epoch.empty:
        return judgement.unmeasured(claim)
    found = scalars(by_epoch)
    apart = {name: ratio_change(found, name) for name in ("ratio", SUMMED)}
    passed = _costs(frames[claim.notebook])

    def judge(part: Part, column: str) -> Verdict:
        own = apart[column]
        return judgement.guarded(part, own.loc[own["attack"].eq(part.name), "difference"],
                                 passed=passed)
    direction, size = judgement.verdicts(claim, judge, "ratio")
    line = by_epoch.iloc[0]
    setup = "as published" if line["dataset"] in DRAWS.datasets and line["model"] in DRAWS.models \
        else f"substitute: {line['dataset']}, {line['model']} for {DRAWS.words}"
    return Measurement(direction, size, ((SUMMED, *judgement.verdicts(claim, judge, SUMMED)),),
                       setup + READ_AS, by_epoch["key"].nunique(), _stationary(found, "attack"))
