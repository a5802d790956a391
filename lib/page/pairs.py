"""Two executed notebooks as one: their figures and tables in pairs, and the parameters that differ.
"""

from collections.abc import Sequence
from pathlib import Path

from lib.page.sections import parameters_of

KINDS = ("figure", "table")


def pair(name: str, paths: Sequence[Path | None], *, names: Sequence[str], folder: Path) -> Path:
    """Write the notebook that shows those of two profiles side by side; returns its path.

    paths: the two executed notebooks, None where one was not run. names: of the profiles, as the
    captions say them.
    """
    import nbformat
    from nbformat import v4

    both = [nbformat.read(path, as_version=4) if path else None for path in paths]
    shown = [_outputs(notebook) for notebook in both]
    cells = [v4.new_markdown_cell(f"# {_title(both, name)}\n\n{_parameters(both, names)}")]
    for key in dict.fromkeys([*shown[0], *shown[1]]):
        outputs = [
            _labelled(one[key], label) if key in one else _absent(label)
            for one, label in zip(shown, names)
        ]
        cells.append(v4.new_code_cell("", outputs=outputs, execution_count=1))
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def _outputs(notebook) -> dict:
    """The figures and tables of a notebook, by kind and id, in their order."""
    cells = notebook.cells if notebook else []
    return {(kind, output.metadata[kind]["id"]): output
            for cell in cells
            for output in cell.get("outputs", [])
            for kind in KINDS
            if kind in output.get("metadata", {})}


def _labelled(output, label: str):
    """The output with the profile in its caption and in its id."""
    kind = next(kind for kind in KINDS if kind in output.metadata)
    details = output.metadata[kind]
    output.metadata[kind] = {
        **details, "id": f"{details['id']}-{label}",
        "caption": f"Profile {label}. {details['caption']}"
    }
    return output


def _absent(label: str):
    from nbformat import v4

    return v4.new_output("stream", name="stdout", text=f"Not in profile {label}.")


def _title(both, name: str) -> str:
    """The first heading of the notebooks."""
    for notebook in filter(None, both):
        for cell in notebook.cells:
            if cell.cell_type == "markdown" and cell.source.startswith("# "):
                return cell.source.splitlines()[0][2:]
    return name


def _parameters(both, names) -> str:
    """The parameters that differ, as a table in Markdown."""
    values = [parameters_of(notebook) if notebook else {} for notebook in both]
    lines = [
        f"| {name} | {_cell(values[0], name)} | {_cell(values[1], name)} |"
        for name in dict.fromkeys([*values[0], *values[1]])
        if values[0].get(name) != values[1].get(name)
    ]
    if not lines:
        return "Both profiles have the same parameters."
    return "\n".join([f"| parameter | {names[0]} | {names[1]} |", "|---|---|---|", *lines])


def _cell(values: dict, name: str) -> str:
    text = f"`{values[name]!r}`" if name in values else "–"
    return text.replace("|", "\\|")
