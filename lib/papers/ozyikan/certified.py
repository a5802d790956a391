"""Measuring O1 to O6, O11 and O12: smoothing against the backdoor (Ozyikan et al., figures 3 to 6;
rows of `40_smoothing`).

A difference is taken inside one attack instance, with all else equal but the learning rate, which
was tuned for each level of noise. The set-up nearest to the published one decides, the others stand
beside: two classes of a data set are a set-up, and which two is the attack instance. The positive
control is that the same ensemble without poison beats chance.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from lib.papers import ozyikan
from lib.verdicts import judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part, Published, either
from lib.verdicts.combining import worst
from lib.verdicts.judgement import Found
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SHARE, NOISE, MODELS, RATE = "attack.fraction", "defence.noise", "defence.models", "training.lr"
CLIPPING, DP_NOISE = "defence.max_grad_norm", "defence.noise_multiplier"
CERTIFIED, PRINTED, TRUTH, MEDIAN = (
    "facts.certified_any",
    "facts.printed",
    "facts.truth",
    "facts.models_accuracy_median",
)
RADIUS, CEILING, BUDGET = "facts.radius_max", "facts.radius_ceiling", "facts.budget"
Q1, Q3, COUNT = "facts.models_accuracy_q1", "facts.models_accuracy_q3", "facts.certified_count"
FLIPS, OTHER_FLIPS, CONFIRMED = (
    "facts.flips_certified",
    "facts.flips_other",
    "facts.flips_confirmed",
)
# NaN where a frame lacks one
NUMBERS = (
    SHARE,
    NOISE,
    MODELS,
    RATE,
    CLIPPING,
    DP_NOISE,
    "defence.partitions",
    "defence.confidence",
    "accuracy",
    "success",
    CERTIFIED,
    PRINTED,
    TRUTH,
    MEDIAN,
    RADIUS,
    CEILING,
    BUDGET,
    Q1,
    Q3,
    COUNT,
    FLIPS,
    OTHER_FLIPS,
    CONFIRMED,
)
WORDS = (
    "status",
    "world",
    "defence.name",
    "defence.by",
    "defence.space",
    "defence.twin",
    "attack.images",
    "attack_seed",
    *rows.PLACE,
    *rows.PAIR,
)
# of a prepared frame
MARGIN, SPREAD, ENSEMBLE = "accuracy - chance", "quartile range", "ensemble number"

CLASSES = 10  # of every data set that is not cut down to some
CHANCE_MARGIN = 0.2  # of the positive control
FEW_MODELS = 100  # N of figure 5
LARGEST_SHARE = 0.1  # of O12
# by part, over the share of poison
PLOTTED = {
    "change": CERTIFIED,
    "clean": CERTIFIED,
    "rise": PRINTED,
    "triggered": PRINTED,
    "truth": TRUTH,
}
FEWEST = 3  # points of a correlation
# Of `without_dp`: columns and their names.
CONTRASTED = {"accuracy": "accuracy", "lift": "lift", CERTIFIED: "certified accuracy"}
NO_DP = either(
    "no DP", "DP-SGD inside RAB minus RAB without it", why="O6 predicts no sign against no DP-SGD"
)


# ---------------------------------------------------------------- rows


def prepared(frame: "DataFrame | None") -> "DataFrame":
    """The measured rows of both defences in all training worlds, with `MARGIN`, `SPREAD` and
    `ENSEMBLE`; no frame: no rows.

    The classes that a data set is cut down to go from its name to the attack: base 2 and target 0
    for "cifar10-jpeg:0-2". A poisoned *number* of images is no share. `ENSEMBLE`: equal for rows
    made alike, whatever the attack and the number of models.
    """
    import pandas as pd

    frame = pd.DataFrame(columns=WORDS) if frame is None or frame.empty else frame
    found = rows.measured(frame, world=None)
    found = found[found["defence.name"].isin(("smoothing", "partition"))].reset_index(drop=True)
    found = found.assign(
        **{name: rows.optional(found, name) for name in WORDS},
        **{name: rows.optional(found, name).astype(float) for name in NUMBERS},
    )
    return _with_numbers(_with_pairs(found))


def _with_pairs(found: "DataFrame") -> "DataFrame":
    from lib.data import restriction

    named = [restriction(name) for name in found["dataset"]]
    attacks = [_classes(kept, target) for (_, kept), target in zip(named, found["attack.target"])]
    counts = [CLASSES if kept is None else len(kept) for _, kept in named]
    words = [
        whole if kept is None else f"{whole}, {'two' if count == 2 else count} classes"
        for (whole, kept), count in zip(named, counts)
    ]
    return found.assign(
        **{
            "dataset": words,
            "attack.base": [base for base, _ in attacks],
            "attack.target": [target for _, target in attacks],
            MARGIN: found["accuracy"] - [1 / count for count in counts],
        }
    )


def _classes(kept: tuple | None, target: int | str) -> tuple[str, str]:
    """Base and target of an attack on all other classes, by their names in the whole data set."""
    if kept is None:
        return "any", str(target)
    return "-".join(str(name) for label, name in enumerate(kept) if label != target), str(
        kept[int(target)]
    )


def _with_numbers(found: "DataFrame") -> "DataFrame":
    found = found.assign(
        **{SPREAD: found[Q3] - found[Q1], SHARE: found[SHARE].where(found["attack.images"].isna())}
    )
    # Fewer models do for the control: whether RAB works at all is the question there.
    alike = [
        name for name in rows.settings(found) if not name.startswith("attack.") and name != MODELS
    ]
    return found.assign(**{ENSEMBLE: found.groupby(alike, dropna=False, sort=False).ngroup()})


def smoothed(frame: "DataFrame") -> "DataFrame":
    """RAB, with or without DP-SGD inside."""
    return frame[frame["defence.name"] == "smoothing"]


def plain(frame: "DataFrame") -> "DataFrame":
    """RAB of the figures without DP-SGD: noise on the run's own inputs, a share of the images
    poisoned.
    """
    found = _shared(frame)
    return found[found[CLIPPING].isna()]


def private(frame: "DataFrame") -> "DataFrame":
    """RAB of models trained by DP-SGD (noise 0: clipping alone)."""
    found = _shared(frame)
    return found[found[CLIPPING].notna()]


def _shared(frame: "DataFrame") -> "DataFrame":
    return frame[
        (frame["defence.name"] == "smoothing")
        & (frame["defence.space"] != "pixels")
        & frame[SHARE].notna()
    ]


def sweep(frame: "DataFrame", axis: str, *, but: tuple[str, ...] = ()) -> "DataFrame | None":
    """The longest run of rows over `axis`, at any learning rate; None where it has one value."""
    found = rows.sweep(frame, axis, but=(RATE, *but))
    return found if len(found) and found[axis].nunique() > 1 else None


def most_models(frame: "DataFrame", axis: str, *, but: tuple[str, ...] = ()) -> "DataFrame | None":
    """The sweep over `axis` of the ensembles with the most models; None without any."""
    groups = sorted(frame.groupby(MODELS), key=lambda one: one[0], reverse=True)
    return next(
        (found for _, group in groups if (found := sweep(group, axis, but=but)) is not None), None
    )


def ends(frame: "DataFrame", axis: str) -> tuple[float, float]:
    """The smallest and the largest value of `axis`."""
    return frame[axis].min(), frame[axis].max()


def change(frame: "DataFrame", axis: str, column: str, between: tuple[float, float]) -> "Series":
    """`column` at the second value of `axis` minus that at the first: one value an instance,
    averaged over the shares that have both.
    """
    index = [rows.unit(frame).rename("unit")] + ([] if axis == SHARE else [frame[SHARE]])
    table = (
        frame[column].groupby([*index, frame[axis]]).mean().unstack().reindex(columns=list(between))
    )
    return (table[between[1]] - table[between[0]]).dropna().groupby(level="unit").mean()


# ---------------------------------------------------------------- places


def ranked(attacked: "DataFrame", published: Published) -> list:
    """The set-ups of these rows, the one that decides first.

    Other images of the published data set come before another one, which may differ in fewer words;
    an interval needs two instances; then the fewest differences, then the most rows.
    """

    def key(place: "DataFrame"):
        line = place.iloc[0]
        return (
            not line["dataset"].startswith(published.datasets),
            rows.unit(place).nunique() < 2,
            len(rows.differences(line, published)),
            -len(place),
        )

    return sorted(rows.places(attacked), key=key)


def measure(frame: "DataFrame", claim: Claim, build: Callable) -> Measurement:
    """Judge a claim on the first set-up that has something to judge; the others stand beside.

    frame: of `prepared`. `build(attacked, clean) -> Found | None` gets the poisoned rows of one
    set-up and all clean ones.
    """
    clean = frame[frame["world"] == "C"]
    built = [
        (place, build(place, clean)) for place in ranked(frame[frame["world"] == "P"], claim.setup)
    ]
    # none where facts are missing
    known = [
        (place, one)
        for place, one in built
        if one is not None and judgement.line_beside(claim, one.judge, "")
    ]
    if not known:
        return judgement.unmeasured(claim)
    (_, first), *others = known
    found = judgement.assemble(claim, first.judge, first.frame, beside=())
    lines = [
        line
        for place, one in others
        for line in judgement.line_beside(claim, one.judge, _words(place.iloc[0]))
    ]
    return replace(found, beside=(*first.beside, *lines), note=first.note)


def figure(frame: "DataFrame", published: Published, build: Callable) -> "DataFrame":
    """The rows that a figure shows: those of the first set-up that `build` can use."""
    frame = prepared(frame)
    attacked, clean = (frame[frame["world"] == world] for world in "PC")
    found = (build(place, clean) for place in ranked(attacked, published))
    return next((one.frame for one in found if one is not None), frame.iloc[:0])


def _words(line: "Series") -> str:
    size = line["train_size"]
    return ", ".join(
        [
            line["dataset"],
            line["features"],
            str(line["model"]),
            *([f"{size:g} images"] if size == size and size is not None else []),
        ]
    )


def listed(values: Iterable[float]) -> str:
    """Distinct numbers in words, ascending."""
    return ", ".join(f"{value:g}" for value in sorted(set(values)))


# ---------------------------------------------------------------- verdicts


def beats_chance(group: "DataFrame", clean: "DataFrame") -> bool | None:
    """The positive control of these rows: each of their ensembles without poison beats chance.

    None where one was not measured.
    """
    return judgement.every(
        *(
            judgement.shows(clean[clean[ENSEMBLE] == number], CHANCE_MARGIN, column=MARGIN)
            for number in group[ENSEMBLE].unique()
        )
    )


def exactly(claim: Claim, values: dict, frame: "DataFrame") -> Measurement:
    """Judge a claim of bounds on all set-ups together, each part by the row that speaks most
    against it.

    values: for each part a number a row of `frame`; rows that a part does not speak of are left out
    or NaN.
    """
    values = {name: one.dropna() for name, one in values.items()}
    used = frame.loc[sorted(set().union(*(one.index for one in values.values())))]
    if used.empty:
        return judgement.unmeasured(claim)

    def judge(part: Part, _: object) -> Verdict:
        own = values[part.name]
        return judgement.exact(
            part,
            own.min() if part.beyond == "above" else own.max(),
            n=rows.unit(frame.loc[own.index]).nunique(),
        )

    setup = rows.setup_label(ranked(used, claim.setup)[0].iloc[0], claim.setup)
    return replace(
        judgement.assemble(claim, judge, used, beside=()),
        setup=setup,
        note=f"all rows of {used.groupby(list(rows.PLACE), dropna=False).ngroups} set-ups",
    )


# ---------------------------------------------------------- O1, O4, O5: over the share of poison


def share_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figures 3 and 4."""
    return figure(frame, ozyikan.SETUP, _most)


