"""A membership game against mixed images and labels: was this record among those that were mixed?

A game draws a few records; in one world a target is among them, in the other a record of another
class stands in its place (replace-one). They are released once, as training sees them in one pass:
`lib.training`'s mixup, then Laplace noise. The player knows the release, the two candidates and all
other records, as differential privacy allows, and not who was mixed with whom.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lib.metrics import clopper_pearson
from lib.privacy import audit_lower_bound, instahide_epsilon, mixup_epsilon
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.mixup import Mixup

if TYPE_CHECKING:
    from pandas import DataFrame

AT_ONCE = 250  # games
CLASSES = 10


@dataclass(frozen=True)
class Game:
    """What is released and what the player reads.

    scale: Laplace noise on pixels in [0, 1]; label_scale: on every entry of a mixed label, 0:
    none. alone: the target's class has no other record. reads: "labels" or "images".
    sigma: the noise as the theorem would count it, for records of unit l1 diameter.
    """

    name: str
    reads: str
    scale: float
    sigma: float
    label_scale: float = 0.0
    alone: bool = False


class Drawn(NamedTuple):
    """Records of some games: images [games, n, ...], one-hot labels [games, n, classes], target's
    place 0, and the image and label that stand there in the other world."""

    images: Tensor
    labels: Tensor
    other_image: Tensor
    other_label: Tensor

    def world(self, target: bool) -> tuple[Tensor, Tensor]:
        """The records with the target, or with the other record in its place."""
        if target:
            return self.images, self.labels
        images, labels = self.images.clone(), self.labels.clone()
        images[:, 0], labels[:, 0] = self.other_image, self.other_label
        return images, labels


def pool(images: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Drawn digits to play with: pixels in [0, 1] [images, 1, 28, 28], labels [images]."""
    from lib.data import strokes

    pixels, labels = strokes(images, seed=seed)
    return torch.from_numpy(pixels).float()[:, None] / 255, torch.from_numpy(labels).long()


def games(pixels: int) -> list[Game]:
    """The games of the notebook: noise of the whole range of a pixel, or of the whole diameter."""
    fair = float(pixels)  # sigma 1 for images of l1 diameter `pixels`
    return [
        Game("labels, the only record of its class", "labels", fair, 1.0, alone=True),
        Game("labels, one of several of its class", "labels", fair, 1.0),
        Game("labels with noise 2", "labels", fair, 1.0, label_scale=2.0),
        Game("images, noise 1 on every pixel", "images", 1.0, 1.0),
        Game("images, noise scaled to the diameter", "images", fair, 1.0),
    ]


def play(game: Game, images: Tensor, labels: Tensor, *, records: int, width: int, trials: int,
         seed: int) -> tuple[int, int]:
    """How often the player says "in", with the target and without it, of `trials` games each.

    images [pool, 1, height, width] in [0, 1]; labels [pool]. A test on images needs a threshold: it
    comes from as many further games.
    """
    random = torch.Generator().manual_seed(seed)
    score = _SCORES[game.reads]

    def scores(target: bool) -> Tensor:
        parts = []
        for start in range(0, trials, AT_ONCE):
            drawn = draw(images, labels, records, min(AT_ONCE, trials - start), random,
                         alone=game.alone)
            parts.append(score(drawn, *release(*drawn.world(target), game, width, random)))
        return torch.cat(parts)

    threshold = 0.5 if game.reads == "labels" else _threshold(scores(True), scores(False))
    return int((scores(True) > threshold).sum()), int((scores(False) > threshold).sum())


def draw(images: Tensor, labels: Tensor, records: int, count: int, random: torch.Generator, *,
         alone: bool) -> Drawn:
    """Draw the records of `count` games from a pool; the two candidates differ in their class."""
    order = torch.rand(count, len(labels), generator=random).argsort(1)
    target = order[:, 0]
    same = labels[order].eq(labels[target][:, None])
    # candidates of another class first, in random order; the rest as drawn, or without that class
    others = torch.where(same, torch.arange(len(labels)) + len(labels), torch.arange(len(labels)))
    apart = order.gather(1, others.argsort(1))
    replacement = apart[:, 0]
    rest = apart[:, 1:records] if alone else _without(order[:, 1:], replacement, records - 1)
    rows = torch.cat([target[:, None], rest], 1)
    hot = torch.eye(CLASSES)[labels]
    return Drawn(images[rows], hot[rows], images[replacement], hot[replacement])


def _without(order: Tensor, left_out: Tensor, many: int) -> Tensor:
    """The first `many` of each row of places, but for one of them."""
    hit = order.eq(left_out[:, None])
    kept = torch.arange(order.shape[1]) + order.shape[1] * hit
    return order.gather(1, kept.argsort(1))[:, :many]


def release(images: Tensor, labels: Tensor, game: Game, width: int, random: torch.Generator
            ) -> tuple[Tensor, Tensor]:
    """One pass over the records of each game as one batch: mixed images and mixed labels."""
    (many, count), shape = images.shape[:2], tuple(images.shape[2:])
    for transform in (Mixup(width=width), Laplace(scale=game.scale)):
        drawn = transform.draw(many * count, shape, random)  # independent for each place
        draws = {key: one.view(many, count, *one.shape[1:]) for key, one in drawn.items()}
        images, labels = transform.apply(images, labels, draws)
    if game.label_scale:
        both = torch.empty(2, *labels.shape).exponential_(generator=random)
        labels = labels + game.label_scale * (both[0] - both[1])
    return images, labels


