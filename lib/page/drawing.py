"""An SVG in fewer bytes, the same to the eye: matplotlib writes an element for every tick and
marker.
"""

from itertools import groupby
from xml.etree.ElementTree import Element

from lib.page.overlap import brought_together, looks, places, see_through, without_ground
from lib.page.pathdata import encode, parse, simplified

SVG = "http://www.w3.org/2000/svg"
G, PATH, USE, TEXT, DEFS = (f"{{{SVG}}}{name}" for name in ("g", "path", "use", "text", "defs"))
MARKER, CLIP, RECT = (f"{{{SVG}}}{name}" for name in ("marker", "clipPath", "rect"))
AT_POINTS = "marker: url(#{})"  # the style sheet paints nothing but these
FEWEST = 2  # elements that are worth a group or a marker of their own


def shrink(root: Element) -> None:
    """Merge ticks, markers and lines of one style, drop clips that cut nothing, shorten paths."""
    marks = {element.get("id"): element for element in root.iter(PATH) if element.get("id")}
    _drop_idle_clips(root)
    _flatten(root)
    used: dict[tuple, str] = {}
    root[:] = brought_together(without_ground(list(root), marks), marks)
    _merge_marks(root, marks, used)
    _merge_lines(root)
    _drop_unused(root)
    for path in root.iter(PATH):
        found = parse(path.get("d", ""))
        if found is not None:
            kept = found if "marker" in path.get("style", "") else simplified(found)
            path.set("d", encode(kept))
    _group(root)


def _drop_idle_clips(root):
    """Markers at the edge of the axes then show whole, which is what a reader wants."""
    boxes = {clip.get("id"): _box(clip) for clip in root.iter(CLIP)}
    for element in root.iter():
        box = boxes.get(element.get("clip-path", "")[5:-1])
        if box and all(_inside(point, box) for point in places(element)):
            del element.attrib["clip-path"]


def _flatten(parent):
    """Lift the children of groups, with the group's style; a group of which more hangs stays."""
    children: list[Element] = []
    for child in parent:
        _flatten(child)
        children += _lifted(child) if child.tag == G else [child]
    parent[:] = children


def _lifted(group):
    shared = {name: group.attrib[name] for name in ("style", "clip-path") if name in group.attrib}
    if set(group.attrib) - set(shared) or see_through(shared.get("style")) or any(
            part.tag not in (PATH, USE, TEXT, DEFS) or shared.keys() & part.attrib.keys()
            for part in group):
        return list(group) if not group.attrib else [group]
    for part in group:
        if part.tag != DEFS:
            part.attrib.update(shared)
    return list(group)


def _box(clip):
    rect = clip.find(RECT)
    if rect is None:
        return None
    x, y, width, height = (float(rect.get(name, 0)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def _inside(point, box, slack=0.6):
    return (box[0] - slack <= point[0] <= box[2] + slack
            and box[1] - slack <= point[1] <= box[3] + slack)


def _merge_marks(parent, marks, used):
    """A path with a marker at each of its points in place of a row of uses."""
    merged = []
    for key, run in groupby(parent, key=lambda c: c.tag == USE and (*looks(c), c.get("href"))):
        run = list(run)
        mark = marks.get(key[2][1:]) if key else None
        if mark is None or len(run) < FEWEST or not all(_is_plain(use) for use in run):
            merged += run
            continue
        name = used.get((key[2], key[0]))
        if name is None:
            name = used[key[2], key[0]] = f"{mark.get('id')}.{len(used)}"
            merged.append(_marker(name, mark, key[0]))
        where = " ".join(f"{use.get('x', 0)} {use.get('y', 0)}" for use in run)
        path = Element(PATH, {"class": "at", "d": f"M{where}", "style": AT_POINTS.format(name)})
        if clip := run[0].get("clip-path"):
            path.set("clip-path", clip)
        merged.append(path)
    parent[:] = merged


def _is_plain(use):
    return set(use.attrib) <= {"x", "y", "href", "style", "clip-path"}


def _marker(name, mark, style):
    """The marker's own shape; it inherits nothing from the path it stands on."""
    marker = Element(MARKER, {"id": name, "overflow": "visible", "markerUnits": "userSpaceOnUse"})
    shape = {key: value for key, value in mark.attrib.items() if key != "id"}
    shape["style"] = "; ".join(text for text in (style, shape.get("style")) if text)
    marker.append(Element(PATH, shape))
    return marker


def _merge_lines(parent):
    """One path in place of several unfilled ones of the same style."""
    merged = []
    for key, run in groupby(parent, key=_line_style):
        run = list(run)
        if key and len(run) > 1:
            run[0].set("d", "".join(path.get("d") for path in run))
            run = run[:1]
        merged += run
    parent[:] = merged


def _line_style(element):
    if element.tag != PATH or set(element.attrib) - {"d", "style", "clip-path"}:
        return None
    style = element.get("style") or ""
    solid = "fill: none" in style and not see_through(style) and "marker" not in style
    return ("line", *looks(element)) if solid and "stroke-opacity" not in style else None


def _drop_unused(root):
    """The symbols whose uses became markers, and empty definitions."""
    text = " ".join(value for element in root.iter() for name, value in element.attrib.items()
                    if name in ("href", "clip-path", "style", "fill", "mask"))
    for parent in list(root.iter()):
        for child in list(parent):
            name = child.get("id")
            if name and child.tag in (PATH, CLIP) and not _names(text, name):
                parent.remove(child)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == DEFS and not len(child):
                parent.remove(child)


def _names(text, name):
    return f"#{name})" in text or f"#{name} " in f"{text} "


def _group(parent):
    """A style or a clip that neighbours share is said once, on a group around them."""
    grouped = []
    for key, run in groupby(parent, key=_shareable):
        run = list(run)
        if not key or len(run) < FEWEST:
            grouped += run
            continue
        group = Element(G, {name: value for name, value in zip(("style", "clip-path"), key)
                            if value})
        for child in run:
            for name in group.attrib:
                del child.attrib[name]
        group[:] = run
        grouped.append(group)
    parent[:] = grouped


def _shareable(element):
    style, clip = looks(element)
    if element.tag not in (PATH, USE, TEXT) or not (style or clip):
        return None
    return None if see_through(style) or "marker" in (style or "") else (style, clip)
