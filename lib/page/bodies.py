"""A notebook's cells as HTML: nbconvert's basic template, cleaned, numbered, figures set in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lib.page.outputs import figure_html, table_html
from lib.page.text import section_anchor, unique

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from lib.page.sections import Origin

TEMPLATE = """{%- extends 'basic/index.html.j2' -%}
{%- block input_group -%}
{%- if cell.source.strip() -%}
<details class="code"><summary>{{ cell | code_summary }}</summary>
{#- -#}<pre>{{ cell.source | e }}</pre></details>
{%- endif -%}
{%- endblock -%}
{%- block output -%}
{%- if output | slot -%}{{ output | slot }}{%- else -%}{{ super() }}{%- endif -%}
{%- endblock -%}"""

_BLANK = re.compile(r"(?<=>)\n\s*\n(?=<)")  # between elements: code keeps its own

TAGS = """
    a abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5
    h6 hr i img kbd li mark ol p pre s small span strong sub summary sup table tbody td tfoot th
    thead tr u ul var
""".split()


STYLED = ("output", "output_stderr")  # classes of nbconvert that style.css or a reader needs
FINDINGS = "What it means"  # the heading of the part that speaks of results


@dataclass
class Body:
    """The HTML of a notebook, the words of its first heading, its contents, what went wrong."""

    html: str = ""
    title: str = ""
    headings: list = field(default_factory=list)  # (number, anchor, text)
    flags: list = field(default_factory=list)


def notebook_body(notebook: "NotebookNode", *, name: str, origin: "Origin", names: Sequence[str],
                  taken: set[str]) -> Body:
    """Render the cells. `taken` (the page's ids) grows; `names` are the notebooks of the page."""
    from bs4 import BeautifulSoup

    slots = _Slots(notebook, origin=origin, taken=taken)
    soup = BeautifulSoup(_clean(_export(notebook, slots)), "html.parser")
    body = Body(flags=slots.flags)
    anchors = _number_headings(soup, body, name=name, number=origin.number, taken=taken)
    _mend_links(soup, anchors, names)
    _mend_images(soup, body)
    _make_scrollable(soup)
    _lighten(soup)
    _date_findings(soup, notebook)
    _draw_maths(soup, slots, body, taken=taken)
    body.html = slots.fill(_BLANK.sub("\n", str(soup)))
    return body


class _Slots:
    """Holds the figures and tables aside while the rest is cleaned, then sets them in."""

    def __init__(self, notebook, *, origin, taken):
        # The mark depends on the whole notebook, so no text inside it can name a slot.
        self._mark = sha256(repr(notebook).encode()).hexdigest()[:16]
        self._origin, self._taken = origin, taken
        self._html, self._seen, self._count = [], {}, {"figure": 0, "table": 0}
        self.flags = []

    def take(self, output) -> str:
        """The slot of a figure's or table's output; "" for any other output."""
        kind = next((k for k in self._count if k in output.get("metadata", {})), None)
        if kind is None:
            return ""
        if id(output) not in self._seen:  # the template asks twice
            self._count[kind] += 1
            draw = figure_html if kind == "figure" else table_html
            number = f"{self._origin.number}.{self._count[kind]}"
            details = output.metadata[kind]
            anchor = unique(details.get("id") or f"{kind}-{number}", self._taken)
            if anchor != details.get("id"):
                self.flags.append(f"The {kind} id {details.get('id')!r} is used before on this "
                                  f"page; here it is {anchor!r}.")
            prefix = unique(f"{kind[0]}{number}", self._taken)
            self._seen[id(output)] = self.add(
                draw(output, number=number, anchor=anchor, prefix=prefix, origin=self._origin))
        return self._seen[id(output)]

    def add(self, html) -> str:
        """Keep finished HTML and return its slot."""
        self._html.append(html)
        return f'<span class="slot-{self._mark}-{len(self._html) - 1}"></span>'

    def fill(self, html) -> str:
        """The HTML with every slot replaced by what it holds."""
        return re.sub(rf'<span class="slot-{self._mark}-(\d+)"></span>',
                      lambda match: self._html[int(match[1])], html)


def _export(notebook, slots):
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic", template_file="section.html.j2",
        extra_loaders=[DictLoader({"section.html.j2": TEMPLATE})],
        exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True,
    )
    exporter.register_filter("slot", slots.take)
    exporter.register_filter("code_summary", _code_summary)
    return exporter.from_notebook_node(notebook)[0]


def _code_summary(cell):
    tags = cell.metadata.get("tags", [])
    if "injected-parameters" in tags:
        return "Parameters of this run"
    if "parameters" in tags:
        return "Parameters and their defaults"
    lines = len(cell.source.strip().splitlines())
    return f"Code, {lines} line{'s' if lines != 1 else ''}"


def _clean(html):
    """Keep a list of harmless elements; anything else is shown as text, never run."""
    import bleach

    def allowed(tag, name, value):
        if name in ("class", "id"):
            return True
        if name in ("alt", "width", "height"):
            return tag == "img"
        if name == "src":
            return tag == "img"  # what is not embedded is left out below, and said so
        if name in ("colspan", "rowspan", "scope"):
            return tag in ("td", "th")
        return tag == "a" and name == "href" and not value.strip().lower().startswith("data:")

    return bleach.clean(html, tags=TAGS, attributes=allowed,
                        protocols=["http", "https", "mailto", "data"])


def _number_headings(soup, body, *, name, number, taken):
    """Move headings one level down, number the second level; returns {old id: new id}."""
    anchors, count = {}, 0
    for heading in soup.find_all(re.compile(r"^h[1-6]$")):
        for link in heading.find_all("a", class_="anchor-link"):
            link.decompose()
        level, text = int(heading.name[1]), heading.get_text(" ", strip=True)
        if level == 1 and not body.title:
            body.title = text  # the page's own section heading says it
            anchors[heading.get("id")] = section_anchor(name)
            heading.decompose()
            continue
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
        anchor = unique(f"{name}-{slug}", taken)
        anchors[heading.get("id")] = heading["id"] = anchor
        heading.name = f"h{min(max(level, 2) + 1, 6)}"
        if level <= 2:
            count += 1
            body.headings.append((f"{number}.{count}", anchor, text))
            mark = soup.new_tag("span", attrs={"class": "number"})
            mark.string = f"{number}.{count} "
            heading.insert(0, mark)
    for element in soup.find_all(id=True):  # the template's cell ids, ids in raw HTML
        if element["id"] not in taken or not element.name.startswith("h"):
            del element["id"]
    return anchors


def _mend_links(soup, anchors, names):
    """Keep links to the page and to the web; a link to a file beside the notebook is text."""
    for link in soup.find_all("a", href=True):
        address = link["href"]
        target = re.sub(r"\.(ipynb|py|html)(#.*)?$", "", address.rsplit("/", 1)[-1])
        if address.startswith("#"):
            link["href"] = "#" + anchors.get(unquote(address[1:]),
                                             anchors.get(address[1:], address[1:]))
        elif target in names:
            link["href"] = "#" + section_anchor(target)
        elif not re.match(r"(https?|mailto):", address):
            link.unwrap()


def _mend_images(soup, body):
    for image in soup.find_all("img"):
        if not image.get("src", "").startswith("data:image/"):
            body.flags.append(f"The picture {image.get('src', '')!r} is not embedded and was left "
                              "out: the page works without a network.")
            image.name, image.string = "span", "[picture left out]"
            image.attrs = {"class": "flag"}
        elif image.get("alt", "").startswith("No description has been provided"):
            body.flags.append("A picture has no description: use show(..., alt=...).")


def _lighten(soup):
    """Drop the wrappers of nbconvert that nothing styles: a fifth of a chapter's text."""
    for wrapper in soup.find_all("div"):
        kept = [name for name in wrapper.get("class", []) if name in STYLED]
        if kept:
            wrapper["class"] = kept
        elif set(wrapper.attrs) <= {"class"}:
            wrapper.unwrap()


def _make_scrollable(soup):
    """Wide tables and code scroll inside their own box, by keyboard too."""
    for pre in soup.find_all("pre"):
        pre["tabindex"] = "0"
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0", "role": "region",
                                              "aria-label": "Table"}))


