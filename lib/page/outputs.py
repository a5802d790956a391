"""Figures and tables of the notebooks, set with number, caption, findings, description and
downloads.
"""

import re
from html import escape
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lib.figures.compact import short_path
from lib.page.packed import PNG, packed, smaller
from lib.page.text import typeset

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from lib.page.sections import Origin

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_INTERVAL = re.compile(r"\[[^\[\]<>]{1,24}\]")  # stays in one line
COLUMNS = 16  # of a table, for which style.css knows the alignment
_DROPPED = {
    f"{{{SVG}}}{name}" for name in ("metadata", "title", "script", "foreignObject", "style")
}


def figure_html(output: "NotebookNode", *, number: str, anchor: str, prefix: str, origin: "Origin"
               ) -> str:
    """A `<figure>` from an output with the metadata "figure" (id, caption, alt).

    prefix: of the ids inside the drawing.
    """
    details, data = output.metadata["figure"], output.data
    if "image/svg+xml" in data:
        picture = inline_svg("".join(data["image/svg+xml"]), label=details["alt"], prefix=prefix)
    elif "image/png" in data:
        png = "".join(data["image/png"]).replace("\n", "")
        picture = f'<img src="{smaller(PNG + png)}" alt="{escape(details["alt"])}">'
    else:
        picture = f'<p class="flag">Not drawn: {escape(details["alt"])}</p>'
    return (
        f'<figure id="{escape(anchor)}"><div class="picture" tabindex="0" role="group" '
        f'aria-label="Figure {number}">{picture}</div>'
        f'<figcaption><p><b>Figure {number}.</b> {escape(details["caption"])}</p>'
        f"{_found(details, origin)}{_links(data, anchor)}</figcaption></figure>"
    )


def table_html(output: "NotebookNode", *, number: str, anchor: str, prefix: str, origin: "Origin"
              ) -> str:
    """A captioned table from an output with the metadata "table" (id, caption).

    Its data are its cells: the page's script offers them as CSV.
    """
    details, data = output.metadata["table"], output.data
    html = re.sub(r"<caption>.*?</caption>", "", "".join(data["text/html"]), flags=re.DOTALL)
    # Beside the table, not in it: a caption would be as narrow or as wide as its table.
    caption = (f'<p class="caption" id="{escape(prefix)}"><b>Table {number}.</b> '
               f'{escape(details["caption"])}</p>')
    html = _INTERVAL.sub(lambda ends: ends[0].replace(" ", "\u00a0"), _aligned(_safe_table(html)))
    html = html.replace("<table", f'<table aria-labelledby="{escape(prefix)}"', 1)
    html = re.sub(r"</t[dhr]>", "", html).replace(' scope="row"', " scope=row")  # HTML allows it
    return (
        f'<div class="result" id="{escape(anchor)}">{caption}<div class="scroll" tabindex="0"'
        f' role="region" aria-label="Table {number}">{html}</div>{_found(details, origin)}</div>'
    )


def _aligned(html):
    """Columns of numbers are named once, at the table ("n2": the second), not at every cell."""
    heads = re.findall(r"<th( [^>]*)?>", html.partition("</thead>")[0])
    numbers = [f"n{place}" for place, head in enumerate(heads, start=1)
               if 'class="number"' in head]
    if len(heads) > COLUMNS or not numbers or "colspan" in html:
        return html
    html = html.replace(' class="number"', "")
    return html.replace("<table", f'<table class="{" ".join(numbers)}"', 1)


def _safe_table(html):
    import bleach

    parts = ["table", "thead", "tbody", "tr", "th", "td", "span", "b", "i", "code", "br", "sub",
             "sup"]
    return bleach.clean(html, tags=parts, attributes=["class", "scope", "colspan", "rowspan"])


def _found(details, origin):
    """What the figure shows in a sentence, and what was found about the claims that it is of."""
    finding = details.get("finding") or ""
    said = f'<p class="said">{escape(typeset(finding))}</p>' if finding else ""
    return said + origin.findings.get(details.get("id"), "")


def _links(data, anchor):
    """The row below a figure: its data."""
    csv = "".join(data.get("text/csv", ""))
    items = []
    if csv.strip():
        items.append(f'<a download="{escape(anchor)}.csv.gz" href="data:application/gzip;'
                        f'base64,{packed(csv)}">data (CSV)</a>')
    return f'<p class="source">{" · ".join(items)}</p>' if items else ""


def inline_svg(svg: str, *, label: str, prefix: str) -> str:
    """An SVG that can stand in a page with others.

    Ids get the prefix (unreferenced ones go), scripts, event handlers, style sheets and addresses
    outside the page go, the description becomes the label. Raises ValueError on broken XML.
    """
    try:
        root = ElementTree.fromstring(svg.encode())
    except ElementTree.ParseError as problem:
        raise ValueError(f"the SVG of {prefix!r} is not well formed: {problem}") from problem
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in _DROPPED]:
            parent.remove(child)
    _rename(root, prefix)
    size = {name: _pixels(root.attrib.pop(name, "")) for name in ("width", "height")}
    root.attrib.update({name: value for name, value in size.items() if value})
    root.attrib.update({"role": "img", "aria-label": label})
    if size["width"]:  # the style sheet keeps the text readable on a phone
        root.set("style", f"--natural: {size['width']}px")  # its font is the style sheet's
    _shorten(root)
    _repack_images(root)
    ElementTree.register_namespace("", SVG)
    text = ElementTree.tostring(root, encoding="unicode")
    text = text.replace(f' xmlns="{SVG}"', "", 1).replace(' version="1.1"', "", 1)
    return re.sub(r">\s+<", "><", text).replace(" />", "/>")


def _repack_images(root):
    """Panels of images as WebP where that is smaller: near lossless, a third of the PNG."""
    for element in root.iter(f"{{{SVG}}}image"):
        if element.get("href", "").startswith(PNG):
            element.set("href", smaller(element.get("href")))


def _shorten(root):
    """The same drawing in fewer letters: paths in few bytes, links by today's name."""
    for element in root.iter():
        if "d" in element.attrib:
            element.set("d", short_path(element.get("d")))
        if f"{{{XLINK}}}href" in element.attrib:
            element.set("href", element.attrib.pop(f"{{{XLINK}}}href"))


def _rename(root, prefix):
    """Number the ids that something refers to; drop the others and all that is not drawing."""
    used = {}
    for element in root.iter():
        for name, value in element.attrib.items():
            for target in _REFERENCE.findall(value) + _fragment(name, value):
                used.setdefault(target, f"{prefix}-{len(used) + 1}")
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name == "id" and value in used:
                element.set(name, used[value])
            elif name == "id" or name.lower().startswith("on") or _outside(name, value):
                del element.attrib[name]
            elif _fragment(name, value):
                element.set(name, "#" + used[value[1:]])
            else:
                element.set(name, _REFERENCE.sub(lambda match: f"url(#{used[match[1]]})", value))


def _fragment(name, value):
    return [value[1:]] if name in ("href", f"{{{XLINK}}}href") and value.startswith("#") else []


def _outside(name, value):
    address = name in ("href", f"{{{XLINK}}}href", "src")
    return address and not value.startswith(("#", "data:image/"))


def _pixels(length):
    match = re.fullmatch(r"([\d.]+)(pt|px)?", length)
    return f"{float(match[1]) * (4 / 3 if match[2] == 'pt' else 1):.0f}" if match else ""
