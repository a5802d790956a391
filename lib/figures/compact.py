"""Make matplotlib's SVG small and plain: a report holds dozens of them."""

import re
from collections import Counter
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_COMMAND = re.compile(r" ?([A-DF-Za-df-z]) ?")  # of a path; e belongs to a number
_LONG = re.compile(r"-?\d+\.\d{3,}")


def compact_svg(text: str) -> str:
    """The same drawing in fewer bytes: coordinates to 0.1 point, no unused ids, shared styles."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text.encode())
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")]:
            parent.remove(child)
    referenced = set(re.findall(r"#([\w.-]+)", text))
    for element in root.iter():
        _shorten(element, referenced)
    _flatten(root)
    _share_font(root)
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode")).replace(
        " />", "/>")


def _shorten(element, referenced):
    if element.get("id") not in referenced:
        element.attrib.pop("id", None)
    for name in ("d", "x", "y", "transform", "points"):
        if name in element.attrib:
            element.set(name, " ".join(_LONG.sub(_round, element.attrib[name]).split()))
    if "d" in element.attrib:
        element.set("d", short_path(element.attrib["d"]))
    if re.fullmatch(r"rotate\(-?0(\.0+)? [^)]*\)", element.get("transform", "")):
        del element.attrib["transform"]


def short_path(commands: str) -> str:
    """The `d` of a path without the spaces around its commands."""
    return _COMMAND.sub(r"\1", commands)


def _round(match):
    # Small numbers are the outlines of markers, which need the second decimal.
    value = float(match[0])
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")


def _share_font(root):
    """Name the most used font once, at the root, and not at every text."""
    pattern = re.compile(r"font-family: ([^;]+);? ?")
    texts = [element for element in root.iter(f"{{{_SVG}}}text") if "style" in element.attrib]
    fonts = Counter(match[1] for text in texts for match in pattern.finditer(text.get("style")))
    common = fonts.most_common(1)[0][0] if fonts else "sans-serif"
    # matplotlib's style sheet, as inherited properties: as a rule for every element it would beat
    # the styles that groups hold now, and in a page it would reach other drawings.
    root.set("style", f"font-family: {common}; stroke-linejoin: round; stroke-linecap: butt")
    for text in texts:
        text.set("style", text.get("style").replace(f"font-family: {common}; ", ""))


def _flatten(parent):
    """Lift the children of empty groups, and a style that all children of a group share."""
    children = []
    for child in list(parent):
        _flatten(child)
        children += list(child) if child.tag == f"{{{_SVG}}}g" and not child.attrib else [child]
    parent[:] = children
    styles = {child.get("style") for child in children}
    if len(children) > 1 and len(styles) == 1 and None not in styles \
            and parent.tag == f"{{{_SVG}}}g" and "style" not in parent.attrib:
        parent.set("style", styles.pop())
        for child in children:
            del child.attrib["style"]
