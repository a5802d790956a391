"""`notebooks`: run each .py with its defaults and write the outputs into the .ipynb beside it.

The notebooks read the published rows alone.
"""

import hashlib
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lib import processes
from lib.commands import execution
from lib.commands.profiles import select
from lib.commands.terminal import number, say
from lib.commands.variables import published_only
from lib.paths import NOTEBOOKS, RESULTS, ROOT
from lib.processes import stoppable

if TYPE_CHECKING:
    from nbformat import NotebookNode

SIZE_LIMIT = 400_000  # bytes; beyond it a notebook is slow to show and to review
# Figures by id that are files too: README shows them.
PICTURES = {"dpsgd-headline": RESULTS / "headline.svg"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# what `jupytext --sync` would add, as in notebooks/jupytext.toml
JUPYTEXT = {"cell_metadata_filter": "tags,-all", "notebook_metadata_filter": "kernelspec,-all"}


def notebooks(options: Namespace) -> int:
    """Run the notebooks with their defaults, write their .ipynb files, and return the exit code."""
    choices = select(options)
    with stoppable(), tempfile.TemporaryDirectory(prefix="outputs-") as folder:
        settings = published_only(Path(folder, "empty"))
        tasks = [execution.Task(choice.source, Path(folder, f"{choice.name}.ipynb"), {}, settings)
                 for choice in choices]
        jobs = options.jobs or min(processes.cores(), 8)
        results = execution.run_all(tasks, jobs=jobs, report=say)
        problems = [f"{result.name} · {result.error}" for result in results if result.error]
        for choice, result in zip(choices, results):
            if result.output and not result.error:
                problems += publish(choice.source, result.output)
    for problem in problems:
        say(f"not written: {problem}")
    say(f"{number(len(choices) - len(problems), 'notebook')} written to {NOTEBOOKS.name}/")
    return 1 if problems else 0


def publish(source: Path, ran: Path) -> list[str]:
    """Write the .ipynb beside its source, or return the reasons why it was not written."""
    import nbformat

    notebook = cleaned(nbformat.read(ran, as_version=4))
    text = nbformat.writes(notebook) + "\n"
    for private in (str(ROOT), str(Path.home()), tempfile.gettempdir()):
        if len(private) > 1 and private + os.sep in text:
            return [f"{source.stem} · its outputs show the path {private}"]
    if len(text.encode()) > SIZE_LIMIT:
        return [f"{source.stem} · {len(text.encode()):,} bytes; the limit is {SIZE_LIMIT:,}"]
    target = source.with_suffix(".ipynb")
    for path, content in {target: text, **pictures(notebook)}.items():
        made = ran.with_suffix(".clean")
        made.write_text(content, "utf-8")
        execution.move(made, path)
    # jupytext reads the cells from the newer file of a pair, which has to be the .py.
    when = source.stat().st_mtime_ns
    os.utime(target, ns=(when, when))
    return []


def pictures(notebook: "NotebookNode") -> dict[Path, str]:
    """The figures of a notebook that are also saved as files: {file: SVG}."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = {output.get("metadata", {}).get("figure", {}).get("id"): output for output in outputs}
    return {path: shown[name].data["image/svg+xml"] + "\n"
            for name, path in PICTURES.items() if name in shown}


def cleaned(notebook: "NotebookNode") -> "NotebookNode":
    """A notebook as it is committed: no times, no paths, the same bytes for the same content."""
    counts = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        counts[digest] = counts.get(digest, 0) + 1
        cell.id = digest if counts[digest] == 1 else f"{digest}-{counts[digest]}"
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    notebook.metadata = {"jupytext": JUPYTEXT, "kernelspec": KERNEL,
                         "language_info": {"name": "python"}}
    return notebook