def few_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 5: of a hundred models, at any noise."""

    def shown(attacked: "DataFrame", _: object) -> Found | None:
        swept = _hundred_swept(attacked)
        return None if swept is None else Found(lambda part, column: NOT_MEASURED, swept)

    return figure(frame, ozyikan.SETUP, shown)


def more_poison(frames: Frames, claim: Claim) -> Measurement:
    """O1 and O4: what is plotted at the largest share of poison minus that at the smallest, at the
    worst noise level.
    """
    return measure(prepared(frames.get(claim.notebook)), claim, _most)


def _most(attacked: "DataFrame", clean: "DataFrame") -> Found | None:
    swept = most_models(plain(attacked), SHARE, but=(NOISE,))
    return (
        None if swept is None else Found(_over_shares(swept, clean), swept, note=_ensembles(swept))
    )


def _over_shares(swept: "DataFrame", clean: "DataFrame") -> Callable:
    between = ends(swept, SHARE)

    def judge(part: Part, _: object) -> Verdict:
        if part.name == "same":
            return judgement.guarded(part, correlations(swept), passed=beats_chance(swept, clean))
        return worst(
            {
                f"noise {noise:g}": judgement.guarded(
                    part,
                    change(group, SHARE, PLOTTED[part.name], between),
                    passed=beats_chance(group, clean),
                )
                for noise, group in swept.groupby(NOISE)
            }
        )

    return judge


def correlations(swept: "DataFrame") -> list[float]:
    """Pearson's correlation of the printed number with attack success over all settings of an
    instance; NaN where either is constant.
    """
    means = (
        swept[[PRINTED, "success"]]
        .groupby([rows.unit(swept).rename("unit"), swept[NOISE], swept[SHARE]])
        .mean()
        .dropna()
    )
    return [
        group[PRINTED].corr(group["success"])
        if len(group) >= FEWEST and (group.std() > 1e-9).all()
        else math.nan
        for _, group in means.groupby(level="unit")
    ]


def _ensembles(swept: "DataFrame") -> str:
    return f"{listed(swept[MODELS])} models, noise {listed(swept[NOISE])}"


def hundred_models(frames: Frames, claim: Claim) -> Measurement:
    """O5: as O1 and O4 with a hundred models, at the noise levels that the largest ensembles have.

    Others (figure 5 prints 5) beside.
    """
    return measure(
        prepared(frames.get(claim.notebook)),
        claim,
        lambda attacked, clean: _hundred(attacked, clean, claim),
    )


def _hundred(attacked: "DataFrame", clean: "DataFrame", claim: Claim) -> Found | None:
    swept, whole = _hundred_swept(attacked), most_models(plain(attacked), SHARE, but=(NOISE,))
    if swept is None or whole is None:
        return None
    shared = swept[NOISE].isin(whole[NOISE])
    own, other = (swept[shared], swept[~shared]) if shared.any() else (swept, swept.iloc[:0])
    beside = [
        line
        for noise, group in other.groupby(NOISE)
        for line in judgement.line_beside(claim, _over_shares(group, clean), f"noise {noise:g}")
    ]
    return Found(_over_shares(own, clean), own, tuple(beside), _ensembles(own))


def _hundred_swept(attacked: "DataFrame") -> "DataFrame | None":
    found = plain(attacked)
    return sweep(found[found[MODELS] == FEW_MODELS], SHARE, but=(NOISE,))


# ---------------------------------------------------------------- O2, O3: over the smoothing noise


def median(frames: Frames, claim: Claim) -> Measurement:
    """O2: the median accuracy of the single models at the largest noise minus the smallest.

    Beside it that of the smoothed prediction.
    """
    return measure(
        prepared(frames.get(claim.notebook)),
        claim,
        lambda attacked, clean: _noise(attacked, clean, claim, MEDIAN),
    )


def quartile_range(frames: Frames, claim: Claim) -> Measurement:
    """O3: the interquartile range of the single models' accuracy.

    Models that guess are alike for another reason: the control is asked for at both levels.
    """
    return measure(
        prepared(frames.get(claim.notebook)),
        claim,
        lambda attacked, clean: _noise(attacked, clean, claim, SPREAD),
    )


def _noise(attacked: "DataFrame", clean: "DataFrame", claim: Claim, column: str) -> Found | None:
    swept = most_models(plain(attacked), NOISE, but=(SHARE,))
    if swept is None:
        return None
    between = ends(swept, NOISE)
    passed = beats_chance(
        swept[swept[NOISE].isin(between if column == SPREAD else between[:1])], clean
    )

    def judge(name: str):
        return lambda part, _: judgement.guarded(
            part, change(swept, NOISE, name, between), passed=passed
        )

    beside = (
        judgement.line_beside(claim, judge("accuracy"), "accuracy of the smoothed prediction")
        if column == MEDIAN
        else ()
    )
    return Found(judge(column), swept, beside, _ensembles(swept))


# ---------------------------------------------------------------- O6: over the noise of DP-SGD


def private_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 6."""
    return figure(frame, ozyikan.SETUP, _steps)


