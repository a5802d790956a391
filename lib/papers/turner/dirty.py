"""The mislabelled attack (Gu et al. 2017) as the thesis runs it, all classes to one: the runs and
rows of notebook 30.

Figure 2.1 has 20 to 5,000 poisons of 50,000 images, 0.04 to 10% of the whole set; on fewer images
the same shares are fewer poisons, and 75 poisons are a larger share, so both are run. The filter of
figure 3.1 inspects 300 of 50,000 records, of which 100 are poisons; on fewer images the shares stay
(0.6% and 0.2%), and so does what chance finds of the poisons.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib.attacks.badnets import BadNets
from lib.defences.label_probability import DETECTOR, LabelProbability
from lib.papers.turner import victims
from lib.study.design import instances, worlds
from lib.study.runs import Run
from lib.verdicts import contrasts, judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

PRINTED = 75  # poisons with which the thesis finds the attack very effective
RECORDS = 50_000  # of CIFAR-10
HIDDEN = 100 / RECORDS  # share of the set that is poison in figure 3.1
ATTACK, FILTER = "badnets", "label_probability"
POISONS, SHARE, CLASS = "poisons", "share of the set", "target class"
FOUND = "poisons found of 100"
COSTS = {"success": "attack success", "lift": "lift", "error": "error on clean images"}
INSPECTED = {"records": "records", "removed": "inspected", "poisons": "poisons", "found": "found",
             "expected": "by chance", "precision": "precision", "recall": "recall",
             "enrichment": "times chance", "auc": "AUC", "detector_accuracy": "detector accuracy"}


# ---------------------------------------------------------------- runs

def mislabelled(target: int, poisons: int, **trigger: Any) -> BadNets:
    """Stamp and relabel this many images of any class but the target. trigger: by default the
    thesis's."""
    return BadNets(None, target, poisons=poisons, **(trigger or victims.trigger()))


def poisons(victim: Run, shares: Iterable[float] = victims.ALL_SHARES) -> list[int]:
    """Poisons of figure 2.1 on the victim's records, and the printed 75 beside them; ascending."""
    found = victims.counts(shares, victims.records(victim))
    return sorted({*found, PRINTED}) if max(found) >= PRINTED else sorted(found)


def attacked(victim: Run, counts: Iterable[int], *, targets: Iterable[int] = victims.TARGET_CLASSES,
             seeds: int | None = 3, names: str = "PC", trigger: Mapping[str, Any] | None = None
             ) -> list[Run]:
    """Figure 2.1: the victim with each number of poisons for each target class, in the named
    worlds. Targets of one seed share their clean training. trigger: of `mislabelled`."""
    targets, stamp = list(targets), dict(trigger or {})
    return [world for count in counts
            for one in instances(victim.with_(attack=mislabelled(targets[0], count, **stamp)),
                                 [(None, target) for target in targets], seeds=seeds)
            for world in worlds(one, names)]


def detector(victim: Run, *, inspected: int | None = None) -> LabelProbability:
    """The filter of figure 3.1: a network of the victim's kind, trained with crops and flips.

    On 1,024 images of CIFAR-10 they raise its accuracy on 113 further ones from 46% to 55%, which
    was looked at before any attack.
    """
    settings = replace(DETECTOR, transforms=victims.augmentation(victim.dataset))
    return LabelProbability(inspected=inspected, training=settings)


def filtered(attacks: Iterable[Run], *, images: int = 1024, inspected: int | None = None
             ) -> list[Run]:
    """Each attacked run beside public images: without a defence, and with the filter by them."""
    known = [victims.trusting(run, images) for run in attacks]
    return [one for run in known
            for one in (run, run.with_(defence=detector(run, inspected=inspected)))]


def hidden(victim: Run) -> int:
    """The number of poisons of figure 3.1, in proportion to the victim's records."""
    return max(1, round(HIDDEN * victims.records(victim)))


# ---------------------------------------------------------------- rows

def prepared(frame: "DataFrame") -> "DataFrame":
    """The attacked rows of the mislabelled attack with `rows.prepared`'s columns, and `POISONS`,
    `SHARE`, `CLASS`."""
    own = frame[frame["attack.name"].eq(ATTACK)] if len(frame) else frame
    if "attack.poisons" not in own:
        own = own.assign(**{"attack.poisons": math.nan})
    found = rows.prepared(own[own["attack.poisons"].notna()])
    return found.assign(**{
        POISONS: found["attack.poisons"].astype(float),
        SHARE: found["attack.poisons"].astype(float) / records(found),
        CLASS: [victims.class_name(row["dataset"], int(row["attack.target"]))
                for _, row in found.iterrows()]})


