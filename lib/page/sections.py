"""One notebook as one numbered section of the page."""

import ast
import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.page.bodies import notebook_body
from lib.page.scrub import PathScrubber
from lib.page.text import duration, section_anchor

if TYPE_CHECKING:
    from nbformat import NotebookNode


class Heading(NamedTuple):
    """A line of the contents: its number (11.2), its anchor in the page and its words."""

    number: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Section:
    """A notebook's part of the page; `body` and `links` are HTML, the rest is plain text."""

    name: str
    number: str
    title: str
    anchor: str
    links: str
    body: str
    headings: tuple[Heading, ...]
    flags: tuple[str, ...]
    failed: bool


class Origin(NamedTuple):
    """What stands below every figure of a notebook: number, links to code and parameters."""

    number: str
    source: str
    parameters: str
    findings: Mapping[str, str]


def read_section(name: str, path: Path | None, error: str | None, *, position: int,
                 names: Sequence[str], taken: set[str], scrubber: PathScrubber,
                 context: Mapping[str, Any], findings: Mapping[str, str] | None = None) -> Section:
    """The section of one executed notebook, or its placeholder.

    names: all notebooks of the page, so that links between them stay inside it.
    taken: the ids used in the page so far; grows.
    findings: HTML for below a figure, by the figure's id.
    """
    number, title = _number(name, position), _title(name)
    anchor = section_anchor(name)
    taken.update((anchor, anchor + "-title"))
    notebook, error = _read(path, error)
    if notebook is None:
        body = _placeholder(name, scrubber.clean(error))
        return Section(name, number, title, anchor, _source(name, context), body, (), (), True)

    flags = _scrub(notebook, scrubber) + _problems(notebook)
    source = _source(name, context)
    download = _download(_yaml(parameters_of(notebook)), f"{name}.yaml", "text/yaml", "parameters")
    links = " · ".join(
        filter(None,
               [source, f'<span id="{anchor}-parameters">{download}</span>',
                _duration(notebook)]))
    taken.add(f"{anchor}-parameters")
    origin = Origin(number, source, f'<a href="#{anchor}-parameters">parameters</a>', findings
                    or {})
    found = notebook_body(notebook, name=name, origin=origin, names=names, taken=taken)
    headings = tuple(Heading(*heading) for heading in found.headings)
    return Section(name, number, found.title or title, anchor, links, found.html, headings,
                   tuple(flags + found.flags), False)


def parameters_of(notebook: "NotebookNode") -> dict[str, Any]:
    """The parameters a notebook ran with: the literals of its tagged cells, then papermill's."""
    values = {}
    for cell in notebook.cells:
        if {"setup", "parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            values.update(_literals(cell.source))
    values.update(notebook.metadata.get("papermill", {}).get("parameters", {}))
    return values


def _literals(source):
    values = {}
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and getattr(node, "value", None) is not None:
            try:
                values[target.id] = ast.literal_eval(node.value)
            except ValueError:  # not a literal: it cannot be set from a parameter file either
                continue
    return values


def _yaml(values):
    import yaml

    return yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False, allow_unicode=True)


def _download(text, filename, kind, label):
    data = base64.b64encode(text.encode()).decode()
    return (f'<a download="{escape(filename)}" href="data:{kind};charset=utf-8;base64,{data}">'
            f"{escape(label)}</a>")


def _number(name, position):
    digits = re.match(r"\d+", name)
    return str(int(digits[0])) if digits else f"A{position + 1}"


def _title(name):
    words = re.sub(r"^\d+[_-]*", "", name).replace("_", " ")
    return (words or name).capitalize()


def _read(path: Path | None, error: str | None) -> "tuple[NotebookNode | None, str]":
    """The notebook, or None and the reason in words."""
    import nbformat

    if error:
        return None, str(error)
    if path is None:
        return None, "This notebook was not run."
    try:
        return nbformat.read(Path(path), as_version=4), ""
    except (OSError, ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as problem:
        return None, f"The executed notebook cannot be read ({type(problem).__name__}: {problem})."


def _placeholder(name, error):
    return (
        '<div class="placeholder" role="note"><p><strong>Not in this report.</strong> The notebook '
        f"<code>{escape(name)}</code> has no result with these parameters; nothing older is shown "
        'in its place. Paths below are relative to the checkout.</p>'
        f'<pre tabindex="0">{escape(_plain(error))}</pre></div>'
    )


def _plain(text):
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).strip()


def _scrub(notebook, scrubber):
    """Replace the machine's paths in place; a sentence for each cell that had some."""
    flags = []
    for index, cell in enumerate(notebook.cells, start=1):
        parts = {"source": cell.source, "outputs": cell.get("outputs", [])}
        clean = {key: _clean_outputs(part, scrubber) for key, part in parts.items()}
        if clean != json.loads(json.dumps(parts)):
            flags.append(f"Cell {index} showed a path of the machine that ran it; it was replaced.")
            cell.source = clean["source"]
            if "outputs" in cell:
                cell.outputs = _nodes(clean["outputs"])
    for key in ("papermill",):
        if key in notebook.metadata:
            notebook.metadata[key] = _nodes(scrubber.clean_tree(dict(notebook.metadata[key])))
    return flags


def _clean_outputs(part, scrubber):
    """Clean text but not images in base64, where the letters of a path mean nothing."""
    if not isinstance(part, list):
        return scrubber.clean(part)
    cleaned = json.loads(json.dumps(part))
    for output in cleaned:
        images = {kind: value for kind, value in output.get("data", {}).items()
                  if kind in ("image/png", "image/jpeg")}
        output.update(scrubber.clean_tree(output))
        output.get("data", {}).update(images)
    return cleaned


def _nodes(value):
    from nbformat import from_dict

    return [from_dict(item) for item in value] if isinstance(value, list) else from_dict(value)


def _problems(notebook):
    """What a reader should know before trusting the outputs."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    flags = []
    if code and all(cell.get("execution_count") is None for cell in code):
        flags.append("No cell of this notebook was executed.")
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                flags.append(f"A cell ended with {output.ename}: {output.evalue}")
    return flags


def _source(name, context):
    path, commit = f"notebooks/{name}.py", context.get("commit")
    at = (
        f" at {escape(commit[:12])}{' with local changes' if context.get('dirty') else ''}"
        if commit
        else ""
    )
    code = f"<code>{escape(path)}</code>"
    if context.get("repository") and commit:
        address = f"{context['repository'].rstrip('/')}/blob/{commit}/{path}"
        code = f'<a href="{escape(address)}">{code}</a>'
    return code + at


def _duration(notebook):
    seconds = notebook.metadata.get("papermill", {}).get("duration")
    return f"ran {duration(seconds)}" if seconds else ""
