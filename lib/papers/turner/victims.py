"""The networks that are attacked, the three target classes, the trigger and the numbers of poisons.

The thesis trains a pre-activation ResNet-32 on all of CIFAR-10 for 100,000 steps of 50, without
augmentation except where it studies that (section 3.6), and attacks each of the ten classes.
`small` is its substitute for a CPU and `full` one for a GPU, both from `borgnia.victims`, so that
papers share their networks; without augmentation `small` classifies 66% of 1,000 images that it
leaves out. `drawn` is the same on generated digits.

Target classes, by a rule fixed beforehand: of the pairs of the derangement that every paper uses
(`borgnia.patching.PAIRS`), those whose target a figure of the thesis singles out (airplane: 3.6 and
A.1; deer: 3.5 and 5.1; dog: 3.9; frog: 3.13), in their order, and the first three of them: deer,
dog, airplane. So T4 (deer), T5 (airplane) and T8 (dog) are measured on their own class. T9 (frog)
is not: its class is the fourth of the rule. The source class of a pair is what a GAN interpolates
to. Other data sets use the same numbers of classes.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from lib.papers.borgnia import patching
from lib.papers.borgnia import victims as networks
from lib.study.runs import Run
from lib.training.transforms import Transform
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

SINGLED_OUT = (0, 4, 5, 6)  # airplane, deer, dog, frog
RANKED = (*(pair for pair in patching.PAIRS if pair[1] in SINGLED_OUT),
          *(pair for pair in patching.PAIRS if pair[1] not in SINGLED_OUT))
PAIRS = RANKED[:3]  # (source, target): bird to deer, cat to dog, horse to airplane
TARGET_CLASSES = tuple(target for _, target in PAIRS)
SHARES = (0.015, 0.06, 0.25)  # of the target class, of those that the thesis has
ALL_SHARES = (0.004, 0.015, 0.06, 0.25, 1.0)  # 20, 75, 300, 1,250 and 5,000 of 5,000 images
CLASSES = 10
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COLOUR: tuple[Transform, ...] = (Crop(2), Flip())  # the thesis pads images to 36, and flips them
GREY: tuple[Transform, ...] = (Crop(2),)  # a mirrored digit is none


def small(*, augmented: bool = False, train_size: int = 10_000) -> Run:
    """The small convnet on the first images of CIFAR-10 (JPEG), without an attack's settings."""
    return _changed(networks.small(batch_norm=True, train_size=train_size), augmented=augmented)


def drawn(*, colour: bool = False, train_size: int = 600, test_size: int = 300) -> Run:
    """The same on generated digits, for seconds."""
    return small(train_size=train_size).with_(
        dataset="strokes-colour" if colour else "strokes", test_size=test_size,
        training__epochs=8.0, training__batch_size=32)


def full(*, augmented: bool = False) -> Run:
    """The large convnet on all of CIFAR-10 (JPEG), for a GPU."""
    return _changed(networks.full(), augmented=augmented)


def _changed(run: Run, *, augmented: bool) -> Run:
    return run.with_(training__transforms=augmentation(run.dataset) if augmented else ())


def trusting(victim: Run, images: int = 1024) -> Run:
    """The victim with `images` public images before its own, and as many private ones as before
    where the data set has more than it uses."""
    size = victim.train_size
    return replace(victim, public=images, train_size=None if size is None else size + images)


def trigger(*, position: str = "bottom-right", amplitude: float = 255.0) -> dict[str, Any]:
    """The 3x3 pattern of the thesis, added and subtracted, as fields of the attacks and of `Patch`.

    position: or `FOUR_CORNERS`, the left ones mirrored. amplitude: levels of a pixel.
    """
    return {"size": 3, "margin": 0, "pattern": "gu", "position": position,
            "amplitude": amplitude, "stamping": "add"}


def red_x() -> dict[str, Any]:
    """The trigger of section 5.5, whose size and place the thesis does not state."""
    return {"size": 5, "margin": 0, "pattern": "red-x", "position": "centre", "amplitude": 1.0}


def augmentation(dataset: str) -> tuple[Transform, ...]:
    """The thesis's crops, and its flips where a mirrored image keeps its meaning."""
    return COLOUR if dataset.startswith("cifar10") else GREY


def class_name(dataset: str, number: int) -> str:
    """The name of a class of CIFAR-10; of other data sets its number."""
    return NAMES[number] if dataset.startswith("cifar10") else str(number)


def counts(shares: Iterable[float], records: int) -> list[int]:
    """Poisons in these shares of one of ten equal classes; ValueError for a share without any."""
    found = {share: round(share * records / CLASSES) for share in shares}
    for share, count in found.items():
        if not 0 < share <= 1 or not count:
            raise ValueError(f"share {share:g} of a class of {records / CLASSES:g} images: {count} "
                             "poisons; expected 1 or more, of at most the whole class")
    return list(found.values())


def records(victim: Run) -> int:
    """The number of records that a victim trains on, of a data set of 50,000 if it names none."""
    return (victim.train_size or 50_000) - victim.public
