"""Make matplotlib's SVG small and plain: a report holds dozens of them."""

import re
from collections import Counter
from xml.etree import ElementTree

from lib.figures.svg_paths import Point, short_path, straight, subpaths

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_PATH, _USE, _TEXT, _G, _DEFS, _CLIP = (
    f"{{{_SVG}}}{name}" for name in ("path", "use", "text", "g", "defs", "clipPath"))
_LINK = f"{{{_XLINK}}}href"
_LONG = re.compile(r"-?\d+\.\d{3,}")
_EDGE, _MARKER = 60, 600  # hundredths of a point: what may stand out, and a marker's radius

__all__ = ["compact_svg", "short_path"]


def compact_svg(text: str) -> str:
    """The same drawing in fewer bytes: coordinates to 0.1 point, lines of one look as one path,
    no clipping where nothing is clipped, no unused ids, shared styles.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text.encode())
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")]:
            parent.remove(child)
    for element in root.iter():
        _shorten(element)
    _unclip(root)
    _draw_ticks(root)
    _drop_unused(root)
    _flatten(root)
    _merge_lines(root)
    _share_font(root)
    _share_styles(root)
    for element in root.iter():
        _squeeze(element)
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode")).replace(
        " />", "/>")


def _shorten(element):
    for name in ("d", "x", "y", "transform", "points"):
        if name in element.attrib:
            element.set(name, " ".join(_LONG.sub(_round, element.attrib[name]).split()))
    if re.fullmatch(r"rotate\(-?0(\.0+)? [^)]*\)", element.get("transform", "")):
        del element.attrib["transform"]


def _round(match):
    # Small numbers are the outlines of markers, which need the second decimal.
    value = float(match[0])
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")


def _unclip(root):
    """Drop the clipping of what lies inside of its panel."""
    frames = {f"url(#{clip.get('id')})": _frame(clip[0]) for clip in root.iter(_CLIP)}
    for element in root.iter():
        frame = frames.get(element.get("clip-path", ""))
        if frame and all(_inside(child, frame, style=element.get("style", "")) for child in
                         (element if element.tag == _G else [element])):
            del element.attrib["clip-path"]


def _frame(rectangle) -> tuple[Point, Point]:
    x, y, width, height = (round(100 * float(rectangle.get(name)))
                           for name in ("x", "y", "width", "height"))
    return (x, y), (x + width, y + height)


def _inside(element, frame, *, style):
    """Whether nothing of an element, drawn in a style unless it has its own, leaves the frame."""
    if element.tag == _USE:
        points, margin = [tuple(round(100 * float(element.get(name))) for name in "xy")], -_MARKER
    elif element.tag == _PATH and straight(element.get("d", "")) and "transform" not in \
            element.attrib:
        points, margin = [p for part, _ in subpaths(element.get("d")) for p in part], _EDGE
        width = re.search(r"stroke-width: ([\d.]+)", element.get("style") or style)
        margin -= round(50 * float(width[1] if width else 1))  # ends stick out as far
    else:
        return element.tag == _DEFS
    return all(frame[0][i] - margin <= point[i] <= frame[1][i] + margin
               for point in points for i in (0, 1))


def _draw_ticks(root):
    """Ticks and caps, single lines that are used many times, as lines of their own."""
    lines = {f"#{path.get('id')}": (path.get("style", ""), _line_of(path))
             for defs in root.iter(_DEFS) for path in defs
             if path.tag == _PATH and straight(path.get("d", ""))}
    for element in list(root.iter(_USE)):
        style, line = lines.get(element.get(_LINK, ""), ("", []))
        if not line or "transform" in element.attrib:
            continue
        x, y = float(element.get("x", "0")), float(element.get("y", "0"))
        ends = " L".join(f"{x + a / 100:.2f} {y + b / 100:.2f}" for a, b in line)
        clip = {name: element.get(name) for name in ("clip-path",) if name in element.attrib}
        element.tag = _PATH
        element.attrib.clear()
        element.attrib.update(d=f"M{ends}", style=f"fill: none; {style}", **clip)


def _line_of(path):
    """The two ends of a path that is one line, else nothing."""
    parts = subpaths(path.get("d"))
    return parts[0][0] if len(parts) == 1 and len(parts[0][0]) == 2 else []


def _drop_unused(root):
    """Drop ids and definitions that nothing refers to."""
    referenced = {match for element in root.iter() for value in element.attrib.values()
                  for match in re.findall(r"#([\w.-]+)", value)}
    for element in root.iter():
        if element.get("id") not in referenced:
            element.attrib.pop("id", None)
    for defs in list(root.iter(_DEFS)):
        for child in [child for child in defs if "id" not in child.attrib]:
            defs.remove(child)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == _DEFS and not len(child)]:
            parent.remove(child)


def _flatten(parent):
    """Lift the children of empty groups, and a style that all children of a group share."""
    children = []
    for child in list(parent):
        _flatten(child)
        children += list(child) if child.tag == _G and not child.attrib else [child]
    parent[:] = children
    styles = {child.get("style") for child in children}
    if len(children) > 1 and len(styles) == 1 and None not in styles \
            and parent.tag == _G and "style" not in parent.attrib:
        parent.set("style", styles.pop())
        for child in children:
            del child.attrib["style"]


def _merge_lines(parent):
    """Lines of one look become one path: grids, ticks, bars of intervals.

    Only across texts and other lines: nothing that a line could hide or be hidden by is between.
    """
    kept, known = [], {}
    for child in parent:
        _merge_lines(child)
        look = tuple(sorted((name, value) for name, value in child.attrib.items() if name != "d"))
        if not _plain_line(child, parent):
            known = known if _only_text(child) else {}
        elif look in known:
            first = known[look]
            first.set("d", f"{first.get('d')} {child.get('d')}")
            continue
        else:
            known[look] = child
        kept.append(child)
    parent[:] = kept


def _plain_line(element, parent):
    style = element.get("style") or parent.get("style", "")
    return (element.tag == _PATH and parent.tag != _DEFS and "fill: none" in style
            and "opacity" not in style + parent.get("style", "")
            and not set(element.attrib) - {"d", "style", "clip-path"}
            and straight(element.get("d", "")))


def _only_text(element):
    return element.tag in (_TEXT, _DEFS) or (element.tag == _G and all(map(_only_text, element)))


def _share_font(root):
    """Name the most used font once, at the root, and not at every text."""
    pattern = re.compile(r"font-family: ([^;]+);? ?")
    texts = [element for element in root.iter() if "font-family" in element.get("style", "")]
    fonts = Counter(match[1] for text in texts for match in pattern.finditer(text.get("style")))
    common = fonts.most_common(1)[0][0] if fonts else "sans-serif"
    # matplotlib's style sheet, as inherited properties: as a rule for every element it would beat
    # the styles that groups hold now, and in a page it would reach other drawings.
    root.set("style", f"font-family: {common}; stroke-linejoin: round; stroke-linecap: butt")
    for text in texts:
        text.set("style", text.get("style").replace(f"font-family: {common}; ", ""))


def _share_styles(parent):
    """Put neighbours of one style into a group that has it."""
    for child in parent:
        _share_styles(child)
    if parent.tag == _DEFS:
        return
    children = list(parent)
    while children:
        first = children[0]
        style, clip = first.get("style", ""), first.get("clip-path")
        same = 1
        while same < len(children) and children[same].get("style", "") == style \
                and children[same].get("clip-path") == clip:
            same += 1
        if same > 1 and style and not re.search(r"(^|[; ])opacity", style):
            _group(parent, children[:same])
        del children[:same]


def _group(parent, children):
    """Move children, neighbours of one style and clipping, into a group at their place."""
    group = ElementTree.Element(_G, {name: children[0].get(name) for name in ("clip-path", "style")
                                     if name in children[0].attrib})
    place = list(parent).index(children[0])
    for child in children:
        parent.remove(child)
        for name in group.attrib:
            del child.attrib[name]
    group.extend(children)
    parent.insert(place, group)


def _squeeze(element):
    if "d" in element.attrib:
        element.set("d", short_path(element.attrib["d"]))
    if "style" in element.attrib:
        element.set("style", re.sub(r"([:;]) ", r"\1", element.attrib["style"]).rstrip(";"))