def _date_findings(soup, notebook):
    """Say below the heading of a notebook's findings that they are not of this run, where it had
    settings of its own.
    """
    if not any("injected-parameters" in cell.metadata.get("tags", []) for cell in notebook.cells):
        return
    for heading in soup.find_all(re.compile(r"^h[2-6]$")):
        if heading.get_text(" ", strip=True).endswith(FINDINGS):
            note = soup.new_tag("p", attrs={"class": "flag"})
            note.string = (
                "Written about the notebook's own settings and the published rows. This run had"
                " other settings: its numbers stand in the figures, tables and verdicts above."
            )
            heading.insert_after(note)


def _draw_maths(soup, slots, body, *, taken):
    from bs4 import BeautifulSoup

    from lib.page.maths import formula_html

    pattern = re.compile(r"\$\$(.+?)\$\$|\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\d)", re.DOTALL)
    for text in soup.find_all(string=pattern):
        if text.find_parent(["pre", "code", "summary"]):
            continue
        parts, end = [], 0
        for match in pattern.finditer(text):
            drawn = formula_html(match[1] or match[2], display=match[1] is not None,
                                 prefix=unique("formula", taken))
            if drawn is None:
                body.flags.append(f"A formula could not be drawn and is shown as text: {match[0]}")
            parts += [escape(text[end:match.start()]),
                      slots.add(drawn or f'<code class="flag">{escape(match[0])}</code>')]
            end = match.end()
        parts.append(escape(text[end:]))
        text.replace_with(BeautifulSoup("".join(parts), "html.parser"))
