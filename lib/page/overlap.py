"""Which parts of a drawing may change their order: those that do not lie on each other."""

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element

from lib.page.pathdata import Point, parse, points

SVG = "http://www.w3.org/2000/svg"
G, PATH, USE, TEXT, DEFS = (f"{{{SVG}}}{name}" for name in ("g", "path", "use", "text", "defs"))
MARGIN = 1.5  # points around a line: half of its width
LETTER = 7.0  # points that a letter takes at most, in any direction
FAR = 1e6  # beyond every drawing
WHITE = "fill: #ffffff"
_MOVED = re.compile(r"translate\((-?[\d.]+)[ ,]+(-?[\d.]+)\)(?: rotate\(-?[\d.]+\))?")
_OWN = re.compile(r"(?<!fill-)(?<!stroke-)opacity")

Box = tuple[float, float, float, float]
NOWHERE = (FAR, FAR, -FAR, -FAR)  # of what draws nothing: meets nothing


def looks(element: Element) -> tuple[str | None, str | None]:
    """Style and clip: what elements that may be merged have in common."""
    return element.get("style"), element.get("clip-path")


def see_through(style: str | None) -> bool:
    """Whether it has an opacity of its own, which a group would apply once to all its parts."""
    return bool(_OWN.search(style or ""))


def places(element: Element) -> Iterable[Point]:
    """Points whose hull holds the element, markers taken as points; far ones if unknown."""
    for part in element.iter():
        if part.get("transform") or part.tag not in (G, PATH, USE):
            yield from ((-FAR, -FAR), (FAR, FAR))
        elif part.tag == USE:
            yield float(part.get("x", 0)), float(part.get("y", 0))
        elif part.tag == PATH:
            found = parse(part.get("d", ""))
            yield from ((-FAR, -FAR), (FAR, FAR)) if found is None else points(found)


def brought_together(children: list[Element], marks: dict[str | None, Element]) -> list[Element]:
    """The same drawing with elements of one style in a row where nothing between them overlaps."""
    groups: list[tuple[tuple, list[Element], list[Box]]] = []
    for child in children:
        key, box = (child.tag, *looks(child), child.get("href")), _box(child, marks)
        for known, members, boxes in reversed(groups):
            if known == key:
                members.append(child)
                boxes.append(box)
                break
            if any(_meet(box, other) for other in boxes):
                groups.append((key, [child], [box]))
                break
        else:
            groups.append((key, [child], [box]))
    return [child for _, members, _ in groups for child in members]


def without_ground(children: list[Element], marks: dict[str | None, Element]) -> list[Element]:
    """The drawing without white areas on nothing: the page puts drawings on white."""
    kept: list[Element] = []
    boxes: list[Box] = []
    for child in children:
        box = _box(child, marks)
        if child.tag == PATH and child.get("style") == WHITE \
                and not any(_meet(box, other) for other in boxes):
            continue
        kept.append(child)
        boxes.append(box)
    return kept


def _box(element, marks) -> Box:
    if element.tag == DEFS:
        return NOWHERE
    if element.tag == TEXT:
        return _text_box(element)
    found, margin = list(places(element)), MARGIN
    if element.tag == USE:
        margin += _reach(marks.get(element.get("href", "#")[1:]))
    if not found:
        return NOWHERE
    across, up = [x for x, _ in found], [y for _, y in found]
    return min(across) - margin, min(up) - margin, max(across) + margin, max(up) + margin


def _reach(mark):
    """How far a marker's outline goes from its place."""
    found = parse(mark.get("d", "")) if mark is not None else None
    if found is None:
        return FAR
    return max((abs(value) for point in points(found) for value in point), default=0)


def _text_box(element) -> Box:
    """Wide enough for any font, anchor and angle."""
    turn = element.get("transform", "")
    moved = _MOVED.fullmatch(turn)
    if turn and not moved:
        return -FAR, -FAR, FAR, FAR
    x, y = (float(v) for v in (moved.groups() if moved else (element.get("x", 0),
                                                             element.get("y", 0))))
    reach = LETTER * max(2, len("".join(element.itertext())))
    height = reach if "rotate" in turn else 2 * LETTER
    return x - reach, y - height, x + reach, y + height


def _meet(one: Box, other: Box) -> bool:
    return (one[0] <= other[2] and other[0] <= one[2]
            and one[1] <= other[3] and other[1] <= one[3])