def more_dp_noise(frames: Frames, claim: Claim) -> Measurement:
    """O6: every step from one DP noise level to the next, and the worst of them.

    The largest of several noisy steps of an instance would be a rise where there is none. Beside it
    what the claim leaves out: each level minus the same ensemble without DP-SGD, two-sided.
    """
    return measure(prepared(frames.get(claim.notebook)), claim, _steps)


def without_dp(frame: "DataFrame") -> "DataFrame":
    """DP-SGD inside RAB minus RAB without it, at the largest shared poisoned share.

    frame: of `prepared`. A line a level and metric: noise, metric, share, values (one an instance),
    and `confounds`: the settings of training, beside DP-SGD's own, that differ between the two.
    """
    import pandas as pd

    inside, outside = (one[one["world"] == "P"] for one in (private(frame), plain(frame)))
    lines = []
    for noise, group in inside.groupby(DP_NOISE):
        share = _largest_shared(group, outside)
        own, other = (one[one[SHARE] == share] for one in (group, _alike(outside, group)))
        for metric in CONTRASTED:
            both = pd.concat(
                [
                    rows.per_unit(one, metric).rename(name)
                    for name, one in (("own", own), ("other", other))
                ],
                axis=1,
            ).dropna()
            lines.append(
                {
                    "noise": noise,
                    "metric": metric,
                    "share": share,
                    "values": (both["own"] - both["other"]).tolist(),
                    "confounds": confounds(own, other),
                }
            )
    return pd.DataFrame(lines, columns=["noise", "metric", "share", "values", "confounds"])


