"""Hardening: how training images are made hard to learn, so that a victim learns a trigger instead.

There is one file per method, found by its name. It has a `VERSION` and ends with
`Hardening = TheClass`, a frozen dataclass that satisfies the Protocol below. Images stay bytes, and
each depends on its own original alone, not on the others that are hardened.

A method may need a network or images of the attacker's own. `data` says which images those are:
"victim" are the victim's training images before the attack (white box), "disjoint" are training
images that the victim does not use, and "both" are the former followed by the latter.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from lib import parts, typed
from lib.data import Labelled
from lib.lab import Lab
from lib.training import generator
from lib.training.ascent import Ball

TOGETHER = 64  # images hardened at once, and kept in one artefact
SOURCES = ("victim", "disjoint", "both")

# From places in the training set and a generator to one tensor [n, ...] per name, with "images".
Hardener = Callable[[Tensor, torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Scene:
    """What is hardened. data: the victim's training set before the attack. target: the class whose
    images are hardened. seed: the attack's. lab: the attacker's."""

    data: Labelled
    target: int
    seed: int
    lab: Lab

    def originals(self, records: Tensor) -> Tensor:
        """The images at these places, on the lab's device."""
        return self.data.images[records.to(self.data.images.device)].to(self.lab.device)

    def own(self, source: str, count: int | None) -> Labelled:
        """The first `count` of the attacker's images; None for all.

        Raises ValueError if there are fewer.
        """
        own = self.lab.given_spare() if source == "disjoint" else self.data
        if source == "both" and self.lab.spare is not None:
            more = self.lab.spare()
            own = Labelled(torch.cat([own.images, more.images.to(own.images.device)]),
                           torch.cat([own.labels, more.labels.to(own.labels.device)]), own.classes)
        have = len(own.labels)
        if count is not None and count > have:
            raise ValueError(f"attack clean_label: hardening images {count}: expected at most "
                             f"{have}, all that the attacker has with data {source!r}")
        return own if count is None else Labelled(own.images[:count], own.labels[:count],
                                                  own.classes)


class Hardening(Protocol):
    """What a method must define.

    FACTS: names of the numbers that it adds to a row. ball: where hardened images are, for pixels
    from 0 to 255; None if no distance bounds them.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # a frozen dataclass
    FACTS: ClassVar[tuple[str, ...]]

    @property
    def ball(self) -> Ball | None: ...

    def check(self, *, target: int) -> None:
        """Raise ValueError if images of class `target` cannot be hardened so."""
        ...

    def key(self) -> Mapping[str, object]:
        """Plain values that its images depend on."""
        ...

    def hardener(self, scene: Scene) -> Hardener:
        """What hardens images, with its networks trained or loaded."""
        ...

    def facts(self, made: dict[str, Tensor], scene: Scene) -> dict[str, float]:
        """The numbers for the row, from what was made of its images."""
        ...


def build(values: "dict | Hardening") -> Hardening:
    """Build the method that {"name": ..., settings} describes; return a method unchanged."""
    made = parts.build("hardening", values) if isinstance(values, dict) else values
    if not all(name in dir(made) for name in parts.KINDS["hardening"].needed):
        raise ValueError(f"hardening {values!r}: expected a mapping such as {{name: pgd}}")
    return made


typed.builders[Hardening] = build


def hardened(method: Hardening, scene: Scene, order: Tensor, count: int) -> dict[str, Tensor]:
    """What `method` makes of the first `count` images at the places `order`, [count, ...] by name.

    order: the places of all images that could be hardened. They are hardened `TOGETHER` at a time,
    whatever the count, and each such block is an artefact: fewer images are a subset of more, bit
    for bit, and more images cost only those that are missing.
    """
    ready = functools.cache(lambda: method.hardener(scene))

    def make(number: int, places: Tensor) -> dict[str, Tensor]:
        random = generator(f"hardening {number}", scene.seed, scene.lab.device)
        found = ready()(places, random)
        return {name: values.cpu() for name, values in found.items()}
    blocks = [scene.lab.cached({"hardening": dict(method.key()), "target": scene.target,
                                "seed": scene.seed, "block": number},
                               functools.partial(make, number, places))
              for number, places in enumerate(order.split(TOGETHER))
              if number * TOGETHER < count]
    return {name: torch.cat([block[name] for block in blocks])[:count] for name in blocks[0]}


# ---------------------------------------------------------------- what methods share

def check_source(name: str, data: str, images: int | None) -> None:
    """Raise ValueError for a source of images that does not exist, and for no images."""
    if data not in SOURCES:
        raise ValueError(f"hardening {name}: data {data!r}: expected one of {', '.join(SOURCES)}")
    if images is not None and images < 1:
        raise ValueError(f"hardening {name}: images {images}: expected 1 or more, or null for all")


def check_share(name: str, tau: float) -> None:
    """Raise ValueError unless tau is a share."""
    if not 0 <= tau <= 1:
        raise ValueError(f"hardening {name}: tau {tau}: expected 0 to 1; 0 is the original")


def check_other(name: str, other: int | None, target: int) -> None:
    """Raise ValueError if the other class is the target itself."""
    if other == target:
        raise ValueError(f"hardening {name}: other {other} is the target too: expected two "
                         "different classes")


def others(own: Labelled, target: int, other: int | None, count: int, random: torch.Generator
           ) -> Tensor:
    """Places of `count` of the attacker's images of class `other`, or of any class but the target,
    drawn with replacement."""
    wanted = own.labels != target if other is None else own.labels == other
    pool = wanted.nonzero().flatten()
    if not len(pool):
        raise ValueError(f"attack clean_label: none of the attacker's {len(own.labels)} images is "
                         + ("of another class" if other is None else f"of class {other}")
                         + ": expected one or more")
    drawn = torch.randint(len(pool), (count,), generator=random, device=random.device)
    return pool[drawn.to(pool.device)]
