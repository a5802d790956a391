"""Panels of pictures for Turner's thesis: poisons beside their originals, and how they differ.

Figures 1.2, 3.3, 3.4, 3.10, 3.12 and appendix A.3. Each function returns images and titles for
`figures.image_grid`, or images by the title of their column for `beside`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from lib.attacks.conspicuousness import conspicuousness
from lib.attacks.triggers import FOUR_CORNERS, Patch
from lib.papers.turner import victims

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

ORIGINAL = "original"
AMPLITUDES = (16, 32, 64, 255)  # figure 3.10
SUBTLE = 32  # the amplitude that the thesis chose
ENCODER = "imagenet-lite0"
PUBLIC = 500  # images that give the features their unit
GREY = 128


def one_corner(amplitude: float = 255) -> Patch:
    """The thesis's pattern at the bottom right, added and subtracted."""
    return Patch(**victims.trigger(amplitude=amplitude))


def four_corners(amplitude: float = 255) -> Patch:
    """The pattern in all corners, the left ones mirrored."""
    return Patch(**victims.trigger(position=FOUR_CORNERS, amplitude=amplitude))


def red_x() -> Patch:
    """The trigger of section 5.5."""
    return Patch(**victims.red_x())


# ---------------------------------------------------------------- poisons

def amplitudes(images: "Tensor", levels: Iterable[float] = AMPLITUDES, *,
               corners: int = 1) -> "dict[str, Tensor]":
    """Figure 3.10: images [n, ...], hardened or not, under the pattern at each amplitude."""
    trigger = _trigger(corners)
    return {f"amplitude {level:g}": trigger(level)(images, seed=0) for level in levels}


def stamps(images: "Tensor", *, amplitude: float = SUBTLE) -> "dict[str, Tensor]":
    """Figure 3.12: images [n, ...] under the pattern at one corner and at all four; colour images
    under the red x too."""
    found = {"one corner": one_corner(amplitude), "four corners": four_corners(amplitude)}
    if images.shape[1] == 3:
        found["red x"] = red_x()
    return {name: trigger(images, seed=0) for name, trigger in found.items()}


def mislabelled(dataset: str, target: int, *, count: int = 8, seed: int = 0
                ) -> "tuple[Tensor, list[str]]":
    """Figure 1.2: stamped training images that the Gu attack calls `target`, with what they show.
    """
    from lib import data
    from lib.attacks.badnets import BadNets

    known = data.load(dataset, train_size=400, test_size=20)
    attack = BadNets(None, target, size=3, margin=0, pattern="gu")
    chosen = attack.candidates(known.train_labels, seed=seed)[:count]
    shown = [known.classes[label] for label in known.train_labels[chosen].tolist()]
    called = known.classes[target]
    return (attack.trigger(known.train_images[chosen], seed=seed),
            [f"{name} as {called}" for name in shown])


def _trigger(corners: int) -> Callable[[float], Patch]:
    if corners not in (1, 4):
        raise ValueError(f"corners {corners}: expected 1 or 4")
    return one_corner if corners == 1 else four_corners


# ---------------------------------------------------------------- beside their originals

def beside(originals: "Tensor", poisons: "Mapping[str, Tensor]", *, magnified: float = 0
           ) -> "tuple[Tensor, list[str]]":
    """A row for each original, with its poisons in columns: uint8 [n x (1 + columns), ...], and
    titles. Show it with `columns(poisons)`.

    originals: uint8 [n, ...]. poisons: uint8 [n, ...] by the title of their column. magnified: a
    factor; below each row, how its images differ from the original, times this, on grey.
    """
    import torch

    _check(originals, poisons)
    sets = torch.stack([originals, *poisons.values()], 1)  # [n, 1 + columns, ...]
    titles = [ORIGINAL, *poisons]
    if not magnified:
        return sets.flatten(0, 1), titles * len(originals)
    moved = magnified * (sets.float() - originals[:, None].float())
    differences = (GREY + moved).round().clamp(0, 255).to(torch.uint8)
    below = [f"difference x {magnified:g}"] + [""] * len(poisons)
    return (torch.stack([sets, differences], 1).flatten(0, 2),
            (titles + below) * len(originals))


def columns(poisons: "Mapping[str, Tensor]") -> int:
    """Pictures in a row of `beside`."""
    return 1 + len(poisons)


def compared(originals: "Tensor", poisons: "Mapping[str, Tensor]", *,
             encode: "Callable[[Tensor], Tensor] | None" = None) -> "DataFrame":
    """How conspicuous the poisons of each column are: the medians over the images of
    `conspicuousness`, a row for each title."""
    from pandas import DataFrame

    _check(originals, poisons)
    return DataFrame({title: conspicuousness(images, originals, encode=encode).median()
                      for title, images in poisons.items()}).T.rename_axis("poison")


def imagenet(dataset: str, *, public: int = PUBLIC) -> "Callable[[Tensor], Tensor]":
    """Features of an ImageNet network, for `compared`, in the unit of the first `public` training
    images of this data set."""
    from lib import data, features

    whole = data.load(dataset, train_size=public)
    return lambda images: features.extract(ENCODER, whole, images, public=public)


def _check(originals: "Tensor", poisons: "Mapping[str, Tensor]") -> None:
    for title, images in poisons.items():
        if images.shape != originals.shape or images.dtype != originals.dtype:
            raise ValueError(f"poisons {title!r} {images.dtype} {tuple(images.shape)} beside "
                             f"originals {originals.dtype} {tuple(originals.shape)}: expected "
                             "images in pairs")