def _read_labels(drawn: Drawn, images: Tensor, labels: Tensor) -> Tensor:
    """Records of the target's class in the release, less those that the player knows of.

    Each record enters with weights that add up to 1, so mixed labels add up to the class counts.
    """
    place = drawn.labels[:, 0].argmax(1)[:, None]
    total = labels.sum(1).gather(1, place)[:, 0]
    return total - drawn.labels[:, 1:].sum(1).gather(1, place)[:, 0]


def _read_images(drawn: Drawn, images: Tensor, labels: Tensor) -> Tensor:
    """What the mixes add up to, less the other records, along the line between the candidates."""
    left = (images.sum(1) - drawn.images[:, 1:].sum(1)).flatten(1)
    one, other = drawn.images[:, 0].flatten(1), drawn.other_image.flatten(1)
    along = one - other
    return ((left - (one + other) / 2) * along).sum(1) / along.norm(dim=1)


Score = Callable[[Drawn, Tensor, Tensor], Tensor]
_SCORES: dict[str, Score] = {"labels": _read_labels, "images": _read_images}


def _threshold(ins: Tensor, outs: Tensor) -> float:
    """The threshold that shows the largest epsilon on these scores, among quantiles of `outs` from
    50 to 99% (few scores lie beyond); their median if none shows any."""
    found = [(audit_lower_bound(int((ins > at).sum()), len(ins), int((outs > at).sum()), len(outs),
                                confidence=0.95), at)
             for at in torch.quantile(outs, torch.linspace(0.5, 0.99, 50)).tolist()]
    return max(found, key=lambda one: one[0])[1]


def table(settings: Iterable[Game], images: Tensor, labels: Tensor, *, records: int, width: int,
          trials: int, seed: int, confidence: float) -> "DataFrame":
    """Play the games: a line each, with rates, advantage and three epsilons.

    Columns: game, in and out (shares of the games in which the player says "in", with the target
    and without), each with its 95% interval; advantage, its 95% interval (Clopper-Pearson at 97.5%
    on both rates); at least (the epsilon that the game shows at `confidence`), printed (Theorem 2
    at n = T = records), true (of the release as run).
    """
    import pandas as pd

    pixels = images[0].numel()
    found = []
    for place, game in enumerate(settings):
        hits = play(game, images, labels, records=records, width=width, trials=trials,
                    seed=seed + place)
        found.append({"game": game.name, **_rates(*hits, trials),
                      "at least": audit_lower_bound(hits[0], trials, hits[1], trials,
                                                    confidence=confidence),
                      "printed": instahide_epsilon(records, records, width, game.sigma),
                      "true": _true(game, pixels, records, width)})
    return pd.DataFrame(found)


def _rates(hits: int, alarms: int, trials: int) -> dict[str, float]:
    wide = [clopper_pearson(count, trials, confidence=0.975) for count in (hits, alarms)]
    found = {"advantage": (hits - alarms) / trials, "advantage low": wide[0][0] - wide[1][1],
             "advantage high": wide[0][1] - wide[1][0]}
    for name, count in (("in", hits), ("out", alarms)):
        low, high = clopper_pearson(count, trials)
        found |= {name: count / trials, f"{name} low": low, f"{name} high": high}
    return found


def _true(game: Game, pixels: int, records: int, width: int) -> float:
    """The pure epsilon of what the player reads: labels alone, or images alone."""
    diameter, label_scale = (0.0, game.label_scale) if game.reads == "labels" else (
        float(pixels), math.inf)
    return mixup_epsilon(width, game.scale, 1, 0.0, n=records, batch_size=records,
                         diameter=diameter, label_scale=label_scale)


# ---------------------------------------------------------------- for the notebook

WITH, WITHOUT = "record is in", "record is not in"


def shares(found: "DataFrame") -> "DataFrame":
    """`table` as `lib.figures.proportions` draws it: a line a game and world."""
    import pandas as pd

    lines = []
    for row in found.to_dict("records"):
        least = f"ε ≥ {row['at least']:.1f}" if row["at least"] else "no ε shown"
        note = f"{least}; printed {row['printed']:.1f}"
        lines += [{"game": row["game"], "world": world, "share": row[name],
                   "low": row[f"{name} low"], "high": row[f"{name} high"], "note": note}
                  for name, world in (("in", WITH), ("out", WITHOUT))]
    return pd.DataFrame(lines)


def texts(found: "DataFrame") -> "DataFrame":
    """`table` in words: advantage with its interval, and the three epsilons."""
    words = [f"{100 * one:.1f} [{100 * low:.1f}, {100 * high:.1f}]" for one, low, high in zip(
        found["advantage"], found["advantage low"], found["advantage high"], strict=True)]
    return found[["game"]].assign(
        advantage=[text.replace("-", "−") for text in words],
        **{"epsilon at least": found["at least"], "Theorem 2, as printed": found["printed"],
           "of what is read, as run": found["true"],
           "refutes the printed one": found["at least"] > found["printed"]})


def finding(found: "DataFrame") -> str:
    """How many games refute the printed epsilon, and whether any refutes the one as run."""
    refuted = found[found["at least"] > found["printed"]]
    broken = int((found["at least"] > found["true"]).sum())
    if refuted.empty:
        return (f"No game refutes the printed epsilon; {broken} of {len(found)} refute that of the"
                " release as run.")
    return (f"{len(refuted)} of {len(found)} games refute the printed epsilon of"
            f" {refuted['printed'].iloc[0]:.1f} (they show at least"
            f" {refuted['at least'].min():.1f} to {refuted['at least'].max():.1f});"
            f" {broken or 'none'} refute{'s' if broken < 2 else ''} the epsilon of the release as"
            " run.")
