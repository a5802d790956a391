"""Measuring O7 to O10: votes of models on disjoint parts (Ozyikan et al., figure 7; rows of
`41_partition`).
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from lib.papers import ozyikan
from lib.papers.ozyikan import certified
from lib.papers.ozyikan.certified import COUNT, MODELS, NOISE, SHARE
from lib.verdicts import contrasts, judgement, rows
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.combining import worst
from lib.verdicts.judgement import Found, Judge
from lib.verdicts.verdict import NOT_MEASURED, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

PARTS = "defence.partitions"
COLUMNS = {"accuracy": "accuracy", "radius": certified.RADIUS}  # by part of O7
SMALLEST_SHARE = 0.02  # of O10
RAB_NOTEBOOK = "40_smoothing"


def votes(frame: "DataFrame") -> "DataFrame":
    """DPA as published: parts by a hash of the image, one model a part."""
    return frame[
        (frame["defence.name"] == "partition")
        & (frame["defence.by"] == "content")
        & ~(frame[MODELS] > 1)
        & ~(frame[NOISE] > 0)
    ]


def poisoned_share(frame: "DataFrame") -> "DataFrame":
    """The rows with a poisoned share; those with a number of poisoned images are for O9."""
    return frame[frame[SHARE].notna()]


# ---------------------------------------------------------------- O7


def part_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 7, left."""
    return certified.figure(frame, ozyikan.PARTS, _parts)


def more_parts(frames: Frames, claim: Claim) -> Measurement:
    """O7: accuracy and largest radius with the most parts minus those with the fewest, averaged
    over the shares of poison.
    """
    return certified.measure(certified.prepared(frames.get(claim.notebook)), claim, _parts)


def _parts(attacked: "DataFrame", clean: "DataFrame") -> Found | None:
    swept = certified.sweep(poisoned_share(votes(attacked)), PARTS, but=(SHARE,))
    if swept is None:
        return None
    between = certified.ends(swept, PARTS)
    passed = certified.beats_chance(swept[swept[PARTS] == between[0]], clean)

    def judge(part: Part, _: object) -> Verdict:
        return judgement.guarded(
            part, certified.change(swept, PARTS, COLUMNS[part.name], between), passed=passed
        )

    return Found(judge, swept, note=f"k {certified.listed(swept[PARTS])}")


# ---------------------------------------------------------------- O8


def contrast_rows(frame: "DataFrame") -> "DataFrame":
    """Rows of figure 7, right: both defences against the same attacks on the same data."""
    return _figure_rows(certified.prepared(frame))


def _figure_rows(frame: "DataFrame") -> "DataFrame":
    attacked = _any_model(frame[frame["world"] == "P"])
    found = (_together(place) for place in certified.ranked(attacked, ozyikan.SETUP))
    return next((one for one in found if one is not None), frame.iloc[:0])


def smoothing_against_parts(frames: Frames, claim: Claim) -> Measurement:
    """O8: clean accuracy of RAB at the least noise minus that of DPA with the fewest parts, at the
    worst share; beside it with more parts.
    """
    return certified.measure(
        _any_model(certified.prepared(frames.get(claim.notebook))),
        claim,
        lambda attacked, clean: _contrast(attacked, clean, claim),
    )


def _any_model(frame: "DataFrame") -> "DataFrame":
    """The base learner as a part of the defence: a set-up of this contrast is data and features."""
    return frame.assign(**{"defence.base_model": frame["model"], "model": "each its own"})


def _together(attacked: "DataFrame") -> "DataFrame | None":
    """RAB and DPA against the same attack: the one with the most shares of poison.

    None where one of the two is missing.
    """
    found = attacked.loc[[*certified.plain(attacked).index, *poisoned_share(votes(attacked)).index]]
    attack = [name for name in rows.settings(found, but=(SHARE,)) if name.startswith("attack.")]
    groups = [
        group
        for _, group in found.groupby(attack, dropna=False, sort=False)
        if group["defence.name"].nunique() == 2
    ]
    return max(groups, key=lambda group: (group[SHARE].nunique(), len(group)), default=None)


def _contrast(attacked: "DataFrame", clean: "DataFrame", claim: Claim) -> Found | None:
    both = _together(attacked)
    if both is None:
        return None
    rab, dpa = certified.plain(both), votes(both)
    rab = rab[rab[NOISE] == rab[NOISE].min()]
    rab = rows.sweep(rab[rab[MODELS] == rab[MODELS].max()], SHARE)
    by_count = {count: rows.sweep(group, SHARE) for count, group in dpa.groupby(PARTS)}
    fewest, *more = by_count
    beside = [
        line
        for count in more
        for line in judgement.line_beside(
            claim, _less(rab, by_count[count], clean), f"DPA of {count:g} parts"
        )
    ]
    own = by_count[fewest]
    words = (
        f"RAB of {certified.listed(rab[MODELS])} models, noise {certified.listed(rab[NOISE])}; DPA"
        f" of {fewest:g} parts"
    )
    return Found(_less(rab, own, clean), rows.together([rab, own]), tuple(beside), words)


