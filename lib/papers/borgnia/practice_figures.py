"""Notebook 23: figures 3, 4b and 5, what could predict success, and the headline."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lib import figures
from lib.papers import Headline
from lib.papers.borgnia import (
    advice_on_mixing,
    beyond,
    matching,
    practice,
    predictors,
    table1,
)
from lib.papers.borgnia.advice_on_mixing import Field
from lib.papers.borgnia.beyond import LOUD, MIXES
from lib.papers.borgnia.matching import MAXUP
from lib.papers.borgnia.practice import ARM, FIVE, SCALE, WIDTH
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from lib.attacks.random_patch import RandomPatch

ADAPTIVE, NATURAL, PAPER = "adaptive attack", "without poison", "published"
PATCH = "patch, a tenth of a class relabelled (Razmi)"
FLIPS = "flipped labels, 40% appended (Hong)"
BREWED = "gradient matching, adaptive (Borgnia)"
PLACED = "patch at random places, a tenth of a class, true labels (Borgnia)"
HIT = "targets hit, % (lower is better)"
SIDES = ("mixing lowers the attack", "it helps")
MIXED = (2, 4)  # widths of figure 3


# ---------------------------------------------------------------- figure 3

def pictured(dataset: str, attack: "RandomPatch", *, scale: float = LOUD, count: int = 3,
             seed: int = 2) -> "tuple[Tensor, list[str]]":
    """Figure 3, with a patch in the brewed poison's place: images of the target class, patched, and
    as mixup with noise shows them: uint8 [(2 + 2 x widths) x count, ...], and their titles."""
    import torch

    from lib import data

    known = data.load(dataset, train_size=400, test_size=20)
    target = known.train_labels == attack.target
    own, others = known.train_images[target][:count], known.train_images[~target][:3 * count]
    patched = attack.trigger(own, seed=seed)
    batch, shown = torch.cat([patched, others]), {"clean": own, "patched": patched}
    for k in MIXED:
        for noise in (0, scale):
            title = f"k = {k}, noise" if noise else f"k = {k}"
            shown[title] = _mixed(batch, k, noise, seed)[:count]
    return torch.cat(list(shown.values())), [one for one in shown for _ in range(count)]


def _mixed(batch: "Tensor", width: int, scale: float, seed: int) -> "Tensor":
    """Images uint8 [n, ...] as DP-InstaHide shows them, cut to the range that can be drawn."""
    import torch

    from lib.training import as_input, generator

    x, labels, random = as_input(batch)[None], torch.zeros(1, len(batch), 2), generator("3", seed)
    for one in matching.noisy(width, scale):
        drawn = one.draw(len(batch), tuple(batch.shape[1:]), random)
        x, labels = one.apply(x, labels, {key: value[None] for key, value in drawn.items()})
    return (255 * x[0].clamp(0, 1)).round().to(torch.uint8)


# ---------------------------------------------------------------- figures 4b and 5

def by_width(found: "DataFrame") -> list[dict[str, Any]]:
    """Specs of `figures.proportions`, a panel a noise scale: trials hit by width, attacked and
    without poison. found: of `practice.mixups`."""
    panels = [{"frame": _shares(own, WIDTH, "k = {:g}"), "title": f"noise {scale:g}/255"}
              for scale, own in found.groupby(SCALE)]
    return panels or [{"frame": _shares(found, WIDTH, "")}]


def plane(found: "DataFrame") -> "DataFrame":
    """Rows for `figures.by_setting`, as the paper draws figure 5: those of `FIVE`, with the share
    of trials hit in per cent (`HIT`)."""
    own = found[found[ARM].isin(FIVE)]
    return own.assign(**{HIT: 100 * own["success"].astype(float)})


def by_noise(found: "DataFrame", names: Iterable[str] = FIVE) -> list[dict[str, Any]]:
    """The same, a panel an augmentation: trials hit by noise scale, and the published share."""
    return [{"frame": _published(_shares(found[found[ARM].eq(arm)], SCALE, "{:g}/255"), arm),
             "title": arm} for arm in names]


def _shares(found: "DataFrame", by: str, text: str) -> "DataFrame":
    import pandas as pd

    lines = [(text.format(level), kind, *_share(own, column))
             for level, own in found.groupby(by)
             for kind, column in ((ADAPTIVE, "success"), (NATURAL, "natural"))
             if own[column].notna().any()]
    return pd.DataFrame(lines, columns=["setting", "rule", "share", "low", "high", "n"])


def _share(own: "DataFrame", column: str) -> tuple[float, float, float, int]:
    """Share of trials, with its exact 95% interval."""
    from lib import metrics

    hits = rows.per_unit(own, column).dropna()
    low, high = metrics.clopper_pearson(round(hits.sum()), len(hits))
    return float(hits.mean()), low, high, len(hits)


def _published(frame: "DataFrame", arm: str) -> "DataFrame":
    """With the one share that the paper states: 0 of 20 for MaxUp and noise of 16/255."""
    import pandas as pd

    from lib import metrics

    if arm != MAXUP:
        return frame
    line = (f"{LOUD:g}/255", PAPER, 0.0, *metrics.clopper_pearson(0, 20), 20)
    paper = pd.DataFrame([line], columns=frame.columns)
    return pd.concat([frame, paper], ignore_index=True) if len(frame) else paper


def table(found: "DataFrame") -> "DataFrame":
    """A line an augmentation and noise scale: trials, accuracy, and shares of trials hit, attacked
    and by nature, in per cent with 95% intervals; the printed epsilon."""
    import pandas as pd

    lines = [{"augmentation": arm, "noise": f"{scale:g}/255",
              "trials": own[practice.TRIAL].nunique(),
              "accuracy, %": judgement.level(own, "accuracy"),
              "hit, %": _percent(own, "success"), "by nature, %": _percent(own, "natural"),
              practice.EPSILON: own[practice.EPSILON].iloc[0]}
             for (arm, scale), own in found.groupby([ARM, SCALE], sort=False)]
    return pd.DataFrame(lines, columns=None if lines else ["augmentation", "noise", "trials"])


def _percent(own: "DataFrame", column: str) -> str | None:
    if not own[column].notna().any():
        return None
    share, low, high, _ = _share(own, column)
    return f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def finding(found: "DataFrame") -> str:
    """Of the settings of a figure, in words: the most and the least attacked one."""
    if found.empty:
        return ""
    means = found.groupby([ARM, SCALE])["success"].mean()
    (most, loud), (least, quiet) = means.idxmax(), means.idxmin()
    return (f"Over {found[practice.TRIAL].nunique()} trials the adaptive attack hits from"
            f" {100 * means.min():.0f}% ({beyond.full(least, quiet)}) to {100 * means.max():.0f}%"
            f" ({beyond.full(most, loud)}) of the targets.")


def predicted(found: "DataFrame", column: str = "success") -> "DataFrame":
    """A line a predictor of success over noise and width: rank correlation, its jackknife interval,
    trials."""
    import pandas as pd

    return pd.DataFrame([
        {"predictor": name, "rank correlation": mean, "low": low, "high": high, "trials": n}
        for name, (mean, low, high, n) in predictors.correlations(found, column).items()])


def equal_finding(equal: "DataFrame") -> str:
    """Of `predictors.apart`, in words: what differs at equal printed epsilon."""
    said = [f"{name}: {judgement.points(own['difference'].to_numpy())}"
            for name, own in equal.groupby("than", sort=False)]
    return f"In points of success, {'; '.join(said)}." if said else ""


# ---------------------------------------------------------------- headline

def fields(frame: "DataFrame", placed: "DataFrame | None" = None) -> list[Field]:
    """The attacks of this notebook, with their rows and what they gain; placed: rows of notebook
    20, whose patch stands beside them."""
    more = [] if placed is None else [
        Field(PLACED, beyond.of_place(table1.nearest(placed)), "effect")]
    return [Field(PATCH, beyond.of_patch(frame), "effect"),
            Field(FLIPS, beyond.of_flips(frame), "rad"),
            Field(BREWED, beyond.of_matching(practice.nearest(frame)), "success"), *more]


def headline(published: "DataFrame") -> Headline:
    """Notebook 23: what each mixing changes in the effect of Razmi et al.'s patch."""
    field = fields(published)[0]
    shown = advice_on_mixing.contrasts(field, MIXES)
    said = advice_on_mixing.finding(advice_on_mixing.table([field], MIXES))
    return Headline(
        "practice-headline",
        figures.contrasts(shown, by="than", better="lower", sides=SIDES,
                          xlabel="backdoor effect, mixing minus none"),
        shown,
        "What each mixing changes in the backdoor effect of a patch on a tenth of one class,"
        " against the same training without it in the same pair of classes, mean and 95% t interval"
        f" over {shown['instance'].nunique()} pairs (dots).",
        "Forest plot: for each mixing the backdoor effect minus that without mixing, beside zero.",
        said)


HEADLINES = {"23_instahide_practice": headline}