def records(frame: "DataFrame") -> "Series":
    """The number of records behind each row."""
    import pandas as pd

    sizes = pd.to_numeric(frame["train_size"]).fillna(RECORDS)
    return sizes.astype(float) - frame["public"].astype(float)


def undefended(frame: "DataFrame") -> "DataFrame":
    """Of prepared rows, those of figure 2.1: no defence, and no images kept back."""
    found = rows.undefended(frame)
    return found[found["public"].eq(0)]


def ranked(frame: "DataFrame") -> "DataFrame":
    """Of prepared rows, those of the filter, with `FOUND`: recall in poisons of 100."""
    found = frame[frame["defence.name"].eq(FILTER)]
    return found.assign(**{FOUND: 100 * rows.optional(found, "facts.recall").astype(float)})


def at(frame: "DataFrame", count: float) -> "DataFrame":
    """The prepared rows with this number of poisons."""
    return frame[frame[POISONS].eq(count)]


def at_share(frame: "DataFrame", share: float) -> "DataFrame":
    """The prepared rows whose poisons are this share of the set, to one poison."""
    return frame[(frame[POISONS] - share * records(frame)).abs().lt(1)]


# ---------------------------------------------------------------- tables and findings

def table(frame: "DataFrame") -> "DataFrame":
    """Figure 2.1 in numbers: a line a number of poisons, means and 95% t intervals over targets.

    frame: of `undefended`.
    """
    import pandas as pd

    lines = []
    for count, own in frame.groupby(POISONS):
        lines.append({
            POISONS: int(count), "of the set": f"{own[SHARE].mean():.2%}",
            "targets": rows.unit(own).nunique(),
            **{f"{name}, %": judgement.level(own, name)
               for name in ("success", "natural", "lift", "accuracy")}})
    return pd.DataFrame(lines, columns=None if lines else [POISONS, "of the set", "targets"])


def finding(frame: "DataFrame") -> str:
    """In words: success and lift with the printed number of poisons, and with the same share."""
    said = []
    for words, own in ((f"{PRINTED} poisons", at(frame, PRINTED)),
                       ("the thesis's share of 0.15%", at_share(frame, PRINTED / RECORDS))):
        if len(own):
            said.append(f"With {words} the attack succeeds on {judgement.level(own, 'success')}% of"
                        f" the images of other classes, {judgement.level(own, 'lift')} points more"
                        " than without the trigger.")
    return " ".join(said)


def inspection(frame: "DataFrame") -> "DataFrame":
    """What the filter finds: a line a target class. frame: of `ranked`."""
    import pandas as pd

    lines = [{CLASS: row[CLASS], "seed": row["attack_seed"],
              **{words: row[f"facts.{name}"] for name, words in INSPECTED.items()}}
             for _, row in frame.iterrows()]
    return pd.DataFrame(lines, columns=None if lines else [CLASS, *INSPECTED.values()])


def inspection_finding(frame: "DataFrame") -> str:
    """In words: how many poisons are among the inspected records, against chance."""
    if frame.empty:
        return ""
    count = judgement.estimate(rows.per_unit(frame, FOUND).to_numpy(), bounds=(0.0, 100.0))
    chance = 100 * (frame["facts.removed"] / frame["facts.records"]).mean()
    spread = "" if math.isnan(count.low) else f" [{count.low:.0f}, {count.high:.0f}]"
    return (f"Among the {frame['facts.removed'].mean():.0f} least likely of"
            f" {frame['facts.records'].mean():,.0f} records are {count.mean:.0f}{spread} of 100"
            f" poisons; chance finds {chance:.1f}.")


def removal(frame: "DataFrame") -> "DataFrame":
    """For `figures.contrasts`: with the filter minus without, a line a target class and measure
    (`COSTS`, of all of which less is better).

    frame: of `prepared`, with the undefended rows beside the same public images.
    """
    import pandas as pd

    frame = frame.assign(error=1 - frame["accuracy"].astype(float))
    own, none = ranked(frame), rows.undefended(frame[frame["public"].gt(0)])
    lines = [(name, pair, both["own"] - both["other"]) for column, name in COSTS.items()
             for pair, both in contrasts.paired(own, none, column).iterrows()]
    return pd.DataFrame(lines, columns=["measure", "pair", "difference"])


def removal_finding(lines: "DataFrame") -> str:
    """In words: what training without the inspected records changes."""
    said = [f"{name} by {judgement.points(own['difference'].to_numpy())} points"
            for name, own in lines.groupby("measure", sort=False)]
    return f"Training without the inspected records changes {', '.join(said)}." if said else ""