def without_dp_table(frame: "DataFrame") -> tuple["DataFrame", str]:
    """`without_dp` of a notebook's rows, in the set-up that decides O6: (table, what else differs).

    One line a level of DP noise; each metric as mean and 95% t interval, in points.
    """
    import pandas as pd

    frame = prepared(frame)
    places = ranked(private(frame[frame["world"] == "P"]), ozyikan.SETUP)
    found = without_dp(_same_place(frame, places[0]) if places else frame)
    lines = [
        {"DP noise": noise, "pairs": len(group["values"].iloc[0])}
        | {
            CONTRASTED[line.metric]: judgement.points(
                line.values, bounds=rows.difference(line.metric)
            )
            for line in group.itertuples()
        }
        for noise, group in found.groupby("noise")
    ]
    words = "; ".join(dict.fromkeys(found["confounds"]))
    return pd.DataFrame(lines, columns=["DP noise", *CONTRASTED.values(), "pairs"]), words


def _same_place(frame: "DataFrame", place: "DataFrame") -> "DataFrame":
    names = list(rows.PLACE)
    return frame.merge(place[names].drop_duplicates(), on=names)


def _alike(outside: "DataFrame", group: "DataFrame") -> "DataFrame":
    """The rows without DP-SGD on the same data, smoothing noise and number of models."""
    same = ["dataset", "features", "model", "train_size", NOISE, MODELS]
    return outside.merge(group[same].drop_duplicates(), on=same)


