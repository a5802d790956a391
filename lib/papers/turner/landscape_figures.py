"""Figures of notebook 33: losses, methods by the share of poison, noise, classes, and beyond."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lib import figures
from lib.papers import Headline
from lib.papers.turner import SETUP, landscape
from lib.papers.turner.landscape import (
    BASELINE,
    BLACK_BOX,
    BLENDED,
    LATENT,
    ROBUST,
    STANDARD,
    WHITE_BOX,
    of_gradient,
)
from lib.verdicts import judgement, rows

if TYPE_CHECKING:
    from pandas import DataFrame

SIDES = ("hardening weakens it", "hardening strengthens it")
SUCCESS = "attack success (lower is better)\n[% of other classes' images]"
BOXES = ((WHITE_BOX, BASELINE), (BLACK_BOX, BASELINE), (WHITE_BOX, BLACK_BOX))
BLENDS = ((LATENT, BASELINE), (BLENDED, BASELINE), (LATENT, BLENDED))
SHOWN = (BASELINE, BLENDED, LATENT, WHITE_BOX)  # of A.2
ORDER = ((BLENDED, BASELINE), (LATENT, BLENDED), (WHITE_BOX, LATENT))  # of its methods
EACH = "the class"  # of the axis of shares, in per cent of it
DRAWN = (landscape.METHOD, landscape.POISONS, landscape.SHARE, landscape.CLASS, "success", "lift",
         "accuracy", "target_recall")


def _shared(found: "DataFrame") -> "DataFrame":
    """Rows in the order of the share, which is rounded for an axis of categories, in per cent."""
    own = found.assign(**{EACH: (100 * found[landscape.SHARE]).round(1)})
    return own.sort_values(EACH, kind="stable")


def _spec(found: "DataFrame", names: Sequence[str], title: str, **more: Any) -> dict[str, Any]:
    own = rows.together([landscape.of(found, name) for name in names])
    return {"frame": own, "x": EACH, "y": "success", "series": landscape.METHOD,
            "xscale": "category", "xlabel": "poisoned share of the class [%]", "ylabel": SUCCESS,
            "title": title, "instance": "attack.target", "spread": "none"} | more


def surrogates(found: "DataFrame", bounds: Iterable[float]) -> list[dict[str, Any]]:
    """Figure 4.2 as specs of `figures.panels`: success by share with a robust and with a standard
    surrogate, a panel a bound. found: of `landscape.prepared`."""
    own = _shared(found)
    return [_spec(own, [BASELINE, of_gradient(STANDARD, bound), of_gradient(ROBUST, bound)],
                  f"l2 {bound:g}") for bound in bounds]


def robustness(bounds: Iterable[float]) -> list[tuple[str, str]]:
    """What figure 4.2 compares at each bound: a robust surrogate with a standard one."""
    return [(of_gradient(ROBUST, bound), of_gradient(STANDARD, bound)) for bound in bounds]


def blended(found: "DataFrame") -> list[dict[str, Any]]:
    """Figure 4.4 as a spec of `figures.panels`: pixels beside the GAN."""
    return [_spec(_shared(found), [BASELINE, BLENDED, LATENT], "")]


def black_box(found: "DataFrame") -> list[dict[str, Any]]:
    """Figure 4.5 as a spec of `figures.panels`: the black box beside the white one."""
    return [_spec(_shared(found), [BASELINE, BLACK_BOX, WHITE_BOX], "")]


def noise(found: "DataFrame") -> list[dict[str, Any]]:
    """Figure 4.3 as a spec of `figures.panels`: success by the standard deviation of the noise, a
    line a target class. found: prepared rows of one share."""
    own = found[found[landscape.DEVIATION].notna()].sort_values(landscape.DEVIATION)
    return [{"frame": own, "x": landscape.DEVIATION, "y": "success", "series": landscape.CLASS,
             "xscale": "category", "xlabel": "standard deviation of the noise, of 255",
             "ylabel": SUCCESS, "instance": "attack.target", "spread": "none"}]


def per_class(found: "DataFrame") -> list[dict[str, Any]]:
    """Figure A.2 as specs of `figures.panels`: four methods by share, a panel a target class."""
    own = _shared(found)
    known = dict.fromkeys(found[landscape.CLASS]) or {"": None}
    return [_spec(own[own[landscape.CLASS].eq(one)], SHOWN, one) for one in known]


# ---------------------------------------------------------------- headline

def headline(published: "DataFrame") -> Headline:
    """Notebook 33: what each way of hardening adds to attack success, at 6% of the class."""
    found = landscape.at(rows.nearest(landscape.prepared(published), SETUP))
    shown = landscape.against(found)
    targets = shown["pair"].nunique()
    return Headline(
        "landscape-headline",
        figures.contrasts(shown, by=landscape.METHOD, better="lower", sides=SIDES,
                          xlabel="attack success, minus that of poisons that are only stamped",
                          dots="classes"),
        shown,
        "What hardening adds to the share of stamped images of other classes that is called target,"
        f" with 6% of the target class poisoned: {targets} target classes (dots), mean and 95% t"
        " interval.",
        "Forest plot: for each way to harden poisons the change of attack success in each target"
        " class, beside a line at zero.",
        " ".join(filter(None, [_baseline(found), landscape.finding(found, (*BOXES, *BLENDS))])))


def _baseline(found: "DataFrame") -> str:
    own = landscape.of(found, BASELINE)
    if own.empty:
        return ""
    return (f"Poisons that are stamped and not hardened succeed on"
            f" {judgement.level(own, 'success')}% of the images of other classes.")
