"""Measuring G15, and figure 8: the slab attack as a few points, repeated."""

from typing import TYPE_CHECKING, Any

from lib.papers.hong import rad, shaping
from lib.papers.hong.indiscriminate import FLIPS, LARGEST, SLAB, VANILLA, attack
from lib.verdicts import judgement
from lib.verdicts.claim import Claim, Frames, Measurement, Part
from lib.verdicts.verdict import NOT_MEASURED, Verdict, arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas import DataFrame
    from torch import Tensor

    from lib.attacks import Attack, Poisoned
    from lib.study.runs import Run

FACTS = {"kinds": "facts.kinds", "share": "facts.largest_share"}
MOST_DRAWN = 60  # points of a kind in figure 8: more would hide each other


def few_points(frames: Frames, claim: Claim) -> Measurement:
    """G15: number of distinct poisons (the most in any draw) and share of the largest, at 40%.

    Four is the most that the attack can have, so that only the share is a finding.
    """
    found = shaping.compared(frames, claim)
    slab = rad.at(found, SLAB)
    plain = slab[slab[rad.ARM].eq(VANILLA)]
    passed = shaping.slab_hurts(found)

    def judge(part: Part, column: str) -> Verdict:
        values = plain[FACTS[part.name]].dropna() if FACTS[part.name] in plain else plain["key"][:0]
        if values.empty:
            return NOT_MEASURED
        if part.name == "kinds":
            count = judgement.exact(part, float(values.max()), n=plain[rad.DRAW].nunique(),
                                    passed=bool(passed))
            return arithmetic(count, "the attack has at most four points")
        return judgement.guarded(part, values.to_numpy(float), passed=passed)
    return judgement.assemble(claim, judge, plain, metric="copies", beside=())


def table(found: "DataFrame") -> "DataFrame":
    """The slab attack's facts by share: kinds, share of the largest point, duality gap, and what it
    costs the vanilla model. found: of `rad.compared`."""
    slab = found[found[rad.KIND].eq(SLAB) & found[rad.ARM].eq(VANILLA)]
    names = {"facts.kinds": "kinds, most", "facts.largest_share": "largest share, least",
             "facts.duality_gap": "relative duality gap, largest"}
    if slab.empty:
        import pandas as pd
        return pd.DataFrame(columns=[rad.SHARE, "draws", *names.values(), rad.OWN])
    grouped = slab.groupby(rad.SHARE)
    parts = {"draws": grouped[rad.DRAW].nunique(), "kinds, most": grouped["facts.kinds"].max(),
             "largest share, least": grouped["facts.largest_share"].min(),
             "relative duality gap, largest": grouped["facts.duality_gap"].max(),
             rad.OWN: grouped[rad.OWN].mean()}
    import pandas as pd
    return pd.DataFrame(parts).reset_index()


def settings(frame: "DataFrame") -> "DataFrame":
    """The slab attack at the largest share, vanilla model: facts and RAD, a line a setting."""
    found = rad.at(rad.compared(frame), SLAB)
    plain = found[found[rad.ARM].eq(VANILLA)]
    names = {"attack.rho_squared": "squared norm", "attack.clip_pixels": "clipped to [0, 1]"}
    shown = {"facts.kinds": "kinds", "facts.largest_share": "largest share",
             **{one: one for one in rad.READINGS}}
    if plain.empty:
        import pandas as pd
        return pd.DataFrame(columns=[*names.values(), "draws", *shown.values()])
    grouped = plain.groupby(list(names), sort=False)
    means = grouped[list(shown)].mean().rename(columns=shown)
    means.insert(0, "draws", grouped[rad.DRAW].nunique())
    return means.reset_index().rename(columns=names)


# ---------------------------------------------------------------- figure 8

def pictured(slab: "Mapping[str, Any] | None" = None) -> "dict[str, Attack]":
    """Both attacks at the largest share, by name."""
    return {kind: attack(kind, LARGEST, slab) for kind in (FLIPS, SLAB)}



def components(run: "Run") -> "DataFrame":
    """Two principal components of the clean records and of the poison of one run, without training.

    Columns: x, y, kind ("clean, CLASS" or "poison, CLASS"), cluster (k-means with four centres on
    all records), copies. Clean records and flipped copies are thinned to `MOST_DRAWN` of a kind.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    from lib.study import inputs, measure
    from lib.training import as_input

    made = measure.poisoned(run)
    points = as_input(made.images()).flatten(1).double().cpu().numpy()
    n = len(made.clean)
    plane = PCA(2, svd_solver="full").fit(points[:n]).transform(points)
    cluster = KMeans(4, n_init=4, random_state=0).fit_predict(plane)
    names = inputs.private_and_test(run)[0].classes
    return _thinned(made, plane, cluster, names)


def _thinned(made: "Poisoned", plane, cluster, names: tuple[str, ...]) -> "DataFrame":
    import pandas as pd

    poison, labels = made.mask.cpu().numpy(), made.labels.cpu().numpy()
    kind = [f"{'poison' if bad else 'clean'}, {names[label].lower()}"
            for bad, label in zip(poison, labels, strict=True)]
    frame = pd.DataFrame({"x": plane[:, 0].round(4), "y": plane[:, 1].round(4), "kind": kind,
                          "cluster": cluster})
    counted = frame.groupby([*frame.columns], sort=False).size().rename("copies").reset_index()
    return counted.groupby("kind", sort=False).head(MOST_DRAWN).reset_index(drop=True)


def picture(run: "Run") -> "tuple[Tensor, list[str]]":
    """The distinct poisons of one run as uint8 images, and their titles: label and copies."""
    from lib.study import inputs, measure

    made = measure.poisoned(run)
    poison = made.mask.cpu()
    images, labels = made.images().cpu()[poison], made.labels.cpu()[poison]
    kinds, first, counts = _distinct(images, labels)
    names = inputs.private_and_test(run)[0].classes
    titles = [f"{names[int(labels[place])].lower()}, {count}x"
              for place, count in zip(first, counts, strict=True)]
    return kinds, titles


def _distinct(images, labels):
    """The distinct (image, label) pairs by falling number of copies: images, places, counts."""
    import torch

    flat = torch.hstack([images.flatten(1).double(), labels[:, None].double()])
    _, inverse, counts = flat.unique(dim=0, return_inverse=True, return_counts=True)
    order = counts.argsort(descending=True)
    first = [int((inverse == place).nonzero()[0]) for place in order]
    return images[first], first, counts[order].tolist()


def finding(found: "DataFrame") -> str:
    """In words: of how many points the slab attack consists. found: of `rad.compared`."""
    slab = rad.at(found, SLAB)
    known = slab[slab[rad.ARM].eq(VANILLA)].dropna(subset="facts.kinds") if (
        "facts.kinds" in slab) else slab[:0]
    if known.empty:
        return ""
    least, most = int(known["facts.kinds"].min()), int(known["facts.kinds"].max())
    count = least if least == most else f"{least} to {most}"
    return (f"On {known['dataset'].iloc[0]} the slab attack is {count} points, repeated; the most"
            f" frequent one holds {known['facts.largest_share'].min():.0%} or more of the copies in"
            f" each of {known[rad.DRAW].nunique()} draws.")