def _largest_shared(group: "DataFrame", outside: "DataFrame") -> float:
    shares = set(group[SHARE]) & set(_alike(outside, group)[SHARE])
    return max(shares, default=math.nan)


def confounds(own: "DataFrame", other: "DataFrame") -> str:
    """In words, which settings of the training differ besides DP-SGD's: both values of each."""
    names = [name for name in own.columns if name.startswith("training.") and name in other]
    sides = {
        name: [sorted(set(one[name].dropna()), key=str) for one in (own, other)] for name in names
    }
    return "; ".join(
        f"{name.removeprefix('training.')} {_values(a)} against {_values(b)}"
        for name, (a, b) in sides.items()
        if a != b
    )


def _values(found: list) -> str:
    return ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in found) or "none"


def _contrasts(frame: "DataFrame", passed: bool | None) -> tuple:
    """`without_dp` as lines beside the verdict."""
    return tuple(
        (
            f"{CONTRASTED[line.metric]}, DP noise {line.noise:g} minus no DP-SGD, "
            f"{line.share:.0%} poison ({line.confounds})",
            judgement.decide(NO_DP, line.values, passed=passed, column=line.metric),
            None,
        )
        for line in without_dp(frame).itertuples()
        if len(line.values)
    )


def _steps(attacked: "DataFrame", clean: "DataFrame") -> Found | None:
    swept = sweep(private(attacked), DP_NOISE, but=(SHARE,))
    if swept is None:
        return None
    levels = sorted(swept[DP_NOISE].unique())
    passed = beats_chance(swept[swept[DP_NOISE] == levels[0]], clean)

    def judge(part: Part, _: object) -> Verdict:
        return worst(
            {
                f"noise {low:g} to {high:g}": judgement.guarded(
                    part, change(swept, DP_NOISE, CERTIFIED, (low, high)), passed=passed
                )
                for low, high in pairwise(levels)
            }
        )

    return Found(
        judge,
        swept,
        _contrasts(attacked, passed),
        f"{_ensembles(swept)}, DP noise {listed(levels)}",
    )


# ---------------------------------------------------------------- O11, O12: arithmetic


def within_ceiling(frames: Frames, claim: Claim) -> Measurement:
    """O11: the largest radius minus its ceiling, in any training world."""
    frame = smoothed(prepared(frames.get(claim.notebook)))
    return exactly(claim, {"radius": frame[RADIUS] - frame[CEILING]}, frame)


def beyond_ceiling(frames: Frames, claim: Claim) -> Measurement:
    """O12: the norm of all patterns minus the ceiling, where a tenth of the images is poisoned."""
    frame = smoothed(prepared(frames.get(claim.notebook)))
    frame = frame[(frame["world"] == "P") & ((frame[SHARE] - LARGEST_SHARE).abs() < 1e-9)]
    return exactly(claim, {"excess": frame[BUDGET] - frame[CEILING]}, frame)