def _less(rab: "DataFrame", dpa: "DataFrame", clean: "DataFrame") -> Judge:
    """A judge of RAB's accuracy less DPA's on the same attacks.

    Either could win for the other has learned nothing: both controls.
    """
    passed = judgement.every(certified.beats_chance(rab, clean), certified.beats_chance(dpa, clean))

    def judge(part: Part, _: object) -> Verdict:
        return worst(
            {
                f"{share:.0%}": _at(
                    part, rab[rab[SHARE] == share], dpa[dpa[SHARE] == share], passed
                )
                for share in sorted({*rab[SHARE], *dpa[SHARE]})
            }
        )

    return judge


def _at(part: Part, rab: "DataFrame", dpa: "DataFrame", passed: bool | None) -> Verdict:
    both = contrasts.paired(rab, dpa, "accuracy")
    return judgement.guarded(part, both["own"] - both["other"], passed=passed)


# ---------------------------------------------------------------- O9


def no_flips(frames: Frames, claim: Claim) -> Measurement:
    """O9: certified predictions of DPA that came out otherwise without the poison, all rows
    together: one is a counter-example.

    The poison must have flipped something, certified or not. Beside it RAB, which may be wrong in
    alpha of its certificates.
    """
    part = claim.part("flips")
    own, other = (certified.prepared(frames.get(name)) for name in (claim.notebook, RAB_NOTEBOOK))
    dpa = tested(votes(own))
    rab = tested(certified.smoothed(rows.together([own, other])))
    beside = _rab_flips(part, rab)
    note = "; ".join(
        _counted(name, frame) for name, frame in (("DPA", dpa), ("RAB", rab)) if len(frame)
    )
    if dpa.empty:
        return replace(judgement.unmeasured(claim), beside=beside, note=note)
    direction, _ = judgement.verdicts(claim, lambda part, _: _flips(part, dpa), "")
    line = certified.ranked(dpa, claim.setup)[0].iloc[0]
    return Measurement(direction, None, beside, rows.setup_label(line, claim.setup), len(dpa), note)


def tested(frame: "DataFrame") -> "DataFrame":
    """The poisoned rows with a second ensemble to compare with, and with a prediction that is
    certified against the attack.
    """
    return frame[
        (frame["world"] == "P")
        & frame["defence.twin"].eq(True)
        & frame[certified.FLIPS].notna()
        & (frame[COUNT] != 0)
    ]


def _flips(part: Part, frame: "DataFrame") -> Verdict:
    """The verdict on a count: no mean over instances, no interval; a single flip decides."""
    flips, others = frame[certified.FLIPS].sum(), frame[certified.OTHER_FLIPS].sum()
    return judgement.exact(
        part, float(flips), n=rows.unit(frame).nunique(), passed=bool(flips + others > 0)
    )


def _rab_flips(part: Part, frame: "DataFrame") -> tuple:
    """RAB's flips less those that alpha allows, all rows together: all of them, and those that the
    second ensemble is sure of. Each certificate may be wrong with probability alpha.
    """
    if frame.empty:
        return ()
    lines = []
    for name, column in (
        ("RAB, beyond what alpha allows", certified.FLIPS),
        ("RAB, confirmed by the second ensemble", certified.CONFIRMED),
    ):
        beyond = float(frame[column].sum(min_count=1)) - _allowed(frame)
        passed = bool(frame[certified.FLIPS].sum() + frame[certified.OTHER_FLIPS].sum() > 0)
        found = judgement.exact(part, beyond, n=rows.unit(frame).nunique(), passed=passed)
        if found is not NOT_MEASURED:
            lines.append((name, found, None))
    return tuple(lines)


def _allowed(frame: "DataFrame") -> float:
    """The most flips that alpha explains: the 97.5% quantile of their binomial number."""
    from scipy.stats import binom

    count = frame[COUNT].sum()
    alpha = ((1 - frame["defence.confidence"]) * frame[COUNT]).sum() / count
    return float(binom.ppf(0.975, count, alpha))


def _counted(name: str, frame: "DataFrame") -> str:
    flips, count, others = (
        frame[column].sum() for column in (certified.FLIPS, COUNT, certified.OTHER_FLIPS)
    )
    return f"{name}: {flips:g} of {count:.0f} certified predictions flipped, and {others:g} others"


# ---------------------------------------------------------------- O10


def half_the_parts(frames: Frames, claim: Claim) -> Measurement:
    """O10: the largest radius minus floor(k/2) in any training world, and predictions certified
    against the attack at 2% or more.
    """
    frame = votes(certified.prepared(frames.get(claim.notebook)))
    attacked = frame[(frame["world"] == "P") & (frame[SHARE] >= SMALLEST_SHARE - 1e-9)]
    return certified.exactly(
        claim,
        {"radius": frame[certified.RADIUS] - frame[PARTS] // 2, "certified": attacked[COUNT]},
        frame,
    )
